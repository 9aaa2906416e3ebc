//! Streams of the data plane: what is asked of a peer, and why it may refuse.

use crate::protocol::codec::{Blob, WireError, from_bytes, record, to_bytes};

record! {
    /// What a peer writes first on a stream of the data plane.
    pub struct StreamHeader {
        /// The id of the path on this link; absent when the stream crosses from one path's last relay to the other's.
        1 => link: Option<u64>,
        /// The ticket that the leaders handed out for this stream.
        2 => ticket: [u8; 16],
        /// Noise pattern and version; 1 is `Noise_NK_25519_ChaChaPoly_BLAKE2s`.
        3 => version: u8,
        /// Under the paper's policy, in place of the other two: its download message ([`Download`](crate::protocol::paper::Download)).
        4 => download: Option<Blob<1536>>,
    }
}

impl StreamHeader {
    /// Longest encoded form in bytes.
    pub const MAX_LEN: usize = 2_048;

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
