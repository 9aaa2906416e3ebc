//! Joining: the owner of the joiner's address, and it alone, lets it in (design D3, research §3 rule 2).

use super::*;

impl<P: Peer> Ring<P> {
    pub(super) fn found(&mut self, ctx: &mut RingCtx<'_, P>, me: Principal<P>) {
        let members = List::chop(vec![me.clone()]);
        self.reset();
        self.after = me.address;
        self.me = Some(me);
        self.phase = Phase::Member;
        let epoch = Some(self.next_epoch());
        self.roster = Some(Roster { term: 1, version: 1, members, open: false, owner: None, epoch });
        ctx.out.emit(RingEvent::Joined);
        self.tell_range(ctx);
    }

    pub(super) fn join(&mut self, ctx: &mut RingCtx<'_, P>, me: Principal<P>) {
        self.reset();
        self.me = Some(me);
        self.locate(ctx);
    }

    pub(super) fn locate(&mut self, ctx: &mut RingCtx<'_, P>) {
        let Some(address) = self.me.as_ref().map(|me| me.address) else { return };
        self.phase = Phase::Joining { request: self.fresh_request() };
        ctx.out.emit(RingEvent::Locate(address));
    }

    pub(super) fn join_again(&mut self, ctx: &mut RingCtx<'_, P>) {
        if let Phase::Joining { request } = self.phase {
            ctx.out.arm(JOIN_AGAIN, RingTimer::Join(request));
        }
    }

    pub(super) fn ask_to_join(&mut self, ctx: &mut RingCtx<'_, P>, owner: &Contact<P>) {
        let (Phase::Joining { .. }, Some(me)) = (self.phase, self.me.clone()) else { return };
        let request = self.fresh_request();
        self.phase = Phase::Joining { request };
        let join = Join { request, me, proof: None, epoch: Some(self.seen) };
        ctx.out.send(owner, RingMessage::Join(join));
        ctx.out.arm(ANSWER_WITHIN, RingTimer::Join(request));
    }

    pub(super) fn not_joined(&mut self, ctx: &mut RingCtx<'_, P>, not: NotJoined<P>) {
        if self.phase != (Phase::Joining { request: not.request }) {
            return;
        }
        match not.ask {
            Some(ask) => self.ask_to_join(ctx, &ask),
            None => self.join_again(ctx),
        }
    }

    /// A peer asks to be let in at an address.
    pub(super) fn joins(&mut self, ctx: &mut RingCtx<'_, P>, from: P, join: Join<P>) {
        let refuse = |not_owner| RingMessage::NotJoined(NotJoined { request: join.request, ask: None, not_owner });
        let contact = join.me.contact.clone();
        let Some(me) = self.me.clone().filter(|_| self.is_member()) else {
            return ctx.out.send(&contact, refuse(true));
        };
        if contact.peer != from || from == me.contact.peer {
            return;
        }
        self.see(join.epoch.unwrap_or(0));
        if self.roster.is_some() {
            return self.joins_roster(ctx, join);
        }
        let known = self.successors.iter().chain(&self.predecessor).chain(self.handed.iter().map(|handed| &handed.to));
        if known.into_iter().any(|known| known.contact.peer == from && !known.is(&join.me)) {
            // An earlier subscription of the same peer: it is gone, whatever the link says.
            self.lose(ctx, from);
        }
        if let Some(handed) = self.handed.iter().find(|handed| handed.joins && handed.to.is(&join.me)) {
            // The answer to an earlier request was lost.
            return self.say_offer(ctx, handed);
        }
        let own = self.range().is_some_and(|(range, _)| range.contains(join.me.address));
        if !own || join.me.address == me.address {
            return ctx.out.send(&contact, refuse(true));
        }
        if self.question.is_some() && self.rules.busy || !self.may_hand_over() {
            return ctx.out.send(&contact, refuse(false));
        }
        self.let_in(ctx, join.me);
    }

    /// The joiner takes the predecessor's place and gets what lies before it.
    pub(super) fn let_in(&mut self, ctx: &mut RingCtx<'_, P>, joiner: Principal<P>) {
        self.hand_over(ctx, joiner.clone(), true);
        let old = self.predecessor.replace(joiner.clone());
        if let Some(old) = old.filter(|old| !old.is(&joiner)) {
            ctx.out.send(&old.contact, RingMessage::Nudge(Nudge { leaving: false }));
        }
        ctx.out.emit(RingEvent::Seen(joiner.contact));
    }

    /// Let in. Whoever knows our incarnation was asked by us, or told by the founder that was.
    pub(super) fn joined(&mut self, ctx: &mut RingCtx<'_, P>, from: P, joined: Joined<P>) {
        let Joined { by, successors, after, epoch, roster, incarnation, before, predecessor } = joined;
        let Some(me) = self.me.clone().filter(|me| me.incarnation == incarnation && by.contact.peer == from) else {
            let refused = Handover { incarnation, epoch };
            return ctx.out.send(&Contact::bare(from), RingMessage::Refused(refused));
        };
        let range = AddrRange { after, to: me.address };
        if self.is_member() {
            // Said again because the answer was lost.
            return self.given(ctx, from, &Give { by, incarnation, range, epoch, before, predecessor });
        }
        let owned = AddrRange { after, to: by.address };
        if !self.is_joining() || from == me.contact.peer || !owned.contains(me.address) || by.address == me.address {
            return;
        }
        self.phase = Phase::Member;
        self.after = after;
        self.before = before;
        // Not contacted yet, but nothing is sent on to it either: it is asked before one further back takes its place, or
        // that one would inherit a living member's range.
        self.predecessor = predecessor.filter(|other| other.address == after && other.contact.peer != me.contact.peer);
        self.see(epoch);
        self.epoch = self.epoch.max(epoch.min(self.seen));
        ctx.out.send(&by.contact, RingMessage::Accepted(Handover { incarnation, epoch }));
        self.receive(ctx, range, by.clone(), epoch);
        ctx.out.emit(RingEvent::Joined);
        self.tell_range(ctx);
        match self.newest_roster(roster) {
            Some(roster) => self.apply_roster(ctx, roster),
            None => self.adopt(by, &successors),
        }
        for principal in &self.successors {
            ctx.out.emit(RingEvent::Seen(principal.contact.clone()));
        }
        self.hand_in(ctx);
        self.stabilise(ctx);
    }

    /// What was owned in the ring that we came from belongs to members of this one.
    pub(super) fn hand_in(&mut self, ctx: &mut RingCtx<'_, P>) {
        if let Some((range, epoch)) = self.carried.take() {
            ctx.out.emit(RingEvent::HandedOver { range, epoch });
        }
    }
}
