//! The end-to-end session of a stream: Noise between requester and publisher, in records of two sizes.
//!
//! Relays see records of 1,024 or 16,384 bytes and nothing else: what was said, how long it was and where it ended are
//! inside. A session ends cleanly with an acknowledged FIN record; a stream that ends without one was cut, and reading it
//! gives [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof).

mod handshake;
mod record;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use handshake::{initiate, respond};
pub(crate) use record::Session;

/// How long a handshake may take.
pub(crate) const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The version of pattern and record format, as in `StreamHeader::version`.
pub(crate) const VERSION: u8 = 1;
