//! Another leader takes over when the leader dies (seed 003 §2, §4; design D9).
//!
//! The list of candidates is the member list in its order. Each member waits for the first living candidate to show a
//! list of a higher term, and passes on to the next when it does not.

use super::*;
use crate::protocol::codec::Blob;

/// How long the leader itself has to let us in again. It is not dead if it closed the link because it took us for dead: who
/// then takes over leads a subgroup beside the one that is there. choice
const RETURNS_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a peer that was stopped does not take over: what it knows of the members is old, and if the leader is dead somebody
/// else leads by now. choice
const NOT_AFTER_SLEEP: Duration = Duration::from_secs(15);
/// How long a candidate has to show itself as the leader. choice
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(super) struct Succession {
    generation: u64,
    /// The candidate that is tried next.
    next: usize,
}

/// What becomes of the leader before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It is dead.
    Dead,
    /// It leaves, and waits for word of that.
    Leaves,
    /// It becomes a member.
    Stays,
}

impl<P: Peer> Subgroups<P> {
    /// This peer goes on after it was stopped.
    pub fn awoke(&mut self, now: Time) {
        self.awoke = Some(now);
    }

    fn was_asleep(&self, now: Time) -> bool {
        self.awoke.is_some_and(|awoke| now.since(awoke) < NOT_AFTER_SLEEP)
    }

    pub(super) fn candidates(&self) -> Vec<Contact<P>> {
        let members = self.home().map(|home| home.list.members.as_slice()).unwrap_or_default();
        members.iter().skip(1).filter(|member| !member.guest).map(|member| member.contact.clone()).collect()
    }

    /// This peer's place among the candidates, from 1.
    pub fn place(&self) -> Option<usize> {
        self.candidates().iter().position(|candidate| candidate.peer == self.me.peer).map(|at| at + 1)
    }

    pub(super) fn leader_lost(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let leader = self.home().and_then(|home| Some((home.subgroup(), home.leader()?.contact.clone())));
        let Some((subgroup, leader)) = leader.filter(|_| self.succession.is_none()) else { return };
        if self.believe_at_once(ctx, keys, false, leader.peer) {
            return;
        }
        self.unseated(ctx.now);
        let generation = self.next_number();
        self.succession = Some(Succession { generation, next: 0 });
        let term = self.home().map(|home| home.list.term);
        // What was said long before this link ended was not about this, and may have been said to have the leader passed by.
        let told = |(of, at): (u64, Time)| Some(of) == term && ctx.now.since(at) < TAKES_OVER_WITHIN;
        if self.told_of.take().is_some_and(told) && self.place() == Some(1) && !self.was_asleep(ctx.now) {
            // Whoever said so has given it its time to come back.
            return self.take_over(ctx, keys, Before::Dead);
        }
        self.ask_leader(ctx, keys, false, subgroup, leader);
        ctx.out.arm(RETURNS_WITHIN, SubgroupTimer::Succession(generation));
    }

    /// The leader was shown to have signed two lists for one version: it is not asked to come back.
    pub(super) fn leader_deposed(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        self.unseated(ctx.now);
        self.try_candidate(ctx, keys, 0);
    }

    /// A peer could not be reached: it is not the leader that comes back, or it is no neighbour in the multicast.
    pub fn unreachable(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        if let Some(leading) = &mut self.leading {
            leading.unreachable(peer);
            self.not_reached(peer);
        }
        let waits = self.succession.is_some_and(|succession| succession.next == 0);
        if waits && self.home().and_then(Membership::leader).is_some_and(|leader| leader.contact.peer == peer) {
            self.try_candidate(ctx, keys, 0);
        }
    }

    fn try_candidate(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, tried: usize) {
        let Some(home) = self.home().cloned() else { return };
        if self.home.since.is_some_and(|since| ctx.now.since(since) >= LOOKS_FOR) {
            self.succession = None;
            let subgroup = self.random_subgroup(ctx);
            return self.create(ctx, keys, subgroup);
        }
        let statement = self.statement(ctx.unix, keys, home.subgroup(), false);
        match self.candidates().get(tried) {
            Some(candidate) if candidate.peer == self.me.peer && self.was_asleep(ctx.now) => {
                self.try_candidate(ctx, keys, tried + 1);
            }
            Some(candidate) if candidate.peer == self.me.peer => self.take_over(ctx, keys, Before::Dead),
            Some(candidate) => {
                let generation = self.next_number();
                self.succession = Some(Succession { generation, next: tried + 1 });
                let suspect = Suspect { subgroup: home.subgroup(), term: home.list.term };
                ctx.out.send(candidate, SubgroupMessage::Suspect(suspect));
                // It may lead already, with us left out because we were silent.
                if let Some(statement) = statement {
                    ctx.out.send(candidate, SubgroupMessage::Join(JoinSubgroup { statement }));
                }
                ctx.out.arm(TAKES_OVER_WITHIN, SubgroupTimer::Succession(generation));
            }
            None => {
                // Nobody took over: ask the registry, as a newcomer would.
                self.succession = None;
                self.home.steps = 0;
                self.find(ctx, false, home.subgroup());
            }
        }
    }

    pub(super) fn succession_expired(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if let Some(succession) = self.succession.filter(|succession| succession.generation == generation) {
            self.try_candidate(ctx, keys, succession.next);
        }
    }

    /// "The leader is dead; you are next." Our own link decides: it is probed, and tells us when it is.
    pub(super) fn suspected(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, suspect: &Suspect) {
        let Some(home) = self.home().filter(|home| home.list.member(from).is_some()) else { return };
        let leader = home.leader().map(|leader| leader.contact.peer);
        if home.subgroup() == suspect.subgroup && home.list.term == suspect.term && !self.leads() {
            if self.succession.is_none() {
                self.told_of = Some((suspect.term, ctx.now));
                return leader.into_iter().for_each(|leader| ctx.out.emit(SubgroupEvent::Missed(leader)));
            }
            let mine = self.candidates().iter().position(|candidate| candidate.peer == self.me.peer);
            if let (Some(mine), Some(succession)) = (mine, self.succession)
                && mine <= succession.next
                && !self.was_asleep(ctx.now)
            {
                self.take_over(ctx, keys, Before::Dead);
            }
        }
    }

    pub(super) fn take_over(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, before: Before) {
        let Some(home) = self.home().cloned() else { return };
        self.succession = None;
        let old = home.leader().map(|leader| leader.contact.clone());
        let mut members = home.list.members.clone().into_inner();
        let stays = |peer: P| before == Before::Stays || old.as_ref().is_none_or(|old| old.peer != peer);
        members.retain(|member| stays(member.contact.peer) && !self.observed.banned.contains(&member.contact.peer));
        let Some(mine) = members.iter().position(|member| member.contact.peer == self.me.peer) else { return };
        let mine = members.remove(mine);
        members.insert(0, mine);
        let list = MemberList {
            subgroup: home.subgroup(),
            term: home.list.term.saturating_add(1),
            version: home.list.version.saturating_add(1),
            members: List::chop(members),
            signature: Blob::default(),
        };
        self.home.stage = Stage::In;
        self.lead(ctx, keys, list);
        let Some(home) = self.home() else { return };
        for member in home.relays(self.me.peer).chain(old.iter().filter(|_| before == Before::Leaves)) {
            ctx.out.send(member, SubgroupMessage::Members(home.list.clone()));
        }
    }
}
