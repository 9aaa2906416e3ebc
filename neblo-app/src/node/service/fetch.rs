//! One download, from the first lookup to the final name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Service,
    downloads::{Progressing, Wanted},
    publish::blocking,
    publishers::Publishers,
};
use crate::{
    content::{MAX_MANIFEST, Manifest, ManifestEntry, PartError, PartFile, Sink, verify_file},
    link::{Kind, Target},
    problem::{Code, Problem},
    transfer::{FetchError, FetchOptions, Fetcher, fetch_bytes},
    units::human,
};

/// A stream on which nothing comes for so long is replaced, at first and at most. Links notice a dead relay sooner; this is for
/// what they cannot see. choice: with the time to open another one it stays below the 5 s after which a download is to go on
const IDLE: (Duration, Duration) = (Duration::from_millis(3_000), Duration::from_secs(16));
/// Ending of the folder in which a collection is collected.
const STAGING: &str = ".neblo-part";

impl Service {
    /// Fetches what is wanted and returns where it is.
    pub(super) async fn fetch(
        &self,
        wanted: Wanted,
        shown: watch::Sender<Progressing>,
        cancel: CancellationToken,
    ) -> Result<PathBuf, Problem> {
        let sources = Publishers::new(
            self.clone(),
            wanted.link.root,
            wanted.allow_weak,
            (wanted.known.clone(), wanted.again),
            shown.clone(),
        );
        let options = FetchOptions {
            idle: IDLE.0,
            longest_idle: IDLE.1,
            download: self.0.download.clone(),
            ..FetchOptions::default()
        };
        let mut fetcher = Fetcher::new(sources, options);
        let fetched = match wanted.link.kind {
            Kind::File => file(&mut fetcher, &wanted, &shown, &cancel).await,
            Kind::Collection => collection(&mut fetcher, &wanted, &shown, &cancel).await,
        };
        let done = shown.borrow().transfer.done;
        let sources = fetcher.finish().await;
        match fetched {
            Ok(path) => Ok(path),
            Err(Failed::Problem(problem)) => Err(problem),
            Err(Failed::Fetch(error)) => {
                let part = part_of(&wanted.destination, wanted.link.kind);
                Err(fetch_problem(&error, sources.problem, done, &part))
            }
        }
    }
}

enum Failed {
    Problem(Problem),
    Fetch(FetchError),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<PartError> for Failed {
    fn from(error: PartError) -> Self {
        Self::Fetch(FetchError::Part(error))
    }
}

/// Opens or goes on with a part file, which may verify what is there.
async fn open_part(
    path: PathBuf,
    root: crate::content::Root,
    len: u64,
    overwrite: bool,
) -> Result<Arc<PartFile>, Failed> {
    let opened = blocking(move || Ok(PartFile::open(&path, root, len, overwrite)));
    Ok(Arc::new(opened.await??))
}

async fn file(
    fetcher: &mut Fetcher<Publishers>,
    wanted: &Wanted,
    shown: &watch::Sender<Progressing>,
    cancel: &CancellationToken,
) -> Result<PathBuf, Failed> {
    let link = &wanted.link;
    let path = wanted.destination.clone();
    let part = open_part(path, link.root, link.len, wanted.overwrite).await?;
    shown.send_modify(|shown| {
        shown.resumed = part.present();
        shown.transfer.done = part.present();
    });
    fetcher
        .fetch(part.clone(), cancel, &mut |progress| {
            shown.send_modify(|shown| shown.at(progress.present, progress.streams));
        })
        .await?;
    let overwrite = wanted.overwrite;
    let finished = blocking(move || Ok(part.finish(overwrite)));
    Ok(finished.await??)
}

/// Collects a folder's files under a name of its own, and gives it the final name when all are there.
async fn collection(
    fetcher: &mut Fetcher<Publishers>,
    wanted: &Wanted,
    shown: &watch::Sender<Progressing>,
    cancel: &CancellationToken,
) -> Result<PathBuf, Failed> {
    let link = &wanted.link;
    let bytes = fetch_bytes(fetcher, link.root, link.len, MAX_MANIFEST, cancel).await?;
    let manifest = Manifest::decode(&bytes).map_err(|error| {
        Problem::new(Code::Integrity, format!("the folder's list of files is not one: {error}"))
            .hint("whoever published it made it so; there is nothing to fetch")
    })?;
    shown.send_modify(|shown| shown.transfer.total = manifest.size());
    let staging = part_of(&wanted.destination, Kind::Collection);
    let mut done = 0u64;
    for entry in manifest.files() {
        let path = staging.join(&entry.path);
        let there = done;
        let (it, at) = (entry.clone(), path.clone());
        if !blocking(move || prepare(&at, &it)).await? {
            let part = open_part(path, entry.root, entry.len, true).await?;
            fetcher
                .fetch(part.clone(), cancel, &mut |progress| {
                    shown.send_modify(|shown| shown.at(there.saturating_add(progress.present), progress.streams));
                })
                .await?;
            let finished = blocking(move || Ok(part.finish(true)));
            finished.await??;
        }
        done = done.saturating_add(entry.len);
        shown.send_modify(|shown| shown.at(done, shown.streams));
    }
    let target = wanted.destination.clone();
    blocking(move || {
        // A folder that is there and not empty is never replaced: it may hold what is nowhere else.
        match fs::rename(&staging, &target) {
            Ok(()) => Ok(target),
            Err(error) => Err(Problem::new(
                Code::Partial,
                format!(
                    "all files are in {}, but cannot get the name {}: {error}",
                    staging.display(),
                    target.display()
                ),
            )
            .hint("move what has that name away and run the same command again")),
        }
    })
    .await
    .map_err(Failed::Problem)
}

/// Makes the folders for a file of a collection. Whether the file is there already, as it should be.
fn prepare(path: &Path, entry: &ManifestEntry) -> Result<bool, Problem> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            Problem::failed(format!("cannot make the folder {}: {error}", folder.display()))
                .hint("check that you may write there, or choose another place with -o")
        })?;
    }
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    Ok(path.exists() && verify_file(path, &entry.root, Some(entry.len), go_on).is_ok())
}

/// Where the data is until the final name.
pub(super) fn part_of(destination: &Path, _kind: Kind) -> PathBuf {
    let mut name = destination.as_os_str().to_owned();
    name.push(STAGING);
    PathBuf::from(name)
}

/// Refuses at once what would be refused in the end.
pub(super) fn check_destination(wanted: &Wanted) -> Result<(), Problem> {
    let path = &wanted.destination;
    let Ok(found) = fs::symlink_metadata(path) else {
        return match path.parent() {
            Some(folder) if !folder.is_dir() => {
                Err(Problem::usage(format!("the folder {} does not exist", folder.display()))
                    .hint("create it, or choose another with -o"))
            }
            _ => Ok(()),
        };
    };
    let taken = |hint: &str| Err(Problem::usage(format!("{} exists already", path.display())).hint(hint));
    match wanted.link.kind {
        Kind::Collection => taken("choose another name with -o: a folder is never replaced"),
        Kind::File if found.is_dir() => taken("it is a folder: choose a file name with -o"),
        Kind::File if !wanted.overwrite => taken("choose another name with -o, or replace it with --overwrite"),
        Kind::File => Ok(()),
    }
}

/// Deletes what is there of a download. Blocks on the disk.
pub(super) fn discard(destination: &Path, target: &str) -> Result<(), Problem> {
    let Ok(Target::Link(link)) = target.parse::<Target>() else {
        return Ok(());
    };
    let part = part_of(destination, link.kind);
    let failed = |error: &dyn std::fmt::Display| {
        Problem::failed(format!("cannot delete {}: {error}", part.display())).hint("delete it by hand")
    };
    match link.kind {
        Kind::Collection => match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        },
        // Opening finds the files that belong to the download, whatever they are called.
        Kind::File if part.exists() => {
            let opened = PartFile::open(destination, link.root, link.len, true);
            let discarded = opened.and_then(PartFile::discard);
            discarded.map_err(|error| failed(&error))
        }
        Kind::File => Ok(()),
    }
}

/// What a failed download means to its user.
fn fetch_problem(error: &FetchError, why: Option<Problem>, done: u64, part: &Path) -> Problem {
    if let FetchError::NoSources { .. } = error
        && let Some(why) = why
        && (done == 0 || why.code == Code::Integrity)
    {
        return why;
    }
    let code = match error {
        _ if error.is_integrity() => Code::Integrity,
        FetchError::Cancelled => Code::Interrupted,
        FetchError::Part(
            PartError::TargetExists { .. }
            | PartError::TargetIsDirectory { .. }
            | PartError::NoName { .. }
            | PartError::NoDirectory { .. }
            | PartError::OtherContent { .. }
            | PartError::WrongLength { .. },
        ) => Code::Usage,
        FetchError::Part(_) if done == 0 => Code::Failed,
        FetchError::NoSources { .. } | FetchError::Stalled { .. } if done == 0 => Code::Unreachable,
        _ => Code::Partial,
    };
    // What the message says already needs no hint; only where the data is.
    let problem = Problem::new(code, error.to_string());
    match code {
        Code::Partial => {
            problem.hint(format!("{} are kept in {}: run the same command again to go on", human(done), part.display()))
        }
        _ => problem,
    }
}
