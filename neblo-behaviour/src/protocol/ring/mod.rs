//! The ring: who owns an overlay address (seed 000 §2; rules of research §3).
//!
//! [`Ring`] holds no time and draws no randomness while it handles an input, so that a model checker can hash it. Whether
//! a peer is dead is decided elsewhere (`link`) and told by [`RingInput::Dead`].

mod fingers;
#[cfg(any(test, feature = "sim"))]
mod ideal;
mod message;
mod roster;
mod routing;
mod stabilise;

use std::time::Duration;

pub use fingers::{Finger, Fingers};
pub use message::*;
pub use routing::Hop;

use super::codec::List;
use super::interface::Ownership;
use super::io::{Contact, Ctx, Part, Peer};
use crate::address::{AddrRange, OverlayAddr};

/// Ranges handed on that are remembered, so that what still arrives for them is passed on. choice
const MAX_HANDED: usize = 8;
/// How long a member waits before it asks again after "busy". choice
const BUSY_AGAIN: Duration = Duration::from_millis(150);
/// How long an answer to a question of the ring is waited for before the question is dropped; not a death. choice
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
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
    /// All ranges are handed over: this peer is no member any more.
    Left,
    /// All neighbours are lost.
    Isolated,
    /// A member that is worth remembering as a known peer.
    Seen(Contact<P>),
}

/// What happens to the ring.
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
    Closer(P),
    /// To the old predecessor, because a notifier wants its place (rule 4).
    Predecessor { asked: P, notifier: Principal<P> },
}

impl<P: Copy> Question<P> {
    fn asked(&self) -> P {
        match self {
            Self::Head(peer) | Self::Closer(peer) | Self::Predecessor { asked: peer, .. } => *peer,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Outside,
    Joining { request: u64 },
    Member,
}

/// One peer's place in the ring.
#[derive(Clone, Debug)]
pub struct Ring<P> {
    phase: Phase,
    me: Option<Principal<P>>,
    predecessor: Option<Principal<P>>,
    /// The owned range is (after, me].
    after: OverlayAddr,
    epoch: u64,
    successors: Vec<Principal<P>>,
    roster: Option<Roster<P>>,
    handed: Vec<(AddrRange, Principal<P>)>,
    question: Option<(u64, Question<P>)>,
    next_request: u64,
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
            after: OverlayAddr::default(),
            epoch: 0,
            successors: Vec::new(),
            roster: None,
            handed: Vec::new(),
            question: None,
            next_request: 0,
        }
    }
}

impl<P: Peer> Ring<P> {
    /// Whether this peer is a member.
    pub fn is_member(&self) -> bool {
        self.phase == Phase::Member
    }

    /// Whether this peer is joining.
    pub fn is_joining(&self) -> bool {
        matches!(self.phase, Phase::Joining { .. })
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

    /// The owned range and its epoch, when a member.
    pub fn range(&self) -> Option<(AddrRange, u64)> {
        let me = self.me.as_ref().filter(|_| self.is_member())?;
        Some((AddrRange { after: self.after, to: me.address }, self.epoch))
    }

    /// Whether this peer owns an address.
    pub fn ownership(&self, address: OverlayAddr) -> Ownership {
        if self.range().is_some_and(|(range, _)| range.contains(address)) { Ownership::Yes } else { Ownership::No }
    }

    /// The neighbours to keep connected: first successors and predecessor.
    pub fn neighbours(&self) -> impl Iterator<Item = &Contact<P>> {
        // The whole list while the ring is small; three of eight later, so that the death of the first two costs no dial.
        let held = if self.roster.is_some() { MAX_SUCCESSORS } else { 3 };
        let others = self.successors.iter().take(held).chain(&self.predecessor);
        others.map(|principal| &principal.contact)
    }

    /// Handles one input.
    pub fn handle(&mut self, ctx: &mut RingCtx<'_, P>, input: RingInput<P>) {
        match input {
            RingInput::Found { me } => self.found(ctx, me),
            RingInput::Join { me } => self.join(ctx, me),
            RingInput::Located(owner) => self.ask_to_join(ctx, &owner),
            RingInput::NotLocated => self.join_again(ctx),
            RingInput::Leave => self.leave(ctx),
            RingInput::Migrated { .. } | RingInput::OtherRing(_) => {}
            RingInput::Received(from, message) => self.received(ctx, from, message),
            RingInput::Expired(timer) => self.expired(ctx, timer),
            RingInput::Dead(peer) => self.dead(ctx, peer),
            RingInput::Contact(contact) => {
                if let Some(me) = &mut self.me {
                    me.contact = contact;
                }
            }
        }
    }

    fn received(&mut self, ctx: &mut RingCtx<'_, P>, from: P, message: RingMessage<P>) {
        match message {
            RingMessage::Join(join) => self.joins(ctx, from, join),
            RingMessage::Joined(joined) => self.joined(ctx, from, joined),
            RingMessage::NotJoined(not) => self.not_joined(ctx, not),
            RingMessage::Roster(roster) => self.roster_received(ctx, from, roster),
            RingMessage::Ask(ask) => self.asked(ctx, from, ask),
            RingMessage::Neighbours(answer) => self.answered(ctx, from, answer),
            RingMessage::Notify(notify) => self.notified(ctx, from, notify.me),
            RingMessage::Nudge(nudge) => self.nudged(ctx, from, nudge.leaving),
        }
    }

    fn expired(&mut self, ctx: &mut RingCtx<'_, P>, timer: RingTimer) {
        match timer {
            RingTimer::Stabilise => self.stabilise(ctx),
            RingTimer::Answer(request) => {
                if self.question.as_ref().is_some_and(|(open, _)| *open == request) {
                    self.question = None;
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
        }
    }

    fn fresh_request(&mut self) -> u64 {
        self.next_request = self.next_request.wrapping_add(1);
        self.next_request
    }

    // ---- joining -------------------------------------------------------------------------------------------------

    fn found(&mut self, ctx: &mut RingCtx<'_, P>, me: Principal<P>) {
        let roster = Roster { term: 1, version: 1, members: List::chop(vec![me.clone()]), open: false };
        self.reset();
        self.after = me.address;
        self.epoch = 1;
        self.me = Some(me);
        self.phase = Phase::Member;
        self.roster = Some(roster);
        ctx.out.emit(RingEvent::Joined);
        self.tell_range(ctx);
    }

    fn join(&mut self, ctx: &mut RingCtx<'_, P>, me: Principal<P>) {
        self.reset();
        self.me = Some(me);
        self.locate(ctx);
    }

    fn locate(&mut self, ctx: &mut RingCtx<'_, P>) {
        let Some(address) = self.me.as_ref().map(|me| me.address) else { return };
        self.phase = Phase::Joining { request: self.fresh_request() };
        ctx.out.emit(RingEvent::Locate(address));
    }

    fn join_again(&mut self, ctx: &mut RingCtx<'_, P>) {
        if let Phase::Joining { request } = self.phase {
            ctx.out.arm(JOIN_AGAIN, RingTimer::Join(request));
        }
    }

    fn ask_to_join(&mut self, ctx: &mut RingCtx<'_, P>, owner: &Contact<P>) {
        let (Phase::Joining { .. }, Some(me)) = (self.phase, self.me.clone()) else { return };
        let request = self.fresh_request();
        self.phase = Phase::Joining { request };
        ctx.out.send(owner, RingMessage::Join(Join { request, me, proof: None }));
        ctx.out.arm(ANSWER_WITHIN, RingTimer::Join(request));
    }

    /// A joiner is let in by the owner of its address alone (D3), or by the founder while the ring is small (D2).
    fn joins(&mut self, ctx: &mut RingCtx<'_, P>, from: P, join: Join<P>) {
        let refuse = |ask, not_owner| RingMessage::NotJoined(NotJoined { request: join.request, ask, not_owner });
        let contact = join.me.contact.clone();
        let Some(me) = self.me.clone().filter(|_| self.is_member()) else {
            return ctx.out.send(&contact, refuse(None, true));
        };
        if contact.peer != from || from == me.contact.peer {
            return;
        }
        if self.roster.is_some() {
            return self.joins_roster(ctx, &me, join);
        }
        let known = self.successors.iter().chain(&self.predecessor).find(|known| known.contact.peer == from);
        if known.is_some_and(|known| !known.is(&join.me)) {
            // An earlier subscription of the same peer: it is gone, whatever the link says.
            self.dead(ctx, from);
        }
        if self.predecessor.as_ref().is_some_and(|predecessor| predecessor.is(&join.me)) {
            // The answer to an earlier request was lost.
            return self.let_in(ctx, &me, join);
        }
        let range = AddrRange { after: self.after, to: me.address };
        if !range.contains(join.me.address) || join.me.address == me.address {
            return ctx.out.send(&contact, refuse(None, true));
        }
        if self.question.is_some() {
            return ctx.out.send(&contact, refuse(None, false));
        }
        self.let_in(ctx, &me, join);
    }

    fn let_in(&mut self, ctx: &mut RingCtx<'_, P>, me: &Principal<P>, join: Join<P>) {
        let joiner = join.me;
        let after = match self.handed.iter().find(|(_, to)| to.is(&joiner)) {
            Some((range, _)) => range.after,
            None => self.after,
        };
        self.hand_over(ctx, joiner.clone());
        let old = self.predecessor.replace(joiner.clone());
        let joined = Joined {
            request: join.request,
            by: me.clone(),
            successors: List::chop(self.successors.clone()),
            after,
            epoch: self.epoch,
            roster: None,
        };
        ctx.out.send(&joiner.contact, RingMessage::Joined(joined));
        if let Some(old) = old.filter(|old| !old.is(&joiner)) {
            ctx.out.send(&old.contact, RingMessage::Nudge(Nudge { leaving: false }));
        }
        ctx.out.emit(RingEvent::Seen(joiner.contact));
    }

    /// What lies before `new` is no longer ours.
    fn hand_over(&mut self, ctx: &mut RingCtx<'_, P>, new: Principal<P>) {
        if self.after == new.address {
            return;
        }
        let range = AddrRange { after: self.after, to: new.address };
        self.after = new.address;
        self.epoch += 1;
        self.handed.retain(|(_, to)| to.contact.peer != new.contact.peer);
        self.handed.insert(0, (range, new));
        self.handed.truncate(MAX_HANDED);
        self.tell_range(ctx);
    }

    fn joined(&mut self, ctx: &mut RingCtx<'_, P>, from: P, joined: Joined<P>) {
        if self.phase != (Phase::Joining { request: joined.request }) || joined.by.contact.peer != from {
            return;
        }
        self.phase = Phase::Member;
        self.after = joined.after;
        self.epoch = joined.epoch;
        if let Some(roster) = joined.roster {
            self.roster = Some(roster.clone());
            self.apply_roster(ctx, roster);
        } else {
            self.adopt(joined.by.clone(), &joined.successors);
        }
        ctx.out.emit(RingEvent::Joined);
        self.tell_range(ctx);
        for principal in &self.successors {
            ctx.out.emit(RingEvent::Seen(principal.contact.clone()));
        }
        self.stabilise(ctx);
    }

    fn not_joined(&mut self, ctx: &mut RingCtx<'_, P>, not: NotJoined<P>) {
        if self.phase != (Phase::Joining { request: not.request }) {
            return;
        }
        match not.ask {
            Some(ask) => self.ask_to_join(ctx, &ask),
            None => self.join_again(ctx),
        }
    }

    fn leave(&mut self, ctx: &mut RingCtx<'_, P>) {
        if self.is_member() {
            let neighbours: Vec<_> = self.successors.iter().chain(&self.predecessor).cloned().collect();
            for neighbour in neighbours {
                ctx.out.send(&neighbour.contact, RingMessage::Nudge(Nudge { leaving: true }));
            }
        }
        self.reset();
        ctx.out.emit(RingEvent::Left);
    }

    fn reset(&mut self) {
        *self = Self { next_request: self.next_request, epoch: self.epoch, ..Self::default() };
    }

    fn tell_range(&self, ctx: &mut RingCtx<'_, P>) {
        if let Some((range, epoch)) = self.range() {
            ctx.out.emit(RingEvent::Range { range, epoch });
        }
    }
}
