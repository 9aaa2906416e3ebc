//! A simulated network to which operations are done, judged after every event.

mod network;
mod talk;

use std::time::Duration;

use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::Config;
use neblo_behaviour::protocol::interface::{Answer, Command, Event, HandlerKind, Ownership, Recipients};
use neblo_behaviour::protocol::io::{Contact, Time};
use neblo_behaviour::protocol::messaging::placement;
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::sim::{Conditions, Simulation};

use super::checks::Rules;
use super::ring_check::Place;
use super::traffic::{PORT, TIME_OUT};
use super::{Checks, Traffic};

/// How often members stabilise; slower than the default, so that an hour costs little.
const STABILISE_EVERY: Duration = Duration::from_secs(8);
/// The longest round: every other one is an eighth longer.
pub(crate) const ROUND: Duration = Duration::from_secs(9);
/// Fewest members that churn leaves: Zave's r + 1, and some more.
pub(crate) const FEWEST: usize = 12;
/// Rounds within which the ring is ideal again after the last of joins, leaves and crashes (K).
pub(crate) const CALM_ROUNDS: u32 = 12;
/// The same after loss has ended or a partition has healed.
pub(crate) const HEAL_ROUNDS: u32 = 40;

/// The longest that a silent death goes unnoticed: an idle link is probed, three probes go unanswered.
const UNNOTICED: Duration = Duration::from_secs(45);

/// What frames suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// All arrive in order.
    Fair,
    /// They overtake one another, up to 80 ms late.
    Gusty,
    /// They are lost too: so many in a thousand.
    Storm(u16),
}

/// One operation. Numbers pick among those to whom it can be done, modulo how many they are, so that every script is a valid
/// one and a shorter one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A host joins through the picked members.
    Join(u16),
    /// A host that has left subscribes again.
    Rejoin(u16),
    /// The picked member leaves in order.
    Leave(u16),
    /// The picked member dies; its connections close.
    Crash(u16),
    /// The picked member dies without a word.
    Vanish(u16),
    /// So many members next to one another die at once, from the picked one on.
    CrashRow(u16, u8),
    /// The network is parted in two by the bits of a hash of this number.
    Part(u16),
    /// The network is whole again.
    Heal,
    /// Frames suffer this from now on.
    Weather(Weather),
    /// The picked member asks the owners of an address.
    Request(u16, u16, u8),
    /// The picked member sends a message.
    Send(u16, u16, u8),
    /// So many milliseconds pass.
    Run(u32),
    /// Time passes until the ring is ideal.
    Settle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Member,
    Leaving(u64),
    Left,
    Dead,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Joins, leaves, crashes, partitions, heals, changes of the weather.
    pub events: u64,
    pub most_members: usize,
    /// The most rounds until the ring was ideal: after churn, and after loss or partition.
    pub calm_rounds: f64,
    pub heal_rounds: f64,
    pub messages_sent: u64,
    pub messages_delivered: u64,
}

pub(crate) struct World {
    pub sim: Simulation,
    config: Config,
    pub checks: Checks,
    pub traffic: Traffic,
    pub figures: Figures,
    hosts: Vec<State>,
    /// Through whom each host joined last.
    known: Vec<Vec<u32>>,
    weather: Weather,
    parted: bool,
    /// When a member last died without a word.
    vanished: Option<Time>,
    buffer: Vec<u32>,
    shown_from: Option<Time>,
}

/// `NEBLO_SHOW_FROM=<seconds>` shows operations, frames of the ring and changes of places from then on: with a seed that
/// fails, from some seconds before it does.
fn shown_from() -> Option<Time> {
    let seconds: f64 = std::env::var("NEBLO_SHOW_FROM").ok()?.parse().ok()?;
    Some(Time((seconds * 1e6) as u64))
}

type Outcome = Result<(), String>;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let config = Config::default()
            .with_subgroups(false)
            .with_stabilise_every(STABILISE_EVERY)
            .with_probe_after(Duration::from_secs(20));
        let mut sim = Simulation::new(seed, Conditions::default());
        sim.count_bytes(false);
        let shown_from = shown_from();
        if let Some(from) = shown_from {
            sim.watch_frames(move |sent| {
                let shown = matches!(sent.frame, Frame::Ring(_)) || std::env::var_os("NEBLO_SHOW_ALL").is_some();
                if let (true, true, message) = (sent.at >= from, shown, sent.frame) {
                    println!("{:.3} {} -> {}: {message:?}", sent.at.0 as f64 / 1e6, sent.from, sent.to);
                }
            });
        }
        Self {
            sim,
            config,
            checks: Checks::new(),
            traffic: Traffic::default(),
            figures: Figures::default(),
            hosts: Vec::new(),
            known: Vec::new(),
            weather: Weather::Fair,
            parted: false,
            vanished: None,
            buffer: Vec::new(),
            shown_from,
        }
    }

    /// Whether what happens now is to be shown.
    fn is_shown(&self) -> bool {
        self.shown_from.is_some_and(|from| self.sim.now() >= from)
    }

    /// Whether time-outs fire for the dead alone.
    fn is_calm(&self) -> bool {
        !self.parted && !matches!(self.weather, Weather::Storm(_))
    }

    /// Hosts that take part, joining or members.
    fn inside(&self) -> impl Iterator<Item = u32> {
        let inside = |state: &State| matches!(state, State::Joining | State::Member);
        self.hosts.iter().enumerate().filter(move |(_, state)| inside(state)).map(|(host, _)| host as u32)
    }

    pub(crate) fn members(&self) -> Vec<u32> {
        let hosts = self.hosts.iter().enumerate().filter(|(_, state)| **state == State::Member);
        hosts.map(|(host, _)| host as u32).filter(|host| self.checks.places.get(*host).is_some()).collect()
    }

    fn pick(among: &[u32], nth: u16) -> Option<u32> {
        among.get(usize::from(nth) % among.len().max(1)).copied()
    }

    /// Does one operation; one that cannot be done now is left out.
    pub(crate) fn apply(&mut self, op: Op) -> Outcome {
        if self.is_shown() && !matches!(op, Op::Run(_) | Op::Request(..) | Op::Send(..)) {
            println!("{:.3} {op:?}", self.sim.now().0 as f64 / 1e6);
        }
        match op {
            Op::Join(nth) => self.join(nth)?,
            Op::Rejoin(nth) => self.rejoin(nth)?,
            Op::Leave(nth) => {
                if let Some(host) = Self::pick(&self.members(), nth).filter(|host| self.can_lose(&[*host])) {
                    let token = self.sim.command(host, |token| Command::Leave { token });
                    self.hosts[host as usize] = State::Leaving(token);
                    self.figures.events += 1;
                }
            }
            Op::Crash(nth) => self.crash(nth, 1, false)?,
            Op::Vanish(nth) => self.crash(nth, 1, true)?,
            Op::CrashRow(nth, count) => self.crash(nth, usize::from(count), false)?,
            Op::Part(number) => self.part(number),
            Op::Heal => self.heal(),
            Op::Weather(weather) => {
                if weather != self.weather {
                    self.weather = weather;
                    self.figures.events += 1;
                    self.conditions();
                }
            }
            Op::Request(nth, key, copies) => self.request(nth, key, copies),
            Op::Send(nth, key, copies) => self.send(nth, key, copies),
            Op::Run(millis) => self.run(Duration::from_millis(u64::from(millis)))?,
            Op::Settle => self.settle()?,
        }
        self.look()
    }

    // ---- joins and leaves ----------------------------------------------------------------------------------------

    fn join(&mut self, nth: u16) -> Outcome {
        let members = self.members();
        let host = self.sim.add(self.config.clone());
        self.hosts.push(State::Joining);
        self.known.push(Vec::new());
        self.figures.events += 1;
        let mut conditions = self.sim.conditions().clone();
        if let Some(via) = Self::pick(&members, nth).filter(|_| self.parted) {
            // It comes to the part in which the member is.
            conditions.partition.resize(host as usize + 1, 0);
            conditions.partition[host as usize] = conditions.partition[via as usize];
            self.sim.set_conditions(conditions);
        }
        for kind in [HandlerKind::RequestReceiver, HandlerKind::MessageReceiver] {
            self.sim.command(host, |_| Command::SetHandler { port: PORT, kind, on: true });
        }
        self.sim.command(host, |_| Command::SetRangeHandlers { migration: Some(true), regeneration: Some(true) });
        self.subscribe(host, nth)
    }

    fn rejoin(&mut self, nth: u16) -> Outcome {
        let left: Vec<u32> =
            (0..self.hosts.len() as u32).filter(|host| self.hosts[*host as usize] == State::Left).collect();
        let group = |host: u32| self.sim.conditions().partition.get(host as usize).copied().unwrap_or(0);
        let members = self.members();
        // Who is parted from all members would found a network of its own, of which nobody could ever know.
        let reaches = |host: &u32| members.iter().any(|member| group(*member) == group(*host));
        match Self::pick(&left, nth).filter(reaches) {
            Some(host) => {
                self.hosts[host as usize] = State::Joining;
                self.figures.events += 1;
                self.subscribe(host, nth)
            }
            None => Ok(()),
        }
    }

    fn subscribe(&mut self, host: u32, nth: u16) -> Outcome {
        let members = self.members();
        let group = |host: u32| self.sim.conditions().partition.get(host as usize).copied().unwrap_or(0);
        let reachable: Vec<u32> = members.into_iter().filter(|member| group(*member) == group(host)).collect();
        let known: Vec<u32> = (0..3).filter_map(|more| Self::pick(&reachable, nth.wrapping_add(more * 7))).collect();
        self.known[host as usize] = known.clone();
        let known: Vec<_> =
            known.into_iter().map(|peer| Contact::new(peer, vec![peer.to_be_bytes().to_vec()])).collect();
        self.sim.command(host, |token| Command::Subscribe { token, known });
        self.look()
    }

    // ---- deaths --------------------------------------------------------------------------------------------------

    /// Whether every member that remains keeps a living successor that it can reach, and enough members remain.
    fn can_lose(&self, gone: &[u32]) -> bool {
        let group = |host: u32| self.sim.conditions().partition.get(host as usize).copied().unwrap_or(0);
        self.keeps_successors(gone, &group)
    }

    fn keeps_successors(&self, gone: &[u32], group: &dyn Fn(u32) -> u8) -> bool {
        let leaving = |host: u32| gone.contains(&host) || !matches!(self.hosts[host as usize], State::Member);
        let places = &self.checks.places;
        // Those that are leaving are members until they have left.
        let remaining = || places.iter().filter(|place| !gone.contains(&place.me.2));
        [0, 1].into_iter().all(|side| {
            let stays = |place: &&Place| group(place.me.2) == side && !leaving(place.me.2);
            let size = remaining().filter(stays).count();
            size >= FEWEST || size == 0 && side == 1
        }) && remaining().all(|place| {
            let keeps = |who: &&(OverlayAddr, u64, u32)| {
                !leaving(who.2) && places.lives(who) && group(who.2) == group(place.me.2)
            };
            place.successors.iter().any(|who| keeps(&who))
        })
    }

    fn crash(&mut self, nth: u16, count: usize, silent: bool) -> Outcome {
        let in_order: Vec<u32> = self.checks.places.in_order().iter().map(|place| place.me.2).collect();
        let members = self.members();
        let Some(first) = Self::pick(&members, nth) else { return Ok(()) };
        let at = in_order.iter().position(|host| *host == first).unwrap_or(0);
        let row: Vec<u32> = in_order.iter().cycle().skip(at).take(count.min(in_order.len())).copied().collect();
        if !self.can_lose(&row) {
            return Ok(());
        }
        for host in row {
            self.figures.events += 1;
            self.hosts[host as usize] = State::Dead;
            self.traffic.forget(host);
            if silent {
                self.vanished = Some(self.sim.now());
                self.sim.vanish(host);
            } else {
                self.sim.kill(host);
            }
            self.checks.gone(&self.sim, host, silent)?;
        }
        Ok(())
    }

    // ---- time ----------------------------------------------------------------------------------------------------

    pub(crate) fn run(&mut self, time: Duration) -> Outcome {
        let end = self.sim.now() + time;
        while self.sim.step(end) {
            self.look()?;
        }
        if let Err(text) = self.traffic.overdue(self.sim.now()) {
            self.checks.wrong("overdue", text)?;
        }
        Ok(())
    }

    /// Looks at what the last event has changed.
    fn look(&mut self) -> Outcome {
        let now = self.sim.now();
        let mut touched = std::mem::take(&mut self.buffer);
        touched.clear();
        touched.extend_from_slice(self.sim.touched());
        for host in &touched {
            if self.hosts[*host as usize] != State::Dead {
                let changed = self.checks.look(&self.sim, *host)?;
                if changed && self.is_shown() {
                    println!("{:.3} {host} is at {:?}", now.0 as f64 / 1e6, self.checks.places.get(*host));
                }
            }
        }
        self.buffer = touched;
        if !self.sim.events().is_empty() {
            for (_, host, event) in self.sim.take_events() {
                self.event(host, &event)?;
            }
        }
        for ((host, token), answers) in self.sim.take_answers() {
            self.answered(now, host, token, &answers)?;
        }
        Ok(())
    }

    fn event(&mut self, host: u32, event: &Event<u32>) -> Outcome {
        if let Some(work) = self.checks.event(host, event)? {
            self.sim.command(host, |_| Command::RangeWorkDone { work });
        }
        match event {
            Event::Subscribed { .. } if self.hosts[host as usize] == State::Joining => {
                self.hosts[host as usize] = State::Member;
                self.figures.most_members = self.figures.most_members.max(self.checks.places.len());
            }
            Event::Delivered { to, copy, .. } => {
                self.figures.messages_delivered += 1;
                self.owned(host, placement(*to, *copy))?;
            }
            Event::Asked { to, copy, .. } => self.owned(host, placement(*to, *copy))?,
            _ => {}
        }
        Ok(())
    }

    /// Messages reach owners alone.
    fn owned(&mut self, host: u32, address: OverlayAddr) -> Outcome {
        match self.sim.node(host).ring().ownership(address) {
            Ownership::No => self
                .checks
                .wrong("misdelivered", format!("{host} got a message for {address:?}, which it does not own")),
            _ => Ok(()),
        }
    }

    fn answered(&mut self, now: Time, host: u32, token: u64, answers: &[Answer]) -> Outcome {
        // Who has joined or left is part of what is ideal.
        self.checks.changed = true;
        if self.traffic.is_pending(host, token) {
            return match self.traffic.ended(now, host, token, answers) {
                Ok(()) => Ok(()),
                Err(text) => self.checks.wrong("late", text),
            };
        }
        match answers {
            [Answer::Response(_)] => self.traffic.ended(now, host, token, answers),
            [Answer::Ok] if self.hosts[host as usize] == State::Leaving(token) => {
                self.hosts[host as usize] = State::Left;
                Ok(())
            }
            [Answer::Failed(failure)] if self.hosts[host as usize] == State::Joining => {
                // It gave up: whoever it was told of has died or left, or is parted from it.
                self.hosts[host as usize] = State::Left;
                let reachable = self.known[host as usize].iter().any(|known| self.checks.places.get(*known).is_some());
                // The owner of its address may be gone without anybody's knowing yet.
                let missed = self.vanished.is_some_and(|at| now.since(at) < UNNOTICED);
                if reachable && !missed && self.is_calm() && self.checks.rules == Rules::Strict {
                    self.checks.wrong("no join", format!("{host} could not join: {failure}"))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_ideal(&self) -> bool {
        let all_in = self.inside().all(|host| self.hosts[host as usize] == State::Member);
        let all_out = !self.hosts.iter().any(|state| matches!(state, State::Leaving(_)));
        all_in && all_out && self.inside().count() == self.checks.places.len() && self.checks.places.ideal()
    }

    /// Lets time pass until the ring is ideal, which must not take longer than so many rounds; then all must hold again.
    pub(crate) fn settle(&mut self) -> Outcome {
        if !self.is_calm() {
            return Ok(());
        }
        let rough = self.checks.rules == Rules::Rough;
        let rounds = if rough { HEAL_ROUNDS } else { CALM_ROUNDS };
        let began = self.sim.now();
        self.checks.changed = true;
        let mut ideal = false;
        while !ideal && self.sim.now().since(began) < ROUND * rounds {
            self.run(Duration::from_millis(50))?;
            if std::mem::take(&mut self.checks.changed) {
                ideal = self.is_ideal();
            }
        }
        let took = self.sim.now().since(began).as_secs_f64() / ROUND.as_secs_f64();
        if !ideal {
            let text = format!("the ring is not ideal after {took:.1} rounds: {}", self.not_ideal());
            return self.checks.wrong("not ideal", text);
        }
        self.checks.grown |= self.checks.places.len() >= FEWEST;
        if rough {
            self.figures.heal_rounds = self.figures.heal_rounds.max(took);
            self.checks.strict_again(&self.sim)?;
        } else {
            self.figures.calm_rounds = self.figures.calm_rounds.max(took);
        }
        Ok(())
    }

    /// What is not as it should be in a ring that does not get ideal.
    fn not_ideal(&self) -> String {
        let mut text = Vec::new();
        for (host, state) in self.hosts.iter().enumerate() {
            let place = self.checks.places.get(host as u32);
            if matches!(state, State::Joining | State::Leaving(_)) || (*state == State::Member) != place.is_some() {
                text.push(format!("{host} is {state:?}, {}", if place.is_some() { "a member" } else { "no member" }));
            }
        }
        let members = self.checks.places.in_order();
        for (at, place) in members.iter().enumerate() {
            let before = members[(at + members.len() - 1) % members.len()];
            if place.range.after != before.me.0 {
                text.push(format!("{} does not follow {}: {}", place.me.2, before.me.2, place.range));
            }
            let hosts: Vec<_> = place.successors.iter().map(|who| who.2).collect();
            let right: Vec<_> =
                (1..=8.min(members.len() - 1)).map(|nth| members[(at + nth) % members.len()].me.2).collect();
            if hosts != right {
                text.push(format!("{} has the successors {hosts:?} for {right:?}", place.me.2));
            }
        }
        text.truncate(12);
        text.join("; ")
    }
}
