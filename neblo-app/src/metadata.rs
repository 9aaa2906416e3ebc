//! What a publisher announces about its content, and a leader indexes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    cbor::{self, CborError},
    content::{MAX_CONTENT_LEN, Root},
    link::{Kind, Link},
    names::{NameError, check_name, is_deceptive},
};

/// Most tags of one publication.
pub const MAX_TAGS: usize = 32;
/// Longest tag key in bytes.
pub const MAX_TAG_KEY: usize = 64;
/// Longest tag value in bytes.
pub const MAX_TAG_VALUE: usize = 256;
/// Longest media type in bytes.
pub const MAX_MEDIA_TYPE: usize = 127;
/// Longest encoding in bytes.
pub const MAX_ENCODED: usize = 8 * 1024;

/// Media type of a folder.
const DIRECTORY: &str = "inode/directory";

/// What is announced about one publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// File or folder name.
    #[serde(rename = "n")]
    pub name: String,
    /// Size for the user: of the file, or of all files of a collection together.
    #[serde(rename = "s")]
    pub size: u64,
    /// Length of the content under `root`; for a collection that of its manifest.
    #[serde(rename = "l")]
    pub len: u64,
    /// Media type, such as `video/mp4`.
    #[serde(rename = "m")]
    pub media_type: String,
    /// The publisher's own words, by key.
    #[serde(rename = "t", default)]
    pub tags: BTreeMap<String, String>,
    /// File or collection.
    #[serde(rename = "k", with = "kind")]
    pub kind: Kind,
    /// Root of the content's BLAKE3 tree.
    #[serde(rename = "r", with = "crate::cbor::bytes32")]
    pub root: Root,
}

/// Why metadata is refused.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The name cannot be a file name.
    #[error("bad name: {0}; give another one with --name")]
    Name(#[from] NameError),
    /// Too many tags.
    #[error("{0} tags are more than {MAX_TAGS}; leave some out")]
    TooManyTags(usize),
    /// A tag that is too long, empty or not printable.
    #[error(
        "bad tag {key:?}: a key has 1 to {MAX_TAG_KEY} bytes, a value 1 to {MAX_TAG_VALUE}, both without control characters"
    )]
    Tag {
        /// Its key, shortened.
        key: String,
    },
    /// Not of the form `class/subtype`.
    #[error("bad media type {0:?}: expected a form such as video/mp4")]
    MediaType(String),
    /// A length that no content here can have.
    #[error("{0} bytes are more than {MAX_CONTENT_LEN}, the most that can be published")]
    TooLarge(u64),
    /// Not the encoding of metadata, or too much of it.
    #[error("bad metadata: {0}")]
    Cbor(#[from] CborError),
}

impl Metadata {
    /// Metadata of a file; the media type is guessed from the extension.
    pub fn file(name: String, root: Root, len: u64) -> Self {
        let media_type = media_type_of(&name);
        Metadata { name, size: len, len, media_type, tags: BTreeMap::new(), kind: Kind::File, root }
    }

    /// Metadata of a collection: `len` of its manifest, `size` of all its files.
    pub fn collection(name: String, root: Root, len: u64, size: u64) -> Self {
        Metadata {
            name,
            size,
            len,
            media_type: DIRECTORY.to_owned(),
            tags: BTreeMap::new(),
            kind: Kind::Collection,
            root,
        }
    }

    /// Checks every bound.
    pub fn check(&self) -> Result<(), MetadataError> {
        check_name(&self.name)?;
        check_media_type(&self.media_type)?;
        if self.tags.len() > MAX_TAGS {
            return Err(MetadataError::TooManyTags(self.tags.len()));
        }
        for (key, value) in &self.tags {
            check_tag(key, value)?;
        }
        for len in [self.len, self.size] {
            if len > MAX_CONTENT_LEN {
                return Err(MetadataError::TooLarge(len));
            }
        }
        Ok(())
    }

    /// The announced bytes.
    pub fn encode(&self) -> Result<Vec<u8>, MetadataError> {
        self.check()?;
        Ok(cbor::encode(self, MAX_ENCODED)?)
    }

    /// Reads bytes that anyone may have made.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetadataError> {
        let metadata: Metadata = cbor::decode(bytes, MAX_ENCODED)?;
        metadata.check()?;
        Ok(metadata)
    }

    /// The link to this content in `network`.
    pub fn link(&self, network: &str) -> Link {
        Link { network: network.to_owned(), root: self.root, len: self.len, name: self.name.clone(), kind: self.kind }
    }
}

/// Guesses the media type from the extension of `name`.
pub fn media_type_of(name: &str) -> String {
    mime_guess::from_path(name).first_or_octet_stream().essence_str().to_owned()
}

/// Lower-case extension of `name`, or nothing.
pub fn extension_of(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
        _ => String::new(),
    }
}

/// Checks one tag.
pub fn check_tag(key: &str, value: &str) -> Result<(), MetadataError> {
    let bad = |text: &str, max: usize| text.is_empty() || text.len() > max || text.chars().any(is_deceptive);
    if bad(key, MAX_TAG_KEY) || bad(value, MAX_TAG_VALUE) {
        return Err(MetadataError::Tag { key: key.chars().take(MAX_TAG_KEY).collect() });
    }
    Ok(())
}

fn check_media_type(text: &str) -> Result<(), MetadataError> {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    match text.split_once('/') {
        Some((class, subtype)) if token(class) && token(subtype) && text.len() <= MAX_MEDIA_TYPE => Ok(()),
        _ => Err(MetadataError::MediaType(text.chars().take(MAX_MEDIA_TYPE).collect())),
    }
}

/// [`Kind`] as 0 or 1.
mod kind {
    use super::Kind;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(kind: &Kind, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u8(match kind {
            Kind::File => 0,
            Kind::Collection => 1,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Kind, D::Error> {
        match u8::deserialize(input)? {
            0 => Ok(Kind::File),
            1 => Ok(Kind::Collection),
            other => Err(D::Error::custom(format!("unknown kind {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metadata() -> Metadata {
        let mut metadata = Metadata::file("Report.PDF".into(), [3; 32], 99);
        metadata.tags.insert("author".into(), "Zoë".into());
        metadata
    }

    #[test]
    fn media_type_and_extension_come_from_the_name() {
        assert_eq!(metadata().media_type, "application/pdf");
        assert_eq!(media_type_of("film.mkv"), "video/x-matroska");
        assert_eq!(media_type_of("README"), "application/octet-stream");
        assert_eq!(extension_of("a.tar.GZ"), "gz");
        assert_eq!(extension_of(".bashrc"), "");
    }

    #[test]
    fn encoding_reads_back() {
        let bytes = metadata().encode().unwrap();
        assert_eq!(Metadata::decode(&bytes).unwrap(), metadata());
    }

    #[test]
    fn bounds_hold_when_writing_and_when_reading() {
        let refused = |change: fn(&mut Metadata)| {
            let mut metadata = metadata();
            change(&mut metadata);
            assert!(metadata.encode().is_err());
            let bytes = cbor::encode(&metadata, usize::MAX).unwrap();
            assert!(Metadata::decode(&bytes).is_err());
        };
        refused(|m| m.name = "../evil".into());
        refused(|m| m.name = "x".repeat(256));
        refused(|m| m.media_type = "pdf".into());
        refused(|m| m.media_type = "a/b\n".into());
        refused(|m| m.size = u64::MAX);
        refused(|m| m.tags = (0..33).map(|i| (format!("k{i}"), "v".into())).collect());
        refused(|m| m.tags = [("k".repeat(65), "v".into())].into());
        refused(|m| m.tags = [("k".into(), "v".repeat(257))].into());
        // Each tag is allowed, all of them together are too many bytes.
        refused(|m| m.tags = (10..42).map(|i| (format!("k{i}"), "v".repeat(256))).collect());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = Metadata::decode(&bytes);
        }

        #[test]
        fn decoding_damaged_bytes_never_panics(at: prop::sample::Index, byte: u8) {
            let mut bytes = metadata().encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(decoded) = Metadata::decode(&bytes) {
                decoded.check().unwrap();
            }
        }
    }
}
