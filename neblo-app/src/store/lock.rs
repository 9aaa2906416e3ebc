//! One node a data dir.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

const FILE_NAME: &str = "lock";

/// Why a data dir cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another node has it.
    #[error(
        "the data dir {} is in use by another node{}; stop that one, or give this one another --data-dir",
        dir.display(), Pid(*pid)
    )]
    DataDirInUse {
        /// The data dir.
        dir: PathBuf,
        /// Process of the other node, if it could be read.
        pid: Option<u32>,
    },
    /// It cannot be made or written.
    #[error("the data dir {} cannot be used: {source}; choose another with --data-dir, or allow writing to it", dir.display())]
    Unusable {
        /// The data dir.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

struct Pid(Option<u32>);

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

/// Holds a data dir for this process alone. The system lets go of it also when the process is killed.
#[derive(Debug)]
pub struct DataDirLock {
    dir: PathBuf,
    // Dropping it unlocks.
    _file: File,
}

impl DataDirLock {
    /// Makes the data dir if it is not there, readable by its owner alone, and takes it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { dir: dir.to_owned(), source };
        create_private_dir(dir).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE_NAME))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::DataDirInUse { dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        write_pid(&mut file).map_err(unusable)?;
        Ok(Self { dir: dir.to_owned(), _file: file })
    }

    /// The data dir.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    file.flush()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_second_node_is_refused_and_told_who_has_it() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new/data");
        let first = DataDirLock::acquire(&dir).unwrap();
        let error = DataDirLock::acquire(&dir).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&dir.display().to_string()), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        assert_eq!(DataDirLock::acquire(&dir).unwrap().dir(), dir);
    }

    #[test]
    fn a_file_in_place_of_the_dir_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDirLock::acquire(&path).unwrap_err();
        assert!(matches!(error, LockError::Unusable { .. }), "{error}");
    }
}
