//! What an application's handlers are: closures, or types with these traits (seed 000 §4.2, §4.3).

use crate::address::OverlayAddr;
use crate::protocol::interface::{HandlerKind, Migration, Passage, Passing, Regeneration};
use crate::swarm::handle::{Ask, Delivery, Handle, Responder};

/// Something that passes through on its way to another peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transit {
    /// A message, a request, or a response.
    pub kind: Passing,
    /// The port.
    pub port: u16,
    /// The address it was sent to, before it was translated for a copy; for a response that of its request.
    pub to: OverlayAddr,
    /// Which copy, 0 for the primary.
    pub copy: u8,
    /// What it says.
    pub payload: Vec<u8>,
}

/// Gets the messages (UD) to a port that arrive at this node: `FnMut(&Handle, Delivery)`.
pub trait MessageReceiver: Send + 'static {
    /// A message has arrived.
    fn receive(&mut self, handle: &Handle, delivery: Delivery);
}

impl<F: FnMut(&Handle, Delivery) + Send + 'static> MessageReceiver for F {
    fn receive(&mut self, handle: &Handle, delivery: Delivery) {
        self(handle, delivery);
    }
}

/// Gets the requests (REQ) to a port that arrive at this node: `FnMut(&Handle, Ask, Responder)`.
pub trait RequestReceiver: Send + 'static {
    /// A request has arrived: answered by `responder`, at once, or later if it is kept. Dropping it refuses the request.
    fn receive(&mut self, handle: &Handle, ask: Ask, responder: Responder);
}

impl<F: FnMut(&Handle, Ask, Responder) + Send + 'static> RequestReceiver for F {
    fn receive(&mut self, handle: &Handle, ask: Ask, responder: Responder) {
        self(handle, ask, responder);
    }
}

/// Sees what passes through a port on its way to another peer, and decides about it: `FnMut(&Handle, Transit) -> Passage`.
pub trait Forwarder: Send + 'static {
    /// Something passes through: what goes on is what the decision holds.
    fn forward(&mut self, handle: &Handle, transit: Transit) -> Passage;
}

impl<F: FnMut(&Handle, Transit) -> Passage + Send + 'static> Forwarder for F {
    fn forward(&mut self, handle: &Handle, transit: Transit) -> Passage {
        self(handle, transit)
    }
}

/// Is told of ranges that went to another owner: `FnMut(&Handle, Migration)`.
pub trait MigrationHandler: Send + 'static {
    /// What is kept for the range is to be sent to it; the range is the new owner's already. Done on return.
    fn migrate(&mut self, handle: &Handle, migration: Migration);
}

impl<F: FnMut(&Handle, Migration) + Send + 'static> MigrationHandler for F {
    fn migrate(&mut self, handle: &Handle, migration: Migration) {
        self(handle, migration);
    }
}

/// Is told of ranges whose owner died: `FnMut(&Handle, Regeneration)`.
pub trait RegenerationHandler: Send + 'static {
    /// What is kept for the range is to be sent to it, to be kept there anew. Done on return.
    fn regenerate(&mut self, handle: &Handle, regeneration: Regeneration);
}

impl<F: FnMut(&Handle, Regeneration) + Send + 'static> RegenerationHandler for F {
    fn regenerate(&mut self, handle: &Handle, regeneration: Regeneration) {
        self(handle, regeneration);
    }
}

/// A handler of a port.
pub(crate) enum PortHandler {
    Messages(Box<dyn MessageReceiver>),
    Requests(Box<dyn RequestReceiver>),
    Forwarder(Passing, Box<dyn Forwarder>),
}

impl PortHandler {
    pub(super) fn kind(&self) -> HandlerKind {
        match self {
            Self::Messages(_) => HandlerKind::MessageReceiver,
            Self::Requests(_) => HandlerKind::RequestReceiver,
            Self::Forwarder(passing, _) => forwarder_kind(*passing),
        }
    }
}

/// The handler that sees what passes so.
pub(super) fn forwarder_kind(passing: Passing) -> HandlerKind {
    match passing {
        Passing::Message => HandlerKind::MessageForwarder,
        Passing::Request => HandlerKind::RequestForwarder,
        Passing::Response => HandlerKind::ResponseForwarder,
    }
}

/// A handler of ranges.
pub(crate) enum RangeHandler {
    Migration(Box<dyn MigrationHandler>),
    Regeneration(Box<dyn RegenerationHandler>),
}
