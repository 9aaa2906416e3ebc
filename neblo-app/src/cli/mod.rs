//! The command line.

mod content;
mod demo;
mod get;
mod search;
mod show;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use etcetera::BaseStrategy;
use tracing_subscriber::EnvFilter;

use crate::{
    api::Client,
    output::Output,
    problem::{Code, Problem},
};

/// Publish, search and fetch files without anyone learning who asked or who answered.
#[derive(Debug, Parser)]
#[command(name = "neblo", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// The node's data directory [default: the user's data directory, e.g. ~/.local/share/neblo]
    #[arg(long, global = true, env = "NEBLO_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Print data as JSON, one object a line, on stdout
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  neblo demo                           see it all work, in one process, in under a minute
  neblo up                             run a node
  neblo up --bootstrap /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...
  neblo publish holiday.mp4 --tag year=2026
  neblo search 'holiday type:mp4'
  neblo get 'neblo:5f1c...' -o videos/

Exit codes: 0 done, 1 failed, 2 usage, 3 node not running, 4 not found, 5 unreachable or timed
out, 6 integrity, 7 partial, 130 interrupted.
Logs go to stderr; NEBLO_LOG sets what is logged, e.g. NEBLO_LOG=debug.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Up(up::Up),
    Publish(content::Publish),
    List(content::List),
    Unpublish(content::Unpublish),
    Search(search::Search),
    Get(get::Get),
    Status(show::Status),
    Peers(show::Peers),
    Paths(show::Paths),
    Transfers(show::Transfers),
    Verify(content::Verify),
}

/// What every command gets.
#[derive(Debug)]
struct Env {
    data_dir: PathBuf,
    out: Output,
}

impl Env {
    fn client(&self) -> Client {
        Client::new(&self.data_dir)
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.json);
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let problem = error.downcast::<Problem>().unwrap_or_else(|error| Problem::failed(format!("{error:#}")));
            out.problem(&problem);
            ExitCode::from(problem.code.exit())
        }
    }
}

fn run(cli: Cli, out: Output) -> anyhow::Result<()> {
    log();
    let data_dir = match cli.data_dir {
        Some(dir) if dir.as_os_str().is_empty() => {
            return Err(Problem::usage("the data dir is an empty path")
                .hint("name a directory, or leave out --data-dir and NEBLO_DATA_DIR")
                .into());
        }
        Some(dir) => std::path::absolute(dir).context("cannot find the current directory")?,
        None => default_data_dir()?,
    };
    let env = Env { data_dir, out };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Demo(command) => command.run(&env).await,
            // A node handles signals itself: it leaves in order.
            Command::Up(command) => command.run(&env).await,
            Command::Publish(command) => interruptible(command.run(&env)).await,
            Command::List(command) => interruptible(command.run(&env)).await,
            Command::Unpublish(command) => interruptible(command.run(&env)).await,
            Command::Search(command) => interruptible(command.run(&env)).await,
            Command::Get(command) => interruptible(command.run(&env)).await,
            Command::Status(command) => interruptible(command.run(&env)).await,
            Command::Peers(command) => interruptible(command.run(&env)).await,
            Command::Paths(command) => interruptible(command.run(&env)).await,
            Command::Transfers(command) => interruptible(command.run(&env)).await,
            Command::Verify(command) => interruptible(command.run(&env)).await,
        }
    });
    // Blocking work (reading a file) may still run; the process need not wait for it.
    runtime.shutdown_background();
    Ok(done?)
}

/// Ends a command on Ctrl-C with the exit code for it.
async fn interruptible(command: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
    tokio::select! {
        done = command => done,
        _ = tokio::signal::ctrl_c() => Err(Problem::new(Code::Interrupted, "interrupted")),
    }
}

fn log() {
    let filter = std::env::var("NEBLO_LOG").unwrap_or_else(|_| "neblo=info,error".into());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn default_data_dir() -> Result<PathBuf, Problem> {
    etcetera::choose_base_strategy().map(|dirs| dirs.data_dir().join("neblo")).map_err(|error| {
        Problem::failed(format!("cannot find your data directory: {error}"))
            .hint("name one by --data-dir or NEBLO_DATA_DIR")
    })
}

/// `path` as the node, which runs in another directory, must see it.
fn absolute(path: &Path) -> Result<String, Problem> {
    let path = std::path::absolute(path).map_err(|error| Problem::usage(format!("{}: {error}", path.display())))?;
    path.into_os_string().into_string().map_err(|path| {
        Problem::usage(format!("the path {} is not UTF-8", path.display()))
            .hint("rename it, or go there and use a relative name")
    })
}

/// The command line's definition, for manuals and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
