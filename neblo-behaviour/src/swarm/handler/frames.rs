//! Frames on a substream: an unsigned varint for the length, then the bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, Bytes};
use futures::task::AtomicWaker;
use futures::{AsyncRead, AsyncWrite};
use libp2p_swarm::Stream;
use unsigned_varint::{decode, encode};

use crate::protocol::codec::Pieces;
use crate::protocol::interface::MAX_FRAME;

/// Bytes read ahead of a frame whose length is not known yet. What is longer is read right into its place.
const AHEAD: usize = 512;
/// Memory of a long frame is used in steps, as its bytes arrive: a length alone costs nothing.
const STEP: usize = 16 * 1024;
/// Frames are written together up to so many bytes.
const TOGETHER: usize = 16 * 1024;
/// The first bytes of a longer frame that are written with those before it.
const HEAD: usize = 1024;

/// Why no more frames can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The substream ended or failed.
    Gone,
    /// Too long a frame, or no length at all: the remote's fault.
    Framing,
}

/// Whether a substream may have something to read. Asking it costs far more than looking here, and a handler is polled
/// many times for each frame that arrives.
struct Signal {
    raised: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raised.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// The reading half of a substream.
struct Reading {
    signal: Arc<Signal>,
    /// Raises the signal.
    waker: Waker,
}

impl Reading {
    fn new() -> Self {
        let signal = Arc::new(Signal { raised: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { waker: signal.clone().into(), signal }
    }

    /// Reads if there may be something.
    fn poll<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.signal.task.register(cx.waker());
        if !self.signal.raised.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let read = ready!(Pin::new(stream).poll_read(&mut Context::from_waker(&self.waker), buffer));
        // There may be more.
        self.signal.raised.store(true, Ordering::Release);
        Poll::Ready(read)
    }
}

/// Reads frames.
pub(super) struct Reader<S = Stream> {
    stream: S,
    reading: Reading,
    ahead: [u8; AHEAD],
    /// What of `ahead` is not consumed.
    start: usize,
    end: usize,
    /// A frame whose length is known.
    frame: Option<Begun>,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, reading: Reading::new(), ahead: [0; AHEAD], start: 0, end: 0, frame: None }
    }

    /// The next frame.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, End>> {
        loop {
            if let Some(mut begun) = self.frame.take() {
                while let Some(room) = begun.room() {
                    match self.reading.poll(&mut self.stream, cx, room) {
                        Poll::Ready(Ok(read)) if read > 0 => begun.filled += read,
                        Poll::Ready(_) => return Poll::Ready(Err(End::Gone)),
                        Poll::Pending => {
                            self.frame = Some(begun);
                            return Poll::Pending;
                        }
                    }
                }
                return Poll::Ready(Ok(begun.bytes));
            }
            if self.begin()? {
                continue;
            }
            self.ahead.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let room = self.ahead.get_mut(self.end..).unwrap_or_default();
            match ready!(self.reading.poll(&mut self.stream, cx, room)) {
                Ok(read) if read > 0 => self.end += read,
                _ => return Poll::Ready(Err(End::Gone)),
            }
        }
    }

    /// Begins a frame if its length has been read.
    fn begin(&mut self) -> Result<bool, End> {
        let read = self.ahead.get(self.start..self.end).unwrap_or_default();
        let (len, rest) = match decode::usize(read) {
            Ok(decoded) => decoded,
            Err(decode::Error::Insufficient) => return Ok(false),
            Err(_) => return Err(End::Framing),
        };
        if len > MAX_FRAME {
            return Err(End::Framing);
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(rest.iter().take(len));
        let filled = bytes.len();
        self.start = self.end - rest.len() + filled;
        self.frame = Some(Begun { bytes, filled, len });
        Ok(true)
    }
}

/// A frame that has not been read to its end.
struct Begun {
    bytes: Vec<u8>,
    /// How much of it has been read.
    filled: usize,
    len: usize,
}

impl Begun {
    /// Where more of it goes; nowhere when it is whole.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.filled == self.bytes.len() {
            self.bytes.resize(self.len.min(self.filled + STEP), 0);
        }
        self.bytes.get_mut(self.filled..).filter(|room| !room.is_empty())
    }
}

/// Writes frames, short ones together.
pub(super) struct Writer<S = Stream> {
    stream: S,
    reading: Reading,
    /// Frames, and the head of a longer one, with how much of them has been written.
    together: Vec<u8>,
    written: usize,
    /// The rest of a longer one, to be written from where it is.
    long: [Bytes; 3],
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    pub(super) fn new(stream: S) -> Self {
        let long = Default::default();
        Self { stream, reading: Reading::new(), together: Vec::new(), written: 0, long, unflushed: false }
    }

    /// Whether another frame can be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.together.len() < TOGETHER && self.long.iter().all(Bytes::is_empty)
    }

    /// Appends a frame to what is to be written.
    pub(super) fn push(&mut self, frame: Pieces) {
        let mut prefix = encode::usize_buffer();
        self.together.extend_from_slice(encode::usize(frame.len(), &mut prefix));
        let mut room = if self.together.len() + frame.len() > TOGETHER { HEAD } else { TOGETHER };
        self.long = frame.0.map(|mut piece| {
            let first = piece.split_to(room.min(piece.len()));
            self.together.extend_from_slice(&first);
            room -= first.len();
            piece
        });
    }

    /// Ready when everything has been written, though maybe not flushed.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.together.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            self.written += some(written)?;
            self.unflushed = true;
        }
        self.written = 0;
        // Most links are idle most of the time.
        self.together = Vec::new();
        for piece in &mut self.long {
            while !piece.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
                piece.advance(some(written)?.min(piece.len()));
                self.unflushed = true;
            }
            // Not an empty view of a long frame: it would keep all of it.
            *piece = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the substream ended or failed, or the remote says something on it, which it must not.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let read = ready!(self.reading.poll(&mut self.stream, cx, &mut [0]));
        Poll::Ready(match read {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::ErrorKind::InvalidData.into(),
            Err(error) => error,
        })
    }
}

fn some(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// Takes and gives a few bytes at a time, and every second time none.
    struct Pipe {
        bytes: VecDeque<u8>,
        most: usize,
        pause: bool,
    }

    impl Pipe {
        fn pauses(&mut self, cx: &mut Context<'_>) -> bool {
            self.pause = !self.pause;
            if self.pause {
                cx.waker().wake_by_ref();
            }
            self.pause
        }
    }

    impl AsyncRead for Pipe {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            if self.pauses(cx) {
                return Poll::Pending;
            }
            let most = self.most.min(buffer.len()).min(self.bytes.len());
            for (to, from) in buffer.iter_mut().zip(self.bytes.drain(..most)) {
                *to = from;
            }
            Poll::Ready(Ok(most))
        }
    }

    impl AsyncWrite for Pipe {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
            if self.pauses(cx) {
                return Poll::Pending;
            }
            let most = self.most.min(buffer.len());
            self.bytes.extend(&buffer[..most]);
            Poll::Ready(Ok(most))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn through(lengths: &[usize], most: usize) -> Vec<Result<Vec<u8>, End>> {
        let mut writer = Writer::new(Pipe { bytes: VecDeque::new(), most, pause: false });
        for (number, length) in lengths.iter().enumerate() {
            while !writer.has_room() {
                poll_fn(|cx| writer.poll_write(cx)).await.unwrap();
            }
            writer.push(vec![number as u8; *length].into());
        }
        poll_fn(|cx| writer.poll_write(cx)).await.unwrap();
        let mut reader = Reader::new(writer.stream);
        let mut read = Vec::new();
        while read.last().is_none_or(Result::is_ok) {
            read.push(poll_fn(|cx| reader.poll_next(cx)).await);
        }
        read
    }

    #[test]
    fn frames_of_all_lengths_come_through_whole_and_in_order() {
        let lengths = [1, 0, 509, 510, 511, 512, 5, 16_381, 16_384, 3, 65_536, 7, MAX_FRAME, 2];
        for most in [1, 7, 600, 100_000] {
            let read = futures::executor::block_on(through(&lengths, most));
            let sent = lengths.iter().enumerate().map(|(number, length)| Ok(vec![number as u8; *length]));
            assert!(read.into_iter().eq(sent.chain([Err(End::Gone)])), "{most} at a time");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_by_its_length() {
        let read = futures::executor::block_on(through(&[3, MAX_FRAME + 1], 1));
        assert_eq!(read, [Ok(vec![0; 3]), Err(End::Framing)]);
    }
}
