//! Small runs of whole nodes.

use std::sync::Arc;
use std::time::Duration;

use neblo_behaviour::protocol::{Config, PathPolicy};
use neblo_behaviour::sim::nodes::{Hour, Nodes, Scenario};
use neblo_behaviour::sim::traces::{Latencies, Lifetimes};
use neblo_behaviour::sim::world::World;

const MINUTE: Duration = Duration::from_secs(60);

fn small(policy: PathPolicy) -> Scenario {
    let config = Config::default().with_subgroup_size(12).with_path_policy(policy);
    let query_every = Duration::from_secs(300);
    let world = World { peers: 36, contents: 54, query_every, ..World::default() };
    Scenario { world, config, ..Scenario::default() }
}

fn run(seed: u64, scenario: Scenario, minutes: u32) -> Nodes {
    let mut run = Nodes::new(seed, scenario).unwrap();
    run.run(MINUTE * minutes);
    run
}

fn sum(run: &Nodes, what: impl Fn(&Hour) -> u64) -> u64 {
    run.hours().iter().map(what).sum()
}

#[test]
fn without_churn_nothing_that_is_published_fails_under_either_policy() {
    for (policy, hops) in [(PathPolicy::hardened(), 2.0 * 3.33 + 1.0), (PathPolicy::paper(), 2.0 * 2.24 + 1.0)] {
        let (mut all_hops, mut delivered) = (0, 0);
        for seed in 1..5 {
            let usual = small(policy);
            let world = World { churn: None, ..usual.world.clone() };
            let run = run(seed, Scenario { world, ..usual }, 60);
            let hour = &run.hours()[0];
            // Who asks before the owner has published, or in its own first minute, may not find.
            assert_eq!((hour.failed, hour.owner_away), (0, 0), "seed {seed}: {:?}", hour.reasons);
            assert!(hour.not_published <= 3, "seed {seed}: {}", hour.not_published);
            assert!(hour.delivered > 300 && hour.asker_new < 5);
            (all_hops, delivered) = (all_hops + hour.hops, delivered + hour.delivered);
            let carried: u64 = hour.messages.iter().sum();
            assert_eq!(hour.load.iter().map(|load| load.sent.frames).sum::<u64>(), carried);
            assert!(hour.bytes.iter().zip(&hour.messages).all(|(bytes, messages)| (*bytes > 0) == (*messages > 0)));
            let paper = policy.is_paper();
            assert_eq!((hour.messages[4] == 0, hour.messages[8] == 0), (paper, !paper));
        }
        let found = all_hops as f64 / delivered as f64;
        // 36 owners have one path each, so that the hops of all downloads of a run are far from independent.
        assert!((found / hops - 1.0).abs() < 0.15, "{found} hops");
    }
}

#[test]
fn paths_broken_by_peers_that_vanish_are_whole_again_in_seconds() {
    let run = run(2, small(PathPolicy::hardened()), 120);
    assert!(sum(&run, |hour| hour.left) > 20);
    let restored: Vec<Duration> = run.hours().iter().flat_map(|hour| hour.restored[0].clone()).collect();
    let mean = restored.iter().map(Duration::as_secs_f64).sum::<f64>() / restored.len() as f64;
    let (failed, requests) = (sum(&run, |hour| hour.failed), sum(&run, |hour| hour.requests));
    println!("{} paths, {mean:.2} s on average; {failed} of {requests} failed", restored.len());
    assert!(restored.len() > 60 && mean < 6.0, "{} paths, {mean} s", restored.len());
    assert!(100 * failed <= requests, "{failed} of {requests}");
}

#[test]
fn nodes_come_and_go_as_they_were_recorded() {
    let lifetimes = Lifetimes::parse("1,0,100000\n2,0,1200\n3,1200,100000").unwrap();
    let matrix = Latencies::parse("10").unwrap();
    let usual = small(PathPolicy::hardened());
    let (lifetimes, matrix) = (Some(Arc::new(lifetimes)), Some(Arc::new(matrix)));
    let run = run(1, Scenario { world: World { lifetimes, matrix, ..usual.world.clone() }, ..usual }, 60);
    let hour = &run.hours()[0];
    // Of 36 peers 12 stay, and 12 go after 20 minutes, when the other 12 come.
    assert_eq!((hour.joined, hour.left), (12, 12));
    assert!(hour.delivered > 100, "{}", hour.delivered);
}

#[test]
fn a_run_is_a_matter_of_its_seed_and_scenario() {
    // Some have gone by then: the shortest life is 26 minutes.
    let trace = |seed| format!("{:016x}", run(seed, small(PathPolicy::hardened()), 40).trace());
    assert_eq!([trace(7), trace(7), trace(8)], ["9e7337867e83e75e", "9e7337867e83e75e", "d7b7bf67d9aa3199"]);
}
