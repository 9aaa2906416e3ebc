//! What a run of whole nodes counts, hour by hour.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::codec::from_bytes;
use crate::protocol::errand::{Envelope, Errand, Notice};
use crate::protocol::path::{Down, PathMessage, Up};
use crate::protocol::wire::Frame;
use crate::sim::StandInKeys;
use crate::sim::paths::{UPKEEP, kind as paper_kind};

/// The kinds of messages, in the order of [`Hour::messages`]. A frame of the multicast counts once for each link that it goes over.
pub const KINDS: [&str; 13] = [
    "link probes",
    "ring",
    "ring lookups and registry",
    "subgroups",
    "walks and breaks",
    "sealed: upkeep of paths",
    "sealed: requests and announcements",
    "streams of paths",
    "paper: upkeep",
    "paper: requests",
    "leader to leader",
    "multicast",
    "other",
];

/// The kind of probes of links.
pub(super) const LINKS: usize = 0;
/// The kind of the multicast, which is no frame of its own.
pub(super) const MULTICAST: usize = 11;

pub(super) fn kind(frame: &Frame<u32>) -> usize {
    match frame {
        Frame::Link(_) => LINKS,
        Frame::Ring(_) => 1,
        Frame::Messaging(_) => 2,
        Frame::Subgroup(_) => 3,
        Frame::Path(
            PathMessage::Open(_) | PathMessage::Opened(_) | PathMessage::Broken(_) | PathMessage::Mended(_),
        ) => 4,
        Frame::Path(PathMessage::Up(Up { sealed, .. }) | PathMessage::Down(Down { sealed, .. })) => {
            if is_upkeep(sealed) { 5 } else { 6 }
        }
        Frame::Path(PathMessage::Expect(_) | PathMessage::Expecting(_) | PathMessage::Bind(_)) => 7,
        Frame::Paper(message) if UPKEEP.contains(&paper_kind(message)) => 8,
        Frame::Paper(_) => 9,
        Frame::Directory(_) => 10,
        Frame::Hello(_) => 12,
    }
}

/// Whether what is sealed keeps paths and what is registered over them: values for repairs, and renewals. The stand-in for seals lets
/// itself be read.
fn is_upkeep(sealed: &[u8]) -> bool {
    let Some((len, rest)) = StandInKeys::read(sealed).and_then(|plain| plain.split_first_chunk::<4>()) else {
        return false;
    };
    let Some(bytes) = rest.get(..u32::from_be_bytes(*len) as usize) else { return false };
    match (from_bytes::<Envelope>(bytes), from_bytes::<Notice>(bytes)) {
        (Ok(Envelope { errand, .. }), _) => matches!(errand, Errand::Vouch(_) | Errand::Resume(_) | Errand::Renew(_)),
        (_, Ok(notice)) => matches!(notice, Notice::Renewed(_)),
        _ => false,
    }
}

/// Frames and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames, each copy of the multicast counted as one.
    pub frames: u64,
    /// Their encoded length, if it is counted.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: u64) {
        self.frames += 1;
        self.bytes += bytes;
    }
}

/// What the peers of one role sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sent by them.
    pub sent: Traffic,
    /// Received by them.
    pub received: Traffic,
    /// Minutes that peers were in this role, all together.
    pub minutes: u64,
}

/// An hour of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Requests made, each try for itself.
    pub requests: u64,
    /// Requests that were delivered.
    pub delivered: u64,
    /// Requests that failed because the owner was away.
    pub owner_away: u64,
    /// Requests that failed while no leader had acknowledged the content since its owner came.
    pub not_published: u64,
    /// Requests that failed in the first minute of the one that asked.
    pub asker_new: u64,
    /// Requests that failed otherwise: owner and asker were there and settled.
    pub failed: u64,
    /// Why they failed.
    pub reasons: BTreeMap<String, u64>,
    /// Hops of all deliveries together.
    pub hops: u64,
    /// Messages sent, by [`KINDS`].
    pub messages: [u64; KINDS.len()],
    /// Their bytes, if they are counted.
    pub bytes: [u64; KINDS.len()],
    /// What members carried, and what leaders did.
    pub load: [Load; 2],
    /// Frames and bytes that one leader, the busiest of the hour, sent and received.
    pub busiest: Traffic,
    /// How long each path was broken that went through a peer which left: of relays, and of leaders.
    pub restored: [Vec<Duration>; 2],
    /// Paths that were broken when their owner left, or came to lead and needed none.
    pub abandoned: u64,
    /// From joining to the acknowledgement of all contents, for each peer that has any.
    pub published: Vec<Duration>,
    /// Peers that came.
    pub joined: u64,
    /// Peers that went.
    pub left: u64,
    /// Peers that were there at the end of the hour, leaders among them, and paths that they relayed.
    pub present: u64,
    /// Leaders at the end of the hour.
    pub leaders: u64,
    /// Paths that peers relayed then, all together.
    pub relayed: u64,
    /// Events of the simulation.
    pub events: u64,
}

impl Hour {
    /// All requests that failed.
    pub fn all_failed(&self) -> u64 {
        self.failed + self.owner_away + self.not_published + self.asker_new
    }

    /// Requests that failed while the owner was there, for whatever reason.
    pub fn failed_owner_present(&self) -> u64 {
        self.failed + self.not_published + self.asker_new
    }
}
