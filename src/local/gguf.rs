//! The container of GGUF files: metadata and tensors
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).
//!
//! Every length that a file states is held against what is left of the file before anything is allocated for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::local::blocks::Kind;
use crate::local::load::LoadError;
use crate::local::weights::{Raw, Source};
use crate::util::given_file;

/// Deepest nesting of lists in metadata.
const MAX_DEPTH: usize = 4;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;

/// One value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meta {
    /// A whole number.
    Whole(i128),
    /// A float.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Meta>),
}

impl Meta {
    /// A number, of either kind.
    pub fn number(&self) -> Option<f64> {
        match self {
            Meta::Whole(whole) => Some(*whole as f64),
            Meta::Float(float) => Some(*float),
            Meta::Flag(_) | Meta::Text(_) | Meta::List(_) => None,
        }
    }

    /// A whole number that isn't negative.
    pub fn whole(&self) -> Option<usize> {
        if let Meta::Whole(whole) = self { usize::try_from(*whole).ok() } else { None }
    }

    /// Text.
    pub fn text(&self) -> Option<&str> {
        if let Meta::Text(text) = self { Some(text) } else { None }
    }

    /// True or false.
    pub fn flag(&self) -> Option<bool> {
        if let Meta::Flag(flag) = self { Some(*flag) } else { None }
    }

    /// A list.
    pub fn list(&self) -> Option<&[Meta]> {
        if let Meta::List(list) = self { Some(list) } else { None }
    }
}

/// A GGUF file.
#[derive(Debug)]
pub(super) struct Gguf {
    path: PathBuf,
    file: File,
    /// What it says of itself.
    pub metadata: BTreeMap<String, Meta>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    shape: Vec<usize>,
    start: u64,
    bytes: u64,
}

/// Reads numbers, and knows how much is left.
struct Reader<'a> {
    from: BufReader<&'a File>,
    path: &'a Path,
    total: u64,
    at: u64,
}

impl Reader<'_> {
    fn cut_off(&self) -> LoadError {
        let what =
            format!("it ends at byte {}, in the middle of its header: it is cut off; download it again", self.total);
        LoadError::damaged(self.path, what)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), LoadError> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.cut_off(),
            _ => LoadError::io("read", self.path)(error),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A count of things of which each takes at least `least` bytes.
    fn count(&mut self, least: u64) -> Result<usize, LoadError> {
        let count = self.u64()?;
        if count.checked_mul(least).is_none_or(|bytes| bytes > self.total.saturating_sub(self.at)) {
            return Err(self.cut_off());
        }
        usize::try_from(count).map_err(|_| self.cut_off())
    }

    fn text(&mut self) -> Result<String, LoadError> {
        let mut bytes = vec![0; self.count(1)?];
        self.fill(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Meta, LoadError> {
        Ok(match kind {
            0 => Meta::Whole(self.bytes().map(u8::from_le_bytes)?.into()),
            1 => Meta::Whole(self.bytes().map(i8::from_le_bytes)?.into()),
            2 => Meta::Whole(self.bytes().map(u16::from_le_bytes)?.into()),
            3 => Meta::Whole(self.bytes().map(i16::from_le_bytes)?.into()),
            4 => Meta::Whole(self.u32()?.into()),
            5 => Meta::Whole(self.bytes().map(i32::from_le_bytes)?.into()),
            6 => Meta::Float(self.bytes().map(f32::from_le_bytes)?.into()),
            7 => Meta::Flag(self.bytes::<1>()?[0] != 0),
            8 => Meta::Text(self.text()?),
            9 if depth < MAX_DEPTH => {
                let of = self.u32()?;
                let least = match of {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    9 => 12,
                    _ => 8,
                };
                let count = self.count(least)?;
                // A value is larger here than in the file: the list grows as they are read.
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(of, depth + 1)?);
                }
                Meta::List(list)
            }
            10 => Meta::Whole(self.u64()?.into()),
            11 => Meta::Whole(self.bytes().map(i64::from_le_bytes)?.into()),
            12 => Meta::Float(self.bytes().map(f64::from_le_bytes)?),
            _ => return Err(LoadError::damaged(self.path, format!("its metadata has a value of type {kind}"))),
        })
    }
}

impl Gguf {
    /// Reads metadata and the list of tensors.
    ///
    /// # Errors
    /// When it is no GGUF file, is cut off, or holds a tensor of a type that cannot be read.
    pub fn open(path: &Path) -> Result<Gguf, LoadError> {
        let file = given_file::open(path).map_err(LoadError::io("open", path))?;
        let total = file.metadata().map_err(LoadError::io("read", path))?.len();
        let mut reader = Reader { from: BufReader::with_capacity(1 << 16, &file), path, total, at: 0 };
        if total < 4 || reader.bytes()? != *b"GGUF" {
            return Err(LoadError::NoWeights { path: path.to_owned() });
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(LoadError::Unsupported {
                path: path.to_owned(),
                what: format!("GGUF version {version}"),
                works: "versions 2 and 3, little-endian".to_owned(),
            });
        }
        let tensor_count = reader.count(24)?;
        let value_count = reader.count(13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = reader.text()?;
            let kind = reader.u32()?;
            metadata.insert(key, reader.value(kind, 0)?);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let (name, entry) = tensor(&mut reader)?;
            if tensors.insert(name.clone(), entry).is_some() {
                return Err(LoadError::tensor(path, &name, "is there twice"));
            }
        }
        let alignment = metadata.get("general.alignment").map_or(Some(32), Meta::whole);
        let Some(alignment) = alignment.filter(|alignment| (1..=1 << 20).contains(alignment)) else {
            return Err(LoadError::damaged(path, "its `general.alignment` makes no sense"));
        };
        let data = reader.at.next_multiple_of(alignment as u64);
        for (name, entry) in &mut tensors {
            let end = entry.start.checked_add(data).and_then(|start| start.checked_add(entry.bytes));
            if end.is_none_or(|end| end > total) {
                let what = format!("lies beyond the file's {total} bytes: the file is cut off; download it again");
                return Err(LoadError::tensor(path, name, what));
            }
            entry.start += data;
        }
        Ok(Gguf { path: path.to_owned(), file, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn tensor(reader: &mut Reader<'_>) -> Result<(String, Entry), LoadError> {
    let name = reader.text()?;
    let dimensions = reader.u32()?;
    if dimensions > MAX_DIMENSIONS {
        return Err(LoadError::tensor(reader.path, &name, format!("has {dimensions} dimensions")));
    }
    let sizes = (0..dimensions).map(|_| reader.u64()).collect::<Result<Vec<u64>, _>>()?;
    let number = reader.u32()?;
    let start = reader.u64()?;
    let Some(kind) = Kind::from_number(number) else {
        return Err(LoadError::Unsupported {
            path: reader.path.to_owned(),
            what: format!("tensor `{name}` as {}", type_name(number)),
            works: Kind::names(),
        });
    };
    let elements = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let shape: Option<Vec<usize>> = sizes.iter().rev().map(|size| usize::try_from(*size).ok()).collect();
    let block = kind.block_elements() as u64;
    let (Some(elements), Some(shape)) = (elements.filter(|elements| elements.is_multiple_of(block)), shape) else {
        let what = format!("has sizes {sizes:?}, which {} cannot have", kind.name());
        return Err(LoadError::tensor(reader.path, &name, what));
    };
    let Some(bytes) = (elements / block).checked_mul(kind.block_bytes() as u64) else {
        return Err(LoadError::tensor(reader.path, &name, format!("has absurd sizes {sizes:?}")));
    };
    Ok((name, Entry { kind, shape, start, bytes }))
}

/// What ggml calls the types that cannot be read here.
fn type_name(number: u32) -> String {
    let name = match number {
        9 => "q8_1",
        15 => "q8_k",
        16 => "iq2_xxs",
        17 => "iq2_xs",
        18 => "iq3_xxs",
        19 => "iq1_s",
        20 => "iq4_nl",
        21 => "iq3_s",
        22 => "iq2_s",
        23 => "iq4_xs",
        24 => "i8",
        25 => "i16",
        26 => "i32",
        27 => "i64",
        28 => "f64",
        29 => "iq1_m",
        34 => "tq1_0",
        35 => "tq2_0",
        39 => "mxfp4",
        _ => return format!("ggml type {number}"),
    };
    name.to_owned()
}

impl Source for Gguf {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|entry| entry.shape.clone())
    }

    fn path_of(&self, _: &str) -> PathBuf {
        self.path.clone()
    }

    fn read(&mut self, name: &str) -> Result<Raw, LoadError> {
        let Some(entry) = self.tensors.get(name) else {
            return Err(LoadError::tensor(&self.path, name, "is missing"));
        };
        let mut bytes = vec![0; entry.bytes as usize];
        self.file.seek(SeekFrom::Start(entry.start)).map_err(LoadError::io("read", &self.path))?;
        self.file.read_exact(&mut bytes).map_err(LoadError::io("read", &self.path))?;
        Ok(Raw { kind: entry.kind, bytes })
    }
}
