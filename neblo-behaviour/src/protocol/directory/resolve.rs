//! Preparing a stream: the publisher's leader names the last relay of the publisher's path at this moment, and that relay
//! is told to expect the stream; the requester's leader tells the requester's last relay where it goes on (design D10).

use super::*;
use crate::protocol::errand::{Incoming, Resolve, Resolved};
use crate::protocol::io::draw;

/// How long preparing may take. choice
const WITHIN: Duration = Duration::from_secs(6);
/// How long a publisher whose path has just broken has to announce again, which it does as soon as it has another. choice
const REANNOUNCED_WITHIN: Duration = Duration::from_secs(2);
/// How long a new leader waits for publishers of which it knows nothing: the copy of the table may have missed them. choice
const YOUNG: Duration = Duration::from_secs(10);
/// Streams being prepared at once. choice
const MAX_RESOLVING: usize = 4_096;
/// Streams a second, and at once, that one other leader may have prepared. Anybody can be a leader, and each answer names a last
/// relay. choice: as lookups, which come before
pub(super) const RESOLVES_A_LEADER: (u64, u64) = (20, 100);

/// A stream that is being prepared.
#[derive(Debug)]
pub(super) enum Resolving<P> {
    /// For a member of ours, by another leader (or by ourselves); `None` while nobody knows who leads there.
    Member {
        end: End<P>,
        reply: [u8; 32],
        request: u64,
        ticket: [u8; 16],
        asked: Option<P>,
        subgroup: OverlayAddr,
        registration: u64,
    },
    /// For another leader (`None`: for ourselves, under this name), once the last relay knows the ticket. Without an end, once
    /// the publisher of this row has announced again.
    Leader { asker: Option<P>, nonce: [u8; 16], row: u64, end: Option<End<P>> },
}

impl<P: Peer> Directory<P> {
    pub(super) fn resolve(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        others: &dyn Fn() -> Vec<OtherLeader<P>>,
        (end, reply): (End<P>, [u8; 32]),
        resolve: &Resolve,
    ) {
        let nonce = draw(ctx.rng);
        let own = self.leads.is_some_and(|(subgroup, _)| subgroup == resolve.subgroup);
        let leader = if own {
            Some(self.me.clone())
        } else {
            others().into_iter().find(|(subgroup, _)| *subgroup == resolve.subgroup).map(|(_, leader)| leader)
        };
        if self.leads.is_none() || self.resolving.len() >= MAX_RESOLVING {
            return not_found(ctx, end, reply, resolve.request);
        }
        let (request, ticket, subgroup, registration) =
            (resolve.request, resolve.ticket, resolve.subgroup, resolve.registration);
        let asked = leader.as_ref().map(|leader| leader.peer);
        let resolving = Resolving::Member { end, reply, request, ticket, asked, subgroup, registration };
        self.resolving.insert(nonce, resolving);
        ctx.out.arm(WITHIN, DirectoryTimer::Resolve(nonce));
        match leader {
            Some(_) if own => self.prepare(ctx, None, nonce, registration),
            Some(leader) => ask_leader(ctx, &leader, nonce, registration, subgroup),
            None => ctx.out.emit(DirectoryEvent::Seek(subgroup, None)),
        }
    }

    pub(super) fn resolve_asked(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, ask: &ResolveAsk) {
        let led = self.leads.map(|(subgroup, _)| subgroup);
        if led.is_none() || ask.subgroup.is_some_and(|subgroup| led != Some(subgroup)) {
            let answer = ResolveAnswer { nonce: ask.nonce, next: None, ticket: [0; 16], elsewhere: true };
            return ctx.out.send(&Contact::bare(from), DirectoryMessage::ResolveAnswer(answer));
        }
        if self.resolving.len() < MAX_RESOLVING && self.resolve_rate.take(ctx.now, from, 1) {
            self.prepare(ctx, Some(from), ask.nonce, ask.registration);
        }
    }

    /// A leader is gone: whoever leads now is asked what it was asked.
    pub fn leader_gone(&mut self, ctx: &mut DirectoryCtx<'_, P>, peer: P) {
        let mut seek = Vec::new();
        for resolving in self.resolving.values_mut() {
            if let Resolving::Member { asked, subgroup, .. } = resolving
                && *asked == Some(peer)
                && peer != self.me.peer
            {
                *asked = None;
                seek.push(*subgroup);
            }
        }
        seek.dedup();
        for subgroup in seek {
            ctx.out.emit(DirectoryEvent::Seek(subgroup, Some(peer)));
        }
    }

    /// The leader that was sought is known.
    pub fn leader_found(&mut self, ctx: &mut DirectoryCtx<'_, P>, found: OverlayAddr, leader: &Contact<P>) {
        self.ask_late(ctx, found, leader);
        for (nonce, resolving) in &mut self.resolving {
            if let Resolving::Member { asked, subgroup, registration, .. } = resolving
                && asked.is_none()
                && *subgroup == found
            {
                *asked = Some(leader.peer);
                ask_leader(ctx, leader, *nonce, *registration, found);
            }
        }
    }

    fn prepare(&mut self, ctx: &mut DirectoryCtx<'_, P>, asker: Option<P>, nonce: [u8; 16], row: u64) {
        let found = self.rows.get_mut(&row).filter(|_| self.leads.is_some());
        let young = self.leads.is_some_and(|(_, term)| term > 1) && ctx.now.since(self.began) < YOUNG;
        if found.is_none() && !young {
            return self.prepared(ctx, asker, nonce, None, [0; 16]);
        }
        let known = found.and_then(|row| Some((row.next_way()?, row.registration)));
        let ticket = draw(ctx.rng);
        let end = known.map(|((end, _), _)| end);
        self.resolving.insert(ticket, Resolving::Leader { asker, nonce, row, end });
        let Some(((end, reply), registration)) = known else {
            return ctx.out.arm(REANNOUNCED_WITHIN, DirectoryTimer::Resolve(ticket));
        };
        ctx.out.arm(WITHIN, DirectoryTimer::Resolve(ticket));
        let notice = Notice::Incoming(Incoming { registration, ticket });
        ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
        ctx.out.emit(DirectoryEvent::Expect { end, ticket });
    }

    /// The last relay of the publisher's path knows the ticket.
    pub fn expecting(&mut self, ctx: &mut DirectoryCtx<'_, P>, ticket: [u8; 16]) {
        let last = match self.resolving.get(&ticket) {
            Some(Resolving::Leader { end: Some((last, _)), .. }) => Contact::bare(*last),
            _ => return,
        };
        if let Some(Resolving::Leader { asker, nonce, .. }) = self.resolving.remove(&ticket) {
            self.prepared(ctx, asker, nonce, Some(last), ticket);
        }
    }

    fn prepared(
        &mut self,
        ctx: &mut DirectoryCtx<'_, P>,
        asker: Option<P>,
        nonce: [u8; 16],
        next: Option<Contact<P>>,
        ticket: [u8; 16],
    ) {
        let answer = ResolveAnswer { nonce, next: next.map(|next| self.addressed(next)), ticket, elsewhere: false };
        match asker {
            Some(asker) => ctx.out.send(&Contact::bare(asker), DirectoryMessage::ResolveAnswer(answer)),
            None => self.resolve_answered(ctx, self.me.peer, answer),
        }
    }

    pub(super) fn resolve_answered(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, answer: ResolveAnswer<P>) {
        match self.resolving.get_mut(&answer.nonce) {
            Some(Resolving::Member { asked, subgroup, .. }) if *asked == Some(from) => {
                if answer.elsewhere {
                    *asked = None;
                    return ctx.out.emit(DirectoryEvent::Seek(*subgroup, Some(from)));
                }
            }
            _ => return,
        }
        let Some(Resolving::Member { end, reply, request, ticket, .. }) = self.resolving.remove(&answer.nonce) else {
            return;
        };
        let Some(next) = answer.next else { return not_found(ctx, end, reply, request) };
        // The relay hears of it before the requester does, over the same link.
        ctx.out.emit(DirectoryEvent::Bind { end, ticket, next, next_ticket: answer.ticket });
        let notice = Notice::Resolved(Resolved { request, found: true });
        ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
    }

    /// A publisher's path is gone: the last relay that was to expect a stream over it will not answer. Its second path may.
    pub(super) fn resolving_lost(&mut self, ctx: &mut DirectoryCtx<'_, P>, lost: End<P>) {
        let mut others = Vec::new();
        for (name, resolving) in &mut self.resolving {
            if let Resolving::Leader { end, row, .. } = resolving
                && *end == Some(lost)
            {
                *end = None;
                match self.rows.get(row).is_some_and(Row::is_whole) {
                    true => others.push(*name),
                    false => ctx.out.arm(REANNOUNCED_WITHIN, DirectoryTimer::Resolve(*name)),
                }
            }
        }
        for name in others {
            self.prepare_again(ctx, name);
        }
    }

    fn prepare_again(&mut self, ctx: &mut DirectoryCtx<'_, P>, name: [u8; 16]) {
        if let Some(Resolving::Leader { asker, nonce, row, .. }) = self.resolving.remove(&name) {
            self.prepare(ctx, asker, nonce, row);
        }
    }

    /// A publisher has announced over another path: streams to it are prepared over that one.
    pub(super) fn resolve_again(&mut self, ctx: &mut DirectoryCtx<'_, P>, moved: u64) {
        let over = |resolving: &Resolving<P>| matches!(resolving, Resolving::Leader { row, .. } if *row == moved);
        let names: Vec<_> =
            self.resolving.iter().filter(|(_, resolving)| over(resolving)).map(|(name, _)| *name).collect();
        for name in names {
            self.prepare_again(ctx, name);
        }
    }

    pub(super) fn resolve_failed(&mut self, ctx: &mut DirectoryCtx<'_, P>, name: [u8; 16]) {
        match self.resolving.remove(&name) {
            Some(Resolving::Member { end, reply, request, .. }) => not_found(ctx, end, reply, request),
            Some(Resolving::Leader { asker, nonce, .. }) => self.prepared(ctx, asker, nonce, None, [0; 16]),
            None => {}
        }
    }

    /// Where the members of the own subgroup are; the other last relay may have to dial.
    fn addressed(&self, contact: Contact<P>) -> Contact<P> {
        self.members.iter().find(|member| member.peer == contact.peer).cloned().unwrap_or(contact)
    }
}

fn ask_leader<P: Peer>(
    ctx: &mut DirectoryCtx<'_, P>,
    leader: &Contact<P>,
    nonce: [u8; 16],
    registration: u64,
    subgroup: OverlayAddr,
) {
    let ask = ResolveAsk { nonce, registration, subgroup: Some(subgroup) };
    ctx.out.send(leader, DirectoryMessage::ResolveAsk(ask));
}

fn not_found<P: Peer>(ctx: &mut DirectoryCtx<'_, P>, end: End<P>, reply: [u8; 32], request: u64) {
    let notice = Notice::Resolved(Resolved { request, found: false });
    ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
}
