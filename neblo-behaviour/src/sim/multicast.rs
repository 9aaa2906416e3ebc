//! The leaders' multicast, by the rules of gossipsub as [`Mesh`] has them: a publisher sends over all of its links, others pass on over those
//! of their mesh, but not to whom it came from.

use std::collections::VecDeque;

use super::*;
use crate::protocol::interface::Verdict;

/// How long gossipsub knows a message again.
const DUPLICATES_FOR: Duration = Duration::from_secs(60);

/// A host in the multicast.
#[derive(Default)]
pub(super) struct InMulticast {
    /// Whether it is a member.
    pub(super) member: bool,
    /// Those whom it takes for neighbours. They are in the mesh when they do the same.
    links: BTreeSet<u32>,
    seen: SeenLately,
}

/// Messages of the multicast that came lately, by their hashes.
#[derive(Default)]
struct SeenLately {
    hashes: BTreeSet<[u8; 32]>,
    order: VecDeque<(Time, [u8; 32])>,
}

impl SeenLately {
    /// Whether it is new.
    fn insert(&mut self, now: Time, hash: [u8; 32]) -> bool {
        while let Some((_, old)) = self.order.front().filter(|(since, _)| now.since(*since) > DUPLICATES_FOR) {
            self.hashes.remove(old);
            self.order.pop_front();
        }
        let new = self.hashes.insert(hash);
        if new {
            self.order.push_back((now, hash));
        }
        new
    }
}

impl Simulation {
    /// A host takes another for a neighbour in the multicast, or does so no more.
    pub(super) fn link_multicast(&mut self, peer: u32, other: u32, on: bool) {
        if !on {
            return self.unlink_multicast(peer, other);
        }
        self.hosts[peer as usize].multicast.links.insert(other);
        if self.hosts.get(other as usize).is_some_and(|host| host.multicast.links.contains(&peer)) {
            self.mesh.link(&mut self.mesh_rng, peer, other);
        }
    }

    /// A host has another for a neighbour in the multicast no more.
    pub(super) fn unlink_multicast(&mut self, peer: u32, other: u32) {
        if self.hosts[peer as usize].multicast.links.remove(&other) {
            self.mesh.unlink(&mut self.mesh_rng, peer, other);
        }
    }

    /// A host publishes.
    pub(super) fn publish(&mut self, peer: u32, bytes: &[u8]) {
        let now = self.now;
        let multicast = &mut self.hosts[peer as usize].multicast;
        multicast.seen.insert(now, *blake3::hash(bytes).as_bytes());
        for other in multicast.links.clone() {
            self.pass_on(peer, other, bytes);
        }
    }

    fn pass_on(&mut self, peer: u32, other: u32, bytes: &[u8]) {
        let host = &self.hosts[peer as usize];
        if host.connected.contains(&other) && !host.stale.contains(&other) {
            *self.bytes.entry("multicast").or_insert(0) += bytes.len() as u64;
            *self.frames.entry("multicast").or_insert(0) += 1;
            let after = self.latency(peer, other);
            self.queue.push(self.now + after, Due::Multicast { from: peer, to: other, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn multicast_arrives(&mut self, from: u32, to: u32, bytes: Vec<u8>) {
        let now = self.now;
        let host = &mut self.hosts[to as usize];
        let hash = *blake3::hash(&bytes).as_bytes();
        if !host.multicast.member || host.frozen || !host.multicast.seen.insert(now, hash) {
            return;
        }
        self.next += 1;
        self.passing.insert(self.next, bytes.clone());
        self.input(to, Input::Multicast { message: self.next, from, bytes });
    }

    pub(super) fn verdict(&mut self, peer: u32, message: u64, from: u32, verdict: Verdict) {
        let Some(bytes) = self.passing.remove(&message).filter(|_| verdict == Verdict::Accept) else { return };
        for other in self.mesh.of(peer).clone() {
            if other != from {
                self.pass_on(peer, other, &bytes);
            }
        }
    }
}
