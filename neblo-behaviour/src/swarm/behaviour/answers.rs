//! Between handles and node: commands in, answers and deliveries out.

use futures::channel::mpsc;
use libp2p_identity::PeerId;

use super::Behaviour;
use crate::protocol::interface::{Answer, Command, Event as NodeEvent, Failure, Input, Token};
use crate::swarm::event::Event;
use crate::swarm::handle::{DirectoryEvent, LookupEvent, Pending, Request};
use crate::swarm::shared::{Notes, count};

use libp2p_swarm::ToSwarm;

/// Commands without an answer yet: further ones fail with `Overloaded`.
const MAX_PENDING: usize = 4096;

fn fail(pending: Pending, failure: Failure) {
    match pending {
        Pending::Once(reply) => drop(reply.send(Err(failure))),
        Pending::Connect(reply) => drop(reply.send(Err(failure))),
        Pending::Lookup(events) => last(&events, LookupEvent::Failed(failure)),
    }
}

fn is_given_up(pending: &Pending) -> bool {
    match pending {
        Pending::Once(reply) => reply.is_canceled(),
        Pending::Connect(reply) => reply.is_canceled(),
        Pending::Lookup(events) => events.is_closed(),
    }
}

/// Sends the last event of a lookup: a new sender has a place of its own, so it fits even into a full queue.
fn last(events: &mpsc::Sender<LookupEvent>, event: LookupEvent) {
    let _ = events.clone().try_send(event);
}

impl Behaviour {
    fn command(&mut self, command: Command<PeerId>) {
        self.inputs.push_back(Input::Command(command));
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            // Given up before we came to it.
            Request::Ask(_, _, pending) if is_given_up(&pending) => {}
            Request::Ask(_, _, pending) if self.pending.len() >= MAX_PENDING => fail(pending, Failure::Overloaded),
            Request::Ask(token, command, pending) => {
                self.pending.insert(token, pending);
                self.command(command);
            }
            Request::Tell(command) => self.command(command),
            Request::Register { port, registration, reply } => {
                let told = self.dispatch.register(port, registration).map(|command| self.command(command));
                let _ = reply.send(told);
            }
            Request::Clear { port } => {
                for command in self.dispatch.clear(port) {
                    self.command(command);
                }
            }
            Request::RegisterRanges { handler, reply } => {
                let told = self.dispatch.set_range_handler(handler).map(|command| self.command(command));
                let _ = reply.send(told);
            }
            Request::ClearRanges => {
                let command = self.dispatch.clear_ranges();
                self.command(command);
            }
            Request::Tried(request, permit) => {
                drop(permit);
                self.on_request(*request);
            }
        }
    }

    pub(super) fn take_notes(&mut self, notes: Notes) {
        for (stream, bytes) in notes.ended {
            self.stream_ended(stream, bytes);
        }
        for (token, reply, reason) in notes.refused {
            self.own_refused(token, reply, reason);
        }
        for token in notes.cancelled {
            if self.pending.remove(&token).is_some() {
                self.command(Command::Cancel { token });
            }
        }
        for (ask, payload) in notes.answers {
            self.command(Command::Respond { ask, payload });
        }
        for (pass, passage) in notes.passages {
            self.command(Command::Pass { pass, passage });
        }
        for work in notes.work_done {
            self.command(Command::RangeWorkDone { work });
        }
        for (ask, rows) in notes.rows {
            self.command(Command::DirectoryAnswer { ask, rows });
        }
        if notes.replay {
            self.command(Command::ReplayRows);
        }
        for id in notes.unregistered {
            if let Some(command) = self.dispatch.unregister(id) {
                self.command(command);
            }
        }
    }

    pub(super) fn done(&mut self, token: Token, answer: Answer) {
        if let Answer::Hits { hits, answered, asked } = answer {
            if let Some(Pending::Lookup(events)) = self.pending.get_mut(&token)
                && events.try_send(LookupEvent::Hits { hits, answered, asked }).is_err()
            {
                count(&self.shared.counters.application_dropped);
            }
            return;
        }
        match (self.pending.remove(&token), answer) {
            (Some(pending), Answer::Failed(failure)) => fail(pending, failure),
            (Some(Pending::Once(reply)), answer) => drop(reply.send(Ok(answer))),
            (Some(Pending::Lookup(events)), Answer::LookupEnded { answered, asked }) => {
                last(&events, LookupEvent::Ended { answered, asked });
            }
            _ => {}
        }
    }

    /// Passes on what the node reports: to a receiver's queue, to the directory, or as an event of the swarm.
    pub(super) fn report(&mut self, event: NodeEvent<PeerId>) {
        let Some(event) = self.dispatch.dispatch(event) else { return };
        let event = match event {
            NodeEvent::RowAdded { row, payload } => {
                self.directory.push(DirectoryEvent::RowAdded { row, payload });
                return;
            }
            NodeEvent::RowRemoved { row } => {
                self.directory.push(DirectoryEvent::RowRemoved { row });
                return;
            }
            NodeEvent::RowsCleared => {
                self.directory.push(DirectoryEvent::RowsCleared);
                return;
            }
            NodeEvent::DirectoryAsked { ask, query, limit } => {
                if !self.directory.push(DirectoryEvent::Asked { ask, query, limit }) {
                    self.command(Command::DirectoryAnswer { ask, rows: Vec::new() });
                }
                return;
            }
            NodeEvent::Subscribed { address, range } => Event::Subscribed { address, range },
            NodeEvent::Isolated => Event::Isolated,
            NodeEvent::RangeChanged { range, epoch } => Event::RangeChanged { range, epoch },
            NodeEvent::Delivered { .. }
            | NodeEvent::Asked { .. }
            | NodeEvent::Passing { .. }
            | NodeEvent::RangeWork { .. } => return,
            NodeEvent::SubgroupChanged { subgroup, leader, is_leader, members } => {
                Event::SubgroupChanged { subgroup, leader, is_leader, members }
            }
            NodeEvent::PathReady(purpose) => Event::PathReady(purpose),
            NodeEvent::PathLost(purpose) => Event::PathLost(purpose),
            NodeEvent::Held(publication) => Event::Held(publication),
            NodeEvent::FirstRelays(relays) => Event::FirstRelays(relays),
            NodeEvent::Known(contact) => {
                let addresses = contact.addresses().filter_map(|bytes| bytes.to_vec().try_into().ok()).collect();
                Event::Known { peer: contact.peer, addresses }
            }
        };
        self.events.push_back(ToSwarm::GenerateEvent(event));
    }
}
