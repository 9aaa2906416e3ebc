//! The protocol under the deterministic simulator, by seed.

mod anonymity;
mod beginnings;
mod blind;
mod churn;
mod diversity;
mod flood;
mod growing;
mod hops;
mod hostile;
mod join_cost;
mod joined;
mod leaders;
mod lookup;
mod messaging;
mod model;
mod onions;
mod paper;
mod ranges;
mod reach;
mod refused;
mod registry;
mod renewals;
mod restoration;
mod ring;
mod seats;
mod subgroups;
mod upkeep;

use std::time::Duration;

use neblo_behaviour::protocol::{Config, ReturnWay};
use neblo_behaviour::sim::{Conditions, Simulation};

/// These seeds, or others as far on as `NEBLO_SHIFT` says.
fn seeds(seeds: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let shift = std::env::var("NEBLO_SHIFT").ok().and_then(|shift| shift.parse().ok()).unwrap_or(0);
    seeds.start + shift..seeds.end + shift
}

/// A network of `n` hosts that join one after another, all subscribed.
fn network(seed: u64, n: usize, subgroup_size: usize) -> Simulation {
    network_of(seed, n, Config::default().with_subgroup_size(subgroup_size))
}

fn network_of(seed: u64, n: usize, config: Config) -> Simulation {
    let mut sim = Simulation::new(seed, Conditions::default());
    grow(&mut sim, n, &config);
    sim
}

/// `n` hosts join one after another.
fn grow(sim: &mut Simulation, n: usize, config: &Config) {
    sim.join(config.clone(), &[]);
    for _ in 1..n {
        sim.run(Duration::from_millis(150));
        sim.join(config.clone(), &[0]);
    }
    let joined = sim
        .run_until(Duration::from_secs(60), |sim| sim.living().iter().all(|peer| sim.node(*peer).address().is_some()));
    assert!(joined, "not all joined");
}

/// Whether the living members form one ring in which each address has one owner.
fn is_ideal(sim: &Simulation) -> bool {
    let mut members: Vec<_> =
        sim.living().into_iter().filter_map(|peer| Some((sim.node(peer).ring().range()?.0, peer))).collect();
    members.sort_by_key(|(range, _)| range.to);
    let ring: Vec<_> = members.iter().map(|(range, _)| range.to).collect();
    members.iter().enumerate().all(|(at, (range, peer))| {
        let before = ring[(at + ring.len() - 1) % ring.len()];
        let successors = sim.node(*peer).ring().successors();
        let right = successors
            .iter()
            .enumerate()
            .all(|(nth, successor)| successor.address == ring[(at + nth + 1) % ring.len()]);
        range.after == before && right && successors.len() == 8.min(ring.len() - 1)
    }) && ring.len() == sim.living().len()
}
