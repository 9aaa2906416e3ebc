//! The threads on which handlers run: one a port, and one for ranges.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use super::handlers::{
    Forwarder, MessageReceiver, MigrationHandler, PortHandler, RangeHandler, RegenerationHandler, RequestReceiver,
    Transit, forwarder_kind,
};
use super::queue::{FairQueue, Next};
use crate::protocol::interface::{Failure, HandlerKind, Passage, Passing, RangeWork};
use crate::swarm::handle::{Ask, Delivery, Handle, Responder};
use crate::swarm::shared::{Shared, count, lock};

/// Something to handle at a port.
pub(super) enum Job {
    Message(Delivery),
    Request(Ask, Responder),
    Pass(Pass),
}

/// Something that waits for a forwarder's decision. If none comes because the forwarder is gone, it goes on unchanged.
pub(super) struct Pass {
    pass: u64,
    transit: Option<Transit>,
    shared: Arc<Shared>,
}

impl Pass {
    pub(super) fn new(pass: u64, transit: Transit, shared: Arc<Shared>) -> Self {
        Self { pass, transit: Some(transit), shared }
    }

    /// There is no place for it.
    pub(super) fn overloaded(mut self) {
        self.transit = None;
        self.decide(Err(Failure::Overloaded));
    }

    fn decide(&self, passage: Result<Passage, Failure>) {
        let pass = self.pass;
        self.shared.note(|notes| notes.passages.push((pass, passage)));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(transit) = self.transit.take() {
            self.decide(Ok(Passage::Forward(transit.payload)));
        }
    }
}

/// Handlers set and removed since the worker looked last; the latest of a kind.
type Changes = Mutex<BTreeMap<HandlerKind, Option<PortHandler>>>;

/// The worker of a port. It ends, after what it is just doing, when this is dropped.
pub(super) struct PortWorker {
    queue: Arc<FairQueue<Job>>,
    changes: Arc<Changes>,
}

impl PortWorker {
    pub(super) fn start(port: u16, handle: &Handle, shared: &Arc<Shared>) -> Option<Self> {
        let (queue, changes) = (Arc::<FairQueue<Job>>::default(), Arc::<Changes>::default());
        let bench = Bench::new(handle, shared);
        let (jobs, news) = (queue.clone(), changes.clone());
        spawn(format!("neblo-port-{port}"), move || bench.work(&jobs, &news))?;
        Some(Self { queue, changes })
    }

    /// Sets or removes a handler; what waits is handled by the new one.
    pub(super) fn set(&self, kind: HandlerKind, handler: Option<PortHandler>) {
        lock(&self.changes).insert(kind, handler);
        self.queue.nudge();
    }

    /// Hands a job over; gives back what has no place.
    pub(super) fn push(&self, from: super::queue::Bringer, job: Job) -> Option<Job> {
        let lane = match &job {
            Job::Message(_) => 0,
            Job::Request(..) => 1,
            Job::Pass(_) => 2,
        };
        self.queue.push(lane, from, job)
    }
}

impl Drop for PortWorker {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Option<()> {
    let spawned = thread::Builder::new().name(name).spawn(work);
    spawned.inspect_err(|error| tracing::error!(%error, "no thread for a handler")).ok().map(drop)
}

/// What a port's worker works with.
struct Bench {
    handle: Handle,
    shared: Arc<Shared>,
    messages: Option<Box<dyn MessageReceiver>>,
    requests: Option<Box<dyn RequestReceiver>>,
    forwarders: BTreeMap<Passing, Box<dyn Forwarder>>,
}

impl Bench {
    fn new(handle: &Handle, shared: &Arc<Shared>) -> Self {
        Self {
            handle: handle.clone(),
            shared: shared.clone(),
            messages: None,
            requests: None,
            forwarders: BTreeMap::new(),
        }
    }

    fn work(mut self, queue: &FairQueue<Job>, changes: &Changes) {
        loop {
            match queue.wait() {
                Next::Closed => return,
                Next::Nudge => {
                    let changes = std::mem::take(&mut *lock(changes));
                    for (kind, handler) in changes {
                        self.change(kind, handler);
                    }
                }
                Next::Item(job) => self.run(job),
            }
        }
    }

    fn change(&mut self, kind: HandlerKind, handler: Option<PortHandler>) {
        let old = match kind {
            HandlerKind::MessageReceiver => self.messages.take().map(PortHandler::Messages),
            HandlerKind::RequestReceiver => self.requests.take().map(PortHandler::Requests),
            HandlerKind::MessageForwarder | HandlerKind::RequestForwarder | HandlerKind::ResponseForwarder => {
                let passing = self.forwarders.keys().copied().find(|passing| forwarder_kind(*passing) == kind);
                passing.and_then(|passing| {
                    self.forwarders.remove(&passing).map(|forwarder| PortHandler::Forwarder(passing, forwarder))
                })
            }
        };
        self.guarded("dropping a handler", || drop(old));
        match handler {
            Some(PortHandler::Messages(receiver)) => self.messages = Some(receiver),
            Some(PortHandler::Requests(receiver)) => self.requests = Some(receiver),
            Some(PortHandler::Forwarder(passing, forwarder)) => {
                self.forwarders.insert(passing, forwarder);
            }
            None => {}
        }
    }

    fn run(&mut self, job: Job) {
        let handle = self.handle.clone();
        match job {
            Job::Message(delivery) => {
                let Some(mut receiver) = self.messages.take() else { return };
                self.guarded("a message receiver", || receiver.receive(&handle, delivery));
                self.messages = Some(receiver);
            }
            // A panic drops the responder, which refuses.
            Job::Request(ask, responder) => {
                let Some(mut receiver) = self.requests.take() else { return };
                self.guarded("a request receiver", || receiver.receive(&handle, ask, responder));
                self.requests = Some(receiver);
            }
            Job::Pass(mut pass) => {
                let Some(transit) = pass.transit.clone() else { return };
                let kind = transit.kind;
                let Some(mut forwarder) = self.forwarders.remove(&kind) else { return };
                let passage = self.guarded("a forwarder", || forwarder.forward(&handle, transit));
                self.forwarders.insert(kind, forwarder);
                if let Some(passage) = passage {
                    pass.transit = None;
                    pass.decide(Ok(passage));
                }
            }
        }
    }

    fn guarded<T>(&self, what: &str, work: impl FnOnce() -> T) -> Option<T> {
        guarded(&self.shared, what, work)
    }
}

/// Runs an application's code; a panic is counted and ends there.
fn guarded<T>(shared: &Shared, what: &str, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        count(&shared.counters.handler_panics);
        tracing::error!("{what} panicked");
    }
    done.ok()
}

/// Work on a range. It is done when this is dropped, if not before.
pub(super) struct RangeJob {
    work: Option<u64>,
    what: RangeWork,
    shared: Arc<Shared>,
}

impl RangeJob {
    pub(super) fn new(work: u64, what: RangeWork, shared: Arc<Shared>) -> Self {
        Self { work: Some(work), what, shared }
    }
}

impl Drop for RangeJob {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.shared.note(|notes| notes.work_done.push(work));
        }
    }
}

/// Work on ranges that waits for its handler. choice
const MAX_RANGE_WORK: usize = 1_024;

/// The worker of ranges. It ends, after what it is just doing, when this is dropped.
pub(super) struct RangeWorker {
    queue: Arc<FairQueue<RangeJob>>,
    changes: Arc<Mutex<Vec<RangeHandler>>>,
}

impl RangeWorker {
    pub(super) fn start(handle: &Handle, shared: &Arc<Shared>) -> Option<Self> {
        let worker = Self { queue: Arc::new(FairQueue::with_cap(MAX_RANGE_WORK)), changes: Arc::default() };
        let (queue, changes) = (worker.queue.clone(), worker.changes.clone());
        let (handle, shared) = (handle.clone(), shared.clone());
        spawn("neblo-ranges".into(), move || ranges(&queue, &changes, &handle, &shared))?;
        Some(worker)
    }

    pub(super) fn set(&self, handler: RangeHandler) {
        let mut changes = lock(&self.changes);
        // Only the latest of a kind counts.
        changes.retain(|old| std::mem::discriminant(old) != std::mem::discriminant(&handler));
        changes.push(handler);
        drop(changes);
        self.queue.nudge();
    }

    /// False if there is no place for more work.
    pub(super) fn push(&self, job: RangeJob) -> bool {
        self.queue.push(0, None, job).is_none()
    }
}

impl Drop for RangeWorker {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn ranges(queue: &FairQueue<RangeJob>, changes: &Mutex<Vec<RangeHandler>>, handle: &Handle, shared: &Arc<Shared>) {
    let mut migration: Option<Box<dyn MigrationHandler>> = None;
    let mut regeneration: Option<Box<dyn RegenerationHandler>> = None;
    loop {
        let mut job = match queue.wait() {
            Next::Closed => return,
            Next::Nudge => {
                for handler in std::mem::take(&mut *lock(changes)) {
                    match handler {
                        RangeHandler::Migration(handler) => migration = Some(handler),
                        RangeHandler::Regeneration(handler) => regeneration = Some(handler),
                    }
                }
                continue;
            }
            Next::Item(job) => job,
        };
        guarded(shared, "a range handler", || match job.what {
            RangeWork::Migration(what) => {
                if let Some(handler) = &mut migration {
                    handler.migrate(handle, what);
                }
            }
            RangeWork::Regeneration(what) => {
                if let Some(handler) = &mut regeneration {
                    handler.regenerate(handle, what);
                }
            }
        });
        if let Some(work) = job.work.take() {
            handle.range_work_done(work);
        }
    }
}
