//! Mean hops of the real routing over ideal rings, against what was worked out beforehand (research §4).

use neblo_behaviour::sim::IdealRing;

/// The mean over some networks, printed and held against what is expected.
fn measure(n: u32, delta: f64, expected: f64, networks: u64) {
    let means: Vec<f64> = (0..networks)
        .map(|seed| IdealRing::new(seed, n, delta).mean_hops(20_000).expect("every route ends at the owner"))
        .collect();
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
fn mean_hops_of_large_networks_are_as_worked_out() {
    measure(512, 0.5, 4.68, 4);
    for (delta, expected) in [(0.25, 6.39), (0.5, 6.99), (1.0, 8.00)] {
        measure(6_400, delta, expected, 1);
    }
}
