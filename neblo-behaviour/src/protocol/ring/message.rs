//! What ring members say to one another. No frame carries a finger's overlay address (design D6).

use crate::address::{AddrRange, OverlayAddr};
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
    /// Where a member's range begins. Its successor must know this: should the member die, the successor inherits its range
    /// and no more, for further back lies what the member has given away.
    pub struct Start<P> {
        1 => after: OverlayAddr,
        /// The member at that address.
        2 => owner: Option<Principal<P>>,
    }
}

record! {
    /// "Let me in at this address", to the owner of the address.
    pub struct Join<P> {
        1 => request: u64,
        2 => me: Principal<P>,
        /// Proof of a right to the address; empty for now (design D1).
        3 => proof: Option<Blob<256>>,
        /// The highest epoch that the joiner has seen: the range it is given gets a higher one (design D3).
        4 => epoch: Option<u64>,
    }
}

record! {
    /// "You are in, and this range is yours", from the owner of the joiner's address; repeated until it is accepted.
    pub struct Joined<P> {
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
        /// The joiner's incarnation: only those whom it asked can know it.
        7 => incarnation: u64,
        /// Where the range of the joiner's predecessor begins, as far as is known.
        8 => before: Option<Start<P>>,
        /// The joiner's predecessor: whoever lies further back takes its place only when it is dead.
        9 => predecessor: Option<Principal<P>>,
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
        /// The owner of the last member's address, for as long as it has not let that member in. The founder takes on
        /// nobody else meanwhile.
        5 => owner: Option<OverlayAddr>,
        /// The highest epoch that the founder has seen.
        6 => epoch: Option<u64>,
    }
}

record! {
    /// "What are your neighbours?"
    pub struct Ask {
        1 => request: u64,
        /// What the asker has been told: a digest of the last answer. It is not told the same again.
        2 => known: Option<u64>,
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
        /// The highest epoch that the answerer has seen.
        7 => epoch: Option<u64>,
        /// Where the range of its predecessor begins, as far as the answerer knows.
        8 => before: Option<OverlayAddr>,
        /// The founder's address, while the ring is small.
        9 => founder: Option<OverlayAddr>,
        /// All is as the asker knows it, and left out.
        10 => same: bool,
    }
}

record! {
    /// "I may be your predecessor."; in a small ring, to the founder: "I am in".
    pub struct Notify<P> {
        1 => me: Principal<P>,
        /// The highest epoch that the sender has seen.
        2 => epoch: Option<u64>,
        /// Where the sender's range begins.
        3 => start: Option<Start<P>>,
    }
}

record! {
    /// "Look at your successors again": only a hint, nothing is adopted from it.
    pub struct Nudge {
        1 => leaving: bool,
    }
}

record! {
    /// "This range is yours now", from a member that leaves to its successor, or from one that owns what it finds a closer
    /// predecessor to stand in (after a false alarm, or when two rings become one); repeated until it is accepted.
    pub struct Give<P> {
        1 => by: Principal<P>,
        /// The new owner's incarnation.
        2 => incarnation: u64,
        3 => range: AddrRange,
        /// The epoch under which the new owner owns it.
        4 => epoch: u64,
        /// Where the range before this one begins, as far as is known.
        5 => before: Option<Start<P>>,
        /// From a member that leaves: its predecessor, as in [`Joined`].
        6 => predecessor: Option<Principal<P>>,
    }
}

record! {
    /// A step in the handing over of one range, named by its new owner's incarnation and by its epoch (design D3).
    pub struct Handover {
        1 => incarnation: u64,
        2 => epoch: u64,
    }
}

record! {
    /// "My epoch is this" to the first successor, which passes it on, and the answer of the last.
    #[derive(Copy)]
    pub struct Hear {
        1 => epoch: u64,
        /// Members that are to hear of it, the receiver included.
        2 => hops: u8,
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
        8 => Give(Give<P>),
        /// New owner to old: the range is accepted.
        9 => Accepted(Handover),
        /// New owner to old: the range is not accepted.
        10 => Refused(Handover),
        /// Old owner to new: all that belongs to the range has been sent; repeated until it is acknowledged.
        11 => Migrated(Handover),
        /// New owner to old: that is known now.
        12 => Settled(Handover),
        /// Predecessor to successor, as far as the list of successors reaches: so high is the owner's epoch.
        13 => Hear(Hear),
        /// Successor to predecessor: all who were to hear of it have.
        14 => Heard(Hear),
    }
}
