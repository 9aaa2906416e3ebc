//! The protocol, pure: no sockets, no clock, no randomness of its own, and of libp2p only the peer id.
//!
//! [`Node`] composes the parts (`ring`, `messaging`, `subgroup`, `path`, `directory`, `client`, `link`, and `paper` in place of
//! `path`, `directory` and `client`), which do not know one another.

pub mod client;
pub(crate) mod codec;
pub mod config;
pub mod cost;
pub mod directory;
pub mod errand;
pub mod interface;
pub mod io;
pub mod link;
pub mod messaging;
pub mod node;
pub mod paper;
pub mod path;
pub mod policy;
pub mod prefix;
pub(crate) mod rate;
pub mod ring;
pub mod seal;
pub(crate) mod seen;
pub(crate) mod shares;
pub mod subgroup;
pub mod wire;

pub use codec::{Blob, List, WireError};
pub use config::{Config, ReturnWay};
pub use node::{Node, Timer};
pub use policy::{Mechanism, PathPolicy};
