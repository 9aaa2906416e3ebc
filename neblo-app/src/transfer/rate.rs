//! A cap on bytes a second, shared by all transfers of one direction.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Slowest rate; below it no window would come in time.
const MIN_RATE: u64 = 4 * 1024;
/// How far ahead of the rate a pause lets one get.
const BURST: Duration = Duration::from_millis(250);

/// A token bucket. Clones share the bucket.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    bucket: Arc<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Bytes a second, 0 for no limit.
    rate: AtomicU64,
    /// When all that was taken so far will have been earned.
    paid: Mutex<Instant>,
}

impl RateLimiter {
    /// At most `rate` bytes a second (no less than 4 KiB), or no limit.
    pub fn new(rate: Option<u64>) -> Self {
        let bucket = Bucket { rate: AtomicU64::new(stored(rate)), paid: Mutex::new(Instant::now()) };
        Self { bucket: Arc::new(bucket) }
    }

    /// No limit.
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    /// The limit in bytes a second.
    pub fn rate(&self) -> Option<u64> {
        Some(self.bucket.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Changes the limit for all who share it, from what they take next.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.bucket.rate.store(stored(rate), Ordering::Relaxed);
    }

    /// Waits until `bytes` more may pass.
    pub async fn acquire(&self, bytes: u64) {
        let wait = self.reserve(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes `bytes` at `now` and tells how long to wait for them.
    fn reserve(&self, bytes: u64, now: Instant) -> Duration {
        let bucket = &self.bucket;
        let Some(rate) = self.rate() else {
            return Duration::ZERO;
        };
        let cost = u128::from(bytes)
            .saturating_mul(1_000_000_000)
            .checked_div(u128::from(rate))
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map_or(Duration::MAX, Duration::from_nanos);
        let mut paid = bucket.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *paid = (*paid).max(earliest).checked_add(cost).unwrap_or(*paid);
        paid.saturating_duration_since(now)
    }
}

fn stored(rate: Option<u64>) -> u64 {
    rate.map_or(0, |rate| rate.max(MIN_RATE))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_whatever_the_portions() {
        let limiter = RateLimiter::new(Some(100_000));
        let start = Instant::now();
        let mut now = start + Duration::from_secs(60);
        let begun = now;
        for portion in [1, 50_000, 7, 100_000, 64_000, 85_992].iter().cycle().take(60) {
            now += limiter.reserve(*portion, now);
        }
        // 3,000,000 bytes at 100,000 a second, less what the pause before gave.
        let took = now - begun;
        assert!(took >= Duration::from_millis(29_749), "{took:?}");
        assert!(took <= Duration::from_millis(30_001), "{took:?}");
    }

    #[test]
    fn a_pause_earns_no_more_than_the_burst() {
        let limiter = RateLimiter::new(Some(1_000_000));
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(limiter.reserve(250_000, later), Duration::ZERO);
        assert_eq!(limiter.reserve(100_000, later), Duration::from_millis(100));
    }

    #[test]
    fn clones_share_the_bucket_and_no_limit_never_waits() {
        let limiter = RateLimiter::new(Some(1_000_000));
        let now = Instant::now() + Duration::from_secs(1);
        limiter.clone().reserve(1_000_000, now);
        assert!(limiter.reserve(1, now) >= Duration::from_millis(700));
        assert_eq!(RateLimiter::unlimited().reserve(u64::MAX, now), Duration::ZERO);
        assert_eq!(RateLimiter::new(Some(0)).rate(), Some(MIN_RATE));
        limiter.clone().set_rate(None);
        assert_eq!(limiter.reserve(u64::MAX, now), Duration::ZERO);
    }
}
