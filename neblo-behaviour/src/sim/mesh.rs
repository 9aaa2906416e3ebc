//! A model of gossipsub's mesh, as the leaders' multicast has it (`swarm/multicast.rs`: the defaults, with flood publishing): over
//! which links a message goes and how many copies of it each peer gets. Written after the rules of libp2p-gossipsub 0.50;
//! `swarm/tests/mesh.rs` holds it against gossipsub itself.
//!
//! Not in it: heartbeats while links are still made, for which the real mesh has 4 to 11 % more links and copies; gossip about
//! messages that were missed, which adds announcements and no copies where nothing is lost; and scores.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use rand::Rng;

use crate::protocol::io::{below, shuffle};

/// Links that a leader makes, and most that it has (design D13; `protocol/subgroup/leaders.rs`).
const LINKS: usize = 8;
const MOST_LINKS: usize = 2 * LINKS;
/// gossipsub's D, D_low and D_high.
const WANTED: usize = 6;
const LOW: usize = 5;
const HIGH: usize = 12;
/// Heartbeats until a mesh has settled; it mostly has after one or two.
const HEARTBEATS: usize = 20;

/// The links of all peers, and which of them are in the mesh.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    links: Vec<BTreeSet<u32>>,
    mesh: Vec<BTreeSet<u32>>,
}

/// What came of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Copies that each peer received; none at its publisher is none too many.
    pub received: Vec<u32>,
    /// Copies that each peer sent.
    pub sent: Vec<u32>,
    /// Microseconds until the last peer had it.
    pub took: u64,
}

impl Spread {
    /// Copies received, on average over all peers but the publisher.
    pub fn mean_received(&self) -> f64 {
        let all: u64 = self.received.iter().map(|copies| u64::from(*copies)).sum();
        all as f64 / (self.received.len().max(2) - 1) as f64
    }
}

impl Mesh {
    /// The mesh of `n` leaders over [`links_of_leaders`](Self::links_of_leaders).
    pub fn of_leaders(rng: &mut dyn Rng, n: u32) -> Self {
        let order = Self::links_of_leaders(rng, n);
        Self::over(rng, n, &order)
    }

    /// The links of `n` leaders, each of which asks eight random others, who have sixteen at most; who asks comes first.
    pub fn links_of_leaders(rng: &mut dyn Rng, n: u32) -> Vec<(u32, u32)> {
        let mut links: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); n as usize];
        let mut order = Vec::new();
        for one in 0..n {
            for _ in 0..20 * LINKS {
                if links[one as usize].len() >= LINKS.min(n as usize - 1) {
                    break;
                }
                let other = below(rng, n as usize) as u32;
                let room = links[other as usize].len() < MOST_LINKS;
                if other != one && room && links[one as usize].insert(other) {
                    links[other as usize].insert(one);
                    order.push((one, other));
                }
            }
        }
        order
    }

    /// The mesh of `n` peers over these links, made one after another.
    pub fn over(rng: &mut dyn Rng, n: u32, order: &[(u32, u32)]) -> Self {
        let mut found = Self { links: vec![BTreeSet::new(); n as usize], mesh: vec![BTreeSet::new(); n as usize] };
        for (one, other) in order {
            found.connect(*one, *other);
        }
        let mut peers: Vec<u32> = (0..n).collect();
        for _ in 0..HEARTBEATS {
            shuffle(rng, &mut peers);
            let changed = peers.iter().filter(|peer| found.heartbeat(rng, **peer)).count();
            if changed == 0 {
                break;
            }
        }
        found
    }

    /// A link is there. Who hears that a neighbour has subscribed takes it in while it has few.
    fn connect(&mut self, one: u32, other: u32) {
        self.links[one as usize].insert(other);
        self.links[other as usize].insert(one);
        if self.mesh[one as usize].len() < LOW || self.mesh[other as usize].len() < LOW {
            self.graft(one, other);
        }
    }

    /// One more peer.
    pub(super) fn add(&mut self) {
        self.links.push(BTreeSet::new());
        self.mesh.push(BTreeSet::new());
    }

    /// A link comes while the mesh is in use: both ends put theirs in order at once, where gossipsub takes up to a second.
    pub(super) fn link(&mut self, rng: &mut dyn Rng, one: u32, other: u32) {
        self.connect(one, other);
        self.heartbeat(rng, one);
        self.heartbeat(rng, other);
    }

    /// A link goes.
    pub(super) fn unlink(&mut self, rng: &mut dyn Rng, one: u32, other: u32) {
        for (one, other) in [(one, other), (other, one)] {
            self.links[one as usize].remove(&other);
            self.mesh[one as usize].remove(&other);
        }
        self.heartbeat(rng, one);
        self.heartbeat(rng, other);
    }

    /// All links of a peer go.
    pub(super) fn clear(&mut self, rng: &mut dyn Rng, peer: u32) {
        for other in self.links[peer as usize].clone() {
            self.unlink(rng, peer, other);
        }
    }

    /// To whom a peer passes on what comes.
    pub(super) fn of(&self, peer: u32) -> &BTreeSet<u32> {
        &self.mesh[peer as usize]
    }

    fn graft(&mut self, one: u32, other: u32) {
        self.mesh[one as usize].insert(other);
        self.mesh[other as usize].insert(one);
    }

    /// Whether it changed anything.
    fn heartbeat(&mut self, rng: &mut dyn Rng, peer: u32) -> bool {
        let mesh = &self.mesh[peer as usize];
        if mesh.len() < LOW {
            // Who has enough refuses.
            let open = |other: &&u32| !mesh.contains(other) && self.mesh[**other as usize].len() < HIGH;
            let mut others: Vec<u32> = self.links[peer as usize].iter().filter(open).copied().collect();
            shuffle(rng, &mut others);
            others.truncate(WANTED - mesh.len());
            others.iter().for_each(|other| self.graft(peer, *other));
            return !others.is_empty();
        }
        if mesh.len() >= HIGH {
            let mut others: Vec<u32> = mesh.iter().copied().collect();
            shuffle(rng, &mut others);
            for other in others.into_iter().skip(WANTED) {
                self.mesh[peer as usize].remove(&other);
                self.mesh[other as usize].remove(&peer);
            }
            return true;
        }
        false
    }

    /// Links of a peer on average, and those of them in the mesh.
    pub fn mean_links(&self) -> (f64, f64) {
        let mean = |sets: &[BTreeSet<u32>]| sets.iter().map(BTreeSet::len).sum::<usize>() as f64 / sets.len() as f64;
        (mean(&self.links), mean(&self.mesh))
    }

    /// One message: its publisher sends it over all links, everybody else on over the mesh, but not to those who had it first. Who
    /// gets it takes `judging` microseconds to pass it on, and sends none to those who have sent it a copy until then.
    pub fn publish(&self, from: u32, latency: impl Fn(u32, u32) -> u64, judging: u64) -> Spread {
        let n = self.links.len();
        let mut spread = Spread { received: vec![0; n], sent: vec![0; n], took: 0 };
        let mut senders: Vec<Vec<u32>> = vec![Vec::new(); n];
        // A copy that arrives, or a peer that passes on (from itself to itself).
        let mut queue = BinaryHeap::new();
        for to in &self.links[from as usize] {
            spread.sent[from as usize] += 1;
            queue.push(Reverse((latency(from, *to), from, *to)));
        }
        while let Some(Reverse((at, by, to))) = queue.pop() {
            if by == to {
                let had = &senders[to as usize];
                for next in self.mesh[to as usize].iter().filter(|next| !had.contains(next)) {
                    spread.sent[to as usize] += 1;
                    queue.push(Reverse((at + latency(to, *next), to, *next)));
                }
                continue;
            }
            spread.received[to as usize] += 1;
            if to != from && spread.received[to as usize] == 1 {
                spread.took = at;
                queue.push(Reverse((at + judging, to, to)));
            }
            senders[to as usize].push(by);
        }
        spread
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn everybody_gets_a_message_over_a_mesh_of_five_to_eleven() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mesh = Mesh::of_leaders(&mut rng, 500);
        assert!(mesh.mesh.iter().all(|peers| (LOW..HIGH).contains(&peers.len())));
        assert!(mesh.links.iter().all(|peers| (LINKS..=MOST_LINKS).contains(&peers.len())));
        for from in 0..20 {
            let spread = mesh.publish(from, |one, other| u64::from(one ^ other) % 50_000 + 5_000, 1_000);
            let missed = (0..500).filter(|peer| *peer != from && spread.received[*peer as usize] == 0).count();
            assert_eq!(missed, 0);
            assert_eq!(spread.sent.iter().sum::<u32>(), spread.received.iter().sum::<u32>());
        }
    }

    #[test]
    fn who_has_few_links_has_all_of_them_in_its_mesh() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let pairs: Vec<(u32, u32)> = (0..5).flat_map(|one| (0..one).map(move |other| (one, other))).collect();
        let mesh = Mesh::over(&mut rng, 5, &pairs);
        assert_eq!(mesh.mean_links(), (4.0, 4.0));
        let spread = mesh.publish(0, |_, _| 10, 1);
        // All had it at once, and sent it to everyone but its publisher.
        assert_eq!(spread.received, [0, 4, 4, 4, 4]);
    }
}
