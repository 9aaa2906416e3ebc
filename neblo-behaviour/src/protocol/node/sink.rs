//! Where the parts of a node put what they want done: frames and timers go out at once, events wait for `Node`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::client::{Client, ClientEvent, ClientTimer};
use crate::protocol::directory::{Directory, DirectoryEvent, DirectoryTimer};
use crate::protocol::interface::Output;
use crate::protocol::io::{Contact, Part, Peer, Sink};
use crate::protocol::link::{LinkEvent, LinkTimer, Links};
use crate::protocol::messaging::{Messaging, MessagingEvent, MessagingTimer};
use crate::protocol::paper::{Paper, PaperEvent, PaperTimer};
use crate::protocol::path::{PathEvent, PathTimer, Paths};
use crate::protocol::ring::{Ring, RingEvent, RingTimer};
use crate::protocol::subgroup::{SubgroupEvent, SubgroupTimer, Subgroups};
use crate::protocol::wire::Frame;

/// What a node waits for. Opaque to those who drive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer<P> {
    /// Of the ring.
    Ring(RingTimer),
    /// Of links.
    Link(LinkTimer<P>),
    /// Of messaging.
    Messaging(MessagingTimer),
    /// Of subgroups.
    Subgroup(SubgroupTimer),
    /// Of paths.
    Path(PathTimer),
    /// Of the directory.
    Directory(DirectoryTimer),
    /// Of the client.
    Client(ClientTimer),
    /// Of the paper's mechanism.
    Paper(PaperTimer),
    /// An interval of a regeneration is cast again.
    Cast(u64),
    /// Upkeep of the node itself.
    Upkeep(u64),
    /// The set of connections to keep is looked at.
    Refresh,
    /// Leaving is said to have ended.
    Left,
}

/// An event of a part that `Node` has not looked at yet.
pub(super) enum Happened<P> {
    Ring(RingEvent<P>),
    Link(LinkEvent<P>),
    Messaging(MessagingEvent<P>),
    Subgroup(SubgroupEvent<P>),
    Path(PathEvent<P>),
    Directory(DirectoryEvent<P>),
    Client(ClientEvent),
    Paper(PaperEvent<P>),
}

pub(super) struct NodeSink<'a, P> {
    pub(super) out: &'a mut Vec<Output<P>>,
    pub(super) queue: &'a mut VecDeque<Happened<P>>,
    /// A random number: neighbours must not act in step.
    pub(super) jitter: u64,
}

impl<P: Peer> NodeSink<'_, P> {
    fn frame(&mut self, to: &Contact<P>, frame: Frame<P>) {
        self.out.push(Output::Send { to: to.clone(), lane: frame.lane(), frame: Box::new(frame) });
    }
}

macro_rules! sinks {
    ($($part:ident: $happened:ident, $frame:expr, $jitter:expr;)*) => {$(
        impl<P: Peer> Sink<P, $part<P>> for NodeSink<'_, P> {
            fn send(&mut self, to: &Contact<P>, message: <$part<P> as Part<P>>::Message) {
                let frame: fn(<$part<P> as Part<P>>::Message) -> Frame<P> = $frame;
                self.frame(to, frame(message));
            }
            fn arm(&mut self, after: Duration, timer: <$part<P> as Part<P>>::Timer) {
                let jitter = after / 64 * self.jitter.checked_rem($jitter).unwrap_or(0) as u32;
                self.out.push(Output::Arm { after: after + jitter, timer: Timer::$happened(timer) });
            }
            fn emit(&mut self, event: <$part<P> as Part<P>>::Event) {
                self.queue.push_back(Happened::$happened(event));
            }
        }
    )*};
}

/// Timers expire up to an eighth later (in sixty-fourths), so that what began together does not stay together.
const LATER: u64 = 9;
/// Nothing later: a request ends within its time-out, to the microsecond.
const IN_TIME: u64 = 0;

sinks! {
    Ring: Ring, Frame::Ring, LATER;
    Links: Link, Frame::Link, LATER;
    Messaging: Messaging, Frame::Messaging, IN_TIME;
    Subgroups: Subgroup, Frame::Subgroup, LATER;
    Paths: Path, Frame::Path, LATER;
    Directory: Directory, Frame::Directory, LATER;
    Client: Client, |never| void::unreachable(never), LATER;
    Paper: Paper, Frame::Paper, LATER;
}
