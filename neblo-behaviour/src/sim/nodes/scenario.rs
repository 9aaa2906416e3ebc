//! What is simulated with whole nodes.

use std::time::Duration;

use crate::protocol::Config;
use crate::sim::world::World;

/// A scenario. The default is that of seed 003 §5 with nodes of the default configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What befalls its peers.
    pub world: World,
    /// What every node is told: the policy of its paths, the size of subgroups, how often links are probed.
    pub config: Config,
    /// How long a download lasts. Its bytes are not simulated; links that carry it are probed more often.
    pub download: Duration,
    /// Whether who goes says so by closing its connections, as a process that is killed; or nothing tells but silence, as when
    /// power fails.
    pub closes: bool,
    /// Whether frames are encoded to count their bytes.
    pub count_bytes: bool,
    /// Whether links on which nothing happens are modelled: their probes are counted, and not simulated.
    pub model_links: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            world: World::default(),
            config: Config::default().with_subgroup_size(50),
            download: Duration::from_secs(10),
            closes: false,
            count_bytes: true,
            model_links: false,
        }
    }
}

impl Scenario {
    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), &'static str> {
        self.world.check()?;
        let rules = [
            ((4..=20_000).contains(&self.world.peers), "there are 4 to 20,000 peers"),
            (!self.world.window.is_zero(), "a lookup waits longer than nothing"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}
