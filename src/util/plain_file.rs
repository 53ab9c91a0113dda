//! Files that are what they seem. A folder may come from somebody else, and what stands in the place of a file of ours may
//! be a link to one that is not, or a pipe that never ends: neither is followed, emptied or waited for.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    OpenOptions::new()
}

/// Opens with the rules of this module; nothing else is known of the path.
fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let refused = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let opened = options.open(path);
    if path.symlink_metadata().is_ok_and(|facts| facts.is_symlink()) {
        return Err(refused("it is a link, and what it points to belongs to somebody else"));
    }
    let file = opened?;
    if !file.metadata()?.is_file() {
        return Err(refused("it is no regular file"));
    }
    Ok(file)
}

/// Opens a file to read it.
///
/// # Errors
/// Those of the file system; and when it is a link or no regular file.
pub fn read(path: &Path) -> io::Result<File> {
    open(path, options().read(true))
}

/// Opens a file to read it and to append to it; makes it if it is not there. What is in it stays.
///
/// # Errors
/// Those of [`read`].
pub fn append(path: &Path) -> io::Result<File> {
    open(path, options().read(true).append(true).create(true))
}

/// Makes a file that nobody else has: what stood there before, of our own or a link, is taken away first.
///
/// # Errors
/// Those of the file system.
pub fn make(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    options().read(true).write(true).create_new(true).open(path)
}

/// Holds a file that one process at a time writes to, empty, for as long as what is given lives. It is made if it is not
/// there.
///
/// # Errors
/// Those of [`append`]; and [`io::ErrorKind::ResourceBusy`] when another process holds it.
pub fn hold(path: &Path) -> io::Result<File> {
    loop {
        let file = append(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another evalctl is writing to it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever held it may have taken it away or put it in its place just before.
        if is_at(&file, path)? {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

/// Whether an open file is the one that stands at a path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let own = file.metadata()?;
        Ok(path.symlink_metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(path.exists())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_link_is_neither_read_nor_written_through() {
        let folder = std::env::temp_dir().join(format!("evalctl-plain-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (mine, link) = (folder.join("mine"), folder.join("link"));
        fs::write(&mine, "mine").unwrap();
        std::os::unix::fs::symlink(&mine, &link).unwrap();
        for error in [read(&link).unwrap_err(), append(&link).unwrap_err()] {
            assert!(error.to_string().contains("it is a link"), "{error}");
        }
        make(&link).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&link).unwrap(), "new", "the link gave way to a file");
        append(&mine).unwrap().write_all(b"!").unwrap();
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine!");
        let held = hold(&mine).unwrap();
        assert_eq!(held.metadata().unwrap().len(), 0);
        assert_eq!(hold(&mine).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        hold(&mine).unwrap();
        assert!(read(Path::new("/dev/null")).unwrap_err().to_string().contains("no regular file"));
        assert_eq!(read(&folder.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&folder).unwrap();
    }
}
