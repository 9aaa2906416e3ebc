//! What neighbours may have carried on: a token bucket each, where a cap alone is not enough, because what is carried on
//! leaves nothing behind that could be counted.

use std::collections::BTreeMap;

use crate::protocol::io::{Peer, Time};

/// What a message costs besides its payload, in bytes: work, not only bytes, is shared. choice
pub(super) const BASE: u64 = 512;
/// Buckets kept; when there are more, full ones are forgotten, for they say nothing. choice
const MAX_BUCKETS: usize = 1_024;

#[derive(Clone, Debug)]
struct Bucket {
    /// Bytes, in millionths, that may still be carried.
    level: u128,
    filled: Time,
}

/// The buckets of all neighbours, each a second deep.
#[derive(Clone, Debug)]
pub(super) struct Rates<P> {
    /// Bytes a second for each neighbour.
    rate: u64,
    buckets: BTreeMap<P, Bucket>,
}

impl<P: Peer> Rates<P> {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, buckets: BTreeMap::new() }
    }

    fn depth(&self) -> u128 {
        u128::from(self.rate) * 1_000_000
    }

    /// Takes the leave of `from` to have `payload` bytes carried on; false if it has had its share.
    pub(super) fn take(&mut self, now: Time, from: P, payload: usize) -> bool {
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
        let cost = u128::from(BASE + payload as u64) * 1_000_000;
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
        let mut rates = Rates::new(10 * (BASE + 88));
        let mut taken = 0;
        for ms in 0..2_000u64 {
            taken += u32::from(rates.take(Time(ms * 1_000), 1u32, 88));
            if ms == 0 {
                assert!(rates.take(Time(0), 2, 88), "another has its own");
            }
        }
        assert_eq!(taken, 10 + 19);
        assert!(rates.take(Time(4_000_000), 1, 60_000), "a full bucket lets one pass, however long");
        assert!(!rates.take(Time(4_000_000), 1, 0));
    }
}
