//! The leaders' multicast, by the rules of gossipsub as [`Mesh`] has them: a publisher sends over all of its links, others pass on over those
//! of their mesh, but not to whom it came from. A mesh is put in order as soon as links come or go, where gossipsub takes up to a
//! second.

use std::collections::VecDeque;

use super::mesh::{HIGH, LOW, WANTED};
use super::*;
use crate::protocol::interface::Verdict;
use crate::protocol::io::shuffle;

/// How long gossipsub knows a message again.
const DUPLICATES_FOR: Duration = Duration::from_secs(60);

/// A host in the multicast.
#[derive(Default)]
pub(super) struct InMulticast {
    /// Whether it is a member.
    pub(super) member: bool,
    links: BTreeSet<u32>,
    /// Those of its links over which it passes on what comes.
    mesh: BTreeSet<u32>,
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
        let back = self.hosts.get(other as usize).is_some_and(|host| host.multicast.links.contains(&peer));
        let few = |peer: u32| self.hosts[peer as usize].multicast.mesh.len() < LOW;
        if back && (few(peer) || few(other)) {
            self.graft(peer, other);
        }
    }

    /// A host has another for a neighbour in the multicast no more.
    pub(super) fn unlink_multicast(&mut self, peer: u32, other: u32) {
        self.hosts[peer as usize].multicast.links.remove(&other);
        for (one, two) in [(peer, other), (other, peer)] {
            let Some(host) = self.hosts.get_mut(one as usize) else { continue };
            if host.multicast.mesh.remove(&two) {
                self.put_mesh_in_order(one);
            }
        }
    }

    fn graft(&mut self, one: u32, other: u32) {
        for (one, other) in [(one, other), (other, one)] {
            self.hosts[one as usize].multicast.mesh.insert(other);
        }
        for peer in [one, other] {
            if self.hosts[peer as usize].multicast.mesh.len() >= HIGH {
                self.prune(peer);
            }
        }
    }

    fn prune(&mut self, peer: u32) {
        let mut mesh: Vec<u32> = self.hosts[peer as usize].multicast.mesh.iter().copied().collect();
        shuffle(&mut self.mesh_rng, &mut mesh);
        for other in mesh.into_iter().skip(WANTED) {
            self.hosts[peer as usize].multicast.mesh.remove(&other);
            self.hosts[other as usize].multicast.mesh.remove(&peer);
        }
    }

    /// Whoever has few in its mesh takes in others that have room.
    fn put_mesh_in_order(&mut self, peer: u32) {
        let InMulticast { links, mesh, .. } = &self.hosts[peer as usize].multicast;
        if mesh.len() >= LOW {
            return;
        }
        let open = |other: &u32| {
            let other = self.hosts.get(*other as usize).map(|host| &host.multicast);
            other.is_some_and(|other| other.links.contains(&peer) && other.mesh.len() + 1 < HIGH)
        };
        let mut others: Vec<u32> = links.iter().filter(|other| !mesh.contains(other) && open(other)).copied().collect();
        let wanted = WANTED - mesh.len();
        shuffle(&mut self.mesh_rng, &mut others);
        for other in others.into_iter().take(wanted) {
            self.graft(peer, other);
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
        for other in self.hosts[peer as usize].multicast.mesh.clone() {
            if other != from {
                self.pass_on(peer, other, &bytes);
            }
        }
    }
}
