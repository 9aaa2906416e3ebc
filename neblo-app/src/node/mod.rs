//! A node: swarm, services, and what keeps them running.

mod behaviour;
mod datadir;
mod join;
mod net;
mod service;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use neblo_behaviour::{OverlayAddr, swarm::Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::{
    api::{self, Listening},
    config::Config,
    output::Output,
    problem::{Code, Problem},
};

pub use datadir::{DataDir, Remembered};
pub use net::Net;
pub use service::Service;

/// How long leaving in order may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// A running node.
#[derive(Debug)]
pub struct Node {
    net: Arc<Net>,
    handle: Handle,
    service: Service,
    swarm: JoinHandle<()>,
    tasks: Vec<AbortHandle>,
    config: Config,
    data: Arc<DataDir>,
}

impl Node {
    /// Starts a node that listens, and is not on a ring yet.
    pub async fn start(data: DataDir, config: Config) -> Result<Self, Problem> {
        let data = Arc::new(data);
        let swarm = behaviour::swarm(data.identity()?, &config)?;
        let handle = swarm.behaviour().neblo.handle();
        let (net, swarm) = net::start(swarm, &config, data.clone()).await?;
        prefer_relays(&handle, &data, &config.network).await;
        let (service, tasks) = Service::start(handle.clone(), net.clone(), data.clone(), config.clone()).await?;
        Ok(Self { net, handle, service, swarm, tasks, config, data })
    }

    /// Starts getting onto the ring and staying there. The task ends only with a problem.
    pub fn join(&mut self, out: Output) -> JoinHandle<Problem> {
        let joiner = join::Joiner {
            config: self.config.clone(),
            net: self.net.clone(),
            data: self.data.clone(),
            handle: self.handle.clone(),
            out,
        };
        let task = tokio::spawn(joiner.keep_joined());
        self.tasks.push(task.abort_handle());
        task
    }

    /// What the node does for users.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// What is known of its swarm.
    pub fn net(&self) -> &Arc<Net> {
        &self.net
    }

    /// The protocol's handle.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Leaves ring and subgroup in order and stops, within five seconds.
    pub async fn leave(self) {
        let left = timeout(LEAVE_WITHIN, self.handle.leave()).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::debug!(target: "neblo", "could not leave in order");
        }
        self.service.stop().await;
        // Dropping stops the rest.
    }

    /// Stops at once, as a crash would: every socket closes, nobody is told.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.swarm.abort();
    }
}

async fn prefer_relays(handle: &Handle, data: &DataDir, network: &str) {
    let remembered = data.remembered();
    let relays = remembered.relays.get(network).into_iter().flatten();
    let relays = relays.filter_map(|(group, peer)| {
        let group = u128::from_str_radix(group, 16).ok()?;
        Some((OverlayAddr(group), peer.parse().ok()?))
    });
    let relays: Vec<_> = relays.collect();
    // An error means that the node has stopped, which others notice too.
    let _stopped = handle.prefer_relays(relays).await;
}

/// `neblo up`: runs a node until it is told to stop.
pub async fn run(data_dir: &Path, config: Config, out: Output) -> Result<(), Problem> {
    let cannot = |error: std::io::Error| Problem::failed(format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let data = DataDir::open(data_dir)?;
    let network = config.network.clone();
    let mut node = tokio::select! {
        node = Node::start(data, config) => node?,
        _ = interrupt.recv() => return Err(Problem::new(Code::Interrupted, "interrupted")),
    };
    let socket = api::bind(data_dir)?;
    let listening = Listening {
        peer_id: node.net.peer_id().to_string(),
        network,
        bootstrap: node.net.addresses().iter().map(ToString::to_string).collect(),
    };
    out.say("others can join through:");
    out.data(&listening, |listening| listening.bootstrap.join("\n"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let api = tokio::spawn(api::serve(socket, node.service.clone(), async {
        let _told = stopped.await;
    }));
    let mut joined = node.join(out);
    let ready = tokio::spawn(tell_ready(node.service.clone(), out));
    let ended = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        problem = &mut joined => Err(problem.unwrap_or_else(|error| {
            Problem::failed(format!("the node stopped by a fault of its own: {error}"))
        })),
        error = &mut node.swarm => Err(Problem::failed(format!(
            "the node's network task stopped by a fault of its own: {}",
            error.err().map(|error| error.to_string()).unwrap_or_default()
        ))),
    };
    ready.abort();
    joined.abort();
    out.say("leaving");
    drop(stop);
    tokio::select! {
        () = node.leave() => {}
        _ = interrupt.recv() => out.say("stopped without leaving"),
        _ = terminate.recv() => out.say("stopped without leaving"),
    }
    // Long answers are cut off; the socket goes, so that the next command says that no node runs.
    api.abort();
    let _gone_already = std::fs::remove_file(api::socket_path(data_dir));
    ended
}

/// Tells the user once that the node is ready, and what it waits for until then.
async fn tell_ready(service: Service, out: Output) {
    let mut said = false;
    for seconds in 0u64.. {
        sleep(Duration::from_secs(1)).await;
        let Ok(status) = service.status().await else {
            return;
        };
        if status.ready {
            out.say(format_args!("ready: on the ring, {} peers to hide among", status.anonymity_set));
            return;
        }
        if !said && seconds >= 20 && status.ring.is_some() {
            said = true;
            out.say(format_args!(
                "on the ring, but no paths yet: {} peers to hide among, at least 4 are needed",
                status.anonymity_set
            ));
        }
    }
}
