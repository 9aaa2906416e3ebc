//! A ring that all peers but the founder have joined through the real join, and its upkeep.

use std::time::Duration;

use anyhow::{Result, ensure};
use neblo_behaviour::sim::joined::{JoinedRing, Sent};

use super::{Plan, Values};
use crate::runs::{Stopwatch, peak, resident};

/// Peers of the first wave, whom the founder takes on one at a time until there are nine.
const FIRST: u32 = 16;
/// How many times as many peers there are after each further wave, at most.
const FACTOR: u32 = 8;
/// The peers of a wave come within this time, each at a random moment.
const WAVE: Duration = Duration::from_secs(20);
/// How often it is looked whether a wave is in, and longest time that it may take.
const LOOK: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(900);
/// How often it is looked whether the grown ring is ideal.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Messages in the last minute of upkeep, whose hops are counted, and in each before.
const MESSAGES: u32 = 20_000;
const MESSAGES_BEFORE: u32 = 1_000;

pub(super) fn measure(plan: &Plan, peers: u32) -> Result<Values> {
    let (watch, before) = (Stopwatch::start(), resident().unwrap_or(0));
    let mut ring = JoinedRing::new(plan.seed, peers);
    ring.set_rounds(Duration::from_secs(plan.round.into()));
    let mut there = 0;
    for size in sizes(peers) {
        ring.come(size - there, WAVE);
        there = size;
        ring.run(WAVE);
        wait(&mut ring, LOOK, |ring| ring.outside() == 0)?;
        eprintln!("{there} peers are in after {:.0} s, {:.0} s of a core", seconds(&ring), watch.seconds());
    }
    let (all_in, joining) = (seconds(&ring), ring.sent());
    wait(&mut ring, LOOK_AGAIN, |ring| ring.faults().none())?;
    let ideal = seconds(&ring);
    eprintln!("the ring is ideal after {ideal:.0} s, {:.0} s of a core", watch.seconds());
    wait(&mut ring, LOOK_AGAIN, |ring| !ring.fingers_are_due())?;
    let (grown, grown_in, grown_events) = (seconds(&ring), watch.seconds(), ring.events());
    eprintln!("all fingers are found after {grown:.0} s, {grown_in:.0} s of a core");

    let (sent, joins) = (ring.sent(), ring.joins().to_vec());
    let upkeep = Stopwatch::start();
    let a_minute = |ring: &mut JoinedRing, minute: u32, messages: u32| {
        // The last of them arrive before the minute is over.
        ring.send_messages(messages, Duration::from_secs(50));
        ring.run(Duration::from_secs(60));
        eprintln!("{minute} minutes of upkeep, {:.0} s of a core", watch.seconds());
    };
    for minute in 1..plan.minutes {
        a_minute(&mut ring, minute, MESSAGES_BEFORE);
    }
    let before_last = ring.routed();
    a_minute(&mut ring, plan.minutes, MESSAGES);
    let upkeep = upkeep.seconds();
    let kept = ring.sent().since(&sent);
    let memory =
        |bytes: Option<u64>| bytes.map_or(f64::NAN, |now| now.saturating_sub(before) as f64 / f64::from(peers));
    let (now, most) = (memory(resident()), memory(peak()));

    let (all, faults) = (ring.routed(), ring.faults());
    ensure!(all.right == all.sent, "not all messages came to the owner: {all:?}");
    let routed = all.since(&before_last);
    ensure!(faults.none(), "the ring is not ideal: {faults:?}");
    let node_minutes = f64::from(peers) * f64::from(plan.minutes);
    let a_minute = |of: u64| of as f64 / node_minutes;
    let a_joiner = |of: u64| of as f64 / f64::from(peers);
    let Sent { stabilising, fingers, .. } = kept;
    let events = ring.events() - grown_events;
    let joins = Joins::of(joins);
    println!("{peers} peers, joined: trace {:016x}", ring.trace());
    Ok(vec![
        ("hops", routed.hops as f64 / routed.right as f64),
        ("fingers", ring.mean_fingers()),
        ("connections", ring.mean_connections()),
        ("seconds of a join", joins.mean),
        ("seconds of 99 joins of 100", joins.most),
        ("messages of a join", a_joiner(joining.joining)),
        ("messages to locate its owner", a_joiner(joining.locating)),
        ("simulated seconds until all are in", all_in),
        ("simulated seconds until it is ideal", ideal),
        ("simulated seconds until fingers are found", grown),
        ("upkeep messages a node a minute", a_minute(stabilising + fingers)),
        ("upkeep messages for fingers", a_minute(fingers)),
        ("bytes a node", now),
        ("bytes a node at most", most),
        ("minutes of upkeep", f64::from(plan.minutes)),
        ("seconds of a round", f64::from(plan.round)),
        ("messages routed", all.right as f64),
        ("events", ring.events() as f64),
        ("events a second while it grows", grown_events as f64 / grown_in),
        ("events a second of upkeep", events as f64 / upkeep),
        ("seconds to grow", grown_in),
        ("seconds of a minute of upkeep", upkeep / f64::from(plan.minutes)),
        ("seconds", watch.seconds()),
    ])
}

/// How many there are after each wave.
fn sizes(peers: u32) -> Vec<u32> {
    let mut sizes: Vec<u32> =
        std::iter::successors(Some(peers), |size| Some(size / FACTOR)).take_while(|size| *size > FIRST).collect();
    sizes.push(FIRST);
    sizes.reverse();
    sizes
}

/// Runs until it is done, looking every so often.
fn wait(ring: &mut JoinedRing, every: Duration, done: impl Fn(&JoinedRing) -> bool) -> Result<()> {
    let mut waited = Duration::ZERO;
    while !done(ring) {
        ensure!(waited < LONGEST, "{} peers are still outside, {:?}", ring.outside(), ring.faults());
        ring.run(every);
        waited += every;
    }
    Ok(())
}

fn seconds(ring: &JoinedRing) -> f64 {
    ring.now().0 as f64 / 1e6
}

/// How long joins took, in seconds.
struct Joins {
    mean: f64,
    /// What 99 of 100 took at most.
    most: f64,
}

impl Joins {
    fn of(mut joins: Vec<Duration>) -> Self {
        joins.sort_unstable();
        let all: f64 = joins.iter().map(Duration::as_secs_f64).sum();
        let most = joins.get(joins.len() * 99 / 100).map_or(f64::NAN, Duration::as_secs_f64);
        Self { mean: all / joins.len() as f64, most }
    }
}
