//! The queue of what is due, in order of time and then of arrival.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::streams::StreamStep;
use crate::protocol::interface::Input;
use crate::protocol::io::Time;
use crate::protocol::wire::Frame;

/// Something that is due.
pub(super) enum Due {
    Input(u32, Box<Input<u32>>),
    Frame { from: u32, to: u32, bytes: usize, frame: Box<Frame<u32>> },
    Dialled { from: u32, to: u32, frame: Option<Box<Frame<u32>>> },
    Multicast { from: u32, to: u32, bytes: Vec<u8> },
    Stream(StreamStep),
}

#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Time, u64)>>,
    /// Looked up by number only, never iterated.
    due: HashMap<u64, Due>,
    next: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Time, due: Due) {
        self.next += 1;
        self.heap.push(Reverse((at, self.next)));
        self.due.insert(self.next, due);
    }

    /// The next thing due before `end`.
    pub(super) fn pop(&mut self, end: Time) -> Option<(Time, Due)> {
        let Reverse((at, number)) = *self.heap.peek()?;
        if at >= end {
            return None;
        }
        self.heap.pop();
        self.due.remove(&number).map(|due| (at, due))
    }
}
