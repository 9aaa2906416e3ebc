//! Row "path failed names who left": a path of a peer that has left breaks, and the leader sees both. It is told of breaks in
//! batches, so that it cannot tell whose path it was from those who left since the last one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;
use neblo_behaviour::protocol::interface::Command;
use neblo_behaviour::protocol::io::Time;
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::wire::Frame;

/// When `Broken` went up, from whom, to whom.
type Broken = Rc<RefCell<Vec<(Time, u32, u32)>>>;

/// A batch, and the time in which a peer is missed.
const WITHIN: Duration = Duration::from_secs(66);

/// The leader compares the moments at which it is told that paths broke with those at which members left.
#[test]
fn a_leader_finds_the_owner_of_a_broken_path_only_among_all_who_left_in_the_time_of_a_batch() {
    // A member leaves every so often: every 90 s is a mean life of an hour among 40, every 39 s one of 26 min, as in the paper.
    for (every, most) in [(90u64, 1.0), (39, 0.7), (9, 0.3)] {
        let mut sim = ready(890, 40, 60);
        sim.count_bytes(false);
        sim.run(Duration::from_secs(5));
        let leader = super::super::subgroups::leaders(&sim)[0];
        let broken = Broken::default();
        let heard = broken.clone();
        sim.watch_frames(move |sent| {
            if let Frame::Path(PathMessage::Broken(message)) = sent.frame
                && message.up
            {
                heard.borrow_mut().push((sent.at, sent.from, sent.to));
            }
        });
        let (mut owned, mut told, mut departures) = (Vec::new(), Vec::new(), Vec::new());
        for nth in 0..14 {
            let all = members(&sim);
            let gone = all[sim.draw(all.len())];
            let ends = Purpose::ALL.map(|purpose| hops(&sim, gone, purpose));
            let at = sim.now();
            departures.push((at, gone));
            let before = broken.borrow().len();
            match nth % 2 {
                0 => sim.kill(gone),
                _ => {
                    sim.command(gone, |token| Command::Leave { token });
                }
            }
            sim.run(Duration::from_millis(every * 1_000 * 4 / 5));
            for hops in ends.iter().filter(|hops| hops.last() == Some(&leader)) {
                owned.push((at, gone, hops[hops.len() - 2]));
            }
            told.push(broken.borrow()[before..].iter().map(|(.., to)| *to).collect::<BTreeSet<_>>().len());
            sim.join(Config::default().with_subgroup_size(60), &[leader]);
            sim.run(Duration::from_millis(every * 1_000 / 5));
        }
        sim.run(WITHIN);
        // Of each path of one that left: when the leader heard that it is broken, and who may have left without its having heard
        // of that before.
        let (mut seen, mut posterior, mut latest) = (0u32, 0.0, Duration::ZERO);
        for (at, gone, last) in &owned {
            let broken = broken.borrow();
            let heard = broken
                .iter()
                .find(|(then, from, to)| *to == leader && from == last && *then >= *at && then.since(*at) < WITHIN);
            let Some((then, ..)) = heard else { continue };
            seen += 1;
            latest = latest.max(then.since(*at));
            let may = |left: Time| left <= *then && then.since(left) < WITHIN;
            let candidates: Vec<_> = departures.iter().filter(|(left, _)| may(*left)).collect();
            if candidates.iter().any(|(_, peer)| peer == gone) {
                posterior += 1.0 / candidates.len() as f64;
            }
        }
        let posterior = posterior / f64::from(seen);
        println!(
            "a member leaves every {every} s: {seen} of {} paths of those who left are seen to break at the leader, within \
             {latest:?}; posterior of the owner among those who left {:.2}; {:.1} of 40 peers told",
            owned.len(),
            posterior,
            told.iter().sum::<usize>() as f64 / told.len() as f64
        );
        assert!(seen * 10 >= owned.len() as u32 * 8, "{seen} of {}", owned.len());
        assert!(posterior <= most, "{posterior:.2}");
    }
}
