//! The keys of a node under libp2p: its identity signs, Noise seals.

use std::fmt;

use libp2p_identity::{Keypair, PeerId, PublicKey};
use rand::Rng;
use snow::Builder;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};

use crate::protocol::seal::{Keys, SEAL_OVERHEAD};

const PATTERN: &str = "Noise_N_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"neblo 1 seal";

/// Signs with libp2p's identity, seals with Noise pattern N.
///
/// The identity must be an Ed25519 or a secp256k1 key: others are longer than statements of members allow.
#[derive(Clone)]
pub struct SwarmKeys {
    keypair: Keypair,
}

impl SwarmKeys {
    /// The keys of the node whose identity this is.
    pub fn new(keypair: Keypair) -> Self {
        Self { keypair }
    }
}

impl fmt::Debug for SwarmKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwarmKeys").finish_non_exhaustive()
    }
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

    fn identity(&self) -> Vec<u8> {
        self.keypair.public().encode_protobuf()
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
