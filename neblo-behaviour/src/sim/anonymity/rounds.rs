//! The predecessor attack: a path is made anew again and again, and each time the first colluder on it notes who was before it
//! (Wright et al.; research §5).
//!
//! That the rounds belong to one owner the colluders see in the paper's mechanism, which has one identifier for all. In the
//! hardened one nothing that they are sent says it; they are told here, as by a leader that works with them and knows the
//! registration. It is the attacker's best case.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::formulas::Walk;
use super::log::{Follow, Observation, Truth};
use super::subgroup::{Setting, Subgroup, Ttl};

/// A posterior above this ends an attack.
const SURE: f64 = 0.95;
/// Time between two rounds under the paper's mechanism, whose peers find out about the old path by their timers: two of them.
const PAPER_ROUND: Duration = Duration::from_secs(700);
/// The same under the hardened one.
const ROUND: Duration = Duration::from_secs(40);

/// How paths are made anew, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Paper: the whole path anew each round, with the TTL on the wire and looked at.
    PaperSeesTtl(u8),
    /// Paper: the same; nobody looks at the TTL.
    PaperHidden(u8),
    /// Hardened, but the first relay is drawn anew each round too, which no node does: to show what the pin is worth.
    Unpinned,
    /// Hardened: the owner makes its path anew, behind its pinned first relay.
    Rebuilt,
    /// Hardened: the first relay repairs the path behind itself.
    Repaired,
}

/// What came of an attack on each honest owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// The round after which the posterior of the owner was above 0.95, for each attacked owner; `None` if it never was.
    pub until: Vec<Option<u32>>,
    /// Attacks in which another peer was above 0.95 at some time before that.
    pub wrong: u32,
    /// Rounds made.
    pub rounds: u32,
}

impl Rounds {
    /// The median number of rounds; `None` if half of the owners were not found.
    pub fn median(&self) -> Option<u32> {
        self.quantile(0.5)
    }

    /// The round by which this share of the owners was found.
    pub fn quantile(&self, share: f64) -> Option<u32> {
        let mut found: Vec<u32> = self.until.iter().flatten().copied().collect();
        found.sort_unstable();
        let nth = (self.until.len() as f64 * share).ceil().max(1.0) as usize;
        found.get(nth - 1).copied()
    }

    /// Share of owners found within this many rounds.
    pub fn found_within(&self, rounds: u32) -> f64 {
        let found = self.until.iter().flatten().filter(|round| **round <= rounds).count();
        found as f64 / self.until.len() as f64
    }
}

/// What the colluders believe of one owner.
#[derive(Clone, Debug, Default)]
struct Belief {
    /// Log likelihoods of who is before the first colluder, for those seen so, relative to a peer never seen.
    weights: BTreeMap<u32, f64>,
    /// Peers that cannot be the owner.
    out: BTreeSet<u32>,
    certain: Option<u32>,
    /// Rounds without a colluder on the path, and with one.
    unseen: u32,
    seen: u32,
    /// Whether all observations were by the same colluder of the same peer.
    always: Option<(u32, u32)>,
    varied: bool,
    last: Option<Observation>,
}

impl Belief {
    fn note(&mut self, walk: &Walk, hidden: f64, attack: Attack, observation: Option<Observation>) {
        let Some(observation) = observation else {
            self.unseen += 1;
            return;
        };
        self.seen += 1;
        self.last = Some(observation);
        let here = (observation.by, observation.before);
        self.varied |= *self.always.get_or_insert(here) != here;
        let share = match (attack, observation.ttl) {
            (Attack::PaperSeesTtl(whole), Some(ttl)) => walk.owner_in(i32::from(whole - ttl.min(whole))),
            // Behind an honest first relay the walk begins anew there: what is so of an owner without a pin is so of that relay.
            _ => hidden,
        };
        let other = (1.0 - share) / (walk.honest - 1.0);
        if share > 0.999_999 {
            self.certain = Some(observation.before);
        } else if share <= 0.0 {
            self.out.insert(observation.before);
        } else {
            *self.weights.entry(observation.before).or_default() += (share / other).ln();
        }
    }

    /// The likeliest owner and its posterior; nobody is likelier than one of those who were seen before a colluder.
    fn likeliest(&self, walk: &Walk, hidden: f64, pinned: bool) -> (f64, Option<u32>) {
        if let Some(certain) = self.certain {
            return (1.0, Some(certain));
        }
        let possible = || self.weights.iter().filter(|(peer, _)| !self.out.contains(peer));
        let never_seen = walk.honest - possible().count() as f64 - self.out.len() as f64;
        let all = possible().map(|(_, weight)| weight.exp()).sum::<f64>() + never_seen;
        let most = |posterior: &dyn Fn(u32, f64) -> f64| {
            let each = possible().map(|(peer, weight)| (posterior(*peer, weight.exp()), Some(*peer)));
            each.fold((0.0, None), |best, next| if next.0 > best.0 { next } else { best })
        };
        if !pinned {
            return most(&|_, weight| weight / all);
        }
        // The pinned first relay colludes: then each round is seen, by it. Or it is honest: then it is what is seen before the
        // first colluder, and any other honest peer is as likely to be the owner.
        let caught = self.always.filter(|_| self.unseen == 0 && !self.varied).map(|(_, before)| before);
        let other = (1.0 - hidden) / (walk.honest - 1.0);
        let by_one = walk.seen_behind() * other / walk.colluders;
        // Relative to `by_one` for each round that was seen, as the weights are.
        let colludes = if caught.is_some() { (-by_one.ln() * f64::from(self.seen)).exp() } else { 0.0 };
        let total = colludes + (walk.honest - 1.0) * all;
        most(&|peer, weight| {
            let first_colludes = if caught == Some(peer) { colludes } else { 0.0 };
            (first_colludes + all - weight) / total
        })
    }
}

/// Attacks all owners of a subgroup for some rounds, with `sets` random sets of `c` colluders each.
pub fn predecessor_attack(seed: u64, members: u32, c: u32, attack: Attack, (rounds, sets): (u32, u32)) -> Rounds {
    let setting = match attack {
        Attack::PaperSeesTtl(ttl) | Attack::PaperHidden(ttl) => {
            Setting { restoration: true, ..Setting::paper(members, Ttl::Fixed(ttl)) }
        }
        _ => Setting::hardened(members),
    };
    let ttl = match attack {
        Attack::PaperSeesTtl(ttl) | Attack::PaperHidden(ttl) => Some(ttl),
        _ => None,
    };
    let walk = Walk::code(members, c, setting.p, ttl);
    let hidden = walk.posterior();
    let pinned = matches!(attack, Attack::Rebuilt | Attack::Repaired);
    let mut subgroup = Subgroup::new(seed, setting);
    let colluding: Vec<BTreeSet<u32>> = (0..sets).map(|_| subgroup.draw_colluders(c)).collect();
    let all = subgroup.members();
    let mut beliefs: BTreeMap<(usize, u32), Belief> = BTreeMap::new();
    for (nth, colluders) in colluding.iter().enumerate() {
        beliefs.extend(
            all.iter().filter(|owner| !colluders.contains(owner)).map(|owner| ((nth, *owner), Belief::default())),
        );
    }
    let mut until: BTreeMap<(usize, u32), Option<u32>> = beliefs.keys().map(|key| (*key, None)).collect();
    let mut wrong = BTreeSet::new();
    let mut truth = Truth::default();
    for round in 1..=rounds {
        begin_round(&mut subgroup, attack, round, &all);
        let log = subgroup.take_log();
        truth.learn(&log.steps, subgroup.leader());
        let follow = Follow::of(&log);
        for (nth, colluders) in colluding.iter().enumerate() {
            let mut first: BTreeMap<u32, Observation> = BTreeMap::new();
            for observation in log.seen_by(colluders).first_colluders(colluders, &follow) {
                if let Some(owner) = truth.owner(&observation.step) {
                    first.entry(owner).or_insert(observation);
                }
            }
            let honest: Vec<u32> = all.iter().copied().filter(|peer| !colluders.contains(peer)).collect();
            for owner in &honest {
                let key = (nth, *owner);
                let (Some(belief), Some(found)) = (beliefs.get_mut(&key), until.get_mut(&key)) else { continue };
                if found.is_some() {
                    continue;
                }
                // A first relay that repairs the path need not be sent anything: it has the owner in its table.
                let repairs = attack == Attack::Repaired
                    && subgroup.first_relay(*owner).is_some_and(|(relay, _)| colluders.contains(&relay));
                let again = belief.last.filter(|_| repairs);
                belief.note(&walk, hidden, attack, first.get(owner).copied().or(again));
                match belief.likeliest(&walk, hidden, pinned) {
                    (posterior, Some(peer)) if posterior > SURE && peer == *owner => *found = Some(round),
                    (posterior, Some(_)) if posterior > SURE => drop(wrong.insert(key)),
                    _ => {}
                }
            }
        }
    }
    Rounds { until: until.into_values().collect(), wrong: wrong.len() as u32, rounds }
}

fn begin_round(subgroup: &mut Subgroup, attack: Attack, round: u32, all: &[u32]) {
    match attack {
        Attack::Unpinned if round > 1 => subgroup.forget_all(),
        _ => {}
    }
    let mut broken = Vec::new();
    for owner in all {
        match attack {
            Attack::Repaired if round > 1 => {
                // One after another, so that what breaks for one is whole again before the next one's turn.
                if subgroup.break_behind_first(*owner) {
                    subgroup.run(Duration::from_millis(1));
                } else {
                    broken.push(*owner);
                }
            }
            Attack::Unpinned => subgroup.open(*owner),
            _ if round == 1 => subgroup.open(*owner),
            _ => subgroup.open_anew(*owner),
        }
    }
    // What has no relay behind the first one cannot break there: that path is made anew.
    for owner in broken {
        subgroup.open_anew(owner);
    }
    let paper = matches!(attack, Attack::PaperSeesTtl(_) | Attack::PaperHidden(_));
    subgroup.run(if paper { PAPER_ROUND } else { ROUND });
}
