//! A ring that hundreds join at once, in the driver that is used for a million.

use std::time::Duration;

use neblo_behaviour::sim::joined::{Faults, JoinedRing};

/// Three hundred peers in two waves, until the ring is as it should be, and messages over it.
fn joined(seed: u64) -> JoinedRing {
    let mut ring = JoinedRing::new(seed, 300);
    for wave in [40, 260] {
        ring.come(wave, Duration::from_secs(10));
        ring.run(Duration::from_secs(40));
        assert_eq!(ring.outside(), 0, "seed {seed}: not all joined");
    }
    ring.run(Duration::from_secs(20));
    ring.send_messages(500, Duration::from_secs(5));
    ring.run(Duration::from_secs(10));
    ring
}

#[test]
fn hundreds_join_at_once_and_the_ring_is_ideal() {
    for seed in 1..6 {
        let ring = joined(seed);
        assert_eq!(ring.faults(), Faults::default(), "seed {seed}");
        assert_eq!(ring.joins().len(), 300);
        let routed = ring.routed();
        assert_eq!((routed.sent, routed.right), (500, 500), "seed {seed}: {routed:?}");
        assert!(!ring.fingers_are_due() && ring.mean_fingers() > 7.0, "seed {seed}: {}", ring.mean_fingers());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (one, same, other) = (joined(1), joined(1), joined(2));
    assert_eq!((one.trace(), one.events(), one.sent()), (same.trace(), same.events(), same.sent()));
    assert_ne!(one.trace(), other.trace());
    assert_eq!(format!("{:016x}", one.trace()), TRACE);
}

/// Of seed 1: the same on every machine.
const TRACE: &str = "b02ab45f378c7f7d";
