//! A stock libp2p node that speaks NEBLO by hand: it knows the protocol's bytes and nothing of its implementation.
//!
//! ```text
//! stock MULTIADDR NETWORK_HASH [--garbage]
//! ```
//!
//! It dials the address (which ends with `/p2p/<peer id>`), pings, writes a Hello and a probe on the urgent substream, and
//! reads what the node says on the substream that it opens in return. Each thing that happens is one JSON object a line on
//! stdout; the exit code is 0 only if the probe was answered. With `--garbage` it writes nonsense in place of the Hello, and
//! the exit code is 3 if the link was closed for that.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);
const NONCE: u64 = 0x0123_4567_89ab_cdef;

/// `[0, {1: 0b10, 2: 0, 3: 1, 4: 65536}]`: versions, features, incarnation, longest frame.
const HELLO: &[u8] = &[0x82, 0x00, 0xa4, 0x01, 0x02, 0x02, 0x00, 0x03, 0x01, 0x04, 0x1a, 0x00, 0x01, 0x00, 0x00];
/// `[1, {1: NONCE}]`: is the link alive?
const PROBE: &[u8] = &[0x82, 0x01, 0xa1, 0x01, 0x1b, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
/// `[1, {1: NONCE, 2: true}]`: it is.
const ANSWER: &[u8] = &[0x82, 0x01, 0xa2, 0x01, 0x1b, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x02, 0xf5];
const GARBAGE: &[u8] = b"GET / HTTP/1.1";

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Closed,
}

fn say(line: &serde_json::Value) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut garbage = false;
    let mut words = Vec::new();
    for word in std::env::args().skip(1) {
        if word == "--garbage" { garbage = true } else { words.push(word) }
    }
    let [address, network] = words.as_slice() else { bail!("usage: stock MULTIADDR NETWORK_HASH [--garbage]") };
    let address: Multiaddr = address.parse()?;
    let Some(Protocol::P2p(peer)) = address.iter().last() else { bail!("the address must end with /p2p/<peer id>") };
    let urgent = StreamProtocol::try_from_owned(format!("/neblo/1/{network}/urgent"))?;
    let run = run(address, peer, urgent, garbage);
    Ok(match tokio::time::timeout(PATIENCE, run).await.context("not in time")?? {
        Outcome::Answered => ExitCode::SUCCESS,
        Outcome::Closed => ExitCode::from(3),
    })
}

async fn run(address: Multiaddr, peer: PeerId, urgent: StreamProtocol, garbage: bool) -> Result<Outcome> {
    let mut swarm = swarm()?;
    let mut control = swarm.behaviour().stream.new_control();
    // Before the dial: the node opens its side as soon as it knows us for one of its own.
    let mut inbound = control.accept(urgent.clone())?;
    swarm.dial(address)?;
    connected_and_pinged(&mut swarm, peer).await?;

    let talk = async {
        let mut ours = control.open_stream(peer, urgent).await?;
        if garbage {
            write_frame(&mut ours, GARBAGE).await?;
            ours.flush().await?;
            // Only the end of the connection ends this.
            return std::future::pending().await;
        }
        write_frame(&mut ours, HELLO).await?;
        write_frame(&mut ours, PROBE).await?;
        ours.flush().await?;
        let (from, mut theirs) = inbound.next().await.context("no substream in return")?;
        ensure!(from == peer, "a substream from somebody else");
        listen(&mut theirs).await
    };
    let mut talk = std::pin::pin!(talk);
    loop {
        tokio::select! {
            done = &mut talk => return done,
            event = swarm.select_next_some() => {
                note(&event);
                if let SwarmEvent::ConnectionClosed { num_established: 0, .. } = event {
                    say(&json!({"event": "closed"}));
                    return Ok(Outcome::Closed);
                }
            }
        }
    }
}

fn swarm() -> Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| Behaviour {
            identify: identify::Behaviour::new(identify::Config::new("/stock/1".into(), key.public())),
            ping: ping::Behaviour::default(),
            stream: libp2p_stream::Behaviour::new(),
        })?
        .build();
    Ok(swarm)
}

fn note(event: &SwarmEvent<BehaviourEvent>) {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } => {
            say(&json!({"event": "connected", "peer": peer_id.to_string()}));
        }
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result: Ok(_), .. })) => {
            say(&json!({"event": "pinged"}));
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
            let protocols: Vec<_> = info.protocols.iter().map(ToString::to_string).collect();
            say(&json!({"event": "identified", "agent": info.agent_version, "protocols": protocols}));
        }
        _ => {}
    }
}

async fn connected_and_pinged(swarm: &mut Swarm<Behaviour>, peer: PeerId) -> Result<()> {
    loop {
        let event = swarm.select_next_some().await;
        note(&event);
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer: who, result, .. })) if who == peer => {
                return result.map(drop).context("ping");
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error).context("dial"),
            SwarmEvent::ConnectionClosed { cause, .. } => bail!("closed before a ping: {cause:?}"),
            _ => {}
        }
    }
}

/// Reads frames until the answer to our probe; the first must be a Hello.
async fn listen(stream: &mut (impl AsyncRead + Unpin)) -> Result<Outcome> {
    let mut greeted = false;
    loop {
        let frame = read_frame(stream).await?;
        let hello = frame.starts_with(&[0x82, 0x00]);
        ensure!(hello != greeted, "the Hello must come first, and once");
        greeted = true;
        say(&json!({"event": if hello { "hello" } else { "frame" }, "hex": hex::encode(&frame)}));
        if frame == ANSWER {
            say(&json!({"event": "answered", "nonce": NONCE}));
            return Ok(Outcome::Answered);
        }
    }
}

async fn write_frame(stream: &mut libp2p::Stream, frame: &[u8]) -> Result<()> {
    let mut len = frame.len();
    let mut bytes = Vec::new();
    while len >= 0x80 {
        bytes.push(0x80 | (len & 0x7f) as u8);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(frame);
    Ok(stream.write_all(&bytes).await?)
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut len = 0usize;
    for shift in [0, 7, 14] {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            let mut frame = vec![0; len];
            stream.read_exact(&mut frame).await?;
            return Ok(frame);
        }
    }
    bail!("a frame longer than ours may be")
}
