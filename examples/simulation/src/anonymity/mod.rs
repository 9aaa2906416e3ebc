//! Anonymity as numbers: what colluding peers make of what they are sent, as tables and plots, each value beside its formula.

mod ends;
mod exposure;
mod leader;
mod posterior;
mod resumes;
mod ring;
mod rounds;
mod sybils;
mod ttl;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use crate::chart::{cell, csv};

/// Members besides the leader, and the probability that a walk goes on: the default of both policies.
const MEMBERS: u32 = 100;
const P: f64 = 0.7;

/// What is made, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) out: &'a Path,
    /// Runs at once.
    pub(crate) jobs: usize,
    /// The first seed; runs that have several take the next ones.
    pub(crate) seed: u64,
    /// A tenth of the samples.
    pub(crate) quick: bool,
}

impl Plan<'_> {
    /// So many, or a tenth of them.
    fn some(&self, all: u32) -> u32 {
        if self.quick { all.div_ceil(10) } else { all }
    }

    /// Writes a table.
    fn table(&self, name: &str, head: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let head: Vec<String> = head.iter().map(|title| (*title).into()).collect();
        csv(&self.out.join(format!("anonymity-{name}.csv")), &head, rows)
    }

    fn plot(&self, name: &str) -> PathBuf {
        self.out.join(format!("anonymity-{name}.svg"))
    }
}

/// What is measured, and what does it.
type Estimator = (&'static str, fn(Plan<'_>) -> Result<()>);

/// A row: words, then numbers.
fn row(words: &[&str], numbers: &[f64]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).chain(numbers.iter().map(|number| cell(*number))).collect()
}

/// Makes all of them.
pub(crate) fn all(plan: Plan<'_>) -> Result<()> {
    let estimators: [Estimator; 9] = [
        ("the peer before the first colluder", posterior::make),
        ("a TTL on the wire", ttl::make),
        ("the predecessor attack", rounds::make),
        ("first relays under churn", exposure::make),
        ("how paths end", ends::make),
        ("values for repairs", resumes::make),
        ("what a leader learns", leader::make),
        ("the ring", ring::make),
        ("Sybils", sybils::make),
    ];
    for (what, make) in estimators {
        let began = Instant::now();
        println!("{what}:");
        make(plan)?;
        println!("  ({:.0} s)", began.elapsed().as_secs_f64());
    }
    Ok(())
}
