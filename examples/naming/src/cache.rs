//! What a forwarder remembers of the records that passed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use neblo_behaviour::OverlayAddr;

use crate::record::Record;

/// Records that a forwarder remembers; the one that ends first gives way. choice
const MOST: usize = 1_000;

/// The time, which tests can move on.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: Instant,
    ahead: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), ahead: Arc::default() }
    }
}

impl Clock {
    fn now(&self) -> Duration {
        self.start.elapsed() + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }

    /// Moves the clocks of all clones on.
    #[cfg(test)]
    pub(crate) fn advance(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// Records by address, each for its time to live.
#[derive(Debug)]
pub(crate) struct Cache {
    time_to_live: Duration,
    clock: Clock,
    records: BTreeMap<OverlayAddr, (Duration, Record)>,
}

impl Cache {
    /// A cache; with no time to live it remembers nothing.
    pub(crate) fn new(time_to_live: Duration, clock: Clock) -> Self {
        Self { time_to_live, clock, records: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, at: OverlayAddr) -> Option<Record> {
        let (ends, record) = self.records.get(&at)?;
        if *ends > self.clock.now() {
            return Some(record.clone());
        }
        self.records.remove(&at);
        None
    }

    /// Remembers a record that comes from its owner. Those of caches are left out: their time would begin anew at each hop.
    pub(crate) fn put(&mut self, at: OverlayAddr, record: Record) {
        if self.time_to_live.is_zero() {
            return;
        }
        if self.records.len() >= MOST
            && let Some(first) = self.records.iter().min_by_key(|(_, (ends, _))| *ends).map(|(at, _)| *at)
        {
            self.records.remove(&first);
        }
        self.records.insert(at, (self.clock.now() + self.time_to_live, record));
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn a_record_ends_with_its_time_and_the_oldest_gives_way() {
        let keypair = Keypair::generate_ed25519();
        let clock = Clock::default();
        let mut cache = Cache::new(Duration::from_secs(60), clock.clone());
        let record = Record::sign(&keypair, "a", "1", 1).unwrap();
        let at = |number: u128| OverlayAddr(number);
        cache.put(at(0), record.clone());
        assert_eq!(cache.get(at(0)), Some(record.clone()));
        clock.advance(60);
        assert_eq!(cache.get(at(0)), None);
        for number in 0..=MOST as u128 {
            cache.put(at(number), record.clone());
        }
        assert_eq!(cache.records.len(), MOST);
        assert_eq!((cache.get(at(0)), cache.get(at(1)).is_some()), (None, true));
        let mut none = Cache::new(Duration::ZERO, clock);
        none.put(at(0), record);
        assert_eq!(none.get(at(0)), None);
    }
}
