//! What a node remembers over restarts: one SQLite database in its data dir.
//!
//! Methods block on the disk, shortly; from async code use [`Store::run`].

mod downloads;
mod lock;
mod publications;
mod schema;
mod settings;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

pub use downloads::{Download, DownloadId, DownloadState, MAX_DOWNLOADS, NewDownload};
pub use lock::{DataDirLock, LockError};
pub use publications::{Entry, MAX_PUBLICATIONS, Publication, PublicationState};

/// Name of the database in the data dir.
pub const FILE_NAME: &str = "neblo.sqlite";

/// Why something cannot be remembered.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged.
    #[error(
        "the database {} is damaged ({what}); move it away and start again: files then have to be published anew, and nothing else is lost",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// The file was written by a later version.
    #[error(
        "the database {} was written by a later version of this program (schema {found}, known is {known}); update the program, or use another --data-dir",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// The file cannot be opened or made.
    #[error("the database {} cannot be opened: {source}; check that its folder exists and can be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room.
    #[error("the disk with {} is full; free some space and try again", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// A row holds what this program never writes.
    #[error("the database {} holds an unreadable {what}; move it away and start again", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Which thing.
        what: &'static str,
    },
    /// More than may be kept.
    #[error("{what} are limited to {max}; remove some first")]
    TooMany {
        /// Which things.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// Any other failure of SQLite.
    #[error("the database {} failed: {source}; try again, and restart the node if it goes on", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

/// The database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the database of a data dir, or makes it.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE_NAME);
        create_private(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        let mut connection = Connection::open(&path).map_err(|e| sort(&path, e))?;
        schema::prepare(&mut connection, &path)?;
        Ok(Self { shared: Arc::new(Shared { path, connection: Mutex::new(connection) }) })
    }

    /// Runs `work` where blocking is allowed.
    pub async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere rolled its transaction back.
        self.shared.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.connection()).map_err(|e| self.sort(e))
    }

    /// Writes all or nothing.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let begin = || -> rusqlite::Result<T> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        begin().map_err(|e| self.sort(e))
    }

    fn sort(&self, error: rusqlite::Error) -> StoreError {
        sort(&self.shared.path, error)
    }

    fn row_error(&self, what: &'static str) -> StoreError {
        StoreError::Row { path: self.shared.path.clone(), what }
    }
}

fn sort(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { path, what: error.to_string() }
        }
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { path },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreError::Open { path, source: io::Error::other(error) }
        }
        _ => StoreError::Database { path, source: error },
    }
}

/// Makes the file so that only its owner can read it: it holds the keys of publications.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Seconds since 1970.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A path as bytes, exactly.
#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(unix)]
fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests;
