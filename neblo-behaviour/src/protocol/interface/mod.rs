//! What goes into a [`Node`](super::Node) and what comes out of it: the whole of its contact with the world.
//!
//! The swarm binding and the simulator drive the same node through these types and nothing else.

mod answer;
mod command;
mod event;
mod handlers;
mod publication;
mod stream;

use std::time::Duration;

pub use answer::{Answer, Failure};
pub use command::Command;
pub use event::{Event, Purpose, Status};
pub use handlers::{
    FIRST_USER_PORT, HandlerKind, Migration, Ownership, Passage, Passing, RangeWork, Recipients, Regeneration, Role,
};
pub use publication::{Announcement, Hit, PublicationId, in_turn, publication_id};
pub use stream::{Refusal, StreamHeader};

use super::io::{Contact, Time};
use super::node::Timer;
use super::wire::Frame;

/// Largest payload of a message to an overlay address, in bytes (design: control plane).
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Largest frame of the control plane, in bytes: a payload and its envelope, or a full list of members. choice
pub const MAX_FRAME: usize = 160 * 1024;

/// Largest payload of a publication and largest query, in bytes: either must fit one sealed record of 16 KiB. choice
pub const MAX_PUBLICATION: usize = 8 * 1024;

/// Names a command that the caller wants an answer to. Chosen by the caller, unique among those without an answer yet.
pub type Token = u64;

/// Which of the two control substreams carries a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Ring, subgroups, paths, probes.
    Urgent,
    /// Messages of the application to overlay addresses.
    App,
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input<P> {
    /// A frame arrived from a connected peer.
    Received {
        /// The sender, as authenticated by the connection.
        from: P,
        /// The frame.
        frame: Box<Frame<P>>,
    },
    /// A timer expired.
    Expired(Timer<P>),
    /// The timers that expire next do so this much later than they were armed for.
    Late(Duration),
    /// Bytes of streams arrived from a peer, the last of them then: a sign of life like a frame.
    Heard {
        /// The peer.
        from: P,
        /// When; not after the time of this input.
        at: Time,
    },
    /// The first connection to a peer that speaks our protocol was established.
    Connected(P),
    /// A connection to a peer comes from, or goes to, this public transport address (a multiaddr in its binary form).
    Remote {
        /// The peer.
        peer: P,
        /// Where it is.
        address: Vec<u8>,
    },
    /// The last connection to a peer closed: a death if it was kept and the peer was heard of lately.
    Disconnected(P),
    /// One of several connections to a peer closed. If it died, the others may not tell for long: over QUIC nothing does.
    ConnectionLost(P),
    /// A connected peer, or one that was, is another run of its node than before: whatever the former one knew is lost.
    Restarted(P),
    /// A peer could not be dialled, or does not speak our protocol; what was to be sent to it is lost. Not a death.
    Unreachable(P),
    /// The transport addresses at which this node can be reached.
    Addresses(Vec<Vec<u8>>),
    /// Bytes from the leaders' multicast; the verdict follows as [`Output::MulticastVerdict`].
    Multicast {
        /// Names the message in the verdict.
        message: u64,
        /// Who passed it on.
        from: P,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A neighbour asks for a stream; answered by `StreamGranted`, `StreamAccepted` or `StreamRefused`.
    StreamAsked {
        /// Names the stream between node and swarm; the swarm numbers from 0, the node its own from 2^63.
        stream: u64,
        /// The neighbour.
        from: P,
        /// What it asks for.
        header: StreamHeader,
    },
    /// A stream that was granted or accepted, or that this node opened, ended.
    StreamEnded {
        /// Its name.
        stream: u64,
        /// Bytes carried both ways together.
        bytes: u64,
    },
    /// A stream that this node opened for a `Connect` command was refused, or came to nothing; the command still waits.
    StreamRefused {
        /// The command.
        token: Token,
        /// Why.
        reason: Refusal,
    },
    /// The application wants something.
    Command(Command<P>),
}

/// What a node wants done.
#[derive(Clone, Debug)]
pub enum Output<P> {
    /// Send a frame, dialling first if the peer is not connected and addresses are known.
    Send {
        /// To whom.
        to: Contact<P>,
        /// On which substream.
        lane: Lane,
        /// What.
        frame: Box<Frame<P>>,
    },
    /// Hand `timer` back after `after`.
    Arm {
        /// How long.
        after: Duration,
        /// The timer.
        timer: Timer<P>,
    },
    /// Keep the connection to this peer open (dial it if it is not connected).
    Hold(Contact<P>),
    /// The connection to this peer may be closed when it is idle.
    Release(P),
    /// Close all connections to this peer: it is taken for dead or it broke the protocol.
    Disconnect(P),
    /// Take part in the leaders' multicast, or stop.
    MulticastMember(bool),
    /// The neighbour is a leader: hand the multicast to connections with it, or stop.
    MulticastLink {
        /// The neighbour.
        peer: P,
        /// Whether it takes part.
        on: bool,
    },
    /// Give these bytes to all leaders.
    MulticastPublish(Vec<u8>),
    /// Whether a message of the multicast is to be passed on.
    MulticastVerdict {
        /// The message.
        message: u64,
        /// Who passed it on.
        from: P,
        /// The verdict.
        verdict: Verdict,
    },
    /// Open a stream to `next` and splice the asked one to it.
    StreamGranted {
        /// The stream as named in `StreamAsked`.
        stream: u64,
        /// Where it goes on.
        next: Contact<P>,
        /// What to ask of `next`.
        header: StreamHeader,
    },
    /// The stream ends here: hand it to the application.
    StreamAccepted {
        /// The stream as named in `StreamAsked`.
        stream: u64,
        /// The publication that the requester asks for.
        publication: PublicationId,
        /// The secret half of its X25519 key.
        secret: [u8; 32],
    },
    /// Under the paper's policy: open a stream of our own on which a publication is delivered, and hand it to the application as
    /// one that was asked for.
    StreamDeliver {
        /// Names the stream from here on (`StreamEnded`).
        stream: u64,
        /// The first peer.
        next: Contact<P>,
        /// What to ask of it.
        header: StreamHeader,
        /// The publication.
        publication: PublicationId,
        /// The secret half of its X25519 key.
        secret: [u8; 32],
    },
    /// Under the paper's policy: the stream that was asked for ends here; it is what a `Connect` command wanted.
    StreamReceived {
        /// The stream as named in `StreamAsked`.
        stream: u64,
        /// The command.
        token: Token,
    },
    /// The stream is refused.
    StreamRefused {
        /// The stream as named in `StreamAsked`.
        stream: u64,
        /// Why.
        reason: Refusal,
    },
    /// Open a stream of our own for a `Connect` command.
    StreamOpen {
        /// The command.
        token: Token,
        /// Names the stream from here on (`StreamEnded`).
        stream: u64,
        /// The first relay.
        next: Contact<P>,
        /// What to ask of it.
        header: StreamHeader,
    },
    /// Something happened that the application should know.
    Event(Event<P>),
    /// The answer to a command.
    Done {
        /// The command.
        token: Token,
        /// The answer.
        answer: Answer,
    },
}

/// Whether a message of the multicast is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid: pass on.
    Accept,
    /// Invalid: drop and hold it against the sender.
    Reject,
    /// Not for now: drop.
    Ignore,
}
