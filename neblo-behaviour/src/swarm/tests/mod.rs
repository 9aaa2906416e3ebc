//! The binding over real swarms, with a script in the place of the node.

mod control;
mod data;
mod handlers;
#[cfg(feature = "sim")]
mod mesh;
mod multicast;

use std::task::Poll;
use std::time::Duration;

use futures::future::{poll_fn, select};
use futures::{Stream, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p_core::Multiaddr;
use libp2p_identity::{Keypair, PeerId};
use libp2p_swarm::{NetworkBehaviour, Swarm};
use libp2p_swarm_test::SwarmExt;

use super::{Behaviour, SwarmConfig};
use crate::protocol::Config;
use crate::protocol::interface::{Input, Lane, Output};
use crate::protocol::io::Contact;
use crate::protocol::link::LinkMessage;
use crate::protocol::wire::Frame;

const PATIENCE: Duration = Duration::from_secs(20);

fn scripted(keypair: &Keypair, config: Config, swarm: SwarmConfig) -> Behaviour {
    let mut behaviour = Behaviour::with_swarm_config(keypair, config, swarm);
    behaviour.heard = Some(Vec::new());
    behaviour
}

/// A node over the memory transport that listens.
async fn memory() -> Swarm<Behaviour> {
    let mut swarm = Swarm::new_ephemeral_tokio(|key| scripted(&key, Config::default(), SwarmConfig::default()));
    swarm.listen().with_memory_addr_external().await;
    swarm
}

/// A node over TCP, Noise and Yamux that listens and negotiates lazily.
async fn tcp() -> Swarm<Behaviour> {
    tcp_with(|key| scripted(key, Config::default(), SwarmConfig::default())).await
}

async fn tcp_with<B: NetworkBehaviour>(behaviour: impl FnOnce(&Keypair) -> B) -> Swarm<B> {
    tcp_as(Keypair::generate_ed25519(), behaviour).await
}

async fn tcp_as<B: NetworkBehaviour>(key: Keypair, behaviour: impl FnOnce(&Keypair) -> B) -> Swarm<B> {
    use libp2p::{noise, yamux};
    let mut swarm = libp2p::SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(Default::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(behaviour)
        .unwrap()
        .with_swarm_config(|config| {
            config.with_substream_upgrade_protocol_override(libp2p_core::upgrade::Version::V1Lazy)
        })
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            swarm.add_external_address(address);
            return swarm;
        }
    }
}

fn contact<B: NetworkBehaviour>(swarm: &Swarm<B>) -> Contact<PeerId> {
    Contact::new(*swarm.local_peer_id(), swarm.external_addresses().map(Multiaddr::to_vec).collect())
}

fn probe(nonce: u64) -> Frame<PeerId> {
    Frame::Link(LinkMessage { nonce, answer: false })
}

fn send(from: &mut Swarm<Behaviour>, to: &Contact<PeerId>, lane: Lane, frame: Frame<PeerId>) {
    from.behaviour_mut().execute(Output::Send { to: to.clone(), lane, frame: Box::new(frame) });
}

/// A swarm that can be polled together with others of another behaviour.
trait Polled {
    fn turn(&mut self, cx: &mut std::task::Context<'_>) -> bool;
}

impl<B: NetworkBehaviour> Polled for Swarm<B> {
    fn turn(&mut self, cx: &mut std::task::Context<'_>) -> bool {
        std::pin::Pin::new(self).poll_next(cx).is_ready()
    }
}

/// Polls all swarms until `done`.
async fn until<T>(
    swarms: &mut T,
    mut turn: impl FnMut(&mut T, &mut std::task::Context<'_>) -> bool,
    mut done: impl FnMut(&mut T) -> bool,
) {
    let work = poll_fn(|cx| {
        loop {
            let progress = turn(swarms, cx);
            if done(swarms) {
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
    });
    tokio::time::timeout(PATIENCE, work).await.expect("in time");
}

/// Polls all nodes until `done`.
async fn run(nodes: &mut [Swarm<Behaviour>], done: impl FnMut(&mut [Swarm<Behaviour>]) -> bool) {
    let mut done = done;
    let mut nodes = nodes;
    until(
        &mut nodes,
        |nodes, cx| nodes.iter_mut().fold(false, |progress, node| node.turn(cx) | progress),
        |nodes| done(nodes),
    )
    .await;
}

/// Polls all nodes while `work` goes on.
async fn while_running<T>(nodes: &mut [Swarm<Behaviour>], work: impl Future<Output = T>) -> T {
    let work = std::pin::pin!(work);
    let nodes = std::pin::pin!(poll_fn(|cx| {
        while nodes.iter_mut().fold(false, |progress, node| node.turn(cx) | progress) {}
        Poll::<()>::Pending
    }));
    match tokio::time::timeout(PATIENCE, select(work, nodes)).await.expect("in time") {
        futures::future::Either::Left((done, _)) => done,
        futures::future::Either::Right(((), _)) => unreachable!(),
    }
}

fn heard(node: &mut Swarm<Behaviour>) -> &mut Vec<Input<PeerId>> {
    node.behaviour_mut().heard.as_mut().unwrap()
}

fn nonces(node: &mut Swarm<Behaviour>, peer: PeerId) -> Vec<u64> {
    let nonce = |input: &Input<PeerId>| match input {
        Input::Received { from, frame } if *from == peer => match &**frame {
            Frame::Link(message) => Some(message.nonce),
            _ => None,
        },
        _ => None,
    };
    heard(node).iter().filter_map(nonce).collect()
}

fn counter(node: &Swarm<Behaviour>, name: &str) -> u64 {
    let list = node.behaviour().shared.counters.list();
    list.iter().find(|(known, _)| *known == format!("swarm_{name}")).unwrap().1
}
