//! Keys: signing what a member says of itself, sealing what only a leader may read.
//!
//! A trait, so that the pure core holds no cryptography: the swarm binding implements it with libp2p's identity and Noise
//! (`swarm/keys.rs`), the simulator with a stand-in of the same lengths.

use rand::Rng;

use super::cost::JoinCost;
use super::io::Peer;

/// Bytes that sealing adds: an ephemeral X25519 key and a tag (Noise pattern N).
pub const SEAL_OVERHEAD: usize = 32 + 16;

/// Bytes of a sealed layer of an onion: a nonce, its plain text, a tag (XChaCha20-Poly1305).
pub const LAYER: usize = 24 + LAYER_PLAIN + 16;
/// Bytes of plain text in a layer.
pub const LAYER_PLAIN: usize = 88;

/// The keys of a node and what can be done with those of others.
pub trait Keys<P: Peer>: Send {
    /// A fresh X25519 pair: (secret, public).
    fn generate(&self, rng: &mut dyn Rng) -> ([u8; 32], [u8; 32]);

    /// The public half of an X25519 secret.
    fn public(&self, secret: &[u8; 32]) -> [u8; 32];

    /// Seals `plain` one way to an X25519 key (`Noise_N_25519_ChaChaPoly_BLAKE2s`); `plain.len() + SEAL_OVERHEAD` bytes.
    fn seal(&self, rng: &mut dyn Rng, to: &[u8; 32], plain: &[u8]) -> Vec<u8>;

    /// Opens what was sealed to the key of `secret`; `None` if it was not or was changed.
    fn open(&self, secret: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>>;

    /// Seals a layer of an onion under a key that this node alone holds, drawn by it: `head` so that it can neither be read nor
    /// changed, and `rest`, in place, so that it cannot be told from random bytes (XChaCha20 under the same nonce and another
    /// key). A layer has a nonce of its own, never used again.
    fn seal_layer(&self, rng: &mut dyn Rng, key: &[u8; 32], head: &[u8; LAYER_PLAIN], rest: &mut [u8]) -> [u8; LAYER];

    /// Opens a layer and what is under it; `None`, and `rest` as it was, if it was not sealed under `key` or was changed.
    fn open_layer(&self, key: &[u8; 32], layer: &[u8; LAYER], rest: &mut [u8]) -> Option<[u8; LAYER_PLAIN]>;

    /// The encoded public key of this node's identity, at most 64 bytes.
    fn identity(&self) -> Vec<u8>;

    /// The proof that this node's identity has paid what a week costs ([`JoinCost::pay`]). `None` if it is not there yet: it is
    /// being worked on from the first question on, and asked for again soon.
    fn paid(&self, cost: &JoinCost, week: u64) -> Option<u64>;

    /// Signs with this node's identity; at most 96 bytes.
    fn sign(&self, message: &[u8]) -> Vec<u8>;

    /// Whether `identity` is the key of `peer` and made `signature` over `message`.
    fn verify(&self, peer: &P, identity: &[u8], message: &[u8], signature: &[u8]) -> bool;
}
