//! The deterministic simulator: many [`Node`]s, one queue of events, no clock and no sockets.
//!
//! A run depends on its seed and on what is done to it, on nothing else: [`Simulation::trace`] is a hash over every
//! event, the same on every machine. Frames are handed over as they are, and encoded only to know their size (see
//! [`Simulation::count_bytes`]); sealing keeps its length (`StandInKeys`).
//!
//! Whoever runs it for long takes out what has happened ([`Simulation::take_events`], [`Simulation::take_answers`]), or it
//! is all kept. [`Simulation::step`] does one thing at a time and tells which hosts it touched, so that what must always
//! hold can be checked after every single event.

mod application;
mod draws;
mod due;
pub mod growth;
mod ideal_ring;
mod idle_links;
pub mod joined;
mod keys;
mod mesh;
mod multicast;
mod network;
pub mod nodes;
pub mod paths;
mod queue;
mod streams;
mod trace;
pub mod traces;
mod wheel;
pub mod world;

pub mod anonymity;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use application::Application;
pub use ideal_ring::IdealRing;
use idle_links::IdleLinks;
pub use keys::StandInKeys;
pub use mesh::{Mesh, Spread};
use multicast::{InMulticast, UnderWay};
pub use network::Conditions;
use queue::{Due, Queue};
pub use streams::SimStream;
use trace::Trace;
pub use wheel::Wheel;

use crate::protocol::interface::{Answer, Command, Event, Input, Output, Passage, Token};
use crate::protocol::io::{Contact, Time};
use crate::protocol::wire::Frame;
use crate::protocol::{Config, Node};

/// Seconds since 1970 at which every simulation begins.
const BEGINS: u64 = 1_800_000_000;

/// One simulated peer.
struct Host {
    node: Node<u32>,
    /// Which of its lives this is: a timer of an earlier one does not expire.
    life: u32,
    rng: ChaCha8Rng,
    alive: bool,
    frozen: bool,
    /// When it was frozen last.
    frozen_at: Time,
    /// Peers connected to this one.
    connected: BTreeSet<u32>,
    /// Of them, those that have vanished and live again, not knowing of this connection.
    stale: BTreeSet<u32>,
    multicast: InMulticast,
    /// What came while the host was frozen.
    missed: Vec<Input<u32>>,
    /// The rows that its application has been told of.
    rows: BTreeMap<u64, Vec<u8>>,
    idle_links: IdleLinks,
}

/// A frame as it is handed to the network.
#[derive(Debug)]
pub struct Sent<'a> {
    /// When.
    pub at: Time,
    /// By whom.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// The frame.
    pub frame: &'a Frame<u32>,
}

/// Looks at every frame.
type Watcher = Box<dyn FnMut(Sent<'_>)>;

/// Says whether a frame is let through.
type Filter = Box<dyn FnMut(&Sent<'_>) -> bool>;

/// A network of nodes under simulated conditions.
pub struct Simulation {
    now: Time,
    queue: Queue<Due>,
    hosts: Vec<Host>,
    rng: ChaCha8Rng,
    mesh: Mesh,
    mesh_rng: ChaCha8Rng,
    conditions: Conditions,
    latencies: Vec<u32>,
    trace: Trace,
    events: Vec<(Time, u32, Event<u32>)>,
    keeping: bool,
    answers: BTreeMap<(u32, Token), Vec<Answer>>,
    streams: BTreeMap<u64, SimStream>,
    /// Streams by their name at a hop.
    stream_names: BTreeMap<u64, u64>,
    /// Messages of the multicast on their way.
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
    /// Hosts whose node handled something in this step.
    touched: Vec<u32>,
    /// Buffers that are used again for what nodes want done.
    spare: Vec<Vec<Output<u32>>>,
    counting: bool,
    models_links: bool,
    paying: bool,
    finds_proofs: Arc<AtomicBool>,
    origins: BTreeMap<u32, Vec<u8>>,
    begins: u64,
    watcher: Option<Watcher>,
    filter: Option<Filter>,
    application: Option<Box<dyn Application>>,
    /// Bytes sent by kind of frame.
    pub bytes: BTreeMap<&'static str, u64>,
    /// Frames sent by kind.
    pub frames: BTreeMap<&'static str, u64>,
    seed: u64,
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation").field("now", &self.now).field("hosts", &self.hosts.len()).finish_non_exhaustive()
    }
}

impl Simulation {
    /// An empty network.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            now: Time(0),
            queue: Queue::default(),
            hosts: Vec::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            mesh: Mesh::default(),
            mesh_rng: ChaCha8Rng::seed_from_u64(seed ^ 0x4e54 << 48),
            conditions,
            latencies: Vec::new(),
            trace: Trace::default(),
            events: Vec::new(),
            keeping: true,
            answers: BTreeMap::new(),
            streams: BTreeMap::new(),
            stream_names: BTreeMap::new(),
            under_way: BTreeMap::new(),
            next: 0,
            touched: Vec::new(),
            spare: Vec::new(),
            counting: true,
            models_links: false,
            paying: false,
            finds_proofs: Arc::new(AtomicBool::new(true)),
            origins: BTreeMap::new(),
            begins: BEGINS,
            watcher: None,
            filter: None,
            application: None,
            bytes: BTreeMap::new(),
            frames: BTreeMap::new(),
            seed,
        }
    }

    /// Adds a host that has not subscribed.
    pub fn add(&mut self, config: Config) -> u32 {
        let peer = self.hosts.len() as u32;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(peer));
        let node = node_of(peer, config, (self.paying, &self.finds_proofs), &mut rng);
        self.mesh.add();
        self.hosts.push(Host {
            node,
            life: 0,
            rng,
            alive: true,
            frozen: false,
            frozen_at: Time(0),
            connected: BTreeSet::new(),
            stale: BTreeSet::new(),
            multicast: InMulticast::default(),
            missed: Vec::new(),
            rows: BTreeMap::new(),
            idle_links: IdleLinks::default(),
        });
        self.input(peer, Input::Addresses(vec![peer.to_be_bytes().to_vec()]));
        peer
    }

    /// Starts a host that has died again, under its old identity and with nothing else of its old life. If it had vanished,
    /// those who were connected to it do not know that it is another until it says so, or ten seconds are over.
    pub fn restart(&mut self, peer: u32, config: Config) {
        if self.hosts[peer as usize].alive {
            self.kill(peer);
        }
        self.leave_stale(peer);
        self.mesh.clear(&mut self.mesh_rng, peer);
        let charge = (self.paying, &self.finds_proofs);
        let host = &mut self.hosts[peer as usize];
        host.node = node_of(peer, config, charge, &mut host.rng);
        host.life += 1;
        host.alive = true;
        host.frozen = false;
        host.multicast = InMulticast::default();
        host.missed.clear();
        host.rows.clear();
        self.input(peer, Input::Addresses(vec![peer.to_be_bytes().to_vec()]));
    }

    /// Adds a host and subscribes it through `known`.
    pub fn join(&mut self, config: Config, known: &[u32]) -> u32 {
        let peer = self.add(config);
        let known = known.iter().map(|known| contact(*known)).collect();
        self.command(peer, |token| Command::Subscribe { token, known });
        peer
    }

    /// Whether hosts added from now on pay what [`Config::join_cost`] says, which takes real time. Off at first: they neither pay
    /// nor ask for anything.
    pub fn pay_to_join(&mut self, on: bool) {
        self.paying = on;
    }

    /// Whether hosts that pay find their proofs now, or are still at it.
    pub fn find_proofs(&mut self, found: bool) {
        self.finds_proofs.store(found, Ordering::Relaxed);
    }

    /// Sets the date at which the run begins, in seconds since 1970.
    pub fn begin_at(&mut self, unix: u64) {
        self.begins = unix;
    }

    /// The date, in seconds since 1970.
    pub fn unix(&self) -> u64 {
        self.begins + self.now.0 / 1_000_000
    }

    /// Sets what runs on the hosts, in place of the simulator's own application.
    pub fn set_application(&mut self, application: Box<dyn Application>) {
        self.application = Some(application);
    }

    /// Hands a command to a host; its answers are found under the token.
    pub fn command(&mut self, peer: u32, command: impl FnOnce(Token) -> Command<u32>) -> Token {
        self.next += 1;
        let token = self.next;
        self.input(peer, Input::Command(command(token)));
        token
    }

    /// The answers to a command so far.
    pub fn answers(&self, peer: u32, token: Token) -> &[Answer] {
        self.answers.get(&(peer, token)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Takes out the answers since the last time.
    pub fn take_answers(&mut self) -> BTreeMap<(u32, Token), Vec<Answer>> {
        std::mem::take(&mut self.answers)
    }

    /// Takes out the events since the last time.
    pub fn take_events(&mut self) -> Vec<(Time, u32, Event<u32>)> {
        std::mem::take(&mut self.events)
    }

    /// Whether events are kept to be looked at or taken out. On at first; an [`Application`] is told of them in any case.
    pub fn keep_events(&mut self, on: bool) {
        self.keeping = on;
    }

    /// Whether frames are encoded to count their bytes, which is most of what a frame costs. On at first.
    pub fn count_bytes(&mut self, on: bool) {
        self.counting = on;
    }

    /// Shows every frame to `watcher` as it is sent, lost or not.
    pub fn watch_frames(&mut self, watcher: impl FnMut(Sent<'_>) + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    /// Lets through only frames for which `passes`: hosts that do not send what they should.
    pub fn filter_frames(&mut self, passes: impl FnMut(&Sent<'_>) -> bool + 'static) {
        self.filter = Some(Box::new(passes));
    }

    /// All events so far, but those that were taken out.
    pub fn events(&self) -> &[(Time, u32, Event<u32>)] {
        &self.events
    }

    /// A host's node.
    pub fn node(&self, peer: u32) -> &Node<u32> {
        &self.hosts[peer as usize].node
    }

    /// Hosts that live.
    pub fn living(&self) -> Vec<u32> {
        (0..self.hosts.len() as u32).filter(|peer| self.hosts[*peer as usize].alive).collect()
    }

    /// Hands a frame to a host as if a neighbour had sent it.
    pub fn inject(&mut self, from: u32, to: u32, frame: Frame<u32>) {
        self.input(to, Input::Received { from, frame: Box::new(frame) });
    }

    /// Hands anything to a host's node, as the world would.
    pub fn hand_in(&mut self, to: u32, input: Input<u32>) {
        self.input(to, input);
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Open and ended streams by name.
    pub fn streams(&self) -> &BTreeMap<u64, SimStream> {
        &self.streams
    }

    /// A hash over every event so far.
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// The conditions now.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Changes the conditions from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        if conditions.latency != self.conditions.latency {
            self.latencies.clear();
        }
        self.conditions = conditions;
    }

    /// A host dies: its connections close, nothing more comes from it.
    pub fn kill(&mut self, peer: u32) {
        self.vanish(peer);
        self.close_connections(peer);
    }

    /// All connections of a host close, as when those who were connected to one that has vanished have waited long enough.
    pub fn close_connections(&mut self, peer: u32) {
        for other in std::mem::take(&mut self.hosts[peer as usize].connected) {
            self.disconnect(peer, other);
        }
    }

    /// A host dies without a word, as one whose power fails: nobody is told that its connections are gone.
    pub fn vanish(&mut self, peer: u32) {
        self.hosts[peer as usize].alive = false;
        if self.models_links {
            self.links_fail(peer);
        }
        self.break_streams(|stream| stream.hops.contains(&peer));
    }

    /// A host stops or goes on, its connections staying open.
    pub fn freeze(&mut self, peer: u32, frozen: bool) {
        let now = self.now;
        let host = &mut self.hosts[peer as usize];
        let was_frozen = std::mem::replace(&mut host.frozen, frozen);
        if frozen && !was_frozen {
            host.frozen_at = now;
        }
        if !frozen {
            let late = now.since(host.frozen_at);
            if was_frozen {
                self.input(peer, Input::Late(late));
            }
            for input in std::mem::take(&mut self.hosts[peer as usize].missed) {
                self.input(peer, input);
            }
        }
    }

    /// Runs until `done` or for at most `time`; whether it was done.
    pub fn run_until(&mut self, time: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + time;
        // Looked at every 10 ms of simulated time, not after every event.
        let mut look = self.now;
        loop {
            if self.now >= look {
                if done(self) {
                    return true;
                }
                look = self.now + Duration::from_millis(10);
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    /// Runs for some time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Does the next thing that is due before `end`; when there is none it is `end`, and nothing was done.
    pub fn step(&mut self, end: Time) -> bool {
        self.touched.clear();
        match self.queue.pop(end) {
            Some((at, due)) => {
                self.now = at;
                self.happen(due);
                true
            }
            None => {
                self.now = end;
                false
            }
        }
    }

    /// The hosts whose node handled something in the last step, and since.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }
}

fn node_of(peer: u32, config: Config, (paying, found): (bool, &Arc<AtomicBool>), rng: &mut ChaCha8Rng) -> Node<u32> {
    let join_cost = if paying { config.join_cost } else { 0 };
    Node::new(peer, config.with_join_cost(join_cost), Box::new(StandInKeys::that_pay(peer, found.clone())), rng)
}

/// A simulated host's contact.
fn contact(peer: u32) -> Contact<u32> {
    Contact::new(peer, vec![peer.to_be_bytes().to_vec()])
}
