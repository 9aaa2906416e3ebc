//! The task that owns the swarm, and what others may see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    multiaddr::Protocol,
    swarm::{DialError, SwarmEvent},
};
use neblo_behaviour::{
    protocol::interface::{PublicationId, Purpose},
    swarm::Event,
};
use tokio::task::JoinHandle;

use super::{
    behaviour::{Behaviour, BehaviourEvent},
    datadir::DataDir,
};
use crate::{
    api::{Direction, Peer},
    config::Config,
    problem::{Code, Problem},
};

/// How long a listener may take to tell its address.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);

/// What is known of the swarm without asking it.
#[derive(Debug)]
pub struct Net {
    peer_id: PeerId,
    network: String,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    listen: Vec<Multiaddr>,
    peers: BTreeMap<PeerId, Connected>,
    dial_errors: BTreeMap<PeerId, String>,
    paths_lost: u64,
    /// Publications that a leader has now.
    held: BTreeSet<PublicationId>,
}

#[derive(Debug)]
struct Connected {
    address: Multiaddr,
    direction: Direction,
    connections: u32,
    since: Instant,
}

impl Net {
    /// The node's identity.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Addresses with `/p2p/<peer id>` that others can join through; those of other interfaces than loopback first.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        let mut addresses = self.seen().listen.clone();
        addresses.sort_by_key(is_loopback);
        let full = addresses.into_iter().map(|address| address.with(Protocol::P2p(self.peer_id)));
        full.collect()
    }

    /// Connected peers.
    pub fn peers(&self) -> Vec<Peer> {
        let seen = self.seen();
        let peers = seen.peers.iter().map(|(peer, connected)| Peer {
            peer_id: peer.to_string(),
            address: connected.address.to_string(),
            direction: connected.direction,
            transport: transport_of(&connected.address).to_owned(),
            connections: connected.connections,
            seconds: connected.since.elapsed().as_secs(),
        });
        peers.collect()
    }

    /// Number of connected peers.
    pub fn connected(&self) -> usize {
        self.seen().peers.len()
    }

    /// Paths lost since the start.
    pub fn paths_lost(&self) -> u64 {
        self.seen().paths_lost
    }

    /// Whether a leader has this publication now.
    pub(super) fn is_held(&self, publication: &PublicationId) -> bool {
        self.seen().held.contains(publication)
    }

    /// The publication is withdrawn.
    pub(super) fn withdrawn(&self, publication: &PublicationId) {
        self.seen().held.remove(publication);
    }

    /// Why the last dial of `peer` failed, if it did.
    pub fn dial_error(&self, peer: &PeerId) -> Option<String> {
        self.seen().dial_errors.get(peer).cloned()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

fn transport_of(address: &Multiaddr) -> &'static str {
    let quic = address.iter().any(|part| matches!(part, Protocol::QuicV1));
    if quic { "quic" } else { "tcp" }
}

/// Listens on what the configuration names, and starts the task that owns the swarm. Aborting the task closes every
/// socket at once, as a crash would.
pub(super) async fn start(
    mut swarm: Swarm<Behaviour>,
    config: &Config,
    data: Arc<DataDir>,
) -> Result<(Arc<Net>, JoinHandle<()>), Problem> {
    let net =
        Arc::new(Net { peer_id: *swarm.local_peer_id(), network: config.network.clone(), seen: Mutex::default() });
    for address in &config.listen {
        listen(&mut swarm, &net, address, &data).await?;
    }
    let task = tokio::spawn(drive(swarm, net.clone(), data));
    Ok((net, task))
}

async fn drive(mut swarm: Swarm<Behaviour>, net: Arc<Net>, data: Arc<DataDir>) {
    loop {
        let event = swarm.select_next_some().await;
        note(&net, &data, event);
    }
}

/// Opens one listener. A port that was remembered and is taken now is replaced by a fresh one; one that the user named
/// is an error.
async fn listen(swarm: &mut Swarm<Behaviour>, net: &Net, wanted: &Multiaddr, data: &DataDir) -> Result<(), Problem> {
    let name = wanted.to_string();
    let remembered = match port(wanted) {
        Some(0) => data.remembered().ports.get(&name).copied(),
        _ => None,
    };
    if let Some(port) = remembered {
        match listen_on(swarm, net, with_port(wanted, port), data).await {
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::warn!(target: "neblo", "port {port} of the last run is not free ({error}): taking another; addresses given to others no longer hold");
            }
        }
    }
    match listen_on(swarm, net, wanted.clone(), data).await {
        Ok(address) => {
            if port(wanted) == Some(0)
                && let Some(port) = port(&address)
            {
                data.remember(|remembered| {
                    remembered.ports.insert(name, port);
                });
            }
            Ok(())
        }
        Err(error) => Err(Problem::new(Code::Failed, format!("cannot listen on {wanted}: {error}")).hint(
            "stop the program that has this port, or listen elsewhere: --listen /ip4/0.0.0.0/tcp/0 takes a free port",
        )),
    }
}

async fn listen_on(
    swarm: &mut Swarm<Behaviour>,
    net: &Net,
    address: Multiaddr,
    data: &DataDir,
) -> Result<Multiaddr, String> {
    let cause = |error: &dyn std::error::Error| innermost(error);
    let listener: ListenerId = swarm.listen_on(address).map_err(|error| cause(&error))?;
    let deadline = tokio::time::sleep(LISTEN_WITHIN);
    tokio::pin!(deadline);
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            () = &mut deadline => return Err("the listener told no address in time".into()),
        };
        let done = match &event {
            SwarmEvent::NewListenAddr { listener_id, address } if *listener_id == listener => Some(Ok(address.clone())),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if *listener_id == listener => {
                Some(Err(match reason {
                    Ok(()) => "closed".to_owned(),
                    Err(error) => cause(error),
                }))
            }
            _ => None,
        };
        note(net, data, event);
        if let Some(done) = done {
            return done;
        }
    }
}

fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

fn with_port(address: &Multiaddr, port: u16) -> Multiaddr {
    let parts = address.iter().map(|part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(port),
        Protocol::Udp(_) => Protocol::Udp(port),
        part => part,
    });
    parts.collect()
}

/// The text of the cause at the bottom: the layers above say nothing a user can act on.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn dial_error(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => {
            let each = errors.iter().map(|(address, error)| {
                let cause = match error {
                    libp2p::TransportError::Other(error) => innermost(error),
                    libp2p::TransportError::MultiaddrNotSupported(_) => {
                        "no transport for this kind of address".to_owned()
                    }
                };
                format!("{address}: {cause}")
            });
            each.collect::<Vec<_>>().join("; ")
        }
        DialError::WrongPeerId { obtained, address } => {
            format!("{address}: another peer answers there, {obtained}")
        }
        error => error.to_string(),
    }
}

fn note(net: &Net, data: &DataDir, event: SwarmEvent<BehaviourEvent>) {
    let mut seen = net.seen();
    match event {
        SwarmEvent::NewListenAddr { address, .. } if !seen.listen.contains(&address) => seen.listen.push(address),
        SwarmEvent::ExpiredListenAddr { address, .. } => seen.listen.retain(|it| *it != address),
        SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
            seen.dial_errors.remove(&peer_id);
            let (address, direction) = match endpoint {
                ConnectedPoint::Dialer { address, .. } => (address, Direction::Outbound),
                ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, Direction::Inbound),
            };
            let connected = seen.peers.entry(peer_id).or_insert_with(|| Connected {
                address,
                direction,
                connections: 0,
                since: Instant::now(),
            });
            connected.connections = num_established.get();
        }
        SwarmEvent::ConnectionClosed { peer_id, num_established, .. } => match num_established {
            0 => {
                seen.peers.remove(&peer_id);
            }
            left => {
                if let Some(connected) = seen.peers.get_mut(&peer_id) {
                    connected.connections = left;
                }
            }
        },
        SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
            tracing::debug!(target: "neblo", %peer, %error, "dial failed");
            // Kept for the messages about bootstrap peers; others would pile up.
            if seen.dial_errors.len() < 64 || seen.dial_errors.contains_key(&peer) {
                seen.dial_errors.insert(peer, dial_error(&error));
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Neblo(event)) => {
            note_event(net, data, &mut seen, event);
        }
        _ => {}
    }
}

fn note_event(net: &Net, data: &DataDir, seen: &mut Seen, event: Event) {
    match event {
        Event::Isolated => {
            tracing::warn!(target: "neblo", "all neighbours on the ring are lost, trying known peers");
        }
        Event::PathLost(purpose) => {
            seen.paths_lost = seen.paths_lost.saturating_add(1);
            if purpose == Purpose::Publishing {
                // What is published is announced again over the next one.
                seen.held.clear();
            }
            tracing::debug!(target: "neblo", ?purpose, "path lost");
        }
        Event::Held(publication) => {
            seen.held.insert(publication);
        }
        Event::FirstRelays(relays) => data.remember(|remembered| {
            let relays = relays.iter().map(|(group, peer)| (group.to_string(), peer.to_string()));
            remembered.relays.insert(net.network.clone(), relays.collect());
        }),
        Event::Known { peer, addresses } => {
            for address in addresses.into_iter().filter_map(|it| it.with_p2p(peer).ok()) {
                data.remember_peer(&net.network, address);
            }
        }
        _ => {}
    }
}

/// The name of a path's purpose in JSON.
pub(super) fn purpose(purpose: Purpose) -> String {
    match purpose {
        Purpose::Publishing => "publishing",
        Purpose::Searching => "searching",
        Purpose::Downloading => "downloading",
        Purpose::PublishingAgain => "publishing again",
    }
    .to_owned()
}
