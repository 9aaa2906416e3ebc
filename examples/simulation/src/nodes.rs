//! The paper's scenario with whole nodes, under one policy of paths after another.

mod report;
mod scenario;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use neblo_behaviour::sim::nodes::{Hour, Nodes, Scenario};

use crate::runs::{Stopwatch, bar, parallel, resident};
use scenario::Plan;

/// A run to do.
struct Job {
    policy: String,
    scenario: Scenario,
    seed: u64,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) policy: String,
    pub(crate) seed: u64,
    pub(crate) hours: Vec<Hour>,
}

/// Runs the scenario of a file.
pub(crate) fn run(file: &Path, out: &Path, at_once: usize) -> Result<()> {
    let plan = Plan::read(file)?;
    let name = file.file_stem().map_or("nodes".into(), |name| name.to_string_lossy().into_owned());
    let job = |(policy, scenario): &(String, Scenario), seed: u64| Job {
        policy: policy.clone(),
        scenario: scenario.clone(),
        seed,
    };
    let jobs: Vec<Job> = plan.seeds.iter().flat_map(|seed| plan.scenarios.iter().map(|one| job(one, *seed))).collect();
    let bar = bar(u64::from(plan.hours) * jobs.len() as u64, "simulated hours");
    let peers = AtomicU64::new(0);
    let outcomes = parallel(&jobs, at_once, |job| {
        let Job { policy, scenario, seed } = job;
        let watch = Stopwatch::start();
        peers.fetch_add(u64::from(scenario.world.peers), Ordering::Relaxed);
        let mut run = Nodes::new(*seed, scenario.clone()).map_err(|rule| anyhow!("{policy}: {rule}"))?;
        for _ in 0..plan.hours {
            run.run(Duration::from_secs(3_600));
            bar.inc(1);
        }
        let seconds = watch.seconds();
        let there = peers.fetch_sub(u64::from(scenario.world.peers), Ordering::Relaxed);
        let memory = resident().map_or("?".into(), |bytes| (bytes / there.max(1)).to_string());
        let (events, trace) = (run.events(), run.trace());
        bar.suspend(|| {
            println!(
                "{policy} seed {seed}: {} peers, {} h in {seconds:.1} s of a core, {events} events, {:.2} M events/s, {memory} bytes a \
                 node, trace {trace:016x}",
                scenario.world.peers,
                plan.hours,
                events as f64 / seconds / 1e6,
            );
        });
        Ok(Outcome { policy: policy.clone(), seed: *seed, hours: run.hours().to_vec() })
    })?;
    bar.finish_and_clear();
    report::write(out, &name, &outcomes, plan.warm_up_hours as usize)
}
