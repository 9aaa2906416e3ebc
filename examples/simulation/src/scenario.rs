//! Scenarios as TOML files.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use neblo_behaviour::sim::paths::Scenario;
use serde::Deserialize;

use crate::world::{RejoinName, WorldFile, nothing_else, seconds, text_of};

/// A scenario with the seeds to run it with. What a file leaves out is as in the paper.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) hours: u32,
    pub(crate) seeds: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    seeds: Vec<u64>,
    hours: u32,
    subgroups: u32,
    p: f64,
    ttl: u8,
    ttl_falls: f64,
    timer_seconds: f64,
    restoration: bool,
    rejoin: RejoinName,
    count_bytes: bool,
    #[serde(flatten)]
    world: WorldFile,
    #[serde(flatten)]
    left: toml::Table,
}

impl Default for File {
    fn default() -> Self {
        let paper = Scenario::default();
        Self {
            seeds: vec![1],
            hours: 160,
            subgroups: paper.subgroups,
            p: paper.p,
            ttl: paper.ttl,
            ttl_falls: paper.ttl_falls,
            timer_seconds: paper.timer.as_secs_f64(),
            restoration: paper.restoration,
            rejoin: RejoinName::Anew,
            count_bytes: paper.count_bytes,
            world: WorldFile::default(),
            left: toml::Table::new(),
        }
    }
}

impl Plan {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (text, dir) = text_of(path)?;
        Self::parse(&text, dir).with_context(|| format!("{} is no scenario", path.display()))
    }

    /// Files that it names lie in `dir`, unless their paths are whole.
    fn parse(text: &str, dir: &Path) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        nothing_else(&file.left)?;
        let scenario = Scenario {
            world: file.world.world(dir)?,
            subgroups: file.subgroups,
            p: file.p,
            ttl: file.ttl,
            ttl_falls: file.ttl_falls,
            timer: seconds("timer-seconds", file.timer_seconds)?,
            restoration: file.restoration,
            rejoin: file.rejoin.into(),
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
    use std::time::Duration;

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
        assert_eq!(found.world.matrix.unwrap().between(1, 2), Duration::from_millis(30));
        assert!(found.world.lifetimes.is_some());
        assert_eq!(found.ttl_falls, 0.25);
        std::fs::write(dir.path().join("lives.csv"), "1,60,0\n").unwrap();
        let wrong = format!("{:#}", Plan::parse(text, dir.path()).unwrap_err());
        assert!(wrong.contains("lives.csv: line 1: it goes before it comes"), "{wrong}");
    }
}
