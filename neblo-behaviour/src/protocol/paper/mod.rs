//! The mechanism of seed 003 §3 to the letter: one connection identifier a peer, walks with a coin and a TTL, tables of
//! (identifier, previous, next), a timer with pings, failure notifications, totalPing, and downloads that pass the leaders by.
//!
//! It is there to reproduce the paper, and leaks what research §6 says it does: the TTL names the originator, relays read what
//! they carry, one identifier links all that a peer does, and a path may have no relay at all. The other mechanism is in
//! `path`, `client` and `directory`.

mod download;
mod leader;
mod message;
mod owner;
mod table;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use download::Download;
use leader::{Checking, Leader};
pub use message::*;
use owner::{Connecting, Looking, Own};
use table::{Entry, RoutingTable};

use super::interface::{Answer, PublicationId, Refusal, StreamHeader, Token};
use super::io::{Contact, Ctx, Part, Peer};
use super::seal::Keys;
use super::seen::Seen;
use crate::address::OverlayAddr;

/// What the mechanism is told once.
#[derive(Clone, Debug)]
pub struct PaperConfig {
    /// Probability that a walk goes to another peer rather than to the leader.
    pub p: f64,
    /// TTL of a walk.
    pub ttl: u8,
    /// Probability that a peer takes one off a TTL that is still whole, so that a whole one does not name its owner; 1 in the paper,
    /// and everywhere but in simulations.
    pub falls: f64,
    /// The timer after which a peer pings the neighbours of its entries.
    pub timer: Duration,
    /// Whether paths are kept up. Off, as for the paper's figure 7, there are no timer with its pings and no totalPing: what is
    /// sent counts as held, leaders answer with all that they know, and no path is found to have failed, so none is made anew.
    /// What a leader hands to its candidates or its successor (§4) stays. On everywhere but in simulations.
    pub restoration: bool,
}

/// The subgroup as this mechanism sees it. A clone shares the list.
#[derive(Clone, Debug)]
pub struct Members<P> {
    /// The subgroup.
    pub subgroup: OverlayAddr,
    /// Its leader; it may be this peer.
    pub leader: Contact<P>,
    /// Everybody in their order as candidates. The leader and this peer may be anywhere in it: they are passed over.
    pub list: Arc<[Contact<P>]>,
}

impl<P: Peer> Members<P> {
    /// Neither the leader nor `me`.
    fn others(&self, me: P) -> impl Iterator<Item = &Contact<P>> {
        self.list.iter().filter(move |other| other.peer != me && other.peer != self.leader.peer)
    }
}

impl<P: Peer> PartialEq for Members<P> {
    fn eq(&self, other: &Self) -> bool {
        let same_list = || Arc::ptr_eq(&self.list, &other.list) || self.list == other.list;
        self.subgroup == other.subgroup && self.leader == other.leader && same_list()
    }
}

/// What the mechanism waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaperTimer {
    /// The timer of §3.1.
    Check,
    /// The pings of that round should have been answered.
    Checked,
    /// A totalPing should have been answered.
    TotalPing(u64),
    /// The window of a lookup, or the time for a download to begin, has passed.
    Deadline(u64),
    /// The application's time to answer a search has passed.
    Search(u64),
    /// All peers have heard by now that our path has failed.
    Republish,
}

/// What the mechanism reports.
#[derive(Clone, Debug)]
pub enum PaperEvent<P> {
    /// An answer to the application.
    Done(Token, Answer),
    /// A leader has this publication.
    Held(PublicationId),
    /// Bytes for all leaders.
    Cast(Vec<u8>),
    /// A row for the index.
    RowAdded {
        /// The row.
        row: u64,
        /// What was published.
        payload: Vec<u8>,
    },
    /// A row is gone.
    RowRemoved(u64),
    /// All rows are gone.
    RowsCleared,
    /// A search for the application.
    Asked {
        /// Names it.
        ask: u64,
        /// The query.
        query: Vec<u8>,
        /// The most rows wanted.
        limit: u16,
    },
    /// A stream goes on.
    Grant {
        /// The stream.
        stream: u64,
        /// To whom.
        next: Contact<P>,
        /// What is asked there.
        header: StreamHeader,
    },
    /// A stream is refused.
    Refuse {
        /// The stream.
        stream: u64,
        /// Why.
        reason: Refusal,
    },
    /// A publication was requested: its delivery begins.
    Deliver {
        /// The publication.
        publication: PublicationId,
        /// Its secret.
        secret: [u8; 32],
        /// The next peer on our own path.
        next: Contact<P>,
        /// What is asked there.
        header: StreamHeader,
    },
    /// A delivery came all the way to us.
    Received {
        /// The stream.
        stream: u64,
        /// The command that wanted it.
        token: Token,
    },
}

/// Publisher, requester, relay and leader of one peer by the paper.
pub struct Paper<P> {
    config: PaperConfig,
    me: Contact<P>,
    members: Option<Members<P>>,
    own: Own,
    table: RoutingTable<P>,
    looking: BTreeMap<u64, Looking>,
    queued: VecDeque<u64>,
    connecting: BTreeMap<u64, Connecting>,
    /// The own totalPing under way.
    pinging: Option<u64>,
    /// Whose pings were not answered yet, by entry: the previous (false) or next (true) peer.
    unanswered: BTreeSet<(Connection, P)>,
    leader: Leader<P>,
    checking: BTreeMap<Connection, Checking<P>>,
    /// The leader's table as it was told to us as a candidate.
    replica: Vec<TableRow<P>>,
    /// The leader before the present one, who may still hand its table over.
    former: Option<P>,
    /// Candidates that have the whole table.
    replicas: Vec<P>,
    /// Lookups of the multicast seen lately.
    seen: Seen,
    running: bool,
    next: u64,
}

impl<P: Peer> std::fmt::Debug for Paper<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paper").field("entries", &self.table.len()).finish_non_exhaustive()
    }
}

impl<P: Peer> Part<P> for Paper<P> {
    type Message = PaperMessage<P>;
    type Timer = PaperTimer;
    type Event = PaperEvent<P>;
}

type PaperCtx<'a, P> = Ctx<'a, P, Paper<P>>;

impl<P: Peer> Paper<P> {
    /// In no subgroup yet.
    pub fn new(config: PaperConfig, me: Contact<P>) -> Self {
        Self {
            config,
            me,
            members: None,
            own: Own::default(),
            table: RoutingTable::default(),
            looking: BTreeMap::new(),
            queued: VecDeque::new(),
            connecting: BTreeMap::new(),
            pinging: None,
            unanswered: BTreeSet::new(),
            leader: Leader::default(),
            checking: BTreeMap::new(),
            replica: Vec::new(),
            former: None,
            replicas: Vec::new(),
            seen: Seen::new(leader::MAX_SEEN),
            running: false,
            next: 0,
        }
    }

    /// Our own addresses changed.
    pub fn set_contact(&mut self, me: Contact<P>) {
        self.me = me;
    }

    /// Paths that this peer relays.
    pub fn relayed(&self) -> usize {
        self.table.relayed()
    }

    /// The peers before and after this one on paths, one entry after another; to be looked at by tests and simulations.
    pub fn path_links(&self) -> impl Iterator<Item = P> {
        self.table.all().flat_map(|(_, entry)| entry.previous.into_iter().chain([entry.next]))
    }

    /// The first hop of the own path, to be looked at by tests and simulations.
    pub fn first_hop(&self) -> Option<(Connection, P)> {
        let own = self.own.connection?;
        self.next_hop(&own, None).map(|next| (own, next))
    }

    /// Where a path goes on that comes from `previous`, `None` for the own one; to be looked at by tests and simulations.
    pub fn next_hop(&self, connection: &Connection, previous: Option<P>) -> Option<P> {
        self.table.by_previous(connection, previous).map(|entry| entry.next)
    }

    /// Whether a path ends here, at the leader, coming from `last`; to be looked at by tests and simulations.
    pub fn is_end(&self, connection: &Connection, last: P) -> bool {
        self.leads() && self.leader.end(connection) == Some(last)
    }

    /// Peers in the subgroup, this one included; 0 when in none.
    pub fn members(&self) -> usize {
        let me = self.me.peer;
        self.members.as_ref().map_or(0, |members| members.others(me).count() + 1 + usize::from(!self.leads()))
    }

    /// Rows of this peer's table as a leader.
    pub fn rows(&self) -> usize {
        self.leader.rows()
    }

    /// Rows of the leader's table that are kept as its candidate.
    pub fn copied_rows(&self) -> usize {
        self.replica.len()
    }

    fn leads(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.leader.peer == self.me.peer)
    }

    fn is_leader(&self, peer: P) -> bool {
        self.members.as_ref().is_some_and(|members| members.leader.peer == peer)
    }

    /// Where a peer can be reached, as the member list tells.
    fn contact(&self, peer: P) -> Contact<P> {
        let members = self.members.iter().flat_map(|members| members.list.iter().chain([&members.leader]));
        std::iter::once(&self.me)
            .chain(members)
            .find(|contact| contact.peer == peer)
            .cloned()
            .unwrap_or_else(|| Contact::bare(peer))
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Handles a message.
    pub fn received(&mut self, ctx: &mut PaperCtx<'_, P>, keys: &dyn Keys<P>, from: P, message: PaperMessage<P>) {
        match message {
            PaperMessage::Publish(publish) => self.publish_came(ctx, from, publish),
            PaperMessage::Lookup(lookup) => self.lookup_came(ctx, keys, from, lookup),
            PaperMessage::LookupResponse(response) => self.response_came(ctx, from, response),
            PaperMessage::DownloadRequest(request) => self.request_goes_up(ctx, from, request),
            PaperMessage::RequestCrosses(request) => self.request_goes_down(ctx, None, request),
            PaperMessage::RequestDown(request) => self.request_goes_down(ctx, Some(from), request),
            PaperMessage::Ping(ping) => self.pinged(ctx, from, &ping),
            PaperMessage::Failure(failure) => self.failed(ctx, from, &failure),
            PaperMessage::TotalPing(ping) => self.totally_pinged(ctx, from, &ping),
            PaperMessage::PathFailed(failed) => self.path_failed(ctx, from, failed.connection),
            PaperMessage::Replace(replace) => self.replaced(ctx, from, replace),
            PaperMessage::Table(table) => self.table_came(ctx, from, table),
        }
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut PaperCtx<'_, P>, keys: &dyn Keys<P>, timer: PaperTimer) {
        match timer {
            PaperTimer::Check => self.check(ctx),
            PaperTimer::Checked => self.checked(ctx),
            PaperTimer::TotalPing(number) => self.total_ping_expired(ctx, number),
            PaperTimer::Deadline(request) => self.deadline(ctx, keys, request),
            PaperTimer::Republish => self.republish(ctx),
            PaperTimer::Search(ask) => self.answer(ctx, ask, &[]),
        }
    }

    /// The subgroup changed.
    pub fn set_members(&mut self, ctx: &mut PaperCtx<'_, P>, members: Option<Members<P>>) {
        if self.members == members {
            return;
        }
        let before = self.members.as_ref().map(|members| (members.subgroup, members.leader.peer));
        let led = self.leads();
        self.members = members;
        let after = self.members.as_ref().map(|members| (members.subgroup, members.leader.peer));
        if before != after {
            self.former = before.map(|(_, leader)| leader);
            self.leader_changed(ctx, before, led);
        } else if self.leads() {
            self.replicate_all(ctx);
        }
        if self.config.restoration && self.members.is_some() && !self.running {
            // "From this joint to the anonymous system, each peer maintains a timeout timer" (§3.1).
            self.running = true;
            ctx.out.arm(self.config.timer, PaperTimer::Check);
        }
    }
}
