#![deny(missing_docs)]
#![cfg_attr(feature = "swarm", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "swarm"), doc = "The pure protocol of NEBLO, without its binding to libp2p.")]

pub mod address;
// What is read here comes from strangers: nothing in it may panic (tests may).
#[cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]
pub mod protocol;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "swarm")]
pub mod swarm;

pub use address::{AddrRange, OverlayAddr, in_range};
pub use protocol::interface::{Failure, Migration, Ownership, Passage, Recipients, Regeneration, Role};
pub use protocol::{Config, Mechanism, PathPolicy, ReturnWay};
#[cfg(feature = "swarm")]
pub use swarm::{AnonymousStream, Ask, Behaviour, Delivery, Event, Handle, Responder, ResponseHandle, Transit};
