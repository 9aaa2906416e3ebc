//! All nodes in this process: who is a member, what each got, and what the tree looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use example_nodes::{Node, network, until};
use neblo_behaviour::{Config, OverlayAddr};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;

use crate::tree::{Delivered, Tree, address_of, publish};
use crate::wire::{Id, Item};

/// The longest that a tree may take to be built or mended, and a message to arrive everywhere.
const DEADLINE: Duration = Duration::from_secs(60);

/// A node with what it got.
#[derive(Debug)]
struct Place {
    node: Node,
    tree: Arc<Tree>,
    messages: mpsc::Receiver<Delivered>,
    member: bool,
    got: Vec<Id>,
}

/// What the tree looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    /// Members that the root reaches.
    pub(crate) members: usize,
    /// Nodes in the tree that only pass messages on.
    pub(crate) forwarders: usize,
    /// Steps from the root to the farthest node.
    pub(crate) depth: usize,
    /// Children of an inner node, on average and at most.
    pub(crate) fan_out: f64,
    pub(crate) widest: usize,
}

/// All nodes of the network, and one group.
#[derive(Debug)]
pub(crate) struct World {
    places: Vec<Place>,
    group: OverlayAddr,
    published: Vec<Id>,
    rng: StdRng,
}

impl World {
    /// So many nodes that are one ring, and no members yet.
    pub(crate) async fn start(nodes: usize, renew_every: Duration, seed: u64) -> Result<Self> {
        let config = Config::default().with_network("multicast example").with_subgroups(false);
        let mut trees = Vec::new();
        let nodes = network(nodes, &config, async |_, node: &Node| {
            trees.push(Tree::install(&node.handle, renew_every).await?);
            Ok(())
        })
        .await?;
        let places = nodes.into_iter().zip(trees).map(|(node, (tree, messages))| Place {
            node,
            tree,
            messages,
            member: false,
            got: Vec::new(),
        });
        let places = places.collect();
        Ok(Self { places, group: address_of("news"), published: Vec::new(), rng: StdRng::seed_from_u64(seed) })
    }

    /// Makes so many random nodes members.
    pub(crate) fn enter(&mut self, members: usize) {
        let mut others: Vec<usize> = (0..self.places.len()).filter(|at| !self.places[*at].member).collect();
        for _ in 0..members.min(others.len()) {
            let place = &mut self.places[others.swap_remove(self.rng.random_range(0..others.len()))];
            place.member = true;
            place.tree.enter(&place.node.handle, self.group);
        }
    }

    /// Lets all members leave.
    pub(crate) fn leave(&mut self) {
        for place in &mut self.places {
            place.member = false;
            place.tree.leave(&place.node.handle, self.group);
        }
    }

    fn members(&self) -> usize {
        self.places.iter().filter(|place| place.member).count()
    }

    /// Waits until the root reaches all members.
    pub(crate) async fn settled(&self) -> Result<Duration> {
        until("a tree with all members", DEADLINE, async || self.shape().members == self.members()).await
    }

    /// Waits until nobody has children.
    pub(crate) async fn gone(&self) -> Result<Duration> {
        until("no tree", DEADLINE, async || self.edges().values().all(|(_, children)| children.is_empty())).await
    }

    /// Each node's children, by its own address.
    fn edges(&self) -> BTreeMap<OverlayAddr, (&Place, Vec<OverlayAddr>)> {
        let edges = self.places.iter().filter_map(|place| {
            let (me, children) = place.tree.children(self.group);
            Some((me?, (place, children)))
        });
        edges.collect()
    }

    /// The tree as the nodes see it now, from the root.
    pub(crate) fn shape(&self) -> Shape {
        let edges = self.edges();
        // The owner of the group's address: the first node at it or after it.
        let root = edges.keys().find(|address| **address >= self.group).or(edges.keys().next());
        let mut level: BTreeSet<OverlayAddr> = root.copied().into_iter().collect();
        let (mut reached, mut shape) = (BTreeSet::new(), Shape::default());
        let (mut inner, mut children_in_all, mut depth) = (0usize, 0usize, 0);
        while !level.is_empty() {
            let mut next = BTreeSet::new();
            for address in level {
                // Children that have died, or that another parent has already, are not counted.
                let Some((place, children)) = edges.get(&address).filter(|_| reached.insert(address)) else { continue };
                shape.members += usize::from(place.member);
                shape.forwarders += usize::from(!place.member);
                shape.depth = depth;
                if !children.is_empty() {
                    inner += 1;
                    children_in_all += children.len();
                    shape.widest = shape.widest.max(children.len());
                }
                next.extend(children);
            }
            level = next;
            depth += 1;
        }
        shape.fan_out = children_in_all as f64 / inner.max(1) as f64;
        shape
    }

    /// Publishes so many messages, each from a random node, and waits until every member has all that were ever published,
    /// each once. Says when the root had the last, and when every member had all.
    pub(crate) async fn publish(&mut self, messages: usize) -> Result<[Duration; 2]> {
        let start = Instant::now();
        for _ in 0..messages {
            let item = Item { id: self.rng.random(), text: format!("message {}", self.published.len() + 1) };
            let publisher = self.rng.random_range(0..self.places.len());
            publish(&self.places[publisher].node.handle, self.group, &item).await.context("publishing")?;
            self.published.push(item.id);
        }
        let published = start.elapsed();
        let all: BTreeSet<Id> = self.published.iter().copied().collect();
        let (group, places) = (self.group, &mut self.places);
        until("every message at every member", DEADLINE, async || {
            for place in places.iter_mut() {
                while let Ok((of, item)) = place.messages.try_recv() {
                    debug_assert_eq!(of, group);
                    place.got.push(item.id);
                }
            }
            places.iter().filter(|place| place.member).all(|place| place.got.len() >= all.len())
        })
        .await?;
        for place in self.places.iter().filter(|place| place.member) {
            let got: BTreeSet<Id> = place.got.iter().copied().collect();
            if got != all || place.got.len() != all.len() {
                bail!(
                    "a member got {} messages, {} of them different, in place of {}",
                    place.got.len(),
                    got.len(),
                    all.len()
                );
            }
        }
        Ok([published, start.elapsed()])
    }

    /// Kills the node with the most children that is not the root; says how many it had.
    pub(crate) fn kill_inner(&mut self) -> Result<usize> {
        let edges = self.edges();
        let root = edges.keys().find(|address| **address >= self.group).or(edges.keys().next()).copied();
        let inner = edges.iter().filter(|(address, _)| Some(**address) != root);
        let victim = inner.max_by_key(|(_, (_, children))| children.len());
        let Some((victim, children)) = victim.map(|(address, (_, children))| (*address, children.len())) else {
            bail!("there is no node beside the root");
        };
        self.kill(victim);
        Ok(children)
    }

    /// Kills the root, once an owner is sure of the group's address: a member that died just before may have owned it.
    #[cfg(test)]
    pub(crate) async fn kill_root(&mut self) -> Result<()> {
        let mut root = None;
        until("an owner that is sure of the group's address", DEADLINE, async || {
            for place in &self.places {
                if place.node.handle.owns(self.group).await == Ok(neblo_behaviour::Ownership::Yes) {
                    root = place.tree.children(self.group).0;
                }
            }
            root.is_some()
        })
        .await?;
        root.into_iter().for_each(|root| self.kill(root));
        Ok(())
    }

    fn kill(&mut self, victim: OverlayAddr) {
        let group = self.group;
        self.places.retain(|place| place.tree.children(group).0 != Some(victim));
    }

    /// Messages sent along the tree, and those that came twice to a node.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        self.places.iter().map(|place| place.tree.traffic()).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }
}
