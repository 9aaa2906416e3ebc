//! Handlers of ports: which are set, and what they are shown (seed 000 §4.2).

use super::*;
use crate::protocol::interface::{Failure, Passing};
use crate::protocol::io::Ctx;
use crate::protocol::messaging::{Around, Message, MessagingEvent, Request};

impl<P: Peer> Node<P> {
    /// Sets or removes a handler. NEBLO's own ports have none that the application could set.
    pub(super) fn set_handler(&mut self, port: u16, kind: HandlerKind, on: bool) {
        if user_port(port).is_err() {
            return;
        }
        if on {
            self.handlers.insert((port, kind));
        } else {
            self.handlers.remove(&(port, kind));
        }
        let passing = match kind {
            HandlerKind::MessageReceiver | HandlerKind::RequestReceiver => return,
            HandlerKind::MessageForwarder => Passing::Message,
            HandlerKind::RequestForwarder => Passing::Request,
            HandlerKind::ResponseForwarder => Passing::Response,
        };
        self.messaging.set_forwarder(port, passing, on);
    }

    /// Passes what messaging reports to whom it concerns.
    pub(super) fn messaging_event(&mut self, step: &mut Step<'_, P>, event: MessagingEvent<P>) {
        match event {
            MessagingEvent::Delivered { message, from } => self.delivered(step, message, from),
            MessagingEvent::Asked { ask, request, from } => self.asked(step, ask, request, from),
            MessagingEvent::Passing { pass, kind, port, to, copy, payload, from } => {
                Self::event(step, Event::Passing { pass, kind, port, to, copy, payload, from });
            }
            MessagingEvent::Ended { token, result } => self.ask_ended(step, token, result),
            MessagingEvent::Carried(peer) => {
                self.fingers.carried(peer);
                part!(self, step, |ctx| self.links.used(ctx, peer));
            }
            MessagingEvent::Dropped(what) => self.count(what),
        }
    }

    fn delivered(&mut self, step: &mut Step<'_, P>, message: Message, from: Option<P>) {
        if self.handlers.contains(&(message.port, HandlerKind::MessageReceiver)) {
            let (port, to, copy) = (message.port, message.to, message.copy);
            let payload = message.payload.into_inner();
            Self::event(step, Event::Delivered { port, to, copy, payload, from });
        } else {
            self.count("messages without a receiver");
        }
    }

    fn asked(&mut self, step: &mut Step<'_, P>, ask: u64, request: Request, from: Option<P>) {
        let answer = match request.port {
            PORT_RING => return self.ring_asked(step, ask, request),
            PORT_REGISTRY => {
                let (at, payload) = (request.to, request.payload);
                let answer = part!(self, step, |ctx| self.subgroups.registry_asked(ctx, &*self.keys, at, &payload));
                answer.ok_or(Failure::Refused)
            }
            port if self.handlers.contains(&(port, HandlerKind::RequestReceiver)) => {
                let (to, copy) = (request.to, request.copy);
                let payload = request.payload.into_inner();
                return Self::event(step, Event::Asked { ask, port, to, copy, payload, from });
            }
            _ => Err(Failure::NoReceiver),
        };
        part!(self, step, |ctx| self.messaging.respond(ctx, ask, answer));
    }

    /// Calls messaging with what it asks of ring and keys.
    pub(super) fn messaging<T>(
        &mut self,
        step: &mut Step<'_, P>,
        call: impl FnOnce(&mut Messaging<P>, &mut Ctx<'_, P, Messaging<P>>, &Around<'_, P>) -> T,
    ) -> T {
        let around = Around { route: &|target| route(&self.ring, &self.fingers, target), keys: &*self.keys };
        part!(self, step, |ctx| call(&mut self.messaging, ctx, &around))
    }
}

/// Refuses NEBLO's own ports.
pub(crate) fn user_port(port: u16) -> Result<(), Failure> {
    if port < FIRST_USER_PORT {
        return Err(Failure::Invalid("ports below 1024 are NEBLO's own"));
    }
    Ok(())
}
