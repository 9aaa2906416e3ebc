//! Messages to overlay addresses: unidirectional and request/response, with tracks back (seed 000 §3, §6.1; design D7).

mod copies;
mod message;
mod tracks;

use std::collections::BTreeMap;
use std::time::Duration;

pub use copies::{MAX_COPIES, originals, placement};
pub use message::*;
use tracks::{Track, Tracks};

use super::interface::{Failure, Recipients};
use super::io::{Contact, Ctx, Part, Peer, Time, below};
use crate::address::OverlayAddr;

/// Requests that may be open at once. choice
const MAX_OPEN: usize = 1_024;
/// Requests delivered here whose answer is still owed. choice
const MAX_OWED: usize = 1_024;
/// Wait before a request that found no way is sent again. choice
const AGAIN: Duration = Duration::from_millis(250);
/// The longest wait for a response. choice
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Where a message goes next, as the ring says.
#[derive(Clone, Debug)]
pub enum Way<P> {
    /// It has arrived.
    Here,
    /// To this peer.
    Next(Contact<P>),
    /// Nowhere.
    Nowhere,
}

/// Asks the ring for the way to an address.
pub type Route<'a, P> = &'a dyn Fn(OverlayAddr) -> Way<P>;

/// What messaging waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessagingTimer {
    /// Tracks of this bucket of 250 ms expire.
    Tracks(u64),
    /// An open request ends.
    Deadline(u64),
    /// An open request is sent again.
    Again(u64),
}

/// What messaging reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessagingEvent<P> {
    /// A message arrived.
    Delivered(Message),
    /// A request arrived; answered by [`Messaging::respond`] under the name `ask`.
    Asked {
        /// Names it.
        ask: u64,
        /// The request.
        request: Request,
        /// The neighbour that brought it; not the asker.
        from: Option<P>,
    },
    /// A request of our own ended.
    Ended {
        /// As named by the asker.
        token: u64,
        /// The response or why there is none.
        result: Result<Vec<u8>, Failure>,
    },
    /// A neighbour carried a message on.
    Carried(P),
}

/// A request of our own.
#[derive(Clone, Debug)]
struct Open<P> {
    token: u64,
    port: u16,
    to: OverlayAddr,
    copy: u8,
    payload: Payload,
    deadline: Time,
    /// The first hop, when it is not for the ring to say (a joiner asks through a known peer).
    via: Option<Contact<P>>,
    track: Option<u64>,
    last_failure: Failure,
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Asking<P> {
    /// Names it.
    pub token: u64,
    /// Which owners are asked.
    pub recipients: Recipients,
    /// The port.
    pub port: u16,
    /// The address.
    pub to: OverlayAddr,
    /// The request.
    pub payload: Vec<u8>,
    /// The longest wait.
    pub wait: Duration,
    /// The first hop, when it is not for the ring to say.
    pub via: Option<Contact<P>>,
}

/// Messaging of one peer.
#[derive(Clone, Debug)]
pub struct Messaging<P> {
    tracks: Tracks<P>,
    open: BTreeMap<u64, Open<P>>,
    /// Requests delivered here: where the answer goes.
    owed: BTreeMap<u64, Owed<P>>,
    next: u64,
}

#[derive(Clone, Debug)]
enum Owed<P> {
    /// Back over a track.
    Neighbour { from: P, track: u64 },
    /// To a request of our own.
    Own(u64),
}

impl<P: Peer> Part<P> for Messaging<P> {
    type Message = MessagingMessage;
    type Timer = MessagingTimer;
    type Event = MessagingEvent<P>;
}

type MessagingCtx<'a, P> = Ctx<'a, P, Messaging<P>>;

impl<P: Peer> Default for Messaging<P> {
    fn default() -> Self {
        Self { tracks: Tracks::default(), open: BTreeMap::new(), owed: BTreeMap::new(), next: 0 }
    }
}

impl<P: Peer> Messaging<P> {
    /// Tracks kept for others.
    pub fn tracks(&self) -> usize {
        self.tracks.len()
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// `UD_send`: sends `copies` copies towards the owner and secondary owners.
    pub fn send(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        route: Route<'_, P>,
        (recipients, port, to): (Recipients, u16, OverlayAddr),
        payload: Vec<u8>,
    ) -> Result<(), Failure> {
        let payload = check(payload)?;
        let mut sent = Err(Failure::NoRoute);
        for copy in recipients.copies()? {
            let hops = first_hops(ctx);
            let message = Message { port, to, copy, hops, payload: payload.clone() };
            if self.pass_message(ctx, route, message) {
                sent = Ok(());
            }
        }
        sent
    }

    fn pass_message(&mut self, ctx: &mut MessagingCtx<'_, P>, route: Route<'_, P>, mut message: Message) -> bool {
        match route(placement(message.to, message.copy)) {
            Way::Here => ctx.out.emit(MessagingEvent::Delivered(message)),
            Way::Next(next) if message.hops > 0 => {
                message.hops -= 1;
                ctx.out.emit(MessagingEvent::Carried(next.peer));
                ctx.out.send(&next, MessagingMessage::Message(message));
            }
            _ => return false,
        }
        true
    }

    /// `REQ_send`: one result comes for `asking.token`, within `asking.wait`.
    pub fn request(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        route: Route<'_, P>,
        asking: Asking<P>,
    ) -> Result<(), Failure> {
        let payload = check(asking.payload)?;
        let copies = asking.recipients.copies()?;
        if self.open.len() + copies.len() > MAX_OPEN {
            return Err(Failure::Overloaded);
        }
        let wait = asking.wait.min(LONGEST_WAIT);
        for copy in copies {
            let id = self.next_number();
            let open = Open {
                token: asking.token,
                port: asking.port,
                to: asking.to,
                copy,
                payload: payload.clone(),
                deadline: ctx.now + wait,
                via: asking.via.clone(),
                track: None,
                last_failure: Failure::TimedOut,
            };
            self.open.insert(id, open);
            ctx.out.arm(wait, MessagingTimer::Deadline(id));
            self.attempt(ctx, route, id);
        }
        Ok(())
    }

    /// Gives up a request of our own; nothing more is said of it.
    pub fn cancel(&mut self, token: u64) {
        self.open.retain(|_, open| open.token != token);
    }

    fn attempt(&mut self, ctx: &mut MessagingCtx<'_, P>, route: Route<'_, P>, id: u64) {
        let Some(open) = self.open.get(&id).cloned() else { return };
        let way = match &open.via {
            Some(via) => Way::Next(via.clone()),
            None => route(placement(open.to, open.copy)),
        };
        let wait = u32::try_from(open.deadline.since(ctx.now).as_millis()).unwrap_or(u32::MAX);
        let mut request = Request {
            track: 0,
            port: open.port,
            to: open.to,
            copy: open.copy,
            hops: first_hops(ctx),
            wait,
            last: false,
            payload: open.payload,
        };
        match way {
            Way::Here => {
                let ask = self.owe(Owed::Own(id));
                ctx.out.emit(MessagingEvent::Asked { ask, request, from: None });
            }
            Way::Next(next) => {
                let until = open.deadline;
                let Some(track) = self.tracks.leave(ctx, Track { from: None, theirs: id, to: next.peer, until }) else {
                    return self.failed(ctx, id, Failure::Overloaded);
                };
                request.track = track;
                if let Some(open) = self.open.get_mut(&id) {
                    open.track = Some(track);
                }
                ctx.out.emit(MessagingEvent::Carried(next.peer));
                ctx.out.send(&next, MessagingMessage::Request(request));
            }
            Way::Nowhere => self.failed(ctx, id, Failure::NoRoute),
        }
    }

    /// One attempt failed: another follows while there is time, unless an answer would be the same.
    fn failed(&mut self, ctx: &mut MessagingCtx<'_, P>, id: u64, failure: Failure) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.track = None;
        open.last_failure = failure.clone();
        // A first hop that the asker chose itself is not there: trying it again would only lose time.
        let lost = open.via.is_some() && failure == Failure::NextHopDied;
        let passing = !lost && matches!(failure, Failure::NoRoute | Failure::NextHopDied | Failure::Overloaded);
        if passing && open.deadline > ctx.now + AGAIN {
            return ctx.out.arm(AGAIN, MessagingTimer::Again(id));
        }
        self.end(ctx, id, Err(failure));
    }

    /// Ends one copy of a request; the first good answer ends all, a failure only when it is the last.
    fn end(&mut self, ctx: &mut MessagingCtx<'_, P>, id: u64, result: Result<Vec<u8>, Failure>) {
        let Some(open) = self.open.remove(&id) else { return };
        let others = self.open.values().any(|other| other.token == open.token);
        if result.is_ok() {
            self.cancel(open.token);
        } else if others {
            return;
        }
        ctx.out.emit(MessagingEvent::Ended { token: open.token, result });
    }

    fn owe(&mut self, owed: Owed<P>) -> u64 {
        while self.owed.len() >= MAX_OWED {
            // The oldest has waited longest and is the least likely to be answered in time.
            self.owed.pop_first();
        }
        let ask = self.next_number();
        self.owed.insert(ask, owed);
        ask
    }

    /// Answers a request that was delivered here.
    pub fn respond(&mut self, ctx: &mut MessagingCtx<'_, P>, ask: u64, response: Result<Vec<u8>, Failure>) {
        let Some(owed) = self.owed.remove(&ask) else { return };
        let response = response.and_then(|bytes| Payload::new(bytes).ok_or(Failure::Refused));
        match owed {
            Owed::Own(id) => match response {
                Ok(payload) => self.end(ctx, id, Ok(payload.into_inner())),
                Err(failure) => self.failed(ctx, id, failure),
            },
            Owed::Neighbour { from, track } => answer(ctx, from, track, response),
        }
    }

    /// Hands a request that was delivered here to a neighbour, which is to answer in our place (design D6).
    pub fn hand_on(&mut self, ctx: &mut MessagingCtx<'_, P>, ask: u64, mut request: Request, to: &Contact<P>) {
        let Some(owed) = self.owed.remove(&ask) else { return };
        let until = ctx.now + Duration::from_millis(u64::from(request.wait)).min(LONGEST_WAIT);
        let (from, theirs) = match &owed {
            Owed::Neighbour { from, track } => (Some(*from), *track),
            Owed::Own(id) => (None, *id),
        };
        let Some(track) = self.tracks.leave(ctx, Track { from, theirs, to: to.peer, until }) else {
            self.owed.insert(ask, owed);
            return self.respond(ctx, ask, Err(Failure::Overloaded));
        };
        request.track = track;
        request.last = true;
        ctx.out.send(to, MessagingMessage::Request(request));
    }

    /// Handles a message from a neighbour.
    pub fn received(&mut self, ctx: &mut MessagingCtx<'_, P>, route: Route<'_, P>, from: P, message: MessagingMessage) {
        match message {
            MessagingMessage::Message(message) if message.copy < MAX_COPIES => {
                self.pass_message(ctx, route, message);
            }
            MessagingMessage::Message(_) => {}
            MessagingMessage::Request(request) => self.pass_request(ctx, route, from, request),
            MessagingMessage::Response(response) => {
                self.passed_back(ctx, from, response.track, Ok(response.payload));
            }
            MessagingMessage::NoResponse(no) => {
                self.passed_back(ctx, from, no.track, Err(failure_of(no.reason)));
            }
        }
    }

    fn pass_request(&mut self, ctx: &mut MessagingCtx<'_, P>, route: Route<'_, P>, from: P, mut request: Request) {
        let theirs = request.track;
        let refuse = |ctx: &mut MessagingCtx<'_, P>, failure| answer(ctx, from, theirs, Err(failure));
        if request.copy >= MAX_COPIES {
            return refuse(ctx, Failure::Refused);
        }
        let way = if request.last { Way::Here } else { route(placement(request.to, request.copy)) };
        match way {
            Way::Here => {
                let ask = self.owe(Owed::Neighbour { from, track: theirs });
                ctx.out.emit(MessagingEvent::Asked { ask, request, from: Some(from) });
            }
            Way::Next(next) if request.hops > 0 => {
                let wait = Duration::from_millis(u64::from(request.wait)).min(LONGEST_WAIT);
                let track = Track { from: Some(from), theirs, to: next.peer, until: ctx.now + wait };
                let Some(track) = self.tracks.leave(ctx, track) else { return refuse(ctx, Failure::Overloaded) };
                request.track = track;
                request.hops -= 1;
                ctx.out.emit(MessagingEvent::Carried(next.peer));
                ctx.out.send(&next, MessagingMessage::Request(request));
            }
            _ => refuse(ctx, Failure::NoRoute),
        }
    }

    /// A response, or its absence, goes back over the track that the request left.
    fn passed_back(&mut self, ctx: &mut MessagingCtx<'_, P>, from: P, track: u64, response: Result<Payload, Failure>) {
        let Some(track) = self.tracks.take(from, track) else { return };
        match (track.from, response) {
            (Some(back), response) => answer(ctx, back, track.theirs, response),
            (None, Ok(payload)) => self.end(ctx, track.theirs, Ok(payload.into_inner())),
            (None, Err(failure)) => self.failed(ctx, track.theirs, failure),
        }
    }

    /// A neighbour is dead or cannot be reached: what waits for it fails.
    pub fn lost(&mut self, ctx: &mut MessagingCtx<'_, P>, peer: P) {
        for track in self.tracks.take_all(peer) {
            match track.from {
                Some(back) => answer(ctx, back, track.theirs, Err(Failure::NextHopDied)),
                None => self.failed(ctx, track.theirs, Failure::NextHopDied),
            }
        }
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut MessagingCtx<'_, P>, route: Route<'_, P>, timer: MessagingTimer) {
        match timer {
            MessagingTimer::Tracks(bucket) => self.tracks.expire(bucket),
            MessagingTimer::Again(id) => {
                if self.open.get(&id).is_some_and(|open| open.track.is_none()) {
                    self.attempt(ctx, route, id);
                }
            }
            MessagingTimer::Deadline(id) => {
                let failure = match self.open.get(&id) {
                    Some(open) if open.track.is_none() => open.last_failure.clone(),
                    _ => Failure::TimedOut,
                };
                self.end(ctx, id, Err(failure));
            }
        }
    }
}

fn check(payload: Vec<u8>) -> Result<Payload, Failure> {
    Payload::new(payload).ok_or(Failure::Invalid("the payload is longer than 64 KiB"))
}

/// A budget of hops that ends loops; random, so that it does not tell how far away the sender is.
fn first_hops<P: Peer>(ctx: &mut MessagingCtx<'_, P>) -> u8 {
    128 + below(ctx.rng, 64) as u8
}

fn answer<P: Peer>(ctx: &mut MessagingCtx<'_, P>, to: P, track: u64, response: Result<Payload, Failure>) {
    let message = match response {
        Ok(payload) => MessagingMessage::Response(Response { track, payload }),
        Err(failure) => MessagingMessage::NoResponse(NoResponse { track, reason: reason_of(&failure) }),
    };
    ctx.out.send(&Contact::bare(to), message);
}

fn reason_of(failure: &Failure) -> u8 {
    match failure {
        Failure::NoRoute => 1,
        Failure::NoReceiver => 2,
        Failure::NextHopDied => 4,
        Failure::Overloaded => 5,
        Failure::Suppressed => 6,
        _ => 3,
    }
}

fn failure_of(reason: u8) -> Failure {
    match reason {
        1 => Failure::NoRoute,
        2 => Failure::NoReceiver,
        4 => Failure::NextHopDied,
        5 => Failure::Overloaded,
        6 => Failure::Suppressed,
        _ => Failure::Refused,
    }
}
