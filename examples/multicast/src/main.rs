//! Multicast in the manner of Scribe: forwarders build a tree out of the joins that pass them, messages flow down it, and it
//! mends itself when an inner node is killed.
//!
//! ```text
//! cargo run -p multicast
//! ```

mod group;
#[cfg(test)]
mod tests;
mod tree;
mod wire;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::world::{Shape, World};

const EXAMPLE: &str = "Example: cargo run --release -p multicast -- --nodes 100 --members 60 --messages 50";

/// Builds a multicast tree over NEBLO nodes in this process, sends messages down it, kills an inner node, and counts what every
/// member got.
///
/// Exits with 0 only if every member that lives got every message once.
#[derive(Clone, Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Options {
    /// Nodes, each with a TCP port of its own on this machine alone.
    #[arg(long, default_value_t = 48)]
    nodes: usize,
    /// Nodes that are members of the group.
    #[arg(long, default_value_t = 24)]
    members: usize,
    /// Messages before the kill, and again after it.
    #[arg(long, default_value_t = 20)]
    messages: usize,
    /// Milliseconds between two renewals of a joining; a child that misses three is forgotten.
    #[arg(long, default_value_t = 1000)]
    renew: u64,
    /// Chooses members and publishers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

async fn run(options: &Options) -> Result<()> {
    let Options { nodes, members, messages, renew, seed } = *options;
    ensure!(nodes >= 4, "--nodes {nodes}: use at least 4, so that there is a tree");
    ensure!((1..=nodes).contains(&members), "--members {members}: use 1 to {nodes}, the number of nodes");
    ensure!(renew >= 100, "--renew {renew}: use at least 100 ms");
    let mut world = World::start(nodes, Duration::from_millis(renew), seed).await?;
    println!("started    {nodes} nodes, one ring over TCP");
    world.enter(members);
    world.settled().await?;
    tell("tree", &world.shape());

    let took = world.publish(messages).await?;
    tell_delivered(&world, messages, took);
    let killed = world.kill_inner()?;
    println!("killed     an inner node with {killed} children, and published on at once");
    let took = world.publish(messages).await?;
    tell_delivered(&world, messages, took);
    world.settled().await?;
    tell("mended", &world.shape());
    world.leave();
    println!("left       all members; the tree was gone after {:.2} s", world.gone().await?.as_secs_f64());
    println!("OK         every member that lives got all {} messages, each once", 2 * messages);
    Ok(())
}

fn tell(what: &str, shape: &Shape) {
    let Shape { members, forwarders, depth, fan_out, widest } = *shape;
    println!(
        "{what:<10} {members} members and {forwarders} nodes that only pass on; depth {depth}, fan-out {fan_out:.1}, at most {widest}"
    );
}

fn tell_delivered(world: &World, messages: usize, [published, took]: [Duration; 2]) {
    let (sent, repeated) = world.traffic();
    println!(
        "delivered  {messages} messages published in {:.2} s, with every member after {:.2} s; up to now {sent} sent along the \
         tree, {repeated} came twice and were dropped",
        published.as_secs_f64(),
        took.as_secs_f64()
    );
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
