//! What a TTL on the wire gives away: certain share, worst posterior, degree of anonymity.

use anyhow::Result;
use neblo_behaviour::sim::anonymity::formulas::Walk;
use neblo_behaviour::sim::anonymity::{Setting, Ttl, first_predecessor};

use super::{MEMBERS, P, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::parallel;

const COLLUDERS: [u32; 6] = [2, 5, 10, 15, 20, 28];
const SETS: u32 = 12;

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let policies: [(&str, Setting); 4] = [
        ("10 at its owner", Setting::paper(MEMBERS, Ttl::Fixed(10))),
        ("7 to 13 at its owner", Setting::paper(MEMBERS, Ttl::Between(7, 13))),
        ("10, whole after three peers of four", Setting::paper(MEMBERS, Ttl::Sticky(10, 75))),
        ("none: hardened", Setting::hardened(MEMBERS)),
    ];
    let found = parallel(&policies, plan.jobs, |(_, setting)| {
        Ok(first_predecessor(plan.seed + 1, *setting, &COLLUDERS, (plan.some(300), SETS), true))
    })?;
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for ((name, setting), found) in policies.iter().zip(&found) {
        for one in found {
            let walk = Walk::code(MEMBERS, one.colluders, P, Some(10));
            let certain = if setting.ttl == Ttl::Fixed(10) { walk.certain().to_string() } else { String::new() };
            let mut cells = row(&[name, &one.colluders.to_string()], &[one.certain_share(), one.worst, one.degree()]);
            cells.push(certain);
            rows.push(cells);
            if one.colluders == 10 {
                println!(
                    "  TTL {name}, c = 10: certain in {:.4} of the paths seen (right in {} of {}), worst posterior {:.3}, degree {:.3}",
                    one.certain_share(),
                    one.certain_right,
                    one.certain,
                    one.worst,
                    one.degree()
                );
            }
        }
        let points = found.iter().map(|one| (f64::from(one.colluders), one.degree())).collect();
        lines.push(Line { name: format!("TTL {name}"), points, reference: false });
    }
    plan.table("ttl", &["TTL", "colluders", "certain", "worst", "degree", "certain by 1/S"], &rows)?;
    let title = "Degree of anonymity of the owners of paths that were seen: n = 100, p = 0.7";
    chart(&plan.plot("ttl"), title, ("Colluders", "H / log2(n - c)"), &lines)
}
