//! Files that a user names. A pipe or a device may never end, and opening a pipe waits for whoever writes to it: both are
//! refused, and what is read whole is bounded.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// Those of the file system, and for whatever is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    if kind.is_fifo() {
        return Err(wrong("it is a pipe, and a file is needed: write what comes out of it to one"));
    }
    open_stream(path)
}

/// Opens a regular file or a pipe, which is read once from its beginning to its end.
///
/// # Errors
/// Those of the file system, and for whatever else it may be.
pub fn open_stream(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    match () {
        () if kind.is_file() || kind.is_fifo() => File::open(path),
        () if kind.is_dir() => Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder; name a file in it")),
        () => Err(wrong("it is a device or a socket, and a file is needed")),
    }
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// Those of [`open`], and when it is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// Those of [`read`], and when it is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_end_are_read() {
        let folder = std::env::temp_dir().join(format!("evalctl-given-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, pipe) = (folder.join("file"), folder.join("pipe"));
        std::fs::write(&file, "ab").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(read_text(&file, 2).unwrap(), "ab");
        assert_eq!(read(&file, 1).unwrap_err().kind(), ErrorKind::FileTooLarge);
        for path in [pipe.as_path(), Path::new("/dev/zero"), &folder] {
            assert!(matches!(read(path, 10).unwrap_err().kind(), ErrorKind::InvalidInput | ErrorKind::IsADirectory));
        }
        assert!(open_stream(Path::new("/dev/zero")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
