//! Anonymous random-walk paths to a subgroup's leader (seed 003 §3; design D10), and the streams that run over them.
//!
//! A path carries a fresh name on each link and no count of hops. What travels on it is sealed between its owner and the
//! leader, in two sizes. Relays know their two neighbours on it and nothing else.

mod breaks;
mod message;
mod own;
mod pinned;
mod relay;
mod renewal;
mod resume;
mod sealed;
mod shunned;
mod streams;
mod untold;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use breaks::Breaks;
pub use message::*;
use own::OwnPath;
pub use pinned::Pinned;
use relay::RelayTable;
use renewal::Renewal;
use shunned::Shunned;
use streams::Streams;
use untold::Untold;

use super::errand::{End, Envelope, Errand, Notice, SEALED_SIZES};
use super::interface::{Purpose, Refusal, StreamHeader};
use super::io::{Contact, Ctx, Part, Peer};
use super::rate::Rates;
use super::seal::Keys;
use crate::address::OverlayAddr;

/// A subgroup as paths see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<P> {
    /// The subgroup.
    pub subgroup: OverlayAddr,
    /// Where its paths end.
    pub leader: Contact<P>,
    /// The X25519 key to which is sealed what only the leader may read.
    pub leader_key: [u8; 32],
    /// Members that may relay: neither the leader nor this peer.
    pub relays: Vec<Contact<P>>,
}

/// What paths wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathTimer {
    /// A path of our own was not built in time, or is to be tried again.
    Build(Purpose, u64),
    /// A path that replaces another was not built in time, or is to be tried again.
    Renew(Purpose, u64),
    /// A path for searching or downloading is begun, whether or not anybody needs it.
    Begin(Purpose, u64),
    /// A path for searching or downloading is old enough to be replaced.
    Anew(Purpose, u64),
    /// Paths that were replaced are given up.
    Old,
    /// Tickets expire.
    Tickets,
    /// A walk behind a break took too long.
    Repair(u64),
    /// Breaks are told.
    Untold,
}

/// What paths report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEvent<P> {
    /// A path of our own is ready.
    Ready {
        /// Which.
        purpose: Purpose,
        /// Whether the path that it takes the place of is still there.
        beside: bool,
    },
    /// A path of our own is lost, and built anew.
    Lost(Purpose),
    /// It is built anew when it is needed, or at a moment that is drawn.
    PutOff(Purpose),
    /// A path of our own was repaired by one of its relays; what was under way on it may be lost.
    Mended(Purpose),
    /// As a leader: something arrived over a path.
    Arrived {
        /// Which path.
        end: End<P>,
        /// What.
        envelope: Box<Envelope>,
    },
    /// As a leader: a path is gone.
    EndLost(End<P>),
    /// The leader says something to us.
    Notice(Box<Notice>),
    /// As a leader: the last relay knows the ticket.
    Expecting([u8; 16]),
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
    /// A stream came all the way to us, over the path on which we publish.
    Incoming {
        /// The stream.
        stream: u64,
        /// Its ticket.
        ticket: [u8; 16],
    },
    /// First relays changed.
    FirstRelays,
    /// Something sealed went to this peer: a link that is only seldom looked at is looked at now.
    Used(P),
    /// A peer was sent something that it answers at once if it lives.
    Awaits(P),
}

/// Walks a second that one previous peer may send here, and at once. choice: when a relay dies, all paths over it are repaired
/// at once
const OPENS: (u64, u64) = (100, 512);

/// What paths are told once.
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// Probability that a relay hands the walk to another relay.
    pub p: f64,
    /// After how long paths for searching and downloading are begun and replaced, if not at once and never.
    pub search_anew: Option<Duration>,
    /// Streams relayed at once.
    pub max_streams: usize,
    /// Streams relayed at once for one neighbour.
    pub max_streams_per_neighbour: usize,
    /// Bytes a second that are passed on for one neighbour.
    pub carry_rate: u64,
}

/// The paths of one peer: its own, those that it relays, and as a leader those that end here.
pub struct Paths<P> {
    config: PathConfig,
    me: P,
    views: Vec<Arc<View<P>>>,
    /// Where own paths are built.
    own_view: Option<Arc<View<P>>>,
    leads: Option<OverlayAddr>,
    wanted: BTreeSet<Purpose>,
    /// Not yet wanted: begun at a moment that is drawn, each with the number of its timer.
    later: BTreeMap<Purpose, u64>,
    own: BTreeMap<Purpose, OwnPath<P>>,
    renewal: Renewal<P>,
    breaks: BTreeMap<Purpose, Breaks>,
    relayed: RelayTable<P>,
    ends: BTreeSet<End<P>>,
    pinned: Pinned<P>,
    shunned: Shunned<P>,
    streams: Streams<P>,
    untold: Untold<P>,
    opens: Rates<P>,
    carried: Rates<P>,
    next: u64,
}

impl<P: Peer> std::fmt::Debug for Paths<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths")
            .field("own", &self.own.len())
            .field("relayed", &self.relayed.len())
            .finish_non_exhaustive()
    }
}

impl<P: Peer> Part<P> for Paths<P> {
    type Message = PathMessage<P>;
    type Timer = PathTimer;
    type Event = PathEvent<P>;
}

type PathCtx<'a, P> = Ctx<'a, P, Paths<P>>;

impl<P: Peer> Paths<P> {
    /// No paths yet.
    pub fn new(config: PathConfig, me: P) -> Self {
        Self {
            opens: Rates::new(OPENS.0, OPENS.1),
            carried: Rates::new(config.carry_rate, config.carry_rate),
            config,
            me,
            views: Vec::new(),
            own_view: None,
            leads: None,
            wanted: BTreeSet::new(),
            later: BTreeMap::new(),
            own: BTreeMap::new(),
            renewal: Renewal::default(),
            breaks: BTreeMap::new(),
            relayed: RelayTable::default(),
            ends: BTreeSet::new(),
            pinned: Pinned::default(),
            shunned: Shunned::default(),
            streams: Streams::default(),
            untold: Untold::default(),
            next: 0,
        }
    }

    /// First relays, kept over restarts.
    pub fn pinned(&self) -> &Pinned<P> {
        &self.pinned
    }

    /// Prefers these first relays, as kept from an earlier run.
    pub fn prefer(&mut self, relays: Vec<(OverlayAddr, P)>) {
        for (subgroup, peer) in relays {
            self.pinned.prefer(subgroup, peer);
        }
    }

    /// Paths that this peer relays.
    pub fn relayed(&self) -> usize {
        self.relayed.len()
    }

    /// The paths that this peer relays, each by its two links, to be looked at by tests and simulations: previous peer and name,
    /// next peer and name.
    pub fn relayed_links(&self) -> impl Iterator<Item = ((P, u64), (P, u64))> {
        self.relayed.links()
    }

    /// The link over which a path goes on that comes over this one: next peer and name; to be looked at by tests and simulations.
    pub fn next_link(&self, (previous, id): (P, u64)) -> Option<(P, u64)> {
        self.relayed.by_previous(previous, id).map(|entry| (entry.next.peer, entry.next_id))
    }

    /// The link over which a path comes that goes on over this one: previous peer and name; to be looked at by tests and simulations.
    pub fn previous_link(&self, (next, id): (P, u64)) -> Option<(P, u64)> {
        self.relayed.by_next_hop(next, id).map(|entry| entry.key())
    }

    /// The last links of all paths that end here: last relay and name; to be looked at by tests and simulations.
    pub fn all_ends(&self) -> impl Iterator<Item = (P, u64)> {
        self.ends.iter().copied()
    }

    /// The first link of a path of our own that is ready, to be looked at by tests and simulations.
    pub fn first_link(&self, purpose: Purpose) -> Option<(P, u64)> {
        self.own.get(&purpose).and_then(OwnPath::link).map(|(first, id)| (first.peer, id))
    }

    /// Streams that this peer relays.
    pub fn relayed_streams(&self) -> usize {
        self.streams.relayed()
    }

    /// The size of the subgroup in which own paths are built, the leader and this peer included.
    pub fn anonymity_set(&self) -> usize {
        self.own_view.as_ref().map_or(0, |view| view.relays.len() + 2)
    }

    /// Whether there is a subgroup to build own paths in.
    pub fn has_view(&self) -> bool {
        self.own_view.is_some()
    }

    /// Purposes with a path that is ready.
    pub fn ready(&self) -> Vec<Purpose> {
        self.own.iter().filter(|(_, path)| path.is_ready()).map(|(purpose, _)| *purpose).collect()
    }

    /// Purposes with a path that is wanted and not ready.
    pub fn building(&self) -> Vec<Purpose> {
        let ready = self.ready();
        self.wanted.iter().filter(|purpose| !ready.contains(purpose)).copied().collect()
    }

    /// Purposes whose path begins when it is needed, or at a moment that is drawn.
    pub fn later(&self) -> Vec<Purpose> {
        self.later.keys().copied().collect()
    }

    /// Peers to keep connected, and whether streams run over the link with them or a walk waits for them.
    /// A peer may come more than once, and with its addresses where they are known.
    pub fn neighbours(&self) -> impl Iterator<Item = (P, Option<&Contact<P>>, bool)> {
        let own = self.own.values().filter_map(|path| Some((path.first()?, !path.is_ready())));
        let relayed = self.relayed.entries().flat_map(|entry| {
            [(entry.previous, None, false), (entry.next.peer, Some(&entry.next), entry.is_walking())]
        });
        let untold = self.untold.neighbours().map(|next| (next, false));
        let named = own.chain(self.renewal.firsts()).chain(untold);
        let ends = self.ends.iter().map(|(peer, _)| (*peer, None, false));
        let named = named.map(|(contact, waits)| (contact.peer, Some(contact), waits));
        named.chain(relayed).chain(ends).chain(self.streams.neighbours().map(|peer| (peer, None, true)))
    }

    /// The subgroups changed: `views` are those this peer is a member of, `own` is where its own paths are built, `leads`
    /// is the one it leads. Paths whose leader is no longer the leader are rebuilt.
    pub fn set_views(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        keys: &dyn Keys<P>,
        views: Vec<View<P>>,
        own: Option<OverlayAddr>,
        leads: Option<OverlayAddr>,
    ) {
        self.views = views.into_iter().map(Arc::new).collect();
        self.own_view = own.and_then(|own| self.view(own));
        if self.leads != leads {
            self.leads = leads;
            for end in std::mem::take(&mut self.ends) {
                ctx.out.send(&Contact::bare(end.0), PathMessage::Broken(Broken { id: end.1, up: false }));
                ctx.out.emit(PathEvent::EndLost(end));
            }
        }
        self.check_relayed(ctx);
        self.check_own(ctx, keys);
    }

    fn view(&self, subgroup: OverlayAddr) -> Option<Arc<View<P>>> {
        self.views.iter().find(|view| view.subgroup == subgroup).cloned()
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Handles a message.
    pub fn received(
        &mut self,
        ctx: &mut PathCtx<'_, P>,
        (keys, sealing): (&dyn Keys<P>, &[u8; 32]),
        from: P,
        message: PathMessage<P>,
    ) {
        self.shunned.forgive(from);
        match message {
            PathMessage::Open(open) => self.asked_to_open(ctx, from, &open),
            PathMessage::Opened(opened) => self.opened(ctx, keys, from, opened.id),
            PathMessage::Up(up) => self.going_up(ctx, (keys, sealing), from, up),
            PathMessage::Down(down) => self.going_down(ctx, keys, from, down),
            PathMessage::Broken(broken) => self.broken(ctx, keys, from, broken),
            PathMessage::Expect(expect) => self.told_to_expect(ctx, from, &expect),
            PathMessage::Expecting(expecting) => ctx.out.emit(PathEvent::Expecting(expecting.ticket)),
            PathMessage::Bind(bind) => self.told_to_bind(ctx, from, bind),
            PathMessage::Mended(mended) => self.mended(ctx, from, mended.id),
        }
    }

    fn going_up(&mut self, ctx: &mut PathCtx<'_, P>, (keys, sealing): (&dyn Keys<P>, &[u8; 32]), from: P, up: Up) {
        if !SEALED_SIZES.contains(&up.sealed.len()) || !self.carried.take(ctx.now, from, up.sealed.len() as u64) {
            return;
        }
        if self.ends.contains(&(from, up.id)) {
            if let Some(envelope) = sealed::open(keys, sealing, &up.sealed) {
                ctx.out.emit(PathEvent::Arrived { end: (from, up.id), envelope: Box::new(envelope) });
            }
        } else if let Some(link) = self.relayed.towards_leader(ctx.now, from, up.id) {
            let up = Up { id: link.id, ..up };
            ctx.out.send(&link.contact, PathMessage::Up(up));
            ctx.out.emit(PathEvent::Used(link.contact.peer));
        } else {
            ctx.out.send(&Contact::bare(from), PathMessage::Broken(Broken { id: up.id, up: false }));
        }
    }

    fn going_down(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, from: P, down: Down) {
        if !SEALED_SIZES.contains(&down.sealed.len()) || !self.carried.take(ctx.now, from, down.sealed.len() as u64) {
            return;
        }
        if let Some(own) = self.own.values_mut().find(|path| path.is_at(from, down.id)) {
            if let Some(notice) = sealed::open(keys, own.secret(), &down.sealed) {
                own.answered();
                ctx.out.emit(PathEvent::Notice(Box::new(notice)));
            }
        } else if let Some((_, old)) = self.renewal.old_at(from, down.id) {
            // A stream goes over the path in use: its last relay is to know of it.
            let notice = sealed::open(keys, old.secret(), &down.sealed);
            if let Some(notice) = notice.filter(|notice| !matches!(notice, Notice::Resolved(_))) {
                ctx.out.emit(PathEvent::Notice(Box::new(notice)));
            }
        } else if let Some(link) = self.relayed.towards_owner(ctx.now, from, down.id) {
            let down = Down { id: link.id, ..down };
            ctx.out.send(&link.contact, PathMessage::Down(down));
            ctx.out.emit(PathEvent::Used(link.contact.peer));
        } else {
            self.untold.take(from, down.id);
            ctx.out.send(&Contact::bare(from), PathMessage::Broken(Broken { id: down.id, up: true }));
        }
    }

    fn broken(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, from: P, broken: Broken) {
        if broken.up {
            if self.ends.remove(&(from, broken.id)) {
                ctx.out.emit(PathEvent::EndLost((from, broken.id)));
            } else if let Some(entry) = self.relayed.take_by_previous(from, broken.id) {
                self.streams.forget_path(entry.key());
                if !entry.opened {
                    // Given up for lack of an answer: the next walk had better take another way.
                    self.shunned.silent(ctx.now, entry.next.peer);
                }
                ctx.out.send(&entry.next, PathMessage::Broken(Broken { id: entry.next_id, up: true }));
            }
            return;
        }
        // Mended around already: there is nothing left to tell.
        self.untold.take(from, broken.id);
        if let Some(purpose) = self.own_at(from, broken.id) {
            self.lost(ctx, keys, purpose, true);
        } else if self.renewal.broken(from, broken.id) {
            // It was not in use.
        } else if let Some(entry) = self.relayed.take_by_next(from, broken.id) {
            if entry.repair.is_some() {
                // The walk behind a break found no way on: another may.
                return self.repair_or_break(ctx, entry);
            }
            self.streams.forget_path(entry.key());
            let down = PathMessage::Broken(Broken { id: entry.previous_id, up: false });
            ctx.out.send(&Contact::bare(entry.previous), down);
        }
    }

    /// A peer is dead: all paths over the link with it are broken at once (design D14).
    pub fn dead(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, peer: P) {
        self.shunned.dead(ctx.now, peer);
        self.turn_away(ctx, peer);
        for entry in self.relayed.remove_all(peer) {
            if entry.previous != peer {
                self.repair_or_break(ctx, entry);
                continue;
            }
            self.streams.forget_path(entry.key());
            if entry.next.peer != peer {
                self.tell_later(ctx, &entry.next, entry.next_id);
            }
        }
        self.untold.dead(peer);
        let gone: Vec<_> = self.ends.iter().filter(|end| end.0 == peer).copied().collect();
        for end in gone {
            self.ends.remove(&end);
            ctx.out.emit(PathEvent::EndLost(end));
        }
        self.pinned.failed(peer);
        self.renewal.dead(peer);
        self.streams.dead(peer);
        let lost: Vec<_> =
            self.own.iter().filter(|(_, path)| path.goes_through(peer)).map(|(purpose, _)| *purpose).collect();
        for purpose in lost {
            self.lost(ctx, keys, purpose, false);
        }
    }

    /// A path ends at a peer that is gone, or at us who leave: those behind are told when nothing shows when that was.
    pub(super) fn tell_later(&mut self, ctx: &mut PathCtx<'_, P>, next: &Contact<P>, id: u64) {
        if self.untold.is_empty() {
            ctx.out.arm(Untold::<P>::wait(ctx.now), PathTimer::Untold);
        }
        if !self.untold.keep(next, id) {
            ctx.out.send(next, PathMessage::Broken(Broken { id, up: true }));
        }
    }

    fn tell_all(&mut self, ctx: &mut PathCtx<'_, P>) {
        for (next, id) in self.untold.take_all() {
            ctx.out.send(&next, PathMessage::Broken(Broken { id, up: true }));
        }
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut PathCtx<'_, P>, keys: &dyn Keys<P>, timer: PathTimer) {
        match timer {
            PathTimer::Build(purpose, generation) => self.build_expired(ctx, keys, purpose, generation),
            PathTimer::Renew(purpose, generation) => self.renewal_expired(ctx, keys, purpose, generation),
            PathTimer::Begin(purpose, number) => self.begin_expired(ctx, keys, purpose, number),
            PathTimer::Anew(purpose, generation) => self.anew_expired(ctx, keys, purpose, generation),
            PathTimer::Old => self.old_expired(ctx),
            PathTimer::Tickets => self.streams.expire(ctx.now),
            PathTimer::Repair(generation) => self.repair_expired(ctx, generation),
            PathTimer::Untold => self.tell_all(ctx),
        }
    }
}
