//! Passes the events of one part to the next.

use super::*;
use crate::protocol::client::ClientEvent;
use crate::protocol::directory::{DirectoryEvent, OtherLeader};
use crate::protocol::interface::{Answer, Failure, Purpose, Refusal};
use crate::protocol::messaging::Asking;
use crate::protocol::path::{PathEvent, View};
use crate::protocol::ring::RingEvent;
use crate::protocol::subgroup::{Membership, SubgroupEvent};

/// How long the registry is waited for. choice
pub(super) const REGISTRY_WITHIN: Duration = Duration::from_secs(4);
/// Relays, besides the leader and this peer, from which on the home subgroup is used rather than another (design D18).
const ENOUGH_RELAYS: usize = 2;

impl<P: Peer> Node<P> {
    /// Until there are no more: each event may bring others.
    pub(super) fn pass_events(&mut self, step: &mut Step<'_, P>) {
        while let Some(happened) = self.queue.pop_front() {
            match happened {
                Happened::Ring(event) => self.ring_event(step, event),
                Happened::Link(event) => self.link_event(step, event),
                Happened::Messaging(event) => self.messaging_event(step, event),
                Happened::Subgroup(event) => self.subgroup_event(step, event),
                Happened::Path(event) => self.path_event(step, event),
                Happened::Directory(event) => self.directory_event(step, event),
                Happened::Client(event) => self.client_event(step, event),
                Happened::Paper(event) => self.paper_event(step, event),
            }
        }
    }

    fn ring_event(&mut self, step: &mut Step<'_, P>, event: RingEvent<P>) {
        match event {
            RingEvent::Locate(target) => self.locate(step, target),
            RingEvent::Joined => self.joined(step),
            RingEvent::Range { range, epoch } => {
                self.ranges.last = Some((range, epoch));
                self.stir(step);
                Self::event(step, Event::RangeChanged { range, epoch });
                self.refresh_soon(step);
            }
            RingEvent::HandedOver { range, epoch } => self.handed_over(step, range, epoch),
            RingEvent::Inherited { range, epoch } => self.inherited(step, range, epoch),
            RingEvent::Left => self.left(step),
            RingEvent::Isolated => self.isolated(step),
            RingEvent::Dissolved(into) => {
                self.subscription.known.retain(|known| known.peer != into.peer);
                self.subscription.known.insert(0, into);
                self.subscription.at = 0;
                self.enter_ring(step);
            }
            RingEvent::Seen(contact) => self.seen(step, contact),
        }
    }

    pub(super) fn ask_ended(&mut self, step: &mut Step<'_, P>, token: u64, result: Result<Vec<u8>, Failure>) {
        match self.asks.remove(&token) {
            None | Some(Asker::Nobody) => {}
            Some(Asker::User(token)) => {
                let answer = match result {
                    Ok(response) => Answer::Response(response),
                    Err(failure) => Answer::Failed(failure),
                };
                Self::done(step, token, answer);
            }
            Some(Asker::Locate(secret)) => self.located(step, &secret, result),
            Some(Asker::Cast(cast)) => self.cast_answered(step, cast, &result),
            Some(Asker::Seek(secret)) => self.seek_answered(step, &secret, result),
            Some(Asker::Finger(level, secret)) => self.finger_answered(step, level, &secret, result),
            Some(Asker::Registry(token)) => {
                part!(self, step, |ctx| self.subgroups.answered(ctx, &*self.keys, token, result));
            }
        }
    }

    fn subgroup_event(&mut self, step: &mut Step<'_, P>, event: SubgroupEvent<P>) {
        match event {
            SubgroupEvent::Ask { token, recipients, to, payload } => {
                let asking =
                    Asking { token: 0, recipients, port: PORT_REGISTRY, to, payload, wait: REGISTRY_WITHIN, via: None };
                self.ask(step, asking, Asker::Registry(token));
            }
            SubgroupEvent::Changed { guest, .. } => {
                self.subgroups_changed(step);
                if !guest {
                    self.tell_subgroup(step);
                }
            }
            SubgroupEvent::Missed(peer) => part!(self, step, |ctx| self.links.missed(ctx, peer)),
            SubgroupEvent::Leads(leads) => {
                step.out.push(Output::MulticastMember(leads));
                self.subgroups_changed(step);
            }
            SubgroupEvent::LeaderLink(contact, on) => {
                self.refresh_soon(step);
                step.out.push(Output::MulticastLink { peer: contact.peer, on });
            }
            SubgroupEvent::HandOver(peer) => {
                let followers = self.subgroups.followers();
                part!(self, step, |ctx| self.directory.set_followers(ctx, &followers));
                part!(self, step, |ctx| self.directory.when_copied(ctx, &*self.keys, peer));
            }
            SubgroupEvent::Gone => {
                self.subgroups_changed(step);
                if self.ring.me().is_none() {
                    self.left(step);
                }
            }
            SubgroupEvent::Found(subgroup, leader) => {
                part!(self, step, |ctx| self.directory.leader_found(ctx, subgroup, &leader));
            }
        }
    }

    fn tell_subgroup(&mut self, step: &mut Step<'_, P>) {
        let Some(home) = self.subgroups.home() else { return };
        let Some(leader) = home.leader().map(|leader| leader.contact.peer) else { return };
        let event = Event::SubgroupChanged {
            subgroup: home.subgroup(),
            leader,
            is_leader: self.subgroups.leads(),
            members: home.list.members.len(),
        };
        Self::event(step, event);
    }

    /// Where this peer's own paths run: in its home subgroup, or as a guest in another when it leads its own (design D12)
    /// or too few could relay there.
    fn own_subgroup(&self) -> Option<OverlayAddr> {
        let relays = |membership: &Membership<P>| membership.relays(self.me.peer).count();
        let home = self.subgroups.home();
        let leads = self.subgroups.leads();
        if let Some(home) = home.filter(|home| !leads && relays(home) >= ENOUGH_RELAYS) {
            return Some(home.subgroup());
        }
        if let Some(guest) = self.subgroups.guest().filter(|guest| relays(guest) > 0) {
            return Some(guest.subgroup());
        }
        let elsewhere = leads && self.subgroups.leaders().next().is_some();
        home.filter(|home| relays(home) > 0 && !elsewhere).map(Membership::subgroup)
    }

    pub(super) fn subgroups_changed(&mut self, step: &mut Step<'_, P>) {
        let lists = [self.subgroups.home(), self.subgroups.guest()].into_iter().flatten();
        self.on_lists = lists.flat_map(|seat| seat.list.members.iter().map(|member| member.contact.peer)).collect();
        self.on_lists.sort_unstable();
        if self.is_paper() {
            return self.paper_members_changed(step);
        }
        let view = |membership: &Membership<P>| {
            let leader = membership.leader()?;
            Some(View {
                subgroup: membership.subgroup(),
                leader: leader.contact.clone(),
                leader_key: leader.sealing,
                relays: membership.relays(self.me.peer).cloned().collect(),
            })
        };
        let views: Vec<_> =
            [self.subgroups.home(), self.subgroups.guest()].into_iter().flatten().filter_map(view).collect();
        let leads = self.subgroups.home().filter(|_| self.subgroups.leads());
        let term = leads.map(|home| (home.subgroup(), home.list.term));
        let members = leads.map(|home| home.list.members.iter().map(|member| member.contact.clone()).collect());
        let own = self.own_subgroup();
        let leads = term.map(|(subgroup, _)| subgroup);
        self.directory.set_members(members.unwrap_or_default());
        part!(self, step, |ctx| self.directory.lead(ctx, &*self.keys, term));
        let home = self.subgroups.home();
        let leader = home.and_then(|home| Some((home.subgroup(), home.leader()?.contact.peer)));
        self.directory.follow(leader);
        let followers = self.subgroups.followers();
        part!(self, step, |ctx| self.directory.set_followers(ctx, &followers));
        part!(self, step, |ctx| self.paths.set_views(ctx, &*self.keys, views, own, leads));
        let asks = [Purpose::Searching, Purpose::Downloading].into_iter().any(|purpose| self.client.waits_for(purpose));
        if leads.is_some() && (asks || self.client.publications().0 > 0) {
            // A member that has come to lead goes on publishing and asking, which it can do only as a guest elsewhere.
            part!(self, step, |ctx| self.subgroups.want_guest(ctx, &*self.keys));
        }
        if own.is_some() && (leads.is_none() || self.subgroups.guest().is_some()) {
            // Everyone has all paths sooner or later, used or not, so that having one says nothing.
            let second = self.config.path_policy.second_path.then_some(Purpose::PublishingAgain);
            for purpose in Purpose::ALL.into_iter().chain(second) {
                part!(self, step, |ctx| self.paths.keep(ctx, &*self.keys, purpose));
            }
        }
        self.refresh_soon(step);
    }

    fn path_event(&mut self, step: &mut Step<'_, P>, event: PathEvent<P>) {
        match event {
            PathEvent::Ready { purpose, beside } => {
                part!(self, step, |ctx| self.client.path_ready(ctx, purpose, beside));
                Self::event(step, Event::PathReady(purpose));
            }
            PathEvent::Lost(purpose) => {
                self.client.path_lost(purpose);
                Self::event(step, Event::PathLost(purpose));
            }
            PathEvent::PutOff(purpose) => {
                if self.client.waits_for(purpose) {
                    part!(self, step, |ctx| self.paths.want(ctx, &*self.keys, purpose));
                }
            }
            PathEvent::Mended(purpose) => part!(self, step, |ctx| self.client.path_mended(ctx, purpose)),
            PathEvent::Arrived { end, envelope } => {
                let now = step.now;
                let others = || other_leaders(&self.subgroups, now);
                part!(self, step, |ctx| self.directory.arrived(ctx, &*self.keys, &others, end, *envelope));
            }
            PathEvent::EndLost(end) => part!(self, step, |ctx| self.directory.end_lost(ctx, end)),
            PathEvent::Notice(notice) => part!(self, step, |ctx| self.client.notice(ctx, *notice)),
            PathEvent::Expecting(ticket) => part!(self, step, |ctx| self.directory.expecting(ctx, ticket)),
            PathEvent::Grant { stream, next, header } => {
                step.out.push(Output::StreamGranted { stream, next, header });
            }
            PathEvent::Refuse { stream, reason } => step.out.push(Output::StreamRefused { stream, reason }),
            PathEvent::Incoming { stream, ticket } => {
                part!(self, step, |ctx| self.client.stream_came(ctx, stream, ticket));
            }
            PathEvent::Used(peer) => part!(self, step, |ctx| self.links.used(ctx, peer)),
            PathEvent::Awaits(peer) => part!(self, step, |ctx| self.links.awaits(ctx, peer)),
            PathEvent::FirstRelays => Self::event(step, Event::FirstRelays(self.paths.pinned().all())),
        }
    }

    fn directory_event(&mut self, step: &mut Step<'_, P>, event: DirectoryEvent<P>) {
        match event {
            DirectoryEvent::Notice { end, reply, notice } => {
                part!(self, step, |ctx| self.paths.send_down(ctx, &*self.keys, end, &reply, &notice));
            }
            DirectoryEvent::Cast(bytes) => step.out.push(Output::MulticastPublish(bytes)),
            DirectoryEvent::Moved(old) => part!(self, step, |ctx| self.paths.end_moved(ctx, old)),
            DirectoryEvent::Close(end) => part!(self, step, |ctx| self.paths.close_end(ctx, end)),
            DirectoryEvent::Expect { end, ticket } => part!(self, step, |ctx| self.paths.expect(ctx, end, ticket)),
            DirectoryEvent::Bind { end, ticket, next, next_ticket } => {
                part!(self, step, |ctx| self.paths.bind(ctx, end, ticket, next, next_ticket));
            }
            DirectoryEvent::Seek(subgroup, but) => {
                part!(self, step, |ctx| self.subgroups.seek_leader(ctx, subgroup, but));
            }
            DirectoryEvent::Copied(peer) => part!(self, step, |ctx| self.subgroups.copied(ctx, peer)),
            DirectoryEvent::Measured(peer, rate) => self.subgroups.measured(peer, rate),
            DirectoryEvent::RowAdded { row, payload } => Self::event(step, Event::RowAdded { row, payload }),
            DirectoryEvent::RowRemoved(row) => Self::event(step, Event::RowRemoved { row }),
            DirectoryEvent::RowsCleared => Self::event(step, Event::RowsCleared),
            DirectoryEvent::Asked { ask, query, limit } => {
                Self::event(step, Event::DirectoryAsked { ask, query, limit });
            }
        }
    }

    fn client_event(&mut self, step: &mut Step<'_, P>, event: ClientEvent) {
        match event {
            ClientEvent::Want(purpose) => {
                part!(self, step, |ctx| self.paths.want(ctx, &*self.keys, purpose));
                self.refresh_soon(step);
            }
            ClientEvent::Up(purpose, errand) => {
                let kept = (*errand).clone();
                let sent = part!(self, step, |ctx| self.paths.send_up(ctx, &*self.keys, purpose, *errand));
                if sent {
                    part!(self, step, |ctx| self.client.went_up(ctx, &kept));
                }
            }
            ClientEvent::Done(token, answer) => Self::done(step, token, answer),
            ClientEvent::Unanswered(purpose) => {
                part!(self, step, |ctx| self.paths.unanswered(ctx, &*self.keys, purpose));
                self.refresh_soon(step);
            }
            ClientEvent::Held(publication) => Self::event(step, Event::Held(publication)),
            ClientEvent::OpenStream { token, ticket } => {
                self.next_stream += 1;
                let stream = self.next_stream;
                match self.paths.open_stream(stream, ticket) {
                    Some((next, header)) => step.out.push(Output::StreamOpen { token, stream, next, header }),
                    // The path was lost just now.
                    None => part!(self, step, |ctx| self.client.stream_refused(ctx, token, Refusal::Unreachable)),
                }
                self.refresh_soon(step);
            }
            ClientEvent::Accept { stream, publication, secret } => {
                step.out.push(Output::StreamAccepted { stream, publication, secret });
            }
            ClientEvent::Refuse { stream, reason } => {
                self.paths.stream_ended(stream);
                step.out.push(Output::StreamRefused { stream, reason });
            }
        }
    }
}

fn other_leaders<P: Peer>(subgroups: &Subgroups<P>, now: Time) -> Vec<OtherLeader<P>> {
    let known = subgroups.leaders().map(|row| (row.statement.subgroup, row.statement.contact.clone()));
    known.chain(subgroups.vacant(now).map(|(subgroup, leader)| (subgroup, leader.clone()))).collect()
}
