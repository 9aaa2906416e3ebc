//! The data directory: one node at a time, its identity, and what it remembers of the network.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;

use libp2p::{Multiaddr, identity::Keypair};
use serde::{Deserialize, Serialize};

use crate::{
    problem::Problem,
    store::{DataDirLock, Store},
};

const IDENTITY_FILE: &str = "identity";
/// The setting in the database under which [`Remembered`] stands.
const REMEMBERED: &str = "network";

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
    /// First relays: subgroup (32 hex digits) and peer id, by network.
    pub relays: BTreeMap<String, Vec<(String, String)>>,
}

/// An open data directory. Nobody else can open it until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    lock: DataDirLock,
    store: Store,
    remembered: Mutex<Remembered>,
}

impl DataDir {
    /// Opens `path` for a node, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let lock = DataDirLock::acquire(path).map_err(|error| Problem::usage(error.to_string()))?;
        let store = Store::open(path).map_err(|error| Problem::failed(error.to_string()))?;
        let remembered = store
            .setting(REMEMBERED)
            .map_err(|error| Problem::failed(error.to_string()))?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        Ok(Self { lock, store, remembered: Mutex::new(remembered) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.lock.dir()
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The node's identity, made on the first run.
    pub fn identity(&self) -> Result<Keypair, Problem> {
        let path = self.path().join(IDENTITY_FILE);
        let failed = |error: &dyn std::fmt::Display| {
            Problem::failed(format!("cannot use the identity {}: {error}", path.display()))
                .hint("restore the file, or delete it: the node then gets a new identity and loses nothing else")
        };
        match std::fs::read(&path) {
            Ok(bytes) => Keypair::from_protobuf_encoding(&bytes).map_err(|error| failed(&error)),
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
        let written = serde_json::to_string(&*remembered).map(|text| self.store.set_setting(REMEMBERED, &text));
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(target: "neblo", %error, "cannot remember the network"),
            Err(error) => tracing::warn!(target: "neblo", %error, "cannot remember the network"),
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
    fn a_damaged_identity_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(IDENTITY_FILE), "x").unwrap();
        let data = DataDir::open(dir.path()).unwrap();
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
