//! NEBLO's side: `neblo up` processes, and a pair of them with exactly so many relays in between.
//!
//! Paths are random walks, and nothing in the program can ask for a length. Here is how one is found: each member
//! publishes a small file of its own, pairs of members fetch them from one another, and every node is asked how many
//! bytes it has relayed meanwhile. Paths outlast a download, so the large file then takes the same way; that it did is
//! counted again, while it runs and after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use neblo_app::api::{
    Client, GetEvent, GetRequest, Lines, Listening, PublishEvent, PublishRequest, Role, Status, UnpublishRequest,
    Unpublished,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{process, report::Measured, transport::Transport};

/// Two subgroups, each with enough relays that a walk of three or four of them seldom meets one twice.
const NODES: usize = 14;
const SUBGROUP: &str = "7";
/// Bytes of a file that finds out the length of a path.
const PROBE: u64 = 256 * 1024;
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Networks that are tried until one has a pair with the right number of relays.
const NETWORKS: usize = 12;
/// Transfers that are begun until the path lasts for a whole one.
const ATTEMPTS: usize = 4;

/// A `neblo up` process. Killed when dropped.
#[derive(Debug)]
struct Node {
    child: Child,
    client: Client,
    bootstrap: String,
    /// The link of its small file, if it is no leader.
    probe: Option<String>,
    subgroup: String,
}

impl Node {
    async fn start(dir: &Path, transport: Transport, p: f64, bootstrap: Option<&str>) -> anyhow::Result<Self> {
        fs::create_dir(dir)?;
        fs::write(dir.join("neblo.toml"), format!("[paths]\np = {p}\n"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_neblo"));
        command.env_remove("NEBLO_DATA_DIR").args(["up", "--json", "--network", "bench", "--subgroup-size", SUBGROUP]);
        command.args(["--listen", transport.listen(), "--data-dir"]).arg(dir);
        if let Some(bootstrap) = bootstrap {
            command.args(["--bootstrap", bootstrap]);
        }
        let log = fs::File::create(dir.join("log"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let line = line.with_context(|| fs::read_to_string(dir.join("log")).unwrap_or_default())?;
        let listening: Listening = serde_json::from_str(&line)?;
        let bootstrap = listening.bootstrap.first().context("it listens nowhere")?.clone();
        Ok(Self { child, client: Client::new(dir), bootstrap, probe: None, subgroup: String::new() })
    }

    async fn status(&self) -> anyhow::Result<Status> {
        Ok(self.client.get("/v1/status").await?)
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("a node has ended")
    }

    /// Publishes a file and returns its link.
    async fn publish(&self, path: &Path) -> anyhow::Result<String> {
        let path = path.display().to_string();
        let request = PublishRequest { path, name: None, tags: Vec::new(), allow_weak: true };
        let mut events = self.client.lines("/v1/publish", &request).await?;
        while let Some(event) = events.next().await? {
            match event {
                PublishEvent::Published(publication) => return Ok(publication.link),
                PublishEvent::Error(problem) => return Err(problem.into()),
                _ => {}
            }
        }
        bail!("publishing was cut off")
    }

    async fn get(&self, link: &str, output: &Path) -> anyhow::Result<Lines<GetEvent>> {
        let output = output.display().to_string();
        let request = GetRequest { target: link.to_owned(), output, overwrite: true, allow_weak: true };
        Ok(self.client.lines("/v1/get", &request).await?)
    }
}

/// Requester and publisher, by number.
#[derive(Clone, Copy, Debug)]
struct Pair {
    requester: usize,
    publisher: usize,
}

/// Nodes of one network on loopback.
#[derive(Debug)]
pub(crate) struct Network {
    transport: Transport,
    dir: PathBuf,
    p: f64,
    nodes: Vec<Node>,
    pair: Option<Pair>,
    started: usize,
    /// Of nodes that were stopped.
    peak: u64,
}

impl Network {
    pub(crate) async fn start(transport: Transport, dir: &Path, relays: usize) -> anyhow::Result<Self> {
        // Each side's path has 1 / (1 - p) relays on average; together that makes `relays` the likeliest number.
        let p = (1.0 - 2.0 / relays as f64).clamp(0.0, 0.95);
        let (nodes, pair, dir) = (Vec::new(), None, dir.to_owned());
        let mut network = Self { transport, dir, p, nodes, pair, started: 0, peak: 0 };
        network.restart().await?;
        Ok(network)
    }

    /// Starts the network anew, which makes other paths.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.peak = self.peak()?;
        (self.nodes, self.pair) = (Vec::new(), None);
        self.started += 1;
        for number in 0..NODES {
            let dir = self.dir.join(format!("{}-{number}", self.started));
            let bootstrap = self.nodes.first().map(|node| node.bootstrap.as_str());
            self.nodes.push(Node::start(&dir, self.transport, self.p, bootstrap).await?);
        }
        for (number, status) in self.settled().await?.into_iter().enumerate() {
            let subgroup = status.subgroup.context("ready without a subgroup")?;
            if subgroup.role == Role::Member {
                let path = self.dir.join(format!("probe-{}-{number}", self.started));
                write_file(&path, PROBE, &format!("probe {} {number}", self.started))?;
                match self.nodes[number].publish(&path).await {
                    Ok(link) => self.nodes[number].probe = Some(link),
                    Err(error) => eprintln!("node {number} cannot publish and takes no part: {error:#}"),
                }
            }
            self.nodes[number].subgroup = subgroup.id;
        }
        Ok(())
    }

    /// Waits until all nodes are ready and all leaders know one another.
    async fn settled(&self) -> anyhow::Result<Vec<Status>> {
        let by = Instant::now() + READY_WITHIN;
        loop {
            let mut statuses = Vec::new();
            for node in &self.nodes {
                statuses.push(node.status().await?);
            }
            let leads = |status: &&Status| status.subgroup.as_ref().is_some_and(|it| it.role == Role::Leader);
            let leaders = statuses.iter().filter(leads).count();
            let acquainted = statuses.iter().filter(leads).all(|status| status.leaders == leaders);
            if leaders > 1 && acquainted && statuses.iter().all(|status| status.ready) {
                return Ok(statuses);
            }
            ensure!(Instant::now() < by, "the network is not ready in time: {statuses:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The most memory that any process had at any time, in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        let mut peak = self.peak;
        for node in &self.nodes {
            peak = peak.max(process::peak(node.id()?)?);
        }
        Ok(peak)
    }

    fn ids(&self) -> anyhow::Result<Vec<u32>> {
        self.nodes.iter().map(Node::id).collect()
    }

    /// Bytes that each node has relayed so far.
    async fn relayed(&self) -> anyhow::Result<Vec<u64>> {
        let mut relayed = Vec::new();
        for node in &self.nodes {
            relayed.push(node.status().await?.relayed_bytes);
        }
        Ok(relayed)
    }

    /// Nodes that pass a stream on now, each as often as it does.
    async fn live_relays(&self) -> anyhow::Result<usize> {
        let mut relays = 0;
        for node in &self.nodes {
            relays += node.status().await?.relayed_streams;
        }
        Ok(relays)
    }

    /// How many nodes relayed a file of `size` bytes since `before`; `None` if one did so twice or was one of its ends.
    fn relays_since(&self, before: &[u64], after: &[u64], size: u64, pair: Pair) -> Option<usize> {
        let mut relays = 0;
        for (number, (before, after)) in before.iter().zip(after).enumerate() {
            let times = (after - before) / size;
            let end = [pair.requester, pair.publisher].contains(&number);
            match times {
                0 => {}
                1 if !end => relays += 1,
                _ => return None,
            }
        }
        Some(relays)
    }

    /// All pairs of members of different subgroups.
    fn pairs(&self) -> Vec<Pair> {
        let member = |number: &usize| self.nodes[*number].probe.is_some();
        let all = (0..NODES).flat_map(|requester| (0..NODES).map(move |publisher| Pair { requester, publisher }));
        let apart = |pair: &Pair| self.nodes[pair.requester].subgroup != self.nodes[pair.publisher].subgroup;
        all.filter(|pair| member(&pair.requester) && member(&pair.publisher) && apart(pair)).collect()
    }

    /// Finds a pair with exactly so many relays.
    async fn find(&mut self, relays: usize) -> anyhow::Result<Pair> {
        let mut probes = 0;
        for network in 1..=NETWORKS {
            if network > 1 {
                eprintln!("no pair of this network has {relays} relays, another one is started");
                self.restart().await?;
            }
            let mut before = self.relayed().await?;
            for pair in self.pairs() {
                let link = self.nodes[pair.publisher].probe.clone().context("no probe")?;
                let output = self.dir.join("probe");
                let fetched = self.fetch(pair, &link, &output).await;
                let after = self.relayed().await?;
                probes += 1;
                let found = self.relays_since(&before, &after, PROBE, pair);
                before = after;
                if let Err(error) = fetched {
                    eprintln!("a probe failed: {error:#}");
                    continue;
                }
                fs::remove_file(&output)?;
                if found == Some(relays) {
                    eprintln!("a path of {relays} relays after {probes} probes");
                    return Ok(pair);
                }
            }
        }
        bail!("no path of exactly {relays} relays in {NETWORKS} networks and {probes} probes")
    }

    async fn fetch(&self, pair: Pair, link: &str, output: &Path) -> anyhow::Result<()> {
        let mut events = self.nodes[pair.requester].get(link, output).await?;
        while let Some(event) = events.next().await? {
            match event {
                GetEvent::Done { .. } => return Ok(()),
                GetEvent::Error(problem) => return Err(problem.into()),
                _ => {}
            }
        }
        bail!("a download was cut off")
    }

    /// Moves `size` bytes over a path of exactly `relays` relays.
    pub(crate) async fn measure(&mut self, size: u64, relays: usize) -> anyhow::Result<Measured> {
        let source = self.dir.join("source");
        if !source.exists() {
            write_file(&source, size, "source")?;
        }
        for attempt in 0..ATTEMPTS {
            let pair = match self.pair {
                Some(pair) => pair,
                None => self.find(relays).await?,
            };
            let link = self.nodes[pair.publisher].publish(&source).await?;
            let before = self.relayed().await?;
            let target = self.dir.join(format!("target-{attempt}"));
            let fetched = self.fetch_timed(pair, &link, &target).await;
            let found = self.relays_since(&before, &self.relayed().await?, size, pair);
            match fetched {
                Ok((measured, live)) => {
                    ensure!(hash(&source)? == hash(&target)?, "the file that arrived is another");
                    fs::remove_file(&target)?;
                    if live == Some(relays) && found == Some(relays) {
                        self.pair = Some(pair);
                        return Ok(measured);
                    }
                    eprintln!("another way this time: {live:?} relays while it ran, {found:?} after it");
                }
                Err(error) => eprintln!("{error:#}"),
            }
            // The path broke and was built anew. Another publisher must not become a second one of this file.
            let unpublish = UnpublishRequest { target: link };
            let _gone: Unpublished = self.nodes[pair.publisher].client.post("/v1/unpublish", &unpublish).await?;
            self.pair = None;
        }
        bail!("no path of {relays} relays lasted")
    }

    /// Fetches over whatever path there is, and counts its relays half-way.
    async fn fetch_timed(&self, pair: Pair, link: &str, target: &Path) -> anyhow::Result<(Measured, Option<usize>)> {
        let ids = self.ids()?;
        let cpu = process::cpu(&ids)?;
        let mut first = None;
        let mut live = None;
        let mut events = self.nodes[pair.requester].get(link, target).await?;
        while let Some(event) = events.next().await? {
            match event {
                GetEvent::Progress { done, total, .. } => {
                    first.get_or_insert_with(|| (Instant::now(), done));
                    if live.is_none() && done >= total / 2 {
                        live = Some(self.live_relays().await?);
                    }
                }
                GetEvent::Done { bytes, retries, .. } => {
                    let ended = Instant::now();
                    ensure!(retries == 0, "the path broke {retries} times");
                    let (began, done) = first.context("no progress")?;
                    let cpu = process::cpu(&ids)? - cpu;
                    let measured = Measured { seconds: (ended - began).as_secs_f64(), bytes: bytes - done, cpu };
                    return Ok((measured, live));
                }
                GetEvent::Error(problem) => return Err(problem.into()),
                _ => {}
            }
        }
        bail!("the download was cut off")
    }
}

/// Writes bytes that no compression and no other seed gives.
fn write_file(path: &Path, size: u64, seed: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut bytes = blake3::Hasher::new_derive_key("neblo bench file").update(seed.as_bytes()).finalize_xof();
    let mut file = fs::File::create(path)?;
    let mut block = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let len = left.min(block.len() as u64);
        let block = &mut block[..usize::try_from(len)?];
        bytes.fill(block);
        file.write_all(block)?;
        left -= len;
    }
    Ok(())
}

fn hash(path: &Path) -> anyhow::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(hasher.finalize())
}
