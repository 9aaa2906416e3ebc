//! The leader: a table of (identifier, metadata, last peer), lookups to all leaders and their responses (seed 003 §3.1, §3.2),
//! and copies of the table (§4).

use std::collections::btree_map::Entry;

use super::*;
use crate::protocol::codec::{Blob, from_bytes, to_bytes};
use crate::protocol::interface::Verdict;
use crate::protocol::io::draw;

/// Rows, paths and searches kept. choice
const MAX_ROWS: usize = 200_000;
const MAX_ENDS: usize = 65_536;
const MAX_SEARCHES: usize = 256;
/// Responses that may wait for one totalPing. choice
const MAX_WAITING: usize = 256;
/// The application's time to answer a search (as in the other mechanism).
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A totalPing that is not answered within this has failed. choice, as at the owner
const TOTAL_PING_WITHIN: Duration = Duration::from_secs(4);
/// Hits for one lookup. choice
const LIMIT: u16 = 256;
/// Clocks may differ, and the multicast takes its time. choice
const FRESH_SECONDS: u64 = 600;
/// Lookups remembered as seen. choice
pub(super) const MAX_SEEN: usize = 8_192;
/// Candidates that keep a copy of the table (seed 003 §4).
const COPIES: usize = 2;

#[derive(Debug)]
struct Row {
    connection: Connection,
    content: Content,
}

/// What a leader keeps.
#[derive(Debug)]
pub(super) struct Leader<P> {
    rows: BTreeMap<u64, Row>,
    by_content: BTreeMap<(Connection, PublicationId), u64>,
    /// The last peer of each path that ends here; this peer itself for its own.
    ends: BTreeMap<Connection, P>,
    /// Searches that the application owes an answer to: who asks, and for whom.
    searches: BTreeMap<u64, (Option<Contact<P>>, Connection)>,
}

impl<P> Default for Leader<P> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), by_content: BTreeMap::new(), ends: BTreeMap::new(), searches: BTreeMap::new() }
    }
}

impl<P: Peer> Leader<P> {
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn end(&self, connection: &Connection) -> Option<P> {
        self.ends.get(connection).copied()
    }

    pub(super) fn ends(&self) -> impl Iterator<Item = (Connection, P)> {
        self.ends.iter().map(|(connection, last)| (*connection, *last))
    }

    pub(super) fn set_end(&mut self, connection: Connection, last: P) {
        self.ends.insert(connection, last);
    }
}

/// Responses that wait until the owner's path is known to be whole.
#[derive(Debug)]
pub(super) struct Checking<P> {
    number: u64,
    waiting: Vec<(Option<Contact<P>>, Connection, Content)>,
}

impl<P: Peer> Paper<P> {
    pub(super) fn publish_came(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, publish: Publish) {
        let connection = publish.connection;
        if self.leads() {
            self.store(ctx, from, publish);
            return;
        }
        let ttl = self.ttl_onward(ctx, publish.ttl);
        if let Some(next) = self.onward(ctx, &connection, Some(from), ttl) {
            self.send(ctx, next, PaperMessage::Publish(Publish { ttl, ..publish }));
        }
    }

    fn store(&mut self, ctx: &mut PaperCtx<'_, P>, last: P, publish: Publish) {
        let Publish { connection, content, .. } = publish;
        let expired = u64::from(content.expiry_day) < ctx.unix / 86_400;
        let room = self.leader.rows.len() < MAX_ROWS && self.leader.ends.len() < MAX_ENDS;
        if expired || !room {
            return;
        }
        self.leader.ends.insert(connection, last);
        let name = (connection, content.id());
        let told = TableRow { connection, last: self.contact(last), content: Some(content.clone()) };
        if let Entry::Vacant(place) = self.leader.by_content.entry(name) {
            let row = u64::from_be_bytes(draw(ctx.rng));
            place.insert(row);
            ctx.out.emit(PaperEvent::RowAdded { row, payload: content.payload.clone().into_inner() });
            self.leader.rows.insert(row, Row { connection, content });
        }
        self.replicate(ctx, vec![told], Vec::new());
    }

    /// Forgets a path and what was published over it.
    pub(super) fn forget(&mut self, ctx: &mut PaperCtx<'_, P>, connection: &Connection) {
        if self.leader.ends.remove(connection).is_none() {
            return;
        }
        let gone: Vec<u64> =
            self.leader.rows.iter().filter(|(_, row)| row.connection == *connection).map(|(row, _)| *row).collect();
        for row in gone {
            if let Some(found) = self.leader.rows.remove(&row) {
                self.leader.by_content.remove(&(found.connection, found.content.id()));
            }
            ctx.out.emit(PaperEvent::RowRemoved(row));
        }
        self.replicate(ctx, Vec::new(), vec![*connection]);
    }

    /// Tells of all rows again, for an application that has just begun to listen.
    pub fn replay(&self, ctx: &mut PaperCtx<'_, P>) {
        ctx.out.emit(PaperEvent::RowsCleared);
        for (row, found) in &self.leader.rows {
            ctx.out.emit(PaperEvent::RowAdded { row: *row, payload: found.content.payload.clone().into_inner() });
        }
    }

    // ---- lookups ---------------------------------------------------------------------------------------------

    pub(super) fn lookup_came(&mut self, ctx: &mut PaperCtx<'_, P>, keys: &dyn Keys<P>, from: P, lookup: Lookup) {
        let connection = lookup.connection;
        if !self.leads() {
            let ttl = self.ttl_onward(ctx, lookup.ttl);
            if let Some(next) = self.onward(ctx, &connection, Some(from), ttl) {
                self.send(ctx, next, PaperMessage::Lookup(Lookup { ttl, ..lookup }));
            }
            return;
        }
        if self.leader.ends.len() >= MAX_ENDS && !self.leader.ends.contains_key(&connection) {
            return;
        }
        if self.leader.ends.insert(connection, from).is_none() {
            let told = TableRow { connection, last: self.contact(from), content: None };
            self.replicate(ctx, vec![told], Vec::new());
        }
        let cast = PaperCast {
            asker: self.me.clone(),
            identity: Blob::new(keys.identity()).unwrap_or_default(),
            lookup: lookup.clone(),
            nonce: draw(ctx.rng),
            sent: ctx.unix,
            signature: Blob::default(),
        };
        self.seen.insert(cast.nonce);
        ctx.out.emit(PaperEvent::Cast(to_bytes(&cast.sign(keys))));
        self.search(ctx, None, lookup);
    }

    /// A lookup from the multicast.
    pub fn cast_received(&mut self, ctx: &mut PaperCtx<'_, P>, keys: &dyn Keys<P>, bytes: &[u8]) -> Verdict {
        let Ok(cast) = from_bytes::<PaperCast<P>>(bytes) else { return Verdict::Reject };
        if cast.sent.abs_diff(ctx.unix) > FRESH_SECONDS || self.seen.contains(&cast.nonce) {
            return Verdict::Ignore;
        }
        if !cast.holds(keys) {
            return Verdict::Reject;
        }
        self.seen.insert(cast.nonce);
        if self.leads() && cast.asker.peer != self.me.peer {
            self.search(ctx, Some(cast.asker), cast.lookup);
        }
        Verdict::Accept
    }

    fn search(&mut self, ctx: &mut PaperCtx<'_, P>, asker: Option<Contact<P>>, lookup: Lookup) {
        if self.leader.rows.is_empty() || self.leader.searches.len() >= MAX_SEARCHES {
            return;
        }
        let ask = self.next_number();
        self.leader.searches.insert(ask, (asker, lookup.connection));
        ctx.out.arm(ANSWER_WITHIN, PaperTimer::Search(ask));
        ctx.out.emit(PaperEvent::Asked { ask, query: lookup.query.into_inner(), limit: LIMIT });
    }

    /// The application says which rows match. Before a lookup-response is sent, the owner's path is checked (§3.2).
    pub fn answer(&mut self, ctx: &mut PaperCtx<'_, P>, ask: u64, rows: &[u64]) {
        let Some((asker, requester)) = self.leader.searches.remove(&ask) else { return };
        for row in rows.iter().take(usize::from(LIMIT)) {
            let Some(found) = self.leader.rows.get(row) else { continue };
            let (owner, content) = (found.connection, found.content.clone());
            if self.leader.end(&owner) == Some(self.me.peer) || !self.config.restoration {
                self.respond(ctx, &owner, (asker.clone(), requester, content));
                continue;
            }
            let waits = (asker.clone(), requester, content);
            if let Some(checking) = self.checking.get_mut(&owner) {
                if checking.waiting.len() < MAX_WAITING {
                    checking.waiting.push(waits);
                }
                continue;
            }
            let number = self.next_number();
            self.checking.insert(owner, Checking { number, waiting: vec![waits] });
            ctx.out.arm(TOTAL_PING_WITHIN, PaperTimer::TotalPing(number));
            if let Some(last) = self.leader.end(&owner) {
                let ping = TotalPing { connection: owner, to_leader: false, answer: false };
                self.send(ctx, last, PaperMessage::TotalPing(ping));
            }
        }
    }

    fn respond(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        owner: &Connection,
        (asker, requester, content): (Option<Contact<P>>, Connection, Content),
    ) {
        let Some(last) = self.leader.end(owner).map(|last| self.contact(last)) else { return };
        let response = LookupResponse { requester, content, owner: *owner, last };
        match asker {
            Some(asker) => ctx.out.send(&asker, PaperMessage::LookupResponse(response)),
            None => self.response_came(ctx, self.me.peer, response),
        }
    }

    /// The owner answered: its path is whole.
    pub(super) fn owner_answered(&mut self, ctx: &mut PaperCtx<'_, P>, connection: &Connection) {
        for waits in self.checking.remove(connection).map(|checking| checking.waiting).unwrap_or_default() {
            self.respond(ctx, connection, waits);
        }
    }

    /// The owner's path has failed: all members are told, so that its owner publishes again (§3.2).
    pub(super) fn owner_ping_failed(&mut self, ctx: &mut PaperCtx<'_, P>, number: u64) {
        let found = self.checking.iter().find(|(_, checking)| checking.number == number);
        let Some(connection) = found.map(|(connection, _)| *connection) else { return };
        self.checking.remove(&connection);
        self.forget(ctx, &connection);
        for other in self.members.iter().flat_map(|members| members.others(self.me.peer)) {
            ctx.out.send(other, PaperMessage::PathFailed(PathFailed { connection }));
        }
    }

    /// A lookup-response on its way: from another leader to the requester's, then down the requester's path.
    pub(super) fn response_came(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, response: LookupResponse<P>) {
        let requester = response.requester;
        // A leader's own path may go through others back to itself: what comes down it is not sent down again.
        match self.table.by_next(&requester, from).map(|entry| entry.previous) {
            Some(None) => self.response_is_ours(ctx, response),
            Some(Some(previous)) => self.send(ctx, previous, PaperMessage::LookupResponse(response)),
            None => match self.leader.end(&requester).filter(|_| self.leads()) {
                Some(last) if last == self.me.peer => self.response_is_ours(ctx, response),
                Some(last) => self.send(ctx, last, PaperMessage::LookupResponse(response)),
                None => {}
            },
        }
    }

    // ---- copies of the table ---------------------------------------------------------------------------------

    fn candidates(&self) -> Vec<Contact<P>> {
        self.members.iter().flat_map(|members| members.others(self.me.peer).take(COPIES).cloned()).collect()
    }

    fn whole_table(&self) -> Vec<TableRow<P>> {
        let row = |connection: Connection, content| {
            let last = self.leader.end(&connection).map(|last| self.contact(last))?;
            Some(TableRow { connection, last, content })
        };
        let contents = self.leader.rows.values().filter_map(|found| row(found.connection, Some(found.content.clone())));
        let published: BTreeSet<_> = self.leader.rows.values().map(|found| found.connection).collect();
        let bare = self.leader.ends.keys().filter(|connection| !published.contains(*connection));
        contents.chain(bare.filter_map(|connection| row(*connection, None))).collect()
    }

    fn replicate(&mut self, ctx: &mut PaperCtx<'_, P>, rows: Vec<TableRow<P>>, gone: Vec<Connection>) {
        for candidate in self.candidates().iter().filter(|candidate| self.replicas.contains(&candidate.peer)) {
            for table in Table::frames(false, rows.clone(), gone.clone()) {
                ctx.out.send(candidate, PaperMessage::Table(table));
            }
        }
    }

    /// The candidates may be others than before: those that have no copy get the whole table.
    pub(super) fn replicate_all(&mut self, ctx: &mut PaperCtx<'_, P>) {
        let candidates = self.candidates();
        self.replicas.retain(|peer| candidates.iter().any(|candidate| candidate.peer == *peer));
        for candidate in candidates {
            if !self.replicas.contains(&candidate.peer) {
                self.replicas.push(candidate.peer);
                self.give_table(ctx, &candidate);
            }
        }
    }

    pub(super) fn give_table(&self, ctx: &mut PaperCtx<'_, P>, to: &Contact<P>) {
        for table in Table::frames(true, self.whole_table(), Vec::new()) {
            ctx.out.send(to, PaperMessage::Table(table));
        }
    }

    pub(super) fn table_came(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, table: Table<P>) {
        let led = self.leads();
        // Anybody else could put rows into the table, or take them out.
        if !self.is_leader(from) && self.former != Some(from) {
            return;
        }
        if table.whole {
            self.replica.clear();
        }
        self.replica.retain(|row| !table.gone.contains(&row.connection));
        for row in table.rows.into_inner() {
            let same = |other: &TableRow<P>| other.connection == row.connection && other.content == row.content;
            self.replica.retain(|other| !same(other));
            if self.replica.len() < MAX_ROWS {
                self.replica.push(row);
            }
        }
        if led {
            self.take_replica(ctx);
        }
    }

    /// This peer leads now: what it was told of the table is its table.
    pub(super) fn take_replica(&mut self, ctx: &mut PaperCtx<'_, P>) {
        let me = self.me.peer;
        for row in std::mem::take(&mut self.replica) {
            if self.leader.ends.contains_key(&row.connection) && row.content.is_none() {
                continue;
            }
            let mut last = row.last.peer;
            if last == me {
                // We were the last peer: the one before us is it now, or nobody when the path was our own.
                let entry = self.table.of(&row.connection).find(|entry| entry.next == me).cloned();
                last = entry.and_then(|entry| entry.previous).unwrap_or(me);
            }
            match row.content {
                Some(content) => {
                    self.store(ctx, last, Publish { connection: row.connection, ttl: 0, content });
                }
                None => self.leader.set_end(row.connection, last),
            }
        }
        // The entries of paths that end at us now are not needed any more.
        let ended: Vec<_> = self
            .table
            .all()
            .filter(|(_, entry)| entry.next == me && entry.previous.is_some())
            .map(|(connection, entry)| (connection, entry.clone()))
            .collect();
        for (connection, entry) in ended {
            self.table.remove(&connection, &entry);
        }
    }

    pub(super) fn lead_no_more(&mut self, ctx: &mut PaperCtx<'_, P>) {
        self.leader = Leader::default();
        self.checking.clear();
        self.replicas.clear();
        ctx.out.emit(PaperEvent::RowsCleared);
    }
}
