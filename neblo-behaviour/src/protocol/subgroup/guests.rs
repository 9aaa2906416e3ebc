//! A leader that publishes or asks does so as a guest of another subgroup (seed 003 §2; design D12).

use super::*;
use crate::protocol::io::chance;

/// A leader that needs no place elsewhere takes one all the same in one round of so many, so that having one says nothing. choice: an
/// hour, in the mean
const GUEST_ANYWAY: u32 = 240;
/// How long a guest whose leader is gone waits for the next one. choice: succession takes some seconds; after that members look elsewhere, too
const LED_AGAIN_WITHIN: Duration = Duration::from_secs(10);

impl<P: Peer> Subgroups<P> {
    /// Wants to be a guest of another subgroup.
    pub fn want_guest(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        self.wants_guest = true;
        if matches!(self.guest.stage, Stage::Idle) && !self.is_leaving() {
            self.guest.steps = 0;
            self.begin(ctx, keys, true);
        }
    }

    /// Whether a leader takes a place elsewhere in this round without needing one.
    pub(super) fn is_guest_anyway(&self, ctx: &mut SubgroupCtx<'_, P>) -> bool {
        self.config.idle_guests && chance(ctx.rng, 1.0 / f64::from(GUEST_ANYWAY))
    }

    pub(super) fn guest_leader_lost(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        if self.guest().and_then(Membership::leader).is_some_and(|leader| leader.contact.peer == peer) {
            if self.believe_at_once(ctx, keys, true, peer) {
                // The one who leads now has it on its list, where others choose it for a relay.
                return;
            }
            // A guest is no candidate: it waits for whoever leads next, since others have pinned it as their first relay.
            if self.guest.since.is_none() {
                let generation = self.next_number();
                (self.guest.since, self.guest.generation) = (Some(ctx.now), generation);
                ctx.out.arm(LED_AGAIN_WITHIN, SubgroupTimer::Led(generation));
            }
        }
    }

    /// Whoever leads next had its time to say so to a guest: nobody does, and it looks for another subgroup.
    pub(super) fn led_expired(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if self.guest.since.is_some() && self.guest.generation == generation {
            self.guest = Seat::default();
            ctx.out.emit(SubgroupEvent::Changed { guest: true, leader: true });
            self.want_guest(ctx, keys);
        }
    }
}
