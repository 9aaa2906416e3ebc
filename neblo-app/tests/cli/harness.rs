//! Starts `neblo` processes, waits for what they say, and stops them whatever happens.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
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
        let mut child = neblo()
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

/// Nodes of one network on loopback, each a process with its own data directory.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) dir: TempDir,
}

impl Net {
    /// Starts `count` nodes; every second one listens on QUIC, the others on TCP.
    pub(crate) fn start(count: usize, subgroup_size: usize) -> Self {
        let dir = TempDir::with_prefix("neblo-").unwrap();
        let mut net = Self { nodes: Vec::new(), dir };
        for _ in 0..count {
            net.add(subgroup_size);
        }
        net
    }

    /// Starts one more node.
    pub(crate) fn add(&mut self, subgroup_size: usize) {
        let number = self.nodes.len();
        let listen = match number % 2 {
            0 => "/ip4/127.0.0.1/tcp/0",
            _ => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        let size = subgroup_size.to_string();
        let mut args = vec!["--listen", listen, "--network", "test", "--subgroup-size", &size];
        let first = self.nodes.first().map(|node| node.bootstrap[0].clone());
        if let Some(first) = &first {
            args.extend(["--bootstrap", first]);
        }
        let dir = self.dir.path().join(format!("n{number}"));
        self.nodes.push(Node::start(&dir, &args));
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
