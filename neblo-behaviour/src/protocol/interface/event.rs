//! What the application is told.

use super::{Passing, PublicationId, RangeWork};
use crate::address::{AddrRange, OverlayAddr};
use crate::protocol::io::Contact;

/// The purposes of a path, one path each (design D10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Announcing, and carrying what requesters fetch.
    Publishing,
    /// Looking up.
    Searching,
    /// Fetching.
    Downloading,
    /// As publishing, over a second path besides the first, if the policy wants one
    /// ([`PathPolicy::second_path`](crate::PathPolicy::second_path)).
    PublishingAgain,
}

impl Purpose {
    /// Those that every peer has a path for.
    pub const ALL: [Self; 3] = [Self::Publishing, Self::Searching, Self::Downloading];
}

/// What the application is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<P> {
    /// A member of the ring now.
    Subscribed {
        /// The address.
        address: OverlayAddr,
        /// The range owned.
        range: AddrRange,
    },
    /// All ring neighbours were lost; it is tried again through known peers.
    Isolated,
    /// The owned range changed.
    RangeChanged {
        /// The range owned now.
        range: AddrRange,
        /// Its epoch, which only grows (design D3).
        epoch: u64,
    },
    /// A message passes through a port with a forwarder; decided by [`Command::Pass`](super::Command::Pass).
    Passing {
        /// Names it in the decision.
        pass: u64,
        /// Its kind.
        kind: Passing,
        /// The port.
        port: u16,
        /// The address, of the request for a response, before it was translated for a copy.
        to: OverlayAddr,
        /// Which copy, 0 for the primary.
        copy: u8,
        /// The message.
        payload: Vec<u8>,
        /// The neighbour that brought it, not the sender: for sharing a queue among neighbours.
        from: P,
    },
    /// Work on a range for the application's handler; [`Command::RangeWorkDone`](super::Command::RangeWorkDone) when it is done.
    RangeWork {
        /// Names it.
        work: u64,
        /// What is to be done.
        what: RangeWork,
    },
    /// Subgroup, leader or role changed.
    SubgroupChanged {
        /// The subgroup.
        subgroup: OverlayAddr,
        /// Its leader.
        leader: P,
        /// Whether this node is the leader.
        is_leader: bool,
        /// Members, the leader included.
        members: usize,
    },
    /// A path is ready.
    PathReady(Purpose),
    /// A path was lost and is being rebuilt.
    PathLost(Purpose),
    /// A leader has this publication, until the path for publishing is lost.
    Held(PublicationId),
    /// The first relays in use, worth keeping over a restart.
    FirstRelays(Vec<(OverlayAddr, P)>),
    /// A peer that could serve as a known peer after a restart.
    Known(Contact<P>),
    /// A message (UD) for the receiver of a port.
    Delivered {
        /// The port.
        port: u16,
        /// The address it was sent to, before it was translated for a copy.
        to: OverlayAddr,
        /// Which copy, 0 for the primary.
        copy: u8,
        /// The message.
        payload: Vec<u8>,
        /// The neighbour that brought it, not the sender: for sharing a queue among neighbours. `None` if it is our own.
        from: Option<P>,
    },
    /// A request (REQ) for the receiver of a port; answered by [`Command::Respond`](super::Command::Respond).
    Asked {
        /// Names the request in the answer.
        ask: u64,
        /// The port.
        port: u16,
        /// The address it was sent to, before it was translated for a copy.
        to: OverlayAddr,
        /// Which copy, 0 for the primary.
        copy: u8,
        /// The request.
        payload: Vec<u8>,
        /// The neighbour that brought it, not the asker: for sharing a queue among neighbours. `None` if it is our own.
        from: Option<P>,
    },
    /// As a leader: a row for the index.
    RowAdded {
        /// Names the row.
        row: u64,
        /// What was announced.
        payload: Vec<u8>,
    },
    /// As a leader: a row is gone.
    RowRemoved {
        /// The row.
        row: u64,
    },
    /// All rows are gone (no longer the leader).
    RowsCleared,
    /// As a leader: which rows match? Answered by [`Command::DirectoryAnswer`](super::Command::DirectoryAnswer) within a second.
    DirectoryAsked {
        /// Names the search in the answer.
        ask: u64,
        /// The query, in the application's own language, unchecked.
        query: Vec<u8>,
        /// The most rows wanted.
        limit: u16,
    },
}

/// A snapshot of a node for people and monitoring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The overlay address, when subscribed.
    pub address: Option<OverlayAddr>,
    /// The range owned.
    pub range: Option<AddrRange>,
    /// Length of the successor list.
    pub successors: usize,
    /// Fingers known.
    pub fingers: usize,
    /// The home subgroup.
    pub subgroup: Option<OverlayAddr>,
    /// Whether this node leads it.
    pub is_leader: bool,
    /// Its leader, as bytes of the peer.
    pub leader: Option<Vec<u8>>,
    /// Members of the home subgroup, the leader included.
    pub members: usize,
    /// This node's place among those who lead next, from 1; none for a leader.
    pub candidate: Option<usize>,
    /// Members of the subgroup in which this node publishes and asks (its own, or another as a guest).
    pub anonymity_set: usize,
    /// Leaders known (as a leader).
    pub leaders: usize,
    /// Path purposes that are ready.
    pub paths_ready: Vec<Purpose>,
    /// Path purposes that are being built.
    pub paths_building: Vec<Purpose>,
    /// Path purposes that are built when they are needed, or at a moment of their own
    /// ([`PathPolicy::search_anew`](crate::PathPolicy::search_anew)).
    pub paths_later: Vec<Purpose>,
    /// Links of paths that this node relays.
    pub relayed_paths: usize,
    /// Streams that this node relays now.
    pub relayed_streams: usize,
    /// Publications that this node offers.
    pub publications: usize,
    /// Publications of them that a leader has acknowledged on the present path.
    pub publications_held: usize,
    /// Rows in the directory (as a leader).
    pub rows: usize,
    /// Rows of its leader's table that this node keeps a copy of, as one of the next two candidates (design D9). It cannot read
    /// them before it leads.
    pub copied_rows: usize,
    /// Counters by name: frames, bytes, drops, by kind.
    pub counters: Vec<(&'static str, u64)>,
}

impl Status {
    /// Whether this node can publish and ask: all paths are ready that are there from the first. A leader builds its own, as a guest in
    /// another subgroup, when it first needs them.
    pub fn has_paths(&self) -> bool {
        // What is being built beside it is of no account.
        self.paths_ready.contains(&Purpose::Publishing) || self.is_leader && self.paths_building.is_empty()
    }
}
