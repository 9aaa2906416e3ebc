//! Joins two streams: what comes out of one goes into the other, both ways, until either ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use futures_timer::Delay;

use super::shared::{Shared, add};

/// Largest buffer of a direction. It starts small and grows while reads fill it.
const BUFFER: usize = 64 * 1024;
const FIRST_BUFFER: usize = 4 * 1024;
/// Bytes moved in one go before others get their turn.
const TURN: usize = 512 * 1024;
/// How long the last bytes of a direction that ended may take to leave.
const LINGER: Duration = Duration::from_secs(10);
/// How long a splice waits for the rate limit.
const PAUSE: Duration = Duration::from_millis(20);

/// A splice **never half-closes**: the end of either direction ends both, at once, but for the bytes that were read
/// before that end. A half-closed splice whose other direction stays silent would hang its two peers.
///
/// Resolves when it is over; both streams are dropped with it.
pub(crate) struct Splice<A, B> {
    a: A,
    b: B,
    forth: Half,
    back: Half,
    linger: Option<Delay>,
    pause: Option<Delay>,
    shared: Arc<Shared>,
}

/// One direction.
struct Half {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    unflushed: bool,
    ended: bool,
}

enum Step {
    /// The direction waits for one of its streams.
    Waiting,
    /// Enough for now.
    Yield,
    /// The rate limit is reached.
    Limited,
    /// The reading side ended and everything has left.
    Ended,
}

impl Half {
    fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, unflushed: false, ended: false }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        shared: &Shared,
        carried: &AtomicU64,
    ) -> io::Result<Step>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut moved = 0;
        loop {
            while self.start < self.end {
                match Pin::new(&mut *to).poll_write(cx, &self.buffer[self.start..self.end]) {
                    Poll::Pending => return Ok(Step::Waiting),
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Ready(Ok(len)) => {
                        self.start += len;
                        self.unflushed = true;
                    }
                }
            }
            if self.ended {
                return Ok(match Pin::new(&mut *to).poll_close(cx)? {
                    Poll::Ready(()) => Step::Ended,
                    Poll::Pending => Step::Waiting,
                });
            }
            if moved >= TURN {
                return Ok(Step::Yield);
            }
            if self.buffer.is_empty() {
                self.buffer.resize(FIRST_BUFFER, 0);
            } else if self.end == self.buffer.len() && self.end < BUFFER {
                self.buffer.resize((self.end * 4).min(BUFFER), 0);
            }
            let wanted = self.buffer.len();
            let granted = shared.limiter.as_ref().map_or(wanted, |limiter| limiter.take(wanted));
            if granted == 0 {
                return Ok(Step::Limited);
            }
            let read = Pin::new(&mut *from).poll_read(cx, &mut self.buffer[..granted]);
            let len = match &read {
                Poll::Ready(Ok(len)) => *len,
                _ => 0,
            };
            if let Some(limiter) = &shared.limiter {
                limiter.give_back(granted - len);
            }
            match read {
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(0)) => (self.start, self.end, self.ended) = (0, 0, true),
                Poll::Ready(Ok(len)) => {
                    (self.start, self.end) = (0, len);
                    moved += len;
                    add(&shared.counters.relayed_bytes, len as u64);
                    add(carried, len as u64);
                }
                Poll::Pending => {
                    if self.unflushed && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Ok(Step::Waiting);
                }
            }
        }
    }
}

impl<A, B> Splice<A, B>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(a: A, b: B, shared: Arc<Shared>) -> Self {
        Self { a, b, forth: Half::new(), back: Half::new(), linger: None, pause: None, shared }
    }

    /// Moves bytes until the splice is over; `carried` counts them.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, carried: &AtomicU64) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(Pin::new(pause).poll(cx));
            self.pause = None;
        }
        let mut lingering = false;
        for forth in [true, false] {
            // Once a direction has ended, the other is not read any more.
            let (half, other_ended) = match forth {
                true => (&mut self.forth, self.back.ended),
                false => (&mut self.back, self.forth.ended),
            };
            if other_ended {
                continue;
            }
            let step = match forth {
                true => half.poll(cx, &mut self.a, &mut self.b, &self.shared, carried),
                false => half.poll(cx, &mut self.b, &mut self.a, &self.shared, carried),
            };
            match step {
                Err(_) | Ok(Step::Ended) => return Poll::Ready(()),
                Ok(Step::Waiting) => lingering |= half.ended,
                Ok(Step::Yield) => cx.waker().wake_by_ref(),
                Ok(Step::Limited) => {
                    let pause = self.pause.get_or_insert_with(|| Delay::new(PAUSE));
                    if Pin::new(pause).poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
            }
        }
        if lingering {
            let linger = self.linger.get_or_insert_with(|| Delay::new(LINGER));
            ready!(Pin::new(linger).poll(cx));
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::future::poll_fn;
    use futures::io::Cursor;
    use futures::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::swarm::session::testing::duplex;

    fn run<A, B>(a: A, b: B, rate: Option<u64>) -> u64
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let carried = AtomicU64::new(0);
        let mut splice = Splice::new(a, b, Arc::new(Shared::new(rate)));
        block_on(poll_fn(|cx| splice.poll(cx, &carried)));
        carried.into_inner()
    }

    #[test]
    fn the_end_of_one_direction_ends_both_after_its_last_bytes() {
        let (mut a, left) = duplex(100);
        let (right, mut b) = duplex(100);
        let relay = std::thread::spawn(move || run(left, right, None));
        let said = vec![7; 100_000];
        let writer = std::thread::spawn({
            let said = said.clone();
            move || {
                block_on(a.write_all(&said)).unwrap();
                a.end_writing();
                let mut rest = Vec::new();
                let _ = block_on(a.read_to_end(&mut rest));
                rest
            }
        });
        let mut got = Vec::new();
        block_on(b.read_to_end(&mut got)).unwrap();
        assert_eq!(got, said);
        // `b` never ended its own direction, and yet the relay is done and `a` is told.
        assert_eq!(relay.join().unwrap(), 100_000);
        assert!(writer.join().unwrap().is_empty());
        assert!(block_on(b.write_all(b"too late")).is_err());
    }

    #[test]
    fn the_rate_is_kept() {
        let (mut a, left) = duplex(1 << 20);
        let (right, b) = duplex(1 << 20);
        block_on(a.write_all(&vec![1; 60_000])).unwrap();
        a.end_writing();
        let start = std::time::Instant::now();
        assert_eq!(run(left, right, Some(100_000)), 60_000);
        // A quarter of a second's worth is in the bucket from the start.
        assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
        drop(b);
    }

    #[test]
    fn an_error_ends_both() {
        let (_a, left) = duplex(10);
        assert_eq!(run(left, Cursor::new(vec![0; 0]), None), 0);
    }
}
