//! What is true of the ring, which the simulator alone knows, and what its peers believe.

use super::*;
use crate::address::AddrRange;
use crate::protocol::interface::Ownership;

/// How many peers are wrong about what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// No members.
    pub outside: u64,
    /// Another predecessor than the true one.
    pub predecessor: u64,
    /// Another successor list than the next eight.
    pub successors: u64,
    /// Another range than from the predecessor on, or one that is still changing hands.
    pub range: u64,
    /// Peers that lost all neighbours on the way; they may be members again.
    pub isolated: u64,
}

impl Faults {
    /// Whether there are none.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl JoinedRing {
    /// Holds every peer's neighbours and range against the ideal ring of all that are there.
    pub fn faults(&self) -> Faults {
        let mut faults = Faults { isolated: self.isolated, ..Faults::default() };
        let mut order: Vec<(OverlayAddr, u32)> = Vec::with_capacity(self.hosts.len());
        for (peer, host) in self.hosts.iter().enumerate() {
            match host.ring.me().filter(|_| host.ring.is_member()) {
                Some(me) => order.push((me.address, peer as u32)),
                None => faults.outside += 1,
            }
        }
        order.sort_unstable();
        let n = order.len();
        for (at, (address, peer)) in order.iter().enumerate() {
            let ring = &self.hosts[*peer as usize].ring;
            let (before, last) = order[(at + n - 1) % n];
            let is =
                |known: &Principal<u32>, true_one: (OverlayAddr, u32)| (known.address, known.contact.peer) == true_one;
            let alone = n == 1;
            let predecessor = ring.predecessor().is_some_and(|known| is(known, (before, last)));
            faults.predecessor += u64::from(!alone && !predecessor);
            let wanted = MAX_SUCCESSORS.min(n - 1);
            let right = |(nth, known): (usize, &Principal<u32>)| is(known, order[(at + 1 + nth) % n]);
            let successors = ring.successors().len() == wanted && ring.successors().iter().enumerate().all(right);
            faults.successors += u64::from(!successors);
            let range = ring.range().map(|(range, _)| range) == Some(AddrRange { after: before, to: *address });
            faults.range += u64::from(!range || ring.ownership(*address) != Ownership::Yes);
        }
        faults
    }

    /// Looks at who really owns what, which holds until the next peer comes.
    pub(super) fn learn_truth(&mut self) {
        let mut truth: Vec<(OverlayAddr, u32)> = Vec::with_capacity(self.members.len());
        for peer in &self.members {
            truth.extend(self.hosts[*peer as usize].ring.me().map(|me| (me.address, *peer)));
        }
        truth.sort_unstable();
        self.truth = truth;
    }

    /// Who really owns an address: the first at it or after it.
    pub(super) fn owner(&self, target: OverlayAddr) -> Option<u32> {
        let at = self.truth.partition_point(|(address, _)| *address < target);
        self.truth.get(at).or(self.truth.first()).map(|(_, peer)| *peer)
    }

    /// Whether some peers have fingers yet to ask for.
    pub fn fingers_are_due(&self) -> bool {
        self.hosts.iter().any(|host| host.fingers.are_due())
    }

    /// Fingers of a peer on average.
    pub fn mean_fingers(&self) -> f64 {
        let fingers: usize = self.hosts.iter().map(|host| host.fingers.iter().count()).sum();
        fingers as f64 / self.hosts.len() as f64
    }

    /// Peers that a peer is connected to on average, because one of the two has the other as predecessor, successor or finger.
    pub fn mean_connections(&self) -> f64 {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (at, Host { ring, fingers, .. }) in self.hosts.iter().enumerate() {
            let around = ring.successors().iter().chain(ring.predecessor()).map(|other| other.contact.peer);
            let others = around.chain(fingers.iter().map(|finger| finger.contact.peer));
            pairs.extend(others.map(|other| (other.min(at as u32), other.max(at as u32))));
        }
        pairs.sort_unstable();
        pairs.dedup();
        2.0 * pairs.len() as f64 / self.hosts.len() as f64
    }
}
