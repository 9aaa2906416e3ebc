//! The answers to commands.

use super::{Hit, Ownership, PublicationId, Refusal, Status};
use crate::address::OverlayAddr;

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No peer that the request could be handed to.
    #[error("no route: this node is not a member of the ring, or has lost its neighbours")]
    NoRoute,
    /// The owner has no receiver on the port.
    #[error("the owner of the address has no receiver on this port")]
    NoReceiver,
    /// The receiver refused.
    #[error("the receiver refused the request")]
    Refused,
    /// A forwarder on the way suppressed it.
    #[error("a forwarder on the way suppressed it")]
    Suppressed,
    /// A peer on the way died before the answer came back.
    #[error("a peer on the way died before the answer came back")]
    NextHopDied,
    /// A forwarder has too much to do.
    #[error("a peer on the way has too much to do")]
    Overloaded,
    /// Nothing was heard in time.
    #[error("nothing was heard in time")]
    TimedOut,
    /// An argument is out of its bounds; the text says which.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The known peers could not be reached or would not let us in.
    #[error("none of the known peers let us in: are they running, on this network, and reachable from here?")]
    NoBootstrap,
    /// Already subscribed or subscribing.
    #[error("already subscribed")]
    AlreadySubscribed,
    /// Not enough subgroup members for anonymity worth the name.
    #[error(
        "only {members} subgroup members, anonymity needs at least 4: wait for more peers, or allow weak anonymity"
    )]
    TooWeak {
        /// How many there are.
        members: usize,
    },
    /// No path was ready in time.
    #[error("no anonymous path was ready in time")]
    NoPath,
    /// The leader knows no such registration (any more).
    #[error("the leader no longer knows this publication")]
    Gone,
    /// The stream was refused on its way.
    #[error("the stream was refused: {0}")]
    StreamRefused(Refusal),
    /// The node shut down.
    #[error("the node has shut down")]
    Closed,
}

/// The answer to a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// It is done.
    Ok,
    /// It could not be done.
    Failed(Failure),
    /// The node is a member of the ring.
    Subscribed {
        /// Its address.
        address: OverlayAddr,
    },
    /// The response to a request.
    Response(Vec<u8>),
    /// Whether this node owns the address.
    Owns(Ownership),
    /// A leader has the publication.
    Announced(PublicationId),
    /// Some hits; more may follow.
    Hits {
        /// The hits.
        hits: Vec<Hit>,
        /// Leaders that have answered so far, and those that were asked.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
    },
    /// No more hits will come.
    LookupEnded {
        /// Leaders that answered.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
    },
    /// A snapshot.
    Status(Box<Status>),
}
