//! The thread that owns the index.

use std::{
    fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, limits::Limit, params, params_from_iter};
use tokio::sync::{mpsc, oneshot};

use super::{IndexError, Location, sql};
use crate::{
    metadata::{Metadata, extension_of},
    query::Query,
};

/// Longest a search may take.
const BUDGET: Duration = Duration::from_millis(20);
/// Steps of SQLite's machine between two looks at the clock; some microseconds.
const STEPS: i32 = 500;

pub(super) type Reply<T> = oneshot::Sender<Result<T, IndexError>>;

#[derive(Debug)]
pub(super) enum Command {
    Add(u64, Box<Metadata>, Reply<()>),
    Remove(u64, Reply<()>),
    Clear(Reply<()>),
    Search(Query, usize, Reply<Vec<u64>>),
}

const SCHEMA: &str = "
    CREATE TABLE docs (
        id INTEGER PRIMARY KEY, size INTEGER NOT NULL, extension TEXT NOT NULL, class TEXT NOT NULL,
        subtype TEXT NOT NULL, media_type TEXT NOT NULL, root BLOB NOT NULL
    ) STRICT;
    CREATE INDEX docs_size ON docs (size);
    CREATE INDEX docs_root ON docs (root);
    CREATE TABLE tags (
        doc INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key, value, doc)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tags_doc ON tags (doc);
    CREATE VIRTUAL TABLE words USING fts5 (
        name, tags, content = '', contentless_delete = 1, prefix = '3',
        tokenize = 'unicode61 remove_diacritics 2'
    );
";

pub(super) struct Database {
    connection: Connection,
    deadline: Arc<Deadline>,
}

/// What the progress handler looks at.
#[derive(Default)]
struct Deadline {
    at: Mutex<Option<Instant>>,
    passed: AtomicBool,
}

impl Deadline {
    fn set(&self, at: Option<Instant>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
        self.passed.store(false, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let over = at.is_some_and(|at| Instant::now() >= at);
        if over {
            self.passed.store(true, Ordering::Relaxed);
        }
        over
    }
}

pub(super) fn open(location: &Location) -> Result<Database, IndexError> {
    let mut connection = match location {
        Location::Memory => Connection::open_in_memory()?,
        Location::File(path) => {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                match fs::remove_file(&name) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(IndexError::File { path: name.into(), source });
                    }
                    _ => {}
                }
            }
            Connection::open(path)?
        }
    };
    // Nothing here must outlive a crash.
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch(SCHEMA)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1 << 20)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let deadline = Arc::new(Deadline::default());
    let watched = deadline.clone();
    connection.progress_handler(STEPS, Some(move || watched.is_over()))?;
    Ok(Database { connection, deadline })
}

/// Works until all handles are gone. A reply that nobody waits for any more is dropped.
pub(super) fn run(mut database: Database, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.blocking_recv() {
        match command {
            Command::Add(row, metadata, reply) => {
                let _ = reply.send(database.add(row, &metadata));
            }
            Command::Remove(row, reply) => {
                let _ = reply.send(database.remove(row));
            }
            Command::Clear(reply) => {
                let _ = reply.send(database.clear());
            }
            // Whoever asked may have gone while this waited.
            Command::Search(_, _, reply) if reply.is_closed() => {}
            Command::Search(query, limit, reply) => {
                let _ = reply.send(database.search(&query, limit, BUDGET));
            }
        }
    }
}

impl Database {
    pub(super) fn add(&mut self, row: u64, metadata: &Metadata) -> Result<(), IndexError> {
        let id = row.cast_signed();
        let transaction = self.connection.transaction()?;
        delete(&transaction, id)?;
        let (class, subtype) = metadata.media_type.split_once('/').unwrap_or((&metadata.media_type, ""));
        transaction.prepare_cached("INSERT INTO docs VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute(params![
            id,
            i64::try_from(metadata.size).unwrap_or(i64::MAX),
            extension_of(&metadata.name),
            class.to_lowercase(),
            subtype.to_lowercase(),
            metadata.media_type.to_lowercase(),
            &metadata.root[..],
        ])?;
        let mut text = String::new();
        {
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO tags VALUES (?, ?, ?)")?;
            for (key, value) in &metadata.tags {
                insert.execute(params![id, key.to_lowercase(), value.to_lowercase()])?;
                text.push_str(value);
                text.push('\n');
            }
        }
        transaction.prepare_cached("INSERT INTO words (rowid, name, tags) VALUES (?, ?, ?)")?.execute(params![
            id,
            metadata.name,
            text
        ])?;
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn remove(&mut self, row: u64) -> Result<(), IndexError> {
        let transaction = self.connection.transaction()?;
        delete(&transaction, row.cast_signed())?;
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn clear(&mut self) -> Result<(), IndexError> {
        let transaction = self.connection.transaction()?;
        transaction
            .execute_batch("DELETE FROM docs; DELETE FROM tags; INSERT INTO words (words) VALUES ('delete-all');")?;
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn search(&mut self, query: &Query, limit: usize, budget: Duration) -> Result<Vec<u64>, IndexError> {
        let statement = sql::translate(query, limit);
        self.deadline.set(Instant::now().checked_add(budget));
        let found = self.select(&statement);
        let passed = self.deadline.passed.load(Ordering::Relaxed);
        self.deadline.set(None);
        found.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if passed => IndexError::TooSlow,
            _ => error.into(),
        })
    }

    fn select(&self, statement: &sql::Statement) -> rusqlite::Result<Vec<u64>> {
        let mut prepared = self.connection.prepare(&statement.sql)?;
        let rows = prepared
            .query_map(params_from_iter(&statement.parameters), |row| row.get::<_, i64>(0).map(i64::cast_unsigned))?;
        rows.collect()
    }
}

fn delete(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM docs WHERE id = ?")?.execute([id])?;
    connection.prepare_cached("DELETE FROM tags WHERE doc = ?")?.execute([id])?;
    connection.prepare_cached("DELETE FROM words WHERE rowid = ?")?.execute([id])?;
    Ok(())
}
