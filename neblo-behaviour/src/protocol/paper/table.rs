//! Walks and the entries that they leave: (identifier, previous, next) at each peer (seed 003 §3.1).

use super::*;
use crate::protocol::io::{below, chance};

/// Entries in all, and for one previous peer. choice
const MAX_ENTRIES: usize = 8_192;
const MAX_A_PREVIOUS: usize = 512;
/// Draws from the whole list before those that may be drawn are collected. choice
const DRAWS: usize = 8;

/// One entry. A walk that visits a peer twice leaves two, which differ in their neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<P> {
    /// `None` at the peer that began the walk.
    pub(super) previous: Option<P>,
    pub(super) next: P,
}

/// The table of one peer: in order of the identifiers, and those of one identifier in the order in which they came. One list, since
/// most peers have a few entries, for which a map would take several times as much memory.
#[derive(Debug)]
pub(super) struct RoutingTable<P> {
    entries: Vec<(Connection, Entry<P>)>,
}

impl<P> Default for RoutingTable<P> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<P: Peer> RoutingTable<P> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn relayed(&self) -> usize {
        self.entries.iter().filter(|(_, entry)| entry.previous.is_some()).count()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Connection, &Entry<P>)> {
        self.entries.iter().map(|(connection, entry)| (*connection, entry))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry<P>> {
        self.entries.iter_mut().map(|(_, entry)| entry)
    }

    pub(super) fn of<'a>(&'a self, connection: &Connection) -> impl Iterator<Item = &'a Entry<P>> + use<'a, P> {
        let begins = self.entries.partition_point(|(other, _)| other < connection);
        let from = self.entries.get(begins..).unwrap_or_default();
        let ends = from.partition_point(|(other, _)| other == connection);
        from.iter().take(ends).map(|(_, entry)| entry)
    }

    /// The entry over which what comes from `previous` goes on towards the leader.
    pub(super) fn by_previous(&self, connection: &Connection, previous: Option<P>) -> Option<&Entry<P>> {
        self.of(connection).find(|entry| entry.previous == previous)
    }

    /// The entry over which what comes from `next` goes on towards the owner.
    pub(super) fn by_next(&self, connection: &Connection, next: P) -> Option<&Entry<P>> {
        self.of(connection).find(|entry| entry.next == next)
    }

    pub(super) fn has_room(&self, previous: P) -> bool {
        let of_one = self.entries.iter().filter(|(_, entry)| entry.previous == Some(previous));
        self.len() < MAX_ENTRIES && of_one.take(MAX_A_PREVIOUS).count() < MAX_A_PREVIOUS
    }

    pub(super) fn insert(&mut self, connection: Connection, entry: Entry<P>) {
        let after = self.entries.partition_point(|(other, _)| *other <= connection);
        self.entries.insert(after, (connection, entry));
    }

    pub(super) fn remove(&mut self, connection: &Connection, entry: &Entry<P>) {
        self.entries.retain(|(of, other)| of != connection || other != entry);
    }

    pub(super) fn remove_path(&mut self, connection: &Connection) {
        self.entries.retain(|(of, _)| of != connection);
    }
}

impl<P: Peer> Paper<P> {
    /// The coin first, then a random peer (§3.1): where a walk goes from here.
    ///
    /// Not over a link that it has taken before in the same direction: the identifier alone could not tell the two visits apart.
    fn walk(&self, ctx: &mut PaperCtx<'_, P>, connection: &Connection, ttl: u8) -> Option<P> {
        let members = self.members.as_ref()?;
        if ttl <= 1 || !chance(ctx.rng, self.config.p) {
            return Some(members.leader.peer);
        }
        let (me, leader) = (self.me.peer, members.leader.peer);
        let fresh = |peer: P| peer != me && peer != leader && self.table.by_next(connection, peer).is_none();
        // Almost always the first or second draw is good; only in small subgroups are those that may be drawn collected.
        for _ in 0..DRAWS {
            if let Some(drawn) = members.list.get(below(ctx.rng, members.list.len())).filter(|drawn| fresh(drawn.peer))
            {
                return Some(drawn.peer);
            }
        }
        let left: Vec<P> = members.list.iter().map(|member| member.peer).filter(|peer| fresh(*peer)).collect();
        Some(left.get(below(ctx.rng, left.len())).copied().unwrap_or(leader))
    }

    /// What is left of the TTL of a walk that goes on from here.
    pub(super) fn ttl_onward(&self, ctx: &mut PaperCtx<'_, P>, ttl: u8) -> u8 {
        let may_stay = self.config.falls < 1.0 && ttl == self.config.ttl;
        if may_stay && !chance(ctx.rng, self.config.falls) { ttl } else { ttl.saturating_sub(1) }
    }

    /// The next peer of a path for what comes from `previous` (`None`: from this peer itself): by the table, or by a walk that
    /// begins or goes on here. `ttl` is what the message carries on: the whole one at the owner, one less at each peer.
    pub(super) fn onward(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        connection: &Connection,
        previous: Option<P>,
        ttl: u8,
    ) -> Option<P> {
        if let Some(entry) = self.table.by_previous(connection, previous) {
            return Some(entry.next);
        }
        if previous.is_some_and(|previous| !self.table.has_room(previous)) {
            return None;
        }
        let next = self.walk(ctx, connection, ttl)?;
        self.table.insert(*connection, Entry { previous, next });
        Some(next)
    }

    /// Sends to a peer of a path, which may be ourselves when we lead.
    pub(super) fn send(&mut self, ctx: &mut PaperCtx<'_, P>, to: P, message: PaperMessage<P>) {
        ctx.out.send(&self.contact(to), message);
    }
}
