//! The leaders' multicast, by the rules of gossipsub as [`Mesh`] has them: a publisher sends over all of its links, others pass on over those
//! of their mesh, but not to whom it came from.

use super::*;
use crate::protocol::interface::Verdict;

/// How long a message is on its way at most: less than gossipsub knows it again.
const UNDER_WAY_FOR: Duration = Duration::from_secs(60);

/// A host in the multicast.
#[derive(Default)]
pub(super) struct InMulticast {
    /// Whether it is a member.
    pub(super) member: bool,
    /// Those whom it takes for neighbours. They are in the mesh when they do the same.
    links: BTreeSet<u32>,
}

/// A message on its way. Of the copies that a host gets only the first means anything: the others are counted, and none arrives.
pub(super) struct UnderWay {
    since: Time,
    bytes: Vec<u8>,
    /// When the first copy comes, or has come, to each.
    first: BTreeMap<u32, Time>,
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
    pub(super) fn publish(&mut self, peer: u32, bytes: Vec<u8>) {
        let now = self.now;
        while self.under_way.first_key_value().is_some_and(|(_, old)| now.since(old.since) > UNDER_WAY_FOR) {
            self.under_way.pop_first();
        }
        self.next += 1;
        let first = BTreeMap::from([(peer, now)]);
        self.under_way.insert(self.next, UnderWay { since: now, bytes, first });
        for other in self.hosts[peer as usize].multicast.links.clone() {
            self.pass_on(peer, other, self.next);
        }
    }

    fn pass_on(&mut self, peer: u32, other: u32, message: u64) {
        let host = &self.hosts[peer as usize];
        if !host.connected.contains(&other) || host.stale.contains(&other) {
            return;
        }
        let at = self.now + self.latency(peer, other);
        let Some(under_way) = self.under_way.get_mut(&message) else { return };
        *self.bytes.entry("multicast").or_insert(0) += under_way.bytes.len() as u64;
        *self.frames.entry("multicast").or_insert(0) += 1;
        if under_way.first.get(&other).is_none_or(|first| at < *first) {
            under_way.first.insert(other, at);
            self.queue.push(at, Due::Multicast { from: peer, to: other, message });
        }
    }

    pub(super) fn multicast_arrives(&mut self, from: u32, to: u32, message: u64) {
        let Some(under_way) = self.under_way.get(&message) else { return };
        // Another copy, over another way, came sooner.
        let first = under_way.first.get(&to) == Some(&self.now);
        let host = &self.hosts[to as usize];
        if first && host.multicast.member && !host.frozen {
            let bytes = under_way.bytes.clone();
            self.input(to, Input::Multicast { message, from, bytes });
        }
    }

    pub(super) fn verdict(&mut self, peer: u32, message: u64, from: u32, verdict: Verdict) {
        if verdict != Verdict::Accept {
            return;
        }
        for other in self.mesh.of(peer).clone() {
            if other != from {
                self.pass_on(peer, other, message);
            }
        }
    }
}
