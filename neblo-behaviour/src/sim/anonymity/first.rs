//! The peer before the first colluder on a path: how often it is the owner, and what a TTL on the wire adds (research §5).

use std::time::Duration;

use super::formulas::Walk;
use super::log::{Follow, Truth};
use super::subgroup::{Setting, Subgroup, Ttl};
use crate::protocol::policy::Mechanism;

/// Longer than the longest walk takes, and shorter than the first time-out of a path that is being built.
const WALKS_TAKE: Duration = Duration::from_millis(1_400);

/// What given numbers of colluders make of many paths, each of them with a first relay drawn for it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FirstPredecessor {
    /// Members besides the leader, and colluders among them.
    pub members: u32,
    /// Colluders among them.
    pub colluders: u32,
    /// Paths of honest members, each counted once for each set of colluders.
    pub paths: u64,
    /// Of them with a colluder.
    pub seen: u64,
    /// In which the peer before the first colluder is the owner.
    pub right: u64,
    /// In which the TTL names the owner for certain, by what everybody knows of how TTLs begin.
    pub certain: u64,
    /// Of them the owner was who they said.
    pub certain_right: u64,
    /// The highest posterior of any peer that an observation gave.
    pub worst: f64,
    /// Sum of the degrees of anonymity of the paths seen.
    pub(super) degrees: f64,
}

impl FirstPredecessor {
    /// P(I | H1+): share of the paths seen in which the peer before the first colluder is the owner.
    pub fn posterior(&self) -> f64 {
        self.right as f64 / self.seen as f64
    }

    /// Share of the paths seen in which the owner is certain.
    pub fn certain_share(&self) -> f64 {
        self.certain as f64 / self.seen as f64
    }

    /// Mean degree of anonymity d = H / log2(n - c) of the owners of paths that were seen.
    pub fn degree(&self) -> f64 {
        self.degrees / self.seen as f64
    }

    /// Share of all paths that a colluder is on.
    pub fn seen_share(&self) -> f64 {
        self.seen as f64 / self.paths as f64
    }
}

/// What an observer knows of where TTLs begin.
#[derive(Clone, Copy, Debug)]
enum Begins {
    /// Nothing: there is none on the wire, or it is not looked at.
    Hidden,
    /// Between these, both included, each as likely.
    Between(u8, u8),
    /// At the first, which stays whole at a peer with this probability.
    Sticky(u8, f64),
}

/// Probability that the suspected peer, the one before the first colluder, is the owner; `hidden` without a TTL.
fn suspicion(walk: &Walk, hidden: f64, begins: Begins, ttl: Option<u8>) -> f64 {
    let (least, most) = match (begins, ttl) {
        (Begins::Sticky(whole, stays), Some(ttl)) => return sticky(walk, stays, i32::from(whole.saturating_sub(ttl))),
        (Begins::Between(least, most), Some(_)) => (least, most),
        (Begins::Hidden, _) | (_, None) => return hidden,
    };
    let Some(ttl) = ttl else { return hidden };
    // The first relay is sent the whole TTL, the one in place k what is left after k - 1: places by what the TTL began with.
    let places = (least.max(ttl)..=most).map(|begun| i32::from(begun - ttl) + 1);
    let weigh = |place: i32| walk.on().powi(place - 1);
    let (mut all, mut owner) = (0.0, 0.0);
    for place in places {
        all += weigh(place);
        owner += weigh(place) * walk.owner_in(place - 1);
    }
    if all > 0.0 { owner / all } else { hidden }
}

/// The same if a whole TTL stays whole at a peer with probability `stays`, and `fell` are gone of it: the peers before those at which
/// it fell all left it whole.
fn sticky(walk: &Walk, stays: f64, fell: i32) -> f64 {
    let (mut all, mut owner) = (0.0, 0.0);
    for left in 0..200 {
        let before = left + fell;
        let weight = walk.on().powi(before) * stays.powi(left);
        all += weight;
        owner += weight * walk.owner_in(before);
    }
    owner / all
}

/// Lets all members make a path, again and again, and shows `sets` random sets of each number of colluders what they would have
/// seen, `rounds` times; `looks_at_ttl`: they make use of the TTL, if there is one.
pub fn first_predecessor(
    seed: u64,
    setting: Setting,
    colluders: &[u32],
    (rounds, sets): (u32, u32),
    looks_at_ttl: bool,
) -> Vec<FirstPredecessor> {
    let mut subgroup = Subgroup::new(seed, setting);
    let members = setting.members;
    let begins = match setting.ttl {
        _ if !looks_at_ttl || setting.mechanism != Mechanism::Paper => Begins::Hidden,
        Ttl::Fixed(ttl) => Begins::Between(ttl, ttl),
        Ttl::Between(least, most) => Begins::Between(least, most),
        Ttl::Sticky(ttl, stays) => Begins::Sticky(ttl, f64::from(stays) / 100.0),
    };
    let ttl = match setting.ttl {
        Ttl::Fixed(ttl) if setting.mechanism == Mechanism::Paper => Some(ttl),
        _ => None,
    };
    let found = |c: &u32| FirstPredecessor { members, colluders: *c, ..FirstPredecessor::default() };
    let mut all: Vec<FirstPredecessor> = colluders.iter().map(found).collect();
    for round in 0..rounds {
        if round > 0 {
            subgroup.forget_all();
        }
        for owner in subgroup.members() {
            subgroup.open(owner);
        }
        subgroup.run(WALKS_TAKE);
        let log = subgroup.take_log();
        let (truth, follow) = (Truth::of(&log, subgroup.leader()), Follow::of(&log));
        for found in &mut all {
            let walk = Walk::code(members, found.colluders, setting.p, ttl);
            let hidden = walk.posterior();
            for _ in 0..sets {
                let colluding = subgroup.draw_colluders(found.colluders);
                found.paths += u64::from(members - found.colluders);
                for observation in log.seen_by(&colluding).first_colluders(&colluding, &follow) {
                    let right = truth.owner(&observation.step) == Some(observation.before);
                    let suspected = suspicion(&walk, hidden, begins, observation.ttl);
                    let others = (1.0 - suspected) / (walk.honest - 1.0);
                    found.seen += 1;
                    found.right += u64::from(right);
                    found.certain += u64::from(suspected > 0.999_999);
                    found.certain_right += u64::from(suspected > 0.999_999 && right);
                    found.worst = found.worst.max(suspected).max(others);
                    found.degrees += walk.degree(suspected);
                }
            }
        }
    }
    all
}
