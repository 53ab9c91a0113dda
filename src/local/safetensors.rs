//! Tensors out of `.safetensors` files: one, or shards with an index.
//!
//! A file is 8 bytes of length, a header in JSON, and the numbers
//! (<https://huggingface.co/docs/safetensors>). It is read here rather than by the `safetensors` package, which needs a
//! whole file in memory, or mapped, to give one tensor.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::local::blocks::Kind;
use crate::local::load::{LoadError, MAX_TEXT};
use crate::local::weights::{Raw, Source};
use crate::util::given_file;

/// Longest header that is read, as in the `safetensors` package.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The tensors of a folder.
#[derive(Debug)]
pub(super) struct Safetensors {
    files: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    kind: String,
    shape: Vec<usize>,
    start: u64,
    bytes: u64,
}

impl Safetensors {
    /// Opens the files of a folder: those that the index names, else `model.safetensors`, else the only one.
    ///
    /// # Errors
    /// When there is none, a shard is missing, or a header doesn't fit its file.
    pub fn open(folder: &Path) -> Result<Safetensors, LoadError> {
        let mut found = Safetensors { files: Vec::new(), tensors: BTreeMap::new() };
        let index = folder.join("model.safetensors.index.json");
        if !index.exists() {
            let path = single(folder)?;
            found.add(&path, None)?;
            return Ok(found);
        }
        let text = given_file::read_text(&index, MAX_TEXT).map_err(LoadError::io("read", &index))?;
        let json: Value = serde_json::from_str(&text)
            .map_err(|error| LoadError::damaged(&index, format!("it is no JSON: {error}")))?;
        let Some(map) = json.get("weight_map").and_then(Value::as_object) else {
            return Err(LoadError::damaged(&index, "it has no `weight_map`"));
        };
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, shard) in map {
            let Some(shard) = shard.as_str().filter(|shard| !shard.contains(['/', '\\'])) else {
                return Err(LoadError::damaged(&index, format!("it names no file beside it for `{tensor}`")));
            };
            shards.entry(shard).or_default().push(tensor);
        }
        for (shard, tensors) in shards {
            let path = folder.join(shard);
            if !path.exists() {
                let need = format!("`{}` names it for {} tensors", file_name(&index), tensors.len());
                return Err(LoadError::Missing { path, need });
            }
            found.add(&path, Some(&tensors))?;
        }
        Ok(found)
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    fn add(&mut self, path: &Path, wanted: Option<&[&str]>) -> Result<(), LoadError> {
        let damaged = |what: String| LoadError::damaged(path, what);
        let mut file = given_file::open(path).map_err(LoadError::io("open", path))?;
        let total = file.metadata().map_err(LoadError::io("read", path))?.len();
        let mut length = [0; 8];
        if total < 8 {
            return Err(damaged(format!("it has {total} bytes, too few for a safetensors file")));
        }
        file.read_exact(&mut length).map_err(LoadError::io("read", path))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES || length > total - 8 {
            return Err(damaged(format!(
                "its header should have {length} bytes, and the file has {total}: it is cut off, or no safetensors file"
            )));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(LoadError::io("read", path))?;
        let header: HashMap<String, Value> =
            serde_json::from_slice(&header).map_err(|error| damaged(format!("its header is no JSON: {error}")))?;
        let room = total - 8 - length;
        for (name, value) in header {
            if name == "__metadata__" || wanted.is_some_and(|wanted| !wanted.contains(&name.as_str())) {
                continue;
            }
            let entry = entry(&value, self.files.len(), 8 + length)
                .ok_or_else(|| LoadError::tensor(path, &name, "is not described as it should be"))?;
            if entry.start + entry.bytes > 8 + length + room {
                let end = entry.start + entry.bytes;
                return Err(LoadError::tensor(
                    path,
                    &name,
                    format!("should end at byte {end}, and the file has {total}: it is cut off; download it again"),
                ));
            }
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(LoadError::tensor(path, &name, "is there twice"));
            }
        }
        if let Some(name) = wanted.into_iter().flatten().find(|name| !self.tensors.contains_key(**name)) {
            return Err(LoadError::tensor(path, name, "is not in it, though the index says so"));
        }
        self.files.push((path.to_owned(), file));
        Ok(())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The one file of a folder that has no index.
fn single(folder: &Path) -> Result<PathBuf, LoadError> {
    let usual = folder.join("model.safetensors");
    if usual.exists() {
        return Ok(usual);
    }
    let entries = std::fs::read_dir(folder).map_err(LoadError::io("read", folder))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(LoadError::io("read", folder))?.path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            found.push(path);
        }
    }
    found.sort();
    match found.as_slice() {
        [] => Err(LoadError::NoWeights { path: folder.to_owned() }),
        [one] => Ok(one.clone()),
        many => Err(LoadError::Missing {
            path: folder.join("model.safetensors.index.json"),
            need: format!("it says which of the {} `.safetensors` files holds what", many.len()),
        }),
    }
}

fn entry(value: &Value, file: usize, data: u64) -> Option<Entry> {
    let kind = value.get("dtype")?.as_str()?.to_owned();
    let shape = value.get("shape")?.as_array()?;
    let shape = shape.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect::<Option<Vec<usize>>>()?;
    let offsets = value.get("data_offsets")?.as_array()?;
    let [start, end] = offsets.as_slice() else { return None };
    let (start, end) = (start.as_u64()?, end.as_u64()?);
    let bytes = end.checked_sub(start)?;
    let start = data.checked_add(start)?;
    start.checked_add(bytes)?;
    Some(Entry { file, kind, shape, start, bytes })
}

impl Source for Safetensors {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|entry| entry.shape.clone())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        let file = self.tensors.get(name).map_or(0, |entry| entry.file);
        self.files.get(file).map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn read(&mut self, name: &str) -> Result<Raw, LoadError> {
        let path = self.path_of(name);
        let Some(entry) = self.tensors.get(name) else {
            return Err(LoadError::tensor(&path, name, "is missing"));
        };
        let kind = match entry.kind.as_str() {
            "F32" => Kind::F32,
            "F16" => Kind::F16,
            "BF16" => Kind::Bf16,
            other => {
                let what = format!("tensor `{name}` as {other}");
                return Err(LoadError::Unsupported { path, what, works: "f32, f16 and bf16".to_owned() });
            }
        };
        let elements = entry.shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size as u64));
        if elements.and_then(|elements| elements.checked_mul(kind.block_bytes() as u64)) != Some(entry.bytes) {
            let what = format!("has {} bytes, which is not what shape {:?} takes", entry.bytes, entry.shape);
            return Err(LoadError::tensor(&path, name, what));
        }
        let (start, mut bytes) = (entry.start, vec![0; entry.bytes as usize]);
        let file = &mut self.files[entry.file].1;
        file.seek(SeekFrom::Start(start)).map_err(LoadError::io("read", &path))?;
        file.read_exact(&mut bytes).map_err(LoadError::io("read", &path))?;
        Ok(Raw { kind, bytes })
    }
}
