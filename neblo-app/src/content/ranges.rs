//! Sets of bytes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::GROUP;

/// Most separate ranges that are read back from disk.
const MAX_RANGES: usize = 65_536;

/// A set of byte positions, as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// No bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        // All that touch the new range become one with it.
        let from = self.0.partition_point(|r| r.1 < range.start);
        let to = self.0.partition_point(|r| r.0 <= range.end).max(from);
        let touching = self.0.get(from..to).unwrap_or_default();
        let start = touching.first().map_or(range.start, |r| r.0.min(range.start));
        let end = touching.last().map_or(range.end, |r| r.1.max(range.end));
        self.0.splice(from..to, [(start, end)]);
    }

    /// Number of bytes.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, r| sum.saturating_add(r.1.saturating_sub(r.0)))
    }

    /// Whether every byte of `range` is in the set.
    pub fn contains(&self, range: &Range<u64>) -> bool {
        range.start >= range.end || self.0.iter().any(|r| r.0 <= range.start && range.end <= r.1)
    }

    /// The bytes from 0 to `len` that are not in the set, in order.
    pub fn missing(&self, len: u64) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = 0;
        for &(start, end) in &self.0 {
            if at < start.min(len) {
                missing.push(at..start.min(len));
            }
            at = end;
        }
        if at < len {
            missing.push(at..len);
        }
        missing
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|r| r.0..r.1)
    }

    /// Whether what was read from disk is a set of whole groups within `len` bytes.
    pub(super) fn is_sound(&self, len: u64) -> bool {
        let mut end = None;
        self.0.len() <= MAX_RANGES
            && self.0.iter().all(|r| {
                let after = end.is_none_or(|end| end < r.0);
                end = Some(r.1);
                let whole = |at: u64| at.is_multiple_of(GROUP) || at == len;
                after && r.0 < r.1 && r.1 <= len && whole(r.0) && whole(r.1)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn touching_ranges_merge() {
        let mut ranges = Ranges::new();
        ranges.insert(0..2);
        ranges.insert(4..6);
        ranges.insert(2..4);
        assert!(ranges.iter().eq([(0, 6)].map(|r| r.0..r.1)));
        assert_eq!(ranges.missing(8), std::slice::from_ref(&(6..8)));
    }

    #[test]
    fn unsound_ranges_are_noticed() {
        let sound = |ranges: &[(u64, u64)], len| {
            let scaled = ranges.iter().map(|r| (r.0 * GROUP, r.1 * GROUP));
            Ranges(scaled.collect()).is_sound(len)
        };
        for bad in [&[(3, 2)][..], &[(0, 2), (1, 3)], &[(0, 9)], &[(0, 2), (2, 3)]] {
            assert!(!sound(bad, 8 * GROUP));
        }
        assert!(sound(&[(0, 2), (3, 8)], 8 * GROUP));
        assert!(!Ranges(vec![(0, 100)]).is_sound(8 * GROUP));
        assert!(Ranges(vec![(0, 100)]).is_sound(100));
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(inserts in prop::collection::vec((0u64..64, 0u64..64), 0..20)) {
            let mut ranges = Ranges::new();
            let mut model = [false; 64];
            for (start, end) in inserts {
                ranges.insert(start..end);
                for at in start..end { model[at as usize] = true; }
            }
            prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end < b.start));
            prop_assert_eq!(ranges.total(), model.iter().filter(|b| **b).count() as u64);
            for range in ranges.missing(64) {
                for at in range { prop_assert!(!std::mem::replace(&mut model[at as usize], true)); }
            }
            prop_assert!(model.iter().all(|b| *b));
        }
    }
}
