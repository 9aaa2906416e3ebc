//! Who is where: a person's overlay address is registered at the address that is the hash of their name.
//!
//! The owner of that address keeps the registration for as long as it is renewed. When the owner dies, the next renewal
//! reaches the new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use neblo_behaviour::swarm::{Ask, Responder};
use neblo_behaviour::{Failure, Handle, OverlayAddr};
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

#[derive(Serialize, Deserialize)]
enum Question {
    /// `secret` proves that a later registration is the same person's.
    Register {
        name: String,
        at: [u8; 16],
        secret: u128,
    },
    Withdraw {
        name: String,
        secret: u128,
    },
    Find {
        name: String,
    },
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Done,
    Taken,
    At([u8; 16]),
    Unknown,
}

struct Registration {
    at: [u8; 16],
    secret: u128,
    renewed: Instant,
}

fn address_of(name: &str) -> OverlayAddr {
    OverlayAddr::hash(&[b"person", name.as_bytes()])
}

/// Lets a node keep registrations for others. Call it before the node subscribes.
pub(crate) async fn install(handle: &Handle) -> Result<(), Failure> {
    let people: Arc<Mutex<BTreeMap<String, Registration>>> = Arc::default();
    let receiver = move |_: &Handle, ask: Ask, responder: Responder| {
        let mut people = people.lock().unwrap_or_else(PoisonError::into_inner);
        people.retain(|_, registration| registration.renewed.elapsed() < ENDS_AFTER);
        let reply = serde_json::from_slice(&ask.payload).ok().and_then(|question| answer(&mut people, &ask, question));
        responder.respond(reply.and_then(|reply| serde_json::to_vec(&reply).ok()));
    };
    handle.set_request_receiver(PORT, receiver).await
}

/// `None` refuses what makes no sense.
fn answer(people: &mut BTreeMap<String, Registration>, ask: &Ask, question: Question) -> Option<Reply> {
    match question {
        Question::Register { name, at, secret } => {
            if address_of(&name) != ask.to || people.len() >= MOST {
                return None;
            }
            if people.get(&name).is_some_and(|old| old.secret != secret) {
                return Some(Reply::Taken);
            }
            people.insert(name, Registration { at, secret, renewed: Instant::now() });
            Some(Reply::Done)
        }
        Question::Withdraw { name, secret } => {
            if people.get(&name).is_some_and(|old| old.secret == secret) {
                people.remove(&name);
            }
            Some(Reply::Done)
        }
        Question::Find { name } => Some(people.get(&name).map_or(Reply::Unknown, |found| Reply::At(found.at))),
    }
}

async fn ask(handle: &Handle, name: &str, question: &Question) -> Result<Reply> {
    let question = serde_json::to_vec(question)?;
    let response = handle.request(1, PORT, address_of(name), question, WAIT).await?;
    Ok(serde_json::from_slice(&response.wait().await?)?)
}

/// Registers a person, or renews the registration.
pub(crate) async fn register(handle: &Handle, name: &str, at: OverlayAddr, secret: u128) -> Result<()> {
    let question = Question::Register { name: name.into(), at: at.to_bytes(), secret };
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
    ask(handle, name, &Question::Withdraw { name: name.into(), secret }).await.map(drop)
}

/// Where a person is reached; `None` if nobody of that name is registered.
pub(crate) async fn find(handle: &Handle, name: &str) -> Result<Option<OverlayAddr>> {
    match ask(handle, name, &Question::Find { name: name.into() }).await? {
        Reply::At(at) => Ok(Some(OverlayAddr::from_bytes(at))),
        _ => Ok(None),
    }
}
