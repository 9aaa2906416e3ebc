//! What leaders say to one another about publications.

use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, List, choice, record, standalone, to_bytes};
use crate::protocol::interface::{Hit, MAX_PUBLICATION};
use crate::protocol::io::{Contact, Peer};
use crate::protocol::seal::Keys;

record! {
    /// A lookup on its way to all leaders, by their multicast (seed 003 §3.2; design D13).
    pub struct LookupCast<P> {
        /// The leader that asks; never the requester.
        1 => asker: Contact<P>,
        2 => identity: Blob<64>,
        3 => subgroup: OverlayAddr,
        4 => term: u64,
        5 => nonce: [u8; 16],
        /// Seconds since 1970.
        6 => sent: u64,
        7 => query: Blob<{ MAX_PUBLICATION }>,
        8 => limit: u16,
        9 => signature: Blob<96>,
    }
}

impl<P: Peer> LookupCast<P> {
    fn signed(&self) -> Vec<u8> {
        let mut bytes = b"neblo 1 lookup".to_vec();
        bytes.extend(to_bytes(&Self { signature: Blob::default(), ..self.clone() }));
        bytes
    }

    /// Signs it.
    pub fn sign(mut self, keys: &dyn Keys<P>) -> Self {
        self.signature = Blob::new(keys.sign(&self.signed())).unwrap_or_default();
        self
    }

    /// Whether the leader that it names signed it.
    pub fn holds(&self, keys: &dyn Keys<P>) -> bool {
        keys.verify(&self.asker.peer, &self.identity, &self.signed(), &self.signature)
    }
}

standalone!(LookupCast<P>);

record! {
    /// What one leader found (lookup-response of the paper), straight to the leader that asks.
    pub struct Found {
        1 => nonce: [u8; 16],
        2 => subgroup: OverlayAddr,
        3 => hits: List<Hit, 256>,
        /// Nothing more will come from this leader.
        4 => last: bool,
    }
}

record! {
    /// "Prepare a stream to the publisher of this registration."
    pub struct ResolveAsk { 1 => nonce: [u8; 16], 2 => registration: u64 }
}

record! {
    /// The last relay of the publisher's path, which expects a stream with this ticket; absent when there is none.
    pub struct ResolveAnswer<P> {
        1 => nonce: [u8; 16],
        2 => next: Option<Contact<P>>,
        3 => ticket: [u8; 16],
    }
}

choice! {
    /// The messages between leaders.
    pub enum DirectoryMessage<P> {
        0 => Found(Found),
        1 => ResolveAsk(ResolveAsk),
        2 => ResolveAnswer(ResolveAnswer<P>),
    }
}
