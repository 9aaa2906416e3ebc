//! The ring.
use super::codec::record;
record! {
    /// A ring message.
    pub struct RingMessage<P> {
        1 => peer: crate::protocol::io::Contact<P>,
    }
}
