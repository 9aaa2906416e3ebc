//! Small subgroups are given up (seed 003 §2: "the nodes will be requested by their leader to join another subgroup if the
//! subgroup size is less than a threshold value").
//!
//! The threshold is a quarter of full (design D9), and at least four. A leader whose subgroup has been below it for [`SMALL_FOR`] looks for one
//! that has room for all. Of two small ones the one with fewer members, and of two alike the one with the smaller id, goes into
//! the other, so that they never swap members. Each member keeps its place until the other leader has let it in, and announces
//! over new paths at once; one that is not let in stays. The leader goes last, and takes its registration back.

use super::*;

/// A subgroup may be small for so long, while it is young or has just lost many. choice
const SMALL_FOR: Duration = Duration::from_secs(30);

/// Members below which a subgroup is small however few it takes to fill one: there are no paths worth the name (design D18).
const FEWEST: usize = 4;

impl<P: Peer> Subgroups<P> {
    /// Members of the home subgroup, guests left out.
    fn size(&self) -> usize {
        self.home().map_or(0, |home| home.list.members.iter().filter(|member| !member.guest).count())
    }

    fn is_small(&self) -> bool {
        self.size() < self.config.full.div_ceil(4).max(FEWEST).min(self.config.full)
    }

    /// As a leader, from time to time.
    pub(super) fn consider_merging(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let (small, now) = (self.is_small(), ctx.now);
        let Some(leading) = &mut self.leading else { return };
        leading.into = None;
        if !small || self.handing.is_some() {
            leading.small_since = None;
            return;
        }
        let since = *leading.small_since.get_or_insert(now);
        if now.since(since) < SMALL_FOR {
            return;
        }
        let Some(home) = self.home().cloned() else { return };
        let size = self.size();
        let rank = |row: &LeaderRow<P>| (usize::from(row.size), row.statement.subgroup);
        let fits = |row: &&LeaderRow<P>| {
            usize::from(row.size) + size <= usize::from(row.full) && rank(row) > (size, home.subgroup())
        };
        // The largest with room, so that nobody has to move twice.
        let Some(row) = self.leaders().filter(fits).max_by_key(|row| rank(row)).cloned() else { return };
        let (to, leader) = (row.statement.subgroup, row.statement.contact.clone());
        if let Some(leading) = &mut self.leading {
            leading.into = Some((to, leader.clone()));
        }
        let there = MoveTo { subgroup: home.subgroup(), to, leader };
        for member in home.list.members.iter().skip(1).filter(|member| !member.guest) {
            ctx.out.send(&member.contact, SubgroupMessage::MoveTo(there.clone()));
        }
        self.go_last(ctx, keys);
    }

    /// When all members have gone the leader goes after them.
    pub(super) fn go_last(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let into = self.leading.as_ref().and_then(|leading| leading.into.clone());
        let Some((to, leader)) = into.filter(|_| self.size() == 1 && matches!(self.home.stage, Stage::In)) else {
            return;
        };
        self.home.steps = 0;
        self.ask_leader(ctx, keys, false, to, leader);
    }

    /// The leader was let in elsewhere: its own subgroup is no more.
    pub(super) fn dissolve(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let Some(home) = self.home().filter(|_| self.leads()).cloned() else { return };
        let (subgroup, term) = (home.subgroup(), home.list.term);
        let payload = to_bytes(&RegistryRequest::<P>::Unregister(Unregister::of(keys, subgroup, term)));
        for to in [subgroup, registry::bucket_of(&self.config.network, subgroup)] {
            let token = self.next_number();
            ctx.out.emit(SubgroupEvent::Ask { token, recipients: ALL_COPIES, to, payload: payload.clone() });
        }
        // Guests look elsewhere; other leaders ask it no more.
        let linked = self.leading.iter().flat_map(|leading| leading.linked());
        for member in home.relays(self.me.peer).chain(linked) {
            ctx.out.send(member, SubgroupMessage::Leave(LeaveSubgroup { subgroup }));
        }
        self.step_down(ctx);
    }

    /// The leader asks us to join another subgroup, or another leader of this one.
    pub(super) fn told_to_move(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, there: MoveTo<P>) {
        if there.leader.peer == self.me.peer {
            return;
        }
        for guest in [false, true] {
            if !guest && self.leads() {
                continue;
            }
            let Some(membership) = &self.seat(guest).membership else { continue };
            let by_leader = membership.leader().is_some_and(|leader| leader.contact.peer == from);
            if !by_leader || membership.subgroup() != there.subgroup || !matches!(self.seat(guest).stage, Stage::In) {
                continue;
            }
            if !guest && there.to == there.subgroup {
                if self.observed.banned.contains(&there.leader.peer) {
                    return;
                }
                self.unseated(ctx.now);
            }
            self.seat(guest).steps = 0;
            return self.ask_leader(ctx, keys, guest, there.to, there.leader);
        }
    }
}
