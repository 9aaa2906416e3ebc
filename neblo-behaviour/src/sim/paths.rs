//! The path layer alone, for seed 003's evaluation: thousands of [`Paper`] parts, the code that runs in production, over subgroups
//! that are ideal. No ring and no full nodes.
//!
//! Who belongs to a subgroup and who leads it is known to all its members at once: the leader is who has been there longest, the
//! next candidates follow in the order in which they came. One list a subgroup is made at each change and shared by all.
//!
//! Lookups go from a leader to all others. A copy is counted for each of them, and delivered to those alone whose table matches:
//! the others would say nothing. A content is only ever published in its owner's subgroup, so that is one leader.
//!
//! A run depends on its seed and [`Scenario`] alone; [`PathLayer::trace`] is a hash over every event, the same on every machine.

mod counts;
mod network;
mod queries;
mod scenario;
mod state;
#[cfg(test)]
mod tests;
mod walks;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(super) use counts::kind;
pub use counts::{Hour, KINDS, UPKEEP};
use network::{Due, Network, Outbox};
use queries::Query;
pub use scenario::{Rejoin, Scenario};
pub use walks::{Walks, walks};

use super::keys::StandInKeys;
use super::queue::Queue;
use super::trace::Trace;
use super::world::{AGE, Asking, Beginning, Wanted};
use crate::address::OverlayAddr;
use crate::protocol::interface::{Announcement, StreamHeader};
use crate::protocol::io::{Contact, Ctx, Time};
use crate::protocol::paper::{Members, Paper, PaperCast, PaperEvent, PaperMessage, PaperTimer, Ping};

/// Seconds since 1970 at which every run begins, and the day on which its contents expire.
const BEGINS: u64 = 1_800_000_000;
const EXPIRY_DAY: u32 = (BEGINS / 86_400) as u32 + 36_500;
const HOUR: Duration = Duration::from_secs(3_600);
/// Hops after which a stream is cut. A download names neither where it crosses nor how far it has come, and where the two paths
/// share a link it may go round.
const MOST_HOPS: u64 = 1_000;
/// The token of commands whose answers nobody waits for.
const NOBODY: u64 = u64::MAX;

/// One peer.
struct Place {
    /// Absent while the peer is away and keeps nothing.
    paper: Option<Box<Paper<u32>>>,
    present: bool,
    /// Which part this is, so that timers of an earlier one are known.
    part: u32,
    /// Which stay this is.
    stay: u32,
    /// Timers that expired while it was away, having kept all.
    missed: Vec<PaperTimer>,
    /// Its rows as a leader, and those of each content, the newest last.
    rows: BTreeMap<u64, u32>,
    offers: BTreeMap<u32, Vec<u64>>,
}

/// A run.
pub struct PathLayer {
    scenario: Scenario,
    network: Network,
    places: Vec<Place>,
    /// Those who are there, in the order in which they came.
    subgroups: Vec<Vec<u32>>,
    owners: Vec<u32>,
    owned: Vec<Vec<u32>>,
    queries: Vec<Query>,
    free: Vec<u32>,
    /// What parts reported and was not looked at yet.
    happened: VecDeque<(u32, PaperEvent<u32>)>,
    /// Hops of the stream that is handled.
    hops: u64,
    hours: Vec<Hour>,
    events: u64,
    trace: Trace,
    // What is drawn for one purpose does not depend on what another draws: the same churn under all options.
    protocol: ChaCha8Rng,
    churn: ChaCha8Rng,
    load: ChaCha8Rng,
}

impl std::fmt::Debug for PathLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathLayer")
            .field("now", &self.network.now)
            .field("peers", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl PathLayer {
    /// A run at its beginning; what is wrong with the scenario otherwise.
    pub fn new(seed: u64, scenario: Scenario) -> Result<Self, &'static str> {
        scenario.check()?;
        let mut load = ChaCha8Rng::seed_from_u64(seed ^ 0x10ad << 48);
        let owners =
            (0..scenario.world.contents).map(|_| (load.next_u64() % u64::from(scenario.world.peers)) as u32).collect();
        Ok(Self::with_owners(seed, scenario, owners, load))
    }

    fn with_owners(seed: u64, scenario: Scenario, owners: Vec<u32>, load: ChaCha8Rng) -> Self {
        let mut owned = vec![Vec::new(); scenario.world.peers as usize];
        for (content, owner) in owners.iter().enumerate() {
            owned[*owner as usize].push(content as u32);
        }
        let place = |_| Place {
            paper: None,
            present: false,
            part: 0,
            stay: 0,
            missed: Vec::new(),
            rows: BTreeMap::new(),
            offers: BTreeMap::new(),
        };
        let mut run = Self {
            network: Network::new(&scenario),
            places: (0..scenario.world.peers).map(place).collect(),
            subgroups: vec![Vec::new(); scenario.subgroups as usize],
            owners,
            owned,
            queries: Vec::new(),
            free: Vec::new(),
            happened: VecDeque::new(),
            hops: 0,
            hours: Vec::new(),
            events: 0,
            trace: Trace::default(),
            protocol: ChaCha8Rng::seed_from_u64(seed),
            churn: ChaCha8Rng::seed_from_u64(seed ^ 0xc4a2 << 48),
            load,
            scenario,
        };
        run.begin();
        run
    }

    /// Everybody who is there at the beginning comes in the order of ages, and publishes when all have come.
    fn begin(&mut self) {
        let mut there = Vec::new();
        for peer in 0..self.scenario.world.peers {
            let Beginning { present, since, turns } = self.scenario.world.begin(peer, &mut self.churn);
            for at in turns {
                self.network.after(at, Due::Turn { peer });
            }
            if present {
                there.push(((since + AGE) as u64, peer));
            }
        }
        there.sort_unstable();
        for (_, peer) in &there {
            let subgroup = self.subgroup(*peer);
            self.subgroups[subgroup].push(*peer);
            self.arrive(*peer);
        }
        for subgroup in 0..self.subgroups.len() {
            self.members_changed(subgroup);
        }
        for (_, peer) in there {
            self.publish(peer);
        }
        self.settle();
    }

    fn subgroup(&self, peer: u32) -> usize {
        (peer % self.scenario.subgroups) as usize
    }

    /// Runs for some time.
    pub fn run(&mut self, time: Duration) {
        let end = self.network.now + time;
        loop {
            let hour = Time(0) + HOUR * (self.hours.len() as u32 + 1);
            match self.network.queue.pop(end.min(hour)) {
                Some((at, due)) => {
                    self.network.now = at;
                    self.events += 1;
                    self.happen(due);
                    self.settle();
                }
                None if hour <= end => {
                    self.network.now = hour;
                    self.hour_ends();
                }
                None => break,
            }
        }
        self.network.now = end;
    }

    fn hour_ends(&mut self) {
        let mut hour = std::mem::take(&mut self.network.hour);
        let present = self.places.iter().filter(|place| place.present);
        for place in present {
            hour.present += 1;
            hour.relayed += place.paper.as_ref().map_or(0, |paper| paper.relayed()) as u64;
        }
        self.hours.push(hour);
    }

    /// The hours that have ended.
    pub fn hours(&self) -> &[Hour] {
        &self.hours
    }

    /// Events so far: messages and timers delivered, streams passed on, comings and goings, queries.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// A hash over every event so far.
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    fn happen(&mut self, due: Due) {
        let mut trace = |kind: u64, peer: u32| {
            self.trace.add(self.network.now.0);
            self.trace.add(kind << 32 | u64::from(peer));
        };
        self.hops = 0;
        match due {
            Due::Message { from, to, message } => {
                trace(counts::kind(&message) as u64, to);
                self.received(from, to, *message);
            }
            Due::Ping { from, to, ping } => {
                let message = PaperMessage::Ping(ping);
                trace(counts::kind(&message) as u64, to);
                self.received(from, to, message);
            }
            Due::Timer { peer, part, timer } => {
                trace(20, peer);
                let place = &mut self.places[peer as usize];
                if place.part != part {
                    return;
                }
                if !place.present {
                    place.missed.push(timer);
                    return;
                }
                self.expired(peer, timer);
            }
            Due::Cast { to, bytes } => {
                trace(21, to);
                if self.places[to as usize].present {
                    self.act(to, |paper, ctx, keys| paper.cast_received(ctx, keys, &bytes));
                }
            }
            Due::Stream { from, to, hops, header } => {
                trace(22, to);
                if self.places[to as usize].present {
                    self.hops = hops;
                    let stream = self.events;
                    self.act(to, |paper, ctx, _| paper.stream_asked(ctx, stream, from, &header));
                }
            }
            Due::Turn { peer } => {
                trace(23, peer);
                self.turn(peer);
            }
            Due::Ask { peer, stay } => {
                trace(24, peer);
                let place = &self.places[peer as usize];
                if place.present && place.stay == stay {
                    self.ask(peer);
                }
            }
            Due::Retry { query } => {
                trace(25, query as u32);
                self.try_again(query);
            }
        }
    }

    fn received(&mut self, from: u32, to: u32, message: PaperMessage<u32>) {
        if self.places[to as usize].present {
            self.act(to, |paper, ctx, keys| paper.received(ctx, keys, from, message));
        }
    }

    fn expired(&mut self, peer: u32, timer: PaperTimer) {
        if timer == PaperTimer::Check {
            self.network.hour.timeouts += 1;
        }
        self.act(peer, |paper, ctx, keys| paper.expired(ctx, keys, timer));
    }

    /// Has the part of a peer do something.
    fn act<R>(
        &mut self,
        peer: u32,
        what: impl FnOnce(&mut Paper<u32>, &mut Ctx<'_, u32, Paper<u32>>, &StandInKeys) -> R,
    ) -> Option<R> {
        let place = &mut self.places[peer as usize];
        let (now, part) = (self.network.now, place.part);
        let mut out = Outbox { network: &mut self.network, happened: &mut self.happened, peer, part };
        let unix = BEGINS + now.0 / 1_000_000;
        let mut ctx = Ctx { now, unix, rng: &mut self.protocol, out: &mut out };
        place.paper.as_mut().map(|paper| what(paper, &mut ctx, &StandInKeys::new(peer)))
    }

    // ---- coming and going ------------------------------------------------------------------------------------

    fn turn(&mut self, peer: u32) {
        if let Some(after) = self.scenario.world.next_turn(&mut self.churn) {
            self.network.after(after, Due::Turn { peer });
        }
        let subgroup = self.subgroup(peer);
        if self.places[peer as usize].present {
            self.network.hour.left += 1;
            self.subgroups[subgroup].retain(|member| *member != peer);
            self.depart(peer);
            self.members_changed(subgroup);
        } else {
            self.network.hour.joined += 1;
            self.subgroups[subgroup].push(peer);
            let new = self.arrive(peer);
            self.members_changed(subgroup);
            if new {
                self.publish(peer);
            }
            for timer in std::mem::take(&mut self.places[peer as usize].missed) {
                self.expired(peer, timer);
            }
        }
    }

    /// Dies: nobody is told.
    fn depart(&mut self, peer: u32) {
        let place = &mut self.places[peer as usize];
        place.present = false;
        if self.scenario.rejoin == Rejoin::Anew {
            place.paper = None;
            place.part += 1;
            place.rows.clear();
            place.offers.clear();
        }
    }

    /// Is there again; whether with a new part.
    fn arrive(&mut self, peer: u32) -> bool {
        let config = self.scenario.config();
        let place = &mut self.places[peer as usize];
        place.present = true;
        place.stay += 1;
        let new = place.paper.is_none();
        if new {
            place.paper = Some(Box::new(Paper::new(config, Contact::bare(peer))));
        }
        self.ask_later(peer);
        new
    }

    fn publish(&mut self, peer: u32) {
        for content in self.owned[peer as usize].clone() {
            let mut secret = [0; 32];
            secret[..4].copy_from_slice(&content.to_le_bytes());
            let payload = content.to_le_bytes().to_vec();
            let announcement = Announcement { secret, payload, expiry_day: EXPIRY_DAY };
            self.act(peer, |paper, ctx, keys| paper.announce(ctx, keys, (NOBODY, announcement, true)));
        }
    }

    /// All members are told at once.
    fn members_changed(&mut self, subgroup: usize) {
        let list: Arc<[Contact<u32>]> = self.subgroups[subgroup].iter().map(|peer| Contact::bare(*peer)).collect();
        let Some(leader) = list.first().cloned() else { return };
        let members = Members { subgroup: OverlayAddr(subgroup as u128), leader, list: list.clone() };
        for member in list.iter() {
            let members = Some(members.clone());
            self.act(member.peer, |paper, ctx, _| paper.set_members(ctx, members));
        }
    }

    // ---- what parts report -----------------------------------------------------------------------------------

    fn settle(&mut self) {
        while let Some((peer, event)) = self.happened.pop_front() {
            self.reported(peer, event);
        }
    }

    fn reported(&mut self, peer: u32, event: PaperEvent<u32>) {
        match event {
            PaperEvent::Done(token, answer) => self.answered(token, answer),
            PaperEvent::Cast(bytes) => self.cast(peer, bytes),
            PaperEvent::RowAdded { row, payload } => {
                let Some(content) = content_of(&payload) else { return };
                let place = &mut self.places[peer as usize];
                place.rows.insert(row, content);
                place.offers.entry(content).or_default().push(row);
            }
            PaperEvent::RowRemoved(row) => {
                let place = &mut self.places[peer as usize];
                if let Some(content) = place.rows.remove(&row)
                    && let Some(rows) = place.offers.get_mut(&content)
                {
                    rows.retain(|other| *other != row);
                    if rows.is_empty() {
                        place.offers.remove(&content);
                    }
                }
            }
            PaperEvent::RowsCleared => {
                self.places[peer as usize].rows.clear();
                self.places[peer as usize].offers.clear();
            }
            PaperEvent::Asked { ask, query, .. } => self.asked(peer, ask, &query),
            PaperEvent::Grant { next, header, .. } => self.stream(peer, next.peer, self.hops, header),
            PaperEvent::Deliver { next, header, .. } => self.stream(peer, next.peer, 0, header),
            PaperEvent::Received { token, .. } => self.delivered(token),
            // A stream that is refused is missed by the requester when it does not begin in time.
            PaperEvent::Held(_) | PaperEvent::Refuse { .. } => {}
        }
    }

    /// The application of a leader: all rows of the wanted content, of which the leader finds out which still lead to an owner. If
    /// it does not ask owners, only the newest row, as an index would that keeps one row a content.
    fn asked(&mut self, peer: u32, ask: u64, query: &[u8]) {
        let offers = &self.places[peer as usize].offers;
        let rows = content_of(query).and_then(|content| offers.get(&content)).map(Vec::as_slice).unwrap_or_default();
        let first = if self.scenario.restoration { 0 } else { rows.len().saturating_sub(1) };
        let rows = rows[first..].to_vec();
        self.act(peer, |paper, ctx, _| paper.answer(ctx, ask, &rows));
    }

    fn cast(&mut self, from: u32, bytes: Vec<u8>) {
        let leaders = self.subgroups.iter().filter(|members| !members.is_empty()).count();
        self.network.hour.multicast += leaders.saturating_sub(1) as u64;
        let wanted = PaperCast::<u32>::from_bytes(&bytes).ok().and_then(|cast| content_of(&cast.lookup.query));
        let owner = wanted.and_then(|content| self.owners.get(content as usize).map(|owner| (content, *owner)));
        let Some((content, owner)) = owner else { return };
        let Some(to) = self.subgroups[self.subgroup(owner)].first().copied().filter(|to| *to != from) else { return };
        if self.places[to as usize].offers.contains_key(&content) {
            let bytes = bytes.into_boxed_slice();
            self.network.after(self.network.latency(from, to), Due::Cast { to, bytes });
        }
    }

    fn stream(&mut self, from: u32, to: u32, hops: u64, header: StreamHeader) {
        let hops = hops + u64::from(from != to);
        if hops > MOST_HOPS {
            return;
        }
        let due = Due::Stream { from, to, hops, header: Box::new(header) };
        self.network.after(self.network.latency(from, to), due);
    }
}

/// A content is named by its number, in what is published and in what is asked.
fn content_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}
