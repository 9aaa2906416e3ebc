//! The path layer under the paper's churn, with lookups and downloads.

use std::time::Duration;

use anyhow::{Result, anyhow};
use neblo_behaviour::sim::paths::{Hour, PathLayer, Scenario, UPKEEP};
use neblo_behaviour::sim::world::{Wanted, World};

use super::{IN_A_SUBGROUP, Plan, Values};
use crate::runs::{Stopwatch, bar, peak, resident};

/// The largest size that is run for more than one hour.
const MOST_FOR_LONG: u32 = 100_000;
/// Lookups there.
const FEW_LOOKUPS: u32 = 1_000;

pub(super) fn measure(plan: &Plan, peers: u32) -> Result<Values> {
    let long = peers <= MOST_FOR_LONG;
    let hours = if long { plan.hours } else { 1 };
    let lookups = if long { plan.lookups } else { plan.lookups.min(FEW_LOOKUPS) };
    // Half of all peers are there; in the first hour most of them.
    let there = f64::from(peers) * if hours > 3 { 0.5 } else { 0.75 };
    let query_every = Duration::from_secs_f64(3_600.0 * there * f64::from(hours) / f64::from(lookups));
    let world =
        World { peers, contents: 2 * peers, wanted: Wanted::Present, retries: 0, query_every, ..World::default() };
    let scenario = Scenario { world, subgroups: peers / IN_A_SUBGROUP, ..Scenario::default() };
    let (watch, before) = (Stopwatch::start(), resident().unwrap_or(0));
    let mut run = PathLayer::new(plan.seed, scenario).map_err(|rule| anyhow!(rule))?;
    let bar = bar(u64::from(hours) * 60, "simulated minutes");
    for _ in 0..hours * 60 {
        run.run(Duration::from_secs(60));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = watch.seconds();
    let memory =
        |bytes: Option<u64>| bytes.map_or(f64::NAN, |now| now.saturating_sub(before) as f64 / f64::from(peers));
    let (now, most) = (memory(resident()), memory(peak()));
    let sum = |of: &dyn Fn(&Hour) -> u64| run.hours().iter().map(of).sum::<u64>() as f64;
    let asked = sum(&|hour| hour.requests);
    let of_lookups = sum(&|hour| hour.messages[1..4].iter().sum());
    let node_hours = sum(&|hour| hour.present);
    let messages = sum(&|hour| hour.messages.iter().sum());
    Ok(vec![
        ("hours", f64::from(hours)),
        ("lookups", asked),
        ("delivered", sum(&|hour| hour.delivered) / asked),
        ("hops", sum(&|hour| hour.hops) / sum(&|hour| hour.delivered)),
        ("messages on paths a lookup", of_lookups / asked),
        ("leaders asked a lookup", sum(&|hour| hour.multicast) / asked),
        ("upkeep messages a node an hour", sum(&|hour| hour.messages[UPKEEP].iter().sum()) / node_hours),
        ("relayed paths", sum(&|hour| hour.relayed) / node_hours),
        ("connections", run.mean_path_links()),
        ("bytes a node", now),
        ("bytes a node at most", most),
        ("messages", messages),
        ("events", run.events() as f64),
        ("seconds", seconds),
        ("messages a second", messages / seconds),
        ("events a second", run.events() as f64 / seconds),
    ])
}
