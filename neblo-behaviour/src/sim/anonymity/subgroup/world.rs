//! The parts of one subgroup and the world around them.

use super::*;

/// One-way latency, microseconds: shortest, and how much longer at most.
const LATENCY: (u64, u64) = (5_000, 55_000);

/// The latency of a pair of peers, a hash of the two: what is sent over one link arrives in order.
pub(super) fn latency(a: u32, b: u32) -> Duration {
    let mut hash = (u64::from(a.min(b)) << 32 | u64::from(a.max(b))).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_micros(LATENCY.0 + (hash ^ (hash >> 31)) % LATENCY.1)
}

pub(super) enum Walker {
    Hardened(Box<Paths<u32>>),
    Paper(Box<Paper<u32>>),
}

pub(super) enum Message {
    Path(PathMessage<u32>),
    Paper(PaperMessage<u32>),
}

pub(super) enum Due {
    Message {
        from: u32,
        to: u32,
        message: Message,
    },
    Path(u32, PathTimer),
    Paper(u32, PaperTimer),
    /// A neighbour notices that a peer is gone.
    Dead {
        peer: u32,
        gone: u32,
    },
}

/// All but the parts themselves.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) queue: Queue<Due>,
    pub(super) log: Log,
    /// What came to the leader over paths: the last relay, and the errand.
    pub(super) arrived: Vec<(u32, Errand)>,
    pub(super) rng: ChaCha8Rng,
}

/// Where the part of one peer puts what it wants done.
pub(super) struct Outbox<'a> {
    pub(super) peer: u32,
    pub(super) world: &'a mut WorldOut,
}

/// The part of the world that parts write to while one draws from its randomness.
pub(super) struct WorldOut {
    pub(super) now: Time,
    pub(super) sent: Vec<(u32, Message)>,
    pub(super) armed: Vec<(Duration, Due)>,
    pub(super) arrived: Vec<(u32, Errand)>,
}

impl Sink<u32, Paths<u32>> for Outbox<'_> {
    fn send(&mut self, to: &Contact<u32>, message: PathMessage<u32>) {
        self.world.sent.push((to.peer, Message::Path(message)));
    }
    fn arm(&mut self, after: Duration, timer: PathTimer) {
        self.world.armed.push((after, Due::Path(self.peer, timer)));
    }
    fn emit(&mut self, event: PathEvent<u32>) {
        if let PathEvent::Arrived { end, envelope } = event {
            let Envelope { errand, .. } = *envelope;
            self.world.arrived.push((end.0, errand));
        }
    }
}

impl Sink<u32, Paper<u32>> for Outbox<'_> {
    fn send(&mut self, to: &Contact<u32>, message: PaperMessage<u32>) {
        self.world.sent.push((to.peer, Message::Paper(message)));
    }
    fn arm(&mut self, after: Duration, timer: PaperTimer) {
        self.world.armed.push((after, Due::Paper(self.peer, timer)));
    }
    fn emit(&mut self, _: PaperEvent<u32>) {}
}

/// What a part is called with.
pub(super) struct Context<'a> {
    pub(super) now: Time,
    pub(super) rng: &'a mut ChaCha8Rng,
    pub(super) outbox: Outbox<'a>,
}

impl<'a> Context<'a> {
    pub(super) fn path(&mut self) -> Ctx<'_, u32, Paths<u32>> {
        Ctx { now: self.now, unix: BEGINS + self.now.0 / 1_000_000, rng: &mut *self.rng, out: &mut self.outbox }
    }

    pub(super) fn paper(&mut self) -> Ctx<'_, u32, Paper<u32>> {
        Ctx { now: self.now, unix: BEGINS + self.now.0 / 1_000_000, rng: &mut *self.rng, out: &mut self.outbox }
    }
}
