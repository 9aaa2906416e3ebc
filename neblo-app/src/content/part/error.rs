//! What can go wrong with a download on disk.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::content::SliceError;

/// Why a download cannot be begun, written or finished. Verified data stays in the part file that is named.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The target is there.
    #[error("{} exists already; choose another name with -o, or replace it with --overwrite", path.display())]
    TargetExists {
        /// The target.
        path: PathBuf,
    },
    /// The target is a folder.
    #[error("{} is a folder; choose a file name with -o", path.display())]
    TargetIsDirectory {
        /// The target.
        path: PathBuf,
    },
    /// The target has no last part.
    #[error("{} names no file; choose a file name with -o", path.display())]
    NoName {
        /// The target.
        path: PathBuf,
    },
    /// The folder of the target is missing.
    #[error("the folder {} does not exist; create it, or choose another with -o", dir.display())]
    NoDirectory {
        /// The folder.
        dir: PathBuf,
    },
    /// No room.
    #[error("the disk is full ({what}); what was downloaded is kept in {}; free some space and run the same command again", part.display())]
    DiskFull {
        /// Where the data is.
        part: PathBuf,
        /// Figures, or what the system said.
        what: String,
    },
    /// The file system cannot be written to.
    #[error("the disk is read-only, {} cannot be written; what was downloaded before is kept there; choose another place with -o", part.display())]
    ReadOnly {
        /// Where the data is or would be.
        part: PathBuf,
    },
    /// The user may not write there.
    #[error("permission denied for {}; what was downloaded before is kept there; choose another place with -o, or allow writing", path.display())]
    PermissionDenied {
        /// The path.
        path: PathBuf,
    },
    /// Another download writes the same file.
    #[error("{} is being written by another download; wait for it, or cancel it with `neblo transfers --cancel`", part.display())]
    InUse {
        /// The part file.
        part: PathBuf,
    },
    /// Another content was begun at the same place.
    #[error("{} is an unfinished download of other content ({root}); finish or remove it, or choose another name with -o", part.display())]
    OtherContent {
        /// The part file.
        part: PathBuf,
        /// Root of what was begun.
        root: String,
    },
    /// Longer than allowed.
    #[error("the content has {len} bytes, more than the allowed {max}")]
    TooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A length that the root denies.
    #[error("the root does not belong to content of {len} bytes; the link is wrong, get it again")]
    WrongLength {
        /// The length given.
        len: u64,
    },
    /// Not everything is there yet.
    #[error("{missing} bytes are still missing; what was downloaded is kept in {}", part.display())]
    Incomplete {
        /// Where the data is.
        part: PathBuf,
        /// Missing bytes.
        missing: u64,
    },
    /// Something else wrote to the part file.
    #[error("{} was changed by another program; run the same command again to download it anew", part.display())]
    Damaged {
        /// The part file.
        part: PathBuf,
    },
    /// Data that does not match the root.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// Anything else that the operating system reports.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PartError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { part: path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// Sorts an error of creating the part file.
    pub(super) fn create(part: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Self::NoDirectory { dir: part.parent().unwrap_or(part).to_owned() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::full(part, &source),
            _ => Self::io("create", part, source),
        }
    }

    /// Sorts an error of writing `len` bytes.
    pub(super) fn write(part: &Path, len: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::full(part, &source),
            io::ErrorKind::FileTooLarge => {
                Self::DiskFull { part: part.to_owned(), what: format!("its file system takes no file of {len} bytes") }
            }
            _ => Self::io("write", part, source),
        }
    }

    fn full(part: &Path, source: &io::Error) -> Self {
        Self::DiskFull { part: part.to_owned(), what: source.to_string() }
    }
}
