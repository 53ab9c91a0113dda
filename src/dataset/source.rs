//! A file that is read more than once, and must not change in between.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::types::{Fault, Place};

/// What the rows of a file look like, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `.jsonl`, `.ndjson`: a JSON object a line.
    Jsonl,
    /// `.csv` with commas, `.tsv` with tabs.
    Csv {
        /// What parts cells.
        delimiter: u8,
    },
}

impl Format {
    fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv { delimiter: b',' }),
            "tsv" => Some(Format::Csv { delimiter: b'\t' }),
            _ => None,
        }
    }
}

/// What tells a file from the same file after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { bytes: metadata.len(), modified: metadata.modified().ok(), inode: (metadata.dev(), metadata.ino()) }
    }
}

/// A file as it was when it was opened first.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// The path as the user wrote it.
    pub shown: Arc<Path>,
    pub format: Format,
    stamp: Stamp,
}

impl Source {
    /// Looks at a file without reading it.
    pub fn new(path: &Path, shown: &Path) -> Result<Source, Fault> {
        let fault = |message: String| Fault::new(Place::file(shown), message);
        let unreadable = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => fault("no such file".to_owned()).help("paths start from the suite's folder"),
            _ => fault(format!("cannot be read: {error}")),
        };
        let metadata = path.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(fault("a folder, not a file".to_owned()).help("name the file in it"));
        }
        let format = Format::of(path).ok_or_else(|| {
            fault("the ending of the name does not say how to read the file".to_owned())
                .help("`.jsonl` files have one JSON object a line, `.csv` files a header and rows")
        })?;
        if !metadata.is_file() {
            return Err(fault("no regular file; it is read twice, so it cannot be a pipe".to_owned()));
        }
        File::open(path).map_err(unreadable)?;
        if metadata.len() == 0 {
            return Err(fault("the file is empty".to_owned()));
        }
        Ok(Source { path: path.to_owned(), shown: shown.into(), format, stamp: Stamp::of(&metadata) })
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<Watched, Fault> {
        let watched = File::open(&self.path).map(|file| Watched { file, stamp: self.stamp });
        watched
            .and_then(|watched| watched.check().map(|()| watched))
            .map_err(|error| crate::dataset::lines::unreadable(&self.shown, &error))
    }
}

/// An open file whose reads fail once it has changed.
#[derive(Debug)]
pub(super) struct Watched {
    file: File,
    stamp: Stamp,
}

impl Watched {
    /// That it is still what it was.
    pub fn check(&self) -> io::Result<()> {
        if Stamp::of(&self.file.metadata()?) == self.stamp {
            Ok(())
        } else {
            Err(io::Error::other("it has changed since it was first read"))
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.check()?;
        Ok(count)
    }
}

/// Reads from a place on, without moving the position of the file, so that many threads can share it.
pub(super) struct ReadFrom<'a> {
    pub file: &'a Watched,
    pub offset: u64,
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
