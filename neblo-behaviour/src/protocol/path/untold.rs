//! Breaks that would name who left are told in batches (research §6, "path failed" names the leaver).
//!
//! A path whose previous peer is gone breaks at the moment at which that peer left. The leader sees both, and would know whose
//! path it was if that was its owner. Told at moments that have nothing to do with it, the break may be that of anyone who has left
//! since the last of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::io::{Contact, Peer, Time};

/// Breaks are told when the node's time is a multiple of this. choice: among 75 members of which each stays for 26 min (seed 003
/// §5) three leave in it; a relay that is gone is mended around long before
const EVERY: Duration = Duration::from_secs(60);
/// Breaks kept; further ones are told at once. choice
const MAX_UNTOLD: usize = 4_096;

/// Paths that ended at a peer that is gone, by their next link: the peer and its name.
#[derive(Clone, Debug)]
pub(super) struct Untold<P> {
    breaks: BTreeMap<(P, u64), Contact<P>>,
}

impl<P> Default for Untold<P> {
    fn default() -> Self {
        Self { breaks: BTreeMap::new() }
    }
}

impl<P: Peer> Untold<P> {
    /// Keeps a break until it is time; false if there are too many.
    pub(super) fn keep(&mut self, next: &Contact<P>, id: u64) -> bool {
        let room = self.breaks.len() < MAX_UNTOLD;
        if room {
            self.breaks.insert((next.peer, id), next.clone());
        }
        room
    }

    /// Until all are told.
    pub(super) fn wait(now: Time) -> Duration {
        let every = u64::try_from(EVERY.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(every.saturating_sub(now.0.checked_rem(every).unwrap_or(0)))
    }

    /// Takes one that need not be told any more, or not in a batch.
    pub(super) fn take(&mut self, next: P, id: u64) -> Option<Contact<P>> {
        self.breaks.remove(&(next, id))
    }

    /// All of them; each with its name on the link.
    pub(super) fn take_all(&mut self) -> Vec<(Contact<P>, u64)> {
        std::mem::take(&mut self.breaks).into_iter().map(|((_, id), next)| (next, id)).collect()
    }

    /// A peer that would be told is dead.
    pub(super) fn dead(&mut self, peer: P) {
        self.breaks.retain(|(next, _), _| *next != peer);
    }

    /// Who will be told.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = &Contact<P>> {
        self.breaks.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.breaks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_together_at_moments_of_their_own_and_further_ones_at_once() {
        assert_eq!(Untold::<u32>::wait(Time(59_000_000)), Duration::from_secs(1));
        assert_eq!(Untold::<u32>::wait(Time(60_000_000)), EVERY);
        assert_eq!(Untold::<u32>::wait(Time(61_500_000)), Duration::from_millis(58_500));
        let mut untold = Untold::default();
        let kept = (0..2 * MAX_UNTOLD as u64).filter(|id| untold.keep(&Contact::bare(7u32), *id)).count();
        assert_eq!(kept, MAX_UNTOLD);
        assert!(untold.take(7, 3).is_some() && untold.take(7, 3).is_none());
        assert_eq!(untold.take_all().len(), MAX_UNTOLD - 1);
        untold.keep(&Contact::bare(7), 1);
        untold.keep(&Contact::bare(8), 1);
        untold.dead(7);
        assert_eq!(untold.neighbours().collect::<Vec<_>>(), [&Contact::bare(8)]);
        assert!(!untold.is_empty());
    }
}
