use super::*;
use crate::protocol::interface::Verdict;

fn said(node: &mut Swarm<Behaviour>, bytes: &[u8]) -> Option<(u64, PeerId)> {
    heard(node).iter().find_map(|input| match input {
        Input::Multicast { message, from, bytes: said } if said == bytes => Some((*message, *from)),
        _ => None,
    })
}

async fn link(nodes: &mut [Swarm<Behaviour>], a: usize, b: usize) {
    let (one, other) = (contact(&nodes[a]), contact(&nodes[b]));
    nodes[a].behaviour_mut().execute(Output::Hold(other.clone()));
    run(nodes, |nodes| {
        heard(&mut nodes[b]).iter().any(|input| matches!(input, Input::Connected(peer) if *peer == one.peer))
    })
    .await;
    for (node, peer) in [(a, other.peer), (b, one.peer)] {
        nodes[node].behaviour_mut().execute(Output::MulticastLink { peer, on: true });
        // The two ends never open their gates at the same moment.
        while_running(nodes, tokio::time::sleep(Duration::from_millis(300))).await;
    }
}

#[tokio::test]
async fn what_a_leader_says_reaches_leaders_only_and_only_after_a_verdict() {
    leaders_only(vec![memory().await, memory().await, memory().await, memory().await]).await;
}

#[tokio::test]
async fn the_multicast_works_with_lazy_negotiation() {
    leaders_only(vec![tcp().await, tcp().await, tcp().await, tcp().await]).await;
}

async fn leaders_only(mut nodes: Vec<Swarm<Behaviour>>) {
    for node in &mut nodes {
        node.behaviour_mut().execute(Output::MulticastMember(true));
    }
    link(&mut nodes, 0, 1).await;
    link(&mut nodes, 1, 2).await;
    // Connected, but not named a leader.
    let plain = contact(&nodes[3]);
    nodes[0].behaviour_mut().execute(Output::Hold(plain));
    while_running(&mut nodes, tokio::time::sleep(Duration::from_secs(3))).await;

    nodes[0].behaviour_mut().execute(Output::MulticastPublish(b"who has it?".to_vec()));
    run(&mut nodes, |nodes| said(&mut nodes[1], b"who has it?").is_some()).await;
    while_running(&mut nodes, tokio::time::sleep(Duration::from_millis(500))).await;
    assert_eq!(said(&mut nodes[2], b"who has it?"), None);
    let (message, from) = said(&mut nodes[1], b"who has it?").unwrap();
    nodes[1].behaviour_mut().execute(Output::MulticastVerdict { message, from, verdict: Verdict::Accept });
    run(&mut nodes, |nodes| said(&mut nodes[2], b"who has it?").is_some()).await;
    assert_eq!(said(&mut nodes[3], b"who has it?"), None);

    // A gate that was closed stays silent, and works again when it is opened.
    let (one, two) = (*nodes[0].local_peer_id(), *nodes[1].local_peer_id());
    nodes[0].behaviour_mut().execute(Output::MulticastLink { peer: two, on: false });
    nodes[1].behaviour_mut().execute(Output::MulticastLink { peer: one, on: false });
    while_running(&mut nodes, tokio::time::sleep(Duration::from_millis(500))).await;
    nodes[0].behaviour_mut().execute(Output::MulticastPublish(b"anybody?".to_vec()));
    while_running(&mut nodes, tokio::time::sleep(Duration::from_secs(1))).await;
    assert_eq!(said(&mut nodes[1], b"anybody?"), None);
    nodes[1].behaviour_mut().execute(Output::MulticastLink { peer: one, on: true });
    nodes[0].behaviour_mut().execute(Output::MulticastLink { peer: two, on: true });
    while_running(&mut nodes, tokio::time::sleep(Duration::from_secs(3))).await;
    nodes[0].behaviour_mut().execute(Output::MulticastPublish(b"and now?".to_vec()));
    run(&mut nodes, |nodes| said(&mut nodes[1], b"and now?").is_some()).await;
}

#[tokio::test]
async fn who_brings_what_is_rejected_is_not_heard_any_more_and_others_are() {
    let mut nodes = vec![memory().await, memory().await, memory().await];
    for node in &mut nodes {
        node.behaviour_mut().execute(Output::MulticastMember(true));
    }
    link(&mut nodes, 0, 1).await;
    link(&mut nodes, 1, 2).await;
    while_running(&mut nodes, tokio::time::sleep(Duration::from_secs(3))).await;
    let mut judged = 0;
    for nth in 0..6u8 {
        nodes[0].behaviour_mut().execute(Output::MulticastPublish(vec![nth; 40]));
        nodes[2].behaviour_mut().execute(Output::MulticastPublish(vec![nth; 50]));
        run(&mut nodes, |nodes| said(&mut nodes[1], &[nth; 50]).is_some()).await;
        while_running(&mut nodes, tokio::time::sleep(Duration::from_millis(100))).await;
        if let Some((message, from)) = said(&mut nodes[1], &[nth; 40]) {
            assert_eq!(from, *nodes[0].local_peer_id());
            nodes[1].behaviour_mut().execute(Output::MulticastVerdict { message, from, verdict: Verdict::Reject });
            judged += 1;
        }
        let (message, from) = said(&mut nodes[1], &[nth; 50]).unwrap();
        nodes[1].behaviour_mut().execute(Output::MulticastVerdict { message, from, verdict: Verdict::Accept });
    }
    assert!((2..=4).contains(&judged), "{judged} of six bad messages were heard");
}
