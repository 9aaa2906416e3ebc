//! Failures of the protocol as problems with a next step.

use neblo_behaviour::protocol::interface::Failure;

use crate::problem::{Code, Problem};

/// What `failure` means for the user who wanted `what` (as in "cannot search").
pub(super) fn problem(what: &str, failure: &Failure) -> Problem {
    let (code, hint) = match failure {
        Failure::TooWeak { .. } => {
            (Code::Unreachable, "wait until more nodes are there (`neblo status`), or accept it: --allow-weak")
        }
        Failure::NoRoute | Failure::NoBootstrap | Failure::NoPath => {
            (Code::Unreachable, "wait until the node is ready (`neblo status --wait-ready`), then try again")
        }
        Failure::Gone | Failure::NoReceiver => (Code::NotFound, "its publisher may come back: try again later"),
        Failure::Closed => (Code::NotRunning, "start the node again: neblo up"),
        Failure::Invalid(_) => (Code::Usage, "make it shorter or simpler"),
        _ => (Code::Unreachable, "try again; `neblo status` shows how the node is connected"),
    };
    Problem::new(code, format!("cannot {what}: {failure}")).hint(hint)
}
