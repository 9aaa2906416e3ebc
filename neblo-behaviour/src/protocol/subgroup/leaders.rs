//! Leaders among themselves: finding one another, neighbours in the multicast (design D13).

use super::*;
use crate::protocol::io::shuffle;

/// How often, and how many times, a new leader registers and looks for others before it settles. choice
const RENEW_YOUNG: Duration = Duration::from_millis(1_500);
const YOUNG_ROUNDS: u32 = 8;
/// Leaders that a leader keeps as neighbours in the multicast (design D13).
const LINKS: usize = 8;
/// Neighbours in the multicast are asked whether they lead so often, in rounds; one that was not heard of as a leader for this long is
/// none any more. choice: each minute, twice, an eighth longer as timers may be, and a little
const GREET: u32 = 4;
const LINK_LASTS: Duration = Duration::from_secs(140);
/// News of leaders that are taken of one neighbour, a second and at once. choice: leaders change a few times an hour, and all at once after
/// a partition
pub(super) const NEWS: (u64, u64) = (4, 256);
/// How often, and how many times, the registry is asked for a leader that somebody wants. choice
const SEEK_EVERY: Duration = Duration::from_millis(500);
const SEEKS: u32 = 12;

/// How long another leader is expected in the place of one that is gone. choice: as long as succession takes, and until the registry
/// has been asked twice
const VACANT: Duration = Duration::from_secs(30);
/// Subgroups without a leader that are remembered. choice
const MAX_VACANT: usize = 64;

impl<P: Peer> Subgroups<P> {
    /// Registers, looks for other leaders, and after its own.
    pub(super) fn renew(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if self.leading.as_ref().is_none_or(|leading| leading.renewing != generation) {
            return;
        }
        let now = ctx.now;
        self.leaders.retain(|_, (_, until)| *until > now);
        let renewing = self.next_number();
        // A new leader looks more often: others may have begun at the same moment.
        let rounds = self.leading.as_mut().map_or(0, |leading| {
            leading.renewing = renewing;
            leading.rounds = leading.rounds.saturating_add(1);
            leading.rounds
        });
        let young = rounds <= YOUNG_ROUNDS;
        self.use_registry(ctx, keys, (!young).then_some(rounds));
        ctx.out.arm(if young { RENEW_YOUNG } else { registering::ROUND }, SubgroupTimer::Renew(renewing));
        self.look_after_links(ctx, keys, !young && rounds.is_multiple_of(GREET));
        self.greet_leaders(ctx, keys);
        self.wants_guest |= !young && self.is_guest_anyway(ctx);
        if self.wants_guest && self.leaders().next().is_some() {
            self.want_guest(ctx, keys);
        }
        if !young {
            self.put_in_order(ctx, keys);
            self.consider_merging(ctx, keys);
        }
    }

    /// Neighbours in the multicast that lead no more are let go; the others are asked whether they still do.
    fn look_after_links(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, ask: bool) {
        let now = ctx.now;
        let row = ask.then(|| self.own_row(keys)).flatten();
        let Some(leading) = &mut self.leading else { return };
        // An answer that was lost makes room for another.
        leading.asked.clear();
        let gone: Vec<_> = leading.linked.iter().filter(|(_, heard)| now.since(*heard) > LINK_LASTS).cloned().collect();
        for (gone, _) in gone {
            self.unlink(ctx, gone.peer);
        }
        if let (Some(leading), Some(row)) = (&self.leading, row) {
            for linked in leading.linked() {
                let hello = LeaderHello { row: row.clone(), answer: false };
                ctx.out.send(linked, SubgroupMessage::LeaderHello(hello));
            }
        }
    }

    pub(super) fn unlink(&mut self, ctx: &mut SubgroupCtx<'_, P>, peer: P) {
        let Some(leading) = &mut self.leading else { return };
        if let Some(at) = leading.linked.iter().position(|(linked, _)| linked.peer == peer) {
            let (linked, _) = leading.linked.remove(at);
            ctx.out.emit(SubgroupEvent::LeaderLink(linked, false));
        }
    }

    /// Makes neighbours of up to eight random leaders (design D13).
    pub(super) fn greet_leaders(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let room =
            self.leading.as_ref().map_or(0, |leading| LINKS.saturating_sub(leading.linked.len() + leading.asked.len()));
        if room == 0 {
            return;
        }
        let mut others: Vec<_> = self.leaders().map(|other| other.statement.contact.clone()).collect();
        let Some(leading) = &self.leading else { return };
        others.retain(|other| !leading.linked().any(|linked| linked == other) && !leading.asked.contains(&other.peer));
        shuffle(ctx.rng, &mut others);
        let Some(row) = self.own_row(keys).filter(|_| !others.is_empty()) else { return };
        let Some(leading) = &mut self.leading else { return };
        for other in others.into_iter().take(room) {
            leading.asked.push(other.peer);
            let hello = LeaderHello { row: row.clone(), answer: false };
            ctx.out.send(&other, SubgroupMessage::LeaderHello(hello));
        }
    }

    pub(super) fn greeted(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, hello: LeaderHello<P>) {
        let statement = &hello.row.statement;
        if statement.contact.peer != from || !hello.row.holds(keys, &self.config.cost, ctx.unix) {
            return;
        }
        if self.heard_of(ctx.now, hello.row.clone()) {
            self.tell_leaders(ctx, from, &hello.row);
        }
        self.found_sought(ctx);
        let Some(row) = self.own_row(keys) else { return };
        if row.statement.subgroup == statement.subgroup {
            return self.rival(ctx, keys, statement.subgroup, statement.contact.clone(), hello.row.term);
        }
        let Some(leading) = &mut self.leading else { return };
        leading.asked.retain(|asked| *asked != from);
        if let Some((_, heard)) = leading.linked.iter_mut().find(|(linked, _)| linked.peer == from) {
            *heard = ctx.now;
        } else {
            if leading.linked.len() >= 2 * LINKS {
                return;
            }
            leading.linked.push((statement.contact.clone(), ctx.now));
            ctx.out.emit(SubgroupEvent::LeaderLink(statement.contact.clone(), true));
        }
        if !hello.answer {
            let hello = LeaderHello { row, answer: true };
            ctx.out.send(&Contact::bare(from), SubgroupMessage::LeaderHello(hello));
        }
    }

    /// Another one leads a subgroup: the neighbours in the multicast are told, but not whom it was heard of from.
    fn tell_leaders(&mut self, ctx: &mut SubgroupCtx<'_, P>, from: P, row: &LeaderRow<P>) {
        let about = row.statement.contact.peer;
        for linked in self.leading.iter().flat_map(Leading::linked).filter(|to| to.peer != from && to.peer != about) {
            ctx.out.send(linked, SubgroupMessage::LeaderNews(row.clone()));
        }
    }

    /// A neighbour in the multicast has heard of a leader. What is news here goes on to the others, so that all have heard of it within
    /// some round trips; what is none ends here.
    pub(super) fn told_of_leader(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        row: LeaderRow<P>,
    ) {
        let linked = self.leading.as_ref().is_some_and(|leading| leading.linked().any(|linked| linked.peer == from));
        let known =
            self.leader_of(row.statement.subgroup).is_some_and(|known| known.peer == row.statement.contact.peer);
        if !linked || known || !self.news.take(ctx.now, from, 1) || !row.holds(keys, &self.config.cost, ctx.unix) {
            return;
        }
        if self.heard_of(ctx.now, row.clone()) {
            self.tell_leaders(ctx, from, &row);
            self.found_sought(ctx);
            self.rival(ctx, keys, row.statement.subgroup, row.statement.contact.clone(), row.term);
        }
    }

    /// A leader is gone, or only the connection to it: another one is expected in its place for a while.
    pub(super) fn leader_gone(&mut self, now: Time, peer: P) {
        self.vacant.retain(|_, (_, until)| *until > now);
        self.leaders.retain(|subgroup, (row, _)| {
            let stays = row.statement.contact.peer != peer;
            if !stays && self.vacant.len() < MAX_VACANT {
                self.vacant.insert(*subgroup, (row.statement.contact.clone(), now + VACANT));
            }
            stays
        });
    }

    /// Subgroups whose leader was lost lately, or only the connection to it, and who it was. Whoever leads there now is to be asked, too.
    pub fn vacant(&self, now: Time) -> impl Iterator<Item = (OverlayAddr, &Contact<P>)> {
        let mine = self.home().map(Membership::subgroup).filter(|_| self.leads());
        let left = self.vacant.iter().filter(move |(subgroup, (_, until))| *until > now && Some(**subgroup) != mine);
        left.map(|(subgroup, (leader, _))| (*subgroup, leader))
    }

    // ---- leaders that others want to know ----------------------------------------------------------------------

    /// Asks the registry who leads a subgroup, several times if need be; it is not `but`. Comes back as
    /// [`SubgroupEvent::Found`].
    pub fn seek_leader(&mut self, ctx: &mut SubgroupCtx<'_, P>, subgroup: OverlayAddr, but: Option<P>) {
        if self.sought.len() >= MAX_SOUGHT && !self.sought.contains_key(&subgroup) {
            return;
        }
        let new = self.sought.insert(subgroup, (but, 0)).is_none();
        self.found_sought(ctx);
        if new && self.sought.contains_key(&subgroup) {
            self.seek_again(ctx, subgroup);
        }
    }

    pub(super) fn seek_again(&mut self, ctx: &mut SubgroupCtx<'_, P>, subgroup: OverlayAddr) {
        let Some((_, times)) = self.sought.get_mut(&subgroup) else { return };
        *times += 1;
        if *times > SEEKS {
            self.sought.remove(&subgroup);
            return;
        }
        self.inquire(ctx, subgroup);
        ctx.out.arm(SEEK_EVERY, SubgroupTimer::Seek(subgroup));
    }

    pub(super) fn found_sought(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        let leader = |subgroup: &OverlayAddr, but: &Option<P>| {
            self.leader_of(*subgroup).filter(|leader| Some(leader.peer) != *but).cloned()
        };
        let found: Vec<_> =
            self.sought.iter().filter_map(|(subgroup, (but, _))| Some((*subgroup, leader(subgroup, but)?))).collect();
        for (subgroup, leader) in found {
            self.sought.remove(&subgroup);
            ctx.out.emit(SubgroupEvent::Found(subgroup, leader));
        }
    }
}
