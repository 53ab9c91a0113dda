//! `under_way.jsonl`: what each session of a run may have sent without a record, so that a later one counts it.
//!
//! The last line of a session counts. While it goes on, that is the most that was ever under way at once; when it ends in
//! order, what really is. Lines are the kernel's before anything is sent that they do not cover, so they survive the death
//! of the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::records::heal;
use crate::store::{CHANGED, StoreError};
use crate::types::UnderWay;
use crate::util::{plain_file, seal};

const NAME: &str = "under_way.jsonl";

#[derive(Serialize, Deserialize)]
struct Line {
    session: u64,
    #[serde(flatten)]
    under_way: UnderWay,
}

/// What one session has under way, as it puts it down.
#[derive(Debug)]
pub struct UnderWayLog {
    file: File,
    path: PathBuf,
    session: u64,
}

impl UnderWayLog {
    /// Opens the log of a run folder for session number `session`, from 0.
    ///
    /// # Errors
    /// When it cannot be opened or mended.
    pub fn open(folder: &Path, session: u64) -> Result<UnderWayLog, StoreError> {
        let path = folder.join(NAME);
        let mut file = plain_file::append(&path).map_err(StoreError::io("open", &path))?;
        // A torn line covers nothing that was sent.
        heal(&mut file).map_err(StoreError::io("mend", &path))?;
        Ok(UnderWayLog { file, path, session })
    }

    /// Puts down what may be under way from now on.
    ///
    /// # Errors
    /// When it cannot be written: then nothing may be sent that is not covered.
    pub fn keep(&self, under_way: UnderWay) -> io::Result<()> {
        let mut line = Vec::new();
        seal::line(&mut line, &Line { session: self.session, under_way })?;
        let length = self.file.metadata()?.len();
        let mut file = &self.file;
        file.write_all(&line).inspect_err(|_| {
            // If even this fails, the torn line is cut off when the run is resumed.
            let _ = self.file.set_len(length);
        })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What each session of a run has left under way, by its number. A folder without the file has none.
///
/// # Errors
/// When the file cannot be read or a line is damaged: then nobody knows what may have been spent.
pub fn read_under_way(folder: &Path) -> Result<BTreeMap<u64, UnderWay>, StoreError> {
    let path = folder.join(NAME);
    let mut text = Vec::new();
    match plain_file::read(&path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    // A line that was torn in writing has lost its end, and not only its line end, or that to another sign.
    let tail = &text[whole..];
    if seal::is_sealed_line(tail) || tail.split_last().is_some_and(|(_, tail)| seal::is_sealed_line(tail)) {
        let what = format!("the last line has no end; {CHANGED}; add the line end that is missing");
        return Err(StoreError::Format { path, what });
    }
    let mut sessions = BTreeMap::new();
    for (index, line) in text[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let parsed = if seal::is_whole_line(line) {
            serde_json::from_slice(line).map_err(|error| error.to_string())
        } else {
            Err(CHANGED.to_owned())
        };
        let Line { session, under_way } = parsed.map_err(|why| StoreError::Format {
            path: path.clone(),
            what: format!("line {}: {why}; it tells what may have been spent, so the run cannot go on", index + 1),
        })?;
        sessions.insert(session, under_way);
    }
    Ok(sessions)
}
