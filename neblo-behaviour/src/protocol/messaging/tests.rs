//! What a neighbour can fill, filled.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::protocol::interface::Passage;
use crate::protocol::io::Sink;
use crate::sim::StandInKeys;

const NEXT: u32 = 1;
const FLOODER: u32 = 2;
const HONEST: u32 = 3;

/// Keeps what goes out.
#[derive(Default)]
struct Out {
    sent: Vec<(u32, MessagingMessage)>,
    events: Vec<MessagingEvent<u32>>,
    timers: usize,
}

impl Sink<u32, Messaging<u32>> for Out {
    fn send(&mut self, to: &Contact<u32>, message: MessagingMessage) {
        self.sent.push((to.peer, message));
    }
    fn arm(&mut self, _: Duration, _: MessagingTimer) {
        self.timers += 1;
    }
    fn emit(&mut self, event: MessagingEvent<u32>) {
        self.events.push(event);
    }
}

struct Bench {
    messaging: Messaging<u32>,
    out: Out,
    rng: ChaCha8Rng,
    now: Time,
    here: bool,
}

impl Bench {
    fn new(here: bool) -> Self {
        let messaging = Messaging::new(ReturnWay::Tracks, 1 << 40);
        Self { messaging, out: Out::default(), rng: ChaCha8Rng::seed_from_u64(1), now: Time(1), here }
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Messaging<u32>, &mut MessagingCtx<'_, u32>, &Around<'_, u32>) -> T,
    ) -> T {
        let here = self.here;
        let route = |_| if here { Way::Here } else { Way::Next(Contact::bare(NEXT)) };
        let around = Around { route: &route, keys: &StandInKeys::new(0) };
        let mut ctx = Ctx { now: self.now, unix: 0, rng: &mut self.rng, out: &mut self.out };
        work(&mut self.messaging, &mut ctx, &around)
    }

    /// A request of so many bytes; whether it was refused as overloaded.
    fn ask(&mut self, from: u32, port: u16, bytes: usize) -> bool {
        let payload = Payload::new(vec![0; bytes]).unwrap();
        let (to, track) = (OverlayAddr(7), 9);
        let request = Request { track, port, to, copy: 0, hops: 9, wait: 60_000, last: false, payload, onion: None };
        self.with(|messaging, ctx, around| messaging.received(ctx, around, from, MessagingMessage::Request(request)));
        let last = self.out.sent.last();
        matches!(last, Some((to, MessagingMessage::NoResponse(no))) if *to == from && no.reason == 5)
    }
}

#[test]
fn tracks_of_a_neighbour_are_capped_and_another_has_its_own() {
    let mut bench = Bench::new(false);
    let refused = (0..5_000).filter(|_| bench.ask(FLOODER, 2_000, 0)).count();
    assert_eq!((refused, bench.messaging.tracks()), (5_000 - 4_096, 4_096));
    assert!(!bench.ask(HONEST, 2_000, 0));
    assert!(bench.out.timers <= 2, "one a bucket");
}

#[test]
fn answers_owed_are_shared() {
    let mut bench = Bench::new(true);
    let refused = (0..2_000).filter(|_| bench.ask(FLOODER, 2_000, 0)).count();
    assert_eq!((refused, bench.messaging.owed()), (2_000 - 1_024, 1_024));
    bench.out.sent.clear();
    for _ in 0..512 {
        assert!(!bench.ask(HONEST, 2_000, 0));
    }
    // Each took the place of one of the flooder's, which was told so.
    assert_eq!((bench.messaging.owed(), bench.out.sent.len()), (1_024, 512));
    assert!(bench.out.sent.iter().all(|(to, _)| *to == FLOODER));
    assert!(bench.ask(HONEST, 2_000, 0), "half is its share");
    // Once their askers wait no longer they are forgotten.
    bench.now = Time(62_000_000);
    let bucket = bench.now.0 / 250_000;
    bench.with(|messaging, ctx, around| messaging.expired(ctx, around, MessagingTimer::Owed(bucket)));
    assert_eq!(bench.messaging.owed(), 0);
}

#[test]
fn requests_to_neblo_itself_have_a_rate() {
    let mut bench = Bench::new(true);
    let refused = (0..1_000).filter(|_| bench.ask(FLOODER, 0, 0)).count();
    assert_eq!(refused, 1_000 - 256);
    assert!(!bench.ask(HONEST, 0, 0));
}

#[test]
fn what_waits_for_forwarders_is_capped_by_port_in_all_and_in_bytes() {
    let mut bench = Bench::new(false);
    for port in 2_000..2_040 {
        bench.messaging.set_forwarder(port, Passing::Request, true);
    }
    let refused = (0..100).filter(|_| bench.ask(FLOODER, 2_000, 0)).count();
    assert_eq!((refused, bench.messaging.passing()), (36, 64));
    assert!(!bench.ask(HONEST, 2_000, 0));
    assert_eq!(bench.messaging.passing(), 64);
    for port in 2_001..2_040 {
        for _ in 0..64 {
            bench.ask(FLOODER, port, 0);
        }
    }
    assert_eq!(bench.messaging.passing(), 1_024);
    assert!(!bench.ask(HONEST, 2_039, 0));
    // Of the largest no more than 16 MiB, and a small share finds place among them all the same.
    let mut bench = Bench::new(false);
    for port in 2_000..2_040 {
        bench.messaging.set_forwarder(port, Passing::Request, true);
        for _ in 0..16 {
            bench.ask(FLOODER, port, 64 * 1024);
        }
    }
    assert_eq!(bench.messaging.passing(), 256);
    assert!(!bench.ask(HONEST, 2_000, 64 * 1024));
    assert_eq!(bench.messaging.passing(), 256);
    // Decisions that come for what gave way, or twice, are dropped.
    let names: Vec<u64> = bench.out.events.iter().filter_map(name).collect();
    for pass in names.iter().chain(&names) {
        bench.with(|messaging, ctx, around| messaging.pass(ctx, around, *pass, Ok(Passage::Suppress)));
    }
    assert_eq!(bench.messaging.passing(), 0);
}

fn name(event: &MessagingEvent<u32>) -> Option<u64> {
    match event {
        MessagingEvent::Passing { pass, .. } => Some(*pass),
        _ => None,
    }
}

#[test]
fn requests_of_our_own_leave_room_for_neblos() {
    let mut bench = Bench::new(false);
    let mut ask = |port| {
        let recipients = Recipients::First(1);
        let (to, wait) = (OverlayAddr(7), Duration::from_secs(9));
        let asking = Asking { token: 1, recipients, port, to, payload: vec![], wait, via: None };
        bench.with(|messaging, ctx, around| messaging.request(ctx, around, asking))
    };
    assert_eq!((0..1_100).filter(|_| ask(2_000).is_ok()).count(), 960);
    assert_eq!((0..100).filter(|_| ask(0).is_ok()).count(), 64);
    bench.with(|messaging, _, _| messaging.cancel(1));
    assert_eq!((bench.messaging.open(), bench.messaging.tracks()), (0, 0));
    assert_eq!(bench.out.timers, 2, "one for all deadlines, one for all tracks");
}
