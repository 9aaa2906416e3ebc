//! What was seen lately, in bounded memory.

use std::collections::{BTreeSet, VecDeque};

/// The last so many different things.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    most: usize,
    all: BTreeSet<T>,
    order: VecDeque<T>,
}

impl<T: Copy + Ord> Seen<T> {
    /// Remembers `most`; then the oldest is forgotten.
    pub fn new(most: usize) -> Self {
        Self { most, all: BTreeSet::new(), order: VecDeque::new() }
    }

    /// Whether it is remembered.
    pub fn contains(&self, thing: &T) -> bool {
        self.all.contains(thing)
    }

    /// Remembers it; false if it was there.
    pub fn insert(&mut self, thing: T) -> bool {
        let new = self.all.insert(thing);
        if new {
            self.order.push_back(thing);
            if self.order.len() > self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.all.remove(&oldest);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_what_is_seen_again_takes_no_second_place() {
        let mut seen = Seen::new(3);
        assert!([1, 2, 3].into_iter().all(|thing| seen.insert(thing)));
        assert!(!seen.insert(2) && seen.insert(4));
        assert_eq!([1, 2, 3, 4].map(|thing| seen.contains(&thing)), [false, true, true, true]);
    }
}
