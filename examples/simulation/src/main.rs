//! The evaluation of the paths paper (seed 003 §5) with the code that runs in production, and scenarios of one's own.
//!
//! ```text
//! cargo run --release -p simulation -- figures --out figures
//! ```

mod anonymity;
mod chart;
mod figures;
mod growth;
mod kernel;
mod nodes;
mod runs;
mod scenario;
mod walking;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

/// Millions of small things come and go, and how close together they lie decides how fast a run is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLE: &str = "Example: cargo run --release -p simulation -- figures --out figures --quick";

/// Simulates the paths of NEBLO: thousands of peers, the code that runs in production, no clock and no sockets.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the paper's figures 5 to 8 as CSV and SVG, each beside the paper's values.
    Figures {
        #[command(flatten)]
        out: Out,
        /// Simulated hours of figures 7 and 8.
        #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        hours: u32,
        /// How many seeds; the figures show their mean.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        seeds: u32,
        /// A tenth of the peers, 24 hours at most, few points: to see that it works.
        #[arg(long)]
        quick: bool,
        /// Only these figures, as 5,6: 5 and 6 come together, 7 and 8 alone.
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(5..=8))]
        only: Vec<u8>,
    },
    /// Anonymity as numbers: what colluding peers make of what they are sent, as CSV and SVG, each value beside its formula.
    Anonymity {
        #[command(flatten)]
        out: Out,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A tenth of the samples: to see that it works.
        #[arg(long)]
        quick: bool,
    },
    /// Runs one scenario: a CSV with all counts of every hour, and a plot.
    Run {
        /// The scenario, a TOML file; `scenarios/paper.toml` names all that can be set.
        scenario: PathBuf,
        #[command(flatten)]
        out: Out,
    },
    /// The paper's scenario with whole nodes, ring and elections and all, under the hardened policy and the paper's.
    Nodes {
        /// The scenario, a TOML file; `scenarios/nodes.toml` names all that can be set.
        scenario: PathBuf,
        #[command(flatten)]
        out: Out,
    },
    /// What grows with the network, as tables and plots: hops, connections, memory, messages, and what a leader carries.
    Growth {
        #[command(flatten)]
        out: Out,
        /// Numbers of peers.
        #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000],
            value_parser = clap::value_parser!(u32).range(growth::FEWEST..=2_000_000))]
        peers: Vec<u32>,
        /// Only these parts.
        #[arg(long, value_delimiter = ',')]
        only: Vec<growth::Part>,
        /// Simulated hours of paths; one alone above 100,000 peers.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        hours: u32,
        /// Simulated minutes of upkeep of the joined ring, once it has grown.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        minutes: u32,
        /// Seconds of a round of upkeep of the joined ring; half of them are an eighth longer.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
        round: u32,
        /// Lookups in them, about; 1,000 at most above 100,000 peers.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        lookups: u32,
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Times the timer wheel alone, its handlers empty.
    Kernel {
        /// Events to take out at each size.
        #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        events: u64,
    },
}

#[derive(Debug, Args)]
struct Out {
    /// The directory for the files; it is made if there is none, and files in it are overwritten.
    #[arg(long)]
    out: PathBuf,
    /// Runs at once; as many as there are cores if not given.
    #[arg(long)]
    jobs: Option<std::num::NonZeroUsize>,
}

impl Out {
    fn prepare(&self) -> Result<usize> {
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make the directory {}", self.out.display()))?;
        let cores = std::thread::available_parallelism();
        Ok(self.jobs.or(cores.ok()).map_or(1, std::num::NonZeroUsize::get))
    }
}

fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulation: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Figures { out, hours, seeds, quick, only } => {
            let jobs = out.prepare()?;
            let wanted = |figure: u8| only.is_empty() || only.contains(&figure);
            // A value that is off is told at the end: the other figures are of use without it.
            let walks = if wanted(5) || wanted(6) { walking::figures(&out.out, jobs, quick) } else { Ok(()) };
            figures::over_time(&out.out, jobs, &figures::Size { hours, seeds, quick }, wanted)?;
            walks
        }
        Command::Anonymity { out, seed, quick } => {
            let jobs = out.prepare()?;
            anonymity::all(anonymity::Plan { out: &out.out, jobs, seed, quick })
        }
        Command::Run { scenario, out } => {
            let jobs = out.prepare()?;
            figures::one(&scenario, &out.out, jobs)
        }
        Command::Nodes { scenario, out } => {
            let jobs = out.prepare()?;
            nodes::run(&scenario, &out.out, jobs)
        }
        Command::Growth { out, peers, only, hours, minutes, round, lookups, seed } => {
            out.prepare()?;
            growth::run(&growth::Plan { out: out.out, peers, only, hours, minutes, round, lookups, seed })
        }
        Command::Kernel { events } => {
            kernel::time(events);
            Ok(())
        }
    }
}
