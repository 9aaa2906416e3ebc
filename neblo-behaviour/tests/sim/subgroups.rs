use super::*;

/// Whether every living host is in a subgroup whose leader lives, leads it, and knows it.
pub(crate) fn all_seated(sim: &Simulation) -> bool {
    sim.living().into_iter().all(|peer| {
        let Some(home) = sim.node(peer).subgroups().home() else { return false };
        let Some(leader) = home.leader().map(|leader| leader.contact.peer) else { return false };
        let led = sim.node(leader).subgroups();
        sim.living().contains(&leader)
            && led.leads()
            && led
                .home()
                .is_some_and(|theirs| theirs.subgroup() == home.subgroup() && theirs.list.member(peer).is_some())
    })
}

pub(crate) fn leaders(sim: &Simulation) -> Vec<u32> {
    sim.living().into_iter().filter(|peer| sim.node(*peer).subgroups().leads()).collect()
}

/// Whether every leader knows all others.
pub(crate) fn leaders_know_each_other(sim: &Simulation) -> bool {
    let leaders = leaders(sim);
    leaders.iter().all(|leader| sim.node(*leader).subgroups().leaders().count() == leaders.len() - 1)
}

#[test]
fn subgroups_fill_up_and_others_are_created() {
    for seed in 100..104 {
        let mut sim = network(seed, 16, 6);
        assert!(sim.run_until(Duration::from_secs(30), all_seated), "seed {seed}");
        assert!(sim.run_until(Duration::from_secs(40), leaders_know_each_other), "seed {seed}");
        let leaders = leaders(&sim);
        assert!((3..=4).contains(&leaders.len()), "seed {seed}: {} subgroups", leaders.len());
        for leader in leaders {
            assert!(sim.node(leader).subgroups().home().unwrap().list.members.len() <= 6);
        }
    }
}

#[test]
fn another_leader_takes_over_when_it_dies() {
    for seed in 110..114 {
        let mut sim = network(seed, 18, 6);
        assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim)));
        let victim = *leaders(&sim).last().unwrap();
        let subgroup = sim.node(victim).subgroups().home().unwrap().subgroup();
        sim.kill(victim);
        let again = |sim: &Simulation| {
            all_seated(sim)
                && leaders(sim)
                    .iter()
                    .any(|leader| sim.node(*leader).subgroups().home().is_some_and(|home| home.subgroup() == subgroup))
        };
        assert!(sim.run_until(Duration::from_secs(15), again), "seed {seed}");
    }
}

#[test]
fn a_leader_that_stops_without_closing_anything_is_replaced() {
    let mut sim = network(120, 12, 6);
    assert!(sim.run_until(Duration::from_secs(60), all_seated));
    let victim = *leaders(&sim).last().unwrap();
    let subgroup = sim.node(victim).subgroups().home().unwrap().subgroup();
    sim.freeze(victim, true);
    let replaced = sim.run_until(Duration::from_secs(20), |sim| {
        leaders(sim).iter().any(|leader| {
            *leader != victim && sim.node(*leader).subgroups().home().is_some_and(|home| home.subgroup() == subgroup)
        })
    });
    assert!(replaced);
}

/// Whether each subgroup has one leader.
fn one_leader_each(sim: &Simulation) -> bool {
    let mut led: Vec<_> =
        leaders(sim).iter().filter_map(|leader| Some(sim.node(*leader).subgroups().home()?.subgroup())).collect();
    let leaders = led.len();
    led.sort_unstable();
    led.dedup();
    led.len() == leaders
}

#[test]
fn a_member_that_was_silent_for_a_while_comes_back_to_its_leader() {
    for seed in 130..142 {
        let mut sim = network(seed, 18, 6);
        assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim)));
        sim.run(Duration::from_secs(10));
        let before = leaders(&sim);
        let members: Vec<_> = sim.living().into_iter().filter(|peer| !before.contains(peer)).collect();
        let silent = members[sim.draw(members.len())];
        sim.freeze(silent, true);
        sim.run(Duration::from_secs(15));
        sim.freeze(silent, false);
        sim.run(Duration::from_secs(1));
        assert!(sim.run_until(Duration::from_secs(15), all_seated), "seed {seed}");
        // It did not become the leader of what it was a member of.
        sim.run(Duration::from_secs(20));
        assert!(all_seated(&sim) && one_leader_each(&sim), "seed {seed}: {:?}", leaders(&sim));
        assert_eq!(leaders(&sim), before, "seed {seed}");
    }
}

#[test]
fn a_leader_that_was_silent_for_a_while_makes_room_for_the_one_that_took_over() {
    for seed in 150..158 {
        let mut sim = network(seed, 18, 6);
        assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim)));
        sim.run(Duration::from_secs(10));
        let silent = *leaders(&sim).last().unwrap();
        sim.freeze(silent, true);
        sim.run(Duration::from_secs(20));
        sim.freeze(silent, false);
        sim.run(Duration::from_secs(1));
        let whole = |sim: &Simulation| all_seated(sim) && one_leader_each(sim);
        assert!(sim.run_until(Duration::from_secs(30), whole), "seed {seed}: {:?}", leaders(&sim));
        sim.run(Duration::from_secs(20));
        assert!(whole(&sim), "seed {seed}: {:?}", leaders(&sim));
    }
}
