//! Messages to overlay addresses: unidirectional and request/response, with a way back that names nobody, and forwarders
//! that see what passes through (seed 000 §3, §4.1, §4.2, §6.1; design D5, D7, D8).
//!
//! Everything that a neighbour can fill has a cap, and a share for each neighbour, so that a flood from one starves no other:
//!
//! | what | at most | when it is full |
//! |---|---|---|
//! | requests of our own, each copy | 1,024, of them 64 for NEBLO itself | fails as overloaded |
//! | tracks | 65,536, a neighbour 4,096 | the request is refused as overloaded |
//! | answers owed | 1,024 | who brought most gives one up, as overloaded |
//! | what waits for a forwarder | 1,024, a port 64, 16 MiB | who brought most gives one up |
//! | ways back kept for a moment (onions) | 128 | the oldest goes |
//! | what is carried on for a neighbour | `Config::carry_rate` | a message is dropped, a request refused as overloaded |
//! | requests to NEBLO itself from a neighbour | 256 a second | refused as overloaded |
//!
//! A neighbour's neighbour cannot be told from it: that is what hides who asks. So a flood that comes from farther away
//! shares the fate of what comes with it through the same neighbour, beyond the first peer that could have stopped it.

mod calendar;
mod copies;
mod message;
mod onion;
mod owed;
mod own;
mod passing;
#[cfg(all(test, feature = "sim"))]
mod tests;
mod tracks;
mod way_back;

use std::time::Duration;

pub use copies::{MAX_COPIES, originals, placement};
pub use message::*;
use onion::{Layer, Onions};
pub use onion::{ONION, Onion};
use owed::{Full, OwedTable};
pub use own::Asking;
use own::{OpenTable, Sent};
use passing::Desk;
use tracks::{Track, Tracks};
use way_back::{Back, By, failure_of};

use super::config::ReturnWay;
use super::interface::{FIRST_USER_PORT, Failure, Passing, Recipients};
use super::io::{Contact, Ctx, Part, Peer, Time, below};
use super::rate::Rates;
use super::seal::Keys;
use crate::address::OverlayAddr;

/// The longest wait for a response. choice
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// What a message costs besides its payload, in bytes: work, not only bytes, is shared. choice
const BASE: u64 = 512;

/// What carrying a payload on costs a neighbour of its rate.
fn cost(payload: usize) -> u64 {
    BASE.saturating_add(payload as u64)
}

/// Requests to NEBLO itself that one neighbour may bring a second, and at once: their answers take signing and sealing. choice
const OWN_RATE: u64 = 256;

/// Counts what a neighbour wanted carried on beyond its rate.
const OVER_RATE: &str = "messages over a neighbour's rate";

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

/// What messaging asks of those around it.
pub struct Around<'a, P> {
    /// Asks the ring for the way to an address.
    pub route: &'a dyn Fn(OverlayAddr) -> Way<P>,
    /// The node's keys.
    pub keys: &'a dyn Keys<P>,
}

impl<P> std::fmt::Debug for Around<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").finish_non_exhaustive()
    }
}

/// What messaging waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessagingTimer {
    /// Tracks of this bucket expire.
    Tracks(u64),
    /// Answers of this bucket are not awaited any more.
    Owed(u64),
    /// Forwarders' decisions of this bucket have not come.
    Passing(u64),
    /// Open requests of this bucket end.
    Deadline(u64),
    /// An open request is sent again.
    Again(u64),
}

/// What messaging reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessagingEvent<P> {
    /// A message arrived.
    Delivered {
        /// The message.
        message: Message,
        /// The neighbour that brought it; not the sender.
        from: Option<P>,
    },
    /// A request arrived; answered by [`Messaging::respond`] under the name `ask`.
    Asked {
        /// Names it.
        ask: u64,
        /// The request.
        request: Request,
        /// The neighbour that brought it; not the asker.
        from: Option<P>,
    },
    /// Something passes through a port with a forwarder; decided by [`Messaging::pass`] under the name `pass`.
    Passing {
        /// Names it.
        pass: u64,
        /// Its kind.
        kind: Passing,
        /// The port.
        port: u16,
        /// The address, for a response that of its request.
        to: OverlayAddr,
        /// Which copy.
        copy: u8,
        /// Its payload.
        payload: Vec<u8>,
        /// The neighbour that brought it.
        from: P,
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
    /// Something was dropped, to be counted under this name.
    Dropped(&'static str),
}

/// What a request is about, and with it its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subject {
    port: u16,
    to: OverlayAddr,
    copy: u8,
}

impl Request {
    fn subject(&self) -> Subject {
        Subject { port: self.port, to: self.to, copy: self.copy }
    }
}

/// Messaging of one peer.
#[derive(Clone, Debug)]
pub struct Messaging<P> {
    tracks: Tracks<P>,
    open: OpenTable<P>,
    owed: OwedTable<P>,
    desk: Desk<P>,
    onions: Onions<P>,
    rates: Rates<P>,
    /// For requests to NEBLO itself.
    own_rates: Rates<P>,
    return_way: ReturnWay,
    next: u64,
}

impl<P: Peer> Part<P> for Messaging<P> {
    type Message = MessagingMessage;
    type Timer = MessagingTimer;
    type Event = MessagingEvent<P>;
}

type MessagingCtx<'a, P> = Ctx<'a, P, Messaging<P>>;

impl<P: Peer> Messaging<P> {
    /// Messaging of a peer whose own requests come back so, and that carries so many bytes a second for one neighbour.
    pub fn new(return_way: ReturnWay, carry_rate: u64) -> Self {
        Self {
            tracks: Tracks::default(),
            open: OpenTable::default(),
            owed: OwedTable::default(),
            desk: Desk::default(),
            onions: Onions::default(),
            rates: Rates::new(carry_rate, carry_rate),
            own_rates: Rates::new(OWN_RATE, OWN_RATE),
            return_way,
            next: 0,
        }
    }

    /// Tracks kept for others and for requests of our own.
    pub fn tracks(&self) -> usize {
        self.tracks.len()
    }

    /// Requests of our own that are open, each copy for itself.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Requests delivered here whose answer is owed.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// `UD_send`: sends `copies` copies towards the owner and secondary owners.
    pub fn send(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        (recipients, port, to): (Recipients, u16, OverlayAddr),
        payload: Vec<u8>,
    ) -> Result<(), Failure> {
        let payload = check(payload)?;
        let mut sent = Err(Failure::NoRoute);
        for copy in recipients.copies()? {
            let hops = first_hops(ctx);
            let message = Message { port, to, copy, hops, payload: payload.clone() };
            match (around.route)(placement(to, copy)) {
                Way::Here => ctx.out.emit(MessagingEvent::Delivered { message, from: None }),
                Way::Next(next) => {
                    ctx.out.emit(MessagingEvent::Carried(next.peer));
                    ctx.out.send(&next, MessagingMessage::Message(message));
                }
                Way::Nowhere => continue,
            }
            sent = Ok(());
        }
        sent
    }

    /// Handles a message from a neighbour.
    pub fn received(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        from: P,
        message: MessagingMessage,
    ) {
        match message {
            MessagingMessage::Message(message) if message.copy < MAX_COPIES => {
                let here = matches!((around.route)(placement(message.to, message.copy)), Way::Here);
                if here {
                    ctx.out.emit(MessagingEvent::Delivered { message, from: Some(from) });
                } else if !self.rates.take(ctx.now, from, cost(message.payload.len())) {
                    ctx.out.emit(MessagingEvent::Dropped(OVER_RATE));
                } else if self.desk.has(message.port, Passing::Message) {
                    self.pause_message(ctx, from, message);
                } else {
                    self.carry_message(ctx, around, from, message);
                }
            }
            MessagingMessage::Message(_) => {}
            MessagingMessage::Request(request) => self.request_arrived(ctx, around, from, request),
            MessagingMessage::Response(response) => {
                let by = (response.track, response.onion);
                self.passed_back(ctx, around, from, by, Ok(response.payload));
            }
            MessagingMessage::NoResponse(no) => {
                self.passed_back(ctx, around, from, (no.track, no.onion), Err(failure_of(no.reason)));
            }
        }
    }

    /// Takes a message on: to the next hop, or to the receiver if this peer has become the owner meanwhile.
    fn carry_message(&mut self, ctx: &mut MessagingCtx<'_, P>, around: &Around<'_, P>, from: P, mut message: Message) {
        match (around.route)(placement(message.to, message.copy)) {
            Way::Here => ctx.out.emit(MessagingEvent::Delivered { message, from: Some(from) }),
            Way::Next(next) if message.hops > 0 => {
                message.hops -= 1;
                ctx.out.emit(MessagingEvent::Carried(next.peer));
                ctx.out.send(&next, MessagingMessage::Message(message));
            }
            Way::Next(_) | Way::Nowhere => ctx.out.emit(MessagingEvent::Dropped("messages without a way")),
        }
    }

    fn request_arrived(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        from: P,
        mut request: Request,
    ) {
        if request.copy >= MAX_COPIES {
            let back = Back::of_request(from, &mut request);
            return self.give_back(ctx, back, Err(Failure::Refused));
        }
        let here = matches!(way_of(around, &request), Way::Here);
        let bytes = request.payload.len() + request.onion.as_ref().map_or(0, |_| ONION);
        let fits = match here {
            false => self.rates.take(ctx.now, from, cost(bytes)),
            true => request.port >= FIRST_USER_PORT || self.own_rates.take(ctx.now, from, 1),
        };
        if !fits {
            ctx.out.emit(MessagingEvent::Dropped(OVER_RATE));
            let back = Back::of_request(from, &mut request);
            return self.give_back(ctx, back, Err(Failure::Overloaded));
        }
        if !here && self.desk.has(request.port, Passing::Request) {
            return self.pause_request(ctx, from, request);
        }
        let back = Back::of_request(from, &mut request);
        self.carry_request(ctx, around, request, back);
    }

    /// Takes a request on: to the next hop, or to the receiver if this peer is the owner.
    fn carry_request(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        mut request: Request,
        back: Back<P>,
    ) {
        match way_of(around, &request) {
            Way::Here => self.deliver(ctx, request, back),
            Way::Next(next) if request.hops > 0 => {
                request.hops -= 1;
                ctx.out.emit(MessagingEvent::Carried(next.peer));
                self.leave_way_back(ctx, around, request, back, &next);
            }
            Way::Next(_) | Way::Nowhere => self.give_back(ctx, back, Err(Failure::NoRoute)),
        }
    }

    /// Delivers a request here; the answer is owed to `back`.
    fn deliver(&mut self, ctx: &mut MessagingCtx<'_, P>, request: Request, back: Back<P>) {
        let ask = self.next_number();
        let from = back.peer();
        let until = ctx.now + wait_of(&request);
        match self.owed.add(ctx, ask, back, until) {
            Err(Full(back)) => self.give_back(ctx, back, Err(Failure::Overloaded)),
            Ok(gone) => {
                if let Some(gone) = gone {
                    self.give_back(ctx, gone, Err(Failure::Overloaded));
                }
                ctx.out.emit(MessagingEvent::Asked { ask, request, from });
            }
        }
    }

    /// Answers a request that was delivered here.
    pub fn respond(&mut self, ctx: &mut MessagingCtx<'_, P>, ask: u64, response: Result<Vec<u8>, Failure>) {
        let Some(back) = self.owed.take(ask) else { return };
        let response = response.and_then(|bytes| Payload::new(bytes).ok_or(Failure::Refused));
        self.give_back(ctx, back, response);
    }

    /// Hands a request that was delivered here to a neighbour, which is to answer in our place (design D6).
    pub fn hand_on(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        ask: u64,
        mut request: Request,
        to: &Contact<P>,
    ) {
        let Some(back) = self.owed.take(ask) else { return };
        request.last = true;
        self.leave_way_back(ctx, around, request, back, to);
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut MessagingCtx<'_, P>, around: &Around<'_, P>, timer: MessagingTimer) {
        match timer {
            MessagingTimer::Tracks(bucket) => self.tracks.expire(bucket),
            MessagingTimer::Owed(bucket) => self.owed.expire(bucket),
            MessagingTimer::Passing(bucket) => self.undecided(ctx, bucket),
            MessagingTimer::Deadline(bucket) => self.overdue(ctx, bucket),
            MessagingTimer::Again(id) => self.again(ctx, around, id),
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

/// Where a request goes next. Only NEBLO's own are handed to a peer that is to answer whether it owns the address or not: a
/// request of the application is not delivered because a neighbour says so.
fn way_of<P>(around: &Around<'_, P>, request: &Request) -> Way<P> {
    if request.last && request.port < FIRST_USER_PORT {
        return Way::Here;
    }
    (around.route)(placement(request.to, request.copy))
}

/// How long the asker of a request still waits.
fn wait_of(request: &Request) -> Duration {
    Duration::from_millis(u64::from(request.wait)).min(LONGEST_WAIT)
}
