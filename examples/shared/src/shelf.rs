//! What a node keeps as one of the owners of addresses, and how its copies stay complete while nodes come and go.
//!
//! NEBLO tells which addresses changed hands and which were lost (seed 000 §4.3); what belongs to them is the application's
//! affair. Here everything is sent on as a request of the application itself, so that a value is known to have arrived before
//! it is taken off the shelf, and a failure is tried again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use neblo_behaviour::protocol::messaging::placement;
use neblo_behaviour::{AddrRange, Failure, Handle, Migration, OverlayAddr, Ownership, Recipients, Regeneration};

/// Values that are on their way at once, of one range.
const AT_ONCE: usize = 8;
/// Times a value is sent before it is given up.
const TRIES: usize = 6;
/// The longest wait for the new owner's answer.
const WAIT: Duration = Duration::from_secs(5);

/// Where a value lies: its address, and which copy of it this is (0 for the primary).
type Place = (OverlayAddr, u8);

/// What a node keeps for the addresses that it owns.
#[derive(Debug)]
pub struct Shelf {
    port: u16,
    copies: u8,
    /// Makes the request that stores a value.
    to_request: fn(&[u8]) -> Vec<u8>,
    kept: Mutex<BTreeMap<Place, Vec<u8>>>,
    sent_on: AtomicU64,
    given_up: AtomicU64,
}

impl Shelf {
    /// An empty shelf for values with so many copies. The requests that `to_request` makes arrive at `port` of the new owners,
    /// where the application's own receiver puts them on the shelf.
    pub fn new(port: u16, copies: u8, to_request: fn(&[u8]) -> Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            port,
            copies,
            to_request,
            kept: Mutex::default(),
            sent_on: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        })
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Place, Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a value in place of an earlier one.
    pub fn put(&self, address: OverlayAddr, copy: u8, value: Vec<u8>) {
        self.kept().insert((address, copy), value);
    }

    /// Keeps a value no more.
    pub fn remove(&self, address: OverlayAddr, copy: u8) {
        self.kept().remove(&(address, copy));
    }

    /// The value kept for an address as this copy.
    pub fn get(&self, address: OverlayAddr, copy: u8) -> Option<Vec<u8>> {
        self.kept().get(&(address, copy)).cloned()
    }

    /// Whether there is one.
    pub fn has(&self, address: OverlayAddr, copy: u8) -> bool {
        self.kept().contains_key(&(address, copy))
    }

    /// Values sent to other owners up to now, and those given up because no owner took them.
    pub fn sent_on(&self) -> (u64, u64) {
        (self.sent_on.load(Ordering::Relaxed), self.given_up.load(Ordering::Relaxed))
    }

    /// Sets the handlers that keep the copies complete. Call it before the node subscribes.
    ///
    /// # Errors
    ///
    /// Only when the node is gone.
    pub async fn keep_copies(self: &Arc<Self>, handle: &Handle) -> Result<(), Failure> {
        // Handlers run on no thread of the runtime: what they start has to be told where to run.
        let runtime = tokio::runtime::Handle::current();
        let shelf = self.clone();
        let on = runtime.clone();
        handle
            .set_migration_handler(move |node: &Handle, what: Migration| {
                on.block_on(shelf.migrated(node, what));
            })
            .await?;
        let shelf = self.clone();
        handle
            .set_regeneration_handler(move |node: &Handle, what: Regeneration| {
                runtime.block_on(shelf.lost(node, what));
            })
            .await
    }

    /// Addresses moved to another node: what is kept for them goes there, and then off this shelf.
    async fn migrated(&self, node: &Handle, what: Migration) {
        let copy = what.role.copy();
        let sent = self.send_on(node, what.range, copy, copy).await;
        for address in sent {
            // They may have come back meanwhile, by a death: then they stay.
            if node.owns(placement(address, copy)).await == Ok(Ownership::No) {
                self.remove(address, copy);
            }
        }
    }

    /// Copy `lost` of addresses was lost with its owner: it is made anew from the copy that is kept here.
    ///
    /// Every holder of another copy does so. The new owner gets the same call with `lost` as its own role, and has nothing.
    async fn lost(&self, node: &Handle, what: Regeneration) {
        if what.lost < self.copies && what.role.copy() != what.lost {
            self.send_on(node, what.range, what.role.copy(), what.lost).await;
        }
    }

    /// Sends what is kept of `range` as copy `from` to the owners of copy `to`; returns what arrived.
    async fn send_on(&self, node: &Handle, range: AddrRange, from: u8, to: u8) -> Vec<OverlayAddr> {
        let concerned: Vec<Place> =
            self.kept().keys().copied().filter(|(address, copy)| *copy == from && range.contains(*address)).collect();
        let sending = concerned.into_iter().map(|(address, copy)| async move {
            let request = (self.to_request)(&self.get(address, copy)?);
            let arrived = self.store(node, address, to, request).await;
            (if arrived { &self.sent_on } else { &self.given_up }).fetch_add(1, Ordering::Relaxed);
            arrived.then_some(address)
        });
        futures::stream::iter(sending).buffer_unordered(AT_ONCE).filter_map(async |sent| sent).collect().await
    }

    async fn store(&self, node: &Handle, address: OverlayAddr, copy: u8, request: Vec<u8>) -> bool {
        for again in 0..TRIES {
            let asked = node.request(Recipients::Only(copy), self.port, address, request.clone(), WAIT).await;
            let Ok(response) = asked else { return false };
            if response.wait().await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100 << again)).await;
        }
        false
    }
}
