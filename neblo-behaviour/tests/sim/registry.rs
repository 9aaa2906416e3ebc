//! The registry while the ring and the leaders change.

use super::messaging::owner;
use super::subgroups::{all_seated, leaders, leaders_know_each_other};
use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::messaging::placement;
use neblo_behaviour::protocol::subgroup::{LeaderRow, Statement, SubgroupMessage};
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::sim::StandInKeys;

/// Copies of a row.
const COPIES: u8 = 3;

fn subgroup_of(sim: &Simulation, leader: u32) -> OverlayAddr {
    sim.node(leader).subgroups().home().unwrap().subgroup()
}

/// Leaders renew their rows each minute; nobody has to wait for that when the owner of an address is another one.
#[test]
fn what_is_registered_goes_to_the_new_owner_of_its_address_at_once() {
    let mut new = 0;
    for seed in seeds(1_300..1_306) {
        let mut sim = network(seed, 24, 8);
        assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim)));
        sim.run(Duration::from_secs(30));
        for newcomer in 24..36 {
            assert_eq!(sim.join(Config::default().with_subgroup_size(8), &[0]), newcomer);
            let in_ring = |sim: &Simulation| sim.node(newcomer).address().is_some() && is_ideal(sim);
            assert!(sim.run_until(Duration::from_secs(20), in_ring), "seed {seed}");
            sim.run(Duration::from_secs(1));
            for subgroup in leaders(&sim).into_iter().map(|leader| subgroup_of(&sim, leader)) {
                for copy in (0..COPIES).filter(|copy| owner(&sim, placement(subgroup, *copy)) == newcomer) {
                    let there = sim.node(newcomer).subgroups().registered(sim.now()).any(|(at, _)| at == subgroup);
                    assert!(there, "seed {seed}: copy {copy} of {subgroup:?} is not at {newcomer}");
                    new += 1;
                }
            }
        }
    }
    println!("{new} copies of rows have come to a new owner");
    assert!(new > 10, "{new}");
}

/// More leaders than each has neighbours among them, so that most of them are not connected to the one that dies.
#[test]
fn all_leaders_hear_of_a_new_one_within_seconds() {
    let mut slowest = Duration::ZERO;
    for seed in seeds(1_310..1_314) {
        let mut sim = network(seed, 96, 4);
        let ready = |sim: &Simulation| all_seated(sim) && leaders_know_each_other(sim);
        assert!(sim.run_until(Duration::from_secs(300), ready), "seed {seed}");
        sim.run(Duration::from_secs(60));
        let all = leaders(&sim);
        assert!(all.len() > 20, "seed {seed}: {} leaders", all.len());
        // Somebody is there to take its place.
        let with_members = |leader: &u32| sim.node(*leader).subgroups().home().unwrap().list.members.len() > 2;
        let dies = all.iter().copied().filter(with_members).nth(seed as usize % 5).unwrap();
        let subgroup = subgroup_of(&sim, dies);
        sim.kill(dies);
        let next = |sim: &Simulation| leaders(sim).into_iter().find(|leader| subgroup_of(sim, *leader) == subgroup);
        assert!(sim.run_until(Duration::from_secs(20), |sim| next(sim).is_some()), "seed {seed}");
        let (led, leads) = (sim.now(), next(&sim).unwrap());
        let heard = |sim: &Simulation| {
            let known =
                |leader: u32| sim.node(leader).subgroups().leader_of(subgroup).is_some_and(|it| it.peer == leads);
            leaders(sim).into_iter().all(|leader| leader == leads || known(leader))
        };
        assert!(sim.run_until(Duration::from_secs(10), heard), "seed {seed}: {leads} leads {subgroup:?}");
        slowest = slowest.max(sim.now().since(led));
    }
    println!("all leaders have heard of a new one after {slowest:?} at most");
}

/// News are taken of neighbours alone, and only what a leader has signed itself.
#[test]
fn news_of_leaders_by_others_or_unsigned_are_worth_nothing() {
    let mut sim = network(1_320, 24, 8);
    assert!(sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim)));
    let all = leaders(&sim);
    let subgroup = subgroup_of(&sim, all[1]);
    let liar = sim.living().into_iter().find(|peer| !all.contains(peer)).unwrap();
    let row = |signed_by: u32| {
        let address = neblo_behaviour::protocol::io::Contact::new(liar, vec![liar.to_be_bytes().to_vec()]);
        let statement = Statement::of(&StandInKeys::new(liar), &address, [0; 32], subgroup, sim.unix() + 3_600, false);
        let row = LeaderRow { statement, term: 40, size: 3, full: 8, signature: Default::default() };
        row.sign(&StandInKeys::new(signed_by))
    };
    for (from, row, believed) in [(liar, row(liar), false), (all[2], row(all[2]), false), (all[2], row(liar), true)] {
        sim.inject(from, all[0], Frame::Subgroup(SubgroupMessage::LeaderNews(row)));
        let known = sim.node(all[0]).subgroups().leader_of(subgroup).unwrap().peer;
        assert_eq!(known == liar, believed, "{from}");
    }
}
