//! Many runs, one a core, with a progress bar.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use neblo_behaviour::sim::paths::{Hour, PathLayer, Scenario};

/// A run to do.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) scenario: Scenario,
    pub(crate) hours: u32,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) job: Job,
    pub(crate) hours: Vec<Hour>,
    pub(crate) events: u64,
    pub(crate) trace: u64,
    /// On a core, where the system tells, else by the clock: other programs must not count.
    pub(crate) seconds: f64,
    /// Memory of this process at the end of the run for each peer that was simulated in it then.
    pub(crate) bytes_a_peer: Option<u64>,
}

impl Outcome {
    /// A line about the run itself.
    pub(crate) fn line(&self) -> String {
        let Job { name, seed, hours, .. } = &self.job;
        let memory = self.bytes_a_peer.map_or("?".to_string(), |bytes| bytes.to_string());
        let rate = self.events as f64 / self.seconds / 1e6;
        format!(
            "{name:<34} seed {seed}: {hours} h in {:.1} s of a core, {} events, {rate:.2} M events/s, {memory} bytes a node, trace {:016x}",
            self.seconds, self.events, self.trace
        )
    }
}

/// Does all of `items` with `work`, as many at once as there are `jobs`; the results are in the order of the items.
pub(crate) fn parallel<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(items.len()) {
            scope.spawn(|| {
                while let Some((item, result)) = {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    items.get(nth).zip(results.get(nth))
                } {
                    let done = work(item);
                    if let Ok(mut result) = result.lock() {
                        *result = Some(done);
                    }
                }
            });
        }
    });
    let taken = results.into_iter().map(|result| result.into_inner().ok().flatten());
    taken.map(|result| result.unwrap_or_else(|| Err(anyhow!("a run did not end")))).collect()
}

/// A bar that shows how far all runs are.
pub(crate) fn bar(steps: u64, of: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {elapsed} gone, {eta} left");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(of)
}

/// Measures the time that a thread is on a core, where the system tells, else the time by the clock.
pub(crate) struct Stopwatch(Instant, Option<f64>);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), on_core())
    }

    pub(crate) fn seconds(&self) -> f64 {
        let of_core = self.1.zip(on_core()).map(|(begun, now)| now - begun);
        of_core.unwrap_or_else(|| self.0.elapsed().as_secs_f64())
    }
}

/// Seconds that this thread has been on a core, where the system tells.
fn on_core() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse::<f64>().ok().map(|nanos| nanos / 1e9)
}

/// Resident bytes of this process, where the system tells.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most that it ever had.
pub(crate) fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// Does all runs, printing a line for each as it ends.
pub(crate) fn all(jobs: &[Job], at_once: usize) -> Result<Vec<Outcome>> {
    let bar = bar(jobs.iter().map(|job| u64::from(job.hours)).sum(), "simulated hours");
    let peers = AtomicU64::new(0);
    let done = parallel(jobs, at_once, |job| {
        let watch = Stopwatch::start();
        peers.fetch_add(u64::from(job.scenario.world.peers), Ordering::Relaxed);
        let mut run = PathLayer::new(job.seed, job.scenario.clone()).map_err(|rule| anyhow!("{}: {rule}", job.name))?;
        for _ in 0..job.hours {
            run.run(Duration::from_secs(3_600));
            bar.inc(1);
        }
        let seconds = watch.seconds();
        let there = peers.fetch_sub(u64::from(job.scenario.world.peers), Ordering::Relaxed);
        let outcome = Outcome {
            job: job.clone(),
            hours: run.hours().to_vec(),
            events: run.events(),
            trace: run.trace(),
            seconds,
            bytes_a_peer: resident().map(|bytes| bytes / there.max(1)),
        };
        bar.suspend(|| println!("{}", outcome.line()));
        Ok(outcome)
    })?;
    bar.finish_and_clear();
    Ok(done)
}
