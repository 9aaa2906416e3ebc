//! The nodes and the blocks in them: what is missing, killing, joining, reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use example_nodes::{Node, Shelf, network, until};
use futures::StreamExt;
use neblo_behaviour::protocol::messaging::placement;
use neblo_behaviour::{AddrRange, Config, Handle, OverlayAddr};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::store;

/// Blocks that are read or stored at once.
const AT_ONCE: usize = 16;
/// The longest that a repair may take.
const REPAIR: Duration = Duration::from_secs(60);

/// What a repair took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repair {
    /// From the death or the first join until every copy was where it belongs.
    pub(crate) took: Duration,
    /// Copies that were not with an owner right after the deaths or joins.
    pub(crate) missing: usize,
    /// Copies sent by migration and regeneration handlers.
    pub(crate) sent: u64,
    /// Frames of all kinds between all nodes meanwhile, the ring's upkeep included.
    pub(crate) frames: u64,
}

/// All nodes of the network, in this process.
#[derive(Debug)]
pub(crate) struct World {
    nodes: Vec<Node>,
    shelves: Vec<Arc<Shelf>>,
    blocks: Vec<OverlayAddr>,
    copies: u8,
    /// What nodes that have left in order had sent.
    left: BTreeMap<String, (u64, u64)>,
    rng: StdRng,
}

fn config() -> Config {
    Config::default().with_network("storage example").with_subgroups(false)
}

impl World {
    /// So many nodes that are one ring.
    pub(crate) async fn start(nodes: usize, copies: u8, rng: StdRng) -> Result<Self> {
        let mut shelves = Vec::new();
        let nodes = network(nodes, &config(), async |_, node: &Node| {
            shelves.push(store::install(&node.handle, copies).await?);
            Ok(())
        })
        .await?;
        Ok(Self { nodes, shelves, blocks: Vec::new(), copies, left: BTreeMap::new(), rng })
    }

    fn any(&mut self) -> Handle {
        let at = self.rng.random_range(0..self.nodes.len());
        self.nodes[at].handle.clone()
    }

    /// Stores random blocks, each from a random node.
    pub(crate) async fn store(&mut self, blocks: usize, size: usize) -> Result<()> {
        let copies = self.copies;
        let mut storing = Vec::new();
        for _ in 0..blocks {
            let mut block = vec![0; size];
            self.rng.fill_bytes(&mut block);
            let handle = self.any();
            storing.push(async move { store::put(&handle, copies, &block).await });
        }
        let stored: Vec<_> = futures::stream::iter(storing).buffer_unordered(AT_ONCE).collect().await;
        for address in stored {
            self.blocks.push(address.context("storing")?);
        }
        Ok(())
    }

    /// Reads every block once, each from a random node; returns how many came, same hash.
    pub(crate) async fn read(&mut self) -> usize {
        let copies = self.copies;
        let asked: Vec<_> = self.blocks.clone().into_iter().map(|address| (address, self.any())).collect();
        let reading = asked
            .into_iter()
            .map(|(address, handle)| async move { store::get(&handle, copies, address).await.is_ok() });
        futures::stream::iter(reading).buffer_unordered(AT_ONCE).filter(|read| std::future::ready(*read)).count().await
    }

    /// Copies that are not with the owner of their place.
    pub(crate) async fn missing(&self) -> usize {
        let mut owners: Vec<(AddrRange, &Shelf)> = Vec::new();
        for (node, shelf) in self.nodes.iter().zip(&self.shelves) {
            let range = node.handle.status().await.ok().and_then(|status| status.range);
            owners.extend(range.map(|range| (range, &**shelf)));
        }
        let copies = self.blocks.iter().flat_map(|at| (0..self.copies).map(move |copy| (*at, copy)));
        copies
            .filter(|(at, copy)| {
                let place = placement(*at, *copy);
                !owners.iter().any(|(range, shelf)| range.contains(place) && shelf.has(*at, *copy))
            })
            .count()
    }

    /// Kills so many random nodes at once, in the midst of whatever they do.
    pub(crate) fn kill(&mut self, count: usize) {
        for _ in 0..count.min(self.nodes.len() - 1) {
            let victim = self.rng.random_range(0..self.nodes.len());
            self.shelves.swap_remove(victim);
            drop(self.nodes.swap_remove(victim));
        }
    }

    /// Lets so many new nodes join, each through a random one.
    pub(crate) async fn join(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let node = Node::start(config()).await?;
            let shelf = store::install(&node.handle, self.copies).await?;
            let known = self.rng.random_range(0..self.nodes.len());
            node.join(Some(&self.nodes[known])).await?;
            self.nodes.push(node);
            self.shelves.push(shelf);
        }
        Ok(())
    }

    /// Lets so many random nodes leave in order, and ends each as soon as it says that it has left.
    pub(crate) async fn leave(&mut self, count: usize) -> Result<()> {
        for _ in 0..count.min(self.nodes.len() - 1) {
            let leaver = self.rng.random_range(0..self.nodes.len());
            let (node, shelf) = (self.nodes.swap_remove(leaver), self.shelves.swap_remove(leaver));
            node.handle.leave().await.context("leaving")?;
            self.left.insert(node.address.to_string(), sent(&node, &shelf).await);
        }
        Ok(())
    }

    /// Waits until every copy is where it belongs. `before` is what [`work`](Self::work) said before the change.
    pub(crate) async fn repaired(&self, before: &Work) -> Result<Repair> {
        let missing = self.missing().await;
        until("all copies of all blocks", REPAIR, async || self.missing().await == 0).await?;
        let (sent, frames) = self.work().await.since(before);
        Ok(Repair { took: before.start.elapsed(), missing, sent, frames })
    }

    /// What the nodes that live, and those that left in order, have done up to now.
    pub(crate) async fn work(&self) -> Work {
        let mut work = Work { start: Instant::now(), sent: self.left.clone() };
        for (node, shelf) in self.nodes.iter().zip(&self.shelves) {
            work.sent.insert(node.address.to_string(), sent(node, shelf).await);
        }
        work
    }
}

/// Copies and frames that a node has sent up to now.
async fn sent(node: &Node, shelf: &Shelf) -> (u64, u64) {
    let counters = node.handle.status().await.map(|status| status.counters).unwrap_or_default();
    let frames = counters.iter().find(|(name, _)| *name == "swarm_frames_out").map_or(0, |(_, count)| *count);
    (shelf.sent_on().0, frames)
}

/// What each node has sent up to a time.
#[derive(Debug)]
pub(crate) struct Work {
    start: Instant,
    /// Copies and frames, by where the node listens.
    sent: BTreeMap<String, (u64, u64)>,
}

impl Work {
    /// What has been sent since `before`.
    fn since(&self, before: &Self) -> (u64, u64) {
        self.sent.iter().fold((0, 0), |(copies, frames), (node, now)| {
            let then = before.sent.get(node).copied().unwrap_or_default();
            (copies + now.0 - then.0, frames + now.1 - then.1)
        })
    }
}
