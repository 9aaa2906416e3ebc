//! `neblo demo`.

use std::path::PathBuf;

use clap::Args;

use super::Env;
use crate::{
    demo::{self, Transport},
    problem::{Code, Problem},
};

/// Show the main job: publish, search, fetch anonymously, lose a relay on the way, go on, verify
///
/// Starts nodes in this process that share nothing but loopback TCP and QUIC sockets, in at least three subgroups.
/// Publishes a real file on one node, finds it by a keyword from another subgroup, downloads it over an anonymous path,
/// kills a relay of that path in the middle, and goes on where it was. The exit code is 0 only if all of it held.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo demo
  neblo demo --nodes 24 --file holiday.mp4 --transport quic
  neblo demo --json | jq .step")]
pub(super) struct Demo {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(12..=200))]
    nodes: u16,
    /// The file to publish [default: this program]
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// What the nodes talk over
    #[arg(long, value_enum, default_value_t = Transport::Both)]
    transport: Transport,
}

impl Demo {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let file = match self.file {
            Some(file) => file,
            None => std::env::current_exe()
                .map_err(|error| Problem::failed(format!("cannot find this program: {error}")))?,
        };
        let options = demo::Options { nodes: usize::from(self.nodes), file, transport: self.transport };
        tokio::select! {
            done = demo::run(options, env.out) => done,
            _ = tokio::signal::ctrl_c() => Err(Problem::new(Code::Interrupted, "interrupted")),
        }
    }
}
