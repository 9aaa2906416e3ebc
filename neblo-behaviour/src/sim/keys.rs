//! Keys of the simulator: of the same lengths as the real ones, and no protection whatsoever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng;

use crate::protocol::cost::JoinCost;
use crate::protocol::seal::{Keys, LAYER, LAYER_PLAIN, SEAL_OVERHEAD};

/// Stand-in for the keys of a simulated peer.
#[derive(Debug)]
pub struct StandInKeys {
    peer: u32,
    pays: Arc<AtomicBool>,
}

impl StandInKeys {
    /// The keys of a peer.
    pub fn new(peer: u32) -> Self {
        Self::that_pay(peer, Arc::new(AtomicBool::new(true)))
    }

    /// The keys of a peer that finds its proofs of payment while `pays` is set.
    pub(super) fn that_pay(peer: u32, pays: Arc<AtomicBool>) -> Self {
        Self { peer, pays }
    }

    /// What was sealed with [`Keys::seal`].
    pub(in crate::sim) fn read(sealed: &[u8]) -> Option<&[u8]> {
        sealed.get(32..sealed.len().checked_sub(SEAL_OVERHEAD - 32)?)
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Turns bytes over by a stream that depends on `parts`; twice is not at all.
fn mask(parts: &[&[u8]], bytes: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut stream = vec![0; bytes.len()];
    hasher.finalize_xof().fill(&mut stream);
    for (byte, other) in bytes.iter_mut().zip(stream) {
        *byte ^= other;
    }
}

impl Keys<u32> for StandInKeys {
    fn generate(&self, rng: &mut dyn Rng) -> ([u8; 32], [u8; 32]) {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        (secret, self.public(&secret))
    }

    fn public(&self, secret: &[u8; 32]) -> [u8; 32] {
        digest(&[b"public", secret])
    }

    fn seal(&self, _rng: &mut dyn Rng, to: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let mut sealed = to.to_vec();
        sealed.extend_from_slice(plain);
        let tag = digest(&[&sealed]);
        sealed.extend(tag.iter().take(SEAL_OVERHEAD - 32));
        sealed
    }

    fn open(&self, secret: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
        let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(SEAL_OVERHEAD - 32)?)?;
        let (to, plain) = body.split_at_checked(32)?;
        (to == self.public(secret) && digest(&[body]).starts_with(tag)).then(|| plain.to_vec())
    }

    fn seal_layer(&self, rng: &mut dyn Rng, key: &[u8; 32], head: &[u8; LAYER_PLAIN], rest: &mut [u8]) -> [u8; LAYER] {
        let mut sealed = [0; LAYER];
        let (nonce, body) = sealed.split_at_mut(24);
        rng.fill_bytes(nonce);
        mask(&[key, nonce], rest);
        let (plain, tag) = body.split_at_mut(LAYER_PLAIN);
        plain.copy_from_slice(head);
        tag.copy_from_slice(&digest(&[key, nonce, head])[..16]);
        sealed
    }

    fn open_layer(&self, key: &[u8; 32], layer: &[u8; LAYER], rest: &mut [u8]) -> Option<[u8; LAYER_PLAIN]> {
        let (nonce, body) = layer.split_at(24);
        let (plain, tag) = body.split_at(LAYER_PLAIN);
        if !digest(&[key, nonce, plain]).starts_with(tag) {
            return None;
        }
        mask(&[key, nonce], rest);
        plain.try_into().ok()
    }

    fn identity(&self) -> Vec<u8> {
        let mut key = vec![0; 36];
        key.splice(..4, self.peer.to_le_bytes());
        key
    }

    /// Paid at once, whatever it costs, or not at all: simulated time does not pass meanwhile.
    fn paid(&self, cost: &JoinCost, week: u64) -> Option<u64> {
        let pays = cost.bits() == 0 || self.pays.load(Ordering::Relaxed);
        pays.then(|| cost.pay(&self.identity(), week, 0, u64::MAX)).flatten()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let half = digest(&[&self.identity(), message]);
        [half, half].concat()
    }

    fn verify(&self, peer: &u32, identity: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let half = digest(&[identity, message]);
        identity.starts_with(&peer.to_le_bytes()) && signature == [half, half].concat()
    }
}
