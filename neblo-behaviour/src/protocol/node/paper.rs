//! A node under the paper's policy: its part takes the place of paths, directory and client.

use super::*;
use crate::protocol::interface::{Answer, Command, Purpose, Status};
use crate::protocol::paper::{Members, PaperEvent};

impl<P: Peer> Node<P> {
    pub(super) fn is_paper(&self) -> bool {
        self.config.path_policy.is_paper()
    }

    /// The paper's part of the commands; gives back the others.
    pub(super) fn paper_command(&mut self, step: &mut Step<'_, P>, command: Command<P>) -> Option<Command<P>> {
        let (token, result) = match command {
            Command::Announce { token, announcement, allow_weak } => {
                let what = (token, announcement, allow_weak);
                (token, part!(self, step, |ctx| self.paper.announce(ctx, &*self.keys, what)))
            }
            Command::Lookup { token, query, limit, window, allow_weak } => {
                let what = (query, limit, window);
                (token, part!(self, step, |ctx| self.paper.look_up(ctx, &*self.keys, (token, allow_weak), what)))
            }
            Command::Connect { token, hit, allow_weak } => {
                (token, part!(self, step, |ctx| self.paper.connect(ctx, (token, allow_weak), &hit)))
            }
            Command::Withdraw { token, publication } => {
                part!(self, step, |ctx| self.paper.withdraw(ctx, publication));
                Self::done(step, token, Answer::Ok);
                (token, Ok(()))
            }
            Command::DirectoryAnswer { ask, rows } => {
                part!(self, step, |ctx| self.paper.answer(ctx, ask, &rows));
                return None;
            }
            Command::ReplayRows => {
                part!(self, step, |ctx| self.paper.replay(ctx));
                return None;
            }
            Command::Cancel { token } => {
                self.paper.cancel(token);
                return Some(command);
            }
            other => return Some(other),
        };
        if let Err(failure) = result {
            Self::done(step, token, Answer::Failed(failure));
        }
        None
    }

    pub(super) fn paper_members_changed(&mut self, step: &mut Step<'_, P>) {
        if !self.subscription.leaving.is_empty() {
            // What there was to be handed over has been.
            return;
        }
        let members = self.subgroups.home().and_then(|home| {
            let leader = home.leader()?.contact.clone();
            let list = home.list.members.iter().map(|member| member.contact.clone()).collect();
            Some(Members { subgroup: home.subgroup(), leader, list })
        });
        let was_ready = self.paper.members() > 0;
        part!(self, step, |ctx| self.paper.set_members(ctx, members));
        if !was_ready && self.paper.members() > 0 {
            for purpose in Purpose::ALL {
                Self::event(step, Event::PathReady(purpose));
            }
            part!(self, step, |ctx| self.paper.publish_what_waits(ctx));
        }
        self.refresh_soon(step);
    }

    pub(super) fn paper_event(&mut self, step: &mut Step<'_, P>, event: PaperEvent<P>) {
        match event {
            PaperEvent::Done(token, answer) => Self::done(step, token, answer),
            PaperEvent::Held(publication) => Self::event(step, Event::Held(publication)),
            PaperEvent::Cast(bytes) => step.out.push(Output::MulticastPublish(bytes)),
            PaperEvent::RowAdded { row, payload } => Self::event(step, Event::RowAdded { row, payload }),
            PaperEvent::RowRemoved(row) => Self::event(step, Event::RowRemoved { row }),
            PaperEvent::RowsCleared => Self::event(step, Event::RowsCleared),
            PaperEvent::Asked { ask, query, limit } => {
                Self::event(step, Event::DirectoryAsked { ask, query, limit });
            }
            PaperEvent::Grant { stream, next, header } => {
                step.out.push(Output::StreamGranted { stream, next, header });
            }
            PaperEvent::Refuse { stream, reason } => step.out.push(Output::StreamRefused { stream, reason }),
            PaperEvent::Deliver { publication, secret, next, header } => {
                self.next_stream += 1;
                let stream = self.next_stream;
                step.out.push(Output::StreamDeliver { stream, next, header, publication, secret });
            }
            PaperEvent::Received { stream, token } => step.out.push(Output::StreamReceived { stream, token }),
        }
    }

    pub(super) fn paper_status(&self) -> Status {
        let (publications, publications_held) = self.paper.publications();
        let ready = if self.paper.members() > 0 { Purpose::ALL.to_vec() } else { Vec::new() };
        Status {
            anonymity_set: self.paper.members(),
            paths_ready: ready,
            paths_building: Vec::new(),
            paths_later: Vec::new(),
            relayed_paths: self.paper.relayed(),
            publications,
            publications_held,
            rows: self.paper.rows(),
            copied_rows: self.paper.copied_rows(),
            ..self.usual_status()
        }
    }

    /// The paper's mechanism, to be looked at by tests and simulations.
    pub fn paper(&self) -> &Paper<P> {
        &self.paper
    }
}
