//! The application of every node: an index of contents at leaders. What is counted of frames is here, too, because it depends on
//! who leads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::content_of;
use super::counts::{LINKS, Load, MULTICAST, Traffic, kind};
use super::{Hour, KINDS};
use crate::protocol::interface::{Command, Event};
use crate::sim::{Application, Sent, Simulation};

/// One host as the application and the counters see it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) leads: bool,
    /// Whether it has had a place in a subgroup in this stay.
    seated: bool,
    /// Rows as a leader, and those of each content.
    rows: BTreeMap<u64, u32>,
    offers: BTreeMap<u32, Vec<u64>>,
    /// Frames and bytes sent and received in this hour.
    carried: Traffic,
}

impl Seen {
    fn add(&mut self, row: u64, content: u32) {
        self.rows.insert(row, content);
        self.offers.entry(content).or_default().push(row);
    }

    fn remove(&mut self, row: u64) {
        let Some(content) = self.rows.remove(&row) else { return };
        if let Some(rows) = self.offers.get_mut(&content) {
            rows.retain(|other| *other != row);
            if rows.is_empty() {
                self.offers.remove(&content);
            }
        }
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.offers.clear();
    }
}

/// What is shared by the driver, the application and the watcher of frames.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) hosts: Vec<Seen>,
    /// Those who have just got their place.
    pub(super) seated: Vec<u32>,
    pub(super) count_bytes: bool,
    pub(super) messages: [u64; KINDS.len()],
    pub(super) bytes: [u64; KINDS.len()],
    pub(super) load: [Load; 2],
}

impl Shared {
    pub(super) fn watch(&mut self, sent: &Sent<'_>) {
        let bytes = if self.count_bytes { sent.frame.encoded_len() as u64 } else { 0 };
        let kind = kind(sent.frame);
        self.messages[kind] += 1;
        self.bytes[kind] += bytes;
        for (peer, sends) in [(sent.from, true), (sent.to, false)] {
            let Some(host) = self.hosts.get_mut(peer as usize) else { continue };
            host.carried.add(bytes);
            let load = &mut self.load[usize::from(host.leads)];
            if sends { load.sent.add(bytes) } else { load.received.add(bytes) }
        }
    }

    /// The probes of links that are modelled, over some time: each pair with how often it is probed.
    pub(super) fn idle_links(&mut self, over: Duration, pairs: impl Iterator<Item = (u32, u32, Duration)>) {
        let bytes = if self.count_bytes { Simulation::probe_bytes() } else { 0 };
        for (one, other, every) in pairs {
            let probes = (over.as_micros() / every.as_micros().max(1)) as u64;
            let each = Traffic { frames: probes, bytes: probes * bytes / 2 };
            // The probe of one and the answer of the other, or the other way round.
            self.messages[LINKS] += 2 * each.frames;
            self.bytes[LINKS] += 2 * each.bytes;
            for peer in [one, other] {
                let Some(host) = self.hosts.get_mut(peer as usize) else { continue };
                let load = &mut self.load[usize::from(host.leads)];
                for traffic in [&mut load.sent, &mut load.received] {
                    traffic.frames += each.frames;
                    traffic.bytes += each.bytes;
                }
                host.carried.frames += 2 * each.frames;
                host.carried.bytes += 2 * each.bytes;
            }
        }
    }

    /// What the multicast carried, all of it between leaders.
    pub(super) fn multicast(&mut self, frames: u64, bytes: u64) {
        self.messages[MULTICAST] += frames;
        self.bytes[MULTICAST] += bytes;
        for traffic in [&mut self.load[1].sent, &mut self.load[1].received] {
            traffic.frames += frames;
            traffic.bytes += bytes;
        }
    }

    /// Peers that are there are counted once a minute.
    pub(super) fn minute(&mut self, there: impl Iterator<Item = u32>) {
        for peer in there {
            let leads = self.hosts.get(peer as usize).is_some_and(|host| host.leads);
            self.load[usize::from(leads)].minutes += 1;
        }
    }

    /// The leaders that list a content now.
    pub(super) fn listed_by(&self, content: u32) -> Vec<u32> {
        let lists = |(_, host): &(u32, &Seen)| host.leads && host.offers.contains_key(&content);
        (0u32..).zip(&self.hosts).filter(lists).map(|(peer, _)| peer).collect()
    }

    /// A host is gone, and all that its application knew.
    pub(super) fn gone(&mut self, peer: u32) {
        if let Some(host) = self.hosts.get_mut(peer as usize) {
            (host.leads, host.seated) = (false, false);
            host.clear();
        }
    }

    /// Moves what was counted into the hour.
    pub(super) fn hour_ends(&mut self, hour: &mut Hour) {
        hour.messages = std::mem::take(&mut self.messages);
        hour.bytes = std::mem::take(&mut self.bytes);
        hour.load = std::mem::take(&mut self.load);
        for host in &mut self.hosts {
            let carried = std::mem::take(&mut host.carried);
            if host.leads && carried.bytes.max(carried.frames) > hour.busiest.bytes.max(hour.busiest.frames) {
                hour.busiest = carried;
            }
        }
    }
}

/// The application, of all hosts.
pub(super) struct Directory(pub(super) Rc<RefCell<Shared>>);

impl Application for Directory {
    fn event(&mut self, peer: u32, event: &Event<u32>) -> Option<Vec<(Duration, Command<u32>)>> {
        let mut shared = self.0.borrow_mut();
        let host = shared.hosts.get_mut(peer as usize)?;
        match event {
            Event::SubgroupChanged { is_leader, .. } => {
                host.leads = *is_leader;
                if !std::mem::replace(&mut host.seated, true) {
                    shared.seated.push(peer);
                }
            }
            Event::RowAdded { row, payload } => {
                if let Some(content) = content_of(payload) {
                    host.add(*row, content);
                }
            }
            Event::RowRemoved { row } => host.remove(*row),
            Event::RowsCleared => host.clear(),
            Event::DirectoryAsked { ask, query, limit } => {
                let offers = content_of(query).and_then(|content| host.offers.get(&content));
                let rows = offers.map(Vec::as_slice).unwrap_or_default();
                // The newest first.
                let rows = rows.iter().rev().take(usize::from(*limit)).copied().collect();
                return Some(vec![(Duration::ZERO, Command::DirectoryAnswer { ask: *ask, rows })]);
            }
            _ => {}
        }
        Some(Vec::new())
    }
}
