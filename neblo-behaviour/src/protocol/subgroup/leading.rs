//! What only a leader does: letting members in and telling them of one another.

use super::*;
use crate::protocol::codec::Blob;

/// Changes of the list are collected this long. choice
const TELL_AFTER: Duration = Duration::from_millis(150);
/// Guests let in. choice
const MAX_GUESTS: usize = 64;
/// How long newcomers are sent to the subgroup that another was told to create, before it is heard of. choice: whoever was told
/// so may be gone, and the others wait for nothing
const URGED_FOR: Duration = Duration::from_secs(5);

/// The state of a leader.
#[derive(Clone, Debug)]
pub(super) struct Leading<P> {
    /// The subgroup that a newcomer was told to create, and until when others are sent there.
    urged: Option<(OverlayAddr, Time)>,
    removed: Vec<P>,
    pub(super) added: Vec<Statement<P>>,
    telling: u64,
    pub(super) renewing: u64,
    pub(super) rounds: u32,
    /// What was registered last ([`registry::digest`]).
    pub(super) registered: Option<u64>,
    /// Neighbours in the multicast, and when they were last heard of.
    pub(super) linked: Vec<(Contact<P>, Time)>,
    pub(super) asked: Vec<P>,
    /// The order that candidates are to have.
    pub(super) order: Option<Vec<P>>,
    pub(super) small_since: Option<Time>,
    /// Where the members were asked to go.
    pub(super) into: Option<(OverlayAddr, Contact<P>)>,
    /// Another says that it leads our subgroup.
    pub(super) rival: Option<Rival<P>>,
    /// When the term was raised above another's.
    pub(super) raised: Option<Time>,
}

impl<P: Peer> Leading<P> {
    pub(super) fn linked(&self) -> impl Iterator<Item = &Contact<P>> {
        self.linked.iter().map(|(contact, _)| contact)
    }

    /// A leader could not be reached: another is asked in its place.
    pub(super) fn unreachable(&mut self, peer: P) {
        self.asked.retain(|asked| *asked != peer);
    }
}

impl<P: Peer> Subgroups<P> {
    /// Creates a subgroup and leads it.
    pub(super) fn create(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, subgroup: OverlayAddr) {
        let Some(mine) = self.statement(ctx.unix, keys, subgroup, false) else {
            self.home.stage = Stage::Asking { known: Vec::new(), told: Vec::new() };
            return self.soon(ctx, false);
        };
        let list =
            MemberList { subgroup, term: 1, version: 1, members: List::chop(vec![mine]), signature: Blob::default() };
        if let Some(home) = self.home.membership.take() {
            leave_to_leader(ctx, &home);
        }
        self.home.stage = Stage::In;
        self.lead(ctx, keys, list);
    }

    pub(super) fn lead(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, list: MemberList<P>) {
        let list = list.sign(keys);
        let renewing = self.next_number();
        self.leading = Some(Leading {
            urged: None,
            removed: Vec::new(),
            added: Vec::new(),
            telling: 0,
            renewing,
            rounds: 0,
            registered: None,
            linked: Vec::new(),
            asked: Vec::new(),
            order: None,
            small_since: None,
            into: None,
            rival: None,
            raised: None,
        });
        self.seated(ctx, false, list.into());
        ctx.out.emit(SubgroupEvent::Leads(true));
        self.renew(ctx, keys, renewing);
    }

    pub(super) fn step_down(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        if let Some(leading) = self.leading.take() {
            self.wants_guest = false;
            for (linked, _) in leading.linked {
                ctx.out.emit(SubgroupEvent::LeaderLink(linked, false));
            }
            self.handing.take_if(|handing| !handing.leaving);
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
        let (Some(home), Some(leading)) = (self.home().cloned(), &self.leading) else {
            // Not a leader (any more): the newcomer asks the registry again.
            return;
        };
        if statement.contact.peer != from
            || statement.subgroup != home.subgroup()
            || !statement.holds(keys, &self.config.cost, ctx.unix)
        {
            return;
        }
        let there = home.list.member(from).is_some();
        let guests = home.list.members.iter().filter(|member| member.guest).count();
        let members = home.list.members.len() - guests;
        let room = if statement.guest { guests < MAX_GUESTS } else { members < self.config.full };
        let into = leading.into.as_ref().map(|(into, _)| *into).filter(|_| !there);
        let banned = self.observed.banned.contains(&from);
        if let Some(into) = into {
            let elsewhere = Elsewhere { subgroup: home.subgroup(), join: Some(into), create: None };
            return ctx.out.send(&statement.contact, SubgroupMessage::Elsewhere(elsewhere));
        }
        let taken = there || room && self.is_diverse_with(&statement.contact);
        if banned || !taken {
            let elsewhere = self.elsewhere(ctx, home.subgroup());
            return ctx.out.send(&statement.contact, SubgroupMessage::Elsewhere(elsewhere));
        }
        let contact = statement.contact.clone();
        self.observed.stated(from);
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

    pub(super) fn member_lost(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        self.unlink(ctx, peer);
        if let Some(handing) = self.handing.take_if(|handing| handing.to.peer == peer) {
            let next = self.candidates().into_iter().find(|candidate| candidate.peer != peer);
            match next.filter(|_| handing.leaving) {
                Some(next) => self.hand_over(ctx, next, true),
                None if handing.leaving => return self.leave_at_once(ctx),
                None => {}
            }
        }
        let Some(leading) = &mut self.leading else { return };
        leading.asked.retain(|asked| *asked != peer);
        leading.added.retain(|added| added.contact.peer != peer);
        if self.home.membership.as_ref().is_some_and(|home| home.list.member(peer).is_some()) {
            leading.removed.push(peer);
            let dissolves = leading.into.is_some();
            self.tell_soon(ctx);
            if dissolves {
                self.commit(ctx, keys, None);
                self.go_last(ctx, keys);
            }
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
    pub(super) fn commit(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, newcomer: Option<&Contact<P>>) {
        let (Some(leading), Some(home)) = (&mut self.leading, self.home.membership.clone()) else { return };
        let removed = std::mem::take(&mut leading.removed);
        let added = std::mem::take(&mut leading.added);
        let order = leading.order.take();
        let mut change = MemberChange {
            subgroup: home.subgroup(),
            term: home.list.term,
            version: home.list.version.saturating_add(1),
            removed: List::chop(removed.iter().filter_map(|peer| Blob::new(peer.to_bytes())).collect()),
            added: List::chop(added),
            signature: Blob::default(),
            moved: List::default(),
        };
        if let Some(order) = order {
            change.moved = List::chop(moves(&apply_change(&home.list, &change), &order));
        }
        if change.removed.is_empty() && change.added.is_empty() && change.moved.is_empty() {
            return;
        }
        let list = apply_change(&home.list, &change).sign(keys);
        change.signature = list.signature.clone();
        for member in home.relays(self.me.peer) {
            if newcomer.is_none_or(|newcomer| newcomer.peer != member.peer) {
                ctx.out.send(member, SubgroupMessage::Change(change.clone()));
            }
        }
        if let Some(newcomer) = newcomer {
            ctx.out.send(newcomer, SubgroupMessage::Members(list.clone()));
        }
        self.seated(ctx, false, list.into());
    }
}
