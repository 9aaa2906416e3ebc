//! The ring with its messages against what libp2p offers for the same, both sides in the same run:
//!
//! ```text
//! cargo bench -p neblo-behaviour --bench ring -- [--nodes 64,256,512] [--only kad|request|hops] [--runs 1] [--lazy] [--json]
//! ```
//!
//! `kad`: a REQ to a random overlay address, answered by its owner, against `get_closest_peers` and `get_record` (20
//! replicas) of `libp2p-kad`: so many nodes in one process, memory transport with Noise and yamux, one lookup at a time from
//! random nodes, all tables filled before. Each side is a process of its own, so that its memory is its own.
//!
//! `request`: request and response of 64 B and of 64 KiB (both ways) between two nodes of one process, one at a time and
//! with 32 in flight, against `libp2p-request-response`, over TCP on loopback and over memory.
//!
//! `hops`: of the messages of `kad`, how many hops a request takes.
//!
//! Fails if a figure is worse than it may be at 256 nodes.

mod exchange;
mod figures;
mod host;
mod kad;
mod lookups;
mod messaging;
mod neblo;
mod process;
mod report;
mod request_response;
mod targets;
mod transport;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use figures::Figures;
use report::Report;

/// Measures the ring against libp2p's own protocols.
#[derive(Debug, Parser)]
struct Options {
    /// Nodes of a network
    #[arg(long, value_delimiter = ',', default_value = "64,256,512", value_parser = clap::value_parser!(u16).range(16..=1024))]
    nodes: Vec<u16>,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Negotiate substreams lazily (V1Lazy), on both sides
    #[arg(long, global = true)]
    lazy: bool,
    /// Print a line of JSON for each thing measured, too
    #[arg(long)]
    json: bool,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    side: Option<Side>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Kad,
    Request,
    Hops,
}

#[derive(Clone, Debug, Subcommand)]
enum Side {
    /// One network of NEBLO.
    #[command(hide = true)]
    Neblo { nodes: usize },
    /// One network of Kademlia.
    #[command(hide = true)]
    Kad { nodes: usize },
    /// Requests and responses between two nodes, both sides by turns.
    #[command(hide = true)]
    Request {
        /// What is measured has a name that begins so
        #[arg(default_value = "")]
        only: String,
    },
}

impl Side {
    fn args(&self) -> Vec<String> {
        match self {
            Self::Neblo { nodes } => vec!["neblo".into(), nodes.to_string()],
            Self::Kad { nodes } => vec!["kad".into(), nodes.to_string()],
            Self::Request { only } => vec!["request".into(), only.clone()],
        }
    }

    async fn measure(self, lazy: bool) -> anyhow::Result<Figures> {
        match self {
            Self::Neblo { nodes } => neblo::measure(nodes, lazy).await,
            Self::Kad { nodes } => kad::measure(nodes, lazy).await,
            Self::Request { only } => exchange::measure(lazy, &only).await,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    match options.side.take() {
        Some(side) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let figures = runtime.block_on(async { tokio::spawn(side.measure(options.lazy)).await? })?;
            println!("{}", figures.to_json());
            // The nodes are not taken down one by one.
            std::process::exit(0);
        }
        None => compare(&options),
    }
}

fn compare(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new(options.json, options.lazy);
    for run in 1..=options.runs {
        for nodes in options.nodes.iter().copied().map(usize::from) {
            if options.only != Some(Only::Request) {
                report.add(nodes, "neblo", run, run_side(&Side::Neblo { nodes }, options)?);
            }
            if options.only.is_none_or(|only| only == Only::Kad) {
                report.add(nodes, "kad", run, run_side(&Side::Kad { nodes }, options)?);
            }
        }
        if options.only.is_none_or(|only| only == Only::Request) {
            report.add(2, "request", run, run_side(&Side::Request { only: String::new() }, options)?);
        }
    }
    report.print()
}

/// Measures one side in a process of its own.
fn run_side(side: &Side, options: &Options) -> anyhow::Result<Figures> {
    eprintln!("{}", side.args().join(" "));
    let mut command = std::process::Command::new(std::env::current_exe()?);
    if options.lazy {
        command.arg("--lazy");
    }
    let output = command.args(side.args()).stderr(std::process::Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "{} failed", side.args().join(" "));
    let text = String::from_utf8(output.stdout)?;
    Figures::from_json(text.trim()).with_context(|| format!("not figures: {text}"))
}
