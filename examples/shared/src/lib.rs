//! What the examples share: many NEBLO nodes in one process, waiting for conditions, and a shelf that keeps its copies.

mod ask;
mod node;
mod shelf;
mod wait;

pub use ask::ask;
pub use node::{Node, network};
pub use shelf::Shelf;
pub use wait::{until, whole};
