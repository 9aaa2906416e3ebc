//! Two who say that they lead one subgroup.
//!
//! Any member could sign a list with itself at the head. So a member that hears of a new leader asks the old one first, if that one
//! lives: it is believed only when it says that it leads no more, or says nothing. And a leader makes room for another, of a
//! better rank, only if those whom it asks follow the other; else it takes a higher rank itself, and the other, if it is honest,
//! makes room (it may have been parted from us for a while).

use std::cmp::Reverse;

use super::*;
use crate::protocol::io::shuffle;

/// How long the leader, and members, have to answer, and how often the leader is asked. choice
const ANSWER_WITHIN: Duration = Duration::from_millis(750);
const ASKS: u8 = 2;
/// Present and former members that are asked who leads them. choice
const ASKED: usize = 7;
/// A leader makes room for another that leads more than one in so many of those who answer. choice: a third, as many as a
/// subgroup may hold of colluding members (research §5)
const SHARE: usize = 3;
/// How often a leader takes a higher term than another that nobody follows. choice
const RAISE_EVERY: Duration = Duration::from_secs(10);

/// Somebody says that it leads from now on.
#[derive(Clone, Debug)]
pub(super) struct Claim<P> {
    generation: u64,
    asks: u8,
    /// Our leader, which is asked.
    asked: Contact<P>,
    subgroup: OverlayAddr,
    by: Contact<P>,
    /// The list that it has sent us; else it is asked for one.
    list: Option<MemberList<P>>,
}

/// Another leader of the subgroup that this peer leads.
#[derive(Clone, Debug)]
pub(super) struct Rival<P> {
    request: u64,
    contact: Contact<P>,
    term: u64,
    asked: Vec<P>,
    /// Who has answered, and whether it follows the other.
    answers: BTreeMap<P, bool>,
}

impl<P: Peer> Subgroups<P> {
    // ---- as a member -------------------------------------------------------------------------------------------

    /// Whether somebody who says that it leads has to be asked about: our leader lives, as far as we know.
    pub(super) fn leader_lives(&self, guest: bool, but: P) -> bool {
        let seat = if guest { &self.guest } else { &self.home };
        let leader = seat.membership.as_ref().and_then(Membership::leader).map(|leader| leader.contact.peer);
        let lost = seat.since.is_some() || !guest && self.succession.is_some();
        leader.is_some_and(|leader| leader != but && leader != self.me.peer) && !lost
    }

    /// Asks the leader whether somebody else leads now.
    pub(super) fn claimed(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        guest: bool,
        by: Contact<P>,
        list: Option<MemberList<P>>,
    ) {
        let generation = self.next_number();
        let seat = self.seat(guest);
        let leader = seat.membership.as_ref().and_then(|home| Some((home.subgroup(), home.leader()?.contact.clone())));
        let Some((subgroup, asked)) = leader else { return };
        if let Some(claim) = seat.claim.as_mut().filter(|claim| claim.asked == asked) {
            // One at a time. The same one may have gone on meanwhile.
            if claim.by == by && list.is_some() {
                claim.list = list;
            }
            return;
        }
        ctx.out.send(&asked, SubgroupMessage::Which(Which { request: generation }));
        seat.claim = Some(Claim { generation, asks: 1, asked, subgroup, by, list });
        ctx.out.arm(ANSWER_WITHIN, SubgroupTimer::Claim(generation));
    }

    /// The leader has answered.
    pub(super) fn claim_answered(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        answer: &InSubgroup<P>,
    ) {
        let ours = |claim: &mut Claim<P>| claim.generation == answer.request && claim.asked.peer == from;
        for guest in [false, true] {
            let Some(claim) = self.seat(guest).claim.take_if(ours) else { continue };
            let there = answer.subgroup == Some(claim.subgroup);
            let still = there && answer.leader.as_ref().is_some_and(|leader| leader.peer != claim.by.peer);
            if !still {
                self.believe(ctx, keys, guest, claim);
            }
        }
    }

    pub(super) fn claim_unanswered(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        for guest in [false, true] {
            let claim = self.seat(guest).claim.take_if(|claim| claim.generation == generation);
            match claim {
                Some(mut claim) if claim.asks < ASKS => {
                    claim.asks += 1;
                    ctx.out.send(&claim.asked, SubgroupMessage::Which(Which { request: generation }));
                    self.seat(guest).claim = Some(claim);
                    ctx.out.arm(ANSWER_WITHIN, SubgroupTimer::Claim(generation));
                }
                Some(claim) => self.believe(ctx, keys, guest, claim),
                None => {}
            }
        }
    }

    /// The leader is gone: whoever has said that it leads now does. Whether there is one.
    pub(super) fn believe_at_once(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        guest: bool,
        leader: P,
    ) -> bool {
        let claim = self.seat(guest).claim.take_if(|claim| claim.asked.peer == leader);
        let found = claim.is_some();
        if let Some(claim) = claim {
            self.believe(ctx, keys, guest, claim);
        }
        found
    }

    fn believe(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, guest: bool, claim: Claim<P>) {
        let seat = self.seat(guest);
        let same = seat.membership.as_ref().filter(|there| {
            there.subgroup() == claim.subgroup && there.leader().is_some_and(|leader| leader.contact == claim.asked)
        });
        let Some(there) = same else { return };
        let version = (there.list.term, there.list.version);
        match claim.list {
            Some(list) if (list.term, list.version) > version => self.seated(ctx, guest, list.into()),
            Some(_) => {}
            None => self.ask_leader(ctx, keys, guest, claim.subgroup, claim.by),
        }
    }

    // ---- as a leader -------------------------------------------------------------------------------------------

    /// Another peer speaks as the leader of our subgroup. Leaders that were silent or parted from us for a while do not know that
    /// somebody else leads it: the one of the lower term is told, or of two alike the larger peer.
    pub(super) fn contest(
        &self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        subgroup: OverlayAddr,
        term: u64,
    ) {
        let Some(home) = self.home().filter(|home| self.leads() && home.subgroup() == subgroup) else { return };
        if (home.list.term, Reverse(self.me.peer)) > (term, Reverse(from)) {
            let Some(row) = self.own_row(keys) else { return };
            let hello = LeaderHello { row, answer: true };
            ctx.out.send(&Contact::bare(from), SubgroupMessage::LeaderHello(hello));
        }
    }

    /// Somebody else is said to lead our subgroup.
    pub(super) fn rival(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        subgroup: OverlayAddr,
        rival: Contact<P>,
        term: u64,
    ) {
        let Some(home) = self.home().filter(|home| self.leads() && home.subgroup() == subgroup) else { return };
        if rival.peer == self.me.peer || self.observed.banned.contains(&rival.peer) {
            return;
        }
        if (home.list.term, Reverse(self.me.peer)) > (term, Reverse(rival.peer)) {
            let Some(row) = self.own_row(keys) else { return };
            let hello = LeaderHello { row, answer: true };
            return ctx.out.send(&rival, SubgroupMessage::LeaderHello(hello));
        }
        let told = self.handing.as_ref().is_some_and(|handing| handing.to.peer == rival.peer);
        if told || self.leading.as_ref().is_some_and(|leading| leading.rival.is_some()) {
            // It was told to lead, and its list is on its way; or members are being asked.
            return;
        }
        let members = home.list.members.iter().skip(1).filter(|member| !member.guest).map(|member| &member.contact);
        let mut asked: Vec<_> =
            members.chain(&self.observed.former).filter(|member| member.peer != rival.peer).cloned().collect();
        shuffle(ctx.rng, &mut asked);
        asked.truncate(ASKED);
        if asked.is_empty() {
            return self.make_room(ctx, keys, rival);
        }
        let request = self.next_number();
        for member in &asked {
            ctx.out.send(member, SubgroupMessage::Which(Which { request }));
        }
        let asked = asked.into_iter().map(|member| member.peer).collect();
        if let Some(leading) = &mut self.leading {
            leading.rival = Some(Rival { request, contact: rival, term, asked, answers: BTreeMap::new() });
        }
        ctx.out.arm(2 * ANSWER_WITHIN, SubgroupTimer::Rival(request));
    }

    /// A present or former member says which subgroup it is in, and who leads it.
    pub(super) fn rival_confirmed(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        answer: &InSubgroup<P>,
    ) {
        let (me, ours) = (self.me.peer, self.home().map(Membership::subgroup));
        let rival = self.leading.as_mut().and_then(|leading| leading.rival.as_mut());
        let Some(rival) = rival.filter(|rival| rival.request == answer.request && rival.asked.contains(&from)) else {
            return;
        };
        // Who is in neither has no say.
        let leader = answer.leader.as_ref().filter(|_| answer.subgroup == ours).map(|leader| leader.peer);
        match leader {
            Some(leader) if leader == rival.contact.peer => drop(rival.answers.insert(from, true)),
            Some(leader) if leader == me => drop(rival.answers.insert(from, false)),
            _ => rival.asked.retain(|asked| *asked != from),
        }
        let (request, all) = (rival.request, rival.answers.len() >= rival.asked.len());
        if all {
            self.rival_judged(ctx, keys, request);
        }
    }

    /// Those who were asked have answered, or had their time.
    pub(super) fn rival_judged(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, request: u64) {
        let Some(leading) = &mut self.leading else { return };
        let Some(rival) = leading.rival.take_if(|rival| rival.request == request) else { return };
        let follow = rival.answers.values().filter(|follows| **follows).count();
        if follow * SHARE > rival.answers.len() || rival.answers.is_empty() {
            return self.make_room(ctx, keys, rival.contact);
        }
        self.rise_above(ctx, keys, rival.term);
    }

    /// Takes a higher term than somebody whom the members do not follow.
    fn rise_above(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, term: u64) {
        let (Some(leading), Some(home)) = (&mut self.leading, self.home.membership.clone()) else { return };
        let lately = leading.raised.is_some_and(|raised| ctx.now.since(raised) < RAISE_EVERY);
        if lately || term > home.list.term.saturating_add(registry::TERM_STEP) || term == u64::MAX {
            return;
        }
        leading.raised = Some(ctx.now);
        let renewing = leading.renewing;
        let mut change = MemberChange {
            subgroup: home.subgroup(),
            term: term.saturating_add(1),
            version: home.list.version.saturating_add(1),
            removed: List::default(),
            added: List::default(),
            signature: Default::default(),
            moved: List::default(),
        };
        let list = apply_change(&home.list, &change).sign(keys);
        change.signature = list.signature.clone();
        for member in home.relays(self.me.peer) {
            ctx.out.send(member, SubgroupMessage::Change(change.clone()));
        }
        self.seated(ctx, false, list.into());
        // The registry, and through it the other, hear of it now.
        self.renew(ctx, keys, renewing);
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
}
