//! Liveness of links (design D14): traffic counts, an idle link is probed, three probes without an answer are a death.
//!
//! Liveness belongs to links, not to paths: one probe serves the ring, the subgroup and every path over the link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::record;
use super::io::{Contact, Ctx, Part, Peer, Time};

/// Idle time after which a link that carries streams, whose bytes count as life, is probed. choice
pub(super) const PROBE_BUSY_AFTER: Duration = Duration::from_millis(750);
/// A link on which nothing depends but what goes over it is probed after so many times the idle time of neighbours, and when something
/// does. choice: half a minute by default, as overlays with far fewer messages do (MSPastry, research §3). Of the dozens that share a path
/// with somebody, the leader that has probed it in a sixth of that is the first to know: at half of it paths were whole again 0.3 s
/// sooner, in the median (docs/evaluation.md)
const SELDOM_FACTOR: u32 = 6;
/// A peer that was heard of this lately has so much time to be heard of again before it is probed. choice: a round trip or two
const JUST_NOW: Duration = Duration::from_millis(250);
/// Time in which something comes back over a link over which a message was sent on, mostly. choice: an answer comes back the way that
/// its request went, over seven hops and back; at once every second message over a finger brought a probe and its answer with it
const COMES_BACK: Duration = Duration::from_secs(1);
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
/// Nonces of probes: an answer is told from one to an earlier probe of the same link by them, nothing more. choice: three bytes on the
/// wire in place of nine
const NONCES: u64 = 0xffff;
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
    /// A peer whose answer is waited for has not answered a probe in time.
    Silent(P),
}

/// What a link is for, the least demanding first: how soon its death must be noticed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkUse {
    /// A finger: routes lead over it now and then. Or a peer that another one watches as a neighbour, who says so when it dies: on a
    /// path, whom the leader of the subgroup watches; on the ring a successor behind the first one.
    Seldom,
    /// A neighbour on the ring, a leader, or its member.
    Neighbour,
    /// Streams, or answers that somebody waits for, go over it.
    Streams,
}

#[derive(Clone, Debug)]
struct Link<P> {
    contact: Contact<P>,
    /// Whether someone here wants to know when it dies.
    watched: bool,
    used_for: LinkUse,
    heard: Time,
    probe: Option<(u64, Time)>,
    strikes: u8,
    /// When something ended that went over it, or an answer became due: nothing was heard of it since.
    suspected: Option<Time>,
    /// Smoothed round-trip time and its deviation, in microseconds (RFC 6298).
    round_trip: Option<(u64, u64)>,
    generation: u64,
}

impl<P> Link<P> {
    /// Whoever waits for something over it waits for its probes.
    fn urgent(&self) -> bool {
        self.used_for == LinkUse::Streams || self.suspected.is_some()
    }

    /// The time that is left to a probe on its way.
    fn left(&self, now: Time) -> Option<Duration> {
        self.probe.map(|(_, sent)| time_out(self.round_trip, self.urgent()).saturating_sub(now.since(sent)))
    }

    /// The same, now that somebody waits for it.
    fn hurried(&self, now: Time) -> Option<Duration> {
        self.probe.map(|(_, sent)| time_out(self.round_trip, true).saturating_sub(now.since(sent)))
    }
}

/// The links of a node to its neighbours.
#[derive(Clone, Debug)]
pub struct Links<P> {
    links: BTreeMap<P, Link<P>>,
    next: u64,
    /// Idle time after which the link to a neighbour is probed.
    probe_after: Duration,
}

impl<P: Peer> Part<P> for Links<P> {
    type Message = LinkMessage;
    type Timer = LinkTimer<P>;
    type Event = LinkEvent<P>;
}

type LinkCtx<'a, P> = Ctx<'a, P, Links<P>>;

impl<P: Peer> Links<P> {
    /// No links yet; one to a neighbour that is idle for `probe_after` is probed.
    pub fn new(probe_after: Duration) -> Self {
        Self { links: BTreeMap::new(), next: 0, probe_after }
    }

    /// Starts watching a peer whose link is used for this, or learns that it is used for something else now.
    pub fn watch(&mut self, ctx: &mut LinkCtx<'_, P>, contact: &Contact<P>, used_for: LinkUse) {
        let next = self.next_number();
        let idle_limit = self.idle_limit(used_for);
        let link = self.links.entry(contact.peer).or_insert_with(|| Link {
            contact: contact.clone(),
            watched: false,
            used_for,
            // Nothing was heard yet, so it is probed at once: a connection may be left over from a peer that is gone.
            heard: Time(0),
            probe: None,
            strikes: 0,
            suspected: None,
            round_trip: None,
            generation: next,
        });
        if contact.has_addresses() {
            link.contact = contact.clone();
        }
        let sooner = used_for > link.used_for;
        link.used_for = used_for;
        if !link.watched || sooner && link.suspected.is_none() {
            link.watched = true;
            link.generation = next;
            let new = link.heard == Time(0) && link.probe.is_none();
            let idle = ctx.now.since(link.heard);
            let after = match (new, used_for) {
                (true, _) => Duration::ZERO,
                (false, LinkUse::Streams) => link.hurried(ctx.now).unwrap_or(idle_limit),
                // A probe on its way has the time that it was given.
                (false, _) => link.left(ctx.now).unwrap_or(idle_limit.saturating_sub(idle)),
            };
            ctx.out.arm(after, LinkTimer { peer: contact.peer, generation: next });
        }
    }

    /// Something that went over a peer has ended: it is probed at once, as if its link carried streams. What was heard of it
    /// just now was often the last of what ended, so a peer that was is probed as well, unless more is heard in a moment.
    pub fn suspect(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) {
        let just_now = self.links.get(&peer).is_some_and(|link| ctx.now.since(link.heard) < JUST_NOW);
        self.suspect_after(ctx, peer, if just_now { JUST_NOW } else { Duration::ZERO });
    }

    /// A peer was sent something that it answers at once: it is probed, as if its link carried streams, when nothing is heard
    /// of it in a moment.
    pub fn awaits(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) {
        self.suspect_after(ctx, peer, JUST_NOW);
    }

    /// A message was sent on over a peer. If nothing was heard of it for as long as the links to neighbours are idle at most, and nothing
    /// comes back, it is probed: a dead finger is noticed by the first message that it loses, which is then sent another way.
    pub fn used(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) {
        let idle = |link: &Link<P>| {
            let seldom = link.used_for < LinkUse::Neighbour && link.probe.is_none();
            seldom && ctx.now.since(link.heard) >= self.probe_after
        };
        if self.links.get(&peer).is_some_and(idle) {
            self.suspect_after(ctx, peer, COMES_BACK);
        }
    }

    /// Another one takes a peer for dead: it is probed at once, and dead if it does not answer that, or twice if its answers take
    /// long. Whoever says so falsely has a living peer probed, no more.
    pub fn missed(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P) {
        if self.links.get(&peer).is_none_or(|link| ctx.now.since(link.heard) < JUST_NOW) {
            return;
        }
        self.suspect_after(ctx, peer, Duration::ZERO);
        if let Some(link) = self.links.get_mut(&peer) {
            let slow = time_out(link.round_trip, false) > LONGEST_BUSY;
            link.strikes = link.strikes.max(if slow { STRIKES - 2 } else { STRIKES - 1 });
        }
    }

    fn suspect_after(&mut self, ctx: &mut LinkCtx<'_, P>, peer: P, after: Duration) {
        let next = self.next_number();
        let Some(link) = self.links.get_mut(&peer).filter(|link| link.watched && link.suspected.is_none()) else {
            return;
        };
        link.suspected = Some(ctx.now);
        link.generation = next;
        let after = link.hurried(ctx.now).unwrap_or(after);
        ctx.out.arm(after, LinkTimer { peer, generation: next });
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

    /// Idle time after which the link to a watched peer is probed.
    #[cfg(feature = "sim")]
    pub fn probed_after(&self, peer: P) -> Option<Duration> {
        self.links.get(&peer).map(|link| self.idle_limit(link.used_for))
    }

    /// Anything arrived from a peer, at this time.
    pub fn heard(&mut self, at: Time, peer: P) {
        if let Some(link) = self.links.get_mut(&peer).filter(|link| link.heard < at) {
            link.heard = at;
            link.strikes = 0;
            link.suspected = link.suspected.filter(|since| at <= *since);
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
        let nonce = ctx.rng.next_u64() & NONCES;
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
                if link.urgent() {
                    ctx.out.emit(LinkEvent::Silent(timer.peer));
                }
            }
        }
        let idle = ctx.now.since(link.heard);
        let limit = if link.suspected.is_some() { Duration::ZERO } else { idle_limit(probe_after, link.used_for) };
        link.generation = next;
        let after = if link.strikes == 0 && idle < limit && link.heard != Time(0) {
            limit - idle
        } else {
            link.probe = Some((nonce, ctx.now));
            ctx.out.send(&link.contact, LinkMessage { nonce, answer: false });
            time_out(link.round_trip, link.urgent())
        };
        ctx.out.arm(after, LinkTimer { peer: timer.peer, generation: next });
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn idle_limit(&self, used_for: LinkUse) -> Duration {
        idle_limit(self.probe_after, used_for)
    }
}

fn idle_limit(probe_after: Duration, used_for: LinkUse) -> Duration {
    match used_for {
        LinkUse::Seldom => probe_after.saturating_mul(SELDOM_FACTOR),
        LinkUse::Neighbour => probe_after,
        LinkUse::Streams => PROBE_BUSY_AFTER,
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
mod tests;
