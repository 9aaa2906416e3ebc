//! Paths of a subgroup that grows: they are replaced, and nobody asks in vain meanwhile.

use super::lookup::{announce, connect, look_up, ready_of};
use super::*;
use neblo_behaviour::PathPolicy;
use neblo_behaviour::protocol::interface::{Event, Purpose};

#[test]
fn a_path_is_replaced_as_its_subgroup_grows_before_it_is_given_up() {
    for seed in 1_200..1_206 {
        // No path is replaced but for growth.
        let policy = PathPolicy::hardened().with_search_anew(None);
        let config = Config::default().with_subgroup_size(40).with_path_policy(policy);
        let mut sim = ready_of(seed, 6, config.clone());
        let member = |sim: &Simulation| sim.living().into_iter().find(|peer| !sim.node(*peer).subgroups().leads());
        let publisher = member(&sim).unwrap();
        announce(&mut sim, publisher, b"picture");
        sim.run(Duration::from_secs(2));
        let before = sim.node(publisher).paths().first_link(Purpose::Publishing).unwrap();
        let since = sim.events().len();
        let mut changes = 0;
        let mut last = before;
        for _ in 0..14 {
            let newcomer = sim.join(config.clone(), &[0]);
            // At each moment on the way the path that is in use is whole, and what is published is found.
            for _ in 0..15 {
                sim.run(Duration::from_millis(100));
                let now = sim.node(publisher).paths().first_link(Purpose::Publishing);
                let now = now.unwrap_or_else(|| panic!("seed {seed}: no path at {:?}", sim.now()));
                changes += u32::from(now != last);
                last = now;
            }
            let asker = sim
                .living()
                .into_iter()
                .find(|peer| ![publisher, newcomer].contains(peer) && sim.node(*peer).is_ready(Purpose::Downloading));
            let (hits, ..) = look_up(&mut sim, asker.unwrap(), b"picture");
            assert_eq!(hits.len(), 1, "seed {seed}");
            connect(&mut sim, asker.unwrap(), &hits[0]).unwrap();
            // A neighbour may have 32 at once, and in so few peers a path crosses a link more than once.
            let open: Vec<u64> = sim.streams().keys().copied().collect();
            open.into_iter().for_each(|stream| sim.end_stream(stream));
        }
        assert!(changes >= 1, "seed {seed}: the path of six was never replaced among twenty");
        let lost = sim.events()[since..]
            .iter()
            .any(|(_, peer, event)| *peer == publisher && matches!(event, Event::PathLost(Purpose::Publishing)));
        assert!(!lost, "seed {seed}");
        // The old ones are given up in the end: the leader has one path of each owner and purpose.
        sim.run(Duration::from_secs(20));
        let leader = sim.living().into_iter().find(|peer| sim.node(*peer).subgroups().leads()).unwrap();
        let ends: usize = sim
            .living()
            .iter()
            .map(|peer| sim.node(*peer).paths().relayed_links().filter(|(_, (next, _))| *next == leader).count())
            .sum();
        let owners = sim.living().len() - 1;
        assert_eq!(ends, 3 * owners, "seed {seed}");
    }
}
