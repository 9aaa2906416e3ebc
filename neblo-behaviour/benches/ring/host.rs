//! A node of a benchmark: a swarm in a task of its own.

use futures::StreamExt;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::{Config, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::{mpsc, oneshot};

use crate::transport::{Over, Traffic, transport};

type Work<B> = Box<dyn FnOnce(&mut Swarm<B>) + Send>;

/// The way to the swarm.
pub(crate) struct Host<B: NetworkBehaviour> {
    pub(crate) peer: PeerId,
    /// Ends with the peer.
    pub(crate) address: Multiaddr,
    work: mpsc::Sender<Work<B>>,
}

/// A swarm that listens.
pub(crate) async fn swarm<B: NetworkBehaviour>(
    over: Over,
    traffic: &Traffic,
    lazy: bool,
    behaviour: impl FnOnce(&Keypair) -> B,
) -> anyhow::Result<(Swarm<B>, Multiaddr)> {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let version = if lazy { Version::V1Lazy } else { Version::V1 };
    let config = Config::with_tokio_executor().with_substream_upgrade_protocol_override(version);
    let mut swarm = Swarm::new(transport(over, &key, traffic), behaviour(&key), peer, config);
    swarm.listen_on(over.listen().parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok((swarm, address.with_p2p(peer).unwrap_or_else(|address| address)));
        }
    }
}

impl<B> Host<B>
where
    B: NetworkBehaviour + Send,
    B::ToSwarm: Send,
{
    /// Starts the task; `on_event` sees what the behaviour reports.
    pub(crate) fn start(
        (mut swarm, address): (Swarm<B>, Multiaddr),
        mut on_event: impl FnMut(&mut Swarm<B>, B::ToSwarm) + Send + 'static,
    ) -> Self {
        let (work, mut todo) = mpsc::channel::<Work<B>>(16);
        let peer = *swarm.local_peer_id();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => {
                        if let SwarmEvent::Behaviour(event) = event {
                            on_event(&mut swarm, event);
                        }
                    }
                    work = todo.recv() => match work {
                        Some(work) => work(&mut swarm),
                        None => return,
                    },
                }
            }
        });
        Self { peer, address, work }
    }

    /// Does something with the swarm.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Swarm<B>) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        let work: Work<B> = Box::new(move |swarm| drop(reply.send(work(swarm))));
        self.work.send(work).await.map_err(|_| anyhow::anyhow!("a node is gone"))?;
        Ok(answer.await?)
    }

    pub(crate) async fn connections(&self) -> anyhow::Result<f64> {
        let established = |swarm: &mut Swarm<B>| swarm.network_info().connection_counters().num_established();
        Ok(f64::from(self.with(established).await?))
    }
}

/// Connections of a node, on average; each counts at both of its ends.
pub(crate) async fn connections<'a, B>(hosts: impl Iterator<Item = &'a Host<B>>) -> anyhow::Result<f64>
where
    B: NetworkBehaviour + Send,
    B::ToSwarm: Send,
{
    let (mut sum, mut count) = (0.0, 0.0);
    for host in hosts {
        sum += host.connections().await?;
        count += 1.0;
    }
    Ok(sum / count)
}
