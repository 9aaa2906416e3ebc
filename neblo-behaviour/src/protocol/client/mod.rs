//! Publisher and requester: what a peer announces, looks up and connects to over its own paths (seed 003 §3).

mod publisher;
mod requester;

use std::collections::BTreeMap;
use std::time::Duration;

use publisher::Publication;
use requester::{Connecting, Looking};

use super::errand::{Errand, Notice};
use super::interface::{Answer, Failure, PublicationId, Purpose, Refusal, Token};
use super::io::{Ctx, Part, Peer, Time};
use super::seal::Keys;

/// What the client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientTimer {
    /// Announcements that are due.
    Announce,
    /// A lookup or connect ends.
    Deadline(u64),
    /// A lookup or connect should have been answered by now.
    Unanswered(u64),
    /// Streams whose ticket is still unknown are refused.
    Waiting,
    /// The leader is asked for a stream anew.
    AskAnew(u64),
}

/// What the client reports.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// A path is wanted for this purpose.
    Want(Purpose),
    /// Send this up the path of this purpose, if it is ready.
    Up(Purpose, Box<Errand>),
    /// An answer to the application.
    Done(Token, Answer),
    /// A leader has this publication.
    Held(PublicationId),
    /// What was sent up the path of this purpose was not answered in time.
    Unanswered(Purpose),
    /// Open a stream over the path for downloading.
    OpenStream {
        /// The command.
        token: Token,
        /// The ticket.
        ticket: [u8; 16],
    },
    /// A stream for a publication of ours.
    Accept {
        /// The stream.
        stream: u64,
        /// The publication.
        publication: PublicationId,
        /// Its secret.
        secret: [u8; 32],
    },
    /// A stream that nobody announced.
    Refuse {
        /// The stream.
        stream: u64,
        /// Why.
        reason: Refusal,
    },
}

/// What is asked for needs a path: which are ready, and how many hide us.
#[derive(Clone, Copy, Debug)]
pub struct Cover {
    /// Whether there is a subgroup to walk in.
    pub known: bool,
    /// Its members.
    pub members: usize,
}

impl Cover {
    /// Members below which publishing and asking are refused (design D18).
    const LEAST: usize = 4;

    fn check(self, allow_weak: bool) -> Result<(), Failure> {
        if self.known && self.members < Self::LEAST && !allow_weak {
            return Err(Failure::TooWeak { members: self.members });
        }
        Ok(())
    }
}

/// Publisher and requester of one peer.
#[derive(Debug)]
pub struct Client<P> {
    publications: BTreeMap<PublicationId, Publication>,
    /// Renewals that are under way, by their request.
    renewing: BTreeMap<u64, publisher::Renewal>,
    /// Until when a path for publishing is new.
    settles: BTreeMap<Purpose, Time>,
    looking: BTreeMap<u64, Looking>,
    connecting: BTreeMap<u64, Connecting>,
    /// Tickets of streams to come, and the publication.
    expected: BTreeMap<[u8; 16], (PublicationId, Time)>,
    /// Streams that came before their ticket.
    waiting: Vec<(u64, [u8; 16], Time)>,
    next: u64,
    /// When announcements are looked through next.
    looks: Option<Time>,
    /// When an announcement is renewed: after two thirds of the time for which a leader keeps it.
    renew: Duration,
    /// Whether everything is announced over a second path too.
    second_path: bool,
    peer: std::marker::PhantomData<P>,
}

impl<P: Peer> Part<P> for Client<P> {
    type Message = void::Void;
    type Timer = ClientTimer;
    type Event = ClientEvent;
}

type ClientCtx<'a, P> = Ctx<'a, P, Client<P>>;

impl<P: Peer> Client<P> {
    /// Nothing announced or asked yet; a leader keeps a registration that is not renewed for `lasts`. With a
    /// `second_path` everything is announced over that one, too.
    pub fn new(lasts: Duration, second_path: bool) -> Self {
        Self {
            renew: lasts / 3 * 2,
            second_path,
            publications: BTreeMap::new(),
            renewing: BTreeMap::new(),
            settles: BTreeMap::new(),
            looking: BTreeMap::new(),
            connecting: BTreeMap::new(),
            expected: BTreeMap::new(),
            waiting: Vec::new(),
            next: 0,
            looks: None,
            peer: std::marker::PhantomData,
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A path is ready: what waited for it goes. `beside` the one that it takes the place of, over which something may be on its
    /// way still.
    pub fn path_ready(&mut self, ctx: &mut ClientCtx<'_, P>, purpose: Purpose, beside: bool) {
        if beside {
            self.settles.insert(purpose, ctx.now + publisher::SETTLES);
        }
        match purpose {
            Purpose::Publishing | Purpose::PublishingAgain => self.announce_all(ctx, purpose),
            Purpose::Searching => self.look_up_again(ctx),
            Purpose::Downloading => self.connect_now(ctx),
        }
    }

    /// A path was lost: what was asked over it is asked again over the next one.
    pub fn path_lost(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Publishing | Purpose::PublishingAgain => {
                self.renewing.retain(|_, renewal| renewal.purpose != purpose);
                self.publications.values_mut().for_each(|publication| publication.forget_leader(purpose));
            }
            Purpose::Searching => self.looking.values_mut().for_each(|looking| looking.sent = false),
            Purpose::Downloading => self.connecting.values_mut().for_each(|connecting| connecting.sent = false),
        }
    }

    /// Whether a lookup or connect goes over the path for this purpose.
    pub fn waits_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Publishing | Purpose::PublishingAgain => false,
            Purpose::Searching => !self.looking.is_empty(),
            Purpose::Downloading => self.connecting.values().any(Connecting::asks),
        }
    }

    /// A path was repaired on its way: what was not answered is asked again.
    pub fn path_mended(&mut self, ctx: &mut ClientCtx<'_, P>, purpose: Purpose) {
        match purpose {
            Purpose::Publishing | Purpose::PublishingAgain => {
                self.publications.values_mut().for_each(|publication| publication.hurry(purpose));
                self.announce_due(ctx);
            }
            Purpose::Searching | Purpose::Downloading => {
                self.path_lost(purpose);
                self.path_ready(ctx, purpose, false);
            }
        }
    }

    /// The leader says something.
    pub fn notice(&mut self, ctx: &mut ClientCtx<'_, P>, notice: Notice) {
        match notice {
            Notice::Announced(announced) => self.announced(ctx, announced.request),
            Notice::Renewed(renewed) => self.renewed(ctx, &renewed),
            Notice::Declined(declined) => self.declined(ctx, declined.request),
            Notice::Hits(hits) => self.hits(ctx, hits),
            Notice::Resolved(resolved) => self.resolved(ctx, &resolved),
            Notice::Incoming(incoming) => self.incoming(ctx, &incoming),
        }
    }

    fn declined(&mut self, ctx: &mut ClientCtx<'_, P>, request: u64) {
        if let Some(looking) = self.looking.remove(&request) {
            ctx.out.emit(ClientEvent::Done(looking.token, Answer::Failed(Failure::Refused)));
        }
        self.announce_declined(ctx, request);
    }

    /// Gives up a lookup or connect.
    pub fn cancel(&mut self, token: Token) {
        self.looking.retain(|_, looking| looking.token != token);
        self.connecting.retain(|_, connecting| connecting.token != token);
    }

    /// A timer expired.
    pub fn expired(&mut self, ctx: &mut ClientCtx<'_, P>, timer: ClientTimer) {
        match timer {
            ClientTimer::Announce => self.look_through(ctx),
            ClientTimer::Deadline(request) => self.deadline(ctx, request),
            ClientTimer::Waiting => self.waiting_expired(ctx),
            ClientTimer::Unanswered(request) => self.unanswered(ctx, request),
            ClientTimer::AskAnew(request) => self.rested(ctx, request),
        }
    }
}

/// How soon announcements are looked through again when more are due, and how late at most when none are. choice
const LOOK_THROUGH: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));
