//! Row "black hole": a last relay that acknowledges announcements and will not have a stream come, with one path for publishing
//! and with two.

use super::*;
use neblo_behaviour::PathPolicy;
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::wire::Frame;

fn network_with(seed: u64, second: bool) -> Simulation {
    let policy = PathPolicy::hardened().with_second_path(second).with_search_anew(None);
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
fn a_publication_is_found_at_the_moment_that_a_first_relay_dies_and_streamed_soon_with_one_path_or_two() {
    let mut took = [Vec::new(), Vec::new()];
    for seed in seeds(912..984) {
        for second in [false, true] {
            let mut sim = network_with(seed, second);
            let (publisher, requester) = strangers(&sim);
            announce(&mut sim, publisher, b"picture");
            sim.run(Duration::from_secs(2));
            let first = hops(&sim, publisher, Purpose::Publishing)[1];
            let others = [Purpose::PublishingAgain, Purpose::Searching].map(|purpose| hops(&sim, publisher, purpose));
            let asks = [Purpose::Searching, Purpose::Downloading].map(|purpose| hops(&sim, requester, purpose));
            if asks.iter().any(|asks| asks.contains(&first)) || second && others[0].contains(&first) {
                continue;
            }
            sim.kill(first);
            // The connections of the dead one are closed. Who relayed after it tells the leader when a stream has come in vain.
            sim.run(Duration::from_millis(100));
            // It is found either way: a row outlasts its path for as long as a repair takes.
            let (hits, ..) = look_up(&mut sim, requester, b"picture");
            assert!(!hits.is_empty(), "seed {seed}");
            let began = sim.now();
            assert!(connect(&mut sim, requester, &hits[0]).is_ok(), "seed {seed}");
            took[usize::from(second)].push(sim.now().since(began).as_millis());
        }
    }
    let [mean, most] = [
        took.each_ref().map(|of| of.iter().sum::<u128>() / of.len() as u128),
        took.each_ref().map(|of| *of.iter().max().unwrap()),
    ];
    println!(
        "one path: {} streams, {} ms, {} at most; two: {}, {} ms, {}",
        took[0].len(),
        mean[0],
        most[0],
        took[1].len(),
        mean[1],
        most[1]
    );
    assert!(
        took[1].len() >= 10 && mean.iter().all(|mean| *mean < 1_000) && most.iter().all(|most| *most < 5_000),
        "{took:?}"
    );
}
