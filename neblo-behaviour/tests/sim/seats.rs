//! Nobody is without a subgroup for long; small subgroups are given up (seed 003 §2; design D9).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::lookup::{announce, look_up, ready};
use super::subgroups::{all_seated, leaders};
use super::*;
use neblo_behaviour::protocol::io::Time;
use neblo_behaviour::protocol::subgroup::{SEATED_WITHIN, SubgroupMessage};
use neblo_behaviour::protocol::wire::Frame;

fn size(sim: &Simulation, leader: u32) -> usize {
    let list = &sim.node(leader).subgroups().home().unwrap().list;
    list.members.iter().filter(|member| !member.guest).count()
}

/// Whether a peer is on the list of a living leader that it follows.
fn seated(sim: &Simulation, peer: u32) -> bool {
    let Some(home) = sim.node(peer).subgroups().home() else { return false };
    let Some(leader) = home.leader().map(|leader| leader.contact.peer) else { return false };
    let led = sim.node(leader).subgroups();
    let list = led.home().map(|theirs| theirs.subgroup() == home.subgroup() && theirs.list.member(peer).is_some());
    sim.living().contains(&leader) && led.leads() && list == Some(true)
}

/// Peers come, and die, leaders above all, every second of a minute and a half.
#[test]
fn nobody_is_without_a_subgroup_for_longer_than_the_bound() {
    let mut longest = Duration::ZERO;
    for seed in seeds(500..508) {
        let mut sim = network(seed, 16, 6);
        let config = Config::default().with_subgroup_size(6);
        let mut since: BTreeMap<u32, Time> = BTreeMap::new();
        for second in 0..150 {
            if second < 90 {
                let living = sim.living();
                match sim.draw(4) {
                    0 if living.len() > 10 => {
                        let all = leaders(&sim);
                        let victim = all[sim.draw(all.len())];
                        if victim != 0 {
                            sim.kill(victim);
                        }
                    }
                    1 if living.len() > 10 => {
                        let victim = living[1 + sim.draw(living.len() - 1)];
                        sim.kill(victim);
                    }
                    2 | 3 if living.len() < 24 => {
                        let (one, other) = (living[sim.draw(living.len())], living[sim.draw(living.len())]);
                        sim.join(config.clone(), &[one, other, 0]);
                    }
                    _ => {}
                }
            }
            for _ in 0..10 {
                sim.run(Duration::from_millis(100));
                let living = sim.living();
                since.retain(|peer, _| living.contains(peer));
                for peer in living {
                    if sim.node(peer).address().is_none() || seated(&sim, peer) {
                        since.remove(&peer);
                        continue;
                    }
                    let out = sim.now().since(*since.entry(peer).or_insert(sim.now()));
                    longest = longest.max(out);
                    assert!(out <= SEATED_WITHIN, "seed {seed}: {peer} is left out at {:?}", sim.now());
                }
            }
        }
        assert!(since.is_empty(), "seed {seed}: {since:?}");
    }
    println!("the longest was {longest:?}");
}

#[test]
fn a_newcomer_that_knows_several_fills_the_emptiest_subgroup() {
    for seed in seeds(510..514) {
        let mut sim = ready(seed, 20, 8);
        let all = leaders(&sim);
        let emptiest = all.iter().copied().min_by_key(|leader| size(&sim, *leader)).unwrap();
        if size(&sim, emptiest) >= 8 {
            continue;
        }
        let known: Vec<u32> =
            all.iter().copied().filter(|leader| *leader != emptiest).take(2).chain([emptiest]).collect();
        let home = |sim: &Simulation, peer: u32| Some(sim.node(peer).subgroups().home()?.subgroup());
        let newcomer = sim.join(Config::default().with_subgroup_size(8), &known);
        assert!(sim.run_until(Duration::from_secs(15), |sim| home(sim, newcomer).is_some()), "seed {seed}");
        assert_eq!(home(&sim, newcomer), home(&sim, emptiest), "seed {seed}");
    }
}

/// A subgroup loses all but two of twelve: those go to another, and what they publish is found all the while but a moment.
#[test]
fn a_subgroup_that_stays_small_is_given_up_and_its_publications_are_found() {
    for seed in seeds(520..526) {
        let mut sim = ready(seed, 30, 12);
        let smallest = leaders(&sim).into_iter().min_by_key(|leader| size(&sim, *leader)).unwrap();
        let subgroup = sim.node(smallest).subgroups().home().unwrap().subgroup();
        let list = sim.node(smallest).subgroups().home().unwrap().list.clone();
        let members: Vec<_> =
            list.members.iter().filter(|member| !member.guest).map(|member| member.contact.peer).collect();
        let stays = members[1];
        announce(&mut sim, stays, b"picture");
        sim.run(Duration::from_secs(2));
        for gone in &members[2..] {
            sim.kill(*gone);
        }
        // There is room elsewhere.
        let other = leaders(&sim).into_iter().max_by_key(|leader| size(&sim, *leader)).unwrap();
        let list = sim.node(other).subgroups().home().unwrap().list.clone();
        list.members
            .iter()
            .rev()
            .filter(|member| !member.guest)
            .take(3)
            .for_each(|member| sim.kill(member.contact.peer));
        let began = sim.now();
        let given_up = |sim: &Simulation| {
            all_seated(sim)
                && leaders(sim)
                    .iter()
                    .all(|leader| sim.node(*leader).subgroups().home().unwrap().subgroup() != subgroup)
        };
        assert!(sim.run_until(Duration::from_secs(75), given_up), "seed {seed}");
        let took = sim.now().since(began);
        let requester =
            sim.living().into_iter().find(|peer| !sim.node(*peer).subgroups().leads() && *peer != stays).unwrap();
        let moved = sim.now();
        while look_up(&mut sim, requester, b"picture").0.is_empty() {
            assert!(sim.now().since(moved) < Duration::from_secs(10), "seed {seed}");
            sim.run(Duration::from_millis(200));
        }
        println!("seed {seed}: given up after {took:?}, found {:?} later", sim.now().since(moved));
        // Its registration is gone: no leader knows it any more after a while, and nobody went back.
        sim.run(Duration::from_secs(90));
        assert!(given_up(&sim), "seed {seed}");
        for leader in leaders(&sim) {
            assert!(sim.node(leader).subgroups().leader_of(subgroup).is_none(), "seed {seed}");
        }
    }
}

/// Several small subgroups at once: they end in one place and do not swap members for ever.
#[test]
fn small_subgroups_do_not_swap_members_for_ever() {
    for seed in seeds(530..534) {
        let mut sim = ready(seed, 30, 12);
        let mut spared = Vec::new();
        for leader in leaders(&sim) {
            let list = sim.node(leader).subgroups().home().unwrap().list.clone();
            let members: Vec<_> =
                list.members.iter().filter(|member| !member.guest).map(|member| member.contact.peer).collect();
            spared.extend(members.iter().take(2).copied());
            members[2..].iter().filter(|peer| **peer != 0).for_each(|peer| sim.kill(*peer));
        }
        assert!(
            sim.run_until(Duration::from_secs(150), |sim| all_seated(sim) && leaders(sim).len() == 1),
            "seed {seed}"
        );
        let before = leaders(&sim);
        for _ in 0..60 {
            sim.run(Duration::from_secs(1));
            assert!(all_seated(&sim) && leaders(&sim) == before, "seed {seed}");
        }
    }
}

/// Statements hold for a day, and members and leaders make them anew in time.
#[test]
fn a_subgroup_outlives_the_statements_of_its_members() {
    let mut sim = network(540, 5, 6);
    assert!(sim.run_until(Duration::from_secs(60), all_seated));
    sim.count_bytes(false);
    let before = leaders(&sim);
    for _ in 0..60 {
        sim.run(Duration::from_secs(1_800));
        sim.take_events();
        sim.take_answers();
    }
    assert!(all_seated(&sim));
    assert_eq!(leaders(&sim), before);
    let config = Config::default().with_subgroup_size(6);
    let newcomer = sim.join(config, &[0]);
    assert!(sim.run_until(Duration::from_secs(20), |sim| seated(sim, newcomer)));
    assert_eq!(leaders(&sim), before, "who comes later can check all statements");
}

/// A peer that is back from a restart, and elsewhere, answers probes for the peer that it was: with the next change of the list it says
/// itself that it is a member no more.
#[test]
fn who_is_told_of_a_list_that_it_should_not_be_on_says_so() {
    let mut sim = ready(550, 24, 8);
    let leader = leaders(&sim)[0];
    let list = sim.node(leader).subgroups().home().unwrap().list.clone();
    let member = list.members.iter().map(|member| member.contact.peer).find(|peer| *peer != leader).unwrap();
    let outside: Vec<u32> = sim.living().into_iter().filter(|peer| list.member(*peer).is_none()).collect();
    let (change, left) = (Rc::new(RefCell::new(None)), Rc::new(RefCell::new(false)));
    let (into, says) = (change.clone(), left.clone());
    sim.watch_frames(move |sent| match sent.frame {
        Frame::Subgroup(SubgroupMessage::Change(_)) if sent.from == leader => {
            *into.borrow_mut() = Some(sent.frame.clone())
        }
        Frame::Subgroup(SubgroupMessage::Leave(leave)) if sent.to == leader && list.member(sent.from).is_none() => {
            *says.borrow_mut() |= leave.subgroup == list.subgroup;
        }
        _ => {}
    });
    sim.kill(member);
    assert!(sim.run_until(Duration::from_secs(10), |_| change.borrow().is_some()));
    let change: Frame<u32> = change.borrow().clone().unwrap();
    // It reaches those who are connected with the leader, as they would be.
    outside.iter().for_each(|peer| sim.inject(leader, *peer, change.clone()));
    assert!(sim.run_until(Duration::from_secs(1), |_| *left.borrow()));
}

/// Members have pinned a guest as their first relay: it stays when another comes to lead.
#[test]
fn a_guest_stays_where_it_is_when_another_leads() {
    for seed in seeds(570..576) {
        let mut sim = ready(seed, 32, 8);
        let guest = leaders(&sim)[1];
        announce(&mut sim, guest, b"picture");
        let place = |sim: &Simulation| sim.node(guest).subgroups().guest().map(|guest| guest.subgroup());
        assert!(sim.run_until(Duration::from_secs(20), |sim| place(sim).is_some()), "seed {seed}");
        sim.run(Duration::from_secs(5));
        let subgroup = place(&sim);
        let leader = sim.node(guest).subgroups().guest().unwrap().leader().unwrap().contact.peer;
        sim.vanish(leader);
        let led_again = |sim: &Simulation| {
            let led = sim.node(guest).subgroups().guest().and_then(|guest| guest.leader());
            led.is_some_and(|other| other.contact.peer != leader)
        };
        assert!(sim.run_until(Duration::from_secs(20), led_again), "seed {seed}");
        assert_eq!(place(&sim), subgroup, "seed {seed}");
    }
}
