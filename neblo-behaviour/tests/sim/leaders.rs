//! What becomes of a leader's table when another leads: handed over, copied, parted (seed 003 §4; design D9).

use super::lookup::{announce, connect, look_up, ready, strangers};
use super::subgroups::{all_seated, leaders};
use super::*;
use neblo_behaviour::address::OverlayAddr;
use neblo_behaviour::protocol::directory::DirectoryMessage;
use neblo_behaviour::protocol::interface::{Answer, Command, Hit};
use neblo_behaviour::protocol::path::PathMessage;
use neblo_behaviour::protocol::subgroup::{DEPOSED_WITHIN, Lead, MemberList, SubgroupMessage};
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::sim::StandInKeys;

fn home(sim: &Simulation, peer: u32) -> OverlayAddr {
    sim.node(peer).subgroups().home().unwrap().subgroup()
}

pub(crate) fn list(sim: &Simulation, peer: u32) -> MemberList<u32> {
    sim.node(peer).subgroups().home().unwrap().list.clone()
}

/// A member that is not the next to lead, and one of another subgroup: who comes to lead publishes elsewhere (design D12).
fn lasting(sim: &Simulation) -> (u32, u32) {
    let (first, _) = strangers(sim);
    let publisher = list(sim, first).members.iter().skip(1).filter(|member| !member.guest).nth(3).unwrap().contact.peer;
    let requester = *members(sim).iter().find(|peer| home(sim, **peer) != home(sim, publisher)).unwrap();
    (publisher, requester)
}

fn leader_of(sim: &Simulation, subgroup: OverlayAddr) -> Option<u32> {
    leaders(sim).into_iter().find(|leader| home(sim, *leader) == subgroup)
}

/// The members that no leader is.
pub(crate) fn members(sim: &Simulation) -> Vec<u32> {
    let is_member = |peer: &u32| !sim.node(*peer).subgroups().leads() && sim.node(*peer).subgroups().home().is_some();
    sim.living().into_iter().filter(is_member).collect()
}

/// Every member announces something of its own; the rows of each leader are in its candidates' copies. Who has too few to hide among is
/// refused, and has announced nothing.
pub(crate) fn all_announce(sim: &mut Simulation) -> Vec<(u32, Vec<u8>)> {
    let mut announced = Vec::new();
    for peer in members(sim) {
        let payload = format!("picture {peer}.").into_bytes();
        announce(sim, peer, &payload);
        announced.push((peer, payload));
    }
    sim.run(Duration::from_secs(4));
    let all = announced.len();
    announced.retain(|(peer, _)| sim.node(*peer).status().publications > 0);
    assert!(announced.len() * 2 > all, "{} of {all} announced", announced.len());
    announced
}

/// Lookups until all of these are found; how long it took.
fn all_found(sim: &mut Simulation, requester: u32, what: &[(u32, Vec<u8>)], within: Duration) -> Duration {
    let began = sim.now();
    loop {
        let (hits, ..) = look_up(sim, requester, b"picture");
        let lost = what.iter().filter(|(_, payload)| !hits.iter().any(|hit| *hit.payload == payload[..])).count();
        let took = sim.now().since(began);
        if lost == 0 {
            return took;
        }
        if took >= within {
            for (peer, payload) in
                what.iter().filter(|(_, payload)| !hits.iter().any(|hit| *hit.payload == payload[..]))
            {
                let (node, home) = (sim.node(*peer), sim.node(*peer).subgroups().home());
                let leader = home.and_then(|home| Some(home.leader()?.contact.peer));
                let rows =
                    leader.map(|leader| (sim.node(leader).subgroups().leads(), sim.node(leader).directory().rows()));
                println!("{peer} {payload:?}: {leader:?} {rows:?} {:?}", node.status());
            }
        }
        assert!(took < within, "{lost} of {} lost for {took:?}", what.len());
        sim.run(Duration::from_millis(200));
    }
}

fn connected_within(sim: &mut Simulation, requester: u32, hit: &Hit, within: Duration) -> Duration {
    let began = sim.now();
    while connect(sim, requester, hit).is_err() {
        let took = sim.now().since(began);
        assert!(took < within, "{took:?}");
        sim.run(Duration::from_millis(100));
    }
    sim.now().since(began)
}

#[test]
fn the_table_is_copied_to_the_next_two_candidates_in_pieces_of_at_most_64_kib() {
    for seed in seeds(400..403) {
        let mut sim = ready(seed, 24, 8);
        let largest = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = largest.clone();
        sim.watch_frames(move |sent| {
            if matches!(sent.frame, Frame::Directory(_)) {
                seen.set(seen.get().max(sent.frame.to_bytes().len()));
            }
        });
        let (publisher, _) = strangers(&sim);
        for nth in 0..40u8 {
            let mut payload = vec![nth; 7_000];
            payload[1] = publisher as u8;
            announce(&mut sim, publisher, &payload);
        }
        let other = members(&sim)[1];
        let withdrawn = announce(&mut sim, other, b"small");
        sim.run(Duration::from_secs(8));
        let all = list(&sim, publisher);
        let leader = all.leader().unwrap().contact.peer;
        let rows = sim.node(leader).directory().rows();
        assert!(rows >= 40, "seed {seed}: {rows}");
        for candidate in all.members.iter().skip(1).take(2) {
            let copied = sim.node(candidate.contact.peer).directory().copied_rows();
            assert_eq!(copied, rows, "seed {seed}");
        }
        // What is withdrawn is gone there, too.
        let Answer::Announced(publication) = sim.answers(other, withdrawn)[0] else { panic!() };
        sim.command(other, |token| Command::Withdraw { token, publication });
        sim.run(Duration::from_secs(2));
        let at = list(&sim, other);
        let rows = sim.node(at.leader().unwrap().contact.peer).directory().rows();
        for candidate in at.members.iter().skip(1).take(2) {
            assert_eq!(sim.node(candidate.contact.peer).directory().copied_rows(), rows, "seed {seed}");
        }
        assert!((40_000..=64 * 1024).contains(&largest.get()), "{} bytes", largest.get());
    }
}

#[test]
fn a_copy_survives_lost_frames() {
    for seed in seeds(405..408) {
        let mut sim = ready(seed, 12, 8);
        let conditions = Conditions { loss: 0.1, ..Conditions::default() };
        sim.set_conditions(conditions);
        all_announce(&mut sim);
        sim.run(Duration::from_secs(5));
        sim.set_conditions(Conditions::default());
        sim.run(Duration::from_secs(20));
        for leader in leaders(&sim) {
            let rows = sim.node(leader).directory().rows();
            for candidate in list(&sim, leader).members.iter().skip(1).filter(|member| !member.guest).take(2) {
                assert_eq!(sim.node(candidate.contact.peer).directory().copied_rows(), rows, "seed {seed}");
            }
        }
    }
}

#[test]
fn a_leader_that_leaves_hands_its_table_over_and_everything_is_found_at_once() {
    for seed in seeds(410..416) {
        let mut sim = ready(seed, 24, 8);
        let announced = all_announce(&mut sim);
        let (publisher, requester) = lasting(&sim);
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        let subgroup = home(&sim, publisher);
        let old = leader_of(&sim, subgroup).unwrap();
        let own = format!("picture {publisher}.").into_bytes();
        let hit = hits.into_iter().find(|hit| *hit.payload == own).unwrap();
        let rows = sim.node(old).directory().rows();
        let expected = list(&sim, old).members[1].contact.peer;
        let token = sim.command(old, |token| Command::Leave { token });
        let led = |sim: &Simulation| leader_of(sim, subgroup).is_some_and(|leader| leader != old);
        assert!(sim.run_until(Duration::from_secs(3), led), "seed {seed}");
        let new = leader_of(&sim, subgroup).unwrap();
        assert_eq!(new, expected, "seed {seed}: the first candidate");
        assert_eq!(sim.node(new).directory().rows(), rows, "seed {seed}: all rows at once");
        assert!(
            sim.run_until(Duration::from_secs(6), |sim| matches!(sim.answers(old, token), [Answer::Ok])),
            "seed {seed}"
        );
        sim.kill(old);
        let living: Vec<_> = announced.into_iter().filter(|(peer, _)| *peer != old).collect();
        let took = all_found(&mut sim, requester, &living, Duration::from_secs(4));
        let again = connected_within(&mut sim, requester, &hit, Duration::from_secs(8));
        println!("seed {seed}: all found after {took:?}, connected after {again:?}");
        assert!(sim.run_until(Duration::from_secs(5), all_seated), "seed {seed}");
    }
}

/// A candidate leads though its leader lives and has not asked it to: by a list that it has signed itself.
#[test]
fn who_was_not_given_the_lead_is_followed_by_nobody_while_the_leader_lives() {
    for seed in seeds(420..424) {
        let mut sim = ready(seed, 24, 8);
        let announced = all_announce(&mut sim);
        let old = leaders(&sim)[0];
        let before = list(&sim, old);
        let others: Vec<_> = before.members.iter().skip(1).map(|member| member.contact.peer).collect();
        let usurper = others[0];
        let requester = *members(&sim).iter().find(|peer| home(&sim, **peer) != before.subgroup).unwrap();
        let follows = |sim: &Simulation, leader: u32| {
            // One that has stepped down may be on its way back in.
            let led_by = |peer: u32| sim.node(peer).subgroups().home()?.leader().map(|it| it.contact.peer);
            let follow = |peer: &&u32| led_by(**peer) == Some(leader);
            others.iter().filter(follow).count()
        };
        // What it does by the code: it takes itself for the one that was told to lead, tells members and registry, and has the copy
        // of the table.
        let lead = Lead { subgroup: before.subgroup, term: before.term, leaving: false };
        sim.inject(old, usurper, Frame::Subgroup(SubgroupMessage::Lead(lead)));
        assert!(sim.node(usurper).subgroups().leads(), "seed {seed}");
        for _ in 0..100 {
            sim.run(Duration::from_millis(100));
            assert!(sim.node(old).subgroups().leads(), "seed {seed}: deposed at {:?}", sim.now());
            assert!(follows(&sim, usurper) <= 1, "seed {seed}: it has followers at {:?}", sim.now());
            // One row: of a guest, who had lost it as a relay.
            assert!(sim.node(usurper).directory().rows() <= 1, "seed {seed}: it reads the table");
        }
        // An honest one, which was parted from the leader for a while, comes back.
        assert!(sim.run_until(Duration::from_secs(30), |sim| all_seated(sim) && follows(sim, old) == others.len()));
        assert!(list(&sim, old).term > before.term, "seed {seed}");
        all_found(&mut sim, requester, &announced, Duration::from_secs(10));
    }
}

#[test]
fn a_hit_from_before_the_leaders_death_can_be_connected_to_after_it() {
    for seed in seeds(430..438) {
        let mut sim = ready(seed, 24, 8);
        let announced = all_announce(&mut sim);
        let (publisher, requester) = lasting(&sim);
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        let subgroup = home(&sim, publisher);
        let hit = hits.into_iter().find(|hit| *hit.payload == format!("picture {publisher}.").into_bytes()).unwrap();
        let dead = leader_of(&sim, subgroup).unwrap();
        sim.kill(dead);
        // Longer than preparing takes, no lookup in between.
        let took = connected_within(&mut sim, requester, &hit, Duration::from_secs(10));
        let found = all_found(&mut sim, requester, &announced, Duration::from_secs(15));
        println!("seed {seed}: connected after {took:?}, all found {found:?} later");
        // The number is what it was.
        let (hits, ..) = look_up(&mut sim, requester, b"picture");
        assert!(hits.iter().any(|again| again.registration == hit.registration), "seed {seed}");
    }
}

#[test]
fn a_registration_outlives_the_leader_and_its_first_candidate() {
    for seed in seeds(440..444) {
        let mut sim = ready(seed, 24, 8);
        let announced = all_announce(&mut sim);
        let (publisher, requester) = lasting(&sim);
        let gone: Vec<_> = list(&sim, publisher).members.iter().take(2).map(|member| member.contact.peer).collect();
        gone.iter().for_each(|peer| sim.kill(*peer));
        let living: Vec<_> = announced.into_iter().filter(|(peer, _)| !gone.contains(peer)).collect();
        if gone.contains(&requester) {
            continue;
        }
        all_found(&mut sim, requester, &living, Duration::from_secs(20));
    }
}

/// The keepers answer late, and meanwhile no publisher announces again: a lookup waits for the key.
#[test]
fn what_is_looked_up_before_the_next_leader_can_read_its_copy_is_found() {
    for seed in seeds(460..464) {
        let mut sim = ready(seed, 24, 8);
        let announced = all_announce(&mut sim);
        let (publisher, requester) = lasting(&sim);
        let subgroup = home(&sim, publisher);
        let leader = leader_of(&sim, subgroup).unwrap();
        let members: Vec<_> = list(&sim, publisher).members.iter().map(|member| member.contact.peer).collect();
        let (until, among) = (sim.now() + Duration::from_secs(2), members.clone());
        sim.filter_frames(move |sent| {
            let key = matches!(sent.frame, Frame::Directory(DirectoryMessage::TableKey(_)));
            let up = matches!(sent.frame, Frame::Path(PathMessage::Up(_))) && among.contains(&sent.from);
            sent.at >= until || !(key || up)
        });
        sim.kill(leader);
        let leads = |sim: &Simulation| leader_of(sim, subgroup).is_some_and(|next| next != leader);
        assert!(sim.run_until(Duration::from_secs(2), leads), "seed {seed}");
        // The asking leader has heard of the next one.
        sim.run(Duration::from_millis(500));
        assert!(sim.now() < until, "seed {seed}");
        let (hits, answered, asked) = look_up(&mut sim, requester, b"picture");
        let next = leader_of(&sim, subgroup).unwrap();
        let there = |peer: &u32| members.contains(peer) && *peer != leader && *peer != next;
        for (peer, payload) in announced.iter().filter(|(peer, _)| there(peer)) {
            let found = hits.iter().any(|hit| *hit.payload == payload[..]);
            assert!(found, "seed {seed}: {peer}'s is not among {} hits, {answered} of {asked} answered", hits.len());
        }
    }
}

#[test]
fn what_a_dead_publisher_had_announced_is_soon_not_answered_with_by_the_next_leader() {
    for seed in seeds(445..448) {
        let mut sim = ready(seed, 24, 8);
        let announced = all_announce(&mut sim);
        let (publisher, requester) = lasting(&sim);
        let leader = leader_of(&sim, home(&sim, publisher)).unwrap();
        sim.kill(publisher);
        sim.kill(leader);
        let living: Vec<_> = announced.into_iter().filter(|(peer, _)| *peer != publisher).collect();
        // Breaks are told in batches, each minute, and then a repair is waited for: 10 s.
        let began = sim.now();
        sim.run(Duration::from_secs(73));
        while sim.now().since(began) < Duration::from_secs(83) {
            let (hits, ..) = look_up(&mut sim, requester, b"picture");
            let dead = hits.iter().any(|hit| *hit.payload == format!("picture {publisher}.").into_bytes());
            assert!(!dead, "seed {seed}");
        }
        all_found(&mut sim, requester, &living, Duration::from_secs(10));
    }
}

// ---- a leader with two lists -----------------------------------------------------------------------------------------

/// A list of this version that the leader has signed, with these members.
fn signed(leader: u32, old: &MemberList<u32>, version: u64, keep: impl Fn(u32) -> bool) -> MemberList<u32> {
    let mut list = old.clone();
    let kept: Vec<_> = old.members.iter().filter(|member| keep(member.contact.peer)).cloned().collect();
    list.members = neblo_behaviour::protocol::List::chop(kept);
    list.version = version;
    list.sign(&StandInKeys::new(leader))
}

#[test]
fn a_leader_that_signs_two_lists_for_one_version_is_deposed_in_time() {
    for seed in seeds(450..458) {
        let mut sim = ready(seed, 24, 10);
        sim.run(Duration::from_secs(5));
        let leader = leaders(&sim).into_iter().max_by_key(|leader| list(&sim, *leader).members.len()).unwrap();
        let (subgroup, old) = (home(&sim, leader), list(&sim, leader));
        let others: Vec<_> = old.members.iter().skip(1).map(|member| member.contact.peer).collect();
        // One half, or a single member, gets a list without a member that the others see.
        let hidden = others[1];
        let few = if seed % 2 == 0 { 1 } else { others.len() / 2 };
        let misled: Vec<_> = others.iter().rev().take(few).copied().collect();
        let version = old.version + 3;
        for member in &others {
            let list = signed(leader, &old, version, |peer| peer != hidden || !misled.contains(member));
            sim.inject(leader, *member, Frame::Subgroup(SubgroupMessage::Members(list)));
        }
        let began = sim.now();
        let deposed = |sim: &Simulation| {
            others.iter().all(|member| {
                let there = sim.node(*member).subgroups().home();
                there.is_some_and(|home| home.leader().is_some_and(|other| other.contact.peer != leader))
            })
        };
        assert!(sim.run_until(DEPOSED_WITHIN, deposed), "seed {seed}");
        println!("seed {seed}: deposed after {:?}", sim.now().since(began));
        assert!(sim.run_until(Duration::from_secs(40), all_seated), "seed {seed}");
        for peer in sim.living() {
            let list = list(&sim, peer);
            assert!(list.subgroup != subgroup || list.member(leader).is_none(), "seed {seed}: it is back at {peer}");
        }
        assert_ne!(home(&sim, leader), subgroup, "seed {seed}");
    }
}

#[test]
fn nobody_is_deposed_by_what_it_has_not_signed() {
    let mut sim = ready(460, 24, 8);
    let leader = leaders(&sim)[0];
    let old = list(&sim, leader);
    let others: Vec<_> = old.members.iter().skip(1).map(|member| member.contact.peer).collect();
    // Signed by a member, not by the leader; and two roots of different versions.
    let first = signed(leader, &old, old.version, |_| true).list_root();
    let forged = signed(others[0], &old, old.version, |peer| peer != others[1]).list_root();
    let later = signed(leader, &old, old.version + 1, |peer| peer != others[1]).list_root();
    for second in [forged, later, first.clone()] {
        let proof = neblo_behaviour::protocol::subgroup::TwoLists { first: first.clone(), second };
        for member in &others {
            sim.inject(others[0], *member, Frame::Subgroup(SubgroupMessage::TwoLists(proof.clone())));
        }
    }
    sim.run(Duration::from_secs(20));
    assert!(all_seated(&sim) && sim.node(leader).subgroups().leads());
}

/// Whoever leads next counts on from a list's term and version: nobody could, from the highest number there is.
#[test]
fn no_leader_signs_a_list_that_no_other_could_follow() {
    let mut sim = ready(461, 24, 8);
    let leader = leaders(&sim)[0];
    let old = list(&sim, leader);
    let others: Vec<_> = old.members.iter().skip(1).map(|member| member.contact.peer).collect();
    let (end, step) = (u64::MAX, 1 << 20);
    let told = |sim: &mut Simulation, (term, version): (u64, u64)| {
        let list = MemberList { term, version, signature: Default::default(), ..old.clone() };
        let list = list.sign(&StandInKeys::new(leader));
        for member in &others {
            sim.inject(leader, *member, Frame::Subgroup(SubgroupMessage::Members(list.clone())));
        }
    };
    for (term, version) in [(end, old.version), (old.term, end), (end, end), (old.term + step + 1, old.version + 1)] {
        told(&mut sim, (term, version));
        for member in &others {
            let there = list(&sim, *member);
            assert_eq!((there.term, there.version), (old.term, old.version), "{term}, {version}");
        }
    }
    // As high as is believed: the next leader goes beyond it, and all follow.
    told(&mut sim, (old.term + step, old.version + step));
    assert!(others.iter().all(|member| list(&sim, *member).version == old.version + step));
    sim.kill(leader);
    let next = |sim: &Simulation| {
        let there: Vec<_> = others.iter().filter_map(|member| sim.node(*member).subgroups().home()).collect();
        there.len() == others.len() && there.iter().all(|home| home.list.term > old.term + step)
    };
    assert!(sim.run_until(Duration::from_secs(40), next));
    assert!(all_seated(&sim));
}

// ---- two leaders of one subgroup -------------------------------------------------------------------------------------

#[test]
fn two_leaders_after_a_partition_become_one_and_nothing_is_lost() {
    for seed in seeds(470..478) {
        let mut sim = ready(seed, 24, 12);
        let announced = all_announce(&mut sim);
        let subgroup = home(&sim, members(&sim)[0]);
        // One side keeps the leader, the other side takes another.
        let conditions = Conditions::default();
        let partition = (0..24).map(|peer| u8::from((peer as u64 + seed).is_multiple_of(3))).collect();
        sim.set_conditions(Conditions { partition, ..conditions.clone() });
        sim.run(Duration::from_secs(40));
        let both = leaders(&sim).into_iter().filter(|leader| home(&sim, *leader) == subgroup).count();
        sim.set_conditions(conditions);
        let began = sim.now();
        let one_each = |sim: &Simulation| {
            let leaders = leaders(sim);
            let mut led: Vec<_> = leaders.iter().map(|leader| home(sim, *leader)).collect();
            led.sort_unstable();
            led.dedup();
            led.len() == leaders.len() && all_seated(sim)
        };
        let healed = |sim: &Simulation| one_each(sim) && is_ideal(sim);
        assert!(sim.run_until(Duration::from_secs(150), healed), "seed {seed}: {:?}", leaders(&sim));
        let took = sim.now().since(began);
        sim.run(Duration::from_secs(15));
        assert!(one_each(&sim), "seed {seed}: again two");
        let requester = members(&sim)[0];
        let found = all_found(&mut sim, requester, &announced, Duration::from_secs(40));
        println!("seed {seed}: {both} leaders, one after {took:?}, all found {found:?} later");
    }
}

#[test]
fn of_two_that_take_over_at_the_same_moment_one_is_left() {
    for seed in seeds(480..484) {
        let mut sim = ready(seed, 16, 8);
        let old = leaders(&sim)[0];
        let all = list(&sim, old);
        let subgroup = all.subgroup;
        let candidates: Vec<_> =
            all.members.iter().skip(1).filter(|member| !member.guest).map(|member| member.contact.peer).collect();
        let both = [candidates[0], candidates[1]];
        // Both are told to lead at the same moment, by a leader that dies in it.
        for candidate in both {
            let lead = Lead { subgroup, term: all.term, leaving: false };
            sim.inject(old, candidate, Frame::Subgroup(SubgroupMessage::Lead(lead)));
        }
        sim.kill(old);
        let resolved = |sim: &Simulation| {
            let led: Vec<_> = leaders(sim).into_iter().filter(|leader| home(sim, *leader) == subgroup).collect();
            led.len() == 1 && both.contains(&led[0]) && all_seated(sim)
        };
        assert!(sim.run_until(Duration::from_secs(20), resolved), "seed {seed}: {both:?}");
        sim.run(Duration::from_secs(20));
        assert!(resolved(&sim), "seed {seed}: again two");
    }
}
