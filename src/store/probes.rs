//! What probes of a suite's endpoints found: `reports/<suite>/probes.json`, beside its runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::{CHANGED, StoreError, check_format};
use crate::types::Probe;
use crate::util::{atomic, plain_file, seal};

/// The version of `probes.json`.
const FORMAT: &str = "evalctl-probes/1";

#[derive(Serialize, Deserialize)]
struct Stored {
    format: String,
    probes: Vec<Probe>,
}

fn place(folder: &Path) -> PathBuf {
    folder.join("probes.json")
}

/// What is stored in a folder: nothing where there is no file.
///
/// # Errors
/// When it cannot be read, or is not what it should be.
pub fn read_probes(folder: &Path) -> Result<Vec<Probe>, StoreError> {
    let path = place(folder);
    let mut bytes = Vec::new();
    match plain_file::read(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    }
    let what = |error: serde_json::Error| {
        let what = format!("it is no file of probes ({error}): delete it, and probe again");
        StoreError::Format { path: path.clone(), what }
    };
    if !seal::is_whole_file(&bytes) {
        let what = format!("{CHANGED}: delete it, and probe again");
        return Err(StoreError::Format { path, what });
    }
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(what)?;
    check_format(&path, value["format"].as_str().unwrap_or("none"), FORMAT)?;
    serde_json::from_value::<Stored>(value).map_err(what).map(|file| file.probes)
}

/// The file of a folder, held for writing.
#[derive(Debug)]
pub struct ProbeFile {
    folder: PathBuf,
    // Held for its lock: two probes at once must not lose what the other found.
    lock: File,
}

impl ProbeFile {
    /// Takes it, or makes sure that it can be made.
    ///
    /// # Errors
    /// When the folder cannot be made or written to.
    pub fn take(folder: &Path) -> Result<ProbeFile, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
        let path = folder.join(".probes.lock");
        let lock = plain_file::append(&path).map_err(StoreError::io("write", &path))?;
        Ok(ProbeFile { folder: folder.to_owned(), lock })
    }

    /// Stores probes, each in the place of an older one of the same endpoint; what cannot be read makes room for them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, found: &[Probe]) -> Result<PathBuf, StoreError> {
        let path = place(&self.folder);
        self.lock.lock().map_err(StoreError::io("lock", &path))?;
        let mut probes = read_probes(&self.folder).unwrap_or_default();
        probes.retain(|known| found.iter().all(|probe| probe.endpoint != known.endpoint));
        probes.extend(found.iter().cloned());
        let stored = Stored { format: FORMAT.to_owned(), probes };
        let written = atomic::write(&path, |out| out.write_all(&seal::file(&stored)?));
        let _ = self.lock.unlock();
        written.map_err(StoreError::io("write", &path))?;
        Ok(path)
    }
}
