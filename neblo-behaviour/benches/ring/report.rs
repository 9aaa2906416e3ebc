//! Tables for people and lines of JSON.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::json;

use crate::exchange::{IN_FLIGHT, SIZES, name};
use crate::figures::Figures;
use crate::targets::{Target, Verdict};
use crate::transport::Over;

/// The size at which both sides are judged.
const JUDGED: usize = 256;
/// Mean hops with delta 0.5 and exact successor lists, as simulated.
const HOPS: [(usize, f64); 3] = [(64, 2.62), (256, 3.99), (512, 4.68)];

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    lazy: bool,
    runs: BTreeMap<(usize, &'static str), Vec<Figures>>,
}

impl Report {
    pub(crate) fn new(json: bool, lazy: bool) -> Self {
        Self { json, lazy, runs: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, nodes: usize, side: &'static str, run: u16, figures: Figures) {
        if self.json {
            let line = json!({
                "nodes": nodes, "side": side, "run": run, "lazy": self.lazy, "figures": figures.to_json(),
            });
            println!("{line}");
        }
        self.runs.entry((nodes, side)).or_default().push(figures);
    }

    fn medians(&self, nodes: usize, side: &'static str) -> Option<Figures> {
        self.runs.get(&(nodes, side)).map(|runs| Figures::medians(runs))
    }

    /// Prints the tables, and fails if a figure is worse than it may be.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut targets = Vec::new();
        let sizes: Vec<usize> =
            self.runs.keys().filter(|(_, side)| *side == "neblo").map(|(nodes, _)| *nodes).collect();
        for nodes in sizes {
            let Some(ours) = self.medians(nodes, "neblo") else { continue };
            let theirs = self.medians(nodes, "kad");
            print_network(nodes, &ours, theirs.as_ref());
            if let Some((_, simulated)) = HOPS.iter().find(|(known, _)| *known == nodes) {
                let off = (ours.get("request.hops") / simulated - 1.0).abs() * 100.0;
                targets.push(Target::at_most(format!("{nodes} nodes: % off {simulated} hops"), off, 5.0, 5.0));
            }
            if let Some(theirs) = theirs.filter(|_| nodes == JUDGED) {
                judge_network(&ours, &theirs, &mut targets);
            }
        }
        if let Some(figures) = self.medians(2, "request") {
            print_exchanges(&figures, &mut targets);
        }
        println!();
        for target in &targets {
            println!("{target}");
        }
        let missed = targets.iter().filter(|target| target.verdict() == Verdict::Missed).count();
        ensure!(missed == 0, "{missed} figures are worse than they may be");
        Ok(())
    }
}

fn print_network(nodes: usize, ours: &Figures, theirs: Option<&Figures>) {
    let (closest, record) = ("closest", "record");
    println!("\n{nodes} nodes, memory transport with Noise");
    println!("{:<34}{:>12}{:>20}{:>12}", "a lookup, one at a time", "neblo", "get_closest_peers", "get_record");
    let none = Figures::default();
    let theirs = theirs.unwrap_or(&none);
    let row = |what: &str, figure: &str, digits: usize| {
        let ours = ours.get(&format!("request.{figure}"));
        let of = |query: &str| theirs.get(&format!("{query}.{figure}"));
        println!("{what:<34}{ours:>12.digits$}{:>20.digits$}{:>12.digits$}", of(closest), of(record));
    };
    row("messages", "messages", 2);
    row("bytes", "bytes", 0);
    row("a second", "rate", 0);
    row("ms, p50", "p50_ms", 2);
    row("ms, p99", "p99_ms", 2);
    println!("{:<34}{:>12.2}", "hops", ours.get("request.hops"));
    println!("{:<34}{:>12}{:>20}", "a node", "neblo", "kad");
    let row = |what: &str, figure: &str, digits: usize| {
        println!("{what:<34}{:>12.digits$}{:>20.digits$}", ours.get(figure), theirs.get(figure));
    };
    row("MiB in memory", "memory_mib", 2);
    row("connections under this load", "connections", 1);
    row("connections at rest", "rest_connections", 1);
    row("maintenance, messages a minute", "maintenance_messages", 1);
    row("maintenance, bytes a minute", "maintenance_bytes", 0);
    row("CPU-s to build all", "build_cpu_s", 1);
}

fn judge_network(ours: &Figures, theirs: &Figures, targets: &mut Vec<Target>) {
    let messages = ours.get("request.messages");
    let share = messages / theirs.get("closest.messages");
    targets.push(Target::at_most("messages, of those of get_closest_peers", share, 1.0 / 5.0, 1.0 / 3.0));
    targets.push(Target::at_most("messages", messages, 9.0, 12.0));
    let faster = theirs.get("closest.rate").max(theirs.get("record.rate"));
    targets.push(Target::at_least("rate, of the faster of both", ours.get("request.rate") / faster, 4.0, 2.0));
    for (what, figure) in [("memory, of kad's", "memory_mib"), ("connections, of kad's", "connections")] {
        targets.push(Target::at_most(what, ours.get(figure) / theirs.get(figure), 0.5, 1.0));
    }
}

fn print_exchanges(figures: &Figures, targets: &mut Vec<Target>) {
    println!("\nrequest and response of so many bytes between two nodes");
    println!(
        "{:<34}{:>12}{:>20}{:>8}{:>18}{:>16}",
        "a second", "neblo", "request-response", "ratio", "p50 ms of each", "CPU us of each"
    );
    for over in [Over::Tcp, Over::Memory] {
        for size in SIZES {
            for in_flight in IN_FLIGHT {
                let of = |what: &str| figures.get(&format!("{}.{what}", name(over, size, in_flight)));
                let (ours, theirs) = (of("neblo.rate"), of("libp2p.rate"));
                let what = format!("{size} B over {}, {in_flight} in flight", over.name());
                println!(
                    "{what:<34}{ours:>12.0}{theirs:>20.0}{:>8.2}{:>10.3}{:>8.3}{:>8.0}{:>8.0}",
                    ours / theirs,
                    of("neblo.p50_ms"),
                    of("libp2p.p50_ms"),
                    of("neblo.cpu_us"),
                    of("libp2p.cpu_us"),
                );
                // Over TCP the kernel's share, the same on both sides, hides part of the difference: shown, and not aimed at.
                if over == Over::Tcp {
                    continue;
                }
                let (aim, worst) = if in_flight == 1 { (2.0, 1.0) } else { (3.0, 1.5) };
                targets.push(Target::at_least(format!("{what}: of request-response"), ours / theirs, aim, worst));
            }
        }
    }
}
