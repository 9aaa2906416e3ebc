//! Another leader takes over when the leader dies (seed 003 §2, §4; design D9).
//!
//! The list of candidates is the member list in its order. Each member waits for the first living candidate to show a
//! list of a higher term, and passes on to the next when it does not.

use super::*;
use crate::protocol::codec::Blob;

/// How long a candidate has to show itself as the leader. choice
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(super) struct Succession {
    generation: u64,
    /// Candidates tried.
    tried: usize,
}

impl<P: Peer> Subgroups<P> {
    fn candidates(&self) -> Vec<Contact<P>> {
        let members = self.home().map(|home| home.list.members.as_slice()).unwrap_or_default();
        members.iter().skip(1).filter(|member| !member.guest).map(|member| member.contact.clone()).collect()
    }

    pub(super) fn leader_lost(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        if self.succession.is_none() {
            self.try_candidate(ctx, keys, 0);
        }
    }

    fn try_candidate(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, tried: usize) {
        let Some(home) = self.home().cloned() else { return };
        match self.candidates().get(tried) {
            Some(candidate) if candidate.peer == self.me.peer => self.take_over(ctx, keys),
            Some(candidate) => {
                let generation = self.next_number();
                self.succession = Some(Succession { generation, tried });
                let suspect = Suspect { subgroup: home.subgroup(), term: home.list.term };
                ctx.out.send(candidate, SubgroupMessage::Suspect(suspect));
                ctx.out.arm(TAKES_OVER_WITHIN, SubgroupTimer::Succession(generation));
            }
            None => {
                // Nobody took over: ask the registry, as a newcomer would.
                self.succession = None;
                self.home.steps = 0;
                self.find(ctx, false, home.subgroup());
            }
        }
    }

    pub(super) fn succession_expired(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if let Some(succession) = self.succession.filter(|succession| succession.generation == generation) {
            self.try_candidate(ctx, keys, succession.tried + 1);
        }
    }

    /// "The leader is dead; you are next." Our own link decides: it is probed, and tells us when it is.
    pub(super) fn suspected(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, suspect: &Suspect) {
        let Some(home) = self.home() else { return };
        if home.subgroup() == suspect.subgroup && home.list.term == suspect.term && self.succession.is_some() {
            let mine = self.candidates().iter().position(|candidate| candidate.peer == self.me.peer);
            if let (Some(mine), Some(succession)) = (mine, self.succession)
                && mine <= succession.tried + 1
            {
                self.take_over(ctx, keys);
            }
        }
    }

    fn take_over(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let Some(home) = self.home().cloned() else { return };
        self.succession = None;
        let old = home.leader().map(|leader| leader.contact.peer);
        let mut members = home.list.members.clone().into_inner();
        members.retain(|member| Some(member.contact.peer) != old);
        let Some(mine) = members.iter().position(|member| member.contact.peer == self.me.peer) else { return };
        let mine = members.remove(mine);
        members.insert(0, mine);
        let list = MemberList {
            subgroup: home.subgroup(),
            term: home.list.term + 1,
            version: home.list.version + 1,
            members: List::chop(members),
            signature: Blob::default(),
        };
        self.lead(ctx, keys, list);
        if let Some(home) = self.home() {
            for member in home.relays(self.me.peer) {
                ctx.out.send(member, SubgroupMessage::Members(home.list.clone()));
            }
        }
    }
}
