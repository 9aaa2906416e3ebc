//! `neblo search`.

use std::time::Duration;

use clap::Args;

use super::{Env, content::cut_off};
use crate::{
    api::{SearchEvent, SearchRequest},
    problem::{Code, Problem},
    query,
    units::human,
};

/// Ask all leaders what matches a query; hits are printed as they come in
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo search holiday
  neblo search 'holiday coast'                      both words
  neblo search '\"summer holiday\" OR hol*'           a phrase, or words that begin with hol
  neblo search 'holiday NOT draft size:>1MB type:mp4 tag:year=2026'

Exit code 4 if nothing was found, 5 if no leader answered.")]
pub(super) struct Search {
    /// Words, \"phrases\", prefix*, AND/OR/NOT, size:>1MB, type:pdf, tag:k=v
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,
    /// Most hits wanted
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Seconds to wait for leaders
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,
    /// Go on with fewer than 4 peers to hide among
    #[arg(long)]
    allow_weak: bool,
}

/// Reads a positive number of seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 3600 is needed".into()),
    }
}

impl Search {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let query = self.query.join(" ");
        query::parse(&query).map_err(|error| query_problem(&query, &error))?;
        let timeout = Duration::from_secs_f64(self.timeout);
        let request = SearchRequest {
            query,
            limit: usize::from(self.limit),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            allow_weak: self.allow_weak,
        };
        let mut events = env.client().lines("/v1/search", &request).await?;
        while let Some(event) = events.next().await? {
            match event {
                SearchEvent::Warning { message } => env.out.say(format_args!("warning: {message}")),
                SearchEvent::Hit(hit) => env.out.data(&hit, |hit| {
                    let folder = if hit.collection { "/" } else { "" };
                    let mut text = format!(
                        "{}{folder}  {}  {}\n  root {}\n  {}",
                        hit.name,
                        human(hit.size),
                        hit.media_type,
                        hit.root,
                        hit.link
                    );
                    for (key, value) in &hit.tags {
                        text.push_str(&format!("\n  {key}={value}"));
                    }
                    text
                }),
                SearchEvent::Answered { .. } => {}
                SearchEvent::Done { hits, answered, asked, milliseconds } => {
                    let seconds = Duration::from_millis(milliseconds).as_secs_f64();
                    match asked {
                        // Under the paper's policy nobody tells how many leaders there are.
                        0 => env.out.say(format_args!("{hits} found in {seconds:.2} s")),
                        _ => env.out.say(format_args!(
                            "{hits} found, {answered} of {asked} leaders answered in {seconds:.2} s"
                        )),
                    }
                    return ended(hits, answered, asked);
                }
                SearchEvent::Error(problem) => return Err(problem),
            }
        }
        Err(cut_off())
    }
}

fn ended(hits: usize, answered: u32, asked: u32) -> Result<(), Problem> {
    match (hits, answered) {
        (0, 0) if asked > 0 => {
            Err(Problem::new(Code::Unreachable, format!("none of {asked} leaders answered in time"))
                .hint("try again, with a longer --timeout; `neblo status` shows how the node is connected"))
        }
        (0, _) => {
            Err(Problem::new(Code::NotFound, "nothing matches").hint("use fewer or shorter words, or a prefix: hol*"))
        }
        _ => Ok(()),
    }
}

/// What is wrong with a query, and where.
fn query_problem(query: &str, error: &query::ParseError) -> Problem {
    let mut message = error.to_string();
    if let query::ParseError::At { at, .. } = error {
        message.push_str(&format!("\n  {query}\n  {:>at$}", "^", at = *at));
    }
    Problem::usage(message).hint("`neblo search --help` shows what a query may hold")
}
