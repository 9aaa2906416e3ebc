//! Publications: what is announced, and what a lookup finds.

use std::collections::BTreeMap;

use rand::Rng;

use super::MAX_PUBLICATION;
use crate::address::OverlayAddr;
use crate::protocol::codec::{Blob, WireError, from_bytes, record, to_bytes};
use crate::protocol::io::shuffle;

/// Identifies a publication: see [`publication_id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationId(pub [u8; 32]);

/// The publication id: BLAKE3 over the publication's X25519 key, its day of expiry (days since 1970) and its payload.
///
/// It proves that key and payload belong together, not that the payload is honest (design D16).
pub fn publication_id(key: &[u8; 32], expiry_day: u32, payload: &[u8]) -> PublicationId {
    let mut hasher = blake3::Hasher::new_derive_key("neblo 1 publication");
    hasher.update(key).update(&expiry_day.to_le_bytes()).update(payload);
    PublicationId(*hasher.finalize().as_bytes())
}

/// What a publisher announces.
#[derive(Clone)]
pub struct Announcement {
    /// The X25519 secret of this one publication: 32 random bytes, kept by the application over restarts.
    pub secret: [u8; 32],
    /// What leaders index and requesters see; at most [`MAX_PUBLICATION`] bytes.
    pub payload: Vec<u8>,
    /// The day (days since 1970) after which nobody should offer it.
    pub expiry_day: u32,
}

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcement").field("expiry_day", &self.expiry_day).finish_non_exhaustive()
    }
}

record! {
    /// One thing that a lookup found. Its id has been checked against key and payload.
    pub struct Hit {
        /// The publication's X25519 public key.
        1 => key: [u8; 32],
        /// The day (days since 1970) it expires on.
        2 => expiry_day: u32,
        /// What the publisher announced.
        3 => payload: Blob<{ MAX_PUBLICATION }>,
        /// The subgroup whose leader holds the registration.
        4 => subgroup: OverlayAddr,
        /// The registration at that leader.
        5 => registration: u64,
        /// Under the paper's policy, in place of the other two: its owner ([`Reference`](crate::protocol::paper::Reference)).
        6 => reference: Option<Blob<1536>>,
    }
}

impl Hit {
    /// The publication id that key, expiry and payload give.
    pub fn id(&self) -> PublicationId {
        publication_id(&self.key, self.expiry_day, &self.payload)
    }
    /// Encodes the hit, to be kept or handed on.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
    /// Decodes a hit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        from_bytes(bytes)
    }
}

/// What was found, in the order in which to try it: one of each subgroup in turn, subgroups and theirs in random order.
///
/// A leader can make up as many publications as it is asked for, and be the first to answer. Taken in turn its share of the first
/// tries is one in as many subgroups as know something, however many it gives (research §6, "forged or first-answering
/// hits"). Cut the list afterwards, not before.
pub fn in_turn<T>(rng: &mut dyn Rng, found: Vec<T>, subgroup: impl Fn(&T) -> OverlayAddr) -> Vec<T> {
    let mut by_subgroup: BTreeMap<OverlayAddr, Vec<T>> = BTreeMap::new();
    for one in found {
        by_subgroup.entry(subgroup(&one)).or_default().push(one);
    }
    let mut groups: Vec<_> = by_subgroup.into_values().collect();
    shuffle(rng, &mut groups);
    for group in &mut groups {
        shuffle(rng, group);
    }
    let mut order = Vec::new();
    while !groups.is_empty() {
        groups.retain_mut(|group| {
            order.extend(group.pop());
            !group.is_empty()
        });
    }
    order
}
