//! Relays that a walk had better not take for a while, because it would end there.
//!
//! The member list is the leader's, which learns of a death later than a neighbour does.

use std::time::Duration;

use rand::Rng;

use crate::protocol::io::{Contact, Peer, Time, below};

/// How long a peer is shunned that is dead or cannot be reached. choice: by then the leader has taken it off the list
const DEAD_FOR: Duration = Duration::from_secs(30);
/// How long one is over which a walk came to nothing: it may be sound, and the silent one further on. choice
const SILENT_FOR: Duration = Duration::from_secs(5);
/// Peers remembered. choice
const MAX: usize = 64;

/// Those shunned, and until when.
#[derive(Clone, Debug)]
pub(super) struct Shunned<P>(Vec<(P, Time)>);

impl<P> Default for Shunned<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P: Peer> Shunned<P> {
    pub(super) fn dead(&mut self, now: Time, peer: P) {
        self.until(now, peer, now + DEAD_FOR);
    }

    pub(super) fn silent(&mut self, now: Time, peer: P) {
        self.until(now, peer, now + SILENT_FOR);
    }

    fn until(&mut self, now: Time, peer: P, until: Time) {
        let until = self.0.iter().find(|(known, _)| *known == peer).map_or(until, |(_, before)| until.max(*before));
        self.0.retain(|(known, until)| *known != peer && *until > now);
        if self.0.len() >= MAX {
            self.0.remove(0);
        }
        self.0.push((peer, until));
    }

    /// It has something to say about paths: it lives.
    pub(super) fn forgive(&mut self, peer: P) {
        self.0.retain(|(known, _)| *known != peer);
    }

    /// A random one of these, not a shunned one as long as there is another.
    pub(super) fn choose<'a>(&self, rng: &mut dyn Rng, now: Time, relays: &'a [Contact<P>]) -> Option<&'a Contact<P>> {
        let shunned = |peer: P| self.0.iter().any(|(known, until)| *known == peer && *until > now);
        let sound: Vec<_> = relays.iter().filter(|relay| !shunned(relay.peer)).collect();
        match sound.is_empty() {
            true => relays.get(below(rng, relays.len())),
            false => sound.get(below(rng, sound.len())).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_shunned_are_taken_only_for_lack_of_others_and_for_a_while() {
        let relays = [1u32, 2, 3].map(Contact::bare);
        let mut rng = StdRng::seed_from_u64(1);
        let mut shunned = Shunned::default();
        let mut chosen = |shunned: &Shunned<u32>, now| {
            let mut chosen: Vec<_> =
                (0..100).filter_map(|_| shunned.choose(&mut rng, Time(now), &relays)).map(|it| it.peer).collect();
            chosen.sort_unstable();
            chosen.dedup();
            chosen
        };
        assert_eq!(chosen(&shunned, 0), [1, 2, 3]);
        shunned.dead(Time(0), 1);
        shunned.silent(Time(0), 2);
        shunned.silent(Time(0), 1);
        assert_eq!(chosen(&shunned, 4_000_000), [3]);
        assert_eq!(chosen(&shunned, 6_000_000), [2, 3]);
        shunned.dead(Time(6_000_000), 2);
        shunned.dead(Time(6_000_000), 3);
        assert_eq!(chosen(&shunned, 7_000_000), [1, 2, 3]);
        shunned.forgive(3);
        assert_eq!(chosen(&shunned, 7_000_000), [3]);
        assert_eq!(chosen(&shunned, 60_000_000), [1, 2, 3]);
    }
}
