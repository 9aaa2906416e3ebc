//! Where what arrives for the application goes: to handlers, each port's on a thread of its own, or to streams.
//!
//! A port has five handlers, each independent of the others (seed 000 §4.2). Those that are closures run on the worker of the
//! port, one after another; a receiver may be a stream in place of a closure, and then a task takes from the same kind of
//! queue. The event loop never waits: a queue has 64 places for messages, 64 for requests and 64 for what passes through, shared
//! fairly among neighbours, and what has no place is dropped and counted (a message), or ends as overloaded (the others).

mod handlers;
mod queue;
mod worker;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use libp2p_identity::PeerId;

use crate::protocol::interface::{Command, Event, Failure, HandlerKind};
use crate::swarm::handle::{Ask, Delivery, Handle, Responder};
use crate::swarm::shared::{Shared, count};

use self::handlers::forwarder_kind;
pub use self::handlers::{Forwarder, MessageReceiver, MigrationHandler, RegenerationHandler, RequestReceiver, Transit};
pub(crate) use self::handlers::{PortHandler, RangeHandler};
pub(crate) use self::queue::FairQueue;
use self::worker::{Job, Pass, PortWorker, RangeJob, RangeWorker};

/// Ports with a worker: handlers on further ones are refused as overloaded. choice
const MAX_WORKERS: usize = 256;

/// What is registered for a port, or for ranges.
pub(crate) enum Registration {
    /// A handler.
    Handler(PortHandler),
    /// A stream of messages.
    Messages(u64, Arc<FairQueue<Delivery>>),
    /// A stream of requests.
    Requests(u64, Arc<FairQueue<(Ask, Responder)>>),
}

impl Registration {
    fn kind(&self) -> HandlerKind {
        match self {
            Self::Handler(handler) => handler.kind(),
            Self::Messages(..) => HandlerKind::MessageReceiver,
            Self::Requests(..) => HandlerKind::RequestReceiver,
        }
    }
}

/// The stream that stands in for a receiver, with the number of its registration. It ends when this is dropped.
struct StreamEnd<T>(u64, Arc<FairQueue<T>>);

impl<T> Drop for StreamEnd<T> {
    fn drop(&mut self) {
        self.1.close();
    }
}

/// The handlers of one port.
#[derive(Default)]
struct Port {
    set: BTreeSet<HandlerKind>,
    messages: Option<StreamEnd<Delivery>>,
    requests: Option<StreamEnd<(Ask, Responder)>>,
    worker: Option<PortWorker>,
}

impl Port {
    /// Whether a handler runs on the worker.
    fn needs_worker(&self) -> bool {
        self.set.iter().any(|kind| match kind {
            HandlerKind::MessageReceiver => self.messages.is_none(),
            HandlerKind::RequestReceiver => self.requests.is_none(),
            _ => true,
        })
    }
}

/// The handlers of all ports and of ranges.
pub(super) struct Dispatch {
    ports: HashMap<u16, Port>,
    ranges: Option<RangeWorker>,
    handle: Handle,
    shared: Arc<Shared>,
}

impl Dispatch {
    pub(super) fn new(handle: Handle, shared: Arc<Shared>) -> Self {
        Self { ports: HashMap::new(), ranges: None, handle, shared }
    }

    /// Registers in place of an earlier registration of the same kind; what the node is to be told.
    pub(super) fn register(&mut self, number: u16, registration: Registration) -> Result<Command<PeerId>, Failure> {
        let kind = registration.kind();
        let workers = self.ports.values().filter(|port| port.worker.is_some()).count();
        let port = self.ports.entry(number).or_default();
        let stream = !matches!(registration, Registration::Handler(_));
        if !stream && port.worker.is_none() {
            let worker = (workers < MAX_WORKERS).then(|| PortWorker::start(number, &self.handle, &self.shared));
            let Some(worker) = worker.flatten() else {
                self.ports.retain(|_, port| !port.set.is_empty());
                return Err(Failure::Overloaded);
            };
            port.worker = Some(worker);
        }
        match kind {
            HandlerKind::MessageReceiver => port.messages = None,
            HandlerKind::RequestReceiver => port.requests = None,
            _ => {}
        }
        port.set.insert(kind);
        let mut handler = None;
        match registration {
            Registration::Handler(new) => handler = Some(new),
            Registration::Messages(id, queue) => port.messages = Some(StreamEnd(id, queue)),
            Registration::Requests(id, queue) => port.requests = Some(StreamEnd(id, queue)),
        }
        if let Some(worker) = &port.worker {
            worker.set(kind, handler);
        }
        if !port.needs_worker() {
            port.worker = None;
        }
        Ok(Command::SetHandler { port: number, kind, on: true })
    }

    /// Removes all handlers of a port.
    pub(super) fn clear(&mut self, number: u16) -> Vec<Command<PeerId>> {
        let set = self.ports.remove(&number).map(|mut port| std::mem::take(&mut port.set)).unwrap_or_default();
        set.into_iter().map(|kind| Command::SetHandler { port: number, kind, on: false }).collect()
    }

    /// A stream was dropped.
    pub(super) fn unregister(&mut self, id: u64) -> Option<Command<PeerId>> {
        let (number, kind) = self.ports.iter().find_map(|(number, port)| {
            if port.messages.as_ref().is_some_and(|stream| stream.0 == id) {
                Some((*number, HandlerKind::MessageReceiver))
            } else if port.requests.as_ref().is_some_and(|stream| stream.0 == id) {
                Some((*number, HandlerKind::RequestReceiver))
            } else {
                None
            }
        })?;
        let port = self.ports.get_mut(&number)?;
        match kind {
            HandlerKind::MessageReceiver => port.messages = None,
            _ => port.requests = None,
        }
        port.set.remove(&kind);
        if port.set.is_empty() {
            self.ports.remove(&number);
        }
        Some(Command::SetHandler { port: number, kind, on: false })
    }

    /// Sets a handler of ranges; what the node is to be told.
    pub(super) fn set_range_handler(&mut self, handler: RangeHandler) -> Result<Command<PeerId>, Failure> {
        if self.ranges.is_none() {
            self.ranges = RangeWorker::start(&self.handle, &self.shared);
        }
        let Some(worker) = &self.ranges else { return Err(Failure::Overloaded) };
        let (migration, regeneration) = match &handler {
            RangeHandler::Migration(_) => (Some(true), None),
            RangeHandler::Regeneration(_) => (None, Some(true)),
        };
        worker.set(handler);
        Ok(Command::SetRangeHandlers { migration, regeneration })
    }

    /// Removes the handlers of ranges; work that waits counts as done.
    pub(super) fn clear_ranges(&mut self) -> Command<PeerId> {
        self.ranges = None;
        Command::SetRangeHandlers { migration: Some(false), regeneration: Some(false) }
    }

    /// Hands an event to the handler whom it concerns. Gives back others.
    pub(super) fn dispatch(&mut self, event: Event<PeerId>) -> Option<Event<PeerId>> {
        match event {
            Event::Delivered { port, to, copy, payload, from } => {
                self.message(from, Delivery { port, to, copy, payload });
            }
            Event::Asked { ask, port, to, copy, payload, from } => {
                // If there is nobody to take it, dropping the responder refuses the request.
                let responder = Responder::new(ask, self.shared.clone());
                self.request(from, Ask { port, to, copy, payload }, responder);
            }
            Event::Passing { pass, kind, port, to, copy, payload, from } => {
                let transit = Transit { kind, port, to, copy, payload };
                self.passing(from, Pass::new(pass, transit, self.shared.clone()), (port, forwarder_kind(kind)));
            }
            // Without a handler the work is done, as the drop of the job says.
            Event::RangeWork { work, what } => self.range_work(RangeJob::new(work, what, self.shared.clone())),
            other => return Some(other),
        }
        None
    }

    fn message(&mut self, from: Option<PeerId>, delivery: Delivery) {
        let dropped = match self.ports.get(&delivery.port) {
            Some(Port { messages: Some(stream), .. }) => stream.1.push(0, from, delivery).is_some(),
            Some(Port { worker: Some(worker), .. }) => worker.push(from, Job::Message(delivery)).is_some(),
            _ => true,
        };
        if dropped {
            count(&self.shared.counters.application_dropped);
        }
    }

    fn request(&mut self, from: Option<PeerId>, ask: Ask, responder: Responder) {
        let dropped = match self.ports.get(&ask.port) {
            Some(Port { requests: Some(stream), .. }) => stream.1.push(0, from, (ask, responder)).map(|gone| gone.1),
            Some(Port { worker: Some(worker), .. }) => match worker.push(from, Job::Request(ask, responder)) {
                Some(Job::Request(_, responder)) => Some(responder),
                _ => None,
            },
            _ => None,
        };
        if let Some(responder) = dropped {
            responder.overloaded();
            count(&self.shared.counters.application_dropped);
        }
    }

    fn passing(&mut self, from: PeerId, pass: Pass, (port, kind): (u16, HandlerKind)) {
        let port = self.ports.get(&port).filter(|port| port.set.contains(&kind));
        // Without a forwarder (any more) it goes on unchanged, as the drop of `pass` says.
        let Some(worker) = port.and_then(|port| port.worker.as_ref()) else { return };
        if let Some(Job::Pass(gone)) = worker.push(Some(from), Job::Pass(pass)) {
            gone.overloaded();
            count(&self.shared.counters.application_dropped);
        }
    }

    fn range_work(&mut self, job: RangeJob) {
        let Some(worker) = &self.ranges else { return };
        if !worker.push(job) {
            tracing::warn!("too much work on ranges waits: some is left out");
            count(&self.shared.counters.application_dropped);
        }
    }
}
