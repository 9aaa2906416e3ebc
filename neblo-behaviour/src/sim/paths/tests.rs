//! Small runs of the path layer.

use super::*;
use crate::sim::traces::{Latencies, Lifetimes};
use crate::sim::world::World;

fn small() -> Scenario {
    Scenario { world: World { peers: 400, contents: 800, ..World::default() }, subgroups: 8, ..Scenario::default() }
}

fn run(seed: u64, scenario: Scenario, hours: u32) -> PathLayer {
    let mut run = PathLayer::new(seed, scenario).unwrap();
    run.run(HOUR * hours);
    run
}

fn sum(run: &PathLayer, what: impl Fn(&Hour) -> u64) -> u64 {
    run.hours().iter().map(what).sum()
}

#[test]
fn without_churn_nothing_fails() {
    for restoration in [true, false] {
        let world = World { churn: None, ..small().world };
        let run = run(1, Scenario { world, restoration, ..small() }, 3);
        assert_eq!(sum(&run, Hour::failed), 0);
        assert!(sum(&run, |hour| hour.delivered) > 1_000);
        let hops = sum(&run, |hour| hour.hops) as f64 / sum(&run, |hour| hour.delivered) as f64;
        assert!((hops - 5.478).abs() < 0.4, "{hops}");
        let timeouts = if restoration { 400 * 35 } else { 0 };
        assert_eq!(sum(&run, |hour| hour.timeouts), timeouts);
        assert_eq!(sum(&run, Hour::upkeep) > 0, restoration || sum(&run, |hour| hour.messages[11]) > 0);
    }
}

#[test]
fn restoration_is_what_keeps_requests_from_failing() {
    let with = run(2, small(), 10);
    let without = run(2, Scenario { restoration: false, ..small() }, 10);
    let never = run(2, Scenario { restoration: false, rejoin: Rejoin::AsLeft, ..small() }, 10);
    let left: Vec<u64> = [&with, &without, &never].iter().map(|run| sum(run, |hour| hour.left)).collect();
    assert!(left[0] > 300 && left[1] == left[0] && left[2] == left[0], "the same churn: {left:?}");
    let share = |run: &PathLayer| sum(run, Hour::failed_owner_present) as f64 / sum(run, |hour| hour.requests) as f64;
    println!("{:.3} {:.3} {:.3}", share(&with), share(&without), share(&never));
    assert!(share(&with) < 0.1 && share(&without) > 2.0 * share(&with) && share(&never) > share(&with));
}

#[test]
fn a_run_is_a_matter_of_its_seed_and_scenario() {
    let first = run(7, small(), 4);
    let again = run(7, small(), 4);
    assert_eq!((first.trace(), first.hours()), (again.trace(), again.hours()));
    assert_ne!(first.trace(), run(8, small(), 4).trace());
    assert_eq!(first.trace(), 0x2b22_7e75_f9bc_bdbe, "the trace of seed 7");
}

#[test]
fn peers_come_and_go_as_they_were_recorded_and_messages_take_as_long_as_the_matrix_says() {
    let lifetimes = Lifetimes::parse("1,0,100000\n2,0,1800\n3,1800,5400").unwrap();
    let matrix = Latencies::parse("10").unwrap();
    let world = World {
        lifetimes: Some(Arc::new(lifetimes)),
        matrix: Some(Arc::new(matrix)),
        retries: 0,
        wanted: Wanted::Present,
        ..small().world
    };
    let scenario = Scenario { world, ..small() };
    let run = run(3, scenario, 2);
    let turns: Vec<[u64; 3]> = run.hours().iter().map(|hour| [hour.present, hour.joined, hour.left]).collect();
    // Of 400 peers 134 stay, 133 go after half an hour, when 133 others come for an hour.
    assert_eq!(turns, [[267, 133, 133], [134, 0, 133]]);
    assert_eq!(run.network.latency(3, 77), Duration::from_millis(10));
    assert!(sum(&run, |hour| hour.delivered) > 100);
}

#[test]
fn what_is_due_takes_little_room() {
    // A million peers have some seven million pings under way when their timers expire together.
    assert!(size_of::<Option<network::Due>>() <= 32);
}
