//! Renewals name many publications at once, and what a new leader does not know is announced to it.

use std::cell::Cell;
use std::rc::Rc;

use super::lookup::{announce, look_up, ready, strangers};
use super::*;
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::wire::Frame;

/// More than fit two renewals.
const CONTENTS: usize = 100;

fn announce_all(sim: &mut Simulation, publisher: u32) {
    for content in 0..CONTENTS {
        announce(sim, publisher, format!("content {content}").as_bytes());
    }
    assert!(
        sim.run_until(Duration::from_secs(20), |sim| all_held(sim, publisher)),
        "{:?}",
        sim.node(publisher).status()
    );
}

fn all_held(sim: &Simulation, publisher: u32) -> bool {
    let leader = sim.node(publisher).subgroups().home().and_then(|home| Some(home.leader()?.contact.peer));
    sim.node(publisher).status().publications_held == CONTENTS
        && leader
            .is_some_and(|leader| sim.living().contains(&leader) && sim.node(leader).directory().rows() == CONTENTS)
}

/// Counts what this peer sends up paths.
fn count_ups(sim: &mut Simulation, peer: u32) -> Rc<Cell<usize>> {
    let ups = Rc::new(Cell::new(0));
    let seen = ups.clone();
    sim.watch_frames(move |sent| {
        if sent.from == peer && matches!(sent.frame, Frame::Path(PathMessage::Up(_))) {
            seen.set(seen.get() + 1);
        }
    });
    ups
}

#[test]
fn a_hundred_publications_are_renewed_by_three_records_and_outlive_their_time() {
    for seed in seeds(700..703) {
        let mut sim = ready(seed, 18, 6);
        let (publisher, requester) = strangers(&sim);
        announce_all(&mut sim, publisher);
        let ups = count_ups(&mut sim, publisher);
        // A row that is not renewed is gone after half an hour; it is renewed twice in this while.
        sim.run(Duration::from_secs(45 * 60));
        assert!(all_held(&sim, publisher), "seed {seed}: {:?}", sim.node(publisher).status());
        println!("seed {seed}: {} records of the publisher in 45 minutes", ups.get());
        // Twice three, and what a path brings that comes past its own publisher.
        assert!((6..CONTENTS).contains(&ups.get()), "seed {seed}: {}", ups.get());
        let (hits, _, _) = look_up(&mut sim, requester, b"content 99");
        assert!(!hits.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_new_leader_has_all_publications_whether_it_had_a_copy_of_the_table_or_not() {
    for (seed, deaths) in seeds(700..703).zip([1, 2, 3]) {
        let mut sim = ready(seed, 24, 8);
        let (publisher, requester) = strangers(&sim);
        announce_all(&mut sim, publisher);
        sim.run(Duration::from_secs(10));
        // The leader alone, or with who has a copy of its table: two candidates.
        let home = sim.node(publisher).subgroups().home().unwrap();
        let (leader, subgroup) = (home.leader().unwrap().contact.peer, home.subgroup());
        let mut heirs: Vec<u32> = sim.living();
        heirs.retain(|peer| {
            sim.node(*peer).subgroups().home().is_some_and(|home| home.subgroup() == subgroup)
                && sim.node(*peer).directory().copied_rows() > 0
                && *peer != publisher
        });
        let victims: Vec<u32> = std::iter::once(leader).chain(heirs).take(deaths).collect();
        victims.iter().for_each(|victim| sim.kill(*victim));
        let killed = sim.now();
        assert!(sim.run_until(Duration::from_secs(60), |sim| all_held(sim, publisher)), "seed {seed}, {victims:?}");
        println!("seed {seed}, {} deaths: all held again after {:?}", victims.len(), sim.now().since(killed));
        // Leaders have to hear of the new one.
        while look_up(&mut sim, requester, b"content 5").0.is_empty() {
            assert!(sim.now().since(killed) < Duration::from_secs(40), "seed {seed}");
            sim.run(Duration::from_millis(500));
        }
    }
}
