//! Subgroups: members with a leader, who is registered on the ring (seed 003 §2; design D9, D12, D13).

mod joining;
mod leading;
mod message;
mod registry;
mod succession;

use std::collections::BTreeMap;
use std::time::Duration;

use leading::Leading;
pub use message::*;
use registry::Registry;

use super::codec::{List, from_bytes, to_bytes};
use super::interface::Failure;
use super::io::{Contact, Ctx, Part, Peer, Time};
use super::seal::Keys;
use crate::address::OverlayAddr;

/// How long a statement holds. choice
const STATEMENT_LASTS: u64 = 24 * 3600;
/// Wait before a step of joining is tried again. choice
const STEP_AGAIN: Duration = Duration::from_millis(400);
/// Wait for an answer to a step of joining. choice
const STEP_WITHIN: Duration = Duration::from_secs(3);
/// Steps after which a peer stops looking and creates a subgroup. choice
const MAX_STEPS: u32 = 40;
/// Times in a row that a joiner lets itself be sent elsewhere. choice
const MAX_ELSEWHERE: u32 = 6;
/// Copies of a registration. choice: two more than the primary, so that the death of an owner costs no look-up
const COPIES: u8 = 3;

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
}

/// What subgroups report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubgroupEvent<P> {
    /// Something is asked of the registry; the answer comes back as [`Subgroups::answered`].
    Ask {
        /// Names it.
        token: u64,
        /// Copies.
        copies: u8,
        /// The address.
        to: OverlayAddr,
        /// The request.
        payload: Vec<u8>,
    },
    /// Membership changed: subgroup, leader, role or members.
    Changed {
        /// Of the guest membership?
        guest: bool,
        /// Whether the leader is another one.
        leader: bool,
    },
    /// This peer became the leader of its subgroup, or stopped being it.
    Leads(bool),
    /// A leader is a neighbour in the multicast now.
    LeaderLink(Contact<P>),
}

/// A subgroup as one of its members sees it.
#[derive(Clone, Debug)]
pub struct Membership<P> {
    /// The list.
    pub list: MemberList<P>,
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

#[derive(Clone, Debug)]
enum Stage<P> {
    /// Not wanted.
    Idle,
    /// Asks a known peer for its subgroup.
    Asking { known: Contact<P> },
    /// Asks the registry for the leader.
    Finding { subgroup: OverlayAddr, token: u64 },
    /// Asks the registry for any leader (to be a guest there).
    Listing,
    /// Asks the leader.
    Joining { subgroup: OverlayAddr, leader: Contact<P> },
    /// In.
    In,
}

/// One membership and the way to it.
#[derive(Clone, Debug)]
struct Seat<P> {
    stage: Stage<P>,
    membership: Option<Membership<P>>,
    known: Option<Contact<P>>,
    generation: u64,
    steps: u32,
    elsewhere: u32,
}

impl<P> Default for Seat<P> {
    fn default() -> Self {
        Self { stage: Stage::Idle, membership: None, known: None, generation: 0, steps: 0, elsewhere: 0 }
    }
}

/// What a subgroup part is told once.
#[derive(Clone, Debug)]
pub struct SubgroupConfig {
    /// The network's name.
    pub network: String,
    /// Members at which a subgroup is full.
    pub full: usize,
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
    registry: Registry<P>,
    succession: Option<succession::Succession>,
    /// When this peer went on after it had been stopped.
    awoke: Option<Time>,
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
            registry: Registry::default(),
            succession: None,
            awoke: None,
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
    pub fn neighbours(&self) -> Vec<Contact<P>> {
        let mut neighbours = Vec::new();
        for seat in [&self.home, &self.guest] {
            if let Some(leader) = seat.membership.as_ref().and_then(Membership::leader)
                && leader.contact.peer != self.me.peer
            {
                neighbours.push(leader.contact.clone());
            }
        }
        if let (Some(leading), Some(home)) = (&self.leading, self.home()) {
            neighbours.extend(home.relays(self.me.peer).cloned());
            neighbours.extend(leading.linked().cloned());
        }
        neighbours
    }

    /// Starts: joins the subgroup of `known`, or creates the first subgroup of a new network.
    pub fn start(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, known: Option<Contact<P>>) {
        if matches!(self.home.stage, Stage::Idle) {
            self.home.known = known;
            self.home.steps = 0;
            self.begin(ctx, keys, false);
        }
    }

    /// Wants to be a guest of another subgroup.
    pub fn want_guest(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        if matches!(self.guest.stage, Stage::Idle) {
            self.guest.steps = 0;
            self.begin(ctx, keys, true);
        }
    }

    /// Leaves in order.
    pub fn leave(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        for guest in [true, false] {
            let Some(membership) = self.seat(guest).membership.take() else { continue };
            let leave = SubgroupMessage::Leave(LeaveSubgroup { subgroup: membership.subgroup() });
            if !guest && self.leading.take().is_some() {
                for member in membership.relays(self.me.peer) {
                    ctx.out.send(member, leave.clone());
                }
                ctx.out.emit(SubgroupEvent::Leads(false));
            } else if let Some(leader) = membership.leader() {
                ctx.out.send(&leader.contact, leave);
            }
            *self.seat(guest) = Seat::default();
        }
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
                let home = self.home();
                let answer = InSubgroup {
                    request: which.request,
                    subgroup: home.map(Membership::subgroup),
                    leader: home.and_then(Membership::leader).map(|leader| leader.contact.clone()),
                };
                ctx.out.send(&Contact::bare(from), SubgroupMessage::InSubgroup(answer));
            }
            SubgroupMessage::InSubgroup(answer) => self.told_subgroup(ctx, keys, from, answer),
            SubgroupMessage::Join(join) => self.asked_to_let_in(ctx, keys, from, join.statement),
            SubgroupMessage::Elsewhere(elsewhere) => self.sent_elsewhere(ctx, keys, from, &elsewhere),
            SubgroupMessage::Members(list) => self.list_received(ctx, keys, from, list),
            SubgroupMessage::Change(change) => self.change_received(ctx, keys, from, change),
            SubgroupMessage::AskMembers(ask) => self.asked_for_members(ctx, from, ask.subgroup),
            SubgroupMessage::Leave(leave) => self.left(ctx, keys, from, leave.subgroup),
            SubgroupMessage::Suspect(suspect) => self.suspected(ctx, keys, &suspect),
            SubgroupMessage::LeaderHello(hello) => self.greeted(ctx, keys, from, hello),
        }
    }

    fn told_subgroup(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, answer: InSubgroup<P>) {
        if !matches!(&self.home.stage, Stage::Asking { known } if known.peer == from)
            || answer.request != self.home.generation
        {
            return;
        }
        match (answer.subgroup, answer.leader) {
            (Some(subgroup), Some(leader)) if leader.peer != self.me.peer => {
                // The peer that answers may be the leader itself; its address is the one that we reached it at.
                let leader = match &self.home.known {
                    Some(known) if known.peer == leader.peer => known.clone(),
                    _ => leader,
                };
                self.ask_leader(ctx, keys, false, subgroup, leader);
            }
            (Some(subgroup), _) => self.find(ctx, false, subgroup),
            (None, _) => self.soon(ctx, false),
        }
    }

    fn sent_elsewhere(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, elsewhere: &Elsewhere) {
        for guest in [false, true] {
            let asked = matches!(&self.seat(guest).stage, Stage::Joining { subgroup, leader }
                if *subgroup == elsewhere.subgroup && leader.peer == from);
            if !asked {
                continue;
            }
            self.seat(guest).elsewhere += 1;
            let weary = self.seat(guest).elsewhere > MAX_ELSEWHERE;
            match (elsewhere.join, elsewhere.create) {
                (Some(join), _) if !weary => {
                    // The registry may not know it for a moment: whoever was told to create it is just about to.
                    self.find(ctx, guest, join);
                }
                (_, Some(create)) if !guest => self.create(ctx, keys, create),
                _ if guest => self.soon(ctx, true),
                _ => {
                    let subgroup = self.random_subgroup(ctx);
                    self.create(ctx, keys, subgroup);
                }
            }
        }
    }

    fn list_received(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, list: MemberList<P>) {
        let signed = list.leader().is_some_and(|leader| {
            leader.contact.peer == from && keys.verify(&from, &leader.identity, &list.root(), &list.signature)
        });
        let all_hold =
            list.members.iter().all(|member| member.subgroup == list.subgroup && member.holds(keys, ctx.unix));
        if !signed || !all_hold || list.member(self.me.peer).is_none() {
            return;
        }
        for guest in [false, true] {
            let seat = self.seat(guest);
            let asked = matches!(&seat.stage, Stage::Joining { subgroup, leader }
                if *subgroup == list.subgroup && leader.peer == from);
            let newer = seat.membership.as_ref().is_some_and(|old| {
                let newer = (list.term, list.version) > (old.list.term, old.list.version);
                old.subgroup() == list.subgroup && newer && old.list.member(from).is_some()
            });
            if !asked && !newer {
                continue;
            }
            if !guest && self.leading.is_some() {
                self.step_down(ctx);
            }
            return self.seated(ctx, guest, list);
        }
        self.contest(ctx, from, list.subgroup, (list.term, list.version));
    }

    fn seated(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool, list: MemberList<P>) {
        let before = self.seat(guest).membership.as_ref().and_then(Membership::leader).map(|old| old.contact.peer);
        let after = list.leader().map(|leader| leader.contact.peer);
        let seat = self.seat(guest);
        seat.stage = Stage::In;
        seat.steps = 0;
        seat.elsewhere = 0;
        seat.membership = Some(Membership { list });
        if !guest {
            self.succession = None;
        }
        ctx.out.emit(SubgroupEvent::Changed { guest, leader: before != after });
    }

    fn change_received(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, change: MemberChange<P>) {
        for guest in [false, true] {
            let Some(old) = self.seat(guest).membership.clone() else { continue };
            if old.subgroup() != change.subgroup {
                continue;
            }
            if old.leader().is_none_or(|leader| leader.contact.peer != from) {
                self.contest(ctx, from, change.subgroup, (change.term, change.version));
                continue;
            }
            if (change.term, change.version) <= (old.list.term, old.list.version) {
                return;
            }
            let fits = change.term == old.list.term && change.version == old.list.version + 1;
            let sound =
                change.added.iter().all(|added| added.subgroup == change.subgroup && added.holds(keys, ctx.unix));
            let list = apply_change(&old.list, &change);
            let signed = list
                .leader()
                .is_some_and(|leader| keys.verify(&from, &leader.identity, &list.root(), &change.signature));
            if fits && sound && signed && list.member(self.me.peer).is_some() {
                return self.seated(ctx, guest, MemberList { signature: change.signature, ..list });
            }
            let ask = AskMembers { subgroup: change.subgroup };
            return ctx.out.send(&Contact::bare(from), SubgroupMessage::AskMembers(ask));
        }
    }

    /// A request to the registry at `at`; `None` refuses it.
    pub fn registry_asked(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        at: OverlayAddr,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        self.registry.handle((ctx.now, ctx.unix), ctx.rng, keys, &self.config.network, at, payload)
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
        }
    }

    /// A peer is dead.
    pub fn dead(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        self.leaders.retain(|_, (row, _)| row.statement.contact.peer != peer);
        if self.leading.is_some() {
            self.member_lost(ctx, peer);
        } else if self.home().and_then(Membership::leader).is_some_and(|leader| leader.contact.peer == peer) {
            self.leader_lost(ctx, keys);
        }
        if self.guest().and_then(Membership::leader).is_some_and(|leader| leader.contact.peer == peer) {
            // A guest is no candidate: it looks for a subgroup anew.
            self.guest = Seat::default();
            ctx.out.emit(SubgroupEvent::Changed { guest: true, leader: true });
            self.want_guest(ctx, keys);
        }
    }

    fn left(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, subgroup: OverlayAddr) {
        if self.membership(subgroup).is_some() {
            self.dead(ctx, keys, from);
        }
    }
}

/// The list that a change makes of `old`.
fn apply_change<P: Peer>(old: &MemberList<P>, change: &MemberChange<P>) -> MemberList<P> {
    let mut members = old.members.clone().into_inner();
    members.retain(|member| !change.removed.iter().any(|gone| **gone == member.contact.peer.to_bytes()));
    for added in change.added.iter() {
        match members.iter_mut().find(|member| member.contact.peer == added.contact.peer) {
            Some(member) => *member = added.clone(),
            None => members.push(added.clone()),
        }
    }
    MemberList {
        subgroup: old.subgroup,
        term: change.term,
        version: change.version,
        members: List::chop(members),
        signature: Default::default(),
    }
}
