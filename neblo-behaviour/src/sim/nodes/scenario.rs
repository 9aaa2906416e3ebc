//! What is simulated with whole nodes.

use std::time::Duration;

use crate::protocol::Config;
use crate::sim::paths::{Asking, Churn, Start, Wanted};

/// A scenario. The default is that of seed 003 §5 with nodes of the default configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Peers, present or away.
    pub peers: u32,
    /// Contents, each given to a random peer at the beginning.
    pub contents: u32,
    /// What every node is told: the policy of its paths, the size of subgroups, how often links are probed.
    pub config: Config,
    /// How peers come and go; nobody does if absent.
    pub churn: Option<Churn>,
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
    /// How long a download lasts. Its bytes are not simulated; links that carry it are probed more often.
    pub download: Duration,
    /// Shortest and longest one-way latency; each pair has its own.
    pub latency: (Duration, Duration),
    /// Whether who goes says so by closing its connections, as a process that is killed; or nothing tells but silence, as when
    /// power fails.
    pub closes: bool,
    /// Whether frames are encoded to count their bytes.
    pub count_bytes: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            peers: 6_400,
            contents: 12_800,
            config: Config::default().with_subgroup_size(50),
            churn: Some(Churn { alpha: 0.83, beta: Duration::from_secs(1_560) }),
            start: Start::Together,
            wanted: Wanted::Any,
            asking: Asking::Always,
            query_every: Duration::from_secs(3_600),
            retries: 3,
            retry_after: Duration::from_secs(300),
            window: Duration::from_secs(6),
            download: Duration::from_secs(10),
            latency: (Duration::from_millis(5), Duration::from_millis(60)),
            closes: false,
            count_bytes: true,
        }
    }
}

impl Scenario {
    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), &'static str> {
        let churn_ok = self.churn.is_none_or(|churn| churn.alpha > 0.05 && !churn.beta.is_zero());
        let rules = [
            ((4..=20_000).contains(&self.peers), "there are 4 to 20,000 peers"),
            (churn_ok, "alpha is above 0.05 and beta longer than nothing"),
            (!self.query_every.is_zero(), "the time between queries is longer than nothing"),
            (!self.window.is_zero(), "a lookup waits longer than nothing"),
            (self.latency.0 <= self.latency.1, "the shortest latency is at most the longest"),
            (self.latency.1 <= Duration::from_secs(60), "the longest latency is at most a minute"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}
