//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use neblo_behaviour::AddrRange;

use crate::Node;

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Waits until `condition` holds and says how long it took.
///
/// # Errors
///
/// When it does not hold within `deadline`; `what` names it.
pub async fn until(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) -> Result<Duration> {
    let start = Instant::now();
    while !condition().await {
        if start.elapsed() > deadline {
            bail!("{what}: not within {} s; is the machine overloaded?", deadline.as_secs());
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(start.elapsed())
}

/// Waits until the nodes are one ring: their ranges lie end to end around the circle, and all have their successors.
///
/// # Errors
///
/// When they are not within a minute.
pub async fn whole(nodes: &[Node]) -> Result<Duration> {
    until("one ring of all nodes", Duration::from_secs(60), async || is_whole(nodes).await).await
}

async fn is_whole(nodes: &[Node]) -> bool {
    let successors = nodes.len().saturating_sub(1).min(8);
    let mut ranges: Vec<AddrRange> = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node.handle.status().await {
            Ok(status) if status.successors == successors => ranges.extend(status.range),
            _ => return false,
        }
    }
    ranges.sort_by_key(|range| range.to);
    let before = ranges.iter().cycle().skip(ranges.len().saturating_sub(1));
    ranges.len() == nodes.len() && ranges.iter().zip(before).all(|(range, before)| range.after == before.to)
}
