//! Leaving in order: the range goes to the first successor, then the neighbours are told (design D3, D4).

use super::*;

/// Rounds, of a second each, in which the range must be accepted by somebody. choice
const OFFER_ROUNDS: u8 = 6;
/// Rounds in which what belongs to the range must have been sent. choice
const MIGRATE_ROUNDS: u8 = 60;

impl<P: Peer> Ring<P> {
    /// Whether the whole range was given away and accepted.
    pub(super) fn has_given_all(&self) -> bool {
        self.leaving.is_some() && self.own_offer().is_some_and(|handed| handed.stage != Stage::Offered)
    }

    fn own_offer(&self) -> Option<&Handed<P>> {
        let me = self.me.as_ref()?;
        self.handed.iter().find(|handed| handed.range.to == me.address)
    }

    pub(super) fn leave(&mut self, ctx: &mut RingCtx<'_, P>) {
        if !self.is_member() || self.successors.is_empty() {
            return self.left(ctx);
        }
        if self.leaving.is_none() {
            self.leaving = Some(Leaving::default());
            self.question = None;
            self.drop_claim();
            self.leave_on(ctx);
            self.repeat_later(ctx);
        }
    }

    /// The next step of leaving, taken at each round and when something was answered.
    pub(super) fn leave_on(&mut self, ctx: &mut RingCtx<'_, P>) {
        if self.leaving.is_none() {
            return;
        }
        let Some(head) = self.successors.first().cloned() else { return self.left(ctx) };
        match self.own_offer().map(|handed| handed.stage) {
            // What others have not accepted yet may come back to us.
            None if self.handed.iter().all(|handed| handed.stage != Stage::Offered) => self.hand_over_all(ctx, head),
            Some(_) if self.open_handovers() == 0 => self.left(ctx),
            _ => {}
        }
    }

    /// One more round has passed; whoever cannot leave in order leaves nevertheless.
    pub(super) fn leave_round(&mut self, ctx: &mut RingCtx<'_, P>) {
        let given = self.has_given_all();
        let Some(leaving) = &mut self.leaving else { return };
        leaving.rounds = leaving.rounds.saturating_add(1);
        if leaving.rounds > if given { MIGRATE_ROUNDS } else { OFFER_ROUNDS } {
            return self.left(ctx);
        }
        self.leave_on(ctx);
        // The head may be another one by now.
        self.stabilise(ctx);
    }

    fn left(&mut self, ctx: &mut RingCtx<'_, P>) {
        let leaves = self.is_member();
        self.say_leaving(ctx);
        self.reset();
        if leaves {
            ctx.out.emit(RingEvent::Left);
        }
    }

    /// Tells all neighbours that we are gone.
    pub(super) fn say_leaving(&self, ctx: &mut RingCtx<'_, P>) {
        if !self.is_member() {
            return;
        }
        let small = self.roster.iter().flat_map(|roster| roster.members.iter());
        let mut told: Vec<_> = self.me.iter().map(|me| me.contact.peer).collect();
        for neighbour in small.chain(&self.successors).chain(&self.predecessor) {
            if !told.contains(&neighbour.contact.peer) {
                told.push(neighbour.contact.peer);
                ctx.out.send(&neighbour.contact, RingMessage::Nudge(Nudge { leaving: true }));
            }
        }
    }
}
