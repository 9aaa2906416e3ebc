//! [`Node`] composes the parts and alone knows them all: it passes one part's events to the next.

mod commands;
mod events;
mod paper;
mod passing;
mod ranges;
mod sink;
mod subscription;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::Rng;

use super::client::Client;
use super::config::Config;
use super::cost::JoinCost;
use super::directory::Directory;
use super::interface::{Event, FIRST_USER_PORT, HandlerKind, Input, Output, Token};
use super::io::{Contact, Peer, Time};
use super::link::{LinkUse, Links};
use super::messaging::{Messaging, MessagingMessage};
use super::paper::{Paper, PaperConfig};
use super::path::{PathConfig, PathMessage, Paths};
use super::policy::PathPolicy;
use super::ring::{Fingers, Nudge, Ring, RingMessage};
use super::seal::Keys;
use super::subgroup::{LeaderPolicy, SubgroupConfig, Subgroups};
use super::wire::Frame;
use crate::address::OverlayAddr;
pub(crate) use passing::user_port;
use ranges::Ranges;
use sink::Happened;
pub use sink::Timer;
use subscription::Subscription;
pub use subscription::{FingerAsk, Locate, RegenerateAsk, RingRequest};
use upkeep::Upkeep;

/// The port on which owners are located and fingers asked for.
const PORT_RING: u16 = 0;
/// How long after it is first probed a silent death is noticed at the latest, and another one behind it. choice
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// Timers that expire so much too late belong to a program or a machine that stood still. choice: two rounds, less than a silence
/// for which others take a neighbour for dead
const STOPPED: Duration = Duration::from_secs(4);
/// The port of the registry.
const PORT_REGISTRY: u16 = 1;

/// For whom a request was sent.
#[derive(Clone, Debug)]
enum Asker {
    /// The application.
    User(Token),
    /// The regeneration cast under this number.
    Cast(u64),
    /// The search for another ring; the secret opens the answer.
    Seek([u8; 32]),
    /// The joining ring; the secret opens the answer.
    Locate([u8; 32]),
    /// A finger of this level; the secret opens the answer.
    Finger(u8, [u8; 32]),
    /// The subgroup part, under this name.
    Registry(u64),
    /// Nobody waits for what comes of it.
    Nobody,
}

/// What is used during one input.
struct Step<'a, P> {
    now: Time,
    unix: u64,
    rng: &'a mut dyn Rng,
    out: &'a mut Vec<Output<P>>,
}

/// Calls a part with its context.
macro_rules! part {
    ($node:ident, $step:ident, |$ctx:ident| $body:expr) => {{
        let jitter = $step.rng.next_u64();
        let mut sink = $crate::protocol::node::sink::NodeSink { out: &mut *$step.out, queue: &mut $node.queue, jitter };
        #[allow(unused_mut)]
        let mut ctx =
            $crate::protocol::io::Ctx { now: $step.now, unix: $step.unix, rng: &mut *$step.rng, out: &mut sink };
        let $ctx = &mut ctx;
        $body
    }};
}
use part;

/// A whole NEBLO node without sockets or clock.
///
/// Call [`Node::handle`] for everything that happens and carry out what it appends to `out`, in order and completely,
/// before the next call.
pub struct Node<P: Peer> {
    config: Config,
    me: Contact<P>,
    keys: Box<dyn Keys<P>>,
    sealing: [u8; 32],
    links: Links<P>,
    ring: Ring<P>,
    fingers: Fingers<P>,
    messaging: Messaging<P>,
    subgroups: Subgroups<P>,
    paths: Paths<P>,
    directory: Directory<P>,
    client: Client<P>,
    /// In place of paths, directory and client, under the paper's policy.
    paper: Paper<P>,
    queue: VecDeque<Happened<P>>,
    subscription: Subscription<P>,
    asks: BTreeMap<u64, Asker>,
    next: u64,
    ranges: Ranges,
    /// The handlers that the application has set.
    handlers: BTreeSet<(u16, HandlerKind)>,
    /// Whether there is a migration handler, and a regeneration handler.
    range_handlers: (bool, bool),
    /// Peers whose connection is kept, in their order, and what for.
    held: Vec<(Contact<P>, LinkUse)>,
    /// All members of the subgroups that this peer is in, in their order.
    on_lists: Vec<P>,
    /// The successor list that the predecessor was told of.
    told_list: Vec<(P, OverlayAddr)>,
    /// The ring's neighbours when connections were looked at last.
    kept_ring: Vec<Contact<P>>,
    refreshing: bool,
    upkeep: Upkeep,
    next_stream: u64,
    counters: BTreeMap<&'static str, u64>,
}

impl<P: Peer> std::fmt::Debug for Node<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("ring", &self.ring).field("subgroups", &self.subgroups).finish_non_exhaustive()
    }
}

impl<P: Peer> Node<P> {
    /// A node that has not subscribed yet. `rng` draws the key to which this node is sealed.
    pub fn new(me: P, config: Config, keys: Box<dyn Keys<P>>, rng: &mut dyn Rng) -> Self {
        let contact = Contact::bare(me);
        let (secret, public) = keys.generate(rng);
        let mut subgroup_config = SubgroupConfig::new(config.network.clone(), config.subgroup_size);
        subgroup_config.cost = JoinCost::new(config.network.clone(), config.join_cost);
        if config.path_policy.is_paper() {
            (subgroup_config.policy, subgroup_config.resources) = (LeaderPolicy::Claimed, config.resources);
            // The paper's leaders move only when they publish or ask (seed 003 §2).
            subgroup_config.idle_guests = false;
        }
        let path_config = PathConfig {
            p: config.path_policy.p,
            search_anew: config.path_policy.search_anew,
            max_streams: config.max_streams,
            max_streams_per_neighbour: config.max_streams_per_neighbour,
            carry_rate: config.carry_rate,
        };
        let PathPolicy { p, ttl, timer, acknowledged_within, second_path, .. } = config.path_policy;
        let messaging = Messaging::new(config.return_way, config.carry_rate);
        let ring = Ring::new(config.probe_after + NOTICED_WITHIN);
        Self {
            fingers: Fingers::new(config.delta),
            links: Links::new(config.probe_after),
            subgroups: Subgroups::new(subgroup_config, contact.clone(), public),
            paths: Paths::new(path_config, me),
            directory: Directory::new(contact.clone(), acknowledged_within),
            paper: Paper::new(PaperConfig { p, ttl, falls: 1.0, timer, restoration: true }, contact.clone()),
            config,
            me: contact,
            keys,
            sealing: secret,
            ring,
            messaging,
            client: Client::new(acknowledged_within, second_path),
            queue: VecDeque::new(),
            subscription: Subscription::default(),
            asks: BTreeMap::new(),
            next: 0,
            ranges: Ranges::default(),
            handlers: BTreeSet::new(),
            range_handlers: (false, false),
            held: Vec::new(),
            on_lists: Vec::new(),
            told_list: Vec::new(),
            kept_ring: Vec::new(),
            refreshing: false,
            upkeep: Upkeep::default(),
            next_stream: 1 << 63,
            counters: BTreeMap::new(),
        }
    }

    /// The overlay address, when subscribed.
    pub fn address(&self) -> Option<OverlayAddr> {
        self.ring.me().filter(|_| self.ring.is_member()).map(|me| me.address)
    }

    /// The ring part, to be looked at by tests and simulations.
    pub fn ring(&self) -> &Ring<P> {
        &self.ring
    }

    /// The links, for simulations that model idle ones.
    #[cfg(feature = "sim")]
    pub fn links(&self) -> &Links<P> {
        &self.links
    }

    /// The subgroup part, to be looked at by tests and simulations.
    pub fn subgroups(&self) -> &Subgroups<P> {
        &self.subgroups
    }

    /// The directory, to be looked at by tests and simulations.
    pub fn directory(&self) -> &Directory<P> {
        &self.directory
    }

    /// The path part, to be looked at by tests and simulations.
    pub fn paths(&self) -> &Paths<P> {
        &self.paths
    }

    /// The messaging part, to be looked at by tests and simulations.
    pub fn messages(&self) -> &Messaging<P> {
        &self.messaging
    }

    /// The long links, to be looked at by tests and simulations.
    pub fn fingers(&self) -> &Fingers<P> {
        &self.fingers
    }

    /// Handles one input; what is to be done is appended to `out`.
    ///
    /// `now` never goes back; `unix` is seconds since 1970.
    pub fn handle(&mut self, now: Time, unix: u64, rng: &mut dyn Rng, input: Input<P>, out: &mut Vec<Output<P>>) {
        let mut step = Step { now, unix, rng, out };
        let step = &mut step;
        match input {
            Input::Received { from, frame } => self.received(step, from, *frame),
            Input::Expired(timer) => self.expired(step, timer),
            Input::Late(late) => {
                // The node was stopped, and others may have taken it for dead.
                if late > STOPPED {
                    self.subgroups.awoke(step.now);
                    self.stir(step);
                }
            }
            Input::Heard { from, at } => self.links.heard(at, from),
            Input::Connected(peer) => {
                self.fingers.forgive(step.now, Some(peer));
                self.links.connected(step.now, peer);
            }
            Input::Remote { peer, address } => self.subgroups.comes_from(peer, &address),
            Input::Disconnected(peer) => {
                self.subgroups.is_gone(peer);
                self.closed(step, peer);
            }
            Input::Restarted(peer) => self.peer_gone(step, peer),
            Input::ConnectionLost(peer) => part!(self, step, |ctx| self.links.suspect(ctx, peer)),
            Input::Unreachable(peer) => self.unreachable(step, peer),
            Input::Addresses(addresses) => self.own_addresses(step, addresses),
            Input::Multicast { message, from, bytes } => {
                let verdict = match self.is_paper() {
                    true => part!(self, step, |ctx| self.paper.cast_received(ctx, &*self.keys, &bytes)),
                    false => {
                        let leaders = &self.subgroups;
                        let known = |peer, subgroup| leaders.leader_of(subgroup).is_some_and(|it| it.peer == peer);
                        part!(self, step, |ctx| self.directory.cast_received(ctx, &*self.keys, known, &bytes))
                    }
                };
                step.out.push(Output::MulticastVerdict { message, from, verdict });
            }
            Input::StreamAsked { stream, from, header } => {
                match self.is_paper() {
                    true => part!(self, step, |ctx| self.paper.stream_asked(ctx, stream, from, &header)),
                    false => part!(self, step, |ctx| self.paths.stream_asked(ctx, stream, from, &header)),
                }
                self.refresh_soon(step);
            }
            Input::StreamEnded { stream, .. } => {
                for peer in self.paths.stream_ended(stream) {
                    part!(self, step, |ctx| self.links.suspect(ctx, peer));
                }
                self.refresh_soon(step);
            }
            Input::StreamRefused { token, reason } => {
                part!(self, step, |ctx| self.client.stream_refused(ctx, token, reason));
            }
            Input::Command(command) => self.command(step, command),
        }
        self.pass_events(step);
    }

    fn received(&mut self, step: &mut Step<'_, P>, from: P, frame: Frame<P>) {
        self.links.heard(step.now, from);
        match frame {
            Frame::Hello(_) => {}
            Frame::Link(message) => part!(self, step, |ctx| self.links.received(ctx, from, message)),
            Frame::Ring(message) => {
                if let RingMessage::Nudge(nudge) = &message {
                    // The answer to a question on its way may be older than this.
                    self.stir(step);
                    if nudge.leaving {
                        self.fingers.remove(from);
                        self.refresh_soon(step);
                    }
                }
                let input = super::ring::RingInput::Received(from, message);
                part!(self, step, |ctx| self.ring.handle(ctx, input));
                self.refresh_if_ring_changed(step);
            }
            Frame::Messaging(message) => {
                self.say_left(step, from, &message);
                self.messaging(step, |messaging, ctx, around| messaging.received(ctx, around, from, message));
            }
            Frame::Subgroup(message) => {
                part!(self, step, |ctx| self.subgroups.received(ctx, &*self.keys, from, message));
            }
            // The binding keeps the two mechanisms apart by their protocol names.
            Frame::Path(_) | Frame::Directory(_) if self.is_paper() => {}
            Frame::Paper(_) if !self.is_paper() => {}
            Frame::Paper(message) => {
                part!(self, step, |ctx| self.paper.received(ctx, &*self.keys, from, message));
            }
            Frame::Path(message) => {
                let keys = (&*self.keys, &self.sealing);
                let passes = matches!(message, PathMessage::Up(_) | PathMessage::Down(_));
                part!(self, step, |ctx| self.paths.received(ctx, keys, from, message));
                if !passes {
                    self.refresh_soon(step);
                }
            }
            Frame::Directory(message) => {
                let leaders = &self.subgroups;
                let known = |peer, subgroup| leaders.leader_of(subgroup).is_some_and(|it| it.peer == peer);
                part!(self, step, |ctx| self.directory.received(ctx, &*self.keys, known, from, message));
            }
        }
    }

    /// Whoever sends us something to pass on though we have left has us for a finger still: leaving was told to neighbours
    /// alone, and all that goes this way would end here.
    fn say_left(&self, step: &mut Step<'_, P>, from: P, message: &MessagingMessage) {
        let passing = match message {
            MessagingMessage::Message(_) => true,
            MessagingMessage::Request(request) => !request.last,
            _ => false,
        };
        if passing && self.ring.me().is_none() {
            let frame = Frame::Ring(RingMessage::Nudge(Nudge { leaving: true }));
            step.out.push(Output::Send { to: Contact::bare(from), lane: frame.lane(), frame: Box::new(frame) });
        }
    }

    fn expired(&mut self, step: &mut Step<'_, P>, timer: Timer<P>) {
        match timer {
            Timer::Ring(timer) => {
                let asking = self.ring.is_asking();
                let input = super::ring::RingInput::Expired(timer);
                part!(self, step, |ctx| self.ring.handle(ctx, input));
                if asking && !self.ring.is_asking() {
                    // Not answered: asked again in a round.
                    self.stir(step);
                }
            }
            Timer::Link(timer) => part!(self, step, |ctx| self.links.expired(ctx, timer)),
            Timer::Messaging(timer) => {
                self.messaging(step, |messaging, ctx, around| messaging.expired(ctx, around, timer));
            }
            Timer::Subgroup(timer) => part!(self, step, |ctx| self.subgroups.expired(ctx, &*self.keys, timer)),
            Timer::Path(timer) => {
                part!(self, step, |ctx| self.paths.expired(ctx, &*self.keys, timer));
                self.refresh_soon(step);
            }
            Timer::Directory(timer) => part!(self, step, |ctx| self.directory.expired(ctx, &*self.keys, timer)),
            Timer::Client(timer) => part!(self, step, |ctx| self.client.expired(ctx, timer)),
            Timer::Paper(timer) => part!(self, step, |ctx| self.paper.expired(ctx, &*self.keys, timer)),
            Timer::Upkeep(generation) => self.upkeep_expired(step, generation),
            Timer::Refresh => self.refresh(step),
            Timer::Left => self.left_expired(step),
            Timer::Cast(cast) => self.cast_again(step, cast),
        }
    }

    fn event(step: &mut Step<'_, P>, event: Event<P>) {
        step.out.push(Output::Event(event));
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_insert(0) += 1;
    }
}

fn arm<P>(step: &mut Step<'_, P>, after: Duration, timer: Timer<P>) {
    step.out.push(Output::Arm { after, timer });
}

/// The way that the ring knows, as messaging asks for it.
fn route<P: Peer>(ring: &Ring<P>, fingers: &Fingers<P>, target: OverlayAddr) -> super::messaging::Way<P> {
    match ring.route(target, fingers) {
        super::ring::Hop::Here => super::messaging::Way::Here,
        super::ring::Hop::Next(next) => super::messaging::Way::Next(next),
        super::ring::Hop::Nowhere => super::messaging::Way::Nowhere,
    }
}
