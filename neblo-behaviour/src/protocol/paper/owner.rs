//! The peer at the beginning of a path: publishing, looking up, downloading (seed 003 §3).

use super::*;
use crate::protocol::codec::Blob;
use crate::protocol::interface::{Announcement, Failure as Failed, Hit, MAX_PUBLICATION, publication_id};
use crate::protocol::io::draw;

/// A totalPing that is not answered within this has failed. choice: twenty hops of 100 ms and back
const TOTAL_PING_WITHIN: Duration = Duration::from_secs(4);
/// Time for a download to begin. choice
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(15);
/// Publications of one peer, lookups and downloads under way. choice
const MAX_CONTENTS: usize = 10_000;
const MAX_OPEN: usize = 1_024;
/// Publications up to which room is made for one at a time. choice
const FEW: usize = 4;
/// Walks in a row that are tried before those who wait are told that there is no path. choice
const MAX_WALKS: u8 = 5;

/// What this peer has begun.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// "Each peer is associated to only a connection identifier."
    pub(super) connection: Option<Connection>,
    /// In order of their ids.
    pub(super) contents: Vec<OwnContent>,
    /// Walks in a row that came to nothing.
    pub(super) walks: u8,
}

impl Own {
    fn place(&self, id: &PublicationId) -> Result<usize, usize> {
        self.contents.binary_search_by(|content| content.id.cmp(id))
    }

    fn content(&self, id: &PublicationId) -> Option<&OwnContent> {
        self.place(id).ok().and_then(|at| self.contents.get(at))
    }

    fn content_mut(&mut self, id: &PublicationId) -> Option<&mut OwnContent> {
        self.place(id).ok().and_then(|at| self.contents.get_mut(at))
    }

    fn add(&mut self, content: OwnContent) {
        if let Err(at) = self.place(&content.id) {
            if self.contents.len() < FEW {
                // Most peers publish little: no room for four where there are two.
                self.contents.reserve_exact(1);
            }
            self.contents.insert(at, content);
        }
    }

    fn take(&mut self, id: &PublicationId) -> Option<OwnContent> {
        self.place(id).ok().map(|at| self.contents.remove(at))
    }
}

#[derive(Debug)]
pub(super) struct OwnContent {
    id: PublicationId,
    announcement: Announcement,
    key: [u8; 32],
    tokens: Vec<Token>,
    /// Whether the leader is known to have it.
    held: bool,
    sent: bool,
}

impl OwnContent {
    fn content(&self) -> Content {
        Content {
            key: self.key,
            expiry_day: self.announcement.expiry_day,
            payload: Blob::new(self.announcement.payload.clone()).unwrap_or_default(),
        }
    }
}

/// A lookup under way, or queued: responses name no lookup, so there is one at a time.
#[derive(Debug)]
pub(super) struct Looking {
    token: Token,
    query: Blob<{ MAX_PUBLICATION }>,
    window: Duration,
    limit: u16,
    found: BTreeSet<PublicationId>,
}

/// A download that has not begun.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) token: Token,
    pub(super) content: [u8; 32],
}

impl<P: Peer> Paper<P> {
    fn connection(&mut self, ctx: &mut PaperCtx<'_, P>) -> Connection {
        *self.own.connection.get_or_insert_with(|| draw(ctx.rng))
    }

    /// Publications, and those of them that a leader has.
    pub fn publications(&self) -> (usize, usize) {
        (self.own.contents.len(), self.own.contents.iter().filter(|content| content.held).count())
    }

    fn check_cover(&self, allow_weak: bool) -> Result<(), Failed> {
        let members = self.members();
        // As for the other mechanism (design D18).
        if members > 0 && members < 4 && !allow_weak { Err(Failed::TooWeak { members }) } else { Ok(()) }
    }

    /// Publishes (§3.1): over the path that there is, if a totalPing shows that it is whole, else over a new one with all
    /// that was published before.
    pub fn announce(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        keys: &dyn Keys<P>,
        (token, announcement, allow_weak): (Token, Announcement, bool),
    ) -> Result<(), Failed> {
        self.check_cover(allow_weak)?;
        if announcement.payload.len() > MAX_PUBLICATION {
            return Err(Failed::Invalid("the payload of a publication is longer than 8 KiB"));
        }
        if u64::from(announcement.expiry_day) < ctx.unix / 86_400 {
            return Err(Failed::Invalid("the day of expiry has passed"));
        }
        let key = keys.public(&announcement.secret);
        let id = publication_id(&key, announcement.expiry_day, &announcement.payload);
        if let Some(known) = self.own.content_mut(&id) {
            match known.held {
                true => ctx.out.emit(PaperEvent::Done(token, Answer::Announced(id))),
                false if known.tokens.len() < 16 => known.tokens.push(token),
                false => return Err(Failed::Overloaded),
            }
            return Ok(());
        }
        if self.own.contents.len() >= MAX_CONTENTS {
            return Err(Failed::Overloaded);
        }
        self.own.add(OwnContent { id, announcement, key, tokens: vec![token], held: false, sent: false });
        self.publish_soon(ctx);
        Ok(())
    }

    /// There is a subgroup now: what waited for one is published.
    pub fn publish_what_waits(&mut self, ctx: &mut PaperCtx<'_, P>) {
        self.publish_soon(ctx);
    }

    /// Before new content is published the path is checked; without a path there is nothing to check.
    fn publish_soon(&mut self, ctx: &mut PaperCtx<'_, P>) {
        if self.members.is_none() || self.pinging.is_some() {
            return;
        }
        let connection = self.connection(ctx);
        if self.table.by_previous(&connection, None).is_none() || !self.config.restoration {
            self.publish_new(ctx);
        } else if self.own.contents.iter().any(|content| !content.sent) {
            self.total_ping(ctx);
        }
    }

    /// Sends what was not sent over this path, and a totalPing after it, whose answer shows that the leader has it.
    fn publish_new(&mut self, ctx: &mut PaperCtx<'_, P>) {
        let connection = self.connection(ctx);
        let unsent: Vec<_> = self
            .own
            .contents
            .iter_mut()
            .filter_map(|content| (!std::mem::replace(&mut content.sent, true)).then(|| content.content()))
            .collect();
        if unsent.is_empty() {
            return;
        }
        let ttl = self.config.ttl;
        for content in unsent {
            let Some(next) = self.onward(ctx, &connection, None, ttl) else { return };
            self.send_own(ctx, next, PaperMessage::Publish(Publish { connection, ttl, content }));
        }
        self.total_ping(ctx);
    }

    /// To the first peer of our own path; a leader's walk may end where it began.
    fn send_own(&mut self, ctx: &mut PaperCtx<'_, P>, next: P, message: PaperMessage<P>) {
        if next != self.me.peer {
            return self.send(ctx, next, message);
        }
        let me = self.me.peer;
        match message {
            PaperMessage::Publish(publish) => self.publish_came(ctx, me, publish),
            PaperMessage::TotalPing(ping) => self.totally_pinged(ctx, me, &ping),
            PaperMessage::DownloadRequest(request) => self.request_crosses(ctx, request),
            _ => {}
        }
    }

    /// After a change of leader: a totalPing tells whether the path still ends at one that knows what was published.
    pub(super) fn publish_again_if_failed(&mut self, ctx: &mut PaperCtx<'_, P>) {
        if !self.config.restoration {
            return;
        }
        self.own.contents.iter_mut().for_each(|content| content.held = false);
        match self.own.connection.is_some_and(|own| self.table.by_previous(&own, None).is_some()) {
            true => self.total_ping(ctx),
            false => self.republish(ctx),
        }
    }

    fn total_ping(&mut self, ctx: &mut PaperCtx<'_, P>) {
        let connection = self.connection(ctx);
        let Some(next) = self.table.by_previous(&connection, None).map(|entry| entry.next) else { return };
        let number = self.next_number();
        self.pinging = Some(number);
        if !self.config.restoration {
            return self.path_is_whole(ctx);
        }
        ctx.out.arm(TOTAL_PING_WITHIN, PaperTimer::TotalPing(number));
        let ping = TotalPing { connection, to_leader: true, answer: false };
        self.send_own(ctx, next, PaperMessage::TotalPing(ping));
    }

    /// The leader answered: the path is whole, and what was sent over it has come.
    pub(super) fn path_is_whole(&mut self, ctx: &mut PaperCtx<'_, P>) {
        if self.pinging.take().is_none() {
            return;
        }
        self.own.walks = 0;
        for content in self.own.contents.iter_mut().filter(|content| content.sent) {
            if !std::mem::replace(&mut content.held, true) {
                ctx.out.emit(PaperEvent::Held(content.id));
            }
            for token in std::mem::take(&mut content.tokens) {
                ctx.out.emit(PaperEvent::Done(token, Answer::Announced(content.id)));
            }
        }
        if self.own.contents.iter().any(|content| !content.sent) {
            self.publish_new(ctx);
        }
    }

    pub(super) fn own_ping_failed(&mut self, ctx: &mut PaperCtx<'_, P>, number: u64) {
        if self.pinging == Some(number) {
            self.republish(ctx);
        }
    }

    /// "Re-publishes all its contents" (§3.1): a new walk for the same identifier. The peers of the old path find out by
    /// their timers.
    pub(super) fn republish(&mut self, ctx: &mut PaperCtx<'_, P>) {
        self.pinging = None;
        let Some(connection) = self.own.connection else { return };
        // Also where the old walk came past here again: the answers of the new one would go on along the old.
        self.table.remove_path(&connection);
        for content in &mut self.own.contents {
            (content.sent, content.held) = (false, false);
        }
        self.own.walks = self.own.walks.saturating_add(1);
        if self.own.walks > MAX_WALKS {
            self.own.walks = 0;
            let waiting: Vec<_> =
                self.own.contents.iter_mut().flat_map(|content| std::mem::take(&mut content.tokens)).collect();
            for token in waiting {
                ctx.out.emit(PaperEvent::Done(token, Answer::Failed(Failed::NoPath)));
            }
        }
        if self.members.is_some() && !self.own.contents.is_empty() {
            self.publish_new(ctx);
        }
    }

    /// Stops offering a publication. The paper has no message for it: all others are published over a new path, and the leader
    /// forgets the old one by a failure notification.
    pub fn withdraw(&mut self, ctx: &mut PaperCtx<'_, P>, id: PublicationId) {
        let Some(gone) = self.own.take(&id) else { return };
        for token in gone.tokens {
            ctx.out.emit(PaperEvent::Done(token, Answer::Failed(Failed::Gone)));
        }
        self.take_down(ctx);
        self.republish(ctx);
    }

    /// Takes our own path down.
    pub(super) fn take_down(&mut self, ctx: &mut PaperCtx<'_, P>) {
        let Some(connection) = self.own.connection else { return };
        let next = self.table.by_previous(&connection, None).map(|entry| entry.next);
        match next {
            Some(next) if next == self.me.peer => self.end_failed(ctx, &connection, next),
            Some(next) => self.send(ctx, next, PaperMessage::Failure(Failure { connection, to_leader: true })),
            None => {}
        }
    }

    // ---- looking up ------------------------------------------------------------------------------------------

    /// Looks up (§3.2).
    pub fn look_up(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        keys: &dyn Keys<P>,
        (token, allow_weak): (Token, bool),
        (query, limit, window): (Vec<u8>, u16, Duration),
    ) -> Result<(), Failed> {
        self.check_cover(allow_weak)?;
        if self.looking.len() >= MAX_OPEN {
            return Err(Failed::Overloaded);
        }
        let query = Blob::<{ MAX_PUBLICATION }>::new(query).ok_or(Failed::Invalid("the query is longer than 8 KiB"))?;
        let request = self.next_number();
        self.looking.insert(request, Looking { token, query, window, limit, found: BTreeSet::new() });
        self.queued.push_back(request);
        if self.queued.len() == 1 {
            self.look_up_next(ctx, keys);
        }
        Ok(())
    }

    fn look_up_next(&mut self, ctx: &mut PaperCtx<'_, P>, keys: &dyn Keys<P>) {
        let Some(request) = self.queued.front().copied() else { return };
        let Some((query, window)) = self.looking.get(&request).map(|looking| (looking.query.clone(), looking.window))
        else {
            self.queued.pop_front();
            return self.look_up_next(ctx, keys);
        };
        ctx.out.arm(window, PaperTimer::Deadline(request));
        let (connection, ttl) = (self.connection(ctx), self.config.ttl);
        let Some(next) = self.onward(ctx, &connection, None, ttl) else { return };
        let lookup = Lookup { connection, ttl, query };
        match next == self.me.peer {
            true => self.lookup_came(ctx, keys, next, lookup),
            false => self.send(ctx, next, PaperMessage::Lookup(lookup)),
        }
    }

    /// A lookup-response has come down our own path: it belongs to the lookup under way.
    pub(super) fn response_is_ours(&mut self, ctx: &mut PaperCtx<'_, P>, response: LookupResponse<P>) {
        let request = self.queued.front().copied();
        let Some(looking) = request.and_then(|request| self.looking.get_mut(&request)) else { return };
        let LookupResponse { content, owner, last, .. } = response;
        let fresh = u64::from(content.expiry_day) >= ctx.unix / 86_400;
        if !fresh || looking.found.len() >= usize::from(looking.limit) || !looking.found.insert(content.id()) {
            return;
        }
        let reference = Blob::new(Reference { owner, last }.to_bytes());
        let Content { key, expiry_day, payload } = content;
        let subgroup = OverlayAddr::default();
        let hit = Hit { key, expiry_day, payload, subgroup, registration: 0, reference };
        // How many leaders there are is not the requester's to know in this mechanism.
        ctx.out.emit(PaperEvent::Done(looking.token, Answer::Hits { hits: vec![hit], answered: 0, asked: 0 }));
    }

    // ---- downloading -----------------------------------------------------------------------------------------

    /// Requests a download (§3.3).
    pub fn connect(
        &mut self,
        ctx: &mut PaperCtx<'_, P>,
        (token, allow_weak): (Token, bool),
        hit: &Hit,
    ) -> Result<(), Failed> {
        self.check_cover(allow_weak)?;
        let reference = hit.reference.as_ref().and_then(|bytes| Reference::<P>::from_bytes(bytes).ok());
        let Some(Reference { owner, last: owner_last }) = reference else {
            return Err(Failed::Invalid("this hit was not found by a lookup under the paper's policy"));
        };
        if self.connecting.len() >= MAX_OPEN {
            return Err(Failed::Overloaded);
        }
        let (content, ttl) = (hit.id().0, self.config.ttl);
        let requester = self.connection(ctx);
        // The path of the lookup; when it is gone meanwhile, there is no way to make one but by publishing or looking up.
        let entry = self.table.by_previous(&requester, None);
        let Some(next) = entry.map(|entry| entry.next).or_else(|| self.onward(ctx, &requester, None, ttl)) else {
            return Err(Failed::NoPath);
        };
        let request = self.next_number();
        self.connecting.insert(request, Connecting { token, content });
        ctx.out.arm(DOWNLOAD_WITHIN, PaperTimer::Deadline(request));
        let mut asked = DownloadRequest { content, requester, owner, owner_last, requester_last: None };
        if self.is_leader(next) {
            // There is no other peer on our path: we are its last one.
            asked.requester_last = Some(self.me.clone());
            self.request_crosses(ctx, asked);
        } else {
            self.send_own(ctx, next, PaperMessage::DownloadRequest(asked));
        }
        Ok(())
    }

    /// Gives up a lookup or download.
    pub fn cancel(&mut self, token: Token) {
        self.looking.retain(|_, looking| looking.token != token);
        self.connecting.retain(|_, connecting| connecting.token != token);
    }

    pub(super) fn deadline(&mut self, ctx: &mut PaperCtx<'_, P>, keys: &dyn Keys<P>, request: u64) {
        if let Some(connecting) = self.connecting.remove(&request) {
            ctx.out.emit(PaperEvent::Done(connecting.token, Answer::Failed(Failed::TimedOut)));
        }
        if let Some(looking) = self.looking.remove(&request) {
            ctx.out.emit(PaperEvent::Done(looking.token, Answer::LookupEnded { answered: 0, asked: 0 }));
        }
        if self.queued.front() == Some(&request) {
            self.queued.pop_front();
            self.look_up_next(ctx, keys);
        }
    }

    /// The secret of a publication of ours.
    pub(super) fn secret(&self, id: &PublicationId) -> Option<[u8; 32]> {
        self.own.content(id).map(|content| content.announcement.secret)
    }
}
