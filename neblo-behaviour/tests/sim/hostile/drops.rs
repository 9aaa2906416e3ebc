//! Row "black hole": relays that take part in walks and pass nothing on.

use std::collections::BTreeSet;

use super::*;
use neblo_behaviour::protocol::interface::{Answer, Command, Hit};
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::wire::Frame;

/// A lookup, which may come to nothing.
fn found(sim: &mut Simulation, peer: u32) -> Option<Hit> {
    let window = Duration::from_secs(3);
    let query = b"picture".to_vec();
    let token = sim.command(peer, |token| Command::Lookup { token, query, limit: 50, window, allow_weak: false });
    let hit = |sim: &Simulation| {
        let mut answers = sim.answers(peer, token).iter();
        answers.find_map(|answer| match answer {
            Answer::Hits { hits, .. } => hits.first().cloned(),
            _ => None,
        })
    };
    let ended = |sim: &Simulation| {
        hit(sim).is_some()
            || matches!(sim.answers(peer, token).last(), Some(Answer::LookupEnded { .. } | Answer::Failed(_)))
    };
    sim.run_until(Duration::from_secs(20), ended);
    hit(sim)
}

#[test]
fn downloads_begin_although_a_fifth_of_the_members_drop_what_they_should_pass_on() {
    let (mut begun, mut wanted, mut worst) = (0, 0, Duration::ZERO);
    for seed in seeds(750..822) {
        let mut sim = ready(seed, 24, 12);
        let (publisher, requester) = strangers(&sim);
        let holes: BTreeSet<u32> =
            members(&sim).into_iter().filter(|peer| ![publisher, requester].contains(peer)).step_by(5).collect();
        let dropping = holes.clone();
        sim.filter_frames(move |sent| {
            let passed_on = matches!(sent.frame, Frame::Path(PathMessage::Up(_) | PathMessage::Down(_)));
            !(passed_on && dropping.contains(&sent.from))
        });
        announce(&mut sim, publisher, b"picture");
        for _ in 0..4 {
            wanted += 1;
            let began = sim.now();
            // As a program does: it looks and connects again until it has what it wants.
            while sim.now().since(began) < Duration::from_secs(60) {
                let hit = found(&mut sim, requester);
                if hit.is_some_and(|hit| connect(&mut sim, requester, &hit).is_ok()) {
                    begun += 1;
                    worst = worst.max(sim.now().since(began));
                    break;
                }
                sim.run(Duration::from_millis(500));
            }
        }
    }
    println!("{begun} of {wanted} downloads begun, the slowest after {worst:?}");
    assert!(begun * 100 >= wanted * 95, "{begun} of {wanted}");
}
