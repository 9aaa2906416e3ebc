//! When paths begin: the one for publishing at once, the others when they are needed or at a moment of their own.

use std::collections::BTreeSet;

use super::lookup::{announce, connect, look_up, ready_by, strangers};
use super::subgroups::all_seated;
use super::*;
use neblo_behaviour::protocol::interface::Purpose;

/// Longer than any path is put off.
const ALL_BEGUN: Duration = Duration::from_secs(2 * 3_600 + 60);

fn ready(seed: u64, n: usize, size: usize) -> Simulation {
    ready_by(seed, n, Config::default().with_subgroup_size(size))
}

fn has(sim: &Simulation, peer: u32) -> Vec<Purpose> {
    sim.node(peer).paths().ready()
}

fn members(sim: &Simulation) -> Vec<u32> {
    sim.living().into_iter().filter(|peer| !sim.node(*peer).subgroups().leads()).collect()
}

#[test]
fn who_joins_has_a_path_for_publishing_and_others_at_moments_of_their_own() {
    let mut sim = ready(1_300, 16, 16);
    for peer in members(&sim) {
        assert_eq!(has(&sim, peer), [Purpose::Publishing]);
        assert!(sim.node(peer).status().has_paths());
    }
    let mut begun = BTreeSet::new();
    let mut moments = Vec::new();
    // Twice as long, should another lead meanwhile.
    let end = sim.now() + ALL_BEGUN * 2;
    while sim.now() < end {
        sim.run(Duration::from_secs(60));
        for peer in members(&sim) {
            for purpose in has(&sim, peer) {
                if purpose != Purpose::Publishing && begun.insert((peer, purpose)) {
                    moments.push(sim.now());
                }
            }
        }
    }
    assert_eq!(begun.len(), 2 * members(&sim).len(), "all have all paths, used or not");
    // 30 of them in 120 minutes: they do not come together.
    let most = moments.iter().map(|at| moments.iter().filter(|other| *other == at).count()).max();
    assert!(most <= Some(5), "{most:?} in one minute");
}

#[test]
fn a_path_that_is_needed_begins_at_once() {
    let mut took = Vec::new();
    for seed in seeds(1_310..1_322) {
        let mut sim = ready(seed, 24, 8);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"a picture");
        sim.run(Duration::from_secs(3));
        assert_eq!(has(&sim, requester), [Purpose::Publishing], "seed {seed}");
        let (hits, answered, asked) = look_up(&mut sim, requester, b"picture");
        assert!(hits.len() == 1 && answered == asked, "seed {seed}: {hits:?}");
        let before = sim.now();
        connect(&mut sim, requester, &hits[0]).unwrap();
        took.push(sim.now().since(before));
        assert_eq!(has(&sim, requester), Purpose::ALL, "seed {seed}");
    }
    took.sort_unstable();
    println!("from the wish to the stream: {took:?}");
    assert!(
        took[took.len() / 2] < Duration::from_millis(1_500) && took.last() < Some(&Duration::from_secs(6)),
        "{took:?}"
    );
}

/// Of a path that nobody uses just then nothing is seen behind a new leader, until it is needed or its moment comes.
#[test]
fn behind_a_new_leader_a_lookup_goes_on_and_other_paths_begin_anew_at_moments_of_their_own() {
    for seed in seeds(1_330..1_336) {
        let mut sim = ready(seed, 24, 8);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"a picture");
        sim.run(Duration::from_secs(3));
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        connect(&mut sim, requester, &hits[0]).unwrap();
        let home = sim.node(requester).subgroups().home().unwrap();
        let leader = home.leader().unwrap().contact.peer;
        sim.kill(leader);
        // Asked for again before anybody has taken over.
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        assert_eq!(hits.len(), 1, "seed {seed}");
        assert!(sim.run_until(Duration::from_secs(20), all_seated), "seed {seed}");
        if sim.node(requester).subgroups().leads() {
            continue;
        }
        let later = sim.node(requester).paths().later();
        assert_eq!(later, [Purpose::Downloading], "seed {seed}");
        connect(&mut sim, requester, &hits[0]).unwrap();
        assert_eq!(has(&sim, requester), Purpose::ALL, "seed {seed}");
    }
}
