//! The ring: who owns an overlay address (seed 000 §2; rules of research §3).
//!
//! [`Ring`] holds no time and draws no randomness while it handles an input, so that a model checker can hash it. Whether
//! a peer is dead is decided elsewhere (`link`) and told by [`RingInput::Dead`].

mod claims;
mod fingers;
mod handover;
mod hearing;
#[cfg(any(test, feature = "sim"))]
mod ideal;
mod joining;
mod leaving;
mod message;
mod news;
mod other;
mod roster;
mod rounds;
mod routing;
mod stabilise;
#[cfg(all(test, feature = "sim"))]
mod tests;

use std::time::Duration;

pub use fingers::{Finger, Fingers};
pub use message::*;
use news::{LastAnswer, LastWords};
pub use rounds::Rounds;
pub use routing::Hop;

use super::codec::List;
use super::interface::Ownership;
use super::io::{Contact, Ctx, Part, Peer};
use crate::address::{AddrRange, OverlayAddr};
use claims::Claim;
use handover::{Handed, Received, Stage};
use hearing::Hearing;

/// Ranges handed on that are remembered, so that what still arrives for them is passed on. choice
const MAX_HANDED: usize = 8;
/// How long a member waits before it asks again after "busy". choice
const BUSY_AGAIN: Duration = Duration::from_millis(150);
/// How often what is not answered is said again. choice
const REPEAT: Duration = Duration::from_secs(1);
/// How long an answer to a question of the ring is waited for before the question is dropped; not a death. choice: longer
/// than three probes without an answer take, so that a dead one is known to be dead by then
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The furthest that one message may carry the highest epoch seen: forged ones exhaust the numbers after 16 million, and a
/// newcomer may be told of any ring's. choice
const EPOCH_LEAP: u64 = 1 << 40;
/// How long a range is claimed before it is inherited, unless a node says otherwise. choice
const CLAIM_AFTER: Duration = Duration::from_secs(20);
/// How long a joiner waits before it tries again. choice
const JOIN_AGAIN: Duration = Duration::from_millis(250);

/// What the ring waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingTimer {
    /// Time to ask the first successor.
    Stabilise,
    /// The answer to this question did not come.
    Answer(u64),
    /// The answer was "busy": ask again.
    Again(u64),
    /// The join is tried again.
    Join(u64),
    /// What was not answered in a handover is said again.
    Repeat,
    /// What belongs to the range received under this epoch should have come by now.
    Settle(u64),
    /// Whoever lives in a claimed range should have shown up by now.
    Claim(u64),
    /// The successors should have heard of this epoch.
    Hear(u64),
    /// This epoch of another one, which was passed on, should have been answered for.
    Passing(u64),
}

/// What the ring reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingEvent<P> {
    /// The owner of this address is to be located (through a known peer), then `Located` handed in.
    Locate(OverlayAddr),
    /// A member now.
    Joined,
    /// The owned range changed.
    Range {
        /// What is owned now.
        range: AddrRange,
        /// Its epoch.
        epoch: u64,
    },
    /// A range went to another owner, which has accepted it: what belongs to it is to be sent there. Once that is done,
    /// [`RingInput::Migrated`] is handed in (design D4).
    HandedOver {
        /// The range.
        range: AddrRange,
        /// The epoch under which its new owner owns it.
        epoch: u64,
    },
    /// The owner of a range died and this peer owns it now: what belonged to it is to be made anew (design D4).
    Inherited {
        /// The range.
        range: AddrRange,
        /// The epoch under which this peer owns it.
        epoch: u64,
    },
    /// This peer, which was a member, is none any more, because it was to leave: its range is handed over, or nobody took
    /// it in time. Not said to a peer that was still joining.
    Left,
    /// All neighbours are lost.
    Isolated,
    /// This ring is small and ends in favour of another one of the same network: this peer is to join that one, through
    /// this member of it and under a fresh address. What it owned is [`RingEvent::HandedOver`] once it is in.
    Dissolved(Contact<P>),
    /// A member that is worth remembering as a known peer.
    Seen(Contact<P>),
}

/// What happens to the ring.
// Handed in one at a time and never kept: a box would cost more than the room.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum RingInput<P> {
    /// Found a new ring.
    Found {
        /// The subscription.
        me: Principal<P>,
    },
    /// Join; the owner of `me.address` has been asked for.
    Join {
        /// The subscription.
        me: Principal<P>,
    },
    /// The owner of the joiner's address.
    Located(Contact<P>),
    /// The owner could not be located.
    NotLocated,
    /// Leave in order: the range is handed over to the successor, then [`RingEvent::Left`] follows.
    Leave,
    /// What belonged to a range that was handed over under this epoch has been sent.
    Migrated {
        /// The epoch.
        epoch: u64,
    },
    /// Outside this ring there is another one of the same network, in which this peer owns our address.
    OtherRing(Contact<P>),
    /// A message.
    Received(P, RingMessage<P>),
    /// A timer.
    Expired(RingTimer),
    /// The peer is dead.
    Dead(P),
    /// Our own transport addresses changed.
    Contact(Contact<P>),
}

/// An open question to a neighbour whose answer changes the own state (Zave's rule 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question<P> {
    /// To the first successor.
    Head(P),
    /// To the predecessor of the first successor, before it is adopted (rule 5).
    Closer(Contact<P>),
    /// To the owner of our address in another ring.
    Other(Contact<P>),
    /// To the old predecessor, because a notifier wants its place (rule 4).
    Predecessor { asked: Principal<P>, notify: Notify<P> },
}

impl<P: Copy> Question<P> {
    fn asked(&self) -> P {
        match self {
            Self::Head(peer) => *peer,
            Self::Closer(other) | Self::Other(other) => other.peer,
            Self::Predecessor { asked, .. } => asked.contact.peer,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Outside,
    Joining { request: u64 },
    Member,
}

/// Two of the rules of research §3, so that the model checker can show what happens without them. No configuration
/// reaches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Rule 5: nothing is adopted that was not contacted.
    pub contact_first: bool,
    /// Rule 6: while an own question is open, others are told "busy".
    pub busy: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { contact_first: true, busy: true }
    }
}

/// This member leaves in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Leaving {
    /// Rounds so far.
    rounds: u8,
}

/// One peer's place in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ring<P> {
    phase: Phase,
    me: Option<Principal<P>>,
    predecessor: Option<Principal<P>>,
    /// Where the range before ours begins, as its owner said last; while one is claimed, before that.
    before: Option<Start<P>>,
    /// Where our range begins, as the first successor knows it.
    confirmed: Option<OverlayAddr>,
    /// The owned range is (after, me].
    after: OverlayAddr,
    /// The epoch of the owned range.
    epoch: u64,
    /// The highest epoch seen, here or elsewhere: each change of a range takes the next one (design D3).
    seen: u64,
    hearing: Hearing<P>,
    successors: Vec<Principal<P>>,
    /// Whether the successor list, as it was last adopted, went round to this peer: then it names the whole ring.
    round: bool,
    roster: Option<Roster<P>>,
    /// As the founder: the request of the member that its owner has not let in yet.
    admitted: u64,
    handed: Vec<Handed<P>>,
    received: Vec<Received<P>>,
    /// Members that gave their range to us and left.
    gone: Vec<Principal<P>>,
    leaving: Option<Leaving>,
    /// What may be ours: its owners are dead, and who else lives there is not known.
    claim: Option<Claim>,
    /// What was owned in a ring that ended in favour of the one that is being joined.
    carried: Option<(AddrRange, u64)>,
    /// Whether a [`RingTimer::Repeat`] is armed.
    repeating: bool,
    question: Option<(u64, Question<P>)>,
    last_words: LastWords<P>,
    last_answer: LastAnswer<P>,
    /// Whether questions are for news alone, where that is enough.
    brief: bool,
    next_request: u64,
    /// Successors kept.
    r: usize,
    rules: Rules,
    claim_after: Duration,
}

impl<P: Peer> Part<P> for Ring<P> {
    type Message = RingMessage<P>;
    type Timer = RingTimer;
    type Event = RingEvent<P>;
}

type RingCtx<'a, P> = Ctx<'a, P, Ring<P>>;

impl<P: Peer> Default for Ring<P> {
    fn default() -> Self {
        Self {
            phase: Phase::Outside,
            me: None,
            predecessor: None,
            before: None,
            confirmed: None,
            after: OverlayAddr::default(),
            epoch: 0,
            seen: 0,
            hearing: Hearing::new(0),
            successors: Vec::new(),
            round: false,
            roster: None,
            admitted: 0,
            handed: Vec::new(),
            received: Vec::new(),
            gone: Vec::new(),
            leaving: None,
            claim: None,
            carried: None,
            repeating: false,
            question: None,
            last_words: LastWords::default(),
            last_answer: LastAnswer::default(),
            brief: true,
            next_request: 0,
            r: MAX_SUCCESSORS,
            rules: Rules::default(),
            claim_after: CLAIM_AFTER,
        }
    }
}

impl<P: Peer> Ring<P> {
    /// No place yet. Within `claim_after` a member whose successors died without a word has noticed all those deaths.
    pub fn new(claim_after: Duration) -> Self {
        Self { claim_after, ..Self::default() }
    }

    /// A ring in which each member keeps `r` successors (1 to 8), and which keeps these rules: for the model checker, whose
    /// states are many enough without what changes no range. So epochs are heard of at once, and all questions are for the whole answer.
    #[cfg(feature = "sim")]
    pub fn with_rules(r: usize, rules: Rules) -> Self {
        let hearing = Hearing::new(u64::MAX);
        Self { r: r.clamp(1, MAX_SUCCESSORS), rules, hearing, brief: false, ..Self::default() }
    }

    /// Begins to number questions anew, when no answer can be on its way: for the model checker, to which states that differ
    /// in nothing else are one.
    #[cfg(feature = "sim")]
    pub fn renumber(&mut self) {
        if self.question.is_none() && self.claim.is_none() && !self.is_joining() {
            self.next_request = 0;
        }
    }

    /// Whether an answer is waited for that may change the neighbours.
    pub fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// Whether this peer is a member.
    pub fn is_member(&self) -> bool {
        self.phase == Phase::Member
    }

    /// Whether this peer is joining.
    pub fn is_joining(&self) -> bool {
        matches!(self.phase, Phase::Joining { .. })
    }

    /// Whether this member is leaving in order.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether this member knows no other.
    pub fn is_alone(&self) -> bool {
        self.is_member() && self.successors.is_empty()
    }

    /// The own place, when subscribed or joining.
    pub fn me(&self) -> Option<&Principal<P>> {
        self.me.as_ref()
    }

    /// The predecessor, if known.
    pub fn predecessor(&self) -> Option<&Principal<P>> {
        self.predecessor.as_ref()
    }

    /// The successor list, nearest first.
    pub fn successors(&self) -> &[Principal<P>] {
        &self.successors
    }

    /// The owned range and its epoch, when a member that has not given it away.
    pub fn range(&self) -> Option<(AddrRange, u64)> {
        let me = self.me.as_ref().filter(|_| self.is_member() && !self.has_given_all())?;
        Some((AddrRange { after: self.after, to: me.address }, self.epoch))
    }

    /// The neighbours to keep connected: first successors and predecessor, and those with whom ranges change hands.
    pub fn neighbours(&self) -> impl Iterator<Item = &Contact<P>> {
        // All while the ring is small; three of eight later, so that the death of the first two costs no dial.
        let small = self.roster.iter().flat_map(|roster| roster.members.iter());
        let small = small.filter(|member| self.me.as_ref().is_none_or(|me| me.contact != member.contact));
        let held = if self.roster.is_some() { self.r } else { 3 };
        let others = self.successors.iter().take(held).chain(&self.predecessor);
        let new = self.handed.iter().filter(|handed| handed.stage != Stage::Done).map(|handed| &handed.to);
        let old = self.received.iter().filter(|received| !received.settled).map(|received| &received.from);
        let asked = self.question.as_ref().and_then(|(_, question)| match question {
            Question::Head(_) => None,
            Question::Closer(other) | Question::Other(other) => Some(other),
            Question::Predecessor { asked, .. } => Some(&asked.contact),
        });
        small.chain(others).chain(new).chain(old).map(|principal| &principal.contact).chain(asked)
    }

    /// Whether a neighbour is only a successor behind the first one, kept for when that dies: the member before it watches it, and
    /// says so when it dies.
    pub fn is_spare(&self, peer: P) -> bool {
        let is = |principal: &Principal<P>| principal.contact.peer == peer;
        self.roster.is_none()
            && self.successors.iter().skip(1).any(is)
            && !self.predecessor.as_ref().is_some_and(is)
            && !self.handed.iter().any(|handed| handed.stage != Stage::Done && is(&handed.to))
            && !self.received.iter().any(|received| !received.settled && is(&received.from))
            && self.question.as_ref().is_none_or(|(_, question)| question.asked() != peer)
    }

    /// Handles one input.
    pub fn handle(&mut self, ctx: &mut RingCtx<'_, P>, input: RingInput<P>) {
        match input {
            RingInput::Found { me } => self.found(ctx, me),
            RingInput::Join { me } => self.join(ctx, me),
            RingInput::Located(owner) => self.ask_to_join(ctx, &owner),
            RingInput::NotLocated => self.join_again(ctx),
            RingInput::Leave => self.leave(ctx),
            RingInput::Migrated { epoch } => self.migrated(ctx, epoch),
            RingInput::OtherRing(owner) => self.other_ring(ctx, owner),
            RingInput::Received(from, message) => self.received(ctx, from, message),
            RingInput::Expired(timer) => self.expired(ctx, timer),
            RingInput::Dead(peer) => self.dead(ctx, peer),
            RingInput::Contact(contact) => {
                if let Some(me) = &mut self.me {
                    me.contact = contact;
                }
                self.forget_words();
            }
        }
        self.say_epoch(ctx);
    }

    fn received(&mut self, ctx: &mut RingCtx<'_, P>, from: P, message: RingMessage<P>) {
        match message {
            RingMessage::Join(join) => self.joins(ctx, from, join),
            RingMessage::Joined(joined) => self.joined(ctx, from, joined),
            RingMessage::NotJoined(not) => self.not_joined(ctx, not),
            RingMessage::Roster(roster) => self.roster_received(ctx, from, roster),
            RingMessage::Ask(ask) => self.asked(ctx, from, ask),
            RingMessage::Neighbours(answer) => self.answered(ctx, from, answer),
            RingMessage::Notify(notify) => self.notified(ctx, from, notify),
            RingMessage::Nudge(nudge) => self.nudged(ctx, from, nudge.leaving),
            RingMessage::Give(give) => self.given(ctx, from, &give),
            RingMessage::Accepted(step) => self.accepted(ctx, from, &step),
            RingMessage::Refused(step) => self.refused(ctx, from, &step),
            RingMessage::Migrated(step) => self.all_came(ctx, from, step),
            RingMessage::Settled(step) => self.settled(ctx, from, &step),
            RingMessage::Hear(hear) => self.hear(ctx, from, hear),
            RingMessage::Heard(hear) => self.heard(ctx, from, hear),
        }
    }

    fn expired(&mut self, ctx: &mut RingCtx<'_, P>, timer: RingTimer) {
        match timer {
            RingTimer::Stabilise => self.stabilise(ctx),
            RingTimer::Answer(request) => {
                // Not a death: under load an answer may be late.
                let open = self.question.take_if(|(open, _)| *open == request);
                match open {
                    Some((_, Question::Closer(_))) if self.successors.is_empty() => {
                        ctx.out.emit(RingEvent::Isolated);
                    }
                    Some((_, Question::Closer(_))) => self.notify_head(ctx),
                    _ => {}
                }
            }
            RingTimer::Again(request) => {
                if self.question.is_none() && self.next_request == request {
                    self.stabilise(ctx);
                }
            }
            RingTimer::Join(request) => {
                if self.phase == (Phase::Joining { request }) {
                    self.locate(ctx);
                }
            }
            RingTimer::Repeat => self.repeat(ctx),
            RingTimer::Claim(number) => self.claim_expired(ctx, number),
            RingTimer::Hear(epoch) => self.hear_expired(ctx, epoch),
            RingTimer::Passing(epoch) => self.passing_expired(epoch),
            RingTimer::Settle(epoch) => self.give_up(ctx, |received| received.epoch == epoch),
        }
    }

    fn fresh_request(&mut self) -> u64 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    /// Another peer has seen this epoch.
    fn see(&mut self, epoch: u64) {
        self.seen = self.seen.max(epoch.min(self.seen.saturating_add(EPOCH_LEAP)));
    }

    /// The owned range changes: its new epoch is higher than all that were seen (a Lamport number).
    fn next_epoch(&mut self) -> u64 {
        self.seen = self.seen.max(self.epoch).saturating_add(1);
        self.epoch = self.seen;
        self.epoch
    }

    /// What is kept from one subscription to the next: numbers that only grow.
    fn reset(&mut self) {
        let Self { next_request, epoch, r, rules, claim_after, carried, .. } = *self;
        let seen = self.seen.max(epoch);
        let hearing = self.hearing.anew();
        *self = Self { next_request, epoch, seen, hearing, r, rules, claim_after, carried, ..Self::default() };
    }

    fn tell_range(&self, ctx: &mut RingCtx<'_, P>) {
        if let Some((range, epoch)) = self.range() {
            ctx.out.emit(RingEvent::Range { range, epoch });
        }
    }
}
