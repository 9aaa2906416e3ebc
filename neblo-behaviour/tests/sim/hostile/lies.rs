//! Leaders that say what is not so, or too much, and peers that ask leaders too often.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use neblo_behaviour::protocol::directory::{DirectoryMessage, Found, ResolveAsk};
use neblo_behaviour::protocol::interface::{Answer, Command, Hit};
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::protocol::{Blob, List};

/// Asks with a limit of `limit`; when the lying leader is about to answer, `lie` is told the nonce and the asking leader, and says what it
/// sends instead. All hits come back.
pub(super) fn asked_with_a_liar(
    sim: &mut Simulation,
    (requester, liar): (u32, u32),
    limit: u16,
    lie: impl Fn([u8; 16]) -> Vec<Found>,
) -> Vec<Hit> {
    let heard = Rc::new(Cell::new(None));
    let told = heard.clone();
    sim.filter_frames(move |sent| match sent.frame {
        Frame::Directory(DirectoryMessage::Found(found)) if sent.from == liar => {
            told.set(Some((found.nonce, sent.to)));
            false
        }
        _ => true,
    });
    let (query, window) = (b"picture".to_vec(), Duration::from_secs(3));
    let token = sim.command(requester, |token| Command::Lookup { token, query, limit, window, allow_weak: false });
    assert!(sim.run_until(Duration::from_secs(3), |_| heard.get().is_some()), "the liar was not asked");
    let (nonce, asker) = heard.get().unwrap();
    for found in lie(nonce) {
        sim.inject(liar, asker, Frame::Directory(DirectoryMessage::Found(found)));
    }
    let ended = |sim: &Simulation| matches!(sim.answers(requester, token).last(), Some(Answer::LookupEnded { .. }));
    assert!(sim.run_until(Duration::from_secs(8), ended));
    let hits = sim.answers(requester, token).iter().filter_map(|answer| match answer {
        Answer::Hits { hits, .. } => Some(hits.clone()),
        _ => None,
    });
    hits.flatten().collect()
}

/// Publisher, requester, and a leader who is neither's.
pub(super) fn stage(seed: u64) -> (Simulation, u32, u32, u32) {
    let mut sim = ready(seed, 24, 8);
    let (publisher, requester) = strangers(&sim);
    announce(&mut sim, publisher, b"picture");
    sim.run(Duration::from_secs(2));
    let leader = |peer: u32| sim.node(peer).subgroups().home().unwrap().leader().unwrap().contact.peer;
    let ends = [leader(publisher), leader(requester)];
    let liar = super::super::subgroups::leaders(&sim).into_iter().find(|leader| !ends.contains(leader)).unwrap();
    (sim, publisher, requester, liar)
}

#[test]
fn a_leader_that_answers_for_others_keeps_no_hit_of_theirs_back() {
    let mut found = 0;
    for seed in seeds(780..786) {
        let (mut sim, _, requester, liar) = stage(seed);
        let all = super::super::subgroups::leaders(&sim);
        let subgroups: Vec<_> =
            all.iter().map(|leader| sim.node(*leader).subgroups().home().unwrap().subgroup()).collect();
        let hits = asked_with_a_liar(&mut sim, (requester, liar), 50, |nonce| {
            let nothing = |subgroup: &_| Found { nonce, subgroup: *subgroup, hits: List::default(), last: true };
            subgroups.iter().map(nothing).collect()
        });
        assert!(hits.iter().any(|hit| *hit.payload == *b"picture"), "seed {seed}");
        found += 1;
    }
    println!("a leader says for all others that they have nothing: {found} of 6 lookups found what they looked for");
}

#[test]
fn of_endless_hits_no_more_are_taken_than_were_asked_for() {
    let (mut sim, _, requester, liar) = stage(790);
    let subgroup = sim.node(liar).subgroups().home().unwrap().subgroup();
    let hits = asked_with_a_liar(&mut sim, (requester, liar), 20, |nonce| {
        let hit = |number: u64| Hit {
            key: [7; 32],
            expiry_day: 40_000,
            payload: Blob::new(format!("picture {number}").into_bytes()).unwrap(),
            subgroup,
            registration: number,
            reference: None,
        };
        let batch = |at: u64| (at * 200..(at + 1) * 200).map(hit).collect();
        (0..50).map(|at| Found { nonce, subgroup, hits: List::new(batch(at)).unwrap(), last: false }).collect()
    });
    let theirs = hits.iter().filter(|hit| hit.subgroup == subgroup).count();
    println!("10,000 hits of one leader, 20 wanted: {theirs} taken");
    assert_eq!(theirs, 20);
    assert!(hits.iter().any(|hit| *hit.payload == *b"picture"));
}

/// Each answer names the last relay of a publisher's path: one peer gets so many, whether it leads or says so.
#[test]
fn one_peer_has_last_relays_named_at_a_rate() {
    let (mut sim, publisher, requester, mapper) = stage(795);
    let (hits, ..) = look_up(&mut sim, requester, b"picture");
    let hit = hits.into_iter().find(|hit| *hit.payload == *b"picture").unwrap();
    let leader = sim.node(publisher).subgroups().home().unwrap().leader().unwrap().contact.peer;
    let named = Rc::new(Cell::new(0));
    let count = named.clone();
    sim.watch_frames(move |sent| {
        if let Frame::Directory(DirectoryMessage::ResolveAnswer(answer)) = sent.frame
            && sent.to == mapper
        {
            count.set(count.get() + u32::from(answer.next.is_some()));
        }
    });
    for number in 0..2_000u32 {
        let nonce = [number.to_le_bytes(); 4].concat().try_into().unwrap();
        let ask = ResolveAsk { nonce, registration: hit.registration, subgroup: Some(hit.subgroup) };
        sim.inject(mapper, leader, Frame::Directory(DirectoryMessage::ResolveAsk(ask)));
        sim.run(Duration::from_millis(1));
    }
    sim.run(Duration::from_secs(1));
    println!("2,000 asked for in 2 s by one peer: {} named", named.get());
    assert!((1..=145).contains(&named.get()), "{}", named.get());
    assert!(connect(&mut sim, requester, &hit).is_ok());
}
