//! Figures, and what they have to be.

use anyhow::ensure;
use serde_json::json;

use crate::transport::Transport;

/// Every process stays below this.
const MEMORY: u64 = 100 << 20;
/// NEBLO's rate is at least this, as a ratio to that of the chain.
const RATIO: f64 = 0.6;

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    /// CPU seconds of all processes of that side.
    pub(crate) cpu: f64,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.seconds / f64::from(1 << 20)
    }
}

/// Both sides over one transport.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) transport: Transport,
    pub(crate) neblo: Vec<Measured>,
    pub(crate) chain: Vec<Measured>,
    /// The most memory of any of NEBLO's processes.
    pub(crate) peak: u64,
}

impl Compared {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, neblo: Vec::new(), chain: Vec::new(), peak: 0 }
    }

    fn ratio(&self) -> f64 {
        median(&self.neblo, Measured::rate) / median(&self.chain, Measured::rate)
    }
}

fn median(runs: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    let mut figures: Vec<_> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => figures[middle],
        _ => (figures[middle - 1] + figures[middle]) / 2.0,
    }
}

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    size: u64,
    relays: usize,
    compared: Vec<Compared>,
}

impl Report {
    pub(crate) fn new(size: u64, relays: usize) -> Self {
        Self { size, relays, compared: Vec::new() }
    }

    pub(crate) fn add(&mut self, compared: Compared) {
        self.compared.push(compared);
    }

    /// Prints a table for people and a line of JSON, and fails if a figure is not what it has to be.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let links = (self.relays + 1) as f64;
        let gib = self.size as f64 / f64::from(1 << 30);
        let cost = |measured: &Measured| measured.cpu / gib / links;
        println!("{} MiB over {} relays, medians", self.size >> 20, self.relays);
        println!("{:<10}{:<13}{:>8}{:>17}{:>14}{:>8}", "transport", "", "MiB/s", "CPU-s/GiB/link", "peak MiB", "ratio");
        let mut lines = Vec::new();
        for it in &self.compared {
            let (chain, neblo) = (median(&it.chain, Measured::rate), median(&it.neblo, Measured::rate));
            let (chain_cost, neblo_cost) = (median(&it.chain, cost), median(&it.neblo, cost));
            let peak = it.peak as f64 / f64::from(1 << 20);
            println!("{:<10}{:<13}{chain:>8.1}{chain_cost:>17.2}", it.transport, "plain chain");
            println!(
                "{:<10}{:<13}{neblo:>8.1}{neblo_cost:>17.2}{peak:>14.1}{:>8.2}",
                it.transport,
                "neblo",
                it.ratio()
            );
            let rates = |runs: &[Measured]| runs.iter().map(Measured::rate).collect::<Vec<_>>();
            let costs = |runs: &[Measured]| runs.iter().map(cost).collect::<Vec<_>>();
            lines.push(json!({
                "transport": it.transport.name(),
                "ratio": it.ratio(),
                "peak_bytes": it.peak,
                "chain": { "mib_per_second": rates(&it.chain), "cpu_seconds_per_gib_and_link": costs(&it.chain) },
                "neblo": { "mib_per_second": rates(&it.neblo), "cpu_seconds_per_gib_and_link": costs(&it.neblo) },
            }));
        }
        println!("{}", json!({ "size": self.size, "relays": self.relays, "results": lines }));
        for it in &self.compared {
            ensure!(it.peak < MEMORY, "{}: a process had {} MiB in memory", it.transport, it.peak >> 20);
            ensure!(it.ratio() >= RATIO, "{}: {:.2} of the plain chain's rate", it.transport, it.ratio());
        }
        Ok(())
    }
}
