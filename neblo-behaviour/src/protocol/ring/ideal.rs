//! A ring as it is when all is well, made at once: for simulations and for measuring routes, where thousands of joins
//! would only cost time.

use super::*;

impl<P: Peer> Ring<P> {
    /// The places of `members` in their ideal ring, in order of their addresses. More than r of them, all different.
    pub fn ideal(mut members: Vec<Principal<P>>) -> Vec<Self> {
        members.sort_by_key(|member| member.address);
        let from = |at: usize| members.iter().cycle().skip(at).cloned();
        (0..members.len())
            .filter_map(|at| {
                let me = members.get(at).cloned()?;
                let predecessor = from(at + members.len() - 1).next()?;
                Some(Self {
                    phase: Phase::Member,
                    me: Some(me),
                    after: predecessor.address,
                    predecessor: Some(predecessor),
                    epoch: 1,
                    successors: from(at + 1).take(MAX_SUCCESSORS).collect(),
                    ..Self::default()
                })
            })
            .collect()
    }
}
