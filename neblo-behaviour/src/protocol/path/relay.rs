//! Relaying: a table of (previous, its name) to (next, our name), as in seed 003 §3.1 but with another name on each link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::resume::{Repair, next_value};
use super::*;
use crate::protocol::io::{Time, chance, draw};

/// Paths relayed in all. choice
const MAX_RELAYED: usize = 8_192;
/// Paths relayed for one previous peer, or that may end here for one, so that one cannot fill the table. choice
const MAX_A_PREVIOUS: usize = 512;
/// Paths that may end at a leader. choice
const MAX_ENDS: usize = 65_536;
/// A path over which nothing has come for so long gives way to a new one when the table is full (research §6, "idle expiry"). choice:
/// publishers renew over theirs every ten minutes, and whoever only asks walks anew in a second
const IDLE: Duration = Duration::from_secs(3_600);
/// Relays that a walk turns away from at one relay, before it is given up. choice
const MAX_TURNED: u8 = 3;

/// One path through this peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<P> {
    pub(super) subgroup: OverlayAddr,
    pub(super) previous: P,
    pub(super) previous_id: u64,
    pub(super) next: Contact<P>,
    pub(super) next_id: u64,
    /// Whether `next` is the leader, which makes this peer the last relay.
    pub(super) last: bool,
    /// What this peer may repair the path with, and how often it has (design D11).
    pub(super) resume: [u8; 16],
    pub(super) spent: u8,
    /// Whether the path has been whole.
    pub(super) opened: bool,
    pub(super) repair: Option<Repair>,
    /// Relays that the walk had to turn away from here.
    turned: u8,
    /// When something came over it last.
    used: Time,
}

impl<P: Peer> Entry<P> {
    /// What names the path here.
    pub(super) fn key(&self) -> (P, u64) {
        (self.previous, self.previous_id)
    }

    /// A walk is under way over it.
    pub(super) fn is_walking(&self) -> bool {
        !self.opened || self.repair.is_some()
    }
}

/// One direction of an entry.
#[derive(Clone, Debug)]
pub(super) struct LinkEnd<P> {
    pub(super) contact: Contact<P>,
    pub(super) id: u64,
}

#[derive(Clone, Debug)]
pub(super) struct RelayTable<P> {
    entries: BTreeMap<(P, u64), Entry<P>>,
    by_next: BTreeMap<(P, u64), (P, u64)>,
    /// Entries of each previous peer.
    counts: BTreeMap<P, usize>,
}

impl<P> Default for RelayTable<P> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_next: BTreeMap::new(), counts: BTreeMap::new() }
    }
}

impl<P: Peer> RelayTable<P> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry<P>> {
        self.entries.values()
    }

    /// The links of all paths: previous peer and its name, next peer and its name.
    pub(super) fn links(&self) -> impl Iterator<Item = ((P, u64), (P, u64))> {
        self.entries.values().map(|entry| (entry.key(), (entry.next.peer, entry.next_id)))
    }

    pub(super) fn insert(&mut self, entry: Entry<P>) {
        let previous = entry.previous;
        self.by_next.insert((entry.next.peer, entry.next_id), entry.key());
        match self.entries.insert(entry.key(), entry) {
            // Never the case as long as names are asked for first.
            Some(old) => _ = self.by_next.remove(&(old.next.peer, old.next_id)),
            None => *self.counts.entry(previous).or_insert(0) += 1,
        }
    }

    /// The entry of a path as its previous peer names it.
    pub(super) fn by_previous(&self, previous: P, id: u64) -> Option<&Entry<P>> {
        self.entries.get(&(previous, id))
    }

    /// The entry of a path as its next peer names it.
    pub(super) fn by_next_hop(&self, next: P, id: u64) -> Option<&Entry<P>> {
        self.entries.get(self.by_next.get(&(next, id))?)
    }

    /// Something comes over a path from one of its two sides, where it has this name.
    pub(super) fn used(&mut self, now: Time, peer: P, id: u64) {
        let key = self.by_next.get(&(peer, id)).copied().unwrap_or((peer, id));
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used = now;
        }
    }

    /// Where something goes on that comes up a path now.
    pub(super) fn towards_leader(&mut self, now: Time, previous: P, id: u64) -> Option<LinkEnd<P>> {
        let entry = self.entries.get_mut(&(previous, id))?;
        entry.used = now;
        Some(LinkEnd { contact: entry.next.clone(), id: entry.next_id })
    }

    /// Where something goes on that comes down a path now.
    pub(super) fn towards_owner(&mut self, now: Time, next: P, id: u64) -> Option<LinkEnd<P>> {
        let entry = self.entries.get_mut(self.by_next.get(&(next, id))?)?;
        entry.used = now;
        Some(LinkEnd { contact: Contact::bare(entry.previous), id: entry.previous_id })
    }

    pub(super) fn take_by_previous(&mut self, previous: P, id: u64) -> Option<Entry<P>> {
        let entry = self.entries.remove(&(previous, id))?;
        self.by_next.remove(&(entry.next.peer, entry.next_id));
        let left = self.count(previous).saturating_sub(1);
        match left {
            0 => _ = self.counts.remove(&previous),
            left => _ = self.counts.insert(previous, left),
        }
        Some(entry)
    }

    pub(super) fn take_by_next(&mut self, next: P, id: u64) -> Option<Entry<P>> {
        let (previous, previous_id) = *self.by_next.get(&(next, id))?;
        self.take_by_previous(previous, previous_id)
    }

    /// Removes every path over a link with `peer`.
    pub(super) fn remove_all(&mut self, peer: P) -> Vec<Entry<P>> {
        let over = |entry: &&Entry<P>| entry.previous == peer || entry.next.peer == peer;
        let keys: Vec<_> = self.entries.values().filter(over).map(Entry::key).collect();
        keys.into_iter().filter_map(|(previous, id)| self.take_by_previous(previous, id)).collect()
    }

    /// Takes the entry whose repair is meant.
    pub(super) fn take_repairing(&mut self, meant: impl Fn(&Repair) -> bool) -> Option<Entry<P>> {
        let entry = self.entries.values().find(|entry| entry.repair.as_ref().is_some_and(&meant))?;
        let (previous, id) = entry.key();
        self.take_by_previous(previous, id)
    }

    fn count(&self, previous: P) -> usize {
        self.counts.get(&previous).copied().unwrap_or(0)
    }

    /// Whether a previous peer may have one more path; and if the table is full, the path that gives way to it: one of who
    /// has most, if that is more than the previous peer would have then, and rather one that is not whole; or of anyone the one
    /// that has been idle for longest, if that is long.
    fn room(&self, now: Time, previous: P, most: usize) -> Option<Room<P>> {
        let count = self.count(previous);
        if count >= MAX_A_PREVIOUS {
            return None;
        }
        if self.entries.len() < most {
            return Some(Room { instead_of: None });
        }
        let (heaviest, load) = self.counts.iter().max_by_key(|(_, count)| **count)?;
        let of = || self.entries.range((*heaviest, 0)..=(*heaviest, u64::MAX)).map(|(key, entry)| (*key, entry));
        let idlest = || self.entries.iter().min_by_key(|(_, entry)| entry.used);
        let instead_of = if *load > count + 1 {
            let victim = of().find(|(_, entry)| entry.is_walking());
            victim.or_else(|| of().min_by_key(|(_, entry)| entry.used)).map(|(key, _)| key)
        } else {
            idlest().filter(|(_, entry)| now.since(entry.used) >= IDLE).map(|(key, _)| *key)
        };
        instead_of.map(|path| Room { instead_of: Some(path) })
    }
}

/// Room for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room<P> {
    /// The path that is given up for it.
    instead_of: Option<(P, u64)>,
}

impl<P: Peer> Paths<P> {
    /// A walk has come here: it ends at the leader, or goes on by the coin (seed 003 §3.1).
    pub(super) fn asked_to_open(&mut self, ctx: &mut PathCtx<'_, P>, from: P, open: &Open) {
        let broken = PathMessage::Broken(Broken { id: open.id, up: false });
        if !self.opens.take(ctx.now, from, 1) {
            return ctx.out.send(&Contact::bare(from), broken);
        }
        if self.leads == Some(open.subgroup) {
            let of_one = self.ends.range((from, 0)..=(from, u64::MAX)).count();
            if self.ends.len() >= MAX_ENDS || of_one >= MAX_A_PREVIOUS {
                return ctx.out.send(&Contact::bare(from), broken);
            }
            self.ends.insert((from, open.id));
            return ctx.out.send(&Contact::bare(from), PathMessage::Opened(Opened { id: open.id }));
        }
        let known = self.relayed.by_previous(from, open.id).is_some();
        let room = self.relayed.room(ctx.now, from, MAX_RELAYED).filter(|_| !known);
        let Some((view, room)) = self.view(open.subgroup).zip(room) else {
            return ctx.out.send(&Contact::bare(from), broken);
        };
        if let Some((previous, id)) = room.instead_of {
            self.give_up(ctx, previous, id);
        }
        let (next, last) = self.walk_on(ctx, &view);
        let entry = Entry {
            subgroup: open.subgroup,
            previous: from,
            previous_id: open.id,
            next,
            next_id: ctx.rng.next_u64(),
            last,
            resume: open.resume,
            spent: 0,
            opened: false,
            repair: None,
            turned: 0,
            used: ctx.now,
        };
        self.open_next(ctx, &entry);
        self.relayed.insert(entry);
    }

    /// The coin: another relay, or the leader, which makes this peer the last relay.
    pub(super) fn walk_on(&self, ctx: &mut PathCtx<'_, P>, view: &View<P>) -> (Contact<P>, bool) {
        let on = chance(ctx.rng, self.config.p);
        match self.shunned.choose(ctx.rng, ctx.now, &view.relays).filter(|_| on) {
            Some(relay) => (relay.clone(), false),
            None => (view.leader.clone(), true),
        }
    }

    pub(super) fn open_next(&self, ctx: &mut PathCtx<'_, P>, entry: &Entry<P>) {
        // The leader could count with a value of the chain how many relays come before it.
        let resume = if entry.last { draw(ctx.rng) } else { next_value(&entry.resume) };
        let open = Open { id: entry.next_id, subgroup: entry.subgroup, resume };
        ctx.out.send(&entry.next, PathMessage::Open(open));
        ctx.out.emit(PathEvent::Awaits(entry.next.peer));
    }

    /// A relay to which walks went does not answer probes: they take another way from here, before whoever waits for them
    /// loses patience and begins anew.
    pub fn silent(&mut self, ctx: &mut PathCtx<'_, P>, peer: P) {
        for old in self.turn_away(ctx, peer) {
            self.shunned.silent(ctx.now, peer);
            ctx.out.send(&Contact::bare(peer), PathMessage::Broken(Broken { id: old, up: true }));
        }
    }

    /// Walks that wait for a relay go to others in its place; their names on the link to it.
    pub(super) fn turn_away(&mut self, ctx: &mut PathCtx<'_, P>, peer: P) -> Vec<u64> {
        let waits = |entry: &&Entry<P>| entry.next.peer == peer && entry.is_walking() && !entry.last;
        let stuck = self.relayed.entries.values().filter(waits).filter(|entry| entry.previous != peer);
        let stuck: Vec<_> = stuck.map(Entry::key).collect();
        let mut old = Vec::new();
        for (previous, id) in stuck {
            let Some(mut entry) = self.relayed.take_by_previous(previous, id) else { continue };
            old.push(entry.next_id);
            let Some(view) = self.view(entry.subgroup).filter(|_| entry.turned < MAX_TURNED) else {
                self.streams.forget_path(entry.key());
                ctx.out.send(&Contact::bare(previous), PathMessage::Broken(Broken { id, up: false }));
                continue;
            };
            let others: Vec<_> = view.relays.iter().filter(|relay| relay.peer != peer).cloned().collect();
            let relay = self.shunned.choose(ctx.rng, ctx.now, &others).cloned();
            entry.last = relay.is_none();
            entry.next = relay.unwrap_or_else(|| view.leader.clone());
            entry.next_id = ctx.rng.next_u64();
            entry.turned += 1;
            self.open_next(ctx, &entry);
            self.relayed.insert(entry);
        }
        old
    }

    pub(super) fn opened(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, from: P, id: u64) {
        if let Some(purpose) = self.own_at(from, id) {
            self.own_opened(ctx, keys, purpose);
        } else if self.renewed(ctx, keys, from, id) {
            // In use from now on.
        } else if let Some(mut entry) = self.relayed.take_by_next(from, id) {
            if entry.repair.is_some() {
                return self.repaired(ctx, keys, entry);
            }
            entry.opened = true;
            let (previous, id) = entry.key();
            self.relayed.insert(entry);
            ctx.out.send(&Contact::bare(previous), PathMessage::Opened(Opened { id }));
        }
    }

    /// Paths that end at a leader who is none any more are broken. A walk that went to a relay who led already, though nobody had
    /// told us, has ended there.
    pub(super) fn check_relayed(&mut self, ctx: &mut PathCtx<'_, P>) {
        for entry in self.relayed.entries.values_mut().filter(|entry| !entry.last) {
            let view = self.views.iter().find(|view| view.subgroup == entry.subgroup);
            entry.last = view.is_some_and(|view| view.leader == entry.next);
        }
        let stale = |entry: &&Entry<P>| {
            let view = self.views.iter().find(|view| view.subgroup == entry.subgroup);
            view.is_none_or(|view| entry.last && view.leader != entry.next)
        };
        let stale: Vec<_> = self.relayed.entries.values().filter(stale).map(Entry::key).collect();
        for (previous, id) in stale {
            self.give_up(ctx, previous, id);
        }
    }

    /// Ends a path here, and tells both neighbours on it.
    fn give_up(&mut self, ctx: &mut PathCtx<'_, P>, previous: P, id: u64) {
        let Some(entry) = self.relayed.take_by_previous(previous, id) else { return };
        self.streams.forget_path(entry.key());
        ctx.out.send(&Contact::bare(previous), PathMessage::Broken(Broken { id, up: false }));
        ctx.out.send(&entry.next, PathMessage::Broken(Broken { id: entry.next_id, up: true }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(previous: u32, id: u64, opened: bool) -> Entry<u32> {
        Entry {
            subgroup: OverlayAddr(1),
            previous,
            previous_id: id,
            next: Contact::bare(1_000),
            next_id: u64::from(previous) << 32 | id,
            last: false,
            resume: [0; 16],
            spent: 0,
            opened,
            repair: None,
            turned: 0,
            used: Time(id),
        }
    }

    /// Nothing is idle.
    const NOW: Time = Time(1_000);

    #[test]
    fn in_a_full_table_who_has_most_makes_room_and_nobody_has_more_than_a_share() {
        let mut table = RelayTable::default();
        for (previous, paths) in [(1, 5), (2, 3), (3, 1)] {
            (0..paths).for_each(|id| table.insert(entry(previous, id, id != 2)));
        }
        assert_eq!(table.room(NOW, 4, 10), Some(Room { instead_of: None }));
        // Of those of the heaviest, the one that is not whole.
        assert_eq!(table.room(NOW, 4, 9), Some(Room { instead_of: Some((1, 2)) }));
        assert_eq!(table.room(NOW, 2, 9), Some(Room { instead_of: Some((1, 2)) }));
        // It makes no room for itself, nor for who would have as many.
        assert_eq!(table.room(NOW, 1, 9), None);
        table.take_by_previous(1, 2);
        assert_eq!(table.room(NOW, 2, 8), None);
        // Of those of the heaviest, the one that was used before the others.
        table.towards_leader(NOW, 1, 0);
        assert_eq!(table.room(NOW, 3, 8), Some(Room { instead_of: Some((1, 1)) }));
        // What is used by nobody gives way to anybody.
        let later = Time(0) + IDLE;
        assert_eq!(table.room(later, 2, 8), Some(Room { instead_of: Some((2, 0)) }));
        for (previous, id) in [(1, 0), (1, 1), (1, 3), (1, 4), (2, 0), (2, 1), (2, 2), (3, 0)] {
            table.towards_leader(later, previous, id);
        }
        assert_eq!(table.room(later, 2, 8), None);
        for id in 10..2 * MAX_A_PREVIOUS as u64 {
            if table.room(NOW, 5, MAX_RELAYED).is_some() {
                table.insert(entry(5, id, true));
            }
        }
        assert_eq!(table.count(5), MAX_A_PREVIOUS);
        table.remove_all(5);
        assert_eq!((table.count(5), table.len(), table.by_next.len()), (0, 8, 8));
    }
}
