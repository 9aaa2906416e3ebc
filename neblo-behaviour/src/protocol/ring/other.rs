//! Two rings of one network become one after a partition heals.
//!
//! `Node` probes for another ring and hands in who owns our address there. A large ring takes that peer in as a neighbour,
//! once it has answered itself (rule 5), and tells it of us; stabilising does the rest, and ranges owned on both sides go
//! to the nearer owner under a higher epoch (design D3). A small ring has no such rules: its members enter the other one
//! anew, and what they owned is handed over once they are in.

use super::*;

impl<P: Peer> Ring<P> {
    fn founder(&self) -> Option<OverlayAddr> {
        self.roster.as_ref()?.members.first().map(|founder| founder.address)
    }

    /// Who founded this ring, while it is small: told to those who ask.
    pub(super) fn told_founder(&self) -> Option<OverlayAddr> {
        self.founder().filter(|_| self.is_member())
    }

    /// In another ring this peer owns our address.
    pub(super) fn other_ring(&mut self, ctx: &mut RingCtx<'_, P>, owner: Contact<P>) {
        let mut known = self.successors.iter().chain(&self.predecessor).chain(&self.me);
        let known = known.any(|known| known.contact.peer == owner.peer);
        if self.is_member() && !known && self.leaving.is_none() && self.question.is_none() {
            self.question(ctx, &owner.clone(), Question::Other(owner));
        }
    }

    pub(super) fn other_answered(&mut self, ctx: &mut RingCtx<'_, P>, from: P, answer: Neighbours<P>) {
        let (Some(me), Some(told)) = (self.me.clone(), answer.me.filter(|told| told.contact.peer == from)) else {
            return;
        };
        if told.address == me.address {
            return;
        }
        if let Some(mine) = self.founder() {
            // Of two small rings the one whose founder has the lower address stays, and a large one always does.
            if answer.open || answer.founder.is_some_and(|other| other < mine) {
                self.dissolve(ctx, told.contact);
            }
            return;
        }
        if !answer.open {
            return;
        }
        let head = self.successors.first().map_or(me.address, |head| head.address);
        if (AddrRange { after: me.address, to: head }).contains_strictly(told.address) {
            self.adopt(told.clone(), &answer.successors);
        }
        let notify = Notify { me, epoch: Some(self.seen), start: Some(self.start()) };
        ctx.out.send(&told.contact, RingMessage::Notify(notify));
    }

    fn dissolve(&mut self, ctx: &mut RingCtx<'_, P>, into: Contact<P>) {
        let carried = self.range();
        self.say_leaving(ctx);
        self.reset();
        self.carried = carried;
        ctx.out.emit(RingEvent::Dissolved(into));
    }
}
