//! Setting handlers, and what handlers may do without waiting (seed 000 §4.2, §4.3; design D8).

use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;

use super::{Handle, MAX_COMMANDS, Messages, Pending, Request, Requests, ResponseHandle};
use crate::address::OverlayAddr;
use crate::protocol::interface::{Answer, Command, Failure, Ownership, Passing, Recipients};
use crate::protocol::node::user_port;
use crate::swarm::dispatch::{
    FairQueue, Forwarder, MessageReceiver, MigrationHandler, PortHandler, RangeHandler, RegenerationHandler,
    Registration, RequestReceiver,
};

/// # Handlers
///
/// A port from 1,024 on has up to five handlers, each independent of the others: closures, or types with the traits named
/// here. Ports below are NEBLO's own: setting a handler there is [`Invalid`](Failure::Invalid).
///
/// The handlers of a port run on a thread of its own, one call after another, so they may compute or block without holding up
/// the node or another port. 64 messages, 64 requests and 64 things that pass through wait for them; when there are more,
/// the neighbour that brought most gives way: a message is dropped and counted, the others end as
/// [`Overloaded`](Failure::Overloaded). A handler that panics is used again for what comes next; the panic is counted, and a
/// message is dropped, a request refused, what passes through passed on unchanged, and work on a range counts as done.
///
/// Handlers get a [`Handle`]: [`try_send`](Self::try_send) and [`try_request`](Self::try_request) never wait. Its async
/// methods may be blocked on (`futures::executor::block_on`), which holds up the handlers of this port alone.
///
/// Setting a handler again replaces it; [`clear_handlers`](Self::clear_handlers) removes all of a port. They end with the node.
/// At most 256 ports have handlers that are closures; on further ones they are [`Overloaded`](Failure::Overloaded).
///
/// Receivers may be streams instead ([`message_receiver`](Self::message_receiver),
/// [`request_receiver`](Self::request_receiver)): take those in async programs, for they cost no thread; take closures for
/// programs without a runtime, for handlers that block, and for forwarders, which have no other form.
impl Handle {
    async fn register(&self, port: u16, registration: Registration) -> Result<(), Failure> {
        user_port(port)?;
        let (reply, answer) = oneshot::channel();
        self.tell(Request::Register { port, registration, reply }).await?;
        answer.await.unwrap_or(Err(Failure::Closed))
    }

    /// `set_receiver_handler_UD`: gets the messages (UD) to `port` that arrive at this node.
    ///
    /// # Errors
    ///
    /// As for all handlers: [`Invalid`](Failure::Invalid) below port 1,024, [`Overloaded`](Failure::Overloaded) when there is no
    /// thread for it, [`Closed`](Failure::Closed).
    pub async fn set_message_receiver(&self, port: u16, receiver: impl MessageReceiver) -> Result<(), Failure> {
        self.register(port, Registration::Handler(PortHandler::Messages(Box::new(receiver)))).await
    }

    /// `set_receiver_handler_REQ`: gets the requests (REQ) to `port` that arrive at this node, and answers them, at once or
    /// later.
    ///
    /// # Errors
    ///
    /// As for [`set_message_receiver`](Self::set_message_receiver).
    pub async fn set_request_receiver(&self, port: u16, receiver: impl RequestReceiver) -> Result<(), Failure> {
        self.register(port, Registration::Handler(PortHandler::Requests(Box::new(receiver)))).await
    }

    /// `set_forwarder_handler_UD`: sees the messages (UD) to `port` that pass through this node: neither its own nor those
    /// that have arrived.
    ///
    /// What is not decided within 10 s is dropped.
    ///
    /// # Errors
    ///
    /// As for [`set_message_receiver`](Self::set_message_receiver).
    pub async fn set_message_forwarder(&self, port: u16, forwarder: impl Forwarder) -> Result<(), Failure> {
        let handler = PortHandler::Forwarder(Passing::Message, Box::new(forwarder));
        self.register(port, Registration::Handler(handler)).await
    }

    /// `set_forwarder_handler_REQ`: sees the requests (REQ) to `port` that pass through this node. The asker of one that is
    /// suppressed gets [`Suppressed`](Failure::Suppressed).
    ///
    /// What is not decided by the last eighth of the asker's time ends as [`Overloaded`](Failure::Overloaded).
    ///
    /// # Errors
    ///
    /// As for [`set_message_receiver`](Self::set_message_receiver).
    pub async fn set_request_forwarder(&self, port: u16, forwarder: impl Forwarder) -> Result<(), Failure> {
        let handler = PortHandler::Forwarder(Passing::Request, Box::new(forwarder));
        self.register(port, Registration::Handler(handler)).await
    }

    /// `set_forwarder_handler_RES`: sees the responses (RES) to requests to `port` that pass through this node on their way
    /// back. Time as for requests.
    ///
    /// # Errors
    ///
    /// As for [`set_message_receiver`](Self::set_message_receiver).
    pub async fn set_response_forwarder(&self, port: u16, forwarder: impl Forwarder) -> Result<(), Failure> {
        let handler = PortHandler::Forwarder(Passing::Response, Box::new(forwarder));
        self.register(port, Registration::Handler(handler)).await
    }

    /// Removes all handlers of a port, streams too. What waits for them is dropped, refused, or passed on unchanged.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn clear_handlers(&self, port: u16) -> Result<(), Failure> {
        self.tell(Request::Clear { port }).await
    }

    async fn register_ranges(&self, handler: RangeHandler) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        self.tell(Request::RegisterRanges { handler, reply }).await?;
        answer.await.unwrap_or(Err(Failure::Closed))
    }

    /// `set_migrat_handler`: is told of ranges that this node has handed over to another owner. What it sends into the range
    /// reaches the new owner; the work is done when it returns, and all that it sent with `try_send` and `try_request` is on its
    /// way then.
    ///
    /// Migration and regeneration handlers share a thread. 1,024 pieces of work wait; further ones are left out, counted
    /// and logged.
    ///
    /// # Errors
    ///
    /// [`Overloaded`](Failure::Overloaded) when there is no thread for it, [`Closed`](Failure::Closed).
    pub async fn set_migration_handler(&self, handler: impl MigrationHandler) -> Result<(), Failure> {
        self.register_ranges(RangeHandler::Migration(Box::new(handler))).await
    }

    /// `set_regen_handler`: is told of ranges whose owner died, on the new owner and on every secondary owner.
    ///
    /// # Errors
    ///
    /// As for [`set_migration_handler`](Self::set_migration_handler).
    pub async fn set_regeneration_handler(&self, handler: impl RegenerationHandler) -> Result<(), Failure> {
        self.register_ranges(RangeHandler::Regeneration(Box::new(handler))).await
    }

    /// Removes migration and regeneration handler; work that waits for them counts as done.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn clear_range_handlers(&self) -> Result<(), Failure> {
        self.tell(Request::ClearRanges).await
    }

    /// In order after what the handler sent.
    pub(crate) fn range_work_done(&self, work: u64) {
        // Closed: then nobody wants to know.
        let _ = futures::executor::block_on(self.tell(Request::Tell(Command::RangeWorkDone { work })));
    }

    /// Receives the messages (UD) to `port` as a stream from now on, in place of an earlier receiver; dropping the stream ends
    /// that.
    ///
    /// At most 64 messages wait; when the program is slower, the neighbour that brought most gives way, and what has no
    /// place is dropped and counted.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Failure::Invalid) below port 1,024, [`Closed`](Failure::Closed).
    pub async fn message_receiver(&self, port: u16) -> Result<Messages, Failure> {
        let (queue, id) = (Arc::<FairQueue<_>>::default(), self.shared.next());
        self.register(port, Registration::Messages(id, queue.clone())).await?;
        Ok(Messages::new(queue, id, self.shared.clone()))
    }

    /// Receives the requests (REQ) to `port` as a stream from now on, in place of an earlier receiver; dropping the stream ends
    /// that.
    ///
    /// At most 64 requests wait; when the program is slower, the neighbour that brought most gives way, and what has no place
    /// ends as overloaded.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Failure::Invalid) below port 1,024, [`Closed`](Failure::Closed).
    pub async fn request_receiver(&self, port: u16) -> Result<Requests, Failure> {
        let (queue, id) = (Arc::<FairQueue<_>>::default(), self.shared.next());
        self.register(port, Registration::Requests(id, queue.clone())).await?;
        Ok(Requests::new(queue, id, self.shared.clone()))
    }

    fn try_tell(&self, request: Request) -> Result<(), Failure> {
        let permit = self.shared.permit(MAX_COMMANDS).ok_or(Failure::Overloaded)?;
        // A sender of its own has a place of its own, so only a closed queue refuses.
        self.commands.clone().try_send(Request::Tried(Box::new(request), permit)).map_err(|_| Failure::Closed)
    }

    /// [`send`](Self::send) without waiting: what becomes of it is not known.
    ///
    /// # Errors
    ///
    /// [`Overloaded`](Failure::Overloaded) when 256 commands given so wait already, [`Closed`](Failure::Closed).
    pub fn try_send(
        &self,
        recipients: impl Into<Recipients>,
        port: u16,
        to: OverlayAddr,
        payload: Vec<u8>,
    ) -> Result<(), Failure> {
        let (token, recipients) = (self.shared.next(), recipients.into());
        self.try_tell(Request::Tell(Command::Send { token, recipients, port, to, payload }))
    }

    /// [`request`](Self::request) without waiting; the response is awaited or tested for as there.
    ///
    /// # Errors
    ///
    /// [`Overloaded`](Failure::Overloaded) when 256 commands given so wait already, [`Closed`](Failure::Closed).
    pub fn try_request(
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
        self.try_tell(Request::Ask(token, command, Pending::Once(reply)))?;
        Ok(ResponseHandle::new(answer, guard))
    }

    /// `owns`: whether this node owns an overlay address now; `Changing` while it is being handed over, or while what belongs to
    /// it is still on its way here.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn owns(&self, address: OverlayAddr) -> Result<Ownership, Failure> {
        match self.ask(|token| Command::Owns { token, address }).await? {
            Answer::Owns(ownership) => Ok(ownership),
            _ => Err(Failure::Closed),
        }
    }

    /// This node's own overlay address, while it is a member of a ring.
    ///
    /// # Errors
    ///
    /// Only [`Closed`](Failure::Closed).
    pub async fn address(&self) -> Result<Option<OverlayAddr>, Failure> {
        self.status().await.map(|status| status.address)
    }
}
