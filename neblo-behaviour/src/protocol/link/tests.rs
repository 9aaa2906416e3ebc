use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::protocol::io::Sink;

#[test]
fn a_slow_start_is_soon_forgotten_and_a_slow_link_is_given_its_time() {
    let after =
        |samples: &[u64]| time_out(samples.iter().fold(None, |known, sample| Some(smoothed(known, *sample))), false);
    assert_eq!(after(&[]), FIRST);
    assert_eq!(time_out(Some((1_000_000, 500_000)), true), LONGEST_BUSY);
    assert_eq!(after(&[1_000_000]), LONGEST);
    assert!(after(&[1_000_000, 1_000, 1_000, 1_000]) < Duration::from_millis(500));
    assert_eq!(after(&[1_000; 5]), SHORTEST);
    // Between 300 and 500 ms, one after the other.
    let slow: Vec<u64> = [300_000, 500_000].into_iter().cycle().take(40).collect();
    assert!(after(&slow) > Duration::from_millis(550), "{:?}", after(&slow));
}

#[derive(Default)]
struct Out {
    timers: Vec<(Time, LinkTimer<u32>)>,
    events: Vec<LinkEvent<u32>>,
    now: Time,
}

impl Sink<u32, Links<u32>> for Out {
    fn send(&mut self, _: &Contact<u32>, _: LinkMessage) {}
    fn arm(&mut self, after: Duration, timer: LinkTimer<u32>) {
        self.timers.push((self.now + after, timer));
    }
    fn emit(&mut self, event: LinkEvent<u32>) {
        self.events.push(event);
    }
}

fn at(links: &mut Links<u32>, out: &mut Out, now: Time, act: impl FnOnce(&mut Links<u32>, &mut LinkCtx<'_, u32>)) {
    let mut rng = StdRng::seed_from_u64(1);
    out.now = now;
    act(links, &mut Ctx { now, unix: 0, rng: &mut rng, out });
}

/// Until `end`, or the next event.
fn run(links: &mut Links<u32>, out: &mut Out, end: Time) -> Option<(Time, LinkEvent<u32>)> {
    loop {
        if let Some(event) = out.events.pop() {
            return Some((out.now, event));
        }
        out.timers.sort();
        let due = *out.timers.first().filter(|(due, _)| *due <= end)?;
        out.timers.remove(0);
        at(links, out, due.0, |links, ctx| links.expired(ctx, due.1));
    }
}

const SECOND: u64 = 1_000_000;

/// Peer 7, whose answers take a millisecond, heard of last at ten seconds.
fn quick() -> (Links<u32>, Out) {
    let (mut links, mut out) = (Links::new(Duration::from_secs(5)), Out::default());
    at(&mut links, &mut out, Time(SECOND), |links, ctx| links.watch(ctx, &Contact::bare(7), LinkUse::Neighbour));
    links.heard(Time(2 * SECOND), 7);
    links.links.get_mut(&7).unwrap().round_trip = Some((1_000, 100));
    links.heard(Time(10 * SECOND), 7);
    (links, out)
}

#[test]
fn a_peer_whose_stream_was_cut_is_dead_soon_though_it_was_heard_of_just_before() {
    let (mut links, mut out) = quick();
    at(&mut links, &mut out, Time(10 * SECOND + 1_000), |links, ctx| links.suspect(ctx, 7));
    // The last bytes of the stream are told of later than its end.
    links.heard(Time(10 * SECOND + 500), 7);
    let (silent, event) = run(&mut links, &mut out, Time(20 * SECOND)).unwrap();
    assert_eq!(event, LinkEvent::Silent(7));
    assert!(silent < Time(10 * SECOND + 700_000), "{silent:?}");
    let silent_again = run(&mut links, &mut out, Time(20 * SECOND)).unwrap();
    assert_eq!(silent_again.1, LinkEvent::Silent(7));
    let (dead, event) = run(&mut links, &mut out, Time(20 * SECOND)).unwrap();
    assert_eq!(event, LinkEvent::Dead(7));
    assert!(dead < Time(11 * SECOND + 500_000), "{dead:?}");
}

#[test]
fn a_peer_that_others_miss_is_dead_after_one_probe_and_alive_if_it_answers() {
    let (mut links, mut out) = quick();
    at(&mut links, &mut out, Time(11 * SECOND), |links, ctx| links.missed(ctx, 7));
    let mut alive = (links.clone(), Out { timers: out.timers.clone(), ..Out::default() });
    let (silent, event) = run(&mut links, &mut out, Time(20 * SECOND)).unwrap();
    assert_eq!(event, LinkEvent::Dead(7));
    assert!(silent < Time(11 * SECOND + 500_000), "{silent:?}");
    // The probe goes out at once; anything that is heard after that is an answer.
    assert_eq!(run(&mut alive.0, &mut alive.1, Time(11 * SECOND)), None);
    alive.0.heard(Time(11 * SECOND + 2_000), 7);
    assert_eq!(run(&mut alive.0, &mut alive.1, Time(15 * SECOND)), None);
}

#[test]
fn a_peer_that_is_heard_of_is_suspected_no_more() {
    let (mut links, mut out) = quick();
    at(&mut links, &mut out, Time(10 * SECOND + 1_000), |links, ctx| links.awaits(ctx, 7));
    links.heard(Time(10 * SECOND + 2_000), 7);
    assert_eq!(run(&mut links, &mut out, Time(15 * SECOND)), None);
}

#[test]
fn a_probe_on_its_way_has_less_time_once_somebody_waits() {
    let (mut links, mut out) = quick();
    links.links.get_mut(&7).unwrap().round_trip = Some((1_000_000, 500_000));
    // Probed for being idle, with three seconds to answer.
    assert_eq!(run(&mut links, &mut out, Time(15 * SECOND + 100_000)), None);
    at(&mut links, &mut out, Time(15 * SECOND + 100_000), |links, ctx| links.suspect(ctx, 7));
    let (silent, _) = run(&mut links, &mut out, Time(20 * SECOND)).unwrap();
    assert_eq!(silent, Time(15 * SECOND + 700_000));
}

/// A link to peer 7 that was heard of at `heard` seconds and closes at 100: whether that is a death, and after one dial
/// that fails, and after one that is answered and another that fails.
fn closes(heard: u64) -> (bool, bool, bool) {
    let seconds = |seconds: u64| Time(seconds * SECOND);
    let (mut links, mut out) = (Links::new(Duration::from_secs(5)), Out::default());
    at(&mut links, &mut out, seconds(1), |links, ctx| links.watch(ctx, &Contact::bare(7), LinkUse::Neighbour));
    links.heard(seconds(heard), 7);
    let mut dead = false;
    at(&mut links, &mut out, seconds(100), |links, ctx| dead = links.closed(ctx, 7));
    let mut answered = links.clone();
    at(&mut links, &mut out, seconds(100), |links, ctx| links.unreachable(ctx, 7));
    let unreachable = !links.is_watched(7);
    answered.heard(seconds(101), 7);
    at(&mut answered, &mut out, seconds(101), |links, ctx| links.unreachable(ctx, 7));
    (dead, unreachable, !answered.is_watched(7))
}

#[test]
fn a_connection_in_use_that_closes_is_a_death_and_one_left_over_is_dialled_once() {
    assert!(closes(96).0);
    assert_eq!(closes(90), (false, true, false));
    assert_eq!(closes(0), (false, true, false));
}
