//! The demo's nodes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use libp2p::Multiaddr;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Options, PathShown, Transport};
use crate::{
    api::{Role, Status},
    config::Config,
    node::{DataDir, Node},
    output::Output,
    problem::{Code, Problem},
};

/// Nodes that may be on their way onto the ring at once: a ring of four cannot let in twenty in one moment.
const JOINING_PAUSE: Duration = Duration::from_millis(100);

/// Nodes in this process, each with its own sockets, tasks and data directory.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) nodes: Vec<Option<Node>>,
    joiners: Vec<JoinHandle<Problem>>,
    pub(super) dir: TempDir,
    pub(super) subgroup_size: usize,
}

impl Fleet {
    /// Starts the nodes; all but the first join through the first.
    pub(super) async fn start(options: &Options) -> Result<Self, Problem> {
        let dir = TempDir::with_prefix("neblo-demo-").map_err(|error| {
            Problem::failed(format!("cannot make a temporary folder: {error}"))
                .hint("check that TMPDIR names a folder with room")
        })?;
        let mut fleet = Self { nodes: Vec::new(), joiners: Vec::new(), dir, subgroup_size: options.nodes.div_ceil(3) };
        let mut bootstrap = Vec::new();
        for number in 0..options.nodes {
            let config = Config {
                network: "demo".into(),
                listen: vec![listen(options.transport, number)?],
                bootstrap: bootstrap.clone(),
                subgroup_size: fleet.subgroup_size,
                ..Config::default()
            };
            let data = DataDir::open(&fleet.dir.path().join(format!("node-{number}")))?;
            let mut node = Node::start(data, config).await?;
            if bootstrap.is_empty() {
                bootstrap = node.net().addresses();
            }
            fleet.joiners.push(node.join(Output::new(false)));
            fleet.nodes.push(Some(node));
            sleep(JOINING_PAUSE).await;
        }
        Ok(fleet)
    }

    /// The node with this number.
    pub(super) fn node(&self, number: usize) -> Result<&Node, Problem> {
        let node = self.nodes.get(number).and_then(Option::as_ref);
        node.ok_or_else(|| Problem::failed(format!("node #{number} is not there any more")))
    }

    /// The nodes that live, by number.
    pub(super) fn living(&self) -> impl Iterator<Item = (usize, &Node)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    /// How all nodes are, by number.
    pub(super) async fn statuses(&self) -> Result<Vec<(usize, Status)>, Problem> {
        let asked = self
            .living()
            .map(|(number, node)| async move { node.service().status().await.map(|status| (number, status)) });
        futures::future::try_join_all(asked).await
    }

    /// Waits until every node is ready, in at least three subgroups.
    pub(super) async fn wait_ready(
        &mut self,
        within: Duration,
        bar: &ProgressBar,
    ) -> Result<Vec<(usize, Status)>, Problem> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(ended) = self.joiners.iter_mut().find(|joiner| joiner.is_finished()) {
                return Err(match ended.await {
                    Ok(problem) => problem,
                    Err(error) => Problem::failed(format!("a node stopped: {error}")),
                });
            }
            let statuses = self.statuses().await?;
            let ready = statuses.iter().filter(|(_, status)| status.ready).count();
            let groups = groups(&statuses);
            bar.set_message(format!("{ready} of {} nodes ready, {groups} subgroups", statuses.len()));
            // Leaders that do not know one another yet would answer for a part of the network alone.
            let met = statuses.iter().all(|(_, status)| !is_leader(status) || status.leaders >= groups);
            if ready == statuses.len() && groups >= 3 && met {
                return Ok(statuses);
            }
            if Instant::now() > deadline {
                let on_ring = statuses.iter().filter(|(_, status)| status.ring.is_some()).count();
                for (number, status) in statuses.iter().filter(|(_, status)| !status.ready) {
                    tracing::debug!(target: "neblo", number, ?status, "not ready");
                }
                return Err(Problem::new(
                    Code::Unreachable,
                    format!(
                        "after {} s {ready} of {} nodes are ready, {on_ring} on the ring, in {groups} subgroups",
                        within.as_secs(),
                        statuses.len()
                    ),
                )
                .hint("try again on a machine with less to do, or with fewer --nodes"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Kills a node as a crash would.
    pub(super) fn kill(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(number).and_then(Option::take) {
            node.kill();
        }
        if let Some(joiner) = self.joiners.get(number) {
            joiner.abort();
        }
    }

    /// The relays that carry a stream now, sorted by the end they belong to: in the demo there is one stream.
    pub(super) async fn path(&self, requester: usize, publisher: usize) -> Result<PathShown, Problem> {
        let statuses = self.statuses().await?;
        let group = |number: usize| {
            let status = statuses.iter().find(|(it, _)| *it == number);
            status.and_then(|(_, status)| Some(status.subgroup.as_ref()?.id.clone()))
        };
        let publishers = group(publisher);
        let mut path = PathShown { requester, publisher, ..PathShown::default() };
        for (number, status) in &statuses {
            // A walk may cross a node more than once, and its owner too: that is what hides who began it.
            let crossed = std::iter::repeat_n(*number, status.relayed_streams);
            match group(*number) == publishers {
                true => path.publisher_relays.extend(crossed),
                false => path.requester_relays.extend(crossed),
            }
        }
        Ok(path)
    }

    /// Leaders now, and the bytes that each node has relayed, by number.
    pub(super) async fn relayed(&self) -> Result<Vec<(usize, bool, u64)>, Problem> {
        let statuses = self.statuses().await?;
        let relayed = statuses.into_iter().map(|(number, status)| (number, is_leader(&status), status.relayed_bytes));
        Ok(relayed.collect())
    }
}

/// Number of subgroups.
pub(super) fn groups(statuses: &[(usize, Status)]) -> usize {
    let ids = statuses.iter().filter_map(|(_, status)| Some(&status.subgroup.as_ref()?.id));
    ids.collect::<BTreeSet<_>>().len()
}

/// Whether the node leads its subgroup.
pub(super) fn is_leader(status: &Status) -> bool {
    status.subgroup.as_ref().is_some_and(|group| group.role == Role::Leader)
}

fn listen(transport: Transport, number: usize) -> Result<Multiaddr, Problem> {
    let quic = match transport {
        Transport::Tcp => false,
        Transport::Quic => true,
        Transport::Both => number % 2 == 1,
    };
    let text = match quic {
        true => "/ip4/127.0.0.1/udp/0/quic-v1",
        false => "/ip4/127.0.0.1/tcp/0",
    };
    text.parse().map_err(|error| Problem::failed(format!("{text}: {error}")))
}
