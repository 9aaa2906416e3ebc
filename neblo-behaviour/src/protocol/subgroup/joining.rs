//! The way into a subgroup: through a known peer, the registry and the leader (seed 003 §2).

use super::*;

impl<P: Peer> Subgroups<P> {
    pub(super) fn begin(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, guest: bool) {
        if guest {
            return self.list_leaders(ctx, keys);
        }
        match self.home.known.clone() {
            Some(known) => self.enter(ctx, false, Stage::Asking { known }),
            None => {
                let subgroup = self.random_subgroup(ctx);
                self.create(ctx, keys, subgroup);
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
            Stage::Asking { known } => ctx.out.send(known, SubgroupMessage::Which(Which { request: generation })),
            Stage::Finding { subgroup, token } => {
                let find = RegistryRequest::<P>::Find(FindRows { most: 1 });
                let payload = to_bytes(&find);
                ctx.out.emit(SubgroupEvent::Ask { token: *token, copies: COPIES, to: *subgroup, payload });
            }
            Stage::Idle | Stage::Listing | Stage::Joining { .. } | Stage::In => {}
        }
        let seat = self.seat(guest);
        seat.generation = generation;
        seat.steps += 1;
        seat.stage = stage;
        ctx.out.arm(STEP_WITHIN, SubgroupTimer::Step { guest, generation });
    }

    pub(super) fn find(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool, subgroup: OverlayAddr) {
        let token = self.next_number();
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
        let statement = self.statement(ctx.unix, keys, subgroup, guest);
        ctx.out.send(&leader, SubgroupMessage::Join(JoinSubgroup { statement }));
        self.enter(ctx, guest, Stage::Joining { subgroup, leader });
    }

    pub(super) fn statement(&self, unix: u64, keys: &dyn Keys<P>, subgroup: OverlayAddr, guest: bool) -> Statement<P> {
        Statement::sign(keys, &self.me, self.sealing, subgroup, unix + STATEMENT_LASTS, guest)
    }

    /// Tries a step again a little later.
    pub(super) fn soon(&mut self, ctx: &mut SubgroupCtx<'_, P>, guest: bool) {
        let generation = self.next_number();
        self.seat(guest).generation = generation;
        ctx.out.arm(STEP_AGAIN, SubgroupTimer::Step { guest, generation });
    }

    pub(super) fn step(&mut self, ctx: &mut SubgroupCtx<'_, P>, keys: &dyn Keys<P>, guest: bool) {
        let seat = self.seat(guest);
        let tired = seat.steps > MAX_STEPS;
        match seat.stage.clone() {
            Stage::Idle | Stage::In => {}
            _ if tired && guest => *self.seat(true) = Seat::default(),
            _ if tired => {
                let subgroup = self.random_subgroup(ctx);
                self.create(ctx, keys, subgroup);
            }
            Stage::Asking { known } => self.enter(ctx, guest, Stage::Asking { known }),
            Stage::Finding { subgroup, .. } if !seat.steps.is_multiple_of(12) => self.find(ctx, guest, subgroup),
            // The leader did not answer: another may lead by now.
            Stage::Joining { subgroup, .. } if !seat.steps.is_multiple_of(6) => self.find(ctx, guest, subgroup),
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

    pub(super) fn ask_buckets(&mut self, ctx: &mut SubgroupCtx<'_, P>) {
        let payload = to_bytes(&RegistryRequest::<P>::Find(FindRows { most: MAX_ROWS as u16 }));
        for to in registry::buckets(&self.config.network).collect::<Vec<_>>() {
            let token = self.next_number();
            ctx.out.emit(SubgroupEvent::Ask { token, copies: COPIES, to, payload: payload.clone() });
        }
    }

    /// The registry answered.
    pub fn answered(
        &mut self,
        ctx: &mut SubgroupCtx<'_, P>,
        keys: &dyn Keys<P>,
        token: u64,
        result: Result<Vec<u8>, Failure>,
    ) {
        let rows = result.ok().and_then(|bytes| from_bytes::<Rows<P>>(&bytes).ok()).map(|rows| rows.rows.into_inner());
        let rows: Vec<_> =
            rows.unwrap_or_default().into_iter().filter(|row| row.statement.holds(keys, ctx.unix)).collect();
        for row in &rows {
            self.heard_of(ctx.now, row.clone());
        }
        for guest in [false, true] {
            match self.seat(guest).stage.clone() {
                Stage::Finding { subgroup, token: asked } if asked == token => {
                    match rows.iter().find(|row| row.statement.subgroup == subgroup) {
                        Some(row) if row.statement.contact.peer != self.me.peer => {
                            let contact = row.statement.contact.clone();
                            self.ask_leader(ctx, keys, guest, subgroup, contact);
                        }
                        _ => self.soon(ctx, guest),
                    }
                }
                Stage::Listing if !rows.is_empty() => self.soon(ctx, guest),
                _ => {}
            }
        }
        self.greet_leaders(ctx, keys);
    }

    pub(super) fn heard_of(&mut self, now: Time, row: LeaderRow<P>) {
        let subgroup = row.statement.subgroup;
        if self.leaders.get(&subgroup).is_some_and(|(old, until)| old.term > row.term && *until > now) {
            return;
        }
        if self.leaders.len() >= 4_096 && !self.leaders.contains_key(&subgroup) {
            return;
        }
        self.leaders.insert(subgroup, (row, now + registry::LASTS));
    }
}
