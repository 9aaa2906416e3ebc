//! The manifest of a collection: content of its own, that names files by path and root.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MAX_CONTENT_LEN, MAX_FILES, Root, empty_root};
use crate::{
    cbor::{self, CborError},
    names::{NameError, check_relative_path},
};

/// Longest manifest in bytes.
pub const MAX_MANIFEST: usize = 4 << 20;

/// The files of a collection, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "f")]
    files: Vec<ManifestEntry>,
}

/// One file of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Path below the collection's folder, with `/` between its parts.
    #[serde(rename = "p")]
    pub path: String,
    /// Root of its content.
    #[serde(rename = "r", with = "crate::cbor::bytes32")]
    pub root: Root,
    /// Its length.
    #[serde(rename = "l")]
    pub len: u64,
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the encoding of one, or too long.
    #[error("bad manifest: {0}")]
    Cbor(#[from] CborError),
    /// Of a later kind.
    #[error("the manifest has version {0}, this program knows version 1; update it")]
    Version(u8),
    /// No files, or too many.
    #[error("a collection has 1 to {MAX_FILES} files, this has {0}")]
    Count(usize),
    /// A path that is not safe.
    #[error("bad path {path:?} in the collection: {why}")]
    Path {
        /// The path, shortened.
        path: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// Not in order, or there twice.
    #[error("bad manifest: {0:?} is out of order or there twice")]
    Order(String),
    /// A file and a folder of the same name.
    #[error("bad manifest: {0:?} is a file and a folder at once")]
    FileAndFolder(String),
    /// A length that no content can have.
    #[error("bad manifest: {0:?} has an impossible length")]
    Length(String),
}

impl Manifest {
    /// Makes one of `files`, in any order.
    pub fn new(mut files: Vec<ManifestEntry>) -> Result<Self, ManifestError> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self { version: 1, files };
        manifest.check()?;
        Ok(manifest)
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[ManifestEntry] {
        &self.files
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.len))
    }

    /// The manifest as content. Equal collections have equal bytes, and so equal roots.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        Ok(cbor::encode(self, MAX_MANIFEST)?)
    }

    /// Reads bytes that anyone may have made.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = cbor::decode(bytes, MAX_MANIFEST)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.version != 1 {
            return Err(ManifestError::Version(self.version));
        }
        if self.files.is_empty() || self.files.len() > MAX_FILES {
            return Err(ManifestError::Count(self.files.len()));
        }
        let mut before: Option<&str> = None;
        for file in &self.files {
            check_relative_path(&file.path)
                .map_err(|why| ManifestError::Path { path: file.path.chars().take(80).collect(), why })?;
            if before.is_some_and(|before| before >= file.path.as_str()) {
                return Err(ManifestError::Order(file.path.clone()));
            }
            if (file.len == 0) != (file.root == empty_root()) {
                return Err(ManifestError::Length(file.path.clone()));
            }
            before = Some(&file.path);
        }
        let sum = self.files.iter().try_fold(0u64, |sum, f| sum.checked_add(f.len));
        if sum.is_none_or(|sum| sum > MAX_CONTENT_LEN) {
            return Err(ManifestError::Length("all together".to_owned()));
        }
        self.check_folders()
    }

    /// No file may be a folder of another.
    fn check_folders(&self) -> Result<(), ManifestError> {
        let paths: BTreeSet<&str> = self.files.iter().map(|f| f.path.as_str()).collect();
        for path in &paths {
            let mut folder = *path;
            while let Some((above, _)) = folder.rsplit_once('/') {
                if paths.contains(above) {
                    return Err(ManifestError::FileAndFolder(above.to_owned()));
                }
                folder = above;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(path: &str) -> ManifestEntry {
        ManifestEntry { path: path.into(), root: [1; 32], len: 5 }
    }

    #[test]
    fn order_of_files_does_not_matter() {
        let a = Manifest::new(vec![entry("b/c"), entry("a")]).unwrap();
        let b = Manifest::new(vec![entry("a"), entry("b/c")]).unwrap();
        assert_eq!(a.encode().unwrap(), b.encode().unwrap());
        assert_eq!(Manifest::decode(&a.encode().unwrap()).unwrap(), b);
        assert_eq!(a.size(), 10);
    }

    #[test]
    fn hostile_manifests_are_refused() {
        let refused = |files: Vec<ManifestEntry>| {
            let bytes = cbor::encode(&Manifest { version: 1, files }, MAX_MANIFEST).unwrap();
            Manifest::decode(&bytes).unwrap_err()
        };
        for path in ["../x", "/etc/passwd", "a/../../x", "a\\b", "a\0", ""] {
            assert!(matches!(refused(vec![entry(path)]), ManifestError::Path { .. }), "{path}");
        }
        assert!(matches!(refused(vec![]), ManifestError::Count(0)));
        assert!(matches!(refused(vec![entry("a"), entry("a")]), ManifestError::Order(_)));
        assert!(matches!(refused(vec![entry("b"), entry("a")]), ManifestError::Order(_)));
        assert!(matches!(refused(vec![entry("a"), entry("a-b"), entry("a/b/c")]), ManifestError::FileAndFolder(_)));
        let long = ManifestEntry { len: u64::MAX, ..entry("a") };
        assert!(matches!(
            refused(vec![long.clone(), ManifestEntry { path: "b".into(), ..long }]),
            ManifestError::Length(_)
        ));
        let empty = ManifestEntry { len: 0, ..entry("a") };
        assert!(matches!(refused(vec![empty]), ManifestError::Length(_)));
        let many = (0..=MAX_FILES).map(|i| entry(&format!("{i:05}"))).collect();
        assert!(matches!(refused(many), ManifestError::Count(10_001)));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = Manifest::decode(&bytes);
        }
    }
}
