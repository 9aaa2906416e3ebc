//! Liveness of links (design D14): traffic counts, an idle link is probed, three probes without an answer are a death.
//!
//! Liveness belongs to links, not to paths: one probe serves the ring, the subgroup and every path over the link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::record;
use super::io::{Contact, Ctx, Part, Peer, Time};

/// Idle time after which a link that carries streams, whose bytes count as life, is probed. choice
pub(super) const PROBE_BUSY_AFTER: Duration = Duration::from_millis(750);
/// A peer that was heard of this lately is not suspected. choice: a round trip or two
const JUST_NOW: Duration = Duration::from_millis(250);
/// Shortest time-out of a probe (design D2).
const SHORTEST: Duration = Duration::from_millis(400);
/// Longest time-out of a probe. choice
const LONGEST: Duration = Duration::from_secs(3);
/// The same on a link that carries streams. choice: whoever waits for a stream waits for this, and the link lives as long as
/// anything comes within three of them, however late the answer to one probe
const LONGEST_BUSY: Duration = Duration::from_millis(700);
/// Time-out while nothing is known of the link. choice
const FIRST: Duration = Duration::from_millis(1_000);
/// Unanswered probes, or failed dials, that are a death (design D2).
const STRIKES: u8 = 3;
/// Time between dials of a watched peer that cannot be reached. choice
const REDIAL: Duration = Duration::from_millis(500);

record! {
    /// A probe, or the answer to one.
    pub struct LinkMessage {
        1 => nonce: u64,
        2 => answer: bool,
    }
}

/// A link is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkTimer<P> {
    peer: P,
    generation: u64,
}

impl<P: Peer> LinkTimer<P> {
    /// The peer whose link it is.
    pub fn peer(&self) -> P {
        self.peer
    }
}

/// What links report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent<P> {
    /// The peer is taken for dead.
    Dead(P),
}

#[derive(Clone, Debug)]
struct Link<P> {
    contact: Contact<P>,
    /// Whether someone here wants to know when it dies.
    watched: bool,
    busy: bool,
    heard: Time,
    probe: Option<(u64, Time)>,
    strikes: u8,
    /// Something ended that went over it, and nothing was heard of it since.
    suspected: bool,
    /// Smoothed round-trip time and its deviation, in microseconds (RFC 6298).
    round_trip: Option<(u64, u64)>,
    generation: u64,
}

/// The links of a node to its neighbours.
#[derive(Clone, Debug)]
pub struct Links<P> {
    links: BTreeMap<P, Link<P>>,
    next: u64,
    /// Idle time after which a link is probed, unless it carries streams.
    probe_after: Duration,
}

impl<P: Peer> Part<P> for Links<P> {
    type Message = LinkMessage;
    type Timer = LinkTimer<P>;
    type Event = LinkEvent<P>;
}

type LinkCtx<'a, P> = Ctx<'a, P, Links<P>>;

impl<P: Peer> Links<P> {
    /// No links yet; one that is idle for `probe_after` is probed.
    pub fn new(probe_after: Duration) -> Self {
        Self { links: BTreeMap::new(), next: 0, probe_after }
    }

    /// Starts or stops watching a peer; `busy` when its link carries streams.
    pub fn watch(&mut self, ctx: &mut LinkCtx<'_, P>, contact: &Contact<P>, busy: bool) {
        let next = self.next_number();
        let idle_limit = self.idle_limit(busy);
        let link = self.links.entry(contact.peer).or_insert_with(|| Link {
            contact: contact.clone(),
            watched: false,
            busy,
            // Nothing was heard yet, so it is probed at once: a connection may be left over from a peer that is gone.
            heard: Time(0),
            probe: None,
            strikes: 0,
            suspected: false,
            round_trip: None,
            generation: next,
        });
        if contact.has_addresses() {
            link.contact = contact.clone();
        }
        let sooner = busy && !link.busy;
        link.busy = busy;
        if !link.watched || sooner {
            link.watched = true;
            link.generation = next;
            let new = link.heard == Time(0);
            let after = if new || link.probe.is_some() { Duration::ZERO } else { idle_limit };
            ctx.out.arm(after, LinkTimer { peer: contact.peer, generation: next });
        }
    }

    /// Something that went over a peer has ended: it is probed at once, as if its link carried streams, unless it was heard
    /// of just now.
    pub fn suspect(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) {
        let next = self.next_number();
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.watched && !link.suspected) else { return };
        if ctx.now.since(link.heard) < JUST_NOW {
            return;
        }
        link.suspected = true;
        if link.probe.is_none() {
            link.generation = next;
            ctx.out.arm(Duration::ZERO, LinkTimer { peer, generation: next });
        }
    }

    /// The connection to a watched peer closed: a death if it was heard of lately. If not, the connection may have been left
    /// over, closed long ago at an end that could not say so: then it is dialled once more. Whether it is taken for dead.
    pub fn closed(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) -> bool {
        let next = self.next_number();
        let probe_after = self.probe_after;
        let Some(link) = self.links.get_mut(&peer) else { return true };
        if link.strikes == 0 && link.heard != Time(0) && ctx.now.since(link.heard) < probe_after {
            return true;
        }
        (link.strikes, link.probe, link.generation) = (STRIKES - 1, None, next);
        ctx.out.arm(Duration::ZERO, LinkTimer { peer, generation: next });
        false
    }

    /// Stops watching a peer.
    pub fn forget(&mut self, peer: P) {
        self.links.remove(&peer);
    }

    /// Whether a peer is watched.
    pub fn is_watched(&self, peer: P) -> bool {
        self.links.contains_key(&peer)
    }

    /// Anything arrived from a peer, at this time.
    pub fn heard(&mut self, at: Time, peer: P) {
        if let Some(link) = self.links.get_mut(&peer).filter(|link| link.heard < at) {
            link.heard = at;
            link.strikes = 0;
            link.suspected = false;
        }
    }

    /// A probe or an answer arrived.
    pub fn received(&mut self, ctx: &mut LinkCtx<'_, P>, from: P, message: LinkMessage) {
        if !message.answer {
            let answer = LinkMessage { nonce: message.nonce, answer: true };
            return ctx.out.send(&Contact::bare(from), answer);
        }
        let Some(link) = self.links.get_mut(&from) else { return };
        if let Some((_, sent)) = link.probe.take_if(|(nonce, _)| *nonce == message.nonce) {
            let sample = u64::try_from(ctx.now.since(sent).as_micros()).unwrap_or(u64::MAX);
            link.round_trip = Some(smoothed(link.round_trip, sample));
        }
    }

    /// The connection is there: a probe that waited for it is timed from now on.
    pub fn connected(&mut self, now: Time, peer: P) {
        if let Some((_, sent)) = self.links.get_mut(&peer).and_then(|link| link.probe.as_mut()) {
            *sent = now;
        }
    }

    /// A dial failed: not a death, but three in a row are taken for one, because nothing else would ever tell.
    pub fn unreachable(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) {
        let next = self.next_number();
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.strikes += 1;
        if link.strikes >= STRIKES {
            self.links.remove(&peer);
            return ctx.out.emit(LinkEvent::Dead(peer));
        }
        link.probe = None;
        link.generation = next;
        ctx.out.arm(REDIAL, LinkTimer { peer, generation: next });
    }

    /// A link is looked at.
    pub fn expired(&mut self, ctx: &mut LinkCtx<'_, P>, timer: LinkTimer<P>) {
        let next = self.next_number();
        let nonce = ctx.rng.next_u64();
        let probe_after = self.probe_after;
        let Some(link) = self.links.get_mut(&timer.peer).filter(|link| link.generation == timer.generation) else {
            return;
        };
        if let Some((_, sent)) = link.probe {
            if link.heard > sent {
                link.probe = None;
            } else {
                link.strikes += 1;
                if link.strikes >= STRIKES {
                    self.links.remove(&timer.peer);
                    return ctx.out.emit(LinkEvent::Dead(timer.peer));
                }
            }
        }
        let idle = ctx.now.since(link.heard);
        let limit = if link.busy { PROBE_BUSY_AFTER } else { probe_after };
        let limit = if link.suspected { Duration::ZERO } else { limit };
        link.generation = next;
        let after = if link.strikes == 0 && idle < limit && link.heard != Time(0) {
            limit - idle
        } else {
            link.probe = Some((nonce, ctx.now));
            ctx.out.send(&link.contact, LinkMessage { nonce, answer: false });
            time_out(link.round_trip, link.busy || link.suspected)
        };
        ctx.out.arm(after, LinkTimer { peer: timer.peer, generation: next });
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn idle_limit(&self, busy: bool) -> Duration {
        if busy { PROBE_BUSY_AFTER } else { self.probe_after }
    }
}

/// A rise as by RFC 6298. A fall is believed sooner: probes are rare, and what a node measured while it was starting, or its
/// machine was busy, would decide minutes later how long a death goes unnoticed.
fn smoothed(known: Option<(u64, u64)>, sample: u64) -> (u64, u64) {
    match known {
        None => (sample, sample / 2),
        Some((mean, deviation)) if sample < mean => (mean.midpoint(sample), deviation / 2),
        Some((mean, deviation)) => ((mean * 7 + sample) / 8, (deviation * 3 + (sample - mean)) / 4),
    }
}

/// Mean + 4 x deviation (RFC 6298, Bamboo: research §3), within bounds.
fn time_out(round_trip: Option<(u64, u64)>, busy: bool) -> Duration {
    let longest = if busy { LONGEST_BUSY } else { LONGEST };
    let time = round_trip
        .map_or(FIRST, |(mean, deviation)| Duration::from_micros(mean.saturating_add(deviation.saturating_mul(4))));
    time.clamp(SHORTEST, longest)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::protocol::io::Sink;

    #[test]
    fn a_slow_start_is_soon_forgotten_and_a_slow_link_is_given_its_time() {
        let after = |samples: &[u64]| {
            time_out(samples.iter().fold(None, |known, sample| Some(smoothed(known, *sample))), false)
        };
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
    struct Out(Vec<LinkEvent<u32>>);

    impl Sink<u32, Links<u32>> for Out {
        fn send(&mut self, _: &Contact<u32>, _: LinkMessage) {}
        fn arm(&mut self, _: Duration, _: LinkTimer<u32>) {}
        fn emit(&mut self, event: LinkEvent<u32>) {
            self.0.push(event);
        }
    }

    /// A link to peer 7 that was heard of at `heard` seconds and closes at 100: whether that is a death, and after one dial
    /// that fails, and after one that is answered and another that fails.
    fn closes(heard: u64) -> (bool, bool, bool) {
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let (mut links, mut out) = (Links::new(Duration::from_secs(5)), Out::default());
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut ctx = Ctx { now: at(1), unix: 0, rng: &mut rng, out: &mut out };
        links.watch(&mut ctx, &Contact::bare(7), false);
        links.heard(at(heard), 7);
        ctx.now = at(100);
        let dead = links.closed(&mut ctx, 7);
        let mut answered = links.clone();
        links.unreachable(&mut ctx, 7);
        let unreachable = !links.is_watched(7);
        answered.heard(at(101), 7);
        answered.unreachable(&mut ctx, 7);
        (dead, unreachable, !answered.is_watched(7))
    }

    #[test]
    fn a_connection_in_use_that_closes_is_a_death_and_one_left_over_is_dialled_once() {
        assert!(closes(96).0);
        assert_eq!(closes(90), (false, true, false));
        assert_eq!(closes(0), (false, true, false));
    }
}
