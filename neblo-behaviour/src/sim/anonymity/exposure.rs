//! How long, under churn, until a colluder is the first relay of a path (research §5). Whoever that is knows the owner
//! (`docs/threat-model.md`, the first relay).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::log::{Tag, Truth};
use super::subgroup::{Setting, Subgroup, Ttl};

/// The paper's.
const TTL: u8 = 10;

/// How paths are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// `paper()`: who finds a break tells the owner, who makes its whole path anew.
    Paper,
    /// `hardened()`: three pinned first relays, repair behind the break.
    Hardened,
}

/// The hours until a colluder was the first relay, for each honest owner that stayed; `None` if that did not happen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposure {
    /// For each owner.
    pub hours: Vec<Option<f64>>,
    /// Owners that handed their path to the leader themselves, without any relay, before that: such a path does not break, and no
    /// colluder is ever on it, but the leader has its owner before it.
    pub bare: u32,
    /// Hours simulated.
    pub simulated: f64,
}

impl Exposure {
    /// Share of the owners exposed.
    pub fn share(&self) -> f64 {
        self.hours.iter().flatten().count() as f64 / self.hours.len() as f64
    }

    /// The mean of an exponential time with as many exposures in as many hours (its estimate where some were not exposed).
    pub fn mean(&self) -> f64 {
        let lived: f64 = self.hours.iter().map(|hours| hours.unwrap_or(self.simulated)).sum();
        lived / self.hours.iter().flatten().count() as f64
    }

    /// The median, if half were exposed.
    pub fn median(&self) -> Option<f64> {
        let mut exposed: Vec<f64> = self.hours.iter().flatten().copied().collect();
        exposed.sort_by(f64::total_cmp);
        exposed.get(self.hours.len().div_ceil(2) - 1).copied()
    }
}

impl Extend<Exposure> for Exposure {
    fn extend<T: IntoIterator<Item = Exposure>>(&mut self, others: T) {
        for other in others {
            self.hours.extend(other.hours);
            self.bare += other.bare;
            self.simulated = other.simulated;
        }
    }
}

/// Among `members` each, of whom `c` collude, `owners` have paths; owners and colluders stay, all others live for an exponential time
/// with this mean, and another joins in place of each that goes.
pub fn hours_until_exposed(
    seed: u64,
    (members, c, owners): (u32, u32, u32),
    keeping: Keeping,
    mean_life: Duration,
    hours: f64,
) -> Exposure {
    let setting = match keeping {
        // An owner has all others as relays, and the other owners are none.
        Keeping::Paper => Setting { restoration: true, ..Setting::paper(members - 1 + owners, Ttl::Fixed(TTL)) },
        Keeping::Hardened => Setting::hardened(members - 1 + owners),
    };
    let mut subgroup = Subgroup::new(seed, setting);
    // Who of them is which does not matter: their numbers say nothing.
    let (owners, relays) =
        (subgroup.members()[..owners as usize].to_vec(), subgroup.members()[owners as usize..].to_vec());
    let colluders: BTreeSet<u32> = relays.iter().take(c as usize).copied().collect();
    let mut mortal: Vec<u32> = relays.iter().skip(c as usize).copied().collect();
    for owner in &owners {
        subgroup.hide(*owner);
    }
    owners.iter().for_each(|owner| subgroup.open(*owner));
    let mut truth = Truth::default();
    let mut exposed: BTreeMap<u32, f64> = BTreeMap::new();
    let mut bare = BTreeSet::new();
    let between = mean_life.as_secs_f64() / mortal.len() as f64;
    let end = hours * 3_600.0;
    let mut next = 0.0;
    while subgroup.now().0 as f64 / 1e6 + next < end {
        next = -between * (1.0 - subgroup.chance()).ln();
        subgroup.run(Duration::from_secs_f64(next));
        let steps = subgroup.take_log().steps;
        truth.learn(&steps, subgroup.leader());
        for step in steps {
            // The owner sends the whole TTL: it makes a first step, and does not pass on another's walk or its own again.
            let first = match step.tag {
                Tag::Connection(_, ttl) => ttl == TTL,
                Tag::Value(_) => truth.begins(&step),
            };
            if !first || !owners.contains(&step.from) {
                continue;
            }
            if step.to == subgroup.leader() && !exposed.contains_key(&step.from) {
                bare.insert(step.from);
            }
            if colluders.contains(&step.to) {
                exposed.entry(step.from).or_insert(step.at.0 as f64 / 3.6e9);
            }
        }
        let at = subgroup.draw(mortal.len());
        let joined = subgroup.replace(mortal[at]);
        mortal[at] = joined;
    }
    let bare = bare.len() as u32;
    Exposure { hours: owners.iter().map(|owner| exposed.get(owner).copied()).collect(), bare, simulated: hours }
}
