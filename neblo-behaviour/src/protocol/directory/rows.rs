//! The rows of a leader: what its members have announced.

use super::copying::Key;
use super::vouched::BROKEN_FOR;
use super::*;
use crate::protocol::codec::{Blob, List};
use crate::protocol::errand::{Announce, Announced, Declined, Renew, Renewed};
use crate::protocol::interface::Hit;
use crate::protocol::seal::{LAYER, LAYER_PLAIN};

/// How long rows are answered with though their publisher's path is broken, or ended at the leader before: what is asked for
/// meanwhile waits for the repair. choice: of whole nodes' broken paths 99 of 100 are whole again within 7.8 s, the last of 45,000 was after
/// 18.5 s (docs/evaluation.md)
const REPAIRED_WITHIN: Duration = Duration::from_secs(20);
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

/// The way to a publisher.
#[derive(Clone, Copy, Debug)]
struct Way<P> {
    /// Its path.
    end: End<P>,
    /// The key of the path.
    reply: [u8; 32],
    /// Since when it is broken: the row is kept a while for the path to be repaired, or the publisher to announce again.
    broken: Option<Time>,
    /// The publisher's last request over it. Its requests are numbered on, so one with a lower number was on its way over an earlier
    /// path of the two that are this one in turn.
    request: u64,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row<P> {
    pub(super) registration: [u8; 16],
    /// The publisher's path, and if it has one its second path. At least one is there.
    ways: [Option<Way<P>>; 2],
    /// Streams prepared: they take both ways by turns.
    turn: u8,
    key: [u8; 32],
    expiry_day: u32,
    payload: Blob<{ crate::protocol::interface::MAX_PUBLICATION }>,
    until: Time,
}

impl<P: Peer> Row<P> {
    fn ways(&self) -> impl Iterator<Item = &Way<P>> {
        self.ways.iter().flatten()
    }

    /// Whether a path of the publisher is whole, or may well be so again by the time that somebody connects.
    fn is_reachable(&self, now: Time) -> bool {
        self.ways().any(|way| way.broken.is_none_or(|broken| now < broken + REPAIRED_WITHIN))
    }

    /// Whether a path of the publisher is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.ways().any(|way| way.broken.is_none())
    }

    /// A path of the publisher that is whole, and its key; another one each time, if there are two.
    pub(super) fn next_way(&mut self) -> Option<(End<P>, [u8; 32])> {
        let whole: Vec<_> = self.ways().filter(|way| way.broken.is_none()).map(|way| (way.end, way.reply)).collect();
        let nth = usize::from(self.turn).checked_rem(whole.len())?;
        self.turn = self.turn.wrapping_add(1);
        whole.get(nth).copied()
    }

    /// Whether a path of the publisher ends here.
    pub(super) fn is_at(&self, end: End<P>) -> bool {
        self.ways().any(|way| way.end == end)
    }

    /// A path of the publisher ends elsewhere now, and is whole.
    pub(super) fn moved(&mut self, old: End<P>, new: End<P>) {
        for way in self.ways.iter_mut().flatten().filter(|way| way.end == old) {
            *way = Way { end: new, broken: None, ..*way };
        }
    }

    /// The publisher has announced or renewed over a path: whether streams that wait for it are to be prepared over this one.
    /// What comes late over an earlier path does not count.
    fn came_over(&mut self, end: End<P>, reply: [u8; 32], (request, second): (u64, bool)) -> bool {
        let still = |way: &Option<Way<P>>| way.is_some_and(|way| way.end == end && way.broken.is_none());
        let [one, two] = &mut self.ways;
        let (way, other) = if second { (two, one) } else { (one, two) };
        if way.is_some_and(|way| way.request > request) {
            return false;
        }
        let other_whole = other.is_some_and(|other| other.broken.is_none());
        // What the first way was to bring may wait for it in vain; the second one is there besides.
        let moved = !(still(way) || second && other_whole);
        // A path is one of the two.
        other.take_if(|other| other.end == end);
        *way = Some(Way { end, reply, broken: None, request });
        moved
    }

    /// A path of the publisher is gone.
    fn lost(&mut self, now: Time, end: End<P>) {
        for way in self.ways.iter_mut().flatten().filter(|way| way.end == end) {
            way.broken = Some(now);
        }
    }

    /// Whether the publisher cannot be reached, and has not been for so long that it will not come back.
    fn is_orphaned(&self, now: Time) -> bool {
        self.ways().all(|way| way.broken.is_some_and(|broken| broken + BROKEN_FOR <= now))
    }

    /// The row as a hit, while its publisher can be reached.
    pub(super) fn hit(&self, now: Time, subgroup: OverlayAddr, registration: u64) -> Option<Hit> {
        if !self.is_reachable(now) {
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
    pub(super) fn hold(&mut self, now: Time, lasts: Duration) {
        self.until = self.until.min(now + lasts);
        self.ways.iter_mut().flatten().for_each(|way| way.broken = Some(now));
    }

    /// For a candidate, who cannot read what was announced without `table_key`.
    pub(super) fn copied(
        &self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        table_key: &[u8; 32],
    ) -> Option<CopiedRow<P>> {
        let way = self.ways().find(|way| way.broken.is_none()).or(self.ways().next())?;
        let head: Vec<u8> =
            [&self.registration[..], &way.reply, &self.key, &self.expiry_day.to_be_bytes(), &[0; 4]].concat();
        let mut plain = [0; LAYER_PLAIN];
        plain.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        let mut payload = self.payload();
        let layer = keys.seal_layer(ctx.rng, table_key, &plain, &mut payload);
        Some(CopiedRow {
            row: row_number(&self.registration),
            last: Contact::bare(way.end.0),
            id: way.end.1,
            lasts: u32::try_from(self.until.since(ctx.now).as_secs()).unwrap_or(u32::MAX),
            sealed: Blob::new([&layer[..], &payload].concat()).unwrap_or_default(),
        })
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
            ways: [Some(Way { end: copy.end, reply: *reply, broken: None, request: 0 }), None],
            turn: 0,
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
        let over_this = self.rows.values().filter(|row| row.is_at(end)).take(MAX_A_PATH).count();
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
        let mut entry = Row {
            registration: announce.registration,
            ways: self.rows.get(&row).map_or([None, None], |old| old.ways),
            turn: 0,
            key: announce.key,
            expiry_day: announce.expiry_day,
            payload: announce.payload,
            until: ctx.now + self.lasts,
        };
        let moved = entry.came_over(end, reply, (announce.request, announce.second));
        self.rows.insert(row, entry);
        self.sealed.remove(&row);
        self.touch(ctx, Key::Row(row));
        let notice = Notice::Announced(Announced { request: announce.request, registration: row });
        ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
        if moved {
            self.resolve_again(ctx, row);
        }
    }

    /// Renews what is there, and says what is not.
    pub(super) fn renewed(&mut self, ctx: &mut DirectoryCtx<'_, P>, end: End<P>, reply: [u8; 32], renew: Renew) {
        let mut unknown = Vec::new();
        for registration in renew.registrations.into_inner() {
            let row = row_number(&registration);
            let Some(known) = self.rows.get_mut(&row).filter(|known| known.registration == registration) else {
                unknown.push(registration);
                continue;
            };
            known.until = ctx.now + self.lasts;
            let moved = known.came_over(end, reply, (renew.request, renew.second));
            self.sealed.remove(&row);
            self.touch(ctx, Key::Row(row));
            if moved {
                self.resolve_again(ctx, row);
            }
        }
        let unknown = List::new(unknown).unwrap_or_default();
        let notice = Notice::Renewed(Renewed { request: renew.request, unknown });
        ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
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

    /// A publisher's path is gone: unless it is repaired or the publisher announces again, its rows are soon not answered with.
    pub fn end_lost(&mut self, ctx: &mut DirectoryCtx<'_, P>, end: End<P>) {
        for row in self.rows.values_mut().filter(|row| row.is_at(end)) {
            row.lost(ctx.now, end);
        }
        self.vouched.broken(ctx.now, end);
        self.resolving_lost(ctx, end);
    }

    pub(super) fn sweep_rows(&mut self, ctx: &mut DirectoryCtx<'_, P>) {
        let today = u32::try_from(ctx.unix / 86_400).unwrap_or(u32::MAX);
        let stale = |row: &Row<P>| row.until <= ctx.now || row.expiry_day < today || row.is_orphaned(ctx.now);
        let gone: Vec<_> = self.rows.values().filter(|row| stale(row)).map(|row| row.registration).collect();
        for registration in gone {
            self.withdrawn(ctx, registration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row<u32> {
        let payload = Blob::new(b"picture".to_vec()).unwrap();
        Row { registration: [1; 16], ways: [None, None], turn: 0, key: [2; 32], expiry_day: 0, payload, until: Time(0) }
    }

    fn ends(row: &Row<u32>) -> Vec<End<u32>> {
        row.ways().map(|way| way.end).collect()
    }

    #[test]
    fn what_comes_late_over_an_earlier_path_leaves_the_way_as_it_is() {
        let mut row = row();
        row.came_over((7, 70), [0; 32], (10, false));
        row.came_over((8, 80), [0; 32], (11, false));
        assert!(!row.came_over((7, 70), [0; 32], (10, false)));
        row.lost(Time(1), (7, 70));
        assert_eq!(ends(&row), [(8, 80)]);
        assert!(row.is_whole());
    }

    #[test]
    fn the_two_paths_of_a_publisher_are_numbered_each_for_itself() {
        // The announcement over the second path arrives first.
        let mut row = row();
        row.came_over((9, 90), [0; 32], (6, true));
        row.came_over((7, 70), [0; 32], (5, false));
        assert_eq!(ends(&row), [(7, 70), (9, 90)]);
    }
}
