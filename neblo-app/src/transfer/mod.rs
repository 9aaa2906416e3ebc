//! Moving content over one stream between a requester and a publisher.
//!
//! The requester asks for *windows*, aligned ranges of at most 2 MiB of a root, with a few of them on their way at
//! once; the publisher answers each, in order, with a status and a slice. Every message is a 4-byte big-endian length
//! and CBOR; the bytes of a slice follow their answer without further framing. `Done` and `Bye` end it.
//!
//! Nothing here knows what the stream is. A requester that loses one goes on with the next, from whichever publisher.

mod fetch;
mod rate;
mod serve;
mod session;
mod wire;

pub use fetch::{FetchError, FetchOptions, Fetcher, NoMoreSources, Progress, Sources, fetch_bytes};
pub use rate::RateLimiter;
pub use serve::{Catalogue, ServeError, ServeOptions, Served, serve};
pub use session::StreamEnd;
pub use wire::{MAX_MESSAGE, Status, WireError};

#[cfg(test)]
mod tests;
