//! Content that is served from where it lies.

use std::{
    fs::{File, Metadata},
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use bao_tree::io::{
    EncodeError,
    outboard::{PostOrderMemOutboard, PostOrderOutboard},
    sync::{Outboard, ReadAt, encode_ranges_validated},
};

use super::{BLOCK, ContentError, Root, chunks, is_window, tree};

/// Content of which slices can be made. Methods may block on the disk.
pub trait Content: Send + Sync + 'static {
    /// Its root.
    fn root(&self) -> Root;
    /// Its length in bytes.
    fn len(&self) -> u64;
    /// Whether it has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Appends the slice of `range` to `out`. Every byte was checked against the root when this returns `Ok`.
    fn encode(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ContentError>;
}

/// What tells without reading it whether a file is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Length in bytes.
    pub len: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Number of the file in its file system; 0 where there is none.
    pub inode: u64,
}

impl Fingerprint {
    /// Takes it from what the file system says.
    pub fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), mtime_ns: mtime_ns(metadata), inode: inode(metadata) }
    }

    /// What differs from `now`.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        if self.len != now.len {
            Some("its length is another")
        } else if self.mtime_ns != now.mtime_ns {
            Some("it was written to")
        } else if self.inode != now.inode {
            Some("it was replaced by another file")
        } else {
            None
        }
    }
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    let since = |t: std::time::SystemTime| match t.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX).saturating_neg(),
    };
    metadata.modified().map_or(0, since)
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// A published file, opened where it lies.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    file: File,
    fingerprint: Fingerprint,
    outboard_path: PathBuf,
    outboard: PostOrderOutboard<File>,
}

impl SourceFile {
    /// Opens `path` if it is still the file that had `fingerprint` when it was published under `root`; `outboard` is
    /// the file with the inner hashes.
    pub fn open(path: &Path, root: &Root, fingerprint: Fingerprint, outboard: &Path) -> Result<Self, ContentError> {
        check_unchanged(path, &fingerprint)?;
        let file = File::open(path).map_err(|e| gone(path, e))?;
        let hashes = File::open(outboard).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                ContentError::OutboardDamaged { outboard: outboard.to_owned(), path: path.to_owned() }
            }
            _ => ContentError::read("open", outboard, e),
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            fingerprint,
            outboard_path: outboard.to_owned(),
            outboard: PostOrderOutboard { root: (*root).into(), tree: tree(fingerprint.len), data: hashes },
        })
    }

    /// Refuses if the file changed since it was published.
    pub fn check_unchanged(&self) -> Result<(), ContentError> {
        check_unchanged(&self.path, &self.fingerprint)
    }
}

/// Refuses if `path` is not the file that had `fingerprint`.
fn check_unchanged(path: &Path, fingerprint: &Fingerprint) -> Result<(), ContentError> {
    let metadata = std::fs::metadata(path).map_err(|e| gone(path, e))?;
    let what = if metadata.is_file() {
        fingerprint.difference(&Fingerprint::of(&metadata))
    } else {
        Some("it is no file any more")
    };
    match what {
        None => Ok(()),
        Some(what) => Err(ContentError::SourceChanged { path: path.to_owned(), what }),
    }
}

fn gone(path: &Path, error: io::Error) -> ContentError {
    match ContentError::read("open", path, error) {
        ContentError::NotFound { path } => ContentError::SourceGone { path },
        other => other,
    }
}

impl Content for SourceFile {
    fn root(&self) -> Root {
        *self.outboard.root.as_bytes()
    }

    fn len(&self) -> u64 {
        self.fingerprint.len
    }

    fn encode(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ContentError> {
        self.check_unchanged()?;
        encode(&self.file, &self.outboard, range, out).map_err(|e| match e {
            Failure::Range(e) => e,
            Failure::Leaf => ContentError::SourceChanged { path: self.path.clone(), what: "its bytes are others" },
            Failure::Parent => {
                ContentError::OutboardDamaged { outboard: self.outboard_path.clone(), path: self.path.clone() }
            }
            Failure::Io(e) => ContentError::read("read", &self.path, e),
        })
    }
}

/// Content that is held in memory, such as a manifest.
#[derive(Debug)]
pub struct MemoryContent {
    data: Vec<u8>,
    outboard: PostOrderMemOutboard,
}

impl MemoryContent {
    /// Hashes `data`.
    pub fn new(data: Vec<u8>) -> Self {
        let outboard = PostOrderMemOutboard::create(&data, BLOCK);
        Self { data, outboard }
    }
}

impl Content for MemoryContent {
    fn root(&self) -> Root {
        *self.outboard.root.as_bytes()
    }

    fn len(&self) -> u64 {
        self.data.len() as u64
    }

    fn encode(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ContentError> {
        let start = range.start;
        encode(&self.data[..], &self.outboard, range, out).map_err(|e| match e {
            Failure::Range(e) => e,
            // Memory does not change; this is a fault of the machine.
            Failure::Leaf | Failure::Parent => ContentError::Io {
                doing: "serve",
                path: "manifest".into(),
                source: io::Error::other(format!("it changed in memory near byte {start}")),
            },
            Failure::Io(e) => ContentError::read("read", Path::new("manifest"), e),
        })
    }
}

enum Failure {
    Range(ContentError),
    Leaf,
    Parent,
    Io(io::Error),
}

fn encode<D: ReadAt, O: Outboard>(data: D, outboard: O, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let len = outboard.tree().size();
    if !is_window(&range, len) {
        return Err(Failure::Range(ContentError::BadRange { start: range.start, end: range.end, len }));
    }
    encode_ranges_validated(data, outboard, &chunks(&range), out.by_ref()).map_err(|e| match e {
        EncodeError::LeafHashMismatch(_) | EncodeError::SizeMismatch => Failure::Leaf,
        EncodeError::ParentHashMismatch(_) => Failure::Parent,
        EncodeError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => Failure::Leaf,
        EncodeError::Io(e) => Failure::Io(e),
        EncodeError::ParentWrite(_) | EncodeError::LeafWrite(_) => Failure::Io(io::Error::other("out of memory")),
    })
}
