//! Seed 003's scenario with whole nodes: ring, links, subgroups with elections, paths of either policy, directory and multicast, every
//! frame of them, while peers come and go.
//!
//! Here is the world around the nodes: who is there, what each publishes and asks for, and what is counted. The same seed gives the
//! same churn and the same queries under every configuration. A run depends on its seed and [`Scenario`] alone; [`Nodes::trace`] is
//! a hash over every event.

mod counts;
mod directory;
mod queries;
mod scenario;
mod whole;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use counts::{Hour, KINDS, Load, Traffic};
use directory::{Directory, Seen, Shared};
use queries::{Query, Waits};
pub use scenario::Scenario;

use super::world::{Asking, Beginning, Wanted};
use super::{BEGINS, Conditions, Simulation, contact};
use crate::protocol::interface::{Announcement, Answer, Command, Purpose, Token};
use crate::protocol::io::Time;

/// The day on which contents expire.
const EXPIRY_DAY: u32 = (BEGINS / 86_400) as u32 + 36_500;
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
/// At the beginning peers join one after another, with so much time between two. Of many at once several would make the same new
/// subgroup, whose leaders then become one of more members than it should have.
const JOINS_AFTER: Duration = Duration::from_millis(150);
/// Members through which a peer tries to join.
const KNOWN: usize = 3;
/// The time after which a peer that could not join, or not publish, tries again.
const AGAIN: Duration = Duration::from_secs(5);
/// A transport gives a connection up after so long a silence. choice, as QUIC's usual 30 s
const SILENCE: Duration = Duration::from_secs(30);
/// Minutes between two looks at the links that are modelled, to count their probes.
const COUNT_LINKS: u32 = 10;
/// How often broken paths are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A peer that came less long ago is new: its requests may fail for want of a path.
const NEW: Duration = Duration::from_secs(60);

/// Something that the world does.
#[derive(Clone, Debug)]
enum Due {
    /// A peer joins for the first time.
    Begin(u32),
    /// A peer comes or goes.
    Turn(u32),
    /// A peer that could not join tries again.
    Subscribe { peer: u32, stay: u32 },
    /// A peer that could not publish tries again.
    Announce { peer: u32, stay: u32, content: u32 },
    /// The next query of a peer.
    Ask { peer: u32, stay: u32 },
    /// A query is tried again.
    Retry(u64),
    /// A download is over.
    Close(u64),
    /// Those who were connected to a peer that left without a word give up, unless it is there again.
    Silence { peer: u32, stay: u32 },
    /// Broken paths are looked at.
    Look,
    /// A minute has passed.
    Minute,
}

/// One peer.
#[derive(Debug, Default)]
struct Place {
    present: bool,
    /// Which stay this is, and since when.
    stay: u32,
    since: Time,
    /// Whether it is a member of the ring.
    subscribed: bool,
    /// Contents that no leader has acknowledged in this stay.
    unpublished: Vec<u32>,
}

/// A run.
pub struct Nodes {
    scenario: Scenario,
    sim: Simulation,
    shared: Rc<RefCell<Shared>>,
    agenda: BTreeMap<(Time, u64), Due>,
    next: u64,
    places: Vec<Place>,
    owners: Vec<u32>,
    owned: Vec<Vec<u32>>,
    /// When a leader acknowledged each content last.
    published: Vec<Time>,
    /// What answers are waited for.
    waits: BTreeMap<Token, Waits>,
    queries: BTreeMap<u64, Query>,
    /// Paths that were broken by a peer that went: since when, and whether it was their leader.
    broken: BTreeMap<(u32, Purpose), (Time, bool)>,
    /// Frames and bytes of the multicast up to now.
    multicast: (u64, u64),
    minutes: u32,
    hour: Hour,
    hours: Vec<Hour>,
    events: u64,
    churn: ChaCha8Rng,
    load: ChaCha8Rng,
    known: ChaCha8Rng,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("sim", &self.sim).field("broken", &self.broken.len()).finish_non_exhaustive()
    }
}

impl Nodes {
    /// A run at its beginning; what is wrong with the scenario otherwise.
    pub fn new(seed: u64, scenario: Scenario) -> Result<Self, &'static str> {
        scenario.check()?;
        let mut load = ChaCha8Rng::seed_from_u64(seed ^ 0x10ad << 48);
        let draw = |_| (load.next_u64() % u64::from(scenario.world.peers)) as u32;
        let owners: Vec<u32> = (0..scenario.world.contents).map(draw).collect();
        let mut owned = vec![Vec::new(); scenario.world.peers as usize];
        for (content, owner) in owners.iter().enumerate() {
            owned[*owner as usize].push(content as u32);
        }
        let (latency, matrix) = (scenario.world.latency, scenario.world.matrix.clone());
        let conditions = Conditions { latency, matrix, ..Conditions::default() };
        let mut sim = Simulation::new(seed, conditions);
        let hosts = (0..scenario.world.peers).map(|_| Seen::default()).collect();
        let shared = Shared { hosts, count_bytes: scenario.count_bytes, ..Shared::default() };
        let shared = Rc::new(RefCell::new(shared));
        sim.keep_events(false);
        sim.count_bytes(false);
        sim.model_idle_links(scenario.model_links);
        sim.set_application(Box::new(Directory(shared.clone())));
        let watched = shared.clone();
        sim.watch_frames(move |sent| watched.borrow_mut().watch(&sent));
        let mut run = Self {
            sim,
            shared,
            agenda: BTreeMap::new(),
            next: 0,
            places: (0..scenario.world.peers).map(|_| Place::default()).collect(),
            published: vec![Time(0); owners.len()],
            owners,
            owned,
            waits: BTreeMap::new(),
            queries: BTreeMap::new(),
            broken: BTreeMap::new(),
            multicast: (0, 0),
            minutes: 0,
            hour: Hour::default(),
            hours: Vec::new(),
            events: 0,
            churn: ChaCha8Rng::seed_from_u64(seed ^ 0xc4a2 << 48),
            load,
            known: ChaCha8Rng::seed_from_u64(seed ^ 0xb007 << 48),
            scenario,
        };
        run.begin();
        Ok(run)
    }

    /// Draws who is there at the beginning, and lets them join one after another.
    fn begin(&mut self) {
        let mut there = Vec::new();
        let mut lives = Vec::new();
        for peer in 0..self.scenario.world.peers {
            // Hosts are there from the beginning and know nothing; those who are away are dead.
            self.sim.add(self.scenario.config.clone());
            self.sim.kill(peer);
            let Beginning { present, turns, .. } = self.scenario.world.begin(peer, &mut self.churn);
            lives.push((peer, turns));
            if present {
                there.push(peer);
            }
        }
        let mut at = Duration::ZERO;
        for peer in &there {
            at += JOINS_AFTER;
            self.after(at, Due::Begin(*peer));
        }
        for (peer, turns) in lives {
            // Lives begin when all have joined.
            for turn in turns {
                self.after(at + turn, Due::Turn(peer));
            }
        }
        self.after(MINUTE, Due::Minute);
    }

    fn after(&mut self, after: Duration, due: Due) {
        self.next += 1;
        self.agenda.insert((self.sim.now() + after, self.next), due);
    }

    /// Runs for some time.
    pub fn run(&mut self, time: Duration) {
        let end = self.sim.now() + time;
        loop {
            let hour = Time(0) + HOUR * (self.hours.len() as u32 + 1);
            let next = self.agenda.first_key_value().map_or(end, |((at, _), _)| *at).min(hour).min(end);
            while self.sim.step(next) {
                self.events += 1;
                self.hour.events += 1;
                self.look_at_answers();
                self.look_at_seated();
            }
            if next == hour {
                self.hour_ends();
            } else if let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= next) {
                let due = entry.remove();
                self.happen(due);
                self.look_at_answers();
            } else {
                return;
            }
        }
    }

    /// The hours that have ended.
    pub fn hours(&self) -> &[Hour] {
        &self.hours
    }

    /// Events so far: frames and timers delivered, dials, commands.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A hash over every event so far.
    pub fn trace(&self) -> u64 {
        self.sim.trace()
    }

    fn present(&self, peer: u32) -> bool {
        self.places.get(peer as usize).is_some_and(|place| place.present)
    }

    fn there(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.places).filter(|(_, place)| place.present).map(|(peer, _)| peer)
    }

    fn is_stay(&self, peer: u32, stay: u32) -> bool {
        self.places.get(peer as usize).is_some_and(|place| place.present && place.stay == stay)
    }

    fn hour_ends(&mut self) {
        self.count_multicast();
        let mut hour = std::mem::take(&mut self.hour);
        self.shared.borrow_mut().hour_ends(&mut hour);
        let paper = self.scenario.config.path_policy.is_paper();
        for peer in self.there() {
            let node = self.sim.node(peer);
            hour.present += 1;
            hour.leaders += u64::from(node.subgroups().leads());
            hour.relayed += if paper { node.paper().relayed() } else { node.paths().relayed() } as u64;
        }
        self.hours.push(hour);
    }

    fn count_multicast(&mut self) {
        let of = |counted: &BTreeMap<&'static str, u64>| counted.get("multicast").copied().unwrap_or(0);
        let now = (of(&self.sim.frames), of(&self.sim.bytes));
        let before = std::mem::replace(&mut self.multicast, now);
        self.shared.borrow_mut().multicast(now.0 - before.0, now.1 - before.1);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Begin(peer) => self.arrive(peer),
            Due::Turn(peer) => self.turn(peer),
            Due::Subscribe { peer, stay } if self.is_stay(peer, stay) => self.subscribe(peer),
            Due::Announce { peer, stay, content } if self.is_stay(peer, stay) => self.announce(peer, content),
            Due::Ask { peer, stay } if self.is_stay(peer, stay) => self.ask(peer),
            Due::Retry(query) => self.try_again(query),
            Due::Close(stream) => self.sim.end_stream(stream),
            Due::Silence { peer, stay } => {
                let place = &self.places[peer as usize];
                if !place.present && place.stay == stay {
                    self.sim.close_connections(peer);
                }
            }
            Due::Look => {
                self.look_at_broken();
                if !self.broken.is_empty() {
                    self.after(LOOK, Due::Look);
                }
            }
            Due::Minute => {
                self.after(MINUTE, Due::Minute);
                self.sim.forget_ended_streams();
                self.shared.borrow_mut().minute(self.there());
                self.minutes += 1;
                if self.scenario.model_links && self.minutes.is_multiple_of(COUNT_LINKS) {
                    self.shared.borrow_mut().idle_links(MINUTE * COUNT_LINKS, self.sim.idle_links());
                }
            }
            Due::Subscribe { .. } | Due::Announce { .. } | Due::Ask { .. } => {}
        }
    }

    // ---- coming and going ------------------------------------------------------------------------------------

    fn turn(&mut self, peer: u32) {
        if let Some(after) = self.scenario.world.next_turn(&mut self.churn) {
            self.after(after, Due::Turn(peer));
        }
        if self.present(peer) {
            self.hour.left += 1;
            self.depart(peer);
        } else {
            self.hour.joined += 1;
            self.arrive(peer);
        }
    }

    fn arrive(&mut self, peer: u32) {
        let now = self.sim.now();
        let place = &mut self.places[peer as usize];
        (place.present, place.subscribed, place.since) = (true, false, now);
        place.stay += 1;
        place.unpublished = self.owned[peer as usize].clone();
        self.sim.restart(peer, self.scenario.config.clone());
        self.subscribe(peer);
        self.ask_later(peer);
    }

    /// Whoever has a place in a subgroup publishes.
    fn look_at_seated(&mut self) {
        let seated = std::mem::take(&mut self.shared.borrow_mut().seated);
        for peer in seated {
            for content in self.owned[peer as usize].clone() {
                self.announce(peer, content);
            }
        }
    }

    fn depart(&mut self, peer: u32) {
        let through = self.paths_through(peer);
        let place = &mut self.places[peer as usize];
        place.present = false;
        let stay = place.stay;
        match self.scenario.closes {
            true => self.sim.kill(peer),
            false => {
                self.sim.vanish(peer);
                self.after(SILENCE, Due::Silence { peer, stay });
            }
        }
        self.shared.borrow_mut().gone(peer);
        self.waits.retain(|_, waits| waits.peer != peer);
        self.queries.retain(|_, query| query.peer != peer);
        let now = self.sim.now();
        if self.broken.is_empty() && !through.is_empty() {
            self.after(LOOK, Due::Look);
        }
        for (path, leader) in through {
            self.broken.entry(path).or_insert((now, leader));
        }
    }

    /// Joins through some members, or founds the ring.
    fn subscribe(&mut self, peer: u32) {
        let members: Vec<u32> = self.there().filter(|other| self.places[*other as usize].subscribed).collect();
        let mut known = Vec::new();
        for _ in 0..KNOWN.min(members.len()) {
            let nth = (self.known.next_u64() % members.len() as u64) as usize;
            known.push(contact(members[nth]));
        }
        let token = self.sim.command(peer, |token| Command::Subscribe { token, known });
        self.wait(token, peer, queries::What::Subscribed);
    }

    fn announce(&mut self, peer: u32, content: u32) {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&content.to_le_bytes());
        let announcement = Announcement { secret, payload: content.to_le_bytes().to_vec(), expiry_day: EXPIRY_DAY };
        let token = self.sim.command(peer, |token| Command::Announce { token, announcement, allow_weak: false });
        self.wait(token, peer, queries::What::Announced(content));
    }

    fn wait(&mut self, token: Token, peer: u32, what: queries::What) {
        let stay = self.places[peer as usize].stay;
        self.waits.insert(token, Waits { peer, stay, what });
    }
}

/// A content is named by its number, in what is published and in what is asked.
fn content_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}
