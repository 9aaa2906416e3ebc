//! The small ring: below r + 1 members the founder serialises joins and leaves (design D2, research §3 rule 1).
//!
//! Zave's rules hold from r + 1 members on. Until then every member knows all others by the roster, which the first
//! member alone changes; when it dies, the next in the order of joining takes its place with a higher term.

use super::*;

impl<P: Peer> Ring<P> {
    fn is_founder(&self) -> bool {
        let first = self.roster.as_ref().and_then(|roster| roster.members.first());
        matches!((first, &self.me), (Some(first), Some(me)) if first.is(me))
    }

    pub(super) fn joins_roster(&mut self, ctx: &mut RingCtx<'_, P>, me: &Principal<P>, join: Join<P>) {
        let Some(roster) = self.roster.clone() else { return };
        let contact = join.me.contact.clone();
        if !self.is_founder() {
            let ask = roster.members.first().map(|founder| founder.contact.clone());
            let not = NotJoined { request: join.request, ask, not_owner: false };
            return ctx.out.send(&contact, RingMessage::NotJoined(not));
        }
        let mut members = roster.members.clone().into_inner();
        if members.iter().any(|member| member.address == join.me.address && !member.is(&join.me)) {
            let not = NotJoined { request: join.request, ask: None, not_owner: true };
            return ctx.out.send(&contact, RingMessage::NotJoined(not));
        }
        let mut roster = roster;
        if !members.iter().any(|member| member.is(&join.me)) {
            members.retain(|member| member.contact.peer != contact.peer);
            members.push(join.me.clone());
            roster.version += 1;
            roster.open = members.len() > MAX_SUCCESSORS;
            roster.members = List::chop(members);
            self.change_roster(ctx, roster.clone());
        }
        let after = before(&roster, &join.me).unwrap_or(me.address);
        let joined = Joined {
            request: join.request,
            by: me.clone(),
            successors: List::default(),
            after,
            epoch: self.epoch,
            roster: Some(roster),
        };
        ctx.out.send(&contact, RingMessage::Joined(joined));
        ctx.out.emit(RingEvent::Seen(contact));
    }

    fn change_roster(&mut self, ctx: &mut RingCtx<'_, P>, roster: Roster<P>) {
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

    /// The founder says it again each round, because a frame may have been lost.
    pub(super) fn say_roster(&mut self, ctx: &mut RingCtx<'_, P>) {
        if let Some(roster) = self.roster.clone()
            && self.is_founder()
        {
            self.send_roster(ctx, &roster);
        }
    }

    pub(super) fn roster_received(&mut self, ctx: &mut RingCtx<'_, P>, from: P, roster: Roster<P>) {
        if !self.is_member() || roster.members.first().is_none_or(|founder| founder.contact.peer != from) {
            return;
        }
        let Some(mine) = &self.roster else { return };
        // The same version counts too: what was left out here on a false alarm comes back.
        let newer = (roster.term, roster.version) >= (mine.term, mine.version) && roster != *mine;
        let same_ring = mine.members.iter().any(|member| member.contact.peer == from);
        if !newer || !same_ring {
            return;
        }
        self.roster = Some(roster.clone());
        self.apply_roster(ctx, roster);
    }

    /// Neighbours and range follow from the roster.
    pub(super) fn apply_roster(&mut self, ctx: &mut RingCtx<'_, P>, roster: Roster<P>) {
        let Some(me) = self.me.clone() else { return };
        if !roster.members.iter().any(|member| member.is(&me)) {
            // Taken for dead: the place is lost.
            self.reset();
            return ctx.out.emit(RingEvent::Isolated);
        }
        let mut others: Vec<_> = roster.members.iter().filter(|member| !member.is(&me)).cloned().collect();
        others.sort_by_key(|other| me.address.distance_to(other.address));
        self.predecessor = others.last().cloned();
        others.truncate(MAX_SUCCESSORS);
        self.successors = others;
        let after = self.predecessor.as_ref().map_or(me.address, |predecessor| predecessor.address);
        if after != self.after {
            self.after = after;
            self.epoch += 1;
            self.tell_range(ctx);
        }
        if roster.open {
            // Who misses this frame learns it from the answer to its next question.
            self.roster = None;
        }
    }

    pub(super) fn dead_in_roster(&mut self, ctx: &mut RingCtx<'_, P>, peer: P) {
        let (Some(mut roster), Some(me)) = (self.roster.clone(), self.me.clone()) else { return };
        let mut members = roster.members.clone().into_inner();
        let Some(place) = members.iter().position(|member| member.contact.peer == peer) else { return };
        let mine = members.iter().position(|member| member.is(&me)).unwrap_or(0);
        members.remove(place);
        let others: Vec<_> = self.successors.iter().filter(|other| other.contact.peer != peer).cloned().collect();
        self.successors = others;
        self.question.take_if(|(_, question)| question.asked() == peer);
        if place == 0 && mine == 1 {
            roster.term += 1;
        } else if mine != 0 {
            // The founder will say so; should it be dead too, the next one down the list does.
            let stale = Roster { members: List::chop(members), ..roster };
            self.roster = Some(stale);
            return;
        }
        roster.version += 1;
        roster.members = List::chop(members);
        self.change_roster(ctx, roster);
    }
}

/// The address before `principal` among the members, going round.
fn before<P: Peer>(roster: &Roster<P>, principal: &Principal<P>) -> Option<OverlayAddr> {
    let others = roster.members.iter().filter(|member| !member.is(principal));
    others.map(|member| member.address).min_by_key(|address| address.distance_to(principal.address))
}
