//! Ranges whose owners died together.
//!
//! A member knows its predecessor's range, and nobody else's before that. When several in a row are dead, a notifier from
//! further back is the new predecessor, but it proves nothing about what lies between: a member may live there of whom
//! only the dead had heard. It finds us as its first living successor as soon as it has noticed all those deaths, and
//! would own what we take for ours. So such a range is claimed only, and "changing", for as long as that may take.

use super::*;

/// A range that is inherited once nobody has shown up in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    /// It begins after this and ends where our range begins.
    after: OverlayAddr,
    number: u64,
}

impl<P: Peer> Ring<P> {
    /// The range that is ours if nobody shows up in it, and the timer that decides.
    pub fn claimed(&self) -> Option<(AddrRange, RingTimer)> {
        let claim = self.claim.as_ref()?;
        Some((AddrRange { after: claim.after, to: self.after }, RingTimer::Claim(claim.number)))
    }

    /// Whether this address lies in a claimed range.
    pub(super) fn claims(&self, address: OverlayAddr) -> bool {
        self.claimed().is_some_and(|(range, _)| range.contains(address))
    }

    /// Whether what lies between a notifier and our range belonged to our dead predecessor, as far as it had told us: what
    /// it gave away without our knowing, it had not given away for good.
    fn is_known_free(&self, notifier: OverlayAddr) -> bool {
        self.before.as_ref().filter(|_| self.claim.is_none()).is_some_and(|before| {
            let told = AddrRange { after: before.after, to: self.after };
            before.after == notifier || told.contains_strictly(notifier)
        })
    }

    /// A new predecessor stands here. Whether what lies between it and our range has to be waited for.
    pub(super) fn claim(&mut self, ctx: &mut RingCtx<'_, P>, new: OverlayAddr) -> bool {
        let Some(me) = self.me.as_ref().map(|me| me.address) else { return false };
        let own = AddrRange { after: self.after, to: me };
        let further_back = new != self.after && !own.contains(new);
        if !further_back || self.roster.is_some() || self.is_known_free(new) {
            self.claim = None;
            return false;
        }
        let number = match self.claim.take() {
            // Whoever else lives there has had the same time to show up.
            Some(claim) if AddrRange { after: claim.after, to: self.after }.contains(new) || claim.after == new => {
                claim.number
            }
            _ => {
                let number = self.fresh_request();
                ctx.out.arm(self.claim_after, RingTimer::Claim(number));
                number
            }
        };
        self.claim = Some(Claim { after: new, number });
        true
    }

    /// The member before the claimed range leaves in our favour. Whether a range is claimed.
    pub(super) fn extend_claim(&mut self, after: OverlayAddr) -> bool {
        self.claim.as_mut().map(|claim| claim.after = after).is_some()
    }

    /// What is claimed is not claimed any more; what we know of the range before it is of no use without.
    pub(super) fn drop_claim(&mut self) {
        if self.claim.take().is_some() {
            self.before = None;
        }
    }

    /// Nobody has shown up.
    pub(super) fn claim_expired(&mut self, ctx: &mut RingCtx<'_, P>, number: u64) {
        let Some(claim) = self.claim.take_if(|claim| claim.number == number) else { return };
        if self.leaving.is_none() {
            self.inherit(ctx, claim.after);
        }
    }
}
