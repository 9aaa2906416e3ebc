//! Messages, requests, copies and forwarders.

use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::{
    Answer, Command, Event, Failure, HandlerKind, Passage, Passing, Recipients,
};
use neblo_behaviour::protocol::messaging::placement;
use neblo_behaviour::sim::Application;

pub(super) const PORT: u16 = 2_000;
pub(super) const WAIT: Duration = Duration::from_secs(5);

pub(super) fn ring_of(seed: u64, n: usize, config: Config) -> Simulation {
    let mut sim = Simulation::new(seed, Conditions::default());
    let config = config.with_subgroups(false);
    sim.join(config.clone(), &[]);
    for _ in 1..n {
        sim.run(Duration::from_millis(150));
        sim.join(config.clone(), &[0]);
    }
    assert!(sim.run_until(Duration::from_secs(120), is_ideal), "seed {seed}: no ring");
    for peer in sim.living() {
        handler(&mut sim, peer, HandlerKind::RequestReceiver, true);
        handler(&mut sim, peer, HandlerKind::MessageReceiver, true);
    }
    sim
}

pub(super) fn handler(sim: &mut Simulation, peer: u32, kind: HandlerKind, on: bool) {
    sim.command(peer, |_| Command::SetHandler { port: PORT, kind, on });
}

pub(super) fn owner(sim: &Simulation, address: OverlayAddr) -> u32 {
    let owns = |peer: &u32| sim.node(*peer).ring().range().is_some_and(|(range, _)| range.contains(address));
    sim.living().into_iter().find(owns).unwrap()
}

pub(super) fn ask(
    sim: &mut Simulation,
    asker: u32,
    recipients: impl Into<Recipients>,
    to: OverlayAddr,
    payload: &[u8],
) -> u64 {
    let (recipients, payload) = (recipients.into(), payload.to_vec());
    sim.command(asker, |token| Command::Request { token, recipients, port: PORT, to, payload, timeout: WAIT })
}

pub(super) fn result(sim: &mut Simulation, asker: u32, token: u64) -> Result<Vec<u8>, Failure> {
    let began = sim.now();
    sim.run_until(WAIT + Duration::from_secs(1), |sim| !sim.answers(asker, token).is_empty());
    let took = sim.now().since(began);
    assert!(took <= WAIT + Duration::from_millis(30), "{took:?}");
    match sim.answers(asker, token) {
        [Answer::Response(payload)] => Ok(payload.clone()),
        [Answer::Failed(failure)] => Err(failure.clone()),
        other => panic!("{other:?}"),
    }
}

/// An asker and an address some hops away from it.
pub(super) fn far(sim: &mut Simulation) -> (u32, OverlayAddr) {
    loop {
        let living = sim.living();
        let asker = living[sim.draw(living.len())];
        let to = OverlayAddr::hash(&[&sim.draw(1 << 20).to_le_bytes()]);
        let from = sim.node(asker).address().unwrap();
        let ring = sim.node(asker).ring();
        let seen = ring.successors().last().map_or(0, |last| from.distance_to(last.address));
        if owner(sim, to) != asker && from.distance_to(to) > seen {
            return (asker, to);
        }
    }
}

/// Forwarders of all peers decide so, at once.
pub(super) fn decides(kind: Passing, passage: impl Fn(&[u8]) -> Passage + 'static) -> Box<dyn Application> {
    Box::new(move |_: u32, event: &Event<u32>| match event {
        Event::Passing { pass, kind: passing, payload, .. } if *passing == kind => {
            Some(vec![(Duration::ZERO, Command::Pass { pass: *pass, passage: Ok(passage(payload)) })])
        }
        _ => None,
    })
}

fn passed(sim: &Simulation) -> Vec<(u32, Passing, OverlayAddr, u8)> {
    let passing = |(_, peer, event): &(_, u32, Event<u32>)| match event {
        Event::Passing { kind, to, copy, .. } => Some((*peer, *kind, *to, *copy)),
        _ => None,
    };
    sim.events().iter().filter_map(passing).collect()
}

#[test]
fn forwarders_change_suppress_and_answer_at_each_hop_between_asker_and_owner() {
    for (seed, way) in [(300, ReturnWay::Tracks), (301, ReturnWay::Onions)] {
        let mut sim = ring_of(seed, 40, Config::default().with_return_way(way));
        let (asker, to) = far(&mut sim);
        let owner = owner(&sim, to);
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Ok(b"q".to_vec()));
        assert!(passed(&sim).is_empty(), "nothing is set, nothing is shown");

        for peer in sim.living() {
            handler(&mut sim, peer, HandlerKind::RequestForwarder, true);
        }
        let with = |byte: u8| move |payload: &[u8]| Passage::Forward([payload, &[byte]].concat());
        sim.set_application(decides(Passing::Request, with(b'+')));
        let token = ask(&mut sim, asker, 1, to, b"q");
        let answer = result(&mut sim, asker, token).unwrap();
        let hops = passed(&sim);
        assert!(!hops.is_empty() && answer.len() == 1 + hops.len(), "{answer:?} {hops:?}");
        assert!(hops.iter().all(|(peer, kind, at, copy)| {
            ![asker, owner].contains(peer) && (*kind, *at, *copy) == (Passing::Request, to, 0)
        }));

        sim.set_application(decides(Passing::Request, |_| Passage::Suppress));
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Err(Failure::Suppressed));
        sim.set_application(decides(Passing::Request, |_| Passage::Answer(b"cached".to_vec())));
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Ok(b"cached".to_vec()));
        // Longer than a payload may be: refused, as the fault of the forwarder that it is.
        sim.set_application(decides(Passing::Request, |_| Passage::Forward(vec![0; 65 * 1024])));
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Err(Failure::Refused));

        let before = passed(&sim).len();
        for peer in sim.living() {
            handler(&mut sim, peer, HandlerKind::RequestForwarder, false);
            handler(&mut sim, peer, HandlerKind::ResponseForwarder, true);
        }
        sim.set_application(decides(Passing::Response, with(b'-')));
        let token = ask(&mut sim, asker, Recipients::Only(3), to, b"q");
        let answer = result(&mut sim, asker, token).unwrap();
        let seen = passed(&sim).split_off(before);
        assert_eq!(answer.len(), 1 + seen.len());
        assert!(
            seen.iter()
                .all(|(peer, kind, at, copy)| { *peer != asker && (*kind, *at, *copy) == (Passing::Response, to, 3) })
        );
        sim.set_application(decides(Passing::Response, |_| Passage::Suppress));
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Err(Failure::Suppressed));
        sim.set_application(decides(Passing::Response, |_| Passage::Answer(b"instead".to_vec())));
        let token = ask(&mut sim, asker, 1, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Ok(b"instead".to_vec()));
        assert!(sim.living().iter().all(|peer| sim.node(*peer).messages().passing() == 0));
    }
}

fn delivered(sim: &Simulation, payload: &[u8]) -> Vec<(u32, u8, OverlayAddr)> {
    let of = |(_, peer, event): &(_, u32, Event<u32>)| match event {
        Event::Delivered { to, copy, payload: known, .. } if known.starts_with(payload) => Some((*peer, *copy, *to)),
        _ => None,
    };
    sim.events().iter().filter_map(of).collect()
}

#[test]
fn messages_pass_their_forwarders_too() {
    let mut sim = ring_of(310, 40, Config::default());
    let (sender, to) = far(&mut sim);
    for peer in sim.living() {
        handler(&mut sim, peer, HandlerKind::MessageForwarder, true);
    }
    sim.set_application(decides(Passing::Message, |payload| Passage::Forward([payload, b"+"].concat())));
    send(&mut sim, sender, Recipients::First(1), to, b"first");
    assert_eq!(delivered(&sim, b"first+").len(), 1);
    // A message has no answer: this is the same as to suppress it.
    for passage in [Passage::Suppress, Passage::Answer(vec![1])] {
        sim.set_application(decides(Passing::Message, move |_| passage.clone()));
        send(&mut sim, sender, Recipients::First(1), to, b"second");
        assert!(delivered(&sim, b"second").is_empty());
    }
    // Handlers of requests do not see messages.
    for peer in sim.living() {
        handler(&mut sim, peer, HandlerKind::MessageForwarder, false);
        handler(&mut sim, peer, HandlerKind::RequestForwarder, true);
        handler(&mut sim, peer, HandlerKind::ResponseForwarder, true);
    }
    let before = passed(&sim).len();
    send(&mut sim, sender, Recipients::First(1), to, b"third");
    assert_eq!(delivered(&sim, b"third").len(), 1);
    assert_eq!(passed(&sim).len(), before);
}

#[test]
fn a_decision_that_never_comes_ends_as_overloaded_in_time() {
    for way in [ReturnWay::Tracks, ReturnWay::Onions] {
        let mut sim = ring_of(320, 40, Config::default().with_return_way(way));
        let (asker, to) = far(&mut sim);
        for kind in [HandlerKind::RequestForwarder, HandlerKind::ResponseForwarder] {
            for peer in sim.living() {
                handler(&mut sim, peer, kind, true);
            }
            sim.set_application(Box::new(|_: u32, event: &Event<u32>| {
                matches!(event, Event::Passing { .. }).then(Vec::new)
            }));
            let token = ask(&mut sim, asker, 1, to, b"q");
            assert_eq!(result(&mut sim, asker, token), Err(Failure::Overloaded));
            sim.run(WAIT);
            assert!(sim.living().iter().all(|peer| sim.node(*peer).messages().passing() == 0));
            for peer in sim.living() {
                handler(&mut sim, peer, kind, false);
            }
        }
    }
}

fn send(sim: &mut Simulation, sender: u32, recipients: Recipients, to: OverlayAddr, payload: &[u8]) -> Answer {
    let payload = payload.to_vec();
    let token = sim.command(sender, |token| Command::Send { token, recipients, port: PORT, to, payload });
    sim.run(Duration::from_secs(2));
    sim.answers(sender, token)[0].clone()
}

#[test]
fn copies_reach_as_many_owners_as_were_asked_for_and_no_other_number_is_allowed() {
    let mut sim = ring_of(330, 24, Config::default());
    let (sender, to) = far(&mut sim);
    let nonsense = [Recipients::First(0), Recipients::First(9), Recipients::First(255), Recipients::Only(8)];
    for recipients in nonsense {
        let answer = send(&mut sim, sender, recipients, to, b"x");
        assert!(matches!(answer, Answer::Failed(Failure::Invalid(_))), "{answer:?}");
        let token = ask(&mut sim, sender, recipients, to, b"x");
        assert!(matches!(result(&mut sim, sender, token), Err(Failure::Invalid(_))));
    }
    for copies in 1..=8u8 {
        let payload = [b'0' + copies];
        assert!(matches!(send(&mut sim, sender, Recipients::First(copies), to, &payload), Answer::Ok));
        let reached: Vec<_> = delivered(&sim, &payload);
        assert_eq!(reached.len(), usize::from(copies));
        for (at, copy, original) in reached {
            assert_eq!((at, original), (owner(&sim, placement(to, copy)), to));
        }
    }
    for copy in 0..8 {
        send(&mut sim, sender, Recipients::Only(copy), to, &[copy, b'!']);
        assert_eq!(delivered(&sim, &[copy, b'!']), [(owner(&sim, placement(to, copy)), copy, to)]);
    }
}

/// Owners answer after a time of their own, the owner of copy `refuses` and all before it refuse.
fn answers_after(refuses: u8, slowest: u8) -> Box<dyn Application> {
    Box::new(move |_: u32, event: &Event<u32>| match event {
        Event::Asked { ask, copy, .. } => {
            let payload = if *copy <= refuses { Err(Failure::Refused) } else { Ok(vec![*copy]) };
            let after = if *copy == slowest { Duration::from_secs(4) } else { Duration::from_millis(200) };
            Some(vec![(after, Command::Respond { ask: *ask, payload })])
        }
        _ => None,
    })
}

/// Whether nothing of a request stays with its asker; what it carries for others, and asks for itself, ends soon.
fn forgotten(sim: &mut Simulation, asker: u32) -> bool {
    sim.run_until(Duration::from_secs(1), |sim| {
        let messages = sim.node(asker).messages();
        messages.open() == 0 && messages.tracks() == 0
    })
}

#[test]
fn the_first_good_answer_wins_and_nothing_of_the_others_stays() {
    for way in [ReturnWay::Tracks, ReturnWay::Onions] {
        let mut sim = ring_of(340, 24, Config::default().with_return_way(way));
        let (asker, to) = far(&mut sim);
        // Refusals are no good answers; copy 3 is too slow.
        sim.set_application(answers_after(2, 3));
        let token = ask(&mut sim, asker, 5, to, b"q");
        let began = sim.now();
        assert_eq!(result(&mut sim, asker, token), Ok(vec![4]));
        assert!(sim.now().since(began) < Duration::from_secs(3));
        assert!(forgotten(&mut sim, asker), "the rest is cancelled");
        sim.run(Duration::from_secs(8));
        assert_eq!(sim.answers(asker, token).len(), 1);

        // All refuse: one result, when the last has refused.
        sim.set_application(answers_after(8, 8));
        let token = ask(&mut sim, asker, 8, to, b"q");
        assert_eq!(result(&mut sim, asker, token), Err(Failure::Refused));

        // Given up: nothing more is said, nothing stays.
        sim.set_application(answers_after(0, 8));
        let token = ask(&mut sim, asker, 8, to, b"q");
        sim.command(asker, |_| Command::Cancel { token });
        assert!(forgotten(&mut sim, asker), "given up");
        sim.run(Duration::from_secs(8));
        assert!(sim.answers(asker, token).is_empty());
        assert!(sim.living().iter().all(|peer| sim.node(*peer).messages().owed() == 0));
    }
}

#[test]
fn handlers_of_a_port_are_independent_and_own_ports_have_none() {
    let mut sim = ring_of(350, 12, Config::default());
    let (asker, to) = far(&mut sim);
    let at = owner(&sim, to);
    handler(&mut sim, at, HandlerKind::MessageReceiver, false);
    send(&mut sim, asker, Recipients::First(1), to, b"message");
    assert!(delivered(&sim, b"message").is_empty());
    let token = ask(&mut sim, asker, 1, to, b"q");
    assert_eq!(result(&mut sim, asker, token), Ok(b"q".to_vec()));
    handler(&mut sim, at, HandlerKind::MessageReceiver, true);
    handler(&mut sim, at, HandlerKind::RequestReceiver, false);
    send(&mut sim, asker, Recipients::First(1), to, b"message");
    assert_eq!(delivered(&sim, b"message").len(), 1);
    let token = ask(&mut sim, asker, 1, to, b"q");
    assert_eq!(result(&mut sim, asker, token), Err(Failure::NoReceiver));
    // What NEBLO asks on its own ports is shown to nobody: fingers and registry go on as if nothing were set.
    for peer in sim.living() {
        for port in [0, 1, 1_023] {
            sim.command(peer, |_| Command::SetHandler { port, kind: HandlerKind::RequestForwarder, on: true });
        }
    }
    sim.run(Duration::from_secs(30));
    assert!(passed(&sim).is_empty());
    let token = sim.command(asker, |token| Command::Request {
        token,
        recipients: Recipients::First(1),
        port: 1_023,
        to,
        payload: vec![],
        timeout: WAIT,
    });
    assert!(matches!(result(&mut sim, asker, token), Err(Failure::Invalid(_))));
}

#[test]
fn every_request_ends_in_one_result_in_time_whatever_happens_on_its_way() {
    for (seed, way) in (40..46).zip([ReturnWay::Tracks, ReturnWay::Onions].into_iter().cycle()) {
        let mut sim = ring_of(seed, 32, Config::default().with_return_way(way));
        // One decision in 64 suppresses, one never comes; one answer in 64 never comes.
        let mut drawn = 0u32;
        sim.set_application(Box::new(move |_: u32, event: &Event<u32>| {
            drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (drawn >> 26, event) {
                (0, Event::Passing { .. } | Event::Asked { .. }) => Some(Vec::new()),
                (1, Event::Passing { pass, .. }) => {
                    Some(vec![(Duration::ZERO, Command::Pass { pass: *pass, passage: Ok(Passage::Suppress) })])
                }
                _ => None,
            }
        }));
        for peer in sim.living() {
            handler(&mut sim, peer, HandlerKind::RequestForwarder, true);
            handler(&mut sim, peer, HandlerKind::ResponseForwarder, true);
        }
        sim.set_conditions(Conditions { loss: 0.02, ..Conditions::default() });
        let mut open = Vec::new();
        for round in 0..200u32 {
            let living = sim.living();
            let asker = living[sim.draw(living.len())];
            let to = OverlayAddr::hash(&[&round.to_le_bytes()]);
            let token = ask(&mut sim, asker, 1 + (round % 8) as u8, to, &round.to_le_bytes());
            let until = sim.now() + WAIT + Duration::from_millis(20);
            open.push((asker, token, round, until));
            if round % 20 == 10 {
                let victim = living[1 + sim.draw(living.len() - 1)];
                sim.kill(victim);
            }
            sim.run(Duration::from_millis(250));
            for (asker, token, round, until) in &open {
                let late = sim.now() >= *until && sim.living().contains(asker);
                assert!(!late || sim.answers(*asker, *token).len() == 1, "seed {seed}, round {round}: late");
            }
        }
        sim.run(WAIT + Duration::from_secs(1));
        let living = sim.living();
        open.retain(|(asker, ..)| living.contains(asker));
        let mut good = 0;
        for (asker, token, round, _) in &open {
            match sim.answers(*asker, *token) {
                [Answer::Response(payload)] => {
                    assert_eq!(payload, &round.to_le_bytes());
                    good += 1;
                }
                [Answer::Failed(_)] => {}
                other => panic!("seed {seed}, round {round}: {other:?}"),
            }
        }
        println!("seed {seed}, {way:?}: {good} of {} answered", open.len());
        assert!(good * 10 >= open.len() * 9, "seed {seed}: only {good} of {} answered", open.len());
        assert!(living.iter().all(|peer| sim.node(*peer).messages().passing() == 0), "seed {seed}");
    }
}
