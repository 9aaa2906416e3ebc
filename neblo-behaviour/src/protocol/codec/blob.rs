//! Byte strings of limited length.

use std::ops::Deref;

use bytes::Bytes;
use cbor4ii::core::types;

use super::{Reader, Wire, WireError, Writer, get};

/// At most `MAX` bytes. Clones share them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob<const MAX: usize>(Bytes);

impl<const MAX: usize> Blob<MAX> {
    /// The bytes, unless they are more than `MAX`.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX).then(|| Self(bytes.into()))
    }
    /// The bytes; copied only if a clone is left.
    pub fn into_inner(self) -> Vec<u8> {
        self.0.into()
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> std::fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> Wire for Blob<MAX> {
    fn put(&self, writer: &mut Writer) {
        writer.put_bytes(&self.0);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let bytes: types::Bytes<&[u8]> = get(reader, "byte string")?;
        if bytes.0.len() > MAX {
            return Err(WireError::TooLong("byte string"));
        }
        Ok(Self(reader.keep(bytes.0)))
    }
}
