//! Repair behind the break, without the owner (design D11): the relay before a dead one walks to the leader anew and shows
//! that it is on the path, by a value that only the owner and the relays up to it can have made.
//!
//! The owner draws s(0) for its first relay; each relay hands s(i+1) = H(s(i)) to the next. The n-th repair by relay i shows
//! H('v', s(i), n), of which the owner has given the leader a hash. A relay cannot make the values of those before it, and the
//! leader, who sees a value only when it is spent, cannot tell how far from the owner it was made.

use std::time::Duration;

use super::relay::Entry;
use super::*;
use crate::protocol::codec::List;
use crate::protocol::errand::{MAX_CHECKS, RESUMABLE, Resume, Vouch};
use crate::protocol::io::shuffle;

/// How long a walk behind a break may take. choice: as the first try of an owner
const RESUME_WITHIN: Duration = Duration::from_millis(1_500);
/// Walks behind one break before the owner is told. choice
const TRIES: u8 = 2;

/// A repair under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repair {
    generation: u64,
    tries: u8,
}

fn hash(label: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(label);
    for part in parts {
        hasher.update(part);
    }
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    first
}

/// s(i+1) of s(i).
pub(super) fn next_value(value: &[u8; 16]) -> [u8; 16] {
    hash("neblo 1 resume chain", &[value])
}

/// What a relay with s(i) spends on its n-th repair.
fn spent(value: &[u8; 16], n: u8) -> [u8; 16] {
    hash("neblo 1 resume value", &[value, &[n]])
}

impl<P: Peer> Paths<P> {
    /// Tells the leader what the relays of a path that has just been opened may repair it with.
    pub(super) fn vouch(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, purpose: Purpose, first: [u8; 16]) {
        let (relays, times) = RESUMABLE;
        let chain = std::iter::successors(Some(first), |value| Some(next_value(value))).take(relays);
        let mut checks: Vec<_> =
            chain.flat_map(|value| (0..times).map(move |n| Resume { value: spent(&value, n) }.check())).collect();
        shuffle(ctx.rng, &mut checks);
        debug_assert_eq!(checks.len(), MAX_CHECKS);
        self.send_up(ctx, keys, purpose, Errand::Vouch(Vouch { checks: List::chop(checks) }));
    }

    /// The next peer of a path is dead: walks anew from here, or gives the entry back when it cannot be repaired here.
    pub(super) fn repair(&mut self, ctx: &mut PathCtx<'_, P>, mut entry: Entry<P>) -> Result<(), Entry<P>> {
        let tries = entry.repair.map_or(0, |repair| repair.tries);
        let (_, times) = RESUMABLE;
        // Before the path was whole its owner has the time in hand; at its end the leader is the one who died.
        if !entry.opened || entry.last || tries >= TRIES || entry.spent >= times {
            return Err(entry);
        }
        let Some(view) = self.view(entry.subgroup) else { return Err(entry) };
        let (next, last) = self.walk_on(ctx, &view);
        entry.next = next;
        entry.next_id = ctx.rng.next_u64();
        entry.last = last;
        let generation = self.next_number();
        entry.repair = Some(Repair { generation, tries: tries + 1 });
        self.open_next(ctx, &entry);
        ctx.out.arm(RESUME_WITHIN, PathTimer::Repair(generation));
        self.relayed.insert(entry);
        Ok(())
    }

    /// The walk behind a break has reached the leader: it is told whose path this is.
    pub(super) fn repaired(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, mut entry: Entry<P>) {
        let value = spent(&entry.resume, entry.spent);
        entry.spent += 1;
        entry.repair = None;
        let (next, id, subgroup) = (entry.next.clone(), entry.next_id, entry.subgroup);
        let (previous, previous_id) = entry.key();
        self.relayed.insert(entry);
        let Some(view) = self.view(subgroup) else { return };
        let (_, reply) = keys.generate(ctx.rng);
        let envelope = Envelope { reply, errand: Errand::Resume(Resume { value }) };
        if let Some(sealed) = sealed::seal(keys, ctx.rng, &view.leader_key, &envelope) {
            ctx.out.send(&next, PathMessage::Up(Up { id, sealed }));
        }
        ctx.out.send(&Contact::bare(previous), PathMessage::Mended(Mended { id: previous_id }));
    }

    pub(super) fn mended(&mut self, ctx: &mut PathCtx<'_, P>, from: P, id: u64) {
        if let Some(purpose) = self.own_at(from, id) {
            ctx.out.emit(PathEvent::Mended(purpose));
        } else if let Some(link) = self.relayed.towards_owner(ctx.now, from, id) {
            ctx.out.send(&link.contact, PathMessage::Mended(Mended { id: link.id }));
        }
    }

    pub(super) fn repair_expired(&mut self, ctx: &mut PathCtx<'_, P>, generation: u64) {
        let Some(entry) = self.relayed.take_repairing(|repair| repair.generation == generation) else { return };
        ctx.out.send(&entry.next, PathMessage::Broken(Broken { id: entry.next_id, up: true }));
        self.repair_or_break(ctx, entry);
    }

    /// Repairs a path whose next link broke, or tells its owner.
    pub(super) fn repair_or_break(&mut self, ctx: &mut PathCtx<'_, P>, entry: Entry<P>) {
        self.streams.forget_path(entry.key());
        if let Err(entry) = self.repair(ctx, entry) {
            let down = PathMessage::Broken(Broken { id: entry.previous_id, up: false });
            ctx.out.send(&Contact::bare(entry.previous), down);
        }
    }

    /// As a leader: breaks a path that ends here.
    pub fn close_end(&mut self, ctx: &mut PathCtx<'_, P>, end: End<P>) {
        if self.ends.remove(&end) {
            ctx.out.send(&Contact::bare(end.0), PathMessage::Broken(Broken { id: end.1, up: false }));
            ctx.out.emit(PathEvent::EndLost(end));
        }
    }

    /// As a leader: a path was repaired and ends elsewhere now; what is left of its old end is taken down.
    pub fn end_moved(&mut self, ctx: &mut PathCtx<'_, P>, old: End<P>) {
        if self.ends.remove(&old) {
            ctx.out.send(&Contact::bare(old.0), PathMessage::Broken(Broken { id: old.1, up: false }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_differ_by_relay_and_repair_and_come_of_the_first() {
        let first = [7; 16];
        let chain: Vec<_> = std::iter::successors(Some(first), |value| Some(next_value(value))).take(24).collect();
        let mut all: Vec<_> =
            chain.iter().flat_map(|value| (0..4).map(|n| Resume { value: spent(value, n) }.check())).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), MAX_CHECKS);
    }
}
