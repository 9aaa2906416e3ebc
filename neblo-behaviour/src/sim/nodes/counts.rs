//! What a run of whole nodes counts, hour by hour.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::path::PathMessage;
use crate::protocol::wire::Frame;
use crate::sim::paths::{UPKEEP, kind as paper_kind};

/// The kinds of messages, in the order of [`Hour::messages`]. A frame of the multicast counts once for each link that it goes over.
pub const KINDS: [&str; 12] = [
    "link probes",
    "ring",
    "ring lookups and registry",
    "subgroups",
    "walks and breaks",
    "sealed on paths",
    "streams of paths",
    "paper: upkeep",
    "paper: requests",
    "leader to leader",
    "multicast",
    "other",
];

/// The kind of the multicast, which is no frame of its own.
pub(super) const MULTICAST: usize = 10;

pub(super) fn kind(frame: &Frame<u32>) -> usize {
    match frame {
        Frame::Link(_) => 0,
        Frame::Ring(_) => 1,
        Frame::Messaging(_) => 2,
        Frame::Subgroup(_) => 3,
        Frame::Path(
            PathMessage::Open(_) | PathMessage::Opened(_) | PathMessage::Broken(_) | PathMessage::Mended(_),
        ) => 4,
        Frame::Path(PathMessage::Up(_) | PathMessage::Down(_)) => 5,
        Frame::Path(PathMessage::Expect(_) | PathMessage::Expecting(_) | PathMessage::Bind(_)) => 6,
        Frame::Paper(message) if UPKEEP.contains(&paper_kind(message)) => 7,
        Frame::Paper(_) => 8,
        Frame::Directory(_) => 9,
        Frame::Hello(_) => 11,
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
