//! Stabilise and rectify by the minimal rules (research §3, rules 3 to 6).

use super::*;

impl<P: Peer> Ring<P> {
    /// Rule 3: asks the first successor for its neighbours.
    pub(super) fn stabilise(&mut self, ctx: &mut RingCtx<'_, P>) {
        self.say_roster(ctx);
        if !self.is_member() || self.question.is_some() || self.has_given_all() {
            return;
        }
        if let Some(head) = self.successors.first().cloned() {
            let known = self.knows();
            self.question_for(ctx, &head.contact, Question::Head(head.contact.peer), known);
        }
    }

    pub(super) fn question(&mut self, ctx: &mut RingCtx<'_, P>, to: &Contact<P>, question: Question<P>) {
        self.question_for(ctx, to, question, None);
    }

    fn question_for(&mut self, ctx: &mut RingCtx<'_, P>, to: &Contact<P>, question: Question<P>, known: Option<u64>) {
        let request = self.fresh_request();
        self.question = Some((request, question));
        self.asks_for_news(request, known);
        ctx.out.send(to, RingMessage::Ask(Ask { request, known }));
        ctx.out.arm(ANSWER_WITHIN, RingTimer::Answer(request));
    }

    /// Rule 6: while an own question is open, others are told "busy".
    pub(super) fn asked(&mut self, ctx: &mut RingCtx<'_, P>, from: P, ask: Ask) {
        let busy = self.question.is_some() && self.is_member() && self.me.is_some() && self.rules.busy;
        let answer = self.in_short(&ask, busy);
        ctx.out.send(&Contact::bare(from), RingMessage::Neighbours(answer));
    }

    pub(super) fn whole_answer(&self, busy: bool) -> Neighbours<P> {
        let me = self.me.clone().filter(|_| self.is_member());
        Neighbours {
            request: 0,
            busy,
            predecessor: self.predecessor.clone().filter(|_| me.is_some()),
            successors: List::chop(self.successors.clone()),
            open: self.roster.is_none(),
            epoch: Some(self.seen),
            before: self.told_start(),
            founder: self.told_founder(),
            me,
            same: false,
        }
    }

    /// Where the range before ours begins, as others are told.
    pub(super) fn told_start(&self) -> Option<OverlayAddr> {
        self.before.as_ref().filter(|_| self.leaving.is_none()).map(|before| before.after)
    }

    pub(super) fn answered(&mut self, ctx: &mut RingCtx<'_, P>, from: P, mut answer: Neighbours<P>) {
        let Some((request, question)) = self.question.clone() else { return };
        if request != answer.request || question.asked() != from {
            return;
        }
        self.question = None;
        if answer.same {
            return self.nothing_new(ctx, request);
        }
        self.see(answer.epoch.unwrap_or(0));
        if let Question::Predecessor { asked, notify } = question {
            // A ping: "busy" is a sign of life, too.
            // Who had not heard yet that it was let in did not call itself a member; its acceptance may have come first.
            let joins = |handed: &Handed<P>| handed.stage != Stage::Done && handed.to.is(&asked);
            let alive = match answer.me {
                Some(told) => told.is(&asked),
                None => self.handed.iter().any(joins),
            };
            return self.predecessor_answered(ctx, alive, asked, notify);
        }
        if answer.busy && self.successors.is_empty() {
            return ctx.out.emit(RingEvent::Isolated);
        }
        if answer.busy {
            ctx.out.arm(BUSY_AGAIN, RingTimer::Again(self.next_request));
            return;
        }
        match question {
            Question::Head(_) => {
                let said = self.said(from, &mut answer);
                self.head_answered(ctx, from, answer);
                self.remember(said);
            }
            Question::Other(_) => self.other_answered(ctx, from, answer),
            _ => self.closer_answered(ctx, from, answer),
        }
    }

    fn head_answered(&mut self, ctx: &mut RingCtx<'_, P>, from: P, answer: Neighbours<P>) {
        let Some(head) = self.successors.first().filter(|head| head.contact.peer == from).cloned() else { return };
        // The peer lives but is no longer the principal that we know.
        let Some(told) = answer.me.filter(|told| told.is(&head)) else { return self.lose(ctx, from) };
        if self.roster.is_some() {
            // A small ring follows its roster; the answer only tells that the ring has outgrown it.
            if answer.open {
                self.roster = None;
            }
            return;
        }
        self.adopt(told, &answer.successors);
        let Some(me) = self.me.clone() else { return };
        self.confirmed = answer.before.filter(|_| answer.predecessor.as_ref().is_some_and(|known| known.is(&me)));
        self.confirm(ctx);
        let closer = answer.predecessor.filter(|closer| {
            let between = AddrRange { after: me.address, to: head.address };
            between.contains_strictly(closer.address) && closer.contact.peer != me.contact.peer
        });
        match closer {
            Some(closer) if !self.rules.contact_first => {
                let rest = std::mem::take(&mut self.successors);
                self.adopt(closer, &rest);
                self.notify_head(ctx);
            }
            Some(closer) => self.question(ctx, &closer.contact.clone(), Question::Closer(closer.contact)),
            None => self.notify_head(ctx),
        }
        if self.waits_for_head() {
            ctx.out.arm(BUSY_AGAIN, RingTimer::Again(self.next_request));
        }
    }

    fn closer_answered(&mut self, ctx: &mut RingCtx<'_, P>, from: P, answer: Neighbours<P>) {
        let Some(me) = self.me.clone() else { return };
        // All others may have died meanwhile.
        let head = self.successors.first().map_or(me.address, |head| head.address);
        let between = AddrRange { after: me.address, to: head };
        match answer.me.filter(|told| told.contact.peer == from && between.contains_strictly(told.address)) {
            Some(closer) => {
                self.adopt(closer, &answer.successors);
                self.notify_head(ctx);
                // There may be another one still closer.
                self.stabilise(ctx);
            }
            None if self.successors.is_empty() => ctx.out.emit(RingEvent::Isolated),
            None => self.notify_head(ctx),
        }
    }

    /// Tells the head of us; in a small ring, the founder: that is how it knows that we are in.
    pub(super) fn notify_head(&mut self, ctx: &mut RingCtx<'_, P>) {
        let founder = self.roster.as_ref().map(|roster| roster.members.first());
        if let (Some(me), Some(head)) = (&self.me, founder.unwrap_or(self.successors.first())) {
            if head.is(me) {
                return;
            }
            let notify = Notify { me: me.clone(), epoch: Some(self.seen), start: Some(self.start()) };
            let head = head.contact.clone();
            ctx.out.send(&head, RingMessage::Notify(notify));
            self.remember_told(head.peer);
        }
    }

    /// Rule 3, last half: the whole list is replaced by what one peer says, never merged (rule 5).
    pub(super) fn adopt(&mut self, head: Principal<P>, rest: &[Principal<P>]) {
        let Some(me) = &self.me else { return };
        if self.successors.first().is_none_or(|old| !old.is(&head)) {
            self.confirmed = None;
            self.hearing.say_anew();
        }
        let mut list = Vec::with_capacity(self.r.min(rest.len() + 1));
        list.push(head);
        self.round = rest.is_empty();
        for next in rest {
            if next.contact.peer == me.contact.peer {
                self.round = true;
                break;
            }
            let ordered = list
                .last()
                .is_some_and(|last| AddrRange { after: last.address, to: me.address }.contains_strictly(next.address));
            if !ordered || list.len() >= self.r {
                break;
            }
            list.push(next.clone());
        }
        self.successors = list;
        self.forget_words();
    }

    /// Rule 4: rectify, only when notified.
    pub(super) fn notified(&mut self, ctx: &mut RingCtx<'_, P>, from: P, notify: Notify<P>) {
        let notifier = &notify.me;
        let Some(me) = self.me.clone().filter(|_| self.is_member()) else { return };
        if notifier.contact.peer != from || from == me.contact.peer || notifier.address == me.address {
            return;
        }
        self.see(notify.epoch.unwrap_or(0));
        if self.roster.is_some() {
            return self.is_in(ctx, notifier);
        }
        if self.leaving.is_some() || self.gone.iter().any(|gone| gone.is(notifier)) {
            return;
        }
        let Some(old) = self.predecessor.clone() else { return self.predecessor_shows(ctx, notify) };
        if old.is(notifier) {
            return self.take_predecessor(ctx, notify);
        }
        let closer = AddrRange { after: old.address, to: me.address }.contains_strictly(notifier.address);
        if closer {
            self.take_predecessor(ctx, notify);
        } else if old.contact.peer == from {
            // The same peer under another subscription.
            self.lose(ctx, from);
            self.predecessor_shows(ctx, notify);
        } else if self.question.is_none() {
            self.question(ctx, &old.contact.clone(), Question::Predecessor { asked: old, notify });
        }
    }

    /// The old predecessor is dead. Its own range is ours; what it had given away before lies between it and a notifier
    /// further back, and may have a living owner, who is asked first (rule 5).
    fn predecessor_shows(&mut self, ctx: &mut RingCtx<'_, P>, notify: Notify<P>) {
        let gap = AddrRange { after: notify.me.address, to: self.after };
        let skipped =
            self.before.clone().filter(|before| gap.contains_strictly(before.after) || before.after == gap.to);
        let Some(skipped) = skipped.filter(|_| notify.me.address != gap.to) else {
            return self.take_predecessor(ctx, notify);
        };
        self.inherit(ctx, skipped.after);
        match skipped.owner {
            Some(owner) if self.question.is_none() => {
                self.question(ctx, &owner.contact.clone(), Question::Predecessor { asked: owner, notify });
            }
            Some(_) => {}
            None => self.take_predecessor(ctx, notify),
        }
    }

    fn predecessor_answered(&mut self, ctx: &mut RingCtx<'_, P>, alive: bool, asked: Principal<P>, notify: Notify<P>) {
        // Meanwhile another one may have taken the place.
        if self.leaving.is_some() || self.predecessor.as_ref().is_some_and(|predecessor| !predecessor.is(&asked)) {
            return;
        }
        if !alive {
            self.predecessor = None;
            self.drop_claim();
            // Who was asked because it stood between is dead, too.
            self.before.take_if(|before| before.owner.as_ref().is_some_and(|owner| owner.is(&asked)));
            self.predecessor_shows(ctx, notify);
        } else if self.predecessor.is_none() {
            let start = None;
            self.take_predecessor(ctx, Notify { me: asked, epoch: None, start });
        }
    }

    /// A new predecessor moves the start of the owned range to its address: back over what a dead one owned, or on over
    /// what a closer one owns now.
    fn take_predecessor(&mut self, ctx: &mut RingCtx<'_, P>, notify: Notify<P>) {
        if self.leaving.is_some() {
            return;
        }
        let Notify { me: new, start, .. } = notify;
        ctx.out.emit(RingEvent::Seen(new.contact.clone()));
        if self.successors.is_empty() {
            self.successors.push(new.clone());
        }
        self.predecessor = Some(new.clone());
        if !self.claim(ctx, new.address) {
            self.border(ctx, &new, false);
        }
        let next = self.claimed().map_or(self.after, |(range, _)| range.after);
        self.before = start.filter(|_| next == new.address);
    }

    pub(super) fn nudged(&mut self, ctx: &mut RingCtx<'_, P>, from: P, leaving: bool) {
        if leaving && self.roster.is_some() {
            self.gone_from_roster(ctx, from, true);
        } else if leaving {
            self.lose(ctx, from);
        } else if self.successors.first().is_some_and(|head| head.contact.peer == from) {
            self.stabilise(ctx);
        }
    }

    /// The link says that a peer is dead.
    pub(super) fn dead(&mut self, ctx: &mut RingCtx<'_, P>, peer: P) {
        if self.roster.is_some() {
            self.gone_from_roster(ctx, peer, false);
            return;
        }
        self.lose(ctx, peer);
    }

    pub(super) fn lose(&mut self, ctx: &mut RingCtx<'_, P>, peer: P) {
        if !self.is_member() {
            return;
        }
        self.forget_words();
        let head_lost = self.successors.first().is_some_and(|head| head.contact.peer == peer);
        self.successors.retain(|principal| principal.contact.peer != peer);
        if head_lost {
            self.confirmed = None;
            self.hearing.say_anew();
        }
        // The range stays as it is until another predecessor shows itself.
        if self.predecessor.take_if(|old| old.contact.peer == peer).is_some() {
            self.drop_claim();
        }
        let open = self.question.take_if(|(_, question)| question.asked() == peer);
        self.lost_in_handover(ctx, peer);
        if !self.is_member() {
            return;
        }
        let asked_closer = matches!(open, Some((_, Question::Closer(_))));
        match open {
            Some((_, Question::Predecessor { asked, notify })) => {
                self.predecessor_answered(ctx, false, asked, notify);
            }
            Some((_, Question::Closer(_))) => self.notify_head(ctx),
            _ => {}
        }
        // The one that is being asked may be a successor yet.
        let closer = matches!(self.question, Some((_, Question::Closer(_))));
        if (head_lost || asked_closer) && self.successors.is_empty() && !closer {
            // When the list went round the whole ring, the predecessor is all that is left of it. Otherwise there are
            // others beyond the dead ones whom nobody here knows, and to go on with those before us would make a second
            // ring (research §3, rule 7: every member keeps a live successor).
            match self.predecessor.clone().filter(|_| self.round) {
                Some(last) => self.successors.push(last),
                None => return ctx.out.emit(RingEvent::Isolated),
            }
        }
        if head_lost {
            self.stabilise(ctx);
        }
    }
}
