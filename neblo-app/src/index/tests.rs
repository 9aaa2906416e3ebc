use std::time::Duration;

use super::*;
use crate::{
    content::empty_root,
    query::{parse, tests::any_query},
};
use proptest::prelude::*;

const NONE: [u64; 0] = [];

fn file(name: &str, size: u64, tags: &[(&str, &str)]) -> Metadata {
    let mut metadata = Metadata::file(name.into(), [size as u8; 32], size);
    metadata.tags = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    metadata
}

async fn filled() -> Index {
    let index = Index::open(&Location::Memory).unwrap();
    let files = [
        file("holiday_photo-2024.jpg", 1_000, &[("place", "Zürich See")]),
        file("Report on mixes.PDF", 5_000_000, &[("author", "David Chaum")]),
        file("Holiday plans.txt", 200, &[("author", "Eve")]),
        file("talk \"untraceable\" mail.mp4", 900_000_000, &[]),
        Metadata::collection("photos".into(), empty_root(), 10, 7_000),
    ];
    for (row, metadata) in (1..).zip(files) {
        index.add(row, metadata).await.unwrap();
    }
    index
}

async fn found(index: &Index, query: &str) -> Vec<u64> {
    let mut rows = index.search(parse(query).unwrap(), 100).await.unwrap();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn file_names_are_found_by_their_words() {
    let index = filled().await;
    for (query, rows) in [
        ("holiday", &[1, 3][..]),
        ("HOLIDAY", &[1, 3]),
        ("photo 2024 jpg", &[1]),
        ("holiday_photo-2024.jpg", &[1]),
        ("hol*", &[1, 3]),
        ("pho*", &[1, 5]),
        ("\"on mixes\"", &[2]),
        ("\"mixes on\"", &[]),
        ("zurich", &[1]),
        ("zürich", &[1]),
        ("chaum", &[2]),
        ("untraceable", &[4]),
        ("nothing", &[]),
    ] {
        assert_eq!(found(&index, query).await, rows, "{query}");
    }
}

#[tokio::test]
async fn conditions_combine() {
    let index = filled().await;
    let root = format!("root:{}", hex::encode([200; 32]));
    for (query, rows) in [
        ("size:>1MB", &[2, 4][..]),
        ("size:=200", &[3]),
        ("size:<=1KB", &[1, 3]),
        ("type:pdf", &[2]),
        ("type:.PDF", &[2]),
        ("type:video", &[4]),
        ("type:image/jpeg", &[1]),
        ("type:folder", &[5]),
        ("tag:author=\"david chaum\"", &[2]),
        ("tag:author=chaum", &[]),
        (&root, &[3]),
        ("holiday NOT photo", &[3]),
        ("holiday size:<500", &[3]),
        ("holiday -type:jpg", &[3]),
        ("size:<10KB NOT holiday", &[5]),
        ("chaum OR size:=200", &[2, 3]),
        ("(holiday OR chaum) type:pdf", &[2]),
        ("holiday (photo OR size:=200)", &[1, 3]),
        ("holiday NOT (photo OR size:=1KB)", &[3]),
        ("holiday NOT (photo AND 2024)", &[3]),
        ("holiday (plans NOT photo)", &[3]),
    ] {
        assert_eq!(found(&index, query).await, rows, "{query}");
    }
}

#[tokio::test]
async fn rows_are_replaced_and_removed() {
    let index = filled().await;
    index.add(1, file("other.bin", 1, &[])).await.unwrap();
    assert_eq!(found(&index, "photo").await, NONE);
    assert_eq!(found(&index, "other").await, [1]);
    assert_eq!(found(&index, "tag:place=\"zürich see\"").await, NONE);
    index.remove(1).await.unwrap();
    index.remove(1).await.unwrap();
    assert_eq!(found(&index, "other").await, NONE);
    index.add(u64::MAX, file("largest.bin", 1, &[])).await.unwrap();
    assert_eq!(found(&index, "largest").await, [u64::MAX]);
    index.clear().await.unwrap();
    assert_eq!(found(&index, "size:>=0B").await, NONE);
    index.add(2, file("after.bin", 1, &[])).await.unwrap();
    assert_eq!(found(&index, "after").await, [2]);
}

#[tokio::test]
async fn no_more_rows_than_asked_for() {
    let index = Index::open(&Location::Memory).unwrap();
    for row in 0..20 {
        index.add(row, file(&format!("same {row}.txt"), row, &[])).await.unwrap();
    }
    let query = || parse("same").unwrap();
    assert_eq!(index.search(query(), 7).await.unwrap().len(), 7);
    assert_eq!(index.search(query(), usize::MAX).await.unwrap().len(), 20);
    assert_eq!(index.search(query(), 0).await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_text_of_a_query_is_never_syntax() {
    let index = filled().await;
    for text in ["a\" OR name:\"b", "x\"\"", "name : holiday", "^holiday", "NEAR(a b)", "a;b'--", "holiday*\"x"] {
        for query in [Query::Term(text.into()), Query::Phrase(text.into())] {
            index.search(query, 10).await.unwrap();
        }
    }
    let term = Query::Term("untraceable\" OR \"holiday".into());
    assert_eq!(index.search(term, 10).await.unwrap(), NONE);
}

#[test]
fn a_search_over_its_budget_is_stopped_and_the_next_one_works() {
    let mut database = worker::open(&Location::Memory).unwrap();
    for row in 0..2000 {
        database.add(row, &file(&format!("same {row}.txt"), row, &[])).unwrap();
    }
    // Matches no row, but each has to be looked at.
    let query = parse("same NOT size:>=0B").unwrap();
    let error = database.search(&query, 10, Duration::ZERO).unwrap_err();
    assert!(matches!(error, IndexError::TooSlow), "{error}");
    let second = Duration::from_secs(60);
    assert_eq!(database.search(&query, 10, second).unwrap(), NONE);
    database.add(9999, &file("more", 1, &[])).unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_searches() {
    // No thread takes from this queue.
    let (commands, _queue) = mpsc::channel(1);
    let index = Index { commands };
    let mut waiting = Box::pin(index.search(parse("first").unwrap(), 1));
    assert!(futures::poll!(&mut waiting).is_pending());
    let refused = index.search(parse("second").unwrap(), 1).await;
    assert!(matches!(refused, Err(IndexError::Busy)));
}

#[tokio::test]
async fn an_unbounded_query_never_reaches_the_database() {
    let index = filled().await;
    let query = Query::Not(Box::new(Query::Term("a".into())));
    assert!(matches!(index.search(query, 1).await, Err(IndexError::Query(_))));
}

#[test]
fn a_file_starts_empty_whatever_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.sqlite");
    std::fs::write(&path, b"not a database").unwrap();
    for _ in 0..2 {
        let mut database = worker::open(&Location::File(path.clone())).unwrap();
        database.add(1, &file("one", 1, &[])).unwrap();
        let query = parse("size:>=0B").unwrap();
        assert_eq!(database.search(&query, 9, Duration::from_secs(60)).unwrap(), [1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_valid_query_is_valid_sql(query in any_query()) {
        if query.check().is_ok() {
            let mut database = worker::open(&Location::Memory).unwrap();
            database.add(1, &file("holiday.jpg", 1, &[("k", "v")])).unwrap();
            database.search(&query, 10, Duration::from_secs(60)).unwrap();
        }
    }
}
