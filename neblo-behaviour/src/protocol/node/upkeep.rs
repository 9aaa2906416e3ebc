//! Upkeep: periodic stabilising, fingers, and which connections are kept.

use super::*;
use crate::protocol::io::chance;
use crate::protocol::link::LinkEvent;
use crate::protocol::ring::{RingInput, RingTimer, Rounds};

/// A change of the connections to keep is looked at after this, so that many changes cost one look. choice
const REFRESH_AFTER: Duration = Duration::from_millis(50);
/// Rounds of upkeep between two attempts of a lonely node to find the others. choice
const LONELY_ROUNDS: u64 = 8;

/// Rounds of upkeep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Upkeep {
    /// Of the timer that is waited for.
    generation: u64,
    /// Rounds so far.
    count: u64,
    rounds: Rounds,
}

impl<P: Peer> Node<P> {
    pub(super) fn start_upkeep(&mut self, step: &mut Step<'_, P>) {
        self.upkeep = Upkeep { generation: self.upkeep.generation, ..Upkeep::default() };
        self.next_round(step, 1);
    }

    /// The next round is so many rounds' time away.
    fn next_round(&mut self, step: &mut Step<'_, P>, rounds: u32) {
        // Half of the peers wait a little longer: neighbours must not stay in step.
        let every = self.config.stabilise_every.saturating_mul(rounds);
        let longer = if chance(step.rng, 0.5) { every / 8 } else { Duration::ZERO };
        self.upkeep.generation += 1;
        arm(step, every + longer, Timer::Upkeep(self.upkeep.generation));
    }

    /// The ring around this peer changes, or may: rounds are as frequent again as that needs.
    pub(super) fn stir(&mut self, step: &mut Step<'_, P>) {
        if self.upkeep.rounds.stirred() && self.subscription.wanted {
            self.next_round(step, 1);
        }
    }

    pub(super) fn upkeep_expired(&mut self, step: &mut Step<'_, P>, generation: u64) {
        if generation != self.upkeep.generation || !self.subscription.wanted {
            return;
        }
        let waited = self.upkeep.rounds.waited();
        let next = self.upkeep.rounds.next(self.ring.is_settled() && !self.fingers.are_due());
        self.next_round(step, next);
        self.upkeep.count += 1;
        let count = self.upkeep.count;
        if self.ring.is_alone() && !self.subscription.known.is_empty() && count.is_multiple_of(LONELY_ROUNDS) {
            return self.enter_ring(step);
        }
        self.fingers.forgive(step.now, None);
        self.seek_other_ring(step, waited);
        part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Expired(RingTimer::Stabilise)));
        for _ in 0..self.fingers.wanted_after(waited) {
            self.ask_finger(step);
        }
    }

    pub(super) fn refresh_soon(&mut self, step: &mut Step<'_, P>) {
        if !self.refreshing {
            self.refreshing = true;
            arm(step, REFRESH_AFTER, Timer::Refresh);
        }
    }

    /// Keeps the connections that ring, subgroups and paths need, and lets go of the others (design: two planes).
    pub(super) fn refresh(&mut self, step: &mut Step<'_, P>) {
        self.refreshing = false;
        if !self.ring_is_kept() {
            self.kept_ring = self.ring.neighbours().cloned().collect();
        }
        // Mostly they are the same as before, so nothing is copied until they are not.
        let mut wanted: Vec<(P, Option<&Contact<P>>, LinkUse)> = Vec::with_capacity(self.held.len() + 8);
        wanted.extend(self.fingers.iter().map(|finger| (finger.contact.peer, Some(&finger.contact), LinkUse::Seldom)));
        wanted.extend(self.kept_ring.iter().map(|contact| match self.ring.is_spare(contact.peer) {
            // Another one watches it as a neighbour.
            true => (contact.peer, Some(contact), LinkUse::Seldom),
            false => (contact.peer, Some(contact), LinkUse::Neighbour),
        }));
        wanted.extend(self.subgroups.neighbours().map(|contact| (contact.peer, Some(contact), LinkUse::Neighbour)));
        // The leader of a subgroup says when a member of it is gone; nobody does of one that has moved away.
        let on_a_list = |peer: P| self.on_lists.binary_search(&peer).is_ok();
        wanted.extend(self.paths.neighbours().map(|(peer, contact, busy)| match busy {
            true => (peer, contact, LinkUse::Streams),
            false if on_a_list(peer) => (peer, contact, LinkUse::Seldom),
            false => (peer, contact, LinkUse::Neighbour),
        }));
        wanted.retain(|(peer, ..)| *peer != self.me.peer);
        // One entry a peer, with the first contact that has addresses.
        wanted.sort_by_key(|(peer, ..)| *peer);
        wanted.dedup_by(|(peer, contact, used_for), (known, known_contact, known_for)| {
            let same = peer == known;
            if same && !known_contact.is_some_and(Contact::has_addresses) {
                *known_contact = contact.or(*known_contact);
            }
            if same {
                *known_for = (*known_for).max(*used_for);
            }
            same
        });
        // Both are in the order of the peers.
        let mut before = std::mem::take(&mut self.held).into_iter().peekable();
        let mut held = Vec::with_capacity(wanted.len());
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for (peer, contact, used_for) in wanted {
            while let Some((old, _)) = before.next_if(|(old, _)| old.peer < peer) {
                gone.push(old.peer);
            }
            let same = |old: &Contact<P>| contact.map_or(old.addresses.is_none(), |contact| contact.is_same(old));
            held.push(match before.next_if(|(old, _)| old.peer == peer) {
                Some((old, old_use)) if old_use == used_for && same(&old) => (old, used_for),
                old => {
                    let contact = contact.cloned().unwrap_or_else(|| Contact::bare(peer));
                    changed.push((contact.clone(), used_for, old.is_none()));
                    (contact, used_for)
                }
            });
        }
        gone.extend(before.map(|(old, _)| old.peer));
        self.held = held;
        for peer in gone {
            self.links.forget(peer);
            step.out.push(Output::Release(peer));
        }
        for (contact, used_for, new) in changed {
            if new {
                step.out.push(Output::Hold(contact.clone()));
            }
            part!(self, step, |ctx| self.links.watch(ctx, &contact, used_for));
        }
        self.tell_predecessor(step);
    }

    /// Whether the ring's neighbours are those of which connections were looked at last.
    fn ring_is_kept(&self) -> bool {
        let mut kept = self.kept_ring.iter();
        self.ring.neighbours().all(|now| kept.next().is_some_and(|kept| now.is_same(kept))) && kept.next().is_none()
    }

    /// The ring has heard something. Mostly nothing changes by it, and looking at all connections was a third of what an idle
    /// node did.
    pub(super) fn refresh_if_ring_changed(&mut self, step: &mut Step<'_, P>) {
        if !self.ring_is_kept() || !self.successor_list().eq(self.told_list.iter().copied()) {
            self.stir(step);
            self.refresh_soon(step);
        }
    }

    fn successor_list(&self) -> impl Iterator<Item = (P, OverlayAddr)> {
        self.ring.successors().iter().map(|member| (member.contact.peer, member.address))
    }

    /// Another successor list: the predecessor, whose own list follows from it, is told to ask for it now. By itself it would ask
    /// within a round, the one before it a round later, and until then messages would go to those who owned an address before.
    fn tell_predecessor(&mut self, step: &mut Step<'_, P>) {
        if !self.ring.is_member() || self.successor_list().eq(self.told_list.iter().copied()) {
            return;
        }
        self.told_list = self.successor_list().collect();
        if let Some(before) = self.ring.predecessor().filter(|_| !self.ring.is_leaving()) {
            let frame = Frame::Ring(RingMessage::Nudge(Nudge { leaving: false }));
            step.out.push(Output::Send { to: before.contact.clone(), lane: frame.lane(), frame: Box::new(frame) });
        }
    }

    pub(super) fn link_event(&mut self, step: &mut Step<'_, P>, event: LinkEvent<P>) {
        let peer = match event {
            LinkEvent::Dead(peer) => peer,
            LinkEvent::Silent(peer) => {
                part!(self, step, |ctx| self.paths.silent(ctx, peer));
                return self.refresh_soon(step);
            }
        };
        // Whatever still runs over a connection with the dead ends now, streams too.
        step.out.push(Output::Disconnect(peer));
        self.peer_gone(step, peer);
    }

    /// A connection closed. What ran over it has ended; to the ring it is a death if it was kept and in use. Nobody keeps
    /// the others, so they end whenever they are idle, or have ended long ago at an end that could not say so.
    pub(super) fn closed(&mut self, step: &mut Step<'_, P>, peer: P) {
        let kept = self.held_at(peer).is_ok();
        if kept && part!(self, step, |ctx| self.links.closed(ctx, peer)) {
            return self.peer_gone(step, peer);
        }
        self.link_gone(step, peer);
    }

    fn held_at(&self, peer: P) -> Result<usize, usize> {
        self.held.binary_search_by_key(&peer, |(held, _)| held.peer)
    }

    /// Tells all parts that a peer is gone.
    pub(super) fn peer_gone(&mut self, step: &mut Step<'_, P>, peer: P) {
        if let Ok(at) = self.held_at(peer) {
            self.held.remove(at);
            step.out.push(Output::Release(peer));
        }
        self.links.forget(peer);
        self.remember_lost(step.now, peer);
        self.stir(step);
        part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Dead(peer)));
        self.link_gone(step, peer);
    }

    /// Tells those whose frames and streams went over a connection that it is gone.
    fn link_gone(&mut self, step: &mut Step<'_, P>, peer: P) {
        self.fingers.remove(peer);
        self.fingers.shun(peer, step.now);
        part!(self, step, |ctx| self.messaging.lost(ctx, peer));
        part!(self, step, |ctx| self.subgroups.dead(ctx, &*self.keys, peer));
        part!(self, step, |ctx| self.paths.dead(ctx, &*self.keys, peer));
        if self.subgroups.leads() {
            part!(self, step, |ctx| self.directory.leader_gone(ctx, peer));
        }
        self.refresh_soon(step);
    }

    /// A peer could not be dialled: what was on its way to it is lost, but it is not dead for that.
    pub(super) fn unreachable(&mut self, step: &mut Step<'_, P>, peer: P) {
        self.fingers.shun(peer, step.now);
        part!(self, step, |ctx| self.links.unreachable(ctx, peer));
        part!(self, step, |ctx| self.messaging.lost(ctx, peer));
        part!(self, step, |ctx| self.paths.dead(ctx, &*self.keys, peer));
        part!(self, step, |ctx| self.subgroups.unreachable(ctx, &*self.keys, peer));
        if self.subgroups.leads() {
            part!(self, step, |ctx| self.directory.leader_gone(ctx, peer));
        }
        self.refresh_soon(step);
    }

    pub(super) fn own_addresses(&mut self, step: &mut Step<'_, P>, addresses: Vec<Vec<u8>>) {
        self.me = Contact::new(self.me.peer, addresses);
        let contact = self.me.clone();
        part!(self, step, |ctx| self.ring.handle(ctx, RingInput::Contact(contact)));
        self.subgroups.set_contact(self.me.clone());
        self.directory.set_contact(self.me.clone());
        self.paper.set_contact(self.me.clone());
    }
}
