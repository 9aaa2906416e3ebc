//! `neblo demo`: the main job in one process, over real sockets, with a relay killed on the way.

mod fleet;
mod report;
mod run;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::{output::Output, problem::Problem};

pub use report::{PathShown, Step};

/// What the demo does.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// What to publish.
    pub file: PathBuf,
    /// What the nodes talk over.
    pub transport: Transport,
}

/// What the nodes of the demo talk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// TCP, Noise and Yamux
    Tcp,
    /// QUIC
    Quic,
    /// Every other node listens on QUIC, the rest on TCP
    Both,
}

/// Runs the demo. Done only if all of it held.
pub async fn run(options: Options, out: Output) -> Result<(), Problem> {
    run::run(options, out).await
}
