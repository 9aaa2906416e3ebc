//! What colluders write down, and what they make of it without knowing whose a path is.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::io::Time;
use crate::protocol::paper::PaperMessage;
use crate::protocol::path::PathMessage;

/// Relays behind one another that a value is followed for (as many as an owner vouches for).
const FOLLOWED: usize = 24;

/// What a step of a walk carries that may tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Hardened: a value of the chain by which relays repair the path (design D11); random bytes on the last link.
    Value([u8; 16]),
    /// Paper: the identifier of all that the owner does, and the TTL.
    Connection([u8; 16], u8),
}

/// A step of a walk, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Time,
    /// By whom.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// The path's name on that link; 0 under the paper's mechanism, which has none.
    pub name: u64,
    /// What it carries.
    pub tag: Tag,
}

impl Step {
    /// The step that a message is, if it is one.
    pub fn of_path(at: Time, (from, to): (u32, u32), message: &PathMessage<u32>) -> Option<Self> {
        let PathMessage::Open(open) = message else { return None };
        Some(Self { at, from, to, name: open.id, tag: Tag::Value(open.resume) })
    }

    /// The same of the paper's mechanism.
    pub fn of_paper(at: Time, (from, to): (u32, u32), message: &PaperMessage<u32>) -> Option<Self> {
        let tag = match message {
            PaperMessage::Publish(publish) => Tag::Connection(publish.connection, publish.ttl),
            PaperMessage::Lookup(lookup) => Tag::Connection(lookup.connection, lookup.ttl),
            _ => return None,
        };
        Some(Self { at, from, to, name: 0, tag })
    }
}

/// The next value of the chain (design D11), which anyone who has one can work out.
pub(super) fn next_value(value: &[u8; 16]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("neblo 1 resume chain");
    hasher.update(value);
    let mut next = [0; 16];
    hasher.finalize_xof().fill(&mut next);
    next
}

/// The first colluder on a path, as the colluders find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The colluder.
    pub by: u32,
    /// The peer before it, which they suspect.
    pub before: u32,
    /// The TTL that it came with.
    pub ttl: Option<u8>,
    /// The step itself: names the path to [`Truth`].
    pub step: Step,
}

/// Steps in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Log {
    /// What these colluders have of it: what they sent or were sent.
    pub fn seen_by(&self, colluders: &BTreeSet<u32>) -> Self {
        let seen = |step: &&Step| colluders.contains(&step.from) || colluders.contains(&step.to);
        Self { steps: self.steps.iter().filter(seen).copied().collect() }
    }

    /// Of what the colluders have: the first of them on each path that is not their own. Steps of one path are found to belong
    /// together by its identifier (paper), or because a value follows from another (hardened).
    pub fn first_colluders(&self, colluders: &BTreeSet<u32>, follow: &Follow) -> Vec<Observation> {
        let mut known = BTreeSet::new();
        let mut found = Vec::new();
        for step in &self.steps {
            let (name, ttl) = match step.tag {
                Tag::Value(value) => (value, None),
                Tag::Connection(connection, ttl) => (connection, Some(ttl)),
            };
            let fresh = known.insert(name);
            if fresh {
                known.extend(follow.from(name));
            }
            if fresh && colluders.contains(&step.to) && !colluders.contains(&step.from) {
                found.push(Observation { by: step.to, before: step.from, ttl, step: *step });
            }
        }
        found
    }
}

/// Which value follows which. Whoever has a value can work out all that follow from it; this is worked out once for all who look.
#[derive(Clone, Debug, Default)]
pub struct Follow(BTreeMap<[u8; 16], [u8; 16]>);

impl Follow {
    /// Of a log that has all steps: what follows and is not in it is of no use.
    pub fn of(log: &Log) -> Self {
        let values = log.steps.iter().filter_map(|step| match step.tag {
            Tag::Value(value) => Some(value),
            Tag::Connection(..) => None,
        });
        let all: BTreeSet<[u8; 16]> = values.collect();
        let next = |value: &[u8; 16]| Some((*value, next_value(value))).filter(|(_, next)| all.contains(next));
        Self(all.iter().filter_map(next).collect())
    }

    fn from(&self, value: [u8; 16]) -> impl Iterator<Item = [u8; 16]> {
        std::iter::successors(self.0.get(&value), |next| self.0.get(*next)).copied().take(FOLLOWED)
    }
}

/// Whose each path is, worked out from all steps of all peers. No estimator sees it.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    owners: BTreeMap<[u8; 16], u32>,
    begins: BTreeSet<[u8; 16]>,
}

impl Truth {
    /// Of a log that has all steps from the first on; `leader` is where paths end.
    pub fn of(log: &Log, leader: u32) -> Self {
        let mut truth = Self::default();
        truth.learn(&log.steps, leader);
        truth
    }

    /// Learns of more steps.
    pub fn learn(&mut self, steps: &[Step], leader: u32) {
        steps.iter().for_each(|step| self.learn_of(step, step.to == leader));
    }

    /// Learns of a step, which ends at the leader or not: the value on the last link is none of the chain.
    pub fn learn_of(&mut self, step: &Step, last: bool) {
        match step.tag {
            Tag::Connection(connection, _) => {
                self.owners.entry(connection).or_insert(step.from);
            }
            Tag::Value(_) if last => {}
            Tag::Value(value) => {
                let begins = &mut self.begins;
                let owner = *self.owners.entry(value).or_insert_with(|| {
                    begins.insert(value);
                    step.from
                });
                self.owners.entry(next_value(&value)).or_insert(owner);
            }
        }
    }

    /// Whether this is the first step of a path, by its owner; `hardened()` only.
    pub fn begins(&self, step: &Step) -> bool {
        matches!(step.tag, Tag::Value(value) if self.begins.contains(&value))
    }

    /// Whose the path is that this step belongs to.
    pub fn owner(&self, step: &Step) -> Option<u32> {
        let (Tag::Value(name) | Tag::Connection(name, _)) = step.tag;
        self.owners.get(&name).copied()
    }
}
