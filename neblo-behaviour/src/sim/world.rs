//! What befalls the peers of a run, whichever driver runs it: when they are there, what they ask for, how far apart they are.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::draws::{exponential, pareto};
use super::traces::{Latencies, Lifetimes};

/// Microseconds for which the churn of [`Start::Aged`] has gone on.
pub(super) const AGE: f64 = 160.0 * 3_600e6;

/// What befalls the peers. The default is the paper's evaluation (seed 003 §5).
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Peers, present or away.
    pub peers: u32,
    /// Contents, each given to a random peer at the beginning.
    pub contents: u32,
    /// How peers come and go; nobody does if absent.
    pub churn: Option<Churn>,
    /// When peers are there, in place of what `churn` draws.
    pub lifetimes: Option<Arc<Lifetimes>>,
    /// Who is there at the beginning.
    pub start: Start,
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

impl Default for World {
    fn default() -> Self {
        Self {
            peers: 6_400,
            contents: 12_800,
            churn: Some(Churn { alpha: 0.83, beta: Duration::from_secs(1_560) }),
            lifetimes: None,
            start: Start::Together,
            wanted: Wanted::Any,
            asking: Asking::Always,
            query_every: Duration::from_secs(3_600),
            retries: 3,
            retry_after: Duration::from_secs(300),
            window: Duration::from_secs(6),
            latency: (Duration::from_millis(5), Duration::from_millis(60)),
            matrix: None,
        }
    }
}

/// How a peer begins.
pub(super) struct Beginning {
    pub(super) present: bool,
    /// When it came, or went, in microseconds; not after the beginning.
    pub(super) since: f64,
    /// When it comes or goes after it: all that was recorded, else only the first time.
    pub(super) turns: Vec<Duration>,
}

impl World {
    /// How a peer begins; draws if nothing is recorded.
    pub(super) fn begin(&self, peer: u32, rng: &mut dyn Rng) -> Beginning {
        let (mut present, mut since) = (true, 0.0);
        if let Some(lifetimes) = &self.lifetimes {
            let (present, turns) = lifetimes.of(peer);
            return Beginning { present, since, turns: turns.iter().map(|at| Duration::from_micros(*at)).collect() };
        }
        let Some(Churn { alpha, beta }) = self.churn else { return Beginning { present, since, turns: Vec::new() } };
        let beta = beta.as_micros() as f64;
        let mut until = pareto(rng, alpha, beta);
        if self.start == Start::Aged {
            present = rng.next_u64() & 1 == 0;
            since = -AGE;
            until -= AGE;
            while until < 0.0 {
                (present, since) = (!present, until);
                until += pareto(rng, alpha, beta);
            }
        }
        Beginning { present, since, turns: vec![Duration::from_micros(until as u64)] }
    }

    /// How long after it came or went a peer goes or comes; recorded times are all known from the beginning.
    pub(super) fn next_turn(&self, rng: &mut dyn Rng) -> Option<Duration> {
        let Churn { alpha, beta } = self.churn.filter(|_| self.lifetimes.is_none())?;
        Some(Duration::from_micros(pareto(rng, alpha, beta.as_micros() as f64) as u64))
    }

    /// How long until the next query of a peer, if it asks at all.
    pub(super) fn next_query(&self, rng: &mut dyn Rng) -> Option<Duration> {
        let mean = self.query_every.as_micros() as f64;
        (self.asking != Asking::Never).then(|| Duration::from_micros(exponential(rng, mean) as u64))
    }

    /// What makes no sense in it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let churn_ok = self.churn.is_none_or(|churn| churn.alpha > 0.05 && !churn.beta.is_zero());
        let rules = [
            (churn_ok, "alpha is above 0.05 and beta longer than nothing"),
            (!self.query_every.is_zero(), "the time between queries is longer than nothing"),
            (self.latency.0 <= self.latency.1, "the shortest latency is at most the longest"),
            (self.latency.1 <= Duration::from_secs(60), "the longest latency is at most a minute"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}
