//! Messages to overlay addresses on the wire.

use super::Onion;
use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, choice, record};
use crate::protocol::interface::MAX_PAYLOAD;

/// A payload, at most 64 KiB.
pub type Payload = Blob<{ MAX_PAYLOAD }>;

record! {
    /// A unidirectional message (UD).
    pub struct Message {
        1 => port: u16,
        /// The address as the sender named it, before translation for a copy.
        2 => to: OverlayAddr,
        /// Which copy: 0 is the primary.
        3 => copy: u8,
        /// Hops that it may still take; starts at a random number, so that it does not name its sender.
        4 => hops: u8,
        5 => payload: Payload,
    }
}

record! {
    /// A request (REQ).
    pub struct Request {
        /// The track: another number on each hop.
        1 => track: u64,
        2 => port: u16,
        3 => to: OverlayAddr,
        4 => copy: u8,
        5 => hops: u8,
        /// How long the asker still waits, in milliseconds.
        6 => wait: u32,
        /// The receiver is to answer itself, whether it owns the address or not (imprecise fingers, design D6); for NEBLO's own
        /// ports alone.
        7 => last: bool,
        8 => payload: Payload,
        /// The way back, in place of tracks; the track is 0 then.
        9 => onion: Option<Onion>,
    }
}

record! {
    /// The response to a request, on its way back along the tracks or out of the onion.
    pub struct Response {
        1 => track: u64,
        2 => payload: Payload,
        3 => onion: Option<Onion>,
    }
}

record! {
    /// No response will come.
    pub struct NoResponse {
        1 => track: u64,
        /// 1 no route, 2 no receiver, 3 refused, 4 next hop died, 5 overloaded, 6 suppressed by a forwarder; others count as refused.
        2 => reason: u8,
        3 => onion: Option<Onion>,
    }
}

choice! {
    /// The messages of messaging.
    pub enum MessagingMessage {
        0 => Message(Message),
        1 => Request(Request),
        2 => Response(Response),
        3 => NoResponse(NoResponse),
    }
}
