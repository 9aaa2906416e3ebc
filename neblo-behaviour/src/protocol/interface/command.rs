//! What the application wants of a node.

use std::time::Duration;

use super::{Announcement, Failure, HandlerKind, Hit, Passage, PublicationId, Recipients, Token};
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
        /// Which owners get it.
        recipients: Recipients,
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
        /// Which owners are asked; the first good answer wins.
        recipients: Recipients,
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
    /// A handler is set on a port, or removed. Without a receiver, requests to the port fail with `NoReceiver`; without a
    /// forwarder, what passes through is passed on.
    SetHandler {
        /// The port.
        port: u16,
        /// Which of its handlers.
        kind: HandlerKind,
        /// Set, or removed.
        on: bool,
    },
    /// The handlers of ranges are set or removed; without one its work counts as done.
    SetRangeHandlers {
        /// The migration handler.
        migration: Option<bool>,
        /// The regeneration handler.
        regeneration: Option<bool>,
    },
    /// What a forwarder decided of [`Event::Passing`](super::Event::Passing).
    Pass {
        /// Names what passes through.
        pass: u64,
        /// The decision, or why there is none (`Overloaded`).
        passage: Result<Passage, Failure>,
    },
    /// The handler is done with [`Event::RangeWork`](super::Event::RangeWork).
    RangeWorkDone {
        /// Names the work.
        work: u64,
    },
    /// Whether this node owns an address. Done: `Owns`.
    Owns {
        /// Names the answer.
        token: Token,
        /// The address.
        address: OverlayAddr,
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
