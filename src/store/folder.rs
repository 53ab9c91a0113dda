//! Where runs live: `reports/<suite>/<run-id>/`, with `latest` beside them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::store::StoreError;

/// A run folder held by this process: nobody else writes to it until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    // Held for its lock, which the system takes back when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Takes a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written to, or when another process holds it.
    pub fn take(path: &Path) -> Result<Folder, StoreError> {
        fs::create_dir_all(path).map_err(StoreError::io("make the folder", path))?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(StoreError::io("write", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Folder { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { doing: "lock", path: lock_path, source }),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name: the id of the run.
    pub fn run_id(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Takes the folder away again if nothing but the lock is in it: a run that could not begin leaves nothing behind.
    pub fn leave_if_empty(&self) {
        let is_bare = fs::read_dir(&self.path)
            .is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == ".lock")));
        if is_bare {
            let _ = fs::remove_file(self.path.join(".lock"));
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Makes `latest` beside it point to it. Where the file system has no links it is left out.
    pub fn link_latest(&self) {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return };
        let part = parent.join(".latest.part");
        let _ = fs::remove_file(&part);
        // The link is a convenience: that it could not be made must not end a run.
        #[cfg(unix)]
        let _ = std::os::unix::fs::symlink(name, &part).and_then(|()| fs::rename(&part, parent.join("latest")));
    }
}

/// A path for a new run below `parent` that nothing has yet: the UTC time, with a number when that is taken.
pub fn new_folder(parent: &Path, now: SystemTime) -> PathBuf {
    let stamp = crate::util::clock::rfc3339(now).replace(':', "-");
    let mut path = parent.join(&stamp);
    let mut number = 2;
    while path.symlink_metadata().is_ok() {
        path = parent.join(format!("{stamp}.{number}"));
        number += 1;
    }
    path
}

/// The newest run folder below `parent`: what `latest` points to, else the last by name.
pub fn latest(parent: &Path) -> Option<PathBuf> {
    let is_run = |path: &PathBuf| path.join("manifest.json").is_file();
    if let Some(path) = fs::canonicalize(parent.join("latest")).ok().filter(is_run) {
        // The folder's own name is shown, not the link's.
        return path.file_name().map(|name| parent.join(name)).filter(is_run);
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(parent).and_then(Iterator::collect);
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default().iter().map(fs::DirEntry::path).filter(is_run).collect();
    paths.sort();
    paths.pop()
}
