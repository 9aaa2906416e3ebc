//! One subgroup of path parts, the code that runs in production, and a log of all steps of their walks.
//!
//! The member list is known to all at once, and the leader of the hardened mechanism keeps no table: what is measured are walks.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::log::{Log, Step};
use crate::address::OverlayAddr;
use crate::protocol::errand::{Envelope, Errand};
use crate::protocol::interface::{Announcement, Purpose};
use crate::protocol::io::{Contact, Ctx, Sink, Time};
use crate::protocol::paper::{Members, Paper, PaperConfig, PaperEvent, PaperMessage, PaperTimer};
use crate::protocol::path::{PathConfig, PathEvent, PathMessage, PathTimer, Paths, View};
use crate::protocol::policy::{Mechanism, PathPolicy};
use crate::protocol::seal::Keys;
use crate::sim::keys::StandInKeys;
use crate::sim::queue::Queue;
use world::{Context, Due, Message, Outbox, Walker, World, WorldOut, latency};

/// Seconds since 1970 at which every run begins, and the day on which what is published expires.
const BEGINS: u64 = 1_800_000_000;
const EXPIRY_DAY: u32 = (BEGINS / 86_400) as u32 + 36_500;
/// The leader, and the secret to which is sealed what only it may read.
const LEADER: u32 = 0;
const SECRET: [u8; 32] = [7; 32];
const SUBGROUP: OverlayAddr = OverlayAddr(1);

/// Where a walk's TTL begins, paper's mechanism only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// At the same number for all.
    Fixed(u8),
    /// At a number that each owner draws once from these, both included.
    Between(u8, u8),
    /// At this number, which is left whole by a peer with a probability of so many hundredths (research §5: 75 of 100).
    Sticky(u8, u8),
}

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Members besides the leader.
    pub members: u32,
    /// Probability that a walk goes on.
    pub p: f64,
    /// Paper's mechanism only.
    pub ttl: Ttl,
    /// Whether the paper's paths are kept up (its timer, 300 s).
    pub restoration: bool,
}

impl Setting {
    /// `hardened()` among this many.
    pub fn hardened(members: u32) -> Self {
        Self { mechanism: Mechanism::Hardened, restoration: true, ..Self::paper(members, Ttl::Fixed(0)) }
    }

    /// `paper()` among this many, its paths not kept up.
    pub fn paper(members: u32, ttl: Ttl) -> Self {
        let policy = PathPolicy::paper();
        Self { mechanism: policy.mechanism, members, p: policy.p, ttl, restoration: false }
    }
}

/// A subgroup.
pub struct Subgroup {
    setting: Setting,
    world: World,
    members: BTreeMap<u32, Walker>,
    /// Members that are on no list: they have paths and are no relays.
    hidden: BTreeSet<u32>,
    next_peer: u32,
}

impl std::fmt::Debug for Subgroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subgroup").field("now", &self.world.now).field("members", &self.members.len()).finish()
    }
}

impl Subgroup {
    /// A subgroup whose members have no paths yet.
    pub fn new(seed: u64, setting: Setting) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (queue, log) = (Queue::default(), Log::default());
        let world = World { now: Time(0), queue, log, arrived: Vec::new(), rng };
        let mut subgroup = Self { setting, world, members: BTreeMap::new(), hidden: BTreeSet::new(), next_peer: 0 };
        for _ in 0..=setting.members {
            subgroup.add();
        }
        subgroup.tell_all();
        subgroup
    }

    /// Members besides the leader.
    pub fn members(&self) -> Vec<u32> {
        self.members.keys().copied().filter(|peer| *peer != LEADER).collect()
    }

    /// The leader.
    pub fn leader(&self) -> u32 {
        LEADER
    }

    /// All steps of walks so far, but those that were taken out.
    pub fn log(&self) -> &Log {
        &self.world.log
    }

    /// Takes the steps out.
    pub fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.world.log)
    }

    /// Takes out what came to the leader: over which last relay, and what.
    pub fn take_arrived(&mut self) -> Vec<(u32, Errand)> {
        std::mem::take(&mut self.world.arrived)
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.world.now
    }

    /// Draws below `bound`.
    pub fn draw(&mut self, bound: usize) -> usize {
        (self.world.rng.next_u64() % bound.max(1) as u64) as usize
    }

    /// A number from 0 to 1.
    pub fn chance(&mut self) -> f64 {
        (self.world.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws `c` members that collude.
    pub fn draw_colluders(&mut self, c: u32) -> BTreeSet<u32> {
        let members = self.members();
        let mut colluders = BTreeSet::new();
        while colluders.len() < (c as usize).min(members.len()) {
            let at = self.draw(members.len());
            colluders.extend(members.get(at));
        }
        colluders
    }

    fn add(&mut self) -> u32 {
        let peer = self.next_peer;
        self.next_peer += 1;
        let walker = self.walker(peer);
        self.members.insert(peer, walker);
        peer
    }

    fn walker(&mut self, peer: u32) -> Walker {
        let Setting { mechanism, p, ttl, restoration, .. } = self.setting;
        if mechanism == Mechanism::Hardened {
            let config = PathConfig {
                p,
                search_anew: None,
                max_streams: 256,
                max_streams_per_neighbour: 32,
                carry_rate: 4 << 20,
            };
            return Walker::Hardened(Box::new(Paths::new(config, peer)));
        }
        let ttl = match ttl {
            Ttl::Fixed(ttl) | Ttl::Sticky(ttl, _) => ttl,
            Ttl::Between(least, most) => least + self.draw(usize::from(most - least) + 1) as u8,
        };
        let falls = match self.setting.ttl {
            Ttl::Sticky(_, stays) => 1.0 - f64::from(stays) / 100.0,
            Ttl::Fixed(_) | Ttl::Between(..) => 1.0,
        };
        let config = PaperConfig { p, ttl, falls, timer: PathPolicy::paper().timer, restoration };
        Walker::Paper(Box::new(Paper::new(config, Contact::bare(peer))))
    }

    /// Gives all members new parts, which remember nothing.
    pub fn forget_all(&mut self) {
        for peer in self.members.keys().copied().collect::<Vec<_>>() {
            let walker = self.walker(peer);
            self.members.insert(peer, walker);
        }
        self.world.queue = Queue::default();
        self.tell_all();
    }

    /// Tells all who is a member.
    fn tell_all(&mut self) {
        let list = self.true_list();
        for peer in self.members.keys().copied().collect::<Vec<_>>() {
            self.tell(peer, &list);
        }
    }

    fn true_list(&self) -> Arc<[Contact<u32>]> {
        self.members.keys().filter(|peer| !self.hidden.contains(peer)).map(|peer| Contact::bare(*peer)).collect()
    }

    /// Takes a member off all lists: it goes on to make paths, and relays none. What it does is not disturbed by others like it.
    pub fn hide(&mut self, peer: u32) {
        self.hidden.insert(peer);
        self.tell_all();
    }

    /// The leader shows a member a list on which, besides the two, are only these.
    pub fn show_list(&mut self, peer: u32, others: &BTreeSet<u32>) {
        let list: Arc<[Contact<u32>]> = [LEADER, peer].iter().chain(others).map(|peer| Contact::bare(*peer)).collect();
        self.tell(peer, &list);
    }

    /// The member has the true list again.
    pub fn show_true_list(&mut self, peer: u32) {
        let list = self.true_list();
        self.tell(peer, &list);
    }

    /// The leader breaks a member's path at its end; `hardened()` only.
    pub fn break_end(&mut self, owner: u32) {
        let Some((last, name)) = self.last_link(owner) else { return };
        self.act(LEADER, |walker, _, mut ctx| {
            if let Walker::Hardened(paths) = walker {
                paths.close_end(&mut ctx.path(), (last, name));
            }
        });
    }

    fn tell(&mut self, peer: u32, list: &Arc<[Contact<u32>]>) {
        let leader = Contact::bare(LEADER);
        let relays = || list.iter().filter(|other| other.peer != peer && other.peer != LEADER).cloned().collect();
        self.act(peer, |walker, keys, ctx| match (walker, ctx) {
            (Walker::Hardened(paths), mut ctx) => {
                let leader_key = keys.public(&SECRET);
                let view = View { subgroup: SUBGROUP, leader: leader.clone(), leader_key, relays: relays() };
                let leads = (peer == LEADER).then_some(SUBGROUP);
                paths.set_views(&mut ctx.path(), keys, vec![view], (peer != LEADER).then_some(SUBGROUP), leads);
            }
            (Walker::Paper(paper), mut ctx) => {
                let members = Members { subgroup: SUBGROUP, leader: leader.clone(), list: list.clone() };
                paper.set_members(&mut ctx.paper(), Some(members));
            }
        });
    }

    /// Calls the part of a peer and does what it wants done.
    fn act(&mut self, peer: u32, call: impl FnOnce(&mut Walker, &StandInKeys, Context<'_>)) {
        let Some(walker) = self.members.get_mut(&peer) else { return };
        let World { now, queue, log, arrived, rng } = &mut self.world;
        let mut out = WorldOut { now: *now, sent: Vec::new(), armed: Vec::new(), arrived: Vec::new() };
        let keys = StandInKeys::new(peer);
        let outbox = Outbox { peer, world: &mut out };
        call(walker, &keys, Context { now: *now, rng, outbox });
        for (to, message) in out.sent {
            let step = match &message {
                Message::Path(message) => Step::of_path(out.now, (peer, to), message),
                Message::Paper(message) => Step::of_paper(out.now, (peer, to), message),
            };
            log.steps.extend(step);
            queue.push(*now + latency(peer, to), Due::Message { from: peer, to, message });
        }
        for (after, due) in out.armed {
            queue.push(*now + after, due);
        }
        arrived.extend(out.arrived);
    }

    // ---- what members do -------------------------------------------------------------------------------------

    /// A member makes a path for publishing: `hardened()` for its own sake, `paper()` by publishing something.
    pub fn open(&mut self, owner: u32) {
        self.open_for(owner, Purpose::Publishing);
    }

    /// A member makes a path for a purpose; `paper()` has one for all.
    pub fn open_for(&mut self, owner: u32, purpose: Purpose) {
        self.act(owner, |walker, keys, mut ctx| match walker {
            Walker::Hardened(paths) => paths.want(&mut ctx.path(), keys, purpose),
            Walker::Paper(paper) => {
                let announcement =
                    Announcement { secret: [1; 32], payload: owner.to_le_bytes().to_vec(), expiry_day: EXPIRY_DAY };
                // It can only fail for lack of members.
                let _ = paper.announce(&mut ctx.paper(), keys, (u64::from(owner), announcement, true));
            }
        });
    }

    /// A member makes its whole path anew: the paper's owner after a failure, or one that gives its path up and wants one again.
    pub fn open_anew(&mut self, owner: u32) {
        self.act(owner, |walker, keys, mut ctx| match walker {
            Walker::Hardened(paths) => {
                paths.leave(&mut ctx.path());
                paths.want(&mut ctx.path(), keys, Purpose::Publishing);
            }
            Walker::Paper(paper) => paper.expired(&mut ctx.paper(), keys, PaperTimer::Republish),
        });
    }

    /// The link behind the first relay of a member's path fails: that relay takes the next one for dead. Whether there is one that is
    /// not the first relay's own first relay.
    pub fn break_behind_first(&mut self, owner: u32) -> bool {
        let path = self.path(owner);
        let [_, first, next, ..] = *path.as_slice() else { return false };
        let own = self.paths(first).and_then(|paths| paths.first_link(Purpose::Publishing));
        if next == LEADER || next == owner || own.is_some_and(|(own, _)| own == next) {
            return false;
        }
        self.break_between(first, next);
        true
    }

    /// A peer takes another one for dead, to which it has a link.
    pub fn break_between(&mut self, peer: u32, gone: u32) {
        self.world.queue.push(self.world.now, Due::Dead { peer, gone });
    }

    /// A member is gone; whoever has a path with it notices, and another one joins in its place.
    pub fn replace(&mut self, gone: u32) -> u32 {
        self.members.remove(&gone);
        for (peer, walker) in &self.members {
            let linked = match walker {
                Walker::Hardened(paths) => paths.neighbours().any(|(other, ..)| other == gone),
                // The paper's finds out by its timer.
                Walker::Paper(_) => false,
            };
            if linked {
                self.world.queue.push(self.world.now + Duration::from_millis(50), Due::Dead { peer: *peer, gone });
            }
        }
        let joined = self.add();
        self.run(Duration::from_millis(500));
        self.tell_all();
        joined
    }

    // ---- to be looked at -------------------------------------------------------------------------------------

    /// The peers of a path, its owner first and its leader last, or as far as it goes; `hardened()` only.
    pub fn path(&self, owner: u32) -> Vec<u32> {
        std::iter::once(owner).chain(self.links(owner, Purpose::Publishing).into_iter().map(|(to, _)| to)).collect()
    }

    /// To whom each link of a path goes, and its name there; `hardened()` only.
    pub fn links(&self, owner: u32, purpose: Purpose) -> Vec<(u32, u64)> {
        let mut links = Vec::new();
        let mut link = self.paths(owner).and_then(|paths| paths.first_link(purpose));
        let mut before = owner;
        while let Some((at, name)) = link {
            links.push((at, name));
            let next = |paths: &Paths<u32>| {
                paths.relayed_links().find(|(previous, _)| *previous == (before, name)).map(|(_, next)| next)
            };
            link = self.paths(at).and_then(next);
            before = at;
        }
        links
    }

    /// The last relay of a path, and the path's name on the link to the leader.
    fn last_link(&self, owner: u32) -> Option<(u32, u64)> {
        let links = self.links(owner, Purpose::Publishing);
        let [.., (last, _), (LEADER, name)] = *links.as_slice() else { return None };
        Some((last, name))
    }

    /// The first relay of a member's path that is ready, and the path's name on that link; `hardened()` only.
    pub fn first_relay(&self, owner: u32) -> Option<(u32, u64)> {
        self.paths(owner)?.first_link(Purpose::Publishing)
    }

    fn paths(&self, peer: u32) -> Option<&Paths<u32>> {
        match self.members.get(&peer) {
            Some(Walker::Hardened(paths)) => Some(paths),
            _ => None,
        }
    }

    // ---- time ------------------------------------------------------------------------------------------------

    /// Runs for some time.
    pub fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        while let Some((at, due)) = self.world.queue.pop(end) {
            self.world.now = at;
            self.happen(due);
        }
        self.world.now = end;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Message { from, to, message } => self.act(to, |walker, keys, mut ctx| match (walker, message) {
                (Walker::Hardened(paths), Message::Path(message)) => {
                    paths.received(&mut ctx.path(), (keys, &SECRET), from, message);
                }
                (Walker::Paper(paper), Message::Paper(message)) => {
                    paper.received(&mut ctx.paper(), keys, from, message);
                }
                _ => {}
            }),
            Due::Path(peer, timer) => self.act(peer, |walker, keys, mut ctx| {
                if let Walker::Hardened(paths) = walker {
                    paths.expired(&mut ctx.path(), keys, timer);
                }
            }),
            Due::Paper(peer, timer) => self.act(peer, |walker, keys, mut ctx| {
                if let Walker::Paper(paper) = walker {
                    paper.expired(&mut ctx.paper(), keys, timer);
                }
            }),
            Due::Dead { peer, gone } => self.act(peer, |walker, keys, mut ctx| {
                if let Walker::Hardened(paths) = walker {
                    paths.dead(&mut ctx.path(), keys, gone);
                }
            }),
        }
    }
}
