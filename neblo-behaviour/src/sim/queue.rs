//! The queue of what is due, in order of time and then of arrival.

use std::time::Duration;

use super::streams::StreamStep;
use super::wheel::Wheel;
use crate::protocol::interface::Input;
use crate::protocol::io::Time;
use crate::protocol::node::Timer;
use crate::protocol::wire::Frame;

/// Something that is due.
pub(super) enum Due {
    Input(u32, Box<Input<u32>>),
    /// Of which host, in which of its lives.
    Expired(u32, u32, Timer<u32>),
    /// The connection of `peer` to `of`, if it is left over, has been idle for too long.
    Idle {
        peer: u32,
        of: u32,
    },
    Frame {
        from: u32,
        to: u32,
        frame: Box<Frame<u32>>,
    },
    Dialled {
        from: u32,
        to: u32,
        frame: Option<Box<Frame<u32>>>,
    },
    Multicast {
        from: u32,
        to: u32,
        message: u64,
    },
    Stream(StreamStep),
}

/// The wheel holds small keys and the things lie in slots beside it: moving whole things about is what costs.
#[derive(Debug)]
pub(super) struct Queue<D> {
    wheel: Wheel,
    slots: Vec<Option<D>>,
    free: Vec<u32>,
    /// Used again for what is taken out together.
    keys: Vec<(Time, u32)>,
}

impl<D> Default for Queue<D> {
    fn default() -> Self {
        Self { wheel: Wheel::default(), slots: Vec::new(), free: Vec::new(), keys: Vec::new() }
    }
}

impl<D> Queue<D> {
    pub(super) fn push(&mut self, at: Time, due: D) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(due);
                slot
            }
            None => {
                self.slots.push(Some(due));
                (self.slots.len() - 1) as u32
            }
        };
        self.wheel.push(at, slot);
    }

    /// The next thing due before `end`.
    pub(super) fn pop(&mut self, end: Time) -> Option<(Time, D)> {
        let (at, slot) = self.wheel.pop(end)?;
        self.free.push(slot);
        self.slots[slot as usize].take().map(|due| (at, due))
    }

    /// The next things due before `end` and less than `within` after the first of them, at most so many.
    pub(super) fn pop_some(&mut self, end: Time, within: Duration, most: usize, into: &mut Vec<(Time, D)>) {
        let mut end = end;
        let mut keys = std::mem::take(&mut self.keys);
        while keys.len() < most
            && let Some((at, slot)) = self.wheel.pop(end)
        {
            end = end.min(at + within);
            keys.push((at, slot));
        }
        // All slots at once: where one lies does not wait for another.
        let slots = &mut self.slots;
        into.extend(keys.iter().filter_map(|(at, slot)| slots[*slot as usize].take().map(|due| (*at, due))));
        self.free.extend(keys.drain(..).map(|(_, slot)| slot));
        self.keys = keys;
    }
}
