//! Keys of the simulator: of the same lengths as the real ones, and no protection whatsoever.

use rand::Rng;

use crate::protocol::seal::{Keys, SEAL_OVERHEAD};

/// Stand-in for the keys of a simulated peer.
#[derive(Debug)]
pub struct StandInKeys {
    peer: u32,
}

impl StandInKeys {
    /// The keys of a peer.
    pub fn new(peer: u32) -> Self {
        Self { peer }
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
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

    fn identity(&self) -> Vec<u8> {
        let mut key = vec![0; 36];
        key.splice(..4, self.peer.to_le_bytes());
        key
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
