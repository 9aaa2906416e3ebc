//! The leader's table goes to the next two candidates, and to whom the leader hands it over (seed 003 §4).
//!
//! For each of them the leader keeps the set of rows and paths that have changed, and sends them as they are now, one piece at a
//! time; the next goes when the last is acknowledged. An unanswered piece is sent again as it was. A candidate that has missed
//! one says so and gets a full copy. The link is encrypted and its ends are known, so the pieces carry no signature.
//!
//! A candidate relays too, and relays are not to read what is announced: rows are sealed under a key that other members keep
//! (`table_key.rs`).

use super::*;
use crate::protocol::codec::List;

/// Changes are collected this long. choice
const GATHER: Duration = Duration::from_millis(100);
/// A piece without an answer is sent again after this. choice
const AGAIN: Duration = Duration::from_secs(2);
/// Bytes of a piece, about; a row more may come on top of it. choice: below 64 KiB with the longest row
const PIECE: usize = 52 * 1024;
/// What a row, and a vouched path, takes besides its payload. Measured: below this
const ROW_TAKES: usize = 352;
const PATH_TAKES: usize = 1_100;
/// Pieces from which on their time tells something of bandwidth. choice
const TELLING: usize = 4 * 1024;

/// What may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<P> {
    /// A row.
    Row(u64),
    /// A vouched path.
    Path(End<P>),
}

/// A candidate, and what it has of the table.
#[derive(Debug)]
pub(super) struct Follower<P> {
    pub(super) contact: Contact<P>,
    copy: u64,
    sequence: u64,
    dirty: BTreeSet<Key<P>>,
    /// The piece under way, its size, and when it was sent.
    sent: Option<(TableCopy<P>, usize, Time)>,
    /// Whether it has had the whole table.
    whole: bool,
    /// Somebody waits until it has everything.
    awaited: bool,
}

impl<P: Peer> Follower<P> {
    /// A full copy, of a new name.
    fn begin(&mut self, copy: u64, all: BTreeSet<Key<P>>) {
        self.copy = copy;
        self.sequence = 0;
        self.dirty = all;
        self.sent = None;
        self.whole = false;
    }
}

impl<P: Peer> Directory<P> {
    fn all_keys(&self) -> BTreeSet<Key<P>> {
        self.rows.keys().map(|row| Key::Row(*row)).chain(self.vouched.ends().map(Key::Path)).collect()
    }

    /// To whom the table is copied.
    pub fn set_followers(&mut self, ctx: &mut DirectoryCtx<'_, P>, wanted: &[Contact<P>]) {
        let wanted = if self.leads.is_some() { wanted } else { &[] };
        self.followers.retain(|follower| wanted.contains(&follower.contact));
        self.keep_key(ctx, wanted);
        for contact in wanted {
            if !self.followers.iter().any(|follower| follower.contact == *contact) {
                let follower = Follower {
                    contact: contact.clone(),
                    copy: ctx.rng.next_u64(),
                    sequence: 0,
                    dirty: self.all_keys(),
                    sent: None,
                    whole: false,
                    awaited: false,
                };
                self.followers.push(follower);
                self.feed_soon(ctx);
            }
        }
    }

    /// [`DirectoryEvent::Copied`] once this follower has all that there is now.
    pub fn when_copied(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.contact.peer == peer) {
            follower.awaited = true;
        }
        self.feed(ctx, keys);
    }

    /// A row or path has changed.
    pub(super) fn touch(&mut self, ctx: &mut DirectoryCtx<'_, P>, key: Key<P>) {
        if self.followers.is_empty() {
            return;
        }
        for follower in &mut self.followers {
            follower.dirty.insert(key);
        }
        self.feed_soon(ctx);
    }

    fn feed_soon(&mut self, ctx: &mut DirectoryCtx<'_, P>) {
        if !std::mem::replace(&mut self.gathering, true) {
            ctx.out.arm(GATHER, DirectoryTimer::Gathered);
        }
    }

    pub(super) fn feed_expired(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>, timer: DirectoryTimer) {
        match timer {
            DirectoryTimer::Gathered => self.gathering = false,
            DirectoryTimer::Feed(generation) if generation == self.feeding => self.feeding = 0,
            _ => return,
        }
        self.feed(ctx, keys);
    }

    /// All copies begin anew.
    pub(super) fn copy_anew(&mut self, ctx: &mut DirectoryCtx<'_, P>) {
        let all = self.all_keys();
        for follower in &mut self.followers {
            follower.begin(ctx.rng.next_u64(), all.clone());
        }
        self.feed_soon(ctx);
    }

    fn feed(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>) {
        let Some((subgroup, _)) = self.leads else { return };
        let mut followers = std::mem::take(&mut self.followers);
        let mut waits = false;
        for follower in &mut followers {
            if let Some((piece, _, at)) = &mut follower.sent {
                if *at + AGAIN <= ctx.now {
                    *at = ctx.now;
                    ctx.out.send(&follower.contact, DirectoryMessage::TableCopy(piece.clone()));
                }
                waits = true;
            } else if !follower.dirty.is_empty() || !follower.whole {
                let (piece, size) = self.piece(ctx, keys, subgroup, follower);
                ctx.out.send(&follower.contact, DirectoryMessage::TableCopy(piece.clone()));
                follower.sent = Some((piece, size, ctx.now));
                waits = true;
            } else if std::mem::take(&mut follower.awaited) {
                // It is about to lead, and may read.
                let key = TableKey { subgroup, key: self.table_key.key };
                ctx.out.send(&follower.contact, DirectoryMessage::TableKey(key));
                ctx.out.emit(DirectoryEvent::Copied(follower.contact.peer));
            }
        }
        self.followers = followers;
        if waits && self.feeding == 0 {
            self.feeding = self.next_number();
            ctx.out.arm(AGAIN, DirectoryTimer::Feed(self.feeding));
        }
    }

    /// The next piece for a follower.
    fn piece(
        &self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        subgroup: OverlayAddr,
        follower: &mut Follower<P>,
    ) -> (TableCopy<P>, usize) {
        let (mut rows, mut rows_gone, mut paths, mut paths_gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut size = 0;
        while size < PIECE {
            let full =
                [rows.len(), rows_gone.len(), paths.len(), paths_gone.len()].iter().any(|len| *len >= MAX_COPIED);
            let Some(key) = follower.dirty.first().copied().filter(|_| !full) else { break };
            follower.dirty.remove(&key);
            match key {
                Key::Row(row) => match self.rows.get(&row) {
                    Some(entry) => {
                        size += entry.payload_len() + ROW_TAKES;
                        rows.extend(entry.copied(ctx, keys, &self.table_key.key));
                    }
                    None => {
                        size += 16;
                        rows_gone.push(row);
                    }
                },
                Key::Path(end) => match self.vouched.copied(end) {
                    Some(path) => {
                        size += PATH_TAKES;
                        paths.push(path);
                    }
                    None => {
                        size += 64;
                        paths_gone.push(GonePath { last: Contact::bare(end.0), id: end.1 });
                    }
                },
            }
        }
        follower.sequence += 1;
        let whole = follower.dirty.is_empty();
        let piece = TableCopy {
            subgroup,
            copy: follower.copy,
            sequence: follower.sequence,
            rows: List::chop(rows),
            rows_gone: List::chop(rows_gone),
            paths: List::chop(paths),
            paths_gone: List::chop(paths_gone),
            whole,
        };
        (piece, size)
    }

    /// A follower has a piece, or has missed one.
    pub(super) fn table_copied(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        copied: &TableCopied,
    ) {
        let all = copied.missed.then(|| self.all_keys());
        let Some(follower) = self.followers.iter_mut().find(|follower| follower.contact.peer == from) else { return };
        if follower.copy != copied.copy {
            return;
        }
        if let Some(all) = all {
            follower.begin(ctx.rng.next_u64(), all);
        } else if let Some((piece, size, at)) = follower.sent.take_if(|(piece, _, _)| piece.sequence == copied.sequence)
        {
            follower.whole |= piece.whole;
            let took = u64::try_from(ctx.now.since(at).as_micros()).unwrap_or(u64::MAX).max(1);
            if size >= TELLING {
                let rate = (size as u64).saturating_mul(1_000_000) / took;
                ctx.out.emit(DirectoryEvent::Measured(from, rate));
            }
        }
        self.feed(ctx, keys);
    }
}
