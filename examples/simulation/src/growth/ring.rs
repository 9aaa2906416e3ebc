//! Routes of the real code over a ring that is built, not joined.

use anyhow::{Context, Result};
use neblo_behaviour::sim::IdealRing;

use super::Values;
use crate::runs::{Stopwatch, resident};

/// The relative width of fingers that nodes have.
const DELTA: f64 = 0.5;
const ROUTES: u32 = 20_000;

pub(super) fn measure(seed: u64, peers: u32) -> Result<Values> {
    let (watch, before) = (Stopwatch::start(), resident().unwrap_or(0));
    let mut ring = IdealRing::new(seed, peers, DELTA);
    let memory = resident().map_or(f64::NAN, |now| now.saturating_sub(before) as f64 / f64::from(peers));
    let hops = ring.mean_hops(ROUTES).context("a route does not end at the owner")?;
    Ok(vec![
        ("hops", hops),
        ("fingers", ring.mean_fingers()),
        ("connections", ring.mean_connections()),
        ("bytes a node", memory),
        ("seconds", watch.seconds()),
    ])
}
