//! A leader takes only so many members from one public network ([`Prefix`]), so that one who has many addresses side by side is not
//! spread over all subgroups.
//!
//! A member is where its connection comes from, as far as that is a public address, and else where it says that it can be reached.
//! Who has neither (at home behind one router with others, on one machine, behind a relay) counts nowhere: nothing could be told
//! apart there. A subgroup more than half of whose members are in one network is that network's anyway, and takes them all: a
//! laboratory and a server elsewhere are one subgroup. So those who are refused gather in one of their own, where others that
//! come later are with them.

use super::*;

/// Members of one network, at least. choice: a small subgroup is of some use to a household, too
const FEWEST: usize = 3;
/// And else one in so many of a full subgroup. choice: less than half of what one can hide from there (2 in 7)
const SHARE: usize = 8;
/// Peers whose addresses are kept. choice
const MAX_SEEN: usize = 4_096;

/// Members of one network that a subgroup takes, when it is full at `full`.
pub(super) fn most_alike(full: usize) -> usize {
    (full / SHARE).max(FEWEST)
}

impl<P: Peer> Subgroups<P> {
    /// A peer's connection comes from this address.
    pub fn comes_from(&mut self, peer: P, address: &[u8]) {
        if let Some(prefix) = Prefix::of(address)
            && (self.origins.len() < MAX_SEEN || self.origins.contains_key(&peer))
        {
            self.origins.insert(peer, prefix);
        }
    }

    /// A peer is connected no more.
    pub fn is_gone(&mut self, peer: P) {
        self.origins.remove(&peer);
    }

    fn prefix(&self, contact: &Contact<P>) -> Option<Prefix> {
        let seen = self.origins.get(&contact.peer).copied();
        seen.or_else(|| contact.addresses().find_map(Prefix::of))
    }

    /// As the leader: whether one more is taken from where this newcomer is.
    pub(super) fn is_diverse_with(&self, newcomer: &Contact<P>) -> bool {
        let (Some(home), Some(prefix)) = (self.home(), self.prefix(newcomer)) else { return true };
        let others = home.list.members.iter().map(|member| &member.contact).filter(|other| *other != newcomer);
        let alike = others.filter(|other| self.prefix(other) == Some(prefix)).count();
        // The leader counts too, by what it states.
        alike < most_alike(self.config.full) || 2 * alike > home.list.members.len()
    }
}
