//! Token buckets: what each of many may have of something a second, where a cap alone is not enough, because what is done for
//! them leaves nothing behind that could be counted.

use std::collections::BTreeMap;

use super::io::Time;

/// Buckets kept; when there are more, full ones are forgotten, for they say nothing. choice
const MAX_BUCKETS: usize = 1_024;

#[derive(Clone, Debug)]
struct Bucket {
    /// What may still be had, in millionths.
    level: u128,
    filled: Time,
}

/// One bucket each.
#[derive(Clone, Debug)]
pub(crate) struct Rates<K> {
    /// A second.
    rate: u64,
    /// At once.
    burst: u64,
    buckets: BTreeMap<K, Bucket>,
}

impl<K: Ord + Copy> Rates<K> {
    pub(crate) fn new(rate: u64, burst: u64) -> Self {
        Self { rate, burst, buckets: BTreeMap::new() }
    }

    fn depth(&self) -> u128 {
        u128::from(self.burst) * 1_000_000
    }

    /// Whether `from` may have this much more now.
    pub(crate) fn take(&mut self, now: Time, from: K, cost: u64) -> bool {
        let (rate, depth) = (u128::from(self.rate), self.depth());
        let refilled = |bucket: &Bucket| {
            let passed = now.since(bucket.filled).as_micros();
            bucket.level.saturating_add(passed.saturating_mul(rate)).min(depth)
        };
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&from) {
            self.buckets.retain(|_, bucket| refilled(bucket) < depth);
        }
        let bucket = self.buckets.entry(from).or_insert(Bucket { level: depth, filled: now });
        bucket.level = refilled(bucket);
        bucket.filled = now;
        let cost = u128::from(cost) * 1_000_000;
        // A rate below one message a second still lets one pass when the bucket is full.
        let fits = bucket.level >= cost || bucket.level == depth;
        if fits {
            bucket.level = bucket.level.saturating_sub(cost);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_has_its_rate_and_a_second_in_advance() {
        let mut rates = Rates::new(10 * 600, 10 * 600);
        let mut taken = 0;
        for ms in 0..2_000u64 {
            taken += u32::from(rates.take(Time(ms * 1_000), 1u32, 600));
            if ms == 0 {
                assert!(rates.take(Time(0), 2, 600), "another has its own");
            }
        }
        assert_eq!(taken, 10 + 19);
        assert!(rates.take(Time(4_000_000), 1, 60_000), "a full bucket lets one pass, however long");
        assert!(!rates.take(Time(4_000_000), 1, 512));
    }
}
