//! The publisher's side.

use std::{sync::Arc, time::Duration};

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{
    RateLimiter,
    wire::{self, Request, Response, Status, Window, WireError},
};
use crate::content::{Content, ContentError, Root, is_window};

/// Written at once between two looks at the rate limiter.
const PORTION: usize = 256 * 1024;

/// The content that one stream may ask for: that of one publication.
pub trait Catalogue: Send + Sync + 'static {
    /// Opens the content of `root`; `None` if it is not part of the publication. May block on the disk.
    fn open(&self, root: &Root) -> Option<Result<Arc<dyn Content>, ContentError>>;

    /// Told when content cannot be served, so that the owner of the publication learns of it.
    fn failed(&self, root: &Root, error: &ContentError) {
        let _ = (root, error);
    }
}

/// How a publisher serves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Cap on what is sent, shared with other streams.
    pub upload: RateLimiter,
    /// A requester that asks for nothing, or takes nothing, for so long is let go.
    pub idle: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { upload: RateLimiter::unlimited(), idle: Duration::from_secs(120) }
    }
}

/// What was served on one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Windows answered with a slice.
    pub windows: u64,
    /// Bytes of content in them, without their hashes.
    pub bytes: u64,
    /// Windows refused.
    pub refused: u64,
}

/// Why serving ended before the requester said that it was done.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream broke or the requester broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream ended without a word.
    #[error("the requester went away before it was done")]
    Gone,
    /// Nothing came, or nothing was taken.
    #[error("the requester was idle for too long")]
    Idle,
    /// The task was stopped from outside.
    #[error("the node is stopping")]
    Stopped,
}

/// Serves one stream until the requester is done.
pub async fn serve<S>(stream: S, catalogue: Arc<dyn Catalogue>, options: ServeOptions) -> Result<Served, ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (reader, mut writer) = stream.split();
    // One answer is written, one waits and one is made: at most three windows are in memory.
    let (answers, waiting) = mpsc::channel(1);
    let making = make_answers(reader, catalogue, answers, options.idle);
    let writing = write_answers(&mut writer, waiting, &options);
    let (made, served) = futures::future::join(making, writing).await;
    let served = served?;
    made?;
    within(options.idle, writer.close()).await??;
    Ok(served)
}

struct Answer {
    response: Response,
    slice: Vec<u8>,
    content: u64,
}

/// Reads requests and makes their answers, in order, until the requester is done or the writer has gone.
async fn make_answers<R: AsyncRead + Unpin>(
    mut reader: R,
    catalogue: Arc<dyn Catalogue>,
    answers: mpsc::Sender<Answer>,
    idle: Duration,
) -> Result<(), ServeError> {
    let mut open: Option<Arc<dyn Content>> = None;
    loop {
        let request = tokio::select! {
            request = within(idle, wire::read(&mut reader)) => request??,
            () = answers.closed() => return Ok(()),
        };
        let answer = match request {
            None => return Err(ServeError::Gone),
            Some(Request::Done) => {
                let bye = Answer { response: Response::Bye, slice: Vec::new(), content: 0 };
                let _ = answers.send(bye).await;
                return Ok(());
            }
            Some(Request::Window(window)) => {
                let catalogue = catalogue.clone();
                let opened = open.take();
                let made = tokio::task::spawn_blocking(move || answer(&*catalogue, opened, &window)).await;
                let (answer, opened) = made.map_err(|_| ServeError::Stopped)?;
                open = opened;
                answer
            }
        };
        if answers.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

/// Makes one answer. `open` is the content that the stream used last.
fn answer(
    catalogue: &dyn Catalogue,
    open: Option<Arc<dyn Content>>,
    window: &Window,
) -> (Answer, Option<Arc<dyn Content>>) {
    let refuse = |status| Answer { response: Response::Refused(status), slice: Vec::new(), content: 0 };
    let failed = |error: ContentError| {
        catalogue.failed(&window.root, &error);
        refuse(if error.is_source_lost() { Status::SourceLost } else { Status::Unavailable })
    };
    let content = match open.filter(|content| content.root() == window.root) {
        Some(content) => content,
        None => match catalogue.open(&window.root) {
            None => return (refuse(Status::NotOffered), None),
            Some(Err(error)) => return (failed(error), None),
            Some(Ok(content)) => content,
        },
    };
    if content.len() != window.len {
        return (refuse(Status::WrongLength), Some(content));
    }
    let range = window.start..window.end;
    if !is_window(&range, window.len) {
        return (refuse(Status::BadRange), Some(content));
    }
    let mut slice = Vec::with_capacity(slice_capacity(&range));
    if let Err(error) = content.encode(range.clone(), &mut slice) {
        return (failed(error), None);
    }
    match u32::try_from(slice.len()) {
        Ok(len) => {
            let answer =
                Answer { response: Response::Slice(len), slice, content: range.end.saturating_sub(range.start) };
            (answer, Some(content))
        }
        Err(_) => (refuse(Status::BadRange), Some(content)),
    }
}

fn slice_capacity(range: &std::ops::Range<u64>) -> usize {
    let bound = crate::content::max_slice_len(range.end.saturating_sub(range.start));
    usize::try_from(bound).unwrap_or_default()
}

async fn write_answers<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut answers: mpsc::Receiver<Answer>,
    options: &ServeOptions,
) -> Result<Served, ServeError> {
    let mut served = Served::default();
    while let Some(answer) = answers.recv().await {
        within(options.idle, wire::write(writer, &answer.response)).await??;
        for portion in answer.slice.chunks(PORTION) {
            options.upload.acquire(portion.len() as u64).await;
            within(options.idle, writer.write_all(portion)).await??;
        }
        within(options.idle, writer.flush()).await??;
        match answer.response {
            Response::Slice(_) => {
                served.windows = served.windows.saturating_add(1);
                served.bytes = served.bytes.saturating_add(answer.content);
            }
            Response::Refused(_) => served.refused = served.refused.saturating_add(1),
            Response::Bye => {}
        }
    }
    Ok(served)
}

/// `future`, unless it takes longer than `limit`.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, ServeError> {
    tokio::time::timeout(limit, future).await.map_err(|_| ServeError::Idle)
}

impl From<std::io::Error> for ServeError {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(error.into())
    }
}
