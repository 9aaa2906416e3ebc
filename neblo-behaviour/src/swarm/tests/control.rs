use bytes::Bytes;

use super::*;

fn connected(node: &mut Swarm<Behaviour>, peer: PeerId) -> bool {
    heard(node).iter().any(|input| matches!(input, Input::Connected(known) if *known == peer))
}

fn unreachable(node: &mut Swarm<Behaviour>, peer: PeerId) -> bool {
    heard(node).iter().any(|input| matches!(input, Input::Unreachable(known) if *known == peer))
}

fn disconnected(node: &mut Swarm<Behaviour>, peer: PeerId) -> bool {
    heard(node).iter().any(|input| matches!(input, Input::Disconnected(known) if *known == peer))
}

async fn frames_arrive_in_order(mut nodes: Vec<Swarm<Behaviour>>) {
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    for nonce in 0..50 {
        send(&mut nodes[0], &peers[1], Lane::Urgent, probe(nonce));
    }
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer).len() == 50).await;
    assert_eq!(nonces(&mut nodes[1], peers[0].peer), (0..50).collect::<Vec<_>>());
    // The answer needs no dial: the connection is there.
    send(&mut nodes[1], &Contact::bare(peers[0].peer), Lane::App, probe(99));
    run(&mut nodes, |nodes| nonces(&mut nodes[0], peers[1].peer) == [99]).await;
    assert!(connected(&mut nodes[0], peers[1].peer) && connected(&mut nodes[1], peers[0].peer));
    // Hello comes before everything else.
    assert!(matches!(
        heard(&mut nodes[1]).iter().find(|input| !matches!(input, Input::Addresses(_))),
        Some(Input::Connected(_))
    ));
    let gone = nodes.pop().unwrap();
    drop(gone);
    run(&mut nodes, |nodes| disconnected(&mut nodes[0], peers[1].peer)).await;
}

#[tokio::test]
async fn frames_arrive_in_order_over_memory() {
    frames_arrive_in_order(vec![memory().await, memory().await]).await;
}

#[tokio::test]
async fn frames_arrive_in_order_over_tcp() {
    frames_arrive_in_order(vec![tcp().await, tcp().await]).await;
}

#[tokio::test]
async fn both_may_dial_at_once() {
    let mut nodes = vec![tcp().await, tcp().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    send(&mut nodes[1], &peers[0], Lane::Urgent, probe(2));
    run(&mut nodes, |nodes| nonces(&mut nodes[0], peers[1].peer) == [2] && nonces(&mut nodes[1], peers[0].peer) == [1])
        .await;
}

#[tokio::test]
async fn who_cannot_be_dialled_is_unreachable() {
    let mut nodes = vec![memory().await];
    let nobody = PeerId::random();
    let address: Multiaddr = "/memory/1".parse().unwrap();
    send(&mut nodes[0], &Contact::new(nobody, vec![address.to_vec()]), Lane::Urgent, probe(1));
    run(&mut nodes, |nodes| unreachable(&mut nodes[0], nobody)).await;
    heard(&mut nodes[0]).clear();
    nodes[0].behaviour_mut().execute(Output::Hold(Contact::bare(nobody)));
    run(&mut nodes, |nodes| unreachable(&mut nodes[0], nobody)).await;
    assert!(nodes[0].behaviour().peers.is_empty());
}

#[tokio::test]
async fn the_queue_for_a_peer_being_dialled_is_bounded() {
    let mut nodes = vec![memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    for nonce in 0..100 {
        send(&mut nodes[0], &peers[1], Lane::Urgent, probe(nonce));
    }
    assert_eq!(counter(&nodes[0], "frames_dropped"), 36);
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer).len() == 64).await;
}

#[tokio::test]
async fn a_dial_that_another_behaviour_began_is_waited_for() {
    let mut nodes = vec![memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    let address = nodes[1].external_addresses().next().unwrap().clone();
    nodes[0].dial(address).unwrap();
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer) == [1]).await;
    assert!(!unreachable(&mut nodes[0], peers[1].peer));
}

#[tokio::test]
async fn a_foreign_peer_is_left_alone_and_its_connection_not_kept() {
    let mut foreign = Swarm::new_ephemeral_tokio(|_| libp2p::ping::Behaviour::default());
    foreign.listen().with_memory_addr_external().await;
    left_alone(memory().await, foreign).await;
}

#[tokio::test]
async fn a_foreign_peer_is_known_with_lazy_negotiation_too() {
    let foreign = tcp_with(|_| libp2p::ping::Behaviour::default()).await;
    left_alone(tcp().await, foreign).await;
}

async fn left_alone(mut node: Swarm<Behaviour>, foreign: Swarm<libp2p::ping::Behaviour>) {
    let peer = contact(&foreign);
    // Connected for another behaviour's sake: not a word.
    node.dial(foreign.external_addresses().next().unwrap().clone()).unwrap();
    let mut both = (node, foreign);
    let turn = |both: &mut (Swarm<Behaviour>, Swarm<libp2p::ping::Behaviour>), cx: &mut std::task::Context<'_>| {
        both.0.turn(cx) | both.1.turn(cx)
    };
    until(&mut both, turn, |both| both.0.is_connected(&peer.peer)).await;
    assert!(heard(&mut both.0).iter().all(|input| matches!(input, Input::Addresses(_))));
    // Something is to be said after all.
    send(&mut both.0, &peer, Lane::Urgent, probe(1));
    until(&mut both, turn, |both| unreachable(&mut both.0, peer.peer)).await;
    heard(&mut both.0).clear();
    both.0.behaviour_mut().execute(Output::Hold(peer.clone()));
    until(&mut both, turn, |both| unreachable(&mut both.0, peer.peer)).await;
    until(&mut both, turn, |both| !both.0.is_connected(&peer.peer)).await;
    assert!(both.0.behaviour().peers.is_empty());
    assert!(!connected(&mut both.0, peer.peer) && !disconnected(&mut both.0, peer.peer));
}

#[tokio::test]
async fn another_network_is_foreign() {
    let other = Config::default().with_network("other");
    let mut stranger = Swarm::new_ephemeral_tokio(|key| scripted(&key, other, SwarmConfig::default()));
    stranger.listen().with_memory_addr_external().await;
    let mut nodes = vec![memory().await, stranger];
    let peer = contact(&nodes[1]);
    send(&mut nodes[0], &peer, Lane::Urgent, probe(1));
    run(&mut nodes, |nodes| unreachable(&mut nodes[0], peer.peer)).await;
}

#[tokio::test]
async fn a_held_connection_is_kept_until_it_is_released() {
    let mut nodes = vec![memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    nodes[0].behaviour_mut().execute(Output::Hold(peers[1].clone()));
    run(&mut nodes, |nodes| connected(&mut nodes[0], peers[1].peer)).await;
    let wait = tokio::time::sleep(Duration::from_secs(12));
    while_running(&mut nodes, wait).await;
    assert!(nodes[0].is_connected(&peers[1].peer));
    nodes[0].behaviour_mut().execute(Output::Release(peers[1].peer));
    run(&mut nodes, |nodes| disconnected(&mut nodes[0], peers[1].peer)).await;
}

#[tokio::test]
async fn disconnect_closes_every_connection() {
    let mut nodes = vec![memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    run(&mut nodes, |nodes| connected(&mut nodes[0], peers[1].peer)).await;
    nodes[0].behaviour_mut().execute(Output::Disconnect(peers[1].peer));
    run(&mut nodes, |nodes| disconnected(&mut nodes[1], peers[0].peer) && !nodes[0].is_connected(&peers[1].peer)).await;
    // Whoever wanted it knows.
    assert!(!disconnected(&mut nodes[0], peers[1].peer));
}

#[tokio::test]
async fn a_peer_is_dialled_anew_while_its_old_connection_is_being_closed() {
    let mut nodes = vec![tcp().await, tcp().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer) == [1]).await;
    nodes[0].behaviour_mut().execute(Output::Disconnect(peers[1].peer));
    // Not lost with the connection that is on its way out, and the end of that one is not the end of this one.
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(2));
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer) == [1, 2]).await;
    while_running(&mut nodes, tokio::time::sleep(Duration::from_millis(500))).await;
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(3));
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer) == [1, 2, 3]).await;
    assert!(!disconnected(&mut nodes[0], peers[1].peer) && !unreachable(&mut nodes[0], peers[1].peer));
    assert!(nodes[0].behaviour().closing.is_empty());
}

async fn hostile(hello: Option<Bytes>, then: Option<Vec<u8>>) -> Vec<Swarm<Behaviour>> {
    let mut nodes = vec![memory().await, memory().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    if let Some(hello) = hello {
        nodes[0].behaviour_mut().hello = hello;
    }
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    if let Some(then) = then {
        nodes[0].behaviour().peers[&peers[1].peer].push_raw(then);
    }
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(2));
    run(&mut nodes, |nodes| {
        counter(&nodes[1], "violations") > 0 || nonces(&mut nodes[1], peers[0].peer).last() == Some(&2)
    })
    .await;
    nodes
}

#[tokio::test]
async fn hostile_frames_close_the_link_and_are_counted() {
    let cases = [
        (Some(Bytes::from(probe(1).to_bytes())), None),
        (Some(Bytes::from_static(b"hello")), None),
        (None, Some(b"\xff\xff\xff".to_vec())),
        (None, Some(Vec::new())),
    ];
    for (hello, then) in cases {
        let mut nodes = hostile(hello, then).await;
        assert_eq!(counter(&nodes[1], "violations"), 1);
        let peer = *nodes[0].local_peer_id();
        run(&mut nodes, |nodes| !nodes[1].is_connected(&peer)).await;
        // The node goes on.
        let honest = memory().await;
        let (target, honest_peer) = (contact(&nodes[1]), *honest.local_peer_id());
        nodes.push(honest);
        send(&mut nodes[2], &target, Lane::Urgent, probe(7));
        run(&mut nodes, |nodes| nonces(&mut nodes[1], honest_peer) == [7]).await;
    }
}

#[tokio::test]
async fn an_unknown_kind_of_frame_is_ignored_and_counted() {
    let mut nodes = hostile(None, Some(vec![0x82, 0x18, 0x63, 0xa0])).await;
    assert_eq!((counter(&nodes[1], "violations"), counter(&nodes[1], "frames_unknown")), (0, 1));
    let peer = *nodes[0].local_peer_id();
    assert_eq!(nonces(&mut nodes[1], peer), [1, 2]);
}

/// Each has dialled the other, and both connections are up.
async fn connected_twice() -> (Vec<Swarm<Behaviour>>, Vec<Contact<PeerId>>) {
    let mut nodes = vec![tcp().await, tcp().await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    send(&mut nodes[1], &peers[0], Lane::Urgent, probe(2));
    run(&mut nodes, |nodes| {
        nonces(&mut nodes[0], peers[1].peer) == [2]
            && nonces(&mut nodes[1], peers[0].peer) == [1]
            && nodes.iter().all(|node| node.network_info().connection_counters().num_established() == 2)
    })
    .await;
    (nodes, peers)
}

#[tokio::test]
async fn the_loss_of_one_of_two_connections_is_reported_and_what_is_sent_goes_over_the_other() {
    let (mut nodes, peers) = connected_twice().await;
    // The one that carries the lanes.
    let connection = nodes[0].behaviour().any_connection(peers[1].peer).unwrap();
    assert!(nodes[0].close_connection(connection));
    for nonce in 10..20 {
        send(&mut nodes[0], &peers[1], Lane::Urgent, probe(nonce));
    }
    let lost = |node: &mut Swarm<Behaviour>, peer: PeerId| {
        heard(node).iter().any(|input| matches!(input, Input::ConnectionLost(from) if *from == peer))
    };
    run(&mut nodes, |nodes| lost(&mut nodes[0], peers[1].peer) && lost(&mut nodes[1], peers[0].peer)).await;
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(20));
    run(&mut nodes, |nodes| nonces(&mut nodes[1], peers[0].peer).last() == Some(&20)).await;
    assert_eq!(nonces(&mut nodes[1], peers[0].peer), [vec![1], (10..=20).collect()].concat());
    assert!(!disconnected(&mut nodes[0], peers[1].peer) && !disconnected(&mut nodes[1], peers[0].peer));
}

/// All dial all others in the same moment, so that most pairs have two connections, and lanes on either.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_many_dial_one_another_at_once() {
    const NODES: usize = 16;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(tcp().await);
    }
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    for (from, node) in nodes.iter_mut().enumerate() {
        for (to, peer) in peers.iter().enumerate().filter(|(to, _)| *to != from) {
            send(node, peer, [Lane::Urgent, Lane::App][to % 2], probe(1));
        }
    }
    let received = |node: &mut Swarm<Behaviour>| {
        heard(node).iter().filter(|input| matches!(input, Input::Received { .. })).count()
    };
    run(&mut nodes, |nodes| nodes.iter_mut().all(|node| received(node) == NODES - 1)).await;
    assert!(nodes.iter().all(|node| counter(node, "dials_failed") == 0));
}

/// A node that is killed and started again while its old connection is still open at the other end, as over QUIC.
#[tokio::test]
async fn another_run_of_a_peer_takes_the_place_of_the_former_one() {
    let key = Keypair::generate_ed25519();
    let script = |key: &Keypair| scripted(key, Config::default(), SwarmConfig::default());
    let mut nodes = vec![tcp().await, tcp_as(key.clone(), script).await];
    let peers: Vec<_> = nodes.iter().map(contact).collect();
    send(&mut nodes[0], &peers[1], Lane::Urgent, probe(1));
    send(&mut nodes[1], &peers[0], Lane::Urgent, probe(2));
    run(&mut nodes, |nodes| nonces(&mut nodes[0], peers[1].peer) == [2] && nonces(&mut nodes[1], peers[0].peer) == [1])
        .await;
    heard(&mut nodes[0]).clear();

    nodes.push(tcp_as(key.clone(), script).await);
    send(&mut nodes[2], &peers[0], Lane::Urgent, probe(3));
    run(&mut nodes, |nodes| nonces(&mut nodes[0], peers[1].peer) == [3]).await;
    // It is told of before anything that it says.
    let told: Vec<_> = heard(&mut nodes[0]).drain(..).take(2).collect();
    assert!(matches!(told[..], [Input::Restarted(one), Input::Connected(other)] if [one, other] == [peers[1].peer; 2]));
    // What is sent goes to the new run, and only to it.
    send(&mut nodes[0], &Contact::bare(peers[1].peer), Lane::Urgent, probe(4));
    run(&mut nodes, |nodes| nonces(&mut nodes[2], peers[0].peer) == [4] && disconnected(&mut nodes[1], peers[0].peer))
        .await;
    assert_eq!(nonces(&mut nodes[1], peers[0].peer), [1]);
    assert!(heard(&mut nodes[0]).is_empty());

    // A kept peer that was gone for a while and comes back.
    nodes[0].behaviour_mut().execute(Output::Hold(peers[1].clone()));
    nodes.truncate(1);
    run(&mut nodes, |nodes| disconnected(&mut nodes[0], peers[1].peer)).await;
    nodes.push(tcp_as(key, script).await);
    send(&mut nodes[1], &peers[0], Lane::Urgent, probe(5));
    run(&mut nodes, |nodes| nonces(&mut nodes[0], peers[1].peer) == [5]).await;
    assert!(heard(&mut nodes[0]).iter().any(|input| matches!(input, Input::Restarted(_))));
}
