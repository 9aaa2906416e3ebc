//! Which way a stream goes at this peer (design: data plane). `Node` decides, the swarm splices.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::protocol::io::Time;

/// How long a ticket waits for its stream. choice
const TICKET_LASTS: Duration = Duration::from_secs(60);
/// Tickets kept. choice
const MAX_TICKETS: usize = 4_096;

#[derive(Clone, Debug)]
enum Ticket<P> {
    /// A stream from outside goes down this path (publisher's side).
    Expect { path: (P, u64) },
    /// A stream up this path goes over to another last relay (requester's side).
    Bind { path: (P, u64), next: Contact<P>, next_ticket: [u8; 16] },
}

#[derive(Clone, Debug)]
pub(super) struct Streams<P> {
    tickets: BTreeMap<[u8; 16], (Ticket<P>, Time)>,
    /// Open streams and their two neighbours.
    open: BTreeMap<u64, [Option<P>; 2]>,
}

impl<P> Default for Streams<P> {
    fn default() -> Self {
        Self { tickets: BTreeMap::new(), open: BTreeMap::new() }
    }
}

impl<P: Peer> Streams<P> {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Streams that pass through, those that end here left out.
    pub(super) fn relayed(&self) -> usize {
        self.open.values().filter(|neighbours| neighbours.iter().all(Option::is_some)).count()
    }

    /// The neighbours on streams: a stream may outlive the path that it was opened over, and two last relays are
    /// neighbours on a stream alone.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = P> {
        self.open.values().flatten().flatten().copied()
    }

    fn with(&self, peer: P) -> usize {
        self.open.values().filter(|neighbours| neighbours.contains(&Some(peer))).count()
    }

    /// The streams with a dead peer are about to end: nobody is to hold on to it for their sake.
    pub(super) fn dead(&mut self, peer: P) {
        for neighbour in self.open.values_mut().flatten().filter(|neighbour| **neighbour == Some(peer)) {
            *neighbour = None;
        }
    }

    pub(super) fn expire(&mut self, now: Time) {
        self.tickets.retain(|_, (_, until)| *until > now);
    }

    pub(super) fn forget_path(&mut self, key: (P, u64)) {
        self.tickets.retain(|_, (ticket, _)| match ticket {
            Ticket::Expect { path } | Ticket::Bind { path, .. } => *path != key,
        });
    }
}

impl<P: Peer> Paths<P> {
    fn keep_ticket(&mut self, ctx: &mut PathCtx<'_, P>, name: [u8; 16], ticket: Ticket<P>) {
        self.streams.expire(ctx.now);
        if self.streams.tickets.len() < MAX_TICKETS {
            self.streams.tickets.insert(name, (ticket, ctx.now + TICKET_LASTS));
            ctx.out.arm(TICKET_LASTS, PathTimer::Tickets);
        }
    }

    /// Only the leader at the end of a path can say so: it alone knows the name on that link.
    pub(super) fn told_to_expect(&mut self, ctx: &mut PathCtx<'_, P>, from: P, expect: &Expect) {
        let Some(path) = self.relayed.by_next_hop(from, expect.id).filter(|entry| entry.last).map(relay::Entry::key)
        else {
            self.untold.take(from, expect.id);
            return ctx.out.send(&Contact::bare(from), PathMessage::Broken(Broken { id: expect.id, up: true }));
        };
        self.keep_ticket(ctx, expect.ticket, Ticket::Expect { path });
        ctx.out.send(&Contact::bare(from), PathMessage::Expecting(Expecting { ticket: expect.ticket }));
    }

    pub(super) fn told_to_bind(&mut self, ctx: &mut PathCtx<'_, P>, from: P, bind: Bind<P>) {
        let path = self.relayed.by_next_hop(from, bind.id).filter(|entry| entry.last).map(relay::Entry::key);
        if let Some(path) = path {
            let ticket = Ticket::Bind { path, next: bind.next, next_ticket: bind.next_ticket };
            self.keep_ticket(ctx, bind.ticket, ticket);
        }
    }

    /// A neighbour asks for a stream.
    pub fn stream_asked(&mut self, ctx: &mut PathCtx<'_, P>, stream: u64, from: P, header: &StreamHeader) {
        if let Some(id) = header.link {
            self.relayed.used(ctx.now, from, id);
        }
        let way = if header.version == 1 { self.way(from, header) } else { Err(Refusal::Protocol) };
        if let (Err(Refusal::Unknown), Some(id)) = (&way, header.link)
            && let Some(next) = self.untold.take(from, id)
        {
            // Somebody waits for it: the leader is to prepare the next try over another path.
            ctx.out.send(&next, PathMessage::Broken(Broken { id, up: true }));
        }
        match way {
            Err(reason) => ctx.out.emit(PathEvent::Refuse { stream, reason }),
            Ok(None) => {
                self.streams.open.insert(stream, [Some(from), None]);
                ctx.out.emit(PathEvent::Incoming { stream, ticket: header.ticket });
            }
            Ok(Some((next, header))) => {
                let full = self.streams.len() >= self.config.max_streams
                    || [from, next.peer]
                        .into_iter()
                        .any(|peer| self.streams.with(peer) >= self.config.max_streams_per_neighbour);
                if full {
                    return ctx.out.emit(PathEvent::Refuse { stream, reason: Refusal::Full });
                }
                self.streams.open.insert(stream, [Some(from), Some(next.peer)]);
                ctx.out.emit(PathEvent::Grant { stream, next, header });
            }
        }
    }

    /// Where a stream goes on; `None` when it ends here.
    #[allow(clippy::type_complexity)]
    fn way(&mut self, from: P, header: &StreamHeader) -> Result<Option<(Contact<P>, StreamHeader)>, Refusal> {
        let go = |next, link, ticket| {
            Ok(Some((next, StreamHeader { link, ticket, version: header.version, download: None })))
        };
        let Some(id) = header.link else {
            return self.way_in(header);
        };
        if let Some(entry) = self.relayed.by_previous(from, id).cloned() {
            if !entry.last {
                return go(entry.next, Some(entry.next_id), header.ticket);
            }
            // The last relay passes the leader by (seed 003 §3.3).
            let bound = match self.streams.tickets.get(&header.ticket) {
                Some((Ticket::Bind { path, .. }, _)) => *path == entry.key(),
                _ => false,
            };
            let ticket = if bound { self.streams.tickets.remove(&header.ticket) } else { None };
            let Some((Ticket::Bind { next, next_ticket, .. }, _)) = ticket else { return Err(Refusal::Unknown) };
            if next.peer != self.me {
                return go(next, None, next_ticket);
            }
            return self.way_in(&StreamHeader {
                link: None,
                ticket: next_ticket,
                version: header.version,
                download: None,
            });
        }
        let publishing = [Purpose::Publishing, Purpose::PublishingAgain];
        let old = self.renewal.old_at(from, id).is_some_and(|(purpose, _)| publishing.contains(&purpose));
        if old || publishing.iter().any(|purpose| self.own.get(purpose).is_some_and(|path| path.is_at(from, id))) {
            return Ok(None);
        }
        match self.relayed.by_next_hop(from, id) {
            Some(entry) => go(Contact::bare(entry.previous), Some(entry.previous_id), header.ticket),
            None => Err(Refusal::Unknown),
        }
    }

    /// A stream that comes over from a requester's last relay goes down the publisher's path.
    #[allow(clippy::type_complexity)]
    fn way_in(&mut self, header: &StreamHeader) -> Result<Option<(Contact<P>, StreamHeader)>, Refusal> {
        let Some((Ticket::Expect { path }, _)) = self.streams.tickets.get(&header.ticket) else {
            return Err(Refusal::Unknown);
        };
        let (previous, id) = *path;
        self.streams.tickets.remove(&header.ticket);
        if self.relayed.by_previous(previous, id).is_none() {
            return Err(Refusal::Unknown);
        }
        let header = StreamHeader { link: Some(id), ticket: header.ticket, version: header.version, download: None };
        Ok(Some((Contact::bare(previous), header)))
    }

    /// Opens a stream of our own over the path for downloading: the first relay and what to ask of it.
    pub fn open_stream(&mut self, stream: u64, ticket: [u8; 16]) -> Option<(Contact<P>, StreamHeader)> {
        let (first, id) = self.own.get(&Purpose::Downloading)?.link()?;
        self.streams.open.insert(stream, [None, Some(first.peer)]);
        Some((first, StreamHeader { link: Some(id), ticket, version: 1, download: None }))
    }

    /// A stream ended or never began. Someone on its way may have died: the peers whose death would be our affair, which are
    /// its neighbours and, where it began or ended, the first relays of our own paths.
    pub fn stream_ended(&mut self, stream: u64) -> Vec<P> {
        let Some(neighbours) = self.streams.open.remove(&stream) else { return Vec::new() };
        let own = neighbours.iter().any(Option::is_none);
        let first = self.own.values().filter(|_| own).filter_map(OwnPath::first).map(|first| first.peer);
        neighbours.into_iter().flatten().chain(first).collect()
    }
}
