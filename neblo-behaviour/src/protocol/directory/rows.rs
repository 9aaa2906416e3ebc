//! The rows of a leader: what its members have announced.

use super::vouched::BROKEN_FOR;
use super::*;
use crate::protocol::codec::Blob;
use crate::protocol::errand::{Announce, Announced, Declined};
use crate::protocol::interface::Hit;
use crate::protocol::io::draw;

/// Rows kept in all, and announced over one path. choice
const MAX_ROWS: usize = 200_000;
const MAX_A_PATH: usize = 10_000;

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row<P> {
    pub(super) registration: [u8; 16],
    /// The publisher's path.
    pub(super) end: End<P>,
    /// Since when it is broken: the row is kept a while for the path to be repaired, or the publisher to announce again.
    pub(super) broken: Option<Time>,
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
    pub(super) fn hit(&self, subgroup: OverlayAddr, registration: u64) -> Option<Hit> {
        if self.broken.is_some() {
            return None;
        }
        let (key, expiry_day, payload) = (self.key, self.expiry_day, self.payload.clone());
        Some(Hit { key, expiry_day, payload, subgroup, registration, reference: None })
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
        let known = self.by_registration.get(&announce.registration).copied();
        let over_this = self.rows.values().filter(|row| row.end == end).take(MAX_A_PATH).count();
        let room = known.is_some() || (self.rows.len() < MAX_ROWS && over_this < MAX_A_PATH);
        if announce.expiry_day < today || !room {
            let notice = Notice::Declined(Declined { request: announce.request });
            return ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
        }
        let row = known.unwrap_or_else(|| u64::from_be_bytes(draw(ctx.rng)));
        let changed = self.rows.get(&row).is_none_or(|old| old.payload != announce.payload);
        if changed {
            if known.is_some() {
                ctx.out.emit(DirectoryEvent::RowRemoved(row));
            }
            ctx.out.emit(DirectoryEvent::RowAdded { row, payload: announce.payload.clone().into_inner() });
        }
        let moved = self.rows.get(&row).is_some_and(|old| old.whole_end() != Some(end));
        self.by_registration.insert(announce.registration, row);
        let entry = Row {
            registration: announce.registration,
            end,
            broken: None,
            reply,
            key: announce.key,
            expiry_day: announce.expiry_day,
            payload: announce.payload,
            until: ctx.now + self.lasts,
        };
        self.rows.insert(row, entry);
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
        if let Some(row) = self.by_registration.remove(&registration) {
            self.rows.remove(&row);
            ctx.out.emit(DirectoryEvent::RowRemoved(row));
        }
    }

    /// A publisher's path is gone: its rows are not answered with until it announces again.
    pub fn end_lost(&mut self, ctx: &mut DirectoryCtx<'_, P>, end: End<P>) {
        for row in self.rows.values_mut().filter(|row| row.end == end) {
            row.broken = Some(ctx.now);
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
