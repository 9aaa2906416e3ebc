//! What walks show to the peers that they go through.

use std::collections::BTreeSet;

use super::*;
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::wire::Frame;
use std::cell::RefCell;
use std::rc::Rc;

/// Rows "TTL on the wire" and "direct owner-requester or owner-leader link": colluding members look at the first of them on each
/// path and at the peer before it. With a mandatory first relay, q = p (n-c)/n, and a first colluder in place k with
/// probability (c/n) q^(k-1), the peer before it is the owner when k is 1, and else only by chance.
#[test]
fn the_peer_before_the_first_colluder_is_the_owner_as_often_as_the_formula_says_and_never_for_certain() {
    let (mut seen, mut right, mut paths, mut bare) = (0u32, 0u32, 0u32, 0u32);
    let (n, c) = (36usize, 6usize);
    for seed in 700..712 {
        let mut sim = ready(seed, n + 1, n + 1);
        // Paths that were built in a young subgroup were built anew; the last ones among nearly all members.
        sim.run(Duration::from_secs(5));
        let members = members(&sim);
        let all: Vec<_> =
            members.iter().flat_map(|owner| Purpose::ALL.map(|purpose| hops(&sim, *owner, purpose))).collect();
        paths += all.len() as u32;
        bare += all.iter().filter(|hops| hops.len() < 3).count() as u32;
        for _ in 0..40 {
            let mut colluders = BTreeSet::new();
            while colluders.len() < c {
                colluders.insert(members[sim.draw(members.len())]);
            }
            for hops in all.iter().filter(|hops| !colluders.contains(&hops[0])) {
                let Some(first) = hops[1..].iter().position(|relay| colluders.contains(relay)) else { continue };
                seen += 1;
                right += u32::from(hops[first] == hops[0]);
            }
        }
    }
    // Members but the owner itself can be first relays; those and the owner can be the next ones.
    let (n, c, p) = (n as f64, c as f64, 0.7);
    let first = c / (n - 1.0);
    let on = |k: i32| (1.0 - first) * p * (p * (n - 1.0 - c) / (n - 1.0)).powi(k - 2) * c / (n - 1.0);
    let all = first + (2..60).map(on).sum::<f64>();
    // By chance: a later honest hop is one of n - 1 - c peers, the owner among them.
    let wanted = (first + (3..60).map(on).sum::<f64>() / (n - 1.0 - c)) / all;
    let found = f64::from(right) / f64::from(seen);
    println!(
        "{paths} paths, {bare} without a relay; a colluder on {seen}, the peer before the first one is the owner in {found:.3} of \
         them (formula {wanted:.3}); certain share 0: no frame tells the place"
    );
    assert_eq!(bare, 0);
    assert!((found - wanted).abs() < 0.03, "{found:.3}, not {wanted:.3}");
}

/// Rows "one identifier seen by all hops" and "size": names and values differ on every link and for every purpose, and what is
/// sealed has two sizes.
#[test]
fn no_two_links_share_a_name_and_there_are_two_sizes() {
    let mut sim = ready(720, 24, 8);
    let opens = Rc::new(RefCell::new(Vec::new()));
    let sizes = Rc::new(RefCell::new(BTreeSet::new()));
    let (kept, measured) = (opens.clone(), sizes.clone());
    sim.watch_frames(move |sent| match sent.frame {
        Frame::Path(PathMessage::Open(open)) => kept.borrow_mut().push((open.id, open.resume)),
        Frame::Path(PathMessage::Up(up)) => {
            measured.borrow_mut().insert(up.sealed.len());
        }
        Frame::Path(PathMessage::Down(down)) => {
            measured.borrow_mut().insert(down.sealed.len());
        }
        _ => {}
    });
    let (publisher, requester) = strangers(&sim);
    announce(&mut sim, publisher, &[b'x'; 4_000]);
    announce(&mut sim, publisher, b"small x");
    sim.run(Duration::from_secs(2));
    look_up(&mut sim, requester, b"x");
    let leader = super::super::subgroups::leaders(&sim)[0];
    sim.kill(leader);
    sim.run(Duration::from_secs(20));
    let opens = opens.borrow();
    let names: BTreeSet<_> = opens.iter().map(|(name, _)| name).collect();
    let values: BTreeSet<_> = opens.iter().map(|(_, value)| value).collect();
    println!(
        "{} walks' links, {} names, {} values; sizes {:?}",
        opens.len(),
        names.len(),
        values.len(),
        sizes.borrow()
    );
    assert!(opens.len() > 20);
    assert_eq!((names.len(), values.len()), (opens.len(), opens.len()));
    assert_eq!(*sizes.borrow(), BTreeSet::from([1_024, 16_384]));
}

/// Rows "predecessor attack" and "dropping to force re-formation": whoever takes the relays behind the first one down again and
/// again sees no other first relay.
#[test]
fn breaking_a_path_behind_its_first_relay_shows_the_owner_to_nobody_else() {
    let (mut kills, mut firsts) = (0, 0);
    for seed in 730..736 {
        let mut sim = ready(seed, 40, 40);
        sim.run(Duration::from_secs(5));
        let owner = members(&sim)[3];
        let mut seen = BTreeSet::new();
        for nth in 0..12 {
            let hops = hops(&sim, owner, Purpose::ALL[nth % 3]);
            seen.insert(hops[1]);
            let behind = hops[2..hops.len() - 1].iter().find(|hop| **hop != owner && **hop != hops[1]);
            if let Some(victim) = behind.copied() {
                kills += 1;
                sim.kill(victim);
            }
            sim.run(Duration::from_secs(30));
        }
        firsts += seen.len();
        assert_eq!(seen.len(), 1, "seed {seed}: {seen:?}");
    }
    println!("{kills} relays behind the first killed on 6 paths in 6 minutes each: {firsts} first relays in all");
}
