//! A leader that shows a member a list of nothing but colluders (research §6; design D9).

use std::collections::BTreeSet;
use std::time::Duration;

use super::subgroup::{Setting, Subgroup};

/// The first relays of members to whom their leader has shown a forged list.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forged {
    /// Members that were shown it.
    pub members: u32,
    /// Of them with a colluder as first relay: before.
    pub before: u32,
    /// While the forged list holds, their path left alone.
    pub left_alone: u32,
    /// While it holds, after the leader has broken their path.
    pub during: u32,
    /// After they have the true list again and have made their path anew.
    pub after: u32,
}

/// Each honest member in turn is shown a list of the leader, itself and `c` colluders; its path is broken, by the leader at its end;
/// it gets the true list again; its path is made anew.
pub fn forged_list(seed: u64, members: u32, c: u32) -> Forged {
    let mut subgroup = Subgroup::new(seed, Setting::hardened(members));
    let colluders = subgroup.draw_colluders(c);
    let victims: Vec<u32> = subgroup.members().into_iter().filter(|peer| !colluders.contains(peer)).collect();
    let settle = Duration::from_secs(3);
    for victim in &victims {
        subgroup.open(*victim);
    }
    subgroup.run(settle);
    let mut found = Forged { members: victims.len() as u32, ..Forged::default() };
    let owned = |subgroup: &Subgroup, colluders: &BTreeSet<u32>, victim: u32| {
        u32::from(subgroup.first_relay(victim).is_some_and(|(first, _)| colluders.contains(&first)))
    };
    for victim in victims {
        found.before += owned(&subgroup, &colluders, victim);
        subgroup.show_list(victim, &colluders);
        subgroup.run(settle);
        found.left_alone += owned(&subgroup, &colluders, victim);
        subgroup.break_end(victim);
        subgroup.run(settle);
        found.during += owned(&subgroup, &colluders, victim);
        subgroup.show_true_list(victim);
        subgroup.run(settle);
        subgroup.open_anew(victim);
        subgroup.run(settle);
        found.after += owned(&subgroup, &colluders, victim);
    }
    found
}
