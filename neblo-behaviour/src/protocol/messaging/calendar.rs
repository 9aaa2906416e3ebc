//! What expires when, with one timer for all that expire together.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::protocol::io::Time;

/// Deadlines in buckets. An entry that is removed leaves nothing behind, and a timer is armed once a bucket, so that neither
/// memory nor timers grow with what has come and gone.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// Length of a bucket in microseconds.
    bucket: u64,
    /// Whether an entry expires rather a bucket too early than too late.
    early: bool,
    due: BTreeSet<(u64, u64)>,
    armed: BTreeSet<u64>,
}

impl Calendar {
    /// With buckets of `bucket`: that much later at most an entry expires.
    pub(super) fn new(bucket: Duration) -> Self {
        let bucket = u64::try_from(bucket.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { bucket, early: false, due: BTreeSet::new(), armed: BTreeSet::new() }
    }

    /// With buckets of `bucket`: that much earlier at most an entry expires.
    pub(super) fn early(bucket: Duration) -> Self {
        Self { early: true, ..Self::new(bucket) }
    }

    fn bucket_of(&self, until: Time) -> u64 {
        if self.early { until.0 / self.bucket } else { until.0.div_ceil(self.bucket) }
    }

    /// Notes an entry; the bucket that a timer is now needed for, and after how long.
    pub(super) fn add(&mut self, now: Time, until: Time, entry: u64) -> Option<(Duration, u64)> {
        let bucket = self.bucket_of(until);
        self.due.insert((bucket, entry));
        let fresh = self.armed.insert(bucket);
        fresh.then(|| (Time(bucket.saturating_mul(self.bucket)).since(now), bucket))
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, until: Time, entry: u64) {
        self.due.remove(&(self.bucket_of(until), entry));
    }

    /// Takes what is due when the timer of `bucket` expires.
    pub(super) fn expire(&mut self, bucket: u64) -> Vec<u64> {
        self.armed.remove(&bucket);
        let later = self.due.split_off(&(bucket.saturating_add(1), 0));
        std::mem::replace(&mut self.due, later).into_iter().map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_one_timer_and_what_is_removed_leaves_nothing() {
        let mut calendar = Calendar::new(Duration::from_millis(10));
        let now = Time(1_000);
        assert_eq!(calendar.add(now, Time(15_000), 1), Some((Duration::from_micros(19_000), 2)));
        assert_eq!(calendar.add(now, Time(20_000), 2), None);
        assert_eq!(calendar.add(now, Time(20_001), 3), Some((Duration::from_micros(29_000), 3)));
        calendar.remove(Time(15_000), 1);
        assert_eq!(calendar.add(now, Time(16_000), 4), None);
        assert_eq!(calendar.expire(2), [2, 4]);
        assert_eq!(calendar.expire(3), [3]);
        assert!(calendar.due.is_empty() && calendar.armed.is_empty());
    }
}
