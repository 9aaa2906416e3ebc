//! The rows of a leader: what its members have announced.

use super::copying::Key;
use super::vouched::BROKEN_FOR;
use super::*;
use crate::protocol::codec::Blob;
use crate::protocol::errand::{Announce, Announced, Declined};
use crate::protocol::interface::Hit;
use crate::protocol::seal::{LAYER, LAYER_PLAIN};

/// How long rows that were handed over are answered with, though their publishers have not come back yet. choice: a path is
/// built within a second or two
const HANDED_FOR: Duration = Duration::from_secs(20);
/// Rows kept in all, and announced over one path. choice
pub(super) const MAX_ROWS: usize = 200_000;
const MAX_A_PATH: usize = 10_000;

/// The number of a row, which hits name it by: the same at every leader, so that a hit outlives the leader that gave it.
pub(super) fn row_number(registration: &[u8; 16]) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("neblo 1 row");
    hasher.update(registration);
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row<P> {
    pub(super) registration: [u8; 16],
    /// The publisher's path.
    pub(super) end: End<P>,
    /// Since when it is broken: the row is kept a while for the path to be repaired, or the publisher to announce again.
    pub(super) broken: Option<Time>,
    /// Until when it is answered with although it is broken.
    handed: Option<Time>,
    pub(super) reply: [u8; 32],
    key: [u8; 32],
    expiry_day: u32,
    payload: Blob<{ crate::protocol::interface::MAX_PUBLICATION }>,
    until: Time,
}

impl<P: Peer> Row<P> {
    /// The publisher's path, unless it is broken.
    pub(super) fn whole_end(&self) -> Option<End<P>> {
        self.broken.is_none().then_some(self.end)
    }

    /// The row as a hit, while its publisher can be reached.
    pub(super) fn hit(&self, now: Time, subgroup: OverlayAddr, registration: u64) -> Option<Hit> {
        if self.broken.is_some() && self.handed.is_none_or(|until| until <= now) {
            return None;
        }
        let (key, expiry_day, payload) = (self.key, self.expiry_day, self.payload.clone());
        Some(Hit { key, expiry_day, payload, subgroup, registration, reference: None })
    }

    pub(super) fn payload_len(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        self.payload.clone().into_inner()
    }

    /// Holds the row for a publisher whose path ended at a former leader, for no longer than a row of ours lasts.
    pub(super) fn hold(&mut self, now: Time, lasts: Duration, handed: bool) {
        self.until = self.until.min(now + lasts);
        self.broken = Some(now);
        self.handed = handed.then_some(now + HANDED_FOR);
    }

    /// For a candidate, who cannot read what was announced without `table_key`.
    pub(super) fn copied(
        &self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        table_key: &[u8; 32],
    ) -> CopiedRow<P> {
        let head: Vec<u8> =
            [&self.registration[..], &self.reply, &self.key, &self.expiry_day.to_be_bytes(), &[0; 4]].concat();
        let mut plain = [0; LAYER_PLAIN];
        plain.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        let mut payload = self.payload();
        let layer = keys.seal_layer(ctx.rng, table_key, &plain, &mut payload);
        CopiedRow {
            row: row_number(&self.registration),
            last: Contact::bare(self.end.0),
            id: self.end.1,
            lasts: u32::try_from(self.until.since(ctx.now).as_secs()).unwrap_or(u32::MAX),
            sealed: Blob::new([&layer[..], &payload].concat()).unwrap_or_default(),
        }
    }

    /// Of a leader's copy; `None` with another key than it was sealed under.
    pub(super) fn of_copy(keys: &dyn Keys<P>, table_key: &[u8; 32], copy: &SealedRow<P>) -> Option<Self> {
        let (layer, payload) = copy.sealed.split_first_chunk::<LAYER>()?;
        let mut payload = payload.to_vec();
        let plain = keys.open_layer(table_key, layer, &mut payload)?;
        let (registration, rest) = plain.split_first_chunk()?;
        let (reply, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (day, _) = rest.split_first_chunk()?;
        Some(Self {
            registration: *registration,
            end: copy.end,
            broken: None,
            handed: None,
            reply: *reply,
            key: *key,
            expiry_day: u32::from_be_bytes(*day),
            payload: Blob::new(payload)?,
            until: copy.until,
        })
    }
}

impl<P: Peer> Directory<P> {
    pub(super) fn announced(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        end: End<P>,
        reply: [u8; 32],
        announce: Announce,
    ) {
        let today = u32::try_from(ctx.unix / 86_400).unwrap_or(u32::MAX);
        let row = row_number(&announce.registration);
        let known = self.rows.get(&row);
        let taken = known.is_some_and(|known| known.registration != announce.registration);
        let over_this = self.rows.values().filter(|row| row.end == end).take(MAX_A_PATH).count();
        let room = known.is_some() || (self.rows.len() < MAX_ROWS && over_this < MAX_A_PATH);
        let known = known.is_some();
        if announce.expiry_day < today || !room || taken {
            let notice = Notice::Declined(Declined { request: announce.request });
            return ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
        }
        let changed = self.rows.get(&row).is_none_or(|old| old.payload != announce.payload);
        if changed {
            if known {
                ctx.out.emit(DirectoryEvent::RowRemoved(row));
            }
            ctx.out.emit(DirectoryEvent::RowAdded { row, payload: announce.payload.clone().into_inner() });
        }
        let moved = self.rows.get(&row).is_none_or(|old| old.whole_end() != Some(end));
        let entry = Row {
            registration: announce.registration,
            end,
            broken: None,
            handed: None,
            reply,
            key: announce.key,
            expiry_day: announce.expiry_day,
            payload: announce.payload,
            until: ctx.now + self.lasts,
        };
        self.rows.insert(row, entry);
        self.sealed.remove(&row);
        self.touch(ctx, Key::Row(row));
        let notice = Notice::Announced(Announced { request: announce.request, registration: row });
        ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
        if moved {
            self.resolve_again(ctx, row);
        }
    }

    /// Tells of all rows again, for an application that has just begun to listen.
    pub fn replay(&self, ctx: &mut DirectoryCtx<'_, P>) {
        ctx.out.emit(DirectoryEvent::RowsCleared);
        for (row, entry) in &self.rows {
            ctx.out.emit(DirectoryEvent::RowAdded { row: *row, payload: entry.payload.clone().into_inner() });
        }
    }

    pub(super) fn withdrawn(&mut self, ctx: &mut DirectoryCtx<'_, P>, registration: [u8; 16]) {
        let row = row_number(&registration);
        self.sealed.remove(&row);
        if self.rows.get(&row).is_some_and(|known| known.registration == registration) {
            self.rows.remove(&row);
            self.touch(ctx, Key::Row(row));
            ctx.out.emit(DirectoryEvent::RowRemoved(row));
        }
    }

    /// A publisher's path is gone: its rows are not answered with until it announces again.
    pub fn end_lost(&mut self, ctx: &mut DirectoryCtx<'_, P>, end: End<P>) {
        for row in self.rows.values_mut().filter(|row| row.end == end) {
            row.broken = Some(ctx.now);
            row.handed = None;
        }
        self.vouched.broken(ctx.now, end);
        self.resolving_lost(ctx, end);
    }

    pub(super) fn sweep_rows(&mut self, ctx: &mut DirectoryCtx<'_, P>) {
        let today = u32::try_from(ctx.unix / 86_400).unwrap_or(u32::MAX);
        let orphaned = |row: &Row<P>| row.broken.is_some_and(|broken| broken + BROKEN_FOR <= ctx.now);
        let stale = |row: &Row<P>| row.until <= ctx.now || row.expiry_day < today || orphaned(row);
        let gone: Vec<_> = self.rows.values().filter(|row| stale(row)).map(|row| row.registration).collect();
        for registration in gone {
            self.withdrawn(ctx, registration);
        }
    }
}
