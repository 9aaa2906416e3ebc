//! Figures 5 and 6: the hops of a download path and the paths that a node relays, by p and TTL, against their formulas.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use neblo_behaviour::sim::paths::walks;

use crate::chart::{Line, cell, chart, csv};
use crate::runs::{Stopwatch, bar, parallel};

/// Peers and subgroups of the paper.
const NETWORK: (u32, u32) = (6_400, 128);
/// The TTLs of the figures; 255 is none.
const TTLS: [u8; 4] = [10, 15, 20, NO_TTL];
const NO_TTL: u8 = 255;
/// How far from the formula a measured mean may be: hops, and relayed paths.
const HOPS_WITHIN: f64 = 0.01;
const RELAYED_WITHIN: f64 = 0.02;
/// Standard errors within those bounds, and the most networks for one point.
const SURE: f64 = 4.0;
const MOST: u64 = 140;

/// The mean length of a walk (equation 2).
pub(crate) fn mean_length(p: f64, ttl: u8) -> f64 {
    if p >= 1.0 { f64::from(ttl) } else { (1.0 - p.powi(i32::from(ttl))) / (1.0 - p) }
}

/// The standard deviation of the length of a walk (equation 1).
fn deviation(p: f64, ttl: u8) -> f64 {
    let at_least = |n: i32| p.powi(n - 1);
    let square: f64 = (1..=i32::from(ttl)).map(|n| f64::from(2 * n - 1) * at_least(n)).sum();
    (square - mean_length(p, ttl).powi(2)).max(0.0).sqrt()
}

/// One point of both figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) p: f64,
    pub(crate) ttl: u8,
    pub(crate) hops: f64,
    pub(crate) relayed: f64,
    pub(crate) downloads: u64,
    events: u64,
    /// Of a core.
    seconds: f64,
}

impl Point {
    /// Hops of a download path: 2(E-1)+1.
    pub(crate) fn hops_wanted(&self) -> f64 {
        2.0 * mean_length(self.p, self.ttl) - 1.0
    }

    /// Paths that a node relays when each node has one: E-1 (Sui et al.).
    pub(crate) fn relayed_wanted(&self) -> f64 {
        mean_length(self.p, self.ttl) - 1.0
    }

    /// Whether the measured values are as near to the formulas as they should be.
    pub(crate) fn check(&self) -> Result<()> {
        let near = |found: f64, wanted: f64, within: f64| (found - wanted).abs() <= within * wanted;
        let Self { p, ttl, hops, relayed, .. } = self;
        let (hops_wanted, relayed_wanted) = (self.hops_wanted(), self.relayed_wanted());
        ensure!(near(*hops, hops_wanted, HOPS_WITHIN), "p {p:.2} TTL {ttl}: {hops:.3} hops, not {hops_wanted:.3}");
        ensure!(
            near(*relayed, relayed_wanted, RELAYED_WITHIN),
            "p {p:.2} TTL {ttl}: {relayed:.3} relayed paths, not {relayed_wanted:.3}"
        );
        Ok(())
    }
}

/// Measures a point in as many networks as the bounds ask for. Downloads are what costs: they are left out where walks alone are
/// still wanted.
pub(crate) fn measure(p: f64, ttl: u8) -> Result<Point> {
    let watch = Stopwatch::start();
    let (mean, deviation) = (mean_length(p, ttl), deviation(p, ttl));
    // Each network has 6,400 walks, and 3,200 downloads over two of them each.
    let networks = |relative: f64, within: f64, each: f64| {
        let samples = (SURE * relative / within).powi(2);
        ((samples / each).ceil() as u64).clamp(1, MOST)
    };
    let downloads = networks(2.0f64.sqrt() * deviation / (2.0 * mean - 1.0), HOPS_WITHIN, f64::from(NETWORK.0) / 2.0);
    let for_relayed =
        if mean > 1.0 { networks(deviation / (mean - 1.0), RELAYED_WITHIN, f64::from(NETWORK.0)) } else { 1 };
    let (mut paths, mut relayed, mut delivered, mut hops, mut events) = (0, 0, 0, 0, 0);
    for seed in 0..downloads.max(for_relayed) {
        let found = walks(seed, NETWORK, (p, ttl), seed < downloads).map_err(|rule| anyhow!(rule))?;
        paths += found.paths;
        relayed += found.relayed;
        delivered += found.downloads;
        hops += found.hops;
        events += found.events;
    }
    let asked = downloads * u64::from(NETWORK.0) / 2;
    ensure!(delivered == asked, "p {p:.2} TTL {ttl}: {delivered} of {asked} downloads came");
    let (hops, relayed) = (hops as f64 / delivered as f64, relayed as f64 / paths as f64);
    Ok(Point { p, ttl, hops, relayed, downloads: delivered, events, seconds: watch.seconds() })
}

/// Makes figures 5 and 6.
pub(crate) fn figures(out: &Path, jobs: usize, quick: bool) -> Result<()> {
    let step = if quick { 7 } else { 1 };
    let wanted: Vec<(f64, u8)> = TTLS
        .iter()
        .flat_map(|ttl| (0..=20).step_by(step).map(|p| (f64::from(p) / 20.0, *ttl)))
        .filter(|(p, ttl)| *ttl != NO_TTL || *p <= 0.951)
        .collect();
    let bar = bar(wanted.len() as u64, "points of figures 5 and 6");
    let points = parallel(&wanted, jobs, |(p, ttl)| {
        let point = measure(*p, *ttl);
        bar.inc(1);
        point
    })?;
    bar.finish_and_clear();
    let seconds: f64 = points.iter().map(|point| point.seconds).sum();
    let events: u64 = points.iter().map(|point| point.events).sum();
    println!(
        "figures 5 and 6: {} points, {events} events in {seconds:.1} s of a core, {:.2} M events/s",
        points.len(),
        events as f64 / seconds / 1e6
    );
    for point in points.iter().filter(|point| (point.p - 0.7).abs() < 1e-9) {
        println!(
            "  p 0.7, {}: {:.3} hops (formula {:.3}), {:.3} relayed paths (formula {:.3})",
            name(point.ttl),
            point.hops,
            point.hops_wanted(),
            point.relayed,
            point.relayed_wanted()
        );
    }
    let figure = |number: u8, title: &str, y: &str, found: fn(&Point) -> f64, formula: fn(&Point) -> f64| {
        write(&points, (out, number), (title, y), found, formula)
    };
    figure(5, "Figure 5: hops of a complete download path", "Hops", |point| point.hops, Point::hops_wanted)?;
    figure(6, "Figure 6: connections that a node routes", "Connections", |point| point.relayed, Point::relayed_wanted)?;
    points.iter().try_for_each(Point::check)
}

fn name(ttl: u8) -> String {
    if ttl == NO_TTL { "without TTL".into() } else { format!("TTL {ttl}") }
}

fn write(
    points: &[Point],
    (out, number): (&Path, u8),
    (title, y): (&str, &str),
    found: fn(&Point) -> f64,
    formula: fn(&Point) -> f64,
) -> Result<()> {
    let mut lines = Vec::new();
    for ttl in TTLS {
        let of = |value: fn(&Point) -> f64| {
            points.iter().filter(|point| point.ttl == ttl).map(|point| (point.p, value(point))).collect()
        };
        lines.push(Line { name: name(ttl), points: of(found), reference: false });
        lines.push(Line { name: format!("{}, formula", name(ttl)), points: of(formula), reference: true });
    }
    chart(&out.join(format!("figure-{number}.svg")), title, ("p", y), &lines)?;
    let head = ["p", "ttl", "measured", "formula", "downloads"].map(String::from);
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|point| {
            let ttl = if point.ttl == NO_TTL { "none".into() } else { point.ttl.to_string() };
            let downloads = point.downloads.to_string();
            vec![format!("{:.2}", point.p), ttl, cell(found(point)), cell(formula(point)), downloads]
        })
        .collect();
    csv(&out.join(format!("figure-{number}.csv")), &head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_points_are_as_near_to_the_formulas_as_all_must_be() {
        for (p, ttl) in [(0.0, 10), (0.5, NO_TTL), (0.7, 10), (1.0, 10), (1.0, 15), (1.0, 20)] {
            let point = measure(p, ttl).unwrap();
            println!("{point:?}");
            point.check().unwrap();
        }
        assert!((mean_length(0.7, 10) - 3.239).abs() < 0.001);
    }

    #[test]
    fn the_traces_of_known_seeds_are_the_same_everywhere() {
        let traces: Vec<String> = (0..2)
            .map(|seed| walks(seed, (640, 16), (0.7, 10), true).map(|found| format!("{:016x}", found.trace)).unwrap())
            .collect();
        assert_eq!(traces, ["a2366220c02881ee", "7837c0f288778a80"]);
    }
}
