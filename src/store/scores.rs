//! `scores-<n>.jsonl`: a header line, then one line per marked record. Marking again writes the next number.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{CHANGED, StoreError, check_format};
use crate::types::ScoreRow;
use crate::util::digest::Digest;
use crate::util::{plain_file, seal};

/// The value of `ScoreHeader::format`.
pub const SCORES_FORMAT: &str = "evalctl-scores/1";

/// First line of a scores file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreHeader {
    /// `evalctl-scores/1`.
    pub format: String,
    /// Version of evalctl that marked.
    pub version: String,
    /// Digest of the suite whose scorers marked.
    pub suite_digest: Digest,
    /// Digest of the golden set whose targets marked; `None` before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_digest: Option<Digest>,
    /// Names of the metrics, in the order of each line's marks.
    pub metrics: Vec<String>,
    /// The suite, when it is not the run's own: then its gates are the ones that are judged, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<MarkedBy>,
}

/// A suite that marked a run which was made with another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarkedBy {
    /// Its file, made absolute.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Number of the newest scores file of a run folder.
pub fn newest(folder: &Path) -> Option<u32> {
    let entries = fs::read_dir(folder).ok()?;
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix("scores-")?.strip_suffix(".jsonl")?.parse().ok()
        })
        .max()
}

/// Number of the next scores file.
pub fn next(folder: &Path) -> u32 {
    newest(folder).map_or(1, |number| number + 1)
}

fn path_of(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("scores-{number}.jsonl"))
}

/// Writes a scores file beside its place and puts it there when it is complete. What is left of one that is not goes.
pub struct ScoreWriter {
    out: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    is_placed: bool,
}

impl Drop for ScoreWriter {
    fn drop(&mut self) {
        if !self.is_placed {
            // It is of no use to anybody, and may fill a disk that is full already.
            let _ = fs::remove_file(&self.part);
        }
    }
}

impl ScoreWriter {
    /// Begins scores file `number`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(folder: &Path, number: u32, header: &ScoreHeader) -> Result<ScoreWriter, StoreError> {
        let path = path_of(folder, number);
        let part = path.with_extension("jsonl.part");
        let file = plain_file::make(&part).map_err(StoreError::io("write", &part))?;
        let mut writer = ScoreWriter { out: BufWriter::with_capacity(1 << 18, file), part, path, is_placed: false };
        let mut line = Vec::new();
        seal::line(&mut line, header).map_err(|error| writer.error(error.into()))?;
        writer.write(&line)?;
        Ok(writer)
    }

    /// Writes whole lines, made by [`ScoreWriter::line`].
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), StoreError> {
        self.out.write_all(lines).map_err(|error| self.error(error))
    }

    /// Adds a row to `lines`.
    pub fn line(lines: &mut Vec<u8>, row: &ScoreRow) {
        seal::line(lines, row).expect("a score row has only string keys and finite numbers");
    }

    /// Puts the complete file in its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let result = self
            .out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.part, &self.path));
        self.is_placed = result.is_ok();
        result.map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> StoreError {
        StoreError::io("write", &self.path)(error)
    }
}

/// Reads a scores file.
pub struct ScoreReader {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    number: u64,
    /// Whether its first line has a checksum: then all have.
    is_sealed: bool,
    /// Its first line.
    pub header: ScoreHeader,
}

impl ScoreReader {
    /// Opens scores file `number`.
    ///
    /// # Errors
    /// When it cannot be read or is of another format.
    pub fn open(folder: &Path, number: u32) -> Result<ScoreReader, StoreError> {
        let path = path_of(folder, number);
        let file = plain_file::read(&path).map_err(StoreError::io("read", &path))?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).map_err(StoreError::io("read", &path))?;
        let header: ScoreHeader = parse(&path, 1, &line, false)?;
        let is_sealed = seal::has_seal(line.trim_ascii_end());
        check_format(&path, &header.format, SCORES_FORMAT)?;
        Ok(ScoreReader { reader, path, line, number: 1, is_sealed, header })
    }

    /// The next row.
    ///
    /// # Errors
    /// When the file cannot be read or a line is damaged: marking again mends it.
    pub fn next_row(&mut self) -> Result<Option<ScoreRow>, StoreError> {
        self.line.clear();
        let read = self.reader.read_until(b'\n', &mut self.line).map_err(|e| StoreError::io("read", &self.path)(e))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        parse(&self.path, self.number, &self.line, self.is_sealed).map(Some)
    }

    /// What to say of the row that was read last when it cannot be right.
    pub fn wrong(&self, why: &str) -> StoreError {
        wrong(&self.path, self.number, why)
    }
}

fn parse<T: DeserializeOwned>(path: &Path, number: u64, line: &[u8], is_sealed: bool) -> Result<T, StoreError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if !seal::is_whole_line(line) || (is_sealed && !seal::has_seal(line)) {
        return Err(wrong(path, number, CHANGED));
    }
    serde_json::from_slice(line).map_err(|error| wrong(path, number, &error.to_string()))
}

fn wrong(path: &Path, number: u64, why: &str) -> StoreError {
    let what = format!("line {number}: {why}; run `evalctl score` on the run to mark it again");
    StoreError::Format { path: path.to_owned(), what }
}
