//! The run folder: a manifest, records, scores. Everything else in it is rendered from these.
//!
//! `records.jsonl` is append-only, one line a task. A record counts when its line was written: the kernel has it, so it
//! survives the death of the process at any moment. It is synced to the device once a second and at the end, so a power
//! cut loses at most the last second.

mod folder;
mod manifest;
mod probes;
mod records;
mod scores;
mod under_way;

pub use folder::{Folder, Holds, latest, new_folder};
pub use manifest::{Identity, Manifest, RUN_FORMAT, Session, SessionEnd};
pub use probes::{ProbeFile, read_probes};
pub use records::{Healed, RecordReader, RecordWriter};
pub use scores::{
    MarkedBy, SCORES_FORMAT, ScoreHeader, ScoreReader, ScoreWriter, newest as newest_scores, next as next_scores,
};
pub use under_way::{UnderWayLog, read_under_way};

use std::io;
use std::path::{Path, PathBuf};

use crate::util::text::{of_system, visible};

fn shown(path: &Path) -> String {
    visible(&path.display().to_string()).into_owned()
}

/// What can go wrong with a run folder.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("could not {doing} `{}`: {}", shown(.path), of_system(.source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder is no run folder.
    #[error("`{}` is no run folder: it has no `manifest.json`", shown(.path))]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// A file is of a newer version, or is not what it should be.
    #[error("`{}`: {what}", shown(.path))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process is writing to the run.
    #[error("`{}` is in use by another evalctl; wait for it to end", shown(.path))]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

impl StoreError {
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io { doing, path, source }
    }
}

/// What is wrong with a file or a line that is not as it was written.
const CHANGED: &str = "it is not as it was written (its `crc32` does not match)";

/// Refuses a file of another format, by name.
fn check_format(path: &std::path::Path, found: &str, wanted: &str) -> Result<(), StoreError> {
    if found == wanted {
        return Ok(());
    }
    let what = format!(
        "its format is `{}`, this evalctl reads `{wanted}`: use the version that wrote it",
        crate::util::text::shorten(found, 40)
    );
    Err(StoreError::Format { path: path.to_owned(), what })
}
