//! Row "forged or first-answering hits": the share of the first tries that one malicious leader has.

use super::lies::{asked_with_a_liar, stage};
use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::directory::Found;
use neblo_behaviour::protocol::interface::{Hit, in_turn};
use neblo_behaviour::protocol::{Blob, List};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a download asks of each leader.
const WANTED: u16 = 20;
const DRAWS: u64 = 2_000;

fn forged(nonce: [u8; 16], says: OverlayAddr, in_hits: OverlayAddr) -> Found {
    let hit = |number: u64| Hit {
        key: [7; 32],
        expiry_day: 40_000,
        payload: Blob::new(format!("picture, not really {number}").into_bytes()).unwrap(),
        subgroup: in_hits,
        registration: number,
        reference: None,
    };
    Found { nonce, subgroup: says, hits: List::new((0..200).map(hit).collect()).unwrap(), last: true }
}

/// The share of the first tries that go to forged hits, and the mean number of tries until an honest one.
fn tries(hits: &[Hit]) -> (f64, f64) {
    let honest = |hit: &Hit| !hit.payload.starts_with(b"picture, not really");
    let (mut first, mut all) = (0u32, 0usize);
    for draw in 0..DRAWS {
        let mut rng = ChaCha8Rng::seed_from_u64(draw);
        let order = in_turn(&mut rng, hits.to_vec(), |hit| hit.subgroup);
        let at = order.iter().position(honest).expect("an honest one");
        first += u32::from(at > 0);
        all += at + 1;
    }
    (f64::from(first) / DRAWS as f64, all as f64 / DRAWS as f64)
}

/// One leader gives all the hits that it may, before all others, in its own name or in that of the publishers' subgroup.
#[test]
fn a_leader_that_answers_first_and_most_has_one_turn_in_as_many_subgroups_as_know_something() {
    for publishers in [1usize, 3] {
        for (whose, what) in [(false, "in its own name"), (true, "in another's name")] {
            let (mut shares, mut means, mut drawn, mut cut) = (Vec::new(), Vec::new(), Vec::new(), 0);
            for seed in seeds(840..844) {
                let (mut sim, first, requester, liar) = stage(seed);
                let home = |sim: &Simulation, peer: u32| sim.node(peer).subgroups().home().unwrap().subgroup();
                let (theirs, own) = (home(&sim, first), home(&sim, liar));
                // Others publish too, in the same subgroup.
                let others: Vec<_> = members(&sim)
                    .into_iter()
                    .filter(|peer| ![first, requester].contains(peer) && home(&sim, *peer) == theirs)
                    .take(publishers - 1)
                    .collect();
                for other in others {
                    announce(&mut sim, other, format!("picture of {other}").as_bytes());
                }
                sim.run(Duration::from_secs(2));
                let says = if whose { theirs } else { own };
                let hits = asked_with_a_liar(&mut sim, (requester, liar), WANTED, |nonce| {
                    vec![forged(nonce, says, says), forged(nonce, own, theirs)]
                });
                let bad = hits.iter().filter(|hit| hit.payload.starts_with(b"picture, not really")).count();
                assert!(bad <= usize::from(WANTED), "seed {seed}: {bad}");
                assert_eq!(hits.len() - bad, publishers, "seed {seed}");
                drawn.push(bad as f64 / hits.len() as f64);
                // A list that is cut before it is put in order is the liar's.
                cut += u32::from(hits.iter().take(usize::from(WANTED)).all(|hit| hit.subgroup == own));
                let (share, mean) = tries(&hits);
                shares.push(share);
                means.push(mean);
            }
            let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
            println!(
                "{publishers} publications of one subgroup, a leader forges 200 {what}: {:.2} of the hits are forged, {:.2} of \
                 the first tries, {:.2} tries until an honest one; the first {WANTED} hits are all forged in {cut} of 4",
                mean(&drawn),
                mean(&shares),
                mean(&means)
            );
            assert!(mean(&shares) <= 0.55 && mean(&means) <= 1.6, "{shares:?} {means:?}");
        }
    }
}
