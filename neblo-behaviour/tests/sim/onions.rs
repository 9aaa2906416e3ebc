//! Return onions in place of tracks.

use std::cell::RefCell;
use std::rc::Rc;

use super::messaging::{PORT, WAIT, ask, far, handler, owner, result, ring_of};
use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::{Answer, Command, Event, HandlerKind};
use neblo_behaviour::protocol::messaging::{MessagingMessage, ONION, Request, Response};
use neblo_behaviour::protocol::wire::Frame;

type Seen = Rc<RefCell<Vec<(u32, u32, MessagingMessage)>>>;

/// The frames of messaging from now on.
fn tapped(sim: &mut Simulation) -> Seen {
    let seen = Seen::default();
    let keep = seen.clone();
    sim.watch_frames(move |sent| {
        if let Frame::Messaging(message) = sent.frame {
            keep.borrow_mut().push((sent.from, sent.to, message.clone()));
        }
    });
    seen
}

fn requests(seen: &Seen) -> Vec<(u32, u32, Request)> {
    let mine = |(from, to, message): &(u32, u32, MessagingMessage)| match message {
        MessagingMessage::Request(request) if request.port == PORT => Some((*from, *to, request.clone())),
        _ => None,
    };
    seen.borrow().iter().filter_map(mine).collect()
}

fn responses(seen: &Seen, payload: &[u8]) -> Vec<(u32, u32, Response)> {
    let mine = |(from, to, message): &(u32, u32, MessagingMessage)| match message {
        MessagingMessage::Response(response) if *response.payload == *payload => Some((*from, *to, response.clone())),
        _ => None,
    };
    seen.borrow().iter().filter_map(mine).collect()
}

#[test]
fn forwarders_keep_nothing_and_every_hop_carries_as_many_bytes() {
    let mut sim = ring_of(400, 48, Config::default().with_return_way(ReturnWay::Onions));
    // What was asked while the ring formed has ended.
    sim.run(Duration::from_secs(10));
    let seen = tapped(&mut sim);
    for round in 0..100u32 {
        let (asker, to) = far(&mut sim);
        ask(&mut sim, asker, 1, to, &round.to_le_bytes());
        for _ in 0..10 {
            sim.run(Duration::from_millis(20));
            assert!(sim.living().iter().all(|peer| sim.node(*peer).messages().tracks() == 0));
        }
    }
    sim.run(WAIT);
    let requests = requests(&seen);
    assert!(requests.len() > 200);
    let mut stacks: Vec<_> = requests.iter().map(|(_, _, request)| request.onion.clone().unwrap()).collect();
    assert!(requests.iter().all(|(_, _, request)| request.track == 0 && request.hops <= 22));
    stacks.sort();
    stacks.dedup();
    assert_eq!(stacks.len(), requests.len(), "no onion is seen twice");
    let with = Frame::<u32>::Messaging(MessagingMessage::Request(requests[0].2.clone())).to_bytes().len();
    let without = MessagingMessage::Request(Request { onion: None, track: u64::MAX, ..requests[0].2.clone() });
    let without = Frame::<u32>::Messaging(without).to_bytes().len();
    println!(
        "a request of {without} bytes with a track is {with} with an onion, at each hop ({ONION} of them the stack)"
    );
    assert!(with <= without + ONION + 4);
}

#[test]
fn peers_of_both_kinds_live_on_one_ring() {
    let mut sim = Simulation::new(410, Conditions::default());
    let config = Config::default().with_subgroups(false);
    sim.join(config.clone(), &[]);
    for at in 1..40 {
        sim.run(Duration::from_millis(150));
        let way = if at % 2 == 0 { ReturnWay::Tracks } else { ReturnWay::Onions };
        sim.join(config.clone().with_return_way(way), &[0]);
    }
    assert!(sim.run_until(Duration::from_secs(120), is_ideal));
    for peer in sim.living() {
        handler(&mut sim, peer, HandlerKind::RequestReceiver, true);
    }
    for _ in 0..60 {
        let (asker, to) = far(&mut sim);
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Ok(b"q".to_vec()));
    }
}

fn dropped(sim: &mut Simulation, peer: u32) -> u64 {
    let token = sim.command(peer, |token| Command::Status { token });
    let Answer::Status(status) = &sim.answers(peer, token)[0] else { panic!() };
    status.counters.iter().find(|(name, _)| *name == "onions that do not open").map_or(0, |(_, count)| *count)
}

#[test]
fn an_onion_that_is_sent_again_gives_the_asker_nothing_and_expires() {
    let mut sim = ring_of(420, 40, Config::default().with_return_way(ReturnWay::Onions));
    let seen = tapped(&mut sim);
    let (asker, to) = far(&mut sim);
    let token = ask(&mut sim, asker, 1, to, b"only once");
    assert_eq!(result(&mut sim, asker, token), Ok(b"only once".to_vec()));
    let back = responses(&seen, b"only once");
    assert!(back.len() >= 2, "through a forwarder");
    let (from, hop, first) = back[0].clone();
    // The forwarder passes each on, the asker takes none.
    let again = |sim: &mut Simulation, response: &Response, times: usize| {
        for _ in 0..times {
            sim.inject(from, hop, Frame::Messaging(MessagingMessage::Response(response.clone())));
        }
        sim.run(Duration::from_millis(500));
    };
    again(&mut sim, &first, 20);
    assert_eq!(responses(&seen, b"only once").len(), back.len() + 20 * (back.len() - 1));
    assert_eq!(sim.answers(asker, token).len(), 1);
    // Changed anywhere in its layer, it does not open.
    let mut changed = first.clone();
    changed.onion.as_mut().unwrap()[100] ^= 1;
    again(&mut sim, &changed, 1);
    assert_eq!(dropped(&mut sim, hop), 1);
    // Another peer cannot open it.
    sim.inject(from, asker, Frame::Messaging(MessagingMessage::Response(first.clone())));
    assert_eq!(dropped(&mut sim, asker), 1);
    // After the asker's time it is worth nothing.
    sim.run(Duration::from_secs(10));
    let before = responses(&seen, b"only once").len();
    again(&mut sim, &first, 1);
    assert_eq!(responses(&seen, b"only once").len(), before);
    assert_eq!(dropped(&mut sim, hop), 2);
    sim.run(Duration::from_secs(300));
    again(&mut sim, &first, 1);
    assert_eq!(dropped(&mut sim, hop), 3);
}

#[test]
fn that_the_next_hop_died_is_told_through_the_onion_as_over_tracks() {
    let mut times = [Vec::new(), Vec::new()];
    for seed in 430..442 {
        for (way, times) in [ReturnWay::Tracks, ReturnWay::Onions].into_iter().zip(&mut times) {
            let mut sim = ring_of(seed, 40, Config::default().with_return_way(way));
            let (asker, to) = far(&mut sim);
            let dies = owner(&sim, to);
            // Its owner gets the request, and dies over it.
            sim.set_application(Box::new(move |peer: u32, event: &Event<u32>| {
                (peer == dies && matches!(event, Event::Asked { .. })).then(Vec::new)
            }));
            let token = ask(&mut sim, asker, 1, to, b"q");
            let arrived = |sim: &Simulation| {
                let asked = |event: &Event<u32>| matches!(event, Event::Asked { to: at, .. } if *at == to);
                sim.events().iter().any(|(_, peer, event)| *peer == dies && asked(event))
            };
            assert!(sim.run_until(WAIT, arrived));
            sim.kill(dies);
            let began = sim.now();
            let result = result(&mut sim, asker, token);
            times.push((sim.now().since(began), result.is_ok()));
        }
    }
    println!("{times:?}");
    // Another owns the address then, and answers a further attempt: before the time is up, as it would be if nothing were told.
    for times in times {
        assert!(times.iter().filter(|(_, good)| *good).count() >= 9);
    }
}

#[test]
fn an_onion_reaches_farther_than_any_ring_of_this_size_needs() {
    let config = Config::default().with_return_way(ReturnWay::Onions);
    let mut sim = ring_of(440, 64, config);
    let mut bad = 0;
    for round in 0..200u32 {
        let asker = sim.draw(64) as u32;
        let token = ask(&mut sim, asker, 1, OverlayAddr::hash(&[&round.to_le_bytes()]), b"q");
        bad += u32::from(result(&mut sim, asker, token).is_err());
    }
    assert_eq!(bad, 0);
}
