//! The keys of a node under libp2p: its identity signs, Noise seals.

use std::fmt;

use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use libp2p_identity::{Keypair, PeerId, PublicKey};
use rand::Rng;
use snow::Builder;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};

use super::payer::Payer;
use crate::protocol::cost::JoinCost;
use crate::protocol::seal::{Keys, LAYER, LAYER_PLAIN, SEAL_OVERHEAD};

const PATTERN: &str = "Noise_N_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"neblo 1 seal";

/// Signs with libp2p's identity, seals with Noise pattern N.
///
/// The identity must be an Ed25519 or a secp256k1 key: others are longer than statements of members allow.
#[derive(Clone)]
pub struct SwarmKeys {
    keypair: Keypair,
    payer: Payer,
}

impl SwarmKeys {
    /// The keys of the node whose identity this is.
    pub fn new(keypair: Keypair) -> Self {
        Self { keypair, payer: Payer::default() }
    }
}

impl fmt::Debug for SwarmKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwarmKeys").finish_non_exhaustive()
    }
}

/// The ciphers of a layer: the head's, and the stream for the rest. The two keys have nothing to do with each other.
fn layer_ciphers(key: &[u8; 32], nonce: &[u8; 24]) -> (XChaCha20Poly1305, XChaCha20) {
    let head = blake3::derive_key("neblo 1 onion head", key);
    let rest = blake3::derive_key("neblo 1 onion rest", key);
    (XChaCha20Poly1305::new(&head.into()), XChaCha20::new(&rest.into(), nonce.into()))
}

fn seal(to: &[u8; 32], plain: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut noise = Builder::new(PATTERN.parse()?).prologue(PROLOGUE)?.remote_public_key(to)?.build_initiator()?;
    let mut sealed = vec![0; plain.len() + SEAL_OVERHEAD];
    let len = noise.write_message(plain, &mut sealed)?;
    sealed.truncate(len);
    Ok(sealed)
}

fn open(secret: &[u8; 32], sealed: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut noise = Builder::new(PATTERN.parse()?).prologue(PROLOGUE)?.local_private_key(secret)?.build_responder()?;
    let mut plain = vec![0; sealed.len()];
    let len = noise.read_message(sealed, &mut plain)?;
    plain.truncate(len);
    Ok(plain)
}

impl Keys<PeerId> for SwarmKeys {
    fn generate(&self, rng: &mut dyn Rng) -> ([u8; 32], [u8; 32]) {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        (secret, self.public(&secret))
    }

    fn public(&self, secret: &[u8; 32]) -> [u8; 32] {
        let mut public = [0; 32];
        if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
            dh.set(secret);
            public.copy_from_slice(dh.pubkey());
        }
        public
    }

    /// The ephemeral key comes from the operating system. What is longer than a Noise message (65,487 bytes) gives an
    /// empty vector, which opens for nobody.
    fn seal(&self, _: &mut dyn Rng, to: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        seal(to, plain).unwrap_or_default()
    }

    fn open(&self, secret: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
        open(secret, sealed).ok()
    }

    fn seal_layer(&self, rng: &mut dyn Rng, key: &[u8; 32], head: &[u8; LAYER_PLAIN], rest: &mut [u8]) -> [u8; LAYER] {
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let (aead, mut stream) = layer_ciphers(key, &nonce);
        let mut sealed = *head;
        // Neither can fail: both are far below what one nonce is good for. If they did, what comes out opens for nobody.
        let tag = aead.encrypt_in_place_detached(&nonce.into(), &[], &mut sealed).unwrap_or_else(|_| {
            rng.fill_bytes(&mut sealed);
            Default::default()
        });
        if stream.try_apply_keystream(rest).is_err() {
            rng.fill_bytes(rest);
        }
        let mut layer = [0; LAYER];
        for (byte, of) in layer.iter_mut().zip(nonce.iter().chain(&sealed).chain(&tag)) {
            *byte = *of;
        }
        layer
    }

    fn open_layer(&self, key: &[u8; 32], layer: &[u8; LAYER], rest: &mut [u8]) -> Option<[u8; LAYER_PLAIN]> {
        let (nonce, body) = layer.split_first_chunk::<24>()?;
        let (plain, tag) = body.split_first_chunk::<LAYER_PLAIN>()?;
        let tag: [u8; 16] = tag.try_into().ok()?;
        let (aead, mut stream) = layer_ciphers(key, nonce);
        let mut head = *plain;
        aead.decrypt_in_place_detached(nonce.into(), &[], &mut head, &tag.into()).ok()?;
        stream.try_apply_keystream(rest).ok()?;
        Some(head)
    }

    fn identity(&self) -> Vec<u8> {
        self.keypair.public().encode_protobuf()
    }

    /// Worked on by a thread of its own.
    fn paid(&self, cost: &JoinCost, week: u64) -> Option<u64> {
        self.payer.paid(|| self.identity(), cost, week)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.keypair.sign(message).unwrap_or_default()
    }

    fn verify(&self, peer: &PeerId, identity: &[u8], message: &[u8], signature: &[u8]) -> bool {
        PublicKey::try_decode_protobuf(identity)
            .is_ok_and(|key| key.to_peer_id() == *peer && key.verify(message, signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_key_alone() {
        let keys = SwarmKeys::new(Keypair::generate_ed25519());
        let mut rng = rand::rng();
        let (secret, public) = keys.generate(&mut rng);
        assert_eq!(keys.public(&secret), public);
        let mut sealed = keys.seal(&mut rng, &public, b"canary");
        assert_eq!(sealed.len(), 6 + SEAL_OVERHEAD);
        assert_eq!(keys.open(&secret, &sealed).as_deref(), Some(&b"canary"[..]));
        assert_eq!(keys.open(&[7; 32], &sealed), None);
        sealed[40] ^= 1;
        assert_eq!(keys.open(&secret, &sealed), None);
        assert_eq!(keys.open(&secret, &[]), None);
        let record = vec![1; 16 * 1024 - SEAL_OVERHEAD];
        assert_eq!(keys.seal(&mut rng, &public, &record).len(), 16 * 1024);
    }

    #[test]
    fn a_layer_opens_under_its_key_alone_and_hides_what_is_under_it() {
        let keys = SwarmKeys::new(Keypair::generate_ed25519());
        let mut rng = rand::rng();
        let (key, head, plain) = ([1; 32], [2; LAYER_PLAIN], [3; 300]);
        let mut rest = plain;
        let layer = keys.seal_layer(&mut rng, &key, &head, &mut rest);
        assert_ne!(rest, plain);
        assert!(!layer.windows(8).any(|part| part == [2; 8]));
        let sealed = rest;
        assert_eq!(keys.open_layer(&[7; 32], &layer, &mut rest), None);
        let mut changed = layer;
        changed[60] ^= 1;
        assert_eq!(keys.open_layer(&key, &changed, &mut rest), None);
        assert_eq!(rest, sealed);
        assert_eq!(keys.open_layer(&key, &layer, &mut rest), Some(head));
        assert_eq!(rest, plain);
        let again = keys.seal_layer(&mut rng, &key, &head, &mut rest);
        assert!(layer != again && rest != sealed, "each has a nonce of its own");
    }

    #[test]
    fn a_signature_holds_for_its_peer_and_message_alone() {
        let keys = SwarmKeys::new(Keypair::generate_ed25519());
        let other = SwarmKeys::new(Keypair::generate_ed25519());
        let peer = keys.keypair.public().to_peer_id();
        let (identity, signature) = (keys.identity(), keys.sign(b"message"));
        assert!(identity.len() <= 64 && signature.len() <= 96);
        assert!(other.verify(&peer, &identity, b"message", &signature));
        assert!(!other.verify(&peer, &identity, b"massage", &signature));
        assert!(!other.verify(&peer, &other.identity(), b"message", &other.sign(b"message")));
        assert!(!other.verify(&peer, b"", b"message", b""));
    }
}
