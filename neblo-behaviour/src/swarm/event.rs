//! What the swarm reports of a NEBLO node.

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

use crate::address::{AddrRange, OverlayAddr};
use crate::protocol::interface::{PublicationId, Purpose};

/// What happened to the node. Messages, requests, streams and the directory come through the
/// [`Handle`](super::Handle) instead.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A member of the ring now.
    Subscribed {
        /// The overlay address.
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
        /// Its epoch, which only grows.
        epoch: u64,
    },
    /// Subgroup, leader or role changed.
    SubgroupChanged {
        /// The subgroup.
        subgroup: OverlayAddr,
        /// Its leader.
        leader: PeerId,
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
    /// The first relays in use: subgroup and peer, worth keeping over a restart.
    FirstRelays(Vec<(OverlayAddr, PeerId)>),
    /// A peer that could serve as a known peer after a restart.
    Known {
        /// The peer.
        peer: PeerId,
        /// Its transport addresses, without `/p2p`.
        addresses: Vec<Multiaddr>,
    },
}
