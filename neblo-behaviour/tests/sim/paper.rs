//! The paper's mechanism (seed 003), section by section.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use neblo_behaviour::protocol::interface::{Answer, Command, Hit};
use neblo_behaviour::protocol::io::Contact;
use neblo_behaviour::protocol::paper::{Content, PaperMessage, Reference, Table, TableRow};
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::protocol::{Blob, List, PathPolicy};

use super::lookup::{announce, connect, strangers};
use super::subgroups::{all_seated, leaders, leaders_know_each_other};
use super::*;

fn paper_network(seed: u64, n: usize, size: usize, policy: PathPolicy) -> Simulation {
    let config = Config::default().with_subgroup_size(size).with_path_policy(policy);
    let mut sim = network_of(seed, n, config);
    let done = sim.run_until(Duration::from_secs(60), |sim| all_seated(sim) && leaders_know_each_other(sim));
    assert!(done, "seed {seed}: not ready");
    sim
}

fn usual(seed: u64) -> Simulation {
    paper_network(seed, 24, 8, PathPolicy::paper())
}

fn publish(sim: &mut Simulation, peer: u32, payload: &[u8]) {
    let token = announce(sim, peer, payload);
    assert!(sim.run_until(Duration::from_secs(30), |sim| !sim.answers(peer, token).is_empty()));
    assert!(matches!(sim.answers(peer, token)[0], Answer::Announced(_)), "{:?}", sim.answers(peer, token));
}

fn look_up(sim: &mut Simulation, peer: u32, query: &[u8]) -> Vec<Hit> {
    let (query, window) = (query.to_vec(), Duration::from_secs(6));
    let token = sim.command(peer, |token| Command::Lookup { token, query, limit: 50, window, allow_weak: false });
    let ended = |sim: &Simulation| matches!(sim.answers(peer, token).last(), Some(Answer::LookupEnded { .. }));
    assert!(sim.run_until(Duration::from_secs(20), ended), "{:?}", sim.answers(peer, token));
    let hits = sim.answers(peer, token).iter().filter_map(|answer| match answer {
        Answer::Hits { hits, .. } => Some(hits.clone()),
        _ => None,
    });
    hits.flatten().collect()
}

/// Paper's frames as they are sent: from, to, message.
type Sent = (u32, u32, PaperMessage<u32>);
type Frames = Rc<RefCell<Vec<Sent>>>;

fn watch(sim: &mut Simulation) -> Frames {
    let frames = Frames::default();
    let kept = frames.clone();
    sim.watch_frames(move |sent| {
        if let Frame::Paper(message) = sent.frame {
            kept.borrow_mut().push((sent.from, sent.to, message.clone()));
        }
    });
    frames
}

fn leader_of(sim: &Simulation, peer: u32) -> u32 {
    sim.node(peer).subgroups().home().unwrap().leader().unwrap().contact.peer
}

/// The hops of what was published last: the owner first, the leader last.
fn publish_path(frames: &Frames) -> Vec<u32> {
    let mut hops = Vec::new();
    for (from, to, message) in frames.borrow().iter() {
        if let PaperMessage::Publish(_) = message {
            if hops.is_empty() {
                hops.push(*from);
            }
            hops.push(*to);
        }
    }
    hops
}

/// Publishes, and tells over which path.
fn published(sim: &mut Simulation, publisher: u32, payload: &[u8]) -> Vec<u32> {
    let frames = watch(sim);
    publish(sim, publisher, payload);
    publish_path(&frames)
}

/// A peer of a path that is neither its owner nor its leader.
fn relay(hops: &[u32]) -> Option<u32> {
    hops[1..hops.len() - 1].iter().find(|hop| **hop != hops[0]).copied()
}

#[test]
fn section_3_1_a_publish_message_makes_the_path_with_a_coin_first_and_a_ttl_that_each_peer_takes_one_off() {
    let mut lengths: BTreeMap<usize, u32> = BTreeMap::new();
    let ttl = 4;
    for seed in 400..412 {
        let mut sim = paper_network(seed, 24, 12, PathPolicy::paper().with_ttl(ttl));
        let members: Vec<_> = sim.living().into_iter().filter(|peer| !leaders(&sim).contains(peer)).collect();
        for publisher in members {
            let frames = watch(&mut sim);
            publish(&mut sim, publisher, format!("content of {publisher}").as_bytes());
            let hops = publish_path(&frames);
            assert_eq!((hops[0], *hops.last().unwrap()), (publisher, leader_of(&sim, publisher)));
            assert!(!hops[1..hops.len() - 1].contains(&leader_of(&sim, publisher)));
            let ttls: Vec<u8> = frames
                .borrow()
                .iter()
                .filter_map(|(.., message)| match message {
                    PaperMessage::Publish(publish) => Some(publish.ttl),
                    _ => None,
                })
                .collect();
            assert!(ttls.iter().enumerate().all(|(nth, found)| *found == ttl - nth as u8), "{ttls:?}");
            *lengths.entry(hops.len() - 1).or_default() += 1;
        }
    }
    // P(n) = p^(n-1) (1-p) below the TTL, p^(TTL-1) at it (equation 1).
    let all: u32 = lengths.values().sum();
    println!("{all} paths by length: {lengths:?}");
    let p: f64 = 0.7;
    for n in 1..=usize::from(ttl) {
        let wanted = if n < usize::from(ttl) { p.powi(n as i32 - 1) * (1.0 - p) } else { p.powi(n as i32 - 1) };
        let found = f64::from(lengths.get(&n).copied().unwrap_or(0)) / f64::from(all);
        let deviation = (wanted * (1.0 - wanted) / f64::from(all)).sqrt();
        assert!((found - wanted).abs() < 3.5 * deviation, "{n} hops: {found:.3}, not {wanted:.3}");
    }
    assert!(lengths.keys().all(|length| *length <= usize::from(ttl)));
}

#[test]
fn section_3_1_the_same_identifier_and_path_serve_all_that_a_peer_publishes() {
    for seed in 420..424 {
        let mut sim = usual(seed);
        let (publisher, _) = strangers(&sim);
        let frames = watch(&mut sim);
        publish(&mut sim, publisher, b"first");
        let first = publish_path(&frames);
        let frames = watch(&mut sim);
        publish(&mut sim, publisher, b"second");
        assert_eq!(publish_path(&frames), first, "seed {seed}");
        // Before that, the path was checked.
        let pings = frames.borrow().iter().position(|(.., message)| matches!(message, PaperMessage::TotalPing(_)));
        let publish = frames.borrow().iter().position(|(.., message)| matches!(message, PaperMessage::Publish(_)));
        assert!(pings.unwrap() < publish.unwrap());
    }
}

#[test]
fn section_3_1_a_total_ping_that_fails_makes_the_owner_publish_all_again_over_a_new_path() {
    let mut broken = 0;
    for seed in seeds(430..454) {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        let hops = published(&mut sim, publisher, b"first");
        let Some(victim) = relay(&hops) else { continue };
        broken += 1;
        sim.kill(victim);
        sim.run(Duration::from_secs(3));
        publish(&mut sim, publisher, b"second");
        let found = look_up(&mut sim, requester, b"s");
        assert_eq!(found.len(), 2, "seed {seed}");
    }
    assert!(broken >= 4);
}

#[test]
fn section_3_1_when_the_timer_expires_pings_find_the_broken_path_and_the_owner_publishes_again() {
    let mut broken = 0;
    for seed in 450..462 {
        let mut sim = paper_network(seed, 24, 8, PathPolicy::paper().with_timer(Duration::from_secs(30)));
        let (publisher, requester) = strangers(&sim);
        let hops = published(&mut sim, publisher, b"picture");
        let Some(victim) = relay(&hops) else { continue };
        broken += 1;
        sim.kill(victim);
        let frames = watch(&mut sim);
        sim.run(Duration::from_secs(40));
        let again = publish_path(&frames);
        assert_eq!((again[0], *again.last().unwrap()), (publisher, leader_of(&sim, publisher)), "seed {seed}");
        assert!(!again.contains(&victim));
        let found = look_up(&mut sim, requester, b"picture");
        assert_eq!(found.len(), 1, "seed {seed}");
        connect(&mut sim, requester, &found[0]).unwrap();
    }
    assert!(broken >= 4);
}

#[test]
fn section_3_1_a_peer_that_leaves_splices_its_neighbours_together() {
    let mut spliced = 0;
    for seed in seeds(470..494) {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        let hops = published(&mut sim, publisher, b"picture");
        let relays = &hops[1..hops.len() - 1];
        let mut distinct = hops.clone();
        distinct.sort_unstable();
        distinct.dedup();
        // Where a walk has crossed itself, two of its links may become one: then its owner makes another path.
        let Some(leaver) = relays.first().copied().filter(|_| distinct.len() == hops.len()) else { continue };
        let before: Vec<_> = hops.iter().filter(|hop| **hop != leaver).copied().collect();
        spliced += 1;
        let token = sim.command(leaver, |token| Command::Leave { token });
        assert!(sim.run_until(Duration::from_secs(20), |sim| !sim.answers(leaver, token).is_empty()));
        sim.kill(leaver);
        let frames = watch(&mut sim);
        publish(&mut sim, publisher, b"second picture");
        assert_eq!(publish_path(&frames), before, "seed {seed}");
        assert_eq!(look_up(&mut sim, requester, b"picture").len(), 2, "seed {seed}");
    }
    assert!(spliced >= 4, "{spliced}");
}

#[test]
fn section_3_2_a_lookup_reaches_all_leaders_and_the_response_names_the_last_peer() {
    for seed in 490..496 {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        let hops = published(&mut sim, publisher, b"picture");
        let frames = watch(&mut sim);
        let found = look_up(&mut sim, requester, b"picture");
        assert_eq!(found.len(), 1, "seed {seed}");
        let reference = Reference::<u32>::from_bytes(found[0].reference.as_ref().unwrap()).unwrap();
        assert_eq!(reference.last.peer, hops[hops.len() - 2], "seed {seed}");
        // The owner's path was checked before the response.
        let (leader, owner) = (leader_of(&sim, publisher), reference.owner);
        let position = |wanted: &dyn Fn(&Sent) -> bool| frames.borrow().iter().position(wanted);
        let ping = position(&|(from, _, message)| {
            *from == leader
                && matches!(message, PaperMessage::TotalPing(ping) if ping.connection == owner && !ping.answer)
        });
        let response = position(&|(from, _, message)| {
            *from == leader && matches!(message, PaperMessage::LookupResponse(response) if response.owner == owner)
        });
        assert!(ping.unwrap() < response.unwrap(), "seed {seed}");
    }
}

#[test]
fn section_3_2_when_the_owners_path_has_failed_the_leader_broadcasts_and_the_owner_publishes_again() {
    let mut broken = 0;
    for seed in 500..512 {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        let hops = published(&mut sim, publisher, b"picture");
        let Some(victim) = relay(&hops) else { continue };
        broken += 1;
        sim.kill(victim);
        sim.run(Duration::from_secs(3));
        let frames = watch(&mut sim);
        assert!(look_up(&mut sim, requester, b"picture").is_empty(), "seed {seed}: no response over a broken path");
        let leader = leader_of(&sim, publisher);
        let told: Vec<_> = frames
            .borrow()
            .iter()
            .filter(|(from, _, message)| *from == leader && matches!(message, PaperMessage::PathFailed(_)))
            .map(|(_, to, _)| *to)
            .collect();
        let members = sim.node(publisher).subgroups().home().unwrap().list.members.len();
        assert!(told.len() >= members - 2, "seed {seed}: {told:?}");
        sim.run(Duration::from_secs(6));
        assert_eq!(look_up(&mut sim, requester, b"picture").len(), 1, "seed {seed}");
    }
    assert!(broken >= 4);
}

#[test]
fn section_3_3_a_download_goes_from_last_peer_to_last_peer_and_passes_the_leaders_by() {
    for seed in 520..532 {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        let frames = watch(&mut sim);
        publish(&mut sim, publisher, b"picture");
        let owner_path = publish_path(&frames);
        let frames = watch(&mut sim);
        let found = look_up(&mut sim, requester, b"picture");
        let requester_path: Vec<u32> = {
            let frames = frames.borrow();
            let links = frames.iter().filter(|(.., message)| matches!(message, PaperMessage::Lookup(_)));
            std::iter::once(requester).chain(links.map(|(_, to, _)| *to)).collect()
        };
        connect(&mut sim, requester, &found[0]).unwrap();
        let hops = &sim.streams().values().last().unwrap().hops;
        // Equation 3: 2 (E - 1) + 1 links, the leaders left out.
        let before_leader = owner_path[..owner_path.len() - 1].iter();
        let mut wanted: Vec<u32> =
            before_leader.chain(requester_path[..requester_path.len() - 1].iter().rev()).copied().collect();
        wanted.dedup();
        assert_eq!(*hops, wanted, "seed {seed}");
        assert_eq!((hops[0], *hops.last().unwrap()), (publisher, requester), "seed {seed}");
        assert!(!hops.iter().any(|hop| leaders(&sim).contains(hop)), "seed {seed}");
    }
}

#[test]
fn section_4_when_the_leader_dies_the_next_candidate_has_its_table() {
    for seed in 540..546 {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        publish(&mut sim, publisher, b"picture");
        sim.run(Duration::from_secs(1));
        let leader = leader_of(&sim, publisher);
        sim.kill(leader);
        let again = |sim: &Simulation| all_seated(sim) && leaders_know_each_other(sim);
        assert!(sim.run_until(Duration::from_secs(30), again), "seed {seed}");
        sim.run(Duration::from_secs(10));
        let new = leader_of(&sim, publisher);
        assert_ne!(new, leader);
        let found = look_up(&mut sim, requester, b"picture");
        assert_eq!(found.len(), 1, "seed {seed}");
        connect(&mut sim, requester, &found[0]).unwrap();
    }
}

#[test]
fn section_4_a_leader_that_leaves_hands_its_table_over() {
    for seed in 550..554 {
        let mut sim = usual(seed);
        let (publisher, requester) = strangers(&sim);
        publish(&mut sim, publisher, b"picture");
        let leader = leader_of(&sim, publisher);
        let token = sim.command(leader, |token| Command::Leave { token });
        assert!(sim.run_until(Duration::from_secs(20), |sim| !sim.answers(leader, token).is_empty()));
        sim.kill(leader);
        let again = |sim: &Simulation| all_seated(sim) && leaders_know_each_other(sim);
        assert!(sim.run_until(Duration::from_secs(30), again), "seed {seed}");
        sim.run(Duration::from_secs(8));
        let found = look_up(&mut sim, requester, b"picture");
        assert_eq!(found.len(), 1, "seed {seed}");
        connect(&mut sim, requester, &found[0]).unwrap();
    }
}

/// A leader's own contents: its walk begins and ends at itself.
#[test]
fn section_4_a_leader_publishes_and_asks_like_any_other_peer() {
    for seed in 560..564 {
        let mut sim = usual(seed);
        let leader = leaders(&sim)[1];
        publish(&mut sim, leader, b"from a leader");
        let (_, requester) = strangers(&sim);
        let found = look_up(&mut sim, requester, b"from a");
        assert_eq!(found.len(), 1, "seed {seed}");
        connect(&mut sim, requester, &found[0]).unwrap();
        let member = sim.living().into_iter().find(|peer| !leaders(&sim).contains(peer)).unwrap();
        publish(&mut sim, member, b"for a leader");
        let found = look_up(&mut sim, leader, b"for a");
        assert_eq!(found.len(), 1, "seed {seed}");
        connect(&mut sim, leader, &found[0]).unwrap();
    }
}

/// Rows come from the leader, or from the one before it, and from nobody else.
#[test]
fn section_4_a_member_cannot_change_the_table_of_its_leader() {
    let mut sim = usual(570);
    let (publisher, _) = strangers(&sim);
    publish(&mut sim, publisher, b"picture");
    let leader = leader_of(&sim, publisher);
    let before = sim.node(leader).status().rows;
    let content = Content { key: [1; 32], expiry_day: u32::MAX, payload: Blob::new(b"forged".to_vec()).unwrap() };
    let forged = TableRow { connection: [7; 16], last: Contact::bare(publisher), content: Some(content) };
    let table = Table { whole: true, rows: List::new(vec![forged]).unwrap(), gone: List::default() };
    sim.inject(publisher, leader, Frame::Paper(PaperMessage::Table(table)));
    assert!(before > 0);
    assert_eq!(sim.node(leader).status().rows, before);
}
