//! The outbound queues of a peer, shared by the behaviour (which fills) and one connection handler (which drains).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::task::AtomicWaker;

use crate::protocol::codec::Pieces;
use crate::protocol::interface::Lane;
use crate::swarm::shared::lock;

/// How much a lane may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cap {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

/// Urgent frames to a connected peer.
pub(crate) const URGENT: Cap = Cap { frames: 512, bytes: 4 << 20 };
/// The application's frames to a connected peer.
pub(crate) const APP: Cap = Cap { frames: 512, bytes: 8 << 20 };
/// Frames of either lane to a peer that is being dialled.
pub(crate) const DIALLING: Cap = Cap { frames: 64, bytes: 1 << 20 };

/// Both lanes of a peer.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    urgent: Queue,
    app: Queue,
    /// Wakes the handler that drains the lanes.
    pub(crate) waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    /// Frames, and their bytes.
    frames: Mutex<(VecDeque<Pieces>, usize)>,
    /// How many: looked at much more often than there are any.
    len: AtomicUsize,
}

impl Lanes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Urgent => &self.urgent,
            Lane::App => &self.app,
        }
    }

    /// Appends a frame, unless the lane is full up to `cap`.
    pub(crate) fn push(&self, lane: Lane, frame: Pieces, cap: Cap) -> bool {
        let Queue { frames, len } = self.queue(lane);
        let (queue, bytes) = &mut *lock(frames);
        if queue.len() >= cap.frames || *bytes + frame.len() > cap.bytes {
            return false;
        }
        *bytes += frame.len();
        queue.push_back(frame);
        len.store(queue.len(), Ordering::Release);
        self.waker.wake();
        true
    }

    pub(crate) fn pop(&self, lane: Lane) -> Option<Pieces> {
        if self.is_empty(lane) {
            return None;
        }
        let Queue { frames, len } = self.queue(lane);
        let (queue, bytes) = &mut *lock(frames);
        let frame = queue.pop_front()?;
        *bytes -= frame.len();
        len.store(queue.len(), Ordering::Release);
        Some(frame)
    }

    pub(crate) fn is_empty(&self, lane: Lane) -> bool {
        self.queue(lane).len.load(Ordering::Acquire) == 0
    }

    /// Whether nothing waits on either lane.
    pub(crate) fn are_empty(&self) -> bool {
        self.is_empty(Lane::Urgent) && self.is_empty(Lane::App)
    }

    pub(crate) fn clear(&self) {
        for queue in [&self.urgent, &self.app] {
            let mut frames = lock(&queue.frames);
            *frames = Default::default();
            queue.len.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_takes_no_more_and_says_so() {
        let lanes = Lanes::new();
        let cap = Cap { frames: 2, bytes: 10 };
        let frame = |text: &str| Pieces::from(text.as_bytes().to_vec());
        assert!(lanes.push(Lane::App, frame("12345678"), cap));
        assert!(!lanes.push(Lane::App, frame("123"), cap));
        assert!(lanes.push(Lane::App, frame("1"), cap));
        assert!(!lanes.push(Lane::App, frame(""), cap));
        assert!(lanes.push(Lane::Urgent, frame(""), cap));
        assert_eq!(lanes.pop(Lane::App), Some(frame("12345678")));
        assert!(lanes.push(Lane::App, frame("123456789"), cap));
        lanes.clear();
        assert!(lanes.are_empty());
    }
}
