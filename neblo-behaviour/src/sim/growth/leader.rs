//! One leader under the lookups of all others: the real [`Directory`], fed with what the multicast brings.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::address::OverlayAddr;
use crate::protocol::codec::Blob;
use crate::protocol::directory::{Directory, DirectoryEvent, DirectoryMessage, DirectoryTimer, LookupCast};
use crate::protocol::interface::Verdict;
use crate::protocol::io::{Contact, Ctx, Sink, Time, below, draw};
use crate::protocol::seal::Keys;
use crate::protocol::subgroup::{BUCKETS, LASTS, MAX_AT_ONE, MAX_ROWS, ROUND};
use crate::protocol::wire::Frame;
use crate::sim::draws::exponential;
use crate::sim::{BEGINS, StandInKeys};

/// A query of a few words.
const QUERY: usize = 24;
/// Hits that are wanted.
const LIMIT: u16 = 16;

/// What one leader made of the lookups that came to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Carried {
    /// Lookups that came, each once.
    pub lookups: u64,
    /// Those that it took, and so passes on; the others are above what is taken of leaders that it has not heard of.
    pub taken: u64,
    /// Bytes of one lookup.
    pub lookup_bytes: usize,
    /// Answers, each to another leader.
    pub answers: u64,
    /// Bytes of one answer without hits.
    pub answer_bytes: usize,
}

/// How many of `leaders` one has heard of: where they do not fit in one answer it asks the registry for some of each bucket in each round,
/// and forgets them after a while. An expectation, from the constants of the registry.
pub fn known_leaders(leaders: u32) -> f64 {
    let buckets = f64::from(BUCKETS);
    let listed = (f64::from(leaders) / buckets).min(MAX_AT_ONE as f64);
    let share = (MAX_ROWS as f64 / listed).min(1.0);
    let asked = (LASTS.as_secs_f64() / ROUND.as_secs_f64()) as i32;
    buckets * listed * (1.0 - (1.0 - share).powi(asked))
}

#[derive(Default)]
struct Outbox {
    answers: u64,
    answer_bytes: usize,
}

impl Sink<u32, Directory<u32>> for Outbox {
    fn send(&mut self, _to: &Contact<u32>, message: DirectoryMessage<u32>) {
        self.answers += 1;
        self.answer_bytes = Frame::Directory(message).encoded_len();
    }
    fn arm(&mut self, _after: Duration, _timer: DirectoryTimer) {}
    fn emit(&mut self, _event: DirectoryEvent<u32>) {}
}

/// A peer with an address of the usual length.
fn contact(peer: u32) -> Contact<u32> {
    Contact::new(peer, vec![vec![4; 8], vec![4; 10]])
}

/// Lets lookups of `leaders` others come to a leader whose table is empty, `a_second` of all of them together, for some time. The
/// first `known` of them it has heard of.
pub fn leader_under(seed: u64, (leaders, known): (u32, u32), a_second: f64, time: Duration) -> Carried {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut out = Outbox::default();
    let mut directory = Directory::new(contact(0), Duration::from_secs(3_600));
    let subgroup = |leader: u32| OverlayAddr(u128::from(leader));
    let mut found = Carried::default();
    let mut now = Time(0);
    let mut began = false;
    while now < Time(0) + time {
        let asker = 1 + below(&mut rng, leaders as usize) as u32;
        let keys = StandInKeys::new(asker);
        let cast = LookupCast {
            asker: contact(asker),
            identity: Blob::new(Keys::identity(&keys)).unwrap_or_default(),
            subgroup: subgroup(asker),
            term: 1,
            nonce: draw(&mut rng),
            sent: BEGINS + now.0 / 1_000_000,
            query: Blob::new(vec![0; QUERY]).unwrap_or_default(),
            limit: LIMIT,
            signature: Blob::default(),
        };
        let bytes = cast.sign(&keys).to_bytes();
        let after = exponential(&mut rng, 1e6 / a_second);
        let mut ctx = Ctx { now, unix: BEGINS + now.0 / 1_000_000, rng: &mut rng, out: &mut out };
        let own = StandInKeys::new(0);
        if !std::mem::replace(&mut began, true) {
            directory.lead(&mut ctx, &own, Some((subgroup(0), 1)));
        }
        let verdict = directory.cast_received(&mut ctx, &own, |peer, _| peer <= known, &bytes);
        found.lookups += 1;
        found.taken += u64::from(verdict == Verdict::Accept);
        found.lookup_bytes = bytes.len();
        now = now + Duration::from_micros(after as u64);
    }
    Carried { answers: out.answers, answer_bytes: out.answer_bytes, ..found }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_leader_answers_all_it_takes_and_takes_twenty_a_second_of_those_it_never_heard_of() {
        let few = leader_under(1, (100, 0), 10.0, MINUTE);
        assert_eq!((few.taken, few.answers), (few.lookups, few.lookups));
        let many = leader_under(1, (1_000, 0), 200.0, MINUTE);
        // 100 at once, then 20 a second.
        assert!((1_250..=1_310).contains(&many.taken), "{many:?}");
        let known = leader_under(1, (1_000, 1_000), 200.0, MINUTE);
        assert_eq!(known.taken, known.lookups);
    }

    #[test]
    fn all_leaders_are_known_while_they_fit_one_answer_of_each_bucket() {
        assert_eq!(known_leaders(200), 200.0);
        assert!((0.7..0.8).contains(&(known_leaders(2_000) / 2_000.0)));
        assert!(known_leaders(20_000) < 2_000.0);
    }
}
