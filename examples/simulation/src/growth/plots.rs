//! Tables and plots over all sizes that were measured.

use std::path::Path;

use anyhow::Result;

use super::leaders::TOO_MUCH;
use super::{Part, measured};
use crate::chart::{Line, cell, chart_by_size, csv};

/// A plot: its name and title, what is on its axis, whether in powers of ten, and its lines: which value of which part.
type Plot = (&'static str, &'static str, &'static str, bool, &'static [(&'static str, Part, &'static str)]);

const PLOTS: [Plot; 5] = [
    (
        "hops",
        "Hops",
        "Hops",
        false,
        &[
            ("of a route on the ring", Part::Ring, "hops"),
            ("of a route on the joined ring", Part::Joined, "hops"),
            ("of a download", Part::Paths, "hops"),
        ],
    ),
    (
        "messages",
        "Messages of a lookup",
        "Messages",
        true,
        &[
            ("on paths", Part::Paths, "messages on paths a lookup"),
            ("leaders asked", Part::Paths, "leaders asked a lookup"),
            ("leaders that digests name", Part::Leaders, "leaders that digests name"),
        ],
    ),
    (
        "state",
        "Memory of a node",
        "Bytes",
        true,
        &[
            ("ring", Part::Ring, "bytes a node"),
            ("joined ring, at most", Part::Joined, "bytes a node at most"),
            ("paths, at most", Part::Paths, "bytes a node at most"),
        ],
    ),
    (
        "connections",
        "Connections of a node",
        "Peers",
        false,
        &[
            ("of the ring", Part::Ring, "connections"),
            ("of the joined ring", Part::Joined, "connections"),
            ("of paths", Part::Paths, "connections"),
        ],
    ),
    (
        "leaders",
        "What a leader carries of all lookups, one of each peer an hour",
        "a second",
        true,
        &[
            ("lookups", Part::Leaders, "lookups a second"),
            ("bytes, in and out", Part::Leaders, "bytes a second"),
            ("bytes with digests", Part::Leaders, "bytes a second with digests"),
        ],
    ),
];

pub(super) fn draw(out: &Path) -> Result<()> {
    for part in Part::ALL {
        let (head, rows) = measured(out, part)?;
        if rows.is_empty() {
            continue;
        }
        let rows: Vec<Vec<String>> = rows.values().map(|row| row.iter().map(|value| cell(*value)).collect()).collect();
        csv(&out.join(format!("growth-{}.csv", part.name())), &head, &rows)?;
    }
    for (name, title, y, powers, wanted) in PLOTS {
        let mut lines = Vec::new();
        for (name, part, column) in wanted {
            let (head, rows) = measured(out, *part)?;
            let Some(at) = head.iter().position(|title| title == column) else { continue };
            let points = rows.iter().filter_map(|(size, row)| Some((f64::from(*size), *row.get(at)?)));
            let points: Vec<(f64, f64)> = points.filter(|(_, value)| value.is_finite()).collect();
            lines.push(Line { name: (*name).into(), points, reference: false });
        }
        if name == "leaders"
            && let Some(line) = lines.first()
        {
            let points = line.points.iter().map(|(size, _)| (*size, TOO_MUCH)).collect();
            lines.push(Line { name: "1 MB".into(), points, reference: true });
        }
        if lines.iter().any(|line| !line.points.is_empty()) {
            chart_by_size(&out.join(format!("growth-{name}.svg")), title, y, &lines, powers)?;
        }
    }
    Ok(())
}
