//! Ranges that move to another owner: the application's migration and regeneration handlers (seed 000 §4.3; design D4).
//!
//! Migration runs on the old owner once the new one has accepted. Regeneration is cast to everyone who may hold copies of
//! what was lost: an address whose copy i lay in the lost range has its other copies in the same range moved on by
//! multiples of 2^128 / R, so seven intervals beside the lost one hold them all. Each owner of a piece of an interval does
//! its own part, passes the rest on to its successor, and acknowledges when both are done; the new owner repeats what is
//! not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::events::REGISTRY_WITHIN;
use super::subscription::{RegenerateAsk, RingRequest};
use super::*;
use crate::address::AddrRange;
use crate::protocol::codec::to_bytes;
use crate::protocol::interface::{Failure, Migration, RangeWork, Recipients, Regeneration, Role};
use crate::protocol::messaging::{Asking, MAX_COPIES, Request, originals, placement};
use crate::protocol::ring::RingInput;
use crate::protocol::subgroup::{COPIES as REGISTRY_COPIES, RegistryRequest};

/// How long the owners of one interval are waited for before they are asked again. choice
const CAST_WITHIN: Duration = Duration::from_secs(20);
/// Wait before an interval that was not acknowledged is cast again; doubles each time. choice
const CAST_AGAIN: Duration = Duration::from_secs(2);
/// Times an interval is cast; after that it is counted as given up. choice
const CASTS: u8 = 8;
/// Intervals being cast at once; further ones are counted as given up. choice
const MAX_CASTS: usize = 256;
/// Regenerations for others that run at once; further ones are refused and asked for again. choice
const MAX_OWED: usize = 32;
/// Rows of the registry that go to the new owner of a range; the others come with their next renewal. choice: what two buckets give at once
const MAX_PASSED: usize = 128;
/// Runs of the handlers that the application has at once; the others wait. choice: half of what its queue holds
const MAX_WORKS: usize = 32;
/// Runs of the handlers that wait; further ones are counted as left out. choice: 512 ranges at once
const MAX_WAITING: usize = 4_096;
/// Pieces that were regenerated and are remembered, so that a repetition does not run the handler again. choice
const MAX_DONE: usize = 256;
/// Steps of the circle between two neighbouring copies: 2^128 / R.
const STEP: u32 = 125;

/// What one run of a handler belongs to.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// The migration under this number.
    Migration(u64),
    /// Our own part of a range that we inherited: nobody waits for it.
    Inherited,
    /// A regeneration that another peer waits for.
    Owed(u64),
}

/// A regeneration asked of us.
#[derive(Debug)]
struct Owed {
    ask: u64,
    /// Runs of the handler that are not done.
    works: usize,
    /// Whether the rest of the interval is acknowledged.
    rest: bool,
}

/// An interval whose owners are to regenerate what was lost.
#[derive(Clone, Copy, Debug)]
struct Cast {
    range: AddrRange,
    /// How far the interval lies from the lost range, in steps of 2^128 / R, 1..=7.
    shift: u8,
    epoch: u64,
    tries: u8,
    /// For whom the rest of an interval is cast; those it came from repeat it, we do not.
    owed: Option<u64>,
}

/// Work on ranges that is under way.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    works: BTreeMap<u64, Cause>,
    waiting: VecDeque<(Cause, RangeWork)>,
    /// Migrations: the epoch, and runs of the handler that are not done.
    migrations: BTreeMap<u64, (u64, usize)>,
    owed: BTreeMap<u64, Owed>,
    casts: BTreeMap<u64, Cast>,
    done: VecDeque<(AddrRange, u8, u64)>,
    /// The range owned last, and its epoch.
    pub(super) last: Option<(AddrRange, u64)>,
    /// Ranges that were left without a handover, because all neighbours were lost.
    abandoned: Option<(AddrRange, u64)>,
}

impl<P: Peer> Node<P> {
    /// The part of the ring handed a range over: everything that is kept for it is to be sent.
    pub(super) fn handed_over(&mut self, step: &mut Step<'_, P>, range: AddrRange, epoch: u64) {
        self.pass_registry(step, range);
        if !self.range_handlers.0 {
            return part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Migrated { epoch }));
        }
        let migration = self.next_number();
        self.ranges.migrations.insert(migration, (epoch, usize::from(MAX_COPIES)));
        for copy in 0..MAX_COPIES {
            let what = Migration { range: originals(range, copy), epoch, role: Role::of_copy(copy) };
            self.range_work(step, Cause::Migration(migration), RangeWork::Migration(what));
        }
    }

    /// What is registered in a range that was handed over goes to its new owner: rows are signed, so anybody may bring them.
    fn pass_registry(&mut self, step: &mut Step<'_, P>, range: AddrRange) {
        let copies = |at| (0..REGISTRY_COPIES).filter(move |copy| range.contains(placement(at, *copy)));
        let rows =
            self.subgroups.registered(step.now).flat_map(|(at, row)| copies(at).map(move |copy| (at, copy, row)));
        let rows: Vec<_> =
            rows.take(MAX_PASSED).map(|(at, copy, row)| (at, copy, RegistryRequest::Register(row.clone()))).collect();
        for (to, copy, register) in rows {
            let (recipients, payload) = (Recipients::Only(copy), to_bytes(&register));
            let wait = REGISTRY_WITHIN;
            let asking = Asking { token: 0, recipients, port: PORT_REGISTRY, to, payload, wait, via: None };
            self.ask(step, asking, Asker::Nobody);
        }
    }

    /// All neighbours were lost: what is kept here goes to the new owners once this peer is a member again.
    pub(super) fn abandon_range(&mut self) {
        self.ranges.abandoned = self.ranges.last.take();
    }

    /// A member again: what was kept for the range of the earlier membership goes to those who own it now.
    pub(super) fn migrate_abandoned(&mut self, step: &mut Step<'_, P>) {
        if let Some((range, epoch)) = self.ranges.abandoned.take()
            && self.range_handlers.0
        {
            self.handed_over(step, range, epoch);
        }
    }

    fn range_work(&mut self, step: &mut Step<'_, P>, cause: Cause, what: RangeWork) {
        if self.ranges.works.len() < MAX_WORKS {
            return self.start_work(step, cause, what);
        }
        if self.ranges.waiting.len() < MAX_WAITING {
            return self.ranges.waiting.push_back((cause, what));
        }
        self.count("work on ranges left out");
        self.caused_done(step, cause);
    }

    fn start_work(&mut self, step: &mut Step<'_, P>, cause: Cause, what: RangeWork) {
        let work = self.next_number();
        self.ranges.works.insert(work, cause);
        Self::event(step, Event::RangeWork { work, what });
    }

    /// The application's handler is done.
    pub(super) fn range_work_done(&mut self, step: &mut Step<'_, P>, work: u64) {
        let Some(cause) = self.ranges.works.remove(&work) else { return };
        if let Some((cause, what)) = self.ranges.waiting.pop_front() {
            self.start_work(step, cause, what);
        }
        self.caused_done(step, cause);
    }

    fn caused_done(&mut self, step: &mut Step<'_, P>, cause: Cause) {
        match cause {
            Cause::Inherited => {}
            Cause::Migration(migration) => {
                let Some((epoch, left)) = self.ranges.migrations.get_mut(&migration) else { return };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    let epoch = *epoch;
                    self.ranges.migrations.remove(&migration);
                    part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Migrated { epoch }));
                }
            }
            Cause::Owed(owed) => {
                if let Some(owed) = self.ranges.owed.get_mut(&owed) {
                    owed.works = owed.works.saturating_sub(1);
                }
                self.acknowledge(step, owed);
            }
        }
    }

    /// The owner of `range` died and we own it now.
    pub(super) fn inherited(&mut self, step: &mut Step<'_, P>, range: AddrRange, epoch: u64) {
        if self.range_handlers.1 {
            for copy in 0..MAX_COPIES {
                let role = Role::of_copy(copy);
                let what = Regeneration { range: originals(range, copy), epoch, role, lost: copy };
                self.range_work(step, Cause::Inherited, RangeWork::Regeneration(what));
            }
        }
        for shift in 1..MAX_COPIES {
            self.cast(step, Cast { range: shifted(range, shift), shift, epoch, tries: 0, owed: None });
        }
    }

    fn cast(&mut self, step: &mut Step<'_, P>, cast: Cast) {
        if self.ranges.casts.len() >= MAX_CASTS {
            self.count("regenerations given up");
            return self.cast_ended(step, cast, false);
        }
        let id = self.next_number();
        let Cast { range, shift, epoch, .. } = cast;
        self.ranges.casts.insert(id, cast);
        let payload = to_bytes(&RingRequest::Regenerate(RegenerateAsk { range, shift, epoch }));
        let recipients = Recipients::First(1);
        let to = range.after.offset(1);
        let asking = Asking { token: 0, recipients, port: PORT_RING, to, payload, wait: CAST_WITHIN, via: None };
        self.ask(step, asking, Asker::Cast(id));
    }

    /// An interval was acknowledged, or not.
    pub(super) fn cast_answered(&mut self, step: &mut Step<'_, P>, id: u64, result: &Result<Vec<u8>, Failure>) {
        let Some(cast) = self.ranges.casts.get_mut(&id) else { return };
        cast.tries += 1;
        let again = result.is_err() && cast.owed.is_none() && cast.tries < CASTS && self.ring.is_member();
        if again {
            let after = CAST_AGAIN * 2u32.saturating_pow(u32::from(cast.tries) - 1);
            return arm(step, after, Timer::Cast(id));
        }
        let cast = *cast;
        self.ranges.casts.remove(&id);
        if result.is_err() && cast.owed.is_none() {
            self.count("regenerations given up");
        }
        self.cast_ended(step, cast, result.is_ok());
    }

    /// Time to cast an interval again.
    pub(super) fn cast_again(&mut self, step: &mut Step<'_, P>, id: u64) {
        if let Some(cast) = self.ranges.casts.remove(&id) {
            self.cast(step, cast);
        }
    }

    fn cast_ended(&mut self, step: &mut Step<'_, P>, cast: Cast, acknowledged: bool) {
        let Some(owed) = cast.owed else { return };
        if acknowledged {
            if let Some(owed) = self.ranges.owed.get_mut(&owed) {
                owed.rest = true;
            }
            self.acknowledge(step, owed);
        } else if let Some(owed) = self.ranges.owed.remove(&owed) {
            part!(self, step, |ctx| self.messaging.respond(ctx, owed.ask, Err(Failure::NextHopDied)));
        }
    }

    fn acknowledge(&mut self, step: &mut Step<'_, P>, id: u64) {
        if self.ranges.owed.get(&id).is_some_and(|owed| owed.works == 0 && owed.rest)
            && let Some(owed) = self.ranges.owed.remove(&id)
        {
            part!(self, step, |ctx| self.messaging.respond(ctx, owed.ask, Ok(Vec::new())));
        }
    }

    /// We are to regenerate what we hold of an interval, and to pass the rest on.
    pub(super) fn regenerate(&mut self, step: &mut Step<'_, P>, ask: u64, request: &Request, what: RegenerateAsk) {
        let start = what.range.after.offset(1);
        let own = self.ring.range().map(|(range, _)| range).filter(|own| own.contains(start));
        let Some(own) = own.filter(|_| request.to == start && (1..MAX_COPIES).contains(&what.shift)) else {
            return part!(self, step, |ctx| self.messaging.respond(ctx, ask, Err(Failure::Refused)));
        };
        if self.ranges.owed.len() >= MAX_OWED {
            return part!(self, step, |ctx| self.messaging.respond(ctx, ask, Err(Failure::Overloaded)));
        }
        let (piece, rest) = cut(what.range, own);
        let id = self.next_number();
        let mark = (piece, what.shift, what.epoch);
        let new = self.range_handlers.1 && !self.ranges.done.contains(&mark);
        let works = if new { usize::from(MAX_COPIES) } else { 0 };
        self.ranges.owed.insert(id, Owed { ask, works, rest: rest.is_none() });
        if new {
            self.ranges.done.push_back(mark);
            if self.ranges.done.len() > MAX_DONE {
                self.ranges.done.pop_front();
            }
            for copy in 0..MAX_COPIES {
                let range = originals(piece, copy);
                let lost = lost_copy(copy, what.shift);
                let what = Regeneration { range, epoch: what.epoch, role: Role::of_copy(copy), lost };
                self.range_work(step, Cause::Owed(id), RangeWork::Regeneration(what));
            }
        }
        match rest {
            Some(rest) => {
                let RegenerateAsk { shift, epoch, .. } = what;
                self.cast(step, Cast { range: rest, shift, epoch, tries: 0, owed: Some(id) });
            }
            None => self.acknowledge(step, id),
        }
    }
}

/// The range `shift` steps further on.
fn shifted(range: AddrRange, shift: u8) -> AddrRange {
    let by = u128::from(shift) << STEP;
    AddrRange { after: range.after.offset(by), to: range.to.offset(by) }
}

/// What of `range`, whose first address lies in `own`, lies in `own` from there on, and the rest.
fn cut(range: AddrRange, own: AddrRange) -> (AddrRange, Option<AddrRange>) {
    let length = |range: AddrRange| range.after.distance_to(range.to).wrapping_sub(1);
    // The whole circle has length 0 - 1, the greatest there is, as it should be.
    let reach = AddrRange { after: range.after, to: own.to };
    if own.after == own.to || length(reach) >= length(range) {
        return (range, None);
    }
    (reach, Some(AddrRange { after: own.to, to: range.to }))
}

/// Which copy was lost of an address whose copy `held` lies in the interval `shift` steps after the lost range.
fn lost_copy(held: u8, shift: u8) -> u8 {
    let reverse = |copy: u8| (copy % MAX_COPIES).reverse_bits() >> 5;
    reverse(reverse(held).wrapping_sub(shift) % MAX_COPIES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messaging::placement;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_range_is_whole(after: u128, to: u128, own_after: u128, own_to: u128, x: u128) {
            let range = AddrRange { after: OverlayAddr(after), to: OverlayAddr(to) };
            let own = AddrRange { after: OverlayAddr(own_after), to: OverlayAddr(own_to) };
            prop_assume!(own.contains(range.after.offset(1)));
            let x = OverlayAddr(x);
            let (piece, rest) = cut(range, own);
            let held = [piece.contains(x), rest.is_some_and(|rest| rest.contains(x))];
            prop_assert_eq!(range.contains(x), held[0] ^ held[1]);
            prop_assert!(!piece.contains(x) || own.contains(x));
        }

        #[test]
        fn the_lost_copy_of_what_lies_in_an_interval_lay_in_the_lost_range(
            after: u128, to: u128, x: u128, held in 0u8..8, shift in 1u8..8
        ) {
            let lost = AddrRange { after: OverlayAddr(after), to: OverlayAddr(to) };
            let original = OverlayAddr(x);
            let in_interval = shifted(lost, shift).contains(placement(original, held));
            let copy = lost_copy(held, shift);
            prop_assert_ne!(copy, held);
            prop_assert_eq!(in_interval, lost.contains(placement(original, copy)));
        }
    }
}
