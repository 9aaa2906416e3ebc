//! Records: a name, what it stands for, a version, and the signature of whoever registered it.

use anyhow::{Context, Result, ensure};
use libp2p::identity::{Keypair, PublicKey};
use neblo_behaviour::OverlayAddr;
use serde::{Deserialize, Serialize};

/// The most bytes of name and value together.
const LONGEST: usize = 4096;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) value: String,
    /// The greatest version wins.
    pub(crate) version: u64,
    key: Vec<u8>,
    signature: Vec<u8>,
}

/// Where the record of a name lies.
pub(crate) fn address_of(name: &str) -> OverlayAddr {
    OverlayAddr::hash(&[b"name", name.as_bytes()])
}

impl Record {
    pub(crate) fn sign(keypair: &Keypair, name: &str, value: &str, version: u64) -> Result<Self> {
        let mut record = Self {
            name: name.into(),
            value: value.into(),
            version,
            key: keypair.public().encode_protobuf(),
            signature: Vec::new(),
        };
        record.signature = keypair.sign(&record.signed()?)?;
        Ok(record)
    }

    /// The bytes under the signature.
    fn signed(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(&("neblo naming example", &self.name, &self.value, self.version, &self.key))?)
    }

    /// Whether it belongs to this address and is signed by its key. Everybody checks: who keeps it, who caches it, who asks.
    pub(crate) fn check(&self, at: OverlayAddr) -> Result<()> {
        ensure!(address_of(&self.name) == at, "the record of {:?} belongs to another address", self.name);
        ensure!(self.name.len() + self.value.len() <= LONGEST, "name and value have more than {LONGEST} bytes");
        let key = PublicKey::try_decode_protobuf(&self.key).context("the record's key cannot be read")?;
        ensure!(key.verify(&self.signed()?, &self.signature), "the signature of {:?} is wrong", self.name);
        Ok(())
    }

    /// Whether it may take the place of `old`: the same key, and a greater version. Equal records may, which changes nothing.
    pub(crate) fn may_replace(&self, old: &Self) -> Result<()> {
        ensure!(self.key == old.key, "{:?} is taken by another key: choose another name", self.name);
        ensure!(
            self.version > old.version || self == old,
            "{:?} has version {} already: sign a greater one than {}",
            self.name,
            old.version,
            self.version
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_a_greater_version_replace_a_record_and_nothing_can_be_changed() {
        let (ann, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let first = Record::sign(&ann, "shop", "10.0.0.1", 1).unwrap();
        let at = address_of("shop");
        first.check(at).unwrap();
        assert!(first.check(address_of("other")).is_err());
        let changed = Record { value: "10.0.0.9".into(), ..first.clone() };
        assert!(changed.check(at).unwrap_err().to_string().contains("signature"));
        let other = Record::sign(&bob, "shop", "10.0.0.2", 2).unwrap();
        assert!(other.may_replace(&first).unwrap_err().to_string().contains("taken"));
        let second = Record::sign(&ann, "shop", "10.0.0.3", 2).unwrap();
        second.may_replace(&first).unwrap();
        second.may_replace(&second).unwrap();
        assert!(first.may_replace(&second).unwrap_err().to_string().contains("version 2"));
    }
}
