//! A hierarchical timer wheel (research §7): a level of 1,024 slots of a millisecond and three of 256 slots, each slot as long as
//! the whole level below. What is due comes out in order of time and then of arrival, as from a heap, but a push costs the same
//! however much waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::protocol::io::Time;

/// Bits of the millisecond that name a slot, level by level.
const BITS: [u32; 4] = [10, 8, 8, 8];

/// Room for so many entries that an emptied slot may keep: a burst lands in another slot each time, and if each kept what the
/// largest one took, the empty wheel would soon be larger than all else. choice
const KEPT: usize = 128;

/// When, which was pushed how late, and what.
type Entry = (Time, u64, u32);

/// One level.
#[derive(Debug)]
struct Level {
    slots: Vec<Vec<Entry>>,
    /// Which of them hold something.
    taken: Vec<u64>,
}

impl Level {
    fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Vec::new()).collect(), taken: vec![0; slots.div_ceil(64)] }
    }

    fn push(&mut self, slot: usize, entry: Entry) {
        self.slots[slot].push(entry);
        self.taken[slot / 64] |= 1 << (slot % 64);
    }

    /// The first slot after `slot` that holds something.
    fn next_after(&self, slot: usize) -> Option<usize> {
        let from = slot + 1;
        let mut word = from / 64;
        let mut bits = self.taken.get(word)? & (u64::MAX << (from % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *self.taken.get(word)?;
        }
    }
}

/// The wheel: what is due comes out in order of time and then of arrival, and is named by a number of the caller's.
#[derive(Debug)]
pub struct Wheel {
    /// The millisecond whose entries are in `current` and `late`, with all earlier ones.
    now: u64,
    /// What a slot held, the latest first: sorting it once costs less than a heap.
    current: Vec<Entry>,
    /// What was pushed when its slot had had its turn.
    late: BinaryHeap<Reverse<Entry>>,
    levels: [Level; 4],
    /// Beyond the last level: more than half a year away.
    beyond: Vec<Entry>,
    next: u64,
    /// Used again when slots are emptied.
    spare: Vec<Entry>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            now: 0,
            current: Vec::new(),
            late: BinaryHeap::new(),
            levels: BITS.map(|bits| Level::new(1 << bits)),
            beyond: Vec::new(),
            next: 0,
            spare: Vec::new(),
        }
    }
}

/// The bits below a level's slot number.
fn below(level: usize) -> u32 {
    BITS[..level].iter().sum()
}

fn slot_of(millis: u64, level: usize) -> usize {
    ((millis >> below(level)) & ((1 << BITS[level]) - 1)) as usize
}

impl Wheel {
    /// Puts in what is due at a time.
    pub fn push(&mut self, at: Time, what: u32) {
        self.next += 1;
        self.place((at, self.next, what));
    }

    fn place(&mut self, entry: Entry) {
        let millis = entry.0.0 / 1_000;
        if millis <= self.now {
            return self.late.push(Reverse(entry));
        }
        // The lowest level of which the present and the future moment lie in the same turn.
        let level = (0..BITS.len()).find(|level| millis >> below(level + 1) == self.now >> below(level + 1));
        match level {
            Some(level) => self.levels[level].push(slot_of(millis, level), entry),
            None => self.beyond.push(entry),
        }
    }

    /// Goes on to the next slot that holds something, unless it begins at `end` or later; false if there is none.
    fn advance(&mut self, end: Time) -> bool {
        let end = end.0.div_ceil(1_000);
        for level in 0..BITS.len() {
            let Some(slot) = self.levels[level].next_after(slot_of(self.now, level)) else { continue };
            let turn = self.now >> below(level + 1) << below(level + 1);
            let begins = turn | (slot as u64) << below(level);
            if begins >= end {
                return false;
            }
            self.now = begins;
            let lowest = level == 0;
            let level = &mut self.levels[level];
            level.taken[slot / 64] &= !(1 << (slot % 64));
            let mut entries = std::mem::replace(&mut level.slots[slot], std::mem::take(&mut self.spare));
            if lowest {
                // All of one millisecond, which has come. `current` is empty, or this would not be the next slot.
                entries.sort_unstable_by(|one, other| other.cmp(one));
                std::mem::swap(&mut self.current, &mut entries);
            }
            for entry in entries.drain(..) {
                self.place(entry);
            }
            if entries.capacity() <= KEPT {
                self.spare = entries;
            }
            return true;
        }
        let Some(first) = self.beyond.iter().map(|entry| entry.0.0 / 1_000).min().filter(|first| *first < end) else {
            return false;
        };
        self.now = first;
        for entry in std::mem::take(&mut self.beyond) {
            self.place(entry);
        }
        true
    }

    /// The next thing due before `end`, and when it is.
    pub fn pop(&mut self, end: Time) -> Option<(Time, u32)> {
        loop {
            let late = self.late.peek().map(|Reverse(entry)| *entry);
            let next = self.current.last().copied();
            let late_first = late.is_some_and(|late| next.is_none_or(|next| late < next));
            if let Some((at, _, what)) = if late_first { late } else { next } {
                if at >= end {
                    return None;
                }
                if late_first {
                    self.late.pop();
                } else {
                    self.current.pop();
                }
                return Some((at, what));
            }
            if !self.advance(end) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        Pop(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // From the same microsecond to years away, so that all levels and what lies beyond them are met.
        let after = (0u32..56).prop_flat_map(|bits| 0..(1u64 << bits));
        let step = prop_oneof![3 => after.clone().prop_map(Step::Push), 2 => after.prop_map(Step::Pop)];
        prop::collection::vec(step, 1..400)
    }

    #[test]
    fn bursts_leave_little_empty_room_behind() {
        let mut wheel = Wheel::default();
        for burst in 0..200 {
            let at = Time(burst * 7_001);
            (0..1_000).for_each(|what| wheel.push(at, what));
            while wheel.pop(Time(at.0 + 1)).is_some() {}
        }
        let room: usize = wheel.levels.iter().flat_map(|level| &level.slots).map(Vec::capacity).sum();
        assert!(room <= 10 * KEPT, "room for {room}");
    }

    proptest! {
        #[test]
        fn it_gives_what_a_heap_gives(steps in steps()) {
            let (mut wheel, mut heap) = (Wheel::default(), BinaryHeap::new());
            let mut now = 0u64;
            for (nth, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(after) => {
                        let at = Time(now.saturating_add(after));
                        wheel.push(at, nth as u32);
                        heap.push(Reverse((at, nth as u64, nth as u32)));
                    }
                    Step::Pop(within) => {
                        let end = Time(now.saturating_add(within));
                        let mut expected = None;
                        if heap.peek().is_some_and(|Reverse((at, ..))| *at < end) {
                            expected = heap.pop().map(|Reverse((at, _, what))| (at, what));
                        }
                        let found = wheel.pop(end);
                        prop_assert_eq!(found, expected);
                        now = found.map_or(now.max(end.0), |(at, _)| at.0);
                    }
                }
            }
            while let Some(Reverse((at, _, what))) = heap.pop() {
                prop_assert_eq!(wheel.pop(Time(u64::MAX)), Some((at, what)));
            }
            prop_assert_eq!(wheel.pop(Time(u64::MAX)), None);
        }
    }
}
