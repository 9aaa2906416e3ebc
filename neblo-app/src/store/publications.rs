//! What this node publishes.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError, path_bytes, path_from, unix_now};
use crate::{
    content::{Fingerprint, Root},
    metadata::Metadata,
};

/// Most publications of a node.
pub const MAX_PUBLICATIONS: usize = 10_000;

/// One publication.
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    /// What is announced.
    pub metadata: Metadata,
    /// The file or folder.
    pub path: PathBuf,
    /// What the file was when it was hashed; of no use for a folder.
    pub fingerprint: Fingerprint,
    /// X25519 secret of this publication alone.
    pub secret_key: [u8; 32],
    /// Day after which it is no longer announced, counted from 1970.
    pub expiry_day: u32,
    /// When it was published, in seconds since 1970; set when it is first stored.
    pub created: i64,
    /// Whether it can be served.
    pub state: PublicationState,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication")
            .field("name", &self.metadata.name)
            .field("root", &hex::encode(self.metadata.root))
            .field("path", &self.path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Whether a publication can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationState {
    /// Stored, not yet acknowledged by the leader.
    Announcing,
    /// The leader has it.
    Published,
    /// The source changed or is gone: not announced and not served.
    SourceLost,
}

impl PublicationState {
    fn code(self) -> u8 {
        match self {
            Self::Announcing => 0,
            Self::Published => 1,
            Self::SourceLost => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Announcing,
            1 => Self::Published,
            2 => Self::SourceLost,
            _ => return None,
        })
    }
}

/// One file of a published collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the folder, as in the manifest.
    pub name: String,
    /// Where the file lies.
    pub path: PathBuf,
    /// Root of its content.
    pub root: Root,
    /// What it was when it was hashed.
    pub fingerprint: Fingerprint,
}

const COLUMNS: &str = "metadata, path, mtime_ns, inode, disk_len, secret_key, expiry_day, created, state";

impl Store {
    /// Stores a publication with the files of its collection (none for a file), in place of one with the same root.
    pub fn put_publication(&self, publication: &Publication, entries: &[Entry]) -> Result<(), StoreError> {
        let metadata = publication.metadata.encode().map_err(|_| self.row_error("publication"))?;
        let root = publication.metadata.root;
        if self.publication(&root)?.is_none() && self.count_publications()? >= MAX_PUBLICATIONS {
            return Err(StoreError::TooMany { what: "publications", max: MAX_PUBLICATIONS });
        }
        self.write(|tx| {
            tx.execute("DELETE FROM publications WHERE root = ?", [&root[..]])?;
            tx.execute(
                "INSERT INTO publications (root, path, mtime_ns, inode, disk_len, metadata, secret_key, expiry_day,
                     created, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    &root[..],
                    path_bytes(&publication.path),
                    publication.fingerprint.mtime_ns,
                    publication.fingerprint.inode.cast_signed(),
                    publication.fingerprint.len.cast_signed(),
                    metadata,
                    &publication.secret_key[..],
                    publication.expiry_day,
                    if publication.created == 0 { unix_now() } else { publication.created },
                    publication.state.code(),
                ],
            )?;
            let id = tx.last_insert_rowid();
            let mut insert = tx.prepare(
                "INSERT INTO collection_entries (publication, name, path, root, len, mtime_ns, inode)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?;
            for entry in entries {
                insert.execute(params![
                    id,
                    entry.name,
                    path_bytes(&entry.path),
                    &entry.root[..],
                    entry.fingerprint.len.cast_signed(),
                    entry.fingerprint.mtime_ns,
                    entry.fingerprint.inode.cast_signed(),
                ])?;
            }
            Ok(())
        })
    }

    /// All publications, oldest first.
    pub fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        let rows = self.read(|db| {
            db.prepare(&format!("SELECT {COLUMNS} FROM publications ORDER BY created, id"))?
                .query_map([], read)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|raw| self.publication_of(raw)).collect()
    }

    /// The publication of a root.
    pub fn publication(&self, root: &Root) -> Result<Option<Publication>, StoreError> {
        let row = self.read(|db| {
            db.query_row(&format!("SELECT {COLUMNS} FROM publications WHERE root = ?"), [&root[..]], read).optional()
        })?;
        row.map(|raw| self.publication_of(raw)).transpose()
    }

    /// The files of a collection, sorted by name; none for a file.
    pub fn entries(&self, root: &Root) -> Result<Vec<Entry>, StoreError> {
        self.read(|db| {
            db.prepare(
                "SELECT e.name, e.path, e.root, e.len, e.mtime_ns, e.inode FROM collection_entries e
                 JOIN publications p ON p.id = e.publication WHERE p.root = ? ORDER BY e.name",
            )?
            .query_map([&root[..]], |row| {
                Ok(Entry {
                    name: row.get(0)?,
                    path: path_from(&row.get::<_, Vec<u8>>(1)?),
                    root: row.get(2)?,
                    fingerprint: Fingerprint {
                        len: row.get::<_, i64>(3)?.cast_unsigned(),
                        mtime_ns: row.get(4)?,
                        inode: row.get::<_, i64>(5)?.cast_unsigned(),
                    },
                })
            })?
            .collect()
        })
    }

    /// Notes the state of a publication; one that is not there stays so. Returns whether it was.
    pub fn set_publication_state(&self, root: &Root, state: PublicationState) -> Result<bool, StoreError> {
        self.write(|tx| {
            tx.execute("UPDATE publications SET state = ? WHERE root = ?", params![state.code(), &root[..]])
        })
        .map(|n| n > 0)
    }

    /// Gives a publication a new key and expiry, as renewing it needs. Returns whether it is there.
    pub fn renew_publication(&self, root: &Root, secret_key: &[u8; 32], expiry_day: u32) -> Result<bool, StoreError> {
        self.write(|tx| {
            tx.execute(
                "UPDATE publications SET secret_key = ?, expiry_day = ? WHERE root = ?",
                params![&secret_key[..], expiry_day, &root[..]],
            )
        })
        .map(|n| n > 0)
    }

    /// Removes a publication with its entries. Returns whether it was there.
    pub fn remove_publication(&self, root: &Root) -> Result<bool, StoreError> {
        self.write(|tx| tx.execute("DELETE FROM publications WHERE root = ?", [&root[..]])).map(|n| n > 0)
    }

    /// Whether any publication, or a file of one, has this root, so that its hash tree is needed.
    pub fn is_root_in_use(&self, root: &Root) -> Result<bool, StoreError> {
        self.read(|db| {
            db.query_row(
                "SELECT EXISTS (SELECT 1 FROM publications WHERE root = ?1)
                     OR EXISTS (SELECT 1 FROM collection_entries WHERE root = ?1)",
                [&root[..]],
                |row| row.get(0),
            )
        })
    }

    fn count_publications(&self) -> Result<usize, StoreError> {
        self.read(|db| count(db, "SELECT count(*) FROM publications"))
    }

    fn publication_of(&self, raw: Raw) -> Result<Publication, StoreError> {
        let damaged = || self.row_error("publication");
        Ok(Publication {
            metadata: Metadata::decode(&raw.metadata).map_err(|_| damaged())?,
            path: path_from(&raw.path),
            fingerprint: raw.fingerprint,
            secret_key: raw.secret_key,
            expiry_day: raw.expiry_day,
            created: raw.created,
            state: PublicationState::from_code(raw.state).ok_or_else(damaged)?,
        })
    }
}

pub(super) fn count(db: &Connection, sql: &str) -> rusqlite::Result<usize> {
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|n| usize::try_from(n).unwrap_or_default())
}

struct Raw {
    metadata: Vec<u8>,
    path: Vec<u8>,
    fingerprint: Fingerprint,
    secret_key: [u8; 32],
    expiry_day: u32,
    created: i64,
    state: u8,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        metadata: row.get(0)?,
        path: row.get(1)?,
        fingerprint: Fingerprint {
            mtime_ns: row.get(2)?,
            inode: row.get::<_, i64>(3)?.cast_unsigned(),
            len: row.get::<_, i64>(4)?.cast_unsigned(),
        },
        secret_key: row.get(5)?,
        expiry_day: row.get(6)?,
        created: row.get(7)?,
        state: row.get(8)?,
    })
}
