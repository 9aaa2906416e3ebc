//! CBOR with the checks that input from network and disk needs.

use serde::{Deserialize, Serialize};

/// Why bytes could not be written or read as CBOR.
#[derive(Debug, thiserror::Error)]
pub enum CborError {
    /// The value cannot be encoded.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The bytes are not an encoding of the wanted type.
    #[error("malformed CBOR: {0}")]
    Decode(String),
    /// The value is followed by other bytes.
    #[error("malformed CBOR: bytes follow after the value")]
    Trailing,
    /// More bytes than may ever be right.
    #[error("{len} bytes are more than the allowed {max}")]
    TooLong {
        /// Bytes received.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
}

/// Encodes `value`, which must fit in `max` bytes.
pub(crate) fn encode<T: Serialize>(value: &T, max: usize) -> Result<Vec<u8>, CborError> {
    let bytes = cbor4ii::serde::to_vec(Vec::new(), value).map_err(|e| CborError::Encode(e.to_string()))?;
    check_len(bytes.len(), max)?;
    Ok(bytes)
}

/// Decodes exactly one value from at most `max` bytes.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], max: usize) -> Result<T, CborError> {
    use cbor4ii::core::{dec::Read, utils::SliceReader};
    check_len(bytes.len(), max)?;
    let mut deserializer = cbor4ii::serde::Deserializer::new(SliceReader::new(bytes));
    let value = T::deserialize(&mut deserializer).map_err(|e| CborError::Decode(e.to_string()))?;
    let mut rest = deserializer.into_inner();
    match rest.fill(1) {
        Ok(left) if left.as_ref().is_empty() => Ok(value),
        _ => Err(CborError::Trailing),
    }
}

fn check_len(len: usize, max: usize) -> Result<(), CborError> {
    if len > max {
        return Err(CborError::TooLong { len, max });
    }
    Ok(())
}

/// Serde form of 32 bytes as one CBOR byte string.
pub(crate) mod bytes32 {
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<[u8; 32], D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = [u8; 32];
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
                <[u8; 32]>::try_from(bytes).map_err(|_| E::invalid_length(bytes.len(), &"32 bytes"))
            }
        }
        input.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_after_the_value_are_refused() {
        let mut bytes = encode(&7u8, 16).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<u8>(&bytes, 16), Err(CborError::Trailing)));
    }

    #[test]
    fn too_many_bytes_are_refused_before_they_are_read() {
        assert!(matches!(decode::<u8>(&[0; 17], 16), Err(CborError::TooLong { len: 17, max: 16 })));
    }
}
