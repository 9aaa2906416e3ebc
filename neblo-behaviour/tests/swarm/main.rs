//! The binding over real sockets, with real nodes.

mod anonymous;
mod canary;
mod compose;
mod handlers;
mod messaging;

use std::time::Duration;

use futures::StreamExt;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, tcp, yamux};
use neblo_behaviour::{Behaviour, Config, Failure, Handle, OverlayAddr};
use tokio::task::JoinHandle;

/// A node whose swarm is polled by a task; the node dies with it.
struct Host {
    handle: Handle,
    address: Multiaddr,
    swarm: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

/// A swarm that listens on TCP, and its address.
async fn listening<B: NetworkBehaviour>(
    behaviour: impl FnOnce(&libp2p::identity::Keypair) -> B,
) -> (Swarm<B>, Multiaddr) {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(behaviour)
        .unwrap()
        .build();
    listen(swarm).await
}

async fn listen<B: NetworkBehaviour>(swarm: Swarm<B>) -> (Swarm<B>, Multiaddr) {
    listen_on(swarm, "/ip4/127.0.0.1/tcp/0").await
}

async fn listen_on<B: NetworkBehaviour>(mut swarm: Swarm<B>, address: &str) -> (Swarm<B>, Multiaddr) {
    swarm.listen_on(address.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            let address = address.with_p2p(*swarm.local_peer_id()).unwrap();
            return (swarm, address);
        }
    }
}

impl Host {
    async fn start(config: Config) -> Self {
        Self::run(listening(|key| Behaviour::new(key, config)).await)
    }

    /// A host that has nothing but QUIC.
    async fn start_on_quic(config: Config) -> Self {
        let swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_quic()
            .with_behaviour(|key| Behaviour::new(key, config))
            .unwrap()
            .build();
        Self::run(listen_on(swarm, "/ip4/127.0.0.1/udp/0/quic-v1").await)
    }

    fn run((mut swarm, address): (Swarm<Behaviour>, Multiaddr)) -> Self {
        let handle = swarm.behaviour().handle();
        let task = tokio::spawn(async move {
            loop {
                swarm.next().await;
            }
        });
        Self { handle, address, swarm: task }
    }

    async fn join(&self, known: &[&Host]) -> Result<OverlayAddr, Failure> {
        let known = known.iter().map(|host| host.address.clone()).collect();
        in_time(self.handle.subscribe(known)).await
    }
}

/// A network of `n` hosts that are one ring.
async fn network(n: usize, config: Config) -> Vec<Host> {
    network_of(n, async || Host::start(config.clone()).await).await
}

async fn network_of(n: usize, mut start: impl AsyncFnMut() -> Host) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for at in 0..n {
        let host = start().await;
        host.join(&hosts.first().into_iter().collect::<Vec<_>>()).await.unwrap_or_else(|error| panic!("{at}: {error}"));
        hosts.push(host);
    }
    let expected = 8.min(n - 1);
    for host in &hosts {
        eventually(async || host.handle.status().await.unwrap().successors == expected).await;
    }
    hosts
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("in time")
}

async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    in_time(async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
