//! Starts `neblo` processes, waits for what they say, and stops them whatever happens.
//!
//! Networks run one after the other: two at once would only wait for one another.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A command of the program, without the environment's settings.
pub(crate) fn neblo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neblo"));
    command.env_remove("NEBLO_DATA_DIR").env_remove("NEBLO_LOG").stdin(Stdio::null());
    command
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The JSON objects on stdout, a line each.
    pub(crate) fn json(&self) -> Vec<Value> {
        let lines = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}\n{self:?}")));
        lines.collect()
    }

    /// Panics unless the command ended with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Ran {
    finish(neblo().args(args).output().expect("the program starts"))
}

fn finish(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A signal that can be sent to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
    Kill,
    Stop,
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "-INT",
            Self::Terminate => "-TERM",
            Self::Kill => "-KILL",
            Self::Stop => "-STOP",
            Self::Continue => "-CONT",
        }
    }
}

/// A `neblo up` process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    pub(crate) data_dir: PathBuf,
    pub(crate) bootstrap: Vec<String>,
    said: Arc<Mutex<String>>,
}

impl Node {
    /// Starts a node and waits until it has told its addresses.
    pub(crate) fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut command = neblo();
        // What nodes log, to be read where a measurement is odd: see `Net::keep_logs`.
        if let Ok(filter) = std::env::var("NEBLO_NODES_LOG") {
            command.env("NEBLO_LOG", filter);
        }
        let mut child = command
            .args(["up", "--json", "--data-dir"])
            .arg(data_dir)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (mut stderr, log) = (BufReader::new(child.stderr.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
                log.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let mut node = Self { data_dir: data_dir.to_owned(), bootstrap: Vec::new(), child, said };
        let mut line = String::new();
        let mut stdout = BufReader::new(node.child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let told: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}; stderr: {}", node.said()));
        let addresses = told["bootstrap"].as_array().unwrap();
        node.bootstrap = addresses.iter().map(|it| it.as_str().unwrap().to_owned()).collect();
        node
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Runs a command against the node.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let output = neblo().args(args).arg("--data-dir").arg(&self.data_dir).output();
        finish(output.expect("the program starts"))
    }

    /// `status --json`.
    pub(crate) fn status(&self) -> Value {
        self.run(&["status", "--json"]).expect(0).json().remove(0)
    }

    /// Its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::Kill);
        self.wait(Duration::from_secs(5));
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal.name(), &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end and returns the exit code.
    pub(crate) fn wait(&mut self, within: Duration) -> Option<i32> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it still runs: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Held by the network that runs.
static ALONE: Mutex<()> = Mutex::new(());

/// What nodes listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Quic,
    /// Every second one on QUIC, the others on TCP.
    Both,
}

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// Nodes of one network on loopback, each a process with its own data directory.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) dir: TempDir,
    subgroup_size: usize,
    config: &'static str,
    transport: Transport,
    _alone: MutexGuard<'static, ()>,
}

impl Net {
    /// Starts `count` nodes; every second one listens on QUIC, the others on TCP.
    pub(crate) fn start(count: usize, subgroup_size: usize) -> Self {
        Self::with_config(count, subgroup_size, "")
    }

    /// Starts nodes with this config file.
    pub(crate) fn with_config(count: usize, subgroup_size: usize, config: &'static str) -> Self {
        Self::over(Transport::Both, count, subgroup_size, config)
    }

    /// Starts nodes that listen on this transport.
    pub(crate) fn over(transport: Transport, count: usize, subgroup_size: usize, config: &'static str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TempDir::with_prefix("neblo-").unwrap();
        let mut net = Self { nodes: Vec::new(), dir, subgroup_size, config, transport, _alone: alone };
        for number in 0..count {
            let node = net.launch(number);
            net.nodes.push(node);
        }
        net
    }

    /// Starts a node again that has ended.
    pub(crate) fn restart(&mut self, number: usize) {
        self.nodes[number] = self.launch(number);
    }

    fn launch(&self, number: usize) -> Node {
        let listen = match self.transport {
            Transport::Tcp => TCP,
            Transport::Quic => QUIC,
            Transport::Both if number.is_multiple_of(2) => TCP,
            Transport::Both => QUIC,
        };
        let size = self.subgroup_size.to_string();
        let mut args = vec!["--listen", listen, "--network", "test", "--subgroup-size", &size];
        if let Some(first) = self.nodes.first()
            && number > 0
        {
            args.extend(["--bootstrap", &first.bootstrap[0]]);
        }
        let dir = self.path(&format!("n{number}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("neblo.toml"), self.config).unwrap();
        Node::start(&dir, &args)
    }

    /// A path in the network's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes what the nodes have said to a folder of this name in `NEBLO_KEEP_LOGS`, if that is set.
    pub(crate) fn keep_logs(&self, name: &str) {
        let Some(dir) = std::env::var_os("NEBLO_KEEP_LOGS") else { return };
        let dir = PathBuf::from(dir).join(name);
        fs::create_dir_all(&dir).unwrap();
        for (number, node) in self.nodes.iter().enumerate() {
            fs::write(dir.join(format!("n{number}")), node.said()).unwrap();
        }
    }

    /// The status of every node.
    pub(crate) fn statuses(&self) -> Vec<Value> {
        self.nodes.iter().map(Node::status).collect()
    }

    /// Waits until all nodes are ready.
    pub(crate) fn wait_ready(&self, within: Duration) -> Vec<Value> {
        wait_until(within, "all nodes are ready", || {
            let statuses = self.statuses();
            statuses.iter().all(|status| status["ready"] == true).then_some(statuses)
        })
    }
}

impl Drop for Net {
    /// Keeps the logs of a test that failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs(&format!("failed-{}", std::process::id()));
        }
    }
}

/// The nodes of these statuses are one ring: each range begins where that of the next one ends.
pub(crate) fn is_one_ring(statuses: &[&Value]) -> bool {
    let ring = |status: &Value, field: &str| status["ring"][field].as_str().map(str::to_owned);
    let mut ranges: Vec<_> = statuses
        .iter()
        .map(|status| {
            let after = status["ring"]["range"]["after"].as_str().map(str::to_owned);
            (ring(status, "address"), after)
        })
        .collect();
    ranges.sort();
    let before = ranges.iter().cycle().skip(ranges.len() - 1);
    ranges.iter().zip(before).all(|((address, after), (before, _))| address.is_some() && after == before)
}

/// Which subgroup a node is in.
pub(crate) fn subgroup(status: &Value) -> &str {
    status["subgroup"]["id"].as_str().unwrap_or_default()
}

/// Whether a node is in a subgroup that another one leads.
pub(crate) fn is_member(status: &Value) -> bool {
    status["subgroup"]["role"] == "member"
}

/// Bytes that do not repeat soon and cannot be mistaken for those of another seed.
pub(crate) fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let words = (0..u32::try_from(len / 4).unwrap()).map(|word| word.wrapping_add(seed).wrapping_mul(2_654_435_761));
    words.flat_map(u32::to_le_bytes).collect()
}

/// A running `neblo get`. Dropping it kills the command; the node goes on with the download.
#[derive(Debug)]
pub(crate) struct Download {
    child: Child,
    events: Receiver<(Instant, Value)>,
    /// Bytes that are there.
    pub(crate) done: u64,
    /// Bytes that were there from before.
    pub(crate) resumed: Option<u64>,
    /// What the last line said, if it was an error.
    pub(crate) error: Option<Value>,
    /// Streams opened until the last bytes came.
    streams: u64,
    /// Why streams broke.
    broke: Vec<Value>,
}

/// What a disturbance cost a download.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// From the disturbance until the requester knew that the stream was broken; none if it was not.
    pub(crate) noticed: Option<Duration>,
    /// No byte came for so long.
    pub(crate) silent: Duration,
}

impl Download {
    /// Starts to fetch `link` through `node` into `target`.
    pub(crate) fn start(node: &Node, link: &str, target: &Path) -> Self {
        let mut child = neblo()
            .args(["get", link, "--allow-weak", "--json", "-o"])
            .arg(target)
            .arg("--data-dir")
            .arg(&node.data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = sync_channel(100_000);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
                if sender.send((Instant::now(), event)).is_err() {
                    return;
                }
            }
        });
        Self { child, events, done: 0, resumed: None, error: None, streams: 0, broke: Vec::new() }
    }

    /// The next event; `None` after the last.
    #[track_caller]
    fn event(&mut self, deadline: Instant) -> Option<(Instant, Value)> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (at, event) = match self.events.recv_timeout(left) {
            Ok(event) => event,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                panic!("nothing more came after {} bytes; streams broke: {:?}", self.done, self.broke)
            }
        };
        match event["event"].as_str() {
            Some("started") => self.resumed = event["resumed"].as_u64(),
            Some("retrying") => self.broke.push(event["reason"].clone()),
            Some("progress") => {
                self.done = event["done"].as_u64().unwrap();
                self.streams = event["streams"].as_u64().unwrap();
            }
            None => self.error = Some(event["error"].clone()),
            _ => {}
        }
        Some((at, event))
    }

    /// Waits until this many bytes are there.
    #[track_caller]
    pub(crate) fn reach(&mut self, bytes: u64, within: Duration) {
        let deadline = Instant::now() + within;
        while self.done < bytes {
            self.event(deadline).unwrap_or_else(|| panic!("it ended: {:?}", self.error));
        }
    }

    /// After a disturbance at `since`: waits until the stream was replaced and bytes come over the new one (the last of the
    /// old one may be told after its end), and tells when that was noticed and how long no byte came. If the stream was not hit, it is enough that
    /// bytes come all the time, or the last ones.
    #[track_caller]
    pub(crate) fn goes_on(&mut self, since: Instant, within: Duration) -> Gap {
        let (mut last, mut longest, before) = (since, Duration::ZERO, self.streams);
        let mut noticed = None;
        loop {
            let Some((at, event)) = self.event(since + within) else {
                assert!(self.error.is_none(), "it ended: {:?}", self.error);
                // It was not hit, and is done.
                return Gap { noticed, silent: longest };
            };
            if event["event"] == "retrying" && at >= since {
                noticed.get_or_insert(at.duration_since(since));
            }
            if event["event"] == "progress" && at >= since {
                longest = longest.max(at.duration_since(last));
                last = at;
                if self.streams > before || at.duration_since(since) > Duration::from_secs(15) {
                    return Gap { noticed, silent: longest };
                }
            }
        }
    }

    /// Waits for its end and returns the exit code.
    #[track_caller]
    pub(crate) fn end(&mut self, within: Duration) -> Option<i32> {
        let deadline = Instant::now() + within;
        while self.event(deadline).is_some() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A small file system of its own. Dropping it takes it away.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    pub(crate) path: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `path`, if that is allowed here.
    pub(crate) fn mount(path: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "neblo-test"]).arg(&path).output().ok()?;
        mounted.status.success().then_some(Self { path })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _stays_if_it_fails = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_until<T>(within: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
