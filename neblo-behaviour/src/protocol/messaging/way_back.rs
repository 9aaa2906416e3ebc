//! The way back of an answer: over tracks, or by the onion that its request carried.

use super::*;

/// How a neighbour knows the request that an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Track(u64),
    Onion(Onion),
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Back<P> {
    /// To a request of our own.
    Own(u64),
    /// To the neighbour that brought the request.
    Neighbour { peer: P, by: By },
}

impl<P: Copy> Back<P> {
    pub(super) fn of_request(from: P, request: &mut Request) -> Self {
        let by = match request.onion.take() {
            Some(onion) => By::Onion(onion),
            None => By::Track(request.track),
        };
        Self::Neighbour { peer: from, by }
    }

    pub(super) fn peer(&self) -> Option<P> {
        match self {
            Self::Own(_) => None,
            Self::Neighbour { peer, .. } => Some(*peer),
        }
    }
}

impl<P: Peer> Messaging<P> {
    /// Sends a request on, to come back to `back`: over a track, or by the onion in it if it has one.
    pub(super) fn leave_way_back(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        mut request: Request,
        back: Back<P>,
        next: &Contact<P>,
    ) {
        let (until, subject) = (ctx.now + wait_of(&request), request.subject());
        let track = |from, theirs| Track { from, theirs, to: next.peer, until, subject };
        let layer = |from, id, attempt| Layer { from, until, id, attempt, subject };
        let left = match &back {
            Back::Own(id) if self.return_way == ReturnWay::Onions => {
                let attempt = self.next_number();
                let empty = Onions::empty(ctx);
                request.onion = self.onions.seal(ctx, around.keys, &layer(None, *id, attempt), &empty);
                self.set_sent(*id, Sent::Onion { attempt, to: next.peer });
                request.onion.is_some()
            }
            Back::Neighbour { peer, by: By::Onion(onion) } => {
                request.onion = self.onions.seal(ctx, around.keys, &layer(Some(*peer), 0, 0), onion);
                if request.onion.is_some() {
                    self.onions.remember(ctx.now, next.peer, *peer, onion.clone());
                }
                request.onion.is_some()
            }
            Back::Own(id) => self.tracks.leave(ctx, track(None, *id)).is_some_and(|name| {
                request.track = name;
                self.set_sent(*id, Sent::Track(name));
                true
            }),
            Back::Neighbour { peer, by: By::Track(theirs) } => {
                self.tracks.leave(ctx, track(Some(*peer), *theirs)).is_some_and(|name| {
                    request.track = name;
                    true
                })
            }
        };
        if !left {
            return self.give_back(ctx, back, Err(Failure::Overloaded));
        }
        ctx.out.send(next, MessagingMessage::Request(request));
    }

    /// An answer, or its absence, goes where the request came from.
    pub(super) fn give_back(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        back: Back<P>,
        response: Result<Payload, Failure>,
    ) {
        match back {
            Back::Own(id) => self.came_back(ctx, id, response),
            Back::Neighbour { peer, by } => {
                let (track, onion) = match by {
                    By::Track(track) => (track, None),
                    By::Onion(onion) => (0, Some(onion)),
                };
                let message = match response {
                    Ok(payload) => MessagingMessage::Response(Response { track, payload, onion }),
                    Err(failure) => {
                        MessagingMessage::NoResponse(NoResponse { track, reason: reason_of(&failure), onion })
                    }
                };
                ctx.out.send(&Contact::bare(peer), message);
            }
        }
    }

    /// A response, or its absence, goes back over the track that the request left or as its onion says, past the forwarder of
    /// its port.
    pub(super) fn passed_back(
        &mut self,
        ctx: &mut MessagingCtx<'_, P>,
        around: &Around<'_, P>,
        from: P,
        (track, onion): (u64, Option<Onion>),
        response: Result<Payload, Failure>,
    ) {
        let (back, subject, until) = match onion {
            None => {
                let Some(track) = self.tracks.take(from, track) else { return };
                (track.back(), track.subject, track.until)
            }
            Some(onion) => {
                let bytes = response.as_ref().map_or(0, |payload| payload.len());
                if !self.rates.take(ctx.now, from, cost(bytes + ONION)) {
                    return ctx.out.emit(MessagingEvent::Dropped(OVER_RATE));
                }
                match self.onions.open(ctx, around.keys, &onion) {
                    None => return ctx.out.emit(MessagingEvent::Dropped("onions that do not open")),
                    Some((Layer { from: Some(peer), until, subject, .. }, onion)) => {
                        (Back::Neighbour { peer, by: By::Onion(onion) }, subject, until)
                    }
                    Some((Layer { id, attempt, .. }, _)) => {
                        return self.came_back_by_onion(ctx, (id, attempt), response);
                    }
                }
            }
        };
        match response {
            Ok(payload) if back.peer().is_some() && self.desk.has(subject.port, Passing::Response) => {
                self.pause_response(ctx, from, (subject, payload), (back, until));
            }
            response => self.give_back(ctx, back, response),
        }
    }

    /// A neighbour is dead or cannot be reached: what waits for it fails.
    pub fn lost(&mut self, ctx: &mut MessagingCtx<'_, P>, peer: P) {
        for track in self.tracks.take_all(peer) {
            self.give_back(ctx, track.back(), Err(Failure::NextHopDied));
        }
        for (from, onion) in self.onions.lost(ctx.now, peer) {
            let back = Back::Neighbour { peer: from, by: By::Onion(onion) };
            self.give_back(ctx, back, Err(Failure::NextHopDied));
        }
        self.first_hop_lost(ctx, peer);
    }
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

pub(super) fn failure_of(reason: u8) -> Failure {
    match reason {
        1 => Failure::NoRoute,
        2 => Failure::NoReceiver,
        4 => Failure::NextHopDied,
        5 => Failure::Overloaded,
        6 => Failure::Suppressed,
        _ => Failure::Refused,
    }
}
