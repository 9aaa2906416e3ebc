//! The `neblo` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    neblo_app::cli::main()
}
