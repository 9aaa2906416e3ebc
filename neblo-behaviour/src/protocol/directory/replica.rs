//! A candidate's copy of the leader's table, and what becomes of it when the candidate leads (seed 003 §4).

use super::copying::Key;
use super::rows::{MAX_ROWS, Row, row_number};
use super::vouched::{MAX_VOUCHED, Vouched, VouchedPaths};
use super::*;

/// Bytes of payloads that a candidate keeps. choice
const MOST_BYTES: usize = 256 << 20;

/// A row that cannot be read here.
#[derive(Clone, Debug)]
pub(super) struct SealedRow<P> {
    pub(super) end: End<P>,
    pub(super) until: Time,
    pub(super) sealed: Vec<u8>,
}

/// The copy.
#[derive(Debug)]
pub(super) struct Replica<P> {
    subgroup: OverlayAddr,
    copy: u64,
    sequence: u64,
    pub(super) rows: BTreeMap<u64, SealedRow<P>>,
    paths: BTreeMap<End<P>, Vouched>,
    /// Of an earlier copy, and not seen in this one yet. They go when it is whole: until then they are better than nothing.
    earlier: BTreeSet<Key<P>>,
    bytes: usize,
}

impl<P: Peer> Replica<P> {
    fn new(subgroup: OverlayAddr) -> Self {
        Self {
            subgroup,
            copy: 0,
            sequence: 0,
            rows: BTreeMap::new(),
            paths: BTreeMap::new(),
            earlier: BTreeSet::new(),
            bytes: 0,
        }
    }

    fn put_row(&mut self, now: Time, row: CopiedRow<P>) {
        let number = row.row;
        let until = now + Duration::from_secs(u64::from(row.lasts));
        let row = SealedRow { end: (row.last.peer, row.id), until, sealed: row.sealed.into_inner() };
        self.earlier.remove(&Key::Row(number));
        self.remove_row(number);
        let len = row.sealed.len();
        if self.rows.len() < MAX_ROWS && self.bytes + len <= MOST_BYTES {
            self.bytes += len;
            self.rows.insert(number, row);
        }
    }

    fn remove_row(&mut self, number: u64) {
        if let Some(row) = self.rows.remove(&number) {
            self.bytes = self.bytes.saturating_sub(row.sealed.len());
        }
    }

    fn apply(&mut self, now: Time, piece: TableCopy<P>) {
        if piece.sequence == 1 {
            let rows = self.rows.keys().map(|row| Key::Row(*row));
            self.earlier = rows.chain(self.paths.keys().copied().map(Key::Path)).collect();
        }
        self.copy = piece.copy;
        self.sequence = piece.sequence;
        for row in piece.rows_gone.iter() {
            self.earlier.remove(&Key::Row(*row));
            self.remove_row(*row);
        }
        for row in piece.rows.into_inner() {
            self.put_row(now, row);
        }
        for gone in piece.paths_gone.iter() {
            self.earlier.remove(&Key::Path((gone.last.peer, gone.id)));
            self.paths.remove(&(gone.last.peer, gone.id));
        }
        for path in piece.paths.into_inner() {
            let end = (path.last.peer, path.id);
            self.earlier.remove(&Key::Path(end));
            if self.paths.len() < MAX_VOUCHED || self.paths.contains_key(&end) {
                self.paths.insert(end, Vouched::copy(path));
            }
        }
        if piece.whole {
            for key in std::mem::take(&mut self.earlier) {
                match key {
                    Key::Row(row) => self.remove_row(row),
                    Key::Path(end) => drop(self.paths.remove(&end)),
                }
            }
        }
    }
}

impl<P: Peer> Directory<P> {
    /// The subgroup of which this peer is a member, and its leader: whose table it takes.
    pub fn follow(&mut self, follows: Option<(OverlayAddr, P)>) {
        self.follows = follows;
        let there = follows.map(|(subgroup, _)| subgroup);
        self.replica.take_if(|replica| Some(replica.subgroup) != there);
    }

    /// Rows in the copy of another leader's table.
    pub fn copied_rows(&self) -> usize {
        self.replica.as_ref().map_or(0, |replica| replica.rows.len())
    }

    pub(super) fn table_came(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, piece: TableCopy<P>) {
        if self.leads.is_some() || self.follows != Some((piece.subgroup, from)) {
            return;
        }
        let replica = self.replica.get_or_insert_with(|| Replica::new(piece.subgroup));
        let (copy, sequence) = (piece.copy, piece.sequence);
        let next = if replica.copy == copy { replica.sequence + 1 } else { 1 };
        // The answer to the last one may have been lost.
        let known = replica.copy == copy && replica.sequence == sequence;
        let missed = !known && next != sequence;
        if !known && !missed {
            replica.apply(ctx.now, piece);
        }
        let answer = TableCopied { copy, sequence, missed };
        ctx.out.send(&Contact::bare(from), DirectoryMessage::TableCopied(answer));
    }

    /// Leads what it followed: the rows of the former leader are held for their publishers, whose paths ended there and are
    /// on their way back.
    ///
    /// It has the key if that leader handed over; after a death it asks the members that were given it.
    pub(super) fn take_over(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>, subgroup: OverlayAddr) {
        let Some(replica) = self.replica.take().filter(|replica| replica.subgroup == subgroup) else { return };
        self.vouched = VouchedPaths::of_copies(ctx.now, replica.paths);
        self.sealed = replica.rows;
        self.unseal(ctx, keys);
        self.ask_for_key(ctx);
    }

    /// Opens rows of the copy with the keys that are here.
    pub(super) fn unseal(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>) {
        for (number, sealed) in std::mem::take(&mut self.sealed) {
            let row = self.held_keys.iter().find_map(|(_, key)| Row::of_copy(keys, key, &sealed));
            match row.filter(|row| row_number(&row.registration) == number) {
                // Announced again meanwhile: that is newer.
                Some(_) if self.rows.contains_key(&number) => {}
                Some(mut row) => {
                    row.hold(ctx.now, self.lasts);
                    ctx.out.emit(DirectoryEvent::RowAdded { row: number, payload: row.payload() });
                    self.rows.insert(number, row);
                    self.touch(ctx, Key::Row(number));
                }
                None => drop(self.sealed.insert(number, sealed)),
            }
        }
    }
}
