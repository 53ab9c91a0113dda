//! `records.jsonl`: appended to in batches, healed after a crash, read line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::StoreError;
use crate::types::{Record, RunEvent, Sink};
use crate::util::clock::Clock;
use crate::util::{plain_file, seal};

const NAME: &str = "records.jsonl";

/// How often written records are synced to the device.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What was found at the end of a file that a crash had left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Healed {
    /// Bytes of a torn last line that were cut off; its task counts as not done.
    pub torn_bytes: u64,
}

/// Appends records. Each batch is one write; a batch that fails is cut off again, so that no torn line stands between
/// whole ones.
pub struct RecordWriter {
    file: File,
    path: PathBuf,
    length: u64,
    buffer: Vec<u8>,
    clock: Clock,
    synced: Duration,
    is_dirty: bool,
}

impl RecordWriter {
    /// Opens the records of a run folder for appending, and heals a torn last line.
    ///
    /// # Errors
    /// When the file cannot be opened, read or cut.
    pub fn open(folder: &Path) -> Result<(RecordWriter, Healed), StoreError> {
        let path = folder.join(NAME);
        let mut file = plain_file::append(&path).map_err(StoreError::io("open", &path))?;
        let (length, healed) = heal(&mut file).map_err(StoreError::io("mend", &path))?;
        let clock = Clock::new();
        let synced = clock.now();
        Ok((RecordWriter { file, path, length, buffer: Vec::new(), clock, synced, is_dirty: false }, healed))
    }

    /// Writes what is in the buffer.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.file.write_all(&self.buffer);
        if result.is_ok() {
            self.length += self.buffer.len() as u64;
            self.is_dirty = true;
        } else {
            // If even this fails, the torn line is healed when the run is resumed.
            let _ = self.file.set_len(self.length);
        }
        self.buffer.clear();
        result
    }

    /// Appends lines of another run's records as they are.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn copy(&mut self, lines: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(lines);
        if !lines.ends_with(b"\n") {
            self.buffer.push(b'\n');
        }
        self.flush()
    }

    /// Syncs everything to the device.
    ///
    /// # Errors
    /// When the device will not have it.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.is_dirty = false;
        }
        self.synced = self.clock.now();
        Ok(())
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Sink for RecordWriter {
    fn accept(&mut self, events: &[RunEvent]) -> io::Result<()> {
        for event in events {
            match event {
                RunEvent::Recorded { record, .. } => {
                    seal::line(&mut self.buffer, record)?;
                }
                RunEvent::Unreachable { .. } | RunEvent::Stopping | RunEvent::Tick => {}
            }
        }
        self.flush()?;
        if self.clock.now().saturating_sub(self.synced) >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }
}

/// Cuts off what stands behind the last line end; gives the length that is left.
pub(super) fn heal(file: &mut File) -> io::Result<(u64, Healed)> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut block = [0; 8192];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(index) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + index as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok((end, Healed { torn_bytes: length - end }))
}

/// Reads records back as raw lines, in blocks, so that the caller can parse them in parallel.
pub struct RecordReader {
    reader: BufReader<File>,
    path: PathBuf,
    is_torn: bool,
    /// Whether a line with a checksum was read: then all after it have one.
    is_sealed: bool,
}

impl RecordReader {
    /// Opens the records of a run folder. A folder without the file has no records.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn open(folder: &Path) -> Result<Option<RecordReader>, StoreError> {
        let path = folder.join(NAME);
        match plain_file::read(&path) {
            Ok(file) => {
                let reader = BufReader::with_capacity(1 << 18, file);
                Ok(Some(RecordReader { reader, path, is_torn: false, is_sealed: false }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    /// Fills `block` with whole lines of about `size` bytes or one longer line; false at the end. A line without an end
    /// is what a crash left, and is not given.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn block(&mut self, size: usize, block: &mut Vec<u8>) -> Result<bool, StoreError> {
        block.clear();
        let path = &self.path;
        while block.len() < size {
            let before = block.len();
            let read = self.reader.read_until(b'\n', block).map_err(|e| StoreError::io("read", path)(e))?;
            if read == 0 {
                break;
            }
            if block.last() != Some(&b'\n') {
                block.truncate(before);
                self.is_torn = true;
                break;
            }
            let has_seal = seal::has_seal(&block[before..block.len() - 1]);
            if self.is_sealed && !has_seal && block.len() > before + 1 {
                // Somebody has taken it off: no record.
                block.truncate(before);
                block.extend_from_slice(b"?\n");
            }
            self.is_sealed |= has_seal;
        }
        Ok(!block.is_empty())
    }

    /// Whether the last line that was read has no end.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Parses one line; `None` for a line that is no record or not as it was written, as damage to the disk may leave.
    pub fn parse(line: &[u8]) -> Option<Record> {
        serde_json::from_slice(line).ok().filter(|_| seal::is_whole_line(line))
    }
}
