//! Messages and requests: their receivers, and the response to a request of our own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::channel::oneshot;

use super::CancelGuard;
use crate::address::OverlayAddr;
use crate::protocol::interface::{Answer, Failure};
use crate::swarm::dispatch::FairQueue;
use crate::swarm::shared::Shared;

/// A message (UD) that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The port.
    pub port: u16,
    /// The address it was sent to, before it was translated for a copy.
    pub to: OverlayAddr,
    /// Which copy, 0 for the primary.
    pub copy: u8,
    /// The message.
    pub payload: Vec<u8>,
}

/// A request (REQ) that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The port.
    pub port: u16,
    /// The address it was sent to, before it was translated for a copy.
    pub to: OverlayAddr,
    /// Which copy, 0 for the primary.
    pub copy: u8,
    /// The request.
    pub payload: Vec<u8>,
}

/// Answers one request, now or later, from any task. Dropping it refuses the request.
#[derive(Debug)]
pub struct Responder {
    ask: Option<u64>,
    shared: Arc<Shared>,
}

impl Responder {
    pub(crate) fn new(ask: u64, shared: Arc<Shared>) -> Self {
        Self { ask: Some(ask), shared }
    }

    /// Answers with `payload`, at most 64 KiB; `None` refuses. An answer that comes too late is dropped.
    pub fn respond(mut self, payload: Option<Vec<u8>>) {
        self.answer(payload.ok_or(Failure::Refused));
    }

    /// The application's queue is full.
    pub(crate) fn overloaded(mut self) {
        self.answer(Err(Failure::Overloaded));
    }

    fn answer(&mut self, payload: Result<Vec<u8>, Failure>) {
        if let Some(ask) = self.ask.take() {
            self.shared.note(|notes| notes.answers.push((ask, payload)));
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.answer(Err(Failure::Refused));
    }
}

macro_rules! receiver {
    ($(#[$meta:meta])* $name:ident of $item:ty) => {
        $(#[$meta])*
        pub struct $name {
            queue: Arc<FairQueue<$item>>,
            id: u64,
            shared: Arc<Shared>,
        }

        impl $name {
            pub(super) fn new(queue: Arc<FairQueue<$item>>, id: u64, shared: Arc<Shared>) -> Self {
                Self { queue, id, shared }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl Stream for $name {
            type Item = $item;

            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$item>> {
                self.queue.poll(cx)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                let id = self.id;
                self.shared.note(|notes| notes.unregistered.push(id));
            }
        }
    };
}

receiver! {
    /// The messages (UD) to a port. Ends when another receiver takes the port over or the node shuts down.
    Messages of Delivery
}

receiver! {
    /// The requests (REQ) to a port, each with the means to answer it. Ends when another receiver takes the port over or
    /// the node shuts down.
    Requests of (Ask, Responder)
}

/// A request under way: `RES_wait` and `RES_test`. Dropping it gives the request up.
#[derive(Debug)]
pub struct ResponseHandle {
    answer: oneshot::Receiver<Result<Answer, Failure>>,
    guard: CancelGuard,
}

impl ResponseHandle {
    pub(super) fn new(answer: oneshot::Receiver<Result<Answer, Failure>>, guard: CancelGuard) -> Self {
        Self { answer, guard }
    }

    /// Waits for the response, no longer than the request's time-out.
    ///
    /// # Errors
    ///
    /// Why there is no response.
    pub async fn wait(mut self) -> Result<Vec<u8>, Failure> {
        let answer = (&mut self.answer).await;
        self.guard.disarm();
        response(answer.unwrap_or(Err(Failure::Closed)))
    }

    /// The response if it has arrived, or why there will be none; `None` while it is awaited. After it was given once, it is
    /// [`Closed`](Failure::Closed).
    pub fn test(&mut self) -> Option<Result<Vec<u8>, Failure>> {
        let answer = match self.answer.try_recv() {
            Ok(None) => return None,
            Ok(Some(answer)) => answer,
            Err(_) => Err(Failure::Closed),
        };
        self.guard.disarm();
        Some(response(answer))
    }
}

fn response(answer: Result<Answer, Failure>) -> Result<Vec<u8>, Failure> {
    match answer? {
        Answer::Response(payload) => Ok(payload),
        _ => Err(Failure::Closed),
    }
}
