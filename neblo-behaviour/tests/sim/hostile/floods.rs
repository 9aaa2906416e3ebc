//! Rows "table flooding" and "gossip spam", and a member that floods lookups.

use super::*;
use neblo_behaviour::protocol::directory::LookupCast;
use neblo_behaviour::protocol::interface::{Event, Input};
use neblo_behaviour::protocol::path::{Bind, Broken, Down, Expect, Expecting, Mended, Open, Opened, PathMessage, Up};
use neblo_behaviour::protocol::seal::Keys;
use neblo_behaviour::protocol::wire::Frame;
use neblo_behaviour::protocol::{Blob, io::Contact};
use neblo_behaviour::sim::StandInKeys;

/// One member sends walks to all others, ten times as many as the honest ones build; they rebuild all their paths meanwhile.
#[test]
fn honest_walks_succeed_while_one_member_floods_the_tables() {
    let (mut ready_in_time, mut all, mut most) = (0, 0, 0);
    for seed in 760..764 {
        let mut sim = ready(seed, 24, 24);
        sim.run(Duration::from_secs(5));
        let members = members(&sim);
        let flooder = members[4];
        let subgroup = sim.node(flooder).subgroups().home().unwrap().subgroup();
        let honest: Vec<_> = members.iter().copied().filter(|peer| *peer != flooder).collect();
        let firsts: Vec<_> = honest.iter().map(|peer| hops(&sim, *peer, Purpose::Publishing)[1]).collect();
        // 66 honest paths in two seconds at most: ten times that, every second.
        for tick in 0..100u64 {
            for nth in 0..7u64 {
                let to = honest[(tick * 7 + nth) as usize % honest.len()];
                let open = Open { id: tick * 1_000 + nth, subgroup, resume: [tick as u8; 16] };
                sim.inject(flooder, to, Frame::Path(PathMessage::Open(open)));
            }
            if tick == 50 {
                // Somebody who is the first relay of some dies: all its paths are built anew under the flood.
                let victim = *firsts.iter().find(|first| **first != flooder).unwrap();
                sim.kill(victim);
            }
            sim.run(Duration::from_millis(100));
            most = most.max(honest.iter().map(|peer| sim.node(*peer).paths().relayed()).max().unwrap_or(0));
        }
        for peer in honest.iter().filter(|peer| sim.living().contains(peer)) {
            for purpose in Purpose::ALL {
                all += 1;
                ready_in_time += u32::from(sim.node(*peer).is_ready(purpose));
            }
        }
    }
    println!(
        "{ready_in_time} of {all} honest paths whole at 10 times the honest rate; {most} entries at most at one relay"
    );
    assert!(f64::from(ready_in_time) > 0.95 * f64::from(all));
    assert!(most <= 8_192);
}

/// A member asks 200 lookups a second: the other leaders see a few a second of them, and others are answered.
#[test]
fn a_member_that_floods_lookups_is_cut_down_and_others_are_answered() {
    let mut sim = ready(770, 24, 8);
    let (publisher, flooder) = strangers(&sim);
    announce(&mut sim, publisher, b"picture");
    sim.run(Duration::from_secs(2));
    sim.take_events();
    let (mut good, mut asked) = (0, 0);
    for _ in 0..5 {
        for _ in 0..200 {
            sim.command(flooder, |token| neblo_behaviour::protocol::interface::Command::Lookup {
                token,
                query: b"flood".to_vec(),
                limit: 10,
                window: Duration::from_secs(2),
                allow_weak: false,
            });
        }
        let home = sim.node(flooder).subgroups().home().unwrap().subgroup();
        let honest = members(&sim).into_iter().find(|peer| {
            *peer != flooder && *peer != publisher && sim.node(*peer).subgroups().home().unwrap().subgroup() == home
        });
        asked += 1;
        good += look_up(&mut sim, honest.unwrap(), b"picture").0.len();
    }
    let searched = sim
        .events()
        .iter()
        .filter(|(_, _, event)| matches!(event, Event::DirectoryAsked { query, .. } if query == b"flood"));
    let searched = searched.count();
    println!("1,000 lookups flooded: {searched} searches at all leaders; honest ones {good} of {asked} answered");
    assert_eq!(good, asked);
    assert!(searched < 300, "{searched}");
}

/// A peer that calls itself a leader floods the multicast with well-signed lookups.
#[test]
fn a_leader_that_floods_the_multicast_is_cut_down() {
    let mut sim = ready(771, 24, 8);
    let (publisher, requester) = strangers(&sim);
    announce(&mut sim, publisher, b"picture");
    sim.run(Duration::from_secs(2));
    sim.take_events();
    let leaders = super::super::subgroups::leaders(&sim);
    let victim = sim.node(publisher).subgroups().home().unwrap().leader().unwrap().contact.peer;
    let spammer = *leaders.iter().find(|leader| **leader != victim).unwrap();
    let keys = StandInKeys::new(spammer);
    let subgroup = sim.node(spammer).subgroups().home().unwrap().subgroup();
    for nonce in 0..2_000u32 {
        let cast = LookupCast {
            asker: Contact::bare(spammer),
            identity: Blob::new(Keys::<u32>::identity(&keys)).unwrap(),
            subgroup,
            term: 1,
            nonce: [nonce.to_le_bytes(); 4].concat().try_into().unwrap(),
            sent: 1_800_000_000 + sim.now().0 / 1_000_000,
            query: Blob::new(b"pic".to_vec()).unwrap(),
            limit: 10,
            signature: Blob::default(),
        };
        let bytes = cast.sign(&keys).to_bytes();
        sim.hand_in(victim, Input::Multicast { message: u64::from(nonce) + (1 << 40), from: spammer, bytes });
        sim.run(Duration::from_millis(1));
    }
    let searched =
        sim.events().iter().filter(|(_, peer, event)| *peer == victim && matches!(event, Event::DirectoryAsked { .. }));
    let searched = searched.count();
    let (hits, ..) = look_up(&mut sim, requester, b"picture");
    println!("2,000 signed lookups in 2 s from one leader: {searched} searched; an honest lookup found {}", hits.len());
    assert!(searched <= 100 + 2 * 20 + 5, "{searched}");
    assert_eq!(hits.len(), 1);
}

/// What is no frame, and what is too long, is refused where it is read (`protocol::codec` and the binding's own tests); what is
/// a frame and makes no sense does nothing.
#[test]
fn frames_that_make_no_sense_do_nothing() {
    let mut sim = ready(772, 16, 8);
    let member = members(&sim)[2];
    let status = sim.node(member).status();
    let home = sim.node(member).subgroups().home().unwrap();
    let subgroup = home.subgroup();
    for id in 0..64 {
        let sealed = Blob::new(vec![id as u8; 1_024]).unwrap();
        let next = Contact::bare(3);
        for message in [
            PathMessage::Opened(Opened { id }),
            PathMessage::Up(Up { id, sealed: sealed.clone() }),
            PathMessage::Down(Down { id, sealed }),
            PathMessage::Broken(Broken { id, up: id % 2 == 0 }),
            PathMessage::Expect(Expect { id, ticket: [1; 16] }),
            PathMessage::Expecting(Expecting { ticket: [2; 16] }),
            PathMessage::Bind(Bind { id, ticket: [1; 16], next: next.clone(), next_ticket: [3; 16] }),
            PathMessage::Mended(Mended { id }),
            PathMessage::Open(Open { id, subgroup: neblo_behaviour::OverlayAddr(7), resume: [0; 16] }),
        ] {
            sim.inject(9, member, Frame::Path(message));
        }
    }
    sim.run(Duration::from_secs(2));
    assert_eq!(sim.node(member).subgroups().home().unwrap().subgroup(), subgroup);
    assert_eq!(sim.node(member).status().paths_ready, status.paths_ready);
}
