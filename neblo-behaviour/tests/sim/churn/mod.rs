//! Churn: random runs by seed, with what must hold checked after every event (research §3).
//!
//! [`World`] does operations to a simulated network and judges it as it goes; [`seeds`] draws them at random, for an hour
//! and more of simulated time each; [`shrink`] lets proptest draw and shorten them.

mod checks;
mod ring_check;
mod seeds;
mod shrink;
mod traffic;
mod world;

use checks::Checks;

use traffic::Traffic;
use world::{Op, Weather, World};
