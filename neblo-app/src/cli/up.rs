//! `neblo up`.

use std::path::PathBuf;

use clap::Args;
use libp2p::Multiaddr;

use super::Env;
use crate::{
    config::{Config, Overrides, Policy, bootstrap_peer, check_listen},
    node,
    problem::Problem,
};

/// Run a node in the foreground until Ctrl-C
///
/// The first node of a network needs no bootstrap address: it founds the ring. It prints addresses that other nodes can
/// join through. Identity, ports, known peers, publications and unfinished downloads are kept in the data directory, and
/// so are settings, in neblo.toml.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo up
  neblo up --listen /ip4/0.0.0.0/tcp/4001 --listen /ip4/0.0.0.0/udp/4001/quic-v1
  neblo up --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA
  neblo up --data-dir /tmp/second --network test --subgroup-size 8

Settings in <data dir>/neblo.toml, all optional, here with their defaults:
  network = \"neblo\"
  listen = [\"/ip4/0.0.0.0/tcp/0\", \"/ip4/0.0.0.0/udp/0/quic-v1\"]
  bootstrap = []
  subgroup_size = 75
  join_cost = 20                 # proof of work of a member each week, 0 to 30 bits, the same in the whole network
  [paths]
  policy = \"hardened\"            # or \"paper\": the paper's mechanism to the letter, which leaks
  p = 0.7                        # how likely a relay hands a path on to another relay, 0 to 0.95
  ttl = 10                       # longest path, policy \"paper\" only
  timer = 300                    # seconds between two checks of paths, policy \"paper\" only
  second_path = false            # publish over a second path too, which two peers then see begin
  search_anew = 3600             # seconds, about, after which paths for searching begin and are replaced; 0: at once, never
  [limits]
  connections = 256
  relayed_streams = 256
  relayed_rate = \"unlimited\"     # a number of bytes a second, or \"10 MiB/s\"
  upload_rate = \"unlimited\"
  download_rate = \"unlimited\"
  disk = \"64 GiB\"")]
pub(super) struct Up {
    /// Address to listen on; port 0 takes a free port and keeps it over restarts
    #[arg(long, value_name = "MULTIADDR", value_parser = listen_address)]
    listen: Vec<Multiaddr>,
    /// A member to join through, ending in /p2p/<peer id>
    #[arg(long, value_name = "MULTIADDR", value_parser = bootstrap_address)]
    bootstrap: Vec<Multiaddr>,
    /// Name of the network; nodes of different networks never talk
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Members at which a subgroup is full, 2 to 150
    #[arg(long, value_name = "N")]
    subgroup_size: Option<usize>,
    /// How anonymous paths work; `paper` is the paper's mechanism to the letter, which leaks
    #[arg(long, value_name = "POLICY")]
    path_policy: Option<Policy>,
    /// Settings to read in place of <data dir>/neblo.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Up {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let config = Config::load(
            &env.data_dir,
            Overrides {
                file: self.config,
                listen: self.listen,
                bootstrap: self.bootstrap,
                network: self.network,
                subgroup_size: self.subgroup_size,
                path_policy: self.path_policy,
            },
        )?;
        node::run(&env.data_dir, config, env.out).await
    }
}

fn multiaddr(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| format!("{error}; an address looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW..."))
}

fn listen_address(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text)?;
    check_listen(&address).map_err(|problem| problem.to_string())?;
    Ok(address)
}

fn bootstrap_address(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text)?;
    bootstrap_peer(&address).map_err(|problem| problem.to_string())?;
    Ok(address)
}
