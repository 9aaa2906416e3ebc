//! What goes from hop to hop: requests for the owner of an address, for fingers, and messages.

use super::*;
use crate::protocol::ring::Hop;

/// More hops than any way has that ends.
const MOST_HOPS: u8 = 128;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum What {
    /// The owner of the asker's address.
    Owner,
    /// A finger of this level.
    Finger { level: u8, slack: u128 },
    /// Nothing: it is to arrive.
    Message,
}

/// Where it is.
#[derive(Clone, Copy, Debug)]
enum Leg {
    /// On the way to the owner of its target.
    There,
    /// Handed to a peer that is to answer itself.
    Last,
    /// On the way back, with what was found.
    Back(Option<u32>),
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request {
    target: OverlayAddr,
    what: What,
    leg: Leg,
    /// Who asks.
    from: u32,
    hops: u8,
    /// Where it was last.
    before: u32,
    /// How long it has been under way: as long as its answer will be, which takes the same way back.
    took: Duration,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// Sent.
    pub sent: u64,
    /// Arrived at a peer that takes the target for its own, and is the true owner.
    pub right: u64,
    /// Arrived at another one.
    pub wrong: u64,
    /// Ended on the way.
    pub lost: u64,
    /// Hops of all that arrived.
    pub hops: u64,
}

impl Routed {
    /// What became of messages since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            right: self.right - earlier.right,
            wrong: self.wrong - earlier.wrong,
            lost: self.lost - earlier.lost,
            hops: self.hops - earlier.hops,
        }
    }
}

impl JoinedRing {
    /// A joiner asks a member for the owner of its address.
    pub(super) fn locate(&mut self, peer: u32, address: OverlayAddr) {
        let Some(via) = self.draw_member() else { return };
        let mut request = Box::new(Request::new(What::Owner, peer, address));
        self.sent.locating += 1;
        request.hop(peer, via);
        self.queue.push(self.now + latency(peer, via), Due::Request(via, request));
    }

    /// Asks for one finger, as `Node` does it.
    pub(super) fn ask_finger(&mut self, peer: u32) {
        let host = &mut self.hosts[peer as usize];
        let Some(level) = host.fingers.next_level(&host.ring) else { return };
        let Some(me) = host.ring.me().map(|me| me.address) else { return };
        let to = host.fingers.target(me, level, &mut self.rng);
        let slack = host.fingers.slack(level);
        self.carry(peer, Box::new(Request::new(What::Finger { level, slack }, peer, to)));
    }

    /// Messages are sent within this time, from random members to random addresses. Nobody comes meanwhile.
    pub fn send_messages(&mut self, messages: u32, within: Duration) {
        self.learn_truth();
        let span = u64::try_from(within.as_micros()).unwrap_or(u64::MAX).max(1);
        for _ in 0..messages {
            let Some(from) = self.draw_member() else { return };
            let after = Duration::from_micros(self.rng.next_u64() % span);
            self.queue.push(self.now + after, Due::Send(from));
        }
    }

    /// What became of all messages so far.
    pub fn routed(&self) -> Routed {
        self.routed
    }

    pub(super) fn send_message(&mut self, peer: u32) {
        let target = self.draw_address();
        self.routed.sent += 1;
        self.carry(peer, Box::new(Request::new(What::Message, peer, target)));
    }

    pub(super) fn request_arrives(&mut self, peer: u32, request: Box<Request>) {
        self.trace.add(u64::from(request.before) << 32 | u64::from(peer));
        match request.leg {
            Leg::There => self.carry(peer, request),
            Leg::Last => self.answer(request, Some(peer)),
            Leg::Back(found) => self.answered(peer, &request, found),
        }
    }

    /// Takes a request on: to the next hop, or to this peer itself if it is the owner.
    fn carry(&mut self, at: u32, mut request: Box<Request>) {
        let host = &mut self.hosts[at as usize];
        match host.ring.route(request.target, &host.fingers) {
            Hop::Next(next) if request.hops < MOST_HOPS => {
                host.fingers.carried(next.peer);
                self.hand_on(at, next.peer, request);
            }
            Hop::Here => match request.what {
                What::Owner => self.answer(request, Some(at)),
                What::Message => self.arrived(at, &request),
                What::Finger { slack, .. } => {
                    match host.ring.finger_answerer(request.target, slack, &host.fingers, &mut self.rng) {
                        Some(other) if other.peer != at => {
                            request.leg = Leg::Last;
                            self.hand_on(at, other.peer, request);
                        }
                        answerer => self.answer(request, answerer.map(|answerer| answerer.peer)),
                    }
                }
            },
            Hop::Next(_) | Hop::Nowhere => match request.what {
                What::Message => self.routed.lost += 1,
                _ => self.answer(request, None),
            },
        }
    }

    fn hand_on(&mut self, at: u32, to: u32, mut request: Box<Request>) {
        request.hop(at, to);
        *self.counter(request.what) += 1;
        self.queue.push(self.now + latency(at, to), Due::Request(to, request));
    }

    /// The answer goes back the way that the request has come. Whoever is on it only passes it on, so it is one event.
    fn answer(&mut self, mut request: Box<Request>, found: Option<u32>) {
        if request.hops == 0 {
            return self.answered(request.from, &request, found);
        }
        request.leg = Leg::Back(found);
        *self.counter(request.what) += u64::from(request.hops);
        self.queue.push(self.now + request.took, Due::Request(request.from, request));
    }

    fn answered(&mut self, peer: u32, request: &Request, found: Option<u32>) {
        match (request.what, found) {
            (What::Owner, Some(owner)) => self.handle(peer, RingInput::Located(Contact::bare(owner))),
            (What::Owner, None) => self.handle(peer, RingInput::NotLocated),
            (What::Finger { level, .. }, Some(finger)) if finger != peer => {
                self.hosts[peer as usize].fingers.learn(level, Contact::bare(finger));
            }
            _ => {}
        }
    }

    fn arrived(&mut self, at: u32, request: &Request) {
        self.routed.hops += u64::from(request.hops);
        if self.owner(request.target) == Some(at) {
            self.routed.right += 1;
        } else {
            self.routed.wrong += 1;
        }
    }

    fn counter(&mut self, what: What) -> &mut u64 {
        match what {
            What::Owner => &mut self.sent.locating,
            What::Finger { .. } => &mut self.sent.fingers,
            What::Message => &mut self.sent.routed,
        }
    }
}

impl Request {
    /// Reads what will be needed of it.
    pub(super) fn look_at(&self) -> u64 {
        u64::from(self.hops) ^ self.target.0 as u64
    }

    fn new(what: What, from: u32, target: OverlayAddr) -> Self {
        Self { target, what, leg: Leg::There, from, hops: 0, before: from, took: Duration::ZERO }
    }

    fn hop(&mut self, from: u32, to: u32) {
        self.hops += 1;
        self.before = from;
        self.took += latency(from, to);
    }
}
