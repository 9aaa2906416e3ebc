//! Scenarios as TOML files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use neblo_behaviour::sim::paths::{Asking, Churn, Rejoin, Scenario, Start, Wanted};
use neblo_behaviour::sim::traces::{Latencies, Lifetimes};
use serde::Deserialize;

/// A scenario with the seeds to run it with. What a file leaves out is as in the paper.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) hours: u32,
    pub(crate) seeds: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    seeds: Vec<u64>,
    hours: u32,
    peers: u32,
    subgroups: u32,
    contents: u32,
    p: f64,
    ttl: u8,
    ttl_falls: f64,
    timer_seconds: f64,
    restoration: bool,
    churn: bool,
    alpha: f64,
    beta_seconds: f64,
    lifetimes_file: Option<PathBuf>,
    start: StartName,
    rejoin: RejoinName,
    wanted: WantedName,
    asking: AskingName,
    query_every_seconds: f64,
    retries: u8,
    retry_after_seconds: f64,
    window_seconds: f64,
    shortest_latency_seconds: f64,
    longest_latency_seconds: f64,
    latency_file: Option<PathBuf>,
    count_bytes: bool,
}

/// Makes the names of an enum's values in files.
macro_rules! names {
    ($($name:ident for $of:ident: $($value:ident),+;)*) => {$(
        #[derive(Clone, Copy, Debug, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(crate) enum $name { $($value),+ }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name { $($name::$value => Self::$value),+ }
            }
        }
    )*};
}

names! {
    StartName for Start: Together, Aged;
    RejoinName for Rejoin: Anew, AsLeft;
    WantedName for Wanted: Any, Present;
    AskingName for Asking: Always, InTurn, Never;
}

impl Default for File {
    fn default() -> Self {
        let paper = Scenario::default();
        let churn = paper.churn.unwrap_or(Churn { alpha: 0.83, beta: Duration::from_secs(1_560) });
        Self {
            seeds: vec![1],
            hours: 160,
            peers: paper.peers,
            subgroups: paper.subgroups,
            contents: paper.contents,
            p: paper.p,
            ttl: paper.ttl,
            ttl_falls: paper.ttl_falls,
            timer_seconds: paper.timer.as_secs_f64(),
            restoration: paper.restoration,
            churn: true,
            alpha: churn.alpha,
            beta_seconds: churn.beta.as_secs_f64(),
            lifetimes_file: None,
            start: StartName::Together,
            rejoin: RejoinName::Anew,
            wanted: WantedName::Any,
            asking: AskingName::Always,
            query_every_seconds: paper.query_every.as_secs_f64(),
            retries: paper.retries,
            retry_after_seconds: paper.retry_after.as_secs_f64(),
            window_seconds: paper.window.as_secs_f64(),
            shortest_latency_seconds: paper.latency.0.as_secs_f64(),
            longest_latency_seconds: paper.latency.1.as_secs_f64(),
            latency_file: None,
            count_bytes: paper.count_bytes,
        }
    }
}

/// A time of a file; a year is the longest that makes sense.
pub(crate) fn seconds(name: &str, seconds: f64) -> Result<Duration> {
    ensure!((0.0..=31_536_000.0).contains(&seconds), "{name} lies between 0 and a year, not at {seconds}");
    Ok(Duration::from_secs_f64(seconds))
}

/// What a file says that a scenario names.
fn beside<T>(dir: &Path, file: Option<&Path>, parse: fn(&str) -> Result<T, String>) -> Result<Option<Arc<T>>> {
    let Some(file) = file else { return Ok(None) };
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map(|found| Some(Arc::new(found))).map_err(|wrong| anyhow!("{}: {wrong}", path.display()))
}

impl Plan {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, dir).with_context(|| format!("{} is no scenario", path.display()))
    }

    /// Files that it names lie in `dir`, unless their paths are whole.
    fn parse(text: &str, dir: &Path) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let churn = Churn { alpha: file.alpha, beta: seconds("beta-seconds", file.beta_seconds)? };
        let scenario = Scenario {
            peers: file.peers,
            subgroups: file.subgroups,
            contents: file.contents,
            p: file.p,
            ttl: file.ttl,
            ttl_falls: file.ttl_falls,
            timer: seconds("timer-seconds", file.timer_seconds)?,
            restoration: file.restoration,
            churn: file.churn.then_some(churn),
            lifetimes: beside(dir, file.lifetimes_file.as_deref(), Lifetimes::parse)?,
            start: file.start.into(),
            rejoin: file.rejoin.into(),
            wanted: file.wanted.into(),
            asking: file.asking.into(),
            query_every: seconds("query-every-seconds", file.query_every_seconds)?,
            retries: file.retries,
            retry_after: seconds("retry-after-seconds", file.retry_after_seconds)?,
            window: seconds("window-seconds", file.window_seconds)?,
            latency: (
                seconds("shortest-latency-seconds", file.shortest_latency_seconds)?,
                seconds("longest-latency-seconds", file.longest_latency_seconds)?,
            ),
            matrix: beside(dir, file.latency_file.as_deref(), Latencies::parse)?,
            count_bytes: file.count_bytes,
        };
        scenario.check().map_err(|rule| anyhow!(rule))?;
        ensure!(!file.seeds.is_empty(), "there must be a seed");
        ensure!((1..=100_000).contains(&file.hours), "hours lie between 1 and 100,000");
        Ok(Self { scenario, hours: file.hours, seeds: file.seeds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_paper() {
        let plan = Plan::parse("", Path::new(".")).unwrap();
        assert_eq!((plan.scenario, plan.hours, plan.seeds), (Scenario::default(), 160, vec![1]));
    }

    #[test]
    fn the_file_that_names_everything_is_the_paper_too() {
        let plan = Plan::parse(include_str!("../scenarios/paper.toml"), Path::new(".")).unwrap();
        assert_eq!((plan.scenario, plan.hours), (Scenario::default(), 160));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| format!("{:#}", Plan::parse(text, Path::new(".")).unwrap_err());
        assert!(wrong("peer = 3").contains("unknown field `peer`"));
        assert!(wrong("p = 1.5").contains("p lies between 0 and 1"));
        assert!(wrong("timer-seconds = -1.0").contains("timer-seconds lies between"));
        assert!(wrong("rejoin = 'never'").contains("as-left"));
        assert!(wrong("subgroups = 0").contains("subgroup"));
        assert!(wrong("seeds = []").contains("a seed"));
    }

    #[test]
    fn lifetimes_and_latencies_are_read_from_files_beside_the_scenario() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lives.csv"), "1,0,60\n").unwrap();
        std::fs::write(dir.path().join("pairs.csv"), "1,20\n30,2\n").unwrap();
        let text = "lifetimes-file = 'lives.csv'\nlatency-file = 'pairs.csv'\nttl-falls = 0.25";
        let found = Plan::parse(text, dir.path()).unwrap().scenario;
        assert_eq!(found.matrix.unwrap().between(1, 2), Duration::from_millis(30));
        assert!(found.lifetimes.is_some());
        assert_eq!(found.ttl_falls, 0.25);
        std::fs::write(dir.path().join("lives.csv"), "1,60,0\n").unwrap();
        let wrong = format!("{:#}", Plan::parse(text, dir.path()).unwrap_err());
        assert!(wrong.contains("lives.csv: line 1: it goes before it comes"), "{wrong}");
    }
}
