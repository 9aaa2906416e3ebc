//! The ring over delta: among whom a sender hides, and what mappers learn.

use anyhow::Result;
use neblo_behaviour::sim::anonymity::{mapped, senders};

use super::{Plan, row};
use crate::chart::{Line, chart};
use crate::runs::parallel;

const PEERS: u32 = 1_024;
const DELTAS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 1.0];
const MAPPERS: [u32; 6] = [1, 5, 10, 25, 50, 100];

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let found = parallel(&DELTAS, plan.jobs, |delta| {
        // Several networks: their tables decide.
        let seeds = plan.some(10);
        let mut all = senders(plan.seed + 9, (PEERS, 10), *delta, 100);
        for nth in 1..u64::from(seeds) {
            let more = senders(plan.seed + 9 + nth, (PEERS, 10), *delta, 100);
            all.messages += more.messages;
            all.hops += more.hops;
            all.seen += more.seen;
            all.from_sender += more.from_sender;
            all.sets.extend(more.sets);
        }
        Ok(all)
    })?;
    let mut rows = Vec::new();
    for (delta, found) in DELTAS.iter().zip(&found) {
        println!(
            "  delta {delta}: {:.2} hops; the peer before the first of 10 forwarders is the sender in {:.3} (1/hops {:.3}); the sender is \
             one of {:.1}, {:.2} bits, alone in {:.3}, one of 4 at most in {:.3}",
            found.mean_hops(),
            found.posterior(),
            1.0 / found.mean_hops(),
            found.mean_set(),
            found.mean_bits(),
            found.share_to(1),
            found.share_to(4)
        );
        let numbers = [
            *delta,
            found.mean_hops(),
            found.posterior(),
            1.0 / found.mean_hops(),
            found.mean_set(),
            found.mean_bits(),
            found.share_to(1),
            found.share_to(4),
        ];
        rows.push(row(&[&found.seen.to_string()], &numbers));
    }
    let head =
        ["messages seen", "delta", "hops", "posterior", "1/hops", "mean set", "mean bits", "alone", "one of 4 at most"];
    plan.table("senders", &head, &rows)?;
    let line = |name: &str, of: fn(&neblo_behaviour::sim::anonymity::Senders) -> f64| Line {
        name: name.into(),
        points: DELTAS.iter().zip(&found).map(|(delta, found)| (*delta, of(found))).collect(),
        reference: false,
    };
    let lines = [
        line("the peer before is the sender", |found| found.posterior()),
        line("the sender is alone in its set", |found| found.share_to(1)),
        line("one of 4 at most", |found| found.share_to(4)),
    ];
    let title = "Messages that the first of 10 colluding forwarders sees: 1,024 peers";
    chart(&plan.plot("senders"), title, ("Width of fingers", "Share of messages seen"), &lines)?;
    mappers(plan)
}

fn mappers(plan: Plan<'_>) -> Result<()> {
    let found = parallel(&MAPPERS, plan.jobs, |c| Ok(mapped(plan.seed + 10, (PEERS, *c), 0.5, plan.some(10))))?;
    let neighbours = |c: u32| 1.0 - (1.0 - 9.0 / f64::from(PEERS)).powi(c as i32);
    let mut rows = Vec::new();
    for (c, found) in MAPPERS.iter().zip(&found) {
        println!(
            "  {c} mappers of {PEERS}: addresses of {:.4} of the others (9 each at random {:.4}), heard of {:.4}, to within 1 % of the ring \
             {:.4}, degree {:.3}",
            found.known,
            neighbours(*c),
            found.heard_of,
            found.within_a_hundredth,
            found.degree
        );
        let numbers = [found.known, neighbours(*c), found.heard_of, found.within_a_hundredth, found.degree];
        rows.push(row(&[&c.to_string()], &numbers));
    }
    let head = ["mappers", "addresses known", "formula", "heard of", "to within 1 %", "degree"];
    plan.table("mappers", &head, &rows)?;
    let line = |name: &str, of: fn(&neblo_behaviour::sim::anonymity::Mapped) -> f64| Line {
        name: name.into(),
        points: MAPPERS.iter().zip(&found).map(|(c, found)| (f64::from(*c), of(found))).collect(),
        reference: false,
    };
    let mut lines = vec![
        line("address known", |found| found.known),
        line("known to within 1 % of the ring", |found| found.within_a_hundredth),
        line("heard of", |found| found.heard_of),
    ];
    let points = (1..=100).map(|c| (f64::from(c), neighbours(c))).collect();
    lines.push(Line { name: "1 - (1 - 9/n)^c".into(), points, reference: true });
    let title = "What mappers learn of 1,024 peers, delta = 0.5";
    chart(&plan.plot("mappers"), title, ("Mappers", "Share of the others"), &lines)
}
