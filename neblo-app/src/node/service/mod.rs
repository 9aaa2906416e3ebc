//! What a node does for its user: publishing, searching, fetching, and telling how it is.

mod failure;
mod search;

use std::sync::Arc;

use neblo_behaviour::{protocol::interface, swarm::Handle};

use super::{datadir::DataDir, join, net::{self, Net}};
use crate::{
    api::{PathState, Paths, Peer, Range, Ring, Role, Status, Subgroup},
    config::Config,
    problem::Problem,
};

/// The services of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    net: Arc<Net>,
    data: Arc<DataDir>,
    config: Config,
}

impl Service {
    fn handle(&self) -> &Handle {
        &self.0.handle
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    /// The protocol's own snapshot.
    async fn protocol_status(&self) -> Result<interface::Status, Problem> {
        let status = self.handle().status().await;
        status.map_err(|failure| failure::problem("ask the node how it is", &failure))
    }

    /// How the node is.
    pub async fn status(&self) -> Result<Status, Problem> {
        let status = self.protocol_status().await?;
        let ring = status.address.map(|address| Ring {
            address: address.to_string(),
            range: status.range.map(|range| Range {
                after: range.after.to_string(),
                to: range.to.to_string(),
            }).unwrap_or_default(),
            successors: status.successors,
            fingers: status.fingers,
        });
        let subgroup = status.subgroup.map(|id| Subgroup {
            id: id.to_string(),
            role: if status.is_leader { Role::Leader } else { Role::Member },
            leader: status.leader.as_deref().and_then(peer_name),
            members: status.members,
        });
        let paths = path_state(&status);
        let net = &self.0.net;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            peer_id: net.peer_id().to_string(),
            listen_addrs: net.addresses().iter().map(ToString::to_string).collect(),
            network: self.config().network.clone(),
            ready: ring.is_some()
                && subgroup.is_some()
                && paths.ready.len() == interface::Purpose::ALL.len(),
            trouble: match ring {
                None => join::trouble(self.config(), net),
                Some(_) => None,
            },
            ring,
            subgroup,
            publications: status.publications,
            publications_held: status.publications_held,
            paths,
            anonymity_set: status.anonymity_set,
            connections: net.connected(),
            relayed_streams: status.relayed_streams,
            relayed_bytes: self.handle().relayed_bytes(),
            directory_rows: status.rows,
            leaders: status.leaders,
        })
    }

    /// The node's paths and what it relays.
    pub async fn paths(&self) -> Result<Paths, Problem> {
        let status = self.protocol_status().await?;
        Ok(Paths {
            own: path_state(&status),
            anonymity_set: status.anonymity_set,
            relayed_paths: status.relayed_paths,
            relayed_streams: status.relayed_streams,
            relayed_bytes: self.handle().relayed_bytes(),
            lost: self.0.net.paths_lost(),
        })
    }

    /// Connected peers.
    pub fn peers(&self) -> Vec<Peer> {
        self.0.net.peers()
    }
}

fn path_state(status: &interface::Status) -> PathState {
    let names = |purposes: &[interface::Purpose]| purposes.iter().copied().map(net::purpose).collect();
    PathState {
        ready: names(&status.paths_ready),
        building: names(&status.paths_building),
    }
}

fn peer_name(bytes: &[u8]) -> Option<String> {
    libp2p::PeerId::from_bytes(bytes).ok().map(|peer| peer.to_string())
}
