//! Which paths are whole, seen from outside: how long one is broken when a peer on it goes.

use super::*;
use crate::protocol::interface::Purpose;

/// Hops after which a path counts as going round.
const MOST_HOPS: usize = 256;

impl Nodes {
    /// The peers of a path behind its owner, the leader last, if all are there and each knows the next.
    pub(super) fn path(&self, owner: u32, purpose: Purpose) -> Option<Vec<u32>> {
        match self.scenario.config.path_policy.is_paper() {
            true if purpose == Purpose::Publishing => self.paper_path(owner),
            true => None,
            false => self.hardened_path(owner, purpose),
        }
    }

    fn hardened_path(&self, owner: u32, purpose: Purpose) -> Option<Vec<u32>> {
        let (mut before, mut hops) = (owner, Vec::new());
        let mut link = self.sim.node(owner).paths().first_link(purpose)?;
        while hops.len() < MOST_HOPS {
            let (peer, id) = link;
            self.present(peer).then(|| hops.push(peer))?;
            let paths = self.sim.node(peer).paths();
            if paths.is_end((before, id)) {
                return Some(hops);
            }
            link = paths.next_link((before, id))?;
            before = peer;
        }
        None
    }

    fn paper_path(&self, owner: u32) -> Option<Vec<u32>> {
        let (connection, mut next) = self.sim.node(owner).paper().first_hop()?;
        let (mut before, mut hops) = (owner, Vec::new());
        // A leader's path ends where it begins.
        if next == owner {
            return None;
        }
        while hops.len() < MOST_HOPS {
            self.present(next).then(|| hops.push(next))?;
            let paper = self.sim.node(next).paper();
            if paper.is_end(&connection, before) {
                return Some(hops);
            }
            (before, next) = (next, paper.next_hop(&connection, Some(before))?);
        }
        None
    }

    /// The paths that go through a peer, each with whether it ends there. A path of the peer itself is not among them.
    pub(super) fn paths_through(&self, peer: u32) -> Vec<((u32, Purpose), bool)> {
        let mut found = match self.scenario.config.path_policy.is_paper() {
            true => self.there().map(|owner| (owner, Purpose::Publishing)).collect(),
            false => self.hardened_owners(peer),
        };
        found.sort_unstable();
        found.dedup();
        found.retain(|(owner, _)| *owner != peer);
        let through = |path: &(u32, Purpose)| {
            let hops = self.path(path.0, path.1).unwrap_or_default();
            hops.contains(&peer).then(|| (*path, hops.last() == Some(&peer)))
        };
        found.iter().filter_map(through).collect()
    }

    /// Who owns the paths over which something comes to a peer, and what for: found from link to link.
    fn hardened_owners(&self, peer: u32) -> Vec<(u32, Purpose)> {
        let paths = self.sim.node(peer).paths();
        let relayed = paths.relayed_links().map(|(previous, _)| previous);
        let mut owners = Vec::new();
        for link in relayed.chain(paths.all_ends()) {
            let (mut at, mut link) = (peer, link);
            for _ in 0..MOST_HOPS {
                let ((before, id), here) = (link, at);
                if !self.present(before) {
                    break;
                }
                let paths = self.sim.node(before).paths();
                let own = |purpose: &Purpose| paths.first_link(*purpose) == Some((here, id));
                if let Some(purpose) = Purpose::ALL.into_iter().find(own) {
                    owners.push((before, purpose));
                    break;
                }
                match paths.previous_link((here, id)) {
                    Some(previous) => (at, link) = (before, previous),
                    None => break,
                }
            }
        }
        owners
    }

    /// Whether a peer has come to lead and neither publishes nor asks for anything now: it goes without paths until it does (design
    /// D12).
    fn needs_none(&self, peer: u32) -> bool {
        let subgroups = self.sim.node(peer).subgroups();
        let asks = self.queries.values().any(|query| query.peer == peer && query.is_open());
        subgroups.leads() && subgroups.guest().is_none() && self.owned[peer as usize].is_empty() && !asks
    }

    /// Looks at the paths that were broken.
    pub(super) fn look_at_broken(&mut self) {
        let broken = std::mem::take(&mut self.broken);
        for ((owner, purpose), (since, leader)) in broken {
            // It may do without the path until it needs it.
            let put_off = || self.sim.node(owner).paths().later().contains(&purpose);
            if !self.present(owner) || self.needs_none(owner) || put_off() {
                self.hour.abandoned += 1;
            } else if self.path(owner, purpose).is_some() {
                self.hour.restored[usize::from(leader)].push(self.sim.now().since(since));
            } else {
                self.broken.insert((owner, purpose), (since, leader));
            }
        }
    }
}
