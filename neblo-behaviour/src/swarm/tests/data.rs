use std::io::ErrorKind;
use std::time::Instant;

use futures::channel::oneshot;
use futures::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::protocol::interface::{Answer, Failure, PublicationId, Refusal, StreamHeader};
use crate::protocol::seal::Keys;
use crate::swarm::handle::Pending;
use crate::swarm::handler::data::OwnStream;
use crate::swarm::keys::SwarmKeys;
use crate::swarm::{AnonymousStream, Incoming, session};

const ID: PublicationId = PublicationId([3; 32]);

fn header(link: u64) -> StreamHeader {
    StreamHeader { link: Some(link), ticket: [1; 16], version: 1, download: None }
}

/// Asks for a stream on behalf of a `Connect` command.
fn open(node: &mut Swarm<Behaviour>, next: &Contact<PeerId>) -> oneshot::Receiver<Result<OwnStream, Failure>> {
    let (reply, stream) = oneshot::channel();
    let behaviour = node.behaviour_mut();
    let token = behaviour.shared.next();
    behaviour.pending.insert(token, Pending::Connect(reply));
    behaviour.execute(Output::StreamOpen { token, stream: token, next: next.clone(), header: header(1) });
    stream
}

/// The stream that the node was asked for, taken from what it heard.
fn asked(node: &mut Swarm<Behaviour>) -> Option<u64> {
    let heard = heard(node);
    let at = heard.iter().position(|input| matches!(input, Input::StreamAsked { .. }))?;
    match heard.remove(at) {
        Input::StreamAsked { stream, .. } => Some(stream),
        _ => None,
    }
}

async fn next_asked(nodes: &mut [Swarm<Behaviour>], at: usize) -> u64 {
    let mut stream = None;
    run(nodes, |nodes| {
        stream = stream.or_else(|| asked(&mut nodes[at]));
        stream.is_some()
    })
    .await;
    stream.unwrap()
}

fn ended(node: &mut Swarm<Behaviour>) -> Vec<u64> {
    let bytes = |input: &Input<PeerId>| match input {
        Input::StreamEnded { bytes, .. } => Some(*bytes),
        _ => None,
    };
    heard(node).iter().filter_map(bytes).collect()
}

/// A stream from the first node to the last over all between.
async fn chain(nodes: &mut [Swarm<Behaviour>], incoming: &mut Incoming) -> (AnonymousStream, AnonymousStream) {
    let keys = SwarmKeys::new(Keypair::generate_ed25519());
    let (secret, public) = keys.generate(&mut rand::rng());
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    let opened = open(&mut nodes[0], &peers[1]);
    let last = nodes.len() - 1;
    for at in 1..last {
        let stream = next_asked(nodes, at).await;
        let next = peers[at + 1].clone();
        nodes[at].behaviour_mut().execute(Output::StreamGranted { stream, next, header: header(at as u64 + 1) });
    }
    let stream = next_asked(nodes, last).await;
    nodes[last].behaviour_mut().execute(Output::StreamAccepted { stream, publication: ID, secret });
    while_running(nodes, async {
        let requester = async {
            let stream = opened.await.unwrap().unwrap();
            AnonymousStream::new(session::initiate(stream, ID, &public).await.unwrap())
        };
        let publisher = async {
            let stream = incoming.next().await.unwrap();
            assert_eq!(stream.publication, ID);
            stream.accept().await.unwrap()
        };
        futures::future::join(requester, publisher).await
    })
    .await
}

async fn carries(mut nodes: Vec<Swarm<Behaviour>>) {
    let mut incoming = nodes.last().unwrap().behaviour().handle().incoming();
    let (mut a, mut b) = chain(&mut nodes, &mut incoming).await;
    let sent: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
    let mut got = Vec::new();
    while_running(&mut nodes, async {
        let asking = async {
            a.write_all(b"give").await.unwrap();
            a.flush().await.unwrap();
            a.read_to_end(&mut got).await.unwrap();
            a.close().await.unwrap();
            drop(a);
        };
        let giving = async {
            let mut question = [0; 4];
            b.read_exact(&mut question).await.unwrap();
            b.write_all(&sent).await.unwrap();
            b.close().await.unwrap();
            drop(b);
        };
        futures::future::join(asking, giving).await
    })
    .await;
    assert!(got == sent);
    run(&mut nodes, |nodes| nodes.iter_mut().all(|node| ended(node).len() == 1)).await;
    let relays = nodes.len() - 2;
    for node in &mut nodes[1..=relays] {
        let bytes = ended(node)[0];
        assert!(bytes > 2_000_000 && bytes < 2_200_000, "{bytes}");
        assert_eq!(node.behaviour().handle().relayed_bytes(), bytes);
    }
    assert_eq!(nodes[0].behaviour().handle().relayed_bytes(), 0);
}

#[tokio::test]
async fn a_stream_is_carried_over_memory() {
    carries(vec![memory().await, memory().await, memory().await]).await;
}

#[tokio::test]
async fn a_stream_is_carried_over_three_tcp_relays() {
    carries(vec![tcp().await, tcp().await, tcp().await, tcp().await, tcp().await]).await;
}

#[tokio::test]
async fn a_relay_that_dies_cuts_the_stream_on_both_ends() {
    let mut nodes = vec![tcp().await, tcp().await, tcp().await, tcp().await];
    let mut incoming = nodes[3].behaviour().handle().incoming();
    let (mut a, mut b) = chain(&mut nodes, &mut incoming).await;
    while_running(&mut nodes, async {
        b.write_all(b"half").await.unwrap();
        b.flush().await.unwrap();
        a.read_exact(&mut [0; 4]).await.unwrap();
    })
    .await;
    drop(nodes.remove(1));
    let (one, other) = while_running(&mut nodes, async {
        let (mut x, mut y) = ([0; 1], [0; 1]);
        futures::future::join(a.read(&mut x), b.read(&mut y)).await
    })
    .await;
    for result in [one, other] {
        let error = result.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error:?}"
        );
    }
}

/// A relay that has stopped closes nothing: its neighbours give the link up, and both ends of the stream learn of it although
/// nobody reads at the other side of that link.
#[tokio::test]
async fn a_link_that_is_given_up_cuts_its_streams_at_once() {
    let mut nodes = vec![tcp().await, tcp().await, tcp().await, tcp().await];
    let mut incoming = nodes[3].behaviour().handle().incoming();
    let (mut a, mut b) = chain(&mut nodes, &mut incoming).await;
    while_running(&mut nodes, async {
        b.write_all(b"half").await.unwrap();
        b.flush().await.unwrap();
        a.read_exact(&mut [0; 4]).await.unwrap();
    })
    .await;
    let stopped = nodes.remove(1);
    let peer = *stopped.local_peer_id();
    for neighbour in &mut nodes[..2] {
        neighbour.behaviour_mut().execute(Output::Disconnect(peer));
    }
    let begun = Instant::now();
    let (one, other) = while_running(&mut nodes, async {
        let (mut x, mut y) = ([0; 1], [0; 1]);
        futures::future::join(a.read(&mut x), b.read(&mut y)).await
    })
    .await;
    assert!(one.is_err() && other.is_err(), "{one:?} {other:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop((a, b));
    run(&mut nodes, |nodes| nodes.iter_mut().all(|node| ended(node).len() == 1)).await;
}

#[tokio::test]
async fn one_end_that_goes_away_ends_the_stream_everywhere() {
    let mut nodes = vec![memory().await, memory().await, memory().await];
    let mut incoming = nodes[2].behaviour().handle().incoming();
    let (a, mut b) = chain(&mut nodes, &mut incoming).await;
    drop(a);
    let cut = while_running(&mut nodes, async { b.read(&mut [0; 1]).await }).await;
    assert!(cut.is_err());
    drop(b);
    run(&mut nodes, |nodes| nodes.iter_mut().all(|node| ended(node).len() == 1)).await;
}

/// In place of a node that does not try another stream.
fn give_up_refused(node: &mut Swarm<Behaviour>) {
    let refused: Vec<_> = heard(node).extract_if(.., |input| matches!(input, Input::StreamRefused { .. })).collect();
    for input in refused {
        if let Input::StreamRefused { token, reason } = input {
            let answer = Answer::Failed(Failure::StreamRefused(reason));
            node.behaviour_mut().execute(Output::Done { token, answer });
        }
    }
}

async fn refused(nodes: &mut [Swarm<Behaviour>], mut stream: oneshot::Receiver<Result<OwnStream, Failure>>) -> Refusal {
    let mut answer = None;
    run(nodes, |nodes| {
        give_up_refused(&mut nodes[0]);
        answer = answer.take().or_else(|| stream.try_recv().unwrap());
        answer.is_some()
    })
    .await;
    match answer.unwrap() {
        Err(Failure::StreamRefused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_requester_over_the_relay() {
    let mut nodes = vec![memory().await, memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    for reason in [Refusal::Unknown, Refusal::Withdrawn, Refusal::Full] {
        let opened = open(&mut nodes[0], &peers[1]);
        let stream = next_asked(&mut nodes, 1).await;
        let next = peers[2].clone();
        nodes[1].behaviour_mut().execute(Output::StreamGranted { stream, next, header: header(2) });
        let stream = next_asked(&mut nodes, 2).await;
        nodes[2].behaviour_mut().execute(Output::StreamRefused { stream, reason });
        assert_eq!(refused(&mut nodes, opened).await, reason);
    }
    run(&mut nodes, |nodes| ended(&mut nodes[0]).len() == 3 && ended(&mut nodes[1]).len() == 3).await;
}

#[tokio::test]
async fn a_relay_whose_next_hop_is_gone_says_so() {
    let mut nodes = vec![memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    let nobody = Contact::new(PeerId::random(), vec!["/memory/1".parse::<Multiaddr>().unwrap().to_vec()]);
    let opened = open(&mut nodes[0], &peers[1]);
    let stream = next_asked(&mut nodes, 1).await;
    nodes[1].behaviour_mut().execute(Output::StreamGranted { stream, next: nobody.clone(), header: header(2) });
    assert_eq!(refused(&mut nodes, opened).await, Refusal::Unreachable);
    let opened = open(&mut nodes[0], &nobody);
    assert_eq!(refused(&mut nodes, opened).await, Refusal::Unreachable);
    run(&mut nodes, |nodes| ended(&mut nodes[0]).len() == 2 && ended(&mut nodes[1]).len() == 1).await;
}

#[tokio::test]
async fn without_anybody_who_listens_a_stream_is_refused() {
    let mut nodes = vec![memory().await, memory().await];
    let next = contact(&nodes[1]);
    let opened = open(&mut nodes[0], &next);
    let stream = next_asked(&mut nodes, 1).await;
    nodes[1].behaviour_mut().execute(Output::StreamAccepted { stream, publication: ID, secret: [1; 32] });
    assert_eq!(refused(&mut nodes, opened).await, Refusal::Withdrawn);
}

#[tokio::test]
async fn more_streams_than_a_neighbour_may_have_are_refused() {
    let mut nodes = vec![memory().await, memory().await];
    let next = contact(&nodes[1]);
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(open(&mut nodes[0], &next));
        next_asked(&mut nodes, 1).await;
    }
    let opened = open(&mut nodes[0], &next);
    assert_eq!(refused(&mut nodes, opened).await, Refusal::Full);
    // The node never decides on the others: they are refused in time, and there is room again soon after.
    for opened in streams {
        assert_eq!(refused(&mut nodes, opened).await, Refusal::Unreachable);
    }
    while_running(&mut nodes, tokio::time::sleep(Duration::from_secs(2))).await;
    let opened = open(&mut nodes[0], &next);
    let stream = next_asked(&mut nodes, 1).await;
    nodes[1].behaviour_mut().execute(Output::StreamRefused { stream, reason: Refusal::Unknown });
    assert_eq!(refused(&mut nodes, opened).await, Refusal::Unknown);
}

/// A node after a peer that does not say Hello has begun a stream with these bytes.
async fn first_bytes(bytes: &'static [u8]) -> ([Swarm<Behaviour>; 1], PeerId) {
    let mut node = memory().await;
    let mut stranger = Swarm::new_ephemeral_tokio(|_| libp2p_stream::Behaviour::new());
    let (me, peer) = (*node.local_peer_id(), *stranger.local_peer_id());
    stranger.dial(node.external_addresses().next().unwrap().clone()).unwrap();
    let name = format!("/neblo/1/{}/data", Config::default().network_hash());
    let mut control = stranger.behaviour().new_control();
    let said = async {
        while !stranger.is_connected(&me) {
            stranger.select_next_some().await;
        }
        let task = tokio::spawn(async move {
            let name = libp2p_swarm::StreamProtocol::try_from_owned(name).unwrap();
            let mut stream = control.open_stream(me, name).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            // The end of it comes either from us or, with the link, from the other side.
            let _closed = stream.close().await;
            let _ended = stream.read_to_end(&mut Vec::new()).await;
        });
        let swarm = async { while let Some(_polled) = stranger.next().await {} };
        select(std::pin::pin!(task), std::pin::pin!(swarm)).await;
    };
    while_running(std::slice::from_mut(&mut node), said).await;
    ([node], peer)
}

#[tokio::test]
async fn a_header_that_is_none_closes_the_link_and_is_counted() {
    for bytes in [&b"\x05hello"[..], b"\xff\xff", b"\x00", b"\x81\x10"] {
        let (mut nodes, peer) = first_bytes(bytes).await;
        run(&mut nodes, |nodes| counter(&nodes[0], "violations") == 1 && !nodes[0].is_connected(&peer)).await;
    }
    // One that is cut says nothing about who cut it.
    let (mut nodes, _) = first_bytes(b"\x05he").await;
    while_running(&mut nodes, tokio::time::sleep(Duration::from_millis(300))).await;
    assert_eq!(counter(&nodes[0], "violations"), 0);
}

#[tokio::test]
async fn urgent_frames_pass_a_saturated_stream() {
    let mut nodes = vec![tcp().await, tcp().await, tcp().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    let mut incoming = nodes[2].behaviour().handle().incoming();
    let (mut a, mut b) = chain(&mut nodes, &mut incoming).await;
    let flood = tokio::spawn(async move {
        let chunk = vec![7; 1 << 20];
        while b.write_all(&chunk).await.is_ok() {}
    });
    let drain = tokio::spawn(async move {
        let mut buf = vec![0; 1 << 18];
        while a.read(&mut buf).await.is_ok() {}
    });
    let mut slowest = Duration::ZERO;
    for nonce in 0..50 {
        let start = Instant::now();
        send(&mut nodes[1], &peers[2], Lane::Urgent, probe(nonce));
        run(&mut nodes, |nodes| nonces(&mut nodes[2], peers[1].peer).last() == Some(&nonce)).await;
        slowest = slowest.max(start.elapsed());
    }
    assert!(nodes[1].behaviour().handle().relayed_bytes() > 0);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    flood.abort();
    drain.abort();
}

#[tokio::test]
async fn streams_given_up_at_once_do_no_harm() {
    let mut nodes = vec![memory().await, memory().await];
    let next = contact(&nodes[1]);
    for _ in 0..20 {
        drop(open(&mut nodes[0], &next));
        let mut opened = open(&mut nodes[0], &next);
        let mut answer = None;
        run(&mut nodes, |nodes| {
            while let Some(stream) = asked(&mut nodes[1]) {
                nodes[1].behaviour_mut().execute(Output::StreamRefused { stream, reason: Refusal::Unknown });
            }
            give_up_refused(&mut nodes[0]);
            answer = answer.take().or_else(|| opened.try_recv().unwrap());
            answer.is_some()
        })
        .await;
        assert!(matches!(answer, Some(Err(Failure::StreamRefused(Refusal::Unknown)))));
    }
    run(&mut nodes, |nodes| ended(&mut nodes[0]).len() == 40).await;
}
