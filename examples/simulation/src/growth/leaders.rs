//! What one leader carries of the lookups of all, by the multicast as it is and with a remedy.

use std::time::Duration;

use neblo_behaviour::sim::Mesh;
use neblo_behaviour::sim::growth::{Digests, known_leaders, leader_under};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{IN_A_SUBGROUP, Values};

/// A query of each peer an hour, as in the paper; all are there.
const EVERY: f64 = 3_600.0;
/// Messages of which copies are counted.
const MESSAGES: u32 = 20;
/// Contents of a subgroup, two of each peer as in the paper, and queries against their digests.
const CONTENTS: u32 = 2 * IN_A_SUBGROUP;
const QUERIES: u32 = 200;
/// Seconds after which a leader's digest goes to all others again.
const DIGEST_EVERY: f64 = 3_600.0;
/// What is too much for one leader.
pub(super) const TOO_MUCH: f64 = 1e6;
/// Microseconds until a leader has judged a lookup.
const JUDGING: u64 = 1_000;

/// One-way latency of a pair in microseconds, 5 to 60 ms.
fn latency(one: u32, other: u32) -> u64 {
    let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
    5_000 + (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 55_000
}

pub(super) fn measure(seed: u64, peers: u32) -> Values {
    let leaders = peers / IN_A_SUBGROUP;
    let lookups = f64::from(peers) / EVERY;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mesh = Mesh::of_leaders(&mut rng, leaders);
    let (mut copies, mut took) = (0.0, 0.0);
    for nth in 0..MESSAGES {
        let spread = mesh.publish(nth * (leaders / MESSAGES).max(1) % leaders, latency, JUDGING);
        copies += spread.mean_received() / f64::from(MESSAGES);
        took += spread.took as f64 / 1e6 / f64::from(MESSAGES);
    }
    let known = known_leaders(leaders);
    // A thousand lookups at least, and a minute.
    let time = Duration::from_secs_f64((1_000.0 / lookups).max(60.0));
    let carried = leader_under(seed, (leaders - 1, known as u32), lookups, time);
    let (cast, answer) = (carried.lookup_bytes as f64, carried.answer_bytes as f64);
    // Each lookup comes in some copies and goes out in as many; each leader answers one, and gets as many answers as it gives.
    let a_lookup = 2.0 * copies * cast + 2.0 * answer;
    let flood = lookups * a_lookup;
    let mut digests = Digests::new(seed, leaders, CONTENTS);
    let asked = digests.ask(QUERIES);
    let named = asked.asked as f64 / asked.queries as f64;
    let direct = lookups * named / f64::from(leaders) * 2.0 * (cast + answer);
    let spreading = f64::from(leaders) * 2.0 * copies * (digests.mean_bytes() + cast) / DIGEST_EVERY;
    let (links, in_mesh) = mesh.mean_links();
    vec![
        ("leaders", f64::from(leaders)),
        ("lookups a second", lookups),
        ("links", links),
        ("in the mesh", in_mesh),
        ("copies of a lookup", copies),
        ("seconds to all", took),
        ("bytes of a lookup", cast),
        ("bytes of an answer", answer),
        ("bytes a second", flood),
        ("peers at 1 MB a second", TOO_MUCH * EVERY / a_lookup),
        ("known leaders", known),
        ("taken", carried.taken as f64 / carried.lookups as f64),
        ("leaders that digests name", named),
        ("that have it", asked.matching as f64 / asked.queries as f64),
        ("bytes of a digest", digests.mean_bytes()),
        ("bytes of all digests", digests.mean_bytes() * f64::from(leaders)),
        ("bytes a second with digests", direct + spreading),
        ("of these digests", spreading),
    ]
}
