//! The part of a scenario's file that both drivers share: what befalls the peers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use neblo_behaviour::sim::paths::Rejoin;
use neblo_behaviour::sim::traces::{Latencies, Lifetimes};
use neblo_behaviour::sim::world::{Asking, Churn, Start, Wanted, World};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct WorldFile {
    peers: u32,
    contents: u32,
    churn: bool,
    alpha: f64,
    beta_seconds: f64,
    lifetimes_file: Option<PathBuf>,
    start: StartName,
    wanted: WantedName,
    asking: AskingName,
    query_every_seconds: f64,
    retries: u8,
    retry_after_seconds: f64,
    window_seconds: f64,
    shortest_latency_seconds: f64,
    longest_latency_seconds: f64,
    latency_file: Option<PathBuf>,
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

impl Default for WorldFile {
    fn default() -> Self {
        let paper = World::default();
        let churn = paper.churn.unwrap_or(Churn { alpha: 0.83, beta: Duration::from_secs(1_560) });
        Self {
            peers: paper.peers,
            contents: paper.contents,
            churn: true,
            alpha: churn.alpha,
            beta_seconds: churn.beta.as_secs_f64(),
            lifetimes_file: None,
            start: StartName::Together,
            wanted: WantedName::Any,
            asking: AskingName::Always,
            query_every_seconds: paper.query_every.as_secs_f64(),
            retries: paper.retries,
            retry_after_seconds: paper.retry_after.as_secs_f64(),
            window_seconds: paper.window.as_secs_f64(),
            shortest_latency_seconds: paper.latency.0.as_secs_f64(),
            longest_latency_seconds: paper.latency.1.as_secs_f64(),
            latency_file: None,
        }
    }
}

impl WorldFile {
    /// Files that it names lie in `dir`, unless their paths are whole.
    pub(crate) fn world(&self, dir: &Path) -> Result<World> {
        let churn = Churn { alpha: self.alpha, beta: seconds("beta-seconds", self.beta_seconds)? };
        Ok(World {
            peers: self.peers,
            contents: self.contents,
            churn: self.churn.then_some(churn),
            lifetimes: beside(dir, self.lifetimes_file.as_deref(), Lifetimes::parse)?,
            start: self.start.into(),
            wanted: self.wanted.into(),
            asking: self.asking.into(),
            query_every: seconds("query-every-seconds", self.query_every_seconds)?,
            retries: self.retries,
            retry_after: seconds("retry-after-seconds", self.retry_after_seconds)?,
            window: seconds("window-seconds", self.window_seconds)?,
            latency: (
                seconds("shortest-latency-seconds", self.shortest_latency_seconds)?,
                seconds("longest-latency-seconds", self.longest_latency_seconds)?,
            ),
            matrix: beside(dir, self.latency_file.as_deref(), Latencies::parse)?,
        })
    }
}

/// What a file says that a scenario names.
fn beside<T>(dir: &Path, file: Option<&Path>, parse: fn(&str) -> Result<T, String>) -> Result<Option<Arc<T>>> {
    let Some(file) = file else { return Ok(None) };
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map(|found| Some(Arc::new(found))).map_err(|wrong| anyhow!("{}: {wrong}", path.display()))
}

/// A time of a file; a year is the longest that makes sense.
pub(crate) fn seconds(name: &str, seconds: f64) -> Result<Duration> {
    ensure!((0.0..=31_536_000.0).contains(&seconds), "{name} lies between 0 and a year, not at {seconds}");
    Ok(Duration::from_secs_f64(seconds))
}

/// What is left of a file when all that it may say has been taken out is a mistake. (Serde does not look for it where one record lies
/// within another.)
pub(crate) fn nothing_else(left: &toml::Table) -> Result<()> {
    match left.keys().next() {
        Some(name) => Err(anyhow!("unknown field `{name}`")),
        None => Ok(()),
    }
}

/// The text of a file, and the directory in which files that it names lie.
pub(crate) fn text_of(path: &Path) -> Result<(String, &Path)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((text, path.parent().unwrap_or(Path::new("."))))
}
