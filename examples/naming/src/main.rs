//! Names to signed records: requests travel towards the owner of a name, and forwarders on the way answer from what they saw
//! pass before.
//!
//! ```text
//! cargo run -p naming
//! ```

mod cache;
mod record;
mod service;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use example_nodes::{Node, network};
use futures::StreamExt;
use libp2p::identity::Keypair;
use neblo_behaviour::Config;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::cache::Clock;
use crate::record::Record;
use crate::service::{Found, Service, register, resolve};

const EXAMPLE: &str = "Example: cargo run --release -p naming -- --nodes 64 --names 50 --lookups 2000";
/// Lookups under way at once.
const AT_ONCE: usize = 16;

/// Registers names on NEBLO nodes in this process, looks them up without and with caches at forwarders, and prints what the
/// caches change.
#[derive(Clone, Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Options {
    /// Nodes, each with a TCP port of its own on this machine alone.
    #[arg(long, default_value_t = 48)]
    nodes: usize,
    /// Names to register.
    #[arg(long, default_value_t = 20)]
    names: usize,
    /// Lookups without caches, and again with them.
    #[arg(long, default_value_t = 1000)]
    lookups: usize,
    /// Seconds for which a forwarder remembers a record.
    #[arg(long, default_value_t = 60)]
    time_to_live: u64,
    /// Chooses askers and names.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a series of lookups took.
#[derive(Clone, Copy, Debug, Default)]
struct Series {
    found: usize,
    hops: u64,
    cached: usize,
    /// Answers given by all owners, and by the owner who gave most.
    owners: u64,
    busiest: u64,
}

fn config() -> Config {
    Config::default().with_network("naming example").with_subgroups(false)
}

/// A ring of nodes that all know names.
async fn start(nodes: usize, time_to_live: Duration, clock: &Clock) -> Result<(Vec<Node>, Vec<Arc<Service>>)> {
    let mut services = Vec::new();
    let nodes = network(nodes, &config(), async |_, node: &Node| {
        services.push(Service::install(&node.handle, time_to_live, clock.clone()).await?);
        Ok(())
    })
    .await?;
    Ok((nodes, services))
}

/// Looks random names up from random nodes; a few names are asked for much more often than the others.
async fn series(nodes: &[Node], services: &[Arc<Service>], names: &[String], lookups: usize, seed: u64) -> Series {
    let mut rng = StdRng::seed_from_u64(seed);
    let before: Vec<u64> = services.iter().map(|service| service.answers().0).collect();
    let asking: Vec<_> = (0..lookups)
        .map(|_| {
            let popular = rng.random_range(0..names.len()).min(rng.random_range(0..names.len()));
            let (handle, name) = (nodes[rng.random_range(0..nodes.len())].handle.clone(), names[popular].clone());
            async move { resolve(&handle, &name).await }
        })
        .collect();
    let found: Vec<Result<Found>> = futures::stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    let mut series = Series::default();
    for found in found.into_iter().flatten() {
        series.found += 1;
        series.hops += u64::from(found.hops);
        series.cached += usize::from(found.cached);
    }
    for (service, before) in services.iter().zip(before) {
        let answers = service.answers().0 - before;
        series.owners += answers;
        series.busiest = series.busiest.max(answers);
    }
    series
}

fn tell(what: &str, series: &Series, lookups: usize) {
    let Series { found, hops, cached, owners, busiest } = *series;
    let mean = hops as f64 / found.max(1) as f64;
    println!(
        "{what:<10} {found} of {lookups} found, {mean:.2} hops each; {cached} answered by forwarders, {owners} by owners, {busiest} by the \
         busiest owner"
    );
}

/// Both series, without and with caches.
async fn run(options: &Options) -> Result<[Series; 2]> {
    let Options { nodes, names, lookups, time_to_live, seed } = *options;
    ensure!(nodes > 0 && names > 0 && lookups > 0, "--nodes, --names and --lookups must be at least 1");
    let (nodes, services) = start(nodes, Duration::ZERO, &Clock::default()).await?;
    println!("started    {} nodes, one ring over TCP", nodes.len());
    let keypair = Keypair::generate_ed25519();
    let names: Vec<String> = (0..names).map(|number| format!("shop-{number}.example")).collect();
    for (number, name) in names.iter().enumerate() {
        let record = Record::sign(&keypair, name, &format!("192.0.2.{number}"), 1)?;
        register(&nodes[number % nodes.len()].handle, &record).await?;
    }
    println!("registered {} names, each with 3 owners, signed", names.len());
    let without = series(&nodes, &services, &names, lookups, seed).await;
    tell("no caches", &without, lookups);
    for service in &services {
        service.remember_for(Duration::from_secs(time_to_live));
    }
    let with = series(&nodes, &services, &names, lookups, seed).await;
    tell("caches", &with, lookups);
    let share = |with: f64, without: f64| 100.0 * (1.0 - with / without.max(1.0));
    println!(
        "effect     {:.0} % fewer hops, {:.0} % less work for owners, {:.0} % less for the busiest",
        share(with.hops as f64, without.hops as f64),
        share(with.owners as f64, without.owners as f64),
        share(with.busiest as f64, without.busiest as f64)
    );
    ensure!(without.found == lookups && with.found == lookups, "not every lookup found its record");
    Ok([without, with])
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
