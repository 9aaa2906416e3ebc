//! One swarm, six behaviours: two NEBLO networks beside Kademlia, gossipsub, identify and ping, over the same connections.
//!
//! Starts some such swarms, forms two rings, looks a record up by Kademlia, sends a message to all by gossipsub, and asks the
//! owner of an overlay address in each NEBLO network.
//!
//! ```text
//! cargo run -p compose
//! ```

mod swarm;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::StreamExt;
use futures::future::try_join_all;
use neblo_behaviour::{Failure, Handle, OverlayAddr};

use crate::swarm::{Asks, Running, start};

/// The port that this program uses on both overlays.
const PORT: u16 = 2048;
/// The longest wait for anything.
const WAIT: Duration = Duration::from_secs(20);

/// Runs two NEBLO networks, Kademlia and gossipsub in the same swarms, over the same connections, and uses each of them.
#[derive(Debug, Parser)]
#[command(after_help = "Example: cargo run -p compose -- --nodes 8")]
struct Options {
    /// Swarms, each with a TCP port of its own on this machine alone.
    #[arg(long, default_value_t = 4)]
    nodes: usize,
}

/// What each of the behaviours brought.
#[derive(Debug)]
struct Report {
    kad: String,
    gossip: Vec<String>,
    chess: String,
    music: String,
}

/// Answers every request to our port with who answers, in which network.
async fn answer(handle: &Handle, network: &'static str, name: usize) -> Result<()> {
    // A stream of requests: for a program that is async anyway. A closure would do as well: `set_request_receiver`.
    let mut requests = handle.request_receiver(PORT).await?;
    tokio::spawn(async move {
        while let Some((ask, responder)) = requests.next().await {
            let text = String::from_utf8_lossy(&ask.payload);
            responder.respond(Some(format!("{text} to you too, says node {name} of {network}").into_bytes()));
        }
    });
    Ok(())
}

/// Asks the owner of an address, whoever it is: nobody knows which peer that is.
async fn ask(handle: &Handle, text: &str) -> Result<String, Failure> {
    let to = OverlayAddr::hash(&[b"greetings"]);
    let response = handle.request(1, PORT, to, text.as_bytes().to_vec(), WAIT).await?;
    Ok(String::from_utf8_lossy(&response.wait().await?).into_owned())
}

async fn run(nodes: usize) -> Result<Report> {
    ensure!(nodes >= 2, "--nodes {nodes}: use at least 2, so that they have somebody to talk to");
    let mut running: Vec<Running> = Vec::new();
    for name in 0..nodes {
        let node = start(running.first()).await?;
        answer(&node.chess, "chess", name).await?;
        answer(&node.music, "music", name).await?;
        let known: Vec<_> = running.first().map(|first| first.address.clone()).into_iter().collect();
        // The two networks know nothing of each other; each has a ring of its own, and an address there.
        node.chess.subscribe(known.clone()).await.with_context(|| format!("node {name} was not let into chess"))?;
        node.music.subscribe(known).await.with_context(|| format!("node {name} was not let into music"))?;
        running.push(node);
    }
    let (first, others) = running.split_first_mut().context("no node")?;
    let last = others.last_mut().context("one node alone")?;

    first.asks.send(Asks::Put("hello by Kademlia".into())).await?;
    last.asks.send(Asks::Get).await?;
    let kad =
        tokio::time::timeout(WAIT, last.record.recv()).await.context("Kademlia found nothing")?.context("gone")?;
    let chess = ask(&last.chess, "hello by NEBLO").await.context("asking in chess")?;
    let music = ask(&last.music, "hello again by NEBLO").await.context("asking in music")?;
    first.asks.send(Asks::Publish("hello to all by gossipsub".into())).await?;
    let heard = try_join_all(others.iter_mut().map(|other| async {
        tokio::time::timeout(WAIT, other.gossip.recv()).await.context("gossipsub brought nothing")?.context("gone")
    }));
    Ok(Report { kad, gossip: heard.await?, chess, music })
}

#[tokio::main]
async fn main() -> ExitCode {
    let Options { nodes } = Options::parse();
    match run(nodes).await {
        Ok(Report { kad, gossip, chess, music }) => {
            println!("kad:       {kad}");
            println!("gossipsub: {} of {} heard {:?}", gossip.len(), nodes - 1, gossip.first().map_or("", |text| text));
            println!("neblo:     {chess}");
            println!("neblo:     {music}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn two_networks_kademlia_and_gossipsub_work_side_by_side_in_the_same_swarms() {
        let report = run(4).await.unwrap();
        assert_eq!(report.kad, "hello by Kademlia");
        assert_eq!(report.gossip, vec!["hello to all by gossipsub"; 3]);
        assert!(report.chess.starts_with("hello by NEBLO to you too") && report.chess.ends_with("of chess"));
        assert!(report.music.starts_with("hello again") && report.music.ends_with("of music"), "{report:?}");
    }

    #[tokio::test]
    async fn one_node_alone_is_refused() {
        assert!(run(1).await.unwrap_err().to_string().contains("at least 2"));
    }
}
