//! Binds the protocol to libp2p.

pub mod keys;
pub(crate) mod session;
