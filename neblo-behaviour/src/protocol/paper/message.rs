//! The frames of the paper's mechanism, with the paper's fields and no others (seed 003 §3).

use crate::protocol::codec::{Blob, List, choice, record, signed, standalone};
use crate::protocol::interface::{MAX_PUBLICATION, PublicationId, publication_id};
use crate::protocol::io::{Contact, Peer};
use crate::protocol::seal::Keys;

/// A connection identifier: random, chosen by a peer once and used for all that it publishes, looks up and downloads, "great
/// enough to avoid collisions" (seed 003 §3.1).
pub type Connection = [u8; 16];

/// Rows in one frame of a leader's table. choice: they fit a frame, each with the largest metadata
const ROWS_A_FRAME: usize = 16;

record! {
    /// The metadata of a published content.
    pub struct Content {
        1 => key: [u8; 32],
        2 => expiry_day: u32,
        3 => payload: Blob<{ MAX_PUBLICATION }>,
    }
}

impl Content {
    /// The publication that it describes.
    pub fn id(&self) -> PublicationId {
        publication_id(&self.key, self.expiry_day, &self.payload)
    }
}

record! {
    /// Publish (§3.1): the first one makes the path, later ones take it.
    pub struct Publish {
        1 => connection: Connection,
        2 => ttl: u8,
        3 => content: Content,
    }
}

record! {
    /// Lookup (§3.2), towards the requester's leader; makes the path if there is none.
    pub struct Lookup {
        1 => connection: Connection,
        2 => ttl: u8,
        3 => query: Blob<{ MAX_PUBLICATION }>,
    }
}

record! {
    /// Lookup-response (§3.2): to the requester's leader, then down the requester's path.
    pub struct LookupResponse<P> {
        /// The connection identifier of the requester.
        1 => requester: Connection,
        2 => content: Content,
        /// The connection identifier of the content owner.
        3 => owner: Connection,
        /// The last non-leader peer of the owner's path.
        4 => last: Contact<P>,
    }
}

record! {
    /// Download-request (§3.3): up the requester's path, over to the last peer of the owner's, down to the owner.
    pub struct DownloadRequest<P> {
        /// The wanted content.
        1 => content: [u8; 32],
        2 => requester: Connection,
        3 => owner: Connection,
        /// The last non-leader peer of the owner's path.
        4 => owner_last: Contact<P>,
        /// The last non-leader peer of the requester's path, which adds itself.
        5 => requester_last: Option<Contact<P>>,
    }
}

record! {
    /// A ping to the previous or next peer of a table entry, or the answer that the entry is there (§3.1).
    pub struct Ping { 1 => connection: Connection, 2 => answer: bool }
}

record! {
    /// RW failure notification (§3.1): everybody who gets it deletes the entry and passes it on.
    pub struct Failure {
        1 => connection: Connection,
        /// On its way to the leader, else to the content owner.
        2 => to_leader: bool,
    }
}

record! {
    /// A ping along the whole path, or its answer (§3.1, §3.2).
    pub struct TotalPing {
        1 => connection: Connection,
        /// On its way to the leader, else to the content owner.
        2 => to_leader: bool,
        3 => answer: bool,
    }
}

record! {
    /// The leader to all members: this path has failed (§3.2).
    pub struct PathFailed { 1 => connection: Connection }
}

record! {
    /// From a peer that leaves, to its neighbours on a path (§3.1): who takes its place for them.
    pub struct Replace<P> {
        1 => connection: Connection,
        /// Whether the sender was the receiver's next peer, else its previous one.
        2 => next: bool,
        3 => by: Contact<P>,
    }
}

record! {
    /// A row of a leader's table (§3.1, §4).
    pub struct TableRow<P> {
        1 => connection: Connection,
        /// The last peer of the path.
        2 => last: Contact<P>,
        /// Absent for a path over which only lookups came.
        3 => content: Option<Content>,
    }
}

record! {
    /// The leader's table, or a part of it, to a candidate or to the new leader (§4).
    pub struct Table<P> {
        /// Nothing older counts.
        1 => whole: bool,
        2 => rows: List<TableRow<P>, ROWS_A_FRAME>,
        /// Paths that are gone.
        3 => gone: List<Connection, 64>,
    }
}

impl<P: Peer> Table<P> {
    /// Frames that together carry these rows.
    pub(super) fn frames(whole: bool, rows: Vec<TableRow<P>>, gone: Vec<Connection>) -> Vec<Self> {
        let mut frames: Vec<Self> = rows
            .chunks(ROWS_A_FRAME)
            .map(|rows| Self { whole: false, rows: List::chop(rows.to_vec()), gone: List::default() })
            .collect();
        if frames.is_empty() {
            frames.push(Self { whole: false, rows: List::default(), gone: List::default() });
        }
        if let Some(first) = frames.first_mut() {
            first.whole = whole;
            first.gone = List::chop(gone);
        }
        frames
    }
}

choice! {
    /// The messages of the paper's mechanism.
    pub enum PaperMessage<P> {
        0 => Publish(Publish),
        1 => Lookup(Lookup),
        2 => LookupResponse(LookupResponse<P>),
        3 => DownloadRequest(DownloadRequest<P>),
        4 => Ping(Ping),
        5 => Failure(Failure),
        6 => TotalPing(TotalPing),
        7 => PathFailed(PathFailed),
        8 => Replace(Replace<P>),
        9 => Table(Table<P>),
        /// A download-request that crosses from the last peer of one path to the last of the other.
        10 => RequestCrosses(DownloadRequest<P>),
        /// A download-request on its way down the owner's path: a walk may visit a peer twice, which then could not tell.
        11 => RequestDown(DownloadRequest<P>),
    }
}

record! {
    /// A lookup on its way to all leaders (§3.2).
    pub struct PaperCast<P> {
        /// The leader that asks, to which is answered.
        1 => asker: Contact<P>,
        2 => identity: Blob<64>,
        3 => lookup: Lookup,
        /// Tells two equal lookups from one another.
        4 => nonce: [u8; 16],
        /// Seconds since 1970.
        5 => sent: u64,
        6 => signature: Blob<96>,
    }
}

impl<P: Peer> PaperCast<P> {
    /// Whether the leader that it names signed it.
    pub fn holds(&self, keys: &dyn Keys<P>) -> bool {
        self.is_signed_by(keys, &self.asker.peer, &self.identity)
    }
}

signed!(PaperCast<P>: b"neblo 1 paper lookup");
standalone!(PaperCast<P>);

record! {
    /// Where a hit's owner is found: kept in [`Hit::reference`](crate::protocol::interface::Hit).
    pub struct Reference<P> {
        1 => owner: Connection,
        2 => last: Contact<P>,
    }
}

standalone!(Reference<P>);
