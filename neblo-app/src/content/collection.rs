//! Folders on disk as collections.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{ContentError, Fingerprint, Manifest, ManifestEntry, ManifestError, Outboards, Root, hash_file};
use crate::names::{NameError, check_relative_path};

/// Most files of a collection.
pub const MAX_FILES: usize = 10_000;
/// Most names that are looked at in the search for them, links and folders included.
const MAX_ENTRIES: usize = 10 * MAX_FILES;

/// A folder's files, not yet hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Path below the folder, with `/`, and the path on disk; sorted by the former.
    pub files: Vec<(String, PathBuf)>,
    /// What is left out: symbolic links, and what is neither file nor folder.
    pub skipped: Vec<PathBuf>,
}

/// One hashed file of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionFile {
    /// What the manifest says.
    pub entry: ManifestEntry,
    /// Where it lies.
    pub path: PathBuf,
    /// What it was when it was hashed.
    pub fingerprint: Fingerprint,
}

/// Why a folder cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum CollectionError {
    /// More files than fit in a collection.
    #[error("{} holds more than {MAX_FILES} files; publish its parts, or an archive of it", dir.display())]
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
    },
    /// Nothing to publish.
    #[error("{} holds no files; there is nothing to publish", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
    /// A name that others could not use.
    #[error("{} cannot be published: {why}; rename it", path.display())]
    Name {
        /// The path.
        path: PathBuf,
        /// What is wrong with its name.
        why: NameError,
    },
    /// A name that is not UTF-8.
    #[error("{} cannot be published: its name is not UTF-8; rename it", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A file of it cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The manifest would be outside its bounds.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Lists the files of `dir` and below. Symbolic links are not followed.
pub fn walk(dir: &Path) -> Result<Collection, CollectionError> {
    let mut files = Vec::new();
    let mut skipped = Vec::new();
    let mut seen = 0usize;
    let mut open = vec![(String::new(), dir.to_owned())];
    while let Some((prefix, folder)) = open.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| ContentError::read("list", &folder, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| ContentError::read("list", &folder, e))?;
            let path = entry.path();
            seen = seen.saturating_add(1);
            if files.len() >= MAX_FILES || seen > MAX_ENTRIES {
                return Err(CollectionError::TooManyFiles { dir: dir.to_owned() });
            }
            // Of the entry itself, not of what a link leads to.
            let kind = entry.file_type().map_err(|e| ContentError::read("look at", &path, e))?;
            if !kind.is_dir() && !kind.is_file() {
                skipped.push(path);
                continue;
            }
            let relative = relative(&prefix, &entry.file_name(), &path)?;
            if kind.is_dir() {
                open.push((format!("{relative}/"), path));
            } else {
                files.push((relative, path));
            }
        }
    }
    if files.is_empty() {
        return Err(CollectionError::Empty { dir: dir.to_owned() });
    }
    files.sort();
    skipped.sort();
    Ok(Collection { files, skipped })
}

fn relative(prefix: &str, name: &std::ffi::OsStr, path: &Path) -> Result<String, CollectionError> {
    let name = name.to_str().ok_or_else(|| CollectionError::NotUtf8 { path: path.to_owned() })?;
    let relative = format!("{prefix}{name}");
    check_relative_path(&relative).map_err(|why| CollectionError::Name { path: path.to_owned(), why })?;
    Ok(relative)
}

/// A hashed collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedCollection {
    /// Root of the manifest, which is the root of the collection.
    pub root: Root,
    /// The manifest as content.
    pub manifest: Vec<u8>,
    /// Bytes of all files together.
    pub size: u64,
    /// Its files.
    pub files: Vec<CollectionFile>,
}

impl Collection {
    /// Hashes all files, one after the other. `progress` is told the bytes read of all of them and may stop it.
    pub fn hash(
        &self,
        outboards: &Outboards,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<HashedCollection, CollectionError> {
        let mut files = Vec::with_capacity(self.files.len());
        let mut before = 0u64;
        for (relative, path) in &self.files {
            let hashed = hash_file(path, outboards, &mut |read| progress(before.saturating_add(read)))?;
            before = before.saturating_add(hashed.len);
            files.push(CollectionFile {
                entry: ManifestEntry { path: relative.clone(), root: hashed.root, len: hashed.len },
                path: path.clone(),
                fingerprint: hashed.fingerprint,
            });
        }
        let manifest = Manifest::new(files.iter().map(|f| f.entry.clone()).collect())?;
        let bytes = manifest.encode()?;
        Ok(HashedCollection { root: *blake3::hash(&bytes).as_bytes(), manifest: bytes, size: manifest.size(), files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_folder_becomes_a_sorted_manifest_with_verified_roots() {
        let dir = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        write(dir.path(), "b/two.txt", "two");
        write(dir.path(), "a.txt", "one");
        write(dir.path(), "b/empty", "");
        let collection = walk(dir.path()).unwrap();
        let names: Vec<_> = collection.files.iter().map(|f| f.0.as_str()).collect();
        assert_eq!(names, ["a.txt", "b/empty", "b/two.txt"]);
        let outboards = Outboards::open(data.path()).unwrap();
        let hashed = collection.hash(&outboards, &mut |_| ControlFlow::Continue(())).unwrap();
        let manifest = Manifest::decode(&hashed.manifest).unwrap();
        assert_eq!(hashed.size, 6);
        let last = manifest.files().last().unwrap();
        assert_eq!(last.root, *blake3::hash(b"two").as_bytes());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        write(other.path(), "secret", "x");
        write(dir.path(), "a", "x");
        std::os::unix::fs::symlink(other.path(), dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(other.path().join("secret"), dir.path().join("file")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        let collection = walk(dir.path()).unwrap();
        assert_eq!(collection.files.len(), 1);
        assert_eq!(collection.skipped.len(), 3);
    }

    #[test]
    fn folders_that_make_no_collection_say_why() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        assert!(matches!(walk(dir.path()), Err(CollectionError::Empty { .. })));
        assert!(matches!(walk(&dir.path().join("none")), Err(CollectionError::Content(ContentError::NotFound { .. }))));
        write(dir.path(), "bad\\name", "x");
        assert!(matches!(walk(dir.path()), Err(CollectionError::Name { .. })));
    }
}
