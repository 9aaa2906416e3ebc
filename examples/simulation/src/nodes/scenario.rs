//! Scenarios of whole nodes as TOML files.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use neblo_behaviour::protocol::{Config, PathPolicy};
use neblo_behaviour::sim::nodes::Scenario;
use serde::Deserialize;

use crate::world::{WorldFile, nothing_else, seconds, text_of};

/// The scenario under each policy, with the seeds to run it with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<(String, Scenario)>,
    pub(crate) hours: u32,
    /// Hours at the beginning that do not count.
    pub(crate) warm_up_hours: u32,
    pub(crate) seeds: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PolicyName {
    Hardened,
    Paper,
}

#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    seeds: Vec<u64>,
    hours: u32,
    warm_up_hours: u32,
    policies: Vec<PolicyName>,
    subgroup_size: usize,
    p: f64,
    ttl: u8,
    timer_seconds: f64,
    acknowledged_within_seconds: f64,
    probe_after_seconds: f64,
    stabilise_every_seconds: f64,
    closes: bool,
    download_seconds: f64,
    count_bytes: bool,
    model_links: bool,
    #[serde(flatten)]
    world: WorldFile,
    #[serde(flatten)]
    left: toml::Table,
}

impl Default for File {
    fn default() -> Self {
        let usual = Scenario::default();
        let (config, policy) = (usual.config, PathPolicy::hardened());
        Self {
            seeds: vec![1],
            hours: 160,
            warm_up_hours: 20,
            policies: vec![PolicyName::Hardened, PolicyName::Paper],
            subgroup_size: config.subgroup_size,
            p: policy.p,
            ttl: policy.ttl,
            timer_seconds: policy.timer.as_secs_f64(),
            acknowledged_within_seconds: policy.acknowledged_within.as_secs_f64(),
            probe_after_seconds: config.probe_after.as_secs_f64(),
            stabilise_every_seconds: config.stabilise_every.as_secs_f64(),
            closes: usual.closes,
            download_seconds: usual.download.as_secs_f64(),
            count_bytes: usual.count_bytes,
            model_links: usual.model_links,
            world: WorldFile::default(),
            left: toml::Table::new(),
        }
    }
}

impl File {
    fn scenario(&self, policy: PolicyName, dir: &Path) -> Result<(String, Scenario)> {
        let (name, preset) = match policy {
            PolicyName::Hardened => ("hardened", PathPolicy::hardened()),
            PolicyName::Paper => ("paper", PathPolicy::paper()),
        };
        let policy = preset
            .with_p(self.p)
            .with_ttl(self.ttl)
            .with_timer(seconds("timer-seconds", self.timer_seconds)?)
            .with_acknowledged_within(seconds("acknowledged-within-seconds", self.acknowledged_within_seconds)?);
        let config = Config::default()
            .with_subgroup_size(self.subgroup_size)
            .with_probe_after(seconds("probe-after-seconds", self.probe_after_seconds)?)
            .with_stabilise_every(seconds("stabilise-every-seconds", self.stabilise_every_seconds)?)
            .with_path_policy(policy);
        let scenario = Scenario {
            world: self.world.world(dir)?,
            config,
            download: seconds("download-seconds", self.download_seconds)?,
            closes: self.closes,
            count_bytes: self.count_bytes,
            model_links: self.model_links,
        };
        scenario.check().map_err(|rule| anyhow!(rule))?;
        Ok((name.into(), scenario))
    }
}

impl Plan {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let (text, dir) = text_of(path)?;
        Self::parse(&text, dir).with_context(|| format!("{} is no scenario of whole nodes", path.display()))
    }

    /// Files that it names lie in `dir`, unless their paths are whole.
    fn parse(text: &str, dir: &Path) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        nothing_else(&file.left)?;
        ensure!(!file.seeds.is_empty(), "there must be a seed");
        ensure!(!file.policies.is_empty(), "there must be a policy");
        ensure!((1..=100_000).contains(&file.hours), "hours lie between 1 and 100,000");
        ensure!(file.warm_up_hours < file.hours, "the warm-up is shorter than the run");
        let scenarios = file.policies.iter().map(|policy| file.scenario(*policy, dir)).collect::<Result<_>>()?;
        Ok(Self { scenarios, hours: file.hours, warm_up_hours: file.warm_up_hours, seeds: file.seeds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_papers_scenario_under_both_policies() {
        let plan = Plan::parse("", Path::new(".")).unwrap();
        let usual = Scenario::default();
        let paper = usual.config.clone().with_path_policy(PathPolicy::paper());
        let paper = Scenario { config: paper, ..usual.clone() };
        assert_eq!(plan.scenarios, [("hardened".to_string(), usual), ("paper".to_string(), paper)]);
        assert_eq!((plan.hours, plan.warm_up_hours, plan.seeds), (160, 20, vec![1]));
    }

    #[test]
    fn the_file_of_the_example_names_everything() {
        let text = include_str!("../../scenarios/nodes.toml");
        Plan::parse(text, Path::new(".")).unwrap();
        let named = text.lines().filter(|line| line.contains('=') && !line.starts_with('#')).count();
        assert_eq!(named, 29);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| format!("{:#}", Plan::parse(text, Path::new(".")).unwrap_err());
        assert!(wrong("peer = 3").contains("unknown field `peer`"));
        assert!(wrong("peers = 3").contains("there are 4"));
        assert!(wrong("policies = ['soft']").contains("hardened"));
        assert!(wrong("hours = 2").contains("warm-up"));
    }
}
