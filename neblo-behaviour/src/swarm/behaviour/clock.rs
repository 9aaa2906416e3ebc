//! Time and timers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures_timer::Delay;
use libp2p_identity::PeerId;

use crate::protocol::Timer;
use crate::protocol::io::Time;

/// The longest sleep at once: durations far in the future overflow the system's clock.
const LONGEST: Duration = Duration::from_secs(3600);

/// Later than a busy machine makes a timer.
const LATE: Duration = Duration::from_secs(1);

/// The node's clock and the timers it has armed, in the order of their deadlines.
pub(super) struct Clock {
    start: Instant,
    timers: BinaryHeap<Reverse<(Time, u64, Timer<PeerId>)>>,
    armed: u64,
    housekeeping: Option<Time>,
    delay: Delay,
    delay_until: Option<Time>,
}

impl Clock {
    /// A clock whose time is 0 at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            timers: BinaryHeap::new(),
            armed: 0,
            housekeeping: None,
            delay: Delay::new(LONGEST),
            delay_until: None,
        }
    }

    pub(super) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Seconds since 1970.
    pub(super) fn unix() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    pub(super) fn arm(&mut self, after: Duration, timer: Timer<PeerId>) {
        self.armed += 1;
        self.timers.push(Reverse((self.now() + after, self.armed, timer)));
    }

    /// How much too late the next timer is, if by so much that a program or a machine stood still.
    pub(super) fn late(&self) -> Option<Duration> {
        let Reverse((at, ..)) = self.timers.peek()?;
        Some(self.now().since(*at)).filter(|late| *late > LATE)
    }

    /// The next timer that has expired.
    pub(super) fn expired(&mut self) -> Option<Timer<PeerId>> {
        let Reverse((at, ..)) = self.timers.peek()?;
        if *at > self.now() {
            return None;
        }
        self.timers.pop().map(|Reverse((.., timer))| timer)
    }

    pub(super) fn housekeeping_is_due(&mut self) -> bool {
        let due = self.housekeeping.is_some_and(|at| at <= self.now());
        if due {
            self.housekeeping = None;
        }
        due
    }

    /// Ready when a timer has expired or housekeeping, wanted every `house`, is due.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, house: Option<Duration>) -> Poll<()> {
        let now = self.now();
        match house {
            None => self.housekeeping = None,
            Some(every) => {
                self.housekeeping.get_or_insert(now + every);
            }
        }
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let Some(next) = timer.into_iter().chain(self.housekeeping).min() else { return Poll::Pending };
        if next <= now {
            return Poll::Ready(());
        }
        if self.delay_until != Some(next) {
            self.delay.reset(next.since(now).min(LONGEST));
            self.delay_until = Some(next);
        }
        let polled = Pin::new(&mut self.delay).poll(cx);
        if polled.is_ready() {
            self.delay_until = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_order_and_not_before_their_time() {
        let mut clock = Clock::new(Instant::now());
        clock.arm(Duration::from_millis(30), Timer::Upkeep(3));
        clock.arm(Duration::from_millis(10), Timer::Upkeep(1));
        clock.arm(Duration::from_millis(10), Timer::Upkeep(2));
        assert_eq!(clock.expired(), None);
        futures::executor::block_on(futures::future::poll_fn(|cx| clock.poll(cx, None)));
        let mut expired = vec![];
        while expired.len() < 3 {
            expired.extend(clock.expired());
        }
        assert_eq!(expired, [Timer::Upkeep(1), Timer::Upkeep(2), Timer::Upkeep(3)]);
        assert!(clock.now() >= Time(30_000));
    }
}
