//! What grows with the network: hops, connections and memory of a peer, messages of a lookup, and what a leader carries of all
//! lookups, at sizes from a thousand to a million peers.
//!
//! Each part of each size is measured in a process of its own, so that its memory is its own.

mod joined;
mod leaders;
mod paths;
mod plots;
mod ring;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::chart::{cell, csv};

/// Peers of one subgroup, as in the paper.
const IN_A_SUBGROUP: u32 = 50;
/// The smallest size.
pub(crate) const FEWEST: i64 = 1_000;

/// What is measured at a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// Routes over an ideal ring.
    Ring,
    /// A ring that all peers have joined, and its upkeep.
    Joined,
    /// Paths under churn, with lookups and downloads.
    Paths,
    /// What a leader carries of all lookups.
    Leaders,
}

impl Part {
    const ALL: [Self; 4] = [Self::Ring, Self::Joined, Self::Paths, Self::Leaders];

    fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Joined => "joined",
            Self::Paths => "paths",
            Self::Leaders => "leaders",
        }
    }
}

/// What is made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) out: PathBuf,
    pub(crate) peers: Vec<u32>,
    pub(crate) only: Vec<Part>,
    pub(crate) hours: u32,
    pub(crate) minutes: u32,
    pub(crate) round: u32,
    pub(crate) lookups: u32,
    pub(crate) seed: u64,
}

/// One part at one size: values by name, in order.
type Values = Vec<(&'static str, f64)>;

/// Measures all of it and draws what there is.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let parts: &[Part] = if plan.only.is_empty() { &Part::ALL } else { &plan.only };
    if let ([peers], [part]) = (plan.peers.as_slice(), parts) {
        measure(plan, *peers, *part)?;
    } else {
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        for peers in &plan.peers {
            for part in parts {
                let (hours, minutes) = (plan.hours.to_string(), plan.minutes.to_string());
                let (round, lookups, seed) = (plan.round.to_string(), plan.lookups.to_string(), plan.seed.to_string());
                let done = Command::new(&program)
                    .args(["growth", "--peers", &peers.to_string(), "--only", part.name(), "--hours", &hours])
                    .args(["--minutes", &minutes, "--round", &round, "--lookups", &lookups, "--seed", &seed, "--out"])
                    .arg(&plan.out)
                    .status()
                    .with_context(|| format!("cannot start {}", program.display()))?;
                ensure!(done.success(), "the {} of {peers} peers could not be measured", part.name());
            }
        }
    }
    plots::draw(&plan.out)
}

fn measure(plan: &Plan, peers: u32, part: Part) -> Result<()> {
    let values = match part {
        Part::Ring => ring::measure(plan.seed, peers)?,
        Part::Joined => joined::measure(plan, peers)?,
        Part::Paths => paths::measure(plan, peers)?,
        Part::Leaders => leaders::measure(plan.seed, peers),
    };
    let words: Vec<String> = values.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
    println!("{peers} peers, {}: {}", part.name(), words.join(", "));
    let head: Vec<String> =
        std::iter::once("peers").chain(values.iter().map(|(name, _)| *name)).map(Into::into).collect();
    let row = std::iter::once(peers.to_string()).chain(values.iter().map(|(_, value)| cell(*value))).collect();
    csv(&plan.out.join(format!("growth-{}-{peers}.csv", part.name())), &head, &[row])
}

/// A number as it is read best.
fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// The titles of columns, and rows of numbers by size of the network.
type Table = (Vec<String>, BTreeMap<u32, Vec<f64>>);

/// What was measured of a part so far.
fn measured(out: &Path, part: Part) -> Result<Table> {
    let (mut head, mut rows) = (Vec::new(), BTreeMap::new());
    let prefix = format!("growth-{}-", part.name());
    for entry in std::fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(size) = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".csv")?.parse::<u32>().ok())
        else {
            continue;
        };
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let (Some(titles), Some(row)) = (lines.next(), lines.next()) else { continue };
        head = titles.into_iter().map(String::from).collect();
        rows.insert(size, row.into_iter().map(|cell| cell.parse().unwrap_or(f64::NAN)).collect());
    }
    Ok((head, rows))
}
