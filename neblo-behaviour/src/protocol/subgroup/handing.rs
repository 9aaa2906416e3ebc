//! The lead is handed over while the leader lives: a better candidate is there, or the leader leaves (seed 003 §4). The table
//! goes first, then the word; the new leader tells all members.

use super::*;

/// How long the copy of the table may take, and the new leader to show itself. choice
const WITHIN: Duration = Duration::from_secs(3);
/// Candidates that a leaver tries before it just says that it leaves. choice
const TRIES: u8 = 2;
/// Waits for the copy of the table when nobody is in a hurry. choice
const PATIENCE: u8 = 10;

/// The lead on its way to another.
#[derive(Clone, Debug)]
pub(super) struct Handing<P> {
    pub(super) to: Contact<P>,
    pub(super) leaving: bool,
    generation: u64,
    /// Whether it was told to lead.
    told: bool,
    waits: u8,
    tried: Vec<P>,
}

impl<P: Peer> Handing<P> {
    /// Who was told to lead.
    pub(super) fn told_to(&self) -> Option<Contact<P>> {
        self.told.then(|| self.to.clone())
    }
}

impl<P: Peer> Subgroups<P> {
    /// Whether this peer leaves its subgroup, and has not handed it over yet.
    pub fn is_leaving(&self) -> bool {
        self.handing.as_ref().is_some_and(|handing| handing.leaving)
    }

    /// To whom the leader's table is copied: the next two candidates (seed 003 §4), and whoever takes over.
    pub fn followers(&self) -> Vec<Contact<P>> {
        if !self.leads() {
            return Vec::new();
        }
        let mut followers: Vec<_> = self.candidates().into_iter().take(2).collect();
        if let Some(handing) = &self.handing
            && !followers.contains(&handing.to)
        {
            followers.push(handing.to.clone());
        }
        followers
    }

    pub(super) fn hand_over(&mut self, ctx: &mut SubgroupCtx<'_, P>, to: Contact<P>, leaving: bool) {
        let generation = self.next_number();
        let mut tried = self.handing.take().map(|handing| handing.tried).unwrap_or_default();
        tried.push(to.peer);
        let peer = to.peer;
        self.handing = Some(Handing { to, leaving, generation, told: false, waits: 0, tried });
        ctx.out.emit(SubgroupEvent::HandOver(peer));
        ctx.out.arm(WITHIN, SubgroupTimer::Handing(generation));
    }

    /// A follower has the whole table.
    pub fn copied(&mut self, ctx: &mut SubgroupCtx<'_, P>, peer: P) {
        if self.handing.as_ref().is_some_and(|handing| handing.to.peer == peer && !handing.told) {
            self.say_lead(ctx);
        }
    }

    fn say_lead(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        let generation = self.next_number();
        let Some((subgroup, term)) = self.home().map(|home| (home.subgroup(), home.list.term)) else { return };
        let Some(handing) = &mut self.handing else { return };
        handing.told = true;
        handing.generation = generation;
        let lead = Lead { subgroup, term, leaving: handing.leaving };
        ctx.out.send(&handing.to, SubgroupMessage::Lead(lead));
        ctx.out.arm(WITHIN, SubgroupTimer::Handing(generation));
    }

    pub(super) fn handing_expired(&mut self, ctx: &mut SubgroupCtx<'_, P>, generation: u64) {
        let Some(handing) = self.handing.as_mut().filter(|handing| handing.generation == generation) else { return };
        handing.waits += 1;
        match (handing.leaving, handing.told) {
            // Better a part of the table than none.
            (true, false) => self.say_lead(ctx),
            (false, false) if handing.waits < PATIENCE => ctx.out.arm(WITHIN, SubgroupTimer::Handing(generation)),
            (false, _) => self.handing = None,
            (true, true) => {
                let tried = handing.tried.clone();
                let next = self.candidates().into_iter().find(|candidate| !tried.contains(&candidate.peer));
                match next.filter(|_| tried.len() < usize::from(TRIES)) {
                    Some(next) => self.hand_over(ctx, next, true),
                    None => self.leave_at_once(ctx),
                }
            }
        }
    }

    /// Nobody takes over in order: the members are told that the leader is gone.
    pub(super) fn leave_at_once(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        self.handing = None;
        if let Some(membership) = self.home.membership.take() {
            let leave = SubgroupMessage::Leave(LeaveSubgroup { subgroup: membership.subgroup() });
            for member in membership.relays(self.me.peer) {
                ctx.out.send(member, leave.clone());
            }
        }
        self.gone(ctx);
    }

    fn gone(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        self.step_down(ctx);
        self.home = Seat::default();
        ctx.out.emit(SubgroupEvent::Changed { guest: false, leader: true });
        ctx.out.emit(SubgroupEvent::Gone);
    }

    /// The new leader shows itself with its first list.
    pub(super) fn handed_over(&mut self, ctx: &mut SubgroupCtx<'_, P>, list: &MemberList<P>) {
        let Some(handing) = self.handing.take() else { return };
        // Who came in meanwhile is not on its list and knows of no other leader.
        if let Some(home) = self.home() {
            let (subgroup, leader) = (home.subgroup(), handing.to.clone());
            for member in home.relays(self.me.peer).filter(|member| list.member(member.peer).is_none()) {
                let there = MoveTo { subgroup, to: subgroup, leader: leader.clone() };
                ctx.out.send(member, SubgroupMessage::MoveTo(there));
            }
        }
        if handing.leaving {
            self.gone(ctx);
        }
    }

    /// The leader says: "lead from now on".
    pub(super) fn told_to_lead(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, lead: &Lead) {
        let Some(home) = self.home() else { return };
        let by_leader = home.leader().is_some_and(|leader| leader.contact.peer == from) && !self.leads();
        let member = home.list.member(self.me.peer).is_some_and(|me| !me.guest);
        if by_leader && member && home.subgroup() == lead.subgroup && home.list.term == lead.term {
            self.take_over(ctx, keys, if lead.leaving { Before::Leaves } else { Before::Stays });
        }
    }
}
