//! What a run counts, hour by hour.

use crate::protocol::paper::PaperMessage;

/// The kinds of messages, in the order of [`Hour::messages`].
pub const KINDS: [&str; 12] = [
    "publish",
    "lookup",
    "lookup-response",
    "download-request",
    "ping",
    "ping answer",
    "failure",
    "totalPing",
    "totalPing answer",
    "path-failed",
    "replace",
    "table",
];

/// Kinds that upkeep sends: pings, failure notifications, totalPings, the leaders' broadcast, replacements, copies of tables.
pub const UPKEEP: std::ops::Range<usize> = 4..12;

pub(in crate::sim) fn kind(message: &PaperMessage<u32>) -> usize {
    match message {
        PaperMessage::Publish(_) => 0,
        PaperMessage::Lookup(_) => 1,
        PaperMessage::LookupResponse(_) => 2,
        PaperMessage::DownloadRequest(_) | PaperMessage::RequestCrosses(_) | PaperMessage::RequestDown(_) => 3,
        PaperMessage::Ping(ping) => 4 + usize::from(ping.answer),
        PaperMessage::Failure(_) => 6,
        PaperMessage::TotalPing(ping) => 7 + usize::from(ping.answer),
        PaperMessage::PathFailed(_) => 9,
        PaperMessage::Replace(_) => 10,
        PaperMessage::Table(_) => 11,
    }
}

/// An hour of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Requests made, each try for itself.
    pub requests: u64,
    /// Requests that were delivered.
    pub delivered: u64,
    /// Requests to which no leader answered, while the owner was there.
    pub unanswered: u64,
    /// The same while the owner was away.
    pub unanswered_owner_away: u64,
    /// Requests of which the delivery never came, while the owner was there.
    pub undelivered: u64,
    /// The same while the owner was away.
    pub undelivered_owner_away: u64,
    /// Hops of all deliveries together.
    pub hops: u64,
    /// Timers of §3.1 that expired.
    pub timeouts: u64,
    /// Messages sent, by [`KINDS`].
    pub messages: [u64; KINDS.len()],
    /// Their bytes, if they are counted.
    pub bytes: [u64; KINDS.len()],
    /// Copies of lookups that the multicast carried to other leaders.
    pub multicast: u64,
    /// Peers that came.
    pub joined: u64,
    /// Peers that went, without a word.
    pub left: u64,
    /// Peers that were there at the end of the hour.
    pub present: u64,
    /// Paths that they relayed then, all together.
    pub relayed: u64,
}

impl Hour {
    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.failed_owner_present() + self.unanswered_owner_away + self.undelivered_owner_away
    }

    /// Requests that failed although the owner was there.
    pub fn failed_owner_present(&self) -> u64 {
        self.unanswered + self.undelivered
    }

    /// Messages of upkeep.
    pub fn upkeep(&self) -> u64 {
        self.messages[UPKEEP].iter().sum()
    }
}
