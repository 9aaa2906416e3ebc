//! A remedy for the flood of lookups, measured as a model and not part of the protocol: every leader has a digest of the words of all
//! other leaders' contents and asks those alone whose digest has all words of the query.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::protocol::io::below;

/// Words of a content, and of a query.
const WORDS: usize = 3;
const ASKED: usize = 2;
/// Words that there are; how often each is used falls as 1/rank (Zipf).
const VOCABULARY: usize = 100_000;
/// Of a Bloom filter: bits a word, and bits set by one. Together 0.8 % of words that are not there seem to be.
const BITS: usize = 10;
const HASHES: u64 = 7;

/// One leader: its contents, and a Bloom filter of their words.
#[derive(Debug)]
struct Leader {
    contents: Vec<[u32; WORDS]>,
    filter: Vec<u64>,
}

/// All leaders.
#[derive(Debug)]
pub struct Digests {
    leaders: Vec<Leader>,
    rng: ChaCha8Rng,
}

/// Who was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Queries.
    pub queries: u64,
    /// Leaders that their digests name, all together.
    pub asked: u64,
    /// Those of them that have a content with all words of the query.
    pub matching: u64,
    /// Those that have one and were not asked.
    pub missed: u64,
}

/// A hash of a word for one of the bits that it sets.
fn hash(word: u32, nth: u64) -> u64 {
    let mut hash = (u64::from(word) << 8 | nth).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

impl Leader {
    fn new(contents: Vec<[u32; WORDS]>) -> Self {
        let words: BTreeSet<u32> = contents.iter().flatten().copied().collect();
        let mut filter = vec![0u64; (words.len() * BITS).div_ceil(64).max(1)];
        let bits = filter.len() as u64 * 64;
        for word in words {
            for nth in 0..HASHES {
                let bit = hash(word, nth) % bits;
                filter[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        Self { contents, filter }
    }

    fn seems_to_have(&self, word: u32) -> bool {
        let bits = self.filter.len() as u64 * 64;
        (0..HASHES).all(|nth| {
            let bit = hash(word, nth) % bits;
            self.filter[(bit / 64) as usize] >> (bit % 64) & 1 == 1
        })
    }
}

impl Digests {
    /// So many leaders, each with `contents` of three words.
    pub fn new(seed: u64, leaders: u32, contents: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut sum = 0.0;
        let ranks: Vec<f64> = (1..=VOCABULARY)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let mut word = || {
            let draw = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * sum;
            ranks.partition_point(|upto| *upto < draw) as u32
        };
        let mut content = || {
            let mut words = [word(), word(), word()];
            while words[1] == words[0] {
                words[1] = word();
            }
            while words[2] == words[0] || words[2] == words[1] {
                words[2] = word();
            }
            words
        };
        let leaders = (0..leaders).map(|_| Leader::new((0..contents).map(|_| content()).collect())).collect();
        Self { leaders, rng }
    }

    /// Bytes of a digest on average.
    pub fn mean_bytes(&self) -> f64 {
        let words: usize = self.leaders.iter().map(|leader| leader.filter.len()).sum();
        8.0 * words as f64 / self.leaders.len() as f64
    }

    /// Asks for two words of random contents.
    pub fn ask(&mut self, queries: u32) -> Asked {
        let mut found = Asked::default();
        for _ in 0..queries {
            let leader = &self.leaders[below(&mut self.rng, self.leaders.len())];
            let content = leader.contents[below(&mut self.rng, leader.contents.len())];
            let wanted = &content[..ASKED];
            found.queries += 1;
            for leader in &self.leaders {
                let asked = wanted.iter().all(|word| leader.seems_to_have(*word));
                let has = leader.contents.iter().any(|content| wanted.iter().all(|word| content.contains(word)));
                found.asked += u64::from(asked);
                found.matching += u64::from(asked && has);
                found.missed += u64::from(has && !asked);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_leave_out_most_leaders_and_nobody_who_has_it() {
        let mut digests = Digests::new(1, 400, 100);
        let asked = digests.ask(200);
        println!("{asked:?}, {} bytes", digests.mean_bytes());
        assert_eq!(asked.missed, 0);
        assert!(asked.matching >= asked.queries);
        assert!(asked.asked < asked.queries * 400 / 4);
    }
}
