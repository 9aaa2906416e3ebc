use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{identify, ping};

use super::*;

/// NEBLO beside other behaviours, and under a `Toggle`.
#[derive(NetworkBehaviour)]
struct Composed {
    neblo: Toggle<Behaviour>,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

async fn composed(neblo: bool) -> (Swarm<Composed>, Multiaddr) {
    listening(|key| Composed {
        neblo: Toggle::from(neblo.then(|| Behaviour::new(key, Config::default()))),
        ping: ping::Behaviour::default(),
        identify: identify::Behaviour::new(identify::Config::new("/test/1".into(), key.public())),
    })
    .await
}

fn spawn(mut swarm: Swarm<Composed>) -> tokio::sync::mpsc::Receiver<ComposedEvent> {
    let (events, receiver) = tokio::sync::mpsc::channel(1000);
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(event) = swarm.select_next_some().await {
                let _ = events.try_send(event);
            }
        }
    });
    receiver
}

#[tokio::test]
async fn it_works_beside_other_behaviours_and_with_a_plain_node() {
    let (swarm, _) = composed(true).await;
    let handle = swarm.behaviour().neblo.as_ref().unwrap().handle();
    let mut events = spawn(swarm);
    let plain = Host::start(Config::default()).await;
    plain.join(&[]).await.unwrap();
    let address = in_time(handle.subscribe(vec![plain.address.clone()])).await.unwrap();
    let subscribed = in_time(async {
        loop {
            if let ComposedEvent::Neblo(neblo_behaviour::Event::Subscribed { address, .. }) =
                events.recv().await.unwrap()
            {
                return address;
            }
        }
    })
    .await;
    assert_eq!(subscribed, address);
}

#[tokio::test]
async fn a_node_whose_neblo_is_switched_off_cannot_be_a_bootstrap() {
    let (swarm, address) = composed(false).await;
    let _events = spawn(swarm);
    let host = Host::start(Config::default()).await;
    assert_eq!(in_time(host.handle.subscribe(vec![address])).await, Err(Failure::NoBootstrap));
}
