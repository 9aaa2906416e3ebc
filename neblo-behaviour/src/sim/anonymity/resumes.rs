//! Values by which relays repair a path (design D11): what those who get them can tell from them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::log::{Log, Tag, Truth, next_value};
use super::subgroup::{Setting, Subgroup};
use crate::protocol::errand::{Errand, RESUMABLE};

/// What the leader and colluding relays make of the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumes {
    /// Repairs whose value the leader found among those that the owner vouched for.
    pub repairs: u64,
    /// Repairs whose value it could not find.
    pub unknown: u64,
    /// Place of the relay that repaired (0 for the first), and where in the owner's list the value stood.
    pub places: Vec<(u32, usize)>,
    /// How often a value came that had come before.
    pub twice: u64,
    /// Pairs of relays of one path, and those of them of which the later one's value is found by the earlier one.
    pub pairs: u64,
    /// Of those found, with the right number of links between the two.
    pub counted: u64,
    /// Pairs of relays of different paths of which one's value is found by the other.
    pub mixed_up: u64,
}

impl Resumes {
    /// Correlation between the place of a relay and where its value stands in the list: 0 if the leader learns nothing from it.
    pub fn correlation(&self) -> f64 {
        let n = self.places.len() as f64;
        let all = || self.places.iter().map(|(place, index)| (f64::from(*place), *index as f64));
        let (mean_place, mean_index) = all().fold((0.0, 0.0), |sum, it| (sum.0 + it.0 / n, sum.1 + it.1 / n));
        let (mut both, mut of_place, mut of_index) = (0.0, 0.0, 0.0);
        for (place, index) in all() {
            let (a, b) = (place - mean_place, index - mean_index);
            both += a * b;
            of_place += a * a;
            of_index += b * b;
        }
        both / (of_place * of_index).sqrt()
    }

    /// How often the leader is right that takes the values to stand in the order of the relays; 1 in 24 by chance.
    pub fn leader_guesses(&self) -> f64 {
        let of_a_relay = usize::from(RESUMABLE.1);
        let right = self.places.iter().filter(|(place, index)| *place as usize == index / of_a_relay).count();
        right as f64 / self.places.len() as f64
    }
}

/// Lets paths of a subgroup break behind each of their relays in turn, and shows the leader what comes of it.
pub fn resumes(seed: u64, members: u32, rounds: u32) -> Resumes {
    let mut subgroup = Subgroup::new(seed, Setting::hardened(members));
    let mut found = Resumes::default();
    for round in 0..rounds {
        if round > 0 {
            subgroup.forget_all();
        }
        // What is left of the repairs of the round before.
        subgroup.take_log();
        let owners = subgroup.members();
        for owner in &owners {
            subgroup.open(*owner);
        }
        // Until the last list has come, over however long a path.
        subgroup.run(Duration::from_secs(5));
        follow(&mut found, &subgroup.take_log(), subgroup.leader());
        // The leader's lists, by what it keeps of each value.
        let mut lists: BTreeMap<[u8; 8], usize> = BTreeMap::new();
        arrived(&mut subgroup, &mut lists);
        let mut seen = BTreeSet::new();
        for owner in owners {
            let path = subgroup.path(owner);
            if path.len() < 4 {
                continue;
            }
            // A relay with another one behind it.
            let place = subgroup.draw(path.len() - 3);
            let (Some(relay), Some(next)) = (path.get(place + 1), path.get(place + 2)) else { continue };
            subgroup.break_between(*relay, *next);
            subgroup.run(Duration::from_millis(1_400));
            // Other paths over the same link are repaired, too: by the same relay, in another place.
            let resumed = arrived(&mut subgroup, &mut lists);
            let alone = resumed.len() == 1;
            for check in resumed {
                found.twice += u64::from(!seen.insert(check));
                match lists.get(&check) {
                    Some(index) => {
                        found.repairs += 1;
                        if alone {
                            found.places.push((place as u32, *index));
                        }
                    }
                    None => found.unknown += 1,
                }
            }
        }
    }
    found
}

/// Adds the lists that have come to the leader, and returns what has been spent.
fn arrived(subgroup: &mut Subgroup, lists: &mut BTreeMap<[u8; 8], usize>) -> Vec<[u8; 8]> {
    let mut spent = Vec::new();
    for (_, errand) in subgroup.take_arrived() {
        match errand {
            Errand::Vouch(vouch) => {
                lists.extend(vouch.checks.iter().enumerate().map(|(index, check)| (*check, index)));
            }
            Errand::Resume(resume) => spent.push(resume.check()),
            _ => {}
        }
    }
    spent
}

/// What colluding relays can tell from the values that they are handed: which of them are on one path, and how far apart.
fn follow(found: &mut Resumes, log: &Log, leader: u32) {
    let truth = Truth::of(log, leader);
    // Each path's relays in their order, with the values that they got.
    let mut paths: BTreeMap<u32, Vec<[u8; 16]>> = BTreeMap::new();
    let mut whose: BTreeMap<[u8; 16], (u32, usize)> = BTreeMap::new();
    for step in log.steps.iter().filter(|step| step.to != leader) {
        let (Tag::Value(value), Some(owner)) = (step.tag, truth.owner(step)) else { continue };
        let relays = paths.entry(owner).or_default();
        whose.insert(value, (owner, relays.len()));
        relays.push(value);
    }
    for (value, (owner, place)) in whose.clone() {
        found.pairs += paths.get(&owner).map_or(0, |relays| (relays.len() - place - 1) as u64);
        let mut next = value;
        for links in 1..RESUMABLE.0 {
            next = next_value(&next);
            match whose.get(&next) {
                Some((same, there)) if *same == owner => found.counted += u64::from(*there == place + links),
                Some(_) => found.mixed_up += 1,
                None => {}
            }
        }
    }
}
