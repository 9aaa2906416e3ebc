//! What is simulated, with the choices that the paper's text leaves open (research §5).

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::paper::PaperConfig;
use crate::sim::traces::{Latencies, Lifetimes};

/// A scenario. The default is the paper's evaluation (seed 003 §5) under the reading that the text suggests first.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Peers, present or away.
    pub peers: u32,
    /// Subgroups; a peer belongs to the same one for ever.
    pub subgroups: u32,
    /// Contents, each given to a random peer at the beginning.
    pub contents: u32,
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
    /// How peers come and go; nobody does if absent.
    pub churn: Option<Churn>,
    /// When peers are there, in place of what `churn` draws.
    pub lifetimes: Option<Arc<Lifetimes>>,
    /// Who is there at the beginning.
    pub start: Start,
    /// What a peer that comes back still has.
    pub rejoin: Rejoin,
    /// What is asked for.
    pub wanted: Wanted,
    /// When the next query of a peer is due.
    pub asking: Asking,
    /// Mean time between queries.
    pub query_every: Duration,
    /// How often a failed query is tried again.
    pub retries: u8,
    /// The time between a failure and the next try.
    pub retry_after: Duration,
    /// How long a lookup waits for responses.
    pub window: Duration,
    /// Shortest and longest one-way latency; each pair has its own.
    pub latency: (Duration, Duration),
    /// One-way latencies in place of these.
    pub matrix: Option<Arc<Latencies>>,
    /// Whether messages are encoded to count their bytes, which costs more than all else.
    pub count_bytes: bool,
}

/// Pareto times, the same distribution for presence and absence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// The exponent.
    pub alpha: f64,
    /// The shortest time.
    pub beta: Duration,
}

/// Who is there at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// All at once, as new.
    Together,
    /// Those who are after the same churn has gone on for 160 hours.
    Aged,
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

/// What is asked for. Never a content of one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any content: if its owner is away, the request fails.
    Any,
    /// A content whose owner is there.
    Present,
}

/// When the next query of a peer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Some time after the last one began: a Poisson process, whatever becomes of the queries.
    Always,
    /// Some time after the last one was answered or given up.
    InTurn,
    /// Never.
    Never,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            peers: 6_400,
            subgroups: 128,
            contents: 12_800,
            p: 0.7,
            ttl: 10,
            ttl_falls: 1.0,
            timer: Duration::from_secs(300),
            restoration: true,
            churn: Some(Churn { alpha: 0.83, beta: Duration::from_secs(1_560) }),
            lifetimes: None,
            start: Start::Together,
            rejoin: Rejoin::Anew,
            wanted: Wanted::Any,
            asking: Asking::Always,
            query_every: Duration::from_secs(3_600),
            retries: 3,
            retry_after: Duration::from_secs(300),
            window: Duration::from_secs(6),
            latency: (Duration::from_millis(5), Duration::from_millis(60)),
            matrix: None,
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
        let churn_ok = self.churn.is_none_or(|churn| churn.alpha > 0.05 && !churn.beta.is_zero());
        let rules = [
            (
                self.subgroups >= 1 && self.peers / self.subgroups.max(1) >= 1,
                "there must be a subgroup, and a peer in each",
            ),
            (self.peers <= 2_000_000, "there may be at most 2,000,000 peers"),
            (self.peers >= 2, "there must be two peers"),
            ((0.0..=1.0).contains(&self.p), "p lies between 0 and 1"),
            (self.ttl >= 1, "the TTL is at least 1"),
            ((0.0..=1.0).contains(&self.ttl_falls), "ttl-falls lies between 0 and 1"),
            (!self.timer.is_zero(), "the timer is longer than nothing"),
            (churn_ok, "alpha is above 0.05 and beta longer than nothing"),
            (!self.query_every.is_zero(), "the time between queries is longer than nothing"),
            (self.latency.0 <= self.latency.1, "the shortest latency is at most the longest"),
            (self.latency.1 <= Duration::from_secs(60), "the longest latency is at most a minute"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}
