//! `manifest.json`: what a run was meant to be, so that it can be resumed, marked and reported again.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::{CHANGED, StoreError, check_format};
use crate::types::{Pricing, Probe, Replay};
use crate::util::digest::Digest;
use crate::util::{atomic, plain_file, seal};

/// The value of `Manifest::format`: the version of `manifest.json` and `records.jsonl`.
pub const RUN_FORMAT: &str = "evalctl-run/1";

/// What a run was meant to be. It holds no key: suites name keys by their variables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `evalctl-run/1`.
    pub format: String,
    /// Version of evalctl that began the run.
    pub version: String,
    /// Name of the suite.
    pub suite: String,
    /// The suite file as the user named it, made absolute.
    pub suite_path: PathBuf,
    /// The suite as it was in the last session.
    pub suite_text: String,
    /// Digest of `suite_text`.
    pub suite_digest: Digest,
    /// Digest of the gates, taken before the first request of the run. It never changes.
    pub gates_digest: Digest,
    /// Digest of the golden set's bytes, taken before the first request of the run. It never changes.
    pub dataset_digest: Digest,
    /// Samples that were selected.
    pub samples: u64,
    /// Tasks planned: samples × repeats × candidates.
    pub tasks: u64,
    /// Only these candidates, when the command line said so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// At most this many samples, when the command line said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The suite's seed.
    pub seed: u64,
    /// The candidates, in the order of the suite.
    pub candidates: Vec<Identity>,
    /// Of a replay, what was replayed and how; `None` for every other run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// The sessions of the run: one, and one more for each time that it was resumed.
    pub sessions: Vec<Session>,
}

/// A candidate of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub id: String,
    /// What answers for it, in words.
    pub provider: String,
    /// Digest of all that decides its answers beside the sample.
    pub identity: Digest,
    /// Of weights on this machine: files with their digests, quantisation, parameters, threads, device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<serde_json::Value>,
    /// What its answers are priced by, and where that comes from; `None` in runs of versions before price books.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Pricing>,
    /// What `evalctl probe` had found of the service when the run began; `None` when it had not been asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// One session of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// Version of evalctl.
    pub version: String,
    /// Digest of the suite in that session.
    pub suite_digest: Digest,
    /// The suite in that session, when a later one had another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite_text: Option<String>,
    /// How it ended; `None` while it goes on, and of one that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SessionEnd>,
    /// What had to be mended before it could go on, as notes for the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// All tasks have ended.
    Done,
    /// It was stopped early; what was under way was waited for.
    Stopped,
    /// It was left at once.
    Left,
}

impl Manifest {
    /// Reads the manifest of a run folder.
    ///
    /// # Errors
    /// When the folder is no run, or the manifest is damaged or of another format.
    pub fn read(folder: &Path) -> Result<Manifest, StoreError> {
        let path = folder.join("manifest.json");
        if path.symlink_metadata().is_err() {
            return Err(StoreError::NoRun { path: folder.to_owned() });
        }
        let mut bytes = Vec::new();
        plain_file::read(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(StoreError::io("read", &path))?;
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let damaged = |error: serde_json::Error| StoreError::Format { path: path.clone(), what: error.to_string() };
        let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
        check_format(&path, &head.format, RUN_FORMAT)?;
        if !seal::is_whole_file(&bytes) {
            let what = format!("{CHANGED}, so nobody knows what the run was; take it from a copy");
            return Err(StoreError::Format { path, what });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// Writes the manifest into a run folder, as a whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let path = folder.join("manifest.json");
        atomic::write(&path, |out| out.write_all(&seal::file(self)?)).map_err(StoreError::io("write", &path))
    }
}
