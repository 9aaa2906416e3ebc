//! `neblo publish`, `list`, `unpublish` and `verify`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Env, absolute};
use crate::{
    api::{Publication, PublicationState, PublishEvent, PublishRequest, UnpublishRequest, Unpublished, Verified},
    content::{self, ContentError, Outboards},
    link::{Kind, Link, Target},
    metadata::check_tag,
    output::Output,
    problem::{Code, Problem},
    units::human,
};

/// Offer files and folders, anonymously, and print their links
///
/// Returns when a leader has them. They are read in place, not copied: while the node runs it renews them, and it stops
/// offering a source that changes or goes away.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo publish holiday.mp4
  neblo publish holiday.mp4 --name 'Holiday 2026.mp4' --tag year=2026 --tag place=coast
  neblo publish photos/ notes.txt --json")]
pub(super) struct Publish {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Name to publish under (for one path)
    #[arg(long, value_name = "S")]
    name: Option<String>,
    /// A tag that can be searched for
    #[arg(long = "tag", value_name = "K=V", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Go on with fewer than 4 peers to hide among
    #[arg(long)]
    allow_weak: bool,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "a tag looks like year=2026".to_string())?;
    check_tag(key, value).map_err(|error| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Publish {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        if self.name.is_some() && self.paths.len() > 1 {
            return Err(Problem::usage("--name gives one name to several paths").hint("publish them one by one"));
        }
        for path in &self.paths {
            if let Err(error) = std::fs::metadata(path) {
                return Err(unreadable(path, &error));
            }
        }
        let mut failed = None;
        let mut done = 0usize;
        for path in &self.paths {
            let request = PublishRequest {
                path: absolute(path)?,
                name: self.name.clone(),
                tags: self.tags.clone(),
                allow_weak: self.allow_weak,
            };
            match publish(env, &request).await {
                Ok(()) => done = done.saturating_add(1),
                Err(problem) if self.paths.len() == 1 => return Err(problem),
                Err(problem) => {
                    env.out.say(format_args!("{}: {problem}", path.display()));
                    failed = Some(problem);
                }
            }
        }
        match failed {
            None => Ok(()),
            Some(problem) if done == 0 => Err(problem),
            Some(_) => Err(Problem::new(Code::Partial, format!("{done} of {} were published", self.paths.len()))
                .hint("see the messages above, then publish the others again")),
        }
    }
}

/// What is wrong with a source that cannot be looked at.
fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let at = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Problem::new(Code::NotFound, format!("there is no file {at}")).hint("check the path")
        }
        _ => Problem::failed(format!("cannot read {at}: {error}")).hint("check that you may read it"),
    }
}

async fn publish(env: &Env, request: &PublishRequest) -> Result<(), Problem> {
    let mut events = env.client().lines("/v1/publish", request).await?;
    let bar = bar(env.out, "reading");
    while let Some(event) = events.next().await? {
        match event {
            PublishEvent::Hashing { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            PublishEvent::Announcing => {
                bar.set_message("announcing");
                bar.enable_steady_tick(std::time::Duration::from_millis(100));
            }
            PublishEvent::Warning { message } => {
                bar.suspend(|| env.out.say(format_args!("warning: {message}")));
            }
            PublishEvent::Published(publication) => {
                bar.finish_and_clear();
                env.out.data(&publication, |publication| publication.link.clone());
                return Ok(());
            }
            PublishEvent::Error(problem) => {
                bar.finish_and_clear();
                return Err(problem);
            }
        }
    }
    bar.finish_and_clear();
    Err(cut_off())
}

/// The node ended an answer without its last line.
pub(super) fn cut_off() -> Problem {
    Problem::new(Code::NotRunning, "the node stopped before it was done")
        .hint("see what `neblo up` printed, and start it again")
}

/// A progress bar over bytes, hidden where nobody looks.
pub(super) fn bar(out: Output, message: &'static str) -> ProgressBar {
    if !out.interactive() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::new(0).with_message(message);
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// List what this node offers
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  neblo list
  neblo list --json | jq -r .link

States: offered (a leader has it), announcing, changed (the source differs from what was
published) and missing (it is gone); the last two are not served: publish the source again.")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let publications: Vec<Publication> = env.client().get("/v1/publications").await?;
        if publications.is_empty() {
            env.out.say("nothing is published; next: neblo publish PATH");
        }
        for publication in &publications {
            env.out.data(publication, |it| {
                let state = match it.state {
                    PublicationState::Offered => "offered",
                    PublicationState::Announcing => "announcing",
                    PublicationState::Changed => "changed",
                    PublicationState::Missing => "missing",
                };
                let reason = it.reason.as_deref().map(|reason| format!("\n  {reason}"));
                format!(
                    "{state:<10} {:>10}  {}\n  {}\n  {}{}",
                    human(it.size),
                    it.name,
                    it.path,
                    it.link,
                    reason.unwrap_or_default()
                )
            });
        }
        Ok(())
    }
}

/// Stop offering something
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  neblo unpublish 'neblo:5f1c...?net=neblo&len=1048576&name=holiday.mp4'")]
pub(super) struct Unpublish {
    /// The link that `neblo publish` printed, or the content's root (64 hex digits)
    #[arg(value_name = "LINK")]
    link: String,
}

impl Unpublish {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        target(&self.link)?;
        let request = UnpublishRequest { target: self.link };
        let done: Unpublished = env.client().post("/v1/unpublish", &request).await?;
        env.out.data(&done, |done| {
            let names = done.unpublished.iter().map(|it| format!("no longer offered: {}", it.name));
            names.collect::<Vec<_>>().join("\n")
        });
        Ok(())
    }
}

/// Reads a link or root, or says what is wrong with it.
pub(super) fn target(text: &str) -> Result<Target, Problem> {
    text.parse::<Target>().map_err(|error| {
        Problem::usage(error.to_string())
            .hint("copy the whole link, in quotes, as `neblo publish` or `neblo search` printed it")
    })
}

/// Check that a file or folder is what a link promises (needs no node)
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  neblo verify holiday.mp4 'neblo:5f1c...?net=neblo&len=1048576&name=holiday.mp4'

Exit code 6 if the content differs.")]
pub(super) struct Verify {
    /// The file or folder
    path: PathBuf,
    /// The link
    link: String,
}

impl Verify {
    pub(super) async fn run(self, env: &Env) -> Result<(), Problem> {
        let link = match target(&self.link)? {
            Target::Link(link) => link,
            Target::Root(_) => {
                return Err(Problem::usage("verify needs a whole link, this is a root alone")
                    .hint("copy the line that begins with neblo:"));
            }
        };
        std::fs::metadata(&self.path).map_err(|error| unreadable(&self.path, &error))?;
        let bar = bar(env.out, "reading");
        let (path, progress) = (self.path.clone(), bar.clone());
        let checked = tokio::task::spawn_blocking(move || matches(&path, &link, &progress)).await;
        bar.finish_and_clear();
        let differs = checked.map_err(|error| Problem::failed(format!("reading stopped: {error}")))??;
        let matches = differs.is_none();
        let verified = Verified { path: self.path.display().to_string(), matches, reason: differs };
        env.out.data(&verified, |verified| match &verified.reason {
            None => format!("{} is what the link promises", verified.path),
            Some(reason) => format!("{} differs: {reason}", verified.path),
        });
        match matches {
            true => Ok(()),
            false => {
                Err(Problem::new(Code::Integrity, format!("{} is not what the link promises", self.path.display()))
                    .hint("fetch it again: neblo get LINK --overwrite"))
            }
        }
    }
}

/// Reads a file or folder; `None` if it is what the link promises, otherwise how it differs.
fn matches(path: &Path, link: &Link, bar: &ProgressBar) -> Result<Option<String>, Problem> {
    let mut read = |done: u64| {
        bar.set_position(done);
        ControlFlow::Continue(())
    };
    let failed = |error: &dyn std::fmt::Display| Problem::failed(error.to_string());
    match link.kind {
        Kind::File => {
            bar.set_length(link.len);
            match content::verify_file(path, &link.root, Some(link.len), &mut read) {
                Ok(_) => Ok(None),
                Err(ContentError::NotThisContent { what, .. }) => Ok(Some(what)),
                Err(error) => Err(failed(&error)),
            }
        }
        Kind::Collection => {
            // Hashing makes hash trees, which nobody needs here.
            let scratch = tempfile::tempdir().map_err(|error| failed(&error))?;
            let outboards = Outboards::open(scratch.path()).map_err(|error| failed(&error))?;
            let collection = content::walk(path).map_err(|error| failed(&error))?;
            let hashed = collection.hash(&outboards, &mut read).map_err(|error| failed(&error))?;
            let same = hashed.root == link.root;
            Ok((!same).then(|| format!("its root is {}", hex::encode(hashed.root))))
        }
    }
}
