//! What a node does for its user: publishing, searching, fetching, and telling how it is.

mod directory;
mod downloads;
mod failure;
mod fetch;
mod publish;
mod publishers;
mod search;
mod serve;

use std::sync::Arc;

use neblo_behaviour::{protocol::interface, swarm::Handle};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::{
    datadir::DataDir,
    join,
    net::{self, Net},
};
use crate::{
    api::{PathState, Paths, Peer, Range, Ring, Role, Status, Subgroup},
    config::Config,
    index::{Index, Location},
    problem::Problem,
    store::{Store, StoreError},
    transfer::RateLimiter,
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
    offers: publish::Offers,
    downloads: downloads::Downloads,
    upload: RateLimiter,
    download: RateLimiter,
    stopping: CancellationToken,
}

impl Service {
    /// Starts the services of a node, and returns the tasks that run them.
    pub(super) async fn start(
        handle: Handle,
        net: Arc<Net>,
        data: Arc<DataDir>,
        config: Config,
    ) -> Result<(Self, Vec<AbortHandle>), Problem> {
        let index = Index::open(&Location::Memory).map_err(|error| Problem::failed(error.to_string()))?;
        let service = Self(Arc::new(Inner {
            offers: publish::Offers::open(data.path())?,
            downloads: downloads::Downloads::default(),
            upload: RateLimiter::new(config.limits.upload_rate.bytes()),
            download: RateLimiter::new(config.limits.download_rate.bytes()),
            stopping: CancellationToken::new(),
            handle,
            net,
            data,
            config,
        }));
        let tasks = vec![
            tokio::spawn(service.clone().keep_directory(index)).abort_handle(),
            tokio::spawn(service.clone().keep_serving()).abort_handle(),
            tokio::spawn(service.clone().keep_offering()).abort_handle(),
        ];
        service.resume_downloads().await?;
        Ok((service, tasks))
    }

    /// Stops downloads where they are; they go on after the next start.
    pub async fn stop(&self) {
        self.0.stopping.cancel();
        // What has arrived is saved before the process ends.
        self.downloads_stopped().await;
    }

    /// Sets the cap on what is fetched a second, until the next start.
    pub fn limit_downloads(&self, rate: Option<u64>) {
        self.0.download.set_rate(rate);
    }

    fn store(&self) -> &Store {
        self.0.data.store()
    }

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
            range: status
                .range
                .map(|range| Range { after: range.after.to_string(), to: range.to.to_string() })
                .unwrap_or_default(),
            successors: status.successors,
            fingers: status.fingers,
        });
        let subgroup = status.subgroup.map(|id| Subgroup {
            id: id.to_string(),
            role: if status.is_leader { Role::Leader } else { Role::Member },
            leader: status.leader.as_deref().and_then(peer_name),
            members: status.members,
            candidate: status.candidate,
        });
        let paths = path_state(&status);
        let net = &self.0.net;
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            peer_id: net.peer_id().to_string(),
            listen_addrs: net.addresses().iter().map(ToString::to_string).collect(),
            network: self.config().network.clone(),
            ready: ring.is_some() && subgroup.is_some() && status.has_paths(),
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
            counters: status.counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
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
        later: names(&status.paths_later),
    }
}

fn peer_name(bytes: &[u8]) -> Option<String> {
    libp2p::PeerId::from_bytes(bytes).ok().map(|peer| peer.to_string())
}

/// A failure of the database as a problem.
fn stored(error: StoreError) -> Problem {
    Problem::failed(error.to_string())
}
