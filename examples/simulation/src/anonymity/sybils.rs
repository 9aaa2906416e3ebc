//! The share of Sybils that breaks a subgroup.

use anyhow::{Result, anyhow};
use neblo_behaviour::sim::anonymity::formulas::{binomial_above, colluders_borne};
use neblo_behaviour::sim::anonymity::joined;

use super::{P, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::{bar, parallel};

/// What is joined: nodes, and members at which a subgroup is full.
const NODES: u32 = 60;
const SIZE: u32 = 12;
/// Members besides the leader of a full subgroup by default.
const DEFAULT: u32 = 74;

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let shares: [u32; 6] = [3, 6, 9, 12, 18, 24];
    let seeds = u64::from(plan.some(10));
    let wanted: Vec<(u32, u64)> =
        shares.iter().flat_map(|sybils| (0..seeds).map(move |nth| (*sybils, plan.seed + 11 + nth))).collect();
    let bar = bar(wanted.len() as u64, "networks with Sybils");
    let found = parallel(&wanted, plan.jobs, |(sybils, seed)| {
        let found = joined(*seed, (NODES - sybils, *sybils), SIZE as usize);
        bar.inc(1);
        found.ok_or_else(|| anyhow!("seed {seed}: not all were seated in time"))
    })?;
    bar.finish_and_clear();
    let borne = colluders_borne(SIZE - 1, P);
    let (mut rows, mut points) = (Vec::new(), Vec::new());
    for sybils in shares {
        let of: Vec<_> =
            wanted.iter().zip(&found).filter(|((these, _), _)| *these == sybils).map(|(_, it)| it).collect();
        let subgroups: usize = of.iter().map(|found| found.subgroups.len()).sum();
        let broken: u32 = of.iter().map(|found| found.broken(P)).sum();
        let led: u32 = of.iter().map(|found| found.led).sum();
        let share = f64::from(sybils) / f64::from(NODES);
        let measured = f64::from(broken) / subgroups as f64;
        let (small, large) =
            (binomial_above(SIZE - 1, share, borne), binomial_above(DEFAULT, share, colluders_borne(DEFAULT, P)));
        println!(
            "  {share:.2} Sybils: {measured:.3} of {subgroups} subgroups of {SIZE} broken ({small:.3}), {:.3} led by one; of 75 by formula {large:.4}",
            f64::from(led) / subgroups as f64
        );
        rows.push(row(&[&subgroups.to_string()], &[share, measured, small, f64::from(led) / subgroups as f64, large]));
        points.push((share, measured));
    }
    let formula = |n: u32| {
        let borne = colluders_borne(n, P);
        (0..=50).map(|share| (f64::from(share) / 100.0, binomial_above(n, f64::from(share) / 100.0, borne))).collect()
    };
    let lines = [
        Line { name: format!("subgroups of {SIZE}, joined"), points, reference: false },
        Line { name: format!("subgroups of {SIZE}, by chance"), points: formula(SIZE - 1), reference: true },
        Line { name: "subgroups of 75, by chance".into(), points: formula(DEFAULT), reference: true },
    ];
    println!(
        "  a full subgroup of 75 bears {} colluders; who puts {} more Sybils into one subgroup than are drawn breaks it: nothing costs",
        colluders_borne(DEFAULT, P),
        colluders_borne(DEFAULT, P) + 1
    );
    let head = ["subgroups", "Sybils", "broken", "by chance", "led by a Sybil", "of 75 by chance"];
    plan.table("sybils", &head, &rows)?;
    let title = "Subgroups with too many Sybils for probable innocence, p = 0.7";
    chart(&plan.plot("sybils"), title, ("Share of Sybils", "Share of subgroups"), &lines)
}
