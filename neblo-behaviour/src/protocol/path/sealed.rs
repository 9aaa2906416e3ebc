//! Sealing what goes over a path, padded to one of two sizes.

use rand::Rng;

use super::message::Sealed;
use crate::protocol::codec::{Wire, from_bytes, to_bytes};
use crate::protocol::errand::{MAX_SEALED_PLAIN, SEALED_SIZES};
use crate::protocol::io::Peer;
use crate::protocol::seal::{Keys, SEAL_OVERHEAD};

/// Seals a value to a key; `None` if it is longer than the larger size holds.
pub(super) fn seal<P: Peer, T: Wire>(
    keys: &dyn Keys<P>,
    rng: &mut dyn Rng,
    to: &[u8; 32],
    value: &T,
) -> Option<Sealed> {
    let bytes = to_bytes(value);
    if bytes.len() > MAX_SEALED_PLAIN {
        return None;
    }
    let fits = SEALED_SIZES.into_iter().find(|size| bytes.len() + 4 + SEAL_OVERHEAD <= *size)?;
    let mut plain = u32::try_from(bytes.len()).ok()?.to_be_bytes().to_vec();
    plain.extend(bytes);
    plain.resize(fits - SEAL_OVERHEAD, 0);
    Sealed::new(keys.seal(rng, to, &plain))
}

/// Opens what was sealed to the key of `secret`.
pub(super) fn open<P: Peer, T: Wire>(keys: &dyn Keys<P>, secret: &[u8; 32], sealed: &[u8]) -> Option<T> {
    let plain = keys.open(secret, sealed)?;
    let (len, rest) = plain.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    from_bytes(rest.get(..len)?).ok()
}
