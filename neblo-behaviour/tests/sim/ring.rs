use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::{Command, Ownership};
use neblo_behaviour::protocol::ring::Hop;

#[test]
fn a_ring_forms_and_every_address_has_one_owner() {
    for (seed, n) in [(1, 2), (2, 5), (3, 9), (4, 12), (5, 24), (6, 48)] {
        let mut sim = network(seed, n, 8);
        assert!(sim.run_until(Duration::from_secs(120), is_ideal), "seed {seed}, {n} hosts: {sim:?}");
    }
}

#[test]
fn hosts_that_join_at_the_same_moment_form_one_ring() {
    for seed in 10..16 {
        let mut sim = Simulation::new(seed, Conditions::default());
        let config = Config::default().with_subgroup_size(6);
        sim.join(config.clone(), &[]);
        for _ in 1..24 {
            sim.join(config.clone(), &[0]);
        }
        assert!(sim.run_until(Duration::from_secs(120), is_ideal), "seed {seed}");
    }
}

#[test]
fn the_range_of_a_dead_peer_is_taken_over() {
    for seed in 20..26 {
        let mut sim = network(seed, 24, 8);
        assert!(sim.run_until(Duration::from_secs(120), is_ideal), "seed {seed}");
        for _ in 0..6 {
            let living = sim.living();
            let victim = living[1 + sim.draw(living.len() - 1)];
            sim.kill(victim);
            sim.run(Duration::from_millis(700));
        }
        assert!(sim.run_until(Duration::from_secs(60), is_ideal), "seed {seed}");
    }
}

#[test]
fn a_small_ring_outlives_its_founder() {
    for seed in 30..34 {
        let mut sim = network(seed, 6, 8);
        assert!(sim.run_until(Duration::from_secs(60), is_ideal), "seed {seed}");
        sim.kill(0);
        assert!(sim.run_until(Duration::from_secs(60), is_ideal), "seed {seed} after the founder's death");
        for _ in 0..8 {
            sim.join(Config::default().with_subgroup_size(8), &[1, 2]);
        }
        assert!(sim.run_until(Duration::from_secs(60), is_ideal), "seed {seed} after growing on");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut sim = network(seed, 20, 6);
        sim.run(Duration::from_secs(20));
        sim.kill(3);
        sim.run(Duration::from_secs(20));
        sim.trace()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_range_goes_over_in_order_when_a_host_joins_and_when_it_leaves() {
    for (seed, n) in [(50, 2), (51, 4), (52, 12), (53, 24)] {
        let mut sim = network(seed, n, 8);
        assert!(sim.run_until(Duration::from_secs(60), is_ideal), "seed {seed}");
        let leaver = sim.draw(n) as u32;
        sim.command(leaver, |token| Command::Leave { token });
        let others = |sim: &Simulation| sim.living().into_iter().filter(|peer| *peer != leaver).collect::<Vec<_>>();
        let whole = |sim: &Simulation| {
            sim.node(leaver).ring().range().is_none()
                && others(sim).iter().all(|peer| sim.node(*peer).ring().is_member())
                && (0..64u32).all(|nth| {
                    let address = OverlayAddr::hash(&[&nth.to_le_bytes()]);
                    let owns = |peer: &&u32| sim.node(**peer).ring().ownership(address) == Ownership::Yes;
                    others(sim).iter().filter(owns).count() == 1
                })
        };
        assert!(sim.run_until(Duration::from_secs(10), whole), "seed {seed}");
    }
}

/// The members that a message to `target` passes, as each routes it at this moment, until it arrives or has been everywhere.
fn way(sim: &Simulation, from: u32, target: OverlayAddr) -> (Vec<u32>, bool) {
    let mut passed = vec![from];
    loop {
        let node = sim.node(*passed.last().unwrap());
        match node.ring().route(target, node.fingers()) {
            Hop::Here => return (passed, true),
            Hop::Next(next) if !passed.contains(&next.peer) => passed.push(next.peer),
            Hop::Next(next) => {
                passed.push(next.peer);
                return (passed, false);
            }
            Hop::Nowhere => return (passed, false),
        }
    }
}

/// Between a join and the moment when all who have it in their successor lists know, members send what it owns to each other and
/// back. That moment is short.
#[test]
fn hardly_a_message_runs_in_circles_while_many_join_one_after_the_other() {
    let (mut circles, mut ways, mut longest) = (0, 0, Duration::ZERO);
    for seed in seeds(60..120) {
        let mut sim = Simulation::new(seed, Conditions::default());
        let config = Config::default().with_subgroups(false);
        for nth in 0..16 {
            let peer = sim.join(config.clone(), &[0][..nth.min(1)]);
            assert!(sim.run_until(Duration::from_secs(20), |sim| sim.node(peer).ring().is_member()));
        }
        let since = sim.now();
        for _ in 0..40 {
            for (from, to) in (0..16).flat_map(|from| (0..16).map(move |to| (from, to))) {
                let target = sim.node(to).ring().me().unwrap().address;
                let (passed, arrived) = way(&sim, from, target);
                ways += 1;
                if !arrived {
                    let after = sim.now().since(since);
                    assert!(after < Duration::from_secs(3), "seed {seed}: {passed:?} to {to} after {after:?}");
                    circles += 1;
                    longest = longest.max(after);
                }
            }
            sim.run(Duration::from_millis(100));
        }
    }
    println!("{circles} of {ways} ways end in a circle, none later than {longest:?} after the last join");
    assert!(circles * 1_000 < ways);
}
