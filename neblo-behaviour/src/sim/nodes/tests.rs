//! Small runs of whole nodes.

use super::*;
use crate::protocol::{Config, PathPolicy};

fn small(policy: PathPolicy) -> Scenario {
    let config = Config::default().with_subgroup_size(16).with_path_policy(policy);
    Scenario {
        peers: 64,
        contents: 96,
        config,
        query_every: Duration::from_secs(300),
        ..Scenario::default()
    }
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
fn without_churn_nothing_fails_under_either_policy() {
    for (policy, hops) in [(PathPolicy::hardened(), 2.0 * 4.33 + 1.0), (PathPolicy::paper(), 2.0 * 2.24 + 1.0)] {
        let run = run(1, Scenario { churn: None, ..small(policy) }, 60);
        let hour = &run.hours()[0];
        println!("{hour:?}");
        assert_eq!(hour.all_failed(), 0, "{:?}", hour.reasons);
        assert!(hour.delivered > 500);
        let found = hour.hops as f64 / hour.delivered as f64;
        // 64 owners have one path each, so that the hops of all downloads are far from independent.
        assert!((found / hops - 1.0).abs() < 0.25, "{found} hops");
        let carried: u64 = hour.messages.iter().sum();
        assert_eq!(hour.load.iter().map(|load| load.sent.frames).sum::<u64>(), carried);
        assert!(hour.bytes.iter().zip(&hour.messages).all(|(bytes, messages)| (*bytes > 0) == (*messages > 0)));
        let paper = policy.is_paper();
        assert_eq!((hour.messages[4] == 0, hour.messages[7] == 0), (paper, !paper));
    }
}

#[test]
fn paths_broken_by_peers_that_vanish_are_whole_again_in_seconds() {
    let run = run(2, small(PathPolicy::hardened()), 180);
    assert!(sum(&run, |hour| hour.left) > 60);
    let restored: Vec<Duration> = run.hours().iter().flat_map(|hour| hour.restored[0].clone()).collect();
    let mean = restored.iter().map(Duration::as_secs_f64).sum::<f64>() / restored.len() as f64;
    let (failed, requests) = (sum(&run, |hour| hour.failed), sum(&run, |hour| hour.requests));
    println!("{} paths, {mean:.2} s on average; {failed} of {requests} failed", restored.len());
    assert!(restored.len() > 100 && mean < 6.0, "{mean}");
    assert!(100 * failed <= requests, "{failed} of {requests}");
}

#[test]
fn a_run_is_a_matter_of_its_seed_and_scenario() {
    let all = |seed| {
        let run = run(seed, small(PathPolicy::hardened()), 61);
        (run.trace(), run.hours().to_vec())
    };
    let first = all(7);
    assert_eq!(first, all(7));
    assert_ne!(first.0, all(8).0);
    assert_eq!(first.0, 0, "the trace of seed 7");
}
