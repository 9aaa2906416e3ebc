//! Relaying: a table of (previous, its name) to (next, our name), as in seed 003 §3.1 but with another name on each link.

use std::collections::BTreeMap;

use super::resume::{Repair, next_value};
use super::*;
use crate::protocol::io::{chance, draw};

/// Paths relayed in all. choice
const MAX_RELAYED: usize = 8_192;
/// Paths relayed for one previous peer, so that one cannot fill the table. choice
const MAX_A_PREVIOUS: usize = 512;
/// Paths that may end at a leader. choice
const MAX_ENDS: usize = 65_536;
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
}

impl<P: Peer> Entry<P> {
    /// What names the path here.
    pub(super) fn key(&self) -> (P, u64) {
        (self.previous, self.previous_id)
    }

    /// A walk is under way over it.
    fn is_walking(&self) -> bool {
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
}

impl<P> Default for RelayTable<P> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), by_next: BTreeMap::new() }
    }
}

impl<P: Peer> RelayTable<P> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The neighbours on paths, and whether a walk waits for one.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = (Contact<P>, bool)> {
        self.entries
            .values()
            .flat_map(|entry| [(Contact::bare(entry.previous), false), (entry.next.clone(), entry.is_walking())])
    }

    /// The links of all paths: previous peer and its name, next peer and its name.
    pub(super) fn links(&self) -> impl Iterator<Item = ((P, u64), (P, u64))> {
        self.entries.values().map(|entry| (entry.key(), (entry.next.peer, entry.next_id)))
    }

    pub(super) fn insert(&mut self, entry: Entry<P>) {
        self.by_next.insert((entry.next.peer, entry.next_id), entry.key());
        self.entries.insert(entry.key(), entry);
    }

    /// The entry of a path as its previous peer names it.
    pub(super) fn by_previous(&self, previous: P, id: u64) -> Option<&Entry<P>> {
        self.entries.get(&(previous, id))
    }

    /// The entry of a path as its next peer names it.
    pub(super) fn by_next_hop(&self, next: P, id: u64) -> Option<&Entry<P>> {
        self.entries.get(self.by_next.get(&(next, id))?)
    }

    pub(super) fn towards_leader(&self, previous: P, id: u64) -> Option<LinkEnd<P>> {
        self.by_previous(previous, id).map(|entry| LinkEnd { contact: entry.next.clone(), id: entry.next_id })
    }

    pub(super) fn towards_owner(&self, next: P, id: u64) -> Option<LinkEnd<P>> {
        let entry = self.by_next_hop(next, id)?;
        Some(LinkEnd { contact: Contact::bare(entry.previous), id: entry.previous_id })
    }

    pub(super) fn take_by_previous(&mut self, previous: P, id: u64) -> Option<Entry<P>> {
        let entry = self.entries.remove(&(previous, id))?;
        self.by_next.remove(&(entry.next.peer, entry.next_id));
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

    fn has_room(&self, previous: P) -> bool {
        self.entries.len() < MAX_RELAYED
            && self.entries.range((previous, 0)..=(previous, u64::MAX)).count() < MAX_A_PREVIOUS
    }
}

impl<P: Peer> Paths<P> {
    /// A walk has come here: it ends at the leader, or goes on by the coin (seed 003 §3.1).
    pub(super) fn asked_to_open(&mut self, ctx: &mut PathCtx<'_, P>, from: P, open: &Open) {
        let broken = PathMessage::Broken(Broken { id: open.id, up: false });
        if !self.opens.take(ctx.now, from, 1) {
            return ctx.out.send(&Contact::bare(from), broken);
        }
        if self.leads == Some(open.subgroup) {
            if self.ends.len() >= MAX_ENDS {
                return ctx.out.send(&Contact::bare(from), broken);
            }
            self.ends.insert((from, open.id));
            return ctx.out.send(&Contact::bare(from), PathMessage::Opened(Opened { id: open.id }));
        }
        let known = self.relayed.by_previous(from, open.id).is_some();
        let Some(view) = self.view(open.subgroup).filter(|_| !known && self.relayed.has_room(from)) else {
            return ctx.out.send(&Contact::bare(from), broken);
        };
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
            let Some(entry) = self.relayed.take_by_previous(previous, id) else { continue };
            self.streams.forget_path(entry.key());
            ctx.out.send(&Contact::bare(previous), PathMessage::Broken(Broken { id, up: false }));
            ctx.out.send(&entry.next, PathMessage::Broken(Broken { id: entry.next_id, up: true }));
        }
    }
}
