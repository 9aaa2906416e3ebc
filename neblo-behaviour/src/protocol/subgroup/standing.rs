//! Who stands where in the list of candidates (seed 003 §2; design D9).
//!
//! What counts is what a leader has seen itself: since when a member is one without a break, whether it could be dialled, how
//! fast it took the table. Times are compared by their doublings, so that reachability and bandwidth count among members that
//! have been there about as long; else the list keeps the order in which they joined.

use super::*;

/// The policy by which a leader orders its candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderPolicy {
    /// By observed uptime, then reachability, then measured bandwidth (design D9).
    #[default]
    Observed,
    /// As in the paper, claimed processors and bandwidth count as uptime does (seed 003 §2): "the longer a node remains connected
    /// (and the better resources it has), the better candidate it becomes". Whoever claims much leads soon.
    Claimed,
}

/// How long a member must have been there before the lead is given to it while the leader lives. choice
const PROVEN: Duration = Duration::from_secs(60);
/// By how many doublings a candidate must be better under the paper's policy. choice: else two would swap places
const MARGIN: u64 = 2;
/// Former members remembered. choice
const MAX_FORMER: usize = 256;
/// Deposed leaders remembered. choice
const MAX_BANNED: usize = 64;

/// What a member has seen of its home subgroup.
#[derive(Clone, Debug)]
pub(super) struct Observed<P> {
    subgroup: Option<OverlayAddr>,
    /// Since when the members are there.
    since: BTreeMap<P, Time>,
    /// Who was a member before; one of them may have taken over.
    pub(super) former: Vec<Contact<P>>,
    /// Leaders that signed two lists for one version.
    pub(super) banned: Vec<P>,
    /// Members that could not be dialled.
    unreachable: Vec<P>,
    /// Bytes a second.
    bandwidth: BTreeMap<P, u64>,
    /// The last roots, to be compared with those of members that are a little behind.
    pub(super) roots: VecDeque<ListRoot>,
}

impl<P> Default for Observed<P> {
    fn default() -> Self {
        Self {
            subgroup: None,
            since: BTreeMap::new(),
            former: Vec::new(),
            banned: Vec::new(),
            unreachable: Vec::new(),
            bandwidth: BTreeMap::new(),
            roots: VecDeque::new(),
        }
    }
}

impl<P: Peer> Observed<P> {
    /// There is a new list.
    pub(super) fn look(&mut self, now: Time, subgroup: OverlayAddr, here: &BTreeSet<P>, gone: &[&Contact<P>]) {
        if self.subgroup != Some(subgroup) {
            *self = Self { subgroup: Some(subgroup), ..Self::default() };
        }
        for member in here {
            self.since.entry(*member).or_insert(now);
        }
        self.since.retain(|peer, _| here.contains(peer));
        self.unreachable.retain(|peer| here.contains(peer));
        self.bandwidth.retain(|peer, _| here.contains(peer));
        self.former.retain(|former| !here.contains(&former.peer));
        for member in gone {
            if !self.former.contains(member) {
                if self.former.len() >= MAX_FORMER {
                    self.former.remove(0);
                }
                self.former.push((*member).clone());
            }
        }
    }

    /// It says anew where it is.
    pub(super) fn stated(&mut self, peer: P) {
        self.unreachable.retain(|other| *other != peer);
    }

    pub(super) fn ban(&mut self, peer: P) {
        if !self.banned.contains(&peer) {
            if self.banned.len() >= MAX_BANNED {
                self.banned.remove(0);
            }
            self.banned.push(peer);
        }
    }

    fn uptime(&self, now: Time, peer: P) -> Duration {
        self.since.get(&peer).map_or(Duration::ZERO, |since| now.since(*since))
    }

    fn standing(&self, policy: LeaderPolicy, now: Time, member: &Statement<P>) -> (u64, bool, u64) {
        let peer = member.contact.peer;
        let reachable = member.contact.has_addresses() && !self.unreachable.contains(&peer);
        let minutes = doublings(self.uptime(now, peer).as_secs() / 60);
        match policy {
            LeaderPolicy::Observed => {
                (minutes, reachable, doublings(self.bandwidth.get(&peer).copied().unwrap_or(0)) / 2)
            }
            LeaderPolicy::Claimed => {
                let claimed =
                    doublings(member.cpu.unwrap_or(0).into()) + doublings(member.bandwidth.unwrap_or(0).into());
                (minutes + claimed, reachable, 0)
            }
        }
    }
}

/// 0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7.
fn doublings(value: u64) -> u64 {
    u64::from(u64::BITS - value.leading_zeros())
}

impl<P: Peer> Subgroups<P> {
    /// So many bytes a second went to this peer.
    pub fn measured(&mut self, peer: P, rate: u64) {
        if self.leads() && self.home().is_some_and(|home| home.list.member(peer).is_some()) {
            self.observed.bandwidth.insert(peer, rate);
        }
    }

    pub(super) fn not_reached(&mut self, peer: P) {
        if self.home().is_some_and(|home| home.list.member(peer).is_some())
            && !self.observed.unreachable.contains(&peer)
        {
            self.observed.unreachable.push(peer);
        }
    }

    /// Whether one member should lead rather than another. Claims, and bandwidth alone, are not worth a change that is near.
    fn is_much_better(&self, now: Time, candidate: &Statement<P>, leader: &Statement<P>) -> bool {
        let policy = self.config.policy;
        let (theirs, ours) =
            (self.observed.standing(policy, now, candidate), self.observed.standing(policy, now, leader));
        self.observed.uptime(now, candidate.contact.peer) >= PROVEN
            && match policy {
                LeaderPolicy::Observed => (theirs.0, theirs.1) > (ours.0, ours.1),
                LeaderPolicy::Claimed => theirs.0 >= ours.0 + MARGIN && theirs.1,
            }
    }

    /// As the leader: puts the candidates in order, and hands over to one that is much better.
    pub(super) fn put_in_order(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let Some(home) = self.home() else { return };
        let policy = self.config.policy;
        let mut order: Vec<_> = home.list.members.iter().skip(1).collect();
        // A stable sort: the longer a member is there, the nearer to the front it stands among its like.
        order.sort_by_key(|member| std::cmp::Reverse(self.observed.standing(policy, ctx.now, member)));
        let better = order.iter().find(|member| !member.guest).copied();
        let better = better.filter(|best| home.leader().is_some_and(|me| self.is_much_better(ctx.now, best, me)));
        let better = better.map(|best| best.contact.clone());
        let order: Vec<P> = order.into_iter().map(|member| member.contact.peer).collect();
        if let Some(leading) = &mut self.leading {
            leading.order = Some(order);
        }
        self.commit(ctx, keys, None);
        if let Some(better) = better.filter(|_| self.handing.is_none()) {
            self.hand_over(ctx, better, false);
        }
    }
}

/// The moves, one after another, that put `members` (the leader left out) in this order.
pub(super) fn moves<P: Peer>(list: &MemberList<P>, order: &[P]) -> Vec<Moved> {
    let mut now: Vec<P> = list.members.iter().skip(1).map(|member| member.contact.peer).collect();
    let order: Vec<P> = order.iter().copied().filter(|peer| now.contains(peer)).collect();
    let mut moves = Vec::new();
    for (place, peer) in order.iter().enumerate() {
        if now.get(place) == Some(peer) {
            continue;
        }
        let Some(at) = now.iter().position(|other| other == peer) else { continue };
        now.remove(at);
        now.insert(place, *peer);
        if let (Some(peer), Ok(place)) = (crate::protocol::codec::Blob::new(peer.to_bytes()), u16::try_from(place + 1))
        {
            moves.push(Moved { peer, place });
        }
    }
    moves
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::protocol::codec::{Blob, List};
    use crate::sim::StandInKeys;

    fn member(peer: u32, cpu: u32, bandwidth: u32, addressed: bool) -> Statement<u32> {
        let addresses = if addressed { vec![vec![peer as u8]] } else { Vec::new() };
        let resources = Resources { cpu: Some(cpu), bandwidth: Some(bandwidth) };
        let contact = Contact::new(peer, addresses);
        let keys = StandInKeys::new(peer);
        Statement::stated(&keys, &contact, [0; 32], OverlayAddr(1), u64::MAX, false, (resources, 0))
    }

    fn list(members: Vec<Statement<u32>>) -> MemberList<u32> {
        MemberList {
            subgroup: OverlayAddr(1),
            term: 1,
            version: 1,
            members: List::chop(members),
            signature: Blob::default(),
        }
    }

    fn look(observed: &mut Observed<u32>, now: Time, list: &MemberList<u32>) {
        let here = list.members.iter().map(|member| member.contact.peer).collect();
        observed.look(now, list.subgroup, &here, &[]);
    }

    fn subgroups(policy: LeaderPolicy) -> Subgroups<u32> {
        let config = SubgroupConfig { policy, ..SubgroupConfig::new("test", 8) };
        Subgroups::new(config, Contact::bare(0), [0; 32])
    }

    #[test]
    fn uptime_comes_first_then_reachability_then_bandwidth_and_claims_only_under_the_papers_policy() {
        let minute = |minutes: u64| Time(minutes * 60_000_000);
        let members =
            vec![member(0, 1, 1, true), member(1, 1, 1, false), member(2, 64, 1 << 20, true), member(3, 1, 1, true)];
        let mut observed = Observed::default();
        look(&mut observed, minute(0), &list(members[..1].to_vec()));
        look(&mut observed, minute(1), &list(members[..2].to_vec()));
        look(&mut observed, minute(2), &list(members[..3].to_vec()));
        look(&mut observed, minute(9), &list(members.clone()));
        observed.bandwidth.insert(2, 1 << 20);
        let by = |policy, now| {
            let mut order: Vec<_> = members.iter().collect();
            order.sort_by_key(|member| std::cmp::Reverse(observed.standing(policy, now, member)));
            order.into_iter().map(|member| member.contact.peer).collect::<Vec<_>>()
        };
        // Ten minutes, nine and eight are alike: 1 cannot be dialled, 2 is the fastest. 3 came much later.
        assert_eq!(by(LeaderPolicy::Observed, minute(10)), [2, 0, 1, 3]);
        assert_eq!(by(LeaderPolicy::Claimed, minute(10))[0], 2);
        // However much it claims, it has to be there longer than the others by D9.
        assert_eq!(by(LeaderPolicy::Observed, minute(3)), [0, 1, 2, 3]);
        assert_eq!(by(LeaderPolicy::Claimed, minute(3))[0], 2);
    }

    #[test]
    fn only_a_much_better_candidate_is_given_the_lead_while_the_leader_lives() {
        let minute = |minutes: u64| Time(minutes * 60_000_000);
        for (policy, strong) in [(LeaderPolicy::Observed, false), (LeaderPolicy::Claimed, true)] {
            let mut subgroups = subgroups(policy);
            let (leader, like, strongest) =
                (member(0, 4, 1_000, true), member(1, 6, 1_500, true), member(2, 32, 9_000, true));
            let all = list(vec![leader.clone(), like.clone(), strongest.clone()]);
            look(&mut subgroups.observed, minute(0), &all);
            assert!(!subgroups.is_much_better(Time(30_000_000), &strongest, &leader), "not proven yet");
            assert!(!subgroups.is_much_better(minute(9), &like, &leader));
            assert_eq!(subgroups.is_much_better(minute(9), &strongest, &leader), strong);
        }
        // A leader that nobody can dial makes room.
        let mut subgroups = subgroups(LeaderPolicy::Observed);
        let (leader, candidate) = (member(0, 1, 1, false), member(1, 1, 1, true));
        look(&mut subgroups.observed, minute(0), &list(vec![leader.clone(), candidate.clone()]));
        assert!(subgroups.is_much_better(minute(9), &candidate, &leader));
    }

    #[test]
    fn moves_bring_a_list_into_the_order_that_is_wanted() {
        let members: Vec<_> = (0..6).map(|peer| member(peer, 1, 1, true)).collect();
        let old = list(members);
        for order in [[5, 1, 2, 3, 4], [2, 3, 4, 5, 1], [5, 4, 3, 2, 1], [1, 2, 3, 4, 5]] {
            let change = MemberChange {
                subgroup: old.subgroup,
                term: 1,
                version: 2,
                removed: List::default(),
                added: List::default(),
                signature: Blob::default(),
                moved: List::chop(moves(&old, &order)),
            };
            let new = apply_change(&old, &change);
            let peers: Vec<_> = new.members.iter().map(|member| member.contact.peer).collect();
            assert_eq!(peers, [&[0][..], &order].concat());
        }
    }
}
