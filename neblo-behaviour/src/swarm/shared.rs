//! What behaviour, connection handlers and `Handle` share: counters, and notes that a dropped value leaves behind.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::task::AtomicWaker;

use crate::protocol::interface::{Failure, Passage, Refusal, Token};
use crate::protocol::io::Time;
use crate::swarm::handler::data::Reply;

/// Locks without regard to poisoning: every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        /// What the binding counts, for people and monitoring.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $($(#[$meta])* pub(crate) $name: AtomicU64),* }

        impl Counters {
            /// Names and values.
            pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((concat!("swarm_", stringify!($name)), self.$name.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters! {
    frames_in,
    frames_out,
    frame_bytes_in,
    frame_bytes_out,
    /// Frames sent, by the part that they belong to.
    sent_frames_link,
    sent_frames_ring,
    sent_frames_messaging,
    sent_frames_subgroup,
    sent_frames_path,
    sent_frames_directory,
    /// Bytes of frames sent, by the part that they belong to.
    sent_bytes_link,
    sent_bytes_ring,
    sent_bytes_messaging,
    sent_bytes_subgroup,
    sent_bytes_path,
    sent_bytes_directory,
    /// Frames of a kind that this version does not know.
    frames_unknown,
    /// Frames dropped because their lane was full.
    frames_dropped,
    /// Connections closed because the peer broke the protocol.
    violations,
    dials,
    dials_failed,
    streams_asked,
    streams_refused,
    /// Messages and hits dropped because the application did not take them in time.
    application_dropped,
    /// Panics of the application's handlers.
    handler_panics,
    multicast_dropped,
    /// Bytes of streams carried for others, both ways together.
    relayed_bytes,
}

impl Counters {
    /// Counts a frame of ours under its kind (`Frame::kind`).
    pub(crate) fn sent(&self, kind: &str, bytes: usize) {
        let (frames, sum) = match kind {
            "link" => (&self.sent_frames_link, &self.sent_bytes_link),
            "ring" => (&self.sent_frames_ring, &self.sent_bytes_ring),
            "messaging" => (&self.sent_frames_messaging, &self.sent_bytes_messaging),
            "subgroup" => (&self.sent_frames_subgroup, &self.sent_bytes_subgroup),
            "path" => (&self.sent_frames_path, &self.sent_bytes_path),
            "directory" => (&self.sent_frames_directory, &self.sent_bytes_directory),
            _ => return,
        };
        count(frames);
        add(sum, bytes as u64);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Left behind by values that were dropped; taken by the behaviour. Each list holds at most one entry for each live stream,
/// command, request or receiver.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Streams that ended, with the bytes they carried.
    pub(crate) ended: Vec<(u64, u64)>,
    /// Streams of commands that came to nothing, and why.
    pub(crate) refused: Vec<(Token, Reply, Refusal)>,
    /// Commands that nobody waits for any more.
    pub(crate) cancelled: Vec<Token>,
    /// Answers to requests.
    pub(crate) answers: Vec<(u64, Result<Vec<u8>, Failure>)>,
    /// Forwarders' decisions.
    pub(crate) passages: Vec<(u64, Result<Passage, Failure>)>,
    /// Work on ranges that nobody does (any more).
    pub(crate) work_done: Vec<u64>,
    /// Answers to searches.
    pub(crate) rows: Vec<(u64, Vec<u64>)>,
    /// Receivers that were dropped: their registrations.
    pub(crate) unregistered: Vec<u64>,
    /// Somebody has begun to listen to the directory.
    pub(crate) replay: bool,
}

/// Shared by the behaviour, its handlers and its handles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) limiter: Option<Limiter>,
    /// The zero of the node's time.
    pub(crate) start: Instant,
    /// Wakes the behaviour.
    pub(crate) waker: AtomicWaker,
    /// `None` once nobody takes them any more.
    notes: Mutex<Option<Notes>>,
    next: AtomicU64,
    /// Commands given without waiting that the behaviour has not taken yet.
    tried: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(relay_rate: Option<u64>) -> Self {
        Self {
            counters: Counters::default(),
            limiter: relay_rate.map(Limiter::new),
            start: Instant::now(),
            waker: AtomicWaker::new(),
            notes: Mutex::new(Some(Notes::default())),
            next: AtomicU64::new(1),
            tried: AtomicUsize::new(0),
        }
    }

    /// The node's time.
    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// A number that was not drawn before.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes one of `max` places for commands that are given without waiting.
    pub(crate) fn permit(self: &Arc<Self>, max: usize) -> Option<Permit> {
        let more = |tried: usize| (tried < max).then_some(tried + 1);
        self.tried.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Permit(self.clone()))
    }

    /// Leaves a note and wakes the behaviour.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Notes)) {
        lock(&self.notes).as_mut().map(note);
        self.waker.wake();
    }

    pub(crate) fn take_notes(&self) -> Notes {
        lock(&self.notes).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The behaviour is gone: who waits for something that is in a note is not to wait for ever.
    pub(crate) fn close(&self) {
        let left = lock(&self.notes).take();
        drop(left);
    }
}

/// A place in the queue of commands, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.tried.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A token bucket over all relayed bytes of a node, a quarter of a second deep.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: u64,
    state: Mutex<(u64, Instant)>,
}

impl Limiter {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1024), state: Mutex::new((rate / 4, Instant::now())) }
    }

    /// Takes leave to move at most `wanted` bytes; 0 means wait a little.
    pub(crate) fn take(&self, wanted: usize) -> usize {
        let (tokens, filled) = &mut *lock(&self.state);
        let now = Instant::now();
        let fresh = u128::from(self.rate) * now.duration_since(*filled).as_micros() / 1_000_000;
        if fresh > 0 {
            let depth = (self.rate / 4).max(1024);
            *tokens = tokens.saturating_add(u64::try_from(fresh).unwrap_or(depth)).min(depth);
            *filled = now;
        }
        let granted = (wanted as u64).min(*tokens);
        *tokens -= granted;
        usize::try_from(granted).unwrap_or(0)
    }

    /// Gives back what was granted and not moved.
    pub(crate) fn give_back(&self, bytes: usize) {
        lock(&self.state).0 += bytes as u64;
    }
}
