//! Liveness of links.
use super::codec::record;
record! {
    /// A probe or its answer.
    pub struct LinkMessage {
        1 => nonce: u64,
        2 => answer: bool,
    }
}
