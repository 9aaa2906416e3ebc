//! The predecessor attack: owners found over the rounds in which paths are made anew.

use anyhow::Result;
use neblo_behaviour::sim::anonymity::{Attack, predecessor_attack};

use super::{MEMBERS, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::{bar, parallel};

const ROUNDS: u32 = 150;
/// What research §5 has for the TTL visible and hidden.
const SOURCES: [(u32, [u32; 2]); 3] = [(5, [20, 72]), (10, [11, 33]), (20, [5, 13])];

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let attacks = [
        ("paper, TTL seen", Attack::PaperSeesTtl(10)),
        ("paper, TTL not looked at", Attack::PaperHidden(10)),
        ("hardened walk without a pin", Attack::Unpinned),
        ("hardened, path rebuilt by its owner", Attack::Rebuilt),
        ("hardened, path repaired by its first relay", Attack::Repaired),
    ];
    let wanted: Vec<_> =
        SOURCES.iter().flat_map(|(c, of)| attacks.iter().map(move |attack| (*c, *of, attack))).collect();
    let bar = bar(wanted.len() as u64, "predecessor attacks");
    let found = parallel(&wanted, plan.jobs, |(c, _, (_, attack))| {
        let found = predecessor_attack(plan.seed + 2, MEMBERS, *c, *attack, (ROUNDS, plan.some(10)));
        bar.inc(1);
        Ok(found)
    })?;
    bar.finish_and_clear();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for ((c, sources, (name, attack)), found) in wanted.iter().zip(&found) {
        let source = match attack {
            Attack::PaperSeesTtl(_) => sources[0].to_string(),
            Attack::PaperHidden(_) => sources[1].to_string(),
            _ => "none".into(),
        };
        let median = found.median().map_or("never".to_string(), |median| median.to_string());
        let within = found.found_within(ROUNDS);
        println!(
            "  {name}, c = {c}: median {median} rounds (research {source}); found after 1 / 10 / {ROUNDS} rounds {:.3} / {:.3} / {within:.3} \
             of {}; {} times another one first",
            found.found_within(1),
            found.found_within(10),
            found.until.len(),
            found.wrong
        );
        rows.push(row(
            &[name, &c.to_string(), &median, &source],
            &[found.found_within(10), found.found_within(50), within],
        ));
        if *c == 10 {
            let points = (0..=ROUNDS).map(|round| (f64::from(round), found.found_within(round))).collect();
            lines.push(Line { name: (*name).into(), points, reference: false });
        }
    }
    let pinned = 10.0 / f64::from(MEMBERS - 1);
    let points = vec![(0.0, pinned), (f64::from(ROUNDS), pinned)];
    lines.push(Line { name: "c / (n-1)".into(), points, reference: true });
    plan.table("rounds", &["attack", "colluders", "median", "research", "after 10", "after 50", "after 150"], &rows)?;
    let title = "Owners whose posterior is above 0.95: n = 100, c = 10, p = 0.7";
    chart(&plan.plot("rounds"), title, ("Rounds", "Share of owners"), &lines)
}
