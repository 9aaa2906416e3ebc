//! The swarm with all behaviours, and the task that drives it.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, PublishError};
use libp2p::kad::store::{MemoryStore, RecordStore};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identify, identity, kad, noise, ping, tcp, yamux};
use neblo_behaviour::{Behaviour as Neblo, Config, Handle};
use tokio::sync::mpsc;

/// A NEBLO network is a behaviour like any other, and two of different names do not meet.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    chess: Neblo,
    music: Neblo,
    kad: kad::Behaviour<MemoryStore>,
    gossipsub: gossipsub::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// What the program asks of a running swarm.
pub(crate) enum Asks {
    /// Keep this record for Kademlia.
    Put(String),
    /// Look the record up by Kademlia.
    Get,
    /// Send this to all by gossipsub.
    Publish(String),
}

/// A swarm that is driven by a task.
pub(crate) struct Running {
    /// Where it listens, with its peer id at the end.
    pub(crate) address: Multiaddr,
    pub(crate) chess: Handle,
    pub(crate) music: Handle,
    pub(crate) asks: mpsc::Sender<Asks>,
    /// Records that Kademlia found.
    pub(crate) record: mpsc::Receiver<String>,
    /// Messages that came by gossipsub.
    pub(crate) gossip: mpsc::Receiver<String>,
}

fn key() -> kad::RecordKey {
    kad::RecordKey::new(&"greeting")
}

fn topic() -> IdentTopic {
    IdentTopic::new("compose example")
}

fn behaviour(keypair: &identity::Keypair) -> Result<Behaviour> {
    let id = PeerId::from(keypair.public());
    let mut kad = kad::Behaviour::new(id, MemoryStore::new(id));
    kad.set_mode(Some(kad::Mode::Server));
    let config = gossipsub::ConfigBuilder::default().heartbeat_interval(Duration::from_millis(500)).build()?;
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut gossipsub = gossipsub::Behaviour::new(signed, config).map_err(anyhow::Error::msg)?;
    gossipsub.subscribe(&topic())?;
    Ok(Behaviour {
        chess: Neblo::new(keypair, Config::default().with_network("chess")),
        music: Neblo::new(keypair, Config::default().with_network("music").with_subgroups(false)),
        kad,
        gossipsub,
        identify: identify::Behaviour::new(identify::Config::new("/compose/1".into(), keypair.public())),
        ping: ping::Behaviour::default(),
    })
}

/// Starts a swarm that knows `first` by Kademlia; the NEBLO networks find each other by themselves once they are subscribed.
pub(crate) async fn start(first: Option<&Running>) -> Result<Running> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|keypair| Ok(behaviour(keypair)?))?
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with(Protocol::P2p(*swarm.local_peer_id()));
        }
    };
    if let Some(Protocol::P2p(peer)) = first.and_then(|first| first.address.iter().last()) {
        let address = first.map(|first| first.address.clone()).context("the first address")?;
        swarm.behaviour_mut().kad.add_address(&peer, address);
    }
    let (chess, music) = (swarm.behaviour().chess.handle(), swarm.behaviour().music.handle());
    let (asks, asked) = mpsc::channel(16);
    let (records, record) = mpsc::channel(16);
    let (messages, gossip) = mpsc::channel(16);
    tokio::spawn(drive(swarm, asked, records, messages));
    Ok(Running { address, chess, music, asks, record, gossip })
}

/// Polls a swarm for as long as the program has its end of `asked`.
async fn drive(
    mut swarm: Swarm<Behaviour>,
    mut asked: mpsc::Receiver<Asks>,
    records: mpsc::Sender<String>,
    messages: mpsc::Sender<String>,
) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    // Gossipsub refuses to publish before it knows somebody who listens.
    let mut to_publish: Option<String> = None;
    let mut again = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                    result: kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))),
                    ..
                })) => {
                    let _nobody_waits = records.try_send(text(found.record.value));
                }
                SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(gossipsub::Event::Message { message, .. })) => {
                    let _nobody_waits = messages.try_send(text(message.data));
                }
                _ => {}
            },
            ask = asked.recv() => match ask {
                None => return,
                Some(Asks::Put(value)) => {
                    let record = kad::Record::new(key(), value.into_bytes());
                    if let Err(error) = swarm.behaviour_mut().kad.store_mut().put(record) {
                        eprintln!("error: the record was not kept: {error}");
                    }
                }
                Some(Asks::Get) => {
                    swarm.behaviour_mut().kad.get_record(key());
                }
                Some(Asks::Publish(text)) => to_publish = Some(text),
            },
            _ = again.tick(), if to_publish.is_some() => {
                let gossipsub = &mut swarm.behaviour_mut().gossipsub;
                let listeners = gossipsub.all_mesh_peers().count();
                if let Some(text) = to_publish.as_ref().filter(|_| listeners > 0) {
                    match gossipsub.publish(topic(), text.as_bytes()) {
                        Err(PublishError::NoPeersSubscribedToTopic) => {}
                        Err(error) => eprintln!("error: nothing was published: {error}"),
                        Ok(_) => to_publish = None,
                    }
                }
            }
        }
    }
}
