//! Streams of the data plane: the node decides, the swarm executes.

use std::collections::HashMap;

use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use super::Behaviour;
use crate::protocol::interface::{Input, PublicationId, Refusal, StreamHeader, Token};
use crate::protocol::io::{Contact, Time};
use crate::swarm::handle::{IncomingStream, Pending};
use crate::swarm::handler::Job;
use crate::swarm::handler::data::{ANSWER_TIMEOUT, DataJob, EndGuard, OwnStream, Purpose, Reply, Waiting};
use crate::swarm::handler::tied::Tied;
use crate::swarm::shared::count;

/// A stream that a neighbour asked for and the node has not decided on.
struct Asked {
    stream: Tied,
    from: PeerId,
    connection: ConnectionId,
    deadline: Time,
}

/// The streams of a node.
#[derive(Default)]
pub(super) struct Streams {
    asked: HashMap<u64, Asked>,
    /// Streams that neighbours asked for and that have not ended, by the neighbour.
    live: HashMap<u64, PeerId>,
    next: u64,
}

impl Streams {
    pub(super) fn needs_housekeeping(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Behaviour {
    pub(super) fn stream_asked(&mut self, from: PeerId, connection: ConnectionId, header: StreamHeader, stream: Tied) {
        count(&self.shared.counters.streams_asked);
        let live = &self.streams.live;
        let of_neighbour = live.values().filter(|peer| **peer == from).count();
        if live.len() >= self.max_streams || of_neighbour >= self.max_streams_per_neighbour {
            return self.refuse(from, connection, stream, Refusal::Full);
        }
        // The node names the streams that it opens from 2^63 on.
        let id = self.streams.next;
        self.streams.next += 1;
        let deadline = self.clock.now() + ANSWER_TIMEOUT;
        self.streams.asked.insert(id, Asked { stream, from, connection, deadline });
        self.streams.live.insert(id, from);
        self.inputs.push_back(Input::StreamAsked { stream: id, from, header });
    }

    fn refuse(&mut self, peer: PeerId, connection: ConnectionId, stream: Tied, reason: Refusal) {
        // If the connection is gone, so is the stream.
        if let Some(mailbox) = self.mailbox(peer, connection) {
            let _ = mailbox.push(Job::Refuse(stream, reason));
        }
    }

    pub(super) fn stream_refused(&mut self, id: u64, reason: Refusal) {
        self.streams.live.remove(&id);
        if let Some(Asked { stream, from, connection, .. }) = self.streams.asked.remove(&id) {
            self.refuse(from, connection, stream, reason);
        }
    }

    fn guard(&self, id: u64) -> EndGuard {
        EndGuard::new(id, self.shared.clone())
    }

    pub(super) fn stream_granted(&mut self, id: u64, next: &Contact<PeerId>, header: StreamHeader) {
        let Some(asked) = self.streams.asked.remove(&id) else { return };
        let job = DataJob { header, purpose: Purpose::Relay(asked.stream), guard: self.guard(id) };
        self.open_to(next, job);
    }

    pub(super) fn stream_accepted(&mut self, id: u64, publication: PublicationId, secret: [u8; 32]) {
        let Some(Asked { stream, from, connection, .. }) = self.streams.asked.remove(&id) else { return };
        let stream = IncomingStream::new(publication, secret, OwnStream::asked_for(stream, self.guard(id)));
        if let Err(unwanted) = self.incoming.offer(stream) {
            let (stream, reason) = *unwanted;
            self.refuse(from, connection, stream.into_inner(), reason);
        }
    }

    pub(super) fn stream_open(&mut self, token: Token, id: u64, next: &Contact<PeerId>, header: StreamHeader) {
        match self.pending.remove(&token) {
            Some(Pending::Connect(reply)) => {
                let purpose = Purpose::Own(Waiting::new(token, reply, self.shared.clone()));
                let job = DataJob { header, purpose, guard: self.guard(id) };
                self.open_to(next, job);
            }
            // Nobody waits any more: the guard reports the end.
            _ => drop(self.guard(id)),
        }
    }

    /// Opens a stream on which a publication is delivered (paper's policy); once it is granted, it goes to the application as
    /// if the requester had opened it.
    pub(super) fn stream_deliver(
        &mut self,
        id: u64,
        next: &Contact<PeerId>,
        header: StreamHeader,
        (publication, secret): (PublicationId, [u8; 32]),
    ) {
        let incoming = self.incoming.clone();
        let purpose = Purpose::Deliver(Box::new(move |stream| {
            // Nobody listens, or too many wait: dropping the stream ends it, which the requester sees.
            let _ = incoming.offer(IncomingStream::new(publication, secret, stream));
        }));
        let job = DataJob { header, purpose, guard: self.guard(id) };
        self.open_to(next, job);
    }

    /// A stream that was asked of us is what a command of ours waits for (paper's policy).
    pub(super) fn stream_received(&mut self, id: u64, token: Token) {
        let Some(asked) = self.streams.asked.remove(&id) else { return };
        match self.pending.remove(&token) {
            Some(Pending::Connect(reply)) => {
                let _ = reply.send(Ok(OwnStream::asked_for(asked.stream, self.guard(id))));
            }
            // Nobody waits any more: the guard reports the end.
            _ => drop(self.guard(id)),
        }
    }

    /// Tells whoever wanted a stream that there will be none; the job's guard reports the end.
    pub(super) fn fail_job(&mut self, job: DataJob, reason: Refusal) {
        match job.purpose {
            Purpose::Own(waiting) => waiting.refused(reason),
            Purpose::Deliver(_) => {}
            Purpose::Relay(stream) => {
                let from = self.streams.live.get(&job.guard.stream()).copied();
                // Any connection to the neighbour will do to tell it.
                let connection = from.and_then(|from| self.any_connection(from));
                if let (Some(from), Some(connection)) = (from, connection) {
                    self.refuse(from, connection, stream, reason);
                }
            }
        }
    }

    /// The stream of a command came to nothing: the node decides whether another is tried.
    pub(super) fn own_refused(&mut self, token: Token, reply: Reply, reason: Refusal) {
        self.pending.insert(token, Pending::Connect(reply));
        self.inputs.push_back(Input::StreamRefused { token, reason });
    }

    pub(super) fn stream_ended(&mut self, id: u64, bytes: u64) {
        self.streams.live.remove(&id);
        self.inputs.push_back(Input::StreamEnded { stream: id, bytes });
    }

    /// Refuses the streams that the node has not decided on in time.
    pub(super) fn expire_asked(&mut self, now: Time) {
        let late = self.streams.asked.iter().filter(|(_, asked)| asked.deadline <= now).map(|(id, _)| *id);
        for id in late.collect::<Vec<_>>() {
            self.stream_refused(id, Refusal::Unreachable);
            self.inputs.push_back(Input::StreamEnded { stream: id, bytes: 0 });
        }
    }
}
