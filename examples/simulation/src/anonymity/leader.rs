//! What a leader learns: paths of one owner linked, by last relays and by moments; a leader that publishes; a forged list.

use std::time::Duration;

use anyhow::Result;
use neblo_behaviour::sim::anonymity::{
    Guest, Linking, Moments, forged_list, formulas, guest, linked_by_last, linking, linking_of_hasty,
    linking_of_newcomers, moments,
};

use super::{MEMBERS, P, Plan, row};
use crate::chart::{Line, chart};
use crate::runs::parallel;

const SIZES: [u32; 5] = [10, 20, 40, 75, 100];
const NODES: u32 = 36;
/// Hours that they are there then.
const HOURS: u32 = 4;
/// Time between two who join.
const BETWEEN: Duration = Duration::from_secs(5);
/// Those who come to a subgroup that has been there for hours, and the time between two.
const NEWCOMERS: u32 = 30;
const NEWCOMER_EVERY: Duration = Duration::from_secs(600);

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    by_last_relay(plan)?;
    let seeds: Vec<u64> = (0..u64::from(plan.some(10))).map(|nth| plan.seed + 7 + nth).collect();
    let mut rows = Vec::new();
    by_moment(plan, &seeds, &mut rows)?;
    let guests = parallel(&seeds, plan.jobs, |seed| Ok(guest(*seed, 18, 6, HOURS)))?;
    let count = |of: fn(&Guest) -> u32| f64::from(guests.iter().map(of).sum::<u32>());
    println!(
        "  leaders that publish: {} of {} announced; walks begun at home {}, elsewhere {}; {HOURS} h later {} of {} leaders on a list as guests, of them idle {}",
        guests.iter().filter(|guest| guest.published).count(),
        guests.len(),
        count(|guest| guest.begun_at_home),
        count(|guest| guest.begun_elsewhere),
        count(|guest| guest.listed),
        count(|guest| guest.leaders),
        count(|guest| guest.listed_idle)
    );
    rows.push(row(&["walks that a publishing leader begins at home"], &[count(|guest| guest.begun_at_home), 0.0]));
    for c in [5, 10, 20] {
        let found = forged_list(plan.seed + 8, MEMBERS, c);
        let of = |part: u32| f64::from(part) / f64::from(found.members);
        println!(
            "  forged list, c = {c}: a colluder is first relay of {:.3} before, {:.3} with the forged list, {:.3} after their leader \
             broke their path, {:.3} with the true list again",
            of(found.before),
            of(found.left_alone),
            of(found.during),
            of(found.after)
        );
        let wanted = f64::from(c) / f64::from(MEMBERS - 1);
        rows.push(row(&[&format!("forged list: c = {c}: owned before")], &[of(found.before), wanted]));
        rows.push(row(&[&format!("forged list: c = {c}: path broken")], &[of(found.during), wanted]));
        rows.push(row(&[&format!("forged list: c = {c}: true list again")], &[of(found.after), wanted]));
    }
    plan.table("leader", &["what", "measured", "aim"], &rows)
}

fn by_last_relay(plan: Plan<'_>) -> Result<()> {
    let found = parallel(&SIZES, plan.jobs, |n| Ok(linked_by_last(plan.seed + 6, *n, plan.some(5_000 / n))))?;
    let mut rows = Vec::new();
    for (n, found) in SIZES.iter().zip(&found) {
        let formula = formulas::linked_by_last_relay(*n, P);
        println!(
            "  n = {n}: publishing and searching linked by last relays in {:.4} ({formula:.4}, chance {:.4}); {} names shared",
            found.share(),
            1.0 / f64::from(*n),
            found.shared
        );
        rows.push(row(&[&n.to_string(), &found.pairs.to_string()], &[found.share(), formula, 1.0 / f64::from(*n)]));
    }
    plan.table("linking", &["members", "pairs", "linked by last relay", "formula", "chance"], &rows)?;
    let line = |name: &str, reference, of: &dyn Fn(usize, u32) -> f64| Line {
        name: name.into(),
        points: SIZES.iter().enumerate().map(|(nth, n)| (f64::from(*n), of(nth, *n))).collect(),
        reference,
    };
    let lines = [
        line("measured", false, &|nth, _| found.get(nth).map_or(0.0, |found| found.share())),
        line("formula", true, &|_, n| formulas::linked_by_last_relay(n, P)),
        line("chance", true, &|_, n| 1.0 / f64::from(n)),
    ];
    let title = "A leader links publishing and searching of one member by last relays";
    chart(&plan.plot("linking"), title, ("Members", "Share of right guesses"), &lines)
}

fn by_moment(plan: Plan<'_>, seeds: &[u64], rows: &mut Vec<Vec<String>>) -> Result<()> {
    let found = parallel(seeds, plan.jobs, |seed| {
        let [later, after] = linking(*seed, NODES, BETWEEN, HOURS);
        let newcomers = linking_of_newcomers(*seed, NODES, NEWCOMERS, NEWCOMER_EVERY);
        Ok([later, after, newcomers, linking_of_hasty(*seed, NODES, BETWEEN)])
    })?;
    let later = format!("{HOURS} h after all have joined");
    let cases = [&later, "2 h after another leader took over", "newcomers, 10 min apart", "who search as they join"];
    for (nth, when) in cases.iter().enumerate() {
        let sum = |of: fn(&Linking) -> f64| found.iter().map(|all| of(&all[nth])).sum::<f64>();
        let pairs = sum(|link| f64::from(link.pairs));
        let chance = sum(|link| link.chance) / pairs;
        let by_moment = sum(|link| f64::from(link.by_moment)) / pairs;
        println!(
            "  {NODES} nodes, {when}: publishing and searching linked by moments in {by_moment:.3} of {pairs} (chance {chance:.3})"
        );
        rows.push(row(&[&format!("linked by moments: {when}")], &[by_moment, chance]));
        if nth < 2 {
            let by_chain = sum(|link| f64::from(link.by_chain)) / pairs;
            println!("    and by which path took which other's place in {by_chain:.3}");
            rows.push(row(&[&format!("linked by moments and by what took whose place: {when}")], &[by_chain, chance]));
        }
    }
    let named = parallel(seeds, plan.jobs, |seed| Ok(moments(*seed, NODES, BETWEEN)))?;
    for (nth, when) in ["each joined alone", "another leader took over"].iter().enumerate() {
        let seen = |of: fn(&Moments) -> u32| f64::from(named.iter().map(|both| of(&both[nth])).sum::<u32>());
        println!(
            "  {NODES} nodes, {when}: three walks at once name {:.3} of the owners to their first relay, right in {:.3} of {} alarms",
            seen(|named| named.named) / seen(|named| named.owners),
            seen(|named| named.right) / seen(|named| named.alarms).max(1.0),
            seen(|named| named.alarms)
        );
        let named = seen(|named| named.named) / seen(|named| named.owners);
        rows.push(row(&[&format!("named to their first relay by three walks at once: {when}")], &[named, 0.0]));
    }
    Ok(())
}
