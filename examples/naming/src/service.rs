//! The service on one node: it keeps records as an owner, and answers for others' from its cache as a forwarder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use example_nodes::{Shelf, ask};
use futures::future::try_join_all;
use neblo_behaviour::{Ask, Failure, Handle, Passage, Recipients, Responder, Transit};
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Clock};
use crate::record::{Record, address_of};

/// The service's port on the overlay.
const PORT: u16 = 5000;
/// Owners of a record.
pub(crate) const COPIES: u8 = 3;

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    /// What does the name of this address stand for? Each forwarder adds itself to the hops.
    Resolve {
        hops: u32,
    },
    Register(Record),
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Found(Found),
    Registered,
    Refused(String),
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) record: Record,
    /// From the asker to who answered.
    pub(crate) hops: u32,
    /// Whether a forwarder answered from its cache, not an owner.
    pub(crate) cached: bool,
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // These types always can be written.
    serde_json::to_vec(value).unwrap_or_default()
}

/// What one node does for names.
#[derive(Debug)]
pub(crate) struct Service {
    shelf: Arc<Shelf>,
    cache: Mutex<Cache>,
    clock: Clock,
    /// Questions answered as an owner, and as a forwarder.
    owner_answers: AtomicU64,
    cache_answers: AtomicU64,
}

impl Service {
    /// Lets a node take part. Call it before the node subscribes.
    pub(crate) async fn install(handle: &Handle, time_to_live: Duration, clock: Clock) -> Result<Arc<Self>> {
        let service = Arc::new(Self {
            // On the shelf lie records, and what is sent to another owner is a registration.
            shelf: Shelf::new(PORT, COPIES, |record| match serde_json::from_slice(record) {
                Ok(record) => bytes(&Question::Register(record)),
                Err(_) => Vec::new(),
            }),
            cache: Mutex::new(Cache::new(time_to_live, clock.clone())),
            clock,
            owner_answers: AtomicU64::new(0),
            cache_answers: AtomicU64::new(0),
        });
        service.shelf.keep_copies(handle).await?;
        let this = service.clone();
        let receiver = move |_: &Handle, ask: Ask, responder: Responder| responder.respond(this.asked(&ask));
        handle.set_request_receiver(PORT, receiver).await?;
        let this = service.clone();
        handle.set_request_forwarder(PORT, move |_: &Handle, transit: Transit| this.question_passes(transit)).await?;
        let this = service.clone();
        handle.set_response_forwarder(PORT, move |_: &Handle, transit: Transit| this.reply_passes(transit)).await?;
        Ok(service)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As an owner. `None` refuses: then the answer of another owner wins.
    fn asked(&self, ask: &Ask) -> Option<Vec<u8>> {
        let kept = self.shelf.get(ask.to, ask.copy).and_then(|kept| serde_json::from_slice::<Record>(&kept).ok());
        match serde_json::from_slice(&ask.payload).ok()? {
            Question::Resolve { hops } => {
                let record = kept?;
                self.owner_answers.fetch_add(1, Ordering::Relaxed);
                Some(bytes(&Reply::Found(Found { record, hops, cached: false })))
            }
            Question::Register(record) => {
                let checked = record.check(ask.to);
                let reply = match checked.and_then(|()| kept.map_or(Ok(()), |old| record.may_replace(&old))) {
                    Ok(()) => {
                        self.shelf.put(ask.to, ask.copy, bytes(&record));
                        Reply::Registered
                    }
                    Err(reason) => Reply::Refused(reason.to_string()),
                };
                Some(bytes(&reply))
            }
        }
    }

    /// A question passes: it ends here if the answer is known.
    fn question_passes(&self, transit: Transit) -> Passage {
        let Ok(Question::Resolve { hops }) = serde_json::from_slice(&transit.payload) else {
            return Passage::Forward(transit.payload);
        };
        let hops = hops.saturating_add(1);
        match self.cache().get(transit.to) {
            Some(record) => {
                self.cache_answers.fetch_add(1, Ordering::Relaxed);
                Passage::Answer(bytes(&Reply::Found(Found { record, hops, cached: true })))
            }
            None => Passage::Forward(bytes(&Question::Resolve { hops })),
        }
    }

    /// A reply passes: what an owner says of the address is worth remembering, if it is genuine.
    fn reply_passes(&self, transit: Transit) -> Passage {
        if let Ok(Reply::Found(Found { record, cached: false, .. })) = serde_json::from_slice(&transit.payload)
            && record.check(transit.to).is_ok()
        {
            self.cache().put(transit.to, record);
        }
        Passage::Forward(transit.payload)
    }

    /// Forgets what passed, and remembers what passes from now on for this long.
    pub(crate) fn remember_for(&self, time_to_live: Duration) {
        *self.cache() = Cache::new(time_to_live, self.clock.clone());
    }

    /// Questions answered up to now as an owner, and as a forwarder.
    pub(crate) fn answers(&self) -> (u64, u64) {
        (self.owner_answers.load(Ordering::Relaxed), self.cache_answers.load(Ordering::Relaxed))
    }
}

/// Registers a record with all its owners.
pub(crate) async fn register(handle: &Handle, record: &Record) -> Result<()> {
    let question = bytes(&Question::Register(record.clone()));
    let at = address_of(&record.name);
    let asked = (0..COPIES).map(|copy| ask(handle, Recipients::Only(copy), PORT, at, &question));
    let replies =
        try_join_all(asked).await.with_context(|| format!("{:?} was not registered: try again", record.name))?;
    for reply in replies {
        match serde_json::from_slice(&reply)? {
            Reply::Registered => {}
            Reply::Refused(reason) => bail!("{:?} was not registered: {reason}", record.name),
            Reply::Found(_) => bail!("{:?} was not registered: its owner speaks another protocol", record.name),
        }
    }
    Ok(())
}

/// What a name stands for: asks the primary owner, past forwarders that may know, and then all owners.
pub(crate) async fn resolve(handle: &Handle, name: &str) -> Result<Found> {
    let question = bytes(&Question::Resolve { hops: 1 });
    for copies in [1, COPIES] {
        let reply = match ask(handle, copies, PORT, address_of(name), &question).await {
            Ok(reply) => reply,
            Err(Failure::Closed) => bail!(Failure::Closed),
            Err(_) => continue,
        };
        if let Ok(Reply::Found(found)) = serde_json::from_slice(&reply)
            && found.record.check(address_of(name)).is_ok()
        {
            return Ok(found);
        }
    }
    bail!("no owner knows {name:?}: is it registered, and written so?")
}
