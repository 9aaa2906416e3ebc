//! The way from the behaviour to one connection handler.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::task::AtomicWaker;

use super::data::DataJob;
use super::lane::Lanes;
use super::tied::Tied;
use crate::protocol::interface::Refusal;
use crate::protocol::io::Time;
use crate::swarm::shared::lock;

/// Work that may wait in a mailbox: more is refused.
const MAX_JOBS: usize = 64;

/// What the behaviour wants of one connection.
#[derive(Debug)]
pub(crate) enum Job {
    /// Carry these lanes from now on.
    Attach(Arc<Lanes>),
    /// Open a stream of the data plane.
    Open(Box<DataJob>),
    /// Refuse a stream that was asked for.
    Refuse(Tied, Refusal),
}

/// The way from the behaviour to one connection handler.
#[derive(Debug, Default)]
pub struct Mailbox {
    pub(super) jobs: Mutex<VecDeque<Job>>,
    pub(super) waker: AtomicWaker,
    /// The lease: the connection is kept although it is idle.
    pub(super) keep: AtomicBool,
    /// A batch of frames is with the behaviour.
    pub(super) busy: AtomicBool,
    /// The next one waits for that.
    waiting: AtomicBool,
    /// When bytes of a stream arrived last, in microseconds of the node's time; 0: never.
    heard: AtomicU64,
}

impl Mailbox {
    /// Appends a job; gives it back if too many wait.
    pub(crate) fn push(&self, job: Job) -> Result<(), Box<Job>> {
        let mut jobs = lock(&self.jobs);
        if jobs.len() >= MAX_JOBS && !matches!(job, Job::Attach(_)) {
            return Err(Box::new(job));
        }
        jobs.push_back(job);
        self.waker.wake();
        Ok(())
    }

    /// Bytes of a stream have arrived. Frames wait behind them on a slow link, answers to probes too.
    pub(super) fn hear(&self, now: Time) {
        self.heard.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn heard(&self) -> Option<Time> {
        Some(Time(self.heard.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    /// Whether a batch may go to the behaviour now; if not, the handler is woken when it may.
    pub(super) fn may_send(&self) -> bool {
        if !self.busy.load(Ordering::SeqCst) {
            return true;
        }
        self.waiting.store(true, Ordering::SeqCst);
        !self.busy.load(Ordering::SeqCst)
    }

    /// Sets or ends the lease on the connection.
    pub(crate) fn keep(&self, keep: bool) {
        self.keep.store(keep, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// Lets the handler send the next batch once the behaviour has taken the one that it came with.
#[derive(Debug)]
pub struct Taken(Arc<Mailbox>);

impl Taken {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self(mailbox)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
        // Mostly nothing waits, and then the handler need not be polled.
        if self.0.waiting.swap(false, Ordering::SeqCst) {
            self.0.waker.wake();
        }
    }
}
