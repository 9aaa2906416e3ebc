//! What the checker explores: some rings and the messages between them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use neblo_behaviour::protocol::interface::Ownership;
use neblo_behaviour::protocol::io::{Contact, Ctx, Sink, Time};
use neblo_behaviour::protocol::ring::{Principal, Ring, RingEvent, RingInput, RingMessage, RingTimer, Rules};
use neblo_behaviour::{AddrRange, OverlayAddr};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Successors that each member keeps.
pub(super) const R: usize = 2;

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) ring: Ring<u32>,
    pub(super) alive: bool,
    /// Handovers whose migration the application has not finished.
    pub(super) migrating: Vec<u64>,
    inherited: Vec<(AddrRange, u64)>,
    epoch: u64,
    /// A member of the ring that it wants to join, when there are two.
    via: Option<u32>,
    /// Whether it waits for the owner of its address to be located.
    locating: bool,
}

/// When a member may die or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Gate {
    /// When the last that did is repaired.
    OneAtATime,
    /// Whenever each member keeps a living successor and r + 1 principals stay (research §3).
    Invariant,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) hosts: Vec<Host>,
    /// Frames under way, in order between each two.
    pub(super) net: BTreeMap<(u32, u32), Vec<RingMessage<u32>>>,
    pub(super) joins: u8,
    pub(super) leaves: u8,
    pub(super) crashes: u8,
    pub(super) rounds: u8,
    /// Joins that may be tried again.
    pub(super) retries: u8,
    pub(super) gate: Gate,
    /// Who leaves, if not anybody may.
    pub(super) leaver: Option<u32>,
    /// Hosts before this one are out of reach of those who join.
    apart: u32,
    /// Whether the members look for other rings.
    pub(super) merging: bool,
    /// A member of a ring that ended.
    fresh: Option<(u32, u32)>,
    /// What must not happen and did.
    pub(super) broken: Option<&'static str>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// The next frame from one to another arrives.
    Deliver(u32, u32),
    /// A member asks its head.
    Stabilise(u32),
    /// A host begins to join.
    Join(u32),
    /// The owner of a joiner's address is located.
    Located(u32, u32),
    /// Nothing came of a join: it is tried again.
    Again(u32),
    /// A host dies.
    Crash(u32),
    /// A host learns of a death.
    Detect(u32, u32),
    /// A host leaves in order.
    Leave(u32),
    /// What belonged to a range has been sent.
    Migrated(u32, u64),
    /// Nobody has shown up in a claimed range: nobody lives there, or would have noticed by then.
    Claim(u32),
}

#[derive(Default)]
struct Out {
    sent: Vec<(u32, RingMessage<u32>)>,
    events: Vec<RingEvent<u32>>,
}

impl Sink<u32, Ring<u32>> for Out {
    fn send(&mut self, to: &Contact<u32>, message: RingMessage<u32>) {
        self.sent.push((to.peer, message));
    }
    fn arm(&mut self, _after: Duration, _timer: RingTimer) {}
    fn emit(&mut self, event: RingEvent<u32>) {
        self.events.push(event);
    }
}

impl World {
    /// Hosts at these addresses, the first `members` of them a ring.
    pub(super) fn new(addresses: &[u128], members: usize, rules: Rules) -> Self {
        let host = |_: &u128| Host {
            ring: Ring::with_rules(R, rules),
            alive: true,
            migrating: Vec::new(),
            inherited: Vec::new(),
            epoch: 0,
            via: None,
            locating: false,
        };
        let hosts = addresses.iter().map(host).collect();
        let net = BTreeMap::new();
        let mut world = Self {
            hosts,
            net,
            joins: 0,
            leaves: 0,
            crashes: 0,
            rounds: 0,
            retries: u8::MAX,
            gate: Gate::OneAtATime,
            leaver: None,
            apart: 0,
            merging: false,
            fresh: None,
            broken: None,
        };
        for (peer, address) in addresses.iter().enumerate().take(members) {
            world.enter(peer as u32, *address);
            world.settle(3);
        }
        assert!(super::invariants::ideal(&world), "{:?}\n{}", world.broken, world.told());
        world
    }

    /// Hosts at these addresses in two rings that do not know each other.
    pub(super) fn two_rings(first: &[u128], second: &[u128]) -> Self {
        let addresses = [first, second].concat();
        let mut world = Self::new(&addresses, first.len(), Rules::default());
        for (peer, address) in addresses.iter().enumerate().skip(first.len()) {
            world.apart = first.len() as u32;
            world.enter(peer as u32, *address);
            world.settle(3);
        }
        world.apart = 0;
        world.merging = true;
        world
    }

    fn enter(&mut self, peer: u32, address: u128) {
        let me =
            Principal { address: OverlayAddr(address), incarnation: u64::from(peer), contact: Contact::bare(peer) };
        let input = if peer == self.apart { RingInput::Found { me } } else { RingInput::Join { me } };
        self.input(peer, input);
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (u32, &Ring<u32>)> {
        let members = self.hosts.iter().enumerate().filter(|(_, host)| host.alive && host.ring.is_member());
        members.map(|(peer, host)| (peer as u32, &host.ring))
    }

    fn owners(&self, address: OverlayAddr) -> impl Iterator<Item = u32> {
        self.members()
            .filter(move |(peer, ring)| *peer >= self.apart && ring.ownership(address) != Ownership::No)
            .map(|(peer, _)| peer)
    }

    pub(super) fn address(&self, peer: u32) -> Option<OverlayAddr> {
        self.hosts[peer as usize].ring.me().map(|me| me.address)
    }

    pub(super) fn input(&mut self, peer: u32, input: RingInput<u32>) {
        let host = &mut self.hosts[peer as usize];
        if !host.alive {
            return;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut out = Out::default();
        let mut ctx = Ctx { now: Time(0), unix: 0, rng: &mut rng, out: &mut out };
        host.ring.handle(&mut ctx, input);
        for event in out.events {
            match event {
                RingEvent::Locate(_) => host.locating = true,
                RingEvent::Range { epoch, .. } => {
                    if epoch < host.epoch {
                        self.broken = Some("an epoch fell");
                    }
                    host.epoch = epoch;
                }
                RingEvent::HandedOver { epoch, .. } => host.migrating.push(epoch),
                RingEvent::Inherited { range, epoch } => {
                    if host.inherited.contains(&(range, epoch)) {
                        self.broken = Some("inherited twice");
                    }
                    host.inherited.push((range, epoch));
                }
                RingEvent::Left => host.alive = false,
                RingEvent::Isolated => {
                    self.broken = Some("isolated");
                    host.alive = false;
                }
                RingEvent::Dissolved(into) => self.fresh = Some((peer, into.peer)),
                RingEvent::Joined | RingEvent::Seen(_) => {}
            }
        }
        for (to, message) in out.sent {
            let dead = self.hosts.get(to as usize).is_none_or(|host| !host.alive);
            if !dead && to != peer {
                self.net.entry((peer, to)).or_default().push(message);
            }
        }
        self.hosts[peer as usize].ring.renumber();
        let hosts = &self.hosts;
        self.net.retain(|(_, to), _| hosts[*to as usize].alive);
    }

    fn deliver(&mut self, from: u32, to: u32) {
        let Some(frames) = self.net.get_mut(&(from, to)) else { return };
        let message = frames.remove(0);
        if frames.is_empty() {
            self.net.remove(&(from, to));
        }
        self.input(to, RingInput::Received(from, message));
    }

    /// Whether a host can learn that another one is dead.
    fn can_detect(&self, peer: u32, dead: u32) -> bool {
        let host = &self.hosts[peer as usize];
        host.alive
            && host.ring.is_member()
            && !self.hosts[dead as usize].alive
            && host.ring.neighbours().any(|neighbour| neighbour.peer == dead)
    }

    fn detect(&mut self, peer: u32, dead: u32) {
        self.net.remove(&(dead, peer));
        self.input(peer, RingInput::Dead(dead));
    }

    fn quiet(&self, peer: u32) -> bool {
        !self.net.keys().any(|(from, to)| *from == peer || *to == peer)
    }

    /// The world in short, for who reads a counter-example.
    pub(super) fn told(&self) -> String {
        let mut told = String::new();
        for (peer, host) in self.hosts.iter().enumerate() {
            let list: Vec<_> = host.ring.successors().iter().map(|next| next.contact.peer).collect();
            let before = host.ring.predecessor().map(|before| before.contact.peer);
            let range = host.ring.range().map(|(range, epoch)| (range.after.0, range.to.0, epoch));
            let own = (0..self.hosts.len() as u32).filter_map(|peer| self.address(peer));
            let own: Vec<_> = own.filter(|at| host.ring.ownership(*at) == Ownership::Yes).map(|at| at.0).collect();
            let _ = writeln!(
                told,
                "{peer}{} list {list:?} before {before:?} range {range:?} owns {own:?} asking {}",
                if host.alive { "" } else { " dead" },
                host.ring.is_asking(),
            );
        }
        let _ = write!(told, "under way {:?}", self.net);
        told
    }

    /// What may happen next.
    pub(super) fn steps(&self, addresses: &[u128], steps: &mut Vec<Step>) {
        if self.broken.is_some() {
            return;
        }
        steps.extend(self.net.keys().map(|(from, to)| Step::Deliver(*from, *to)));
        for (peer, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.alive) {
            let peer = peer as u32;
            let ring = &host.ring;
            if ring.me().is_none() && self.joins > 0 && (peer as usize) < addresses.len() {
                steps.push(Step::Join(peer));
            }
            if host.locating {
                let ring = |at: &u32| host.via.is_none_or(|via| super::invariants::leads_to(self, via, *at));
                let owners = host.ring.me().into_iter().flat_map(|me| self.owners(me.address)).filter(ring);
                steps.extend(owners.map(|at| Step::Located(peer, at)));
            } else if ring.is_joining() && self.quiet(peer) && self.retries > 0 {
                steps.push(Step::Again(peer));
            }
            if ring.is_member() && self.rounds > 0 && !ring.is_asking() {
                steps.push(Step::Stabilise(peer));
            }
            let may_leave = self.leaves > 0 && self.leaver.is_none_or(|leaver| leaver == peer);
            if ring.is_member() && may_leave && ring.range().is_some() && self.may_go(peer) {
                steps.push(Step::Leave(peer));
            }
            if self.crashes > 0 && ring.is_member() && self.may_go(peer) {
                steps.push(Step::Crash(peer));
            }
            if let Some((range, _)) = ring.claimed()
                && !self.members().any(|(_, other)| other.me().is_some_and(|other| range.contains(other.address)))
            {
                steps.push(Step::Claim(peer));
            }
            steps.extend(host.migrating.iter().map(|epoch| Step::Migrated(peer, *epoch)));
            for dead in 0..self.hosts.len() as u32 {
                if self.can_detect(peer, dead) {
                    steps.push(Step::Detect(peer, dead));
                }
            }
        }
    }

    /// Whether this member may die or leave.
    fn may_go(&self, peer: u32) -> bool {
        let others = self.members().count() - 1;
        if others < R || self.hosts.len() <= R + 1 {
            // A small ring, of which no more is asked than that it heals.
            return others > 0 && self.is_repaired();
        }
        let mut after = self.clone();
        after.hosts[peer as usize].alive = false;
        if self.gate == Gate::OneAtATime {
            return self.is_repaired() && super::invariants::principals(&after) > R;
        }
        for host in after.hosts.iter_mut().filter(|host| host.ring.is_leaving()) {
            host.alive = false;
        }
        after.views().iter().all(super::invariants::principled)
    }

    /// Whether the last death or leave has been repaired.
    fn is_repaired(&self) -> bool {
        let dead = |contact: &Contact<u32>| !self.hosts[contact.peer as usize].alive;
        if self.members().any(|(_, ring)| ring.is_leaving() || ring.neighbours().any(dead)) {
            return false;
        }
        let others = self.members().count() - 1;
        let short = |ring: &Ring<u32>| ring.successors().len() < R.min(others);
        let hurt = self.hosts.iter().any(|host| !host.alive);
        !hurt || !self.members().any(|(_, ring)| short(ring))
    }

    /// The world as the proof sees it: there, to ask and to adopt the answer is one step, so that answers under way count as
    /// adopted. Those of the dead may still arrive or be lost.
    pub(super) fn views(&self) -> Vec<Self> {
        if self.gate == Gate::OneAtATime {
            return vec![self.clone()];
        }
        let lost = |(from, _): &(u32, u32)| !self.hosts[*from as usize].alive;
        let view = |of_dead: bool| {
            let mut world = self.clone();
            for (link, frames) in self.net.iter().filter(|(link, _)| of_dead || !lost(link)) {
                let adopted =
                    |frame: &&RingMessage<u32>| matches!(frame, RingMessage::Neighbours(_) | RingMessage::Joined(_));
                for frame in frames.iter().filter(adopted) {
                    world.input(link.1, RingInput::Received(link.0, frame.clone()));
                }
            }
            world
        };
        let mut views = vec![view(true)];
        if self.net.keys().any(lost) {
            views.push(view(false));
        }
        views
    }

    /// Carries a step out.
    pub(super) fn step(&mut self, addresses: &[u128], step: Step) {
        match step {
            Step::Deliver(from, to) => self.deliver(from, to),
            Step::Stabilise(peer) => {
                self.rounds -= 1;
                self.input(peer, RingInput::Expired(RingTimer::Stabilise));
            }
            Step::Join(peer) => {
                self.joins -= 1;
                self.enter(peer, addresses[peer as usize]);
            }
            Step::Located(peer, owner) => {
                self.hosts[peer as usize].locating = false;
                self.input(peer, RingInput::Located(Contact::bare(owner)));
            }
            Step::Again(peer) => {
                self.retries -= 1;
                let me = self.hosts[peer as usize].ring.me().cloned();
                if let Some(me) = me {
                    self.input(peer, RingInput::Join { me });
                }
            }
            Step::Crash(peer) => {
                self.crashes -= 1;
                self.kill(peer);
            }
            Step::Detect(peer, dead) => self.detect(peer, dead),
            Step::Leave(peer) => {
                self.leaves -= 1;
                self.input(peer, RingInput::Leave);
            }
            Step::Claim(peer) => {
                let timer = self.hosts[peer as usize].ring.claimed().map(|(_, timer)| timer);
                if let Some(timer) = timer {
                    self.input(peer, RingInput::Expired(timer));
                }
            }
            Step::Migrated(peer, epoch) => {
                self.hosts[peer as usize].migrating.retain(|other| *other != epoch);
                self.input(peer, RingInput::Migrated { epoch });
            }
        }
    }

    pub(super) fn kill(&mut self, peer: u32) {
        self.hosts[peer as usize].alive = false;
        self.net.retain(|(_, to), _| *to != peer);
    }

    /// Lets everything that is under way happen, in a fixed order, and `rounds` rounds of stabilising.
    pub(super) fn settle(&mut self, rounds: usize) {
        self.drain();
        for _ in 0..rounds {
            for peer in 0..self.hosts.len() as u32 {
                if self.hosts[peer as usize].ring.is_member() {
                    self.input(peer, RingInput::Expired(RingTimer::Stabilise));
                    self.input(peer, RingInput::Expired(RingTimer::Repeat));
                    self.drain();
                    self.probe(peer);
                    self.drain();
                }
            }
        }
    }

    /// The nearest member that owns this one's address in another ring.
    fn other_owner(&self, peer: u32) -> Option<u32> {
        let address = self.address(peer).filter(|_| self.merging)?;
        self.owners(address).find(|owner| *owner != peer)
    }

    /// A member looks for another ring; should its own end, it enters that one.
    fn probe(&mut self, peer: u32) {
        let Some(owner) = self.other_owner(peer) else { return };
        self.input(peer, RingInput::OtherRing(Contact::bare(owner)));
        self.drain();
        if let Some((peer, into)) = self.fresh.take() {
            self.hosts[peer as usize].via = Some(into);
            let address = OverlayAddr(self.hosts.len() as u128 * 1_000 + u128::from(peer));
            let me = Principal { address, incarnation: 100 + u64::from(peer), contact: Contact::bare(peer) };
            self.input(peer, RingInput::Join { me });
        }
    }

    fn drain(&mut self) {
        let budget = (self.rounds, self.crashes, self.leaves, self.retries);
        (self.rounds, self.crashes, self.leaves, self.retries) = (0, 0, 0, u8::MAX);
        for _ in 0..1_000 {
            let mut steps = Vec::new();
            self.steps(&[], &mut steps);
            let Some(step) = steps.into_iter().next() else { break };
            self.step(&[], step);
        }
        (self.rounds, self.crashes, self.leaves, self.retries) = budget;
    }
}
