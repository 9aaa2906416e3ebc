//! Walks and downloads without churn, for the paper's figures 5 and 6.

use super::*;
use crate::sim::world::World;

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walks {
    /// Paths made, one by each peer.
    pub paths: u64,
    /// Paths that peers relay, all together.
    pub relayed: u64,
    /// Downloads that came; each path is of use to one.
    pub downloads: u64,
    /// Their hops from the owner to the requester, all together.
    pub hops: u64,
    /// Events that it took.
    pub events: u64,
    /// The hash over them.
    pub trace: u64,
}

/// Each of `peers` publishes a content of its own; then, if `download`, every second peer looks up the one of the peer before it,
/// in another subgroup, and downloads it. A TTL of 255 is none: at p = 0.95 one walk in 500,000 is as long.
pub fn walks(
    seed: u64,
    (peers, subgroups): (u32, u32),
    (p, ttl): (f64, u8),
    download: bool,
) -> Result<Walks, &'static str> {
    let world = World {
        peers,
        contents: peers,
        churn: None,
        asking: Asking::Never,
        retries: 0,
        // Short, so that the longest paths are within all time-outs.
        latency: (Duration::from_micros(100), Duration::from_millis(1)),
        ..World::default()
    };
    let scenario = Scenario { world, subgroups, p, ttl, restoration: false, ..Scenario::default() };
    scenario.check()?;
    let load = ChaCha8Rng::seed_from_u64(seed);
    let mut run = PathLayer::with_owners(seed, scenario, (0..peers).collect(), load);
    run.run(Duration::from_secs(1));
    let relayed = run.places.iter().filter_map(|place| place.paper.as_ref()).map(|paper| paper.relayed() as u64).sum();
    if download {
        for requester in (1..peers).step_by(2) {
            run.ask_for(requester, requester - 1);
        }
        run.settle();
        run.run(Duration::from_secs(30));
    }
    let (downloads, hops) = (run.network.hour.delivered, run.network.hour.hops);
    Ok(Walks { paths: u64::from(peers), relayed, downloads, hops, events: run.events, trace: run.trace() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean length of a walk (equation 2).
    fn mean(p: f64, ttl: u8) -> f64 {
        (0..ttl).map(|nth| p.powi(i32::from(nth))).sum()
    }

    #[test]
    fn hops_and_relayed_paths_are_those_of_the_formulas() {
        // Only roughly: the example `simulation` measures them to a hundredth.
        for (p, ttl) in [(0.0, 10), (0.7, 10), (0.8, 255)] {
            let mut all = Walks::default();
            for seed in 0..2 {
                let found = walks(seed, (6_400, 128), (p, ttl), true).unwrap();
                assert_eq!(found.downloads, 3_200, "p {p} TTL {ttl}");
                all.paths += found.paths;
                all.relayed += found.relayed;
                all.downloads += found.downloads;
                all.hops += found.hops;
            }
            let hops = all.hops as f64 / all.downloads as f64;
            let relayed = all.relayed as f64 / all.paths as f64;
            let e = mean(p, ttl);
            println!("p {p} TTL {ttl}: {hops:.3} hops ({:.3}), {relayed:.3} relayed ({:.3})", 2.0 * e - 1.0, e - 1.0);
            assert!((hops - (2.0 * e - 1.0)).abs() <= 0.04 * hops, "p {p} TTL {ttl}: {hops} hops");
            assert!((relayed - (e - 1.0)).abs() <= 0.04 * relayed, "p {p} TTL {ttl}: {relayed} relayed");
        }
    }
}
