//! Downloads that are running, or that can go on.
//!
//! Which bytes are there is kept beside the data, by [`PartFile`](crate::content::PartFile); here stands what to show.

use std::path::PathBuf;

use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError, path_bytes, path_from, publications::count, unix_now};
use crate::{content::Root, link::Target};

/// Most downloads that are remembered; the oldest finished ones make room.
pub const MAX_DOWNLOADS: usize = 1000;

/// Number of a download, never used twice.
pub type DownloadId = i64;

/// A download to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDownload {
    /// What was asked for.
    pub target: Target,
    /// Where it goes.
    pub destination: PathBuf,
    /// Where its data is until then.
    pub part: PathBuf,
    /// Bytes wanted.
    pub size: u64,
    /// Whether an existing destination may be replaced.
    pub overwrite: bool,
}

/// A download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Its number.
    pub id: DownloadId,
    /// The link or root that was asked for, as text.
    pub target: String,
    /// Root of the content.
    pub root: Root,
    /// Where it goes.
    pub destination: PathBuf,
    /// Where its data is until then.
    pub part: PathBuf,
    /// Bytes wanted.
    pub size: u64,
    /// Bytes there.
    pub present: u64,
    /// Whether an existing destination may be replaced.
    pub overwrite: bool,
    /// How it stands.
    pub state: DownloadState,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was begun, in seconds since 1970.
    pub created: i64,
    /// When something last changed.
    pub updated: i64,
}

/// How a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadState {
    /// Running, or to be gone on with after a restart.
    Active,
    /// Complete under its final name.
    Done,
    /// Stopped by an error; what arrived is kept.
    Failed,
    /// Stopped by the user.
    Cancelled,
}

impl DownloadState {
    fn code(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Done => 1,
            Self::Failed => 2,
            Self::Cancelled => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Active,
            1 => Self::Done,
            2 => Self::Failed,
            3 => Self::Cancelled,
            _ => return None,
        })
    }
}

const COLUMNS: &str = "id, target, root, destination, part, size, present, overwrite, state, error, created, updated";

impl Store {
    /// Remembers a download. One of the same root to the same place that is not done becomes active again.
    pub fn add_download(&self, new: &NewDownload) -> Result<DownloadId, StoreError> {
        let active = self.read(|db| count(db, "SELECT count(*) FROM downloads WHERE state = 0"))?;
        if active >= MAX_DOWNLOADS {
            return Err(StoreError::TooMany { what: "unfinished downloads", max: MAX_DOWNLOADS });
        }
        let target = match &new.target {
            Target::Link(link) => link.to_string(),
            Target::Root(root) => hex::encode(root),
        };
        let root = new.target.root();
        let now = unix_now();
        let size = new.size.cast_signed();
        self.write(|tx| {
            let before: Option<DownloadId> = tx
                .query_row(
                    "SELECT id FROM downloads WHERE root = ? AND destination = ? AND state <> ?",
                    params![&root[..], path_bytes(&new.destination), DownloadState::Done.code()],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(id) = before {
                tx.execute(
                    "UPDATE downloads SET target = ?, part = ?, size = ?, overwrite = ?, state = 0, error = NULL,
                         updated = ? WHERE id = ?",
                    params![target, path_bytes(&new.part), size, new.overwrite, now, id],
                )?;
                return Ok(id);
            }
            tx.execute(
                "INSERT INTO downloads (target, root, destination, part, size, present, overwrite, state, created,
                     updated) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 0, ?7, ?7)",
                params![
                    target,
                    &root[..],
                    path_bytes(&new.destination),
                    path_bytes(&new.part),
                    size,
                    new.overwrite,
                    now
                ],
            )?;
            let id = tx.last_insert_rowid();
            tx.execute(
                "DELETE FROM downloads WHERE state <> 0 AND id NOT IN (SELECT id FROM downloads ORDER BY id DESC LIMIT ?)",
                [i64::try_from(MAX_DOWNLOADS).unwrap_or(i64::MAX)],
            )?;
            Ok(id)
        })
    }

    /// Notes how many bytes are there.
    pub fn set_download_present(&self, id: DownloadId, present: u64) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE downloads SET present = ?, updated = ? WHERE id = ?",
                params![present.cast_signed(), unix_now(), id],
            )
        })
        .map(drop)
    }

    /// Notes how a download stands, and why.
    pub fn set_download_state(
        &self,
        id: DownloadId,
        state: DownloadState,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE downloads SET state = ?, error = ?, updated = ? WHERE id = ?",
                params![state.code(), error, unix_now(), id],
            )
        })
        .map(drop)
    }

    /// All downloads, in the order in which they were begun.
    pub fn downloads(&self) -> Result<Vec<Download>, StoreError> {
        let rows = self.read(|db| {
            db.prepare(&format!("SELECT {COLUMNS} FROM downloads ORDER BY id"))?
                .query_map([], read)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|row| row.ok_or_else(|| self.row_error("download"))).collect()
    }

    /// One download.
    pub fn download(&self, id: DownloadId) -> Result<Option<Download>, StoreError> {
        let row = self
            .read(|db| db.query_row(&format!("SELECT {COLUMNS} FROM downloads WHERE id = ?"), [id], read).optional())?;
        row.map(|row| row.ok_or_else(|| self.row_error("download"))).transpose()
    }

    /// Forgets a download; its files are not touched. Returns whether it was there.
    pub fn remove_download(&self, id: DownloadId) -> Result<bool, StoreError> {
        self.write(|tx| tx.execute("DELETE FROM downloads WHERE id = ?", [id])).map(|n| n > 0)
    }
}

/// A row, or nothing if its state is unknown.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Download>> {
    let Some(state) = DownloadState::from_code(row.get(8)?) else {
        return Ok(None);
    };
    Ok(Some(Download {
        id: row.get(0)?,
        target: row.get(1)?,
        root: row.get(2)?,
        destination: path_from(&row.get::<_, Vec<u8>>(3)?),
        part: path_from(&row.get::<_, Vec<u8>>(4)?),
        size: row.get::<_, i64>(5)?.cast_unsigned(),
        present: row.get::<_, i64>(6)?.cast_unsigned(),
        overwrite: row.get(7)?,
        state,
        error: row.get(9)?,
        created: row.get(10)?,
        updated: row.get(11)?,
    }))
}
