//! [`Behaviour`]: drives a [`Node`] with what the swarm reports, and does what the node wants done.

mod addresses;
mod answers;
mod clock;
mod links;
mod outputs;
mod streams;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use libp2p_core::{Endpoint, Multiaddr, transport::PortUse};
use libp2p_identity::{Keypair, PeerId};
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p_swarm::derive_prelude::Either;
use libp2p_swarm::{
    CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerSelect, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use rand::Rng;
use rand::rngs::StdRng;

use self::addresses::OwnAddresses;
use self::clock::Clock;
use self::links::{HOUSEKEEPING, PeerState};
use self::streams::Streams;
use super::dispatch::Dispatch;
use super::event::Event;
use super::handle::{DirectoryQueue, Handle, IncomingSlot, MAX_COMMANDS, Pending, Request};
use super::handler::upgrade::Names;
use super::handler::{Handler, Taken, ToBehaviour};
use super::keys::SwarmKeys;
use super::multicast::{Gate, GateIn, Multicast, MulticastOut};
use super::shared::{Shared, count};
use crate::protocol::cost::{JoinCost, week_at};
use crate::protocol::interface::{Input, MAX_FRAME, Output, Token};
use crate::protocol::prefix::Prefix;
use crate::protocol::seal::Keys;
use crate::protocol::wire::{Frame, Hello};
use crate::protocol::{Config, Node, Timer};

/// Inputs that the node handles before others get their turn.
const TURN: usize = 1024;
/// Commands taken from handles in one go, so that they cannot crowd out the network.
const COMMANDS: usize = 32;

type HandlerIn = Either<std::convert::Infallible, GateIn>;

/// Options of the binding that the protocol does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwarmConfig {
    /// Bytes a second that this node carries for others, over all streams and both ways together. Default: no limit.
    pub relay_rate: Option<u64>,
}

impl SwarmConfig {
    /// Limits the bytes a second that this node carries for others (at least 1 KiB/s).
    pub fn with_relay_rate(mut self, bytes_per_second: Option<u64>) -> Self {
        self.relay_rate = bytes_per_second;
        self
    }
}

/// NEBLO as a [`NetworkBehaviour`]: alone in a swarm, beside others, or under a `Toggle`.
///
/// It dials and keeps the connections that its protocol needs, and leaves those of other behaviours alone: a peer that does
/// not speak NEBLO on this network is asked once at most, and only if there is something to say to it.
///
/// Substreams are opened with the swarm's negotiation; `Version::V1Lazy` (by
/// `libp2p_swarm::Config::with_substream_upgrade_protocol_override`) saves a round trip on each.
pub struct Behaviour {
    node: Node<PeerId>,
    me: PeerId,
    rng: StdRng,
    clock: Clock,
    names: Names,
    pub(super) hello: Bytes,
    pub(super) shared: Arc<Shared>,
    directory: Arc<DirectoryQueue>,
    incoming: Arc<IncomingSlot>,
    max_streams: usize,
    max_streams_per_neighbour: usize,

    inputs: VecDeque<Input<PeerId>>,
    outputs: Vec<Output<PeerId>>,
    events: VecDeque<ToSwarm<Event, THandlerInEvent<Self>>>,
    /// Batches that the node has not handled yet: their connections do not read on until then.
    taken: Vec<Taken>,
    unreachable: BTreeSet<PeerId>,

    pub(super) peers: HashMap<PeerId, PeerState>,
    /// Connections that we are closing: nothing that comes of them counts any more.
    pub(super) closing: BTreeMap<ConnectionId, PeerId>,
    /// Peers whose connections the node wants kept, whether there are any or not.
    held: BTreeSet<PeerId>,
    /// Which run of its node such a peer was when its last connection closed.
    former: BTreeMap<PeerId, u64>,
    /// Peers that are being dialled or for which streams wait, and some that were.
    unsettled: BTreeSet<PeerId>,
    streams: Streams,
    addresses: OwnAddresses,
    multicast: Option<Multicast>,
    multicast_out: Vec<MulticastOut>,
    dispatch: Dispatch,
    pub(super) pending: HashMap<Token, Pending>,
    commands: mpsc::Receiver<Request>,
    handle: Handle,
    /// In place of a node: what it would have heard.
    #[cfg(test)]
    pub(super) heard: Option<Vec<Input<PeerId>>>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

impl Behaviour {
    /// A node with this identity (the swarm's own), not a member of any ring yet: see [`Handle::subscribe`].
    ///
    /// The identity must be an Ed25519 or secp256k1 key: others are too long for what members say of themselves.
    pub fn new(keypair: &Keypair, config: Config) -> Self {
        Self::with_swarm_config(keypair, config, SwarmConfig::default())
    }

    /// As [`new`](Self::new), with options of the binding.
    pub fn with_swarm_config(keypair: &Keypair, config: Config, swarm: SwarmConfig) -> Self {
        let network = config.network_hash();
        let me = keypair.public().to_peer_id();
        let mut rng: StdRng = rand::make_rng();
        let hello = Hello { versions: 0b10, features: 0, incarnation: rng.next_u64(), max_frame: MAX_FRAME as u32 };
        let shared = Arc::new(Shared::new(swarm.relay_rate));
        let directory = Arc::<DirectoryQueue>::default();
        let incoming = Arc::<IncomingSlot>::default();
        let (sender, commands) = mpsc::channel(MAX_COMMANDS);
        let handle = Handle::new(sender, shared.clone(), directory.clone(), incoming.clone());
        let dispatch = Dispatch::new(handle.clone(), shared.clone());
        // Without subgroups there are no leaders.
        let multicast = config.subgroups.then(|| Multicast::new(&network)).and_then(|multicast| {
            multicast.inspect_err(|error| tracing::error!(%error, "the leaders' multicast cannot be set up")).ok()
        });
        let (max_streams, max_streams_per_neighbour) = (config.max_streams, config.max_streams_per_neighbour);
        let keys = SwarmKeys::new(keypair.clone());
        if config.subgroups {
            // By the time that the node is a member of a ring it has paid for a subgroup.
            keys.paid(&JoinCost::new(config.network.clone(), config.join_cost), week_at(Clock::unix()));
        }
        let node = Node::new(me, config, Box::new(keys), &mut rng);
        Self {
            me,
            clock: Clock::new(shared.start),
            names: Names::new(&network),
            hello: Frame::<PeerId>::Hello(hello).to_bytes().into(),
            handle,
            shared,
            directory,
            incoming,
            rng,
            max_streams,
            max_streams_per_neighbour,
            node,
            inputs: VecDeque::new(),
            outputs: Vec::new(),
            events: VecDeque::new(),
            taken: Vec::new(),
            unreachable: BTreeSet::new(),
            peers: HashMap::new(),
            closing: BTreeMap::new(),
            held: BTreeSet::new(),
            former: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            streams: Streams::default(),
            addresses: OwnAddresses::default(),
            multicast,
            multicast_out: Vec::new(),
            dispatch,
            pending: HashMap::new(),
            commands,
            #[cfg(test)]
            heard: None,
        }
    }

    /// A handle to this node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The node, to be looked at by tests and measurements.
    pub fn node(&self) -> &Node<PeerId> {
        &self.node
    }

    /// Lets the node handle its inputs and does what it wants done; false if some are left for the next turn.
    fn drive(&mut self) -> bool {
        for _ in 0..TURN {
            let input = match self.inputs.pop_front() {
                Some(input) => input,
                None => match self.unreachable.pop_first() {
                    Some(peer) => Input::Unreachable(peer),
                    None => break,
                },
            };
            #[cfg(test)]
            if let Some(heard) = &mut self.heard {
                heard.push(input);
                continue;
            }
            let mut outputs = std::mem::take(&mut self.outputs);
            self.node.handle(self.clock.now(), Clock::unix(), &mut self.rng, input, &mut outputs);
            for output in outputs.drain(..) {
                self.execute(output);
            }
            self.outputs = outputs;
        }
        if self.inputs.is_empty() {
            self.taken.clear();
        }
        self.notify_gates();
        self.inputs.is_empty() && self.unreachable.is_empty()
    }

    fn notify_gates(&mut self) {
        for out in std::mem::take(&mut self.multicast_out) {
            self.on_multicast(out);
        }
    }

    fn on_multicast(&mut self, out: MulticastOut) {
        match out {
            MulticastOut::Notify(peer_id, connection, event) => self.events.push_back(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event: HandlerIn::Right(event),
            }),
            MulticastOut::Message { message, from, bytes } => {
                self.inputs.push_back(Input::Multicast { message, from, bytes });
            }
        }
    }

    fn handler(&self) -> ConnectionHandlerSelect<Handler, Gate> {
        Handler::new(self.names.clone(), self.shared.clone(), self.hello.clone()).select(Gate::default())
    }

    fn on_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: ToBehaviour) {
        if self.closing.contains_key(&connection) {
            return;
        }
        match event {
            ToBehaviour::Up(mailbox) => self.link_up(peer, connection, mailbox),
            ToBehaviour::Greeted(hello) => self.greeted(peer, connection, hello.incarnation),
            ToBehaviour::Foreign => self.foreign(peer, connection),
            ToBehaviour::Broken => {
                tracing::debug!("a control substream could not be kept open");
                self.close(peer, connection);
            }
            ToBehaviour::Frames(frames, taken) => {
                let received = |frame| Input::Received { from: peer, frame: Box::new(frame) };
                self.inputs.extend(frames.into_iter().map(received));
                self.taken.push(taken);
            }
            ToBehaviour::Violated(violation) => {
                count(&self.shared.counters.violations);
                tracing::debug!(?violation, "a peer broke the protocol");
                self.close(peer, connection);
            }
            ToBehaviour::Asked(header, stream) => self.stream_asked(peer, connection, header, stream),
        }
    }

    /// Closes one connection.
    fn close(&mut self, peer_id: PeerId, connection: ConnectionId) {
        self.events.push_back(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
    }

    /// Takes the notes that dropped values left, and commands; true if there may be more.
    fn take_work(&mut self, cx: &mut Context<'_>) -> bool {
        self.shared.waker.register(cx.waker());
        let notes = self.shared.take_notes();
        self.take_notes(notes);
        for _ in 0..COMMANDS {
            match self.commands.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => self.on_request(request),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
        true
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = ConnectionHandlerSelect<Handler, Gate>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                self.connected(peer_id, connection_id);
                let address = endpoint.get_remote_address().to_vec();
                if Prefix::of(&address).is_some() {
                    self.inputs.push_back(Input::Remote { peer: peer_id, address });
                }
                if let Some(multicast) = &mut self.multicast {
                    multicast.connected(peer_id, connection_id, endpoint, &mut self.multicast_out);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(multicast) = &mut self.multicast {
                    multicast.disconnected(peer_id, connection_id);
                }
                self.disconnected(peer_id, connection_id);
            }
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, connection_id }) => {
                self.dial_failed(peer, connection_id, error);
            }
            event => self.addresses.on_swarm_event(&event),
        }
        self.drive();
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.on_handler_event(peer, connection, event),
            Either::Right(event) => {
                if let Some(multicast) = &mut self.multicast {
                    multicast.on_gate_event(peer, connection, event);
                }
            }
        }
        self.drive();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            let mut more = self.take_work(cx);
            if let Some(addresses) = self.addresses.changed() {
                self.inputs.push_back(Input::Addresses(addresses));
            }
            for _ in 0..COMMANDS {
                let Some(multicast) = &mut self.multicast else { break };
                let Poll::Ready(out) = multicast.poll(cx, &self.shared) else { break };
                self.on_multicast(out);
            }
            if let Some(late) = self.clock.late() {
                // Before anything that came meanwhile.
                self.inputs.push_front(Input::Late(late));
            }
            while let Some(timer) = self.clock.expired() {
                if let Timer::Link(link) = &timer
                    && let Some(at) = self.heard_on_streams(link.peer())
                {
                    self.inputs.push_back(Input::Heard { from: link.peer(), at });
                }
                self.inputs.push_back(Input::Expired(timer));
            }
            if self.clock.housekeeping_is_due() {
                self.keep_house();
            }
            more |= !self.drive();
            if !self.events.is_empty() {
                continue;
            }
            if more {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let house = !self.unsettled.is_empty() || self.streams.needs_housekeeping();
            let house = house.then_some(HOUSEKEEPING);
            if self.clock.poll(cx, house).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Behaviour {
    fn drop(&mut self) {
        self.directory.close();
        self.incoming.close();
        self.shared.close();
    }
}
