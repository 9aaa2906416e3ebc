//! What the application wants.

use super::*;
use crate::protocol::client::Cover;
use crate::protocol::interface::{Answer, Command, Failure, Purpose, Status};
use crate::protocol::messaging::Asking;
use crate::protocol::ring::RingInput;

/// Commands to leave that wait for the same end. choice
const MAX_LEAVING: usize = 16;
/// From the end of leaving until it is said: whoever hears so often ends the program, and what was just sent to neighbours would
/// be lost with it. choice: a long way across the net
const LAST_FRAMES: Duration = Duration::from_millis(250);

impl<P: Peer> Node<P> {
    pub(super) fn done(step: &mut Step<'_, P>, token: Token, answer: Answer) {
        step.out.push(Output::Done { token, answer });
    }

    fn done_or_failed(step: &mut Step<'_, P>, token: Token, result: Result<(), Failure>) {
        if let Err(failure) = result {
            Self::done(step, token, Answer::Failed(failure));
        }
    }

    pub(super) fn command(&mut self, step: &mut Step<'_, P>, command: Command<P>) {
        let Some(command) = (if self.is_paper() { self.paper_command(step, command) } else { Some(command) }) else {
            return;
        };
        match command {
            Command::Subscribe { token, known } => self.subscribe(step, token, known),
            Command::Leave { token } => self.leave(step, token),
            Command::Send { token, recipients, port, to, payload } => {
                let sent = user_port(port).and_then(|()| {
                    self.messaging(step, |messaging, ctx, around| {
                        messaging.send(ctx, around, (recipients, port, to), payload)
                    })
                });
                let answer = match sent {
                    Ok(()) => Answer::Ok,
                    Err(failure) => Answer::Failed(failure),
                };
                Self::done(step, token, answer);
            }
            Command::Request { token, recipients, port, to, payload, timeout } => match user_port(port) {
                Ok(()) => {
                    let asking = Asking { token: 0, recipients, port, to, payload, wait: timeout, via: None };
                    self.ask(step, asking, Asker::User(token));
                }
                Err(failure) => Self::done(step, token, Answer::Failed(failure)),
            },
            Command::Cancel { token } => self.cancel(token),
            Command::SetHandler { port, kind, on } => self.set_handler(port, kind, on),
            Command::SetRangeHandlers { migration, regeneration } => {
                self.range_handlers.0 = migration.unwrap_or(self.range_handlers.0);
                self.range_handlers.1 = regeneration.unwrap_or(self.range_handlers.1);
            }
            Command::Pass { pass, passage } => {
                self.messaging(step, |messaging, ctx, around| messaging.pass(ctx, around, pass, passage));
            }
            Command::RangeWorkDone { work } => self.range_work_done(step, work),
            Command::Owns { token, address } => {
                Self::done(step, token, Answer::Owns(self.ring.ownership(address)));
            }
            Command::Respond { ask, payload } => {
                part!(self, step, |ctx| self.messaging.respond(ctx, ask, payload));
            }
            Command::Announce { token, announcement, allow_weak } => {
                let cover = self.cover(step);
                let what = (token, announcement, allow_weak);
                let result = part!(self, step, |ctx| self.client.announce(ctx, &*self.keys, cover, what));
                Self::done_or_failed(step, token, result);
            }
            Command::Withdraw { token, publication } => {
                part!(self, step, |ctx| self.client.withdraw(ctx, publication));
                Self::done(step, token, Answer::Ok);
            }
            Command::Lookup { token, query, limit, window, allow_weak } => {
                let cover = self.cover(step);
                let what = (query, limit, window);
                let result = part!(self, step, |ctx| self.client.look_up(ctx, cover, (token, allow_weak), what));
                Self::done_or_failed(step, token, result);
            }
            Command::Connect { token, hit, allow_weak } => {
                let cover = self.cover(step);
                let result = part!(self, step, |ctx| self.client.connect(ctx, cover, (token, allow_weak), &hit));
                Self::done_or_failed(step, token, result);
            }
            Command::DirectoryAnswer { ask, rows } => {
                part!(self, step, |ctx| self.directory.answer(ctx, ask, &rows));
            }
            Command::ReplayRows => part!(self, step, |ctx| self.directory.replay(ctx)),
            Command::Status { token } => {
                let status = self.status();
                Self::done(step, token, Answer::Status(Box::new(status)));
            }
            Command::PreferRelays { relays } => self.paths.prefer(relays),
        }
    }

    /// How well own paths are covered; a leader, and a member of a tiny subgroup, becomes a guest elsewhere on demand.
    fn cover(&mut self, step: &mut Step<'_, P>) -> Cover {
        let home = self.subgroups.home().map(|home| home.subgroup());
        let leads = self.subgroups.leads();
        let own = self.paths.anonymity_set();
        let in_own_home = leads && self.subgroups.guest().is_none();
        if leads || own < 4 {
            part!(self, step, |ctx| self.subgroups.want_guest(ctx, &*self.keys));
        }
        let known = home.is_some() && self.paths.has_view();
        // A leader's paths through its own members name it to them.
        Cover { known, members: if in_own_home { own.min(1) } else { own } }
    }

    fn cancel(&mut self, token: Token) {
        let asks: Vec<u64> = self
            .asks
            .iter()
            .filter(|(_, asker)| matches!(asker, Asker::User(user) if *user == token))
            .map(|(ask, _)| *ask)
            .collect();
        for ask in asks {
            self.asks.remove(&ask);
            self.messaging.cancel(ask);
        }
        self.client.cancel(token);
    }

    /// Paths and subgroup first; the ring last, because what is kept for the range goes over it to the next owner.
    fn leave(&mut self, step: &mut Step<'_, P>, token: Token) {
        if !self.subscription.wanted && self.subscription.leaving.is_empty() {
            return Self::done(step, token, Answer::Ok);
        }
        if self.subscription.leaving.len() >= MAX_LEAVING {
            return Self::done(step, token, Answer::Failed(Failure::Overloaded));
        }
        self.subscription.leaving.push(token);
        if self.subscription.leaving.len() > 1 {
            return;
        }
        part!(self, step, |ctx| self.paths.leave(ctx));
        part!(self, step, |ctx| self.paper.leave(ctx));
        part!(self, step, |ctx| self.subgroups.leave(ctx));
        part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Leave));
        self.subgroups_changed(step);
        if !self.ring.is_member() {
            // It was none: nothing is to be handed over.
            self.left(step);
        }
    }

    /// No member of the ring any more.
    pub(super) fn left(&mut self, step: &mut Step<'_, P>) {
        if self.subscription.leaving.is_empty() {
            return;
        }
        self.subscription.wanted = false;
        self.fingers.clear();
        self.ranges.last = None;
        self.refresh_soon(step);
        if self.subgroups.is_leaving() {
            // The subgroup is being handed over; its end comes back here.
            return;
        }
        arm(step, LAST_FRAMES, Timer::Left);
    }

    /// The last frames are out.
    pub(super) fn left_expired(&mut self, step: &mut Step<'_, P>) {
        if self.subscription.wanted || self.subgroups.is_leaving() {
            return;
        }
        for token in std::mem::take(&mut self.subscription.leaving) {
            Self::done(step, token, Answer::Ok);
        }
    }

    /// A snapshot.
    pub fn status(&self) -> Status {
        if self.is_paper() {
            return self.paper_status();
        }
        self.usual_status()
    }

    pub(super) fn usual_status(&self) -> Status {
        let home = self.subgroups.home();
        let (publications, publications_held) = self.client.publications();
        let leader = home.and_then(|home| home.leader());
        Status {
            address: self.address(),
            range: self.ring.range().map(|(range, _)| range),
            successors: self.ring.successors().len(),
            fingers: self.fingers.iter().count(),
            subgroup: home.map(|home| home.subgroup()),
            is_leader: self.subgroups.leads(),
            leader: leader.map(|leader| leader.contact.peer.to_bytes()),
            members: home.map_or(0, |home| home.list.members.len()),
            candidate: self.subgroups.place(),
            anonymity_set: self.paths.anonymity_set(),
            leaders: self.subgroups.leaders().count() + usize::from(self.subgroups.leads()),
            paths_ready: self.paths.ready(),
            paths_building: self.paths.building(),
            paths_later: self.paths.later(),
            relayed_paths: self.paths.relayed(),
            relayed_streams: self.paths.relayed_streams(),
            publications,
            publications_held,
            rows: self.directory.rows(),
            copied_rows: self.directory.copied_rows(),
            counters: self.counters.iter().map(|(name, count)| (*name, *count)).collect(),
        }
    }

    /// Whether a path for this purpose is ready.
    pub fn is_ready(&self, purpose: Purpose) -> bool {
        if self.is_paper() {
            return self.paper.members() > 0;
        }
        self.paths.ready().contains(&purpose)
    }
}
