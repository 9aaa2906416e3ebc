//! A ring as it is when all is well, with the real routing over it. It is built at once, because thousands of joins would only cost
//! time: who follows whom is given, fingers are asked for as nodes ask for them (design D6), but of whom owns an address without the
//! frames that find out.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::address::OverlayAddr;
use crate::protocol::io::{Contact, below};
use crate::protocol::ring::{Fingers, Hop, Principal, Ring};

/// How often each level is asked for, as an established node has.
const ROUNDS: usize = 6;
/// More hops than any route has.
const MOST_HOPS: u32 = 1_000;

/// The places of all peers, in order of their addresses, and their fingers.
#[derive(Debug)]
pub struct IdealRing {
    pub(super) rings: Vec<Ring<u32>>,
    pub(super) fingers: Vec<Fingers<u32>>,
    pub(super) addresses: Vec<OverlayAddr>,
    pub(super) rng: ChaCha8Rng,
}

impl IdealRing {
    /// A ring of `n` peers, more than eight, with fingers of relative width `delta`.
    pub fn new(seed: u64, n: u32, delta: f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut addresses: Vec<OverlayAddr> = (0..n).map(|_| draw_address(&mut rng)).collect();
        addresses.sort();
        let member = |(at, address): (usize, &OverlayAddr)| Principal {
            address: *address,
            incarnation: 0,
            contact: Contact::bare(at as u32),
        };
        let rings = Ring::ideal(addresses.iter().enumerate().map(member).collect());
        let fingers = rings.iter().map(|_| Fingers::new(delta)).collect();
        let mut network = Self { rings, fingers, addresses, rng };
        for _ in 0..ROUNDS {
            (0..n as usize).for_each(|at| network.find_fingers(at));
        }
        network
    }

    /// Asks for a finger of each level once.
    fn find_fingers(&mut self, at: usize) {
        let me = self.addresses[at];
        while let Some(level) = self.fingers[at].next_level(&self.rings[at]) {
            let target = self.fingers[at].target(me, level, &mut self.rng);
            let owner = self.owner(target);
            let slack = self.fingers[at].slack(level);
            let found = self.rings[owner].finger_answerer(target, slack, &self.fingers[owner], &mut self.rng);
            if let Some(found) = found.filter(|found| found.peer as usize != at) {
                self.fingers[at].learn(level, found);
            }
        }
    }

    /// Who owns an address.
    pub fn owner(&self, target: OverlayAddr) -> usize {
        self.addresses.partition_point(|address| *address < target) % self.addresses.len()
    }

    /// The next peer on the way from each peer to `target`; `None` at its owner.
    pub(super) fn ways(&self, target: OverlayAddr) -> Vec<Option<usize>> {
        let next = |(ring, fingers): (&Ring<u32>, &Fingers<u32>)| match ring.route(target, fingers) {
            Hop::Next(next) => Some(next.peer as usize),
            Hop::Here | Hop::Nowhere => None,
        };
        self.rings.iter().zip(&self.fingers).map(next).collect()
    }

    /// The hops from one peer to the owner of an address; `None` if the way does not end there.
    pub fn hops(&self, from: usize, target: OverlayAddr) -> Option<u32> {
        let mut at = from;
        for hops in 0..MOST_HOPS {
            match self.rings[at].route(target, &self.fingers[at]) {
                Hop::Here => return (at == self.owner(target)).then_some(hops),
                Hop::Next(next) => at = next.peer as usize,
                Hop::Nowhere => return None,
            }
        }
        None
    }

    /// The mean over so many routes, from random peers to random addresses; `None` if one does not end at the owner.
    pub fn mean_hops(&mut self, routes: u32) -> Option<f64> {
        let mut all = 0;
        for _ in 0..routes {
            let from = below(&mut self.rng, self.rings.len());
            let target = self.draw_address();
            all += u64::from(self.hops(from, target)?);
        }
        Some(all as f64 / f64::from(routes))
    }

    /// Fingers of a peer on average.
    pub fn mean_fingers(&self) -> f64 {
        let fingers: usize = self.fingers.iter().map(|fingers| fingers.iter().count()).sum();
        fingers as f64 / self.rings.len() as f64
    }

    /// Peers that a peer is connected to on average, because one of the two has the other as predecessor, successor or finger.
    pub fn mean_connections(&self) -> f64 {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (at, (ring, fingers)) in self.rings.iter().zip(&self.fingers).enumerate() {
            let around = ring.successors().iter().chain(ring.predecessor()).map(|other| other.contact.peer);
            let others = around.chain(fingers.iter().map(|finger| finger.contact.peer));
            pairs.extend(others.map(|other| (other.min(at as u32), other.max(at as u32))));
        }
        pairs.sort_unstable();
        pairs.dedup();
        2.0 * pairs.len() as f64 / self.rings.len() as f64
    }

    pub(super) fn draw_address(&mut self) -> OverlayAddr {
        draw_address(&mut self.rng)
    }

    pub(super) fn draw_peers(&mut self, c: usize) -> BTreeSet<usize> {
        let mut drawn = BTreeSet::new();
        while drawn.len() < c.min(self.rings.len()) {
            drawn.insert(below(&mut self.rng, self.rings.len()));
        }
        drawn
    }
}

fn draw_address(rng: &mut ChaCha8Rng) -> OverlayAddr {
    OverlayAddr(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()))
}
