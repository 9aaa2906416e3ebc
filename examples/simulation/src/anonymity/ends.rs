//! How paths end: without any relay, and with their owner as the last relay.

use anyhow::Result;
use neblo_behaviour::sim::anonymity::formulas::last_is_owner;
use neblo_behaviour::sim::anonymity::{Setting, Ttl, ends};

use super::{MEMBERS, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::parallel;

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    let policies = [
        ("paper", Setting::paper(MEMBERS, Ttl::Fixed(10)), Some(10), false, 200),
        ("hardened", Setting::hardened(MEMBERS), None, true, 100),
    ];
    for (name, setting, ttl, mandatory, rounds) in policies {
        let all: Vec<f64> = vec![0.5, 0.6, 0.7, 0.8, 0.9];
        let found =
            parallel(&all, plan.jobs, |p| Ok(ends(plan.seed + 4, Setting { p: *p, ..setting }, plan.some(rounds))))?;
        for (p, found) in all.iter().zip(&found) {
            let formula = last_is_owner(MEMBERS, *p, ttl, mandatory);
            let numbers = [*p, found.bare_share(), found.last_is_owner_share(), formula];
            rows.push(row(&[name, &found.paths.to_string()], &numbers));
            if *p == super::P {
                println!(
                    "  {name}: {:.4} of {} paths without a relay, in {:.4} ({formula:.4}) the last relay is the owner",
                    found.bare_share(),
                    found.paths,
                    found.last_is_owner_share()
                );
            }
        }
        let points = all.iter().zip(&found).map(|(p, found)| (*p, found.last_is_owner_share())).collect();
        lines.push(Line { name: name.into(), points, reference: false });
        let points = all.iter().map(|p| (*p, last_is_owner(MEMBERS, *p, ttl, mandatory))).collect();
        lines.push(Line { name: format!("{name}, formula"), points, reference: true });
    }
    plan.table("ends", &["policy", "paths", "p", "no relay", "last relay is the owner", "formula"], &rows)?;
    let title = "The last relay is the owner: n = 100";
    chart(&plan.plot("ends"), title, ("p", "Share of paths"), &lines)
}
