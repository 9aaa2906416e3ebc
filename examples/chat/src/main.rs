//! Chat between terminals: a person is reached at the hash of their name, and no node but their own knows who they are.
//!
//! ```text
//! cargo run -p chat -- --name ann
//! cargo run -p chat -- --name bob --to ann --peer ADDRESS-THAT-ANN-PRINTED
//! ```

mod directory;
mod lines;

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use example_nodes::Node;
use libp2p::Multiaddr;
use neblo_behaviour::{Config, Handle, OverlayAddr};
use tokio::sync::mpsc;

use crate::lines::{Line, Lines};

const EXAMPLE: &str = "Example, in two terminals:
  cargo run -p chat -- --name ann
  cargo run -p chat -- --name bob --to ann --peer /ip4/127.0.0.1/tcp/40001/p2p/12D3Koo...

Each line of input is sent; Ctrl-D or Ctrl-C ends.";
/// Lines of input that wait to be sent.
const WAITING: usize = 64;
/// The longest that leaving may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Chats with people by their names, over a NEBLO network.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
struct Options {
    /// Who you are here.
    #[arg(long)]
    name: String,
    /// To whom your lines go. Without it, to whoever wrote to you last.
    #[arg(long)]
    to: Option<String>,
    /// A node of the network, as it prints it; may be given several times. Without it you begin a network of your own.
    #[arg(long)]
    peer: Vec<Multiaddr>,
    /// Where to listen. To be reached from other machines use an address of yours, such as /ip4/192.0.2.7/tcp/4001.
    #[arg(long, default_value = "/ip4/127.0.0.1/tcp/0")]
    listen: Multiaddr,
}

/// Lines of standard input. A thread of its own, because a read from a terminal cannot be given up.
fn input() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Keeps a registration while this runs.
async fn renew(handle: Handle, name: String, at: OverlayAddr, secret: u128) {
    loop {
        tokio::time::sleep(directory::RENEW_EVERY).await;
        if let Err(error) = directory::register(&handle, &name, at, secret).await {
            eprintln!("{name} could not be registered anew, and may not be found for a while: {error:#}");
        }
    }
}

fn show(Line { from, text, genuine }: &Line) {
    let doubt = if *genuine { "" } else { " (or somebody who says so)" };
    println!("{from}{doubt}: {text}");
}

/// Shows what others write and sends what is typed, until the input ends; true if every line was delivered.
async fn talk(options: &Options, lines: &Lines, received: &mut mpsc::Receiver<Line>) -> bool {
    let mut typed = input();
    let (sender, mut queue) = mpsc::channel::<(String, String)>(WAITING);
    let sending = async {
        let mut all = true;
        while let Some((to, text)) = queue.recv().await {
            if let Err(error) = lines.send(&to, &text).await {
                eprintln!("error: {error:#}");
                all = false;
            }
        }
        all
    };
    let talking = async move {
        let (mut to, mut all) = (options.to.clone(), true);
        loop {
            tokio::select! {
                Some(line) = received.recv() => {
                    show(&line);
                    if options.to.is_none() && line.genuine {
                        to = Some(line.from);
                    }
                }
                text = typed.recv() => match (text, &to) {
                    (None, _) => return all,
                    (Some(text), _) if text.trim().is_empty() => {}
                    (Some(text), Some(to)) => {
                        if sender.send((to.clone(), text)).await.is_err() {
                            return false;
                        }
                    }
                    (Some(_), None) => {
                        all = false;
                        eprintln!("error: nobody to send to yet: start with --to NAME, or wait until somebody writes to you");
                    }
                },
            }
        }
    };
    let (sent, talked) = tokio::join!(sending, talking);
    sent && talked
}

/// Chats until the input ends or is interrupted; true if every line was delivered.
async fn chat(options: Options) -> Result<bool> {
    let config = Config::default().with_network("chat example").with_subgroups(false);
    let node = Node::start_on(options.listen.clone(), config).await?;
    let (handle, name) = (&node.handle, &options.name);
    directory::install(handle).await?;
    let me = handle.subscribe(options.peer.clone()).await.with_context(|| match options.peer.first() {
        Some(peer) => format!("cannot join through {peer}"),
        None => "cannot begin a network".into(),
    })?;
    let secret = rand::random();
    let (lines, mut received) = Lines::start(handle, name, me).await?;
    directory::register(handle, name, me, secret).await?;
    let renewing = tokio::spawn(renew(handle.clone(), name.clone(), me, secret));
    println!("{name} is here; others reach you by: --to {name} --peer {}", node.address);

    let delivered = tokio::select! {
        delivered = talk(&options, &lines, &mut received) => delivered,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            true
        }
    };
    // What the other side said while our last lines were on their way.
    while let Ok(line) = received.try_recv() {
        show(&line);
    }

    renewing.abort();
    let leaving = async {
        // What fails here is forgotten by the others after a while.
        let _not_found = directory::withdraw(handle, name, secret).await;
        handle.leave().await
    };
    let _too_long = tokio::time::timeout(LEAVE_WITHIN, leaving).await;
    println!("{name} has left");
    Ok(delivered)
}

#[tokio::main]
async fn main() -> ExitCode {
    match chat(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
