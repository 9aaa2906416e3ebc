use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn all_members_get_all_messages_once_also_after_an_inner_node_and_the_root_are_killed() {
    let mut world = World::start(24, Duration::from_millis(300), 1).await.unwrap();
    world.enter(12);
    world.settled().await.unwrap();
    let shape = world.shape();
    assert_eq!(shape.members, 12);
    assert!(shape.depth >= 2 && shape.widest >= 2, "{shape:?}");
    world.publish(10).await.unwrap();

    assert!(world.kill_inner().unwrap() > 0);
    world.publish(10).await.unwrap();
    world.settled().await.unwrap();

    world.kill_root().await.unwrap();
    world.publish(10).await.unwrap();
    world.settled().await.unwrap();

    // A tree that nobody wants is gone by itself.
    world.leave();
    world.gone().await.unwrap();
}
