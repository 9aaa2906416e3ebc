//! A ring that peers really join, at sizes up to a million: one [`Ring`] and one [`Fingers`] a peer, as they run in production, over the
//! simulator's queue, and nothing else of a node.
//!
//! The first peer founds the ring, all others locate the owner of their address through a member and ask it to let them in. What
//! `Node` does around the two parts is done here in the same way and with the same periods: rounds of stabilising, requests for fingers
//! and for owners that go from hop to hop, the hint to the predecessor when a successor list changes, and ranges that are empty, so
//! that they have migrated at once. Nobody dies, no frame is lost, and a message takes as long as its pair of peers is apart:
//! connections, their probes and the search for other rings are left out.

mod checks;
mod requests;

use std::collections::VecDeque;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use checks::Faults;
use requests::Request;
pub use requests::Routed;

use super::queue::Queue;
use super::trace::Trace;
use crate::address::OverlayAddr;
use crate::protocol::Config;
use crate::protocol::io::{Contact, Ctx, Sink, Time, below, chance};
use crate::protocol::ring::{
    Ask, Fingers, MAX_SUCCESSORS, Nudge, Principal, Ring, RingEvent, RingInput, RingMessage, RingTimer, Rounds,
};

/// Shortest and longest latency from one peer to another, in microseconds, as in [`Conditions`](super::Conditions).
const LATENCY: (u64, u64) = (5_000, 60_000);
/// As `Node` has it: a changed list is looked at after this.
const REFRESH_AFTER: Duration = Duration::from_millis(50);

/// Nothing leads to anything sooner than this.
const SOONEST: Duration = Duration::from_micros(LATENCY.0);
/// Events that are looked at together. choice: their peers' state fits into a core's own cache
const AT_ONCE: usize = 128;

/// One peer.
#[derive(Debug)]
struct Host {
    ring: Ring<u32>,
    fingers: Fingers<u32>,
    /// Which of its rounds is waited for.
    generation: u32,
    rounds: Rounds,
    /// Whether a look at the successor list is due.
    refreshing: bool,
    /// A hash of the list of which the predecessor was told last.
    told: u64,
    /// When it came.
    came: Time,
}

/// Something that is due. Small, because a million peers have some ten million of them at once.
#[derive(Debug)]
enum Due {
    /// A new peer comes.
    Come(u32),
    /// The next round, of this generation.
    Upkeep(u32, u32),
    /// A look at the successor list.
    Refresh(u32),
    Timer(u32, RingTimer),
    /// The most frequent of all messages needs no room of its own. What is known is 0 if nothing is.
    Ask {
        from: u32,
        to: u32,
        request: u32,
        known: u64,
    },
    Message {
        from: u32,
        to: u32,
        message: Box<RingMessage<u32>>,
    },
    Request(u32, Box<Request>),
    /// A message is to be sent from this peer.
    Send(u32),
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Of a join: from [`RingMessage::Join`] to the end of the handover.
    pub joining: u64,
    /// Questions to neighbours, their answers, notifications and hints.
    pub stabilising: u64,
    /// Requests for owners and their answers, a message for each hop.
    pub locating: u64,
    /// Requests for fingers and their answers, a message for each hop.
    pub fingers: u64,
    /// Messages that were routed, one for each hop.
    pub routed: u64,
}

impl Sent {
    fn count(&mut self, message: &RingMessage<u32>) {
        match message {
            RingMessage::Ask(_) | RingMessage::Neighbours(_) | RingMessage::Notify(_) | RingMessage::Nudge(_) => {
                self.stabilising += 1;
            }
            _ => self.joining += 1,
        }
    }

    /// What was sent since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            joining: self.joining - earlier.joining,
            stabilising: self.stabilising - earlier.stabilising,
            locating: self.locating - earlier.locating,
            fingers: self.fingers - earlier.fingers,
            routed: self.routed - earlier.routed,
        }
    }
}

/// Peers that join one ring.
#[derive(Debug)]
pub struct JoinedRing {
    now: Time,
    queue: Queue<Due>,
    hosts: Vec<Host>,
    /// Those that have become members, in this order.
    members: Vec<u32>,
    /// How long each member took to become one.
    took: Vec<Duration>,
    happened: VecDeque<(u32, RingEvent<u32>)>,
    /// Used again for the next events.
    next: Vec<(Time, Due)>,
    sent: Sent,
    isolated: u64,
    routed: Routed,
    /// Who owns what, while messages are routed.
    truth: Vec<(OverlayAddr, u32)>,
    rng: ChaCha8Rng,
    trace: Trace,
    events: u64,
    delta: f64,
    stabilise_every: Duration,
}

/// Where the ring of one peer puts what it wants done.
struct Outbox<'a> {
    peer: u32,
    now: Time,
    queue: &'a mut Queue<Due>,
    happened: &'a mut VecDeque<(u32, RingEvent<u32>)>,
    sent: &'a mut Sent,
}

impl Sink<u32, Ring<u32>> for Outbox<'_> {
    fn send(&mut self, to: &Contact<u32>, message: RingMessage<u32>) {
        self.sent.count(&message);
        let (from, to) = (self.peer, to.peer);
        let due = match message {
            RingMessage::Ask(Ask { request, known }) => {
                Due::Ask { from, to, request: request as u32, known: known.unwrap_or(0) }
            }
            message => Due::Message { from, to, message: Box::new(message) },
        };
        self.queue.push(self.now + latency(from, to), due);
    }
    fn arm(&mut self, after: Duration, timer: RingTimer) {
        self.queue.push(self.now + after, Due::Timer(self.peer, timer));
    }
    fn emit(&mut self, event: RingEvent<u32>) {
        self.happened.push_back((self.peer, event));
    }
}

impl JoinedRing {
    /// Nobody yet; room for `most` peers.
    pub fn new(seed: u64, most: u32) -> Self {
        let Config { delta, stabilise_every, .. } = Config::default();
        Self {
            now: Time(0),
            queue: Queue::default(),
            hosts: Vec::with_capacity(most as usize),
            members: Vec::with_capacity(most as usize),
            took: Vec::with_capacity(most as usize),
            happened: VecDeque::new(),
            next: Vec::with_capacity(AT_ONCE),
            sent: Sent::default(),
            isolated: 0,
            routed: Routed::default(),
            truth: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            trace: Trace::default(),
            events: 0,
            delta,
            stabilise_every,
        }
    }

    /// Rounds of upkeep take so long for peers that come from now on, and an eighth longer for half of them; as in `Config` else.
    pub fn set_rounds(&mut self, every: Duration) {
        self.stabilise_every = Config::default().with_stabilise_every(every).stabilise_every;
    }

    /// So many more peers come within this time, each at a random moment, the first of all at once.
    pub fn come(&mut self, peers: u32, within: Duration) {
        let span = u64::try_from(within.as_micros()).unwrap_or(u64::MAX).max(1);
        for _ in 0..peers {
            let peer = self.hosts.len() as u32;
            let after = if peer == 0 { 0 } else { self.rng.next_u64() % span };
            let came = self.now + Duration::from_micros(after);
            self.hosts.push(Host {
                ring: Ring::default(),
                fingers: Fingers::new(self.delta),
                generation: 0,
                rounds: Rounds::default(),
                refreshing: false,
                told: 0,
                came,
            });
            self.queue.push(came, Due::Come(peer));
        }
    }

    /// Runs for some time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut next = std::mem::take(&mut self.next);
        loop {
            // What these lead to is due later than they all are.
            self.queue.pop_some(end, SOONEST, AT_ONCE, &mut next);
            if next.is_empty() {
                break;
            }
            self.look_ahead(&next);
            for (at, due) in next.drain(..) {
                self.now = at;
                self.events += 1;
                self.happen(due);
                while let Some((peer, event)) = self.happened.pop_front() {
                    self.event(peer, event);
                }
            }
        }
        self.next = next;
        self.now = end;
    }

    /// Reads what the next events will need, all of it at once: a peer's state is seldom in a cache, and waiting for one after
    /// another is most of what an event costs among a million.
    fn look_ahead(&self, next: &[(Time, Due)]) {
        let places = next.iter().map(|(_, due)| {
            let peer = match due {
                Due::Message { to: peer, .. } | Due::Ask { to: peer, .. } => *peer,
                Due::Come(peer) | Due::Upkeep(peer, _) | Due::Refresh(peer) => *peer,
                Due::Timer(peer, _) | Due::Request(peer, _) | Due::Send(peer) => *peer,
            };
            let Host { ring, fingers, generation, .. } = &self.hosts[peer as usize];
            let place = ring.me().map_or(0, |me| me.address.0) ^ ring.predecessor().map_or(0, |it| it.address.0);
            let flags = u64::from(ring.is_asking()) + u64::from(ring.claimed().is_some());
            let upkeep = u64::from(*generation) ^ u64::from(fingers.are_due());
            let of_message = match due {
                Due::Message { message, .. } => match &**message {
                    RingMessage::Neighbours(answer) => sum(&answer.successors),
                    RingMessage::Notify(notify) => notify.me.incarnation,
                    _ => 0,
                },
                Due::Request(_, request) => request.look_at(),
                _ => 0,
            };
            place as u64 ^ flags ^ upkeep ^ ring.range().map_or(0, |(_, epoch)| epoch) ^ of_message
        });
        std::hint::black_box(places.fold(0, |all, place| all ^ place));
        let lists = next.iter().map(|(_, due)| match due {
            Due::Timer(..) | Due::Come(_) | Due::Refresh(_) => 0,
            Due::Upkeep(peer, _) => {
                self.hosts[*peer as usize].ring.successors().first().map_or(0, |head| head.incarnation)
            }
            Due::Message { to: peer, .. } | Due::Ask { to: peer, .. } => {
                sum(self.hosts[*peer as usize].ring.successors())
            }
            Due::Request(peer, _) | Due::Send(peer) => {
                let Host { ring, fingers, .. } = &self.hosts[*peer as usize];
                sum(ring.successors()) ^ fingers.iter().fold(0, |all, finger| all ^ finger.delivered)
            }
        });
        std::hint::black_box(lists.fold(0, |all, list| all ^ list));
    }

    /// Peers that have come or will, and are no members yet.
    pub fn outside(&self) -> usize {
        self.hosts.len() - self.members.len()
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.now
    }

    /// A hash over every event so far.
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What was sent so far.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// How long each member took from its first request to being one, in the order in which they became members.
    pub fn joins(&self) -> &[Duration] {
        &self.took
    }

    fn happen(&mut self, due: Due) {
        self.trace.add(self.now.0);
        match due {
            Due::Come(peer) => {
                self.trace.add(u64::from(peer));
                self.next_round(peer, 1);
                self.enter(peer);
            }
            Due::Upkeep(peer, generation) => {
                self.trace.add(u64::from(peer));
                if self.hosts[peer as usize].generation == generation {
                    self.upkeep(peer);
                }
            }
            Due::Refresh(peer) => self.refresh(peer),
            Due::Timer(peer, timer) => {
                self.trace.add(u64::from(peer) << 1 | 1);
                // None of them changes the list.
                self.handle(peer, RingInput::Expired(timer));
            }
            Due::Ask { from, to, request, known } => {
                self.trace.add(u64::from(from) << 32 | u64::from(to));
                let ask = Ask { request: u64::from(request), known: Some(known).filter(|known| *known != 0) };
                self.handle(to, RingInput::Received(from, RingMessage::Ask(ask)));
            }
            Due::Message { from, to, message } => {
                self.trace.add(u64::from(from) << 32 | u64::from(to));
                // It changes no list, but the founder's as the ring outgrows its roster.
                let notifies = matches!(*message, RingMessage::Notify(_));
                if matches!(*message, RingMessage::Nudge(_)) {
                    self.stir(to);
                }
                self.handle(to, RingInput::Received(from, *message));
                if !notifies {
                    self.look(to);
                }
            }
            Due::Request(peer, request) => self.request_arrives(peer, request),
            Due::Send(peer) => self.send_message(peer),
        }
    }

    fn handle(&mut self, peer: u32, input: RingInput<u32>) {
        let Self { now, queue, hosts, happened, sent, rng, .. } = self;
        let mut out = Outbox { peer, now: *now, queue, happened, sent };
        let ctx = &mut Ctx { now: *now, unix: 0, rng, out: &mut out };
        hosts[peer as usize].ring.handle(ctx, input);
    }

    fn event(&mut self, peer: u32, event: RingEvent<u32>) {
        match event {
            RingEvent::Locate(address) => self.locate(peer, address),
            RingEvent::Joined => {
                self.members.push(peer);
                self.took.push(self.now.since(self.hosts[peer as usize].came));
            }
            // Nothing is kept, so all of it has been sent.
            RingEvent::HandedOver { epoch, .. } => self.handle(peer, RingInput::Migrated { epoch }),
            RingEvent::Isolated => {
                self.isolated += 1;
                self.members.retain(|member| *member != peer);
                self.enter(peer);
            }
            // Nobody leaves, no other ring is met, and what is inherited is empty.
            RingEvent::Range { .. } => self.stir(peer),
            RingEvent::Inherited { .. } | RingEvent::Left | RingEvent::Dissolved(_) | RingEvent::Seen(_) => {}
        }
    }

    /// Draws an address and joins, or founds the ring.
    fn enter(&mut self, peer: u32) {
        let me =
            Principal { address: self.draw_address(), incarnation: self.rng.next_u64(), contact: Contact::bare(peer) };
        self.hosts[peer as usize].fingers.clear();
        let input = if self.members.is_empty() { RingInput::Found { me } } else { RingInput::Join { me } };
        self.handle(peer, input);
    }

    /// The next round is so many rounds' time away.
    fn next_round(&mut self, peer: u32, rounds: u32) {
        let every = self.stabilise_every * rounds;
        let longer = if chance(&mut self.rng, 0.5) { every / 8 } else { Duration::ZERO };
        let host = &mut self.hosts[peer as usize];
        host.generation = host.generation.wrapping_add(1);
        self.queue.push(self.now + every + longer, Due::Upkeep(peer, host.generation));
    }

    /// Something changes around a peer, as `Node` sees it.
    fn stir(&mut self, peer: u32) {
        if self.hosts[peer as usize].rounds.stirred() {
            self.next_round(peer, 1);
        }
    }

    /// A round, as `Node` does it.
    fn upkeep(&mut self, peer: u32) {
        let host = &mut self.hosts[peer as usize];
        let waited = host.rounds.waited();
        let next = host.rounds.next(host.ring.is_settled() && !host.fingers.are_due());
        let fingers = host.fingers.wanted_after(waited);
        self.next_round(peer, next);
        self.handle(peer, RingInput::Expired(RingTimer::Stabilise));
        for _ in 0..fingers {
            self.ask_finger(peer);
        }
    }

    /// A look at the list is due if the predecessor has not been told of it. (`Node` looks after each frame.)
    fn look(&mut self, peer: u32) {
        let host = &mut self.hosts[peer as usize];
        if !host.refreshing && list(&host.ring) != host.told {
            host.refreshing = true;
            self.stir(peer);
            self.queue.push(self.now + REFRESH_AFTER, Due::Refresh(peer));
        }
    }

    /// Another successor list: the predecessor is told to ask for it, as by `Node`.
    fn refresh(&mut self, peer: u32) {
        let host = &mut self.hosts[peer as usize];
        host.refreshing = false;
        let list = list(&host.ring);
        if !host.ring.is_member() || list == host.told {
            return;
        }
        host.told = list;
        if let Some(before) = host.ring.predecessor().map(|before| before.contact.clone()) {
            let Self { now, queue, happened, sent, .. } = self;
            let mut out = Outbox { peer, now: *now, queue, happened, sent };
            out.send(&before, RingMessage::Nudge(Nudge { leaving: false }));
        }
    }

    /// A member, any.
    fn draw_member(&mut self) -> Option<u32> {
        let at = below(&mut self.rng, self.members.len());
        self.members.get(at).copied()
    }

    fn draw_address(&mut self) -> OverlayAddr {
        OverlayAddr(u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()))
    }
}

/// Reads a list.
fn sum(principals: &[Principal<u32>]) -> u64 {
    principals.iter().fold(0, |all, principal| all ^ principal.incarnation)
}

/// What stands for a successor list.
fn list(ring: &Ring<u32>) -> u64 {
    let mut hash = Trace::default();
    for successor in ring.successors().iter().take(MAX_SUCCESSORS) {
        hash.add(successor.address.0 as u64 ^ u64::from(successor.contact.peer));
    }
    hash.value()
}

/// How long a message takes from one peer to another: by a hash of the two, the same both ways.
fn latency(a: u32, b: u32) -> Duration {
    let mut hash = (u64::from(a.min(b)) << 32 | u64::from(a.max(b))).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Duration::from_micros(LATENCY.0 + (hash ^ (hash >> 31)) % (LATENCY.1 - LATENCY.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_takes_little_room() {
        assert!(size_of::<Option<Due>>() <= 24, "{}", size_of::<Option<Due>>());
        println!("a host {} and a message {} bytes", size_of::<Host>(), size_of::<RingMessage<u32>>());
    }
}
