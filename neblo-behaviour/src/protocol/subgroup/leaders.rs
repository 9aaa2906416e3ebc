//! Leaders among themselves: registering on the ring, finding one another, neighbours in the multicast (design D13), and two
//! leaders of one subgroup.

use std::cmp::Reverse;

use super::*;
use crate::protocol::io::shuffle;

/// How often, and how many times, a new leader registers and looks for others before it settles. choice
const RENEW_YOUNG: Duration = Duration::from_millis(1_500);
const YOUNG_ROUNDS: u32 = 8;
/// Leaders that a leader keeps as neighbours in the multicast (design D13).
const LINKS: usize = 8;
/// A neighbour that was not heard of as a leader for this long is none any more: two renewals, and a little. choice
const LINK_LASTS: Duration = Duration::from_secs(35);
/// Former members asked who leads. choice
const ASKED_OF_RIVAL: usize = 3;
/// How often, and how many times, the registry is asked for a leader that somebody wants. choice
const SEEK_EVERY: Duration = Duration::from_millis(500);
const SEEKS: u32 = 12;

impl<P: Peer> Subgroups<P> {
    /// The own row in the registry.
    pub fn own_row(&self) -> Option<LeaderRow<P>> {
        let (home, _) = (self.home()?, self.leading.as_ref()?);
        let members = home.list.members.iter().filter(|member| !member.guest).count();
        Some(LeaderRow {
            statement: home.leader()?.clone(),
            term: home.list.term,
            size: u16::try_from(members).unwrap_or(u16::MAX),
            full: u16::try_from(self.config.full).unwrap_or(u16::MAX),
        })
    }

    /// Registers, looks for other leaders, and after its own.
    pub(super) fn renew(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if self.leading.as_ref().is_none_or(|leading| leading.renewing != generation) {
            return;
        }
        let now = ctx.now;
        self.leaders.retain(|_, (_, until)| *until > now);
        if let Some(row) = self.own_row() {
            let subgroup = row.statement.subgroup;
            let payload = to_bytes(&RegistryRequest::Register(row));
            for to in [subgroup, registry::bucket_of(&self.config.network, subgroup)] {
                let token = self.next_number();
                ctx.out.emit(SubgroupEvent::Ask { token, copies: COPIES, to, payload: payload.clone() });
            }
        }
        self.ask_buckets(ctx);
        if let Some(subgroup) = self.home().map(Membership::subgroup) {
            // Does anybody else lead it?
            let token = self.next_number();
            let payload = to_bytes(&RegistryRequest::<P>::Find(FindRows { most: 1 }));
            ctx.out.emit(SubgroupEvent::Ask { token, copies: COPIES, to: subgroup, payload });
        }
        let renewing = self.next_number();
        // A new leader looks more often: others may have begun at the same moment.
        let rounds = self.leading.as_mut().map_or(0, |leading| {
            leading.renewing = renewing;
            leading.rounds = leading.rounds.saturating_add(1);
            leading.rounds
        });
        let young = rounds <= YOUNG_ROUNDS;
        ctx.out.arm(if young { RENEW_YOUNG } else { registry::RENEW }, SubgroupTimer::Renew(renewing));
        self.look_after_links(ctx, !young);
        self.greet_leaders(ctx);
        if self.wants_guest && self.leaders().next().is_some() {
            self.want_guest(ctx, keys);
        }
        if !young {
            self.put_in_order(ctx, keys);
            self.consider_merging(ctx, keys);
        }
    }

    /// Neighbours in the multicast that lead no more are let go; the others are asked whether they still do.
    fn look_after_links(&mut self, ctx: &mut SubgroupCtx<'_, P>, ask: bool) {
        let (now, row) = (ctx.now, self.own_row());
        let Some(leading) = &mut self.leading else { return };
        // An answer that was lost makes room for another.
        leading.asked.clear();
        let gone: Vec<_> = leading.linked.iter().filter(|(_, heard)| now.since(*heard) > LINK_LASTS).cloned().collect();
        for (gone, _) in gone {
            self.unlink(ctx, gone.peer);
        }
        if let (Some(leading), Some(row), true) = (&self.leading, row, ask) {
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
    pub(super) fn greet_leaders(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        let Some(row) = self.own_row() else { return };
        let mut others: Vec<_> = self.leaders().map(|other| other.statement.contact.clone()).collect();
        let Some(leading) = &mut self.leading else { return };
        others.retain(|other| !leading.linked().any(|linked| linked == other) && !leading.asked.contains(&other.peer));
        shuffle(ctx.rng, &mut others);
        let room = LINKS.saturating_sub(leading.linked.len() + leading.asked.len());
        for other in others.into_iter().take(room) {
            leading.asked.push(other.peer);
            let hello = LeaderHello { row: row.clone(), answer: false };
            ctx.out.send(&other, SubgroupMessage::LeaderHello(hello));
        }
    }

    pub(super) fn greeted(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, hello: LeaderHello<P>) {
        let statement = &hello.row.statement;
        if statement.contact.peer != from || !statement.holds(keys, ctx.unix) {
            return;
        }
        self.heard_of(ctx.now, hello.row.clone());
        self.found_sought(ctx);
        let Some(row) = self.own_row() else { return };
        if row.statement.subgroup == statement.subgroup {
            return self.rival(ctx, keys, &hello.row);
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

    // ---- two leaders of one subgroup ---------------------------------------------------------------------------

    /// Another peer speaks as the leader of our subgroup. Leaders that were silent or parted from us for a while do not know that
    /// somebody else leads it: the one of the lower term is told, or of two alike the larger peer.
    pub(super) fn contest(&self, ctx: &mut SubgroupCtx<'_, P>, from: P, subgroup: OverlayAddr, term: u64) {
        let (Some(row), Some(home)) = (self.own_row(), self.home()) else { return };
        if home.subgroup() == subgroup && (home.list.term, Reverse(self.me.peer)) > (term, Reverse(from)) {
            let hello = LeaderHello { row, answer: true };
            ctx.out.send(&Contact::bare(from), SubgroupMessage::LeaderHello(hello));
        }
    }

    /// Somebody else is said to lead our subgroup. If it has the better right it gets it, if it is or was a member of ours, or if
    /// former members say that it leads them: otherwise anybody could depose a leader.
    pub(super) fn rival(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, row: &LeaderRow<P>) {
        let Some(own) = self.own_row() else { return };
        let rival = row.statement.contact.clone();
        if row.statement.subgroup != own.statement.subgroup || rival.peer == self.me.peer {
            return;
        }
        if self.observed.banned.contains(&rival.peer) {
            return;
        }
        if registry::outranks(&own, row) {
            let hello = LeaderHello { row: own, answer: true };
            return ctx.out.send(&rival, SubgroupMessage::LeaderHello(hello));
        }
        let member = self.home().is_some_and(|home| home.list.member(rival.peer).is_some());
        if member || self.observed.former.contains(&rival) {
            return self.make_room(ctx, keys, rival);
        }
        let mut former = self.observed.former.clone();
        shuffle(ctx.rng, &mut former);
        let request = self.next_number();
        for former in former.iter().take(ASKED_OF_RIVAL) {
            ctx.out.send(former, SubgroupMessage::Which(Which { request }));
        }
        if let Some(leading) = &mut self.leading {
            leading.rival = Some((request, rival));
        }
    }

    /// A former member says which subgroup it is in, and who leads it.
    pub(super) fn rival_confirmed(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        answer: &InSubgroup<P>,
    ) {
        let Some((request, rival)) = self.leading.as_ref().and_then(|leading| leading.rival.clone()) else { return };
        let former = self.observed.former.iter().any(|former| former.peer == from);
        let same = answer.subgroup.is_some() && answer.subgroup == self.home().map(Membership::subgroup);
        if former && same && answer.request == request && answer.leader.as_ref() == Some(&rival) {
            self.make_room(ctx, keys, rival);
        }
    }

    /// Stops leading for another leader of the same subgroup, to whom the members go too.
    fn make_room(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, other: Contact<P>) {
        let Some(home) = self.home.membership.take() else { return };
        let subgroup = home.subgroup();
        for member in home.relays(self.me.peer).filter(|member| **member != other) {
            let there = MoveTo { subgroup, to: subgroup, leader: other.clone() };
            ctx.out.send(member, SubgroupMessage::MoveTo(there));
        }
        if self.is_leaving() {
            self.home.membership = Some(home);
            return self.leave_at_once(ctx);
        }
        self.step_down(ctx);
        ctx.out.emit(SubgroupEvent::Changed { guest: false, leader: true });
        self.unseated(ctx.now);
        self.ask_leader(ctx, keys, false, subgroup, other);
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
        let token = self.next_number();
        let payload = to_bytes(&RegistryRequest::<P>::Find(FindRows { most: 1 }));
        ctx.out.emit(SubgroupEvent::Ask { token, copies: COPIES, to: subgroup, payload });
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
