//! Hashing files, and where their hash trees are kept.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bao_tree::io::sync::outboard_post_order;

use super::{ContentError, Fingerprint, MAX_CONTENT_LEN, Root, tree};

/// Read at once; the hashing itself takes 16 KiB at a time.
const BUFFER: usize = 256 * 1024;

/// The folder with the hash trees of what is published: `<root>.obao4`.
#[derive(Debug, Clone)]
pub struct Outboards {
    dir: PathBuf,
}

impl Outboards {
    /// Uses `outboards/` in the data dir, and makes it if it is not there.
    pub fn open(data_dir: &Path) -> Result<Self, ContentError> {
        let dir = data_dir.join("outboards");
        fs::create_dir_all(&dir).map_err(|e| ContentError::read("create", &dir, e))?;
        Ok(Self { dir })
    }

    /// Where the tree of `root` is kept.
    pub fn path(&self, root: &Root) -> PathBuf {
        self.dir.join(format!("{}.obao4", hex::encode(root)))
    }

    /// Removes the tree of `root`; none there is fine.
    pub fn remove(&self, root: &Root) -> Result<(), ContentError> {
        let path = self.path(root);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ContentError::read("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// Removes every tree that `keep` does not want, and what a crash left; returns how many.
    pub fn retain(&self, keep: impl Fn(&Root) -> bool) -> Result<usize, ContentError> {
        let entries = fs::read_dir(&self.dir).map_err(|e| ContentError::read("list", &self.dir, e))?;
        let mut removed = 0usize;
        for entry in entries {
            let entry = entry.map_err(|e| ContentError::read("list", &self.dir, e))?;
            let name = entry.file_name();
            let mut root = [0; 32];
            let wanted = name
                .to_str()
                .and_then(|name| name.strip_suffix(".obao4"))
                .is_some_and(|hex| hex::decode_to_slice(hex, &mut root).is_ok() && keep(&root));
            if !wanted {
                fs::remove_file(entry.path()).map_err(|e| ContentError::read("remove", &entry.path(), e))?;
                removed = removed.saturating_add(1);
            }
        }
        Ok(removed)
    }
}

/// What hashing a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Root of its tree.
    pub root: Root,
    /// Length in bytes.
    pub len: u64,
    /// What the file was when it was read.
    pub fingerprint: Fingerprint,
}

/// Hashes a file in one pass and keeps its tree in `outboards`. `progress` is told the bytes read so far and may stop it.
pub fn hash_file(
    path: &Path,
    outboards: &Outboards,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Hashed, ContentError> {
    let (file, before) = open_regular(path)?;
    if before.len > MAX_CONTENT_LEN {
        return Err(ContentError::TooLarge { path: path.to_owned(), len: before.len });
    }
    let dir = &outboards.dir;
    let temporary = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(dir)
        .map_err(|e| ContentError::read("write to", dir, e))?;
    let mut writer = BufWriter::with_capacity(BUFFER, temporary);
    let mut reader = Counting { inner: BufReader::with_capacity(BUFFER, &file), read: 0, reported: 0, progress };
    let hashed = outboard_post_order(&mut reader, tree(before.len), &mut writer);
    let root = hashed.map_err(|e| failed(path, dir, e))?;
    let temporary = writer.into_inner().map_err(|e| ContentError::read("write to", dir, e.into_error()))?;
    let after = file.metadata().map_err(|e| ContentError::read("read", path, e))?;
    if Fingerprint::of(&after) != before {
        return Err(changed_while_read(path));
    }
    let root = *root.as_bytes();
    temporary.as_file().sync_all().map_err(|e| ContentError::read("write to", dir, e))?;
    temporary.persist(outboards.path(&root)).map_err(|e| ContentError::read("write to", dir, e.error))?;
    Ok(Hashed { root, len: before.len, fingerprint: before })
}

fn open_regular(path: &Path) -> Result<(File, Fingerprint), ContentError> {
    // Ask before opening: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(|e| ContentError::read("read", path, e))?;
    if !metadata.is_file() {
        return Err(ContentError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|e| ContentError::read("open", path, e))?;
    let metadata = file.metadata().map_err(|e| ContentError::read("read", path, e))?;
    Ok((file, Fingerprint::of(&metadata)))
}

fn failed(path: &Path, dir: &Path, error: io::Error) -> ContentError {
    if error.get_ref().is_some_and(|e| e.is::<Stopped>()) {
        return ContentError::Cancelled;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => changed_while_read(path),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ContentError::read("write to", dir, error),
        _ => ContentError::read("read", path, error),
    }
}

fn changed_while_read(path: &Path) -> ContentError {
    ContentError::SourceChanged { path: path.to_owned(), what: "while it was being read" }
}

/// Tells how far reading has come, each MiB, and stops it when asked to.
struct Counting<'a, R> {
    inner: R,
    read: u64,
    reported: u64,
    progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = loop {
            match self.inner.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.read = self.read.saturating_add(n as u64);
        if self.read.saturating_sub(self.reported) >= 1 << 20 {
            self.reported = self.read;
            if (self.progress)(self.read).is_break() {
                return Err(io::Error::other(Stopped));
            }
        }
        Ok(n)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

/// Checks that a file is the content of `root`, and of `len` bytes if that is known.
pub fn verify_file(
    path: &Path,
    root: &Root,
    len: Option<u64>,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<u64, ContentError> {
    let (file, fingerprint) = open_regular(path)?;
    let differs = |what: String| ContentError::NotThisContent { path: path.to_owned(), what };
    if let Some(len) = len
        && len != fingerprint.len
    {
        return Err(differs(format!("it has {} bytes, the content has {len}", fingerprint.len)));
    }
    let mut hasher = blake3::Hasher::new();
    let mut reader = Counting { inner: file, read: 0, reported: 0, progress };
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = reader.read(&mut buffer).map_err(|e| failed(path, path, e))?;
        if n == 0 {
            break;
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
    }
    let found = hasher.finalize();
    if found.as_bytes() != root {
        return Err(differs(format!("its root is {}", found.to_hex())));
    }
    Ok(reader.read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, SourceFile};

    fn go(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn setup(len: usize) -> (tempfile::TempDir, PathBuf, Outboards) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, vec![7; len]).unwrap();
        let outboards = Outboards::open(dir.path()).unwrap();
        (dir, path, outboards)
    }

    #[test]
    fn root_is_the_blake3_hash_for_every_kind_of_length() {
        for len in [0, 1, 16_384, 16_385, 3_000_000] {
            let (_dir, path, outboards) = setup(len);
            let hashed = hash_file(&path, &outboards, &mut go).unwrap();
            assert_eq!(hashed.root, *blake3::hash(&vec![7; len]).as_bytes());
            assert_eq!(hashed.len, len as u64);
            assert_eq!(verify_file(&path, &hashed.root, None, &mut go).unwrap(), len as u64);
            let source = SourceFile::open(&path, &hashed.root, hashed.fingerprint, &outboards.path(&hashed.root));
            assert_eq!(source.unwrap().root(), hashed.root);
        }
    }

    #[test]
    fn a_changed_replaced_or_removed_source_is_never_served() {
        let (dir, path, outboards) = setup(100_000);
        let hashed = hash_file(&path, &outboards, &mut go).unwrap();
        let outboard = outboards.path(&hashed.root);
        let open = || SourceFile::open(&path, &hashed.root, hashed.fingerprint, &outboard);
        let source = open().unwrap();
        let mut out = Vec::new();
        source.encode(0..16_384, &mut out).unwrap();

        // The same length and time, but other bytes: only the hashes tell.
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        bao_tree::io::sync::WriteAt::write_at(&mut file, 20_000, b"x").unwrap();
        file.set_modified(time).unwrap();
        out.clear();
        let error = source.encode(16_384..32_768, &mut out).unwrap_err();
        assert!(matches!(error, ContentError::SourceChanged { .. }), "{error}");

        fs::rename(&path, dir.path().join("away")).unwrap();
        assert!(matches!(source.encode(0..16_384, &mut out), Err(ContentError::SourceGone { .. })));
        assert!(matches!(open(), Err(ContentError::SourceGone { .. })));
        fs::write(&path, [1; 5]).unwrap();
        assert!(matches!(open(), Err(ContentError::SourceChanged { .. })));
    }

    #[test]
    fn a_damaged_or_lost_tree_is_named() {
        let (_dir, path, outboards) = setup(100_000);
        let hashed = hash_file(&path, &outboards, &mut go).unwrap();
        let outboard = outboards.path(&hashed.root);
        let open = || SourceFile::open(&path, &hashed.root, hashed.fingerprint, &outboard);
        fs::write(&outboard, [0; 100]).unwrap();
        let error = open().unwrap().encode(0..16_384, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ContentError::OutboardDamaged { .. }), "{error}");
        outboards.remove(&hashed.root).unwrap();
        outboards.remove(&hashed.root).unwrap();
        assert!(matches!(open(), Err(ContentError::OutboardDamaged { .. })));
    }

    #[test]
    fn stopping_leaves_nothing() {
        let (_dir, path, outboards) = setup(3_000_000);
        let mut seen = 0;
        let error = hash_file(&path, &outboards, &mut |read| {
            seen = read;
            ControlFlow::Break(())
        });
        assert!(matches!(error, Err(ContentError::Cancelled)));
        assert!(seen >= 1 << 20);
        assert_eq!(fs::read_dir(&outboards.dir).unwrap().count(), 0);
    }

    #[test]
    fn only_wanted_trees_are_kept() {
        let (_dir, path, outboards) = setup(10);
        let hashed = hash_file(&path, &outboards, &mut go).unwrap();
        fs::write(outboards.dir.join(".tmp-left"), b"x").unwrap();
        assert_eq!(outboards.retain(|root| *root == hashed.root).unwrap(), 1);
        assert!(outboards.path(&hashed.root).exists());
        assert_eq!(outboards.retain(|_| false).unwrap(), 1);
    }

    #[test]
    fn what_is_no_readable_file_is_said_to_be_so() {
        let (dir, path, outboards) = setup(10);
        let error = |path: &Path| hash_file(path, &outboards, &mut go).unwrap_err();
        assert!(matches!(error(&dir.path().join("none")), ContentError::NotFound { .. }));
        assert!(matches!(error(dir.path()), ContentError::NotAFile { .. }));
        let wrong = verify_file(&path, &[0; 32], None, &mut go).unwrap_err();
        assert!(wrong.to_string().contains("its root is"), "{wrong}");
        let short = verify_file(&path, &[0; 32], Some(11), &mut go).unwrap_err();
        assert!(short.to_string().contains("has 10 bytes, the content has 11"), "{short}");
    }
}
