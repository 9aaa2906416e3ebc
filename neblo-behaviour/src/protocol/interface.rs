//! What goes into a [`Node`](super::Node) and what comes out of it: the whole of its contact with the world.
//!
//! The swarm binding and the simulator drive the same node through these types and nothing else.

use std::time::Duration;

use super::codec::{Blob, WireError, from_bytes, record, to_bytes};
use super::io::Contact;
use super::node::Timer;
use super::wire::Frame;
use crate::address::{AddrRange, OverlayAddr};

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
    /// The first connection to a peer that speaks our protocol was established.
    Connected(P),
    /// The last connection to a peer closed.
    Disconnected(P),
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

record! {
    /// What a peer writes first on a stream of the data plane.
    pub struct StreamHeader {
        /// The id of the path on this link; absent when the stream crosses from one path's last relay to the other's.
        1 => link: Option<u64>,
        /// The ticket that the leaders handed out for this stream.
        2 => ticket: [u8; 16],
        /// Noise pattern and version; 1 is `Noise_NK_25519_ChaChaPoly_BLAKE2s`.
        3 => version: u8,
    }
}

impl StreamHeader {
    /// Longest encoded form in bytes.
    pub const MAX_LEN: usize = 256;

    /// Encodes the header.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Decodes a header that fills `bytes` exactly.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        from_bytes(bytes)
    }
}

/// Why a stream was refused, as one byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No path or ticket of that name is known (it may have expired).
    #[error("no such path or ticket")]
    Unknown,
    /// The relay carries as many streams as it may.
    #[error("a relay carries as many streams as it may")]
    Full,
    /// The next peer could not be reached.
    #[error("the next relay could not be reached")]
    Unreachable,
    /// The publisher does not offer the publication (any more).
    #[error("the publisher does not offer it any more")]
    Withdrawn,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol")]
    Protocol,
}

impl Refusal {
    /// The byte that stands for it on the wire (0 is 'granted').
    pub fn code(self) -> u8 {
        match self {
            Self::Unknown => 1,
            Self::Full => 2,
            Self::Unreachable => 3,
            Self::Withdrawn => 4,
            Self::Protocol => 5,
        }
    }
    /// The refusal that a byte stands for; unknown ones count as a broken protocol.
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Unknown,
            2 => Self::Full,
            3 => Self::Unreachable,
            4 => Self::Withdrawn,
            _ => Self::Protocol,
        }
    }
}

/// Identifies a publication: see [`publication_id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(pub [u8; 32]);

/// The publication id: BLAKE3 over the publication's X25519 key, its day of expiry (days since 1970) and its payload.
///
/// It proves that key and payload belong together, not that the payload is honest (design D16).
pub fn publication_id(key: &[u8; 32], expiry_day: u32, payload: &[u8]) -> PublicationId {
    let mut hasher = blake3::Hasher::new_derive_key("neblo 1 publication");
    hasher.update(key).update(&expiry_day.to_le_bytes()).update(payload);
    PublicationId(*hasher.finalize().as_bytes())
}

/// What a publisher announces.
#[derive(Clone)]
pub struct Announcement {
    /// The X25519 secret of this one publication: 32 random bytes, kept by the application over restarts.
    pub secret: [u8; 32],
    /// What leaders index and requesters see; at most [`MAX_PUBLICATION`] bytes.
    pub payload: Vec<u8>,
    /// The day (days since 1970) after which nobody should offer it.
    pub expiry_day: u32,
}

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcement").field("expiry_day", &self.expiry_day).finish_non_exhaustive()
    }
}

record! {
    /// One thing that a lookup found. Its id has been checked against key and payload.
    pub struct Hit {
        /// The publication's X25519 public key.
        1 => key: [u8; 32],
        /// The day (days since 1970) it expires on.
        2 => expiry_day: u32,
        /// What the publisher announced.
        3 => payload: Blob<{ MAX_PUBLICATION }>,
        /// The subgroup whose leader holds the registration.
        4 => subgroup: OverlayAddr,
        /// The registration at that leader.
        5 => registration: u64,
    }
}

impl Hit {
    /// The publication id that key, expiry and payload give.
    pub fn id(&self) -> PublicationId {
        publication_id(&self.key, self.expiry_day, &self.payload)
    }
    /// Encodes the hit, to be kept or handed on.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
    /// Decodes a hit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        from_bytes(bytes)
    }
}

/// What the application wants of a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command<P> {
    /// Join the ring through any of these peers, or found a ring if there are none. Done: `Subscribed` or `Failed`.
    Subscribe {
        /// Names the answer.
        token: Token,
        /// Peers that are known to be members.
        known: Vec<Contact<P>>,
    },
    /// Leave ring and subgroup in order. Done: `Ok`.
    Leave {
        /// Names the answer.
        token: Token,
    },
    /// `UD_send`. Done: `Ok` once handed to the first hop of every copy, or `Failed`.
    Send {
        /// Names the answer.
        token: Token,
        /// How many owners get it, the primary included, 1..=8.
        copies: u8,
        /// The port.
        port: u16,
        /// The overlay address.
        to: OverlayAddr,
        /// The message.
        payload: Vec<u8>,
    },
    /// `REQ_send`. Done: `Response` or `Failed`, within `timeout`.
    Request {
        /// Names the answer.
        token: Token,
        /// How many owners are asked, the primary included, 1..=8; the first good answer wins.
        copies: u8,
        /// The port.
        port: u16,
        /// The overlay address.
        to: OverlayAddr,
        /// The message.
        payload: Vec<u8>,
        /// The longest wait.
        timeout: Duration,
    },
    /// Drop a pending request, lookup or connect; nothing more is said of it.
    Cancel {
        /// The command.
        token: Token,
    },
    /// A receiver is set (or removed) on a port: without one, requests to it fail with `NoReceiver`.
    SetReceiver {
        /// The port.
        port: u16,
        /// For messages (UD)?
        messages: Option<bool>,
        /// For requests (REQ)?
        requests: Option<bool>,
    },
    /// Answer a request that was delivered as [`Event::Asked`].
    Respond {
        /// The request.
        ask: u64,
        /// The response, or why there is none (`Refused`, `Overloaded`).
        payload: Result<Vec<u8>, Failure>,
    },
    /// Offer a publication, anonymously, until it is withdrawn. Done: `Announced` when a leader has it; it is announced
    /// anew by itself whenever path or leader change and before the leader forgets it.
    Announce {
        /// Names the answer.
        token: Token,
        /// The publication.
        announcement: Announcement,
        /// Go on with fewer than four subgroup members (design D18).
        allow_weak: bool,
    },
    /// Stop offering a publication. Done: `Ok`.
    Withdraw {
        /// Names the answer.
        token: Token,
        /// The publication.
        publication: PublicationId,
    },
    /// Ask all leaders. Done: `Hits` any number of times, then `LookupEnded` or `Failed`.
    Lookup {
        /// Names the answers.
        token: Token,
        /// The query, in the application's own language; at most [`MAX_PUBLICATION`] bytes.
        query: Vec<u8>,
        /// The most hits wanted from one leader.
        limit: u16,
        /// How long leaders are waited for.
        window: Duration,
        /// Go on with fewer than four subgroup members (design D18).
        allow_weak: bool,
    },
    /// Open a stream to the publisher of a hit. Done: `Failed`, or `StreamOpen` comes out.
    Connect {
        /// Names the answer.
        token: Token,
        /// What a lookup found.
        hit: Box<Hit>,
        /// Go on with fewer than four subgroup members (design D18).
        allow_weak: bool,
    },
    /// Answer a search that was delivered as [`Event::DirectoryAsked`].
    DirectoryAnswer {
        /// The search.
        ask: u64,
        /// The rows that match, best first.
        rows: Vec<u64>,
    },
    /// The application has just begun to listen to the directory: emit [`Event::RowsCleared`], and [`Event::RowAdded`] for
    /// every row there is.
    ReplayRows,
    /// A snapshot for people. Done: `Status`.
    Status {
        /// Names the answer.
        token: Token,
    },
    /// First relays to prefer, as kept from an earlier run (see [`Event::FirstRelays`]).
    PreferRelays {
        /// Subgroup and peers.
        relays: Vec<(OverlayAddr, P)>,
    },
}

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
    #[error("only {members} subgroup members, anonymity needs at least 4: wait for more peers, or allow weak anonymity")]
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

/// The three purposes of a path, one path each (design D10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Announcing, and carrying what requesters fetch.
    Publishing,
    /// Looking up.
    Searching,
    /// Fetching.
    Downloading,
}

impl Purpose {
    /// All of them.
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
    },
    /// A request (REQ) for the receiver of a port; answered by [`Command::Respond`].
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
    /// As a leader: which rows match? Answered by [`Command::DirectoryAnswer`] within a second.
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
    /// Members of the subgroup in which this node publishes and asks (its own, or another as a guest).
    pub anonymity_set: usize,
    /// Leaders known (as a leader).
    pub leaders: usize,
    /// Path purposes that are ready.
    pub paths_ready: Vec<Purpose>,
    /// Path purposes that are being built.
    pub paths_building: Vec<Purpose>,
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
    /// Counters by name: frames, bytes, drops, by kind.
    pub counters: Vec<(&'static str, u64)>,
}
