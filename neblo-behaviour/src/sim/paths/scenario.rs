//! What is simulated, with the choices that the paper's text leaves open (research §5).

use std::time::Duration;

use crate::protocol::paper::PaperConfig;
use crate::sim::world::World;

/// A scenario. The default is the paper's evaluation (seed 003 §5) under the reading that the text suggests first.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What befalls its peers.
    pub world: World,
    /// Subgroups; a peer belongs to the same one for ever.
    pub subgroups: u32,
    /// Probability that a walk goes on.
    pub p: f64,
    /// TTL of a walk.
    pub ttl: u8,
    /// Probability that a whole TTL falls at a peer ([`PaperConfig::falls`]).
    pub ttl_falls: f64,
    /// The timer of §3.1.
    pub timer: Duration,
    /// Whether paths are kept up ([`PaperConfig::restoration`]).
    pub restoration: bool,
    /// What a peer that comes back still has.
    pub rejoin: Rejoin,
    /// Whether messages are encoded to count their bytes, which costs more than all else.
    pub count_bytes: bool,
}

/// What a peer that comes back still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// Nothing: it joins as new, with another connection identifier, and publishes its contents over a new path.
    Anew,
    /// All: its table, identifier and path are what they were, as if it had only stopped; it sends nothing. Without restoration
    /// no path is ever made again, and each works whenever all its peers are there.
    AsLeft,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            world: World::default(),
            subgroups: 128,
            p: 0.7,
            ttl: 10,
            ttl_falls: 1.0,
            timer: Duration::from_secs(300),
            restoration: true,
            rejoin: Rejoin::Anew,
            count_bytes: false,
        }
    }
}

impl Scenario {
    pub(super) fn config(&self) -> PaperConfig {
        PaperConfig {
            p: self.p,
            ttl: self.ttl,
            falls: self.ttl_falls,
            timer: self.timer,
            restoration: self.restoration,
        }
    }

    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), &'static str> {
        self.world.check()?;
        let peers = self.world.peers;
        let rules = [
            (self.subgroups >= 1 && peers / self.subgroups.max(1) >= 1, "there must be a subgroup, and a peer in each"),
            (peers <= 2_000_000, "there may be at most 2,000,000 peers"),
            (peers >= 2, "there must be two peers"),
            ((0.0..=1.0).contains(&self.p), "p lies between 0 and 1"),
            (self.ttl >= 1, "the TTL is at least 1"),
            ((0.0..=1.0).contains(&self.ttl_falls), "ttl-falls lies between 0 and 1"),
            (!self.timer.is_zero(), "the timer is longer than nothing"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}
