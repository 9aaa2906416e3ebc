//! The requester's side of one stream.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{
    future::{Either, select},
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};

use super::{
    FetchOptions,
    wire::{self, Request, Response, Status, Window, WireError},
};
use crate::content::{GROUP, MAX_WINDOW, PartError, Sink, SliceError, max_slice_len};

/// A window that came so fast is followed by a larger one.
const FAST: Duration = Duration::from_millis(500);
/// One that took so long by a smaller one.
const SLOW: Duration = Duration::from_secs(4);
/// How long the answer to `Done` is waited for.
const GOODBYE: Duration = Duration::from_secs(5);

/// How a stream ended before everything was there.
#[derive(Debug, thiserror::Error)]
pub enum StreamEnd {
    /// It broke, or the publisher broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Nothing came for too long.
    #[error("nothing came from the publisher for {} s", .0.as_secs())]
    Idle(Duration),
    /// The publisher refuses.
    #[error(transparent)]
    Refused(#[from] Status),
    /// The publisher sent data that does not match the root. None of it was kept.
    #[error("the publisher sent wrong data: {0}")]
    BadData(SliceError),
    /// The data cannot be kept here. No other publisher can help.
    #[error(transparent)]
    Local(PartError),
}

impl StreamEnd {
    /// Whether this publisher should not be asked again for this content, while a broken or slow stream says nothing
    /// about who is at its other end.
    pub fn is_publishers_fault(&self) -> bool {
        match self {
            Self::BadData(_) => true,
            Self::Refused(status) => *status != Status::Unavailable,
            Self::Wire(error) => !matches!(error, WireError::Io(_)),
            Self::Idle(_) | Self::Local(_) => false,
        }
    }
}

impl From<io::Error> for StreamEnd {
    fn from(error: io::Error) -> Self {
        Self::Wire(error.into())
    }
}

impl From<PartError> for StreamEnd {
    fn from(error: PartError) -> Self {
        match error {
            PartError::Slice(error) => Self::BadData(error),
            error => Self::Local(error),
        }
    }
}

/// One stream to a publisher. After an error it is of no use.
#[derive(Debug)]
pub(super) struct Session<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    pub(super) fn new(stream: S) -> Self {
        let (reader, writer) = stream.split();
        Self { reader, writer }
    }

    /// Fetches all that `sink` misses. `arrived` is called after each window that was verified and written.
    pub(super) async fn run(
        &mut self,
        sink: &Arc<dyn Sink>,
        missing: Vec<Range<u64>>,
        options: &FetchOptions,
        arrived: &mut (dyn FnMut() + Send),
    ) -> Result<(), StreamEnd> {
        let slots = Semaphore::new(options.windows.max(1));
        let size = AtomicU64::new(options.first_window());
        let (pending, asked) = mpsc::channel(options.windows.max(1));
        let asking = ask(&mut self.writer, &**sink, missing, options, &slots, &size, pending);
        let mut receiver = Receiver {
            reader: &mut self.reader,
            sink,
            options,
            slots: &slots,
            size: &size,
            arrived,
            writing: None,
            spare: Vec::new(),
        };
        let receiving = receiver.run(asked);
        futures::pin_mut!(asking, receiving);
        match select(asking, receiving).await {
            // Where asking failed, what was asked before may still come, or the reason why no more will.
            Either::Left((asked, receiving)) => {
                receiving.await?;
                asked
            }
            Either::Right((received, _)) => received,
        }
    }

    /// Ends the stream in order, so that the publisher knows that nothing is missing.
    pub(super) async fn goodbye(mut self) {
        let end = async {
            wire::write(&mut self.writer, &Request::Done).await?;
            self.writer.flush().await?;
            let _ = wire::read::<_, Response>(&mut self.reader).await?;
            self.writer.close().await?;
            Ok::<_, WireError>(())
        };
        if !matches!(timeout(GOODBYE, end).await, Ok(Ok(()))) {
            tracing::debug!("the publisher did not answer the end of the stream");
        }
    }
}

async fn ask<W: AsyncWrite + Unpin>(
    writer: &mut W,
    sink: &dyn Sink,
    missing: Vec<Range<u64>>,
    options: &FetchOptions,
    slots: &Semaphore,
    size: &AtomicU64,
    pending: mpsc::Sender<Range<u64>>,
) -> Result<(), StreamEnd> {
    let (root, len) = (sink.root(), sink.len());
    for range in missing {
        let mut at = range.start;
        while at < range.end {
            let Ok(slot) = slots.acquire().await else {
                return Ok(());
            };
            slot.forget();
            let end = at.saturating_add(size.load(Ordering::Relaxed)).min(range.end);
            options.download.acquire(end.saturating_sub(at)).await;
            // First announced, then written: the receiver's time-out also covers a request that cannot be written.
            if pending.send(at..end).await.is_err() {
                return Ok(());
            }
            let window = Window { root, len, start: at, end };
            wire::write(writer, &Request::Window(window)).await?;
            writer.flush().await?;
            at = end;
        }
    }
    Ok(())
}

struct Receiver<'a, R> {
    reader: &'a mut R,
    sink: &'a Arc<dyn Sink>,
    options: &'a FetchOptions,
    slots: &'a Semaphore,
    size: &'a AtomicU64,
    arrived: &'a mut (dyn FnMut() + Send),
    /// A window that is being verified and written while the next one comes.
    writing: Option<JoinHandle<Result<Vec<u8>, PartError>>>,
    /// Its buffer, to be used again.
    spare: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Receiver<'_, R> {
    async fn run(&mut self, mut asked: mpsc::Receiver<Range<u64>>) -> Result<(), StreamEnd> {
        let received = self.windows(&mut asked).await;
        // What came in full is kept, also where the stream broke after it.
        let written = self.written().await;
        written.and(received)
    }

    async fn windows(&mut self, asked: &mut mpsc::Receiver<Range<u64>>) -> Result<(), StreamEnd> {
        while let Some(range) = asked.recv().await {
            let begun = Instant::now();
            let limit = self.options.window;
            let slice = timeout(limit, self.slice(&range)).await.map_err(|_| StreamEnd::Idle(limit))??;
            self.slots.add_permits(1);
            self.adapt(begun.elapsed());
            self.written().await?;
            let sink = self.sink.clone();
            self.writing = Some(tokio::task::spawn_blocking(move || sink.write_slice(range, &slice).map(|()| slice)));
        }
        Ok(())
    }

    /// Reads the answer to one window.
    async fn slice(&mut self, range: &Range<u64>) -> Result<Vec<u8>, StreamEnd> {
        let idle = self.options.idle;
        let late = |_| StreamEnd::Idle(idle);
        let response = timeout(idle, wire::read(self.reader)).await.map_err(late)??;
        let len = match response {
            Some(Response::Slice(len)) => len,
            Some(Response::Refused(status)) => return Err(status.into()),
            Some(Response::Bye) => {
                return Err(WireError::Protocol("the end was not asked for").into());
            }
            None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        };
        if u64::from(len) > max_slice_len(range.end.saturating_sub(range.start)) {
            return Err(WireError::Protocol("a slice is longer than its window").into());
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut slice = std::mem::take(&mut self.spare);
        slice.resize(len, 0);
        let mut filled = 0usize;
        while let Some(rest) = slice.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match timeout(idle, self.reader.read(rest)).await.map_err(late)?? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => filled = filled.saturating_add(n),
            }
        }
        Ok(slice)
    }

    /// Waits until the last window is written.
    async fn written(&mut self) -> Result<(), StreamEnd> {
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        self.spare = writing
            .await
            .map_err(|e| StreamEnd::Wire(WireError::Io(io::Error::other(format!("writing was stopped: {e}")))))??;
        (self.arrived)();
        Ok(())
    }

    fn adapt(&self, took: Duration) {
        let size = self.size.load(Ordering::Relaxed);
        let next = if took < FAST {
            size.saturating_mul(2).min(self.options.largest_window())
        } else if took > SLOW {
            (size >> 1).max(self.options.smallest_window())
        } else {
            size
        };
        self.size.store(next, Ordering::Relaxed);
    }
}

impl FetchOptions {
    fn smallest_window(&self) -> u64 {
        4 * GROUP
    }

    /// A capped transfer asks for about a quarter of a second at once: what came of a window is lost with its stream.
    fn largest_window(&self) -> u64 {
        let capped = self.download.rate().map_or(MAX_WINDOW, |rate| rate / 4);
        (capped & !(GROUP - 1)).clamp(self.smallest_window(), MAX_WINDOW)
    }

    fn first_window(&self) -> u64 {
        self.largest_window().min(16 * GROUP)
    }
}
