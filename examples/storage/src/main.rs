//! Blocks with copies on many nodes in one process, over real connections: nodes are killed and others join, and no block is
//! lost.
//!
//! ```text
//! cargo run -p storage
//! ```

mod store;
#[cfg(test)]
mod tests;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::world::{Repair, World};

const EXAMPLE: &str = "Example: cargo run --release -p storage -- --nodes 100 --blocks 500 --kill 2 --rounds 5";

/// Keeps blocks with copies on many NEBLO nodes in this process, kills some, lets others join, and counts what was kept.
///
/// Exits with 0 only if no block was lost.
#[derive(Clone, Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Options {
    /// Nodes, each with a TCP port of its own on this machine alone.
    #[arg(long, default_value_t = 64)]
    nodes: usize,
    /// Blocks to store.
    #[arg(long, default_value_t = 200)]
    blocks: usize,
    /// Bytes in a block, at most 65535.
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Owners of a block, 1 to 8.
    #[arg(long, default_value_t = 3)]
    copies: u8,
    /// Nodes that are killed at once; fewer than the copies.
    #[arg(long, default_value_t = 2)]
    kill: usize,
    /// How often nodes are killed, others join, and one leaves in order; each time all copies are waited for.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Chooses blocks, victims and readers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What became of the blocks.
#[derive(Debug)]
struct Report {
    /// Blocks that nobody can read any more.
    lost: usize,
    /// After deaths, joins and leaves.
    repairs: Vec<Repair>,
}

async fn run(options: &Options) -> Result<Report> {
    let Options { nodes, blocks, size, copies, kill, rounds, seed } = *options;
    ensure!((1..=8).contains(&copies), "--copies {copies}: an address has 1 to 8 owners");
    ensure!(size < 64 * 1024, "--size {size}: a block and the byte before it must fit in a message of 65536 bytes");
    ensure!(
        kill < usize::from(copies),
        "--kill {kill} could kill all owners of a block: use fewer than --copies {copies}"
    );
    ensure!(nodes > kill + 1, "--nodes {nodes}: too few to kill {kill} of them and go on");
    let start = Instant::now();
    let mut world = World::start(nodes, copies, StdRng::seed_from_u64(seed)).await?;
    println!("started    {nodes} nodes, one ring over TCP after {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    world.store(blocks, size).await?;
    println!(
        "stored     {blocks} blocks of {size} bytes, {copies} copies each, in {:.1} s",
        start.elapsed().as_secs_f64()
    );

    let mut repairs = Vec::new();
    for round in 1..=rounds {
        let before = world.work().await;
        world.kill(kill);
        repairs.push(world.repaired(&before).await?);
        println!("round {round:<4} killed {kill} nodes: {}", told(&repairs));
        let before = world.work().await;
        world.join(kill + 1).await?;
        repairs.push(world.repaired(&before).await?);
        println!("           joined {} nodes: {}", kill + 1, told(&repairs));
        let before = world.work().await;
        world.leave(1).await?;
        repairs.push(world.repaired(&before).await?);
        println!("           left   1 node:  {}", told(&repairs));
    }

    let before = world.work().await;
    world.kill(kill);
    let read = world.read().await;
    repairs.push(world.repaired(&before).await?);
    println!("read       {read} of {blocks} blocks at once after {kill} nodes more were killed");
    let read = world.read().await;
    println!("verified   {read} of {blocks} blocks, each the bytes that its address is the hash of");
    Ok(Report { lost: blocks - read, repairs })
}

/// The last repair.
fn told(repairs: &[Repair]) -> String {
    let Some(Repair { took, missing, sent, frames }) = repairs.last() else { return String::new() };
    let took = took.as_secs_f64();
    format!("{missing} copies missing, none after {took:.2} s; {sent} copies sent, {frames} frames by all nodes")
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(Report { lost: 0, repairs }) => {
            let longest = repairs.iter().map(|repair| repair.took).max().unwrap_or_default();
            println!("OK         no block was lost; the longest repair took {:.2} s", longest.as_secs_f64());
            ExitCode::SUCCESS
        }
        Ok(Report { lost, .. }) => {
            eprintln!(
                "error: {lost} blocks were lost; please report the seed {} and what is printed above",
                options.seed
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
