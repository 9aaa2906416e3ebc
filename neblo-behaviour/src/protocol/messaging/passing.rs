//! Messages that pass through a port with a forwarder: they wait here for its decision (seed 000 §4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::calendar::Calendar;
use super::*;
use crate::protocol::interface::{Passage, Passing};
use crate::protocol::shares::Shares;

/// What may wait in all, and at one port. When there is more, the neighbour that brought most gives one up for another's; what
/// has no place is dropped and counted (a message), refused as overloaded (a request), or ends as overloaded in place of its
/// response. choice
const MAX_PASSING: usize = 1_024;
const MAX_A_PORT: usize = 64;
/// Bytes of payload that may wait, as for their number. choice
const MAX_BYTES: usize = 16 << 20;
/// The longest wait for a decision about a message, which has no asker that waits. choice
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What was not decided in time ends together, one timer a bucket. choice
const BUCKET: Duration = Duration::from_millis(50);

/// What waits, without its payload, which the forwarder has.
#[derive(Clone, Debug)]
enum What<P> {
    Message(Message),
    Request(Request, Back<P>),
    /// Where it goes back to, and until when it is awaited there.
    Response(Back<P>),
}

#[derive(Clone, Debug)]
struct Paused<P> {
    what: What<P>,
    port: u16,
    from: P,
    bytes: usize,
    since: Time,
    until: Time,
}

/// The forwarders that are set, and what waits for them.
#[derive(Clone, Debug)]
pub(super) struct Desk<P> {
    forwarders: BTreeSet<(u16, Passing)>,
    paused: BTreeMap<u64, Paused<P>>,
    calendar: Calendar,
    shares: Shares<P>,
    bytes: usize,
    /// The shares and the sum of each port where something waits.
    ports: BTreeMap<u16, (Shares<P>, usize)>,
}

impl<P: Peer> Default for Desk<P> {
    fn default() -> Self {
        Self {
            forwarders: BTreeSet::new(),
            paused: BTreeMap::new(),
            calendar: Calendar::new(BUCKET),
            shares: Shares::default(),
            bytes: 0,
            ports: BTreeMap::new(),
        }
    }
}

/// Who is to give a place up.
enum Room<P> {
    Free,
    /// The newest of this neighbour, at this port if one is named.
    Of(P, Option<u16>),
    None,
}

impl<P: Peer> Desk<P> {
    pub(super) fn has(&self, port: u16, kind: Passing) -> bool {
        self.forwarders.contains(&(port, kind))
    }

    pub(super) fn len(&self) -> usize {
        self.paused.len()
    }

    fn room(&self, from: P, port: u16, bytes: usize) -> Room<P> {
        let give = |holder: Option<P>, port| holder.map_or(Room::None, |holder| Room::Of(holder, port));
        match self.ports.get(&port) {
            Some((shares, count)) if *count >= MAX_A_PORT => give(shares.gives_way(from), Some(port)),
            _ if self.paused.len() >= MAX_PASSING || self.bytes + bytes > MAX_BYTES => {
                give(self.shares.gives_way(from), None)
            }
            _ => Room::Free,
        }
    }

    fn newest(&self, of: P, port: Option<u16>) -> Option<u64> {
        let rows = self.paused.iter().rev();
        rows.filter(|(_, paused)| paused.from == of && port.is_none_or(|port| port == paused.port))
            .map(|(pass, _)| *pass)
            .next()
    }

    fn put(&mut self, ctx: &mut MessagingCtx<'_, P>, pass: u64, paused: Paused<P>) {
        self.shares.add(paused.from);
        self.bytes += paused.bytes;
        let (shares, count) = self.ports.entry(paused.port).or_default();
        shares.add(paused.from);
        *count += 1;
        if let Some((after, bucket)) = self.calendar.add(ctx.now, paused.until, pass) {
            ctx.out.arm(after, MessagingTimer::Passing(bucket));
        }
        self.paused.insert(pass, paused);
    }

    fn take(&mut self, pass: u64) -> Option<Paused<P>> {
        let paused = self.paused.remove(&pass)?;
        self.calendar.remove(paused.until, pass);
        self.shares.remove(paused.from);
        self.bytes = self.bytes.saturating_sub(paused.bytes);
        if let Some((shares, count)) = self.ports.get_mut(&paused.port) {
            shares.remove(paused.from);
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.ports.remove(&paused.port);
            }
        }
        Some(paused)
    }
}

/// A decision is waited for until the eighth before the asker's deadline, so that the asker still hears what became of its
/// request.
fn pause_until(now: Time, deadline: Time) -> Time {
    now + deadline.since(now) / 8 * 7
}

impl<P: Peer> Messaging<P> {
    /// A forwarder of a port is set or removed. What waits for one that is removed is still decided by it, or not at all.
    pub fn set_forwarder(&mut self, port: u16, kind: Passing, on: bool) {
        if on {
            self.desk.forwarders.insert((port, kind));
        } else {
            self.desk.forwarders.remove(&(port, kind));
        }
    }

    /// Messages, requests and responses that wait for a forwarder's decision.
    pub fn passing(&self) -> usize {
        self.desk.len()
    }

    /// Shows a message to the forwarder of its port.
    pub(super) fn pause_message(&mut self, ctx: &mut MessagingCtx<'_, P>, from: P, mut message: Message) {
        let payload = std::mem::take(&mut message.payload);
        let subject = Subject { port: message.port, to: message.to, copy: message.copy };
        let until = ctx.now + LONGEST_PAUSE;
        self.pause(ctx, from, (Passing::Message, subject, payload), until, What::Message(message));
    }

    /// Shows a request to the forwarder of its port.
    pub(super) fn pause_request(&mut self, ctx: &mut MessagingCtx<'_, P>, from: P, mut request: Request) {
        let payload = std::mem::take(&mut request.payload);
        let subject = request.subject();
        let back = Back::of_request(from, &mut request);
        let until = pause_until(ctx.now, ctx.now + wait_of(&request));
        self.pause(ctx, from, (Passing::Request, subject, payload), until, What::Request(request, back));
    }

    /// Shows a response to the forwarder of its port.
    pub(super) fn pause_response(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        from: P,
        (subject, payload): (Subject, Payload),
        (back, until): (Back<P>, Time),
    ) {
        let until = pause_until(ctx.now, until);
        self.pause(ctx, from, (Passing::Response, subject, payload), until, What::Response(back));
    }

    fn pause(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        from: P,
        (kind, Subject { port, to, copy }, payload): (Passing, Subject, Payload),
        until: Time,
        what: What<P>,
    ) {
        let bytes = payload.len();
        loop {
            let gone = match self.desk.room(from, port, bytes) {
                Room::Free => break,
                Room::None => None,
                Room::Of(holder, port) => self.desk.newest(holder, port).and_then(|newest| self.desk.take(newest)),
            };
            let Some(gone) = gone else { return self.no_passage(ctx, what, Failure::Overloaded) };
            self.no_passage(ctx, gone.what, Failure::Overloaded);
        }
        let pass = self.next_number();
        let paused = Paused { what, port, from, bytes, since: ctx.now, until };
        self.desk.put(ctx, pass, paused);
        let payload = payload.into_inner();
        ctx.out.emit(MessagingEvent::Passing { pass, kind, port, to, copy, payload, from });
    }

    /// What a forwarder decided, or why there is no decision. One that comes too late is dropped.
    pub fn pass(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        pass: u64,
        passage: Result<Passage, Failure>,
    ) {
        let Some(paused) = self.desk.take(pass) else { return };
        let passage = match passage {
            Ok(Passage::Forward(bytes)) => Payload::new(bytes).map(|payload| (true, payload)),
            Ok(Passage::Answer(bytes)) => Payload::new(bytes).map(|payload| (false, payload)),
            Ok(Passage::Suppress) => return self.no_passage(ctx, paused.what, Failure::Suppressed),
            Err(failure) => return self.no_passage(ctx, paused.what, failure),
        };
        // What the forwarder made of it is longer than 64 KiB.
        let Some((forward, payload)) = passage else { return self.no_passage(ctx, paused.what, Failure::Refused) };
        match paused.what {
            What::Message(mut message) if forward => {
                message.payload = payload;
                self.carry_message(ctx, around, paused.from, message);
            }
            What::Message(_) => {}
            What::Request(mut request, back) if forward => {
                request.payload = payload;
                let paused_for = u32::try_from(ctx.now.since(paused.since).as_millis()).unwrap_or(u32::MAX);
                request.wait = request.wait.saturating_sub(paused_for);
                self.carry_request(ctx, around, request, back);
            }
            What::Request(_, back) | What::Response(back) => self.give_back(ctx, back, Ok(payload)),
        }
    }

    /// It does not go on.
    fn no_passage(&mut self, ctx: &mut MessagingCtx<'_, P>, what: What<P>, failure: Failure) {
        match what {
            What::Message(_) if failure == Failure::Suppressed => {}
            What::Message(_) => ctx.out.emit(MessagingEvent::Dropped("messages dropped at a busy forwarder")),
            What::Request(_, back) | What::Response(back) => self.give_back(ctx, back, Err(failure)),
        }
    }

    /// Decisions that did not come in time.
    pub(super) fn undecided(&mut self, ctx: &mut MessagingCtx<'_, P>, bucket: u64) {
        for pass in self.desk.calendar.expire(bucket) {
            if let Some(paused) = self.desk.take(pass) {
                self.no_passage(ctx, paused.what, Failure::Overloaded);
            }
        }
    }
}
