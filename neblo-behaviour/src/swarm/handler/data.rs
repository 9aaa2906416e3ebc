//! The data plane of one connection: asking for streams, being asked, and carrying them.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::tied::Tied;
use crate::protocol::interface::{Failure, Refusal, StreamHeader, Token};
use crate::swarm::shared::{Shared, add, count};
use crate::swarm::splice::Splice;
use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures_timer::Delay;

/// How long a peer may take to send its header, or to answer ours.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long telling a peer that it is refused may take.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(5);

const GRANTED: u8 = 0;

/// Reports the end of a stream to the behaviour when it is dropped.
#[derive(Debug)]
pub(crate) struct EndGuard {
    stream: u64,
    carried: AtomicU64,
    shared: Arc<Shared>,
}

impl EndGuard {
    pub(crate) fn new(stream: u64, shared: Arc<Shared>) -> Self {
        Self { stream, carried: AtomicU64::new(0), shared }
    }

    /// The stream's name.
    pub(crate) fn stream(&self) -> u64 {
        self.stream
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let ended = (self.stream, self.carried.load(Ordering::Relaxed));
        self.shared.note(|notes| notes.ended.push(ended));
    }
}

/// A `Connect` command that waits for its stream. Whatever becomes of that, unless it is granted or nobody waits any more, the
/// behaviour is told, whose node may try another.
pub(crate) struct Waiting {
    token: Token,
    reply: Option<Reply>,
    shared: Arc<Shared>,
}

/// Where the stream of a `Connect` command goes.
pub(crate) type Reply = oneshot::Sender<Result<OwnStream, Failure>>;

impl Waiting {
    pub(crate) fn new(token: Token, reply: Reply, shared: Arc<Shared>) -> Self {
        Self { token, reply: Some(reply), shared }
    }

    async fn given_up(&mut self) {
        if let Some(reply) = &mut self.reply {
            reply.cancellation().await;
        }
    }

    fn granted(mut self, stream: OwnStream) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Ok(stream));
        }
    }

    pub(crate) fn refused(mut self, reason: Refusal) {
        self.tell(reason);
    }

    fn tell(&mut self, reason: Refusal) {
        if let Some(reply) = self.reply.take().filter(|reply| !reply.is_canceled()) {
            let refused = (self.token, reply, reason);
            self.shared.note(|notes| notes.refused.push(refused));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.tell(Refusal::Unreachable);
    }
}

/// A stream that begins or ends at this node.
#[derive(Debug)]
pub(crate) struct OwnStream {
    io: Tied,
    guard: EndGuard,
    /// Whether a peer asked for it and was not told yet that it has it.
    owes_grant: bool,
}

impl OwnStream {
    /// A stream that a neighbour asked for.
    pub(crate) fn asked_for(io: Tied, guard: EndGuard) -> Self {
        Self { io, guard, owes_grant: true }
    }

    /// The substream alone; the end of the stream is reported.
    pub(crate) fn into_inner(self) -> Tied {
        self.io
    }

    /// Tells the peer that asked for the stream that it has it, if one did.
    pub(crate) async fn grant(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.owes_grant) {
            return Ok(());
        }
        self.io.write_all(&[GRANTED]).await?;
        self.io.flush().await
    }

    /// Tells the peer that asked for the stream that it will not get it.
    pub(crate) async fn refuse(self, reason: Refusal) {
        refuse(self.io, reason).await;
    }
}

impl AsyncRead for OwnStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Ok(len)) = read {
            add(&self.guard.carried, len as u64);
        }
        read
    }
}

impl AsyncWrite for OwnStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(len)) = written {
            add(&self.guard.carried, len as u64);
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// A stream to be opened over a connection.
#[derive(Debug)]
pub struct DataJob {
    pub(crate) header: StreamHeader,
    pub(crate) purpose: Purpose,
    pub(crate) guard: EndGuard,
}

/// What a stream is opened for.
pub(crate) enum Purpose {
    /// Somebody asked us for it: splice it to theirs.
    Relay(Tied),
    /// We want it ourselves.
    Own(Waiting),
    /// We deliver a publication over it.
    Deliver(Box<dyn FnOnce(OwnStream) + Send>),
}

impl std::fmt::Debug for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Relay(_) => "Relay",
            Self::Own(_) => "Own",
            Self::Deliver(_) => "Deliver",
        })
    }
}

impl DataJob {
    /// Tells whoever wanted the stream that there will be none.
    pub(crate) async fn fail(self, reason: Refusal) {
        match self.purpose {
            Purpose::Relay(up) => refuse(up, reason).await,
            Purpose::Own(waiting) => waiting.refused(reason),
            Purpose::Deliver(_) => {}
        }
    }

    /// Asks for the stream over the opened substream, and carries it until it ends.
    pub(crate) async fn run(self, mut down: Tied, shared: Arc<Shared>) {
        let Self { header, mut purpose, guard } = self;
        let asked = async {
            match within(ANSWER_TIMEOUT, ask(&mut down, &header)).await {
                Some(Ok(GRANTED)) => Ok(()),
                Some(Ok(code)) => Err(Refusal::from_code(code)),
                Some(Err(_)) | None => Err(Refusal::Unreachable),
            }
        };
        let answer = match &mut purpose {
            Purpose::Relay(_) | Purpose::Deliver(_) => asked.await,
            Purpose::Own(waiting) => match select(pin!(asked), pin!(waiting.given_up())).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => return,
            },
        };
        match (answer, purpose) {
            (Ok(()), Purpose::Relay(mut up)) => {
                if up.write_all(&[GRANTED]).await.is_ok() && up.flush().await.is_ok() {
                    let mut splice = Splice::new(up, down, shared);
                    poll_fn(|cx| splice.poll(cx, &guard.carried)).await;
                }
            }
            (Ok(()), Purpose::Own(waiting)) => waiting.granted(OwnStream { io: down, guard, owes_grant: false }),
            (Ok(()), Purpose::Deliver(take)) => take(OwnStream { io: down, guard, owes_grant: false }),
            (Err(reason), purpose) => {
                count(&shared.counters.streams_refused);
                Self { header, purpose, guard }.fail(reason).await;
            }
        }
    }
}

pub(crate) async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), Delay::new(time)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Writes the header, reads the status.
async fn ask(stream: &mut Tied, header: &StreamHeader) -> io::Result<u8> {
    let header = header.to_bytes();
    let mut prefix = unsigned_varint::encode::usize_buffer();
    let mut message = unsigned_varint::encode::usize(header.len(), &mut prefix).to_vec();
    message.extend_from_slice(&header);
    stream.write_all(&message).await?;
    stream.flush().await?;
    let mut status = [0; 1];
    stream.read_exact(&mut status).await?;
    Ok(status[0])
}

/// Why a stream that a peer asked for came to nothing before anybody could decide on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// The substream ended before its header was there, or that took too long.
    Cut,
    /// What came is no header: the peer breaks the protocol.
    Malformed,
}

/// Reads the header of a stream that a peer asks for.
pub(crate) async fn read_header(mut stream: Tied) -> Result<(StreamHeader, Tied), NoHeader> {
    let header = within(ANSWER_TIMEOUT, header(&mut stream)).await.unwrap_or(Err(NoHeader::Cut))?;
    Ok((header, stream))
}

async fn header(stream: &mut (impl AsyncRead + Unpin)) -> Result<StreamHeader, NoHeader> {
    let cut = |_| NoHeader::Cut;
    let malformed = NoHeader::Malformed;
    let mut prefix = [0; 2];
    stream.read_exact(&mut prefix[..1]).await.map_err(cut)?;
    if prefix[0] & 0x80 != 0 {
        stream.read_exact(&mut prefix[1..]).await.map_err(cut)?;
    }
    let (len, _) = unsigned_varint::decode::usize(&prefix).map_err(|_| malformed)?;
    let mut header = [0; StreamHeader::MAX_LEN];
    let header = header.get_mut(..len).ok_or(malformed)?;
    stream.read_exact(header).await.map_err(cut)?;
    StreamHeader::from_bytes(header).map_err(|_| malformed)
}

/// Tells the peer that asked for a stream that it will not get it.
pub(crate) async fn refuse(mut stream: Tied, reason: Refusal) {
    let told = async {
        stream.write_all(&[reason.code()]).await?;
        stream.close().await
    };
    let _ = within(REFUSE_TIMEOUT, told).await;
}
