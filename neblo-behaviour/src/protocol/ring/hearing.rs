//! Epochs that the heirs have heard of.
//!
//! Epochs count on from the highest one seen (design D3). An heir cannot ask the dead what they had counted to, so it leaps;
//! and an owner whose epoch is further than half a leap ahead of what its successors have heard does not say yes yet. So
//! whichever of them inherits from it does so under a higher epoch than any under which the dead one was sure, as long as
//! fewer than r adjacent members die.
//!
//! The owner says its epoch to its first successor, which passes it on, as far as the successor list reaches; the last one
//! answers, and the answer comes back the same way.

use super::*;

/// Epochs that an heir leaps. choice: as many changes as no owner comes to while its successors hear nothing of them
const HEIR_LEAP: u64 = 1 << 10;
/// How often an epoch is said again. choice: longer than `PASSING`
const SAY_AGAIN: Duration = Duration::from_secs(2);
/// How long the answer for an epoch that is passed on is waited for, and how many are at once: one neighbour makes no more than
/// 4 r messages of its own each time. choice: eight hops there and back
const PASSING: Duration = Duration::from_millis(1_500);
const MAX_PASSING: usize = 4;
/// How often an epoch is said until its owner is sure of the range all the same: a successor that does not pass it on
/// cannot keep a range from being owned. choice
const MAX_SAID: u8 = 30;

/// What became of the own epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hearing<P> {
    /// The highest that all successors have heard of.
    heard: u64,
    /// What is being said, and how often it was.
    saying: Option<(Hear, u8)>,
    /// What is passed on for the predecessor.
    passing: Vec<(P, Hear)>,
}

impl<P> Hearing<P> {
    /// Nobody has heard of an epoch above this one.
    pub(super) fn new(heard: u64) -> Self {
        Self { heard, saying: None, passing: Vec::new() }
    }

    /// In the next subscription the successors are others. (Who hears of everything goes on to: the model.)
    pub(super) fn anew(&self) -> Self {
        Self::new(if self.heard == u64::MAX { u64::MAX } else { 0 })
    }

    /// The first successor is another one.
    pub(super) fn say_anew(&mut self) {
        self.saying = None;
    }
}

impl<P: Peer> Ring<P> {
    /// Whether those who may inherit from us have heard of our epoch, or of one so high that they will leap over ours. A
    /// small ring has its roster, which says the epoch.
    pub fn is_heard(&self) -> bool {
        let far = self.epoch > self.hearing.heard.saturating_add(HEIR_LEAP / 2);
        !far || self.successors.is_empty() || self.roster.is_some()
    }

    /// The epoch after an inheritance.
    pub(super) fn leap(&mut self) -> u64 {
        // The dead one, and whom it gave some of this range just before, may have counted on without our hearing of it.
        self.seen = self.seen.max(self.epoch).saturating_add(HEIR_LEAP);
        self.next_epoch()
    }

    /// Says the epoch, if it is new and too far ahead.
    pub(super) fn say_epoch(&mut self, ctx: &mut RingCtx<'_, P>) {
        if self.is_heard() || self.range().is_none() {
            self.hearing.saying = None;
            return;
        }
        if self.hearing.saying.as_ref().is_some_and(|(said, _)| said.epoch == self.epoch) {
            return;
        }
        self.say_epoch_again(ctx, 0);
    }

    fn say_epoch_again(&mut self, ctx: &mut RingCtx<'_, P>, times: u8) {
        let Some(head) = self.successors.first() else { return };
        let hear = Hear { epoch: self.epoch, hops: self.successors.len().min(MAX_SUCCESSORS) as u8 };
        ctx.out.send(&head.contact, RingMessage::Hear(hear));
        ctx.out.arm(SAY_AGAIN, RingTimer::Hear(self.epoch));
        self.hearing.saying = Some((hear, times));
    }

    /// Time to say it again.
    pub(super) fn hear_expired(&mut self, ctx: &mut RingCtx<'_, P>, epoch: u64) {
        match self.hearing.saying {
            Some((said, times)) if said.epoch == epoch && times < MAX_SAID => self.say_epoch_again(ctx, times + 1),
            Some((said, _)) if said.epoch == epoch => {
                self.hearing.heard = epoch;
                self.hearing.saying = None;
            }
            _ => {}
        }
    }

    /// An epoch that is passed on was not answered for.
    pub(super) fn passing_expired(&mut self, epoch: u64) {
        self.hearing.passing.retain(|(_, passed)| passed.epoch != epoch);
    }

    /// The predecessor's epoch, or that of one before it.
    pub(super) fn hear(&mut self, ctx: &mut RingCtx<'_, P>, from: P, hear: Hear) {
        if !self.is_member() || self.predecessor.as_ref().is_none_or(|before| before.contact.peer != from) {
            return;
        }
        self.see(hear.epoch);
        let hops = hear.hops.min(MAX_SUCCESSORS as u8);
        let next = self.successors.first().filter(|_| hops > 1 && self.roster.is_none());
        let Some(next) = next.filter(|_| self.hearing.heard < hear.epoch) else {
            return ctx.out.send(&Contact::bare(from), RingMessage::Heard(hear));
        };
        let passed = |(_, passed): &(P, Hear)| passed.epoch == hear.epoch;
        if self.hearing.passing.len() >= MAX_PASSING || self.hearing.passing.iter().any(passed) {
            return;
        }
        // Our own goes further, and answers for this one.
        let covers = |said: &Hear| said.epoch >= hear.epoch && said.hops + 1 >= hops;
        if !self.hearing.saying.as_ref().is_some_and(|(said, _)| covers(said)) {
            ctx.out.send(&next.contact, RingMessage::Hear(Hear { hops: hops - 1, ..hear }));
        }
        ctx.out.arm(PASSING, RingTimer::Passing(hear.epoch));
        self.hearing.passing.push((from, hear));
    }

    /// The successors have heard of an epoch.
    pub(super) fn heard(&mut self, ctx: &mut RingCtx<'_, P>, from: P, heard: Hear) {
        if self.successors.first().is_none_or(|head| head.contact.peer != from) {
            return;
        }
        let Hearing { heard: all, saying, passing } = &mut self.hearing;
        if saying.take_if(|(said, _)| *said == heard).is_some() {
            *all = heard.epoch.max(*all);
        }
        passing.retain(|(to, passed)| {
            let of_it =
                passed.epoch == heard.epoch && passed.hops.min(MAX_SUCCESSORS as u8) <= heard.hops.saturating_add(1);
            if of_it || passed.epoch <= *all {
                ctx.out.send(&Contact::bare(*to), RingMessage::Heard(*passed));
            }
            !of_it && passed.epoch > *all
        });
    }
}
