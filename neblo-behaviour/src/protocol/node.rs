//! [`Node`] composes the parts and alone knows them all.

use rand::Rng;

use super::interface::{Input, Output};
use super::io::{Contact, Peer, Time};
use super::seal::Keys;

/// What a node waits for. Opaque to those who drive it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer(pub u64);

/// A whole NEBLO node without sockets or clock.
///
/// Drain `out` after every call of [`Node::handle`], in order.
pub struct Node<P> {
    me: Contact<P>,
}

impl<P: Peer> Node<P> {
    /// A node that has not subscribed yet.
    pub fn new(me: P, _config: super::Config, _keys: Box<dyn Keys<P>>) -> Self {
        Self { me: Contact::bare(me) }
    }

    /// Handles one input; what is to be done is appended to `out`.
    ///
    /// `now` never goes back; `unix` is seconds since 1970.
    pub fn handle(&mut self, now: Time, unix: u64, rng: &mut dyn Rng, input: Input<P>, out: &mut Vec<Output<P>>) {
        let _ = (now, unix, rng, input, out, &self.me);
    }
}
