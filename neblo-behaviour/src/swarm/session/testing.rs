//! An in-memory stream whose directions hold little and can be cut.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};

/// One direction: bytes on their way, and all that ever passed.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) queue: VecDeque<u8>,
    pub(crate) passed: Vec<u8>,
    pub(crate) ended: bool,
    wakers: Vec<Waker>,
}

/// One end of a stream whose directions hold at most `window` bytes each.
pub(crate) struct End {
    pub(crate) read: Arc<Mutex<Pipe>>,
    pub(crate) write: Arc<Mutex<Pipe>>,
    window: usize,
}

pub(crate) fn duplex(window: usize) -> (End, End) {
    let (a, b) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
    (End { read: a.clone(), write: b.clone(), window }, End { read: b, write: a, window })
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.read.lock().unwrap();
        if pipe.queue.is_empty() && !pipe.ended {
            pipe.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let len = pipe.queue.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(pipe.queue.drain(..len)) {
            *to = from;
        }
        pipe.wakers.drain(..).for_each(Waker::wake);
        Poll::Ready(Ok(len))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.write.lock().unwrap();
        if pipe.ended {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let len = (self.window - pipe.queue.len()).min(buf.len());
        if len == 0 {
            pipe.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.queue.extend(&buf[..len]);
        pipe.passed.extend(&buf[..len]);
        pipe.wakers.drain(..).for_each(Waker::wake);
        Poll::Ready(Ok(len))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut();
        Poll::Ready(Ok(()))
    }
}

impl End {
    /// Ends the writing direction alone.
    pub(crate) fn end_writing(&self) {
        let mut pipe = self.write.lock().unwrap();
        pipe.ended = true;
        pipe.wakers.drain(..).for_each(Waker::wake);
    }

    fn cut(&self) {
        for pipe in [&self.read, &self.write] {
            let mut pipe = pipe.lock().unwrap();
            pipe.ended = true;
            pipe.wakers.drain(..).for_each(Waker::wake);
        }
    }
}

/// Dropping one end ends both directions, as a splice does.
impl Drop for End {
    fn drop(&mut self) {
        self.cut();
    }
}
