//! What every node does in case it leads: it keeps the index of its subgroup and says which rows match a query.
//!
//! The library keeps the rows and carries the queries; what a query means is the application's affair. Here a row matches if it
//! begins with the query.

use std::collections::BTreeMap;

use futures::StreamExt;
use neblo_behaviour::Handle;
use neblo_behaviour::swarm::DirectoryEvent;

/// Answers searches for as long as the node lives.
pub(crate) fn keep(handle: &Handle) {
    let (handle, mut directory) = (handle.clone(), handle.directory());
    tokio::spawn(async move {
        let mut rows: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        while let Some(event) = directory.next().await {
            match event {
                DirectoryEvent::RowAdded { row, payload } => drop(rows.insert(row, payload)),
                DirectoryEvent::RowRemoved { row } => drop(rows.remove(&row)),
                DirectoryEvent::RowsCleared => rows.clear(),
                DirectoryEvent::Asked { ask, query, limit } => {
                    let matching = rows.iter().filter(|(_, payload)| payload.starts_with(&query));
                    handle.directory_answer(ask, matching.map(|(row, _)| *row).take(limit.into()).collect());
                }
                _ => {}
            }
        }
    });
}
