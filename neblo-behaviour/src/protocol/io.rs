//! How a part of the protocol touches the world: time, peers, and a sink for what it wants done.
//!
//! Every part is a state machine: `part.handle(&mut Ctx { now, unix, rng, out }, Input)`. It reads the clock and draws
//! randomness only through [`Ctx`], and acts only through [`Sink`], so that a run depends on its inputs alone.

use std::fmt;
use std::hash::Hash;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::codec::{Blob, List, Reader, Wire, WireError, Writer, record};

/// A point in time: microseconds since an arbitrary start. Never put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// Time passed since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// What names a peer: `PeerId` under libp2p, `u32` in the simulator.
pub trait Peer: Copy + Ord + Hash + fmt::Debug + Send + Sync + 'static {
    /// The bytes that stand for the peer in frames, at most 64.
    fn to_bytes(&self) -> Vec<u8>;
    /// The peer that `bytes` name, if they are well formed.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Peer for libp2p_identity::PeerId {
    fn to_bytes(&self) -> Vec<u8> {
        (*self).to_bytes()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_bytes(bytes).ok()
    }
}

impl Peer for u32 {
    fn to_bytes(&self) -> Vec<u8> {
        // As long as an Ed25519 PeerId, so that the simulator's frames have their real sizes.
        let mut bytes = vec![0; 38];
        if let Some(first) = bytes.first_chunk_mut() {
            *first = self.to_le_bytes();
        }
        bytes
    }
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|first| Self::from_le_bytes(*first))
    }
}

/// Transport addresses of a peer, opaque here (multiaddrs in their binary form under libp2p).
pub type Addresses = List<Blob<128>, 8>;

/// A peer and where it may be reached. Cheap to clone. Equality and order look at the peer alone.
#[derive(Clone)]
pub struct Contact<P> {
    /// The peer.
    pub peer: P,
    /// Its transport addresses; `None` or empty when only the peer is known.
    pub addresses: Option<Arc<Addresses>>,
}

impl<P: Peer> Contact<P> {
    /// A contact of which no address is known (it is connected already, or cannot be dialled).
    pub fn bare(peer: P) -> Self {
        Self { peer, addresses: None }
    }

    /// A contact with addresses; those past the cap of eight are left out.
    pub fn new(peer: P, addresses: Vec<Vec<u8>>) -> Self {
        let addresses: Vec<Blob<128>> = addresses.into_iter().filter_map(Blob::new).take(8).collect();
        Self { peer, addresses: List::new(addresses).map(Arc::new) }
    }

    /// The addresses as bytes.
    pub fn addresses(&self) -> impl Iterator<Item = &[u8]> {
        self.addresses.iter().flat_map(|list| list.iter().map(|address| &**address))
    }

    /// Whether peer and addresses are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let addresses = match (&self.addresses, &other.addresses) {
            (Some(these), Some(those)) => Arc::ptr_eq(these, those) || these == those,
            (these, those) => these.is_none() && those.is_none(),
        };
        self.peer == other.peer && addresses
    }

    /// Whether any address is known.
    pub fn has_addresses(&self) -> bool {
        self.addresses().next().is_some()
    }
}

impl<P: PartialEq> PartialEq for Contact<P> {
    fn eq(&self, other: &Self) -> bool {
        self.peer == other.peer
    }
}
impl<P: Eq> Eq for Contact<P> {}
impl<P: Hash> Hash for Contact<P> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.peer.hash(state);
    }
}
impl<P: fmt::Debug> fmt::Debug for Contact<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer.fmt(f)
    }
}

record! {
    /// A contact on the wire.
    pub struct WireContact {
        1 => peer: Blob<64>,
        2 => addresses: Option<Addresses>,
    }
}

impl<P: Peer> Wire for Contact<P> {
    fn put(&self, writer: &mut Writer) {
        WireContact {
            peer: Blob::new(self.peer.to_bytes()).unwrap_or_default(),
            addresses: self.addresses.as_deref().filter(|list| !list.is_empty()).cloned(),
        }
        .put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let wire = WireContact::get(reader)?;
        let peer = P::from_bytes(&wire.peer).ok_or(WireError::Malformed("peer"))?;
        Ok(Self { peer, addresses: wire.addresses.map(Arc::new) })
    }
}

/// A part of the protocol: what it sends, waits for and reports. A part never imports its sibling; `Node` alone knows
/// them all and passes one part's events to the next.
pub trait Part<P: Peer> {
    /// What it sends to its like on another peer.
    type Message;
    /// What it waits for. Timers are never cancelled; a part ignores those it no longer waits for.
    type Timer;
    /// What it reports.
    type Event;
}

/// Where a part puts what it wants done.
pub trait Sink<P: Peer, X: Part<P> + ?Sized> {
    /// Sends a message; a connection is dialled if there is none and an address is known.
    fn send(&mut self, to: &Contact<P>, message: X::Message);
    /// Hands `timer` back after `after`.
    fn arm(&mut self, after: Duration, timer: X::Timer);
    /// Reports an event to `Node`.
    fn emit(&mut self, event: X::Event);
}

/// What a part may use while it handles one input.
pub struct Ctx<'a, P: Peer, X: Part<P> + ?Sized> {
    /// The time now.
    pub now: Time,
    /// Seconds since 1970, for what is compared between peers (expiry dates).
    pub unix: u64,
    /// Randomness.
    pub rng: &'a mut dyn Rng,
    /// Where to put what is to be done.
    pub out: &'a mut dyn Sink<P, X>,
}

impl<P: Peer, X: Part<P> + ?Sized> fmt::Debug for Ctx<'_, P, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Draws below `bound` without bias worth naming (64 bits over bounds below 2^32); 0 for a bound of 0.
pub(crate) fn below(rng: &mut dyn Rng, bound: usize) -> usize {
    match bound as u64 {
        0 => 0,
        bound => (rng.next_u64() % bound) as usize,
    }
}

/// Draws true with probability `p`.
pub(crate) fn chance(rng: &mut dyn Rng, p: f64) -> bool {
    ((rng.next_u64() >> 11) as f64) < p * (1u64 << 53) as f64
}

/// Draws 16 random bytes.
pub(crate) fn draw<const N: usize>(rng: &mut dyn Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Shuffles in place (Fisher-Yates).
pub(crate) fn shuffle<T>(rng: &mut dyn Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}
