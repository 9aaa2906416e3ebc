//! Row "dropping to force re-formation": who sits on paths breaks them, so that their owners walk anew.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::*;
use neblo_behaviour::protocol::interface::Event;
use neblo_behaviour::protocol::path::{Broken, PathMessage};
use neblo_behaviour::protocol::wire::Frame;

/// The first relays that each owner was seen to use.
type Firsts = BTreeMap<u32, BTreeSet<u32>>;

fn note_firsts(sim: &Simulation, firsts: &mut Firsts) {
    for owner in sim.living() {
        let in_use = Purpose::ALL.into_iter().filter_map(|purpose| sim.node(owner).paths().first_link(purpose));
        firsts.entry(owner).or_default().extend(in_use.map(|(first, _)| first));
    }
}

/// A peer breaks a path that it carries on to `next`, to both sides.
fn break_path(sim: &mut Simulation, at: u32, next: (u32, u64)) {
    sim.inject(next.0, at, Frame::Path(PathMessage::Broken(Broken { id: next.1, up: false })));
    sim.inject(at, next.0, Frame::Path(PathMessage::Broken(Broken { id: next.1, up: true })));
}

fn lost(sim: &mut Simulation, honest: &[u32]) -> usize {
    let events = sim.take_events();
    events.iter().filter(|(_, peer, event)| honest.contains(peer) && matches!(event, Event::PathLost(_))).count()
}

/// The leader is on every path: it breaks each as soon as it is whole. Without a limit that is a walk each few tens of
/// milliseconds.
#[test]
fn a_leader_that_breaks_every_path_at_once_has_it_walked_anew_a_few_times_an_hour() {
    let mut sim = ready(820, 16, 16);
    sim.run(Duration::from_secs(5));
    let (members, leader) = (members(&sim), super::super::subgroups::leaders(&sim)[0]);
    let opened = Rc::new(RefCell::new(Vec::new()));
    let ends = opened.clone();
    let mut shown = Firsts::new();
    sim.watch_frames(move |sent| {
        if let Frame::Path(PathMessage::Opened(opened)) = sent.frame
            && sent.from == leader
        {
            ends.borrow_mut().push((sent.to, opened.id));
        }
    });
    // Those that are there already.
    for peer in &members {
        let links: Vec<_> = sim.node(*peer).paths().relayed_links().map(|(_, next)| next).collect();
        opened.borrow_mut().extend(links.into_iter().filter(|next| next.0 == leader).map(|next| (*peer, next.1)));
    }
    sim.take_events();
    let (mut hour, mut walks) = (Vec::new(), 0);
    for _ in 0..6 {
        let began = sim.now();
        while sim.now().since(began) < Duration::from_secs(600) {
            sim.run(Duration::from_millis(100));
            note_firsts(&sim, &mut shown);
            for (last, id) in opened.take() {
                sim.inject(leader, last, Frame::Path(PathMessage::Broken(Broken { id, up: false })));
            }
        }
        let lost = lost(&mut sim, &members);
        walks += lost;
        hour.push(lost as f64 / members.len() as f64 / 3.0);
    }
    let most = shown.values().map(BTreeSet::len).max().unwrap_or(0);
    println!(
        "a leader breaks every path at once: {:.1} walks anew a path in the first hour, {hour:.1?} by ten minutes; at most \
         {most} first relays of one owner seen",
        walks as f64 / members.len() as f64 / 3.0
    );
    assert!(hour[0] < 16.0 && hour[5] < 2.0, "{hour:.1?}");
    assert!(most <= 3, "{most}: no other than the pinned ones");
}

/// A fifth of the members break every path that they are on and do not begin: honest members have whole paths all the same, and
/// come to no other first relays.
#[test]
fn a_fifth_that_break_every_path_they_carry_keep_no_owner_from_having_one() {
    let (mut whole, mut all, mut breaks, mut firsts_seen, mut owners) = (0u32, 0u32, 0, 0, 0);
    for seed in seeds(822..826) {
        let mut sim = ready(seed, 26, 26);
        sim.run(Duration::from_secs(5));
        let members = members(&sim);
        let colluders: BTreeSet<u32> = members.iter().copied().step_by(5).collect();
        let honest: Vec<u32> = members.iter().copied().filter(|peer| !colluders.contains(peer)).collect();
        sim.take_events();
        let mut shown = Firsts::new();
        for _ in 0..1_200 {
            sim.run(Duration::from_millis(500));
            note_firsts(&sim, &mut shown);
            let own: BTreeSet<_> = honest
                .iter()
                .flat_map(|owner| Purpose::ALL.map(|purpose| (owner, purpose)))
                .filter_map(|(owner, purpose)| Some((*owner, sim.node(*owner).paths().first_link(purpose)?.1)))
                .collect();
            for colluder in &colluders {
                // Who is the first relay knows the owner already, and would have nothing of another walk.
                let links: Vec<_> = sim.node(*colluder).paths().relayed_links().collect();
                for (_, next) in links.into_iter().filter(|(previous, _)| !own.contains(previous)) {
                    break_path(&mut sim, *colluder, next);
                }
            }
            for owner in &honest {
                for purpose in Purpose::ALL {
                    all += 1;
                    whole += u32::from(sim.node(*owner).is_ready(purpose));
                }
            }
        }
        breaks += lost(&mut sim, &honest);
        firsts_seen += honest.iter().map(|owner| shown[owner].len()).sum::<usize>();
        assert!(honest.iter().all(|owner| shown[owner].len() <= 3), "seed {seed}: {shown:?}");
        owners += honest.len();
    }
    let share = f64::from(whole) / f64::from(all);
    println!(
        "a fifth break every path that they carry on, for 10 minutes: {breaks} breaks of {} paths, whole {:.1} % of the time; \
         {firsts_seen} first relays of {owners} owners",
        owners * 3,
        share * 100.0
    );
    assert!(share > 0.95, "{share:.3}");
}

/// A first relay that breaks whatever goes through it is left for a spare.
#[test]
fn a_first_relay_that_breaks_every_path_is_left_for_a_spare() {
    // Seen so often it breaks walks that are under way, or whole paths.
    for (often, what) in [(Duration::from_millis(20), "each walk"), (Duration::from_millis(600), "each path")] {
        let mut slowest = Duration::ZERO;
        for seed in seeds(828..832) {
            let mut sim = ready(seed, 16, 16);
            sim.run(Duration::from_secs(5));
            let owner = members(&sim)[3];
            let bad = sim.node(owner).paths().first_link(Purpose::Publishing).unwrap().0;
            let began = sim.now();
            loop {
                sim.run(often);
                let links: Vec<_> = sim.node(bad).paths().relayed_links().collect();
                for (_, next) in links.into_iter().filter(|(previous, _)| previous.0 == owner) {
                    break_path(&mut sim, bad, next);
                }
                let elsewhere =
                    |purpose| sim.node(owner).paths().first_link(purpose).is_some_and(|first| first.0 != bad);
                if Purpose::ALL.into_iter().all(elsewhere) {
                    break;
                }
                assert!(sim.now().since(began) < Duration::from_secs(120), "seed {seed}");
            }
            slowest = slowest.max(sim.now().since(began));
        }
        println!("a first relay breaks {what}: all three paths go through a spare after {slowest:?} at most");
        assert!(slowest < Duration::from_secs(60), "{slowest:?}");
    }
}
