//! What travels sealed between the owner of a path and the leader at its end: the vocabulary that paths, client and
//! directory share.

use super::codec::{Blob, List, choice, record, standalone};
use super::interface::{Hit, MAX_PUBLICATION};
use super::seal::SEAL_OVERHEAD;
use crate::address::OverlayAddr;

/// The two sizes of a sealed payload on the wire, in bytes (design: data plane).
pub const SEALED_SIZES: [usize; 2] = [1_024, 16_384];
/// The most that fits into the larger one: four bytes tell the length.
pub const MAX_SEALED_PLAIN: usize = SEALED_SIZES[1] - SEAL_OVERHEAD - 4;

/// Relays of a path that can repair it, and times that each can (design D11): 24 rather than 32 relays, so that the checks
/// fit the smaller record; at p = 0.7 a path has more with probability 0.0003 (research §5), and its owner then rebuilds it.
pub const RESUMABLE: (usize, u8) = (24, 4);
/// Checks of a path.
pub const MAX_CHECKS: usize = RESUMABLE.0 * RESUMABLE.1 as usize;

/// The last link of a path as its leader knows it: the last relay, and the path's name on that link.
pub type End<P> = (P, u64);

record! {
    /// What is sealed to a leader.
    pub struct Envelope {
        /// The X25519 key to which the leader seals what goes back down this path.
        1 => reply: [u8; 32],
        2 => errand: Errand,
    }
}

record! {
    /// Offers a publication.
    pub struct Announce {
        1 => request: u64,
        /// Known to publisher and leader alone: who knows it may renew or withdraw.
        2 => registration: [u8; 16],
        3 => key: [u8; 32],
        4 => expiry_day: u32,
        5 => payload: Blob<{ MAX_PUBLICATION }>,
        /// Over the publisher's second path, besides the first.
        6 => second: bool,
    }
}

/// Offers that one renewal names: as many as fit the smaller record.
pub const MAX_RENEWED: usize = 48;

record! {
    /// Renews offers that this leader, or the one before it, had: over the same path or another.
    pub struct Renew {
        1 => request: u64,
        2 => registrations: List<[u8; 16], MAX_RENEWED>,
        /// Over the publisher's second path, besides the first.
        3 => second: bool,
    }
}

record! {
    /// Takes an offer back.
    pub struct Withdraw { 1 => registration: [u8; 16] }
}

record! {
    /// Asks all leaders.
    pub struct Lookup {
        1 => request: u64,
        2 => query: Blob<{ MAX_PUBLICATION }>,
        3 => limit: u16,
        /// Milliseconds.
        4 => window: u32,
    }
}

record! {
    /// Wants a stream to the publisher of a hit.
    pub struct Resolve {
        1 => request: u64,
        2 => subgroup: OverlayAddr,
        3 => registration: u64,
        /// Chosen by the requester: names the stream on its own path.
        4 => ticket: [u8; 16],
    }
}

record! {
    /// What the relays of a path may repair it with, from its owner (design D11): hashes of their values, shuffled, so that the
    /// leader learns neither the values nor how long the path is.
    pub struct Vouch { 1 => checks: List<[u8; 8], MAX_CHECKS> }
}

record! {
    /// A relay has walked anew to the leader behind a break: what belonged to the old end belongs to this one.
    pub struct Resume { 1 => value: [u8; 16] }
}

impl Resume {
    /// What the leader keeps of a value until it is spent.
    pub fn check(&self) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_derive_key("neblo 1 resume check");
        hasher.update(&self.value);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        first
    }
}

choice! {
    /// What the owner of a path, or a relay that repairs it, wants of the leader.
    pub enum Errand {
        0 => Announce(Announce),
        1 => Withdraw(Withdraw),
        2 => Lookup(Lookup),
        3 => Resolve(Resolve),
        4 => Vouch(Vouch),
        5 => Resume(Resume),
        6 => Renew(Renew),
    }
}

record! {
    /// The leader has the publication.
    pub struct Announced { 1 => request: u64, 2 => registration: u64 }
}

record! {
    /// The offers are renewed but for those that the leader does not have: they are to be announced.
    pub struct Renewed { 1 => request: u64, 2 => unknown: List<[u8; 16], MAX_RENEWED> }
}

record! {
    /// Some hits, or the end of them.
    pub struct Hits {
        1 => request: u64,
        2 => hits: List<Hit, 256>,
        3 => answered: u32,
        4 => asked: u32,
        5 => ended: bool,
    }
}

record! {
    /// The way for the stream is prepared, or not.
    pub struct Resolved { 1 => request: u64, 2 => found: bool }
}

record! {
    /// A stream is coming to the publisher.
    pub struct Incoming { 1 => registration: [u8; 16], 2 => ticket: [u8; 16] }
}

record! {
    /// The leader will not do it.
    pub struct Declined { 1 => request: u64 }
}

choice! {
    /// What a leader says to the owner of a path.
    pub enum Notice {
        0 => Announced(Announced),
        1 => Hits(Hits),
        2 => Resolved(Resolved),
        3 => Incoming(Incoming),
        4 => Declined(Declined),
        5 => Renewed(Renewed),
    }
}

standalone!(Envelope, Notice);
