//! The network between the parts: a queue, latencies, and what is counted of it.

use std::time::Duration;

use super::counts::kind;
use super::*;
use crate::protocol::io::{Contact, Sink};
use crate::protocol::wire::Frame;
use crate::sim::traces::Latencies;

/// Something that is due.
pub(super) enum Due {
    /// Any message but a ping.
    Message { from: u32, to: u32, message: Box<PaperMessage<u32>> },
    /// Most messages are pings, and millions of them are under way at once: they take no more room than they need.
    Ping { from: u32, to: u32, ping: Ping },
    /// A timer of a part, which may have been replaced by a new one since.
    Timer { peer: u32, part: u32, timer: PaperTimer },
    /// A lookup for all leaders comes to this one.
    Cast { to: u32, bytes: Box<[u8]> },
    /// The stream of a download is asked for at the next hop.
    Stream { from: u32, to: u32, hops: u64, header: Box<StreamHeader> },
    /// A peer comes or goes.
    Turn { peer: u32 },
    /// The next query of a peer, unless it has been away since.
    Ask { peer: u32, stay: u32 },
    /// A query is tried again.
    Retry { query: u64 },
}

pub(super) struct Network {
    pub(super) now: Time,
    pub(super) queue: Queue<Due>,
    pub(super) hour: Hour,
    shortest: u64,
    span: u64,
    matrix: Option<Arc<Latencies>>,
    count_bytes: bool,
}

impl Network {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let (shortest, longest) = scenario.world.latency;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            now: Time(0),
            queue: Queue::default(),
            hour: Hour::default(),
            shortest: micros(shortest),
            span: micros(longest - shortest) + 1,
            matrix: scenario.world.matrix.clone(),
            count_bytes: scenario.count_bytes,
        }
    }

    /// The latency from one peer to another: by the matrix, or a hash of the two.
    pub(super) fn latency(&self, a: u32, b: u32) -> Duration {
        if let Some(matrix) = &self.matrix {
            return matrix.between(a, b);
        }
        let mut hash = (u64::from(a.min(b)) << 32 | u64::from(a.max(b))).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_micros(self.shortest + (hash ^ (hash >> 31)) % self.span)
    }

    pub(super) fn after(&mut self, after: Duration, due: Due) {
        self.queue.push(self.now + after, due);
    }

    fn send(&mut self, from: u32, to: u32, message: PaperMessage<u32>) {
        let kind = kind(&message);
        self.hour.messages[kind] += 1;
        let mut message = message;
        if self.count_bytes {
            let frame = Frame::Paper(message);
            self.hour.bytes[kind] += frame.encoded_len() as u64;
            let Frame::Paper(again) = frame else { return };
            message = again;
        }
        let due = match message {
            PaperMessage::Ping(ping) => Due::Ping { from, to, ping },
            message => Due::Message { from, to, message: Box::new(message) },
        };
        self.after(self.latency(from, to), due);
    }
}

/// Where the part of one peer puts what it wants done.
pub(super) struct Outbox<'a> {
    pub(super) network: &'a mut Network,
    pub(super) happened: &'a mut VecDeque<(u32, PaperEvent<u32>)>,
    pub(super) peer: u32,
    pub(super) part: u32,
}

impl Sink<u32, Paper<u32>> for Outbox<'_> {
    fn send(&mut self, to: &Contact<u32>, message: PaperMessage<u32>) {
        self.network.send(self.peer, to.peer, message);
    }
    fn arm(&mut self, after: Duration, timer: PaperTimer) {
        self.network.after(after, Due::Timer { peer: self.peer, part: self.part, timer });
    }
    fn emit(&mut self, event: PaperEvent<u32>) {
        self.happened.push_back((self.peer, event));
    }
}
