//! What ring members say to one another. No frame carries a finger's overlay address (design D6).

use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, List, choice, record};
use crate::protocol::io::Contact;

/// Longest successor list on the wire (r = 8, design D2).
pub const MAX_SUCCESSORS: usize = 8;

record! {
    /// A member of the ring as its neighbours know it. A peer that subscribes anew is another principal.
    pub struct Principal<P> {
        /// Its overlay address.
        1 => address: OverlayAddr,
        /// Random number of this subscription.
        2 => incarnation: u64,
        /// The peer.
        3 => contact: Contact<P>,
    }
}

impl<P: PartialEq> Principal<P> {
    /// Whether both are the same subscription of the same peer.
    pub fn is(&self, other: &Self) -> bool {
        self.address == other.address && self.incarnation == other.incarnation && self.contact == other.contact
    }
}

record! {
    /// "Let me in at this address", to the owner of the address.
    pub struct Join<P> {
        1 => request: u64,
        2 => me: Principal<P>,
        /// Proof of a right to the address; empty for now (design D1).
        3 => proof: Option<Blob<256>>,
    }
}

record! {
    /// "You are in", from the owner of the joiner's address, or from the founder of a small ring.
    pub struct Joined<P> {
        1 => request: u64,
        /// Who let it in: its first successor, unless a roster says more.
        2 => by: Principal<P>,
        /// The successors of `by`.
        3 => successors: List<Principal<P>, MAX_SUCCESSORS>,
        /// The joiner owns (after, its address].
        4 => after: OverlayAddr,
        /// Epoch of that range.
        5 => epoch: u64,
        /// The members, while the ring is small.
        6 => roster: Option<Roster<P>>,
    }
}

record! {
    /// "Not now", "not here": why a join was not granted.
    pub struct NotJoined<P> {
        1 => request: u64,
        /// Ask this peer instead; absent means: try again.
        2 => ask: Option<Contact<P>>,
        /// The peer asked is not the owner (any more): locate the owner anew.
        3 => not_owner: bool,
    }
}

record! {
    /// All members of a ring of at most r members, in order of joining; the first is the founder, who alone changes it.
    pub struct Roster<P> {
        /// Grows when another founder takes over.
        1 => term: u64,
        /// Grows with each change.
        2 => version: u64,
        3 => members: List<Principal<P>, { MAX_SUCCESSORS + 1 }>,
        /// The ring has reached r + 1 members: from here on it keeps itself by the rules of Zave.
        4 => open: bool,
    }
}

record! {
    /// "What are your neighbours?"
    pub struct Ask {
        1 => request: u64,
    }
}

record! {
    /// The neighbours, or "busy" while they are changing (Zave's rule 6).
    pub struct Neighbours<P> {
        1 => request: u64,
        2 => busy: bool,
        /// Absent when the answerer is no member.
        3 => me: Option<Principal<P>>,
        4 => predecessor: Option<Principal<P>>,
        5 => successors: List<Principal<P>, MAX_SUCCESSORS>,
        /// Whether the ring has outgrown its roster.
        6 => open: bool,
    }
}

record! {
    /// "I may be your predecessor."
    pub struct Notify<P> {
        1 => me: Principal<P>,
    }
}

record! {
    /// "Look at your successors again": only a hint, nothing is adopted from it.
    pub struct Nudge {
        1 => leaving: bool,
    }
}

choice! {
    /// The messages of the ring.
    pub enum RingMessage<P> {
        0 => Join(Join<P>),
        1 => Joined(Joined<P>),
        2 => NotJoined(NotJoined<P>),
        3 => Roster(Roster<P>),
        4 => Ask(Ask),
        5 => Neighbours(Neighbours<P>),
        6 => Notify(Notify<P>),
        7 => Nudge(Nudge),
    }
}
