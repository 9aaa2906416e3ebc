//! The connection handler: both planes over one connection.
//!
//! The behaviour gives it work through a [`Mailbox`] and not through `NotifyHandler`, because one event that cannot be
//! delivered would stop all behaviours of the swarm from being polled.

mod control;
pub(crate) mod data;
mod frames;
pub(crate) mod lane;
mod mailbox;
pub(crate) mod tied;
pub(crate) mod upgrade;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures_timer::Delay;
use libp2p_identity::PeerId;
use libp2p_swarm::handler::{
    ConnectionEvent, ConnectionHandler, ConnectionHandlerEvent, DialUpgradeError, FullyNegotiatedInbound,
    FullyNegotiatedOutbound, StreamUpgradeError,
};
use libp2p_swarm::{Stream, SubstreamProtocol};

use self::control::{Broken, Inbound, Outbound, is_not_supported};
use self::data::{DataJob, NoHeader};
use self::lane::Lanes;
pub(crate) use self::mailbox::Taken;
pub(crate) use self::mailbox::{Job, Mailbox};
use self::tied::{Tied, Ties};
use self::upgrade::{Names, Negotiated, Plane, Upgrade};
use super::shared::{Shared, add, count, lock};
use crate::protocol::WireError;
use crate::protocol::interface::{Lane, MAX_FRAME, Refusal, StreamHeader};
use crate::protocol::wire::{Frame, Hello};

/// Frames, and bytes of frames, that travel to the behaviour in one event.
const BATCH_FRAMES: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;
/// Streams whose header is being read, or whose refusal is being told, on one connection.
const MAX_ASKING: usize = 32;
/// How long the remote may take to answer our Hello with its own.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept after its last frame although nothing holds it.
const LINGER: Duration = Duration::from_secs(10);

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame that is too long or not framed at all.
    Framing,
    /// A frame that cannot be read.
    Malformed(WireError),
    /// The first frame was not a Hello, or a later one was.
    Hello,
    /// A lane was opened anew too often.
    Reopened,
    /// The header of a stream that cannot be read.
    Header,
}

/// What the handler tells the behaviour.
#[derive(Debug)]
pub enum ToBehaviour {
    /// The connection is up; this is the way to it.
    Up(Arc<Mailbox>),
    /// The remote speaks our protocol.
    Greeted(Hello),
    /// The remote does not speak our protocol (or not any more).
    Foreign,
    /// A lane could not be kept open although the remote speaks our protocol.
    Broken,
    /// Frames in the order in which they arrived on their lanes.
    Frames(Vec<Frame<PeerId>>, Taken),
    /// The remote broke the protocol.
    Violated(Violation),
    /// The remote asks for a stream.
    Asked(StreamHeader, Tied),
}

/// What an outbound substream was requested for.
#[derive(Debug)]
pub enum Opening {
    /// A lane.
    Lane(Lane),
    /// A stream.
    Data(Box<DataJob>),
}

// The result of a future that is looked at as soon as it is there: a box would cost more than the room.
#[allow(clippy::large_enum_variant)]
enum Work {
    /// The header of a stream was read, or could not be.
    Asked(Result<(StreamHeader, Tied), NoHeader>),
    /// A refusal was told.
    Refused,
    /// A stream that was opened ended.
    Ended,
}

/// See the module.
pub struct Handler {
    names: Names,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    hello: Bytes,
    events: VecDeque<ToBehaviour>,
    jobs: VecDeque<Job>,

    lanes: Option<Arc<Lanes>>,
    outbound: [Outbound; 2],
    inbound: [Inbound; 2],
    /// Frames, and their bytes, that go to the behaviour once it has taken those before: one batch at most.
    frames: Vec<Frame<PeerId>>,
    frame_bytes: usize,
    /// The remote's limit on frames.
    max_frame: usize,
    greeted: bool,
    violated: bool,
    hello_by: Option<Delay>,
    used: Instant,
    linger: Option<Delay>,

    work: FuturesUnordered<BoxFuture<'static, Work>>,
    asking: usize,
    ties: Ties,
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler")
            .field("greeted", &self.greeted)
            .field("work", &self.work.len())
            .finish_non_exhaustive()
    }
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Urgent => 0,
        Lane::App => 1,
    }
}

impl Handler {
    pub(crate) fn new(names: Names, shared: Arc<Shared>, hello: Bytes) -> Self {
        let mailbox = Arc::<Mailbox>::default();
        Self {
            ties: Ties::new(mailbox.clone(), shared.clone()),
            names,
            shared,
            hello,
            events: VecDeque::from([ToBehaviour::Up(mailbox.clone())]),
            mailbox,
            jobs: VecDeque::new(),
            lanes: None,
            outbound: [Outbound::new(Lane::Urgent), Outbound::new(Lane::App)],
            inbound: Default::default(),
            frames: Vec::new(),
            frame_bytes: 0,
            max_frame: MAX_FRAME,
            greeted: false,
            violated: false,
            hello_by: None,
            used: Instant::now(),
            linger: None,
            work: FuturesUnordered::new(),
            asking: 0,
        }
    }

    fn violate(&mut self, violation: Violation) {
        if !self.violated {
            self.violated = true;
            self.events.push_back(ToBehaviour::Violated(violation));
        }
    }

    fn detach(&mut self) {
        self.lanes = None;
        self.hello_by = None;
        for outbound in &mut self.outbound {
            outbound.close();
        }
    }

    fn foreign(&mut self) {
        self.detach();
        self.events.push_back(ToBehaviour::Foreign);
    }

    fn lane_failed(&mut self, lane: Lane) {
        if let Err(Broken) = self.outbound[index(lane)].failed() {
            if self.greeted {
                self.detach();
                self.events.push_back(ToBehaviour::Broken);
            } else {
                self.foreign();
            }
        }
    }

    fn refuse(&mut self, stream: Tied, reason: Refusal) {
        count(&self.shared.counters.streams_refused);
        // Past the cap the stream is dropped without a word.
        if self.asking < 2 * MAX_ASKING {
            self.asking += 1;
            self.work.push(Box::pin(async move {
                data::refuse(stream, reason).await;
                Work::Refused
            }));
        }
    }

    fn fail(&mut self, job: DataJob, reason: Refusal) {
        self.work.push(Box::pin(async move {
            job.fail(reason).await;
            Work::Ended
        }));
    }

    fn accept(&mut self, Negotiated { plane, stream }: Negotiated) {
        match plane {
            Plane::Control(lane) => {
                if !self.inbound[index(lane)].accept(stream) {
                    self.violate(Violation::Reopened);
                }
            }
            Plane::Data if self.asking < MAX_ASKING => {
                self.asking += 1;
                let stream = self.ties.tie(stream);
                self.work.push(Box::pin(async { Work::Asked(data::read_header(stream).await) }));
            }
            Plane::Data => {
                let stream = self.ties.tie(stream);
                self.refuse(stream, Refusal::Full);
            }
        }
    }

    fn opened(&mut self, stream: Stream, opening: Opening) {
        match opening {
            Opening::Lane(lane) => {
                if self.lanes.is_none() {
                    return;
                }
                self.outbound[index(lane)].opened(stream, self.hello.clone());
                if !self.greeted && self.hello_by.is_none() {
                    self.hello_by = Some(Delay::new(HELLO_TIMEOUT));
                }
            }
            Opening::Data(job) => {
                let shared = self.shared.clone();
                let stream = self.ties.tie(stream);
                self.work.push(Box::pin(async {
                    job.run(stream, shared).await;
                    Work::Ended
                }));
            }
        }
    }

    fn not_opened(&mut self, opening: Opening, error: StreamUpgradeError<Infallible>) {
        match opening {
            Opening::Lane(_) if self.lanes.is_none() => {}
            Opening::Lane(_) if matches!(error, StreamUpgradeError::NegotiationFailed) && !self.greeted => {
                self.foreign()
            }
            Opening::Lane(lane) => self.lane_failed(lane),
            Opening::Data(job) => self.fail(*job, Refusal::Unreachable),
        }
    }

    fn hear(&mut self, lane: Lane, bytes: &Bytes) -> Result<(), Violation> {
        let inbound = &mut self.inbound[index(lane)];
        match (inbound.greeted, Frame::from_shared(bytes)) {
            (false, Ok(Frame::Hello(hello))) => {
                inbound.greeted = true;
                if hello.versions & 0b10 == 0 {
                    self.foreign();
                } else {
                    self.max_frame = usize::try_from(hello.max_frame).map_or(MAX_FRAME, |max| max.min(MAX_FRAME));
                    self.greeted = true;
                    self.hello_by = None;
                    self.events.push_back(ToBehaviour::Greeted(hello));
                }
                Ok(())
            }
            (false, _) | (true, Ok(Frame::Hello(_))) => Err(Violation::Hello),
            (true, Ok(frame)) => {
                self.frames.push(frame);
                Ok(())
            }
            (true, Err(WireError::UnknownKind)) => {
                count(&self.shared.counters.frames_unknown);
                Ok(())
            }
            (true, Err(error)) => Err(Violation::Malformed(error)),
        }
    }

    /// Reads frames, a batch at a time, the urgent lane first. While the behaviour has one, the next one is read.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) {
        if self.violated {
            return;
        }
        for lane in [Lane::Urgent, Lane::App] {
            while self.frames.len() < BATCH_FRAMES && self.frame_bytes < BATCH_BYTES {
                match self.inbound[index(lane)].poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(frame)) => {
                        let frame = Bytes::from(frame);
                        self.used = Instant::now();
                        count(&self.shared.counters.frames_in);
                        add(&self.shared.counters.frame_bytes_in, frame.len() as u64);
                        let kept = self.frames.len();
                        if let Err(violation) = self.hear(lane, &frame) {
                            return self.violate(violation);
                        }
                        // Hellos and frames of unknown kinds do not count: reading ends when there is nothing to read.
                        if self.frames.len() > kept {
                            self.frame_bytes += frame.len();
                        }
                    }
                    Poll::Ready(Err(_)) => return self.violate(Violation::Framing),
                }
            }
        }
        if !self.frames.is_empty() && self.mailbox.may_send() {
            self.mailbox.busy.store(true, Ordering::SeqCst);
            self.frame_bytes = 0;
            let frames = std::mem::take(&mut self.frames);
            self.events.push_back(ToBehaviour::Frames(frames, Taken::new(self.mailbox.clone())));
        }
    }

    fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Option<Opening> {
        let lanes = self.lanes.clone()?;
        lanes.waker.register(cx.waker());
        for lane in [Lane::Urgent, Lane::App] {
            let outbound = &mut self.outbound[index(lane)];
            match outbound.poll(cx, &lanes, self.max_frame, &self.shared.counters) {
                Ok(0) => {}
                Ok(_) => self.used = Instant::now(),
                Err(error) if is_not_supported(&error) && !self.greeted => self.foreign(),
                Err(_) => self.lane_failed(lane),
            }
            if self.lanes.is_some() && self.outbound[index(lane)].wants_substream(&lanes) {
                return Some(Opening::Lane(lane));
            }
        }
        None
    }

    /// Keeps the connection for a while after its last use, by frames of a peer that speaks our protocol.
    fn poll_linger(&mut self, cx: &mut Context<'_>) {
        if !self.greeted {
            return;
        }
        if self.linger.is_none() && self.used.elapsed() < LINGER {
            self.linger = Some(Delay::new(LINGER));
        }
        while let Some(linger) = &mut self.linger {
            if Pin::new(&mut *linger).poll(cx).is_pending() {
                return;
            }
            match LINGER.checked_sub(self.used.elapsed()) {
                Some(rest) if !rest.is_zero() => linger.reset(rest),
                _ => self.linger = None,
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = ToBehaviour;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opening;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(self.names.any(), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.mailbox.keep.load(Ordering::Relaxed) || self.linger.is_some() || !self.work.is_empty()
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, Opening, ToBehaviour>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
            }
            self.mailbox.waker.register(cx.waker());
            if self.jobs.is_empty() {
                self.jobs = std::mem::take(&mut lock(&self.mailbox.jobs));
            }
            let mut opening = None;
            while opening.is_none()
                && let Some(job) = self.jobs.pop_front()
            {
                match job {
                    Job::Attach(lanes) => self.lanes = Some(lanes),
                    Job::Refuse(stream, reason) => self.refuse(stream, reason),
                    Job::Open(job) => opening = Some(Opening::Data(job)),
                }
            }
            if let Some(opening) = opening.or_else(|| self.poll_outbound(cx)) {
                let plane = match &opening {
                    Opening::Lane(lane) => Plane::Control(*lane),
                    Opening::Data(_) => Plane::Data,
                };
                let protocol = SubstreamProtocol::new(self.names.one(plane), opening);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            self.poll_inbound(cx);
            if let Some(hello_by) = &mut self.hello_by
                && Pin::new(hello_by).poll(cx).is_ready()
            {
                self.foreign();
            }
            self.poll_linger(cx);
            while let Poll::Ready(Some(work)) = self.work.poll_next_unpin(cx) {
                match work {
                    Work::Ended => {}
                    Work::Refused | Work::Asked(Err(NoHeader::Cut)) => self.asking -= 1,
                    Work::Asked(Err(NoHeader::Malformed)) => {
                        self.asking -= 1;
                        self.violate(Violation::Header);
                    }
                    Work::Asked(Ok((header, stream))) => {
                        self.asking -= 1;
                        self.events.push_back(ToBehaviour::Asked(header, stream));
                    }
                }
            }
            if self.events.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), Opening>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => self.accept(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.opened(protocol.stream, info);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => self.not_opened(info, error),
            _ => {}
        }
    }
}
