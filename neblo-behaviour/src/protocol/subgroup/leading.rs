//! What only a leader does: letting members in, telling them of one another, registering, finding other leaders.

use std::cmp::Reverse;

use super::*;
use crate::protocol::codec::Blob;
use crate::protocol::io::shuffle;

/// Changes of the list are collected this long. choice
const TELL_AFTER: Duration = Duration::from_millis(150);
/// How often, and how many times, a new leader registers and looks for others before it settles. choice
const RENEW_YOUNG: Duration = Duration::from_millis(1_500);
const YOUNG_ROUNDS: u32 = 8;
/// Leaders that a leader keeps as neighbours in the multicast (design D13).
const LINKS: usize = 8;
/// Lost members remembered, who may have taken over. choice
const MAX_FORMER: usize = 256;
/// Guests let in. choice
const MAX_GUESTS: usize = 64;
/// How long newcomers are sent to the subgroup that another was told to create. choice
const URGED_FOR: Duration = Duration::from_secs(20);

/// The state of a leader.
#[derive(Clone, Debug)]
pub(super) struct Leading<P> {
    /// The subgroup that a newcomer was told to create, and until when others are sent there.
    urged: Option<(OverlayAddr, Time)>,
    removed: Vec<P>,
    added: Vec<Statement<P>>,
    telling: u64,
    renewing: u64,
    rounds: u32,
    linked: Vec<Contact<P>>,
    asked: Vec<P>,
    /// Members that were lost in this term.
    former: Vec<P>,
}

impl<P: Peer> Leading<P> {
    pub(super) fn linked(&self) -> impl Iterator<Item = &Contact<P>> {
        self.linked.iter()
    }

    /// A leader could not be reached: another is asked in its place.
    pub(super) fn unreachable(&mut self, peer: P) {
        self.asked.retain(|asked| *asked != peer);
    }
}

impl<P: Peer> Subgroups<P> {
    /// Creates a subgroup and leads it.
    pub(super) fn create(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, subgroup: OverlayAddr) {
        let mine = self.statement(ctx.unix, keys, subgroup, false);
        let list =
            MemberList { subgroup, term: 1, version: 1, members: List::chop(vec![mine]), signature: Blob::default() };
        self.lead(ctx, keys, list);
    }

    pub(super) fn lead(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, mut list: MemberList<P>) {
        list.signature = Blob::new(keys.sign(&list.root())).unwrap_or_default();
        let renewing = self.next_number();
        self.leading = Some(Leading {
            urged: None,
            removed: Vec::new(),
            added: Vec::new(),
            telling: 0,
            renewing,
            rounds: 0,
            linked: Vec::new(),
            asked: Vec::new(),
            former: Vec::new(),
        });
        self.seated(ctx, false, list);
        ctx.out.emit(SubgroupEvent::Leads(true));
        self.renew(ctx, keys, renewing);
    }

    pub(super) fn step_down(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        if self.leading.take().is_some() {
            ctx.out.emit(SubgroupEvent::Leads(false));
        }
    }

    /// A newcomer, or a member that renews its statement.
    pub(super) fn asked_to_let_in(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        statement: Statement<P>,
    ) {
        let (Some(home), Some(_)) = (self.home().cloned(), &self.leading) else {
            // Not a leader (any more): the newcomer asks the registry again.
            return;
        };
        if statement.contact.peer != from || statement.subgroup != home.subgroup() || !statement.holds(keys, ctx.unix) {
            return;
        }
        let there = home.list.member(from).is_some();
        let guests = home.list.members.iter().filter(|member| member.guest).count();
        let members = home.list.members.len() - guests;
        let room = if statement.guest { guests < MAX_GUESTS } else { members < self.config.full };
        if !there && !room {
            let elsewhere = self.elsewhere(ctx, home.subgroup());
            return ctx.out.send(&statement.contact, SubgroupMessage::Elsewhere(elsewhere));
        }
        let contact = statement.contact.clone();
        if let Some(leading) = &mut self.leading {
            leading.removed.retain(|gone| *gone != from);
            leading.added.retain(|added| added.contact.peer != from);
            leading.added.push(statement);
        }
        // The newcomer is told at once, the others a little later.
        self.commit(ctx, keys, Some(&contact));
    }

    /// Where a newcomer is sent when the subgroup is full (seed 003 §2; design D9).
    fn elsewhere(&mut self, ctx: &mut SubgroupCtx<'_, P>, subgroup: OverlayAddr) -> Elsewhere {
        let with_room = self.leaders().filter(|row| row.size < row.full);
        let emptiest = with_room.min_by_key(|row| row.size).map(|row| row.statement.subgroup);
        let now = ctx.now;
        let urged = self.leading.as_ref().and_then(|leading| leading.urged).filter(|(_, until)| *until > now);
        if let Some(join) = urged.map(|(urged, _)| urged).or(emptiest) {
            return Elsewhere { subgroup, join: Some(join), create: None };
        }
        let create = self.random_subgroup(ctx);
        if let Some(leading) = &mut self.leading {
            leading.urged = Some((create, now + URGED_FOR));
        }
        Elsewhere { subgroup, join: None, create: Some(create) }
    }

    pub(super) fn member_lost(&mut self, ctx: &mut SubgroupCtx<'_, P>, peer: P) {
        let Some(leading) = &mut self.leading else { return };
        leading.linked.retain(|linked| linked.peer != peer);
        leading.asked.retain(|asked| *asked != peer);
        leading.added.retain(|added| added.contact.peer != peer);
        if self.home.membership.as_ref().is_some_and(|home| home.list.member(peer).is_some()) {
            leading.removed.push(peer);
            leading.former.retain(|former| *former != peer);
            if leading.former.len() >= MAX_FORMER {
                leading.former.remove(0);
            }
            leading.former.push(peer);
            self.tell_soon(ctx);
        }
    }

    fn tell_soon(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        let telling = self.next_number();
        let Some(leading) = &mut self.leading else { return };
        if leading.telling == 0 {
            leading.telling = telling;
            ctx.out.arm(TELL_AFTER, SubgroupTimer::Tell(telling));
        }
    }

    pub(super) fn tell_members(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        match &mut self.leading {
            Some(leading) if leading.telling == generation => leading.telling = 0,
            _ => return,
        }
        self.commit(ctx, keys, None);
    }

    /// Makes a new version of the list of what has changed, and tells all members of it.
    fn commit(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, newcomer: Option<&Contact<P>>) {
        let (Some(leading), Some(home)) = (&mut self.leading, self.home.membership.clone()) else { return };
        let removed = std::mem::take(&mut leading.removed);
        let added = std::mem::take(&mut leading.added);
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let mut change = MemberChange {
            subgroup: home.subgroup(),
            term: home.list.term,
            version: home.list.version + 1,
            removed: List::chop(removed.iter().filter_map(|peer| Blob::new(peer.to_bytes())).collect()),
            added: List::chop(added),
            signature: Blob::default(),
        };
        let mut list = apply_change(&home.list, &change);
        list.signature = Blob::new(keys.sign(&list.root())).unwrap_or_default();
        change.signature = list.signature.clone();
        for member in home.relays(self.me.peer) {
            if newcomer.is_none_or(|newcomer| newcomer.peer != member.peer) {
                ctx.out.send(member, SubgroupMessage::Change(change.clone()));
            }
        }
        if let Some(newcomer) = newcomer {
            ctx.out.send(newcomer, SubgroupMessage::Members(list.clone()));
        }
        self.seated(ctx, false, list);
    }

    pub(super) fn asked_for_members(&self, ctx: &mut SubgroupCtx<'_, P>, from: P, subgroup: OverlayAddr) {
        if let (Some(_), Some(home)) = (&self.leading, self.home())
            && home.subgroup() == subgroup
            && home.list.member(from).is_some()
        {
            ctx.out.send(&Contact::bare(from), SubgroupMessage::Members(home.list.clone()));
        }
    }

    /// The own row in the registry.
    pub fn own_row(&self) -> Option<LeaderRow<P>> {
        let (home, _) = (self.home()?, self.leading.as_ref()?);
        let members = home.list.members.iter().filter(|member| !member.guest).count();
        Some(LeaderRow {
            statement: home.leader()?.clone(),
            term: home.list.term,
            size: u16::try_from(members).unwrap_or(u16::MAX),
            full: u16::try_from(self.config.full).unwrap_or(u16::MAX),
        })
    }

    /// Registers, and looks for other leaders.
    pub(super) fn renew(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, generation: u64) {
        if self.leading.as_ref().is_none_or(|leading| leading.renewing != generation) {
            return;
        }
        let now = ctx.now;
        self.leaders.retain(|_, (_, until)| *until > now);
        if let Some(row) = self.own_row() {
            let subgroup = row.statement.subgroup;
            let payload = to_bytes(&RegistryRequest::Register(row));
            for to in [subgroup, registry::bucket_of(&self.config.network, subgroup)] {
                let token = self.next_number();
                ctx.out.emit(SubgroupEvent::Ask { token, copies: COPIES, to, payload: payload.clone() });
            }
        }
        self.ask_buckets(ctx);
        self.greet_leaders(ctx, keys);
        let renewing = self.next_number();
        if let Some(leading) = &mut self.leading {
            leading.renewing = renewing;
        }
        // A new leader looks more often: others may have begun at the same moment.
        let rounds = self.leading.as_mut().map_or(0, |leading| {
            leading.rounds = leading.rounds.saturating_add(1);
            leading.rounds
        });
        let after = if rounds <= YOUNG_ROUNDS { RENEW_YOUNG } else { registry::RENEW };
        ctx.out.arm(after, SubgroupTimer::Renew(renewing));
    }

    /// Makes neighbours of up to eight random leaders (design D13).
    pub(super) fn greet_leaders(&mut self, ctx: &mut SubgroupCtx<'_, P>, _keys: &dyn Keys<P>) {
        let Some(row) = self.own_row() else { return };
        let mut others: Vec<_> = self.leaders().map(|other| other.statement.contact.clone()).collect();
        let Some(leading) = &mut self.leading else { return };
        others.retain(|other| !leading.linked.contains(other) && !leading.asked.contains(&other.peer));
        shuffle(ctx.rng, &mut others);
        let room = LINKS.saturating_sub(leading.linked.len() + leading.asked.len());
        for other in others.into_iter().take(room) {
            leading.asked.push(other.peer);
            let hello = LeaderHello { row: row.clone(), answer: false };
            ctx.out.send(&other, SubgroupMessage::LeaderHello(hello));
        }
    }

    /// Another peer speaks as the leader of our subgroup. Leaders that were silent for a while, and members whose turn it was
    /// while they were, do not know that somebody else leads it: the one with the older list is told.
    pub(super) fn contest(
        &self,
        ctx: &mut SubgroupCtx<'_, P>,
        from: P,
        subgroup: OverlayAddr,
        (term, version): (u64, u64),
    ) {
        let (Some(row), Some(home)) = (self.own_row(), self.home()) else { return };
        let (ours, theirs) = ((home.list.term, home.list.version), (term, version));
        if home.subgroup() == subgroup && (ours, Reverse(self.me.peer)) > (theirs, Reverse(from)) {
            let hello = LeaderHello { row, answer: true };
            ctx.out.send(&Contact::bare(from), SubgroupMessage::LeaderHello(hello));
        }
    }

    /// Only a member of ours can have taken over from us: otherwise anybody could depose a leader.
    fn is_deposed_by(&self, row: &LeaderRow<P>) -> bool {
        let (Some(leading), Some(home)) = (&self.leading, self.home()) else { return false };
        let peer = row.statement.contact.peer;
        let member = home.list.member(peer).is_some() || leading.former.contains(&peer);
        member && row.statement.subgroup == home.subgroup() && row.term >= home.list.term
    }

    pub(super) fn greeted(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, from: P, hello: LeaderHello<P>) {
        let statement = &hello.row.statement;
        if statement.contact.peer != from || !statement.holds(keys, ctx.unix) {
            return;
        }
        self.heard_of(ctx.now, hello.row.clone());
        if self.is_deposed_by(&hello.row) {
            let (subgroup, leader) = (statement.subgroup, statement.contact.clone());
            self.step_down(ctx);
            self.home.membership = None;
            self.home.steps = 0;
            ctx.out.emit(SubgroupEvent::Changed { guest: false, leader: true });
            return self.ask_leader(ctx, keys, false, subgroup, leader);
        }
        let Some(row) = self.own_row() else { return };
        let Some(leading) = &mut self.leading else { return };
        leading.asked.retain(|asked| *asked != from);
        if !leading.linked.iter().any(|linked| linked.peer == from) {
            if leading.linked.len() >= 2 * LINKS {
                return;
            }
            leading.linked.push(statement.contact.clone());
        }
        ctx.out.emit(SubgroupEvent::LeaderLink(statement.contact.clone()));
        if !hello.answer {
            let hello = LeaderHello { row, answer: true };
            ctx.out.send(&Contact::bare(from), SubgroupMessage::LeaderHello(hello));
        }
    }
}
