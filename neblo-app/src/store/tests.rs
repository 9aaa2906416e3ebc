use super::*;
use crate::{
    content::{Fingerprint, Root},
    link::Target,
    metadata::Metadata,
};

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn publication(root: Root) -> Publication {
    Publication {
        metadata: Metadata::file("a.txt".into(), root, 5),
        path: "/some/a.txt".into(),
        fingerprint: Fingerprint { len: 5, mtime_ns: -7, inode: u64::MAX },
        secret_key: [9; 32],
        expiry_day: 20_000,
        created: 77,
        state: PublicationState::Announcing,
    }
}

fn entry(name: &str, root: Root) -> Entry {
    Entry {
        name: name.into(),
        path: PathBuf::from("/some").join(name),
        root,
        fingerprint: Fingerprint { len: 1, mtime_ns: 2, inode: 3 },
    }
}

fn download(root: Root, destination: &str) -> NewDownload {
    NewDownload {
        target: Target::Root(root),
        destination: destination.into(),
        part: format!("{destination}.neblo-part").into(),
        size: 100,
        overwrite: false,
    }
}

#[test]
fn everything_survives_reopening() {
    let (dir, store) = open();
    store.put_publication(&publication([1; 32]), &[entry("x", [3; 32])]).unwrap();
    let id = store.add_download(&download([2; 32], "/tmp/out")).unwrap();
    store.set_setting("port", "4001").unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.publications().unwrap(), [publication([1; 32])]);
    assert_eq!(store.entries(&[1; 32]).unwrap(), [entry("x", [3; 32])]);
    assert_eq!(store.download(id).unwrap().unwrap().destination, Path::new("/tmp/out"));
    assert_eq!(store.setting("port").unwrap().unwrap(), "4001");
}

#[test]
fn publications_are_replaced_changed_and_removed_with_their_entries() {
    let (_dir, store) = open();
    store.put_publication(&publication([1; 32]), &[entry("x", [3; 32])]).unwrap();
    store.put_publication(&publication([1; 32]), &[entry("y", [4; 32])]).unwrap();
    assert_eq!(store.entries(&[1; 32]).unwrap(), [entry("y", [4; 32])]);
    assert!(store.is_root_in_use(&[4; 32]).unwrap());
    assert!(!store.is_root_in_use(&[3; 32]).unwrap());
    assert!(store.set_publication_state(&[1; 32], PublicationState::SourceLost).unwrap());
    assert!(store.renew_publication(&[1; 32], &[8; 32], 20_100).unwrap());
    let changed = store.publication(&[1; 32]).unwrap().unwrap();
    assert_eq!(changed.state, PublicationState::SourceLost);
    assert_eq!((changed.secret_key, changed.expiry_day), ([8; 32], 20_100));
    assert!(store.remove_publication(&[1; 32]).unwrap());
    assert!(!store.remove_publication(&[1; 32]).unwrap());
    assert!(!store.is_root_in_use(&[4; 32]).unwrap());
}

#[test]
fn a_failing_write_leaves_nothing_of_itself() {
    let (_dir, store) = open();
    let twice = [entry("x", [3; 32]), entry("x", [4; 32])];
    store.put_publication(&publication([1; 32]), &twice).unwrap_err();
    assert!(store.publications().unwrap().is_empty());
    assert!(!store.is_root_in_use(&[3; 32]).unwrap());
}

#[test]
fn a_download_that_was_not_finished_is_the_same_one_again() {
    let (_dir, store) = open();
    let id = store.add_download(&download([1; 32], "/a")).unwrap();
    store.set_download_present(id, 50).unwrap();
    store.set_download_state(id, DownloadState::Failed, Some("disk full")).unwrap();
    assert_eq!(store.download(id).unwrap().unwrap().error.unwrap(), "disk full");
    assert_eq!(store.add_download(&download([1; 32], "/a")).unwrap(), id);
    let again = store.download(id).unwrap().unwrap();
    assert_eq!((again.state, again.error, again.present), (DownloadState::Active, None, 50));
    store.set_download_state(id, DownloadState::Done, None).unwrap();
    let other = store.add_download(&download([1; 32], "/a")).unwrap();
    assert_ne!(other, id);
    assert!(store.remove_download(other).unwrap());
    assert_eq!(store.downloads().unwrap().len(), 1);
}

#[test]
fn a_damaged_or_later_database_is_named_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, vec![7; 8192]).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains("move it away"), "{text}");
    std::fs::remove_file(&path).unwrap();
    drop(Store::open(dir.path()).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    let nowhere = Store::open(&dir.path().join("none")).unwrap_err();
    assert!(matches!(nowhere, StoreError::Open { .. }), "{nowhere}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_keys() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = open();
    store.set_setting("a", "b").unwrap();
    for entry in std::fs::read_dir(store.path().parent().unwrap()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[tokio::test]
async fn async_code_can_use_it() {
    let (_dir, store) = open();
    store.run(|store| store.set_setting("k", "v")).await.unwrap();
    assert_eq!(store.run(|store| store.setting("k")).await.unwrap().unwrap(), "v");
}
