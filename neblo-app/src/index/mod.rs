//! The leader's search index: SQLite FTS5 on a thread of its own.
//!
//! It holds nothing that the leader's table does not, so it always starts empty and is filled from there. A search is a
//! [`Query`] tree; its conditions become SQL one by one, and only quoted words of it reach the full-text engine.

mod sql;
mod worker;

use std::{path::PathBuf, thread};

use tokio::sync::{mpsc, oneshot};

use crate::{
    metadata::Metadata,
    query::{Query, QueryError},
};
use worker::Command;

/// Commands that may wait; a search that would be the next is refused.
const QUEUE: usize = 256;
/// Most rows of one answer.
pub const MAX_RESULTS: usize = 1000;

/// Why the index cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// More searches wait than can be answered in time.
    #[error("too many searches are waiting; ask again in a moment")]
    Busy,
    /// The search would take too long.
    #[error("the search took more than 20 ms; make it more specific")]
    TooSlow,
    /// The query is outside its bounds.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The index has been closed.
    #[error("the index is closed; the node is stopping")]
    Closed,
    /// SQLite failed.
    #[error("the index failed: {0}; restart the node to rebuild it")]
    Database(#[from] rusqlite::Error),
    /// Its thread could not be started.
    #[error("the index could not be started: {0}")]
    Thread(std::io::Error),
    /// An older file is in the way.
    #[error("the old index {} cannot be removed: {source}; remove it by hand", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where the index is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In memory, about 1 KiB a publication.
    Memory,
    /// In a file, which is made anew.
    File(PathBuf),
}

/// A handle to the index. When the last clone is dropped, its thread ends.
#[derive(Debug, Clone)]
pub struct Index {
    commands: mpsc::Sender<Command>,
}

impl Index {
    /// Starts an empty index.
    pub fn open(location: &Location) -> Result<Self, IndexError> {
        let database = worker::open(location)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("neblo-index".to_owned())
            .spawn(move || worker::run(database, queue))
            .map_err(IndexError::Thread)?;
        Ok(Self { commands })
    }

    /// Adds a row, or replaces the one of this number.
    pub async fn add(&self, row: u64, metadata: Metadata) -> Result<(), IndexError> {
        self.ask(|reply| Command::Add(row, Box::new(metadata), reply)).await
    }

    /// Removes a row; none there is fine.
    pub async fn remove(&self, row: u64) -> Result<(), IndexError> {
        self.ask(|reply| Command::Remove(row, reply)).await
    }

    /// Removes all rows.
    pub async fn clear(&self) -> Result<(), IndexError> {
        self.ask(Command::Clear).await
    }

    /// The rows that match, at most `limit`.
    pub async fn search(&self, query: Query, limit: usize) -> Result<Vec<u64>, IndexError> {
        query.check()?;
        let (reply, answer) = oneshot::channel();
        let limit = limit.min(MAX_RESULTS);
        // Searches come from the network: they never wait for room.
        self.commands.try_send(Command::Search(query, limit, reply)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => IndexError::Busy,
            mpsc::error::TrySendError::Closed(_) => IndexError::Closed,
        })?;
        answer.await.map_err(|_| IndexError::Closed)?
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, IndexError>>) -> Command,
    ) -> Result<T, IndexError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| IndexError::Closed)?;
        answer.await.map_err(|_| IndexError::Closed)?
    }
}

#[cfg(test)]
mod tests;
