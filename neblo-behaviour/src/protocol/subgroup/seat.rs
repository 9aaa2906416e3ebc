//! A membership and how far the way to it has been gone.

use super::contested::Claim;
use super::*;

#[derive(Clone, Debug)]
pub(super) enum Stage<P> {
    /// Not wanted.
    Idle,
    /// Asks known peers for their subgroups.
    Asking { known: Vec<Contact<P>>, told: Vec<(P, InSubgroup<P>)> },
    /// Asks the registry for the leader.
    Finding { subgroup: OverlayAddr, token: u64 },
    /// Asks the registry for any leader (to be a guest there).
    Listing,
    /// Asks the leader.
    Joining { subgroup: OverlayAddr, leader: Contact<P> },
    /// In.
    In,
}

/// One membership and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Seat<P> {
    pub(super) stage: Stage<P>,
    pub(super) membership: Option<Membership<P>>,
    pub(super) known: Vec<Contact<P>>,
    /// Those whom copies of the registration have named and who were not asked yet.
    pub(super) named: VecDeque<(OverlayAddr, Contact<P>)>,
    pub(super) generation: u64,
    pub(super) steps: u32,
    pub(super) elsewhere: u32,
    /// Since when it looks for a subgroup or for a leader.
    pub(super) since: Option<Time>,
    /// Somebody says that it leads from now on, and the leader is asked.
    pub(super) claim: Option<Claim<P>>,
}

impl<P> Default for Seat<P> {
    fn default() -> Self {
        Self {
            stage: Stage::Idle,
            membership: None,
            known: Vec::new(),
            named: VecDeque::new(),
            generation: 0,
            steps: 0,
            elsewhere: 0,
            since: None,
            claim: None,
        }
    }
}
