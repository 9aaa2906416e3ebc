//! The way into a subgroup: through a known peer, the registry and the leader (seed 003 §2).

use super::*;

impl<P: Peer> Subgroups<P> {
    pub(super) fn begin(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, guest: bool) {
        if self.proof(ctx.unix, keys).is_none() {
            // Nobody lets us in before we have paid, and until then we do not look for anything.
            let seat = self.seat(guest);
            seat.stage = if guest { Stage::Listing } else { Stage::Asking { known: Vec::new(), told: Vec::new() } };
            seat.since = seat.since.map(|_| ctx.now);
            return self.soon(ctx, guest);
        }
        if guest {
            return self.list_leaders(ctx, keys);
        }
        let known = self.home.known.clone();
        if known.is_empty() {
            let subgroup = self.random_subgroup(ctx);
            return self.create(ctx, keys, subgroup);
        }
        self.enter(ctx, false, Stage::Asking { known, told: Vec::new() });
    }

    /// What this peer says when it is asked for its subgroup.
    pub(super) fn in_subgroup(&self, request: u64) -> InSubgroup<P> {
        let home = self.home();
        let members = home.map(|home| home.list.members.iter().filter(|member| !member.guest).count());
        // Who was told to lead does, though its list is still on its way to us.
        let told = self.handing.as_ref().and_then(|handing| handing.told_to());
        InSubgroup {
            request,
            subgroup: home.map(Membership::subgroup),
            leader: told.or(home.and_then(Membership::leader).map(|leader| leader.contact.clone())),
            size: members.map(|members| u16::try_from(members).unwrap_or(u16::MAX)),
            full: home.map(|_| u16::try_from(self.config.full).unwrap_or(u16::MAX)),
        }
    }

    pub(super) fn told_subgroup(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        answer: InSubgroup<P>,
    ) {
        self.rival_confirmed(ctx, keys, from, &answer);
        self.claim_answered(ctx, keys, from, &answer);
        let request = self.home.generation;
        let Stage::Asking { known, told } = &mut self.home.stage else { return };
        if answer.request != request
            || !known.iter().any(|known| known.peer == from)
            || told.iter().any(|(peer, _)| *peer == from)
        {
            return;
        }
        told.push((from, answer));
        if told.len() == known.len() {
            self.choose_told(ctx, keys);
        }
    }

    /// Of the subgroups of known peers the emptiest is joined; if all are full, the first one's leader says where to go.
    pub(super) fn choose_told(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let Stage::Asking { known, told } = &self.home.stage else { return };
        let place = |peer: P| known.iter().position(|known| known.peer == peer);
        let is_full = |answer: &InSubgroup<P>| answer.size.zip(answer.full).is_some_and(|(size, full)| size >= full);
        let rank = |(peer, answer): &&(P, InSubgroup<P>)| {
            let full = is_full(answer);
            (full, if full { 0 } else { answer.size.unwrap_or(0) }, place(*peer))
        };
        let best = told.iter().filter(|(_, answer)| answer.subgroup.is_some()).min_by_key(rank).cloned();
        let Some((_, InSubgroup { subgroup: Some(subgroup), leader, .. })) = best else {
            // None of them has a place itself yet: they are asked again.
            self.home.stage = Stage::Asking { known: Vec::new(), told: Vec::new() };
            return self.soon(ctx, false);
        };
        match leader.filter(|leader| leader.peer != self.me.peer) {
            Some(leader) => {
                // The peer that answers may be the leader itself; its address is the one that we reached it at.
                let leader = known.iter().find(|known| known.peer == leader.peer).cloned().unwrap_or(leader);
                self.ask_leader(ctx, keys, false, subgroup, leader);
            }
            None => self.find(ctx, false, subgroup),
        }
    }

    pub(super) fn sent_elsewhere(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        from: P,
        elsewhere: &Elsewhere,
    ) {
        for guest in [false, true] {
            let asked = matches!(&self.seat(guest).stage, Stage::Joining { subgroup, leader }
                if *subgroup == elsewhere.subgroup && leader.peer == from);
            if !asked {
                continue;
            }
            let seat = self.seat(guest);
            seat.elsewhere += 1;
            let weary = seat.elsewhere > MAX_ELSEWHERE;
            if seat.since.is_none() && seat.membership.is_some() {
                // It had a place, and keeps it.
                seat.stage = Stage::In;
                continue;
            }
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

    pub(super) fn random_subgroup(&self, ctx: &mut SubgroupCtx<'_, P>) -> OverlayAddr {
        OverlayAddr::from_bytes(crate::protocol::io::draw(ctx.rng))
    }

    /// Enters a stage: sends what it sends and arms its time-out.
    pub(super) fn enter(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool, stage: Stage<P>) {
        let generation = self.next_number();
        match &stage {
            Stage::Asking { known, .. } => {
                for known in known {
                    ctx.out.send(known, SubgroupMessage::Which(Which { request: generation }));
                }
            }
            Stage::Idle | Stage::Finding { .. } | Stage::Listing | Stage::Joining { .. } | Stage::In => {}
        }
        let within = if matches!(stage, Stage::Asking { .. }) { KNOWN_WITHIN } else { STEP_WITHIN };
        let seat = self.seat(guest);
        seat.generation = generation;
        seat.steps += 1;
        seat.stage = stage;
        ctx.out.arm(within, SubgroupTimer::Step { guest, generation });
    }

    pub(super) fn find(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool, subgroup: OverlayAddr) {
        let token = self.inquire(ctx, subgroup);
        self.enter(ctx, guest, Stage::Finding { subgroup, token });
    }

    pub(super) fn ask_leader(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        guest: bool,
        subgroup: OverlayAddr,
        leader: Contact<P>,
    ) {
        let Some(statement) = self.statement(ctx.unix, keys, subgroup, guest) else {
            // The week has just changed: the step is tried again.
            let seat = self.seat(guest);
            seat.stage = Stage::Joining { subgroup, leader };
            seat.steps += 1;
            return self.soon(ctx, guest);
        };
        ctx.out.send(&leader, SubgroupMessage::Join(JoinSubgroup { statement }));
        self.enter(ctx, guest, Stage::Joining { subgroup, leader });
    }

    /// The proof that a statement made now needs, if it is there already.
    pub(super) fn proof(&self, unix: u64, keys: &dyn Keys<P>) -> Option<u64> {
        keys.paid(&self.config.cost, week_at(unix))
    }

    pub(super) fn statement(
        &self,
        unix: u64,
        keys: &dyn Keys<P>,
        subgroup: OverlayAddr,
        guest: bool,
    ) -> Option<Statement<P>> {
        let paid = self.proof(unix, keys)?;
        let expires = unix.saturating_add(STATEMENT_LASTS);
        let more = (self.config.resources, paid);
        Some(Statement::stated(keys, &self.me, self.sealing, subgroup, expires, guest, more))
    }

    /// Tries a step again a little later.
    pub(super) fn soon(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool) {
        let generation = self.next_number();
        self.seat(guest).generation = generation;
        ctx.out.arm(STEP_AGAIN, SubgroupTimer::Step { guest, generation });
    }

    pub(super) fn step(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, guest: bool) {
        let looked = self.seat(guest).since.map(|since| ctx.now.since(since));
        let seat = self.seat(guest);
        let tired = if guest { seat.steps > MAX_STEPS } else { looked.is_some_and(|looked| looked >= LOOKS_FOR) };
        let steps = seat.steps;
        let keeps = seat.membership.is_some() && looked.is_none();
        match seat.stage.clone() {
            Stage::Idle | Stage::In => {}
            // On the way to another subgroup, with a place in this one.
            _ if keeps && steps > MAX_MOVE_STEPS => seat.stage = Stage::In,
            _ if tired && guest => *self.seat(true) = Seat::default(),
            _ if tired => {
                let subgroup = self.random_subgroup(ctx);
                self.create(ctx, keys, subgroup);
            }
            Stage::Asking { told, .. } if !told.is_empty() => self.choose_told(ctx, keys),
            Stage::Asking { .. } => self.begin(ctx, keys, guest),
            Stage::Finding { subgroup, .. } if !steps.is_multiple_of(12) => self.find(ctx, guest, subgroup),
            // Another was named, too.
            Stage::Joining { subgroup, .. } if self.ask_next_named(ctx, keys, guest, subgroup) => {}
            // The leader did not answer: another may lead by now.
            Stage::Joining { subgroup, .. } if !steps.is_multiple_of(6) => self.find(ctx, guest, subgroup),
            _ => self.begin(ctx, keys, guest),
        }
    }

    pub(super) fn list_leaders(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>) {
        let home = self.home().map(Membership::subgroup);
        let known: Vec<_> = self.leaders().filter(|row| Some(row.statement.subgroup) != home).cloned().collect();
        // Where most members are, a path hides best.
        let chosen = known.iter().max_by_key(|row| row.size).cloned();
        if let Some(row) = chosen.filter(|_| self.guest.steps < 3) {
            let contact = row.statement.contact.clone();
            return self.ask_leader(ctx, keys, true, row.statement.subgroup, contact);
        }
        self.ask_buckets(ctx);
        self.enter(ctx, true, Stage::Listing);
    }
}
