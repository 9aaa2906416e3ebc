//! The program as its users see it: separate processes, real sockets.

mod failures;
mod harness;
mod kills;
mod losses;
mod network;
mod paper;
mod restarts;
mod usage;
