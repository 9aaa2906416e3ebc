//! What went wrong, why, and what to do next: one type for the program, its API and its exit codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kinds of failure. Each has an exit code of its own (see [`Code::exit`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Something outside the program failed, such as the file system.
    Failed,
    /// What was asked for makes no sense.
    Usage,
    /// No node runs on this data directory.
    NotRunning,
    /// There is no such file, publication, content or transfer.
    NotFound,
    /// Nobody could be reached, or not in time.
    Unreachable,
    /// Content differs from what its link promises.
    Integrity,
    /// Some of it is done and the rest is not.
    Partial,
    /// The user stopped it.
    Interrupted,
}

impl Code {
    /// The exit code of the program.
    pub fn exit(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::NotFound => 4,
            Self::Unreachable => 5,
            Self::Integrity => 6,
            Self::Partial => 7,
            Self::Interrupted => 130,
        }
    }
}

/// A failure as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind.
    pub code: Code,
    /// What happened and why.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a next step yet; see [`Problem::hint`].
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// A problem of the kind [`Code::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// A problem of the kind [`Code::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  next: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The form in which a problem stands in JSON: `{"error": {...}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorObject {
    /// The problem.
    pub error: Problem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_json_and_names_the_next_step() {
        let problem = Problem::new(Code::NotRunning, "no node runs").hint("run `neblo up`");
        let text = serde_json::to_string(&ErrorObject { error: problem.clone() }).unwrap();
        assert_eq!(text, r#"{"error":{"code":"not_running","message":"no node runs","hint":"run `neblo up`"}}"#);
        let back: ErrorObject = serde_json::from_str(&text).unwrap();
        assert_eq!(back.error, problem);
        assert_eq!(problem.to_string(), "no node runs\n  next: run `neblo up`");
    }
}
