//! CBOR with integer keys and hard limits.
//!
//! A record is a map from small integers to values. Unknown keys are skipped, so that fields can be added; a missing
//! optional field is absent from the map. Every byte string and list has its limit in its type, checked before anything
//! is allocated for it.

mod blob;
mod buffers;

use std::ops::Deref;

use bytes::Bytes;
use cbor4ii::core::dec::{Decode, IgnoredAny};
use cbor4ii::core::enc::Encode;
use cbor4ii::core::types;

pub use blob::Blob;
pub(crate) use buffers::{Pieces, Reader, Writer};

use crate::address::{AddrRange, OverlayAddr};

/// Why bytes from another peer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not CBOR, or not of the shape that the type wants.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A list or byte string is longer than its limit.
    #[error("{0} is longer than its limit")]
    TooLong(&'static str),
    /// A field without which the record means nothing is missing.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A kind of message that this version does not know; to be ignored.
    #[error("unknown kind of message")]
    UnknownKind,
    /// Bytes follow after the end.
    #[error("bytes after the end")]
    Trailing,
}

/// What can be put on the wire.
pub(crate) trait Wire: Sized {
    fn put(&self, writer: &mut Writer);
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError>;
    /// Whether the field is left out of its record.
    fn is_absent(&self) -> bool {
        false
    }
    /// The value of a field that is missing, if it may be.
    fn absent() -> Option<Self> {
        None
    }
}

pub(crate) fn put<T: Encode>(writer: &mut Writer, value: T) {
    // The writer fails only when memory runs out, and then so does everything else.
    let _ = value.encode(writer);
}

pub(crate) fn get<'a, T: Decode<'a>>(reader: &mut Reader<'a>, what: &'static str) -> Result<T, WireError> {
    T::decode(reader).map_err(|_| WireError::Malformed(what))
}

/// Encodes a value on its own.
pub(crate) fn to_bytes<T: Wire>(value: &T) -> Vec<u8> {
    let mut writer = Writer::copying();
    value.put(&mut writer);
    writer.into_bytes()
}

/// Encodes a value on its own; a long byte string in it is shared, not copied.
#[cfg_attr(not(feature = "swarm"), allow(dead_code))]
pub(crate) fn to_pieces<T: Wire>(value: &T) -> Pieces {
    let mut writer = Writer::sharing();
    value.put(&mut writer);
    writer.into_pieces()
}

/// The bytes of a value when it is encoded on its own.
pub(crate) fn encoded_len<T: Wire>(value: &T) -> usize {
    let mut writer = Writer::counting();
    value.put(&mut writer);
    writer.count()
}

/// Decodes a value that fills `bytes` exactly.
pub(crate) fn from_bytes<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    read_all(Reader::copying(bytes))
}

/// Decodes a value that fills `bytes` exactly; a byte string that is most of them is shared, not copied.
pub(crate) fn from_shared<T: Wire>(bytes: &Bytes) -> Result<T, WireError> {
    read_all(Reader::sharing(bytes))
}

fn read_all<T: Wire>(mut reader: Reader<'_>) -> Result<T, WireError> {
    let value = T::get(&mut reader)?;
    reader.is_at_end().then_some(value).ok_or(WireError::Trailing)
}

pub(crate) fn put_map(writer: &mut Writer, len: usize) {
    let _ = types::Map::bounded(len, writer);
}

pub(crate) fn put_array(writer: &mut Writer, len: usize) {
    let _ = types::Array::bounded(len, writer);
}

pub(crate) fn get_map(reader: &mut Reader<'_>, what: &'static str) -> Result<usize, WireError> {
    match types::Map::len(reader) {
        Ok(Some(len)) if len <= 64 => Ok(len),
        Ok(Some(_)) => Err(WireError::TooLong(what)),
        _ => Err(WireError::Malformed(what)),
    }
}

pub(crate) fn get_array(reader: &mut Reader<'_>, max: usize, what: &'static str) -> Result<usize, WireError> {
    match types::Array::len(reader) {
        Ok(Some(len)) if len <= max => Ok(len),
        Ok(Some(_)) => Err(WireError::TooLong(what)),
        _ => Err(WireError::Malformed(what)),
    }
}

pub(crate) fn skip(reader: &mut Reader<'_>) -> Result<(), WireError> {
    get::<IgnoredAny>(reader, "value").map(drop)
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            fn put(&self, writer: &mut Writer) { put(writer, *self); }
            fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> { get(reader, stringify!($t)) }
        }
    )*};
}
integer!(u8, u16, u32, u64);

/// Only true is written, so a flag that is off costs nothing.
impl Wire for bool {
    fn put(&self, writer: &mut Writer) {
        put(writer, *self);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        get(reader, "bool")
    }
    fn is_absent(&self) -> bool {
        !self
    }
    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, writer: &mut Writer) {
        put(writer, types::Bytes(self.as_slice()));
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let bytes: types::Bytes<&[u8]> = get(reader, "byte string")?;
        bytes.0.try_into().map_err(|_| WireError::Malformed("byte string"))
    }
}

impl Wire for OverlayAddr {
    fn put(&self, writer: &mut Writer) {
        self.to_bytes().put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        <[u8; 16]>::get(reader).map(Self::from_bytes)
    }
}

record! {
    /// A range on the wire.
    struct WireRange { 1 => after: OverlayAddr, 2 => to: OverlayAddr }
}

impl Wire for AddrRange {
    fn put(&self, writer: &mut Writer) {
        WireRange { after: self.after, to: self.to }.put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        WireRange::get(reader).map(|range| Self { after: range.after, to: range.to })
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, writer: &mut Writer) {
        match self {
            Some(value) => value.put(writer),
            None => put(writer, types::Null),
        }
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        T::get(reader).map(Some)
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, writer: &mut Writer) {
        (**self).put(writer);
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        T::get(reader).map(Box::new)
    }
}

/// At most `MAX` values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// The values, unless they are more than `MAX`.
    pub fn new(values: Vec<T>) -> Option<Self> {
        (values.len() <= MAX).then_some(Self(values))
    }
    /// The first `MAX` values.
    pub fn chop(mut values: Vec<T>) -> Self {
        values.truncate(MAX);
        Self(values)
    }
    /// The values.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Wire, const MAX: usize> Wire for List<T, MAX> {
    fn put(&self, writer: &mut Writer) {
        put_array(writer, self.0.len());
        for value in &self.0 {
            value.put(writer);
        }
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let len = get_array(reader, MAX, "list")?;
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(T::get(reader)?);
        }
        Ok(Self(values))
    }
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }
}

/// Defines a struct and its wire form: a CBOR map from the given integers to its fields.
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident $(<$p:ident>)? {
        $($(#[$fmeta:meta])* $key:literal => $field:ident : $ty:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        $vis struct $name $(<$p>)? {
            $($(#[$fmeta])* #[doc = concat!("\n\nKey ", stringify!($key), ".")] pub $field: $ty),*
        }

        impl $(<$p: $crate::protocol::io::Peer>)? $crate::protocol::codec::Wire for $name $(<$p>)? {
            #[allow(unused_mut, unused_variables)]
            fn put(&self, writer: &mut $crate::protocol::codec::Writer) {
                let mut len = 0usize;
                $( if !$crate::protocol::codec::Wire::is_absent(&self.$field) { len += 1; } )*
                $crate::protocol::codec::put_map(writer, len);
                $( if !$crate::protocol::codec::Wire::is_absent(&self.$field) {
                    $crate::protocol::codec::put(writer, $key as u64);
                    $crate::protocol::codec::Wire::put(&self.$field, writer);
                } )*
            }
            #[allow(unused_mut)]
            fn get(reader: &mut $crate::protocol::codec::Reader<'_>)
                -> Result<Self, $crate::protocol::codec::WireError>
            {
                let len = $crate::protocol::codec::get_map(reader, stringify!($name))?;
                $( let mut $field: Option<$ty> = None; )*
                for _ in 0..len {
                    match $crate::protocol::codec::get::<u64>(reader, "key")? {
                        $( $key => $field = Some($crate::protocol::codec::Wire::get(reader)?), )*
                        _ => $crate::protocol::codec::skip(reader)?,
                    }
                }
                Ok(Self { $(
                    $field: match $field {
                        Some(value) => value,
                        None => <$ty as $crate::protocol::codec::Wire>::absent()
                            .ok_or($crate::protocol::codec::WireError::Missing(stringify!($field)))?,
                    },
                )* })
            }
        }
    };
}
pub(crate) use record;

/// Defines an enum and its wire form: an array of an integer and a record. An integer that is not known is
/// `WireError::UnknownKind`, so that a newer peer can say more than an older one understands.
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident $(<$p:ident>)? {
        $($(#[$vmeta:meta])* $key:literal => $variant:ident ($ty:ty)),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        $vis enum $name $(<$p>)? {
            $($(#[$vmeta])* #[doc = concat!("\n\nKind ", stringify!($key), ".")] $variant($ty)),*
        }

        impl $(<$p: $crate::protocol::io::Peer>)? $crate::protocol::codec::Wire for $name $(<$p>)? {
            fn put(&self, writer: &mut $crate::protocol::codec::Writer) {
                $crate::protocol::codec::put_array(writer, 2);
                match self { $( Self::$variant(value) => {
                    $crate::protocol::codec::put(writer, $key as u64);
                    $crate::protocol::codec::Wire::put(value, writer);
                } )* }
            }
            fn get(reader: &mut $crate::protocol::codec::Reader<'_>)
                -> Result<Self, $crate::protocol::codec::WireError>
            {
                if $crate::protocol::codec::get_array(reader, 2, stringify!($name))? != 2 {
                    return Err($crate::protocol::codec::WireError::Malformed(stringify!($name)));
                }
                match $crate::protocol::codec::get::<u64>(reader, "kind")? {
                    $( $key => $crate::protocol::codec::Wire::get(reader).map(Self::$variant), )*
                    _ => Err($crate::protocol::codec::WireError::UnknownKind),
                }
            }
        }
    };
}
pub(crate) use choice;

/// Gives what travels in no frame of its own (in the multicast, in a payload, or sealed) its bytes.
macro_rules! standalone {
    ($($name:ident $(<$p:ident>)?),* $(,)?) => { $(
        impl $(<$p: $crate::protocol::io::Peer>)? $name $(<$p>)? {
            /// Encodes it.
            pub fn to_bytes(&self) -> Vec<u8> {
                $crate::protocol::codec::to_bytes(self)
            }
            /// Decodes what fills `bytes` exactly.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, $crate::protocol::codec::WireError> {
                $crate::protocol::codec::from_bytes(bytes)
            }
        }
    )* };
}
pub(crate) use standalone;

/// Signatures of records: over a context, which keeps one kind from being taken for another, and the record without them.
macro_rules! signed {
    ($($name:ident $(<$p:ident>)? : $context:literal),* $(,)?) => { $(
        impl $(<$p: $crate::protocol::io::Peer>)? $name $(<$p>)? {
            fn to_sign(&self) -> Vec<u8> {
                let unsigned = Self { signature: Default::default(), ..self.clone() };
                [$context.as_slice(), &$crate::protocol::codec::to_bytes(&unsigned)].concat()
            }

            /// Signs it with this node's identity.
            pub fn sign<Q: $crate::protocol::io::Peer>(mut self, keys: &dyn $crate::protocol::seal::Keys<Q>) -> Self {
                self.signature = $crate::protocol::codec::Blob::new(keys.sign(&self.to_sign())).unwrap_or_default();
                self
            }

            /// Whether `peer`, whose public key is `identity`, signed it.
            pub fn is_signed_by<Q: $crate::protocol::io::Peer>(
                &self,
                keys: &dyn $crate::protocol::seal::Keys<Q>,
                peer: &Q,
                identity: &[u8],
            ) -> bool {
                keys.verify(peer, identity, &self.to_sign(), &self.signature)
            }
        }
    )* };
}
pub(crate) use signed;

#[cfg(test)]
mod tests {
    use super::*;

    record! { struct Old { 1 => a: u64, 3 => b: Option<Blob<4>> } }
    record! { struct New { 1 => a: u64, 2 => extra: List<u64, 8>, 3 => b: Option<Blob<4>>, 9 => flag: bool } }

    #[test]
    fn unknown_keys_are_skipped_and_missing_options_are_absent() {
        let new = New { a: 7, extra: List::chop(vec![1, 2]), b: None, flag: true };
        assert_eq!(from_bytes::<Old>(&to_bytes(&new)), Ok(Old { a: 7, b: None }));
        let old = Old { a: 7, b: Blob::new(vec![1]) };
        let read = from_bytes::<New>(&to_bytes(&old)).unwrap();
        assert_eq!((read.a, read.flag, read.extra.len()), (7, false, 0));
    }

    #[test]
    fn limits_hold_and_nothing_may_follow() {
        let long = New { a: 1, extra: List(vec![0; 9]), b: None, flag: false };
        assert_eq!(from_bytes::<New>(&to_bytes(&long)), Err(WireError::TooLong("list")));
        let mut bytes = to_bytes(&Old { a: 1, b: None });
        bytes.push(0);
        assert_eq!(from_bytes::<Old>(&bytes), Err(WireError::Trailing));
        assert_eq!(from_bytes::<Old>(&[0xa0]), Err(WireError::Missing("a")));
    }

    record! { struct Long { 1 => before: Blob<200>, 2 => long: Blob<70_000>, 3 => other: Blob<70_000>, 4 => after: u64 } }

    fn blob<const MAX: usize>(len: usize) -> Blob<MAX> {
        Blob::new(vec![len as u8; len]).unwrap()
    }

    fn is_part(part: &[u8], whole: &[u8]) -> bool {
        whole.as_ptr_range().contains(&part.as_ptr())
    }

    #[test]
    fn what_is_long_is_shared_when_written_and_when_read_if_it_is_most_of_what_is_read() {
        let long = Long { before: blob(200), long: blob(65_535), other: Blob::default(), after: 7 };
        let pieces = to_pieces(&long);
        assert!(is_part(&pieces.0[1], &long.long));
        let whole = Bytes::from(pieces.0.concat());
        let read = from_shared::<Long>(&whole).unwrap();
        assert!(is_part(&read.long, &whole) && !is_part(&read.before, &whole));
        drop(whole);
        assert_eq!((read.after, read.long.into_inner()), (7, long.long.into_inner()));
        // Less than half: it would hold the rest.
        let whole = Bytes::from(to_bytes(&Long { long: blob(5_000), other: blob(6_000), before: blob(1), after: 0 }));
        let read = from_shared::<Long>(&whole).unwrap();
        assert!(!is_part(&read.long, &whole) && is_part(&read.other, &whole));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = from_bytes::<New>(&bytes);
            let _ = from_shared::<New>(&bytes.into());
        }

        #[test]
        fn pieces_are_what_would_be_written_whole(lengths in [0..200usize, 0..9_000, 0..9_000], after: u64) {
            let [before, long, other] = lengths;
            let value = Long { before: blob(before), long: blob(long), other: blob(other), after };
            let (bytes, pieces) = (to_bytes(&value), to_pieces(&value));
            proptest::prop_assert_eq!(pieces.len(), bytes.len());
            proptest::prop_assert_eq!(pieces.0.concat(), bytes.as_slice());
            proptest::prop_assert_eq!(from_shared::<Long>(&bytes.into()), Ok(value));
        }
    }
}
