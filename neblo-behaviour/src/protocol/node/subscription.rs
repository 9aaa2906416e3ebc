//! Subscribing: locating the owner of a fresh address through a known peer, joining, and coming back after isolation.
//! Also the fingers, which are asked for in the same way.

use std::time::Duration;

use super::*;
use crate::address::AddrRange;
use crate::protocol::codec::{Wire, choice, from_bytes, record, standalone, to_bytes};
use crate::protocol::interface::{Answer, Failure, Recipients};
use crate::protocol::io::{below, draw};
use crate::protocol::messaging::{Asking, Request};
use crate::protocol::ring::{Principal, RingInput};

/// How long locating an owner may take. choice
const LOCATE_WITHIN: Duration = Duration::from_secs(4);
/// Failed attempts a known peer until subscribing is given up. choice
const ATTEMPTS: usize = 6;
/// Rounds of upkeep between two looks for another ring: after many losses at once, and at most. choice: of a ring that is parted one side
/// loses many; who only lost one is told by its neighbours who takes that one's place
const SEEK_ROUNDS: (u64, u64) = (8, 2_048);
/// Losses within this time count as one event. choice: as long as deaths take to be noticed, twice
const TOGETHER: Duration = Duration::from_secs(30);
/// When one in so many of all that a node kept is lost at once, the ring may have come apart. choice
const APART: usize = 3;
/// Known peers kept. choice
const MAX_KNOWN: usize = 32;

record! {
    /// "Who owns this address?" The answer is sealed to `reply`, so that nobody on the way learns who owns what.
    pub struct Locate { 1 => reply: [u8; 32] }
}

record! {
    /// "Who lies here or at most `slack` further on?" (design D6). The answer is a sealed contact without address.
    pub struct FingerAsk { 1 => reply: [u8; 32], 2 => slack: [u8; 16] }
}

record! {
    /// "The owner of a range died; here may be copies of what it held." Acknowledged when the handlers of all owners of
    /// `range`, which lies `shift` steps of 2^128 / R after the lost range, have run (design D4).
    pub struct RegenerateAsk { 1 => range: AddrRange, 2 => shift: u8, 3 => epoch: u64 }
}

choice! {
    /// What is asked on the ring's own port.
    pub enum RingRequest {
        /// Who owns it?
        0 => Locate(Locate),
        /// Who lies near it?
        1 => Finger(FingerAsk),
        /// Copies of it were lost.
        2 => Regenerate(RegenerateAsk),
    }
}
standalone!(RingRequest);

/// A peer that was lost.
#[derive(Debug)]
struct Lost<P> {
    contact: Contact<P>,
    /// How often it was asked since.
    asked: u32,
    at: Time,
}

/// Where subscribing stands.
#[derive(Debug)]
pub(super) struct Subscription<P> {
    pub(super) token: Option<Token>,
    pub(super) known: Vec<Contact<P>>,
    /// The known peer in use.
    pub(super) at: usize,
    /// Attempts in a row in which no owner was located.
    attempts: usize,
    /// How many of these there had been when the address was drawn.
    drawn_at: usize,
    pub(super) wanted: bool,
    /// The commands to leave, until the ring has let us go.
    pub(super) leaving: Vec<Token>,
    /// Peers that were lost, with addresses: behind a partition they may have a ring of their own.
    lost: Vec<Lost<P>>,
    /// Rounds of upkeep until another ring is looked for, and between the last two times.
    seek: (u64, u64),
    /// Whether to found a ring again when nobody lets us in: this node has been a member before.
    was_member: bool,
}

impl<P> Default for Subscription<P> {
    fn default() -> Self {
        Self {
            token: None,
            known: Vec::new(),
            at: 0,
            attempts: 0,
            drawn_at: 0,
            wanted: false,
            leaving: Vec::new(),
            lost: Vec::new(),
            seek: (SEEK_ROUNDS.0, SEEK_ROUNDS.0),
            was_member: false,
        }
    }
}

impl<P: Peer> Node<P> {
    pub(super) fn subscribe(&mut self, step: &mut Step<'_, P>, token: Token, known: Vec<Contact<P>>) {
        if self.subscription.wanted || !self.subscription.leaving.is_empty() {
            return Self::done(step, token, Answer::Failed(Failure::AlreadySubscribed));
        }
        let mut known: Vec<_> = known.into_iter().filter(|contact| contact.peer != self.me.peer).collect();
        known.truncate(MAX_KNOWN);
        self.subscription = Subscription { token: Some(token), known, wanted: true, ..Subscription::default() };
        self.enter_ring(step);
        self.start_upkeep(step);
    }

    /// Draws a fresh address and joins, or founds a ring when no peer is known (design D1).
    pub(super) fn enter_ring(&mut self, step: &mut Step<'_, P>) {
        let address = OverlayAddr::from_bytes(draw(step.rng));
        let incarnation = u64::from_be_bytes(draw(step.rng));
        let me = Principal { address, incarnation, contact: self.me.clone() };
        self.subscription.drawn_at = self.subscription.attempts;
        self.fingers.clear();
        let input = if self.subscription.known.is_empty() { RingInput::Found { me } } else { RingInput::Join { me } };
        part!(self, step, |ctx| self.ring.handle(ctx, input));
    }

    pub(super) fn locate(&mut self, step: &mut Step<'_, P>, target: OverlayAddr) {
        let known = self.subscription.known.clone();
        let Some(via) = known.get(self.subscription.at % known.len().max(1)).cloned() else { return };
        if self.subscription.attempts >= ATTEMPTS * known.len() {
            return self.not_let_in(step);
        }
        if self.subscription.attempts >= self.subscription.drawn_at + known.len() {
            // No known peer finds its owner: it may be dead, and its heir not sure yet. Elsewhere somebody may let us in.
            return self.enter_ring(step);
        }
        let (secret, reply) = self.keys.generate(step.rng);
        let payload = to_bytes(&RingRequest::Locate(Locate { reply }));
        let asking = Asking {
            token: 0,
            recipients: Recipients::First(1),
            port: PORT_RING,
            to: target,
            payload,
            wait: LOCATE_WITHIN,
            via: Some(via),
        };
        self.ask(step, asking, Asker::Locate(secret));
    }

    fn not_let_in(&mut self, step: &mut Step<'_, P>) {
        (self.subscription.attempts, self.subscription.drawn_at) = (0, 0);
        part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Leave));
        if let Some(token) = self.subscription.token.take() {
            self.subscription.wanted = false;
            return Self::done(step, token, Answer::Failed(Failure::NoBootstrap));
        }
        if self.subscription.was_member {
            // Alone, but others may come through us; upkeep tries the known peers again.
            let known = std::mem::take(&mut self.subscription.known);
            self.enter_ring(step);
            self.subscription.known = known;
        }
    }

    pub(super) fn located(&mut self, step: &mut Step<'_, P>, secret: &[u8; 32], result: Result<Vec<u8>, Failure>) {
        let owner = result.ok().and_then(|sealed| self.open_sealed::<Contact<P>>(secret, &sealed));
        let input = match owner {
            Some(owner) => {
                (self.subscription.attempts, self.subscription.drawn_at) = (0, 0);
                // A known peer that owns the address is reached where we know it, whatever it says of itself.
                let known = self.subscription.known.iter().find(|known| known.peer == owner.peer);
                RingInput::Located(known.cloned().unwrap_or(owner))
            }
            None => {
                self.subscription.attempts += 1;
                self.subscription.at += 1;
                RingInput::NotLocated
            }
        };
        part!(self, step, |ctx| self.ring.handle(ctx, input));
    }

    /// The ring let us in.
    pub(super) fn joined(&mut self, step: &mut Step<'_, P>) {
        (self.subscription.attempts, self.subscription.drawn_at) = (0, 0);
        self.subscription.was_member = true;
        let Some((address, range)) = self.address().zip(self.ring.range().map(|(range, _)| range)) else { return };
        if let Some(token) = self.subscription.token.take() {
            Self::done(step, token, Answer::Subscribed { address });
        }
        Self::event(step, Event::Subscribed { address, range });
        // First the one that let us in; the others come from other subgroups, perhaps (seed 003 §2).
        let mut known = self.subscription.known.clone();
        let at = self.subscription.at % known.len().max(1);
        known.rotate_left(at);
        if self.config.subgroups {
            part!(self, step, |ctx| self.subgroups.start(ctx, &*self.keys, known));
        }
        self.migrate_abandoned(step);
        self.refresh_soon(step);
    }

    /// All neighbours are lost: comes back under another address.
    pub(super) fn isolated(&mut self, step: &mut Step<'_, P>) {
        if self.subscription.wanted {
            Self::event(step, Event::Isolated);
            self.abandon_range();
            self.enter_ring(step);
        }
    }

    /// A peer that can serve as a known peer later.
    pub(super) fn seen(&mut self, step: &mut Step<'_, P>, contact: Contact<P>) {
        if contact.peer == self.me.peer || !contact.has_addresses() {
            return;
        }
        let known = &mut self.subscription.known;
        if known.iter().any(|known| known.peer == contact.peer) {
            return;
        }
        if known.len() >= MAX_KNOWN {
            known.remove(0);
        }
        known.push(contact.clone());
        Self::event(step, Event::Known(contact));
    }

    // ---- other rings of the same network -----------------------------------------------------------------------

    /// Remembers a lost peer: it is dead, or behind a partition that may heal.
    pub(super) fn remember_lost(&mut self, now: Time, peer: P) {
        let ring = self.ring.successors().iter().chain(self.ring.predecessor()).map(|member| &member.contact);
        let fingers = self.fingers.iter().map(|finger| &finger.contact);
        let contact = ring.chain(fingers).chain(&self.subscription.known).find(|contact| contact.peer == peer).cloned();
        let Some(contact) = contact.filter(Contact::has_addresses) else { return };
        let lost = &mut self.subscription.lost;
        lost.retain(|known| known.contact.peer != peer);
        if lost.len() >= MAX_KNOWN {
            lost.remove(0);
        }
        lost.push(Lost { contact, asked: 0, at: now });
        let together = lost.iter().filter(|lost| now.since(lost.at) < TOGETHER).count();
        let kept = self.ring.successors().len() + self.fingers.iter().count();
        if together * APART >= kept {
            let (left, before) = self.subscription.seek;
            self.subscription.seek = (left.min(SEEK_ROUNDS.0), before.min(SEEK_ROUNDS.0));
        }
    }

    /// From time to time asks a lost peer and a known one who owns our address: if one names another, there are two rings.
    /// Lost ones are asked in turn, since of many dead ones few may be alive behind a partition; ever more seldom while
    /// nothing is lost. Called once a round, after a wait of so many rounds.
    pub(super) fn seek_other_ring(&mut self, step: &mut Step<'_, P>, rounds: u32) {
        let Some(me) = self.address() else { return };
        let (left, every) = self.subscription.seek;
        if let Some(left) = left.checked_sub(u64::from(rounds)).filter(|left| *left > 0) {
            self.subscription.seek.0 = left;
            return;
        }
        let every = (every * 2).min(SEEK_ROUNDS.1);
        self.subscription.seek = (every, every);
        let Subscription { lost, known, .. } = &mut self.subscription;
        // Of those that were asked least, the one that was lost last.
        let lost = lost.iter_mut().rev().min_by_key(|lost| lost.asked);
        let lost = lost.map(|lost| {
            lost.asked += 1;
            lost.contact.clone()
        });
        let known = known.get(below(step.rng, known.len())).cloned();
        for via in lost.into_iter().chain(known) {
            let (secret, reply) = self.keys.generate(step.rng);
            let payload = to_bytes(&RingRequest::Locate(Locate { reply }));
            let recipients = Recipients::First(1);
            let asking =
                Asking { token: 0, recipients, port: PORT_RING, to: me, payload, wait: LOCATE_WITHIN, via: Some(via) };
            self.ask(step, asking, Asker::Seek(secret));
        }
    }

    pub(super) fn seek_answered(
        &mut self,
        step: &mut Step<'_, P>,
        secret: &[u8; 32],
        result: Result<Vec<u8>, Failure>,
    ) {
        let owner = result.ok().and_then(|sealed| self.open_sealed::<Contact<P>>(secret, &sealed));
        if let Some(owner) = owner.filter(|owner| owner.peer != self.me.peer) {
            // Others of that ring are near: look again soon.
            self.subscription.seek = (SEEK_ROUNDS.0, SEEK_ROUNDS.0);
            self.subscription.lost.retain(|lost| lost.contact.peer != owner.peer);
            self.seen(step, owner.clone());
            part!(self, step, |ctx| self.ring.handle(ctx, RingInput::OtherRing(owner)));
        }
    }

    // ---- requests on the ring's own port -----------------------------------------------------------------------

    pub(super) fn ask(&mut self, step: &mut Step<'_, P>, mut asking: Asking<P>, asker: Asker) {
        let token = self.next_number();
        asking.token = token;
        self.asks.insert(token, asker);
        let result = self.messaging(step, |messaging, ctx, around| messaging.request(ctx, around, asking));
        if let Err(failure) = result {
            self.ask_ended(step, token, Err(failure));
        }
    }

    /// A request to the ring's own port arrived: "who owns this?" or "who is near?"
    pub(super) fn ring_asked(&mut self, step: &mut Step<'_, P>, ask: u64, request: Request) {
        let refuse = Err(Failure::Refused);
        let (reply, slack) = match from_bytes(&request.payload) {
            Ok(RingRequest::Locate(locate)) => (locate.reply, None),
            Ok(RingRequest::Regenerate(what)) => return self.regenerate(step, ask, &request, what),
            Ok(RingRequest::Finger(finger)) => (finger.reply, Some(u128::from_be_bytes(finger.slack))),
            Err(_) => return part!(self, step, |ctx| self.messaging.respond(ctx, ask, refuse)),
        };
        if let Some(slack) = slack.filter(|_| !request.last) {
            let answerer = self.ring.finger_answerer(request.to, slack, &self.fingers, step.rng);
            match answerer {
                None => return part!(self, step, |ctx| self.messaging.respond(ctx, ask, refuse)),
                Some(other) if other.peer != self.me.peer => {
                    return self.messaging(step, |messaging, ctx, around| {
                        messaging.hand_on(ctx, around, ask, request, &other);
                    });
                }
                Some(_) => {}
            }
        }
        let sealed = self.keys.seal(step.rng, &reply, &to_bytes(&self.me));
        part!(self, step, |ctx| self.messaging.respond(ctx, ask, Ok(sealed)));
    }

    /// Asks for one finger.
    pub(super) fn ask_finger(&mut self, step: &mut Step<'_, P>) {
        let Some(level) = self.fingers.next_level(&self.ring) else { return };
        let Some(me) = self.ring.me().map(|me| me.address) else { return };
        let to = self.fingers.target(me, level, step.rng);
        let (secret, reply) = self.keys.generate(step.rng);
        let slack = self.fingers.slack(level).to_be_bytes();
        let payload = to_bytes(&RingRequest::Finger(FingerAsk { reply, slack }));
        let asking = Asking {
            token: 0,
            recipients: Recipients::First(1),
            port: PORT_RING,
            to,
            payload,
            wait: LOCATE_WITHIN,
            via: None,
        };
        self.ask(step, asking, Asker::Finger(level, secret));
    }

    pub(super) fn finger_answered(
        &mut self,
        step: &mut Step<'_, P>,
        level: u8,
        secret: &[u8; 32],
        result: Result<Vec<u8>, Failure>,
    ) {
        let finger = result.ok().and_then(|sealed| self.open_sealed::<Contact<P>>(secret, &sealed));
        if let Some(finger) = finger.filter(|finger| finger.peer != self.me.peer)
            && self.fingers.learn(level, finger)
        {
            self.refresh_soon(step);
        }
    }

    fn open_sealed<T: Wire>(&self, secret: &[u8; 32], sealed: &[u8]) -> Option<T> {
        from_bytes(&self.keys.open(secret, sealed)?).ok()
    }
}
