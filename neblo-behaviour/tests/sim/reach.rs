//! Which leaders a lookup reaches (seed 003 §3.2).

use super::leaders::{all_announce, list, members};
use super::lookup::{announce, look_up, look_up_for, ready, strangers};
use super::subgroups::leaders;
use super::*;
use neblo_behaviour::protocol::interface::Command;

/// All have noticed at once, since its connections are closed, and nobody leads in its place yet.
#[test]
fn a_subgroup_whose_leader_has_just_died_is_counted_and_asked_when_another_leads_it() {
    for seed in seeds(500..506) {
        let mut sim = ready(seed, 24, 8);
        let (publisher, requester) = strangers(&sim);
        announce(&mut sim, publisher, b"a picture");
        sim.run(Duration::from_secs(4));
        let all = leaders(&sim).len() as u32;
        let leader = list(&sim, publisher).leader().unwrap().contact.peer;
        sim.kill(leader);
        sim.run(Duration::from_millis(300));
        assert_eq!(leaders(&sim).len() as u32, all - 1, "seed {seed}: another leads already");
        let (hits, answered, asked) = look_up_for(&mut sim, requester, b"picture", Duration::from_secs(12));
        assert_eq!((answered, asked), (all, all), "seed {seed}");
        assert!(hits.iter().any(|hit| *hit.payload == *b"a picture"), "seed {seed}");
    }
}

#[test]
fn under_churn_of_leaders_a_lookup_reaches_each_or_says_how_many_did_not_answer() {
    let (mut lookups, mut complete) = (0, 0);
    for seed in seeds(490..494) {
        let mut sim = ready(seed, 30, 6);
        for round in 0..8u64 {
            // A leader dies, stops for a while, or leaves.
            let all = leaders(&sim);
            let requester = members(&sim)[sim.draw(5)];
            let own = list(&sim, requester).leader().unwrap().contact.peer;
            let others: Vec<_> = all.iter().filter(|leader| **leader != own).copied().collect();
            let victim = others[sim.draw(others.len())];
            match round % 2 {
                0 => sim.kill(victim),
                _ => {
                    sim.command(victim, |token| Command::Leave { token });
                }
            }
            sim.run(Duration::from_millis(100 * round));
            let (_, answered, of) = look_up(&mut sim, requester, b"anything");
            // Leaders that led before and after, and were linked.
            let steady = all.iter().filter(|leader| **leader != victim).count() as u32;
            lookups += 1;
            assert!(answered <= of, "seed {seed}: {answered} of {of}");
            assert!(answered >= steady || answered < of, "seed {seed}: {answered} of {of}, of {steady} leaders");
            complete += u32::from(answered >= steady);
            sim.run(Duration::from_secs(8));
        }
        // Left alone, all is whole again.
        sim.run(Duration::from_secs(40));
        let all = leaders(&sim).len() as u32;
        let requester = members(&sim)[0];
        let (_, answered, of) = look_up(&mut sim, requester, b"anything");
        assert_eq!(answered, all, "seed {seed}: {answered} of {of}");
    }
    println!("{complete} of {lookups} lookups reached all leaders that stayed");
    assert!(complete * 10 >= lookups * 8, "{complete} of {lookups}");
}

/// Each leader's application is asked once a lookup.
#[test]
fn a_lookup_reaches_every_leader_once() {
    for seed in seeds(495..498) {
        let mut sim = ready(seed, 24, 6);
        all_announce(&mut sim);
        let with_rows = leaders(&sim).into_iter().filter(|leader| sim.node(*leader).directory().rows() > 0).count();
        let counts = std::rc::Rc::new(std::cell::RefCell::new(std::collections::BTreeMap::<u32, u32>::new()));
        let counting = counts.clone();
        sim.set_application(Box::new(move |peer: u32, event: &neblo_behaviour::protocol::interface::Event<u32>| {
            if matches!(event, neblo_behaviour::protocol::interface::Event::DirectoryAsked { .. }) {
                *counting.borrow_mut().entry(peer).or_insert(0) += 1;
            }
            None
        }));
        let requester = members(&sim)[3];
        let (_, answered, of) = look_up(&mut sim, requester, b"picture");
        let all = leaders(&sim);
        assert_eq!((answered, of), (all.len() as u32, all.len() as u32), "seed {seed}");
        assert!(counts.borrow().values().all(|count| *count == 1), "seed {seed}: {counts:?}");
        // Who has no rows answers without asking.
        assert_eq!(counts.borrow().len(), with_rows, "seed {seed}");
    }
}
