//! Publishing: announcements are repeated until a leader has them, renewed by name, many at once, before they expire there and
//! whenever path or leader change, and made anew where the leader does not know them (seed 003 §3.1: "re-publishes all its contents").

use super::*;
use crate::protocol::codec::{Blob, List};
use crate::protocol::errand::{Announce, Incoming, MAX_RENEWED, Renew, Renewed, Withdraw};
use crate::protocol::interface::{Announcement, MAX_PUBLICATION, publication_id};
use crate::protocol::io::draw;

/// Wait before an announcement without an answer is repeated. choice
const REPEAT: Duration = Duration::from_secs(4);
/// Publications of one peer. choice
const MAX_PUBLICATIONS: usize = 100_000;
/// Commands that may wait for one publication. choice
const MAX_TOKENS: usize = 16;
/// Announcements sent in one go; the rest follows at the next look. choice
const AT_ONCE: usize = 64;
/// Renewals sent in one go. choice
const RENEWALS_AT_ONCE: usize = 8;
/// How long after a path has taken the place of another all is renewed over it once more: what was on its way over the path before,
/// which is kept for 10 s, has arrived by then, and the leader takes what came last for the way to us. choice
pub(super) const SETTLES: Duration = Duration::from_secs(8);
/// How long a ticket, or a stream that came before its ticket, is kept. choice
const TICKET_LASTS: Duration = Duration::from_secs(60);
const STREAM_WAITS: Duration = Duration::from_secs(5);
const MAX_WAITING: usize = 16;
const MAX_EXPECTED: usize = 1_024;

/// One publication of ours.
#[derive(Debug)]
pub(super) struct Publication {
    announcement: Announcement,
    key: [u8; 32],
    registration: [u8; 16],
    /// Commands that wait until a leader has it.
    tokens: Vec<Token>,
    /// Whether a leader has had it, so that its name is enough to renew it.
    known: bool,
    /// Over the path for publishing, and over the second one.
    offers: [Offer; 2],
}

/// What has become of a publication over one path.
#[derive(Clone, Copy, Debug)]
struct Offer {
    request: u64,
    /// When it is to be announced (again).
    due: Time,
    /// Whether it was announced over the present path and not answered yet.
    open: bool,
    held: bool,
}

/// A renewal of several publications.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) purpose: Purpose,
    publications: Vec<PublicationId>,
    /// Until when an answer is waited for.
    until: Time,
}

/// The paths for publishing, in the order of a publication's offers.
const PATHS: [Purpose; 2] = [Purpose::Publishing, Purpose::PublishingAgain];

impl Publication {
    /// Whether a leader has it, over whichever path.
    fn held(&self) -> bool {
        self.offers.iter().any(|offer| offer.held)
    }

    fn over(&mut self, purpose: Purpose) -> Option<&mut Offer> {
        PATHS.iter().zip(&mut self.offers).find(|(path, _)| **path == purpose).map(|(_, offer)| offer)
    }

    /// A path was repaired: what was not answered over it is announced again.
    pub(super) fn hurry(&mut self, purpose: Purpose) {
        if let Some(offer) = self.over(purpose).filter(|offer| !offer.held) {
            (offer.open, offer.due) = (false, Time(0));
        }
    }

    /// A path was lost.
    pub(super) fn forget_leader(&mut self, purpose: Purpose) {
        if let Some(offer) = self.over(purpose) {
            (offer.held, offer.open, offer.due) = (false, false, Time(0));
        }
    }

    /// The leader has it, over this path.
    fn holds<P: Peer>(&mut self, ctx: &mut ClientCtx<'_, P>, id: PublicationId, purpose: Purpose, due: Time) {
        self.known = true;
        let Some(offer) = self.over(purpose) else { return };
        let was_held = offer.held;
        *offer = Offer { due, open: false, held: true, ..*offer };
        if !was_held {
            ctx.out.emit(ClientEvent::Held(id));
        }
        for token in std::mem::take(&mut self.tokens) {
            ctx.out.emit(ClientEvent::Done(token, Answer::Announced(id)));
        }
    }

    fn offer(&mut self, request: u64) -> Option<&mut Offer> {
        self.offers.iter_mut().find(|offer| offer.request == request)
    }
}

impl<P: Peer> Client<P> {
    /// Publications offered, and those of them that a leader holds.
    pub fn publications(&self) -> (usize, usize) {
        (self.publications.len(), self.publications.values().filter(|publication| publication.held()).count())
    }

    /// Offers a publication.
    pub fn announce(
        &mut self,
        ctx: &mut ClientCtx<'_, P>,
        keys: &dyn Keys<P>,
        cover: Cover,
        (token, announcement, allow_weak): (Token, Announcement, bool),
    ) -> Result<(), Failure> {
        cover.check(allow_weak)?;
        if announcement.payload.len() > MAX_PUBLICATION {
            return Err(Failure::Invalid("the payload of a publication is longer than 8 KiB"));
        }
        if u64::from(announcement.expiry_day) < ctx.unix / 86_400 {
            return Err(Failure::Invalid("the day of expiry has passed"));
        }
        let key = keys.public(&announcement.secret);
        let id = publication_id(&key, announcement.expiry_day, &announcement.payload);
        let known = self.publications.get(&id);
        if known.is_none() && self.publications.len() >= MAX_PUBLICATIONS {
            return Err(Failure::Overloaded);
        }
        if known.is_some_and(Publication::held) {
            ctx.out.emit(ClientEvent::Done(token, Answer::Announced(id)));
            return Ok(());
        }
        if let Some(known) = self.publications.get_mut(&id) {
            if known.tokens.len() >= MAX_TOKENS {
                return Err(Failure::Overloaded);
            }
            known.tokens.push(token);
            return Ok(());
        }
        let registration = draw(ctx.rng);
        let offers = PATHS.map(|_| Offer { request: self.next_number(), due: Time(0), open: false, held: false });
        let tokens = vec![token];
        let publication = Publication { announcement, key, registration, tokens, known: false, offers };
        self.publications.insert(id, publication);
        ctx.out.emit(ClientEvent::Want(Purpose::Publishing));
        self.announce_due(ctx);
        Ok(())
    }

    /// Stops offering a publication.
    pub fn withdraw(&mut self, ctx: &mut ClientCtx<'_, P>, id: PublicationId) {
        if let Some(publication) = self.publications.remove(&id) {
            let withdraw = Errand::Withdraw(Withdraw { registration: publication.registration });
            ctx.out.emit(ClientEvent::Up(Purpose::Publishing, Box::new(withdraw)));
            for token in publication.tokens {
                ctx.out.emit(ClientEvent::Done(token, Answer::Failed(Failure::Gone)));
            }
        }
    }

    /// A path is ready: everything is announced over it.
    pub(super) fn announce_all(&mut self, ctx: &mut ClientCtx<'_, P>, purpose: Purpose) {
        for offer in self.publications.values_mut().filter_map(|publication| publication.over(purpose)) {
            offer.due = Time(0);
        }
        self.announce_due(ctx);
    }

    /// Time to look through what is announced, unless another look has come before.
    pub(super) fn look_through(&mut self, ctx: &mut ClientCtx<'_, P>) {
        if self.looks.take_if(|at| *at <= ctx.now).is_some() {
            self.announce_due(ctx);
        }
    }

    pub(super) fn announce_due(&mut self, ctx: &mut ClientCtx<'_, P>) {
        let today = ctx.unix / 86_400;
        self.publications.retain(|_, publication| u64::from(publication.announcement.expiry_day) >= today);
        let paths = if self.second_path { &PATHS[..] } else { &PATHS[..1] };
        let now = ctx.now;
        let is_due = |offer: &Offer| offer.due <= now;
        for (nth, purpose) in paths.iter().enumerate() {
            let mut unanswered = self.renew_due(ctx, (nth, *purpose));
            let due = self
                .publications
                .values_mut()
                .filter(|publication| !publication.known && publication.offers.get(nth).is_some_and(is_due));
            for publication in due.take(AT_ONCE) {
                let Some(offer) = publication.offers.get_mut(nth) else { continue };
                offer.due = ctx.now + REPEAT;
                unanswered |= std::mem::take(&mut offer.open);
                let announce = Announce {
                    request: offer.request,
                    registration: publication.registration,
                    key: publication.key,
                    expiry_day: publication.announcement.expiry_day,
                    payload: Blob::new(publication.announcement.payload.clone()).unwrap_or_default(),
                    second: nth > 0,
                };
                ctx.out.emit(ClientEvent::Up(*purpose, Box::new(Errand::Announce(announce))));
            }
            if unanswered {
                ctx.out.emit(ClientEvent::Unanswered(*purpose));
            }
        }
        let offers = self.publications.values().flat_map(|publication| publication.offers.iter().take(paths.len()));
        let Some(next) = offers.map(|offer| offer.due).min() else { return };
        let (soonest, latest) = LOOK_THROUGH;
        let next = next.max(now + soonest).min(now + latest);
        if self.looks.is_none_or(|at| next < at) {
            self.looks = Some(next);
            ctx.out.arm(next.since(now), ClientTimer::Announce);
        }
    }

    /// Renews what leaders have had, many at a time, and what is soon to be renewed along with it. Says whether an earlier
    /// announcement or renewal over this path was not answered.
    fn renew_due(&mut self, ctx: &mut ClientCtx<'_, P>, (nth, purpose): (usize, Purpose)) -> bool {
        self.renewing.retain(|_, renewal| renewal.until > ctx.now);
        let soon = ctx.now + self.renew / 8;
        let known = self.publications.iter().filter(|(_, publication)| publication.known);
        let by_time = known.filter_map(|(id, publication)| Some((publication.offers.get(nth)?.due, *id)));
        // Mostly nothing is due, and nothing is collected.
        if !by_time.clone().any(|(due, _)| due <= ctx.now) {
            return false;
        }
        let mut due: Vec<(Time, PublicationId)> = by_time.filter(|(due, _)| *due <= soon).collect();
        due.sort_unstable();
        due.truncate(RENEWALS_AT_ONCE * MAX_RENEWED);
        let mut unanswered = false;
        for some in due.chunks(MAX_RENEWED) {
            let request = self.next_number();
            let mut registrations = Vec::with_capacity(some.len());
            for (_, id) in some {
                let Some(publication) = self.publications.get_mut(id) else { continue };
                let Some(offer) = publication.offers.get_mut(nth) else { continue };
                offer.due = ctx.now + REPEAT;
                unanswered |= std::mem::take(&mut offer.open);
                registrations.push(publication.registration);
            }
            let publications = some.iter().map(|(_, id)| *id).collect();
            self.renewing.insert(request, Renewal { purpose, publications, until: ctx.now + REPEAT * 2 });
            let registrations = List::new(registrations).unwrap_or_default();
            let renew = Errand::Renew(Renew { request, registrations, second: nth > 0 });
            ctx.out.emit(ClientEvent::Up(purpose, Box::new(renew)));
        }
        unanswered
    }

    /// A renewal has really gone up the path.
    pub(super) fn renew_went_up(&mut self, request: u64) {
        let Some(renewal) = self.renewing.get(&request) else { return };
        for id in &renewal.publications {
            if let Some(offer) = self.publications.get_mut(id).and_then(|it| it.over(renewal.purpose)) {
                offer.open = true;
            }
        }
    }

    /// A leader has renewed what it has; what it does not have is announced to it.
    pub(super) fn renewed(&mut self, ctx: &mut ClientCtx<'_, P>, renewed: &Renewed) {
        let Some(renewal) = self.renewing.remove(&renewed.request) else { return };
        let (mut missing, due) = (false, self.renew_at(ctx.now, renewal.purpose));
        for id in renewal.publications {
            let Some(publication) = self.publications.get_mut(&id) else { continue };
            if renewed.unknown.contains(&publication.registration) {
                publication.known = false;
                publication.forget_leader(renewal.purpose);
                missing = true;
            } else {
                publication.holds(ctx, id, renewal.purpose, due);
            }
        }
        if missing {
            self.announce_due(ctx);
        }
    }

    /// An announcement has really gone up the path.
    pub(super) fn announce_went_up(&mut self, request: u64) {
        if let Some(offer) = self.publications.values_mut().find_map(|publication| publication.offer(request)) {
            offer.open = true;
        }
    }

    pub(super) fn announced(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        let found = self.publications.iter().find_map(|(id, publication)| {
            let over = PATHS.iter().zip(&publication.offers).find(|(_, offer)| offer.request == request);
            over.map(|(purpose, _)| (*id, *purpose))
        });
        let Some((id, purpose)) = found else { return };
        let due = self.renew_at(ctx.now, purpose);
        if let Some(publication) = self.publications.get_mut(&id) {
            publication.holds(ctx, id, purpose, due);
        }
    }

    /// When what a leader holds now is to be renewed over this path.
    fn renew_at(&self, now: Time, purpose: Purpose) -> Time {
        let usual = now + self.renew;
        self.settles.get(&purpose).filter(|settles| **settles > now).map_or(usual, |settles| usual.min(*settles))
    }

    pub(super) fn announce_declined(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        for publication in self.publications.values_mut() {
            let Some(offer) = publication.offer(request) else { continue };
            (offer.due, offer.open) = (ctx.now + self.renew, false);
            for token in std::mem::take(&mut publication.tokens) {
                ctx.out.emit(ClientEvent::Done(token, Answer::Failed(Failure::Refused)));
            }
            return;
        }
    }

    /// The leader says that a stream is coming.
    pub(super) fn incoming(&mut self, ctx: &mut ClientCtx<'_, P>, incoming: &Incoming) {
        let found = self.publications.iter().find(|(_, publication)| publication.registration == incoming.registration);
        let Some((id, _)) = found else { return };
        let id = *id;
        self.expected.retain(|_, (_, until)| *until > ctx.now);
        if self.expected.len() < MAX_EXPECTED {
            self.expected.insert(incoming.ticket, (id, ctx.now + TICKET_LASTS));
        }
        if let Some(at) = self.waiting.iter().position(|(_, ticket, _)| *ticket == incoming.ticket) {
            let (stream, ticket, _) = self.waiting.remove(at);
            self.stream_came(ctx, stream, ticket);
        }
    }

    /// A stream came all the way to us.
    pub fn stream_came(&mut self, ctx: &mut ClientCtx<'_, P>, stream: u64, ticket: [u8; 16]) {
        if let Some((publication, _)) = self.expected.remove(&ticket) {
            match self.publications.get(&publication) {
                Some(found) => {
                    let secret = found.announcement.secret;
                    ctx.out.emit(ClientEvent::Accept { stream, publication, secret });
                }
                None => ctx.out.emit(ClientEvent::Refuse { stream, reason: Refusal::Withdrawn }),
            }
        } else if self.waiting.len() < MAX_WAITING {
            self.waiting.push((stream, ticket, ctx.now + STREAM_WAITS));
            ctx.out.arm(STREAM_WAITS, ClientTimer::Waiting);
        } else {
            ctx.out.emit(ClientEvent::Refuse { stream, reason: Refusal::Full });
        }
    }

    pub(super) fn waiting_expired(&mut self, ctx: &mut ClientCtx<'_, P>) {
        let (late, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, _, until)| *until <= ctx.now);
        self.waiting = waiting;
        let late: Vec<_> = late;
        for (stream, _, _) in late {
            ctx.out.emit(ClientEvent::Refuse { stream, reason: Refusal::Unknown });
        }
    }
}
