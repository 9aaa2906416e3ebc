//! A stock libp2p process, which holds none of our code, against a node.

use std::process::Output;
use std::time::Duration;

use futures::StreamExt;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, SwarmBuilder, identify, noise, ping, tcp, yamux};
use neblo_behaviour::{Config, Handle};
use serde_json::Value;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(NetworkBehaviour)]
struct Behaviour {
    neblo: neblo_behaviour::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// A node that founded a ring, with its address and the hash of its network.
async fn node() -> (Handle, Multiaddr, String) {
    let config = Config::default().with_network("interop");
    let network = config.network_hash();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Behaviour {
            neblo: neblo_behaviour::Behaviour::new(key, config),
            identify: identify::Behaviour::new(identify::Config::new("/neblo/1".into(), key.public())),
            ping: ping::Behaviour::default(),
        })
        .unwrap()
        .with_swarm_config(|config| {
            config.with_substream_upgrade_protocol_override(libp2p::core::upgrade::Version::V1Lazy)
        })
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(*swarm.local_peer_id()).unwrap();
        }
    };
    let handle = swarm.behaviour().neblo.handle();
    tokio::spawn(async move {
        loop {
            swarm.next().await;
        }
    });
    handle.subscribe(vec![]).await.unwrap();
    (handle, address, network)
}

async fn stock(address: &Multiaddr, network: &str, flags: &[&str]) -> (Output, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
    command.arg(address.to_string()).arg(network).args(flags).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").unwrap();
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let events = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output, events)
}

async fn is_answered(address: &Multiaddr, network: &str) -> Vec<Value> {
    let (output, events) = stock(address, network, &[]).await;
    assert!(output.status.success(), "{output:?}");
    events
}

async fn violations(handle: &Handle) -> u64 {
    let status = handle.status().await.unwrap();
    status.counters.iter().find(|(name, _)| *name == "swarm_violations").unwrap().1
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_stock_node_is_greeted_and_answered() {
    let (handle, address, network) = node().await;
    let events = is_answered(&address, &network).await;
    let names = names(&events);
    for wanted in ["pinged", "hello", "answered"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
    // Versions and the longest frame, as the bytes say it; features and incarnation are the node's own.
    let hello = events.iter().find(|event| event["event"] == "hello").unwrap()["hex"].as_str().unwrap();
    assert!(hello.starts_with("8200a40102") && hello.ends_with("041a00028000"), "{hello}");
    assert_eq!(violations(&handle).await, 0);
}

#[tokio::test]
async fn a_stock_node_that_talks_nonsense_is_cut_off_and_the_next_is_served() {
    let (handle, address, network) = node().await;
    let (output, events) = stock(&address, &network, &["--garbage"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(names(&events).last(), Some(&"closed"));
    assert_eq!(violations(&handle).await, 1);
    is_answered(&address, &network).await;
}

#[tokio::test]
async fn a_stock_node_of_another_network_finds_nobody_to_talk_to() {
    let (handle, address, _) = node().await;
    let other = Config::default().with_network("another").network_hash();
    let (output, events) = stock(&address, &other, &[]).await;
    assert!(!output.status.success() && !names(&events).contains(&"hello"), "{output:?}");
    assert_eq!(violations(&handle).await, 0);
    assert!(handle.status().await.unwrap().address.is_some());
}
