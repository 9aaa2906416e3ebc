//! The database's schema and how an older one becomes it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, sort};

/// Each step leads from its index to the next `user_version`. Steps are only ever added.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE publications (
        id INTEGER PRIMARY KEY,
        root BLOB NOT NULL UNIQUE CHECK (length(root) = 32),
        path BLOB NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        disk_len INTEGER NOT NULL,
        metadata BLOB NOT NULL,
        secret_key BLOB NOT NULL CHECK (length(secret_key) = 32),
        expiry_day INTEGER NOT NULL,
        created INTEGER NOT NULL,
        state INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE collection_entries (
        publication INTEGER NOT NULL REFERENCES publications (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        path BLOB NOT NULL,
        root BLOB NOT NULL CHECK (length(root) = 32),
        len INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        PRIMARY KEY (publication, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE downloads (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        target TEXT NOT NULL,
        root BLOB NOT NULL CHECK (length(root) = 32),
        destination BLOB NOT NULL,
        part BLOB NOT NULL,
        size INTEGER NOT NULL,
        present INTEGER NOT NULL,
        overwrite INTEGER NOT NULL,
        state INTEGER NOT NULL,
        error TEXT,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"];

/// Checks an opened file and brings its schema up to date.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sorted = |e| sort(path, e);
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(sorted)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(sorted)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(sorted)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(sorted)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(sorted)?;
    let report: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sorted)?;
    if report != "ok" {
        return Err(StoreError::Corrupt { path: path.to_owned(), what: report });
    }
    migrate(connection, path)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let sorted = |e| sort(path, e);
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sorted)?;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    for (step, version) in MIGRATIONS.iter().zip(1u32..).skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sorted)?;
        transaction.execute_batch(step).map_err(sorted)?;
        transaction.pragma_update(None, "user_version", version).map_err(sorted)?;
        transaction.commit().map_err(sorted)?;
    }
    Ok(())
}
