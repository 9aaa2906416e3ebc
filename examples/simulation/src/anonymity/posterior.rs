//! The peer before the first colluder: how often it is the owner, over the number of colluders.

use anyhow::Result;
use neblo_behaviour::sim::anonymity::formulas::{self, Walk};
use neblo_behaviour::sim::anonymity::{FirstPredecessor, Setting, Ttl, first_predecessor};

use super::{MEMBERS, P, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::parallel;

const COLLUDERS: [u32; 9] = [1, 2, 5, 10, 15, 20, 25, 28, 30];
/// Sets of colluders for each network of paths.
const SETS: u32 = 12;

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let walks = [
        ("paper's walk without TTL", Setting::paper(MEMBERS, Ttl::Fixed(255)), None),
        ("paper's walk with TTL 10", Setting::paper(MEMBERS, Ttl::Fixed(10)), Some(10)),
        ("hardened walk", Setting::hardened(MEMBERS), None),
    ];
    let found = parallel(&walks, plan.jobs, |(_, setting, _)| {
        Ok(first_predecessor(plan.seed, *setting, &COLLUDERS, (plan.some(400), SETS), false))
    })?;
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for ((name, _, ttl), found) in walks.iter().zip(&found) {
        for one in found {
            let c = one.colluders;
            let code = Walk::code(MEMBERS, c, P, *ttl);
            let published = Walk::crowds(MEMBERS, c, P, *ttl).posterior();
            let mandatory = name.starts_with("hardened");
            let seen = if mandatory { code.seen_mandatory() } else { code.seen_coin_first() };
            let numbers = [one.posterior(), published, code.posterior(), one.seen_share(), seen, one.degree()];
            rows.push(row(&[name, &c.to_string(), &one.seen.to_string()], &numbers));
            if [5, 10, 20, 28].contains(&c) {
                println!(
                    "  {name}, c = {c}: {:.4} (Crowds {published:.4}, of the code {:.4}); seen {:.4} of the paths ({seen:.4})",
                    one.posterior(),
                    code.posterior(),
                    one.seen_share()
                );
            }
        }
        let line = |one: &FirstPredecessor| (f64::from(one.colluders), one.posterior());
        lines.push(Line { name: (*name).into(), points: found.iter().map(line).collect(), reference: false });
    }
    let formula = (1..=30).map(|c| (f64::from(c), formulas::crowds(MEMBERS, c, P))).collect();
    lines.push(Line { name: "1 - p (n-c-1) / n".into(), points: formula, reference: true });
    let head =
        ["walk", "colluders", "paths seen", "posterior", "Crowds", "formula of the code", "seen", "formula", "degree"];
    plan.table("posterior", &head, &rows)?;
    let title = "The peer before the first colluder is the owner: n = 100, p = 0.7";
    chart(&plan.plot("posterior"), title, ("Colluders", "Probability"), &lines)
}
