//! What grows with the network, from a thousand to a million peers: what one leader carries of everybody's lookups, and a remedy. The
//! ring's part is [`IdealRing`](super::IdealRing), that of paths [`PathLayer`](super::paths::PathLayer).

mod digest;
mod leader;

pub use digest::{Asked, Digests};
pub use leader::{Carried, known_leaders, leader_under};
