//! Time until a colluder is first relay, under churn.

use std::time::Duration;

use anyhow::Result;
use neblo_behaviour::sim::anonymity::{Exposure, Keeping, hours_until_exposed};

use super::{MEMBERS, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::parallel;

const COLLUDERS: u32 = 10;
const OWNERS: u32 = 40;
const HOURS: f64 = 60.0;
const LIFE: Duration = Duration::from_secs(3_600);

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let keepings = [("hardened", Keeping::Hardened), ("paper", Keeping::Paper)];
    let seeds: Vec<u64> = (0..u64::from(plan.some(5))).map(|nth| plan.seed + 3 + nth).collect();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (name, keeping) in keepings {
        let found = parallel(&seeds, plan.jobs, |seed| {
            Ok(hours_until_exposed(*seed, (MEMBERS, COLLUDERS, OWNERS), keeping, LIFE, HOURS))
        })?;
        let mut all = Exposure::default();
        all.extend(found);
        let owners = all.hours.len() as f64;
        let bare = f64::from(all.bare) / owners;
        let median = all.median().map_or("never".to_string(), |median| format!("{median:.1}"));
        println!(
            "  {name}: mean {:.1} h, median {median} h; {:.3} of {owners} owners exposed in {HOURS} h, {bare:.3} linked with the leader itself",
            all.mean(),
            all.share()
        );
        rows.push(row(&[name, &median], &[all.mean(), all.share(), bare]));
        let by = |hour: f64| all.hours.iter().flatten().filter(|exposed| **exposed <= hour).count() as f64 / owners;
        let points = (0..=HOURS as u32).map(|hour| (f64::from(hour), by(f64::from(hour)))).collect();
        lines.push(Line { name: name.into(), points, reference: false });
    }
    let rate = f64::from(COLLUDERS) / f64::from(MEMBERS - 1);
    let formula = |hour: u32| (f64::from(hour), 1.0 - (1.0 - rate) * (-rate * f64::from(hour)).exp());
    let points = (0..=HOURS as u32).map(formula).collect();
    lines.push(Line { name: "one first relay at a time, drawn anew when it dies".into(), points, reference: true });
    plan.table("exposure", &["policy", "median h", "mean h", "exposed", "linked with the leader"], &rows)?;
    let title = "Owners with a colluder as first relay by now: n = 100, c = 10, relays live 1 h";
    chart(&plan.plot("exposure"), title, ("Time (h)", "Share of owners"), &lines)
}
