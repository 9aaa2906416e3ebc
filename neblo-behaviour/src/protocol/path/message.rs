//! The frames of paths.

use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, choice, record};
use crate::protocol::errand::SEALED_SIZES;
use crate::protocol::io::Contact;

/// A sealed payload.
pub type Sealed = Blob<{ SEALED_SIZES[1] }>;

record! {
    /// Extends a path over one more link; the receiver walks on or, as the leader, ends it. Carries no count of hops.
    pub struct Open {
        /// The path's name on this link, fresh and random.
        1 => id: u64,
        2 => subgroup: OverlayAddr,
        /// What the receiver may repair the path with (design D11); random bytes for the leader, who could count with it.
        3 => resume: [u8; 16],
    }
}

record! {
    /// The path has reached the leader.
    pub struct Opened { 1 => id: u64 }
}

record! {
    /// Towards the leader: publish and lookup of the paper, and what belongs to them, sealed.
    pub struct Up { 1 => id: u64, 2 => sealed: Sealed }
}

record! {
    /// Towards the owner of the path: lookup-response of the paper, and what belongs to it, sealed.
    pub struct Down { 1 => id: u64, 2 => sealed: Sealed }
}

record! {
    /// The path is broken (the paper's RW failure notification); no reason is given.
    pub struct Broken {
        1 => id: u64,
        /// On its way to the leader; else to the owner.
        2 => up: bool,
    }
}

record! {
    /// Leader to last relay: a stream with this ticket will come for the path.
    pub struct Expect { 1 => id: u64, 2 => ticket: [u8; 16] }
}

record! {
    /// Last relay to leader: the ticket is known.
    pub struct Expecting { 1 => ticket: [u8; 16] }
}

record! {
    /// Leader to last relay: a stream that comes over the path with this ticket goes on to `next` with that ticket.
    pub struct Bind<P> {
        1 => id: u64,
        2 => ticket: [u8; 16],
        3 => next: Contact<P>,
        4 => next_ticket: [u8; 16],
    }
}

record! {
    /// Towards the owner: the path was repaired behind this relay. What was under way may be lost.
    pub struct Mended { 1 => id: u64 }
}

choice! {
    /// The messages of paths.
    pub enum PathMessage<P> {
        0 => Open(Open),
        1 => Opened(Opened),
        2 => Up(Up),
        3 => Down(Down),
        4 => Broken(Broken),
        5 => Expect(Expect),
        6 => Expecting(Expecting),
        7 => Bind(Bind<P>),
        8 => Mended(Mended),
    }
}
