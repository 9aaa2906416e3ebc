//! Mean hops of the real routing over ideal rings, against what was worked out beforehand (research §4).

use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::io::Contact;
use neblo_behaviour::protocol::ring::{Fingers, Hop, Principal, Ring};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often each level is asked for, as an established node has.
const ROUNDS: usize = 6;

struct Network {
    rings: Vec<Ring<u32>>,
    fingers: Vec<Fingers<u32>>,
    rng: ChaCha8Rng,
}

impl Network {
    /// An ideal ring of `n` peers with successor lists as they should be and fingers found as nodes find them (design D6).
    fn new(n: u32, delta: f64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut addresses: Vec<OverlayAddr> =
            (0..n).map(|_| OverlayAddr((u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64()))).collect();
        addresses.sort();
        let members = addresses.into_iter().enumerate().map(|(at, address)| Principal {
            address,
            incarnation: 0,
            contact: Contact::bare(at as u32),
        });
        let rings = Ring::ideal(members.collect());
        let fingers = rings.iter().map(|_| Fingers::new(delta)).collect();
        let mut network = Self { rings, fingers, rng };
        for _ in 0..ROUNDS {
            for at in 0..n as usize {
                network.find_fingers(at);
            }
        }
        network
    }

    /// Asks for a finger of each level once.
    fn find_fingers(&mut self, at: usize) {
        let me = self.rings[at].me().unwrap().address;
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

    fn owner(&self, target: OverlayAddr) -> usize {
        let after = self.rings.partition_point(|ring| ring.me().unwrap().address < target);
        after % self.rings.len()
    }

    fn hops(&self, from: usize, target: OverlayAddr) -> u32 {
        let (mut at, mut hops) = (from, 0);
        loop {
            match self.rings[at].route(target, &self.fingers[at]) {
                Hop::Here => break,
                Hop::Next(next) => at = next.peer as usize,
                Hop::Nowhere => panic!("no way from {from} to {target:?}"),
            }
            hops += 1;
            assert!(hops < 1_000, "no end from {from} to {target:?}");
        }
        assert_eq!(at, self.owner(target));
        hops
    }

    fn mean_hops(&mut self, routes: u32) -> f64 {
        let mut all = 0;
        for _ in 0..routes {
            let from = (self.rng.next_u64() % self.rings.len() as u64) as usize;
            let target = OverlayAddr((u128::from(self.rng.next_u64()) << 64) | u128::from(self.rng.next_u64()));
            all += self.hops(from, target);
        }
        f64::from(all) / f64::from(routes)
    }
}

/// The mean over some networks, printed and held against what is expected.
fn measure(n: u32, delta: f64, expected: f64, networks: u64) {
    let means: Vec<f64> = (0..networks).map(|seed| Network::new(n, delta, seed).mean_hops(20_000)).collect();
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    println!(
        "n = {n}, delta = {delta}: {mean:.3} hops, {expected} expected ({:+.1} %)",
        (mean / expected - 1.0) * 100.0
    );
    assert!((mean / expected - 1.0).abs() <= 0.05, "n = {n}, delta = {delta}: {mean:.3} hops, {expected} expected");
}

#[test]
fn mean_hops_are_as_worked_out_for_64_and_256_peers() {
    measure(64, 0.5, 2.62, 8);
    measure(256, 0.5, 3.99, 4);
}

#[test]
#[ignore = "takes a minute: cargo test -p neblo-behaviour --test sim hops::mean_hops_of_large -- --ignored --nocapture"]
fn mean_hops_of_large_networks_are_as_worked_out() {
    measure(512, 0.5, 4.68, 4);
    for (delta, expected) in [(0.25, 6.39), (0.5, 6.99), (1.0, 8.00)] {
        measure(6_400, delta, expected, 1);
    }
}
