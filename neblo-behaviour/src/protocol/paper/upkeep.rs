//! Keeping paths: the timer with its pings, failure notifications, totalPing, leaving, another leader (seed 003 §3.1, §4).

use super::*;

/// A ping that is not answered within this has failed. choice
const PING_WITHIN: Duration = Duration::from_secs(2);
/// How long an owner waits after the leader's broadcast, until all have heard it. choice
const AFTER_BROADCAST: Duration = Duration::from_millis(500);

impl<P: Peer> Paper<P> {
    /// "For each entry, it will send a ping message to the previous and the following peer."
    pub(super) fn check(&mut self, ctx: &mut PaperCtx<'_, P>) {
        if self.members.is_none() {
            self.running = false;
            return;
        }
        ctx.out.arm(self.config.timer, PaperTimer::Check);
        let me = self.me.peer;
        let entries = self.table.all().flat_map(|(connection, entry)| {
            [entry.previous, Some(entry.next)].into_iter().flatten().map(move |peer| (connection, peer))
        });
        let ends = self.leader.ends();
        self.unanswered = entries.chain(ends).filter(|(_, peer)| *peer != me).collect();
        if self.unanswered.is_empty() {
            return;
        }
        for (connection, peer) in self.unanswered.clone() {
            self.send(ctx, peer, PaperMessage::Ping(Ping { connection, answer: false }));
        }
        ctx.out.arm(PING_WITHIN, PaperTimer::Checked);
    }

    /// Who has no entry for the path any more does not answer: it has died and come back since.
    pub(super) fn pinged(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, ping: &Ping) {
        let connection = ping.connection;
        if ping.answer {
            self.unanswered.remove(&(connection, from));
            return;
        }
        let on_path = self.table.of(&connection).any(|entry| entry.previous == Some(from) || entry.next == from);
        if on_path || self.leader.end(&connection) == Some(from) {
            self.send(ctx, from, PaperMessage::Ping(Ping { connection, answer: true }));
        }
    }

    /// "If a peer detects a connection failure, it generates a RW failure notification."
    pub(super) fn checked(&mut self, ctx: &mut PaperCtx<'_, P>) {
        for (connection, peer) in std::mem::take(&mut self.unanswered) {
            if self.leader.end(&connection) == Some(peer) {
                self.forget(ctx, &connection);
            }
            let entries: Vec<_> = self.table.of(&connection).cloned().collect();
            for entry in entries {
                if entry.previous == Some(peer) {
                    self.table.remove(&connection, &entry);
                    self.send(ctx, entry.next, PaperMessage::Failure(Failure { connection, to_leader: true }));
                } else if entry.next == peer {
                    self.towards_owner_failed(ctx, connection, &entry);
                }
            }
        }
    }

    fn towards_owner_failed(&mut self, ctx: &mut PaperCtx<'_, P>, connection: Connection, entry: &Entry<P>) {
        self.table.remove(&connection, entry);
        match entry.previous {
            Some(previous) => {
                self.send(ctx, previous, PaperMessage::Failure(Failure { connection, to_leader: false }));
            }
            None => self.republish(ctx),
        }
    }

    pub(super) fn failed(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, failure: &Failure) {
        let connection = failure.connection;
        if !failure.to_leader {
            if let Some(entry) = self.table.by_next(&connection, from).cloned() {
                self.towards_owner_failed(ctx, connection, &entry);
            }
            return;
        }
        if self.leader.end(&connection) == Some(from) {
            self.end_failed(ctx, &connection, from);
        } else if let Some(entry) = self.table.by_previous(&connection, Some(from)).cloned() {
            self.table.remove(&connection, &entry);
            self.send(ctx, entry.next, PaperMessage::Failure(Failure { connection, to_leader: true }));
        }
    }

    /// At the leader: "one entry for each published content" is deleted.
    pub(super) fn end_failed(&mut self, ctx: &mut PaperCtx<'_, P>, connection: &Connection, last: P) {
        if self.leader.end(connection) == Some(last) {
            self.forget(ctx, connection);
        }
    }

    // ---- totalPing -------------------------------------------------------------------------------------------

    pub(super) fn totally_pinged(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, ping: &TotalPing) {
        let connection = ping.connection;
        if ping.to_leader {
            if self.leader.end(&connection) == Some(from) && self.leads() {
                return match ping.answer {
                    true => self.owner_answered(ctx, &connection),
                    false if from == self.me.peer => self.path_is_whole(ctx),
                    false => {
                        let answer = TotalPing { connection, to_leader: false, answer: true };
                        self.send(ctx, from, PaperMessage::TotalPing(answer));
                    }
                };
            }
            if let Some(next) = self.table.by_previous(&connection, Some(from)).map(|entry| entry.next) {
                self.send(ctx, next, PaperMessage::TotalPing(ping.clone()));
            }
            return;
        }
        match self.table.by_next(&connection, from).map(|entry| entry.previous) {
            Some(Some(previous)) => self.send(ctx, previous, PaperMessage::TotalPing(ping.clone())),
            Some(None) if ping.answer => self.path_is_whole(ctx),
            Some(None) => {
                let answer = TotalPing { connection, to_leader: true, answer: true };
                self.send(ctx, from, PaperMessage::TotalPing(answer));
            }
            None => {}
        }
    }

    pub(super) fn total_ping_expired(&mut self, ctx: &mut PaperCtx<'_, P>, number: u64) {
        self.own_ping_failed(ctx, number);
        self.owner_ping_failed(ctx, number);
    }

    /// The leader's broadcast: the owner publishes again, peers of the path delete their entries, "the rest of peers will take
    /// no notice".
    pub(super) fn path_failed(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, connection: Connection) {
        if !self.is_leader(from) {
            return;
        }
        self.table.remove_path(&connection);
        if self.own.connection == Some(connection) {
            // A peer that heard of it later than a new walk came to it would delete that one's entry.
            ctx.out.arm(AFTER_BROADCAST, PaperTimer::Republish);
        }
    }

    // ---- leaving ---------------------------------------------------------------------------------------------

    /// "It will get in touch with the previous and the following peer associated to each table entry in order to update their
    /// entries."
    pub fn leave(&mut self, ctx: &mut PaperCtx<'_, P>) {
        self.take_down(ctx);
        if self.leads() {
            if let Some(heir) = self.candidates_first() {
                self.give_table(ctx, &heir);
            }
            self.lead_no_more(ctx);
        }
        let entries: Vec<_> = self.table.all().map(|(connection, entry)| (connection, entry.clone())).collect();
        for (connection, entry) in entries {
            if let Some(previous) = entry.previous {
                let (before, after) = (self.contact(previous), self.contact(entry.next));
                let to_previous = Replace { connection, next: true, by: after };
                self.send(ctx, previous, PaperMessage::Replace(to_previous));
                let to_next = Replace { connection, next: false, by: before };
                self.send(ctx, entry.next, PaperMessage::Replace(to_next));
            }
            self.table.remove(&connection, &entry);
        }
        self.members = None;
    }

    fn candidates_first(&self) -> Option<Contact<P>> {
        self.members.as_ref().and_then(|members| members.others(self.me.peer).next()).cloned()
    }

    pub(super) fn replaced(&mut self, ctx: &mut PaperCtx<'_, P>, from: P, replace: Replace<P>) {
        let Replace { connection, next, by } = replace;
        if !next && self.leader.end(&connection) == Some(from) {
            // It was the last peer of the path.
            return self.leader.set_end(connection, by.peer);
        }
        let own = |entry: &&Entry<P>| if next { entry.next == from } else { entry.previous == Some(from) };
        let Some(entry) = self.table.of(&connection).find(own).cloned() else { return };
        self.table.remove(&connection, &entry);
        let changed = match next {
            true => Entry { next: by.peer, ..entry.clone() },
            false => Entry { previous: Some(by.peer), ..entry.clone() },
        };
        let clash = |other: &Entry<P>| other.next == changed.next || other.previous == changed.previous;
        let clashes = self.table.of(&connection).any(clash);
        let loops = changed.next == self.me.peer && !self.leads() || changed.previous == Some(self.me.peer);
        if clashes || loops {
            // The walk would take one link twice, or none: its owner makes another.
            return match (next, entry.previous) {
                (true, Some(previous)) => {
                    let failure = Failure { connection, to_leader: false };
                    self.send(ctx, previous, PaperMessage::Failure(failure));
                }
                (true, None) => self.republish(ctx),
                (false, _) => {
                    self.send(ctx, entry.next, PaperMessage::Failure(Failure { connection, to_leader: true }));
                }
            };
        }
        self.table.insert(connection, changed);
    }

    // ---- another leader --------------------------------------------------------------------------------------

    /// Another subgroup: all paths are gone. Another leader of the same one: paths end at it now, whose table is a copy (§4);
    /// what it does not have is published again when the path is found to have failed.
    pub(super) fn leader_changed(&mut self, ctx: &mut PaperCtx<'_, P>, before: Option<(OverlayAddr, P)>, led: bool) {
        let now = self.members.as_ref().map(|members| (members.subgroup, members.leader.clone()));
        if led && !self.leads() {
            if let Some((_, leader)) =
                now.as_ref().filter(|(subgroup, _)| before.is_some_and(|(old, _)| old == *subgroup))
            {
                self.give_table(ctx, leader);
            }
            self.lead_no_more(ctx);
        }
        match (before, now) {
            (Some((subgroup, old)), Some((same, leader))) if subgroup == same => {
                for entry in self.table.all_mut().filter(|entry| entry.next == old) {
                    entry.next = leader.peer;
                }
                // The new leader was a peer of our path, perhaps the very one before the end.
                if self.leads() {
                    self.take_replica(ctx);
                    self.replicate_all(ctx);
                } else if !self.own.contents.is_empty() {
                    self.pinging = None;
                    self.publish_again_if_failed(ctx);
                }
            }
            (_, Some(_)) => {
                self.table = RoutingTable::default();
                self.replica.clear();
                if self.leads() {
                    self.replicate_all(ctx);
                }
                self.republish(ctx);
            }
            (_, None) => {}
        }
    }
}
