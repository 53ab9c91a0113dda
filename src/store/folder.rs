//! Where runs live: `reports/<suite>/<run-id>/`, with `latest` beside them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::store::StoreError;
use crate::util::plain_file;

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
        let lock = plain_file::append(&lock_path).map_err(StoreError::io("write", &lock_path))?;
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

/// What stands in a folder, for who wants to begin a run in it or go on with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// It is not there, it is empty, or it has only what a run leaves that was killed before its manifest was written.
    Nothing,
    /// A run.
    Run,
    /// Something else: the name of one of its files.
    Other(String),
}

impl Holds {
    /// Looks at a folder. One that cannot be read is taken as empty: whoever takes it will be told why it cannot be used.
    pub fn of(path: &Path) -> Holds {
        if path.join("manifest.json").exists() {
            return Holds::Run;
        }
        let is_left = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let is_empty = || entry.metadata().is_ok_and(|facts| facts.is_file() && facts.len() == 0);
            // Records come after the manifest, so those of a run that never began are empty. The last one is what a new
            // file system has at its root, such as that of a volume which a job writes to.
            name == ".lock"
                || name == "manifest.json.part"
                || name == "lost+found"
                || (name == "records.jsonl" && is_empty())
        };
        let Ok(entries) = fs::read_dir(path) else { return Holds::Nothing };
        let others = entries.flatten().filter(|entry| !is_left(entry));
        let first = others.map(|entry| entry.file_name().to_string_lossy().into_owned()).min();
        first.map_or(Holds::Nothing, Holds::Other)
    }
}

/// The run below `parent` to go on with: what `latest` points to, else the last by name. A folder that a newer run had
/// made when it was killed before its manifest was written comes before those: it is that run which is to go on.
pub fn latest(parent: &Path) -> Option<PathBuf> {
    let is_run = |path: &PathBuf| path.join("manifest.json").is_file();
    // The folder's own name is shown, not the link's.
    let linked = fs::canonicalize(parent.join("latest")).ok();
    let linked = linked.and_then(|path| path.file_name().map(|name| parent.join(name))).filter(is_run);
    let entries: io::Result<Vec<_>> = fs::read_dir(parent).and_then(Iterator::collect);
    let entries = entries.unwrap_or_default();
    let newest = linked.or_else(|| entries.iter().map(fs::DirEntry::path).filter(is_run).max());
    let begun = entries.iter().filter(|entry| {
        let is_own =
            entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_stamp(&entry.file_name().to_string_lossy());
        is_own && Holds::of(&entry.path()) == Holds::Nothing
    });
    newest.into_iter().chain(begun.map(fs::DirEntry::path)).max()
}

/// Whether a name is one that [`new_folder`] gives.
fn is_stamp(name: &str) -> bool {
    name.len() >= 20 && name.starts_with(|c: char| c.is_ascii_digit()) && name.as_bytes()[10] == b'T'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below the system's folder for such things; removed when it is dropped.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("evalctl-folder-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Place(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_kill_leaves_is_nothing_and_what_others_wrote_is_not() {
        let place = Place::new("holds");
        let held = |name: &str| Holds::of(&place.0.join(name));
        assert_eq!(held("none"), Holds::Nothing);
        place.write("killed/.lock", "");
        place.write("killed/records.jsonl", "");
        place.write("killed/manifest.json.part", "{\"form");
        assert_eq!(held("killed"), Holds::Nothing);
        place.write("run/manifest.json", "{}");
        assert_eq!(held("run"), Holds::Run);
        place.write("records/records.jsonl", "mine");
        assert_eq!(held("records"), Holds::Other("records.jsonl".to_owned()));
        place.write("others/b.txt", "");
        place.write("others/a.txt", "");
        assert_eq!(held("others"), Holds::Other("a.txt".to_owned()));
    }

    #[test]
    fn the_run_to_go_on_with_is_the_newest_that_was_begun() {
        let place = Place::new("latest");
        assert_eq!(latest(&place.0), None);
        place.write("2026-01-01T00-00-00Z/manifest.json", "{}");
        let newer = place.write("2026-01-02T00-00-00Z/manifest.json", "{}").parent().unwrap().to_owned();
        assert_eq!(latest(&place.0), Some(newer.clone()), "by name");
        std::os::unix::fs::symlink("2026-01-01T00-00-00Z", place.0.join("latest")).unwrap();
        assert_eq!(latest(&place.0), Some(place.0.join("2026-01-01T00-00-00Z")), "by the link");
        place.write("mine/.lock", "");
        assert_eq!(latest(&place.0), Some(place.0.join("2026-01-01T00-00-00Z")), "not every folder is a run's");
        place.write("2026-01-03T00-00-00Z/.lock", "");
        assert_eq!(latest(&place.0), Some(place.0.join("2026-01-03T00-00-00Z")), "it was killed as it began");
        place.write("2026-01-03T00-00-00Z/notes.txt", "");
        assert_eq!(latest(&place.0), Some(place.0.join("2026-01-01T00-00-00Z")), "it holds something else");
    }
}
