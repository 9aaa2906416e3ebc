//! Peers and the connections to them: who speaks our protocol, whom to dial, which connection carries the lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use libp2p_swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p_swarm::{ConnectionId, DialError, ToSwarm};

use super::Behaviour;
use crate::protocol::interface::{Input, Lane, MAX_FRAME, Refusal};
use crate::protocol::io::{Contact, Time};
use crate::protocol::wire::Frame;
use crate::swarm::handler::data::{ANSWER_TIMEOUT, DataJob};
use crate::swarm::handler::lane::{APP, DIALLING, Lanes, URGENT};
use crate::swarm::handler::{Job, Mailbox};
use crate::swarm::shared::count;

/// How often deadlines of dials and waiting streams are looked at.
pub(super) const HOUSEKEEPING: Duration = Duration::from_millis(500);
/// Peers dialled at once: further ones count as unreachable.
const MAX_DIALLING: usize = 1024;
/// How long a dial may take in all; transports are faster to give up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// A dial that failed sooner is tried once more, from a port of its own: two that dial one another in the same moment from the
/// ports on which they listen share one TCP connection, of which both take themselves for the dialler. choice
const DIALS_AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// Streams that wait for a connection to one peer.
const MAX_WAITING: usize = 32;

/// What is known of a connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody has said Hello yet.
    Unknown,
    /// It speaks our protocol on our network.
    Ours,
    /// It does not.
    Foreign,
}

/// A connection whose handler has reported.
#[derive(Debug)]
struct Link {
    mailbox: Arc<Mailbox>,
    /// Which run of the remote's node is at its other end, once that has said Hello on it.
    incarnation: Option<u64>,
}

#[derive(Debug)]
struct Dial {
    connection: ConnectionId,
    since: Time,
    /// The dial was refused because there is another: to be tried again with our addresses if that one fails.
    refused: bool,
    /// It is the second, from a port of its own.
    again: bool,
}

/// A peer that is connected, being dialled, or held.
#[derive(Debug)]
pub(in crate::swarm) struct PeerState {
    /// By age.
    links: BTreeMap<ConnectionId, Link>,
    /// All connections but those that we are closing.
    connections: BTreeSet<ConnectionId>,
    standing: Standing,
    lanes: Arc<Lanes>,
    /// The connection that carries the lanes.
    control: Option<ConnectionId>,
    /// The node wants its connection kept.
    held: bool,
    /// We wanted this connection.
    wanted: bool,
    dial: Option<Dial>,
    addresses: Vec<Multiaddr>,
    /// Streams that wait for a connection.
    waiting: Vec<(Time, DataJob)>,
}

impl PeerState {
    fn new(held: bool) -> Self {
        Self {
            links: BTreeMap::new(),
            connections: BTreeSet::new(),
            standing: Standing::Unknown,
            lanes: Lanes::new(),
            control: None,
            held,
            wanted: held,
            dial: None,
            addresses: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Queues bytes as if they were a frame.
    #[cfg(test)]
    pub(in crate::swarm) fn push_raw(&self, bytes: Vec<u8>) {
        assert!(self.lanes.push(Lane::Urgent, bytes.into(), URGENT));
    }

    fn is_settled(&self) -> bool {
        self.dial.is_none() && self.waiting.is_empty()
    }

    /// Puts the lanes on the oldest connection, if there is reason to and none carries them; on one on which the peer has said
    /// Hello, if there is one.
    fn attach(&mut self) {
        let reason = self.wanted || self.held || self.standing == Standing::Ours || !self.lanes.are_empty();
        if self.control.is_some() || self.standing == Standing::Foreign || !reason {
            return;
        }
        let greeted = self.links.iter().find(|(_, link)| link.incarnation.is_some());
        if let Some((connection, link)) = greeted.or_else(|| self.links.first_key_value()) {
            let _ = link.mailbox.push(Job::Attach(self.lanes.clone()));
            link.mailbox.keep(self.held);
            self.control = Some(*connection);
        }
    }

    fn lease(&self) {
        if let Some(link) = self.control.and_then(|control| self.links.get(&control)) {
            link.mailbox.keep(self.held);
        }
    }

    /// Which run of the peer's node is at the other end of the newest connection on which it has said Hello.
    fn incarnation(&self) -> Option<(ConnectionId, u64)> {
        self.links.iter().rev().find_map(|(connection, link)| Some((*connection, link.incarnation?)))
    }

    fn learn(&mut self, contact: &Contact<PeerId>) {
        let addresses = contact.addresses().filter_map(|bytes| Multiaddr::try_from(bytes.to_vec()).ok());
        let addresses: Vec<_> = addresses
            .map(|mut address| {
                if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
                    address.pop();
                }
                address
            })
            .filter(|address| !address.is_empty())
            .collect();
        if !addresses.is_empty() {
            self.addresses = addresses;
        }
    }
}

impl Behaviour {
    fn peer(&mut self, contact: &Contact<PeerId>) -> &mut PeerState {
        let held = self.held.contains(&contact.peer);
        let state = self.peers.entry(contact.peer).or_insert_with(|| PeerState::new(held));
        // Addresses are for dialling; a peer that disconnects is forgotten with them.
        if state.connections.is_empty() {
            state.learn(contact);
        }
        state
    }

    /// Sends a frame, dialling first if need be.
    pub(super) fn send(&mut self, to: &Contact<PeerId>, lane: Lane, frame: &Frame<PeerId>) {
        let bytes = frame.to_pieces();
        if bytes.len() > MAX_FRAME {
            count(&self.shared.counters.frames_dropped);
            tracing::error!(bytes = bytes.len(), "a frame of ours is too long");
            return;
        }
        if !self.reach(to) {
            return;
        }
        self.shared.counters.sent(frame.kind(), bytes.len());
        let Some(state) = self.peers.get_mut(&to.peer) else { return };
        let cap = match lane {
            _ if !state.is_connected() => DIALLING,
            Lane::Urgent => URGENT,
            Lane::App => APP,
        };
        if !state.lanes.push(lane, bytes, cap) {
            count(&self.shared.counters.frames_dropped);
        }
        state.attach();
    }

    /// Makes sure that the peer is connected or being dialled; false if it cannot be reached.
    fn reach(&mut self, to: &Contact<PeerId>) -> bool {
        if to.peer == self.me {
            return false;
        }
        let state = self.peer(to);
        state.wanted = true;
        let foreign = state.standing == Standing::Foreign;
        let fine = !foreign && (state.is_connected() || state.dial.is_some() || self.dial(to.peer, false));
        if !fine {
            self.unreachable.insert(to.peer);
            if !foreign {
                self.give_up(to.peer);
            }
        }
        fine
    }

    fn dial(&mut self, peer: PeerId, again: bool) -> bool {
        if self.unsettled.len() >= MAX_DIALLING && !self.unsettled.contains(&peer) {
            return false;
        }
        let since = self.clock.now();
        // A connection that is being closed is no reason not to dial: to a peer that does not read that takes for ever.
        let condition = match self.closing.values().any(|closing| *closing == peer) {
            true => PeerCondition::NotDialing,
            false => PeerCondition::DisconnectedAndNotDialing,
        };
        let Some(state) = self.peers.get_mut(&peer) else { return false };
        let opts = DialOpts::peer_id(peer)
            .condition(condition)
            .addresses(state.addresses.clone())
            .extend_addresses_through_behaviour();
        let opts = if again { opts.allocate_new_port().build() } else { opts.build() };
        state.dial = Some(Dial { connection: opts.connection_id(), since, refused: false, again });
        self.unsettled.insert(peer);
        count(&self.shared.counters.dials);
        self.events.push_back(ToSwarm::Dial { opts });
        true
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, connection: ConnectionId, error: &DialError) {
        let now = self.clock.now();
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let connected = state.is_connected();
        let Some(dial) = &mut state.dial else { return };
        if connected {
            state.dial = None;
        } else if dial.connection == connection {
            if matches!(error, DialError::DialPeerConditionFalse(_)) {
                dial.refused = true;
            } else if dial.again || now.since(dial.since) > DIALS_AGAIN_WITHIN || !self.dial(peer, true) {
                self.lost(peer);
            }
        } else if dial.refused && !self.dial(peer, false) {
            self.lost(peer);
        }
    }

    /// A dial came to nothing.
    fn lost(&mut self, peer: PeerId) {
        count(&self.shared.counters.dials_failed);
        self.give_up(peer);
        self.unreachable.insert(peer);
    }

    /// Forgets a peer that is not connected, and what was to be sent to it.
    fn give_up(&mut self, peer: PeerId) {
        if let Some(state) = self.peers.remove(&peer) {
            for (_, job) in state.waiting {
                self.fail_job(job, Refusal::Unreachable);
            }
        }
    }

    /// The swarm reports a connection; its handler will report with the way to it.
    pub(super) fn connected(&mut self, peer: PeerId, connection: ConnectionId) {
        let held = self.held.contains(&peer);
        let state = self.peers.entry(peer).or_insert_with(|| PeerState::new(held));
        state.connections.insert(connection);
        state.dial = None;
    }

    pub(super) fn link_up(&mut self, peer: PeerId, connection: ConnectionId, mailbox: Arc<Mailbox>) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.links.insert(connection, Link { mailbox, incarnation: None });
        state.attach();
        for (_, job) in std::mem::take(&mut state.waiting) {
            self.open(peer, job);
        }
    }

    /// The peer has said Hello on a connection. If it is another run of its node than before, what is left of the former one's
    /// connections is closed: over QUIC nothing else tells, and all that is sent that way would be lost.
    pub(super) fn greeted(&mut self, peer: PeerId, connection: ConnectionId, incarnation: u64) {
        let former = self.former.remove(&peer);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let known = state.incarnation();
        let other = known.is_some_and(|(_, known)| known != incarnation);
        if other && known.is_some_and(|(newest, _)| newest > connection) {
            // Its process wrote this before it ended.
            return self.leave_behind(peer, [connection]);
        }
        if let Some(link) = state.links.get_mut(&connection) {
            link.incarnation = Some(incarnation);
        }
        if other {
            let stale: Vec<_> = state.connections.range(..connection).copied().collect();
            self.leave_behind(peer, stale);
        }
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let new = state.standing != Standing::Ours;
        state.standing = Standing::Ours;
        state.attach();
        if other || former.is_some_and(|former| former != incarnation) {
            self.inputs.push_back(Input::Restarted(peer));
        }
        if new || other {
            self.inputs.push_back(Input::Connected(peer));
        }
    }

    /// Closes some of a peer's connections, which from now on are none.
    fn leave_behind(&mut self, peer: PeerId, stale: impl IntoIterator<Item = ConnectionId>) {
        for connection in stale {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.connections.remove(&connection);
                state.links.remove(&connection);
                if state.control.take_if(|control| *control == connection).is_some() {
                    // Its handler may still take what is queued.
                    state.lanes = Lanes::new();
                }
            }
            self.closing.insert(connection, peer);
            self.close(peer, connection);
        }
    }

    pub(super) fn foreign(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.control == Some(connection) {
            state.control = None;
        }
        if state.standing == Standing::Ours {
            // It says Hello on another connection.
            return state.attach();
        }
        state.standing = Standing::Foreign;
        state.held = false;
        state.lanes.clear();
        if let Some(link) = state.links.get(&connection) {
            link.mailbox.keep(false);
        }
        let waiting = std::mem::take(&mut state.waiting);
        if state.wanted {
            self.unreachable.insert(peer);
        }
        for (_, job) in waiting {
            self.fail_job(job, Refusal::Unreachable);
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.closing.remove(&connection).is_some() {
            return;
        }
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let known = state.incarnation();
        state.connections.remove(&connection);
        state.links.remove(&connection);
        if state.control == Some(connection) {
            state.control = None;
        }
        if state.is_connected() {
            state.attach();
            if state.standing == Standing::Ours {
                self.inputs.push_back(Input::ConnectionLost(peer));
            }
            return;
        }
        let Some(state) = self.peers.remove(&peer) else { return };
        if let Some((_, incarnation)) = known.filter(|_| self.held.contains(&peer)) {
            self.former.insert(peer, incarnation);
        }
        if state.standing == Standing::Ours {
            self.inputs.push_back(Input::Disconnected(peer));
        } else if state.wanted && state.standing == Standing::Unknown {
            self.unreachable.insert(peer);
        }
        for (_, job) in state.waiting {
            self.fail_job(job, Refusal::Unreachable);
        }
    }

    /// Keeps the connection to a peer, dialling it first if need be. The hold outlives dials that fail: the node tries again
    /// by sending, and ends it by a release.
    pub(super) fn hold(&mut self, contact: &Contact<PeerId>) {
        self.held.insert(contact.peer);
        if self.reach(contact)
            && let Some(state) = self.peers.get_mut(&contact.peer)
        {
            state.held = true;
            state.attach();
            state.lease();
        }
    }

    pub(super) fn release(&mut self, peer: PeerId) {
        self.held.remove(&peer);
        self.former.remove(&peer);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.held = false;
            state.lease();
        }
    }

    /// Closes the connections to a peer, which from now on are none: closing may take as long as the peer does not read.
    pub(super) fn disconnect(&mut self, peer: PeerId) {
        self.held.remove(&peer);
        self.former.remove(&peer);
        let Some(state) = self.peers.get(&peer) else { return };
        tracing::debug!(%peer, connections = state.connections.len(), "a peer is taken for dead");
        self.leave_behind(peer, state.connections.clone());
        self.give_up(peer);
    }

    /// Opens a stream of the data plane to a peer, dialling first if need be.
    pub(super) fn open_to(&mut self, contact: &Contact<PeerId>, job: DataJob) {
        if self.reach(contact) {
            self.open(contact.peer, job);
        } else {
            self.fail_job(job, Refusal::Unreachable);
        }
    }

    fn open(&mut self, peer: PeerId, job: DataJob) {
        let deadline = self.clock.now() + ANSWER_TIMEOUT;
        let Some(state) = self.peers.get_mut(&peer) else { return self.fail_job(job, Refusal::Unreachable) };
        let control = state.control.and_then(|control| state.links.get(&control));
        if let Some(link) = control.or_else(|| state.links.values().next()) {
            if let Err(job) = link.mailbox.push(Job::Open(Box::new(job)))
                && let Job::Open(job) = *job
            {
                self.fail_job(*job, Refusal::Full);
            }
        } else if state.waiting.len() < MAX_WAITING {
            state.waiting.push((deadline, job));
            self.unsettled.insert(peer);
        } else {
            self.fail_job(job, Refusal::Full);
        }
    }

    /// A way to a connection, if it is still there.
    pub(super) fn mailbox(&self, peer: PeerId, connection: ConnectionId) -> Option<&Arc<Mailbox>> {
        Some(&self.peers.get(&peer)?.links.get(&connection)?.mailbox)
    }

    /// When bytes of a stream arrived last from a peer.
    pub(super) fn heard_on_streams(&self, peer: PeerId) -> Option<Time> {
        self.peers.get(&peer)?.links.values().filter_map(|link| link.mailbox.heard()).max()
    }

    /// Any connection to a peer.
    pub(in crate::swarm) fn any_connection(&self, peer: PeerId) -> Option<ConnectionId> {
        self.peers.get(&peer)?.links.keys().next().copied()
    }

    /// Gives up dials and waiting streams whose time is over.
    pub(super) fn keep_house(&mut self) {
        let now = self.clock.now();
        let mut lost = Vec::new();
        let mut late = Vec::new();
        let peers = &mut self.peers;
        self.unsettled.retain(|peer| peers.get(peer).is_some_and(|state| !state.is_settled()));
        for peer in &self.unsettled {
            let Some(state) = self.peers.get_mut(peer) else { continue };
            if state.dial.as_ref().is_some_and(|dial| now.since(dial.since) > DIAL_TIMEOUT) {
                lost.push(*peer);
            }
            let (gone, waiting) =
                std::mem::take(&mut state.waiting).into_iter().partition(|(deadline, _)| *deadline <= now);
            state.waiting = waiting;
            late.extend::<Vec<_>>(gone);
        }
        for peer in lost {
            self.lost(peer);
        }
        for (_, job) in late {
            self.fail_job(job, Refusal::Unreachable);
        }
        self.expire_asked(now);
    }
}
