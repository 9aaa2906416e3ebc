//! The queue between the event loop and whoever handles a port, shared fairly by the neighbours that fill it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use libp2p_identity::PeerId;

use crate::protocol::shares::Shares;
use crate::swarm::shared::lock;

/// What waits of one lane (messages, requests, what passes): further ones take the place of the newest of the neighbour that
/// brought most, or have none.
pub(crate) const MAX_QUEUED: usize = 64;
/// Lanes of a queue.
const LANES: usize = 3;

/// Who brought something; `None` for this node itself.
pub(crate) type Bringer = Option<PeerId>;

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(usize, Bringer, T)>,
    lanes: [(Shares<Bringer>, usize); LANES],
    nudged: bool,
    closed: bool,
    waker: Option<Waker>,
}

/// A bounded queue that a thread waits at, or a task.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    /// What may wait in a lane.
    cap: usize,
}

/// What [`FairQueue::wait`] gives.
pub(super) enum Next<T> {
    Item(T),
    /// Nothing, but there is something else to look at.
    Nudge,
    Closed,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self::with_cap(MAX_QUEUED)
    }
}

impl<T> FairQueue<T> {
    pub(super) fn with_cap(cap: usize) -> Self {
        let lanes = std::array::from_fn(|_| (Shares::default(), 0));
        let state = State { items: VecDeque::new(), lanes, nudged: false, closed: false, waker: None };
        Self { state: Mutex::new(state), ready: Condvar::new(), cap }
    }
}

impl<T> State<T> {
    fn pop(&mut self) -> Option<T> {
        let (lane, from, item) = self.items.pop_front()?;
        self.uncount(lane, from);
        Some(item)
    }

    fn uncount(&mut self, lane: usize, from: Bringer) {
        if let Some((shares, count)) = self.lanes.get_mut(lane) {
            shares.remove(from);
            *count = count.saturating_sub(1);
        }
    }
}

impl<T> FairQueue<T> {
    /// Appends an item; gives back what has no place, this item or another one.
    pub(super) fn push(&self, lane: usize, from: Bringer, item: T) -> Option<T> {
        let mut state = lock(&self.state);
        let Some((shares, count)) = state.lanes.get(lane).filter(|_| !state.closed) else { return Some(item) };
        let mut gone = None;
        if *count >= self.cap {
            let Some(holder) = shares.gives_way(from) else { return Some(item) };
            let newest = state.items.iter().rposition(|(of, bringer, _)| *of == lane && *bringer == holder);
            if let Some((_, bringer, item)) = newest.and_then(|at| state.items.remove(at)) {
                state.uncount(lane, bringer);
                gone = Some(item);
            }
        }
        if let Some((shares, count)) = state.lanes.get_mut(lane) {
            shares.add(from);
            *count += 1;
        }
        state.items.push_back((lane, from, item));
        self.wake(&mut state);
        gone
    }

    fn wake(&self, state: &mut State<T>) {
        self.ready.notify_one();
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Lets whoever waits look round.
    pub(super) fn nudge(&self) {
        let mut state = lock(&self.state);
        state.nudged = true;
        self.wake(&mut state);
    }

    /// Ends the queue: nothing goes in or comes out any more. What waits is dropped.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let items = std::mem::take(&mut state.items);
        self.wake(&mut state);
        drop(state);
        // Only now: what waits may leave notes behind when it is dropped.
        drop(items);
    }

    /// Waits on this thread for the next item.
    pub(super) fn wait(&self) -> Next<T> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return Next::Closed;
            }
            if std::mem::take(&mut state.nudged) {
                return Next::Nudge;
            }
            if let Some(item) = state.pop() {
                return Next::Item(item);
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item for a task; `None` at the end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.state);
        if let Some(item) = state.pop() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &FairQueue<u32>) -> Vec<u32> {
        let mut cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match queue.poll(&mut cx) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn a_neighbour_that_floods_gives_way_and_lanes_do_not_crowd_each_other() {
        let queue = FairQueue::default();
        let (flooder, honest) = (Some(PeerId::random()), Some(PeerId::random()));
        for item in 0..MAX_QUEUED as u32 {
            assert_eq!(queue.push(0, flooder, item), None);
        }
        assert_eq!(queue.push(0, flooder, 1_000), Some(1_000));
        assert_eq!(queue.push(0, honest, 2_000), Some(MAX_QUEUED as u32 - 1));
        assert_eq!(queue.push(1, flooder, 3_000), None);
        assert_eq!(queue.push(9, flooder, 4_000), Some(4_000));
        let drained = drain(&queue);
        assert_eq!(drained.len(), MAX_QUEUED + 1);
        assert!(drained.contains(&2_000) && drained.contains(&3_000));
        assert_eq!(queue.push(0, flooder, 1), None);
        queue.close();
        assert_eq!(queue.push(0, flooder, 2), Some(2));
        assert!(drain(&queue).is_empty());
        assert!(matches!(queue.wait(), Next::Closed));
    }
}
