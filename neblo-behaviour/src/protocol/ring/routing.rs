//! Which neighbour is next on the way to an address.

use super::*;

/// Where a message for an address goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop<P> {
    /// This peer owns it.
    Here,
    /// To this peer.
    Next(Contact<P>),
    /// Nowhere: not a member, or no neighbours.
    Nowhere,
}

impl<P: Peer> Ring<P> {
    /// The next hop towards `target`: the owner among the successors if it is known, else the farthest finger whose upper
    /// bound does not pass the target (design D6), else the last successor before it.
    pub fn route(&self, target: OverlayAddr, fingers: &Fingers<P>) -> Hop<P> {
        let Some(me) = self.me.as_ref().filter(|_| self.is_member()) else { return Hop::Nowhere };
        if self.range().is_some_and(|(range, _)| range.contains(target)) || self.claims(target) {
            return Hop::Here;
        }
        let leaves = |handed: &&Handed<P>| handed.stage != Stage::Done && handed.range.contains(target);
        if let Some(handed) = self.handed.iter().find(leaves) {
            // Until the new owner has accepted, it may not even know that it is one.
            return if handed.stage == Stage::Offered { Hop::Here } else { Hop::Next(handed.to.contact.clone()) };
        }
        let reached = |member: &&Principal<P>| !fingers.is_shunned(member.contact.peer);
        if let Some(before) = self.predecessor.as_ref().filter(|_| self.lies_before(target)).filter(reached) {
            return Hop::Next(before.contact.clone());
        }
        let distance = me.address.distance_to(target);
        let owner = self.successors.iter().position(|successor| me.address.distance_to(successor.address) >= distance);
        if let Some(owner) = owner {
            // One that could not be reached may be dead without our knowing: those before it know its place better.
            let (before, from) = self.successors.split_at(owner);
            let next = from.first().filter(reached).or_else(|| before.iter().rev().find(reached));
            return next.map_or(Hop::Nowhere, |next| Hop::Next(next.contact.clone()));
        }
        // Beyond the list, or the list ends before it comes round to us: then we are the next after its last.
        let last = self.successors.iter().rev().find(reached);
        let last = last.map(|last| (me.address.distance_to(last.address), &last.contact));
        match (fingers.farthest_within(distance), last) {
            (Some((reach, finger)), Some((past, _))) if reach > past => Hop::Next(finger.clone()),
            (_, Some((_, last))) => Hop::Next(last.clone()),
            (Some((_, finger)), None) => Hop::Next(finger.clone()),
            (None, None) => Hop::Nowhere,
        }
    }

    /// Whether the target was ours and is not now, or lies in the predecessor's range as it told us last. Whoever sent it here
    /// may not have heard of those who live there yet: sent on round the ring it would come back here. Whom we handed it to long
    /// ago may have died or left since then; our predecessor is watched, and knows its own.
    fn lies_before(&self, target: OverlayAddr) -> bool {
        let (Some(start), Some(before), Some(me)) = (&self.before, &self.predecessor, &self.me) else { return false };
        let told = AddrRange { after: start.after, to: before.address };
        let given = |handed: &Handed<P>| handed.range.contains(target) && !handed.range.contains(me.address);
        self.claim.is_none()
            && self.after == before.address
            && told.after != told.to
            && (told.contains(target) || start.after == target || self.handed.iter().any(given))
    }
}
