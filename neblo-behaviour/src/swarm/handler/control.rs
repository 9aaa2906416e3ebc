//! The control plane of one connection: two lanes, one long-lived substream each way for each.

use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p_core::upgrade::NegotiationError;
use libp2p_swarm::Stream;

use super::frames::{End, Reader, Writer};
use super::lane::Lanes;
use crate::protocol::interface::Lane;
use crate::swarm::shared::{Counters, add, count};

/// Failures of a lane in a row after which the connection is given up.
const MAX_ATTEMPTS: u8 = 4;
/// A lane that held so long is not counted as an attempt.
const STABLE: Duration = Duration::from_secs(10);
/// How often the remote may open a lane anew on one connection.
const MAX_REOPENED: u8 = 32;

/// Our substream of a lane.
pub(super) struct Outbound {
    lane: Lane,
    state: State,
    attempts: u8,
}

enum State {
    Closed,
    Opening,
    Open { frames: Box<Writer>, since: Instant },
}

/// Whether a lazily negotiated substream failed because the remote does not know the protocol.
pub(super) fn is_not_supported(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<NegotiationError>());
    matches!(inner, Some(NegotiationError::Failed))
}

/// The lane could not be kept open.
#[derive(Debug)]
pub(super) struct Broken;

impl Outbound {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, state: State::Closed, attempts: 0 }
    }

    /// Whether a substream is to be requested now; it counts as requested from then on.
    ///
    /// The urgent lane is opened as soon as lanes are attached, so that the remote knows us for one of its own; the other
    /// when it has something to carry.
    pub(super) fn wants_substream(&mut self, lanes: &Lanes) -> bool {
        let wanted = matches!(self.state, State::Closed) && (self.lane == Lane::Urgent || !lanes.is_empty(self.lane));
        if wanted {
            self.state = State::Opening;
        }
        wanted
    }

    pub(super) fn opened(&mut self, mut stream: Stream, hello: Bytes) {
        stream.ignore_for_keep_alive();
        let mut frames = Box::new(Writer::new(stream));
        frames.push(Vec::from(hello).into());
        self.state = State::Open { frames, since: Instant::now() };
    }

    /// The substream failed. An error when it should not be tried again.
    pub(super) fn failed(&mut self) -> Result<(), Broken> {
        if matches!(&self.state, State::Open { since, .. } if since.elapsed() > STABLE) {
            self.attempts = 0;
        }
        self.state = State::Closed;
        self.attempts += 1;
        if self.attempts < MAX_ATTEMPTS { Ok(()) } else { Err(Broken) }
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Moves frames from the lane to the socket; the number of frames moved, or that the substream failed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        lanes: &Lanes,
        max: usize,
        counters: &Counters,
    ) -> io::Result<usize> {
        let State::Open { frames, .. } = &mut self.state else { return Ok(0) };
        // Nothing is ever said on the way back; reading notices the end, and a lazy negotiation that failed.
        if let Poll::Ready(error) = frames.poll_end(cx) {
            return Err(error);
        }
        let mut moved = 0;
        while let Poll::Ready(written) = frames.poll_write(cx) {
            written?;
            let before = moved;
            while frames.has_room()
                && let Some(frame) = lanes.pop(self.lane)
            {
                if frame.len() > max {
                    count(&counters.frames_dropped);
                    continue;
                }
                count(&counters.frames_out);
                add(&counters.frame_bytes_out, frame.len() as u64);
                frames.push(frame);
                moved += 1;
            }
            if moved == before {
                break;
            }
        }
        if let Poll::Ready(flushed) = frames.poll_flush(cx) {
            flushed?;
        }
        Ok(moved)
    }
}

/// The remote's substream of a lane.
#[derive(Default)]
pub(super) struct Inbound {
    frames: Option<Box<Reader>>,
    reopened: u8,
    /// The Hello has arrived on this substream.
    pub(super) greeted: bool,
}

/// The remote does not keep to the framing.
#[derive(Debug)]
pub(super) struct Misframed;

impl Inbound {
    /// Takes a substream in place of the one before; false if the remote has done so too often.
    pub(super) fn accept(&mut self, mut stream: Stream) -> bool {
        stream.ignore_for_keep_alive();
        self.reopened = self.reopened.saturating_add(1);
        self.frames = Some(Box::new(Reader::new(stream)));
        self.greeted = false;
        self.reopened <= MAX_REOPENED
    }

    /// The next frame. The end of the substream is no error: the remote may open it anew.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Misframed>> {
        let Some(frames) = &mut self.frames else { return Poll::Pending };
        match frames.poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(frame)) => Poll::Ready(Ok(frame)),
            Poll::Ready(Err(end)) => {
                self.frames = None;
                match end {
                    End::Framing => Poll::Ready(Err(Misframed)),
                    End::Gone => Poll::Pending,
                }
            }
        }
    }
}
