//! NEBLO's side: a ring whose nodes answer requests to the addresses that they own.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use libp2p::PeerId;
use neblo_behaviour::protocol::interface::Status;
use neblo_behaviour::{Behaviour, Config, Failure, Handle, OverlayAddr};
use rand::seq::IndexedRandom;

use crate::figures::Figures;
use crate::host::{self, Host, connections};
use crate::lookups::{self, Lookup, Sent};
use crate::process;
use crate::transport::{Over, Traffic};

pub(crate) const PORT: u16 = 2_000;
/// Bytes of a request and of its response.
const PAYLOAD: usize = 64;
const WAIT: Duration = Duration::from_secs(10);
/// Lookups in a batch.
const LOOKUPS: usize = 6_000;
/// Lookups before anything is measured, so that connections are as they stay under that load.
const WARM: usize = 2_000;
/// Nodes that join at once, the peers that each knows, and how often it tries.
const JOINING: usize = 4;
const KNOWN: usize = 3;
const JOIN_ATTEMPTS: usize = 5;
/// How long the ring may take to become ideal, and how long the building of its fingers may take.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks at the ring.
const LOOK: Duration = Duration::from_secs(4);
/// Fingers are built once the nodes send fewer frames of messages than that a second. While they are built a node sends
/// more than ten, afterwards one in three seconds.
const BUILT: f64 = 1.0;
/// Fingers that were learnt while those who answered had none themselves are short: so long they are replaced, one each
/// half minute (sim `joined::minutes_after_all_have_joined_at_once_routes_are_as_long_as_over_an_ideal_ring`).
const REPLACED: Duration = Duration::from_secs(120);
/// How long maintenance is watched.
const REST: Duration = Duration::from_secs(60);

/// A node and the way to it.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) host: Host<Behaviour>,
}

impl Node {
    pub(crate) async fn start(over: Over, traffic: &Traffic, lazy: bool) -> anyhow::Result<Self> {
        let config = Config::default().with_subgroups(false);
        let (swarm, address) = host::swarm(over, traffic, lazy, |key| Behaviour::new(key, config)).await?;
        let handle = swarm.behaviour().handle();
        Ok(Self { handle, host: Host::start((swarm, address), |_, _| {}) })
    }

    /// Joins through another node, and answers requests with what was asked from then on.
    pub(crate) async fn join<'a>(&self, known: impl IntoIterator<Item = &'a Self>) -> anyhow::Result<()> {
        let known: Vec<_> = known.into_iter().map(|known| known.host.address.clone()).collect();
        let mut attempts = 1..=JOIN_ATTEMPTS;
        while let Err(failure) = self.handle.subscribe(known.clone()).await {
            // A ring that grows this fast, on a machine that is busy, may let nobody in for a while.
            let attempt = attempts.next().filter(|_| failure == Failure::NoBootstrap).ok_or(failure)?;
            eprintln!("a node is not let in, attempt {attempt}");
        }
        let mut requests = self.handle.request_receiver(PORT).await?;
        tokio::spawn(async move {
            while let Some((ask, responder)) = requests.next().await {
                responder.respond(Some(ask.payload));
            }
        });
        Ok(())
    }

    /// Address, predecessor and successors, once it is a member.
    async fn place(&self) -> anyhow::Result<Option<Place>> {
        let place = |swarm: &mut libp2p::Swarm<Behaviour>| {
            let ring = swarm.behaviour().node().ring();
            let me = ring.me().filter(|_| ring.is_member())?.address;
            let before = ring.predecessor()?.contact.peer;
            let after = ring.successors().iter().map(|successor| successor.contact.peer).collect();
            Some(Place { me, before, after })
        };
        self.host.with(place).await
    }
}

struct Place {
    me: OverlayAddr,
    before: PeerId,
    after: Vec<PeerId>,
}

fn counter(status: &Status, name: &str) -> f64 {
    status.counters.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, count)| *count as f64)
}

struct Network {
    nodes: Vec<Node>,
    traffic: Traffic,
}

impl Network {
    async fn start(n: usize, lazy: bool) -> anyhow::Result<Self> {
        let traffic = Traffic::default();
        let mut nodes = Vec::new();
        for _ in 0..n {
            nodes.push(Node::start(Over::Memory, &traffic, lazy).await?);
        }
        // A small ring lets in one at a time.
        for at in 0..n.min(JOINING * 2) {
            let known: Vec<_> = nodes[..at].sample(&mut rand::rng(), KNOWN).collect();
            nodes[at].join(known).await.with_context(|| format!("node {at}"))?;
        }
        let those = &nodes;
        let join = |at: usize| async move {
            let known: Vec<_> = those[..at - JOINING].sample(&mut rand::rng(), KNOWN).collect();
            those[at].join(known).await.with_context(|| format!("node {at}"))
        };
        let joins: Vec<_> = (JOINING * 2..n).map(join).collect();
        stream::iter(joins).buffered(JOINING).try_collect::<()>().await?;
        Ok(Self { nodes, traffic })
    }

    /// Whether every node knows its predecessor and all of its successor list.
    async fn is_ideal(&self) -> anyhow::Result<bool> {
        let mut places = Vec::new();
        for node in &self.nodes {
            let Some(place) = node.place().await? else { return Ok(false) };
            places.push((node.host.peer, place));
        }
        places.sort_by_key(|(_, place)| place.me);
        let n = places.len();
        Ok(places.iter().enumerate().all(|(at, (_, place))| {
            let next = (1..=8.min(n - 1)).map(|step| places[(at + step) % n].0);
            place.before == places[(at + n - 1) % n].0 && next.eq(place.after.iter().copied())
        }))
    }

    async fn frames(&self, name: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += counter(&node.handle.status().await?, name);
        }
        Ok(sum)
    }

    /// Waits until the ring is ideal and the fingers are built.
    async fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut before = (Instant::now(), self.frames(MESSAGING).await?);
        loop {
            tokio::time::sleep(LOOK).await;
            let frames = self.frames(MESSAGING).await?;
            let rate = (frames - before.1) / before.0.elapsed().as_secs_f64() / self.nodes.len() as f64;
            before = (Instant::now(), frames);
            let ideal = self.is_ideal().await?;
            if ideal && rate < BUILT {
                tokio::time::sleep(REPLACED).await;
                return Ok(());
            }
            if began.elapsed() > SETTLED_WITHIN {
                bail!("the ring did not settle: ideal {ideal}, {rate} frames of messages a node a second");
            }
        }
    }

    async fn fingers(&self) -> anyhow::Result<f64> {
        let mut sum = 0;
        for node in &self.nodes {
            sum += node.handle.status().await?.fingers;
        }
        Ok(sum as f64 / self.nodes.len() as f64)
    }
}

const MESSAGING: &str = "swarm_sent_frames_messaging";

impl Lookup for Network {
    async fn look_up(&mut self) -> anyhow::Result<()> {
        let node = self.nodes.choose(&mut rand::rng()).context("no nodes")?;
        let to = OverlayAddr(rand::random());
        let response = node.handle.request(1, PORT, to, vec![7; PAYLOAD], WAIT).await?.wait().await?;
        ensure!(response.len() == PAYLOAD, "another response");
        Ok(())
    }

    async fn sent(&mut self) -> anyhow::Result<Sent> {
        Ok(Sent { messages: self.frames(MESSAGING).await?, bytes: self.traffic.bytes() as f64 })
    }
}

pub(crate) async fn measure(n: usize, lazy: bool) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let (memory, cpu, began) = (process::resident()?, process::cpu()?, Instant::now());
    let mut network = Network::start(n, lazy).await?;
    figures.set("joined_s", began.elapsed().as_secs_f64());
    network.settle().await?;
    figures.set("settled_s", began.elapsed().as_secs_f64());
    figures.set("build_cpu_s", process::cpu()? - cpu);
    figures.set("fingers", network.fingers().await?);

    let (before, frames, began) = (network.sent().await?, network.frames(ALL).await?, Instant::now());
    tokio::time::sleep(REST).await;
    let (after, rest) = (network.sent().await?, began.elapsed().as_secs_f64());
    let a_node_a_minute = 60.0 / rest / n as f64;
    figures.set("maintenance_messages", (network.frames(ALL).await? - frames) * a_node_a_minute);
    figures.set("maintenance_bytes", (after.bytes - before.bytes) * a_node_a_minute);
    let idle = Sent { messages: (after.messages - before.messages) / rest, bytes: (after.bytes - before.bytes) / rest };
    figures.set("rest_connections", connections_of(&network).await?);

    for _ in 0..WARM {
        network.look_up().await?;
    }
    let found = lookups::run(&mut network, LOOKUPS, idle).await?;
    figures.set("request.hops", found.get("messages") / 2.0);
    figures.extend("request", found);
    figures.set("connections", connections_of(&network).await?);
    figures.set("memory_mib", (process::resident()? - memory) / n as f64);
    Ok(figures)
}

const ALL: &str = "swarm_frames_out";

async fn connections_of(network: &Network) -> anyhow::Result<f64> {
    connections(network.nodes.iter().map(|node| &node.host)).await
}
