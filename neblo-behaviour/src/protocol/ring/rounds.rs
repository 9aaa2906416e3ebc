//! When a member asks its first successor next: often while something changes, seldom while nothing does.
//!
//! Whoever's neighbours change says so at once ([`Nudge`](super::Nudge), [`Notify`](super::Notify)), and a death is told by links, so a
//! round only finds what was lost on the way. Rounds are periodic, as Bamboo has it (research §3), and never end; in a quiet ring they
//! are most of what a member sends, and mean nothing.

use super::handover::Stage;
use super::*;

/// Rounds after the last change before they become rarer. choice: what was lost with a frame is said again in one
const BRISK: u8 = 4;
/// The longest wait, in rounds. choice: about a minute by default. Whoever lives in a claimed range has lost a neighbour and does not wait
/// for its round
const LONGEST: u32 = 32;

/// The pace of a member's rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds without a change.
    quiet: u8,
    /// The wait that runs, in rounds.
    wait: u32,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { quiet: 0, wait: 1 }
    }
}

impl Rounds {
    /// A round has come: how many of them the wait until the next one takes. `settled` says whether the member has all that it needs
    /// and waits for nobody.
    pub fn next(&mut self, settled: bool) -> u32 {
        self.quiet = if settled { self.quiet.saturating_add(1) } else { 0 };
        self.wait = if self.quiet > BRISK { (self.wait * 2).min(LONGEST) } else { 1 };
        self.wait
    }

    /// Something changed. Whether the wait that runs is too long for that: a round is due as soon as in a changing ring.
    pub fn stirred(&mut self) -> bool {
        self.quiet = 0;
        std::mem::replace(&mut self.wait, 1) > 1
    }

    /// Rounds that the wait which has ended took.
    pub fn waited(&self) -> u32 {
        self.wait
    }
}

impl<P: Peer> Ring<P> {
    /// Whether this member has all that it needs and waits for nobody: a full list, a predecessor, a range that the first successor
    /// knows of and that is its own for good. Never in a small ring, whose founder repeats its roster.
    pub fn is_settled(&self) -> bool {
        let full = self.successors.len() >= self.r || self.round;
        let moving = self.handed.iter().any(|handed| handed.stage != Stage::Done)
            || self.received.iter().any(|received| !received.settled);
        self.is_member()
            && !self.is_leaving()
            && self.roster.is_none()
            && full
            && self.predecessor.is_some()
            && self.is_confirmed()
            && self.claim.is_none()
            && self.is_heard()
            && !self.is_asking()
            && !moving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_become_rarer_while_nothing_changes_and_a_change_brings_them_back() {
        let mut rounds = Rounds::default();
        let waits: Vec<u32> = (0..9).map(|_| rounds.next(true)).collect();
        assert_eq!(waits, [1, 1, 1, 1, 2, 4, 8, 16, 32]);
        assert_eq!(rounds.next(true), 32);
        assert!(rounds.stirred());
        assert!(!rounds.stirred());
        assert_eq!(rounds.next(true), 1);
        // Who waits for somebody goes on asking.
        let mut rounds = Rounds::default();
        assert!((0..100).all(|_| rounds.next(false) == 1));
    }
}
