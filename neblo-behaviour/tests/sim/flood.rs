//! A flood from one neighbour starves no other.

use super::messaging::{PORT, handler, owner, ring_of};
use super::*;
use neblo_behaviour::OverlayAddr;
use neblo_behaviour::protocol::interface::{Answer, Command, Event, HandlerKind, Passage, Recipients};
use neblo_behaviour::protocol::messaging::{Message, MessagingMessage, ONION, Request, Response};
use neblo_behaviour::protocol::ring::Hop;
use neblo_behaviour::protocol::wire::Frame;

/// What honest neighbours send a second.
const HONEST: u64 = 20;
/// How long a forwarder and a receiver take over one message.
const WORK: Duration = Duration::from_millis(200);

/// A peer, and an address for which its first hop is `through`.
fn passer(sim: &mut Simulation, through: u32, but: u32) -> (u32, OverlayAddr) {
    loop {
        let living = sim.living();
        let asker = living[sim.draw(living.len())];
        let to = OverlayAddr::hash(&[&sim.draw(1 << 30).to_le_bytes()]);
        let node = sim.node(asker);
        let first = node.ring().route(to, node.fingers());
        let passes = matches!(first, Hop::Next(next) if next.peer == through) && owner(sim, to) != through;
        if passes && asker != through && asker != but {
            return (asker, to);
        }
    }
}

/// A frame of a flood: messages, requests that pass a forwarder, that pass none, that stay, and responses to nothing.
fn bad(sim: &mut Simulation, at: u64, here: OverlayAddr) -> MessagingMessage {
    let to = OverlayAddr::hash(&[&at.to_le_bytes()]);
    let payload = neblo_behaviour::protocol::Blob::new(b"flood".to_vec()).unwrap();
    let (track, hops, copy, wait) = (sim.draw(usize::MAX) as u64, 150, 0, 60_000);
    let message = |port, to| MessagingMessage::Message(Message { port, to, copy, hops, payload: payload.clone() });
    let request = |port, to| {
        let payload = payload.clone();
        MessagingMessage::Request(Request { track, port, to, copy, hops, wait, last: false, payload, onion: None })
    };
    match at % 8 {
        0 => message(PORT, to),
        1 => message(PORT + 1, to),
        2 | 3 => request(PORT, to),
        4 => request(PORT + 1, to),
        5 | 6 => request(PORT, here),
        _ => {
            let onion = (at % 16 == 7).then(|| Box::new([at as u8; ONION]));
            MessagingMessage::Response(Response { track, payload: payload.clone(), onion })
        }
    }
}

struct Outcome {
    good: usize,
    sent: usize,
    /// The most that waited for a forwarder, was owed, and tracks there were.
    most: (usize, usize, usize),
}

fn run(seed: u64, times: u64, way: ReturnWay) -> Outcome {
    let mut sim = ring_of(seed, 32, Config::default().with_return_way(way));
    let (victim, flooder) = (5, 9);
    let here = sim.node(victim).address().unwrap();
    for kind in [HandlerKind::MessageForwarder, HandlerKind::RequestForwarder, HandlerKind::ResponseForwarder] {
        handler(&mut sim, victim, kind, true);
    }
    sim.set_application(Box::new(move |peer: u32, event: &Event<u32>| match event {
        Event::Passing { pass, payload, .. } => {
            Some(vec![(WORK, Command::Pass { pass: *pass, passage: Ok(Passage::Forward(payload.clone())) })])
        }
        // The victim never gets round to answering the flood.
        Event::Asked { payload, .. } if peer == victim && payload == b"flood" => Some(Vec::new()),
        Event::Asked { ask, payload, .. } => {
            Some(vec![(WORK, Command::Respond { ask: *ask, payload: Ok(payload.clone()) })])
        }
        _ => None,
    }));
    let mut open = Vec::new();
    let mut most = (0, 0, 0);
    for tick in 0..10 * HONEST {
        let (asker, to) = passer(&mut sim, victim, flooder);
        // Through the victim, and to it.
        let to = if tick % 2 == 0 { to } else { here };
        let token = sim.command(asker, |token| Command::Request {
            token,
            recipients: Recipients::First(1),
            port: PORT,
            to,
            payload: b"honest".to_vec(),
            timeout: Duration::from_secs(5),
        });
        open.push((asker, token));
        for nth in 0..times {
            let frame = Frame::Messaging(bad(&mut sim, tick * times + nth, here));
            sim.inject(flooder, victim, frame);
            sim.run(Duration::from_micros(1_000_000 / HONEST / times));
        }
        if times == 0 {
            sim.run(Duration::from_millis(1_000 / HONEST));
        }
        let messages = sim.node(victim).messages();
        most = (most.0.max(messages.passing()), most.1.max(messages.owed()), most.2.max(messages.tracks()));
    }
    sim.run(Duration::from_secs(6));
    let good = open.iter().filter(|(asker, token)| matches!(sim.answers(*asker, *token), [Answer::Response(_)]));
    Outcome { good: good.count(), sent: open.len(), most }
}

#[test]
fn honest_neighbours_are_served_while_one_floods() {
    let (tracks, onions) = (ReturnWay::Tracks, ReturnWay::Onions);
    for (times, way) in [(0, tracks), (10, tracks), (100, tracks), (100, onions)] {
        let Outcome { good, sent, most } = run(500, times, way);
        println!(
            "a neighbour floods at {times} times the honest rate of {HONEST}/s: {good} of {sent} honest requests answered ({way:?}); \
             at most {} wait for the forwarder, {} are owed, {} tracks",
            most.0, most.1, most.2
        );
        assert!(good * 100 >= sent * 95, "{times} times: {good} of {sent}");
        assert!(most.0 <= 64 && most.1 <= 1_024 && most.2 <= 4_096 + 512, "{most:?}");
    }
}

#[test]
fn a_neighbour_has_no_more_carried_on_than_its_rate() {
    let mut sim = ring_of(510, 32, Config::default().with_carry_rate(100 * 517));
    let (victim, flooder) = (5, 9);
    sim.run(Duration::from_secs(5));
    let before = sim.frames["messaging"];
    for at in 0..5_000u64 {
        let frame = Frame::Messaging(bad(&mut sim, at * 8 + 1, OverlayAddr(0)));
        sim.inject(flooder, victim, frame);
        sim.run(Duration::from_millis(1));
    }
    // A hundred a second and a second's worth at once, each over a few hops, and what the ring asks for itself.
    let carried = sim.frames["messaging"] - before;
    println!("of 5,000 messages in 5 s at a rate of 100/s, {carried} frames were carried");
    assert!(carried < 600 * 6, "{carried}");
}
