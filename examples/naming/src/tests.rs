use example_nodes::until;
use neblo_behaviour::protocol::messaging::placement;

use super::*;
use crate::record::address_of;
use crate::service::COPIES;

const DEADLINE: Duration = Duration::from_secs(30);
const HOUR: u64 = 3600;

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarder_answers_from_its_cache_and_an_update_wins_after_the_time_to_live() {
    let clock = Clock::default();
    let (nodes, services) = start(24, Duration::from_secs(HOUR), &clock).await.unwrap();
    let keypair = Keypair::generate_ed25519();
    let name = "lighthouse.example";
    register(&nodes[0].handle, &Record::sign(&keypair, name, "old", 1).unwrap()).await.unwrap();

    // Every node asks until one is answered on the way.
    let mut asker = 0;
    until("an answer by a forwarder", DEADLINE, async || {
        asker = (asker + 1) % nodes.len();
        let before: u64 = services.iter().map(|service| service.answers().0).sum();
        let found = resolve(&nodes[asker].handle, name).await.unwrap();
        assert_eq!((found.record.value.as_str(), found.record.version), ("old", 1));
        let after: u64 = services.iter().map(|service| service.answers().0).sum();
        assert!(found.cached || after > before, "nobody else answers");
        found.cached && after == before
    })
    .await
    .unwrap();
    assert!(services.iter().any(|service| service.answers().1 > 0));

    // The owners have the update at once; who is answered on the way still gets the old record.
    register(&nodes[1].handle, &Record::sign(&keypair, name, "new", 2).unwrap()).await.unwrap();
    until("an answer from before the update", DEADLINE, async || {
        let found = resolve(&nodes[asker].handle, name).await.unwrap();
        assert_eq!(found.record.version, if found.cached { found.record.version } else { 2 });
        // Should its way lead elsewhere by now, another's leads past a forwarder that has seen the old one.
        asker = (asker + 1) % nodes.len();
        found.record.value == "old"
    })
    .await
    .unwrap();

    clock.advance(HOUR);
    for node in &nodes {
        let found = resolve(&node.handle, name).await.unwrap();
        assert_eq!((found.record.value.as_str(), found.record.version), ("new", 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_spare_the_owners_and_refused_registrations_say_why() {
    let options = Options { nodes: 24, names: 5, lookups: 300, ..Options::parse_from(["naming"]) };
    let [without, with] = run(&options).await.unwrap();
    // A question that was lost on its way back is asked again, and then an owner answers it twice.
    assert!(without.cached == 0 && without.owners >= 300, "{without:?}");
    assert!(with.cached as u64 + with.owners >= 300, "{with:?}");
    assert!(with.cached > 0 && with.owners < without.owners, "{without:?} {with:?}");

    let (nodes, _services) = start(3, Duration::ZERO, &Clock::default()).await.unwrap();
    let (ann, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    register(&nodes[0].handle, &Record::sign(&ann, "a", "1", 1).unwrap()).await.unwrap();
    let taken = register(&nodes[1].handle, &Record::sign(&bob, "a", "2", 2).unwrap()).await.unwrap_err();
    assert!(taken.to_string().contains("taken by another key"), "{taken}");
    let unknown = resolve(&nodes[2].handle, "nobody").await.unwrap_err();
    assert!(unknown.to_string().contains("is it registered"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_outlives_its_owner() {
    let (mut nodes, mut services) = start(8, Duration::ZERO, &Clock::default()).await.unwrap();
    let name = name_of_several_owners(&nodes).await;
    let record = Record::sign(&Keypair::generate_ed25519(), &name, "1", 1).unwrap();
    register(&nodes[0].handle, &record).await.unwrap();
    resolve(&nodes[0].handle, &name).await.unwrap();
    let owner = services.iter().position(|service| service.answers().0 > 0).unwrap();
    services.remove(owner);
    drop(nodes.remove(owner));
    until("an answer by the new owner", DEADLINE, async || {
        let found = resolve(&nodes[0].handle, &name).await;
        found.is_ok_and(|found| found.record == record)
    })
    .await
    .unwrap();
}

/// Of 8 nodes with random addresses one may own half the ring, and with it every copy of a name.
async fn name_of_several_owners(nodes: &[Node]) -> String {
    let mut ranges = Vec::new();
    for node in nodes {
        ranges.extend(node.handle.status().await.unwrap().range);
    }
    let one_owns_all = |name: &String| {
        let at = address_of(name);
        ranges.iter().any(|range| (0..COPIES).all(|copy| range.contains(placement(at, copy))))
    };
    (0..1_000).map(|number| format!("name {number}")).find(|name| !one_owns_all(name)).unwrap()
}
