//! A service that is found and used while neither side knows the other: it echoes lines in upper case.
//!
//! ```text
//! cargo run -p anonymous-echo                                  # everything in one process
//! cargo run -p anonymous-echo -- serve                         # or in two
//! cargo run -p anonymous-echo -- ask --peer ADDRESS-PRINTED-BY-SERVE hello
//! ```

mod index;
mod service;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use example_nodes::{Node, network, until};
use libp2p::Multiaddr;
use neblo_behaviour::{Config, OverlayAddr};

use crate::service::Conversation;

const EXAMPLE: &str = "Example, in two terminals:
  cargo run -p anonymous-echo -- serve
  cargo run -p anonymous-echo -- ask --peer /ip4/127.0.0.1/tcp/40001/p2p/12D3Koo... hello";
/// Paths and subgroups may take so long on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Subgroup members below which the library refuses to hide anybody.
const LEAST: usize = 4;

/// Offers an echo anonymously, finds it anonymously, and talks to it. Without a command, all in this process.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Nodes in this process, each with a TCP port of its own on this machine alone (not for ask).
    #[arg(long, global = true, default_value_t = 10)]
    nodes: usize,
    /// Members at which a subgroup is full.
    #[arg(long, global = true, default_value_t = 6)]
    subgroup_size: usize,
    /// The service that is offered and asked for.
    #[arg(long, global = true, default_value = "shout")]
    topic: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begins a network, offers the echo in it, and goes on until Ctrl-C.
    Serve,
    /// Joins that network with one node and says each argument as a line.
    Ask {
        /// A node of the network, as serve prints it.
        #[arg(long)]
        peer: Multiaddr,
        /// What to say.
        #[arg(default_values_t = [String::from("hello"), String::from("who are you?")])]
        lines: Vec<String>,
    },
}

impl Options {
    fn config(&self) -> Config {
        Config::default().with_network("anonymous echo example").with_subgroup_size(self.subgroup_size)
    }

    /// Nodes that are one ring, each ready to lead, with paths in subgroups.
    async fn network(&self) -> Result<Vec<Node>> {
        ensure!(self.nodes >= LEAST, "--nodes must be at least {LEAST}: fewer hide nobody");
        let start = Instant::now();
        let nodes = network(self.nodes, &self.config(), async |_, node| {
            index::keep(&node.handle);
            Ok(())
        })
        .await?;
        until("a member whose paths are ready", READY_WITHIN, async || member(&nodes, None).await.is_some()).await?;
        println!(
            "started    {} nodes, subgroups of at most {}, after {:.1} s",
            self.nodes,
            self.subgroup_size,
            start.elapsed().as_secs_f64()
        );
        Ok(nodes)
    }
}

/// A node that leads nothing, has its paths among enough others, and is in another subgroup than `not`; and its subgroup.
async fn member(nodes: &[Node], not: Option<OverlayAddr>) -> Option<(usize, OverlayAddr)> {
    for (at, node) in nodes.iter().enumerate() {
        let Ok(status) = node.handle.status().await else { continue };
        let ready = !status.is_leader && status.has_paths() && status.anonymity_set >= LEAST;
        if let Some(subgroup) = status.subgroup.filter(|subgroup| ready && Some(*subgroup) != not) {
            return Some((at, subgroup));
        }
    }
    None
}

/// Says lines and shows the answers; each must be what was said, in upper case.
async fn talk(node: &Node, topic: &str, lines: &[String]) -> Result<()> {
    let mut conversation = Conversation::begin(&node.handle, topic).await?;
    for line in lines {
        let start = Instant::now();
        let answer = conversation.say(line).await?;
        println!("           {line} -> {answer} ({:.1} ms)", start.elapsed().as_secs_f64() * 1e3);
        ensure!(answer == line.to_uppercase(), "a wrong answer");
    }
    conversation.end().await
}

/// Both sides, and all between them, in this process.
async fn alone(options: &Options) -> Result<()> {
    let nodes = options.network().await?;
    let (publisher, home) = member(&nodes, None).await.context("no member")?;
    service::serve(&nodes[publisher].handle, &options.topic).await?;
    println!(
        "announced  \"echo v1 {}\" by #{publisher}, and only #{publisher} and its leader can know that",
        options.topic
    );
    let mut found = None;
    until("a member of another subgroup", READY_WITHIN, async || {
        found = member(&nodes, Some(home)).await;
        found.is_some()
    })
    .await?;
    let (requester, _) = found.context("no other member")?;
    println!("asked      by #{requester} of another subgroup");
    let before: Vec<u64> = nodes.iter().map(|node| node.handle.relayed_bytes()).collect();
    let lines = ["hello", "who are you?", "how far away?"].map(String::from);
    talk(&nodes[requester], &options.topic, &lines).await?;

    let carried = nodes.iter().zip(before).filter(|(node, before)| node.handle.relayed_bytes() > *before).count();
    ensure!(carried > 0, "the two were connected directly");
    println!("hops       unknown to #{requester} and to #{publisher}: a stream has an end and nothing else");
    println!("           this process has all nodes, and counts {carried} that carried it");
    Ok(())
}

/// A network with the service in it, until Ctrl-C.
async fn serve(options: &Options) -> Result<()> {
    let nodes = options.network().await?;
    let (publisher, _) = member(&nodes, None).await.context("no member")?;
    service::serve(&nodes[publisher].handle, &options.topic).await?;
    let known = nodes.first().context("no node")?;
    println!(
        "serving    \"echo v1 {}\"; others: ask --topic '{}' --peer {}",
        options.topic, options.topic, known.address
    );
    Ok(tokio::signal::ctrl_c().await?)
}

/// One node that joins and asks.
async fn ask(options: &Options, peer: &Multiaddr, lines: &[String]) -> Result<()> {
    let node = Node::start(options.config()).await?;
    index::keep(&node.handle);
    node.handle.subscribe(vec![peer.clone()]).await.with_context(|| format!("cannot join through {peer}"))?;
    until("paths among enough others", READY_WITHIN, async || {
        let status = node.handle.status().await;
        status.is_ok_and(|status| status.is_leader || status.has_paths() && status.anonymity_set >= LEAST)
    })
    .await?;
    println!("joined     the network, as a member like all others");
    let talked = talk(&node, &options.topic, lines).await;
    // What fails here is forgotten by the others after a while.
    let _too_long = tokio::time::timeout(Duration::from_secs(5), node.handle.leave()).await;
    talked
}

async fn run(options: Options) -> Result<()> {
    match &options.command {
        None => alone(&options).await,
        Some(Command::Serve) => serve(&options).await,
        Some(Command::Ask { peer, lines }) => ask(&options, peer, lines).await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
