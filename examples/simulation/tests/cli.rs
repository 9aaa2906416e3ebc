//! The program by its commands.

use std::path::Path;
use std::process::{Command, Output};

fn simulation(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulation")).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_scenario_gives_a_table_a_plot_and_always_the_same_trace() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/small.toml");
    let out = dir.path().join("out");
    let done = simulation(&["run", scenario.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let printed = text(&done.stdout);
    for trace in ["seed 1: 4 h", "seed 2: 4 h", "events/s", "bytes a node", TRACE] {
        assert!(printed.contains(trace), "no '{trace}' in\n{printed}");
    }
    let table = std::fs::read_to_string(out.join("small.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 2 * 4);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(row.len(), table.lines().next().unwrap().split(',').count());
    assert!(std::fs::read_to_string(out.join("small.svg")).unwrap().contains("<svg"));
}

/// Of seed 1 of `scenarios/small.toml`.
const TRACE: &str = "trace 43d0f4d9f481c9e1";

#[test]
fn what_is_wrong_with_a_scenario_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("wrong.toml"), dir.path().join("out"));
    std::fs::write(&file, "hours = 1\npeer = 3\n").unwrap();
    let done = simulation(&["run", file.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(!done.status.success());
    let said = text(&done.stderr);
    assert!(said.contains("wrong.toml is no scenario") && said.contains("unknown field `peer`"), "{said}");
    let done = simulation(&["run", "/no/such/file.toml", "--out", out.to_str().unwrap()]);
    assert!(!done.status.success() && text(&done.stderr).contains("cannot read /no/such/file.toml"));
}

#[test]
fn the_kernel_is_timed() {
    let done = simulation(&["kernel", "--events", "1000"]);
    assert!(done.status.success() && text(&done.stdout).contains("events/s"));
}

#[test]
fn growth_is_measured_part_by_part_and_drawn_over_all_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let small = ["--hours", "1", "--lookups", "500", "--out", out.to_str().unwrap()];
    for peers in ["1000", "1500"] {
        let done = simulation(&[&["growth", "--peers", peers][..], &small[..]].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    let table = |part: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(out.join(format!("growth-{part}.csv"))).unwrap();
        text.lines().map(|line| line.split(',').map(String::from).collect()).collect()
    };
    let value = |part: &str, column: &str| -> f64 {
        let table = table(part);
        assert_eq!(table.len(), 3, "a head and two sizes");
        table[1][table[0].iter().position(|title| title == column).unwrap()].parse().unwrap()
    };
    assert!((value("ring", "hops") - 5.39).abs() < 0.1);
    // A minute after all have joined at once; routes become shorter for some more (docs/evaluation.md).
    assert!((value("joined", "hops") - 6.1).abs() < 0.4 && value("joined", "upkeep messages a node a minute") > 10.0);
    assert!(value("paths", "delivered") > 0.9 && value("paths", "lookups") > 400.0);
    assert!(value("leaders", "leaders that digests name") < value("leaders", "leaders"));
    for plot in ["hops", "messages", "state", "connections", "leaders"] {
        assert!(std::fs::read_to_string(out.join(format!("growth-{plot}.svg"))).unwrap().contains("<svg"));
    }
}

#[test]
fn anonymity_is_given_as_numbers_beside_their_formulas() {
    let dir = tempfile::tempdir().unwrap();
    let done = simulation(&["anonymity", "--quick", "--jobs", "2", "--out", dir.path().to_str().unwrap()]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let table = std::fs::read_to_string(dir.path().join("anonymity-posterior.csv")).unwrap();
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let column = |title: &str| head.iter().position(|it| *it == title).unwrap();
    let (seen, formula) = (column("posterior"), column("formula of the code"));
    let rows: Vec<_> = lines.collect();
    assert!(rows.len() > 5, "{table}");
    for row in rows {
        let difference = row[seen].parse::<f64>().unwrap() - row[formula].parse::<f64>().unwrap();
        assert!(difference.abs() < 0.05, "{row:?}");
    }
    for name in ["ends", "exposure", "linking", "mappers", "posterior", "rounds", "senders", "sybils", "ttl"] {
        assert!(std::fs::read_to_string(dir.path().join(format!("anonymity-{name}.csv"))).unwrap().lines().count() > 1);
        assert!(std::fs::read_to_string(dir.path().join(format!("anonymity-{name}.svg"))).unwrap().contains("<svg"));
    }
}
