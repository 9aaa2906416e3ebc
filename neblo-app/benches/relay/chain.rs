//! The plain libp2p chain: sender, splices, receiver, a process each, nothing but libp2p.

use std::io::{BufRead, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, core::upgrade::Version, multiaddr::Protocol, noise,
    swarm::SwarmEvent, tcp, yamux,
};
use libp2p_stream::Control;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::{process, report::Measured, transport::Transport};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/chain");
const BUFFER: usize = 64 * 1024;
/// Like those of the program, so that only what runs over the streams differs.
const YAMUX_STREAMS: usize = 3968;
const QUIC_STREAMS: u32 = 64;

/// One process of the chain.
#[derive(Debug, clap::Args)]
pub(crate) struct Link {
    #[arg(long, value_enum)]
    transport: Transport,
    /// Bytes to send or to receive.
    #[arg(long)]
    size: u64,
    /// Where streams go on; nowhere from the receiver.
    #[arg(long)]
    next: Option<Multiaddr>,
    /// Begin a stream, in place of splicing those that come.
    #[arg(long)]
    send: bool,
}

impl Link {
    /// Prints the address it listens on and, as its last line, how it went. Ends with its standard input.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let (go, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = std::io::stdin().lock().lines();
            let _first = lines.next();
            let _sending = go.send(());
            while let Some(Ok(_)) = lines.next() {}
            std::process::exit(0);
        });
        let (mut control, mut incoming) = self.connect().await?;
        let next = self.next.as_ref().map(peer_of).transpose()?;
        match next {
            Some(next) if self.send => {
                let mut stream = open(&mut control, next).await?;
                say("ready")?;
                told.await?;
                let bytes = vec![0x5a; BUFFER];
                let mut left = self.size;
                while left > 0 {
                    let len = left.min(BUFFER as u64);
                    stream.write_all(&bytes[..usize::try_from(len)?]).await?;
                    left -= len;
                }
                stream.flush().await?;
                stream.close().await?;
                std::future::pending().await
            }
            Some(next) => {
                let (_, stream) = incoming.next().await.context("no streams")?;
                let (mut stream, mut on) = (stream.compat(), open(&mut control, next).await?.compat());
                let _both = tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut on, BUFFER, BUFFER).await?;
                std::future::pending().await
            }
            None => {
                let (_, stream) = incoming.next().await.context("no streams")?;
                say(&receive(stream, self.size).await?.to_string())?;
                std::future::pending().await
            }
        }
    }

    /// Starts the swarm, and connects to the next process if there is one.
    async fn connect(&self) -> anyhow::Result<(Control, libp2p_stream::IncomingStreams)> {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, || {
                let mut config = yamux::Config::default();
                config.set_max_num_streams(YAMUX_STREAMS);
                config
            })?
            .with_quic_config(|mut config| {
                config.max_concurrent_stream_limit = QUIC_STREAMS;
                config
            })
            .with_behaviour(|_| libp2p_stream::Behaviour::new())?
            .with_swarm_config(|config| {
                config
                    .with_idle_connection_timeout(Duration::from_secs(3600))
                    .with_substream_upgrade_protocol_override(Version::V1Lazy)
            })
            .build();
        let mut control = swarm.behaviour().new_control();
        let incoming = control.accept(PROTOCOL)?;
        swarm.listen_on(self.transport.listen().parse()?)?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address.with(Protocol::P2p(*swarm.local_peer_id()));
            }
        };
        if let Some(next) = &self.next {
            swarm.dial(next.clone())?;
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => break,
                    SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
                    _ => {}
                }
            }
        }
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        say(&address.to_string())?;
        Ok((control, incoming))
    }
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn peer_of(address: &Multiaddr) -> anyhow::Result<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Ok(peer),
        _ => bail!("{address} names no peer"),
    }
}

async fn open(control: &mut Control, peer: PeerId) -> anyhow::Result<Stream> {
    control.open_stream(peer, PROTOCOL).await.map_err(|error| anyhow::anyhow!("cannot open a stream: {error}"))
}

/// Seconds from the first byte to the last.
async fn receive(mut stream: Stream, size: u64) -> anyhow::Result<f64> {
    let mut buffer = vec![0; BUFFER];
    let (mut received, mut began) = (0, None);
    while received < size {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            bail!("the stream ended after {received} of {size} bytes");
        }
        began.get_or_insert_with(Instant::now);
        received += len as u64;
    }
    Ok(began.map_or(0.0, |began| began.elapsed().as_secs_f64()))
}

/// A process of the chain, seen from the benchmark. Killed when dropped.
struct Started {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Started {
    async fn new(transport: Transport, size: u64, next: Option<&str>, send: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["chain", "--transport", transport.name(), "--size", &size.to_string()]);
        if let Some(next) = next {
            command.args(["--next", next]);
        }
        if send {
            command.arg("--send");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut started = Self { child, stdin, stdout, address: String::new() };
        started.address = started.line().await?;
        Ok(started)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        self.stdout.next_line().await?.context("a process of the chain ended")
    }
}

/// Moves `size` bytes over a chain of `relays` splices.
pub(crate) async fn measure(transport: Transport, size: u64, relays: usize) -> anyhow::Result<Measured> {
    let mut chain = vec![Started::new(transport, size, None, false).await?];
    for at in 0..=relays {
        let next = chain[at].address.clone();
        chain.push(Started::new(transport, size, Some(&next), at == relays).await?);
    }
    let ids: Vec<u32> = chain.iter().filter_map(|process| process.child.id()).collect();
    let sender = chain.last_mut().context("an empty chain")?;
    sender.line().await?;
    let before = process::cpu(&ids)?;
    use tokio::io::AsyncWriteExt as _;
    sender.stdin.write_all(b"go\n").await?;
    let seconds: f64 = chain[0].line().await?.parse()?;
    let cpu = process::cpu(&ids)? - before;
    Ok(Measured { seconds, bytes: size, cpu })
}
