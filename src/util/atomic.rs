//! Files that are either there as a whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::util::plain_file;

/// Writes a file beside `path`, syncs it and renames it to `path`.
///
/// # Errors
/// Those of the file system, and those of `write`. What stood at `path` before is then still there.
pub fn write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".part");
    let part = path.with_file_name(name);
    let result = (|| {
        let mut out = BufWriter::new(plain_file::make(&part)?);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, path)
    })();
    if result.is_err() {
        // What is left of the part is of no use; that it may fail to go adds nothing to the first error.
        let _ = fs::remove_file(&part);
    }
    result
}
