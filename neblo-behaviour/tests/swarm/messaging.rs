use super::*;

const PORT: u16 = 2000;
const WAIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn messages_and_requests_reach_the_owner_of_an_address() {
    let hosts = network(4, Config::default()).await;
    let mut addresses = Vec::new();
    for host in &hosts {
        let status = host.handle.status().await.unwrap();
        assert!(status.counters.iter().any(|(name, count)| *name == "swarm_frames_out" && *count > 0));
        addresses.push(status.address.unwrap());
    }
    let to = addresses[2];
    // Nobody listens on the port yet.
    let asked = hosts[0].handle.request(1, PORT, to, b"?".to_vec(), WAIT).await.unwrap();
    assert_eq!(in_time(asked.wait()).await, Err(Failure::NoReceiver));

    let mut messages = hosts[2].handle.message_receiver(PORT).await.unwrap();
    let mut requests = hosts[2].handle.request_receiver(PORT).await.unwrap();
    hosts[0].handle.send(1, PORT, to, b"hello".to_vec()).await.unwrap();
    let delivery = in_time(messages.next()).await.unwrap();
    assert_eq!((delivery.to, delivery.copy, &delivery.payload[..]), (to, 0, &b"hello"[..]));

    let mut asked = hosts[1].handle.request(1, PORT, to, b"2 + 2".to_vec(), WAIT).await.unwrap();
    let (ask, responder) = in_time(requests.next()).await.unwrap();
    assert_eq!(ask.payload, b"2 + 2");
    assert!(asked.test().is_none());
    responder.respond(Some(b"4".to_vec()));
    let mut answer = None;
    eventually(async || {
        answer = answer.take().or_else(|| asked.test());
        answer.is_some()
    })
    .await;
    assert_eq!(answer.unwrap(), Ok(b"4".to_vec()));

    // A responder that is dropped refuses; a receiver that is dropped is none.
    let asked = hosts[1].handle.request(1, PORT, to, b"?".to_vec(), WAIT).await.unwrap();
    drop(in_time(requests.next()).await.unwrap());
    assert_eq!(in_time(asked.wait()).await, Err(Failure::Refused));
    drop(requests);
    eventually(async || {
        let asked = hosts[1].handle.request(1, PORT, to, b"?".to_vec(), WAIT).await.unwrap();
        asked.wait().await == Err(Failure::NoReceiver)
    })
    .await;

    let asked = hosts[1].handle.request(1, PORT, to, vec![0; 65 * 1024], WAIT).await.unwrap();
    assert!(matches!(in_time(asked.wait()).await, Err(Failure::Invalid(_))));
    let largest = vec![7; 64 * 1024];
    hosts[3].handle.send(1, PORT, to, largest.clone()).await.unwrap();
    assert_eq!(in_time(messages.next()).await.unwrap().payload, largest);
}

#[tokio::test]
async fn a_wrong_bootstrap_is_told() {
    let host = Host::start(Config::default()).await;
    let bare = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    assert!(matches!(host.handle.subscribe(vec![bare]).await, Err(Failure::Invalid(_))));
    let nobody = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", PeerId::random()).parse().unwrap();
    assert_eq!(in_time(host.handle.subscribe(vec![nobody])).await, Err(Failure::NoBootstrap));
}

#[tokio::test]
async fn everything_fails_once_the_node_is_gone() {
    let host = Host::start(Config::default()).await;
    let handle = host.handle.clone();
    let mut messages = handle.message_receiver(PORT).await.unwrap();
    let mut directory = handle.directory();
    let mut incoming = handle.incoming();
    drop(host);
    eventually(async || handle.status().await == Err(Failure::Closed)).await;
    assert!(messages.next().await.is_none());
    assert!(directory.next().await.is_none());
    assert!(incoming.next().await.is_none());
}

#[tokio::test]
async fn the_ring_closes_again_when_a_member_dies() {
    let mut hosts = network(5, Config::default()).await;
    drop(hosts.remove(2));
    for host in &hosts {
        eventually(async || host.handle.status().await.unwrap().successors == 3).await;
    }
}
