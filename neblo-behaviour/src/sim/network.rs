//! Connections, frames and the leaders' multicast under simulated conditions.

use std::time::Duration;

use super::*;
use crate::protocol::interface::Verdict;
use crate::protocol::io::chance;
use rand::Rng;

/// What the simulated network is like.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Shortest and longest one-way latency; a pair has its own, drawn by the hash of the pair.
    pub latency: (Duration, Duration),
    /// Probability that a frame is lost.
    pub loss: f64,
    /// How long until a dial to a dead host fails.
    pub dial_fails_after: Duration,
    /// Pairs of hosts in different groups cannot talk; empty: all can.
    pub partition: Vec<u8>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            latency: (Duration::from_millis(5), Duration::from_millis(60)),
            loss: 0.0,
            dial_fails_after: Duration::from_millis(300),
            partition: Vec::new(),
        }
    }
}

impl Conditions {
    fn latency(&self, a: u32, b: u32) -> Duration {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&a.min(b).to_le_bytes()).update(&a.max(b).to_le_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        let (shortest, longest) = self.latency;
        let span = u64::try_from((longest - shortest).as_micros()).unwrap_or(u64::MAX).max(1);
        shortest + Duration::from_micros(u64::from_le_bytes(first) % span)
    }

    fn apart(&self, a: u32, b: u32) -> bool {
        self.partition.get(a as usize) != self.partition.get(b as usize)
    }
}

impl Simulation {
    pub(super) fn latency(&self, a: u32, b: u32) -> Duration {
        self.conditions.latency(a, b)
    }

    pub(super) fn send(&mut self, from: u32, to: &Contact<u32>, frame: Box<Frame<u32>>) {
        let other = to.peer;
        if self.hosts[from as usize].connected.contains(&other) {
            return self.transmit(from, other, frame);
        }
        self.dial(from, to, Some(frame));
    }

    fn transmit(&mut self, from: u32, to: u32, frame: Box<Frame<u32>>) {
        let encoded = frame.to_bytes();
        *self.bytes.entry(frame.kind()).or_insert(0) += encoded.len() as u64;
        *self.frames.entry(frame.kind()).or_insert(0) += 1;
        self.trace.update(&encoded);
        if let Some(tap) = &mut self.tap {
            tap(from, to, &frame);
        }
        if self.conditions.loss > 0.0 && chance(&mut self.rng, self.conditions.loss) || self.conditions.apart(from, to)
        {
            return;
        }
        let due = Due::Frame { from, to, bytes: encoded.len(), frame };
        self.queue.push(self.now + self.latency(from, to), due);
    }

    pub(super) fn dial(&mut self, from: u32, to: &Contact<u32>, frame: Option<Box<Frame<u32>>>) {
        if self.hosts[from as usize].connected.contains(&to.peer) {
            return;
        }
        let reachable = to.has_addresses()
            && self.hosts.get(to.peer as usize).is_some_and(|host| host.alive)
            && !self.conditions.apart(from, to.peer);
        let after = if reachable { self.latency(from, to.peer) * 2 } else { self.conditions.dial_fails_after };
        self.queue.push(self.now + after, Due::Dialled { from, to: to.peer, frame });
    }

    pub(super) fn dialled(&mut self, from: u32, to: u32, frame: Option<Box<Frame<u32>>>) {
        if !self.hosts[from as usize].alive {
            return;
        }
        let there = self.hosts.get(to as usize).is_some_and(|host| host.alive) && !self.conditions.apart(from, to);
        if !there {
            return self.input(from, Input::Unreachable(to));
        }
        if self.hosts[from as usize].connected.insert(to) {
            self.hosts[to as usize].connected.insert(from);
            self.input(from, Input::Connected(to));
            self.input(to, Input::Connected(from));
        }
        if let Some(frame) = frame {
            self.transmit(from, to, frame);
        }
    }

    pub(super) fn frame_arrives(&mut self, from: u32, to: u32, _bytes: usize, frame: Box<Frame<u32>>) {
        if self.hosts[to as usize].connected.contains(&from) {
            self.input(to, Input::Received { from, frame });
        }
    }

    /// The other end of a connection learns that it is closed.
    pub(super) fn disconnect(&mut self, closer: u32, other: u32) {
        let Some(host) = self.hosts.get_mut(other as usize) else { return };
        if host.connected.remove(&closer) {
            host.multicast_links.remove(&closer);
            let at = self.now + self.latency(closer, other);
            self.queue.push(at, Due::Input(other, Box::new(Input::Disconnected(closer))));
        }
    }

    // ---- multicast: a flood over the links between leaders -------------------------------------------------------

    pub(super) fn multicast(&mut self, peer: u32, but: Option<u32>, bytes: &[u8]) {
        let host = &mut self.hosts[peer as usize];
        host.multicast_seen.insert(*blake3::hash(bytes).as_bytes());
        for other in host.multicast_links.clone() {
            if Some(other) != but && self.hosts[peer as usize].connected.contains(&other) {
                let due = Due::Multicast { from: peer, to: other, bytes: bytes.to_vec() };
                *self.bytes.entry("multicast").or_insert(0) += bytes.len() as u64;
                *self.frames.entry("multicast").or_insert(0) += 1;
                self.queue.push(self.now + self.latency(peer, other), due);
            }
        }
    }

    pub(super) fn multicast_arrives(&mut self, from: u32, to: u32, bytes: Vec<u8>) {
        let host = &mut self.hosts[to as usize];
        let hash = *blake3::hash(&bytes).as_bytes();
        if !host.multicast || host.frozen || !host.multicast_seen.insert(hash) {
            return;
        }
        self.next += 1;
        self.passing.insert(self.next, bytes.clone());
        self.input(to, Input::Multicast { message: self.next, from, bytes });
    }

    pub(super) fn verdict(&mut self, peer: u32, message: u64, from: u32, verdict: Verdict) {
        if let Some(bytes) = self.passing.remove(&message)
            && verdict == Verdict::Accept
        {
            self.multicast(peer, Some(from), &bytes);
        }
    }

    /// Draws from the simulation's own randomness.
    pub fn draw(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below.max(1) as u64) as usize
    }
}
