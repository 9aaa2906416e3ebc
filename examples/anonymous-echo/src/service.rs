//! The service, and those who use it.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use futures::io::{BufReader, Lines, ReadHalf, WriteHalf};
use futures::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt};
use neblo_behaviour::Handle;
use neblo_behaviour::protocol::interface::{Announcement, Hit};
use neblo_behaviour::swarm::{AnonymousStream, LookupEvent};
use tokio::time::sleep;

/// How long leaders may take to answer a lookup.
const WINDOW: Duration = Duration::from_secs(3);
/// How long the service is looked for until it is given up, and the pause between two lookups: what was announced a moment ago
/// may not be known everywhere.
const LOOKED_FOR: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(300);
/// Streams tried to what was found.
const CONNECTS: u32 = 5;
/// How long after today the offer holds, in days.
const DAYS: u32 = 1;

/// What is announced and searched for: no file, but the name of a service.
pub(crate) fn name(topic: &str) -> Vec<u8> {
    format!("echo v1 {topic}").into_bytes()
}

fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / 86_400).unwrap_or(u32::MAX)
}

/// Announces the service and echoes in upper case what requesters say. Returns when a leader has the announcement; the echo
/// goes on.
pub(crate) async fn serve(handle: &Handle, topic: &str) -> Result<()> {
    let mut incoming = handle.incoming();
    tokio::spawn(async move {
        // All that is known of a requester is which publication it wants: no peer, no address, no number of hops.
        while let Some(stream) = incoming.next().await {
            tokio::spawn(async move {
                let stream = stream.accept().await?;
                // Whoever goes away in the middle ends its own stream alone.
                echo(stream).await
            });
        }
    });
    let announcement = Announcement { secret: rand::random(), payload: name(topic), expiry_day: today() + DAYS };
    handle.announce(announcement, false).await.context("cannot announce: are there other nodes in the subgroup?")?;
    Ok(())
}

async fn echo(stream: AnonymousStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next().await {
        write.write_all((line?.to_uppercase() + "\n").as_bytes()).await?;
        write.flush().await?;
    }
    write.close().await
}

/// A conversation with the service.
pub(crate) struct Conversation {
    lines: Lines<BufReader<ReadHalf<AnonymousStream>>>,
    write: WriteHalf<AnonymousStream>,
}

impl Conversation {
    /// Looks for a service of this topic and opens a stream to it.
    pub(crate) async fn begin(handle: &Handle, topic: &str) -> Result<Self> {
        let hit = find(handle, topic).await?;
        for again in 1.. {
            match handle.connect(&hit, false).await {
                Ok(stream) => {
                    let (read, write) = stream.split();
                    return Ok(Self { lines: BufReader::new(read).lines(), write });
                }
                // A relay died, or a path is being built.
                Err(_) if again < CONNECTS => tokio::time::sleep(Duration::from_millis(200) * again).await,
                Err(failure) => return Err(failure).context("found the service, but no stream to it"),
            }
        }
        bail!("no stream")
    }

    /// Says a line and waits for the answer.
    pub(crate) async fn say(&mut self, line: &str) -> Result<String> {
        self.write.write_all(format!("{line}\n").as_bytes()).await?;
        self.write.flush().await?;
        self.lines.next().await.context("the service ended the stream")?.context("the stream broke")
    }

    /// Ends it in order: both sides know then that the other has heard everything.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.write.close().await.context("the end was not acknowledged")?;
        match self.lines.next().await {
            None => Ok(()),
            Some(more) => bail!("the service went on: {more:?}"),
        }
    }
}

/// Asks all leaders.
async fn find(handle: &Handle, topic: &str) -> Result<Hit> {
    let until = Instant::now() + LOOKED_FOR;
    while Instant::now() < until {
        let mut lookup = handle.lookup(name(topic), 1, WINDOW, false);
        while let Some(event) = lookup.next().await {
            match event {
                LookupEvent::Hits { hits, .. } => {
                    // Not every leader's application has to be an honest one: what was asked for is checked here.
                    if let Some(hit) = hits.into_iter().find(|hit| hit.payload.starts_with(&name(topic))) {
                        return Ok(hit);
                    }
                }
                LookupEvent::Failed(failure) => return Err(failure).context("cannot look up"),
                _ => {}
            }
        }
        // In a network that has just begun its path may be under way.
        sleep(PAUSE).await;
    }
    bail!("nobody offers \"echo v1 {topic}\": is it being served, on the network of this --peer?")
}
