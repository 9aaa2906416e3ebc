use super::*;

fn options() -> Options {
    Options::parse_from(["storage"])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_block_is_lost_on_64_nodes_while_fewer_owners_than_copies_die_between_repairs() {
    let report = run(&Options { blocks: 120, rounds: 1, ..options() }).await.unwrap();
    assert_eq!(report.lost, 0);
    assert_eq!(report.repairs.len(), 4);
    assert!(report.repairs.iter().any(|repair| repair.sent > 0), "{:?}", report.repairs);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_copies_a_block_dies_with_its_owner() {
    let mut world = World::start(6, 1, StdRng::seed_from_u64(1)).await.unwrap();
    world.store(60, 100).await.unwrap();
    world.kill(3);
    assert!(world.read().await < 60);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_at_once() {
    let error = run(&Options { kill: 3, ..options() }).await.unwrap_err().to_string();
    assert!(error.contains("fewer than --copies 3"), "{error}");
    assert!(run(&Options { copies: 9, ..options() }).await.is_err());
    assert!(run(&Options { size: 65536, ..options() }).await.is_err());
}
