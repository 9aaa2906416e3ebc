//! Row "black hole": a last relay that acknowledges announcements and will not have a stream come, with one path for publishing
//! and with two.

use super::*;
use neblo_behaviour::PathPolicy;
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::wire::Frame;

fn network_with(seed: u64, second: bool) -> Simulation {
    let policy = PathPolicy::hardened().with_second_path(second);
    let mut sim = network_of(seed, 24, Config::default().with_subgroup_size(12).with_path_policy(policy));
    let publishes = |sim: &Simulation, peer: u32| {
        let node = sim.node(peer);
        node.is_ready(Purpose::Publishing) && (!second || node.is_ready(Purpose::PublishingAgain))
    };
    let all = |sim: &Simulation| members(sim).into_iter().all(|peer| publishes(sim, peer));
    assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim) && all(sim)));
    sim
}

#[test]
fn with_a_second_path_a_relay_that_lets_no_stream_come_keeps_nobody_away() {
    let mut worked = [0, 0];
    let (mut runs, mut tries) = (0, 0);
    for seed in seeds(900..912) {
        for second in [false, true] {
            let mut sim = network_with(seed, second);
            let (publisher, requester) = strangers(&sim);
            announce(&mut sim, publisher, b"picture");
            sim.run(Duration::from_secs(2));
            let (hits, ..) = look_up(&mut sim, requester, b"picture");
            let last = |purpose| hops(&sim, publisher, purpose).into_iter().rev().nth(1).unwrap();
            let mute = last(Purpose::Publishing);
            if second {
                let firsts = [Purpose::Publishing, Purpose::PublishingAgain].map(|it| hops(&sim, publisher, it)[1]);
                assert_ne!(firsts[0], firsts[1], "seed {seed}");
                if last(Purpose::PublishingAgain) == mute {
                    continue;
                }
                runs += 1;
            }
            sim.filter_frames(move |sent| {
                !(sent.from == mute && matches!(sent.frame, Frame::Path(PathMessage::Expecting(_))))
            });
            for nth in 0..3 {
                if connect(&mut sim, requester, &hits[0]).is_ok() {
                    worked[usize::from(second)] += 1;
                    tries += if second { nth + 1 } else { 0 };
                    break;
                }
            }
        }
    }
    println!("one path: {} of 12 downloads; two: {} of {runs}, {tries} tries", worked[0], worked[1]);
    assert!(worked[0] <= 2, "{worked:?}");
    assert!(worked[1] == runs && runs >= 8 && tries <= 2 * runs, "{worked:?}");
}

#[test]
fn with_a_second_path_the_death_of_a_first_relay_costs_a_requester_no_wait() {
    let mut waits = [Vec::new(), Vec::new()];
    for seed in seeds(912..922) {
        for second in [false, true] {
            let mut sim = network_with(seed, second);
            let (publisher, requester) = strangers(&sim);
            announce(&mut sim, publisher, b"picture");
            sim.run(Duration::from_secs(2));
            let (hits, ..) = look_up(&mut sim, requester, b"picture");
            let first = hops(&sim, publisher, Purpose::Publishing)[1];
            let again = if second { hops(&sim, publisher, Purpose::PublishingAgain) } else { Vec::new() };
            if first == requester || again.contains(&first) {
                continue;
            }
            sim.kill(first);
            // Whoever is next to it notices at once: the connection is closed.
            sim.run(Duration::from_millis(50));
            let began = sim.now();
            while connect(&mut sim, requester, &hits[0]).is_err() {
                assert!(sim.now().since(began) < Duration::from_secs(20), "seed {seed}");
                sim.run(Duration::from_millis(50));
            }
            waits[usize::from(second)].push(sim.now().since(began));
        }
    }
    let mean = |waits: &Vec<Duration>| waits.iter().sum::<Duration>() / waits.len() as u32;
    println!(
        "one path: {:?} over {}; two: {:?} over {}",
        mean(&waits[0]),
        waits[0].len(),
        mean(&waits[1]),
        waits[1].len()
    );
    assert!(waits[1].len() >= 5 && mean(&waits[1]) <= mean(&waits[0]), "{waits:?}");
}
