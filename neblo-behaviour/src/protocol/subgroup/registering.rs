//! What the registry is asked, and what is made of its answers: by a leader, which has a row of its own there, and by whoever looks
//! for leaders.
//!
//! Others come and go seldom, tell one another of it ([`leaders`](super::leaders)), and a row is long. So a leader that has settled asks
//! one copy of one bucket a round, each time another one, and says what it knows: mostly the answer is that there is nothing else. Of more
//! leaders than fit in one answer each bucket is asked in each round: each time for others, of which some are forgotten meanwhile.

use super::*;

/// Rounds of a leader that has settled in which it asks for each bucket once, and renews its row.
const ALL: u32 = registry::BUCKETS as u32;
/// Each second time a bucket is asked for all rows, however well they are known: how many members a subgroup has does not count as
/// news. choice: each two minutes
const ANEW: u32 = 2;
/// How often a leader that has settled asks whether somebody else is registered for its subgroup, in rounds. choice: each two minutes. It
/// is told of any other by its bucket, too
const ALONE: u32 = 8;
/// A round of a leader that has settled.
pub(crate) const ROUND: Duration = Duration::from_secs(registry::RENEW.as_secs() / ALL as u64);

impl<P: Peer> Subgroups<P> {
    /// The own row in the registry.
    pub(super) fn own_row(&self, keys: &dyn Keys<P>) -> Option<LeaderRow<P>> {
        Some(self.unsigned_row()?.sign(keys))
    }

    fn unsigned_row(&self) -> Option<LeaderRow<P>> {
        let (home, _) = (self.home()?, self.leading.as_ref()?);
        let members = home.list.members.iter().filter(|member| !member.guest).count();
        Some(LeaderRow {
            statement: home.leader()?.clone(),
            term: home.list.term,
            size: u16::try_from(members).unwrap_or(u16::MAX),
            full: u16::try_from(self.config.full).unwrap_or(u16::MAX),
            signature: Default::default(),
        })
    }

    /// Registers, and looks for others: in this round of a leader that has settled, or all at once.
    pub(super) fn use_registry(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, settled: Option<u32>) {
        self.register(ctx, keys, settled.is_none_or(|round| round.is_multiple_of(ALL)));
        match settled {
            Some(round) => self.ask_buckets_again(ctx, round),
            None => self.ask_buckets(ctx),
        }
        // Does anybody else lead it?
        let recipients = match settled {
            Some(round) if !round.is_multiple_of(ALONE) => return,
            Some(round) => Recipients::Only((round / ALONE % u32::from(COPIES)) as u8),
            None => ALL_COPIES,
        };
        if let Some(subgroup) = self.home().map(Membership::subgroup) {
            let token = self.next_number();
            let payload = to_bytes(&RegistryRequest::<P>::Find(FindRows { most: 1, known: None }));
            ctx.out.emit(SubgroupEvent::Ask { token, recipients, to: subgroup, payload });
        }
    }

    /// Renews the own row, at the subgroup's address and in its bucket, if it is time to or if it says something else than before.
    fn register(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, due: bool) {
        let Some(row) = self.unsigned_row() else { return };
        let Some(leading) = &mut self.leading else { return };
        let says = registry::digest(std::iter::once(&row));
        if leading.registered.replace(says) == Some(says) && !due {
            return;
        }
        let subgroup = row.statement.subgroup;
        let payload = to_bytes(&RegistryRequest::Register(row.sign(keys)));
        for to in [subgroup, registry::bucket_of(&self.config.network, subgroup)] {
            let token = self.next_number();
            ctx.out.emit(SubgroupEvent::Ask { token, recipients: ALL_COPIES, to, payload: payload.clone() });
        }
    }

    /// Asks all copies of all buckets for all that they have.
    pub(super) fn ask_buckets(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        for bucket in 0..registry::BUCKETS {
            self.ask_bucket(ctx, bucket, ALL_COPIES, None);
        }
    }

    /// Asks one copy of a bucket for what is not known yet.
    fn ask_buckets_again(&mut self, ctx: &mut SubgroupCtx<'_, P>, round: u32) {
        self.buckets_asked.clear();
        let turn = round / ALL;
        let crowded = std::mem::take(&mut self.crowded);
        for bucket in (0..registry::BUCKETS).filter(|bucket| crowded || u32::from(*bucket) == round % ALL) {
            let known = (!turn.is_multiple_of(ANEW)).then(|| self.digest_of_bucket(ctx.now, bucket));
            let copy = if crowded { round } else { turn } % u32::from(COPIES);
            self.ask_bucket(ctx, bucket, Recipients::Only(copy as u8), known);
        }
    }

    fn ask_bucket(&mut self, ctx: &mut SubgroupCtx<'_, P>, bucket: u8, recipients: Recipients, known: Option<u64>) {
        let token = self.next_number();
        if known.is_some() {
            self.buckets_asked.push((token, bucket));
        }
        let payload = to_bytes(&RegistryRequest::<P>::Find(FindRows { most: MAX_ROWS as u16, known }));
        let to = registry::bucket_address(&self.config.network, bucket);
        ctx.out.emit(SubgroupEvent::Ask { token, recipients, to, payload });
    }

    /// The leaders of a bucket that were heard of, this one among them by the row that it registered last.
    fn digest_of_bucket(&self, now: Time, bucket: u8) -> u64 {
        let listed = |subgroup: &OverlayAddr| registry::bucket_number(*subgroup) == bucket;
        let rows = self.leaders.iter().filter(|(subgroup, (_, until))| listed(subgroup) && *until > now);
        registry::digest(rows.map(|(_, (row, _))| row))
    }

    /// The registry answered.
    pub fn answered(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        token: u64,
        result: Result<Vec<u8>, Failure>,
    ) {
        let asked = self.buckets_asked.iter().position(|(asked, _)| *asked == token);
        let bucket = asked.map(|at| self.buckets_asked.swap_remove(at).1);
        let answer = result.ok().and_then(|bytes| from_bytes::<Rows<P>>(&bytes).ok());
        if let (Some(bucket), Some(Rows { same: true, .. })) = (bucket, &answer) {
            return self.heard_of_all(ctx.now, bucket);
        }
        let rows = answer.map(|rows| rows.rows.into_inner()).unwrap_or_default();
        self.crowded |= rows.len() >= MAX_ROWS;
        let rows: Vec<_> = rows.into_iter().filter(|row| row.holds(keys, &self.config.cost, ctx.unix)).collect();
        if self.copy_answered(ctx, keys, token, &rows) {
            return;
        }
        for row in &rows {
            self.heard_of(ctx.now, row.clone());
            self.rival(ctx, keys, row.statement.subgroup, row.statement.contact.clone(), row.term);
        }
        self.found_sought(ctx);
        for guest in [false, true] {
            if matches!(self.seat(guest).stage, Stage::Listing) && !rows.is_empty() {
                self.soon(ctx, guest);
            }
        }
        self.greet_leaders(ctx, keys);
    }

    /// Somebody leads a subgroup. Whether that is news: nobody was known to, or another one.
    pub(super) fn heard_of(&mut self, now: Time, row: LeaderRow<P>) -> bool {
        let subgroup = row.statement.subgroup;
        let known = self.leaders.get(&subgroup).filter(|(_, until)| *until > now).map(|(old, _)| old);
        if known.is_some_and(|old| registry::outranks(old, &row) || registry::is_too_far(old, &row)) {
            return false;
        }
        let same = known.is_some_and(|old| old.statement.contact.peer == row.statement.contact.peer);
        if self.leaders.len() >= 4_096 && !self.leaders.contains_key(&subgroup) {
            return false;
        }
        self.vacant.remove(&subgroup);
        self.leaders.insert(subgroup, (row, now + registry::LASTS));
        !same
    }

    /// A bucket lists whom it did.
    fn heard_of_all(&mut self, now: Time, bucket: u8) {
        for (subgroup, (_, until)) in &mut self.leaders {
            if *until > now && registry::bucket_number(*subgroup) == bucket {
                *until = now + registry::LASTS;
            }
        }
    }
}
