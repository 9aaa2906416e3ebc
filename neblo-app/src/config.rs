//! Settings of a node: defaults, then `neblo.toml`, then the command line, each overriding the one before.

use std::path::{Path, PathBuf};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use serde::{Deserialize, Serialize};

use crate::{
    problem::{Code, Problem},
    units::Cap,
};

/// Name of the config file in the data directory.
pub const CONFIG_FILE: &str = "neblo.toml";

/// Settings of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the network: nodes of different networks never talk.
    pub network: String,
    /// Addresses to listen on; port 0 takes a free port and keeps it over restarts.
    pub listen: Vec<Multiaddr>,
    /// Members of the network to join through, each ending in `/p2p/<peer id>`.
    pub bootstrap: Vec<Multiaddr>,
    /// Members at which a subgroup is full, 2 to 150.
    pub subgroup_size: usize,
    /// What a member pays each week, as bits of a proof of work: the same in the whole network, 0 to 30.
    pub join_cost: u8,
    /// Paths.
    pub paths: Paths,
    /// Caps.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: "neblo".into(),
            listen: default_listen(),
            bootstrap: Vec::new(),
            subgroup_size: 75,
            join_cost: neblo_behaviour::protocol::cost::USUAL_JOIN_COST,
            paths: Paths::default(),
            limits: Limits::default(),
        }
    }
}

/// How paths are built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// `hardened`, or `paper`: the mechanism of the paper to the letter, which leaks who asks and who publishes in ways that the
    /// other does not. Nodes of different policies never talk.
    pub policy: Policy,
    /// Probability, 0 to 0.95, that this node hands a path on to another relay rather than to the leader. A path has
    /// 1 / (1 - p) relays on average where all nodes agree; fewer make downloads faster and easier to trace.
    pub p: f64,
    /// Longest path, paper's policy only.
    pub ttl: u8,
    /// Seconds between two checks of the paths that go through this node, paper's policy only.
    pub timer: u64,
    /// Whether this node publishes over a second path too, behind another first relay: downloads from it then outlive the break of
    /// one of them without a pause, and two peers rather than one know that it publishes or asks. Hardened policy only.
    pub second_path: bool,
    /// Seconds, about, after which this node begins the paths over which it searches and downloads, unless it needs them before, and
    /// replaces them, so that they are not told to be its own by when they began; 0: at once, and never. Hardened policy only.
    pub search_anew: u64,
}

/// Which mechanism paths follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Pinned first relays, sealed payloads, repair behind the break.
    #[default]
    Hardened,
    /// The paper's, to the letter; it leaks.
    Paper,
}

impl Paths {
    /// The policy of the library.
    pub fn policy(&self) -> neblo_behaviour::PathPolicy {
        let policy = match self.policy {
            Policy::Hardened => neblo_behaviour::PathPolicy::hardened(),
            Policy::Paper => neblo_behaviour::PathPolicy::paper(),
        };
        let timer = std::time::Duration::from_secs(self.timer);
        let anew = std::time::Duration::from_secs(self.search_anew);
        let policy = policy.with_search_anew(Some(anew).filter(|anew| !anew.is_zero()));
        policy.with_p(self.p).with_ttl(self.ttl).with_timer(timer).with_second_path(self.second_path)
    }
}

impl Default for Paths {
    fn default() -> Self {
        let policy = neblo_behaviour::PathPolicy::hardened();
        Self {
            policy: Policy::Hardened,
            p: policy.p,
            ttl: policy.ttl,
            timer: policy.timer.as_secs(),
            second_path: policy.second_path,
            search_anew: policy.search_anew.map_or(0, |after| after.as_secs()),
        }
    }
}

/// Caps of a node. All defaults are choices: a node at home should stay unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once, both directions together.
    pub connections: u32,
    /// Streams relayed for others at once.
    pub relayed_streams: usize,
    /// Bytes relayed for others a second.
    pub relayed_rate: Cap,
    /// Bytes a second of own publications that others fetch.
    pub upload_rate: Cap,
    /// Bytes a second of own downloads.
    pub download_rate: Cap,
    /// Bytes on disk that unfinished downloads and indexes may take in the data directory.
    pub disk: Cap,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            relayed_streams: 256,
            relayed_rate: Cap::Unlimited,
            upload_rate: Cap::Unlimited,
            download_rate: Cap::Unlimited,
            disk: Cap::mib(64 * 1024),
        }
    }
}

/// The listen addresses used when none are named: all interfaces, TCP and QUIC, a free port kept over restarts.
pub fn default_listen() -> Vec<Multiaddr> {
    let any = std::net::Ipv4Addr::UNSPECIFIED;
    vec![
        Multiaddr::empty().with(any.into()).with(Protocol::Tcp(0)),
        Multiaddr::empty().with(any.into()).with(Protocol::Udp(0)).with(Protocol::QuicV1),
    ]
}

/// What the command line says about settings; `None` and empty lists say nothing.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// A config file to read in place of the one in the data directory.
    pub file: Option<PathBuf>,
    /// See [`Config::listen`].
    pub listen: Vec<Multiaddr>,
    /// See [`Config::bootstrap`].
    pub bootstrap: Vec<Multiaddr>,
    /// See [`Config::network`].
    pub network: Option<String>,
    /// See [`Config::subgroup_size`].
    pub subgroup_size: Option<usize>,
    /// See [`Paths::policy`].
    pub path_policy: Option<Policy>,
}

impl Config {
    /// Reads settings for a node in `data_dir`. A missing file is an error only if the command line names it.
    pub fn load(data_dir: &Path, over: Overrides) -> Result<Self, Problem> {
        let (path, named) = match over.file {
            Some(path) => (path, true),
            None => (data_dir.join(CONFIG_FILE), false),
        };
        let mut config = match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path)?,
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                let code = match error.kind() {
                    std::io::ErrorKind::NotFound => Code::NotFound,
                    _ => Code::Failed,
                };
                return Err(Problem::new(code, format!("cannot read config {}: {error}", path.display()))
                    .hint("check the path and that you may read the file"));
            }
        };
        if !over.listen.is_empty() {
            config.listen = over.listen;
        }
        if !over.bootstrap.is_empty() {
            config.bootstrap = over.bootstrap;
        }
        config.network = over.network.unwrap_or(config.network);
        config.subgroup_size = over.subgroup_size.unwrap_or(config.subgroup_size);
        config.paths.policy = over.path_policy.unwrap_or(config.paths.policy);
        config.check()?;
        Ok(config)
    }

    /// Reads the text of a config file; `path` is named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| {
            Problem::usage(format!("config {}: {}", path.display(), error.to_string().trim_end()))
                .hint("correct that line, or delete it to use the default")
        })
    }

    /// Checks what types alone cannot.
    pub fn check(&self) -> Result<(), Problem> {
        let network = &self.network;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if network.is_empty() || network.len() > 64 || !network.chars().all(plain) {
            return Err(Problem::usage(format!("{network:?} is no network name"))
                .hint("use 1 to 64 letters, digits, `-`, `_` and `.`"));
        }
        if !(2..=150).contains(&self.subgroup_size) {
            return Err(Problem::usage(format!("a subgroup of {} members is not possible", self.subgroup_size))
                .hint("choose a subgroup size from 2 to 150, the default is 75"));
        }
        if self.join_cost > neblo_behaviour::protocol::cost::MAX_JOIN_COST {
            return Err(Problem::usage(format!("join_cost = {} would take hours", self.join_cost))
                .hint("choose from 0 to 30 bits, the same as the whole network; the default is 20"));
        }
        if self.listen.is_empty() {
            return Err(Problem::usage("the list of listen addresses is empty")
                .hint("name at least one, for example \"/ip4/0.0.0.0/tcp/0\""));
        }
        for address in &self.listen {
            check_listen(address)?;
        }
        for address in &self.bootstrap {
            bootstrap_peer(address)?;
        }
        if !(0.0..=0.95).contains(&self.paths.p) {
            return Err(Problem::usage(format!("paths.p = {} is no probability to go on with", self.paths.p))
                .hint("choose paths.p from 0 to 0.95, the default is 0.7"));
        }
        if self.paths.ttl == 0 || self.paths.timer == 0 {
            return Err(Problem::usage("paths.ttl and paths.timer must not be 0").hint("the defaults are 10 and 300"));
        }
        if self.limits.connections < 16 {
            return Err(Problem::usage(format!(
                "{} connections are too few to keep ring and paths",
                self.limits.connections
            ))
            .hint("set limits.connections to 16 or more"));
        }
        Ok(())
    }
}

/// Refuses addresses that no transport of the program can listen on.
pub fn check_listen(address: &Multiaddr) -> Result<(), Problem> {
    let parts: Vec<_> = address.iter().collect();
    let ip = |part: &Protocol<'_>| matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_));
    match parts.as_slice() {
        [host, Protocol::Tcp(_)] | [host, Protocol::Udp(_), Protocol::QuicV1] if ip(host) => Ok(()),
        _ => Err(Problem::usage(format!("cannot listen on {address}")).hint(
            "use an address like /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1 (port 0 takes a free one)",
        )),
    }
}

/// The peer that a bootstrap address names.
pub fn bootstrap_peer(address: &Multiaddr) -> Result<PeerId, Problem> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) if address.iter().count() > 1 => Ok(peer),
        _ => Err(Problem::usage(format!("bootstrap address {address} does not name a peer")).hint(
            "end it with /p2p/<peer id>, as `neblo up` prints it: \
             /ip4/192.0.2.7/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Problem> {
        let config = Config::parse(text, Path::new("neblo.toml"))?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn an_empty_file_gives_the_defaults_and_they_survive_toml() {
        assert_eq!(parse("").unwrap(), Config::default());
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(parse(&text).unwrap(), Config::default());
    }

    #[test]
    fn every_setting_can_be_set() {
        let config = parse(
            r#"
            network = "home"
            listen = ["/ip4/127.0.0.1/udp/0/quic-v1"]
            bootstrap = ["/ip4/127.0.0.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"]
            subgroup_size = 5
            join_cost = 12
            [paths]
            p = 0.5
            [limits]
            connections = 64
            relayed_streams = 8
            relayed_rate = "10 MiB/s"
            upload_rate = 1000000
            download_rate = "unlimited"
            disk = "2 GiB"
            "#,
        )
        .unwrap();
        assert_eq!(config.subgroup_size, 5);
        assert_eq!(config.join_cost, 12);
        assert_eq!(config.paths.p, 0.5);
        assert_eq!(config.limits.relayed_rate, Cap::mib(10));
        assert_eq!(config.limits.upload_rate, Cap::Bytes(1_000_000));
        assert_eq!(config.limits.download_rate, Cap::Unlimited);
        assert_eq!(config.limits.disk, Cap::mib(2048));
    }

    #[test]
    fn mistakes_name_line_or_value_and_a_next_step() {
        for (text, says) in [
            ("netwrok = \"x\"", "netwrok"),
            ("[limits]\nupload = 3", "upload"),
            ("[limits]\nupload_rate = \"fast\"", "fast"),
            ("[limits]\nupload_rate = 0", "unlimited"),
            ("[limits]\nconnections = 3", "3 connections"),
            ("[paths]\np = 0.96", "0.96"),
            ("[paths]\np = -0.1", "-0.1"),
            ("[paths]\np = nan", "NaN"),
            ("network = \"a b\"", "a b"),
            ("subgroup_size = 1", "1 members"),
            ("join_cost = 31", "join_cost = 31"),
            ("listen = []", "empty"),
            ("listen = [\"/memory/1\"]", "/memory/1"),
            ("listen = [\"127.0.0.1\"]", "line 1"),
            ("bootstrap = [\"/ip4/127.0.0.1/tcp/1\"]", "does not name a peer"),
        ] {
            let problem = parse(text).unwrap_err();
            assert_eq!(problem.code, Code::Usage, "{text}");
            assert!(problem.message.contains(says), "{text}: {}", problem.message);
            assert!(problem.hint.is_some(), "{text}");
        }
    }
}
