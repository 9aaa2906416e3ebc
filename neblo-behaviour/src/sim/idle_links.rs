//! A model of links on which nothing goes wrong, for runs of many nodes over many hours: their probes are counted and not simulated, and
//! a link fails with the delay that its probes would have.
//!
//! Nine of ten events of an idle network are probes of links, their answers and their timers, and all of them come to the same: the
//! other end lives. Here a timer after which a node would look at an idle link is put aside. When the other end vanishes, it expires
//! at the next moment at which it would have, and from there on the node's own code finds out what happened: it probes, waits, and takes the
//! peer for dead. Probes of links that carry streams, and those for which somebody waits, are simulated as ever.
//!
//! What is counted is what links without any other traffic would be probed, so a little too much. Only for runs without partitions and
//! without hosts that stop and go on.

use super::*;
use crate::protocol::link::{LinkMessage, LinkTimer};

/// Shorter timers belong to a probe on its way, or to a link that somebody waits for.
const IDLE: Duration = Duration::from_millis(2_500);

/// A timer that was put aside.
#[derive(Clone, Copy, Debug)]
struct Aside {
    timer: LinkTimer<u32>,
    /// When it was to expire.
    due: Time,
    /// How often such a link is probed.
    every: Duration,
}

/// The timers of one host that were put aside, by the other end.
#[derive(Debug, Default)]
pub(super) struct IdleLinks(BTreeMap<u32, Aside>);

impl Simulation {
    /// Whether links on which nothing happens are modelled. Off at first; set before any host is added.
    pub fn model_idle_links(&mut self, on: bool) {
        self.models_links = on;
    }

    /// A host's node waits for an idle link: whether the timer is put aside.
    pub(super) fn put_aside(&mut self, host: u32, after: Duration, timer: LinkTimer<u32>) -> bool {
        let (peer, due) = (timer.peer(), self.now + after);
        let alive = self.hosts.get(peer as usize).is_some_and(|other| other.alive && other.connected.contains(&host));
        let Host { node, idle_links: idle, .. } = &mut self.hosts[host as usize];
        // The one before is void.
        idle.0.remove(&peer);
        let every = node.links().probed_after(peer).filter(|_| alive && after >= IDLE);
        // Timers are up to an eighth late.
        let aside = every.map(|every| Aside { timer, due, every: every + every / 16 });
        idle.0.extend(aside.map(|aside| (peer, aside)));
        aside.is_some()
    }

    /// A node keeps no connection to a peer any more.
    pub(super) fn forget_link(&mut self, host: u32, peer: u32) {
        self.hosts[host as usize].idle_links.0.remove(&peer);
    }

    /// A host is gone: those who wait for it look when they would have.
    pub(super) fn links_fail(&mut self, gone: u32) {
        self.hosts[gone as usize].idle_links.0.clear();
        for other in self.hosts[gone as usize].connected.clone() {
            let host = &mut self.hosts[other as usize];
            if let Some(Aside { timer, due, every }) = host.idle_links.0.remove(&gone) {
                let late = u64::try_from(self.now.since(due).as_micros()).unwrap_or(u64::MAX);
                let period = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
                let next = if due > self.now { due } else { due + every * (late / period + 1) as u32 };
                self.queue.push(next, Due::Expired(other, host.life, crate::protocol::Timer::Link(timer)));
            }
        }
    }

    /// Pairs of hosts whose link is idle, and how often it is probed: each pair once.
    pub fn idle_links(&self) -> impl Iterator<Item = (u32, u32, Duration)> + '_ {
        (0u32..).zip(&self.hosts).filter(|(_, host)| host.alive).flat_map(move |(one, host)| {
            host.idle_links.0.iter().filter_map(move |(other, aside)| {
                let back = self.hosts.get(*other as usize).and_then(|host| host.idle_links.0.get(&one));
                match back {
                    Some(_) if *other < one => None,
                    Some(back) => Some((one, *other, aside.every.min(back.every))),
                    None => Some((one, *other, aside.every)),
                }
            })
        })
    }

    /// The length of a probe and its answer together.
    pub fn probe_bytes() -> u64 {
        let len = |answer| Frame::<u32>::Link(LinkMessage { nonce: 0x8000, answer }).encoded_len() as u64;
        len(false) + len(true)
    }
}
