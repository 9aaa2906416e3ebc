//! The protocol, pure: no sockets, no clock, no randomness of its own, and of libp2p only the peer id.

pub(crate) mod codec;
pub mod config;
pub mod interface;
pub mod io;
pub mod link;
pub mod node;
pub mod ring;
pub mod seal;
pub mod wire;

pub use codec::WireError;
pub use config::Config;
pub use node::{Node, Timer};
