//! The small ring: below r + 1 members the founder serialises joins and leaves (design D2, research §3 rule 1).
//!
//! Zave's rules hold from r + 1 members on. Until then every member knows all others by the roster, which the first
//! member alone changes; when it dies, the next in the order of joining takes its place with a higher term. Who is a
//! member follows from the roster, who owns what does not: a range goes from owner to owner as in a large ring, and a new
//! member is in only when the owner of its address has let it in. The founder takes on one at a time.

use super::*;

/// Requests of a new member, from its first on, until it is taken for certain that the owner of its address cannot let it
/// in: more than fifteen seconds' worth. choice
const PATIENCE: u64 = 24;

impl<P: Peer> Ring<P> {
    fn is_founder(&self) -> bool {
        let first = self.roster.as_ref().and_then(|roster| roster.members.first());
        matches!((first, &self.me), (Some(first), Some(me)) if first.is(me))
    }

    /// A peer asks to be let in, and the ring is small.
    pub(super) fn joins_roster(&mut self, ctx: &mut RingCtx<'_, P>, join: Join<P>) {
        let Some(mut roster) = self.roster.clone() else { return };
        let contact = join.me.contact.clone();
        let refuse = |ask| RingMessage::NotJoined(NotJoined { request: join.request, ask, not_owner: false });
        if !self.is_founder() {
            let founder = roster.members.first().map(|founder| founder.contact.clone());
            return ctx.out.send(&contact, refuse(founder));
        }
        let mut members = roster.members.into_inner();
        let taken = members.iter().any(|member| member.address == join.me.address && !member.is(&join.me));
        if taken || self.leaving.is_some() {
            return ctx.out.send(&contact, refuse(None));
        }
        let known = members.iter().any(|member| member.is(&join.me));
        if known && (roster.owner.is_none() || join.request <= self.admitted.saturating_add(PATIENCE)) {
            // In already, or on the way.
            return ctx.out.send(&contact, RingMessage::Roster(Roster { members: List::chop(members), ..roster }));
        }
        if !known && roster.owner.is_some() {
            return ctx.out.send(&contact, refuse(None));
        }
        if known {
            // The owner of its address left without giving its range to anybody: begin again, so that the next inherits.
            members.retain(|member| !member.is(&join.me));
            roster.owner = None;
            ctx.out.send(&contact, refuse(None));
        } else {
            members.retain(|member| member.contact.peer != contact.peer);
            let owner = members.iter().min_by_key(|member| join.me.address.distance_to(member.address));
            roster.owner = owner.map(|owner| owner.address);
            members.push(join.me);
            self.admitted = join.request;
            ctx.out.emit(RingEvent::Seen(contact));
        }
        roster.version = roster.version.saturating_add(1);
        roster.members = List::chop(members);
        self.change_roster(ctx, roster);
    }

    /// As the founder: a member says that it is in.
    pub(super) fn is_in(&mut self, ctx: &mut RingCtx<'_, P>, member: &Principal<P>) {
        let Some(mut roster) = self.roster.clone().filter(|_| self.is_founder()) else { return };
        if roster.owner.is_none() || roster.members.last().is_none_or(|last| !last.is(member)) {
            return;
        }
        roster.owner = None;
        roster.version = roster.version.saturating_add(1);
        roster.open = roster.members.len() > self.r;
        self.change_roster(ctx, roster);
    }

    fn change_roster(&mut self, ctx: &mut RingCtx<'_, P>, mut roster: Roster<P>) {
        roster.epoch = Some(self.seen);
        self.roster = Some(roster.clone());
        self.send_roster(ctx, &roster);
        self.apply_roster(ctx, roster);
    }

    fn send_roster(&self, ctx: &mut RingCtx<'_, P>, roster: &Roster<P>) {
        for member in roster.members.iter() {
            if self.me.as_ref().is_none_or(|me| me.contact.peer != member.contact.peer) {
                ctx.out.send(&member.contact, RingMessage::Roster(roster.clone()));
            }
        }
    }

    /// The founder says it again each round, because a frame may have been lost; the others that they are in.
    pub(super) fn say_roster(&mut self, ctx: &mut RingCtx<'_, P>) {
        if let Some(roster) = self.roster.clone().filter(|_| self.is_member()) {
            if self.is_founder() {
                self.send_roster(ctx, &roster);
            } else {
                self.notify_head(ctx);
            }
        }
    }

    pub(super) fn roster_received(&mut self, ctx: &mut RingCtx<'_, P>, from: P, roster: Roster<P>) {
        if roster.members.first().is_none_or(|founder| founder.contact.peer != from) {
            return;
        }
        if self.is_joining() {
            return self.taken_on(ctx, roster);
        }
        let Some(mine) = self.roster.as_ref().filter(|_| self.is_member()) else { return };
        // The same version counts too: what was left out here on a false alarm comes back.
        let newer = (roster.term, roster.version) >= (mine.term, mine.version) && roster != *mine;
        let same_ring = mine.members.iter().any(|member| member.contact.peer == from);
        if !newer || !same_ring {
            return;
        }
        self.see(roster.epoch.unwrap_or(0));
        self.roster = Some(roster.clone());
        self.apply_roster(ctx, roster);
    }

    /// The founder has taken us on; the owner of our address is to let us in, or is dead: then we inherit.
    fn taken_on(&mut self, ctx: &mut RingCtx<'_, P>, roster: Roster<P>) {
        let Some(me) = self.me.clone().filter(|me| roster.members.iter().any(|member| member.is(me))) else { return };
        let Some(roster) = self.newest_roster(Some(roster)) else { return };
        self.see(roster.epoch.unwrap_or(0));
        self.roster = Some(roster.clone());
        let Some(owner) = roster.owner else { return };
        if roster.members.iter().any(|member| member.address == owner) {
            return;
        }
        let others = roster.members.iter().filter(|member| !member.is(&me));
        let before = others.map(|member| member.address).min_by_key(|address| address.distance_to(me.address));
        self.phase = Phase::Member;
        self.after = before.unwrap_or(me.address);
        let epoch = self.next_epoch();
        ctx.out.emit(RingEvent::Joined);
        self.tell_range(ctx);
        ctx.out.emit(RingEvent::Inherited { range: AddrRange { after: self.after, to: me.address }, epoch });
        self.apply_roster(ctx, roster);
        self.hand_in(ctx);
        self.stabilise(ctx);
    }

    /// The newer one of a roster that was told and the one that is known.
    pub(super) fn newest_roster(&self, told: Option<Roster<P>>) -> Option<Roster<P>> {
        let known = self.roster.clone();
        known.into_iter().chain(told).max_by_key(|roster| (roster.term, roster.version))
    }

    /// Neighbours follow from the roster; and what was owned by those who are not in it any more is inherited.
    pub(super) fn apply_roster(&mut self, ctx: &mut RingCtx<'_, P>, roster: Roster<P>) {
        let Some(me) = self.me.clone() else { return };
        if !roster.members.iter().any(|member| member.is(&me)) {
            // Taken for dead: the place is lost.
            let leaves = self.leaving.is_some();
            self.reset();
            return ctx.out.emit(if leaves { RingEvent::Left } else { RingEvent::Isolated });
        }
        self.roster = Some(roster.clone());
        let joins = roster.members.last().filter(|_| roster.owner.is_some());
        let mut others: Vec<_> = roster.members.iter().filter(|member| !member.is(&me)).cloned().collect();
        others.sort_by_key(|other| me.address.distance_to(other.address));
        self.gone.retain(|gone| others.iter().any(|other| other.is(gone)));
        let border = others.iter().rfind(|other| !self.gone.iter().any(|gone| gone.is(other))).cloned();
        others.retain(|other| joins.is_none_or(|joins| joins.is(&me) || !joins.is(other)));
        others.truncate(self.r);
        self.predecessor = others.iter().rfind(|other| !self.gone.iter().any(|gone| gone.is(other))).cloned();
        self.successors = others;
        self.round = true;
        match border {
            Some(border) => {
                let joins = joins.is_some_and(|joins| joins.is(&border));
                self.border(ctx, &border, joins);
            }
            None => self.border(ctx, &me, false),
        }
        if roster.open {
            // Who misses this frame learns it from the answer to its next question.
            self.roster = None;
        }
    }

    /// A member died, or has left.
    pub(super) fn gone_from_roster(&mut self, ctx: &mut RingCtx<'_, P>, peer: P, left: bool) {
        let (Some(mut roster), Some(me)) = (self.roster.clone(), self.me.clone()) else { return };
        let mut members = roster.members.clone().into_inner();
        let Some(place) = members.iter().position(|member| member.contact.peer == peer) else { return };
        let mine = members.iter().position(|member| member.is(&me)).unwrap_or(0);
        let lost = members.remove(place);
        if self.is_joining() {
            if place == 0 && mine == 1 {
                // There was only the founder.
                self.roster = None;
                self.join_again(ctx);
            }
            return;
        }
        self.successors.retain(|other| other.contact.peer != peer);
        self.question.take_if(|(_, question)| question.asked() == peer);
        if roster.owner.is_some() && place == members.len() {
            roster.owner = None;
        } else if left && roster.owner == Some(lost.address) {
            // It has given its range to the next, which is to let the new member in.
            roster.owner = members
                .iter()
                .filter(|member| members.last().is_some_and(|last| !last.is(member)))
                .min_by_key(|member| lost.address.distance_to(member.address))
                .map(|member| member.address);
        }
        roster.members = List::chop(members);
        if place == 0 && mine == 1 {
            roster.term = roster.term.saturating_add(1);
        } else if mine != 0 {
            // The founder will say so; should it be dead too, the next one down the list does.
            self.roster = Some(roster);
            return self.lost_in_handover(ctx, peer);
        }
        self.lost_in_handover(ctx, peer);
        if self.is_member() {
            roster.version = roster.version.saturating_add(1);
            self.change_roster(ctx, roster);
        }
    }
}
