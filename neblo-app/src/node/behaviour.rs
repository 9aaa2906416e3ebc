//! What the node's swarm is made of.

use std::time::Duration;

use libp2p::{
    Swarm, SwarmBuilder, connection_limits, identify, identity::Keypair, noise, ping, swarm::NetworkBehaviour, tcp,
    yamux,
};

use neblo_behaviour::{protocol::subgroup::Resources, swarm::SwarmConfig};

use crate::{config::Config, problem::Problem};

/// Streams of yamux on one connection: bounds the growth of its windows to 32 MiB (design, data plane).
const YAMUX_STREAMS: usize = 3968;
/// Streams a peer may open on one QUIC connection: two control, 32 data, and those of identify and ping. choice
const QUIC_STREAMS: u32 = 64;
/// How long a connection that nobody needs stays open. choice
const IDLE: Duration = Duration::from_secs(15);
/// Connections to one peer: both sides may dial at once, over TCP and over QUIC.
const CONNECTIONS_A_PEER: u32 = 4;

/// The behaviours of a node.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// Denies connections past the cap, before the others see them.
    pub limits: connection_limits::Behaviour,
    /// The protocol.
    pub neblo: neblo_behaviour::Behaviour,
    /// Tells what a stock libp2p node needs to know, and nothing of addresses.
    pub identify: identify::Behaviour,
    /// Answers pings of stock libp2p nodes.
    pub ping: ping::Behaviour,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Behaviour").finish_non_exhaustive()
    }
}

/// Assembles a swarm.
pub(super) fn swarm(key: Keypair, config: &Config) -> Result<Swarm<Behaviour>, Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::failed(format!("cannot set up the transports: {error}"));
    let planes = SwarmConfig::default().with_relay_rate(config.limits.relayed_rate.bytes());
    let neblo = neblo_behaviour::Behaviour::with_swarm_config(&key, protocol(config), planes);
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_established(Some(config.limits.connections))
        .with_max_pending_incoming(Some(config.limits.connections))
        .with_max_pending_outgoing(Some(config.limits.connections))
        .with_max_established_per_peer(Some(CONNECTIONS_A_PEER));
    let identify = identify::Config::new("/neblo/1".into(), key.public())
        // Nothing that tells one node from another.
        .with_agent_version("neblo".into())
        .with_hide_listen_addrs(true);
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        neblo,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::default(),
    };
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, || {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(YAMUX_STREAMS);
            config
        })
        .map_err(|error| failed(&error))?
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = QUIC_STREAMS;
            config
        })
        .with_behaviour(|_| behaviour)
        .map_err(|error| failed(&error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE)
                // Saves a round trip on each substream.
                .with_substream_upgrade_protocol_override(libp2p::core::upgrade::Version::V1Lazy)
        })
        .build();
    Ok(swarm)
}

/// What this node claims under the paper's policy.
fn resources(config: &Config) -> Resources {
    let cpu = std::thread::available_parallelism().ok().and_then(|cpu| u32::try_from(cpu.get()).ok());
    let bandwidth = config.limits.relayed_rate.bytes().map(|rate| u32::try_from(rate / 1024).unwrap_or(u32::MAX));
    Resources { cpu, bandwidth }
}

fn protocol(config: &Config) -> neblo_behaviour::Config {
    let mut protocol = neblo_behaviour::Config::default()
        .with_network(config.network.clone())
        .with_subgroup_size(config.subgroup_size)
        .with_join_cost(config.join_cost)
        .with_path_policy(config.paths.policy())
        .with_resources(resources(config));
    protocol.max_streams = config.limits.relayed_streams;
    protocol
}
