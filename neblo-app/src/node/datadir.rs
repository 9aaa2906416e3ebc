//! The data directory: one node at a time, its identity, and what it remembers of the network.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use libp2p::{Multiaddr, PeerId, identity::Keypair};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity";
const NETWORK_FILE: &str = "network.json";

/// Most known peers that are kept. choice
const MAX_KNOWN: usize = 64;

/// What a node remembers of the network over restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// The port that was taken for a listen address with port 0, by that address.
    pub ports: BTreeMap<String, u16>,
    /// Members of the network, the latest last, by network.
    pub known: BTreeMap<String, Vec<Multiaddr>>,
    /// First relays: subgroup (32 hex digits) and peer, by network.
    pub relays: BTreeMap<String, Vec<(String, PeerId)>>,
}

/// An open data directory. Nobody else can open it until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    remembered: Mutex<Remembered>,
    _lock: File,
}

impl DataDir {
    /// Opens `path` for a node, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let failed = |error: std::io::Error| {
            Problem::failed(format!("cannot use the data dir {}: {error}", path.display()))
                .hint("check that it is yours and writable, or choose another by --data-dir")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = open_private(&path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let remembered = match std::fs::read(path.join(NETWORK_FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                // Nothing in it is worth refusing to start for: bootstrap addresses can be given again.
                tracing::warn!(target: "neblo", %error, "the list of known peers is damaged and starts anew");
                Remembered::default()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Remembered::default(),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            remembered: Mutex::new(remembered),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node's identity, made on the first run.
    pub fn identity(&self) -> Result<Keypair, Problem> {
        let path = self.path.join(IDENTITY_FILE);
        let failed = |error: &dyn std::fmt::Display| {
            Problem::failed(format!("cannot use the identity {}: {error}", path.display())).hint(
                "restore the file, or delete it: the node then gets a new identity and loses nothing else",
            )
        };
        match std::fs::read(&path) {
            Ok(bytes) => {
                Keypair::from_protobuf_encoding(&bytes).map_err(|error| failed(&error))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = Keypair::generate_ed25519();
                let bytes = key.to_protobuf_encoding().map_err(|error| failed(&error))?;
                write_whole(&path, &bytes).map_err(|error| failed(&error))?;
                Ok(key)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// What is remembered.
    pub fn remembered(&self) -> Remembered {
        self.lock().clone()
    }

    /// Changes what is remembered and writes it if it is different then. Failing to write is logged: the node works on.
    pub fn remember(&self, change: impl FnOnce(&mut Remembered)) {
        let mut remembered = self.lock();
        let before = remembered.clone();
        change(&mut remembered);
        if *remembered == before {
            return;
        }
        let written = serde_json::to_vec_pretty(&*remembered)
            .map_err(std::io::Error::from)
            .and_then(|bytes| write_whole(&self.path.join(NETWORK_FILE), &bytes));
        if let Err(error) = written {
            tracing::warn!(target: "neblo", %error, "cannot write what is known of the network");
        }
    }

    /// Adds a member of `network` to the known ones.
    pub fn remember_peer(&self, network: &str, address: Multiaddr) {
        self.remember(|remembered| {
            let known = remembered.known.entry(network.to_owned()).or_default();
            // Known already: no reason to write the file again for its place in the list.
            if !known.contains(&address) {
                known.push(address);
                let surplus = known.len().saturating_sub(MAX_KNOWN);
                known.drain(..surplus);
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn in_use(path: &Path) -> Problem {
    Problem::usage(format!(
        "another node runs on the data dir {}",
        path.display()
    ))
    .hint("stop that one, or give this one its own: --data-dir DIR")
}

fn open_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Writes a file so that after a crash it is the old or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is readable by its owner alone, and stays so under its final name.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_node_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let problem = DataDir::open(dir.path()).unwrap_err();
        assert_eq!(problem.code, Code::Usage);
        assert!(problem.message.contains("another node runs"));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn identity_and_memory_survive_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let (key, remembered) = {
            let data = DataDir::open(&path).unwrap();
            data.remember_peer("n", address.clone());
            (data.identity().unwrap(), data.remembered())
        };
        let data = DataDir::open(&path).unwrap();
        assert_eq!(data.identity().unwrap().public(), key.public());
        assert_eq!(data.remembered(), remembered);
        assert_eq!(remembered.known["n"], [address]);
        let mode = |name: &str| {
            let metadata = std::fs::metadata(path.join(name)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!((mode("identity"), mode("")), (0o600, 0o700));
    }

    #[test]
    fn damaged_memory_is_forgotten_and_a_damaged_identity_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NETWORK_FILE), "{").unwrap();
        std::fs::write(dir.path().join(IDENTITY_FILE), "x").unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.remembered(), Remembered::default());
        assert!(data.identity().unwrap_err().hint.unwrap().contains("restore"));
    }

    #[test]
    fn known_peers_are_bounded_and_the_latest_stay() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let address = |port: usize| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        (1..=MAX_KNOWN + 3).for_each(|port| data.remember_peer("n", address(port)));
        let known = &data.remembered().known["n"];
        assert_eq!(known.len(), MAX_KNOWN);
        assert_eq!(known.last(), Some(&address(MAX_KNOWN + 3)));
    }
}
