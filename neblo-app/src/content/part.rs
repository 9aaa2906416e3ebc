//! A download on disk: `<name>.neblo-part` beside its destination, and the final name only when all is there.
//!
//! What is present is kept in `<name>.neblo-ranges`. It is written only after the data it speaks of was synced, and
//! replaced by renaming, so after a crash it never claims bytes that are not there.

mod error;
mod finish;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bao_tree::io::sync::WriteAt;
use serde::{Deserialize, Serialize};

use super::{Fingerprint, MAX_CONTENT_LEN, Ranges, Root, Sink, empty_root, slice};
use crate::{cbor, names::MAX_NAME};

pub use error::PartError;

const PART: &str = ".neblo-part";
const RANGES: &str = ".neblo-ranges";
/// Longest file of ranges that is read.
const MAX_RANGES_FILE: usize = 2 << 20;
/// After so many new bytes the data is synced and the ranges are written.
const SAVE_BYTES: u64 = 128 << 20;
/// And after so long.
const SAVE_AFTER: Duration = Duration::from_secs(3);

/// An unfinished download.
#[derive(Debug)]
pub struct PartFile {
    destination: PathBuf,
    part: PathBuf,
    ranges: PathBuf,
    root: Root,
    len: u64,
    resumed: bool,
    /// For writing.
    writer: Mutex<File>,
    /// The same file, for syncing, so that neither waits for the other.
    file: File,
    state: Mutex<State>,
    /// Held while saving, so that an older state never replaces a newer one.
    saving: Mutex<()>,
}

#[derive(Debug)]
struct State {
    present: Ranges,
    /// Bytes written since the last save.
    unsaved: u64,
    saved_at: Instant,
}

/// What is in the file of ranges.
#[derive(Serialize, Deserialize)]
struct Progress {
    version: u8,
    #[serde(with = "crate::cbor::bytes32")]
    root: Root,
    len: u64,
    present: Ranges,
}

impl PartFile {
    /// Starts a download to `destination`, or goes on with the one that was begun there.
    ///
    /// An existing destination is refused unless `overwrite`; it stays as it is until [`PartFile::finish`].
    pub fn open(destination: &Path, root: Root, len: u64, overwrite: bool) -> Result<Self, PartError> {
        if len > MAX_CONTENT_LEN {
            return Err(PartError::TooLarge { len, max: MAX_CONTENT_LEN });
        }
        if len == 0 && root != empty_root() {
            return Err(PartError::WrongLength { len });
        }
        finish::check_destination(destination, overwrite)?;
        let (part, ranges) = names(destination, &root)?;
        // Before anything is created, so that a download that cannot fit leaves nothing.
        let found = fs::metadata(&part).map_or(0, |m| m.len());
        let before = present(&part, &ranges, &root, len, found)?;
        check_space(&part, len.saturating_sub(before.total()))?;
        let file = open_locked(&part)?;
        let found = file.metadata().map_err(|e| PartError::io("read", &part, e))?.len();
        let present = present(&part, &ranges, &root, len, found)?;
        if found != len {
            file.set_len(len).map_err(|e| PartError::write(&part, len, e))?;
        }
        if len > 0 && !ranges.exists() {
            // From now on it has its place on the disk, also when the disk is full.
            finish::replace(&ranges, &progress(root, len, Ranges::new(), &ranges)?)?;
        }
        Ok(Self {
            destination: destination.to_owned(),
            ranges,
            root,
            len,
            resumed: present.total() > 0,
            writer: Mutex::new(file.try_clone().map_err(|e| PartError::io("open", &part, e))?),
            file,
            state: Mutex::new(State { present, unsaved: 0, saved_at: Instant::now() }),
            saving: Mutex::new(()),
            part,
        })
    }

    /// Where the unfinished data is.
    pub fn part_path(&self) -> &Path {
        &self.part
    }

    /// Where the finished file will be.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Whether it went on from an earlier run.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The bytes that are still missing, in order.
    pub fn missing_ranges(&self) -> Vec<Range<u64>> {
        self.state().present.missing(self.len)
    }

    /// Gives the file its final name. An existing target is replaced only if `overwrite`, and in one step.
    ///
    /// All bytes were verified when they were written; those of an earlier run are verified again, because the file
    /// was in nobody's hands meanwhile. Takes `&self` so that a failure, such as an existing target, loses nothing.
    pub fn finish(&self, overwrite: bool) -> Result<PathBuf, PartError> {
        let missing =
            self.missing_ranges().iter().fold(0u64, |sum, r| sum.saturating_add(r.end.saturating_sub(r.start)));
        if missing > 0 {
            return Err(PartError::Incomplete { part: self.part.clone(), missing });
        }
        let found = fs::metadata(&self.part).map_err(|e| PartError::io("read", &self.part, e))?.len();
        if found != self.len || (self.resumed && !self.is_intact()?) {
            self.reset()?;
            return Err(PartError::Damaged { part: self.part.clone() });
        }
        self.file.sync_all().map_err(|e| PartError::write(&self.part, self.len, e))?;
        if let Err(error) = finish::rename(&self.part, &self.destination, overwrite) {
            self.save()?;
            return Err(error);
        }
        // The file is complete under its name: what is left over is no failure.
        if let Err(error) = fs::remove_file(&self.ranges)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.ranges.display(), %error, "cannot remove the progress of a finished download");
        }
        Ok(self.destination.clone())
    }

    /// Gives up: removes the unfinished data.
    pub fn discard(self) -> Result<(), PartError> {
        for path in [&self.ranges, &self.part] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(PartError::io("remove", path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_intact(&self) -> Result<bool, PartError> {
        let mut hasher = blake3::Hasher::new();
        let mut file = File::open(&self.part).map_err(|e| PartError::io("read", &self.part, e))?;
        io::copy(&mut file, &mut io::BufWriter::with_capacity(1 << 18, &mut hasher))
            .map_err(|e| PartError::io("read", &self.part, e))?;
        Ok(hasher.finalize().as_bytes() == &self.root)
    }

    /// Forgets what is present, because it turned out not to be.
    fn reset(&self) -> Result<(), PartError> {
        self.state().present = Ranges::new();
        self.save_now()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs the data, then writes which of it is present.
    fn save_now(&self) -> Result<(), PartError> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let (present, unsaved) = {
            let state = self.state();
            (state.present.clone(), state.unsaved)
        };
        self.file.sync_data().map_err(|e| PartError::write(&self.part, self.len, e))?;
        finish::replace(&self.ranges, &progress(self.root, self.len, present, &self.ranges)?)?;
        let mut state = self.state();
        state.unsaved = state.unsaved.saturating_sub(unsaved);
        state.saved_at = Instant::now();
        Ok(())
    }
}

impl Sink for PartFile {
    fn root(&self) -> Root {
        self.root
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn missing(&self) -> Vec<Range<u64>> {
        self.missing_ranges()
    }

    fn present(&self) -> u64 {
        self.state().present.total()
    }

    fn write_slice(&self, range: Range<u64>, slice: &[u8]) -> Result<(), PartError> {
        let bytes = slice::decode(&self.root, self.len, &range, slice)?;
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all_at(range.start, &bytes)
            .map_err(|e| PartError::write(&self.part, self.len, e))?;
        let due = {
            let mut state = self.state();
            state.present.insert(range);
            state.unsaved = state.unsaved.saturating_add(bytes.len() as u64);
            state.unsaved >= SAVE_BYTES || state.saved_at.elapsed() >= SAVE_AFTER
        };
        if due { self.save_now() } else { Ok(()) }
    }

    fn save(&self) -> Result<(), PartError> {
        if self.state().unsaved == 0 {
            return Ok(());
        }
        self.save_now()
    }
}

/// What stands in the file of ranges.
fn progress(root: Root, len: u64, present: Ranges, path: &Path) -> Result<Vec<u8>, PartError> {
    let progress = Progress { version: 1, root, len, present };
    cbor::encode(&progress, MAX_RANGES_FILE).map_err(|e| PartError::io("encode", path, io::Error::other(e)))
}

/// Names of the two files beside `destination`; a name that would be too long is cut and made unique by the root.
fn names(destination: &Path, root: &Root) -> Result<(PathBuf, PathBuf), PartError> {
    let name = destination.file_name().ok_or_else(|| PartError::NoName { path: destination.to_owned() })?;
    let mut stem = name.to_owned();
    if stem.len().saturating_add(RANGES.len()) > MAX_NAME {
        let hex = hex::encode(root);
        let text = name.to_string_lossy();
        stem = format!("{}.{}", cut(&text, 200), hex.get(..16).unwrap_or_default()).into();
    }
    let beside = |suffix: &str| {
        let mut name = stem.clone();
        name.push(suffix);
        destination.with_file_name(name)
    };
    Ok((beside(PART), beside(RANGES)))
}

/// Opens the part file for one download alone.
fn open_locked(part: &Path) -> Result<File, PartError> {
    // Between opening and locking another download may have finished and renamed the file: then it is not ours.
    for _ in 0..3 {
        let file = try_open_locked(part)?;
        let ours = file.metadata().map_err(|e| PartError::io("read", part, e))?;
        match fs::metadata(part) {
            Ok(named) if Fingerprint::of(&named).inode == Fingerprint::of(&ours).inode => {
                return Ok(file);
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(PartError::io("read", part, e)),
        }
    }
    Err(PartError::InUse { part: part.to_owned() })
}

/// The beginning of `text`, at most `max` bytes of whole characters.
fn cut(text: &str, max: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at.saturating_add(c.len_utf8())).take_while(|end| *end <= max).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn try_open_locked(part: &Path) -> Result<File, PartError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(part)
        .map_err(|e| PartError::create(part, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PartError::InUse { part: part.to_owned() }),
        // A file system without locks still takes downloads.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(PartError::io("lock", part, e)),
    }
}

/// What an earlier run left. Progress that cannot be read counts as none: its data is fetched again.
fn present(part: &Path, ranges: &Path, root: &Root, len: u64, found: u64) -> Result<Ranges, PartError> {
    let bytes = match read_bounded(ranges) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Ranges::new()),
        Err(e) => return Err(PartError::io("read", ranges, e)),
    };
    let progress: Progress = match cbor::decode(&bytes, MAX_RANGES_FILE) {
        Ok(progress) => progress,
        Err(error) => {
            tracing::warn!(path = %ranges.display(), %error, "unreadable progress, the download starts again");
            return Ok(Ranges::new());
        }
    };
    if progress.root != *root || progress.len != len {
        return Err(PartError::OtherContent { part: part.to_owned(), root: hex::encode(progress.root) });
    }
    // A file of another length lost or gained something that the ranges do not know of.
    let sound = progress.version == 1 && found == len && progress.present.is_sound(len);
    Ok(if sound { progress.present } else { Ranges::new() })
}

/// Reads a file of ranges; of one that is too long only so much that decoding refuses it.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = (MAX_RANGES_FILE as u64).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses at once what cannot fit.
fn check_space(part: &Path, needed: u64) -> Result<(), PartError> {
    let dir = match part.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    match fs4::available_space(dir) {
        Ok(available) if available < needed => Err(PartError::DiskFull {
            part: part.to_owned(),
            what: format!("{needed} more bytes are needed, {available} are free"),
        }),
        // Where the system does not tell, writing will.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
