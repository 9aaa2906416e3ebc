//! What figures are aimed at, and how bad they may be.

use std::fmt;

/// A figure, what it is aimed at, and the worst that it may be.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) aim: f64,
    pub(crate) worst: f64,
    /// Whether more is better.
    pub(crate) more: bool,
}

/// How a figure stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Aim,
    Bound,
    Missed,
}

impl Target {
    /// Less is better.
    pub(crate) fn at_most(what: impl Into<String>, value: f64, aim: f64, worst: f64) -> Self {
        Self { what: what.into(), value, aim, worst, more: false }
    }

    /// More is better.
    pub(crate) fn at_least(what: impl Into<String>, value: f64, aim: f64, worst: f64) -> Self {
        Self { what: what.into(), value, aim, worst, more: true }
    }

    /// What was not measured is missed.
    pub(crate) fn verdict(&self) -> Verdict {
        let within = |limit: f64| if self.more { self.value >= limit } else { self.value <= limit };
        match (within(self.aim), within(self.worst)) {
            (true, _) => Verdict::Aim,
            (_, true) => Verdict::Bound,
            _ => Verdict::Missed,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, aim, worst, more } = self;
        let limit = if *more { "at least" } else { "at most" };
        let verdict = match self.verdict() {
            Verdict::Aim => "as aimed at",
            Verdict::Bound => "short of the aim",
            Verdict::Missed => "MISSED",
        };
        write!(f, "{what:<58}{value:>8.2}   {limit} {aim:.2}, no worse than {worst:.2}: {verdict}")
    }
}
