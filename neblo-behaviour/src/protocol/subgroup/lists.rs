//! The list of members as it comes from the leader: whole, or as the difference to the version before.

use super::*;

/// Terms and versions above this are not believed of a list of which nothing is known: there must be room to go
/// beyond them. choice
const NUMBERS_END: u64 = 1 << 62;

impl<P: Peer> Subgroups<P> {
    pub(super) fn list_received(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        list: MemberList<P>,
    ) {
        let known = self.membership(list.subgroup).map(|known| (known.list.term, known.list.version));
        if !within_reach((list.term, list.version), known) {
            return;
        }
        if list.leader().is_none_or(|leader| leader.contact.peer != from) {
            return self.list_passed_on(ctx, keys, from, list);
        }
        let root = list.list_root();
        let signed = list.leader().is_some_and(|leader| root.holds(keys, leader));
        let all_hold = list
            .members
            .iter()
            .all(|member| member.subgroup == list.subgroup && member.holds(keys, &self.config.cost, ctx.unix));
        let banned = list.members.iter().any(|member| self.observed.banned.contains(&member.contact.peer));
        let ours = self.home().is_some_and(|home| home.subgroup() == list.subgroup);
        if !signed || !all_hold || ours && banned {
            return;
        }
        let newer_than = |old: &Membership<P>| {
            let newer = (list.term, list.version) > (old.list.term, old.list.version);
            old.subgroup() == list.subgroup && newer && old.list.member(from).is_some()
        };
        let told = self.handing.as_ref().and_then(Handing::told_to).is_some_and(|to| to.peer == from);
        if told && self.home().is_some_and(newer_than) {
            self.handed_over(ctx, &list);
        } else if self.leads() && self.home().is_some_and(newer_than) {
            let rival = list.leader().map_or_else(|| Contact::bare(from), |leader| leader.contact.clone());
            return self.rival(ctx, keys, list.subgroup, rival, list.term);
        }
        if list.member(self.me.peer).is_none() {
            return;
        }
        for guest in [false, true] {
            let asked = matches!(&self.seat(guest).stage, Stage::Joining { subgroup, leader }
                if *subgroup == list.subgroup && leader.peer == from);
            // Let in late: the step had its time, but there is no better place.
            let late =
                !guest && self.home.since.is_some() && self.home().is_none_or(|home| home.subgroup() != list.subgroup);
            let newer = self.seat(guest).membership.as_ref().is_some_and(newer_than);
            if !asked && !late && !newer {
                continue;
            }
            if !asked && !late && !told && self.leader_lives(guest, from) {
                let by = list.leader().map_or_else(|| Contact::bare(from), |leader| leader.contact.clone());
                return self.claimed(ctx, guest, by, Some(list));
            }
            if !guest {
                if self.home().is_some_and(|home| home.subgroup() != list.subgroup) {
                    self.moved_away(ctx, keys);
                }
                self.step_down(ctx);
            }
            return self.seated(ctx, guest, Membership { list, root });
        }
        if self.membership(list.subgroup).is_none() {
            // We are elsewhere by now.
            let leave = LeaveSubgroup { subgroup: list.subgroup };
            return ctx.out.send(&Contact::bare(from), SubgroupMessage::Leave(leave));
        }
        self.contest(ctx, keys, from, list.subgroup, list.term);
    }

    pub(super) fn seated(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool, membership: Membership<P>) {
        let (subgroup, root) = (membership.subgroup(), membership.root.clone());
        let old = self.seat(guest).membership.take();
        let before = old.as_ref().and_then(Membership::leader).map(|old| old.contact.peer);
        let after = membership.leader().map(|leader| leader.contact.peer);
        let here: BTreeSet<P> = membership.list.members.iter().map(|member| member.contact.peer).collect();
        let same = old.as_ref().filter(|old| old.subgroup() == subgroup);
        let gone = same.into_iter().flat_map(|old| old.list.members.iter().map(|member| &member.contact));
        let gone: Vec<_> = gone.filter(|member| !here.contains(&member.peer)).collect();
        if !guest {
            self.observed.look(ctx.now, subgroup, &here, &gone);
        }
        if self.leading.is_none() {
            gone.iter().for_each(|member| ctx.out.emit(SubgroupEvent::Missed(member.peer)));
        }
        let seat = self.seat(guest);
        // A member that was sent to another subgroup stays on the way there.
        let moves = seat.since.is_none()
            && matches!(&seat.stage, Stage::Joining { subgroup: to, .. } | Stage::Finding { subgroup: to, .. }
            if *to != subgroup && old.is_some());
        if !moves {
            seat.stage = Stage::In;
            seat.steps = 0;
            seat.elsewhere = 0;
            seat.since = None;
        }
        seat.membership = Some(membership);
        if !guest {
            self.succession = None;
            self.remember_root(root);
            self.compare_anew(ctx);
            if self.guest().is_some_and(|guest| guest.subgroup() == subgroup) {
                self.guest = Seat::default();
            }
        }
        ctx.out.emit(SubgroupEvent::Changed { guest, leader: before != after });
    }

    /// Let in elsewhere: the former leader is told, or, if that was this peer, its subgroup is given up.
    fn moved_away(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        if self.leads() {
            return self.dissolve(ctx, keys);
        }
        if let Some(home) = self.home.membership.take() {
            leave_to_leader(ctx, &home);
        }
    }

    /// Statements expire: half of their time before, they are made anew.
    pub(super) fn state_again(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        // What next week costs is paid a day ahead, so that it is there when it is needed.
        keys.paid(&self.config.cost, week_at(ctx.unix.saturating_add(STATEMENT_LASTS)));
        let due = ctx.unix + STATEMENT_LASTS / 2;
        for guest in [false, true] {
            let me = self.me.peer;
            let own = self.seat(guest).membership.as_ref().and_then(|membership| membership.list.member(me));
            if own.is_none_or(|own| own.expires > due) {
                continue;
            }
            let Some(membership) = self.seat(guest).membership.clone() else { continue };
            let Some(statement) = self.statement(ctx.unix, keys, membership.subgroup(), guest) else { return };
            if let Some(leading) = self.leading.as_mut().filter(|_| !guest) {
                leading.added.push(statement);
                self.commit(ctx, keys, None);
            } else if let Some(leader) = membership.leader() {
                ctx.out.send(&leader.contact, SubgroupMessage::Join(JoinSubgroup { statement }));
            }
        }
    }

    /// Any member passes the list on, to members and to those who were.
    pub(super) fn asked_for_members(&self, ctx: &mut SubgroupCtx<'_, P>, from: P, subgroup: OverlayAddr) {
        if let Some(home) = self.home().filter(|home| home.subgroup() == subgroup)
            && (home.list.member(from).is_some() || self.observed.former.iter().any(|former| former.peer == from))
        {
            ctx.out.send(&Contact::bare(from), SubgroupMessage::Members(home.list.clone()));
        }
    }

    pub(super) fn change_received(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        change: MemberChange<P>,
    ) {
        for guest in [false, true] {
            let seat = if guest { &self.guest } else { &self.home };
            let Some(old) = &seat.membership else { continue };
            if old.subgroup() != change.subgroup {
                continue;
            }
            if old.leader().is_none_or(|leader| leader.contact.peer != from) {
                self.contest(ctx, keys, from, change.subgroup, change.term);
                continue;
            }
            if (change.term, change.version) <= (old.list.term, old.list.version) {
                return;
            }
            // A leader may take a higher term, to stand above another that nobody follows.
            let known = (old.list.term, old.list.version);
            let fits = change.term >= old.list.term
                && change.version == old.list.version.saturating_add(1)
                && within_reach((change.term, change.version), Some(known));
            let sound = change
                .added
                .iter()
                .all(|added| added.subgroup == change.subgroup && added.holds(keys, &self.config.cost, ctx.unix));
            let list = apply_change(&old.list, &change);
            let list = MemberList { signature: change.signature, ..list };
            let by_leader = list.leader().is_some_and(|leader| leader.contact.peer == from);
            let root = list.list_root();
            let signed = by_leader && list.leader().is_some_and(|leader| root.holds(keys, leader));
            if fits && sound && signed && list.member(self.me.peer).is_some() {
                return self.seated(ctx, guest, Membership { list, root });
            }
            let ask = AskMembers { subgroup: change.subgroup };
            return ctx.out.send(&Contact::bare(from), SubgroupMessage::AskMembers(ask));
        }
        // Its relays would pick us in vain.
        self.elsewhere_by_now(ctx, from, change.subgroup);
    }
}

/// Whether a list of this term and version may follow the known one. Whoever leads next counts on from it: a leader
/// that signs the highest number would be the last one whom anybody believes.
fn within_reach(new: (u64, u64), known: Option<(u64, u64)>) -> bool {
    let reach = |known: u64| known.saturating_add(registry::TERM_STEP);
    let (term, version) = known.map_or((NUMBERS_END, NUMBERS_END), |(term, version)| (reach(term), reach(version)));
    new.0 <= term && new.1 <= version
}

/// The list that a change makes of `old`.
pub(super) fn apply_change<P: Peer>(old: &MemberList<P>, change: &MemberChange<P>) -> MemberList<P> {
    let mut members = old.members.clone().into_inner();
    members.retain(|member| !change.removed.iter().any(|gone| **gone == member.contact.peer.to_bytes()));
    for added in change.added.iter() {
        match members.iter_mut().find(|member| member.contact.peer == added.contact.peer) {
            Some(member) => *member = added.clone(),
            None => members.push(added.clone()),
        }
    }
    for moved in change.moved.iter() {
        if let Some(at) = members.iter().position(|member| member.contact.peer.to_bytes() == *moved.peer) {
            let member = members.remove(at);
            members.insert(usize::from(moved.place).min(members.len()), member);
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
