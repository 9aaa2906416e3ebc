//! The frames of the control plane.

use bytes::Bytes;

use super::codec::{Pieces, WireError, choice, encoded_len, from_bytes, from_shared, record, to_bytes, to_pieces};
use super::directory::DirectoryMessage;
use super::interface::Lane;
use super::io::Peer;
use super::link::LinkMessage;
use super::messaging::MessagingMessage;
use super::paper::PaperMessage;
use super::path::PathMessage;
use super::ring::RingMessage;
use super::subgroup::SubgroupMessage;

record! {
    /// The first frame on every control substream.
    pub struct Hello {
        /// Versions of the protocol that the sender speaks, as a bit set (bit 1 = version 1).
        1 => versions: u64,
        /// Features, as a bit set; none are defined yet.
        2 => features: u64,
        /// Random number of this run of the node.
        3 => incarnation: u64,
        /// The largest frame that the sender accepts, in bytes.
        4 => max_frame: u32,
    }
}

choice! {
    /// One frame of the control plane.
    pub enum Frame<P> {
        /// The first frame on every control substream; handled by the binding, never by the node.
        0 => Hello(Hello),
        /// Is the link alive?
        1 => Link(LinkMessage),
        /// Neighbours on the ring.
        2 => Ring(RingMessage<P>),
        /// Messages to overlay addresses.
        3 => Messaging(MessagingMessage),
        /// Subgroups.
        4 => Subgroup(SubgroupMessage<P>),
        /// Paths.
        5 => Path(PathMessage<P>),
        /// Leader to leader.
        6 => Directory(DirectoryMessage<P>),
        /// Paths under the paper's policy.
        7 => Paper(PaperMessage<P>),
    }
}

impl<P: Peer> Frame<P> {
    /// Encodes the frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Decodes a frame that fills `bytes` exactly. [`WireError::UnknownKind`] is to be ignored and counted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        from_bytes(bytes)
    }

    /// The bytes of the frame when it is encoded.
    pub fn encoded_len(&self) -> usize {
        encoded_len(self)
    }

    /// Encodes the frame without a copy of its payload. For the binding alone.
    #[cfg_attr(not(feature = "swarm"), allow(dead_code))]
    pub(crate) fn to_pieces(&self) -> Pieces {
        to_pieces(self)
    }

    /// Decodes as [`from_bytes`](Self::from_bytes) does; a payload that is most of the bytes is no copy, but shares them. For the
    /// binding alone.
    #[cfg_attr(not(feature = "swarm"), allow(dead_code))]
    pub(crate) fn from_shared(bytes: &Bytes) -> Result<Self, WireError> {
        from_shared(bytes)
    }

    /// The substream that carries it.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Messaging(_) => Lane::App,
            _ => Lane::Urgent,
        }
    }

    /// The part that it belongs to, for counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Link(_) => "link",
            Self::Ring(_) => "ring",
            Self::Messaging(_) => "messaging",
            Self::Subgroup(_) => "subgroup",
            Self::Path(_) => "path",
            Self::Directory(_) => "directory",
            Self::Paper(_) => "paper",
        }
    }
}
