//! Lookups: a member's, to all leaders, and other leaders', to this one (seed 003 §3.2).

use super::*;
use crate::protocol::codec::{Blob, List, from_bytes, to_bytes};
use crate::protocol::errand::{Declined, Hits, Lookup, MAX_SEALED_PLAIN};
use crate::protocol::interface::{Hit, Verdict};
use crate::protocol::io::draw;

/// Lookups of members under way. choice
const MAX_ASKING: usize = 1_024;
/// Searches that the application owes an answer to. choice
const MAX_ANSWERING: usize = 256;
/// The application's time to answer (design: interface).
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A leader that has not answered by then may be gone, and whoever leads in its place has not been asked. choice: leaders answer
/// within some tenths of a second
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// Answers without hits are told together, so much after the first of them: of dozens of leaders most have nothing, and each would
/// cost a record down the path for a number. choice: nobody sees a count move sooner
const COUNTED_AFTER: Duration = Duration::from_millis(200);
/// Longest window of a lookup. choice
const LONGEST_WINDOW: Duration = Duration::from_secs(60);
/// Clocks may differ, and the multicast takes its time. choice
const FRESH_SECONDS: u64 = 600;
/// Hits that one leader may give for a lookup, whatever the limit. choice
const MAX_HITS: u16 = 256;
/// Leaders besides those that were asked whose hits are taken. choice
const MAX_OTHERS: usize = 64;
/// Leaders that are looked for because of one lookup. choice: more do not change at once
const MAX_SILENT: usize = 8;
/// Lookups that a leader which was found is asked. choice: it takes 100 at once
const MAX_LATE: usize = 64;
/// Lookups remembered as seen. choice
pub(super) const MAX_SEEN: usize = 8_192;
/// Hits of one leader in one frame, in bytes. choice
const FRAME_OF_HITS: usize = 64 * 1024;

/// Lookups a second, and at once, over one path, and through one last relay. choice: a person asks now and then, a program that
/// looks for a publisher a few times a second
pub(super) const LOOKUPS_A_PATH: (u64, u64) = (5, 50);
pub(super) const LOOKUPS_A_RELAY: (u64, u64) = (50, 200);
/// Lookups of one other leader a second, and at once: all its members together. choice. Those that nobody has heard of share
/// one such rate.
pub(super) const CASTS_A_LEADER: (u64, u64) = (20, 100);

/// A member's lookup.
#[derive(Debug)]
pub(super) struct Asking<P> {
    pub(super) end: End<P>,
    reply: [u8; 32],
    request: u64,
    /// The leaders that were asked, by subgroup, ourselves among them.
    leaders: Vec<(OverlayAddr, P)>,
    /// Those of them that have answered, by subgroup.
    answered: Vec<OverlayAddr>,
    /// How many had answered when the requester was told last, and whether it is to be told more.
    told: usize,
    telling: bool,
    /// Hits wanted of each leader, and what each has given.
    limit: usize,
    given: BTreeMap<P, Given>,
    /// Hits from a subgroup of which another was asked, by a peer that says that it leads it: they go on at the end if that
    /// other one has said nothing.
    held: Vec<Hit>,
    /// What was asked, for leaders that are found later.
    cast: Box<LookupCast<P>>,
    until: Time,
}

/// What a leader has answered to a lookup.
#[derive(Debug)]
struct Given {
    /// The subgroup that it speaks for.
    subgroup: OverlayAddr,
    hits: usize,
    /// Whether that was all: one that heard of the lookup by itself will not answer it again when it is asked.
    all: bool,
}

/// A search that the application owes an answer to.
#[derive(Debug)]
pub(super) struct Answering<P> {
    nonce: [u8; 16],
    /// The leader that asks; `None` for a member of ours.
    asker: Option<Contact<P>>,
    limit: u16,
}

/// A search that comes before the copied table can be read.
#[derive(Debug)]
pub(super) struct Unread<P> {
    nonce: [u8; 16],
    asker: Option<Contact<P>>,
    query: Vec<u8>,
    limit: u16,
}

impl<P: Peer> Directory<P> {
    pub(super) fn look_up(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        others: Vec<OtherLeader<P>>,
        (end, reply): (End<P>, [u8; 32]),
        lookup: Lookup,
    ) {
        let (path, relay) = (self.path_rate.take(ctx.now, end, 1), self.relay_rate.take(ctx.now, end.0, 1));
        let Some((subgroup, term)) = self.leads.filter(|_| path && relay && self.asking.len() < MAX_ASKING) else {
            let notice = Notice::Declined(Declined { request: lookup.request });
            return ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
        };
        let nonce = draw(ctx.rng);
        let window = Duration::from_millis(u64::from(lookup.window)).min(LONGEST_WINDOW);
        let cast = LookupCast {
            asker: self.me.clone(),
            identity: Blob::new(keys.identity()).unwrap_or_default(),
            subgroup,
            term,
            nonce,
            sent: ctx.unix,
            query: lookup.query.clone(),
            limit: lookup.limit,
            signature: Blob::default(),
        };
        let cast = cast.sign(keys);
        if !others.is_empty() {
            ctx.out.emit(DirectoryEvent::Cast(to_bytes(&cast)));
            ctx.out.arm(SILENT_AFTER, DirectoryTimer::Silent(nonce));
        }
        let asking = Asking {
            end,
            reply,
            request: lookup.request,
            leaders: others
                .iter()
                .map(|(subgroup, leader)| (*subgroup, leader.peer))
                .chain([(subgroup, self.me.peer)])
                .collect(),
            answered: Vec::new(),
            told: 0,
            telling: false,
            limit: usize::from(lookup.limit.min(MAX_HITS)),
            given: BTreeMap::new(),
            held: Vec::new(),
            cast: Box::new(cast),
            until: ctx.now + window,
        };
        self.asking.insert(nonce, asking);
        ctx.out.arm(window, DirectoryTimer::Lookup(nonce));
        self.seen.insert(nonce);
        self.search(ctx, nonce, None, lookup.query.into_inner(), lookup.limit);
    }

    /// A lookup from the multicast: judged before it is passed on (design D13), answered straight to the asking leader.
    /// `known` says whether a peer was heard of as the leader of a subgroup.
    pub fn cast_received(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        known: impl FnOnce(P, OverlayAddr) -> bool,
        bytes: &[u8],
    ) -> Verdict {
        match from_bytes(bytes) {
            Ok(cast) => self.asked(ctx, keys, known, cast),
            Err(_) => Verdict::Reject,
        }
    }

    /// A lookup of another leader.
    pub(super) fn asked(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        keys: &dyn Keys<P>,
        known: impl FnOnce(P, OverlayAddr) -> bool,
        cast: LookupCast<P>,
    ) -> Verdict {
        if cast.sent.abs_diff(ctx.unix) > FRESH_SECONDS || self.seen.contains(&cast.nonce) {
            return Verdict::Ignore;
        }
        if !cast.holds(keys) {
            return Verdict::Reject;
        }
        let asker = cast.asker.peer;
        let asker = known(asker, cast.subgroup).then_some(asker);
        if !self.cast_rate.take(ctx.now, asker, 1) {
            return Verdict::Ignore;
        }
        self.seen.insert(cast.nonce);
        if self.leads.is_some() && cast.asker.peer != self.me.peer {
            self.search(ctx, cast.nonce, Some(cast.asker), cast.query.into_inner(), cast.limit);
        }
        Verdict::Accept
    }

    fn search(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        nonce: [u8; 16],
        asker: Option<Contact<P>>,
        query: Vec<u8>,
        limit: u16,
    ) {
        // Most of what the leader before had cannot be read yet, and would not be found.
        if !self.sealed.is_empty() && self.unread.len() < MAX_ANSWERING {
            return self.unread.push(Unread { nonce, asker, query, limit });
        }
        let ask = self.next_number();
        let limit = limit.min(MAX_HITS);
        self.answering.insert(ask, Answering { nonce, asker, limit });
        if self.rows.is_empty() || self.answering.len() > MAX_ANSWERING {
            return self.answer(ctx, ask, &[]);
        }
        ctx.out.arm(ANSWER_WITHIN, DirectoryTimer::Answer(ask));
        ctx.out.emit(DirectoryEvent::Asked { ask, query, limit });
    }

    /// Searches what was asked for before the table could be read, once it can be or is given up.
    pub(super) fn search_unread(&mut self, ctx: &mut DirectoryCtx<'_, P>) {
        if self.sealed.is_empty() {
            for Unread { nonce, asker, query, limit } in std::mem::take(&mut self.unread) {
                self.search(ctx, nonce, asker, query, limit);
            }
        }
    }

    /// The application says which rows match.
    pub fn answer(&mut self, ctx: &mut DirectoryCtx<'_, P>, ask: u64, rows: &[u64]) {
        let (Some(answering), Some((subgroup, _))) = (self.answering.remove(&ask), self.leads) else { return };
        let matching = rows.iter().take(usize::from(answering.limit));
        let mut known: Vec<_> = matching.filter_map(|row| Some((*row, self.rows.get(row)?))).collect();
        // Those that can be had at once come first.
        known.sort_by_key(|(_, row)| !row.is_whole());
        let hits = known.into_iter().filter_map(|(number, row)| row.hit(ctx.now, subgroup, number));
        let mut batches: Vec<Vec<Hit>> = vec![Vec::new()];
        let mut size = 0;
        for hit in hits {
            let len = hit.payload.len() + 128;
            if size + len > FRAME_OF_HITS {
                batches.push(Vec::new());
                size = 0;
            }
            size += len;
            if let Some(batch) = batches.last_mut() {
                batch.push(hit);
            }
        }
        let count = batches.len();
        for (at, batch) in batches.into_iter().enumerate() {
            let found = Found { nonce: answering.nonce, subgroup, hits: List::chop(batch), last: at + 1 == count };
            match &answering.asker {
                Some(asker) => ctx.out.send(asker, DirectoryMessage::Found(found)),
                None => self.found(ctx, self.me.peer, found),
            }
        }
    }

    /// A leader has answered: its hits go on to the requester at once, that it has none a little later. Nobody but the leader that
    /// was asked ends what is to come
    /// from its subgroup, and each speaks for one subgroup, so that a requester who takes subgroups in turn gives each leader one
    /// turn. Hits of one that nobody had heard of are as good as others.
    pub(super) fn found(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, found: Found) {
        let Some(asking) = self.asking.get_mut(&found.nonce) else { return };
        if asking.answered.contains(&found.subgroup) {
            return;
        }
        let asked = asking.leaders.contains(&(found.subgroup, from));
        if found.last && asked {
            asking.answered.push(found.subgroup);
            asking.held.retain(|hit| hit.subgroup != found.subgroup);
        }
        if !asking.given.contains_key(&from) && asking.given.len() >= asking.leaders.len() + MAX_OTHERS {
            return;
        }
        let ended = asking.answered.len() >= asking.leaders.len();
        let new = Given { subgroup: found.subgroup, hits: 0, all: false };
        let given = asking.given.entry(from).or_insert(new);
        let speaks_for_it = given.subgroup == found.subgroup;
        let mut hits = found.hits.into_inner();
        hits.retain(|hit| speaks_for_it && hit.subgroup == given.subgroup);
        // No more of one leader than it was asked for.
        hits.truncate(asking.limit.saturating_sub(given.hits));
        given.hits += hits.len();
        given.all |= speaks_for_it && found.last;
        if !asked && asking.leaders.iter().any(|(subgroup, _)| *subgroup == found.subgroup) {
            // It may lead that subgroup by now, or lie.
            return asking.held.append(&mut hits);
        }
        if hits.is_empty() && !ended {
            if !std::mem::replace(&mut asking.telling, true) {
                ctx.out.arm(COUNTED_AFTER, DirectoryTimer::Counted(found.nonce));
            }
            return;
        }
        pass_on(ctx, asking, hits, ended);
        if ended {
            self.asking.remove(&found.nonce);
        }
    }

    /// Answers without hits have been collected: how many they are goes to the requester.
    pub(super) fn count_answers(&mut self, ctx: &mut DirectoryCtx<'_, P>, nonce: [u8; 16]) {
        let Some(asking) = self.asking.get_mut(&nonce) else { return };
        asking.telling = false;
        if asking.answered.len() > asking.told {
            pass_on(ctx, asking, Vec::new(), false);
        }
    }

    /// Leaders that have not answered a lookup yet are looked for anew: others may lead in their place.
    pub(super) fn seek_silent(&mut self, ctx: &mut DirectoryCtx<'_, P>, nonce: [u8; 16]) {
        let Some(asking) = self.asking.get(&nonce) else { return };
        let silent = asking.leaders.iter().filter(|(subgroup, _)| !asking.answered.contains(subgroup));
        for (subgroup, peer) in silent.filter(|(_, peer)| *peer != self.me.peer).take(MAX_SILENT) {
            ctx.out.emit(DirectoryEvent::Seek(*subgroup, Some(*peer)));
        }
    }

    /// Another leads a subgroup whose leader has not answered: it is asked, too.
    pub(super) fn ask_late(&mut self, ctx: &mut DirectoryCtx<'_, P>, subgroup: OverlayAddr, leader: &Contact<P>) {
        let mut over = Vec::new();
        let waiting = self.asking.iter_mut().filter(|(_, asking)| !asking.answered.contains(&subgroup));
        for (nonce, asking) in waiting.take(MAX_LATE) {
            let other = |(of, peer): &&mut (OverlayAddr, P)| *of == subgroup && *peer != leader.peer;
            let Some((_, peer)) = asking.leaders.iter_mut().find(other) else { continue };
            *peer = leader.peer;
            // It may have heard of the lookup by itself.
            let (hits, held) = std::mem::take(&mut asking.held).into_iter().partition(|hit| hit.subgroup == subgroup);
            asking.held = held;
            let said_all = asking.given.get(&leader.peer).is_some_and(|given| given.all && given.subgroup == subgroup);
            if said_all {
                asking.answered.push(subgroup);
            }
            let ended = asking.answered.len() >= asking.leaders.len();
            if said_all || !Vec::is_empty(&hits) {
                pass_on(ctx, asking, hits, ended);
            }
            if ended {
                over.push(*nonce);
            } else if !said_all {
                ctx.out.send(leader, DirectoryMessage::Lookup((*asking.cast).clone()));
            }
        }
        over.iter().for_each(|nonce| _ = self.asking.remove(nonce));
    }

    pub(super) fn lookup_expired(&mut self, ctx: &mut DirectoryCtx<'_, P>, nonce: [u8; 16]) {
        if let Some(mut asking) = self.asking.remove(&nonce) {
            debug_assert!(asking.until <= ctx.now);
            let held = std::mem::take(&mut asking.held);
            pass_on(ctx, &mut asking, held, true);
        }
    }
}

/// Sends hits to the requester, as many in one notice as fit.
fn pass_on<P: Peer>(ctx: &mut DirectoryCtx<'_, P>, asking: &mut Asking<P>, mut hits: Vec<Hit>, ended: bool) {
    asking.told = asking.answered.len();
    loop {
        let mut size = 64;
        let fits = hits.iter().take_while(|hit| {
            size += hit.payload.len() + 128;
            size <= MAX_SEALED_PLAIN
        });
        let rest = hits.split_off(fits.count());
        let last = rest.is_empty() || hits.is_empty();
        let notice = Notice::Hits(Hits {
            request: asking.request,
            hits: List::chop(hits),
            answered: u32::try_from(asking.answered.len()).unwrap_or(u32::MAX),
            asked: u32::try_from(asking.leaders.len()).unwrap_or(u32::MAX),
            ended: ended && last,
        });
        ctx.out.emit(DirectoryEvent::Notice { end: asking.end, reply: asking.reply, notice: Box::new(notice) });
        if last {
            return;
        }
        hits = rest;
    }
}
