//! What it costs to be a member ([`Config::join_cost`]), and who does not get in without it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::subgroups::all_seated;
use super::*;
use neblo_behaviour::protocol::cost::{JoinCost, WEEK, week_of};
use neblo_behaviour::protocol::io::Contact;
use neblo_behaviour::protocol::seal::Keys;
use neblo_behaviour::protocol::subgroup::{JoinSubgroup, MemberList, Resources, Statement, SubgroupMessage};
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::protocol::{Blob, List};
use neblo_behaviour::sim::StandInKeys;

const BITS: u8 = 8;

fn paying(seed: u64) -> Simulation {
    let mut sim = Simulation::new(seed, Conditions::default());
    sim.pay_to_join(true);
    // Each in another week, so that the same peers pay anew.
    sim.begin_at(sim.unix() + (seed % 1_000) * WEEK);
    sim
}

fn config(full: usize) -> Config {
    Config::default().with_subgroup_size(full).with_join_cost(BITS)
}

/// Every proof that a peer shows when it asks to be let in: a simulated peer tries nonces from 0 on, so that one that it shows is one
/// less than its tries.
type Shown = Rc<RefCell<BTreeMap<u32, BTreeSet<u64>>>>;

fn watch(sim: &mut Simulation) -> Shown {
    let shown = Shown::default();
    let at = shown.clone();
    sim.watch_frames(move |sent| {
        if let Frame::Subgroup(SubgroupMessage::Join(JoinSubgroup { statement })) = sent.frame {
            at.borrow_mut().entry(sent.from).or_default().insert(statement.paid);
        }
    });
    shown
}

fn seated(sim: &Simulation, among: &[u32]) -> bool {
    among.iter().all(|peer| {
        let home = sim.node(*peer).subgroups().home();
        home.and_then(|home| home.leader()).is_some_and(|leader| {
            let led = sim.node(leader.contact.peer).subgroups();
            led.leads() && led.home().is_some_and(|home| home.list.member(*peer).is_some())
        })
    })
}

/// So many identities pay so many times what one does, each week; those who do not pay are members of nothing but what they lead
/// themselves, and no honest peer has one of them on its list. An honest peer pays once, however often it is sent elsewhere.
#[test]
fn many_identities_pay_many_times_what_one_does_and_who_does_not_pay_is_on_no_list() {
    let (mut honest_tries, mut sybil_tries, mut asked, mut of) = (0, 0, 0, (0, 0));
    for seed in seeds(870..874) {
        let mut sim = paying(seed);
        let shown = watch(&mut sim);
        let (mut honest, mut sybils, mut misers) = (Vec::new(), Vec::new(), Vec::new());
        for nth in 0..36 {
            let known: &[u32] = if nth == 0 { &[] } else { &[0] };
            match nth % 9 {
                3 | 7 => sybils.push(sim.join(config(8), known)),
                5 => misers.push(sim.join(config(8).with_join_cost(BITS - 3), known)),
                _ => honest.push(sim.join(config(8), known)),
            }
            sim.run(Duration::from_millis(150));
        }
        let who_pays = [honest.clone(), sybils.clone()].concat();
        assert!(sim.run_until(Duration::from_secs(60), |sim| seated(sim, &who_pays)), "seed {seed}");
        sim.run(Duration::from_secs(30));
        assert!(seated(&sim, &who_pays), "seed {seed}");
        for peer in &who_pays {
            let list = &sim.node(*peer).subgroups().home().unwrap().list;
            // Of so many one in eight proofs for less is good for more.
            let cost = JoinCost::new("neblo", BITS);
            for member in list.members.iter() {
                assert!(cost.is_paid(&member.identity, week_of(member.expires), member.paid), "seed {seed}");
            }
        }
        let shown = shown.borrow();
        let proofs = |peers: &[u32]| -> Vec<u64> {
            let shown = peers.iter().filter_map(|peer| shown.get(peer));
            shown
                .map(|shown| {
                    assert_eq!(shown.len(), 1);
                    shown.first().unwrap() + 1
                })
                .collect()
        };
        let (of_honest, of_sybils) = (proofs(&honest), proofs(&sybils));
        honest_tries += of_honest.iter().sum::<u64>();
        sybil_tries += of_sybils.iter().sum::<u64>();
        of = (of.0 + of_honest.len() as u64, of.1 + of_sybils.len() as u64);
        asked += misers.len();
    }
    let (each, all) = (honest_tries as f64 / of.0 as f64, sybil_tries as f64 / 4.0);
    println!(
        "{BITS} bits: an honest peer pays {each:.0} hashes once, 8 Sybil identities {all:.0} together ({} of them in all), and \
         {asked} that paid for {} bits are on no list",
        of.1,
        BITS - 3
    );
    assert!((each / 256.0 - 1.0).abs() < 0.3, "{each}");
    assert!((all / each / 8.0 - 1.0).abs() < 0.6, "{all} for eight, {each} for one");
}

/// What is not paid for, or by another, elsewhere, in another week, or once for years, holds nowhere; one such statement in a list that
/// its leader has signed, and it is not taken.
#[test]
fn a_statement_that_is_not_paid_does_not_hold_and_no_list_with_it_is_taken() {
    let mut sim = paying(875);
    sim.join(config(8), &[]);
    for _ in 1..4 {
        sim.run(Duration::from_millis(150));
        sim.join(config(8), &[0]);
    }
    assert!(sim.run_until(Duration::from_secs(30), all_seated));
    sim.run(Duration::from_secs(2));
    let old = sim.node(1).subgroups().home().unwrap().list.clone();
    let leader = old.leader().unwrap().contact.peer;
    let member = (0..4).find(|peer| *peer != leader).unwrap();
    let (keys, unix) = (StandInKeys::new(9), sim.unix());
    let cost = JoinCost::new("neblo", BITS);
    let lasts = 24 * 3_600;
    let stated = |expires: u64, paid: u64| {
        Statement::stated(&keys, &Contact::bare(9), [9; 32], old.subgroup, expires, false, (Resources::default(), paid))
    };
    let pays = |cost: &JoinCost, peer: u32, expires: u64| StandInKeys::new(peer).paid(cost, week_of(expires)).unwrap();
    let soon = unix + lasts;
    // A nonce that is good for another is, one time in 256, good for this one too: not this one.
    let bad = [
        ("unpaid", stated(soon, u64::MAX)),
        ("paid by another", stated(soon, pays(&cost, 8, soon))),
        ("in another week", stated(soon, pays(&cost, 9, soon + WEEK))),
        ("in another network", stated(soon, pays(&JoinCost::new("other", BITS), 9, soon))),
        ("for fewer bits", stated(soon, pays(&JoinCost::new("neblo", 2), 9, soon))),
        ("for years", stated(unix + 100 * WEEK, pays(&cost, 9, unix + 100 * WEEK))),
        ("expired", stated(unix, pays(&cost, 9, unix))),
    ];
    let good = stated(soon, pays(&cost, 9, soon));
    assert!(good.holds(&keys, &cost, unix));
    let list = |sim: &Simulation, more: &Statement<u32>| {
        let mut members = sim.node(leader).subgroups().home().unwrap().list.members.clone().into_inner();
        members.push(more.clone());
        let list = MemberList {
            version: old.version + 40,
            members: List::new(members).unwrap(),
            signature: Blob::default(),
            ..old.clone()
        };
        Frame::Subgroup(SubgroupMessage::Members(list.sign(&StandInKeys::new(leader))))
    };
    let knows = |sim: &Simulation| sim.node(member).subgroups().home().unwrap().list.member(9).is_some();
    for (what, bad) in bad {
        assert!(!bad.holds(&keys, &cost, unix), "{what}");
        let list = list(&sim, &bad);
        sim.inject(leader, member, list);
        assert!(!knows(&sim), "{what}");
    }
    let list = list(&sim, &good);
    sim.inject(leader, member, list);
    assert!(knows(&sim));
}

/// Proofs take real nodes about as long as each other: a peer that asks a known one finds it still at its own, and asks again.
#[test]
fn when_all_pay_at_the_same_time_nobody_waits_for_those_who_have_no_place_yet() {
    for seed in 0..4 {
        let mut sim = paying(seed);
        sim.find_proofs(false);
        grow(&mut sim, 10, &config(6));
        sim.run(Duration::from_secs(3));
        assert!(sim.living().iter().all(|peer| sim.node(*peer).subgroups().home().is_none()), "seed {seed}");
        sim.find_proofs(true);
        let began = sim.now();
        assert!(sim.run_until(Duration::from_secs(8), |sim| seated(sim, &sim.living())), "seed {seed}: not in 8 s");
        println!("seed {seed}: all have a place after {:?}", sim.now().since(began));
        let led = sim.living().into_iter().filter(|peer| sim.node(*peer).subgroups().leads()).count();
        assert_eq!(led, 2, "seed {seed}: ten peers, six to a subgroup");
    }
}

/// A statement that expires in the next week is paid for that one, and members of both live together.
#[test]
fn with_another_week_members_pay_again_and_nobody_loses_its_place() {
    let mut sim = paying(876);
    sim.count_bytes(false);
    let begins = 3_000 * WEEK - 24 * 3_600 - 5;
    sim.begin_at(begins);
    let shown = watch(&mut sim);
    sim.join(config(8), &[]);
    for _ in 1..4 {
        sim.run(Duration::from_secs(4));
        sim.join(config(8), &[0]);
    }
    assert!(sim.run_until(Duration::from_secs(30), all_seated));
    let weeks = |sim: &Simulation| -> BTreeSet<u64> {
        let list = &sim.node(0).subgroups().home().unwrap().list;
        list.members.iter().map(|member| week_of(member.expires)).collect()
    };
    assert_eq!(weeks(&sim), BTreeSet::from([2_999, 3_000]));
    // They are renewed when half of their time is over.
    for _ in 0..13 {
        sim.run(Duration::from_secs(3_600));
        assert!(all_seated(&sim));
    }
    assert_eq!(weeks(&sim), BTreeSet::from([3_000]));
    let most = shown.borrow().values().map(BTreeSet::len).max();
    assert_eq!(most, Some(2), "one proof a week");
}
