//! How many members of one public network a subgroup takes, and that a network of few networks works all the same.

use std::collections::BTreeMap;

use super::lookup::{announce, look_up, strangers};
use super::subgroups::all_seated;
use super::*;

/// /ip4/203.<site>.<site>.<host>/tcp/4001
fn address(site: u8, host: u32) -> Vec<u8> {
    let [a, b, ..] = host.to_le_bytes();
    vec![4, 203, site, b, a, 6, 0x0f, 0xa1]
}

fn join_at(sim: &mut Simulation, config: &Config, at: Vec<u8>) -> u32 {
    let known: &[u32] = if sim.living().is_empty() { &[] } else { &[0] };
    let peer = sim.join(config.clone(), known);
    sim.set_origin(peer, at);
    sim.run(Duration::from_millis(150));
    peer
}

/// Each subgroup's members.
fn subgroups(sim: &Simulation) -> Vec<Vec<u32>> {
    let leaders = super::subgroups::leaders(sim);
    let members = |leader: u32| sim.node(leader).subgroups().home().unwrap().list.members.clone().into_inner();
    leaders.into_iter().map(|leader| members(leader).into_iter().map(|member| member.contact.peer).collect()).collect()
}

/// Of 64 hosts 16 are in one /24, the others each in one of their own: subgroups of 24 take three of the 16, but for those that were mostly
/// theirs while they were young, where the refused gather. Without addresses all have more.
#[test]
fn one_network_has_few_members_in_every_subgroup_but_its_own() {
    let mut found = [(0, 0, 0); 2];
    for (found, told) in found.iter_mut().zip([true, false]) {
        for seed in seeds(880..888) {
            let mut sim = Simulation::new(seed, Conditions::default());
            let config = Config::default().with_subgroup_size(24);
            let mut sybils = Vec::new();
            for nth in 0..64u32 {
                let sybil = nth % 4 == 3;
                let at = if sybil { address(200, nth) } else { address(nth as u8, nth) };
                let peer = join_at(&mut sim, &config, if told { at } else { nth.to_be_bytes().to_vec() });
                if sybil {
                    sybils.push(peer);
                }
            }
            assert!(sim.run_until(Duration::from_secs(120), all_seated), "seed {seed}");
            sim.run(Duration::from_secs(60));
            assert!(sim.run_until(Duration::from_secs(60), all_seated), "seed {seed}");
            for members in subgroups(&sim) {
                let bad = members.iter().filter(|member| sybils.contains(member)).count();
                let honest = members.len() - bad;
                let (all, crowded, exposed) = *found;
                // Honest members in subgroups in which more than 2 in 7 collude (docs/threat-model.md).
                let lost = if (members.len() as f64) < 3.5 * (bad as f64 + 1.0) { honest } else { 0 };
                *found = (all + honest, crowded + if bad > 3 { honest } else { 0 }, exposed + lost);
            }
        }
    }
    let [(all, crowded, lost), (_, by_chance, lost_by_chance)] = found;
    println!(
        "16 of 64 in one /24, subgroups of 24: of {all} honest members {crowded} are with more than three of them, {lost} with too          many for probable innocence; spread by chance {by_chance} and {lost_by_chance}"
    );
    assert!(
        3 * crowded <= 2 * by_chance && 3 * lost <= 2 * lost_by_chance,
        "{crowded} {by_chance} {lost} {lost_by_chance}"
    );
}

/// Everybody in one /24, and in two: all are seated, subgroups fill up as ever when it is one, and what one announces others find.
#[test]
fn a_whole_network_in_one_prefix_or_two_works() {
    for sites in [1u32, 2] {
        for seed in seeds(885..887) {
            let mut sim = Simulation::new(seed, Conditions::default());
            let config = Config::default().with_subgroup_size(16);
            for nth in 0..64u32 {
                join_at(&mut sim, &config, address(100 + (nth % sites) as u8, nth));
            }
            assert!(sim.run_until(Duration::from_secs(120), all_seated), "seed {seed}");
            sim.run(Duration::from_secs(90));
            assert!(sim.run_until(Duration::from_secs(60), all_seated), "seed {seed}");
            let mut sizes = BTreeMap::new();
            for members in subgroups(&sim) {
                *sizes.entry(members.len()).or_insert(0) += 1;
            }
            println!("{sites} prefixes, seed {seed}: subgroups by size {sizes:?}");
            if sites == 1 {
                assert!(sizes.values().sum::<i32>() <= 8, "{sizes:?}");
            }
            let (publisher, asker) = strangers(&sim);
            announce(&mut sim, publisher, b"a song");
            sim.run(Duration::from_secs(15));
            let (hits, ..) = look_up(&mut sim, asker, b"song");
            assert_eq!(hits.len(), 1, "{sites} prefixes, seed {seed}");
        }
    }
}
