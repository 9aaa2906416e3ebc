//! What runs of whole nodes came to: a table of all hours, a summary, and plots.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use neblo_behaviour::sim::nodes::{Hour, KINDS, Load};

use super::Outcome;
use crate::chart::{Line, cell, chart, csv};

/// The counts of an hour by name.
type Count = (&'static str, fn(&Hour) -> u64);
const COUNTS: [Count; 15] = [
    ("requests", |hour| hour.requests),
    ("delivered", |hour| hour.delivered),
    ("failed", |hour| hour.failed),
    ("owner away", |hour| hour.owner_away),
    ("not published yet", |hour| hour.not_published),
    ("asker new", |hour| hour.asker_new),
    ("hops of deliveries", |hour| hour.hops),
    ("joined", |hour| hour.joined),
    ("left", |hour| hour.left),
    ("present", |hour| hour.present),
    ("leaders", |hour| hour.leaders),
    ("relayed paths", |hour| hour.relayed),
    ("paths broken", |hour| hour.restored.iter().map(|some| some.len() as u64).sum()),
    ("paths put off, or left broken", |hour| hour.abandoned),
    ("events", |hour| hour.events),
];

/// Writes the files and prints the summary.
pub(crate) fn write(out: &Path, name: &str, outcomes: &[Outcome], warm_up: usize) -> Result<()> {
    all_hours(&out.join(format!("{name}.csv")), outcomes)?;
    let mut policies: Vec<&str> = outcomes.iter().map(|outcome| outcome.policy.as_str()).collect();
    policies.sort_unstable();
    policies.dedup();
    let mut columns = Vec::new();
    for policy in &policies {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.policy == *policy).collect();
        columns.push(summary(&runs, warm_up));
    }
    let head: Vec<String> =
        std::iter::once("an hour, means after the warm-up").chain(policies.iter().copied()).map(String::from).collect();
    let rows: Vec<Vec<String>> = columns.first().map_or(Vec::new(), |first| {
        let row = |(nth, (what, _)): (usize, &(String, f64))| {
            let values = columns.iter().map(|column| column.get(nth).map_or(String::new(), |value| cell(value.1)));
            std::iter::once(what.clone()).chain(values).collect()
        };
        first.iter().enumerate().map(row).collect()
    });
    csv(&out.join(format!("{name}-summary.csv")), &head, &rows)?;
    for row in std::iter::once(&head).chain(&rows) {
        let values: Vec<String> = row.iter().skip(1).map(|value| format!("{value:>14}")).collect();
        println!("{:<52}{}", row.first().map_or("", String::as_str), values.concat());
    }
    for policy in &policies {
        for (reason, count) in reasons(outcomes, policy, warm_up) {
            println!("{policy}: {count} failed: {reason}");
        }
    }
    plots(out, name, outcomes, &policies)
}

fn all_hours(path: &Path, outcomes: &[Outcome]) -> Result<()> {
    let mut head: Vec<String> = ["policy", "seed", "hour"].map(String::from).to_vec();
    head.extend(COUNTS.iter().map(|(name, _)| name.to_string()));
    head.extend(["relay restored mean s", "leader restored mean s"].map(String::from));
    head.extend(KINDS.iter().map(|kind| format!("{kind} messages")));
    head.extend(KINDS.iter().map(|kind| format!("{kind} bytes")));
    let mut rows = Vec::new();
    for outcome in outcomes {
        for (nth, hour) in outcome.hours.iter().enumerate() {
            let mut row = vec![outcome.policy.clone(), outcome.seed.to_string(), (nth + 1).to_string()];
            row.extend(COUNTS.iter().map(|(_, count)| count(hour).to_string()));
            row.extend(hour.restored.iter().map(|times| cell(mean(times))));
            row.extend(hour.messages.iter().chain(&hour.bytes).map(u64::to_string));
            rows.push(row);
        }
    }
    csv(path, &head, &rows)
}

fn mean(times: &[Duration]) -> f64 {
    times.iter().map(Duration::as_secs_f64).sum::<f64>() / times.len().max(1) as f64
}

/// The value below which this share of all lies.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let nth = (times.len() as f64 * share) as usize;
    times.get(nth.min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
}

/// The means of an hour after the warm-up, over all seeds.
fn summary(runs: &[&Outcome], warm_up: usize) -> Vec<(String, f64)> {
    let hours: Vec<&Hour> = runs.iter().flat_map(|run| run.hours.iter().skip(warm_up)).collect();
    let each =
        |value: &dyn Fn(&Hour) -> f64| hours.iter().map(|hour| value(hour)).sum::<f64>() / hours.len().max(1) as f64;
    let mut rows: Vec<(String, f64)> = Vec::new();
    let mut row = |what: &str, value: f64| rows.push((what.to_string(), value));
    for (name, count) in COUNTS {
        row(name, each(&|hour| count(hour) as f64));
    }
    let sum = |value: fn(&Hour) -> u64| hours.iter().map(|hour| value(hour)).sum::<u64>() as f64;
    row("hops of a delivery", sum(|hour| hour.hops) / sum(|hour| hour.delivered).max(1.0));
    for (nth, what) in ["relay", "leader"].iter().enumerate() {
        let mut times: Vec<Duration> = hours.iter().flat_map(|hour| hour.restored[nth].iter().copied()).collect();
        row(&format!("restored after a {what} went: paths, in all"), times.len() as f64);
        row("  mean s", mean(&times));
        for share in [0.5, 0.95, 0.99, 1.0] {
            row(&format!("  s, {share} of them"), quantile(&mut times, share));
        }
    }
    let mut published: Vec<Duration> = hours.iter().flat_map(|hour| hour.published.iter().copied()).collect();
    row("from joining to published: mean s", mean(&published));
    row("  s, 0.95 of them", quantile(&mut published, 0.95));
    for (nth, kind) in KINDS.iter().enumerate() {
        row(&format!("messages: {kind}"), each(&|hour| hour.messages[nth] as f64));
    }
    row("messages: all", each(&|hour| hour.messages.iter().sum::<u64>() as f64));
    for (nth, kind) in KINDS.iter().enumerate() {
        row(&format!("bytes: {kind}"), each(&|hour| hour.bytes[nth] as f64));
    }
    row("bytes: all", each(&|hour| hour.bytes.iter().sum::<u64>() as f64));
    for (nth, role) in ["member", "leader"].iter().enumerate() {
        let load: Vec<Load> = hours.iter().map(|hour| hour.load[nth]).collect();
        let there = load.iter().map(|load| load.minutes).sum::<u64>().max(1) as f64 * 60.0;
        let second = |value: fn(&Load) -> u64| load.iter().map(value).sum::<u64>() as f64 / there;
        row(&format!("a {role} a second: messages sent"), second(|load| load.sent.frames));
        row("  bytes sent", second(|load| load.sent.bytes));
        row("  messages received", second(|load| load.received.frames));
        row("  bytes received", second(|load| load.received.bytes));
    }
    row("the busiest leader a second: messages", each(&|hour| hour.busiest.frames as f64 / 3_600.0));
    row("  bytes", each(&|hour| hour.busiest.bytes as f64 / 3_600.0));
    rows
}

fn reasons(outcomes: &[Outcome], policy: &str, warm_up: usize) -> Vec<(String, u64)> {
    let mut all = std::collections::BTreeMap::new();
    let hours = outcomes
        .iter()
        .filter(|outcome| outcome.policy == policy)
        .flat_map(|outcome| outcome.hours.iter().skip(warm_up));
    for (reason, count) in hours.flat_map(|hour| &hour.reasons) {
        *all.entry(reason.clone()).or_insert(0) += count;
    }
    all.into_iter().collect()
}

fn plots(out: &Path, name: &str, outcomes: &[Outcome], policies: &[&str]) -> Result<()> {
    let lines = |value: fn(&Hour) -> f64| -> Vec<Line> {
        let line = |policy: &&str| {
            let runs: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.policy == *policy).collect();
            let hours = runs.iter().map(|run| run.hours.len()).min().unwrap_or(0);
            let mean = |nth: usize| {
                let sum: f64 = runs.iter().filter_map(|run| run.hours.get(nth)).map(value).sum();
                (nth as f64 + 1.0, sum / runs.len().max(1) as f64)
            };
            Line { name: policy.to_string(), points: (0..hours).map(mean).collect(), reference: false }
        };
        policies.iter().map(line).collect()
    };
    let plot = |what: &str, title: &str, y: &str, value: fn(&Hour) -> f64| {
        chart(&out.join(format!("{name}-{what}.svg")), title, ("Time (h)", y), &lines(value))
    };
    let title = "Requests that failed while owner and asker were there and settled";
    plot("failed", title, "Requests in an hour", |hour| hour.failed as f64)?;
    plot("messages", "Messages of all kinds that a node sends in a second", "Messages", |hour| {
        hour.messages.iter().sum::<u64>() as f64 / hour.present.max(1) as f64 / 3_600.0
    })?;
    plot("bytes", "Bytes of all kinds that a node sends in a second", "Bytes", |hour| {
        hour.bytes.iter().sum::<u64>() as f64 / hour.present.max(1) as f64 / 3_600.0
    })
}
