//! What the application wants of a node.

use std::time::Duration;

use super::{Announcement, Failure, Hit, PublicationId, Token};
use crate::address::OverlayAddr;
use crate::protocol::io::Contact;

/// What the application wants of a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command<P> {
    /// Join the ring through any of these peers, or found a ring if there are none. Done: `Subscribed` or `Failed`.
    Subscribe {
        /// Names the answer.
        token: Token,
        /// Peers that are known to be members.
        known: Vec<Contact<P>>,
    },
    /// Leave ring and subgroup in order. Done: `Ok`.
    Leave {
        /// Names the answer.
        token: Token,
    },
    /// `UD_send`. Done: `Ok` once handed to the first hop of every copy, or `Failed`.
    Send {
        /// Names the answer.
        token: Token,
        /// How many owners get it, the primary included, 1..=8.
        copies: u8,
        /// The port.
        port: u16,
        /// The overlay address.
        to: OverlayAddr,
        /// The message.
        payload: Vec<u8>,
    },
    /// `REQ_send`. Done: `Response` or `Failed`, within `timeout`.
    Request {
        /// Names the answer.
        token: Token,
        /// How many owners are asked, the primary included, 1..=8; the first good answer wins.
        copies: u8,
        /// The port.
        port: u16,
        /// The overlay address.
        to: OverlayAddr,
        /// The message.
        payload: Vec<u8>,
        /// The longest wait.
        timeout: Duration,
    },
    /// Drop a pending request, lookup or connect; nothing more is said of it.
    Cancel {
        /// The command.
        token: Token,
    },
    /// A receiver is set (or removed) on a port: without one, requests to it fail with `NoReceiver`.
    SetReceiver {
        /// The port.
        port: u16,
        /// For messages (UD)?
        messages: Option<bool>,
        /// For requests (REQ)?
        requests: Option<bool>,
    },
    /// Answer a request that was delivered as [`Event::Asked`](super::Event::Asked).
    Respond {
        /// The request.
        ask: u64,
        /// The response, or why there is none (`Refused`, `Overloaded`).
        payload: Result<Vec<u8>, Failure>,
    },
    /// Offer a publication, anonymously, until it is withdrawn. Done: `Announced` when a leader has it; it is announced
    /// anew by itself whenever path or leader change and before the leader forgets it.
    Announce {
        /// Names the answer.
        token: Token,
        /// The publication.
        announcement: Announcement,
        /// Go on with fewer than four subgroup members (design D18).
        allow_weak: bool,
    },
    /// Stop offering a publication. Done: `Ok`.
    Withdraw {
        /// Names the answer.
        token: Token,
        /// The publication.
        publication: PublicationId,
    },
    /// Ask all leaders. Done: `Hits` any number of times, then `LookupEnded` or `Failed`.
    Lookup {
        /// Names the answers.
        token: Token,
        /// The query, in the application's own language; at most [`MAX_PUBLICATION`](super::MAX_PUBLICATION) bytes.
        query: Vec<u8>,
        /// The most hits wanted from one leader.
        limit: u16,
        /// How long leaders are waited for.
        window: Duration,
        /// Go on with fewer than four subgroup members (design D18).
        allow_weak: bool,
    },
    /// Open a stream to the publisher of a hit. Done: `Failed`, or `StreamOpen` comes out.
    Connect {
        /// Names the answer.
        token: Token,
        /// What a lookup found.
        hit: Box<Hit>,
        /// Go on with fewer than four subgroup members (design D18).
        allow_weak: bool,
    },
    /// Answer a search that was delivered as [`Event::DirectoryAsked`](super::Event::DirectoryAsked).
    DirectoryAnswer {
        /// The search.
        ask: u64,
        /// The rows that match, best first.
        rows: Vec<u64>,
    },
    /// The application has just begun to listen to the directory: emit [`Event::RowsCleared`](super::Event::RowsCleared), and [`Event::RowAdded`](super::Event::RowAdded) for
    /// every row there is.
    ReplayRows,
    /// A snapshot for people. Done: `Status`.
    Status {
        /// Names the answer.
        token: Token,
    },
    /// First relays to prefer, as kept from an earlier run (see [`Event::FirstRelays`](super::Event::FirstRelays)).
    PreferRelays {
        /// Subgroup and peers.
        relays: Vec<(OverlayAddr, P)>,
    },
}
