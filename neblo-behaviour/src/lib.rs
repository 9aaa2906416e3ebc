//! NEBLO lets any libp2p program route messages over a nearly blind ring, and publish, find and stream things without
//! anyone learning who asked or who answered.

pub mod address;
pub mod protocol;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "swarm")]
pub mod swarm;

pub use address::{AddrRange, OverlayAddr, in_range};
pub use protocol::{Config, interface::Failure};
#[cfg(feature = "swarm")]
pub use swarm::{AnonymousStream, Behaviour, Event, Handle};
