//! A lookup under way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};

use super::CancelGuard;
use crate::protocol::interface::{Failure, Hit};

/// What a lookup gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LookupEvent {
    /// Some hits.
    Hits {
        /// The hits; each proves that its key and payload belong together, not that the payload is honest.
        hits: Vec<Hit>,
        /// Leaders that have answered so far.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
    },
    /// No more hits will come.
    Ended {
        /// Leaders that answered.
        answered: u32,
        /// Leaders that were asked.
        asked: u32,
    },
    /// The lookup failed, and nothing more will come.
    Failed(Failure),
}

/// A lookup under way: a stream of [`LookupEvent`]s. `Ended` or `Failed` is the last.
///
/// At most 64 events wait; hits that come while the program does not take them are dropped and counted. Dropping it gives
/// the lookup up.
#[must_use = "a lookup begins when it is polled"]
pub struct Lookup {
    sent: Option<BoxFuture<'static, Result<(), Failure>>>,
    events: mpsc::Receiver<LookupEvent>,
    guard: CancelGuard,
    ended: bool,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Lookup {
    pub(super) fn new(
        sent: BoxFuture<'static, Result<(), Failure>>,
        events: mpsc::Receiver<LookupEvent>,
        guard: CancelGuard,
    ) -> Self {
        Self { sent: Some(sent), events, guard, ended: false }
    }
}

impl Stream for Lookup {
    type Item = LookupEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LookupEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(sent) = &mut self.sent {
            let sent = ready!(sent.as_mut().poll(cx));
            self.sent = None;
            if let Err(failure) = sent {
                self.ended = true;
                return Poll::Ready(Some(LookupEvent::Failed(failure)));
            }
        }
        let event = ready!(self.events.poll_next_unpin(cx)).unwrap_or(LookupEvent::Failed(Failure::Closed));
        if !matches!(event, LookupEvent::Hits { .. }) {
            self.ended = true;
            self.guard.disarm();
        }
        Poll::Ready(Some(event))
    }
}
