//! What values for repairs tell the leader, and colluding relays.

use anyhow::Result;
use neblo_behaviour::sim::anonymity::resumes;

use super::{Plan, row};

const MEMBERS: u32 = 40;

pub(super) fn make(plan: Plan<'_>) -> Result<()> {
    let found = resumes(plan.seed + 5, MEMBERS, plan.some(40));
    let guessed = found.leader_guesses();
    println!(
        "  {} repairs: place of the relay and of its value in the owner's list correlate by {:.3}; the leader guesses the place in \
         {guessed:.4} (chance 0.0417); {} values spent twice, {} of nobody",
        found.places.len(),
        found.correlation(),
        found.twice,
        found.unknown
    );
    println!(
        "  {} of {} pairs of relays of one path know each other and how many are between them, {} pairs of different paths",
        found.counted, found.pairs, found.mixed_up
    );
    let mut places = std::collections::BTreeMap::new();
    for (place, index) in &found.places {
        let (count, sum): &mut (u64, f64) = places.entry(*place).or_default();
        *count += 1;
        *sum += *index as f64;
    }
    let rows: Vec<_> = places
        .iter()
        .map(|(place, (count, sum))| row(&[&place.to_string(), &count.to_string()], &[sum / *count as f64]))
        .collect();
    plan.table("resumes", &["place of the relay", "repairs", "mean index of the value (of 96)"], &rows)
}
