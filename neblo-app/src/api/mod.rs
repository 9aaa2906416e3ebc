//! The API of a running node: HTTP over a Unix socket in its data directory, readable by its owner alone.
//!
//! A socket in the file system, unlike a local port, cannot be reached by a web site in the user's browser. Long answers
//! come as JSON, one object a line; the last line of such a stream is either a result or an error.

mod client;
mod server;
mod types;

use std::path::{Path, PathBuf};

pub use client::{Client, Lines};
pub use server::{bind, serve};
pub use types::*;

/// Name of the socket in the data directory.
pub const SOCKET_FILE: &str = "neblo.sock";

/// Longest path of a Unix socket that every supported system takes.
const MAX_SOCKET_PATH: usize = 103;

/// The socket of the node on `data_dir`.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET_FILE)
}
