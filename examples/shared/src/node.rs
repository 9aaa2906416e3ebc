//! A node in this process: a swarm with NEBLO alone, driven by a task.

use anyhow::{Context, Result};
use futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use neblo_behaviour::{Behaviour, Config, Handle, OverlayAddr};
use tokio::task::JoinHandle;

use crate::whole;

/// A node whose swarm is driven by a task. Dropping it is the node's sudden death: all its connections close at once.
#[derive(Debug)]
pub struct Node {
    /// How to talk to it.
    pub handle: Handle,
    /// Where it listens, with its peer id at the end.
    pub address: Multiaddr,
    swarm: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Node {
    /// A node that listens on a free TCP port of this machine alone, and is not a member of a ring yet: set its handlers, then
    /// let it [`join`](Self::join).
    ///
    /// # Errors
    ///
    /// When the machine gives no port.
    pub async fn start(config: Config) -> Result<Self> {
        Self::start_on("/ip4/127.0.0.1/tcp/0".parse()?, config).await
    }

    /// A node that listens on this TCP address.
    ///
    /// # Errors
    ///
    /// When the address is not free or not of this machine.
    pub async fn start_on(listen: Multiaddr, config: Config) -> Result<Self> {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
            .with_behaviour(|key| Behaviour::new(key, config))?
            .build();
        swarm.listen_on(listen.clone()).with_context(|| format!("cannot listen on {listen}: try another address"))?;
        let address = listening(&mut swarm).await.with_context(|| format!("cannot listen on {listen}"))?;
        let handle = swarm.behaviour().handle();
        let swarm = tokio::spawn(async move {
            loop {
                swarm.next().await;
            }
        });
        Ok(Self { handle, address, swarm })
    }

    /// Joins the ring of `known`, or founds one without.
    ///
    /// # Errors
    ///
    /// When the known node is gone or does not let it in.
    pub async fn join(&self, known: Option<&Node>) -> Result<OverlayAddr> {
        let known = known.map(|known| known.address.clone());
        Ok(self.handle.subscribe(known.into_iter().collect()).await?)
    }
}

async fn listening(swarm: &mut Swarm<Behaviour>) -> Result<Multiaddr> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                return address
                    .with_p2p(*swarm.local_peer_id())
                    .map_err(|other| anyhow::anyhow!("{other} is a peer's"));
            }
            SwarmEvent::ListenerClosed { reason, .. } => reason?,
            SwarmEvent::ListenerError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}

/// Starts `n` nodes, lets `set_up` set the handlers of each, and makes them one ring.
///
/// # Errors
///
/// When a node cannot start, is not let in, or the ring is not whole in time.
pub async fn network(
    n: usize,
    config: &Config,
    mut set_up: impl AsyncFnMut(usize, &Node) -> Result<()>,
) -> Result<Vec<Node>> {
    allow_many_sockets(n);
    let mut nodes: Vec<Node> = Vec::with_capacity(n);
    for at in 0..n {
        let node = Node::start(config.clone()).await?;
        set_up(at, &node).await?;
        node.join(nodes.first()).await.with_context(|| format!("node {at} of {n} was not let in"))?;
        nodes.push(node);
    }
    whole(&nodes).await?;
    Ok(nodes)
}

/// Every connection inside one process takes two file descriptors, and many systems allow 1,024 at first.
fn allow_many_sockets(nodes: usize) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let wanted = nodes as u64 * 64 + 256;
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current.is_some_and(|current| current < wanted) {
            let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
            // If it may not be raised, opening a socket fails later, and says so.
            let _not_allowed = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
        }
    }
    #[cfg(not(unix))]
    let _ = nodes;
}
