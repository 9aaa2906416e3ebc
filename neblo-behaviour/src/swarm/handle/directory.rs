//! What a leader's application is told of the directory.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::swarm::shared::{Shared, lock};

/// Searches that wait for the application.
const MAX_ASKED: usize = 64;

/// What a leader's application must index or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryEvent {
    /// A row for the index.
    RowAdded {
        /// Names the row.
        row: u64,
        /// What was announced, unchecked.
        payload: Vec<u8>,
    },
    /// A row is gone.
    RowRemoved {
        /// The row.
        row: u64,
    },
    /// All rows are gone.
    RowsCleared,
    /// Which rows match? Answered by `Handle::directory_answer` within a second.
    Asked {
        /// Names the search in the answer.
        ask: u64,
        /// The query, in the application's own language, unchecked.
        query: Vec<u8>,
        /// The most rows wanted.
        limit: u16,
    },
}

#[derive(Debug)]
enum Change {
    /// `known` if the application may know a row of that name from before.
    Added {
        payload: Vec<u8>,
        known: bool,
    },
    Removed,
}

#[derive(Debug, Default)]
struct State {
    /// Which listener is served; 0 for none.
    listener: u64,
    cleared: bool,
    changes: BTreeMap<u64, Change>,
    asked: VecDeque<(u64, Vec<u8>, u16)>,
    waker: Option<Waker>,
}

/// Waits between behaviour and application. Changes of one row are merged: it never holds more than one a row that the
/// application knows or that exists.
#[derive(Debug, Default)]
pub(crate) struct DirectoryQueue(Mutex<State>);

impl DirectoryQueue {
    pub(super) fn listen(self: &Arc<Self>, shared: Arc<Shared>) -> Directory {
        let listener = shared.next();
        let mut state = lock(&self.0);
        let unanswered = std::mem::take(&mut state.asked);
        let old = std::mem::replace(&mut *state, State { listener, ..State::default() });
        drop(state);
        if let Some(waker) = old.waker {
            waker.wake();
        }
        shared.note(|notes| {
            notes.replay = true;
            notes.rows.extend(unanswered.into_iter().map(|(ask, ..)| (ask, Vec::new())));
        });
        Directory { queue: self.clone(), shared, listener }
    }

    /// Takes an event of the node; false if nobody will answer it.
    pub(crate) fn push(&self, event: DirectoryEvent) -> bool {
        let mut state = lock(&self.0);
        if state.listener == 0 {
            return false;
        }
        match event {
            DirectoryEvent::RowsCleared => {
                state.cleared = true;
                state.changes.clear();
            }
            DirectoryEvent::RowAdded { row, payload } => {
                let known = match state.changes.get(&row) {
                    None => false,
                    Some(Change::Added { known, .. }) => *known,
                    Some(Change::Removed) => true,
                };
                state.changes.insert(row, Change::Added { payload, known });
            }
            DirectoryEvent::RowRemoved { row } => {
                if matches!(state.changes.get(&row), Some(Change::Added { known: false, .. })) {
                    state.changes.remove(&row);
                } else {
                    state.changes.insert(row, Change::Removed);
                }
            }
            DirectoryEvent::Asked { ask, query, limit } => {
                if state.asked.len() >= MAX_ASKED {
                    return false;
                }
                state.asked.push_back((ask, query, limit));
            }
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        true
    }

    /// Ends all listeners.
    pub(crate) fn close(&self) {
        let old = std::mem::take(&mut *lock(&self.0));
        if let Some(waker) = old.waker {
            waker.wake();
        }
    }
}

/// What a leader's application must index and answer: a stream of [`DirectoryEvent`]s. Ends when somebody else listens
/// or the node shuts down.
#[derive(Debug)]
pub struct Directory {
    queue: Arc<DirectoryQueue>,
    shared: Arc<Shared>,
    listener: u64,
}

impl Stream for Directory {
    type Item = DirectoryEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<DirectoryEvent>> {
        let mut state = lock(&self.queue.0);
        if state.listener != self.listener {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut state.cleared) {
            return Poll::Ready(Some(DirectoryEvent::RowsCleared));
        }
        if let Some((row, change)) = state.changes.pop_first() {
            return Poll::Ready(Some(match change {
                Change::Added { payload, .. } => DirectoryEvent::RowAdded { row, payload },
                Change::Removed => DirectoryEvent::RowRemoved { row },
            }));
        }
        if let Some((ask, query, limit)) = state.asked.pop_front() {
            return Poll::Ready(Some(DirectoryEvent::Asked { ask, query, limit }));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.0);
        if state.listener == self.listener {
            let old = std::mem::take(&mut *state);
            drop(state);
            self.shared.note(|notes| notes.rows.extend(old.asked.into_iter().map(|(ask, ..)| (ask, Vec::new()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::StreamExt;

    use super::*;

    fn drain(directory: &mut Directory) -> Vec<DirectoryEvent> {
        std::iter::from_fn(|| directory.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn changes_of_a_row_are_merged_and_none_is_lost() {
        use DirectoryEvent::*;
        let queue = Arc::<DirectoryQueue>::default();
        let shared = Arc::new(Shared::new(None));
        assert!(!queue.push(RowsCleared));
        let mut directory = queue.listen(shared.clone());
        assert!(shared.take_notes().replay);
        let add = |row, byte| RowAdded { row, payload: vec![byte] };
        assert!(queue.push(add(1, 1)) && queue.push(RowRemoved { row: 1 }) && queue.push(add(2, 2)));
        assert_eq!(drain(&mut directory), [add(2, 2)]);
        assert!(queue.push(RowRemoved { row: 2 }) && queue.push(add(2, 3)) && queue.push(RowRemoved { row: 2 }));
        assert_eq!(drain(&mut directory), [RowRemoved { row: 2 }]);
        assert!(queue.push(add(4, 4)) && queue.push(RowsCleared) && queue.push(add(5, 5)));
        assert_eq!(drain(&mut directory), [RowsCleared, add(5, 5)]);
        for ask in 0..MAX_ASKED as u64 {
            assert!(queue.push(Asked { ask, query: vec![], limit: 1 }));
        }
        assert!(!queue.push(Asked { ask: 99, query: vec![], limit: 1 }));
        let mut other = queue.listen(shared.clone());
        assert_eq!(shared.take_notes().rows.len(), MAX_ASKED);
        assert_eq!(directory.next().now_or_never(), Some(None));
        drop(directory);
        assert!(queue.push(add(6, 6)));
        assert_eq!(drain(&mut other), [add(6, 6)]);
        drop(other);
        assert!(!queue.push(add(7, 7)));
    }
}
