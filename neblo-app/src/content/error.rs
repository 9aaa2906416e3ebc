//! What can go wrong with content that is read here.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a file cannot be published, verified or served.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// No such file.
    #[error("{} does not exist; check the path", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The user may not read it.
    #[error("{} cannot be read: permission denied; allow reading (chmod +r) or run as its owner", path.display())]
    PermissionDenied {
        /// The path.
        path: PathBuf,
    },
    /// Neither a file nor a folder: a device, socket or pipe.
    #[error("{} is not a regular file; only files and folders can be published", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Longer than a tree here may be.
    #[error("{} has {len} bytes, the most that can be published is {}", path.display(), super::MAX_CONTENT_LEN)]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// A published file is gone.
    #[error("{} was published and is gone; put it back, or unpublish it", path.display())]
    SourceGone {
        /// The path.
        path: PathBuf,
    },
    /// A published file is another one now.
    #[error("{} has changed since it was published ({what}); publish it again", path.display())]
    SourceChanged {
        /// The path.
        path: PathBuf,
        /// How that was noticed.
        what: &'static str,
    },
    /// The stored inner hashes do not lead to the root.
    #[error("the hash tree {} is damaged or missing; publish {} again to rebuild it", outboard.display(), path.display())]
    OutboardDamaged {
        /// The hash tree's file.
        outboard: PathBuf,
        /// What it belongs to.
        path: PathBuf,
    },
    /// A file is not what its root and length say.
    #[error("{} is not the content of this link: {what}", path.display())]
    NotThisContent {
        /// The path.
        path: PathBuf,
        /// The difference.
        what: String,
    },
    /// A range that cannot be asked for.
    #[error("bytes {start} to {end} are not whole 16 KiB groups inside {len} bytes, at most 2 MiB")]
    BadRange {
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// Length of the content.
        len: u64,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
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

impl ContentError {
    /// Sorts an error of opening or reading.
    pub(super) fn read(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// Whether the published file itself is why it cannot be served, so that it must be published again.
    pub fn is_source_lost(&self) -> bool {
        matches!(self, Self::SourceGone { .. } | Self::SourceChanged { .. } | Self::OutboardDamaged { .. })
    }
}
