//! Binds the protocol to libp2p: [`Behaviour`] drives a node with a swarm, [`Handle`] talks to it.
//!
//! ```text
//! program ── Handle ──> Behaviour ── Node (pure: decides)
//!                          │
//!                          └── one connection handler a connection: control plane, data plane, gate of the multicast
//! ```
//!
//! Every queue between them has a cap; the types say what happens when it is full.

mod behaviour;
mod dispatch;
mod event;
mod handle;
mod handler;
pub mod keys;
mod multicast;
mod payer;
pub(crate) mod session;
mod shared;
mod splice;
#[cfg(test)]
mod tests;

pub use crate::protocol::interface::{Migration, Ownership, Passage, Passing, Recipients, Regeneration, Role};
pub use behaviour::{Behaviour, SwarmConfig};
pub use dispatch::{Forwarder, MessageReceiver, MigrationHandler, RegenerationHandler, RequestReceiver, Transit};
pub use event::Event;
pub use handle::{
    AnonymousStream, Ask, Delivery, Directory, DirectoryEvent, Handle, Incoming, IncomingStream, Lookup, LookupEvent,
    Messages, Requests, Responder, ResponseHandle,
};
