//! Names of what came lately, so that a second copy is known at once.

use std::collections::{BTreeSet, VecDeque};

/// The last names, the oldest forgotten first.
#[derive(Debug)]
pub(crate) struct Seen {
    most: usize,
    order: VecDeque<[u8; 16]>,
    names: BTreeSet<[u8; 16]>,
}

impl Seen {
    /// Remembers at most `most` names.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, order: VecDeque::new(), names: BTreeSet::new() }
    }

    pub(crate) fn contains(&self, name: &[u8; 16]) -> bool {
        self.names.contains(name)
    }

    pub(crate) fn insert(&mut self, name: [u8; 16]) {
        if !self.names.insert(name) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_what_came_twice_counts_once() {
        let name = |nth: u8| [nth; 16];
        let mut seen = Seen::new(3);
        for nth in [1, 2, 2, 2, 3] {
            seen.insert(name(nth));
        }
        assert!([1, 2, 3].iter().all(|nth| seen.contains(&name(*nth))));
        seen.insert(name(4));
        assert!(!seen.contains(&name(1)) && [2, 3, 4].iter().all(|nth| seen.contains(&name(*nth))));
    }
}
