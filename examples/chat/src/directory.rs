//! Who is where: a person's overlay address is registered at the address that is the hash of their name.
//!
//! The owner of that address keeps the registration for as long as it is renewed. It moves with the address when nodes join
//! and leave; when the owner dies, the next renewal reaches the new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use example_nodes::Shelf;
use futures::executor::block_on;
use neblo_behaviour::{Ask, Handle, OverlayAddr, Ownership, Responder};
use serde::{Deserialize, Serialize};

/// The directory's port on the overlay.
const PORT: u16 = 7000;
/// The longest wait for an answer.
const WAIT: Duration = Duration::from_secs(5);
/// How often a registration is renewed, and after how long it ends.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(2);
const ENDS_AFTER: Duration = Duration::from_secs(7);
/// Registrations that one node keeps.
const MOST: usize = 10_000;

#[derive(Clone, Serialize, Deserialize)]
struct Registration {
    name: String,
    at: [u8; 16],
    /// Proves that a later registration is the same person's.
    secret: u128,
}

#[derive(Serialize, Deserialize)]
enum Question {
    Register(Registration),
    /// From the node that owned the address before.
    Moved(Registration),
    Withdraw {
        secret: u128,
    },
    Find,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Done,
    Taken,
    At([u8; 16]),
    Unknown,
    /// What was registered is still on its way from the owner before: ask again.
    Changing,
}

fn address_of(name: &str) -> OverlayAddr {
    OverlayAddr::hash(&[b"person", name.as_bytes()])
}

/// The registrations that a node keeps for others.
struct Directory {
    shelf: Arc<Shelf>,
    renewed: Mutex<BTreeMap<OverlayAddr, Instant>>,
}

/// Lets a node keep registrations for others. Call it before the node subscribes.
pub(crate) async fn install(handle: &Handle) -> Result<()> {
    let moved = |kept: &[u8]| {
        let registration = serde_json::from_slice(kept).ok();
        registration.and_then(|kept| serde_json::to_vec(&Question::Moved(kept)).ok()).unwrap_or_default()
    };
    let directory = Directory { shelf: Shelf::new(PORT, 1, moved), renewed: Mutex::default() };
    directory.shelf.keep_copies(handle).await?;
    let receiver = move |node: &Handle, ask: Ask, responder: Responder| {
        let reply = directory.answer(node, &ask);
        responder.respond(reply.and_then(|reply| serde_json::to_vec(&reply).ok()));
    };
    Ok(handle.set_request_receiver(PORT, receiver).await?)
}

impl Directory {
    /// `None` refuses what makes no sense.
    fn answer(&self, node: &Handle, ask: &Ask) -> Option<Reply> {
        let question = serde_json::from_slice(&ask.payload).ok()?;
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.retain(|address, renewed| {
            let lives = renewed.elapsed() < ENDS_AFTER;
            if !lives {
                self.shelf.remove(*address, 0);
            }
            lives
        });
        // A handler may wait: it holds up this port alone, and nobody else for long.
        if !matches!(question, Question::Moved(_)) && block_on(node.owns(ask.to)) == Ok(Ownership::Changing) {
            return Some(Reply::Changing);
        }
        let kept = self.shelf.get(ask.to, 0).and_then(|kept| serde_json::from_slice::<Registration>(&kept).ok());
        match question {
            Question::Register(new) | Question::Moved(new) => {
                if address_of(&new.name) != ask.to || renewed.len() >= MOST {
                    return None;
                }
                if kept.is_some_and(|kept| kept.secret != new.secret) {
                    return Some(Reply::Taken);
                }
                self.shelf.put(ask.to, 0, serde_json::to_vec(&new).ok()?);
                renewed.insert(ask.to, Instant::now());
                Some(Reply::Done)
            }
            Question::Withdraw { secret } => {
                if kept.is_some_and(|kept| kept.secret == secret) {
                    self.shelf.remove(ask.to, 0);
                    renewed.remove(&ask.to);
                }
                Some(Reply::Done)
            }
            Question::Find => Some(kept.map_or(Reply::Unknown, |kept| Reply::At(kept.at))),
        }
    }
}

async fn ask(handle: &Handle, name: &str, question: &Question) -> Result<Reply> {
    let question = serde_json::to_vec(question)?;
    let start = Instant::now();
    loop {
        let response = handle.request(1, PORT, address_of(name), question.clone(), WAIT).await?;
        match serde_json::from_slice(&response.wait().await?)? {
            Reply::Changing if start.elapsed() < WAIT => tokio::time::sleep(Duration::from_millis(50)).await,
            Reply::Changing => bail!("who keeps the name {name} is changing: try again in a moment"),
            reply => return Ok(reply),
        }
    }
}

/// Registers a person, or renews the registration.
pub(crate) async fn register(handle: &Handle, name: &str, at: OverlayAddr, secret: u128) -> Result<()> {
    let question = Question::Register(Registration { name: name.into(), at: at.to_bytes(), secret });
    match ask(handle, name, &question).await? {
        Reply::Done => Ok(()),
        _ => bail!(
            "somebody else is called {name} here: choose another --name, or wait {} s if that was you",
            ENDS_AFTER.as_secs()
        ),
    }
}

/// Ends a registration.
pub(crate) async fn withdraw(handle: &Handle, name: &str, secret: u128) -> Result<()> {
    ask(handle, name, &Question::Withdraw { secret }).await.map(drop)
}

/// Where a person is reached; `None` if nobody of that name is registered.
pub(crate) async fn find(handle: &Handle, name: &str) -> Result<Option<OverlayAddr>> {
    match ask(handle, name, &Question::Find).await? {
        Reply::At(at) => Ok(Some(OverlayAddr::from_bytes(at))),
        _ => Ok(None),
    }
}
