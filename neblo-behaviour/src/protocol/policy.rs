//! Path policies: what anonymity costs, and what it is worth (seed 003 §3; design D10).

use std::time::Duration;

/// How paths are built, kept and repaired. One value with two presets: [`PathPolicy::hardened`], which people use, and
/// [`PathPolicy::paper`], which reproduces the paper and leaks what research §6 says.
///
/// All nodes of a network follow the same mechanism: nodes with the other one do not talk to them. `p`, `ttl` and `timer` may
/// differ from node to node.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PathPolicy {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Probability that a relay hands the walk to another relay.
    ///
    /// Each relay costs a link of bandwidth and latency: a path has E = (1-p^T)/(1-p) links without a mandatory first relay (3.24
    /// at p = 0.7, T = 10) and one more with it, a download about 2E+1. Probable innocence needs n >= p/(p-1/2) (c+1) members
    /// for c colluding ones: 3.5(c+1) at 0.7, and none at all below 0.5. Default 0.7 (seed 003 §5).
    pub p: f64,
    /// Time to live of a walk, paper's mechanism only: the longest path. On the wire it names the originator with certainty in
    /// 37.6 % of observed paths at n = 100, c = 10 (research §5); the hardened mechanism carries none, at a cost of 0.13 hops on
    /// the mean (4.33 against 4.20 links). Default 10 (seed 003, figure 5).
    pub ttl: u8,
    /// The timer after which a peer pings the neighbours of its table entries, paper's mechanism only. A broken path goes unseen
    /// for half of it on average, and each entry costs four messages a period: among 6,400 peers at 75, 300 and 1,200 s, 6, 21 and
    /// 69 of 7,750 requests an hour fail although the owner is there, for 1,144,000, 287,000 and 73,000 pings and answers
    /// (`docs/threat-model.md`). The hardened mechanism learns of a death from its links, whatever the number of paths over them.
    /// Default 300 s (seed 003 §5).
    pub timer: Duration,
    /// How long a leader goes on answering with a registration that its publisher has not renewed over its path, hardened
    /// mechanism only; publishers renew after two thirds of it. Shorter costs more renewals (one sealed record of 1 KiB up and one
    /// down, times the links of the path: 26 KiB an hour for a publication at 30 min and 4.33 links, 78 KiB at 10 min; up to 48 publications share them), longer
    /// costs requests that fail when a publisher is gone and a relay hides it; of a publisher that just dies, the links of its path
    /// tell within seconds. Default 30 min: choice.
    pub acknowledged_within: Duration,
    /// Whether publications are announced over a second path too, behind another first relay, hardened mechanism only. Streams come
    /// over both by turns, so that a relay that acknowledges announcements and drops streams, or the break of one path, keeps
    /// nobody away. It doubles what publishing costs, and shows the publisher to two first relays at a time rather than one: one of
    /// them colludes with probability 1-(1-f)^2 in place of f, 0.19 for 0.10. Default false (research §6, black hole).
    pub second_path: bool,
    /// After about how long a path over which is searched or downloaded begins unless it is needed before, and is replaced by another:
    /// at moments drawn from twice that, hardened mechanism only; an old one is kept for a while that is drawn, too. With `None` all paths
    /// begin as a peer joins and stay, by which its leader finds the one over which it searches for the one over which it publishes: 0.56
    /// of them, at chance 0.03 (`docs/evaluation.md`). The first lookup and the first download each wait for a walk, about as
    /// many round trips as a path has links. A replacement costs a walk and a sealed record of 1 KiB, times the links of the path: 10 KiB an hour
    /// for both at an hour. Never shows the owner to anybody new, since its first relay stays. Default an hour: choice.
    pub search_anew: Option<Duration>,
}

/// The two mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mechanism {
    /// A mandatory pinned first relay, no TTL, a fresh name on each link, sealed payloads, repair behind the break (design D10,
    /// D11, D14).
    #[default]
    Hardened,
    /// Seed 003 §3, to the letter.
    Paper,
}

impl PathPolicy {
    /// The policy that people use.
    pub fn hardened() -> Self {
        Self {
            mechanism: Mechanism::Hardened,
            p: 0.7,
            ttl: 10,
            timer: Duration::from_secs(300),
            acknowledged_within: Duration::from_secs(30 * 60),
            second_path: false,
            search_anew: Some(Duration::from_secs(3_600)),
        }
    }

    /// The paper's, with its values.
    pub fn paper() -> Self {
        Self { mechanism: Mechanism::Paper, ..Self::hardened() }
    }

    /// Whether this is the paper's mechanism.
    pub fn is_paper(&self) -> bool {
        self.mechanism == Mechanism::Paper
    }

    /// Sets the probability that a walk goes on (0 to 0.95 for the hardened mechanism, where nothing else ends it; to 1 for the
    /// paper's).
    pub fn with_p(mut self, p: f64) -> Self {
        let most = if self.is_paper() { 1.0 } else { 0.95 };
        self.p = if p.is_nan() { 0.0 } else { p.clamp(0.0, most) };
        self
    }

    /// Sets the TTL (at least 1).
    pub fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl.max(1);
        self
    }

    /// Sets how long a registration is answered with that was not renewed (at least 30 s).
    pub fn with_acknowledged_within(mut self, within: Duration) -> Self {
        self.acknowledged_within = within.max(Duration::from_secs(30));
        self
    }

    /// Publishes over a second path as well.
    pub fn with_second_path(mut self, second: bool) -> Self {
        self.second_path = second;
        self
    }

    /// Sets after how long paths for searching and downloading begin and are replaced (at least a minute), if not at once and never.
    pub fn with_search_anew(mut self, after: Option<Duration>) -> Self {
        self.search_anew = after.map(|after| after.max(Duration::from_secs(60)));
        self
    }

    /// Sets the timer (at least 1 s).
    pub fn with_timer(mut self, timer: Duration) -> Self {
        self.timer = timer.max(Duration::from_secs(1));
        self
    }
}

impl Default for PathPolicy {
    fn default() -> Self {
        Self::hardened()
    }
}
