//! Streams whose two ends do not know each other.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures::channel::mpsc;
use futures::{AsyncRead, AsyncWrite, Stream, StreamExt};

use crate::protocol::interface::{PublicationId, Refusal};
use crate::swarm::handler::data::OwnStream;
use crate::swarm::session::{self, Session};
use crate::swarm::shared::lock;

/// Streams that wait to be accepted by the application.
const MAX_INCOMING: usize = 32;

/// A stream between requester and publisher over relays, encrypted end to end.
///
/// Written bytes leave when 16 KiB are together or on flush. `close` resolves once the other side has read everything; it may
/// be read on after that. Reading ends with `Ok(0)` only if the other side closed: a stream that was cut on its way gives
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), a changed byte [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug)]
pub struct AnonymousStream(Box<Session<OwnStream>>);

impl AnonymousStream {
    pub(crate) fn new(session: Session<OwnStream>) -> Self {
        Self(Box::new(session))
    }
}

impl AsyncRead for AnonymousStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for AnonymousStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A stream that a requester wants to open to one of our publications.
///
/// The requester waits until it is accepted or refused, for 10 s; dropping it leaves the requester to that.
pub struct IncomingStream {
    /// The publication that the requester asks for.
    pub publication: PublicationId,
    secret: [u8; 32],
    stream: OwnStream,
}

impl std::fmt::Debug for IncomingStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingStream").finish_non_exhaustive()
    }
}

impl IncomingStream {
    pub(crate) fn new(publication: PublicationId, secret: [u8; 32], stream: OwnStream) -> Self {
        Self { publication, secret, stream }
    }

    /// Accepts the stream. Takes at most 10 s.
    ///
    /// # Errors
    ///
    /// The requester went away, took too long, or does not know the publication's key.
    pub async fn accept(self) -> io::Result<AnonymousStream> {
        let Self { publication, secret, mut stream } = self;
        stream.grant().await?;
        session::respond(stream, publication, &secret).await.map(AnonymousStream::new)
    }

    /// Refuses the stream: the publication is not offered any more.
    pub async fn refuse(self) {
        self.stream.refuse(Refusal::Withdrawn).await;
    }

    /// The stream without what only an accepted one needs.
    pub(crate) fn into_stream(self) -> OwnStream {
        self.stream
    }
}

/// The streams that requesters open to our publications. Ends when somebody else listens or the node shuts down.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<IncomingStream>);

impl Stream for Incoming {
    type Item = IncomingStream;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<IncomingStream>> {
        self.0.poll_next_unpin(cx)
    }
}

/// Where incoming streams go.
#[derive(Debug, Default)]
pub(crate) struct IncomingSlot(Mutex<Option<mpsc::Sender<IncomingStream>>>);

impl IncomingSlot {
    pub(super) fn listen(&self) -> Incoming {
        let (queue, incoming) = mpsc::channel(MAX_INCOMING);
        *lock(&self.0) = Some(queue);
        Incoming(incoming)
    }

    /// Hands a stream to the application, or gives it back with the reason why not.
    pub(crate) fn offer(&self, stream: IncomingStream) -> Result<(), Box<(OwnStream, Refusal)>> {
        let mut queue = lock(&self.0);
        let Some(sender) = &mut *queue else { return Err(Box::new((stream.into_stream(), Refusal::Withdrawn))) };
        sender.try_send(stream).map_err(|error| {
            let reason = if error.is_full() { Refusal::Full } else { Refusal::Withdrawn };
            Box::new((error.into_inner().into_stream(), reason))
        })
    }

    pub(crate) fn close(&self) {
        *lock(&self.0) = None;
    }
}
