//! What leaders say to one another about publications.

use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, List, choice, record, signed, standalone};
use crate::protocol::errand::MAX_CHECKS;
use crate::protocol::interface::{Hit, MAX_PUBLICATION};
use crate::protocol::io::{Contact, Peer};
use crate::protocol::seal::{Keys, LAYER};

/// Most rows and paths of each kind in one piece of a copy. choice
pub const MAX_COPIED: usize = 512;

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
    /// Whether the leader that it names signed it.
    pub fn holds(&self, keys: &dyn Keys<P>) -> bool {
        self.is_signed_by(keys, &self.asker.peer, &self.identity)
    }
}

signed!(LookupCast<P>: b"neblo 1 lookup");
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
    pub struct ResolveAsk {
        1 => nonce: [u8; 16],
        2 => registration: u64,
        /// Of the hit. Who does not lead it says so.
        3 => subgroup: Option<OverlayAddr>,
    }
}

record! {
    /// The last relay of the publisher's path, which expects a stream with this ticket; absent when there is none.
    pub struct ResolveAnswer<P> {
        1 => nonce: [u8; 16],
        2 => next: Option<Contact<P>>,
        3 => ticket: [u8; 16],
        /// The sender does not lead that subgroup (any more).
        4 => elsewhere: bool,
    }
}

record! {
    /// One row of a leader's table, for a candidate, who can read no more of it than this.
    pub struct CopiedRow<P> {
        1 => row: u64,
        /// The last link of the publisher's path.
        2 => last: Contact<P>,
        3 => id: u64,
        /// Seconds until it has to be renewed.
        4 => lasts: u32,
        /// What was announced, under the table key: a sealed layer, then the payload.
        5 => sealed: Blob<{ MAX_PUBLICATION + LAYER }>,
    }
}

record! {
    /// A path that may be repaired (design D11), for a candidate.
    pub struct CopiedPath<P> {
        1 => last: Contact<P>,
        2 => id: u64,
        3 => checks: List<[u8; 8], MAX_CHECKS>,
        /// Repairs so far.
        4 => resumes: u8,
    }
}

record! {
    /// A path that is no longer vouched for.
    pub struct GonePath<P> { 1 => last: Contact<P>, 2 => id: u64 }
}

record! {
    /// A piece of the leader's table, to a candidate (seed 003 §4). The next one goes when this one is acknowledged.
    pub struct TableCopy<P> {
        1 => subgroup: OverlayAddr,
        /// Names the copy; another name begins a full copy.
        2 => copy: u64,
        /// 1 for the first piece of a copy.
        3 => sequence: u64,
        4 => rows: List<CopiedRow<P>, MAX_COPIED>,
        5 => rows_gone: List<u64, MAX_COPIED>,
        6 => paths: List<CopiedPath<P>, MAX_COPIED>,
        7 => paths_gone: List<GonePath<P>, MAX_COPIED>,
        /// Nothing is missing any more.
        8 => whole: bool,
    }
}

record! {
    /// The candidate has this piece and all before it.
    pub struct TableCopied {
        1 => copy: u64,
        2 => sequence: u64,
        /// It has not: all has to come again.
        3 => missed: bool,
    }
}

record! {
    /// The key of the copies, to a member that holds none of them, or to the one who leads next.
    pub struct TableKey { 1 => subgroup: OverlayAddr, 2 => key: [u8; 32] }
}

record! {
    /// A new leader asks members for the key of the copy that it has.
    pub struct AskTableKey { 1 => subgroup: OverlayAddr }
}

choice! {
    /// The messages between leaders, and between a leader and its candidates.
    pub enum DirectoryMessage<P> {
        0 => Found(Found),
        1 => ResolveAsk(ResolveAsk),
        2 => ResolveAnswer(ResolveAnswer<P>),
        3 => TableCopy(TableCopy<P>),
        4 => TableCopied(TableCopied),
        5 => TableKey(TableKey),
        6 => AskTableKey(AskTableKey),
        /// To whoever leads in place of a leader that did not answer, and so did not hear the multicast.
        7 => Lookup(LookupCast<P>),
    }
}
