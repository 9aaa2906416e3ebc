//! Publishing: announcements are repeated until a leader has them, renewed before they expire there, and made anew
//! whenever path or leader change (seed 003 §3.1: "re-publishes all its contents").

use super::*;
use crate::protocol::codec::Blob;
use crate::protocol::errand::{Announce, Incoming, Withdraw};
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
        let publication = Publication { announcement, key, registration, tokens: vec![token], offers };
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

    pub(super) fn announce_due(&mut self, ctx: &mut ClientCtx<'_, P>) {
        self.due = false;
        let today = ctx.unix / 86_400;
        self.publications.retain(|_, publication| u64::from(publication.announcement.expiry_day) >= today);
        let paths = if self.second_path { &PATHS[..] } else { &PATHS[..1] };
        let is_due = |offer: &Offer| offer.due <= ctx.now;
        for (nth, purpose) in paths.iter().enumerate() {
            let due =
                self.publications.values_mut().filter(|publication| publication.offers.get(nth).is_some_and(is_due));
            let mut unanswered = false;
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
        if !self.publications.is_empty() && !self.due {
            self.due = true;
            let more = self.publications.values().any(|it| it.offers.iter().take(paths.len()).any(is_due));
            let after = if more { Duration::from_millis(50) } else { LOOK_THROUGH };
            ctx.out.arm(after, ClientTimer::Announce);
        }
    }

    /// An announcement has really gone up the path.
    pub(super) fn announce_went_up(&mut self, request: u64) {
        if let Some(offer) = self.publications.values_mut().find_map(|publication| publication.offer(request)) {
            offer.open = true;
        }
    }

    pub(super) fn announced(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        for (id, publication) in &mut self.publications {
            let Some(offer) = publication.offer(request) else { continue };
            let was_held = offer.held;
            *offer = Offer { due: ctx.now + self.renew, open: false, held: true, ..*offer };
            if !was_held {
                ctx.out.emit(ClientEvent::Held(*id));
            }
            for token in std::mem::take(&mut publication.tokens) {
                ctx.out.emit(ClientEvent::Done(token, Answer::Announced(*id)));
            }
            return;
        }
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
