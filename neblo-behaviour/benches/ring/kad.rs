//! The side of `libp2p-kad`: nodes in server mode whose routing tables are full.
//!
//! Tables are filled by `add_address` of every node in random order, then every node bootstraps once, a few at a time: the
//! bootstrap that a node begins by itself when its table fills is ended before it sends anything, because that of all
//! nodes at once runs into time-outs. The periodic one is off, so that it does not run into a measurement; it is counted
//! as maintenance, at its default interval.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use libp2p::kad::store::{MemoryStore, RecordStore};
use libp2p::kad::{self, GetRecordOk, KBucketKey, Mode, QueryId, QueryResult, QueryStats, Record, RecordKey};
use libp2p::{StreamProtocol, Swarm};
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::sync::oneshot;

use crate::figures::Figures;
use crate::host::{self, Host, connections};
use crate::lookups::{self, Lookup, Sent};
use crate::process;
use crate::transport::{Over, Traffic};

type Behaviour = kad::Behaviour<MemoryStore>;

const REPLICAS: usize = 20;
const RECORDS: usize = 100;
/// Bytes of a record's value.
const VALUE: usize = 64;
/// Lookups in a batch.
const CLOSEST: usize = 100;
const GET: usize = 2_000;
/// Lookups before anything is measured, so that connections are as they stay under that load.
const WARM: usize = 100;
/// Nodes that bootstrap at once.
const BOOTSTRAPPING: usize = 4;
/// kad's default.
const BOOTSTRAP_EVERY: Duration = Duration::from_secs(300);
/// Longer than connections that nobody uses are kept.
const REST: Duration = Duration::from_secs(15);

/// A query of ours.
enum Query {
    Closest,
    Get,
    /// With the messages of the steps so far.
    Bootstrap(u32),
    /// A bootstrap that is ended at every step.
    Ended,
}

/// Messages of a query, and whether it found what it should.
type Outcome = (u32, bool);

type Waiting = Arc<Mutex<HashMap<QueryId, (Query, oneshot::Sender<Outcome>)>>>;

fn messages(stats: &QueryStats) -> u32 {
    stats.num_requests() + stats.num_successes()
}

fn on_event(swarm: &mut Swarm<Behaviour>, event: kad::Event, waiting: &Waiting) {
    let kad::Event::OutboundQueryProgressed { id, result, stats, step } = event else { return };
    let mut waiting = waiting.lock().expect("nobody panics with it");
    let Some((query, _)) = waiting.get_mut(&id) else { return };
    let outcome = match (query, result) {
        (Query::Closest, QueryResult::GetClosestPeers(found)) if step.last => {
            (messages(&stats), found.is_ok_and(|found| found.peers.len() == REPLICAS))
        }
        (Query::Get, QueryResult::GetRecord(found)) => {
            let found = matches!(found, Ok(GetRecordOk::FoundRecord(_)));
            if let Some(mut query) = swarm.behaviour_mut().query_mut(&id) {
                query.finish();
            }
            // What was asked at the same time is answered, too.
            (2 * stats.num_requests(), found)
        }
        (Query::Bootstrap(so_far), QueryResult::Bootstrap(_)) => {
            *so_far += messages(&stats);
            if !step.last {
                return;
            }
            (*so_far, true)
        }
        (Query::Ended, QueryResult::Bootstrap(_)) => {
            if !step.last {
                if let Some(mut query) = swarm.behaviour_mut().query_mut(&id) {
                    query.finish();
                }
                return;
            }
            (0, true)
        }
        _ => return,
    };
    if let Some((_, reply)) = waiting.remove(&id) {
        let _ = reply.send(outcome);
    }
}

struct Node {
    host: Host<Behaviour>,
    waiting: Waiting,
}

impl Node {
    async fn start(traffic: &Traffic, lazy: bool) -> anyhow::Result<Self> {
        let started = host::swarm(Over::Memory, traffic, lazy, |key| {
            let peer = key.public().to_peer_id();
            let mut config = kad::Config::new(StreamProtocol::new("/bench/kad"));
            config.set_periodic_bootstrap_interval(None);
            let mut behaviour = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
            behaviour.set_mode(Some(Mode::Server));
            behaviour
        });
        let waiting = Waiting::default();
        let known = waiting.clone();
        let host = Host::start(started.await?, move |swarm, event| on_event(swarm, event, &known));
        Ok(Self { host, waiting })
    }

    async fn query(
        &self,
        query: Query,
        start: impl FnOnce(&mut Behaviour) -> QueryId + Send + 'static,
    ) -> anyhow::Result<Outcome> {
        let (reply, outcome) = oneshot::channel();
        let waiting = self.waiting.clone();
        self.host
            .with(move |swarm| {
                let id = start(swarm.behaviour_mut());
                waiting.lock().expect("nobody panics with it").insert(id, (query, reply));
            })
            .await?;
        Ok(outcome.await?)
    }

    async fn bootstrap(&self) -> anyhow::Result<Outcome> {
        self.query(Query::Bootstrap(0), |kad| kad.bootstrap().expect("there are peers")).await
    }

    /// Fills the routing table.
    async fn fill(&self, mut others: Vec<(libp2p::PeerId, libp2p::Multiaddr)>) -> anyhow::Result<()> {
        others.shuffle(&mut rand::rng());
        let fill = move |kad: &mut Behaviour| {
            for (peer, address) in others {
                kad.add_address(&peer, address);
            }
            let id = kad.bootstrap().expect("there are peers");
            if let Some(mut query) = kad.query_mut(&id) {
                query.finish();
            }
            id
        };
        self.query(Query::Ended, fill).await.map(drop)
    }
}

struct Network {
    nodes: Vec<Node>,
    traffic: Traffic,
    records: Vec<(RecordKey, Vec<usize>)>,
    /// Look for records rather than for peers.
    get: bool,
    messages: f64,
    failed: f64,
}

impl Network {
    async fn start(n: usize, lazy: bool) -> anyhow::Result<Self> {
        let traffic = Traffic::default();
        let mut nodes = Vec::new();
        for _ in 0..n {
            nodes.push(Node::start(&traffic, lazy).await?);
        }
        let all: Vec<_> = nodes.iter().map(|node| (node.host.peer, node.host.address.clone())).collect();
        for node in &nodes {
            node.fill(all.iter().filter(|(peer, _)| *peer != node.host.peer).cloned().collect()).await?;
        }
        let mut records = Vec::new();
        for _ in 0..RECORDS {
            let key = RecordKey::new(&rand::random::<[u8; 32]>());
            let target = KBucketKey::new(key.clone());
            let mut holders: Vec<usize> = (0..n).collect();
            holders.sort_by_key(|at| KBucketKey::from(nodes[*at].host.peer).distance(&target));
            holders.truncate(REPLICAS);
            for holder in &holders {
                let record = Record::new(key.clone(), vec![7; VALUE]);
                let put = |swarm: &mut Swarm<Behaviour>| swarm.behaviour_mut().store_mut().put(record);
                nodes[*holder].host.with(put).await??;
            }
            records.push((key, holders));
        }
        Ok(Self { nodes, traffic, records, get: false, messages: 0.0, failed: 0.0 })
    }
}

impl Lookup for Network {
    async fn look_up(&mut self) -> anyhow::Result<()> {
        let (messages, found) = if self.get {
            let (key, holders) = self.records.choose(&mut rand::rng()).context("no records")?;
            let others: Vec<_> = (0..self.nodes.len()).filter(|at| !holders.contains(at)).collect();
            let node = &self.nodes[*others.choose(&mut rand::rng()).context("no nodes")?];
            let key = key.clone();
            node.query(Query::Get, |kad| kad.get_record(key)).await?
        } else {
            let node = self.nodes.choose(&mut rand::rng()).context("no nodes")?;
            let target = rand::random::<[u8; 32]>().to_vec();
            node.query(Query::Closest, |kad| kad.get_closest_peers(target)).await?
        };
        self.messages += f64::from(messages);
        if !found {
            self.failed += 1.0;
        }
        Ok(())
    }

    async fn sent(&mut self) -> anyhow::Result<Sent> {
        Ok(Sent { messages: self.messages, bytes: self.traffic.bytes() as f64 })
    }
}

pub(crate) async fn measure(n: usize, lazy: bool) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let memory = process::resident()?;
    let mut network = Network::start(n, lazy).await?;
    let (cpu, before) = (process::cpu()?, network.traffic.bytes());
    let bootstraps: Vec<_> = network.nodes.iter().map(Node::bootstrap).collect();
    let outcomes: Vec<Outcome> = stream::iter(bootstraps).buffer_unordered(BOOTSTRAPPING).try_collect().await?;
    let messages: f64 = outcomes.iter().map(|(messages, _)| f64::from(*messages)).sum();
    let a_minute = 60.0 / BOOTSTRAP_EVERY.as_secs_f64() / n as f64;
    figures.set("maintenance_messages", messages * a_minute);
    figures.set("maintenance_bytes", (network.traffic.bytes() - before) as f64 * a_minute);
    figures.set("build_cpu_s", process::cpu()? - cpu);
    for _ in 0..WARM {
        network.look_up().await?;
    }

    let closest = lookups::run(&mut network, CLOSEST, Sent::default()).await?;
    figures.extend("closest", closest);
    figures.set("connections", connections(network.nodes.iter().map(|node| &node.host)).await?);
    figures.set("memory_mib", (process::resident()? - memory) / n as f64);
    network.get = true;
    let get = lookups::run(&mut network, GET, Sent::default()).await?;
    figures.extend("record", get);
    figures.set("failed", network.failed);
    ensure!(network.failed < 0.02 * (WARM + 5 * (CLOSEST + GET)) as f64, "{} lookups failed", network.failed);
    tokio::time::sleep(REST).await;
    figures.set("rest_connections", connections(network.nodes.iter().map(|node| &node.host)).await?);
    Ok(figures)
}
