//! Looking up and connecting (seed 003 §3.2, §3.3).

use super::*;
use crate::protocol::codec::Blob;
use crate::protocol::errand::{Hits, Lookup, Resolve, Resolved};
use crate::protocol::interface::{Hit, MAX_PUBLICATION};
use crate::protocol::io::draw;

/// Lookups and connects under way at once. choice
const MAX_OPEN: usize = 1_024;
/// Time that a lookup may take over its window, for the paths. choice
const OVER_WINDOW: Duration = Duration::from_secs(12);
/// What has gone up a path and was not answered after this is sent again. choice: longer than a leader takes, also one that
/// waits for the publisher to announce again
const ANSWERED_WITHIN: Duration = Duration::from_millis(2_500);
/// Time that preparing a stream may take, a path being built and tries anew included. choice
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Wait before a stream that was refused on its way is asked for anew; doubled each time. choice: the peer that is gone is found
/// out and the path repaired within two seconds or so of the refusal
const ASKED_ANEW_AFTER: Duration = Duration::from_millis(500);
/// Times that the leader is asked anew for what it says is gone. choice: 3.5 s, in which a path that can be repaired is
const ASKED_THOUGH_GONE: u32 = 3;

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) token: Token,
    pub(super) sent: bool,
    lookup: Lookup,
    answered: u32,
    asked: u32,
}

/// A connect under way.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) token: Token,
    pub(super) sent: bool,
    stage: Stage,
    resolve: Resolve,
    /// Times that its stream was refused on its way, or the leader did not know where to.
    refused: u32,
    /// Until when it is tried.
    until: Time,
}

impl Connecting {
    /// Whether a leader is, or will be, asked for it.
    pub(super) fn asks(&self) -> bool {
        self.stage != Stage::Opening
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The leader is asked.
    Asking,
    /// The stream is on its way.
    Opening,
    /// The stream was refused: the leader is asked anew in a moment.
    Resting,
}

impl<P: Peer> Client<P> {
    /// Asks all leaders.
    pub fn look_up(
        &mut self,
        ctx: &mut ClientCtx<'_, P>,
        cover: Cover,
        (token, allow_weak): (Token, bool),
        (query, limit, window): (Vec<u8>, u16, Duration),
    ) -> Result<(), Failure> {
        cover.check(allow_weak)?;
        if self.looking.len() >= MAX_OPEN {
            return Err(Failure::Overloaded);
        }
        let query =
            Blob::<{ MAX_PUBLICATION }>::new(query).ok_or(Failure::Invalid("the query is longer than 8 KiB"))?;
        let request = self.next_number();
        let window_ms = u32::try_from(window.as_millis()).unwrap_or(u32::MAX);
        let lookup = Lookup { request, query, limit, window: window_ms };
        self.looking.insert(request, Looking { token, sent: false, lookup, answered: 0, asked: 0 });
        ctx.out.arm(window + OVER_WINDOW, ClientTimer::Deadline(request));
        ctx.out.emit(ClientEvent::Want(Purpose::Searching));
        self.look_up_again(ctx);
        Ok(())
    }

    pub(super) fn look_up_again(&mut self, ctx: &mut ClientCtx<'_, P>) {
        for looking in self.looking.values_mut().filter(|looking| !looking.sent) {
            let errand = Errand::Lookup(looking.lookup.clone());
            ctx.out.emit(ClientEvent::Up(Purpose::Searching, Box::new(errand)));
        }
    }

    /// An errand has really gone up the path.
    pub fn went_up(&mut self, ctx: &mut ClientCtx<'_, P>, errand: &Errand) {
        match errand {
            Errand::Lookup(lookup) => {
                if let Some(looking) = self.looking.get_mut(&lookup.request) {
                    looking.sent = true;
                    ctx.out.arm(ANSWERED_WITHIN, ClientTimer::Unanswered(lookup.request));
                }
            }
            Errand::Resolve(resolve) => {
                if let Some(connecting) = self.connecting.get_mut(&resolve.request) {
                    connecting.sent = true;
                    ctx.out.arm(ANSWERED_WITHIN, ClientTimer::Unanswered(resolve.request));
                }
            }
            Errand::Announce(announce) => self.announce_went_up(announce.request),
            Errand::Renew(renew) => self.renew_went_up(renew.request),
            Errand::Withdraw(_) | Errand::Vouch(_) | Errand::Resume(_) => {}
        }
    }

    /// A lookup of which nothing was heard, or a connect, is sent again.
    pub(super) fn unanswered(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        if let Some(looking) = self.looking.get_mut(&request).filter(|looking| looking.sent && looking.asked == 0) {
            looking.sent = false;
            ctx.out.emit(ClientEvent::Unanswered(Purpose::Searching));
            self.look_up_again(ctx);
        } else if let Some(connecting) =
            self.connecting.get_mut(&request).filter(|it| it.sent && it.stage == Stage::Asking)
        {
            connecting.sent = false;
            ctx.out.emit(ClientEvent::Unanswered(Purpose::Downloading));
            self.connect_again(ctx);
        }
    }

    pub(super) fn hits(&mut self, ctx: &mut ClientCtx<'_, P>, hits: Hits) {
        let Some(looking) = self.looking.get_mut(&hits.request) else { return };
        let (token, answered, asked) = (looking.token, hits.answered, hits.asked);
        (looking.answered, looking.asked) = (answered, asked);
        let today = ctx.unix / 86_400;
        let fresh: Vec<Hit> =
            hits.hits.into_inner().into_iter().filter(|hit| u64::from(hit.expiry_day) >= today).collect();
        if !fresh.is_empty() || !hits.ended {
            ctx.out.emit(ClientEvent::Done(token, Answer::Hits { hits: fresh, answered, asked }));
        }
        if hits.ended {
            self.looking.remove(&hits.request);
            ctx.out.emit(ClientEvent::Done(token, Answer::LookupEnded { answered, asked }));
        }
    }

    /// Wants a stream to the publisher of a hit.
    pub fn connect(
        &mut self,
        ctx: &mut ClientCtx<'_, P>,
        cover: Cover,
        (token, allow_weak): (Token, bool),
        hit: &Hit,
    ) -> Result<(), Failure> {
        cover.check(allow_weak)?;
        if self.connecting.values().filter(|it| it.asks()).count() >= MAX_OPEN {
            return Err(Failure::Overloaded);
        }
        let request = self.next_number();
        let (subgroup, registration) = (hit.subgroup, hit.registration);
        let resolve = Resolve { request, subgroup, registration, ticket: draw(ctx.rng) };
        let until = ctx.now + CONNECT_WITHIN;
        let connecting = Connecting { token, sent: false, stage: Stage::Asking, resolve, refused: 0, until };
        self.connecting.insert(request, connecting);
        ctx.out.arm(CONNECT_WITHIN, ClientTimer::Deadline(request));
        ctx.out.emit(ClientEvent::Want(Purpose::Downloading));
        self.connect_again(ctx);
        Ok(())
    }

    pub(super) fn connect_again(&mut self, ctx: &mut ClientCtx<'_, P>) {
        let asks = |connecting: &&mut Connecting| connecting.stage == Stage::Asking && !connecting.sent;
        for connecting in self.connecting.values_mut().filter(asks) {
            let errand = Errand::Resolve(connecting.resolve.clone());
            ctx.out.emit(ClientEvent::Up(Purpose::Downloading, Box::new(errand)));
        }
    }

    /// The path for downloading is whole again: nobody rests any longer.
    pub(super) fn connect_now(&mut self, ctx: &mut ClientCtx<'_, P>) {
        for connecting in self.connecting.values_mut().filter(|connecting| connecting.stage == Stage::Resting) {
            connecting.stage = Stage::Asking;
        }
        self.connect_again(ctx);
    }

    pub(super) fn resolved(&mut self, ctx: &mut ClientCtx<'_, P>, resolved: &Resolved) {
        let opening = self.connecting.values().filter(|it| it.stage == Stage::Opening).count();
        let asking = |connecting: &&mut Connecting| connecting.stage == Stage::Asking;
        let Some(connecting) = self.connecting.get_mut(&resolved.request).filter(asking) else { return };
        let token = connecting.token;
        if resolved.found {
            connecting.stage = Stage::Opening;
            ctx.out.emit(ClientEvent::OpenStream { token, ticket: connecting.resolve.ticket });
            if opening >= MAX_OPEN {
                // Nobody tells us of those that are granted: further ones are not tried anew.
                self.connecting.remove(&resolved.request);
            }
        } else if connecting.refused < ASKED_THOUGH_GONE {
            // It was there when it was looked up: its path may be under repair.
            self.ask_anew(ctx, resolved.request, Failure::Gone);
        } else {
            self.connecting.remove(&resolved.request);
            ctx.out.emit(ClientEvent::Done(token, Answer::Failed(Failure::Gone)));
        }
    }

    /// A stream of ours was refused. If it was for a peer that is gone, or a path that has changed since the leaders were asked,
    /// they are asked anew: the paths are repaired meanwhile.
    pub fn stream_refused(&mut self, ctx: &mut ClientCtx<'_, P>, token: Token, reason: Refusal) {
        let failure = Failure::StreamRefused(reason);
        let opening = |it: &&Connecting| it.token == token && it.stage == Stage::Opening;
        let request = self.connecting.values().find(opening).map(|connecting| connecting.resolve.request);
        match (request, reason) {
            (Some(request), Refusal::Unreachable | Refusal::Unknown) => self.ask_anew(ctx, request, failure),
            (request, _) => {
                request.map(|request| self.connecting.remove(&request));
                ctx.out.emit(ClientEvent::Done(token, Answer::Failed(failure)));
            }
        }
    }

    /// Asks the leader anew a little later, under another name and ticket, unless there is no time left.
    fn ask_anew(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64, failure: Failure) {
        let Some(mut connecting) = self.connecting.remove(&request) else { return };
        let wait = ASKED_ANEW_AFTER.saturating_mul(1 << connecting.refused.min(10));
        if ctx.now + wait >= connecting.until {
            return ctx.out.emit(ClientEvent::Done(connecting.token, Answer::Failed(failure)));
        }
        let request = self.next_number();
        (connecting.resolve.request, connecting.resolve.ticket) = (request, draw(ctx.rng));
        (connecting.stage, connecting.sent) = (Stage::Resting, false);
        connecting.refused += 1;
        ctx.out.arm(wait, ClientTimer::AskAnew(request));
        ctx.out.arm(connecting.until.since(ctx.now), ClientTimer::Deadline(request));
        self.connecting.insert(request, connecting);
    }

    pub(super) fn rested(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        if let Some(connecting) = self.connecting.get_mut(&request).filter(|it| it.stage == Stage::Resting) {
            connecting.stage = Stage::Asking;
            ctx.out.emit(ClientEvent::Want(Purpose::Downloading));
            self.connect_again(ctx);
        }
    }

    pub(super) fn deadline(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        let failure = |sent| if sent { Failure::TimedOut } else { Failure::NoPath };
        if let Some(looking) = self.looking.remove(&request) {
            let answer = match looking.asked {
                0 => Answer::Failed(failure(looking.sent)),
                asked => Answer::LookupEnded { answered: looking.answered, asked },
            };
            ctx.out.emit(ClientEvent::Done(looking.token, answer));
        }
        // A stream that is on its way comes, or is refused for good.
        if let Some(connecting) = self.connecting.remove(&request).filter(Connecting::asks) {
            ctx.out.emit(ClientEvent::Done(connecting.token, Answer::Failed(failure(connecting.sent))));
        }
    }
}
