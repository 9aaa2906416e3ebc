//! What a leader sees of whose a path is: the peer that hands it over, which the paper calls the last non-leader peer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::log::Truth;
use super::subgroup::{Setting, Subgroup};
use crate::protocol::interface::Purpose;
use crate::protocol::policy::Mechanism;

/// How paths end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Paths.
    pub paths: u64,
    /// Without any relay: the owner is linked with the leader itself.
    pub bare: u64,
    /// That the owner handed to the leader, as its only or as its last relay.
    pub last_is_owner: u64,
}

impl Ends {
    /// Share of paths without a relay.
    pub fn bare_share(&self) -> f64 {
        self.bare as f64 / self.paths as f64
    }

    /// Share of paths in which the last relay is the owner, who publishes over it: the leader's posterior for that peer.
    pub fn last_is_owner_share(&self) -> f64 {
        self.last_is_owner as f64 / self.paths as f64
    }
}

/// Lets all members make a path, `rounds` times, each with a first relay drawn for it alone, and looks at what the leader sees.
pub fn ends(seed: u64, setting: Setting, rounds: u32) -> Ends {
    let mut subgroup = Subgroup::new(seed, setting);
    let leader = subgroup.leader();
    let mut found = Ends::default();
    for round in 0..rounds {
        if round > 0 {
            subgroup.forget_all();
        }
        let owners = subgroup.members();
        for owner in &owners {
            subgroup.open(*owner);
        }
        subgroup.run(Duration::from_millis(1_400));
        let log = subgroup.take_log();
        if setting.mechanism == Mechanism::Hardened {
            for owner in owners {
                let path = subgroup.path(owner);
                let [.., last, end] = *path.as_slice() else { continue };
                if end == leader {
                    found.paths += 1;
                    found.bare += u64::from(path.len() == 2);
                    found.last_is_owner += u64::from(last == owner);
                }
            }
            continue;
        }
        let truth = Truth::of(&log, leader);
        let mut steps_of = BTreeMap::new();
        for step in &log.steps {
            let Some(owner) = truth.owner(step) else { continue };
            let steps: &mut u32 = steps_of.entry(owner).or_default();
            *steps += 1;
            if step.to == leader {
                found.paths += 1;
                found.bare += u64::from(*steps == 1);
                found.last_is_owner += u64::from(step.from == owner);
            }
        }
    }
    found
}

/// How often a leader finds, for the path over which somebody publishes, the one over which the same member searches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkedByLast {
    /// Owners of such pairs.
    pub pairs: u64,
    /// Names of links or values that two paths of one owner share.
    pub shared: u64,
    /// Expected number of right guesses, taking one of the searching paths with the same last relay, or any if there is none.
    pub right: f64,
}

impl LinkedByLast {
    /// Share of right guesses.
    pub fn share(&self) -> f64 {
        self.right / self.pairs as f64
    }
}

/// Lets all of `members` make a path for publishing and one for searching through the same first relay, as nodes do, `rounds` times,
/// and lets the leader guess by last relays alone.
pub fn linked_by_last(seed: u64, members: u32, rounds: u32) -> LinkedByLast {
    let mut subgroup = Subgroup::new(seed, Setting::hardened(members));
    let leader = subgroup.leader();
    let mut found = LinkedByLast::default();
    for round in 0..rounds {
        if round > 0 {
            subgroup.forget_all();
        }
        let owners = subgroup.members();
        for owner in &owners {
            subgroup.open_for(*owner, Purpose::Publishing);
            subgroup.open_for(*owner, Purpose::Searching);
        }
        subgroup.run(Duration::from_millis(1_400));
        subgroup.take_log();
        let last = |owner: u32, purpose: Purpose| {
            let links = subgroup.links(owner, purpose);
            let [.., (last, _), (end, _)] = *links.as_slice() else { return None };
            (end == leader).then_some(last)
        };
        let pairs: Vec<(u32, u32)> = owners
            .iter()
            .filter_map(|owner| Some((last(*owner, Purpose::Publishing)?, last(*owner, Purpose::Searching)?)))
            .collect();
        for owner in &owners {
            let names = |purpose: Purpose| subgroup.links(*owner, purpose).into_iter().map(|(_, name)| name);
            found.shared += names(Purpose::Publishing)
                .filter(|name| names(Purpose::Searching).any(|other| other == *name))
                .count() as u64;
        }
        for (publishing, searching) in &pairs {
            let alike = pairs.iter().filter(|(_, other)| other == publishing).count();
            found.pairs += 1;
            found.right += match alike {
                0 => 1.0 / pairs.len() as f64,
                _ if searching == publishing => 1.0 / alike as f64,
                _ => 0.0,
            };
        }
    }
    found
}
