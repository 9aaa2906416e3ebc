//! Streams of the data plane: only their way is simulated, not their bytes.

use super::*;
use crate::protocol::interface::{PublicationId, Refusal, StreamHeader};

/// One stream from a requester to a publisher.
#[derive(Clone, Debug)]
pub struct SimStream {
    /// The command that asked for it; under the paper's policy known when it comes.
    pub token: Token,
    /// Hosts on its way so far, the requester first; under the paper's policy, where the publisher opens it, the publisher.
    pub hops: Vec<u32>,
    /// The publication, once the publisher has accepted.
    pub accepted: Option<PublicationId>,
    /// Whether it has ended.
    pub ended: bool,
    /// Its name at each hop.
    names: Vec<u64>,
}

impl SimStream {
    pub(super) fn has_link(&self, a: u32, b: u32) -> bool {
        self.hops.windows(2).any(|pair| pair == [a, b] || pair == [b, a])
    }
}

/// A stream reaches its next hop.
pub(super) struct StreamStep {
    stream: u64,
    from: u32,
    to: u32,
    header: StreamHeader,
}

impl Simulation {
    pub(super) fn stream_output(&mut self, peer: u32, output: Output<u32>) {
        match output {
            Output::StreamOpen { token, stream, next, header } => {
                self.next += 1;
                let names = vec![stream];
                let opened = SimStream { token, hops: vec![peer], accepted: None, ended: false, names };
                self.streams.insert(self.next, opened);
                self.go_on(self.next, peer, next.peer, header);
            }
            Output::StreamDeliver { stream, next, header, publication, .. } => {
                self.next += 1;
                let (hops, names) = (vec![peer], vec![stream]);
                let opened = SimStream { token: 0, hops, accepted: Some(publication), ended: false, names };
                self.streams.insert(self.next, opened);
                self.go_on(self.next, peer, next.peer, header);
            }
            Output::StreamReceived { token, stream } => {
                let stream = self.stream_names.get(&stream);
                if let Some(found) = stream.and_then(|stream| self.streams.get_mut(stream)) {
                    found.token = token;
                }
                self.answers.entry((peer, token)).or_default().push(Answer::Ok);
            }
            Output::StreamGranted { stream, next, header } => {
                if let Some(stream) = self.stream_names.get(&stream).copied() {
                    self.go_on(stream, peer, next.peer, header);
                }
            }
            Output::StreamAccepted { stream, publication, .. } => {
                let stream = self.stream_names.get(&stream);
                if let Some(found) = stream.and_then(|stream| self.streams.get_mut(stream)) {
                    found.accepted = Some(publication);
                    let (requester, token) = (found.hops[0], found.token);
                    self.answers.entry((requester, token)).or_default().push(Answer::Ok);
                }
            }
            Output::StreamRefused { stream, reason } => {
                if let Some(stream) = self.stream_names.get(&stream).copied() {
                    self.refuse(stream, reason);
                }
            }
            _ => {}
        }
    }

    fn go_on(&mut self, stream: u64, from: u32, to: u32, header: StreamHeader) {
        let after = self.latency(from, to);
        self.queue.push(self.now + after, Due::Stream(StreamStep { stream, from, to, header }));
    }

    pub(super) fn stream_step(&mut self, step: StreamStep) {
        let there = self.hosts.get(step.to as usize).is_some_and(|host| host.alive && !host.frozen);
        if !there {
            return self.refuse(step.stream, Refusal::Unreachable);
        }
        let Some(stream) = self.streams.get_mut(&step.stream).filter(|stream| !stream.ended) else { return };
        // A name of its own at each hop, as in a swarm: a stream may cross one host more than once.
        self.next += 1;
        let name = self.next;
        stream.hops.push(step.to);
        stream.names.push(name);
        self.stream_names.insert(name, step.stream);
        self.input(step.to, Input::StreamAsked { stream: name, from: step.from, header: step.header });
    }

    fn refuse(&mut self, stream: u64, reason: Refusal) {
        let Some(found) = self.streams.get_mut(&stream).filter(|stream| !stream.ended) else { return };
        found.ended = true;
        if found.accepted.is_none() {
            let (requester, token) = (found.hops[0], found.token);
            let input = Input::StreamRefused { token, reason };
            self.queue.push(self.now, Due::Input(requester, Box::new(input)));
        }
        self.break_streams_named(&[stream]);
    }

    /// Ends a stream at all hosts on its way.
    pub fn end_stream(&mut self, stream: u64) {
        self.break_streams_named(&[stream]);
    }

    /// Forgets the streams that have ended.
    pub fn forget_ended_streams(&mut self) {
        let (streams, names) = (&mut self.streams, &mut self.stream_names);
        streams.retain(|_, stream| !stream.ended);
        names.retain(|_, stream| streams.contains_key(stream));
    }

    pub(super) fn break_streams(&mut self, broken: impl Fn(&SimStream) -> bool) {
        let names: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| !stream.ended && broken(stream)).map(|(name, _)| *name).collect();
        self.break_streams_named(&names);
    }

    fn break_streams_named(&mut self, names: &[u64]) {
        for name in names {
            let Some(stream) = self.streams.get_mut(name) else { continue };
            if stream.accepted.is_none() && !stream.ended {
                let input = Input::StreamRefused { token: stream.token, reason: Refusal::Unreachable };
                self.queue.push(self.now, Due::Input(stream.hops[0], Box::new(input)));
            }
            stream.ended = true;
            for (hop, name) in stream.hops.clone().into_iter().zip(stream.names.clone()) {
                let input = Input::StreamEnded { stream: name, bytes: 0 };
                self.queue.push(self.now, Due::Input(hop, Box::new(input)));
            }
        }
    }
}
