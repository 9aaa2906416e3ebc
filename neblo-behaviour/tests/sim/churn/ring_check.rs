//! The ring as one who sees all members at once sees it, and what must hold of it (research §3).

use neblo_behaviour::address::{AddrRange, OverlayAddr};
use neblo_behaviour::protocol::interface::Ownership;
use neblo_behaviour::protocol::ring::Ring;
use neblo_behaviour::sim::Simulation;

/// Longest successor list (design D2).
const R: usize = 8;

/// One subscription of a host: address, random number, host.
type Who = (OverlayAddr, u64, u32);

/// A member's place in the ring, as it last was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub me: Who,
    pub range: AddrRange,
    /// What it owns soon, unless somebody shows up in it.
    pub claimed: Option<AddrRange>,
    pub epoch: u64,
    /// What it says yes to may depend on: ranges on their way, and whether its heirs have heard of the epoch.
    pub changing: (usize, bool),
    pub successors: Vec<Who>,
}

fn changing(ring: &Ring<u32>) -> (usize, bool) {
    (ring.changing_hands(), ring.is_heard())
}

impl Place {
    /// The place of a member.
    pub(crate) fn of(ring: &Ring<u32>) -> Option<Self> {
        let me = ring.me()?;
        let (range, epoch) = ring.range()?;
        let who = |principal: &neblo_behaviour::protocol::ring::Principal<u32>| {
            (principal.address, principal.incarnation, principal.contact.peer)
        };
        let claimed = ring.claimed().map(|(claimed, _)| claimed);
        let successors = ring.successors().iter().map(who).collect();
        Some(Self { me: who(me), range, claimed, epoch, changing: changing(ring), successors })
    }

    /// Whether the ring is still at this place; what is asked after every event.
    pub(crate) fn is_still(&self, ring: &Ring<u32>) -> bool {
        let same = |who: &Who, principal: &neblo_behaviour::protocol::ring::Principal<u32>| {
            who.0 == principal.address && who.1 == principal.incarnation
        };
        ring.range() == Some((self.range, self.epoch))
            && changing(ring) == self.changing
            && ring.claimed().map(|(claimed, _)| claimed) == self.claimed
            && ring.me().is_some_and(|me| same(&self.me, me))
            && ring.successors().len() == self.successors.len()
            && self.successors.iter().zip(ring.successors()).all(|(who, principal)| same(who, principal))
    }

    /// Ordered successor lists: clockwise, never past oneself.
    pub(crate) fn successors_are_ordered(&self) -> bool {
        let mut last = 0;
        self.successors.iter().all(|(address, ..)| {
            let distance = self.me.0.distance_to(*address);
            let further = distance > last;
            last = distance;
            further
        })
    }

    /// The owned part of the circle.
    pub(crate) fn share(&self) -> f64 {
        share(self.range)
    }
}

/// The part of the circle that a range takes up.
pub(crate) fn share(range: AddrRange) -> f64 {
    match range.after.distance_to(range.to) {
        0 => 1.0,
        distance => distance as f64 / 2f64.powi(128),
    }
}

/// Whether two ranges have an address in common.
pub(crate) fn overlap(a: AddrRange, b: AddrRange) -> bool {
    a.contains(b.to) || b.contains(a.to)
}

/// The places of all living members, by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Vec<Option<Place>>);

impl Places {
    pub(crate) fn get(&self, host: u32) -> Option<&Place> {
        self.0.get(host as usize)?.as_ref()
    }

    pub(crate) fn set(&mut self, host: u32, place: Option<Place>) -> Option<Place> {
        if self.0.len() <= host as usize {
            self.0.resize(host as usize + 1, None);
        }
        std::mem::replace(&mut self.0[host as usize], place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether this subscription is a living member.
    pub(crate) fn lives(&self, who: &Who) -> bool {
        self.get(who.2).is_some_and(|place| place.me == *who)
    }

    /// The first living successor of a member.
    pub(crate) fn best(&self, place: &Place) -> Option<u32> {
        place.successors.iter().find(|who| self.lives(who)).map(|who| who.2)
    }

    /// The members in order of their addresses.
    pub(crate) fn in_order(&self) -> Vec<&Place> {
        let mut members: Vec<_> = self.iter().collect();
        members.sort_by_key(|place| place.me.0);
        members
    }

    /// One ring, ordered, and whoever is not on it leads to it (Zave's AtLeastOneRing, AtMostOneRing, OrderedRing,
    /// ConnectedAppendages), by the first living successors.
    pub(crate) fn one_ring(&self) -> Result<(), String> {
        let members = self.in_order();
        if members.len() < 2 {
            return Ok(());
        }
        let mut next = vec![0; members.len()];
        for (at, place) in members.iter().enumerate() {
            let best = self.best(place).ok_or_else(|| format!("{} has no living successor", place.me.2))?;
            let address = self.get(best).map(|place| place.me.0).unwrap_or_default();
            next[at] = members.binary_search_by_key(&address, |place| place.me.0).unwrap_or(0);
        }
        // After as many steps as there are members, one walks on a ring.
        let mut at = 0;
        for _ in 0..members.len() {
            at = next[at];
        }
        let start = at;
        let mut on_ring = vec![false; members.len()];
        let mut turns = 0;
        loop {
            on_ring[at] = true;
            turns += usize::from(next[at] <= at);
            at = next[at];
            if at == start {
                break;
            }
        }
        if turns != 1 {
            return Err(format!("the ring of {} goes round {turns} times", members[start].me.2));
        }
        for first in 0..members.len() {
            let mut at = first;
            let mut steps = 0;
            while !on_ring[at] {
                at = next[at];
                steps += 1;
                if steps > members.len() {
                    return Err(format!(
                        "{} does not lead to the ring of {}",
                        members[first].me.2, members[start].me.2
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the ring is ideal: every member owns from its predecessor to itself and knows its next r successors.
    pub(crate) fn ideal(&self) -> bool {
        let members = self.in_order();
        let n = members.len();
        members.iter().enumerate().all(|(at, place)| {
            place.range.after == members[(at + n - 1) % n].me.0
                && place.successors.len() == R.min(n - 1)
                && place.successors.iter().enumerate().all(|(nth, who)| *who == members[(at + nth + 1) % n].me)
        })
    }

    /// The part of the circle that nobody owns or is about to hand over, and the part that more than one is sure to own,
    /// counted as often as too much.
    pub(crate) fn coverage(&self, sim: &Simulation) -> (f64, f64) {
        let all: f64 = self.iter().map(Place::share).sum();
        // Cut the circle at every end of a range; each piece is owned whole or not at all.
        let mut cuts: Vec<OverlayAddr> = self.iter().flat_map(|place| [place.range.after, place.range.to]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        if cuts.is_empty() {
            return (1.0, 0.0);
        }
        let disjoint_and_whole = cuts.len() == self.len() && (all - 1.0).abs() < 1e-9;
        if disjoint_and_whole {
            return (0.0, 0.0);
        }
        let (mut unowned, mut double) = (0.0, 0.0);
        for (at, to) in cuts.iter().enumerate() {
            let after = cuts[(at + cuts.len() - 1) % cuts.len()];
            let owners = |what| self.iter().filter(|place| owns(sim, place, *to) == what).count();
            match (owners(Ownership::Yes), owners(Ownership::Changing)) {
                (0, 0) => unowned += share(AddrRange { after, to: *to }),
                (0 | 1, _) => {}
                (more, _) => double += share(AddrRange { after, to: *to }) * (more - 1) as f64,
            }
        }
        (unowned, double)
    }
}

/// What a member says of an address.
pub(crate) fn owns(sim: &Simulation, place: &Place, address: OverlayAddr) -> Ownership {
    sim.node(place.me.2).ring().ownership(address)
}
