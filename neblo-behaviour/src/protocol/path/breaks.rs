//! A limit on walks that others force: a path that is whole and is broken again and again by somebody on it (research §6,
//! "dropping to force re-formation").
//!
//! Whoever sits on a path can break it, and each walk anew is another chance to sit on it in a better place. A few breaks
//! are what peers do that leave, so they cost no time; after them each costs twice the wait of the one before.

use std::time::Duration;

use crate::protocol::io::Time;

/// Breaks after which the next walk begins at once. choice: both last relays may go, and a subgroup may be merged
const FREE: u32 = 4;
/// The wait after the first break beyond those; doubled with each further one. choice
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// One break is forgotten each time this has passed, and no wait is longer (research §6: "at most one forced rebuild each 10
/// min").
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Breaks, or walks in a row that were refused, after which it may be the first relay that does it: a spare takes its turn. choice: where a fifth of the members break
/// every path that they are on, behind an honest first relay that happens to one path in 9,500 (0.32^8)
pub(super) const DOUBTED_AFTER: u32 = 8;

/// A count of which one is forgotten each ten minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Fading {
    count: u32,
    /// Since when the next of them is being forgotten.
    since: Option<Time>,
}

impl Fading {
    /// What is left of it now.
    pub(super) fn count(&mut self, now: Time) -> u32 {
        if let Some(since) = self.since {
            let passed = now.since(since).as_secs() / FORGOTTEN_AFTER.as_secs();
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            self.count = self.count.saturating_sub(passed);
            self.since = (self.count > 0).then(|| since + FORGOTTEN_AFTER.saturating_mul(passed));
        }
        self.count
    }

    /// One more; how many there are then.
    pub(super) fn add(&mut self, now: Time) -> u32 {
        self.count = self.count(now).saturating_add(1);
        self.since.get_or_insert(now);
        self.count
    }
}

/// What was broken lately of the paths for one purpose.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaks(Fading);

/// What follows from a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The time before the next walk.
    pub(super) wait: Duration,
    /// Whether the first relay is to be doubted.
    pub(super) doubt: bool,
}

impl Breaks {
    /// A path that was whole was broken, by its first relay or behind it.
    pub(super) fn broke(&mut self, now: Time) -> Answer {
        let count = self.0.add(now);
        let beyond = count.saturating_sub(FREE);
        let wait = match beyond {
            0 => Duration::ZERO,
            beyond => FIRST_WAIT.saturating_mul(1 << (beyond - 1).min(16)).min(FORGOTTEN_AFTER),
        };
        let doubt = count >= DOUBTED_AFTER && count.is_multiple_of(DOUBTED_AFTER);
        Answer { wait, doubt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn a_few_breaks_cost_nothing_and_then_each_costs_twice_the_one_before() {
        let mut breaks = Breaks::default();
        let waits: Vec<_> = (0..16).map(|_| breaks.broke(at(7)).wait.as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
    }

    #[test]
    fn each_ten_minutes_one_is_forgotten() {
        let mut breaks = Breaks::default();
        for _ in 0..5 {
            breaks.broke(at(0));
        }
        assert_eq!(breaks.broke(at(599)).wait.as_secs(), 2);
        assert_eq!(breaks.broke(at(1_205)).wait.as_secs(), 1, "two of six are forgotten");
        assert_eq!(breaks.broke(at(1_799)).wait.as_secs(), 2);
        assert_eq!(breaks.broke(at(86_400)).wait, Duration::ZERO);
    }

    #[test]
    fn the_first_relay_is_doubted_at_every_eighth() {
        let mut breaks = Breaks::default();
        let doubted: Vec<_> = (1..=16).filter(|_| breaks.broke(at(0)).doubt).collect();
        assert_eq!(doubted, [8, 16]);
    }
}
