//! Requests of our own: attempts until one result comes, within the time-out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::calendar::Calendar;
use super::*;

/// Requests that may be open at once, each copy for itself; further ones fail as overloaded. choice
const MAX_OPEN: usize = 1_024;
/// Of them, kept for NEBLO's own. choice
const RESERVED: usize = 64;
/// Wait before a request that found no way is sent again. choice
const AGAIN: Duration = Duration::from_millis(250);
/// A request ends that much before its deadline at earliest: those of one bucket share a timer. choice
const BUCKET: Duration = Duration::from_millis(10);

/// A request of our own.
#[derive(Clone, Debug)]
struct Open<P> {
    token: u64,
    subject: Subject,
    payload: Payload,
    deadline: Time,
    /// The first hop, when it is not for the ring to say (a joiner asks through a known peer).
    via: Option<Contact<P>>,
    sent: Sent<P>,
    /// What the last attempt came to.
    last_failure: Failure,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent<P> {
    /// None is under way.
    No,
    /// This peer itself owns the address.
    Here,
    /// Its track.
    Track(u64),
    /// Its number in the onion, and the first hop.
    Onion { attempt: u64, to: P },
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

/// The requests that are open.
#[derive(Clone, Debug)]
pub(super) struct OpenTable<P> {
    rows: BTreeMap<u64, Open<P>>,
    calendar: Calendar,
}

impl<P> Default for OpenTable<P> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), calendar: Calendar::early(BUCKET) }
    }
}

impl<P> OpenTable<P> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl<P: Peer> Messaging<P> {
    /// `REQ_send`: one result comes for `asking.token`, within `asking.wait`.
    pub fn request(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        asking: Asking<P>,
    ) -> Result<(), Failure> {
        let payload = check(asking.payload)?;
        let copies = asking.recipients.copies()?;
        let most = if asking.port < FIRST_USER_PORT { MAX_OPEN } else { MAX_OPEN - RESERVED };
        if self.open.len() + copies.len() > most {
            return Err(Failure::Overloaded);
        }
        let deadline = ctx.now + asking.wait.min(LONGEST_WAIT);
        let mut ids = Vec::new();
        for copy in copies {
            let id = self.next_number();
            let open = Open {
                token: asking.token,
                subject: Subject { port: asking.port, to: asking.to, copy },
                payload: payload.clone(),
                deadline,
                via: asking.via.clone(),
                sent: Sent::No,
                last_failure: Failure::TimedOut,
            };
            self.open.rows.insert(id, open);
            if let Some((after, bucket)) = self.open.calendar.add(ctx.now, deadline, id) {
                ctx.out.arm(after, MessagingTimer::Deadline(bucket));
            }
            ids.push(id);
        }
        // Only now: the first copy may fail at once, and must find that there are others.
        for id in ids {
            self.attempt(ctx, around, id);
        }
        Ok(())
    }

    /// Gives up a request of our own; nothing more is said of it, and nothing of it stays behind.
    pub fn cancel(&mut self, token: u64) {
        let ids: Vec<u64> = self.open.rows.iter().filter(|(_, open)| open.token == token).map(|(id, _)| *id).collect();
        for id in ids {
            self.close(id);
        }
    }

    fn close(&mut self, id: u64) -> Option<Open<P>> {
        let open = self.open.rows.remove(&id)?;
        self.open.calendar.remove(open.deadline, id);
        if let Sent::Track(track) = open.sent {
            self.tracks.remove(track);
        }
        Some(open)
    }

    fn attempt(&mut self, ctx: &mut MessagingCtx<'_, P>, around: &Around<'_, P>, id: u64) {
        let Some(open) = self.open.rows.get(&id).filter(|open| open.sent == Sent::No) else { return };
        let Subject { port, to, copy } = open.subject;
        let way = match &open.via {
            Some(via) => Way::Next(via.clone()),
            None => (around.route)(placement(to, copy)),
        };
        let deadline = open.deadline;
        let wait = u32::try_from(deadline.since(ctx.now).as_millis()).unwrap_or(u32::MAX);
        let payload = open.payload.clone();
        let hops = match self.return_way {
            ReturnWay::Tracks => first_hops(ctx),
            ReturnWay::Onions => Onions::first_hops(ctx),
        };
        let request = Request { track: 0, port, to, copy, hops, wait, last: false, payload, onion: None };
        match way {
            Way::Here => {
                self.set_sent(id, Sent::Here);
                self.deliver(ctx, request, Back::Own(id));
            }
            Way::Next(next) => {
                ctx.out.emit(MessagingEvent::Carried(next.peer));
                self.leave_way_back(ctx, around, request, Back::Own(id), &next);
            }
            Way::Nowhere => self.failed(ctx, id, Failure::NoRoute),
        }
    }

    pub(super) fn set_sent(&mut self, id: u64, sent: Sent<P>) {
        if let Some(open) = self.open.rows.get_mut(&id) {
            open.sent = sent;
        }
    }

    /// An answer came out of an onion. A failure counts for the attempt that it belongs to alone; a good answer always does, once:
    /// then the request is not open any more.
    pub(super) fn came_back_by_onion(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        (id, attempt): (u64, u64),
        response: Result<Payload, Failure>,
    ) {
        let Some(open) = self.open.rows.get(&id) else { return };
        let now = matches!(open.sent, Sent::Onion { attempt: known, .. } if known == attempt);
        if now || response.is_ok() {
            self.came_back(ctx, id, response);
        }
    }

    /// The first hop of requests that went out with an onion is gone.
    pub(super) fn first_hop_lost(&mut self, ctx: &mut MessagingCtx<'_, P>, peer: P) {
        let lost = |open: &Open<P>| matches!(open.sent, Sent::Onion { to, .. } if to == peer);
        let ids: Vec<u64> = self.open.rows.iter().filter(|(_, open)| lost(open)).map(|(id, _)| *id).collect();
        for id in ids {
            self.failed(ctx, id, Failure::NextHopDied);
        }
    }

    /// The result of an attempt.
    pub(super) fn came_back(&mut self, ctx: &mut MessagingCtx<'_, P>, id: u64, response: Result<Payload, Failure>) {
        match response {
            Ok(payload) => self.end(ctx, id, Ok(payload.into_inner())),
            Err(failure) => self.failed(ctx, id, failure),
        }
    }

    /// One attempt failed: another follows while there is time, unless an answer would be the same.
    pub(super) fn failed(&mut self, ctx: &mut MessagingCtx<'_, P>, id: u64, failure: Failure) {
        let again = AGAIN + Duration::from_millis(below(ctx.rng, 32) as u64);
        let Some(open) = self.open.rows.get_mut(&id) else { return };
        open.sent = Sent::No;
        open.last_failure = failure.clone();
        // A first hop that the asker chose itself is not there: trying it again would only lose time.
        let lost = open.via.is_some() && failure == Failure::NextHopDied;
        let passing = !lost && matches!(failure, Failure::NoRoute | Failure::NextHopDied | Failure::Overloaded);
        if passing && open.deadline > ctx.now + again {
            return ctx.out.arm(again, MessagingTimer::Again(id));
        }
        self.end(ctx, id, Err(failure));
    }

    /// Ends one copy of a request; the first good answer ends all, a failure only when it is the last.
    fn end(&mut self, ctx: &mut MessagingCtx<'_, P>, id: u64, result: Result<Vec<u8>, Failure>) {
        let Some(open) = self.close(id) else { return };
        if result.is_ok() {
            self.cancel(open.token);
        } else if self.open.rows.values().any(|other| other.token == open.token) {
            return;
        }
        ctx.out.emit(MessagingEvent::Ended { token: open.token, result });
    }

    /// A request that found no way is sent again.
    pub(super) fn again(&mut self, ctx: &mut MessagingCtx<'_, P>, around: &Around<'_, P>, id: u64) {
        self.attempt(ctx, around, id);
    }

    /// Deadlines have passed: what became of the last attempt that was heard of is the result.
    pub(super) fn overdue(&mut self, ctx: &mut MessagingCtx<'_, P>, bucket: u64) {
        for id in self.open.calendar.expire(bucket) {
            let Some(failure) = self.open.rows.get(&id).map(|open| open.last_failure.clone()) else { continue };
            self.end(ctx, id, Err(failure));
        }
    }
}
