//! Ranges that change hands between two living members (design D3, D4).
//!
//! The old owner offers a range and answers "changing" for it from then on, delivering what still reaches it until the
//! new owner accepts; then it passes everything on and what it holds of the range migrates. The new owner answers
//! "changing" until the old one says that this has ended. So at no moment do both say "yes", and each frame may be lost,
//! doubled or late: offers and "migrated" are repeated until they are answered, and every answer can be given twice.

use super::*;

/// Ranges that may be on their way out at once; who asks for another one is told "busy". choice
const MAX_OPEN: usize = 4;
/// Ranges received that are remembered. choice
const MAX_RECEIVED: usize = 8;
/// Members that left in favour of this one and are remembered, so that a late frame does not bring them back. choice
const MAX_GONE: usize = 8;
/// Offers of one range until it is taken back. choice
const MAX_OFFERS: u8 = 30;
/// How long a new owner waits for what belongs to its range. choice
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How far a range that is given away has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// Offered and not answered yet.
    Offered,
    /// The new owner has it; what belongs to it migrates.
    Accepted,
    /// Everything was sent; the new owner does not know yet.
    Migrated,
    /// Over; what still comes for the range is passed on.
    Done,
}

/// A range given away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handed<P> {
    pub(super) range: AddrRange,
    pub(super) to: Principal<P>,
    pub(super) epoch: u64,
    pub(super) stage: Stage,
    /// Where the range before it begins, as far as is known.
    before: Option<Start<P>>,
    /// The member at whose address the range begins, as far as is known.
    predecessor: Option<Principal<P>>,
    /// Whether the new owner becomes a member by it.
    pub(super) joins: bool,
    /// Whether what belonged to it has been sent.
    sent: bool,
    offers: u8,
}

impl<P: Peer> Handed<P> {
    fn names(&self, from: P, step: &Handover) -> bool {
        self.to.contact.peer == from && self.to.incarnation == step.incarnation && self.epoch == step.epoch
    }

    fn step(&self) -> Handover {
        Handover { incarnation: self.to.incarnation, epoch: self.epoch }
    }
}

/// A range received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Received<P> {
    pub(super) range: AddrRange,
    pub(super) from: Principal<P>,
    pub(super) epoch: u64,
    /// Whether all that belongs to it has come, or is made anew.
    pub(super) settled: bool,
    /// Whether no more of it will come: it is ours alone once our successor knows.
    lost: bool,
}

impl<P: Peer> Ring<P> {
    /// Whether this peer owns an address. `Changing` while the range is on its way out, until its migration has ended,
    /// while it is on its way in, and until the successors have heard of its epoch ([`Self::is_heard`]).
    pub fn ownership(&self, address: OverlayAddr) -> Ownership {
        let leaves = |handed: &Handed<P>| handed.stage != Stage::Done && handed.range.contains(address);
        let comes = |received: &Received<P>| !received.settled && received.range.contains(address);
        if self.handed.iter().any(leaves) {
            return Ownership::Changing;
        }
        match self.range() {
            Some((range, _)) if range.contains(address) && self.received.iter().any(comes) => Ownership::Changing,
            Some((range, _)) if range.contains(address) && !self.is_heard() => Ownership::Changing,
            Some((range, _)) if range.contains(address) => Ownership::Yes,
            Some(_) if self.claims(address) => Ownership::Changing,
            _ => Ownership::No,
        }
    }

    /// Ranges on their way out or in.
    pub fn changing_hands(&self) -> usize {
        self.open_handovers() + self.received.iter().filter(|received| !received.settled).count()
    }

    /// Ranges on their way out.
    pub(super) fn open_handovers(&self) -> usize {
        self.handed.iter().filter(|handed| handed.stage != Stage::Done).count()
    }

    /// Whether another range may be given away now.
    pub(super) fn may_hand_over(&self) -> bool {
        self.leaving.is_none() && self.open_handovers() < MAX_OPEN
    }

    // ---- the old owner -------------------------------------------------------------------------------------------

    /// What lies before `to` is no longer ours: it is offered to `to`, which becomes the predecessor.
    pub(super) fn hand_over(&mut self, ctx: &mut RingCtx<'_, P>, to: Principal<P>, joins: bool) {
        let range = AddrRange { after: self.after, to: to.address };
        let predecessor = self.start().owner;
        // What lies before the range given away is no longer next to ours.
        self.drop_claim();
        let before = self.before.replace(Start { after: self.after, owner: predecessor.clone() });
        self.after = to.address;
        let epoch = self.next_epoch();
        let stage = Stage::Offered;
        self.offer(ctx, Handed { range, to, epoch, stage, before, predecessor, joins, sent: false, offers: 0 });
        self.tell_range(ctx);
    }

    /// The whole range is offered to the first successor.
    pub(super) fn hand_over_all(&mut self, ctx: &mut RingCtx<'_, P>, to: Principal<P>) {
        let Some((range, _)) = self.range() else { return };
        let epoch = self.next_epoch();
        let (stage, before, predecessor) = (Stage::Offered, self.before.clone(), self.start().owner);
        self.offer(ctx, Handed { range, to, epoch, stage, before, predecessor, joins: false, sent: false, offers: 0 });
    }

    fn offer(&mut self, ctx: &mut RingCtx<'_, P>, handed: Handed<P>) {
        self.handed.retain(|other| other.to.contact.peer != handed.to.contact.peer);
        self.say_offer(ctx, &handed);
        self.handed.insert(0, handed);
        let mut over = 0;
        self.handed.retain(|handed| {
            over += usize::from(handed.stage == Stage::Done);
            handed.stage != Stage::Done || over <= MAX_HANDED
        });
        self.repeat_later(ctx);
    }

    pub(super) fn say_offer(&self, ctx: &mut RingCtx<'_, P>, handed: &Handed<P>) {
        let Some(by) = self.me.clone() else { return };
        let (incarnation, epoch) = (handed.to.incarnation, handed.epoch);
        let offer = if handed.joins {
            let successors = List::chop(self.successors.clone());
            let (after, roster, before) = (handed.range.after, self.roster.clone(), handed.before.clone());
            let predecessor = handed.predecessor.clone();
            RingMessage::Joined(Joined { by, successors, after, epoch, roster, incarnation, before, predecessor })
        } else {
            let (range, before, predecessor) = (handed.range, handed.before.clone(), handed.predecessor.clone());
            RingMessage::Give(Give { by, incarnation, range, epoch, before, predecessor })
        };
        ctx.out.send(&handed.to.contact, offer);
    }

    pub(super) fn repeat_later(&mut self, ctx: &mut RingCtx<'_, P>) {
        if !self.repeating && (self.open_handovers() > 0 || self.leaving.is_some()) {
            self.repeating = true;
            ctx.out.arm(REPEAT, RingTimer::Repeat);
        }
    }

    /// What was not answered is said again.
    pub(super) fn repeat(&mut self, ctx: &mut RingCtx<'_, P>) {
        self.repeating = false;
        for handed in &mut self.handed {
            handed.offers = handed.offers.saturating_add(u8::from(handed.stage == Stage::Offered));
        }
        while let Some(at) = self.handed.iter().position(|handed| handed.offers > MAX_OFFERS) {
            let handed = self.handed.remove(at);
            self.take_back(ctx, &handed);
        }
        for handed in &self.handed {
            match handed.stage {
                Stage::Offered => self.say_offer(ctx, handed),
                Stage::Migrated => ctx.out.send(&handed.to.contact, RingMessage::Migrated(handed.step())),
                Stage::Accepted | Stage::Done => {}
            }
        }
        self.say_migrated(ctx);
        self.leave_round(ctx);
        self.repeat_later(ctx);
    }

    pub(super) fn accepted(&mut self, ctx: &mut RingCtx<'_, P>, from: P, step: &Handover) {
        let offered = |handed: &&mut Handed<P>| handed.stage == Stage::Offered && handed.names(from, step);
        let Some(handed) = self.handed.iter_mut().find(offered) else { return };
        handed.stage = Stage::Accepted;
        let (range, epoch) = (handed.range, handed.epoch);
        ctx.out.emit(RingEvent::HandedOver { range, epoch });
    }

    pub(super) fn refused(&mut self, ctx: &mut RingCtx<'_, P>, from: P, step: &Handover) {
        let offered = |handed: &Handed<P>| handed.stage == Stage::Offered && handed.names(from, step);
        if let Some(at) = self.handed.iter().position(offered) {
            let handed = self.handed.remove(at);
            self.take_back(ctx, &handed);
        }
    }

    /// What belonged to the range handed over under this epoch has been sent.
    pub(super) fn migrated(&mut self, ctx: &mut RingCtx<'_, P>, epoch: u64) {
        for handed in self.handed.iter_mut().filter(|handed| handed.epoch == epoch && handed.stage == Stage::Accepted) {
            handed.sent = true;
        }
        self.say_migrated(ctx);
        if self.waits_for_head() {
            self.stabilise(ctx);
        }
    }

    /// Where our range begins.
    pub(super) fn start(&self) -> Start<P> {
        let new = self.handed.iter().map(|handed| &handed.to);
        let owner = self.predecessor.iter().chain(new).find(|other| other.address == self.after);
        Start { after: self.after, owner: owner.cloned() }
    }

    /// Whether the first successor knows where our range begins, so that it will not inherit more from us: it said so, or
    /// it has accepted that range. In a small ring the roster tells.
    pub(super) fn is_confirmed(&self) -> bool {
        let given = self.has_given_all();
        given || self.roster.is_some() || self.successors.is_empty() || self.confirmed == Some(self.after)
    }

    /// Whether something cannot go on before the first successor knows where our range begins.
    pub(super) fn waits_for_head(&self) -> bool {
        let sent = |handed: &Handed<P>| handed.stage == Stage::Accepted && handed.sent;
        !self.is_confirmed()
            && (self.handed.iter().any(sent) || self.received.iter().any(|received| received.lost && !received.settled))
    }

    /// The first successor may have learned where our range begins.
    pub(super) fn confirm(&mut self, ctx: &mut RingCtx<'_, P>) {
        let Some((own, _)) = self.range().filter(|_| self.is_confirmed()) else { return };
        for received in self.received.iter_mut().filter(|received| received.lost && !received.settled) {
            received.settled = true;
            let mut range = received.range;
            if range.contains_strictly(own.after) {
                range.after = own.after;
            }
            if own.contains(range.to) {
                ctx.out.emit(RingEvent::Inherited { range, epoch: received.epoch });
            }
        }
        self.say_migrated(ctx);
    }

    /// The new owner is told once nothing of the range is still on its way to us, and once our death would not make our
    /// successor an owner of it.
    fn say_migrated(&mut self, ctx: &mut RingCtx<'_, P>) {
        let received = self.received.clone();
        let (confirmed, end) = (self.is_confirmed(), self.me.as_ref().map(|me| me.address));
        // Two that hand the same range to and fro do not wait for one another.
        let comes = |handed: &Handed<P>| {
            let open =
                received.iter().filter(|other| !other.settled && other.from.contact.peer != handed.to.contact.peer);
            open.into_iter().any(|other| handed.range.contains(other.range.to))
        };
        for handed in &mut self.handed {
            let may = confirmed || Some(handed.range.to) == end;
            if handed.stage == Stage::Accepted && handed.sent && may && !comes(handed) {
                handed.stage = Stage::Migrated;
                ctx.out.send(&handed.to.contact, RingMessage::Migrated(handed.step()));
            }
        }
    }

    pub(super) fn settled(&mut self, ctx: &mut RingCtx<'_, P>, from: P, step: &Handover) {
        let migrated = |handed: &&mut Handed<P>| handed.stage == Stage::Migrated && handed.names(from, step);
        if let Some(handed) = self.handed.iter_mut().find(migrated) {
            handed.stage = Stage::Done;
            self.leave_on(ctx);
        }
    }

    /// A range that was offered and not accepted is ours again, under a higher epoch, unless another one already stands
    /// between it and us: then that one inherits it.
    fn take_back(&mut self, ctx: &mut RingCtx<'_, P>, handed: &Handed<P>) {
        let leaves = self.me.as_ref().is_some_and(|me| me.address == handed.range.to);
        if handed.stage == Stage::Offered && self.after == handed.range.to && !leaves {
            self.drop_claim();
            self.before = handed.before.clone();
            self.after = handed.range.after;
            self.next_epoch();
            self.tell_range(ctx);
        }
    }

    // ---- the new owner -------------------------------------------------------------------------------------------

    /// A member that leaves, or that owns what lies before us, gives us a range.
    pub(super) fn given(&mut self, ctx: &mut RingCtx<'_, P>, from: P, give: &Give<P>) {
        let step = Handover { incarnation: give.incarnation, epoch: give.epoch };
        let answer = match self.take(ctx, from, give) {
            true => RingMessage::Accepted(step),
            false => RingMessage::Refused(step),
        };
        ctx.out.send(&Contact::bare(from), answer);
    }

    fn take(&mut self, ctx: &mut RingCtx<'_, P>, from: P, give: &Give<P>) -> bool {
        let Some(me) = self.me.clone().filter(|me| self.is_member() && me.incarnation == give.incarnation) else {
            return false;
        };
        let (by, range) = (&give.by, give.range);
        if by.contact.peer != from || by.address == me.address || from == me.contact.peer {
            return false;
        }
        if self.received.iter().any(|received| received.from.is(by) && received.epoch >= give.epoch) {
            return true;
        }
        // Also what is refused: should it leave all the same, we or ours inherit under a higher one.
        self.see(give.epoch);
        if self.leaving.is_some() || self.received.iter().filter(|received| !received.settled).count() >= MAX_RECEIVED {
            return false;
        }
        let before = self.predecessor.as_ref().is_some_and(|predecessor| predecessor.is(by));
        let next = self.claimed().map_or(self.after, |(range, _)| range.after);
        let own = AddrRange { after: self.after, to: me.address };
        // Not contacted yet, but asked before one further back takes its place.
        let other = |other: &Principal<P>| other.address == range.after && other.contact.peer != me.contact.peer;
        let told = give.predecessor.clone().filter(other);
        // One that begins within our own would take from us what it should add to.
        if range.to == by.address && before && next == by.address && !own.contains_strictly(range.after) {
            // It leaves.
            self.gone.insert(0, by.clone());
            self.gone.truncate(MAX_GONE);
            self.predecessor = told;
            if !self.extend_claim(range.after) {
                self.after = range.after;
            }
            self.before = give.before.clone();
        } else if range.to == me.address && self.successors.iter().any(|successor| successor.is(by)) {
            // What is ours already stays ours, unless we never were sure of it: whom we had it from died before the giver
            // had heard of us, and the giver inherited all of it, and let another one in there.
            let never_sure = |received: &Received<P>| {
                received.lost && !received.settled && received.range.contains_strictly(range.after)
            };
            if range.contains_strictly(self.after) && self.after != me.address {
                self.drop_claim();
                self.after = range.after;
            } else if own.contains_strictly(range.after) && self.received.iter().any(never_sure) {
                self.drop_claim();
                self.after = range.after;
                self.predecessor = told;
                self.before = give.before.clone();
            }
        } else {
            return false;
        }
        let given = give.epoch.min(self.seen);
        // Both may have counted to the same number; our own epoch grows all the same.
        self.epoch = if given > self.epoch { given } else { self.next_epoch() };
        self.receive(ctx, range, by.clone(), give.epoch);
        self.tell_range(ctx);
        if let Some(predecessor) = self.predecessor.clone().filter(|_| self.claim.is_none()) {
            self.border(ctx, &predecessor, false);
        }
        true
    }

    /// A range is ours under this epoch; what belongs to it is on its way.
    pub(super) fn receive(&mut self, ctx: &mut RingCtx<'_, P>, range: AddrRange, from: Principal<P>, epoch: u64) {
        self.received.retain(|other| !(other.from.is(&from) || other.lost && range.contains(other.range.to)));
        self.received.insert(0, Received { range, from, epoch, settled: false, lost: false });
        let mut over = 0;
        self.received.retain(|received| {
            over += usize::from(received.settled);
            !received.settled || over <= MAX_RECEIVED
        });
        ctx.out.arm(SETTLE_WITHIN, RingTimer::Settle(epoch));
    }

    /// The old owner has sent everything.
    pub(super) fn all_came(&mut self, ctx: &mut RingCtx<'_, P>, from: P, step: Handover) {
        if self.me.as_ref().is_none_or(|me| me.incarnation != step.incarnation) {
            return;
        }
        let names = |received: &&mut Received<P>| received.from.contact.peer == from && received.epoch == step.epoch;
        if let Some(received) = self.received.iter_mut().find(names) {
            received.settled = true;
        }
        ctx.out.send(&Contact::bare(from), RingMessage::Settled(step));
        self.say_migrated(ctx);
    }

    /// Nothing more of some received ranges will come: what is missing is to be made anew, once our successor knows of us;
    /// before that it might believe that it inherits the same range.
    pub(super) fn give_up(&mut self, ctx: &mut RingCtx<'_, P>, given_up: impl Fn(&Received<P>) -> bool) {
        for received in self.received.iter_mut().filter(|received| given_up(received)) {
            received.lost = true;
        }
        self.confirm(ctx);
    }

    // ---- the border to the predecessor ---------------------------------------------------------------------------

    /// The owned range begins after `predecessor`: what lies before it is handed over, what lies behind it down to the
    /// present start was owned by a dead one and is inherited.
    pub(super) fn border(&mut self, ctx: &mut RingCtx<'_, P>, predecessor: &Principal<P>, joins: bool) {
        let Some(me) = self.me.clone() else { return };
        let own = AddrRange { after: self.after, to: me.address };
        if self.after == predecessor.address || self.leaving.is_some() {
            return;
        }
        if own.contains_strictly(predecessor.address) {
            if self.may_hand_over() {
                self.hand_over(ctx, predecessor.clone(), joins);
            }
            return;
        }
        self.inherit(ctx, predecessor.address);
    }

    /// The owned range begins after `after`, further back than before, because the owner between is dead.
    pub(super) fn inherit(&mut self, ctx: &mut RingCtx<'_, P>, after: OverlayAddr) {
        let Some(me) = self.me.clone() else { return };
        let range = AddrRange { after, to: self.after };
        if range.after == range.to {
            return;
        }
        self.claim = None;
        self.after = after;
        let epoch = self.leap();
        let own = AddrRange { after: self.after, to: me.address };
        self.handed.retain(|handed| !own.contains(handed.range.to));
        self.tell_range(ctx);
        // Before the next round: who inherits from us meanwhile counts on from here.
        self.notify_head(ctx);
        ctx.out.emit(RingEvent::Inherited { range, epoch });
    }

    /// A peer is dead: what was given to it and not accepted is ours again, what it had not sent all of is made anew.
    pub(super) fn lost_in_handover(&mut self, ctx: &mut RingCtx<'_, P>, peer: P) {
        while let Some(at) = self.handed.iter().position(|handed| handed.to.contact.peer == peer) {
            let handed = self.handed.remove(at);
            self.take_back(ctx, &handed);
        }
        self.leave_on(ctx);
        self.give_up(ctx, |received| received.from.contact.peer == peer);
    }
}
