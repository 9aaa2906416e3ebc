//! What a leader does for publishers and requesters: it keeps the rows of its subgroup, answers lookups from all leaders,
//! asks them for its own members, and prepares streams (seed 003 §3; design D13, D15).
//!
//! The library owns the rows; the application's index is derived from them and only says which of them match.

mod copying;
mod lookups;
mod message;
mod replica;
mod resolve;
mod rows;
mod table_key;
mod vouched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use copying::{Follower, Key};
use lookups::{Answering, Asking, CASTS_A_LEADER, LOOKUPS_A_PATH, LOOKUPS_A_RELAY, MAX_SEEN, Unread};
pub use message::*;
use replica::{Replica, SealedRow};
use resolve::{RESOLVES_A_LEADER, Resolving};
use rows::Row;
use table_key::OwnTableKey;
use vouched::VouchedPaths;

use super::errand::{End, Envelope, Errand, Notice};
use super::io::{Contact, Ctx, Part, Peer, Time};
use super::rate::Rates;
use super::seal::Keys;
use super::seen::Seen;
use crate::address::OverlayAddr;

/// What the directory waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectoryTimer {
    /// Rows and tickets are looked through.
    Sweep(u64),
    /// Leaders had their time to answer a lookup.
    Silent([u8; 16]),
    /// Leaders that have nothing were counted for a while.
    Counted([u8; 16]),
    /// A lookup of a member ends.
    Lookup([u8; 16]),
    /// The application had its time to answer.
    Answer(u64),
    /// A stream could not be prepared in time.
    Resolve([u8; 16]),
    /// Changes of the table were collected.
    Gathered,
    /// Pieces of the table without an answer are sent again.
    Feed(u64),
    /// Members are asked once more for the key of the copy.
    TableKey(u64),
}

/// What the directory reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryEvent<P> {
    /// Say this to the owner of a path.
    Notice {
        /// The path.
        end: End<P>,
        /// Its key.
        reply: [u8; 32],
        /// What.
        notice: Box<Notice>,
    },
    /// Give this to all leaders.
    Cast(Vec<u8>),
    /// Tell the last relay of a path to expect a stream.
    Expect {
        /// The path.
        end: End<P>,
        /// The ticket.
        ticket: [u8; 16],
    },
    /// Tell the last relay of a path where a stream goes on.
    Bind {
        /// The path.
        end: End<P>,
        /// The ticket there.
        ticket: [u8; 16],
        /// The other last relay.
        next: Contact<P>,
        /// The ticket at the other last relay.
        next_ticket: [u8; 16],
    },
    /// A path was repaired and ends elsewhere now: this end is no more.
    Moved(End<P>),
    /// Break this path: its repair is not granted.
    Close(End<P>),
    /// Who leads this subgroup? Not this peer, which was asked last. Comes back as [`Directory::leader_found`].
    Seek(OverlayAddr, Option<P>),
    /// A follower has the whole table, for which was asked.
    Copied(P),
    /// A follower took so many bytes a second.
    Measured(P, u64),
    /// A row for the index.
    RowAdded {
        /// The row.
        row: u64,
        /// What was announced.
        payload: Vec<u8>,
    },
    /// A row is gone.
    RowRemoved(u64),
    /// All rows are gone.
    RowsCleared,
    /// Which rows match?
    Asked {
        /// Names the search.
        ask: u64,
        /// The query.
        query: Vec<u8>,
        /// The most rows.
        limit: u16,
    },
}

/// A leader as the directory sees it: its subgroup and where it is.
pub type OtherLeader<P> = (OverlayAddr, Contact<P>);

/// The directory of one leader.
#[derive(Debug)]
pub struct Directory<P> {
    me: Contact<P>,
    /// How long a row lasts without being renewed.
    lasts: Duration,
    /// The subgroup that this peer leads, and its term.
    leads: Option<(OverlayAddr, u64)>,
    /// Members of the subgroup and where they are.
    members: Vec<Contact<P>>,
    rows: BTreeMap<u64, Row<P>>,
    vouched: VouchedPaths<P>,
    asking: BTreeMap<[u8; 16], Asking<P>>,
    answering: BTreeMap<u64, Answering<P>>,
    /// Searches that wait until the copied table can be read.
    unread: Vec<Unread<P>>,
    resolving: BTreeMap<[u8; 16], Resolving<P>>,
    /// Lookups seen lately.
    seen: Seen,
    path_rate: Rates<End<P>>,
    relay_rate: Rates<P>,
    cast_rate: Rates<Option<P>>,
    resolve_rate: Rates<P>,
    /// Since when it leads.
    began: Time,
    followers: Vec<Follower<P>>,
    gathering: bool,
    feeding: u64,
    /// The subgroup and leader whose table this peer may be sent.
    follows: Option<(OverlayAddr, P)>,
    replica: Option<Replica<P>>,
    /// As a leader: the key of the copies, and who has it.
    table_key: OwnTableKey<P>,
    /// As a member: keys of the leader's copies, which others have.
    held_keys: VecDeque<(OverlayAddr, [u8; 32])>,
    /// Rows of the copy that could not be opened yet.
    sealed: BTreeMap<u64, SealedRow<P>>,
    next: u64,
    sweep: u64,
}

impl<P: Peer> Part<P> for Directory<P> {
    type Message = DirectoryMessage<P>;
    type Timer = DirectoryTimer;
    type Event = DirectoryEvent<P>;
}

type DirectoryCtx<'a, P> = Ctx<'a, P, Directory<P>>;

/// How often rows are looked through. choice
const SWEEP_EVERY: Duration = Duration::from_secs(10);

impl<P: Peer> Directory<P> {
    /// Not a leader's yet; a row that is not renewed lasts for `lasts`.
    pub fn new(me: Contact<P>, lasts: Duration) -> Self {
        Self {
            me,
            lasts,
            leads: None,
            members: Vec::new(),
            rows: BTreeMap::new(),
            vouched: VouchedPaths::default(),
            asking: BTreeMap::new(),
            answering: BTreeMap::new(),
            unread: Vec::new(),
            resolving: BTreeMap::new(),
            seen: Seen::new(MAX_SEEN),
            path_rate: Rates::new(LOOKUPS_A_PATH.0, LOOKUPS_A_PATH.1),
            relay_rate: Rates::new(LOOKUPS_A_RELAY.0, LOOKUPS_A_RELAY.1),
            cast_rate: Rates::new(CASTS_A_LEADER.0, CASTS_A_LEADER.1),
            resolve_rate: Rates::new(RESOLVES_A_LEADER.0, RESOLVES_A_LEADER.1),
            began: Time(0),
            followers: Vec::new(),
            gathering: false,
            feeding: 0,
            follows: None,
            replica: None,
            table_key: OwnTableKey::default(),
            held_keys: VecDeque::new(),
            sealed: BTreeMap::new(),
            next: 0,
            sweep: 0,
        }
    }

    /// Our own addresses changed.
    pub fn set_contact(&mut self, me: Contact<P>) {
        self.me = me;
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The members of the subgroup, so that a last relay can be named with its addresses.
    pub fn set_members(&mut self, members: Vec<Contact<P>>) {
        self.members = members;
    }

    /// Became leader of a subgroup, or stopped being one.
    pub fn lead(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>, leads: Option<(OverlayAddr, u64)>) {
        if self.leads == leads {
            return;
        }
        let still = self.leads.zip(leads).is_some_and(|((before, _), (now, _))| before == now);
        self.leads = leads;
        if still {
            // Of a higher term, and with what it has.
            return;
        }
        if !self.rows.is_empty() {
            ctx.out.emit(DirectoryEvent::RowsCleared);
        }
        self.rows.clear();
        self.vouched.clear();
        self.asking.clear();
        self.answering.clear();
        self.unread.clear();
        self.resolving.clear();
        self.followers.clear();
        self.sealed.clear();
        self.table_key = OwnTableKey::draw(ctx.rng);
        self.began = ctx.now;
        if let Some((subgroup, _)) = leads {
            self.take_over(ctx, keys, subgroup);
            self.sweep = self.next_number();
            ctx.out.arm(SWEEP_EVERY, DirectoryTimer::Sweep(self.sweep));
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// An errand arrived over a path.
    pub fn arrived(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        others: &dyn Fn() -> Vec<OtherLeader<P>>,
        end: End<P>,
        envelope: Envelope,
    ) {
        let reply = envelope.reply;
        match envelope.errand {
            Errand::Announce(announce) => self.announced(ctx, end, reply, announce),
            Errand::Renew(renew) => self.renewed(ctx, end, reply, renew),
            Errand::Withdraw(withdraw) => self.withdrawn(ctx, withdraw.registration),
            Errand::Lookup(lookup) => self.look_up(ctx, keys, others(), (end, reply), lookup),
            Errand::Resolve(resolve) => self.resolve(ctx, others, (end, reply), &resolve),
            Errand::Vouch(vouch) => self.vouched(ctx, end, vouch),
            Errand::Resume(resume) => self.resumed(ctx, end, &resume),
        }
    }

    /// Handles a message from another leader, or between leader and candidate. `known` as for [`Directory::cast_received`].
    pub fn received(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        known: impl FnOnce(P, OverlayAddr) -> bool,
        from: P,
        message: DirectoryMessage<P>,
    ) {
        match message {
            DirectoryMessage::Found(found) => self.found(ctx, from, found),
            DirectoryMessage::ResolveAsk(ask) => self.resolve_asked(ctx, from, &ask),
            DirectoryMessage::ResolveAnswer(answer) => self.resolve_answered(ctx, from, answer),
            DirectoryMessage::TableCopy(piece) => self.table_came(ctx, from, piece),
            DirectoryMessage::TableCopied(copied) => self.table_copied(ctx, keys, from, &copied),
            DirectoryMessage::TableKey(key) => self.key_came(ctx, keys, from, &key),
            DirectoryMessage::AskTableKey(ask) => self.asked_for_key(ctx, from, &ask),
            DirectoryMessage::Lookup(cast) => {
                // Nobody passes one on but the multicast.
                if cast.asker.peer == from {
                    let _answered_or_dropped = self.asked(ctx, keys, known, cast);
                }
            }
        }
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut DirectoryCtx<'_, P>, keys: &dyn Keys<P>, timer: DirectoryTimer) {
        match timer {
            DirectoryTimer::Sweep(generation) if generation == self.sweep && self.leads.is_some() => {
                self.sweep_rows(ctx);
                for end in self.vouched.sweep(ctx.now) {
                    self.touch(ctx, Key::Path(end));
                }
                ctx.out.arm(SWEEP_EVERY, DirectoryTimer::Sweep(generation));
            }
            DirectoryTimer::Sweep(_) => {}
            DirectoryTimer::Lookup(nonce) => self.lookup_expired(ctx, nonce),
            DirectoryTimer::Counted(nonce) => self.count_answers(ctx, nonce),
            DirectoryTimer::Silent(nonce) => self.seek_silent(ctx, nonce),
            DirectoryTimer::Answer(ask) => self.answer(ctx, ask, &[]),
            DirectoryTimer::Gathered | DirectoryTimer::Feed(_) => self.feed_expired(ctx, keys, timer),
            DirectoryTimer::TableKey(tried) => self.ask_again(ctx, tried),
            DirectoryTimer::Resolve(nonce) => self.resolve_failed(ctx, nonce),
        }
    }
}
