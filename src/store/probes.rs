//! What probes of a suite's endpoints found: `reports/<suite>/probes.json`, beside its runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::{StoreError, check_format};
use crate::types::Probe;
use crate::util::atomic;

/// The version of `probes.json`.
const FORMAT: &str = "evalctl-probes/1";

#[derive(Serialize, Deserialize)]
struct File {
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
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    let what = |error: serde_json::Error| {
        let what = format!("it is no file of probes ({error}): delete it, and probe again");
        StoreError::Format { path: path.clone(), what }
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(what)?;
    check_format(&path, value["format"].as_str().unwrap_or("none"), FORMAT)?;
    serde_json::from_value::<File>(value).map_err(what).map(|file| file.probes)
}

/// Stores probes in a folder, each in the place of an older one of the same endpoint.
///
/// # Errors
/// When the file cannot be read or written.
pub fn write_probes(folder: &Path, found: &[Probe]) -> Result<PathBuf, StoreError> {
    let mut probes = read_probes(folder)?;
    probes.retain(|known| found.iter().all(|probe| probe.endpoint != known.endpoint));
    probes.extend(found.iter().cloned());
    let path = place(folder);
    fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
    atomic::write(&path, |out| {
        serde_json::to_writer_pretty(&mut *out, &File { format: FORMAT.to_owned(), probes })?;
        out.write_all(b"\n")
    })
    .map_err(StoreError::io("write", &path))?;
    Ok(path)
}
