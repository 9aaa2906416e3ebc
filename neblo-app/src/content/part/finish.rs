//! Renaming that loses nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use super::PartError;

/// Refuses a destination that could not be taken in the end. What decides is [`rename`]: this only spares the work.
pub(super) fn check_destination(path: &Path, overwrite: bool) -> Result<(), PartError> {
    let path_buf = || path.to_owned();
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(PartError::TargetIsDirectory { path: path_buf() }),
        Ok(_) if !overwrite => Err(PartError::TargetExists { path: path_buf() }),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            Err(PartError::NoDirectory { dir: path.parent().unwrap_or(path).to_owned() })
        }
        Err(e) => Err(PartError::io("look at", path, e)),
    }
}

/// Moves `from` to `to` in one step; only with `overwrite` over something that is there.
pub(super) fn rename(from: &Path, to: &Path, overwrite: bool) -> Result<(), PartError> {
    let moved = if overwrite { fs::rename(from, to) } else { rename_new(from, to) };
    moved.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => PartError::TargetExists { path: to.to_owned() },
        io::ErrorKind::IsADirectory => PartError::TargetIsDirectory { path: to.to_owned() },
        _ => PartError::io("rename the download to", to, e),
    })?;
    sync_dir(to);
    Ok(())
}

/// Renames without replacing. Looking first and renaming then would leave a moment for another file to be lost.
#[cfg(unix)]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{CWD, RenameFlags, renameat_with},
        io::Errno,
    };
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_new(from, to),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(unix))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    link_new(from, to)
}

/// A second name, which is refused if it is taken, and then the first name removed.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// Writes a small file so that it is either the old or the new one. Where the disk has no room for both, the old one is
/// overwritten in place: a crash just then costs it, which is better than to lose what it would say for sure.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PartError> {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    let temporary = Path::new(&name);
    let replaced = write(File::create(temporary), bytes).and_then(|()| fs::rename(temporary, path));
    let Err(error) = replaced else {
        return Ok(());
    };
    // Of no use any more; where it never came to be, there is nothing to remove.
    let _ = fs::remove_file(temporary);
    let error = PartError::write(path, bytes.len() as u64, error);
    match error {
        PartError::DiskFull { .. } if overwrite(path, bytes).is_ok() => Ok(()),
        error => Err(error),
    }
}

/// Uses the space that the file has already.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).truncate(false).open(path)?;
    write(file.try_clone(), bytes)?;
    file.set_len(bytes.len() as u64)
}

fn write(file: io::Result<File>, bytes: &[u8]) -> io::Result<()> {
    let mut file = file?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Makes a rename last. Some file systems cannot sync a folder; the rename itself is done.
fn sync_dir(path: &Path) {
    if let Some(dir) = path.parent()
        && let Ok(dir) = File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
    {
        let _ = dir.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_way_of_renaming_replaces_a_file() {
        for rename in [rename_new, link_new] {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            let error = rename(&from, &to).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&to).unwrap(), b"old");
            assert_eq!(fs::read(&from).unwrap(), b"new");
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
            assert!(!from.exists());
        }
    }
}
