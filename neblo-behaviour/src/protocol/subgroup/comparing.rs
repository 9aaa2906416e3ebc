//! Members show one another the root of the list that they have; a leader that signs two for one version is followed no more
//! (design D9).
//!
//! Every member shows its root to one random member each [`COMPARE`] while the list is new, and more seldom when it has not changed for
//! some rounds. Of two members with different lists for one version one
//! at least holds the rarer one, and picks a holder of the other soon; both signatures together are the proof, which each that
//! checks it passes on once to all whom it knows. So a leader with two lists for a version is deposed within
//! [`DEPOSED_WITHIN`]: two rounds of comparing, and the time that a candidate has to take over. A member that sees that it is
//! behind asks the other for its list, so that nobody keeps a version apart from the others for longer than that either.
//!
//! Each third round, or each second of the seldom ones, it is the leader that is shown the root. One that leads no more, and whose word of that did not arrive,
//! answers with what it follows now: else members that know only one another would wait for it for ever.

use super::*;
use crate::protocol::io::below;

/// How often a member shows its root. choice: some 250 bytes each time
const COMPARE: Duration = Duration::from_secs(5);
/// Rounds after the last change of the list until they become seldom, and what they take then. choice: two lists for one version are both
/// new, and whoever holds the rarer one meets a holder of the other in the first or second
const BRISK: u32 = 3;
const SELDOM: Duration = Duration::from_secs(60);
/// The round in which the leader is shown the root, while they are brisk and when they are seldom: in the third round after a
/// change, and each second minute. choice: a leader of 50 answers at most four of these a second
const TO_LEADER: (u32, u32) = (3, 2);
/// Within this a leader that has signed two lists for one version is followed no more: see above.
pub const DEPOSED_WITHIN: Duration = Duration::from_secs(15);
/// Frames of this kind of one member that are looked at in one round, and of all others together: a signature is checked for
/// one. choice
const MOST_A_ROUND: u32 = 8;
/// Roots kept. choice
const MAX_ROOTS: usize = 8;

impl<P: Peer> Subgroups<P> {
    /// Begins when a home is there, and goes on until there is none.
    pub(super) fn compare_later(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        if self.comparing == 0 {
            self.comparing = self.next_number();
            let wait = if self.unchanged < BRISK { COMPARE } else { SELDOM };
            ctx.out.arm(wait, SubgroupTimer::Compare(self.comparing));
        }
    }

    /// The list is another one: it is shown soon, also by who was about to show the last one much later.
    pub(super) fn compare_anew(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        if std::mem::take(&mut self.unchanged) >= BRISK {
            self.comparing = 0;
        }
        self.compare_later(ctx);
    }

    pub(super) fn compare_expired(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if generation != self.comparing {
            return;
        }
        self.comparing = 0;
        self.compared.clear();
        self.state_again(ctx, keys);
        let Some(home) = self.home() else { return };
        let leader = home.leader().filter(|leader| leader.contact.peer != self.me.peer);
        let each = if self.unchanged < BRISK { TO_LEADER.0 } else { TO_LEADER.1 };
        let other = match leader.filter(|_| self.rounds % each == each - 1) {
            Some(leader) => Some(leader.contact.clone()),
            None => {
                let count = home.relays(self.me.peer).count();
                home.relays(self.me.peer).nth(below(ctx.rng, count)).cloned()
            }
        };
        self.rounds = self.rounds.wrapping_add(1);
        self.unchanged = self.unchanged.saturating_add(1);
        self.compare_later(ctx);
        if let Some((other, root)) = other.zip(self.home().map(|home| home.root.clone())) {
            ctx.out.send(&other, SubgroupMessage::Compare(root));
        }
    }

    pub(super) fn remember_root(&mut self, root: ListRoot) {
        let roots = &mut self.observed.roots;
        if roots.len() >= MAX_ROOTS {
            roots.pop_front();
        }
        roots.push_back(root);
    }

    /// Whether one more frame of this round is looked at.
    fn has_patience(&mut self, from: P) -> bool {
        let member = self.home().is_some_and(|home| home.list.member(from).is_some());
        let compared = self.compared.entry(member.then_some(from)).or_insert(0);
        *compared += 1;
        *compared <= MOST_A_ROUND
    }

    /// Somebody takes us for one of a subgroup in which we are not: we have gone elsewhere since, or are back from a restart. Who is on
    /// its way into it says nothing.
    pub(super) fn elsewhere_by_now(&mut self, ctx: &mut SubgroupCtx<'_, P>, from: P, subgroup: OverlayAddr) {
        let into = |seat: &Seat<P>| match &seat.stage {
            Stage::Joining { subgroup: to, .. } | Stage::Finding { subgroup: to, .. } => *to == subgroup,
            Stage::Asking { .. } | Stage::Listing => true,
            Stage::Idle | Stage::In => false,
        };
        let comes = into(&self.home) || into(&self.guest) || !matches!(self.home.stage, Stage::In);
        if !comes && self.membership(subgroup).is_none() && self.has_patience(from) {
            ctx.out.send(&Contact::bare(from), SubgroupMessage::Leave(LeaveSubgroup { subgroup }));
        }
    }

    pub(super) fn shown_root(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, root: ListRoot) {
        let Some(home) = self.home() else { return };
        if home.subgroup() != root.subgroup {
            // It takes us for its leader, or a member.
            return self.elsewhere_by_now(ctx, from, root.subgroup);
        }
        let (ours, theirs) = ((home.list.term, home.list.version), (root.term, root.version));
        if !self.has_patience(from) {
            return;
        }
        if theirs > ours {
            let ask = AskMembers { subgroup: root.subgroup };
            return ctx.out.send(&Contact::bare(from), SubgroupMessage::AskMembers(ask));
        }
        let own = self.observed.roots.iter().find(|own| own.contradicts(&root)).cloned();
        if let Some(own) = own {
            return self.two_lists(ctx, keys, None, TwoLists { first: own, second: root });
        }
        if theirs < ours {
            // It is behind, or is none of us any more and does not know.
            let home = self.home().filter(|home| home.list.member(from).is_none());
            let there = home.and_then(Membership::leader).map(|leader| MoveTo {
                subgroup: root.subgroup,
                to: root.subgroup,
                leader: leader.contact.clone(),
            });
            let root = self.home().map(|home| home.root.clone());
            root.into_iter().for_each(|root| ctx.out.send(&Contact::bare(from), SubgroupMessage::Compare(root)));
            // If it takes us for its leader it goes to the one whom we follow now.
            there.into_iter().for_each(|there| ctx.out.send(&Contact::bare(from), SubgroupMessage::MoveTo(there)));
        }
    }

    /// A list that a member passes on, signed by the leader of both: it may have reached us late, or we are not on it.
    pub(super) fn list_passed_on(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        list: MemberList<P>,
    ) {
        let Some(home) = self.home().filter(|home| home.subgroup() == list.subgroup).cloned() else { return };
        let (Some(leader), Some(new)) = (home.leader(), list.leader()) else { return };
        let newer = (list.term, list.version) > (home.list.term, home.list.version);
        if self.leads() || !newer || !matches!(self.home.stage, Stage::In) || !self.has_patience(from) {
            return;
        }
        let root = list.list_root();
        if !root.holds(keys, new)
            || !new.holds(keys, &self.config.cost, ctx.unix)
            || self.observed.banned.contains(&new.contact.peer)
        {
            return;
        }
        let same = leader.contact == new.contact && list.term == home.list.term;
        let all_hold = list
            .members
            .iter()
            .all(|member| member.subgroup == list.subgroup && member.holds(keys, &self.config.cost, ctx.unix));
        if same && all_hold && list.member(self.me.peer).is_some() {
            return self.seated(ctx, false, Membership { list, root });
        }
        // Another leads, or we were left out: that leader is asked.
        let leader = new.contact.clone();
        if self.leader_lives(false, leader.peer) {
            return self.claimed(ctx, false, leader, None);
        }
        self.ask_leader(ctx, keys, false, list.subgroup, leader);
    }

    /// Checks that the leader has signed two lists for one version; whoever finds it true says so to all, once.
    pub(super) fn two_lists(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: Option<P>,
        proof: TwoLists,
    ) {
        if from.is_some_and(|from| !self.has_patience(from)) {
            return;
        }
        let Some(home) = self.home().cloned() else { return };
        let Some(leader) = home.leader().cloned() else { return };
        let ours = proof.first.subgroup == home.subgroup() && proof.first.term == home.list.term;
        let proven = proof.first.contradicts(&proof.second)
            && proof.first.holds(keys, &leader)
            && proof.second.holds(keys, &leader);
        if !ours || !proven || self.observed.banned.contains(&leader.contact.peer) {
            return;
        }
        for member in home.list.members.iter().map(|member| &member.contact) {
            if member.peer != self.me.peer && Some(member.peer) != from {
                ctx.out.send(member, SubgroupMessage::TwoLists(proof.clone()));
            }
        }
        self.observed.ban(leader.contact.peer);
        if self.leads() {
            // It was us, by whatever fault: others lead better.
            self.step_down(ctx);
            self.home.membership = None;
            ctx.out.emit(SubgroupEvent::Changed { guest: false, leader: true });
            self.unseated(ctx.now);
            return self.begin(ctx, keys, false);
        }
        self.leader_deposed(ctx, keys);
    }
}
