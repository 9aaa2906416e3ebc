//! One swarm, four behaviours: NEBLO beside Kademlia, identify and ping, over the same connections.
//!
//! Starts three such swarms, forms a ring, looks a record up by Kademlia, and asks the owner of an overlay address by NEBLO.
//!
//! ```text
//! cargo run -p compose
//! ```

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, identify, kad,
    kad::store::RecordStore,
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use neblo_behaviour::{
    OverlayAddr,
    protocol::Config,
    swarm::{Behaviour as Neblo, Handle},
};
use tokio::sync::oneshot;

/// NEBLO is a behaviour like any other.
#[derive(NetworkBehaviour)]
struct Behaviour {
    neblo: Neblo,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// The port that this program uses on the overlay.
const PORT: u16 = 2048;

fn swarm() -> Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| {
            let id = PeerId::from(key.public());
            let mut kad = kad::Behaviour::new(id, kad::store::MemoryStore::new(id));
            kad.set_mode(Some(kad::Mode::Server));
            Behaviour {
                neblo: Neblo::new(key, Config::default().with_network("compose")),
                kad,
                identify: identify::Behaviour::new(identify::Config::new("/compose/1".into(), key.public())),
                ping: ping::Behaviour::default(),
            }
        })?
        .build();
    Ok(swarm)
}

/// Listens on loopback and returns the address with the peer id.
async fn listen(swarm: &mut Swarm<Behaviour>) -> Result<Multiaddr> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok(address.with(Protocol::P2p(*swarm.local_peer_id())));
        }
    }
}

/// Polls a swarm for ever; a Kademlia lookup's first record goes to `found`.
async fn drive(mut swarm: Swarm<Behaviour>, mut found: Option<oneshot::Sender<Vec<u8>>>) {
    loop {
        let event = swarm.select_next_some().await;
        if let SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found_record))),
            ..
        })) = event
            && let Some(found) = found.take()
        {
            let _nobody_waits = found.send(found_record.record.value);
        }
    }
}

/// Answers every request to our port with who answers.
async fn answer(handle: Handle, name: usize) -> Result<()> {
    let mut requests = handle.request_receiver(PORT).await?;
    tokio::spawn(async move {
        while let Some((ask, responder)) = requests.next().await {
            let text = String::from_utf8_lossy(&ask.payload);
            responder.respond(Some(format!("{text} to you too, says node {name}").into_bytes()));
        }
    });
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let key = kad::RecordKey::new(&"greeting");
    let (found, record) = oneshot::channel();
    let mut found = Some(found);
    let mut handles: Vec<Handle> = Vec::new();
    let mut first: Option<Multiaddr> = None;
    for name in 0..3 {
        let mut swarm = swarm()?;
        let address = listen(&mut swarm).await?;
        let handle = swarm.behaviour().neblo.handle();
        let kad = &mut swarm.behaviour_mut().kad;
        if let Some(Protocol::P2p(peer)) = first.as_ref().and_then(|first| first.iter().last()) {
            kad.add_address(&peer, first.clone().context("the first address")?);
        } else {
            let value = b"hello by Kademlia".to_vec();
            kad.store_mut().put(kad::Record::new(key.clone(), value))?;
        }
        let last = name == 2;
        if last {
            kad.get_record(key.clone());
        }
        tokio::spawn(drive(swarm, found.take_if(|_| last)));
        handle.subscribe(first.clone().into_iter().collect()).await?;
        answer(handle.clone(), name).await?;
        handles.push(handle);
        first.get_or_insert(address);
    }
    let record = tokio::time::timeout(Duration::from_secs(10), record).await??;
    println!("kad:   {}", String::from_utf8_lossy(&record));

    // The owner of this address, whoever it is, answers: nobody knows which peer that is.
    let place = OverlayAddr::hash(&[b"greetings"]);
    let Some(handle) = handles.last() else { bail!("no node") };
    let request = handle.request(1, PORT, place, b"hello".to_vec(), Duration::from_secs(10));
    println!("neblo: {}", String::from_utf8_lossy(&request.await?.wait().await?));
    Ok(())
}
