//! Handlers over real sockets: what they may do, and that they hold up nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use neblo_behaviour::protocol::ReturnWay;
use neblo_behaviour::protocol::interface::{Ownership, Passage, Passing};
use neblo_behaviour::swarm::{Ask, Delivery, Responder, ResponseHandle, Transit};

use super::*;

const PORT: u16 = 2_000;
const WAIT: Duration = Duration::from_secs(10);

/// Answers requests with their own payload.
fn echo(_: &Handle, ask: Ask, responder: Responder) {
    responder.respond(Some(ask.payload));
}

async fn address(host: &Host) -> OverlayAddr {
    in_time(host.handle.address()).await.unwrap().unwrap()
}

async fn counter(host: &Host, name: &str) -> u64 {
    let counters = host.handle.status().await.unwrap().counters;
    counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
}

async fn ask(host: &Host, to: OverlayAddr, payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let asked = host.handle.request(1, PORT, to, payload.to_vec(), WAIT).await?;
    in_time(asked.wait()).await
}

/// Panics, without the text that a panic prints.
fn panics(_: &Handle, _: Ask, _: Responder) {
    std::panic::resume_unwind(Box::new("on purpose"));
}

/// Hosts by their place on the ring.
type Ring<'a> = [(OverlayAddr, &'a Host)];

/// Asks around until a request has passed through somebody, as `passed` knows by its answer: asker, owner, and the answer. A
/// finger may lead straight to an owner, and fingers come and go.
async fn ask_past<'a>(
    ring: &Ring<'a>,
    payload: &[u8],
    passed: impl Fn(&Result<Vec<u8>, Failure>) -> bool,
) -> (&'a Host, &'a Host, Vec<u8>) {
    let work = async {
        loop {
            for (at, (_, asker)) in ring.iter().enumerate() {
                // An asker knows the eight owners after it.
                for (to, owner) in ring.iter().cycle().skip(at + 9).take(ring.len() - 9) {
                    let answer = ask(asker, *to, payload).await;
                    if passed(&answer) {
                        return (*asker, *owner, answer.unwrap_or_default());
                    }
                }
            }
        }
    };
    in_time(work).await
}

#[tokio::test]
async fn forwarders_change_suppress_and_answer_what_passes() {
    let hosts = network(16, Config::default().with_subgroups(false)).await;
    let mut ring = Vec::new();
    for host in &hosts {
        ring.push((address(host).await, host));
        host.handle.set_request_receiver(PORT, echo).await.unwrap();
    }
    ring.sort_by_key(|(address, _)| *address);
    let (to, owner) = ring[10];
    // What belongs to its range may still be on its way to it.
    let settled = async {
        while owner.handle.owns(to).await == Ok(Ownership::Changing) {
            tokio::task::yield_now().await;
        }
    };
    in_time(settled).await;
    assert_eq!(owner.handle.owns(to).await, Ok(Ownership::Yes));
    assert_eq!(ring[0].1.handle.owns(to).await, Ok(Ownership::No));
    assert_eq!(ask(ring[0].1, to, b"q").await, Ok(b"q".to_vec()));

    let seen = Arc::new(Mutex::new(Vec::new()));
    for (at, host) in &ring {
        let (seen, at) = (seen.clone(), *at);
        let forwarder = move |_: &Handle, mut transit: Transit| match &transit.payload[..] {
            b"suppress" => Passage::Suppress,
            b"answer" => Passage::Answer(b"cached".to_vec()),
            _ => {
                seen.lock().unwrap().push((at, transit.kind, transit.to, transit.copy));
                transit.payload.push(b'>');
                Passage::Forward(transit.payload)
            }
        };
        host.handle.set_request_forwarder(PORT, forwarder).await.unwrap();
    }
    let (asker, owner, answer) = ask_past(&ring, b"q", |answer| answer.as_ref().unwrap().len() > 1).await;
    let hops = std::mem::take(&mut *seen.lock().unwrap());
    let (from, to) = (address(asker).await, address(owner).await);
    assert_eq!(answer, [&b"q"[..], &vec![b'>'; hops.len()]].concat(), "{hops:?}");
    assert!(hops.iter().all(|(at, kind, known, copy)| {
        ![from, to].contains(at) && (*kind, *known, *copy) == (Passing::Request, to, 0)
    }));
    ask_past(&ring, b"suppress", |answer| *answer == Err(Failure::Suppressed)).await;
    ask_past(&ring, b"answer", |answer| *answer == Ok(b"cached".to_vec())).await;

    for (_, host) in &ring {
        host.handle.clear_handlers(PORT).await.unwrap();
        host.handle.set_request_receiver(PORT, echo).await.unwrap();
        let back = |_: &Handle, transit: Transit| Passage::Forward([&transit.payload[..], b"<"].concat());
        host.handle.set_response_forwarder(PORT, back).await.unwrap();
    }
    ask_past(&ring, b"q", |answer| {
        let answer = answer.as_ref().unwrap();
        answer.len() > 1 && answer[1..].iter().all(|byte| *byte == b'<')
    })
    .await;

    // Messages: seen on their way by one handler, delivered to another, which sends on in its turn.
    let mut arrived = hosts[0].handle.message_receiver(PORT).await.unwrap();
    let home = address(&hosts[0]).await;
    for host in &hosts[1..] {
        let forward = |_: &Handle, transit: Transit| Passage::Forward([&transit.payload[..], b"!"].concat());
        host.handle.set_message_forwarder(PORT, forward).await.unwrap();
        let reply = move |handle: &Handle, delivery: Delivery| {
            let text = [&b"re: "[..], &delivery.payload].concat();
            handle.try_send(1, PORT, home, text).unwrap();
        };
        host.handle.set_message_receiver(PORT, reply).await.unwrap();
    }
    let passed = async {
        loop {
            for (to, _) in ring.iter().filter(|(to, _)| *to != home) {
                hosts[0].handle.send(1, PORT, *to, b"hello".to_vec()).await.unwrap();
                let came = arrived.next().await.unwrap().payload;
                assert!(came.starts_with(b"re: hello"), "{came:?}");
                if came.starts_with(b"re: hello!") {
                    return;
                }
            }
        }
    };
    in_time(passed).await;
}

#[tokio::test]
async fn a_handler_that_blocks_or_panics_holds_up_nobody_else() {
    let hosts = network(3, Config::default().with_subgroups(false)).await;
    let (asker, host) = (&hosts[1], &hosts[2]);
    let to = address(host).await;
    let entered = Arc::new(AtomicUsize::new(0));
    let inside = entered.clone();
    let blocks = move |_: &Handle, _: Delivery| {
        inside.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_secs(5));
    };
    host.handle.set_message_receiver(PORT, blocks).await.unwrap();
    host.handle.set_request_receiver(PORT + 1, panics).await.unwrap();
    host.handle.set_request_receiver(PORT + 2, echo).await.unwrap();
    // More than its queue holds.
    for _ in 0..200 {
        asker.handle.send(1, PORT, to, b"x".to_vec()).await.unwrap();
    }
    eventually(async || entered.load(Ordering::SeqCst) == 1).await;
    let began = Instant::now();
    let mut times = Vec::new();
    for round in 0..1_000u32 {
        if round % 10 == 0 {
            let asked = asker.handle.request(1, PORT + 1, to, vec![], WAIT).await.unwrap();
            assert_eq!(in_time(asked.wait()).await, Err(Failure::Refused));
        }
        let sent = Instant::now();
        let asked = asker.handle.request(1, PORT + 2, to, round.to_le_bytes().to_vec(), WAIT).await.unwrap();
        assert_eq!(in_time(asked.wait()).await, Ok(round.to_le_bytes().to_vec()));
        times.push(sent.elapsed());
    }
    let took = began.elapsed();
    times.sort();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("beside a blocking and a panicking handler: p50 {p50:?}, p99 {p99:?}, 1,000 requests in {took:?}");
    assert!(p99 < Duration::from_millis(50), "p99 {p99:?}");
    assert!(took > Duration::from_secs(5) || entered.load(Ordering::SeqCst) == 1);
    assert_eq!(counter(host, "swarm_handler_panics").await, 100);
    assert!(counter(host, "swarm_application_dropped").await >= 100);

    // Handlers replaced and removed take effect although the old one still blocks.
    host.handle.set_request_receiver(PORT + 1, echo).await.unwrap();
    let asked = asker.handle.request(1, PORT + 1, to, b"q".to_vec(), WAIT).await.unwrap();
    assert_eq!(in_time(asked.wait()).await, Ok(b"q".to_vec()));
    host.handle.clear_handlers(PORT + 1).await.unwrap();
    let asked = asker.handle.request(1, PORT + 1, to, b"q".to_vec(), WAIT).await.unwrap();
    assert_eq!(in_time(asked.wait()).await, Err(Failure::NoReceiver));
}

#[tokio::test]
async fn a_request_that_is_dropped_is_cancelled() {
    let hosts = network(2, Config::default().with_subgroups(false)).await;
    let to = address(&hosts[1]).await;
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let later = move |_: &Handle, ask: Ask, responder: Responder| {
        if ask.payload.is_empty() {
            keep.lock().unwrap().push(responder);
        } else {
            responder.respond(Some(ask.payload));
        }
    };
    hosts[1].handle.set_request_receiver(PORT, later).await.unwrap();
    // A node has 1,024 requests open at most.
    for _ in 0..40 {
        let mut asked = Vec::new();
        for _ in 0..50 {
            asked.push(hosts[0].handle.request(1, PORT, to, vec![], Duration::from_secs(100)).await.unwrap());
        }
        assert!(asked.iter_mut().all(|asked: &mut ResponseHandle| asked.test().is_none()));
    }
    assert_eq!(ask(&hosts[0], to, b"q").await, Ok(b"q".to_vec()));
    // An answer to nobody is dropped; another port, and so another handler, is untouched by all this.
    for responder in kept.lock().unwrap().drain(..) {
        responder.respond(Some(vec![1]));
    }
    assert_eq!(ask(&hosts[0], to, b"q").await, Ok(b"q".to_vec()));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let host = Host::start(Config::default()).await;
    for port in [0, 1, 1_023] {
        let set = host.handle.set_request_receiver(port, echo).await;
        assert!(matches!(set, Err(Failure::Invalid(_))));
        let set = host.handle.set_message_forwarder(port, |_: &Handle, _| Passage::Suppress).await;
        assert!(matches!(set, Err(Failure::Invalid(_))));
        assert!(matches!(host.handle.message_receiver(port).await.map(drop), Err(Failure::Invalid(_))));
    }
    // Nobody polls this one, so nothing is taken from its queue.
    let key = libp2p::identity::Keypair::generate_ed25519();
    let behaviour = Behaviour::new(&key, Config::default());
    let handle = behaviour.handle();
    let to = OverlayAddr(1);
    for _ in 0..256 {
        handle.try_send(1, PORT, to, vec![]).unwrap();
    }
    assert_eq!(handle.try_send(1, PORT, to, vec![]), Err(Failure::Overloaded));
    assert_eq!(handle.try_request(1, PORT, to, vec![], WAIT).map(drop), Err(Failure::Overloaded));
    drop(behaviour);
    assert_eq!(handle.try_send(1, PORT, to, vec![]), Err(Failure::Closed));
}

#[tokio::test]
async fn onions_bring_responses_back_past_the_same_handlers() {
    let config = Config::default().with_subgroups(false).with_return_way(ReturnWay::Onions);
    let hosts = network(16, config).await;
    let mut ring = Vec::new();
    for host in &hosts {
        ring.push((address(host).await, host));
        host.handle.set_request_receiver(PORT, echo).await.unwrap();
        let back = |_: &Handle, transit: Transit| Passage::Forward([&transit.payload[..], b"<"].concat());
        host.handle.set_response_forwarder(PORT, back).await.unwrap();
    }
    ring.sort_by_key(|(address, _)| *address);
    let (.., answer) = ask_past(&ring, b"q", |answer| answer.as_ref().unwrap().len() > 1).await;
    assert!(answer.starts_with(b"q<"));
    for host in &hosts {
        assert_eq!(counter(host, "onions that do not open").await, 0);
    }
}
