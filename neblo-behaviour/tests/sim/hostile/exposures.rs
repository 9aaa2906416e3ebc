//! Row "make first relays fail, so that new ones are drawn": exposures an hour at a kill rate.

use std::collections::BTreeSet;

use super::*;
use neblo_behaviour::protocol::interface::Command;
use neblo_behaviour::protocol::io::Contact;

/// The first relay of one owner is taken down again and again, for a minute each time, or for good.
#[test]
fn taking_first_relays_down_shows_the_owner_to_so_many_an_hour() {
    for (rate, for_good) in [(30u64, false), (6, true), (30, true)] {
        let (mut seen, mut in_the_first_hour, mut kills) = (BTreeSet::new(), 0, 0);
        let mut sim = ready(880, 20, 40);
        sim.keep_events(false);
        sim.count_bytes(false);
        sim.run(Duration::from_secs(5));
        let owner = members(&sim)[3];
        let known = |sim: &Simulation, peer: u32| {
            let known = *sim.living().iter().find(|known| **known != peer).unwrap();
            Contact::new(known, vec![known.to_be_bytes().to_vec()])
        };
        let mut down: Vec<(u64, u32)> = Vec::new();
        for second in 0..7_200u64 {
            sim.run(Duration::from_secs(1));
            let first = sim.node(owner).paths().first_link(Purpose::Publishing).map(|(first, _)| first);
            seen.extend(first);
            if second == 3_600 {
                in_the_first_hour = seen.len();
            }
            let config = Config::default().with_subgroup_size(40);
            for (_, peer) in down.extract_if(.., |(until, _)| *until <= second) {
                if for_good {
                    // Another comes in its place.
                    let through = known(&sim, peer).peer;
                    sim.join(config.clone(), &[through]);
                    continue;
                }
                sim.restart(peer, config.clone());
                let known = vec![known(&sim, peer)];
                sim.command(peer, |token| Command::Subscribe { token, known });
            }
            if let (0, Some(first)) = (second % (3_600 / rate), first) {
                kills += 1;
                sim.kill(first);
                down.push((second + 60, first));
            }
        }
        let how = if for_good { "for good" } else { "for 60 s each" };
        let shown = [in_the_first_hour - 1, seen.len() - in_the_first_hour];
        println!(
            "{kills} first relays taken down {how} in two hours: {shown:?} others an hour saw the owner begin walks"
        );
        // Two spares. Of those that never come back no more than one for each; and six at once, then six an hour.
        let most = if for_good { [kills.min(2 + 6 + 6 + 1), kills.min(6 + 1)] } else { [2, 0] };
        assert!(shown[0] <= most[0] && shown[1] <= most[1], "{shown:?}");
    }
}
