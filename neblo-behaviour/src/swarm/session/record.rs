//! Records and the byte stream made of them.
//!
//! A record is a clear byte that names its size and a Noise message that fills the rest: type (1 byte), length (2 bytes,
//! big-endian), data, zeroes. Both directions change their key every 65,536 records.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use futures_timer::Delay;
use snow::TransportState;

/// Bytes of a small record on the wire.
pub(crate) const SMALL: usize = 1024;
/// Bytes of a large record on the wire.
pub(crate) const LARGE: usize = 16 * 1024;

const TAG: usize = 16;
const HEAD: usize = 3;
/// Data bytes that fit a record of `total` bytes.
const fn capacity(total: usize) -> usize {
    total - 1 - TAG - HEAD
}

const DATA: u8 = 0;
const FIN: u8 = 1;
const ACK: u8 = 2;

/// Records of a direction between two changes of its key; few in tests, so that they see some.
const REKEY_EVERY: u64 = if cfg!(test) { 16 } else { 65_536 };
/// Buffer of each direction: eight large records move in one read or write of the socket.
const BUFFER: usize = 8 * LARGE;
/// Ciphertext that is waited for before the socket is written without a flush.
const PUSH_AT: usize = 4 * LARGE;
/// What a closing side reads ahead while it waits for the acknowledgement; then it waits for a reader.
const READ_AHEAD: usize = 1024 * 1024;
/// How long a closing side waits for the acknowledgement.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A Noise session over a byte stream. Written bytes leave when a large record is full or on flush.
pub(crate) struct Session<S> {
    io: S,
    noise: TransportState,

    /// Plaintext of the next data record, `HEAD` bytes free in front.
    staged: Box<[u8]>,
    staged_len: usize,
    /// Ciphertext for the socket.
    out: Box<[u8]>,
    out_start: usize,
    out_end: usize,
    sent: u64,

    /// Ciphertext from the socket.
    input: Box<[u8]>,
    in_start: usize,
    in_end: usize,
    received: u64,
    /// The data record being read.
    plain: Box<[u8]>,
    plain_start: usize,
    plain_end: usize,
    /// Data that arrived while closing.
    ahead: Vec<u8>,
    ahead_start: usize,

    fin_sent: bool,
    fin_acknowledged: bool,
    fin_received: bool,
    acknowledge: bool,
    /// Data was sent after the peer's FIN, so that its FIN says nothing about that data.
    sent_after_fin: bool,
    failed: Option<ErrorKind>,
    close_by: Option<Delay>,
    reader: Option<Waker>,
    closer: Option<Waker>,
    writer: Option<Waker>,
}

impl<S> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("sent", &self.sent).field("received", &self.received).finish_non_exhaustive()
    }
}

fn buffer(len: usize) -> Box<[u8]> {
    vec![0; len].into_boxed_slice()
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl<S> Session<S> {
    pub(crate) fn new(io: S, noise: TransportState) -> Self {
        Self {
            io,
            noise,
            staged: buffer(LARGE),
            staged_len: 0,
            out: buffer(BUFFER),
            out_start: 0,
            out_end: 0,
            sent: 0,
            input: buffer(BUFFER),
            in_start: 0,
            in_end: 0,
            received: 0,
            plain: buffer(LARGE),
            plain_start: 0,
            plain_end: 0,
            ahead: Vec::new(),
            ahead_start: 0,
            fin_sent: false,
            fin_acknowledged: false,
            fin_received: false,
            acknowledge: false,
            sent_after_fin: false,
            failed: None,
            close_by: None,
            reader: None,
            closer: None,
            writer: None,
        }
    }

    fn has_room(&self) -> bool {
        self.out.len() - self.out_end >= LARGE
    }

    /// Seals a record into `out`, where there must be room.
    fn seal(&mut self, kind: u8) -> io::Result<()> {
        let len = if kind == DATA { std::mem::take(&mut self.staged_len) } else { 0 };
        let mut control = [0; SMALL - 1 - TAG];
        let (size, plain) = if kind != DATA {
            (SMALL, &mut control[..])
        } else if len <= capacity(SMALL) {
            (SMALL, &mut self.staged[..SMALL - 1 - TAG])
        } else {
            (LARGE, &mut self.staged[..LARGE - 1 - TAG])
        };
        plain[0] = kind;
        plain[1..HEAD].copy_from_slice(&(len as u16).to_be_bytes());
        plain[HEAD + len..].fill(0);
        let record = &mut self.out[self.out_end..self.out_end + size];
        record[0] = u8::from(size == LARGE);
        self.noise.write_message(plain, &mut record[1..]).map_err(io::Error::other)?;
        self.out_end += size;
        self.sent += 1;
        if self.sent.is_multiple_of(REKEY_EVERY) {
            self.noise.rekey_outgoing();
        }
        Ok(())
    }

    /// Opens the next record of `input` if it is complete, and acts on it; data is in `plain` afterwards.
    fn open(&mut self) -> io::Result<bool> {
        let input = &self.input[self.in_start..self.in_end];
        let size = match input.first() {
            None => return Ok(false),
            Some(0) => SMALL,
            Some(1) => LARGE,
            Some(_) => return Err(broken("a record of unknown size")),
        };
        let Some(record) = input.get(1..size) else {
            return Ok(false);
        };
        let len = self
            .noise
            .read_message(record, &mut self.plain)
            .map_err(|_| broken("a record that was changed on its way"))?;
        self.in_start += size;
        self.received += 1;
        if self.received.is_multiple_of(REKEY_EVERY) {
            self.noise.rekey_incoming();
        }
        let data = usize::from(u16::from_be_bytes([self.plain[1], self.plain[2]]));
        if len != size - 1 - TAG || data > capacity(size) {
            return Err(broken("a record with a wrong length"));
        }
        match self.plain[0] {
            DATA if !self.fin_received => (self.plain_start, self.plain_end) = (HEAD, HEAD + data),
            FIN if !self.fin_received => {
                (self.fin_received, self.acknowledge) = (true, true);
                wake(&mut self.reader);
                wake(&mut self.closer);
            }
            ACK if self.fin_sent && !self.fin_acknowledged => {
                self.fin_acknowledged = true;
                wake(&mut self.closer);
            }
            _ => return Err(broken("a record out of place")),
        }
        Ok(true)
    }

    /// Moves decrypted bytes into `to`.
    fn take(&mut self, to: &mut [u8]) -> usize {
        if self.ahead_start < self.ahead.len() {
            let from = &self.ahead[self.ahead_start..];
            let len = from.len().min(to.len());
            to[..len].copy_from_slice(&from[..len]);
            self.ahead_start += len;
            if self.ahead_start == self.ahead.len() {
                (self.ahead, self.ahead_start) = (Vec::new(), 0);
                wake(&mut self.closer);
            }
            return len;
        }
        let from = &self.plain[self.plain_start..self.plain_end];
        let len = from.len().min(to.len());
        to[..len].copy_from_slice(&from[..len]);
        self.plain_start += len;
        len
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.failed = Some(error.kind());
        wake(&mut self.reader);
        wake(&mut self.closer);
        wake(&mut self.writer);
        error
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Gives the socket what is in `out`.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_start < self.out_end {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.out_start..self.out_end]))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                len => self.out_start += len,
            }
        }
        (self.out_start, self.out_end) = (0, 0);
        Poll::Ready(Ok(()))
    }

    /// Waits until a record fits into `out`.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_room() { Poll::Ready(Ok(())) } else { self.poll_push(cx) }
    }

    fn poll_push_staged(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.staged_len > 0 {
            ready!(self.poll_room(cx))?;
            self.seal(DATA)?;
        }
        ready!(self.poll_push(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Opens the next record, reading the socket as needed; false at the end of the socket.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.open()? {
                return Poll::Ready(Ok(true));
            }
            if self.in_start == self.in_end {
                (self.in_start, self.in_end) = (0, 0);
            } else if self.input.len() - self.in_start < LARGE {
                self.input.copy_within(self.in_start..self.in_end, 0);
                self.in_end -= self.in_start;
                self.in_start = 0;
            }
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut self.input[self.in_end..]))? {
                0 => return Poll::Ready(Ok(false)),
                len => self.in_end += len,
            }
        }
    }

    /// Acknowledges the peer's FIN.
    fn poll_acknowledge(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.acknowledge {
            ready!(self.poll_room(cx))?;
            self.seal(ACK)?;
            self.acknowledge = false;
        }
        ready!(self.poll_push(cx))?;
        wake(&mut self.writer);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_read_inner(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        loop {
            filled += self.take(&mut buf[filled..]);
            if filled == buf.len() {
                return Poll::Ready(Ok(filled));
            }
            if self.ahead_start < self.ahead.len() || self.plain_start < self.plain_end {
                continue;
            }
            if self.fin_received {
                // What the peer said is complete; that it cannot be told any more is its loss.
                if filled == 0 && self.failed.is_none() {
                    let _ = ready!(self.poll_acknowledge(cx));
                }
                return Poll::Ready(Ok(filled));
            }
            self.check()?;
            match self.poll_open(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) if filled > 0 => return Poll::Ready(Ok(filled)),
                Poll::Ready(Ok(false)) => {
                    let error = io::Error::new(ErrorKind::UnexpectedEof, "the stream was cut");
                    return Poll::Ready(Err(self.fail(error)));
                }
                Poll::Ready(Err(error)) if filled > 0 => {
                    self.fail(error);
                    return Poll::Ready(Ok(filled));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Poll::Pending if filled > 0 => return Poll::Ready(Ok(filled)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes the FIN and reads until it is acknowledged.
    fn poll_close_inner(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Writing and reading both go on: the peer may be waiting for us to read before it reads.
        let written = match self.poll_fin(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => return Poll::Ready(self.end_of_close(error)),
            Poll::Pending => false,
        };
        loop {
            if self.fin_acknowledged && written && !self.acknowledge {
                return Poll::Ready(Ok(()));
            }
            if self.plain_start < self.plain_end {
                if self.ahead.len() - self.ahead_start >= READ_AHEAD {
                    break;
                }
                self.ahead.extend_from_slice(&self.plain[self.plain_start..self.plain_end]);
                self.plain_start = self.plain_end;
                wake(&mut self.reader);
            }
            match self.poll_open(cx) {
                Poll::Ready(Ok(true)) if self.acknowledge => match self.poll_acknowledge(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(self.end_of_close(error)),
                    Poll::Pending => break,
                },
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    let error =
                        io::Error::new(ErrorKind::UnexpectedEof, "the stream was cut before its end was acknowledged");
                    return Poll::Ready(self.end_of_close(error));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.end_of_close(error)),
                Poll::Pending => break,
            }
        }
        let delay = self.close_by.get_or_insert_with(|| Delay::new(CLOSE_TIMEOUT));
        ready!(Pin::new(delay).poll(cx));
        Poll::Ready(self.end_of_close(io::Error::new(ErrorKind::TimedOut, "the end was not acknowledged in time")))
    }

    fn poll_fin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.fin_sent {
            if self.staged_len > 0 {
                ready!(self.poll_room(cx))?;
                self.seal(DATA)?;
            }
            ready!(self.poll_room(cx))?;
            self.seal(FIN)?;
            self.fin_sent = true;
        }
        self.poll_acknowledge(cx)
    }

    /// A peer that ended first and went away has all that was sent before its end.
    fn end_of_close(&mut self, error: io::Error) -> io::Result<()> {
        let fine = self.fin_acknowledged || (self.fin_received && !self.sent_after_fin);
        let error = self.fail(error);
        if fine { Ok(()) } else { Err(error) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Session<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = self.poll_read_inner(cx, buf);
        if polled.is_pending() {
            remember(&mut self.reader, cx);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Session<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        if self.fin_sent {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        self.sent_after_fin |= self.fin_received;
        let mut taken = 0;
        while taken < buf.len() {
            if self.staged_len == capacity(LARGE) {
                match self.poll_room(cx) {
                    Poll::Ready(Ok(())) => self.seal(DATA)?,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                    Poll::Pending => break,
                }
            }
            let len = (capacity(LARGE) - self.staged_len).min(buf.len() - taken);
            let at = HEAD + self.staged_len;
            self.staged[at..at + len].copy_from_slice(&buf[taken..taken + len]);
            self.staged_len += len;
            taken += len;
        }
        if self.out_end - self.out_start >= PUSH_AT
            && let Poll::Ready(Err(error)) = self.poll_push(cx)
        {
            return Poll::Ready(Err(self.fail(error)));
        }
        if taken == 0 && !buf.is_empty() {
            remember(&mut self.writer, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        match self.poll_push_staged(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.fail(error))),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Pending => {
                remember(&mut self.writer, cx);
                Poll::Pending
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fin_acknowledged {
            return Poll::Ready(Ok(()));
        }
        self.check()?;
        let polled = self.poll_close_inner(cx);
        if polled.is_pending() {
            remember(&mut self.closer, cx);
        }
        polled
    }
}
