//! What relays can read: everything that arrives on a node's links, after the link's own encryption is off, is written down
//! and searched for words that only the two ends and the leaders may know.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::Transport;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::core::upgrade::Version;
use neblo_behaviour::protocol::interface::Announcement;
use neblo_behaviour::swarm::DirectoryEvent;

use super::anonymous::{find, members_with_paths};
use super::*;

const NAME: &[u8] = b"canary-in-the-name-5f3a";
const QUERY: &[u8] = b"canary-in-the-query-91c7";
const CONTENT: &[u8] = b"canary-in-the-content-e04b";

/// What was read from one substream.
type Read = Arc<Mutex<Vec<u8>>>;

/// What one node read.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<Read>>>);

impl Tape {
    fn substream(&self) -> Read {
        let buffer = Read::default();
        self.0.lock().unwrap().push(buffer.clone());
        buffer
    }

    fn holds(&self, word: &[u8]) -> bool {
        let substreams = self.0.lock().unwrap();
        substreams.iter().any(|read| read.lock().unwrap().windows(word.len()).any(|window| window == word))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().iter().map(|read| read.lock().unwrap().len()).sum()
    }
}

/// A muxer that writes down what is read from each of its substreams.
struct TapedMuxer {
    inner: StreamMuxerBox,
    tape: Tape,
}

struct TapedSubstream {
    inner: SubstreamBox,
    read: Read,
}

impl TapedMuxer {
    fn taped(&self, substream: Poll<io::Result<SubstreamBox>>) -> Poll<io::Result<TapedSubstream>> {
        substream.map_ok(|inner| TapedSubstream { inner, read: self.tape.substream() })
    }
}

impl StreamMuxer for TapedMuxer {
    type Substream = TapedSubstream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<TapedSubstream>> {
        let substream = Pin::new(&mut self.inner).poll_inbound(cx);
        self.taped(substream)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<TapedSubstream>> {
        let substream = Pin::new(&mut self.inner).poll_outbound(cx);
        self.taped(substream)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

impl AsyncRead for TapedSubstream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(len)) = read {
            self.read.lock().unwrap().extend_from_slice(&buf[..len]);
        }
        read
    }
}

impl AsyncWrite for TapedSubstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A host over TCP, Noise and Yamux whose links are taped.
async fn taped(config: Config, tape: Tape) -> Host {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|key| {
            let muxers = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(key).unwrap())
                .multiplex(yamux::Config::default());
            Transport::map(muxers, move |(peer, muxer), _| {
                (peer, TapedMuxer { inner: StreamMuxerBox::new(muxer), tape: tape.clone() })
            })
        })
        .unwrap()
        .with_behaviour(|key| Behaviour::new(key, config))
        .unwrap()
        .with_swarm_config(|config| config.with_substream_upgrade_protocol_override(Version::V1Lazy))
        .build();
    Host::run(listen(swarm).await)
}

/// Answers every search with everything.
fn answer_with_all_rows(handle: &Handle) {
    let (handle, mut directory) = (handle.clone(), handle.directory());
    tokio::spawn(async move {
        let mut rows = BTreeSet::new();
        while let Some(event) = directory.next().await {
            match event {
                DirectoryEvent::RowAdded { row, .. } => drop(rows.insert(row)),
                DirectoryEvent::RowRemoved { row } => drop(rows.remove(&row)),
                DirectoryEvent::RowsCleared => rows.clear(),
                DirectoryEvent::Asked { ask, .. } => handle.directory_answer(ask, rows.iter().copied().collect()),
                _ => {}
            }
        }
    });
}

async fn leaders(hosts: &[Host]) -> BTreeSet<usize> {
    let mut leaders = BTreeSet::new();
    for (at, host) in hosts.iter().enumerate() {
        leaders.extend(host.handle.status().await.unwrap().is_leader.then_some(at));
    }
    leaders
}

#[tokio::test]
async fn no_relay_reads_name_query_or_content() {
    let config = Config::default().with_subgroup_size(5);
    let network = config.network_hash();
    let mut tapes = Vec::new();
    let hosts = network_of(10, async || {
        let tape = Tape::default();
        tapes.push(tape.clone());
        taped(config.clone(), tape).await
    })
    .await;
    hosts.iter().for_each(|host| answer_with_all_rows(&host.handle));
    let members = members_with_paths(&hosts).await;
    let (publisher, home) = members[0];
    let (requester, _) = *members.iter().find(|(_, subgroup)| *subgroup != home).expect("two subgroups");
    let mut led = leaders(&hosts).await;

    let announcement = Announcement { secret: [9; 32], payload: NAME.to_vec(), expiry_day: 40_000 };
    in_time(hosts[publisher].handle.announce(announcement, true)).await.unwrap();
    let mut hits = Vec::new();
    eventually(async || {
        hits = find(&hosts[requester].handle, QUERY).await;
        !hits.is_empty()
    })
    .await;
    assert_eq!(&hits[0].payload[..], NAME);

    // Long enough for many records, so that the word stands at every place in one.
    let content = CONTENT.repeat(10_007);
    let mut incoming = hosts[publisher].handle.incoming();
    let expected = content.clone();
    let server = tokio::spawn(async move {
        let mut stream = in_time(incoming.next()).await.unwrap().accept().await.unwrap();
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).await.unwrap();
        assert!(got == expected);
        stream.write_all(&got).await.unwrap();
        stream.close().await.unwrap();
    });
    let mut stream = in_time(hosts[requester].handle.connect(&hits[0], true)).await.unwrap();
    in_time(stream.write_all(&content)).await.unwrap();
    in_time(stream.flush()).await.unwrap();
    let mut got = Vec::new();
    in_time(stream.read_to_end(&mut got)).await.unwrap();
    assert!(got == content);
    in_time(server).await.unwrap();
    led.extend(leaders(&hosts).await);
    // Who would lead next has a copy of the leader's table (seed 003 §4), and cannot read it.
    eventually(async || {
        for (at, host) in hosts.iter().enumerate() {
            if host.handle.status().await.unwrap().copied_rows > 0 && !led.contains(&at) {
                return true;
            }
        }
        false
    })
    .await;

    // The tapes do show what is not sealed: protocol names, and the query that leaders give one another.
    let urgent = format!("/neblo/1/{network}/urgent");
    for (at, tape) in tapes.iter().enumerate() {
        assert!(tape.holds(b"/multistream/1.0.0") && tape.holds(urgent.as_bytes()), "{at}: {} bytes", tape.len());
    }
    assert!(led.iter().any(|at| tapes[*at].holds(QUERY)), "the leaders' multicast was not taped");
    // Content is for the two ends alone, behind their own encryption; the rest is for leaders too.
    for (at, tape) in tapes.iter().enumerate() {
        assert!(!tape.holds(CONTENT), "{at} read content");
        assert!(led.contains(&at) || !tape.holds(NAME), "{at} is no leader and read the name");
        assert!(led.contains(&at) || !tape.holds(QUERY), "{at} is no leader and read the query");
    }
    let ends = [publisher, requester];
    let relays = (0..hosts.len()).filter(|at| !ends.contains(at) && !led.contains(at));
    let carried: Vec<_> = relays.map(|at| (hosts[at].handle.relayed_bytes(), tapes[at].len())).collect();
    // Whoever carried the stream had it on its tape: there and back, from both sides.
    let most = carried.iter().max().unwrap();
    assert!(most.0 >= 2 * content.len() as u64 && most.1 >= 2 * content.len(), "{carried:?}");
}
