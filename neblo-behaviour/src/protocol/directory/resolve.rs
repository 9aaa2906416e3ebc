//! Preparing a stream: the publisher's leader names the last relay of the publisher's path at this moment, and that relay
//! is told to expect the stream; the requester's leader tells the requester's last relay where it goes on (design D10).

use super::*;
use crate::protocol::errand::{Incoming, Resolve, Resolved};
use crate::protocol::io::draw;

/// How long preparing may take. choice
const WITHIN: Duration = Duration::from_secs(6);
/// How long a publisher whose path has just broken has to announce again, which it does as soon as it has another. choice
const REANNOUNCED_WITHIN: Duration = Duration::from_secs(2);
/// Streams being prepared at once. choice
const MAX_RESOLVING: usize = 4_096;

/// A stream that is being prepared.
#[derive(Debug)]
pub(super) enum Resolving<P> {
    /// For a member of ours, by another leader (or by ourselves).
    Member { end: End<P>, reply: [u8; 32], request: u64, ticket: [u8; 16], asked: P },
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
        let Some(leader) = leader.filter(|_| self.resolving.len() < MAX_RESOLVING) else {
            return not_found(ctx, end, reply, resolve.request);
        };
        let (request, ticket, asked) = (resolve.request, resolve.ticket, leader.peer);
        self.resolving.insert(nonce, Resolving::Member { end, reply, request, ticket, asked });
        ctx.out.arm(WITHIN, DirectoryTimer::Resolve(nonce));
        if own {
            self.prepare(ctx, None, nonce, resolve.registration);
        } else {
            let ask = ResolveAsk { nonce, registration: resolve.registration };
            ctx.out.send(&leader, DirectoryMessage::ResolveAsk(ask));
        }
    }

    pub(super) fn resolve_asked(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, ask: &ResolveAsk) {
        if self.resolving.len() < MAX_RESOLVING {
            self.prepare(ctx, Some(from), ask.nonce, ask.registration);
        }
    }

    fn prepare(&mut self, ctx: &mut DirectoryCtx<'_, P>, asker: Option<P>, nonce: [u8; 16], row: u64) {
        let found = self.rows.get(&row).filter(|_| self.leads.is_some());
        let Some((end, reply, registration)) = found.map(|row| (row.whole_end(), row.reply, row.registration)) else {
            return self.prepared(ctx, asker, nonce, None, [0; 16]);
        };
        let ticket = draw(ctx.rng);
        self.resolving.insert(ticket, Resolving::Leader { asker, nonce, row, end });
        let Some(end) = end else {
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
        let answer = ResolveAnswer { nonce, next: next.map(|next| self.addressed(next)), ticket };
        match asker {
            Some(asker) => ctx.out.send(&Contact::bare(asker), DirectoryMessage::ResolveAnswer(answer)),
            None => self.resolve_answered(ctx, self.me.peer, answer),
        }
    }

    pub(super) fn resolve_answered(&mut self, ctx: &mut DirectoryCtx<'_, P>, from: P, answer: ResolveAnswer<P>) {
        let asked = match self.resolving.get(&answer.nonce) {
            Some(Resolving::Member { asked, .. }) => *asked,
            _ => return,
        };
        if asked != from {
            return;
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

    /// A publisher's path is gone: the last relay that was to expect a stream over it will not answer.
    pub(super) fn resolving_lost(&mut self, ctx: &mut DirectoryCtx<'_, P>, lost: End<P>) {
        for (name, resolving) in &mut self.resolving {
            if let Resolving::Leader { end, .. } = resolving
                && *end == Some(lost)
            {
                *end = None;
                ctx.out.arm(REANNOUNCED_WITHIN, DirectoryTimer::Resolve(*name));
            }
        }
    }

    /// A publisher has announced over another path: streams to it are prepared over that one.
    pub(super) fn resolve_again(&mut self, ctx: &mut DirectoryCtx<'_, P>, moved: u64) {
        let over = |resolving: &Resolving<P>| matches!(resolving, Resolving::Leader { row, .. } if *row == moved);
        let names: Vec<_> =
            self.resolving.iter().filter(|(_, resolving)| over(resolving)).map(|(name, _)| *name).collect();
        for name in names {
            if let Some(Resolving::Leader { asker, nonce, .. }) = self.resolving.remove(&name) {
                self.prepare(ctx, asker, nonce, moved);
            }
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

fn not_found<P: Peer>(ctx: &mut DirectoryCtx<'_, P>, end: End<P>, reply: [u8; 32], request: u64) {
    let notice = Notice::Resolved(Resolved { request, found: false });
    ctx.out.emit(DirectoryEvent::Notice { end, reply, notice: Box::new(notice) });
}
