//! Configuration of a node, every default with its source.

use std::time::Duration;

use super::cost::{MAX_JOIN_COST, USUAL_JOIN_COST};
use super::link::PROBE_BUSY_AFTER;
use super::policy::PathPolicy;
use super::subgroup::Resources;

/// Configuration of a [`Node`](super::Node).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The network's name. Nodes of different names never talk: its hash is in the protocol names and in derived addresses.
    pub network: String,
    /// Members at which a subgroup is full. Default 75: choice (design D9).
    pub subgroup_size: usize,
    /// What an identity pays each week to be a member of subgroups: leading zero bits of a hash, so 2^`join_cost` hashes. All
    /// members of a network must ask for the same. Default 20: choice, 0.3 s of a busy core, so that nobody waits and
    /// whoever wants a thousand places pays a thousand times that each week ([`cost`](super::cost)).
    pub join_cost: u8,
    /// Whether the node takes part in subgroups and so has anonymous paths. Without them it is a ring with messages, and
    /// neither announces, looks up nor relays streams. Default true.
    pub subgroups: bool,
    /// How responses find their way back. Default tracks: design D7.
    pub return_way: ReturnWay,
    /// Bytes a second that one neighbour may have carried on, messages and requests together, each counted with 512 bytes more
    /// than it says; a second's worth may come at once. What is more is dropped (a message) or ends as overloaded (a request).
    /// Default 4 MiB: choice, half of what may wait for one neighbour, so that no other neighbour fills that alone.
    pub carry_rate: u64,
    /// Width of a finger, relative to its distance. Default 0.5: choice (design D6, research §4).
    pub delta: f64,
    /// How often a member asks its successor for its state. Default 2 s: choice, periodic as in Bamboo (research §3).
    pub stabilise_every: Duration,
    /// Idle time after which a link is probed. Default 5 s: choice (design D14). Links that carry streams are probed faster.
    pub probe_after: Duration,
    /// How anonymous paths are built and kept. Default [`PathPolicy::hardened`].
    pub path_policy: PathPolicy,
    /// What this node claims of its resources, under the paper's policy only, where it counts for who leads. Default nothing.
    pub resources: Resources,
    /// Data streams relayed at once in all. Default 256: design, data plane.
    pub max_streams: usize,
    /// Data streams relayed at once for one neighbour. Default 32: design, data plane.
    pub max_streams_per_neighbour: usize,
}

/// How responses find their way back to the asker, whom nobody on the way knows (seed 000 §3.2, §6.1; design D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReturnWay {
    /// Each peer on the way keeps a track for as long as the asker waits.
    #[default]
    Tracks,
    /// The request carries an onion that each peer on the way has sealed for itself; they keep nothing. It costs 3 KiB more in
    /// each request and response, reaches 22 hops, and a dead peer on the way may show only as a time-out. Peers of both kinds
    /// live on one ring.
    Onions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: "neblo".into(),
            subgroup_size: 75,
            join_cost: USUAL_JOIN_COST,
            subgroups: true,
            return_way: ReturnWay::Tracks,
            carry_rate: 4 << 20,
            delta: 0.5,
            stabilise_every: Duration::from_secs(2),
            probe_after: Duration::from_secs(5),
            path_policy: PathPolicy::hardened(),
            resources: Resources::default(),
            max_streams: 256,
            max_streams_per_neighbour: 32,
        }
    }
}

impl Config {
    /// Sets the network's name.
    pub fn with_network(mut self, network: impl Into<String>) -> Self {
        self.network = network.into();
        self
    }
    /// Sets the members at which a subgroup is full (2 to 150).
    pub fn with_subgroup_size(mut self, size: usize) -> Self {
        self.subgroup_size = size.clamp(2, 150);
        self
    }
    /// Sets what an identity pays to be a member, in bits (0 to 30; 0 is nothing): the same in the whole network.
    pub fn with_join_cost(mut self, bits: u8) -> Self {
        self.join_cost = bits.min(MAX_JOIN_COST);
        self
    }
    /// Sets whether the node takes part in subgroups, and so in anonymous publishing, searching and streaming.
    pub fn with_subgroups(mut self, subgroups: bool) -> Self {
        self.subgroups = subgroups;
        self
    }
    /// Sets how responses find their way back.
    pub fn with_return_way(mut self, way: ReturnWay) -> Self {
        self.return_way = way;
        self
    }
    /// Sets how many bytes a second one neighbour may have carried on (at least 1 KiB).
    pub fn with_carry_rate(mut self, bytes_per_second: u64) -> Self {
        self.carry_rate = bytes_per_second.max(1024);
        self
    }
    /// Sets how often a member asks its successor for its state (at least 100 ms).
    pub fn with_stabilise_every(mut self, every: Duration) -> Self {
        self.stabilise_every = every.max(Duration::from_millis(100));
        self
    }
    /// Sets the idle time after which a link is probed (at least 0.75 s). A peer that is gone without a word is missed that much
    /// later.
    pub fn with_probe_after(mut self, after: Duration) -> Self {
        self.probe_after = after.max(PROBE_BUSY_AFTER);
        self
    }
    /// Sets how anonymous paths are built and kept.
    pub fn with_path_policy(mut self, policy: PathPolicy) -> Self {
        self.path_policy = policy;
        self
    }
    /// Sets what this node claims of its resources.
    pub fn with_resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }
    /// The first 16 hex digits of BLAKE3 over the network's name, and the mechanism of its paths and the cost to join when they are
    /// not the usual ones: as they stand in protocol names. So nodes that would refuse one another's statements do not meet.
    pub fn network_hash(&self) -> String {
        let context =
            if self.path_policy.is_paper() { "neblo 1 network, paths by the paper" } else { "neblo 1 network" };
        let cost = (self.join_cost != USUAL_JOIN_COST).then_some([0, self.join_cost]);
        let name = [self.network.as_bytes(), cost.as_ref().map_or(&[], |cost| &cost[..])].concat();
        let hash = blake3::derive_key(context, &name);
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
