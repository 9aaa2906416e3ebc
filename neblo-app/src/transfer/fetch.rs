//! Fetching content from whichever publishers there are.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{RateLimiter, StreamEnd, session::Session};
use crate::content::{MemoryTarget, PartError, Root, Sink};

/// Where streams to publishers come from.
pub trait Sources: Send {
    /// A stream to a publisher.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Opens a stream to a publisher, the next one if the last was found at fault. May take as long as it needs; the
    /// caller stops it at its own deadline.
    fn open(&mut self) -> impl Future<Output = Result<Self::Stream, NoMoreSources>> + Send;

    /// Told how the last stream ended before all was there. [`StreamEnd::is_publishers_fault`] says whether to leave
    /// out its publisher from now on.
    fn ended(&mut self, end: &StreamEnd) {
        let _ = end;
    }
}

/// There is no publisher left to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoMoreSources {
    /// What the source of streams has to say about it.
    pub why: String,
}

/// How content is fetched.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Windows on their way at once.
    pub windows: usize,
    /// A stream on which nothing comes for so long is given up.
    pub idle: Duration,
    /// The same after streams that were replaced for it: it doubles each time up to this, so that a slow path is not replaced
    /// over and over, and begins anew after a stream that lasted for a minute.
    pub longest_idle: Duration,
    /// So is one on which a window takes longer than this.
    pub window: Duration,
    /// The transfer is given up when for so long nothing was gained, over all streams.
    pub no_progress: Duration,
    /// First pause after a stream that gained nothing; it doubles, up to 30 times as long.
    pub pause: Duration,
    /// Cap on what is received, shared with other transfers.
    pub download: RateLimiter,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            windows: 4,
            idle: Duration::from_secs(30),
            longest_idle: Duration::from_secs(30),
            window: Duration::from_secs(120),
            no_progress: Duration::from_secs(180),
            pause: Duration::from_millis(200),
            download: RateLimiter::unlimited(),
        }
    }
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes verified and written.
    pub present: u64,
    /// Bytes wanted.
    pub len: u64,
    /// Streams opened so far.
    pub streams: u64,
}

/// Why content could not be fetched. What arrived is kept.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The caller asked to stop.
    #[error("cancelled; run the same command again to go on")]
    Cancelled,
    /// Nobody is left to ask.
    #[error("no publisher is left to ask: {why}{}; run the same command again later to go on", Last(last))]
    NoSources {
        /// What the source of streams had to say.
        why: String,
        /// How the last stream ended.
        last: Option<StreamEnd>,
    },
    /// Publishers are there, but nothing comes.
    #[error("nothing arrived for {} s{}; run the same command again later to go on", after.as_secs(), Last(last))]
    Stalled {
        /// For how long.
        after: Duration,
        /// How the last stream ended.
        last: Option<StreamEnd>,
    },
    /// The data cannot be kept here.
    #[error(transparent)]
    Part(#[from] PartError),
}

impl FetchError {
    /// Whether the last publisher sent data that did not match.
    pub fn is_integrity(&self) -> bool {
        let (Self::NoSources { last, .. } | Self::Stalled { last, .. }) = self else {
            return matches!(self, Self::Part(PartError::Damaged { .. }));
        };
        matches!(last, Some(StreamEnd::BadData(_)))
    }
}

struct Last<'a>(&'a Option<StreamEnd>);

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(end) => write!(f, " (the last one: {end})"),
            None => Ok(()),
        }
    }
}

/// A stream that lasted so long was on a sound path. choice
const LASTED: Duration = Duration::from_secs(60);

/// Fetches content, one after the other, over as few streams as possible.
#[derive(Debug)]
pub struct Fetcher<S: Sources> {
    sources: S,
    options: FetchOptions,
    session: Option<Session<S::Stream>>,
    streams: u64,
}

impl<S: Sources> Fetcher<S> {
    /// Fetches from `sources`.
    pub fn new(sources: S, options: FetchOptions) -> Self {
        Self { sources, options, session: None, streams: 0 }
    }

    /// Fetches all that `sink` misses. Whatever the outcome, what arrived is saved.
    pub async fn fetch(
        &mut self,
        sink: Arc<dyn Sink>,
        cancel: &CancellationToken,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), FetchError> {
        let fetched = tokio::select! {
            fetched = self.fetch_all(&sink, progress) => fetched,
            () = cancel.cancelled() => Err(FetchError::Cancelled),
        };
        let saved = tokio::task::spawn_blocking(move || sink.save()).await;
        fetched?;
        match saved {
            Ok(saved) => Ok(saved?),
            Err(_) => Err(FetchError::Cancelled),
        }
    }

    async fn fetch_all(
        &mut self,
        sink: &Arc<dyn Sink>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), FetchError> {
        let mut gained_at = Instant::now();
        let mut last = None;
        let mut pauses = 0u32;
        let mut options = self.options.clone();
        let mut opened = Instant::now();
        loop {
            let missing = sink.missing();
            if missing.is_empty() {
                return Ok(());
            }
            let left = self.options.no_progress.saturating_sub(gained_at.elapsed());
            if left.is_zero() {
                return Err(self.stalled(last));
            }
            let mut session = match self.session.take() {
                Some(session) => session,
                None => match timeout(left, self.sources.open()).await {
                    Ok(Ok(stream)) => {
                        self.streams = self.streams.saturating_add(1);
                        opened = Instant::now();
                        Session::new(stream)
                    }
                    Ok(Err(NoMoreSources { why })) => {
                        return Err(FetchError::NoSources { why, last });
                    }
                    Err(_) => return Err(self.stalled(last)),
                },
            };
            let streams = self.streams;
            let mut arrived = || {
                gained_at = Instant::now();
                pauses = 0;
                progress(Progress { present: sink.present(), len: sink.len(), streams });
            };
            match session.run(sink, missing, &options, &mut arrived).await {
                Ok(()) => self.session = Some(session),
                Err(StreamEnd::Local(error)) => return Err(error.into()),
                Err(end) => {
                    tracing::debug!(%end, "a stream ended before all was there");
                    if opened.elapsed() > LASTED {
                        options.idle = self.options.idle;
                    } else if matches!(end, StreamEnd::Idle(_)) {
                        options.idle = options.idle.saturating_mul(2).min(self.options.longest_idle);
                    }
                    self.sources.ended(&end);
                    last = Some(end);
                    self.pause(&mut pauses).await;
                }
            }
        }
    }

    /// Says to the publisher that nothing more is wanted.
    pub async fn finish(mut self) -> S {
        if let Some(session) = self.session.take() {
            session.goodbye().await;
        }
        self.sources
    }

    fn stalled(&self, last: Option<StreamEnd>) -> FetchError {
        FetchError::Stalled { after: self.options.no_progress, last }
    }

    /// Keeps from asking over and over where every stream breaks at once.
    async fn pause(&self, pauses: &mut u32) {
        if *pauses > 0 {
            let factor = 1u32.checked_shl(pauses.saturating_sub(1)).unwrap_or(30).min(30);
            tokio::time::sleep(self.options.pause.saturating_mul(factor)).await;
        }
        *pauses = pauses.saturating_add(1);
    }
}

/// Fetches content of at most `max` bytes into memory, such as a manifest.
pub async fn fetch_bytes<S: Sources>(
    fetcher: &mut Fetcher<S>,
    root: Root,
    len: u64,
    max: usize,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, FetchError> {
    let target = Arc::new(MemoryTarget::new(root, len, max)?);
    fetcher.fetch(target.clone(), cancel, &mut |_| {}).await?;
    // Complete, because fetching succeeded.
    Ok(target.take().unwrap_or_default())
}
