//! Figures 7 and 8, requests that fail and control messages by the hour, under each reading of the text; and single scenarios.

use std::path::Path;

use anyhow::{Result, ensure};
use neblo_behaviour::sim::paths::{Hour, KINDS, Rejoin, Scenario};
use neblo_behaviour::sim::world::{Asking, Start, Wanted, World};

use crate::chart::{Line, cell, chart, csv};
use crate::runs::{Job, Outcome, all};
use crate::scenario::Plan;

/// How much is run.
#[derive(Debug)]
pub(crate) struct Size {
    pub(crate) hours: u32,
    pub(crate) seeds: u32,
    pub(crate) quick: bool,
}

/// The paper's values in steady state: requests that fail in an hour without restoration (figure 7), control messages in an hour
/// with it (figure 8).
const PAPER_FAILED: f64 = 11_000.0;
const PAPER_MESSAGES: f64 = 40_000.0;
/// Bits of a control message (§5).
const MESSAGE_BITS: f64 = 400.0;
/// Hours that count as warm-up: all peers begin together, and it takes about this long until as many come as go.
const WARM_UP: usize = 20;

/// A reading of the text.
struct Reading {
    name: &'static str,
    scenario: Scenario,
}

fn readings(restoration: bool) -> Vec<Reading> {
    let with = |rejoin: Rejoin, world: World| Scenario { restoration, rejoin, world, ..Scenario::default() };
    let usual = World::default();
    let aged = World { start: Start::Aged, ..usual.clone() };
    let present = World { wanted: Wanted::Present, ..usual.clone() };
    let in_turn = World { asking: Asking::InTurn, ..usual.clone() };
    let (anew, left) = (Rejoin::Anew, Rejoin::AsLeft);
    let mut found =
        vec![("new path on return", with(anew, usual.clone())), ("paths never made again", with(left, usual))];
    if restoration {
        found.push(("aged start", with(anew, aged)));
    } else {
        found.extend([
            ("owner present: new path on return", with(anew, present.clone())),
            ("owner present: never made again", with(left, present)),
            ("never made again: queries in turn", with(left, in_turn)),
            ("never made again: aged start", with(left, aged)),
        ]);
    }
    found.into_iter().map(|(name, scenario)| Reading { name, scenario }).collect()
}

/// Makes figures 7 and 8.
pub(crate) fn over_time(out: &Path, at_once: usize, size: &Size, wanted: impl Fn(u8) -> bool) -> Result<()> {
    let (hours, share) = if size.quick { (size.hours.min(24), 10) } else { (size.hours, 1) };
    let mut jobs = Vec::new();
    for (figure, restoration) in [(7, false), (8, true)].into_iter().filter(|(figure, _)| wanted(*figure)) {
        for Reading { name, scenario } in readings(restoration) {
            let (peers, contents) = (scenario.world.peers / share, scenario.world.contents / share);
            let world = World { peers, contents, ..scenario.world.clone() };
            let scenario = Scenario { world, subgroups: scenario.subgroups.div_ceil(share), ..scenario };
            let job = |seed| Job { name: format!("{figure}: {name}"), scenario: scenario.clone(), hours, seed };
            jobs.extend((1..=u64::from(size.seeds)).map(job));
        }
    }
    // The long ones first, so that no core is left with one at the end.
    jobs.sort_by_key(|job| !job.scenario.restoration);
    let outcomes = all(&jobs, at_once)?;
    let share = f64::from(share);
    let of = |figure: &str| outcomes.iter().filter(|outcome| outcome.job.name.starts_with(figure)).collect::<Vec<_>>();
    if wanted(7) {
        seven(out, &of("7"), share)?;
    }
    if wanted(8) {
        eight(out, &of("8"), share)?;
    }
    Ok(())
}

/// The mean over the seeds of each name, hour by hour, in the order of first appearance.
fn by_name(outcomes: &[&Outcome], value: fn(&Hour) -> f64, scale: f64) -> Vec<Line> {
    let mut names: Vec<&str> = outcomes.iter().map(|outcome| outcome.job.name.as_str()).collect();
    names.dedup();
    let line = |name: &str| {
        let runs: Vec<_> = outcomes.iter().filter(|outcome| outcome.job.name == name).collect();
        let hours = runs.iter().map(|run| run.hours.len()).min().unwrap_or(0);
        let mean = |nth: usize| {
            let sum: f64 = runs.iter().filter_map(|run| run.hours.get(nth)).map(value).sum();
            (nth as f64 + 1.0, sum * scale / runs.len().max(1) as f64)
        };
        let name = name.split_once(": ").map_or(name, |(_, name)| name).to_string();
        Line { name, points: (0..hours).map(mean).collect(), reference: false }
    };
    names.into_iter().map(line).collect()
}

/// The mean after the warm-up, or of the second half of a run that is not twice as long.
fn steady(line: &Line) -> f64 {
    let from = WARM_UP.min(line.points.len() / 2);
    let values: Vec<f64> = line.points.iter().skip(from).map(|point| point.1).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn paper_line(name: &str, value: f64, lines: &[Line]) -> Line {
    let last = lines.iter().flat_map(|line| line.points.last()).map(|point| point.0).fold(1.0, f64::max);
    Line { name: name.into(), points: vec![(0.0, value), (last, value)], reference: true }
}

/// One column for each line, one row for each hour.
fn columns(path: &Path, lines: &[Line]) -> Result<()> {
    let head: Vec<String> =
        std::iter::once("hour".to_string()).chain(lines.iter().map(|line| line.name.clone())).collect();
    let hours = lines.iter().map(|line| line.points.len()).max().unwrap_or(0);
    let row = |nth: usize| {
        let values = lines.iter().map(|line| line.points.get(nth).map_or(String::new(), |point| cell(point.1)));
        std::iter::once((nth + 1).to_string()).chain(values).collect()
    };
    csv(path, &head, &(0..hours).map(row).collect::<Vec<Vec<String>>>())
}

fn seven(out: &Path, outcomes: &[&Outcome], scale: f64) -> Result<()> {
    let mut lines = by_name(outcomes, |hour| hour.failed() as f64, scale);
    let there = by_name(outcomes, |hour| hour.failed_owner_present() as f64, scale);
    let asked = by_name(outcomes, |hour| hour.requests as f64, scale);
    columns(&out.join("figure-7.csv"), &lines)?;
    println!(
        "figure 7, requests that fail in an hour, without restoration (paper: about {PAPER_FAILED}), after {WARM_UP} h:"
    );
    for ((line, there), asked) in lines.iter().zip(&there).zip(&asked) {
        println!(
            "  {:<36} {:>7.0} of {:.0}; {:.0} of them with the owner there",
            line.name,
            steady(line),
            steady(asked),
            steady(there)
        );
    }
    lines.push(paper_line("paper, about", PAPER_FAILED, &lines));
    let title = "Figure 7: requests that cannot be carried out in an hour, without restoration";
    chart(&out.join("figure-7.svg"), title, ("Time (h)", "Requests that failed"), &lines)
}

fn eight(out: &Path, outcomes: &[&Outcome], scale: f64) -> Result<()> {
    let mut timeouts = by_name(outcomes, |hour| hour.timeouts as f64, scale);
    let messages = by_name(outcomes, |hour| hour.upkeep() as f64, scale);
    let failed = by_name(outcomes, |hour| hour.failed() as f64, scale);
    let there = by_name(outcomes, |hour| hour.failed_owner_present() as f64, scale);
    let named = |lines: &[Line], what: &str| -> Vec<Line> {
        let line = |line: &Line| Line {
            name: format!("{}: {what}", line.name),
            points: line.points.clone(),
            reference: false,
        };
        lines.iter().map(line).collect()
    };
    let sets =
        [(&timeouts, "timers"), (&messages, "messages"), (&failed, "failed"), (&there, "failed with owner there")];
    let all: Vec<Line> = sets.iter().flat_map(|(lines, what)| named(lines, what)).collect();
    columns(&out.join("figure-8.csv"), &all)?;
    println!(
        "figure 8, in an hour, with restoration (paper: below {PAPER_MESSAGES} control messages), after {WARM_UP} h:"
    );
    for (((timers, messages), failed), there) in timeouts.iter().zip(&messages).zip(&failed).zip(&there) {
        let first = timers.points.first().map_or(0.0, |point| point.1);
        println!(
            "  {:<36} {:>7.0} timers ({first:.0} in the first hour), {:.2} kbps at 50 bytes each; {:.0} messages of upkeep; {:.0} requests \
             fail, {:.0} with the owner there",
            timers.name,
            steady(timers),
            steady(timers) * MESSAGE_BITS / 3_600.0 / 1_000.0,
            steady(messages),
            steady(failed),
            steady(there)
        );
    }
    timeouts.push(paper_line("paper, below", PAPER_MESSAGES, &timeouts));
    let title = "Figure 8: control messages in an hour, one for each timer that expires";
    chart(&out.join("figure-8.svg"), title, ("Time (h)", "Control messages"), &timeouts)?;
    let title = "Every message of upkeep in an hour, each for itself";
    chart(&out.join("figure-8-messages.svg"), title, ("Time (h)", "Messages"), &messages)
}

// ---- a scenario of one's own -----------------------------------------------------------------------------------

/// Runs the scenario of a file.
pub(crate) fn one(file: &Path, out: &Path, at_once: usize) -> Result<()> {
    let plan = Plan::read(file)?;
    let name = file.file_stem().map_or("scenario".into(), |name| name.to_string_lossy().into_owned());
    let job = |seed: &u64| Job { name: name.clone(), scenario: plan.scenario.clone(), hours: plan.hours, seed: *seed };
    let jobs: Vec<Job> = plan.seeds.iter().map(job).collect();
    let outcomes = all(&jobs, at_once)?;
    let mut head: Vec<String> = ["seed", "hour"].map(String::from).to_vec();
    head.extend(COUNTS.iter().map(|(name, _)| name.to_string()));
    head.extend(KINDS.iter().map(|kind| format!("{kind} messages")));
    head.extend(KINDS.iter().map(|kind| format!("{kind} bytes")));
    let mut rows = Vec::new();
    for outcome in &outcomes {
        for (nth, hour) in outcome.hours.iter().enumerate() {
            let mut row = vec![outcome.job.seed.to_string(), (nth + 1).to_string()];
            row.extend(COUNTS.iter().map(|(_, count)| count(hour).to_string()));
            row.extend(hour.messages.iter().chain(&hour.bytes).map(u64::to_string));
            rows.push(row);
        }
    }
    csv(&out.join(format!("{name}.csv")), &head, &rows)?;
    let all: Vec<&Outcome> = outcomes.iter().collect();
    let wanted: [Count<f64>; 3] = [
        ("requests that failed", |hour| hour.failed() as f64),
        ("requests", |hour| hour.requests as f64),
        ("timers that expired", |hour| hour.timeouts as f64),
    ];
    let mut lines = Vec::new();
    for (what, value) in wanted {
        for line in by_name(&all, value, 1.0) {
            println!("  {what}: {:.0} in an hour", steady(&line));
            lines.push(Line { name: what.into(), ..line });
        }
    }
    let requests: u64 = outcomes.iter().flat_map(|outcome| &outcome.hours).map(|hour| hour.requests).sum();
    ensure!(
        requests > 0 || plan.scenario.world.asking == Asking::Never,
        "nobody asked for anything: too few peers or hours"
    );
    chart(&out.join(format!("{name}.svg")), &name, ("Time (h)", "In an hour"), &lines)
}

/// The counts of an hour by name.
type Count<T> = (&'static str, fn(&Hour) -> T);
const COUNTS: [Count<u64>; 14] = [
    ("requests", |hour| hour.requests),
    ("delivered", |hour| hour.delivered),
    ("failed", Hour::failed),
    ("unanswered", |hour| hour.unanswered),
    ("unanswered owner away", |hour| hour.unanswered_owner_away),
    ("undelivered", |hour| hour.undelivered),
    ("undelivered owner away", |hour| hour.undelivered_owner_away),
    ("hops of deliveries", |hour| hour.hops),
    ("timers", |hour| hour.timeouts),
    ("lookups to leaders", |hour| hour.multicast),
    ("joined", |hour| hour.joined),
    ("left", |hour| hour.left),
    ("present", |hour| hour.present),
    ("relayed paths", |hour| hour.relayed),
];
