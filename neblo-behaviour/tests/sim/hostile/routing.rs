//! Row "routing that drops or misleads": members on the way of a request drop it, or answer in the owner's place.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::liars::{Liars, Lie};
use super::*;
use crate::messaging::{PORT, WAIT, ask, owner, ring_of};
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::{Answer, Recipients};
use neblo_behaviour::protocol::messaging::placement;

const N: usize = 64;
const ASKED: usize = 60;

/// One request; `Some(true)` for the right answer, `Some(false)` for another, `None` for none.
fn asked(sim: &mut Simulation, liars: &Liars, asker: u32, how: Recipients, to: OverlayAddr) -> Option<bool> {
    let token = ask(sim, asker, how, to, b"what is");
    liars.run_until(sim, WAIT + Duration::from_secs(1), |sim| !sim.answers(asker, token).is_empty());
    match sim.answers(asker, token) {
        [Answer::Response(payload)] => Some(payload == b"what is"),
        _ => None,
    }
}

/// The ways to ask that are compared.
const WAYS: [(&str, &[Recipients]); 4] = [
    ("one copy", &[Recipients::First(1)]),
    ("one copy, three tries", &[Recipients::First(1), Recipients::First(1), Recipients::First(1)]),
    ("three copies at once", &[Recipients::First(3)]),
    ("three copies, one after another", &[Recipients::Only(0), Recipients::Only(1), Recipients::Only(2)]),
];

/// Askers and owners are honest: what fails is the way between them. An asker that can tell a right answer tries again after a
/// wrong one.
#[test]
fn requests_through_members_that_drop_or_mislead_succeed_so_often() {
    let mut sim = ring_of(870, N, Config::default());
    sim.run(Duration::from_secs(120));
    for f in [0.1, 0.2] {
        for misleads in [false, true] {
            let bad: Rc<RefCell<BTreeSet<u32>>> = Rc::default();
            let among = bad.clone();
            let liars = Liars::who(&mut sim, Duration::from_millis(65), move |to, request| {
                let lie = || if misleads { Lie::Say(b"what is not".to_vec()) } else { Lie::Silence };
                (request.port == PORT && among.borrow().contains(&to)).then(lie)
            });
            let mut right = [0u32; WAYS.len()];
            for _ in 0..ASKED {
                let asker = sim.draw(N) as u32;
                let to = OverlayAddr::hash(&[&sim.draw(usize::MAX).to_le_bytes()]);
                let owners: Vec<_> = (0..3).map(|copy| owner(&sim, placement(to, copy))).collect();
                let mut chosen = BTreeSet::new();
                while chosen.len() < (N as f64 * f).round() as usize {
                    let peer = sim.draw(N) as u32;
                    if peer != asker && !owners.contains(&peer) {
                        chosen.insert(peer);
                    }
                }
                *bad.borrow_mut() = chosen;
                for (way, (_, tries)) in WAYS.iter().enumerate() {
                    let good = tries.iter().any(|how| asked(&mut sim, &liars, asker, *how, to) == Some(true));
                    right[way] += u32::from(good);
                }
            }
            let share = |way: usize| f64::from(right[way]) / ASKED as f64;
            let shares: Vec<_> =
                WAYS.iter().enumerate().map(|(at, (way, _))| format!("{way} {:.2}", share(at))).collect();
            println!("{f} of {N} members {}: {}", if misleads { "mislead" } else { "drop" }, shares.join(", "));
            // Routes of different copies are different: what three of them miss is far less than what one does.
            assert!(share(3) >= 0.93, "{shares:?}");
            assert!(misleads || share(2) >= 0.93, "{shares:?}");
            assert!(share(0) >= (1.0 - f).powi(4), "{shares:?}");
        }
    }
}
