//! Subgroups: members with a leader, who is registered on the ring (seed 003 §2; design D9, D12, D13).

mod comparing;
mod contested;
mod diversity;
mod finding;
mod guests;
mod handing;
mod joining;
mod leaders;
mod leading;
mod lists;
mod merging;
mod message;
mod registering;
mod registry;
mod seat;
mod standing;
mod succession;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use comparing::DEPOSED_WITHIN;
use contested::Rival;
use finding::Inquiry;
use handing::Handing;
use leading::Leading;
use lists::apply_change;
pub use message::*;
#[cfg(feature = "sim")]
pub(crate) use registering::ROUND;
use registry::Registry;
#[cfg(feature = "sim")]
pub(crate) use registry::{BUCKETS, LASTS, MAX_AT_ONE};
use seat::{Seat, Stage};
pub use standing::LeaderPolicy;
use standing::{Observed, moves};
use succession::Before;

use super::codec::{List, from_bytes, to_bytes};
use super::cost::{JoinCost, STATEMENT_LASTS, week_at};
use super::interface::{Failure, Recipients};
use super::io::{Contact, Ctx, Part, Peer, Time};
use super::prefix::Prefix;
use super::rate::Rates;
use super::seal::Keys;
use crate::address::OverlayAddr;

/// Wait before a step of joining is tried again. choice
const STEP_AGAIN: Duration = Duration::from_millis(400);
/// Wait for an answer to a step of joining. choice
const STEP_WITHIN: Duration = Duration::from_secs(3);
/// Wait for the answers of known peers. choice
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// Steps after which a guest stops looking. choice
const MAX_STEPS: u32 = 40;
/// Steps of a member towards a subgroup that its leader sent it to, before it stays where it is. choice
const MAX_MOVE_STEPS: u32 = 4;
/// How long a peer without a subgroup looks for one before it creates one. choice
const LOOKS_FOR: Duration = Duration::from_secs(24);
/// No peer is without a subgroup for longer than this, counted from when the ring let it in, or from when it noticed that its
/// leader is gone: it looks for a while, each step of that is bounded, and then it leads one of its own, which merges with
/// another later if it stays small.
pub const SEATED_WITHIN: Duration = Duration::from_secs(30);
/// Known peers asked for their subgroups. choice
const MAX_ASKED: usize = 3;
/// Leaders sought at once for others. choice
const MAX_SOUGHT: usize = 256;
/// Times in a row that a joiner lets itself be sent elsewhere. choice
const MAX_ELSEWHERE: u32 = 6;
/// Copies of a registration. choice: two more than the primary, so that neither the death of one owner nor its lie decides
pub(crate) const COPIES: u8 = 3;
/// All of them at once; the first good answer counts.
const ALL_COPIES: Recipients = Recipients::First(COPIES);

/// What subgroups wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubgroupTimer {
    /// A step of joining is tried again.
    Step {
        /// As a guest?
        guest: bool,
        /// Which step.
        generation: u64,
    },
    /// Registration is renewed and other leaders are looked for.
    Renew(u64),
    /// Changes of the member list are sent.
    Tell(u64),
    /// The candidate had its time to take over.
    Succession(u64),
    /// A root is shown to another member.
    Compare(u64),
    /// A guest has waited for whoever leads next.
    Led(u64),
    /// The one to whom the lead is handed over had its time.
    Handing(u64),
    /// The registry is asked again for a leader that somebody wants.
    Seek(OverlayAddr),
    /// The leader had its time to say whether it still leads.
    Claim(u64),
    /// Members had their time to say who leads them.
    Rival(u64),
    /// The copies of a registration had their time to say who leads.
    Window(u64),
}

/// What subgroups report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubgroupEvent<P> {
    /// Something is asked of the registry; the answer comes back as [`Subgroups::answered`].
    Ask {
        /// Names it.
        token: u64,
        /// Which copies.
        recipients: Recipients,
        /// The address.
        to: OverlayAddr,
        /// The request.
        payload: Vec<u8>,
    },
    /// Another member takes this one for dead: the leader, which has taken it off the list, or one that was let down by the leader.
    Missed(P),
    /// Membership changed: subgroup, leader, role or members.
    Changed {
        /// Of the guest membership?
        guest: bool,
        /// Whether the leader is another one.
        leader: bool,
    },
    /// This peer became the leader of its subgroup, or stopped being it.
    Leads(bool),
    /// A leader is a neighbour in the multicast now, or no more.
    LeaderLink(Contact<P>, bool),
    /// Copy the table to this peer, and say so when it has all ([`Subgroups::copied`]).
    HandOver(P),
    /// This peer has left its subgroup in order.
    Gone,
    /// A leader that was sought ([`Subgroups::seek_leader`]).
    Found(OverlayAddr, Contact<P>),
}

/// A subgroup as one of its members sees it.
#[derive(Clone, Debug)]
pub struct Membership<P> {
    /// The list.
    pub list: MemberList<P>,
    /// Its root, worked out once.
    root: ListRoot,
}

impl<P: Peer> From<MemberList<P>> for Membership<P> {
    fn from(list: MemberList<P>) -> Self {
        Self { root: list.list_root(), list }
    }
}

impl<P: Peer> Membership<P> {
    /// The subgroup.
    pub fn subgroup(&self) -> OverlayAddr {
        self.list.subgroup
    }
    /// Its leader.
    pub fn leader(&self) -> Option<&Statement<P>> {
        self.list.leader()
    }
    /// Members that may relay: all but the leader and `me`.
    pub fn relays(&self, me: P) -> impl Iterator<Item = &Contact<P>> {
        self.list.members.iter().skip(1).map(|member| &member.contact).filter(move |contact| contact.peer != me)
    }
}

/// What a subgroup part is told once.
#[derive(Clone, Debug)]
pub struct SubgroupConfig {
    /// The network's name.
    pub network: String,
    /// What its members pay.
    pub cost: JoinCost,
    /// Members at which a subgroup is full.
    pub full: usize,
    /// How candidates are ordered.
    pub policy: LeaderPolicy,
    /// What this peer says of its resources.
    pub resources: Resources,
    /// Whether a leader takes a place elsewhere without needing one, so that having one says nothing.
    pub idle_guests: bool,
}

impl SubgroupConfig {
    /// Ordered by what is observed, nothing claimed, and nothing to be paid.
    pub fn new(network: impl Into<String>, full: usize) -> Self {
        let network = network.into();
        Self {
            cost: JoinCost::new(network.clone(), 0),
            network,
            full,
            policy: LeaderPolicy::default(),
            resources: Resources::default(),
            idle_guests: true,
        }
    }
}

/// The subgroups of one peer: its home, and another in which it is a guest.
pub struct Subgroups<P> {
    config: SubgroupConfig,
    me: Contact<P>,
    sealing: [u8; 32],
    home: Seat<P>,
    guest: Seat<P>,
    leading: Option<Leading<P>>,
    /// Leaders heard of lately, by subgroup.
    leaders: BTreeMap<OverlayAddr, (LeaderRow<P>, Time)>,
    /// Subgroups whose leader is gone, who it was, and until when another one is expected.
    vacant: BTreeMap<OverlayAddr, (Contact<P>, Time)>,
    registry: Registry<P>,
    /// Whether there are more leaders than one answer of a bucket has room for.
    crowded: bool,
    /// Buckets that were asked for news and have not answered, by the name of the question.
    buckets_asked: Vec<(u64, u8)>,
    /// News of other leaders that are taken of each.
    news: Rates<P>,
    /// Where connected peers are.
    origins: BTreeMap<P, Prefix>,
    /// Questions to the copies of a registration.
    inquiries: BTreeMap<u64, Inquiry<P>>,
    succession: Option<succession::Succession>,
    observed: Observed<P>,
    handing: Option<Handing<P>>,
    /// The next time that a root is shown, and frames of that kind since the last.
    comparing: u64,
    /// Rounds of comparing so far.
    rounds: u32,
    /// Rounds since the list changed.
    unchanged: u32,
    compared: BTreeMap<Option<P>, u32>,
    /// Subgroups whose leader somebody wants to know, the leader that it is not, and how often was asked.
    sought: BTreeMap<OverlayAddr, (Option<P>, u32)>,
    /// Whether a guest's place is wanted, and looked for again when there was none.
    wants_guest: bool,
    /// When this peer went on after it had been stopped.
    awoke: Option<Time>,
    /// The term whose leader another member has said to be dead, and when.
    told_of: Option<(u64, Time)>,
    next: u64,
}

impl<P: Peer> std::fmt::Debug for Subgroups<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subgroups")
            .field("home", &self.home.stage)
            .field("guest", &self.guest.stage)
            .finish_non_exhaustive()
    }
}

impl<P: Peer> Part<P> for Subgroups<P> {
    type Message = SubgroupMessage<P>;
    type Timer = SubgroupTimer;
    type Event = SubgroupEvent<P>;
}

type SubgroupCtx<'a, P> = Ctx<'a, P, Subgroups<P>>;

impl<P: Peer> Subgroups<P> {
    /// In no subgroup yet; `sealing` is the public X25519 key to which this peer is sealed.
    pub fn new(config: SubgroupConfig, me: Contact<P>, sealing: [u8; 32]) -> Self {
        Self {
            config,
            me,
            sealing,
            home: Seat::default(),
            guest: Seat::default(),
            leading: None,
            leaders: BTreeMap::new(),
            vacant: BTreeMap::new(),
            registry: Registry::default(),
            crowded: false,
            buckets_asked: Vec::new(),
            news: Rates::new(leaders::NEWS.0, leaders::NEWS.1),
            origins: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            succession: None,
            observed: Observed::default(),
            handing: None,
            comparing: 0,
            rounds: 0,
            unchanged: 0,
            compared: BTreeMap::new(),
            sought: BTreeMap::new(),
            wants_guest: false,
            awoke: None,
            told_of: None,
            next: 0,
        }
    }

    /// Our own addresses changed: members learn them with the next statement.
    pub fn set_contact(&mut self, me: Contact<P>) {
        self.me = me;
    }

    /// The home subgroup.
    pub fn home(&self) -> Option<&Membership<P>> {
        self.home.membership.as_ref()
    }

    /// The subgroup in which this peer is a guest.
    pub fn guest(&self) -> Option<&Membership<P>> {
        self.guest.membership.as_ref()
    }

    /// The membership in a subgroup.
    pub fn membership(&self, subgroup: OverlayAddr) -> Option<&Membership<P>> {
        [self.home(), self.guest()].into_iter().flatten().find(|membership| membership.subgroup() == subgroup)
    }

    /// Whether this peer leads its home subgroup.
    pub fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// Leaders heard of lately, ourselves left out.
    pub fn leaders(&self) -> impl Iterator<Item = &LeaderRow<P>> {
        let mine = self.home().map(Membership::subgroup).filter(|_| self.leads());
        self.leaders.values().map(|(row, _)| row).filter(move |row| Some(row.statement.subgroup) != mine)
    }

    /// The leader of a subgroup, as far as heard of.
    pub fn leader_of(&self, subgroup: OverlayAddr) -> Option<&Contact<P>> {
        self.leaders.get(&subgroup).map(|(row, _)| &row.statement.contact)
    }

    /// Peers to keep connected, and whom we want to know dead: leaders, and as a leader the members and other leaders.
    pub fn neighbours(&self) -> impl Iterator<Item = &Contact<P>> {
        let me = self.me.peer;
        let leaders = [&self.home, &self.guest].into_iter().filter_map(|seat| seat.membership.as_ref()?.leader());
        let leaders = leaders.map(|leader| &leader.contact).filter(move |leader| leader.peer != me);
        let led = self.leading.as_ref().zip(self.home()).into_iter();
        leaders.chain(led.flat_map(move |(leading, home)| home.relays(me).chain(leading.linked())))
    }

    /// Starts: joins the emptiest subgroup of those of `known`, or creates the first subgroup of a new network.
    pub fn start(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, mut known: Vec<Contact<P>>) {
        if matches!(self.home.stage, Stage::Idle) && !self.is_leaving() {
            known.truncate(MAX_ASKED);
            self.home.known = known;
            self.unseated(ctx.now);
            self.begin(ctx, keys, false);
        }
    }

    /// Leaves in order. A leader hands over first, and is gone with [`SubgroupEvent::Gone`].
    pub fn leave(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        if let Some(membership) = self.guest.membership.take() {
            leave_to_leader(ctx, &membership);
        }
        self.guest = Seat::default();
        self.wants_guest = false;
        self.succession = None;
        if self.leads() {
            return match self.candidates().into_iter().next() {
                Some(next) => self.hand_over(ctx, next, true),
                None => self.leave_at_once(ctx),
            };
        }
        if let Some(membership) = self.home.membership.take() {
            leave_to_leader(ctx, &membership);
        }
        self.home = Seat::default();
    }

    /// Begins to count the time without a subgroup or leader.
    fn unseated(&mut self, now: Time) {
        self.home.since.get_or_insert(now);
        self.home.steps = 0;
    }

    fn seat(&mut self, guest: bool) -> &mut Seat<P> {
        if guest { &mut self.guest } else { &mut self.home }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    // ---- messages --------------------------------------------------------------------------------------------

    /// Handles a message.
    pub fn received(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, message: SubgroupMessage<P>) {
        match message {
            SubgroupMessage::Which(which) => {
                let answer = self.in_subgroup(which.request);
                ctx.out.send(&Contact::bare(from), SubgroupMessage::InSubgroup(answer));
            }
            SubgroupMessage::InSubgroup(answer) => self.told_subgroup(ctx, keys, from, answer),
            SubgroupMessage::Join(join) => self.asked_to_let_in(ctx, keys, from, join.statement),
            SubgroupMessage::Elsewhere(elsewhere) => self.sent_elsewhere(ctx, keys, from, &elsewhere),
            SubgroupMessage::Members(list) => self.list_received(ctx, keys, from, list),
            SubgroupMessage::Change(change) => self.change_received(ctx, keys, from, change),
            SubgroupMessage::AskMembers(ask) => self.asked_for_members(ctx, from, ask.subgroup),
            SubgroupMessage::Leave(leave) => self.left(ctx, keys, from, leave.subgroup),
            SubgroupMessage::Suspect(suspect) => self.suspected(ctx, keys, from, &suspect),
            SubgroupMessage::LeaderHello(hello) => self.greeted(ctx, keys, from, hello),
            SubgroupMessage::Compare(root) => self.shown_root(ctx, keys, from, root),
            SubgroupMessage::TwoLists(proof) => self.two_lists(ctx, keys, Some(from), proof),
            SubgroupMessage::Lead(lead) => self.told_to_lead(ctx, keys, from, &lead),
            SubgroupMessage::MoveTo(there) => self.told_to_move(ctx, keys, from, there),
            SubgroupMessage::LeaderNews(row) => self.told_of_leader(ctx, keys, from, row),
        }
    }

    /// What is registered here and has not expired, and at which addresses.
    pub fn registered(&self, now: Time) -> impl Iterator<Item = (OverlayAddr, &LeaderRow<P>)> {
        self.registry.rows(now)
    }

    /// A request to the registry at `at`; `None` refuses it.
    pub fn registry_asked(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        at: OverlayAddr,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let config = &self.config;
        self.registry.handle((ctx.now, ctx.unix), ctx.rng, keys, (&config.network, &config.cost), at, payload)
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, timer: SubgroupTimer) {
        match timer {
            SubgroupTimer::Step { guest, generation } => {
                if self.seat(guest).generation == generation {
                    self.step(ctx, keys, guest);
                }
            }
            SubgroupTimer::Renew(generation) => self.renew(ctx, keys, generation),
            SubgroupTimer::Tell(generation) => self.tell_members(ctx, keys, generation),
            SubgroupTimer::Succession(generation) => self.succession_expired(ctx, keys, generation),
            SubgroupTimer::Compare(generation) => self.compare_expired(ctx, keys, generation),
            SubgroupTimer::Led(generation) => self.led_expired(ctx, keys, generation),
            SubgroupTimer::Handing(generation) => self.handing_expired(ctx, generation),
            SubgroupTimer::Seek(subgroup) => self.seek_again(ctx, subgroup),
            SubgroupTimer::Claim(generation) => self.claim_unanswered(ctx, keys, generation),
            SubgroupTimer::Window(inquiry) => self.conclude(ctx, keys, inquiry),
            SubgroupTimer::Rival(request) => self.rival_judged(ctx, keys, request),
        }
    }

    /// A peer is dead.
    pub fn dead(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        self.leader_gone(ctx.now, peer);
        if self.leading.is_some() {
            self.member_lost(ctx, keys, peer);
        } else if self.home().and_then(Membership::leader).is_some_and(|leader| leader.contact.peer == peer) {
            self.leader_lost(ctx, keys);
        }
        self.guest_leader_lost(ctx, keys, peer);
    }

    /// "I leave": as a death, but of a member or leader of this one subgroup.
    fn left(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, subgroup: OverlayAddr) {
        if self.leader_of(subgroup).is_some_and(|leader| leader.peer == from) {
            // A leader that gives its subgroup up.
            self.leaders.remove(&subgroup);
            self.unlink(ctx, from);
        }
        let home = self.home().is_some_and(|home| home.subgroup() == subgroup);
        if home && self.leading.is_some() {
            self.member_lost(ctx, keys, from);
        } else if home && self.home().and_then(Membership::leader).is_some_and(|leader| leader.contact.peer == from) {
            self.leader_lost(ctx, keys);
        }
        if self.guest().is_some_and(|guest| guest.subgroup() == subgroup) {
            self.guest_leader_lost(ctx, keys, from);
        }
    }
}

fn leave_to_leader<P: Peer>(ctx: &mut SubgroupCtx<'_, P>, membership: &Membership<P>) {
    if let Some(leader) = membership.leader() {
        let leave = LeaveSubgroup { subgroup: membership.subgroup() };
        ctx.out.send(&leader.contact, SubgroupMessage::Leave(leave));
    }
}
