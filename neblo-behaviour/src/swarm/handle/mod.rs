//! `Handle`: how a program talks to its node, from any task.

mod directory;
mod handlers;
mod lookup;
mod ports;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::SinkExt;
use futures::channel::{mpsc, oneshot};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;

pub use self::directory::{Directory, DirectoryEvent};
pub use self::lookup::{Lookup, LookupEvent};
pub use self::ports::{Ask, Delivery, Messages, Requests, Responder, ResponseHandle};
pub use self::stream::{AnonymousStream, Incoming, IncomingStream};

pub(crate) use self::directory::DirectoryQueue;
pub(crate) use self::stream::IncomingSlot;

use super::dispatch::{RangeHandler, Registration};
use super::handler::data::{OwnStream, within};
use super::session;
use super::shared::{Permit, Shared};
use crate::address::OverlayAddr;
use crate::protocol::interface::{
    Announcement, Answer, Command, Failure, Hit, PublicationId, Recipients, Refusal, Status, Token,
};
use crate::protocol::io::Contact;

/// Commands that wait for the behaviour; a caller waits when there are more.
pub(crate) const MAX_COMMANDS: usize = 256;
/// Hits that wait for the application in one queue.
pub(crate) const MAX_QUEUED: usize = 64;
/// How long opening a stream may take, from the command to the end of the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What a handle asks of the behaviour.
pub(crate) enum Request {
    /// A command with an answer.
    Ask(Token, Command<PeerId>, Pending),
    /// A command without.
    Tell(Command<PeerId>),
    /// What arrives at a port goes here from now on.
    Register { port: u16, registration: Registration, reply: oneshot::Sender<Result<(), Failure>> },
    /// A port has no handlers any more.
    Clear { port: u16 },
    /// Work on ranges goes here from now on.
    RegisterRanges { handler: RangeHandler, reply: oneshot::Sender<Result<(), Failure>> },
    /// Ranges have no handlers any more.
    ClearRanges,
    /// A command that was given without waiting.
    Tried(Box<Request>, Permit),
}

/// Who waits for an answer.
pub(crate) enum Pending {
    Once(oneshot::Sender<Result<Answer, Failure>>),
    Lookup(mpsc::Sender<LookupEvent>),
    Connect(oneshot::Sender<Result<OwnStream, Failure>>),
}

/// Talks to the node of a [`Behaviour`](super::Behaviour).
///
/// Cheap to clone, and usable from any task while the swarm is being polled somewhere. Commands wait in a queue of 256 and are
/// handled in order; the methods are async because they wait for room in it and for the answer, and dropping what they return
/// gives the command up. Once the behaviour is gone everything fails with [`Failure::Closed`].
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Request>,
    shared: Arc<Shared>,
    directory: Arc<DirectoryQueue>,
    incoming: Arc<IncomingSlot>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Gives a command up when dropped, unless it was answered.
#[derive(Debug)]
struct CancelGuard {
    token: Token,
    shared: Arc<Shared>,
    armed: bool,
}

impl CancelGuard {
    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if self.armed {
            let token = self.token;
            self.shared.note(|notes| notes.cancelled.push(token));
        }
    }
}

impl Handle {
    pub(crate) fn new(
        commands: mpsc::Sender<Request>,
        shared: Arc<Shared>,
        directory: Arc<DirectoryQueue>,
        incoming: Arc<IncomingSlot>,
    ) -> Self {
        Self { commands, shared, directory, incoming }
    }

    async fn tell(&self, request: Request) -> Result<(), Failure> {
        self.commands.clone().send(request).await.map_err(|_| Failure::Closed)
    }

    fn guard(&self) -> CancelGuard {
        CancelGuard { token: self.shared.next(), shared: self.shared.clone(), armed: true }
    }

    async fn ask(&self, command: impl FnOnce(Token) -> Command<PeerId>) -> Result<Answer, Failure> {
        let mut guard = self.guard();
        let (reply, answer) = oneshot::channel();
        self.tell(Request::Ask(guard.token, command(guard.token), Pending::Once(reply))).await?;
        let answer = answer.await;
        guard.disarm();
        answer.unwrap_or(Err(Failure::Closed))
    }

    /// Joins the ring through any of these peers, or founds a ring if there are none; resolves once this node is a member.
    ///
    /// Each address must end with `/p2p/<peer id>`; several may name one peer.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Failure::Invalid) for an address without a peer, [`NoBootstrap`](Failure::NoBootstrap) when none let us in,
    /// [`AlreadySubscribed`](Failure::AlreadySubscribed).
    pub async fn subscribe(&self, known: Vec<Multiaddr>) -> Result<OverlayAddr, Failure> {
        let known = contacts(known)?;
        match self.ask(|token| Command::Subscribe { token, known }).await? {
            Answer::Subscribed { address } => Ok(address),
            _ => Err(Failure::Closed),
        }
    }

    /// Leaves ring and subgroup in order; resolves once the range is its next owner's and the migration handler has returned for
    /// all of it, after a minute at the latest. The node may be dropped then: nothing that the handler sent on is lost.
    ///
    /// # Errors
    ///
    /// [`Closed`](Failure::Closed), or [`Overloaded`](Failure::Overloaded) when many such commands wait already.
    pub async fn leave(&self) -> Result<(), Failure> {
        self.ask(|token| Command::Leave { token }).await.map(drop)
    }

    /// `UD_send`: sends a message to the receivers of `port` at the owners of `to`: a number
    /// of copies (1 to 8, the primary counts), or [`Recipients`].
    ///
    /// Resolves once the message was handed to the first hop of every copy; what becomes of it further on is not known.
    ///
    /// # Errors
    ///
    /// [`NoRoute`](Failure::NoRoute), or [`Invalid`](Failure::Invalid) for a payload above 64 KiB or wrong `copies`.
    pub async fn send(
        &self,
        recipients: impl Into<Recipients>,
        port: u16,
        to: OverlayAddr,
        payload: Vec<u8>,
    ) -> Result<(), Failure> {
        let recipients = recipients.into();
        self.ask(|token| Command::Send { token, recipients, port, to, payload }).await.map(drop)
    }

    /// `REQ_send`: asks the receivers of `port` at the owners of `to` (a number of copies, 1 to 8, or
    /// [`Recipients`]); the first good answer wins.
    ///
    /// The response is awaited or tested for on what this returns, which fails by itself after `timeout`.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed): everything else comes with the response.
    pub async fn request(
        &self,
        recipients: impl Into<Recipients>,
        port: u16,
        to: OverlayAddr,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> Result<ResponseHandle, Failure> {
        let guard = self.guard();
        let token = guard.token;
        let (reply, answer) = oneshot::channel();
        let command = Command::Request { token, recipients: recipients.into(), port, to, payload, timeout };
        self.tell(Request::Ask(token, command, Pending::Once(reply))).await?;
        Ok(ResponseHandle::new(answer, guard))
    }

    /// Offers a publication, anonymously, until it is withdrawn; resolves when a leader has it. It is renewed by itself.
    ///
    /// # Errors
    ///
    /// [`TooWeak`](Failure::TooWeak) below four subgroup members unless `allow_weak`, [`NoPath`](Failure::NoPath),
    /// [`Invalid`](Failure::Invalid) for a payload above 8 KiB.
    pub async fn announce(&self, announcement: Announcement, allow_weak: bool) -> Result<PublicationId, Failure> {
        match self.ask(|token| Command::Announce { token, announcement, allow_weak }).await? {
            Answer::Announced(publication) => Ok(publication),
            _ => Err(Failure::Closed),
        }
    }

    /// Stops offering a publication.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn withdraw(&self, publication: PublicationId) -> Result<(), Failure> {
        self.ask(|token| Command::Withdraw { token, publication }).await.map(drop)
    }

    /// Asks all leaders, anonymously: a stream of hits as they arrive, within `window`; `limit` is a leader's share.
    ///
    /// Dropping the stream gives the lookup up.
    pub fn lookup(&self, query: Vec<u8>, limit: u16, window: Duration, allow_weak: bool) -> Lookup {
        let guard = self.guard();
        let token = guard.token;
        let (hits, events) = mpsc::channel(MAX_QUEUED);
        let command = Command::Lookup { token, query, limit, window, allow_weak };
        let this = self.clone();
        let sent = Box::pin(async move { this.tell(Request::Ask(token, command, Pending::Lookup(hits))).await });
        Lookup::new(sent, events, guard)
    }

    /// Opens a stream to the publisher of a hit, anonymously for both; encrypted end to end. Takes at most 20 s.
    ///
    /// # Errors
    ///
    /// [`StreamRefused`](Failure::StreamRefused) by a relay or the publisher, [`TooWeak`](Failure::TooWeak),
    /// [`NoPath`](Failure::NoPath), [`Gone`](Failure::Gone), [`TimedOut`](Failure::TimedOut).
    pub async fn connect(&self, hit: &Hit, allow_weak: bool) -> Result<AnonymousStream, Failure> {
        within(CONNECT_TIMEOUT, self.connect_inner(hit, allow_weak)).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn connect_inner(&self, hit: &Hit, allow_weak: bool) -> Result<AnonymousStream, Failure> {
        let mut guard = self.guard();
        let token = guard.token;
        let (reply, answer) = oneshot::channel();
        let command = Command::Connect { token, hit: Box::new(hit.clone()), allow_weak };
        self.tell(Request::Ask(token, command, Pending::Connect(reply))).await?;
        let stream = match answer.await {
            Ok(stream) => stream,
            Err(_) if self.commands.is_closed() => Err(Failure::Closed),
            Err(_) => Err(Failure::StreamRefused(Refusal::Unreachable)),
        };
        guard.disarm();
        let mut stream = stream?;
        if stream.grant().await.is_err() {
            return Err(Failure::StreamRefused(Refusal::Unreachable));
        }
        match session::initiate(stream, hit.id(), &hit.key).await {
            Ok(session) => Ok(AnonymousStream::new(session)),
            Err(error) => Err(match error.kind() {
                std::io::ErrorKind::TimedOut => Failure::TimedOut,
                std::io::ErrorKind::InvalidData => Failure::StreamRefused(Refusal::Protocol),
                _ => Failure::StreamRefused(Refusal::Unreachable),
            }),
        }
    }

    /// The streams that requesters open to our publications. The latest caller gets them all; earlier streams end.
    ///
    /// At most 32 wait to be accepted, each for 10 s; without anybody who listens, streams are refused.
    pub fn incoming(&self) -> Incoming {
        self.incoming.listen()
    }

    /// What this node must index and answer while it is a leader. The latest caller gets it all; earlier streams end.
    ///
    /// It begins with all rows there are. Row changes that wait are merged, so that there are never more of them than rows; at
    /// most 64 searches wait, and further ones are answered with nothing. Without anybody who listens all searches are.
    pub fn directory(&self) -> Directory {
        self.directory.listen(self.shared.clone())
    }

    /// Answers a search with the rows that match, best first.
    pub fn directory_answer(&self, ask: u64, rows: Vec<u64>) {
        self.shared.note(|notes| notes.rows.push((ask, rows)));
    }

    /// A snapshot of the node for people and monitoring.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn status(&self) -> Result<Status, Failure> {
        match self.ask(|token| Command::Status { token }).await? {
            Answer::Status(mut status) => {
                status.counters.extend(self.shared.counters.list());
                Ok(*status)
            }
            _ => Err(Failure::Closed),
        }
    }

    /// First relays to prefer, as kept from an earlier run (see `Event::FirstRelays`).
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn prefer_relays(&self, relays: Vec<(OverlayAddr, PeerId)>) -> Result<(), Failure> {
        self.tell(Request::Tell(Command::PreferRelays { relays })).await
    }

    /// Bytes of streams carried for others up to now, both ways together.
    pub fn relayed_bytes(&self) -> u64 {
        self.shared.counters.relayed_bytes.load(Ordering::Relaxed)
    }
}

/// Groups addresses by the peer that each must end with.
fn contacts(addresses: Vec<Multiaddr>) -> Result<Vec<Contact<PeerId>>, Failure> {
    let mut peers: BTreeMap<PeerId, Vec<Vec<u8>>> = BTreeMap::new();
    for mut address in addresses {
        let Some(Protocol::P2p(peer)) = address.pop() else {
            return Err(Failure::Invalid("the address of a known peer must end with /p2p/<peer id>"));
        };
        let known = peers.entry(peer).or_default();
        if !address.is_empty() {
            known.push(address.to_vec());
        }
    }
    Ok(peers.into_iter().map(|(peer, addresses)| Contact::new(peer, addresses)).collect())
}
