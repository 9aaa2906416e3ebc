//! What a leader does for its subgroup: an index of what is announced, and answers to searches.

use std::sync::Arc;

use futures::StreamExt;
use neblo_behaviour::swarm::DirectoryEvent;
use tokio::sync::Semaphore;

use super::Service;
use crate::{index::Index, metadata::Metadata, query::Query};

/// Searches answered at once; the index takes them one by one anyway. choice
const SEARCHES: usize = 32;

impl Service {
    /// Keeps the index and answers searches, for ever.
    pub(super) async fn keep_directory(self, index: Index) {
        let room = Arc::new(Semaphore::new(SEARCHES));
        let mut events = self.handle().directory();
        while let Some(event) = events.next().await {
            let done = match event {
                DirectoryEvent::RowAdded { row, payload } => match Metadata::decode(&payload) {
                    Ok(metadata) => index.add(row, metadata).await,
                    // Somebody announced what is no metadata: nobody can find it.
                    Err(_) => Ok(()),
                },
                DirectoryEvent::RowRemoved { row } => index.remove(row).await,
                DirectoryEvent::RowsCleared => index.clear().await,
                DirectoryEvent::Asked { ask, query, limit } => {
                    let Ok(permit) = room.clone().try_acquire_owned() else {
                        self.handle().directory_answer(ask, Vec::new());
                        continue;
                    };
                    let (service, index) = (self.clone(), index.clone());
                    tokio::spawn(async move {
                        let rows = match Query::decode(&query) {
                            Ok(query) => index.search(query, usize::from(limit)).await,
                            Err(_) => Ok(Vec::new()),
                        };
                        let rows = rows.unwrap_or_else(|error| {
                            tracing::debug!(target: "neblo", %error, "a search was not answered");
                            Vec::new()
                        });
                        service.handle().directory_answer(ask, rows);
                        drop(permit);
                    });
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!(target: "neblo", %error, "the index cannot be kept");
            }
        }
    }
}
