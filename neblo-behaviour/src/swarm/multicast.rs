//! The leaders' multicast: gossipsub, handed only to connections between leaders (design D13).
//!
//! On any other connection gossipsub would keep the connection alive and tell a peer who leads. So each connection has a
//! [`Gate`]: it denies the protocol until the node names the neighbour a leader.

mod scores;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures_timer::Delay;
use libp2p_core::upgrade::{DeniedUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p_core::{ConnectedPoint, Endpoint, transport::PortUse};
use libp2p_gossipsub as gossipsub;
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p_swarm::derive_prelude::Either;
use libp2p_swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError, FullyNegotiatedInbound,
    FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p_swarm::{
    ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, SubstreamProtocol,
    THandlerInEvent, ToSwarm,
};

use super::shared::{Shared, count};
use crate::protocol::interface::Verdict;

type Inner = <gossipsub::Behaviour as NetworkBehaviour>::ConnectionHandler;
type InnerIn = <Inner as ConnectionHandler>::FromBehaviour;
type InnerOut = <Inner as ConnectionHandler>::ToBehaviour;
type InnerInbound = <Inner as ConnectionHandler>::InboundProtocol;
type InnerOutbound = <Inner as ConnectionHandler>::OutboundProtocol;

/// Largest message of the multicast: an envelope around a sealed record of 16 KiB fits twice. choice
const MAX_MESSAGE: usize = 32 * 1024;
/// Messages that wait for the node's verdict: the oldest is ignored when there are more.
const MAX_UNDECIDED: usize = 1024;
/// gossipsub's default is 1 s; lookups wait for leaders that have just joined the mesh. choice
const HEARTBEAT: Duration = Duration::from_millis(700);
/// The two ends of a link open their gates at slightly different times, so a refused substream is asked for again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// After so many refusals it is asked for more rarely: the other end leads no more, but may again.
const QUICK_RETRIES: u8 = 20;
const RETRY_RARELY_AFTER: Duration = Duration::from_secs(5);

/// gossipsub's outbound upgrade, with a last name that nobody knows.
///
/// A lazy negotiation takes the last name for granted and fails at the first read, which costs gossipsub its message. With
/// this, no name that matters is the last one.
#[derive(Clone, Debug)]
pub struct Eager(InnerOutbound);

const NO_PROTOCOL: StreamProtocol = StreamProtocol::new("/neblo/1/none");

/// The remote lets gossipsub not in (yet).
#[derive(Debug)]
pub struct NotLetIn;

impl UpgradeInfo for Eager {
    type Info = Either<<InnerOutbound as UpgradeInfo>::Info, StreamProtocol>;
    type InfoIter = Vec<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        let known = UpgradeInfo::protocol_info(&self.0).into_iter().map(Either::Left);
        known.chain([Either::Right(NO_PROTOCOL)]).collect()
    }
}

impl OutboundUpgrade<Stream> for Eager {
    type Output = <InnerOutbound as OutboundUpgrade<Stream>>::Output;
    type Error = NotLetIn;
    type Future = BoxFuture<'static, Result<Self::Output, NotLetIn>>;

    fn upgrade_outbound(self, stream: Stream, info: Self::Info) -> Self::Future {
        match info {
            Either::Left(info) => {
                let upgrade = OutboundUpgrade::upgrade_outbound(self.0, stream, info);
                Box::pin(async { upgrade.await.map_err(|never| match never {}) })
            }
            Either::Right(_) => Box::pin(ready(Err(NotLetIn))),
        }
    }
}

/// What the behaviour tells a gate.
pub enum GateIn {
    /// Let gossipsub in, with this handler.
    Open(Box<Inner>),
    /// Keep gossipsub out.
    Close,
    /// What gossipsub says to its handler.
    Inner(InnerIn),
}

impl std::fmt::Debug for GateIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Close => "Close",
            Self::Inner(_) => "Inner",
        })
    }
}

/// A connection handler that is gossipsub's while it is open, and nothing otherwise.
#[derive(Default)]
pub struct Gate {
    inner: Option<Box<Inner>>,
    /// Counts openings, so that substreams of an earlier handler never reach a later one.
    generation: u32,
    retry: Option<(Delay, Eager)>,
    retries: u8,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("open", &self.inner.is_some()).finish_non_exhaustive()
    }
}

impl Gate {
    fn set(&mut self, inner: Option<Box<Inner>>) {
        self.inner = inner;
        self.generation = self.generation.wrapping_add(1);
        self.retry = None;
        self.retries = 0;
    }
}

impl ConnectionHandler for Gate {
    type FromBehaviour = GateIn;
    type ToBehaviour = InnerOut;
    type InboundProtocol = Either<InnerInbound, DeniedUpgrade>;
    type OutboundProtocol = Eager;
    type InboundOpenInfo = u32;
    type OutboundOpenInfo = (u32, Eager);

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, u32> {
        let upgrade = match &self.inner {
            Some(inner) => Either::Left(inner.listen_protocol().into_upgrade().0),
            None => Either::Right(DeniedUpgrade),
        };
        SubstreamProtocol::new(upgrade, self.generation)
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.connection_keep_alive())
    }

    fn on_behaviour_event(&mut self, event: GateIn) {
        match event {
            GateIn::Open(inner) => self.set(Some(inner)),
            GateIn::Close => self.set(None),
            GateIn::Inner(event) => {
                if let Some(inner) = &mut self.inner {
                    inner.on_behaviour_event(event);
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Eager, (u32, Eager), InnerOut>> {
        let Some(inner) = &mut self.inner else { return Poll::Pending };
        if let Some((delay, _)) = &mut self.retry
            && Pin::new(delay).poll(cx).is_ready()
            && let Some((_, upgrade)) = self.retry.take()
        {
            let protocol = SubstreamProtocol::new(upgrade.clone(), (self.generation, upgrade));
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        inner.poll(cx).map(|event| match event {
            ConnectionHandlerEvent::OutboundSubstreamRequest { protocol } => {
                let timeout = *protocol.timeout();
                let upgrade = Eager(protocol.into_upgrade().0);
                let info = (self.generation, upgrade.clone());
                let protocol = SubstreamProtocol::new(upgrade, info).with_timeout(timeout);
                ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }
            }
            ConnectionHandlerEvent::NotifyBehaviour(event) => ConnectionHandlerEvent::NotifyBehaviour(event),
            ConnectionHandlerEvent::ReportRemoteProtocols(protocols) => {
                ConnectionHandlerEvent::ReportRemoteProtocols(protocols)
            }
            _ => ConnectionHandlerEvent::ReportRemoteProtocols(libp2p_swarm::handler::ProtocolSupport::Added(
                Default::default(),
            )),
        })
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Eager, u32, (u32, Eager)>) {
        let Some(inner) = &mut self.inner else { return };
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                if let futures::future::Either::Left(protocol) = protocol
                    && info == self.generation
                {
                    let event = FullyNegotiatedInbound { protocol, info: () };
                    inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(event));
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info })
                if info.0 == self.generation =>
            {
                self.retries = 0;
                let event = FullyNegotiatedOutbound { protocol, info: () };
                inner.on_connection_event(ConnectionEvent::FullyNegotiatedOutbound(event));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: (generation, upgrade), error }) => {
                if generation != self.generation {
                    return;
                }
                let error = match error {
                    StreamUpgradeError::Timeout => StreamUpgradeError::Timeout,
                    StreamUpgradeError::Io(error) => StreamUpgradeError::Io(error),
                    StreamUpgradeError::NegotiationFailed | StreamUpgradeError::Apply(NotLetIn) => {
                        let quick = self.retries < QUICK_RETRIES;
                        self.retries = self.retries.saturating_add(1);
                        let after = if quick { RETRY_AFTER } else { RETRY_RARELY_AFTER };
                        self.retry = Some((Delay::new(after), upgrade));
                        return;
                    }
                };
                let event = DialUpgradeError { info: (), error };
                inner.on_connection_event(ConnectionEvent::DialUpgradeError(event));
            }
            _ => {}
        }
    }
}

/// A connection as gossipsub must hear of it.
struct Link {
    endpoint: ConnectedPoint,
    open: bool,
}

/// gossipsub behind its gates.
pub(crate) struct Multicast {
    inner: gossipsub::Behaviour,
    topic: gossipsub::IdentTopic,
    links: HashMap<PeerId, BTreeMap<ConnectionId, Link>>,
    leaders: HashSet<PeerId>,
    undecided: BTreeMap<u64, (gossipsub::MessageId, PeerId)>,
    next: u64,
}

/// What the multicast wants of the behaviour around it.
pub(crate) enum MulticastOut {
    Notify(PeerId, ConnectionId, GateIn),
    Message { message: u64, from: PeerId, bytes: Vec<u8> },
}

/// How gossipsub is set up. `sim::Mesh` is a model of it with these settings.
pub(super) fn settings(network_hash: &str) -> Result<gossipsub::Config, String> {
    gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!("/neblo/1/{network_hash}/meshsub"))
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .message_id_fn(|message| gossipsub::MessageId::from(blake3::hash(&message.data).as_bytes().to_vec()))
        .validate_messages()
        .max_transmit_size(MAX_MESSAGE)
        .flood_publish(true)
        .heartbeat_initial_delay(HEARTBEAT)
        .heartbeat_interval(HEARTBEAT)
        .build()
        .map_err(|error| error.to_string())
}

impl Multicast {
    pub(crate) fn new(network_hash: &str) -> Result<Self, String> {
        let config = settings(network_hash)?;
        let topic = gossipsub::IdentTopic::new("leaders");
        let mut inner = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)?;
        inner.with_peer_score(scores::params(&topic), scores::thresholds())?;
        Ok(Self { inner, topic, links: HashMap::new(), leaders: HashSet::new(), undecided: BTreeMap::new(), next: 0 })
    }

    /// Takes part, or stops and closes all gates.
    pub(crate) fn take_part(&mut self, on: bool, out: &mut Vec<MulticastOut>) {
        if on {
            let _ = self.inner.subscribe(&self.topic);
        } else {
            let _ = self.inner.unsubscribe(&self.topic);
            for peer in self.leaders.iter().copied().collect::<Vec<_>>() {
                self.link(peer, false, out);
            }
        }
    }

    pub(crate) fn publish(&mut self, bytes: Vec<u8>, shared: &Shared) {
        match self.inner.publish(self.topic.clone(), bytes) {
            // Nobody there yet, or said before: neither is a fault.
            Ok(_) | Err(gossipsub::PublishError::NoPeersSubscribedToTopic | gossipsub::PublishError::Duplicate) => {}
            Err(error) => {
                count(&shared.counters.multicast_dropped);
                tracing::debug!(%error, "the leaders' multicast dropped a message");
            }
        }
    }

    pub(crate) fn verdict(&mut self, message: u64, from: PeerId, verdict: Verdict) {
        let Some((id, _)) = self.undecided.remove(&message) else { return };
        let acceptance = match verdict {
            Verdict::Accept => gossipsub::MessageAcceptance::Accept,
            Verdict::Reject => gossipsub::MessageAcceptance::Reject,
            Verdict::Ignore => gossipsub::MessageAcceptance::Ignore,
        };
        self.inner.report_message_validation_result(&id, &from, acceptance);
    }

    /// Opens or closes the gates of all connections to a peer.
    pub(crate) fn link(&mut self, peer: PeerId, on: bool, out: &mut Vec<MulticastOut>) {
        let known = if on { !self.leaders.insert(peer) } else { !self.leaders.remove(&peer) };
        if known {
            return;
        }
        let connections: Vec<_> = self.links.get(&peer).into_iter().flat_map(|links| links.keys().copied()).collect();
        for connection in connections {
            if on {
                self.open(peer, connection, out);
            } else {
                self.close(peer, connection, Some(out));
            }
        }
    }

    pub(crate) fn connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        out: &mut Vec<MulticastOut>,
    ) {
        let link = Link { endpoint: endpoint.clone(), open: false };
        self.links.entry(peer).or_default().insert(connection, link);
        if self.leaders.contains(&peer) {
            self.open(peer, connection, out);
        }
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        self.close(peer, connection, None);
        if let Some(links) = self.links.get_mut(&peer) {
            links.remove(&connection);
            if links.is_empty() {
                self.links.remove(&peer);
                self.leaders.remove(&peer);
            }
        }
    }

    fn open(&mut self, peer: PeerId, connection: ConnectionId, out: &mut Vec<MulticastOut>) {
        let Some(links) = self.links.get_mut(&peer) else { return };
        let other_established = links.values().filter(|link| link.open).count();
        let Some(link) = links.get_mut(&connection).filter(|link| !link.open) else { return };
        let handler = match &link.endpoint {
            ConnectedPoint::Dialer { address, .. } => self.inner.handle_established_outbound_connection(
                connection,
                peer,
                address,
                Endpoint::Dialer,
                PortUse::Reuse,
            ),
            ConnectedPoint::Listener { local_addr, send_back_addr } => {
                self.inner.handle_established_inbound_connection(connection, peer, local_addr, send_back_addr)
            }
        };
        let Ok(handler) = handler else { return };
        link.open = true;
        out.push(MulticastOut::Notify(peer, connection, GateIn::Open(Box::new(handler))));
        self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: connection,
            endpoint: &link.endpoint,
            failed_addresses: &[],
            other_established,
        }));
    }

    fn close(&mut self, peer: PeerId, connection: ConnectionId, out: Option<&mut Vec<MulticastOut>>) {
        let Some(links) = self.links.get_mut(&peer) else { return };
        let open = links.values().filter(|link| link.open).count();
        let Some(link) = links.get_mut(&connection).filter(|link| link.open) else { return };
        link.open = false;
        if let Some(out) = out {
            out.push(MulticastOut::Notify(peer, connection, GateIn::Close));
        }
        self.inner.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: peer,
            connection_id: connection,
            endpoint: &link.endpoint,
            cause: None,
            remaining_established: open - 1,
        }));
    }

    /// What a gate says. Late words of a gate that was closed since are dropped.
    pub(crate) fn on_gate_event(&mut self, peer: PeerId, connection: ConnectionId, event: InnerOut) {
        if self.links.get(&peer).and_then(|links| links.get(&connection)).is_some_and(|link| link.open) {
            self.inner.on_connection_handler_event(peer, connection, event);
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<MulticastOut> {
        while let Poll::Ready(event) = self.inner.poll(cx) {
            match event {
                ToSwarm::GenerateEvent(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                    while self.undecided.len() >= MAX_UNDECIDED
                        && let Some((_, (id, from))) = self.undecided.pop_first()
                    {
                        count(&shared.counters.multicast_dropped);
                        self.inner.report_message_validation_result(&id, &from, gossipsub::MessageAcceptance::Ignore);
                    }
                    self.next += 1;
                    self.undecided.insert(self.next, (message_id, propagation_source));
                    return Poll::Ready(MulticastOut::Message {
                        message: self.next,
                        from: propagation_source,
                        bytes: message.data,
                    });
                }
                ToSwarm::NotifyHandler { peer_id, handler, event } => {
                    let connection = match handler {
                        NotifyHandler::One(connection) => Some(connection),
                        NotifyHandler::Any => self.links.get(&peer_id).and_then(|links| {
                            links.iter().find(|(_, link)| link.open).map(|(connection, _)| *connection)
                        }),
                    };
                    let event: THandlerInEvent<gossipsub::Behaviour> = event;
                    if let Some(connection) = connection {
                        return Poll::Ready(MulticastOut::Notify(peer_id, connection, GateIn::Inner(event)));
                    }
                }
                // Whom to dial and whom to leave is the node's business.
                _ => {}
            }
        }
        Poll::Pending
    }
}
