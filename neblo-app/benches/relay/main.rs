//! A file over a path of exactly so many relays, every node a process of its own, against a plain libp2p chain of as many
//! splices in the same run:
//!
//! ```text
//! cargo bench -p neblo-app --bench relay -- [--size 1GiB] [--relays 5] [--transport tcp|quic|both] [--runs 1]
//! ```
//!
//! NEBLO's side is all that a user gets: a path of random walks, encrypted end to end, read from a file, checked on both
//! sides and written to a file. The chain's side is bytes from memory that are thrown away at the other end. NEBLO's nodes
//! keep their ring going while the chain runs, so that both have the same machine.
//!
//! Fails if the bytes differ, if a process of NEBLO needs 100 MiB or more at any time, or if NEBLO is slower than 0.6 of
//! the chain.

mod chain;
mod network;
mod process;
mod report;
mod transport;

use anyhow::{Context, ensure};
use bytesize::ByteSize;
use clap::{Parser, Subcommand};
use tempfile::TempDir;

use network::Network;
use report::{Compared, Report};
use transport::Transport;

/// Measures NEBLO against a plain libp2p chain.
#[derive(Debug, Parser)]
struct Options {
    /// Length of the file
    #[arg(long, default_value = "1GiB")]
    size: ByteSize,
    /// Relays between requester and publisher
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=12))]
    relays: u16,
    /// Transport between nodes
    #[arg(long, value_enum, default_value = "both")]
    transport: Which,
    /// Times that both sides are measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    Tcp,
    Quic,
    Both,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// One process of the plain chain.
    #[command(hide = true)]
    Chain(chain::Link),
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match options.role {
        Some(Role::Chain(link)) => runtime.block_on(link.run()),
        None => runtime.block_on(compare(&options)),
    }
}

async fn compare(options: &Options) -> anyhow::Result<()> {
    let transports: &[Transport] = match options.transport {
        Which::Tcp => &[Transport::Tcp],
        Which::Quic => &[Transport::Quic],
        Which::Both => &[Transport::Tcp, Transport::Quic],
    };
    let (size, relays) = (options.size.as_u64(), usize::from(options.relays));
    ensure!(size >= 1 << 20, "--size: less than 1 MiB says nothing about a rate");
    let mut report = Report::new(size, relays);
    for transport in transports {
        let dir = workspace()?;
        let mut network = Network::start(*transport, dir.path(), relays).await?;
        let mut compared = Compared::new(*transport);
        for run in 1..=options.runs {
            eprintln!("{transport}: run {run} of {}", options.runs);
            compared.neblo.push(network.measure(size, relays).await.context("NEBLO's side")?);
            compared.chain.push(chain::measure(*transport, size, relays).await.context("the chain's side")?);
        }
        compared.peak = network.peak()?;
        report.add(compared);
    }
    report.print()
}

/// A folder in memory where there is one, so that no disk is measured.
fn workspace() -> anyhow::Result<TempDir> {
    let memory = std::path::Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => TempDir::with_prefix_in("neblo-bench-", memory),
        false => TempDir::with_prefix("neblo-bench-"),
    };
    dir.context("cannot make a folder for the benchmark's files")
}
