//! Connections, frames and the leaders' multicast under simulated conditions.

use std::sync::Arc;
use std::time::Duration;

use super::traces::Latencies;
use super::*;
use crate::protocol::io::chance;
use rand::Rng;

/// What the simulated network is like.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Shortest and longest one-way latency; a pair has its own, drawn by the hash of the pair.
    pub latency: (Duration, Duration),
    /// One-way latencies in place of these.
    pub matrix: Option<Arc<Latencies>>,
    /// Each frame takes up to this much longer, drawn for itself, so that frames overtake one another.
    pub jitter: Duration,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// How long until a dial to a dead host fails.
    pub dial_fails_after: Duration,
    /// The group of each host. Those in different groups cannot talk; a host that is not listed is in group 0.
    pub partition: Vec<u8>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            latency: (Duration::from_millis(5), Duration::from_millis(60)),
            matrix: None,
            jitter: Duration::ZERO,
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
        let group = |peer: u32| self.partition.get(peer as usize).copied().unwrap_or(0);
        group(a) != group(b)
    }
}

/// How long a QUIC connection whose other end is gone stays open.
const IDLE: Duration = Duration::from_secs(10);
impl Simulation {
    /// Puts a host at a transport address (a multiaddr in its binary form): it says so, and its connections come from there.
    pub fn set_origin(&mut self, peer: u32, address: Vec<u8>) {
        self.origins.insert(peer, address.clone());
        self.input(peer, Input::Addresses(vec![address]));
    }

    fn tell_origins(&mut self, one: u32, other: u32) {
        for (to, peer) in [(one, other), (other, one)] {
            if let Some(address) = self.origins.get(&peer).cloned() {
                self.input(to, Input::Remote { peer, address });
            }
        }
    }

    /// The latency from one host to another: by the matrix, or that of the pair, kept because it is asked for with every frame.
    pub(super) fn latency(&mut self, a: u32, b: u32) -> Duration {
        if let Some(matrix) = &self.conditions.matrix {
            return matrix.between(a, b).max(Duration::from_micros(1));
        }
        let (low, high) = (a.min(b) as usize, a.max(b) as usize);
        let place = high * (high + 1) / 2 + low;
        if place >= self.latencies.len() {
            self.latencies.resize(place + 1, 0);
        }
        if self.latencies[place] == 0 {
            let micros = self.conditions.latency(a, b).as_micros();
            self.latencies[place] = u32::try_from(micros).unwrap_or(u32::MAX).max(1);
        }
        Duration::from_micros(u64::from(self.latencies[place]))
    }

    fn jitter(&mut self) -> Duration {
        let most = u64::try_from(self.conditions.jitter.as_micros()).unwrap_or(u64::MAX);
        if most == 0 { Duration::ZERO } else { Duration::from_micros(self.rng.next_u64() % most) }
    }

    pub(super) fn send(&mut self, from: u32, to: &Contact<u32>, frame: Box<Frame<u32>>) {
        let other = to.peer;
        if self.hosts[from as usize].connected.contains(&other) {
            return self.transmit(from, other, frame);
        }
        self.dial(from, to, Some(frame));
    }

    fn transmit(&mut self, from: u32, to: u32, frame: Box<Frame<u32>>) {
        if self.counting {
            *self.bytes.entry(frame.kind()).or_insert(0) += frame.encoded_len() as u64;
        }
        *self.frames.entry(frame.kind()).or_insert(0) += 1;
        frame.hash(&mut self.trace);
        if let Some(watcher) = &mut self.watcher {
            watcher(Sent { at: self.now, from, to, frame: &frame });
        }
        let sent = Sent { at: self.now, from, to, frame: &frame };
        if self.filter.as_mut().is_some_and(|passes| !passes(&sent)) {
            return;
        }
        if self.hosts[from as usize].stale.contains(&to) {
            return;
        }
        if self.conditions.loss > 0.0 && chance(&mut self.rng, self.conditions.loss) || self.conditions.apart(from, to)
        {
            return;
        }
        let after = self.latency(from, to) + self.jitter();
        self.queue.push(self.now + after, Due::Frame { from, to, frame });
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
            self.tell_origins(from, to);
            self.input(from, Input::Connected(to));
            if self.hosts[to as usize].stale.remove(&from) {
                self.input(to, Input::Restarted(from));
            }
            self.input(to, Input::Connected(from));
        }
        if let Some(frame) = frame {
            self.transmit(from, to, frame);
        }
    }

    pub(super) fn frame_arrives(&mut self, from: u32, to: u32, frame: Box<Frame<u32>>) {
        if self.hosts[to as usize].connected.contains(&from) {
            return self.input(to, Input::Received { from, frame });
        }
        if self.hosts[from as usize].stale.contains(&to) {
            return;
        }
        // The connection was closed at this end and the other could not be told: it is reset.
        if self.hosts[to as usize].alive {
            self.disconnect(to, from);
        }
    }

    /// The other end of a connection learns that it is closed.
    pub(super) fn disconnect(&mut self, closer: u32, other: u32) {
        if self.conditions.apart(closer, other) {
            // It cannot be told; it finds out when it says something after the partition has healed.
            return;
        }
        let Some(host) = self.hosts.get_mut(other as usize) else { return };
        if host.connected.remove(&closer) {
            self.unlink_multicast(other, closer);
            let after = self.latency(closer, other);
            let at = self.now + after;
            self.queue.push(at, Due::Input(other, Box::new(Input::Disconnected(closer))));
        }
    }

    /// A host that had vanished lives again: what is left of its connections leads nowhere.
    pub(super) fn leave_stale(&mut self, peer: u32) {
        self.hosts[peer as usize].stale.clear();
        for other in std::mem::take(&mut self.hosts[peer as usize].connected) {
            if self.hosts[other as usize].connected.contains(&peer) {
                self.hosts[other as usize].stale.insert(peer);
                self.queue.push(self.now + IDLE, Due::Idle { peer: other, of: peer });
            }
        }
    }

    pub(super) fn idle(&mut self, peer: u32, of: u32) {
        let host = &mut self.hosts[peer as usize];
        if host.stale.remove(&of) {
            host.connected.remove(&of);
            self.unlink_multicast(peer, of);
            self.input(peer, Input::Disconnected(of));
        }
    }

    /// Draws from the simulation's own randomness.
    pub fn draw(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below.max(1) as u64) as usize
    }
}
