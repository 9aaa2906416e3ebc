use futures::{AsyncReadExt, AsyncWriteExt};
use neblo_behaviour::protocol::interface::{Announcement, Hit};
use neblo_behaviour::swarm::{DirectoryEvent, LookupEvent};

use super::*;

/// Answers searches like a leader's application would: rows that contain the query.
fn index(handle: &Handle) {
    let (handle, mut directory) = (handle.clone(), handle.directory());
    tokio::spawn(async move {
        let mut rows: std::collections::BTreeMap<u64, Vec<u8>> = Default::default();
        while let Some(event) = directory.next().await {
            match event {
                DirectoryEvent::RowAdded { row, payload } => drop(rows.insert(row, payload)),
                DirectoryEvent::RowRemoved { row } => drop(rows.remove(&row)),
                DirectoryEvent::RowsCleared => rows.clear(),
                DirectoryEvent::Asked { ask, query, limit } => {
                    let matches = |payload: &[u8]| payload.windows(query.len()).any(|window| window == query);
                    let found = rows.iter().filter(|(_, payload)| matches(payload)).map(|(row, _)| *row);
                    handle.directory_answer(ask, found.take(limit.into()).collect());
                }
                _ => {}
            }
        }
    });
}

pub(crate) async fn find(handle: &Handle, query: &[u8]) -> Vec<Hit> {
    let mut lookup = handle.lookup(query.to_vec(), 10, Duration::from_secs(2), true);
    let mut found = Vec::new();
    while let Some(event) = in_time(lookup.next()).await {
        match event {
            LookupEvent::Hits { hits, .. } => found.extend(hits),
            LookupEvent::Failed(_) => return Vec::new(),
            _ => {}
        }
    }
    found
}

/// Waits until every member has its paths; the members that lead nothing, by place and subgroup.
pub(crate) async fn members_with_paths(hosts: &[Host]) -> Vec<(usize, Option<OverlayAddr>)> {
    // A leader becomes a guest elsewhere only when it wants something.
    for host in hosts {
        eventually(async || {
            let status = host.handle.status().await.unwrap();
            status.has_paths()
        })
        .await;
    }
    let mut members = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let status = host.handle.status().await.unwrap();
        members.extend((!status.is_leader).then_some((at, status.subgroup)));
    }
    members
}

#[tokio::test]
async fn a_publication_is_found_and_streamed_from_another_subgroup() {
    found_and_streamed(network(10, Config::default().with_subgroup_size(5)).await).await;
}

#[tokio::test]
async fn a_publication_is_found_and_streamed_over_quic_too() {
    let config = Config::default().with_subgroup_size(5);
    found_and_streamed(network_of(10, async || Host::start_on_quic(config.clone()).await).await).await;
}

async fn found_and_streamed(hosts: Vec<Host>) {
    for host in &hosts {
        index(&host.handle);
    }
    let members = members_with_paths(&hosts).await;
    let (publisher, home) = members[0];
    let (requester, _) = *members.iter().find(|(_, subgroup)| *subgroup != home).expect("two subgroups");

    let announcement = Announcement { secret: [9; 32], payload: b"a red canary".to_vec(), expiry_day: 40_000 };
    let publication = in_time(hosts[publisher].handle.announce(announcement, true)).await.unwrap();
    let mut hits = Vec::new();
    eventually(async || {
        hits = find(&hosts[requester].handle, b"canary").await;
        !hits.is_empty()
    })
    .await;
    assert_eq!((hits[0].id(), &hits[0].payload[..]), (publication, &b"a red canary"[..]));
    assert!(find(&hosts[requester].handle, b"zebra").await.is_empty());

    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    let mut incoming = hosts[publisher].handle.incoming();
    let sent = content.clone();
    let server = tokio::spawn(async move {
        let mut stream = in_time(incoming.next()).await.unwrap().accept().await.unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"all of it");
        stream.write_all(&sent).await.unwrap();
        stream.close().await.unwrap();
    });
    let mut stream = in_time(hosts[requester].handle.connect(&hits[0], true)).await.unwrap();
    stream.write_all(b"all of it").await.unwrap();
    stream.close().await.unwrap();
    let mut got = Vec::new();
    in_time(stream.read_to_end(&mut got)).await.unwrap();
    assert!(got == content);
    in_time(server).await.unwrap();

    let relayed: u64 = hosts.iter().map(|host| host.handle.relayed_bytes()).sum();
    assert!(relayed >= 2 * 3_000_000, "{relayed}");
    for host in &hosts {
        let status = host.handle.status().await.unwrap();
        if status.is_leader {
            assert_eq!(host.handle.relayed_bytes(), 0, "a leader carried content");
        }
    }

    in_time(hosts[publisher].handle.withdraw(publication)).await.unwrap();
    eventually(async || find(&hosts[requester].handle, b"canary").await.is_empty()).await;
    assert!(in_time(hosts[requester].handle.connect(&hits[0], true)).await.is_err());
}
