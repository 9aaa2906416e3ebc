//! The ring: among whom the sender of a message hides from a peer that forwards it, and how much of who lives where colluding peers
//! learn (research §4; design D6). Real routing over ideal rings with fingers found as nodes find them.

use std::collections::BTreeSet;

use crate::address::OverlayAddr;
use crate::sim::ideal_ring::IdealRing;

/// More hops than any route has.
const MOST_HOPS: usize = 1_000;

/// What colluding forwarders make of messages: the first of them on a way looks at who handed it the message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Senders {
    /// Messages, each from another honest peer.
    pub messages: u64,
    /// Hops, all together.
    pub hops: u64,
    /// Messages that a colluder forwarded or received.
    pub seen: u64,
    /// Of them handed over by the sender itself.
    pub from_sender: u64,
    /// For each seen: how many honest peers' messages to that address come this way.
    pub sets: Vec<u32>,
}

impl Senders {
    /// Share of the messages seen that came from the sender itself: what a forwarder that knows no routing table but its own can
    /// hold against the peer before it.
    pub fn posterior(&self) -> f64 {
        self.from_sender as f64 / self.seen as f64
    }

    /// Hops of a message on average.
    pub fn mean_hops(&self) -> f64 {
        self.hops as f64 / self.messages as f64
    }

    /// Mean size of the sets.
    pub fn mean_set(&self) -> f64 {
        self.sets.iter().map(|set| f64::from(*set)).sum::<f64>() / self.sets.len() as f64
    }

    /// Mean of their entropies, in bits.
    pub fn mean_bits(&self) -> f64 {
        self.sets.iter().map(|set| f64::from(*set).log2()).sum::<f64>() / self.sets.len() as f64
    }

    /// Share of sets that are no larger.
    pub fn share_to(&self, size: u32) -> f64 {
        self.sets.iter().filter(|set| **set <= size).count() as f64 / self.sets.len() as f64
    }
}

/// Sends a message from every honest one of `n` peers to each of `targets` random addresses, with `c` random colluders for each
/// address. The sets are those of an attacker who knows every routing table, which the ring gives to nobody.
pub fn senders(seed: u64, (n, c): (u32, u32), delta: f64, targets: u32) -> Senders {
    let mut network = IdealRing::new(seed, n, delta);
    let mut found = Senders::default();
    for _ in 0..targets {
        let target = network.draw_address();
        let colluders = network.draw_peers(c as usize);
        let ways = network.ways(target);
        // For each peer: from how many honest peers the messages come that it hands on before any colluder had them.
        let mut through = vec![0u32; ways.len()];
        let mut caught = Vec::new();
        for sender in (0..ways.len()).filter(|peer| !colluders.contains(peer)) {
            found.messages += 1;
            let (mut at, mut unseen) = (sender, true);
            for _ in 0..MOST_HOPS {
                if unseen {
                    through[at] += 1;
                }
                let Some(next) = ways[at] else { break };
                found.hops += 1;
                if unseen && colluders.contains(&next) {
                    caught.push((sender, at));
                    unseen = false;
                }
                at = next;
            }
        }
        for (sender, before) in caught {
            found.seen += 1;
            found.from_sender += u64::from(sender == before);
            found.sets.push(through[before]);
        }
    }
    found
}

/// What colluding peers learn of who lives where.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mapped {
    /// Peers whose address they know, they themselves left out.
    pub known: f64,
    /// Honest peers of whom they know anything: a successor, predecessor or finger of one of them.
    pub heard_of: f64,
    /// Honest peers that they know to live within 1 % of the ring or less.
    pub within_a_hundredth: f64,
    /// Mean over all honest peers of log2(peers it could be by what they know) / log2(n): 1 if they know nothing.
    pub degree: f64,
}

/// How much of a ring of `n` peers `c` of them learn from their neighbourhood and their fingers, over `sets` random sets.
///
/// Their neighbourhood is what `tests/sim/blind.rs` finds in frames: predecessor and successors with their addresses. Of a finger they
/// know its level, and so where it lies to within 2^i delta.
pub fn mapped(seed: u64, (n, c): (u32, u32), delta: f64, sets: u32) -> Mapped {
    let mut network = IdealRing::new(seed, n, delta);
    let mut all = Mapped::default();
    for _ in 0..sets {
        let colluders = network.draw_peers(c as usize);
        let mut known: BTreeSet<usize> = BTreeSet::new();
        let mut hints: Vec<Vec<(OverlayAddr, u128)>> = vec![Vec::new(); n as usize];
        for mapper in &colluders {
            let ring = &network.rings[*mapper];
            let around = ring.successors().iter().chain(ring.predecessor());
            known.extend(around.map(|principal| principal.contact.peer as usize));
            for finger in network.fingers[*mapper].iter() {
                let least = 1u128 << finger.level.min(127);
                let width = (2f64.powi(i32::from(finger.level)) * delta).max(1.0) as u128;
                hints[finger.contact.peer as usize].push((network.addresses[*mapper].offset(least), width));
            }
        }
        let honest: Vec<usize> = (0..n as usize).filter(|peer| !colluders.contains(peer)).collect();
        let share = |count: usize| count as f64 / honest.len() as f64 / f64::from(sets);
        let candidates = |peer: &usize| {
            if known.contains(peer) {
                return 1;
            }
            let fits =
                |address: &OverlayAddr| hints[*peer].iter().all(|(from, width)| from.distance_to(*address) <= *width);
            // Not those whose address is known to belong to somebody else.
            let possible = honest.iter().filter(|other| !known.contains(other) && fits(&network.addresses[**other]));
            possible.count().max(1)
        };
        let sizes: Vec<usize> = honest.iter().map(candidates).collect();
        all.known += share(honest.iter().filter(|peer| known.contains(peer)).count());
        all.heard_of += share(honest.iter().filter(|peer| known.contains(peer) || !hints[**peer].is_empty()).count());
        all.within_a_hundredth += share(sizes.iter().filter(|size| **size * 100 <= n as usize).count());
        let bits: f64 = sizes.iter().map(|size| (*size as f64).log2()).sum();
        all.degree += bits / honest.len() as f64 / f64::from(n).log2() / f64::from(sets);
    }
    all
}
