//! From a row to a sample.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::dataset::jsonl;
use crate::suite::spec::DatasetSpec;
use crate::types::{Fault, Place, Row, Sample};
use crate::util::digest::Digest;
use crate::util::field;
use crate::util::text::{did_you_mean, shorten};

/// The longest id, in characters.
pub const MAX_ID_CHARS: usize = 4096;

/// A field by its name, and whether the user named it or it is the default.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    is_named: bool,
}

impl Named {
    fn new(name: Option<&String>, default: &str) -> Named {
        Named { name: name.map_or(default, String::as_str).to_owned(), is_named: name.is_some() }
    }
}

/// What the fields of a row mean.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    id: Named,
    input: Named,
    target: Named,
    cluster: Option<String>,
    tags: Vec<String>,
}

/// What is wrong with a row's id.
#[derive(Debug)]
pub(super) enum IdFault {
    /// The named field is not there.
    Missing,
    Null,
    NoScalar(&'static str),
    Empty,
    TooLong(usize),
}

/// A sample, as far as the row makes one. It is handed out only when nothing is wrong with it.
#[derive(Debug)]
pub(super) struct Draft {
    pub sample: Sample,
    /// The digest of its id.
    pub id: Result<Digest, IdFault>,
    /// Whether the id is made from the input, or else the whole row, because the row has none.
    pub is_id_made: bool,
    /// What the cluster's field holds where it is no text: `None` when it is not there.
    pub cluster: Result<(), Option<&'static str>>,
}

impl Fields {
    pub fn new(spec: &DatasetSpec) -> Fields {
        Fields {
            id: Named::new(spec.id.as_ref(), "id"),
            input: Named::new(spec.input.as_ref(), "input"),
            target: Named::new(spec.target.as_ref(), "target"),
            cluster: spec.cluster.clone(),
            tags: spec.tags.clone(),
        }
    }

    /// The fields that the user named, with the key of the suite that names each.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = |named: &'static str, field: &'_ Named| field.is_named.then_some(named);
        [("dataset.id", &self.id), ("dataset.input", &self.input), ("dataset.target", &self.target)]
            .into_iter()
            .filter_map(move |(key, field)| named(key, field).map(|key| (key, &*field.name)))
            .chain(self.cluster.iter().map(|name| ("dataset.cluster", &**name)))
            .chain(self.tags.iter().map(|name| ("dataset.tags", &**name)))
    }

    /// Makes what can be made of a row. `is_text` is true where an empty cell is the only way to say "nothing".
    pub fn draft(&self, row: Row, is_text: bool) -> Draft {
        let (id, is_id_made) = self.id(&row);
        let is_nothing = |value: &Value| value.is_null() || is_text && value.as_str() == Some("");
        let cluster = match &self.cluster {
            None => Ok(None),
            Some(name) => match field::get(&row, name) {
                None => Err(None),
                Some(value) => match field::text(value) {
                    Some(text) if text.is_empty() => Err(Some("an empty text")),
                    Some(text) => Ok(Some(text)),
                    None => Err(Some(jsonl::kind(value))),
                },
            },
        };
        let tags: BTreeMap<String, String> = self
            .tags
            .iter()
            .filter_map(|name| {
                let text = field::get(&row, name).and_then(field::text)?;
                (!text.is_empty()).then(|| (name.clone(), text))
            })
            .collect();
        let (id, digest) = match id {
            Ok(id) => {
                let digest = Digest::of(id.as_bytes());
                (id, Ok(digest))
            }
            Err(fault) => (String::new(), Err(fault)),
        };
        let (cluster, cluster_fault) = match cluster {
            Ok(cluster) => (cluster, Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let target = field::get(&row, &self.target.name).filter(|value| !is_nothing(value)).cloned();
        let sample = Sample { id: id.into(), row: Arc::new(row), target, tags, cluster: cluster.map(Arc::from) };
        Draft { sample, id: digest, is_id_made, cluster: cluster_fault }
    }

    fn id(&self, row: &Row) -> (Result<String, IdFault>, bool) {
        let value = match field::get(row, &self.id.name) {
            None | Some(Value::Null) if !self.id.is_named => return (Ok(self.made_id(row)), true),
            None => return (Err(IdFault::Missing), false),
            Some(value) => value,
        };
        let id = match field::text(value) {
            None if value.is_null() => Err(IdFault::Null),
            None => Err(IdFault::NoScalar(jsonl::kind(value))),
            Some(id) if id.is_empty() => Err(IdFault::Empty),
            Some(id) => match id.chars().count() {
                chars if chars > MAX_ID_CHARS => Err(IdFault::TooLong(chars)),
                _ => Ok(id),
            },
        };
        (id, false)
    }

    fn made_id(&self, row: &Row) -> String {
        let bytes = match field::get(row, &self.input.name) {
            Some(input) => serde_json::to_vec(input),
            None => serde_json::to_vec(row),
        };
        let digest = Digest::of(&bytes.expect("JSON that was read can be written")).to_string();
        format!("d-{}", &digest[..16])
    }

    /// The fault of a row without a good id.
    pub fn id_fault(&self, fault: &IdFault, file: &Path, line: u64, row: &Row) -> Fault {
        let name = shorten(&self.id.name, 100);
        let message = match fault {
            IdFault::Missing => format!("the row has no field `{name}`, which is its id"),
            IdFault::Null => format!("`{name}`, the id of the row, is null"),
            IdFault::NoScalar(kind) => format!("`{name}`, the id of the row, is {kind}"),
            IdFault::Empty => format!("`{name}`, the id of the row, is empty"),
            IdFault::TooLong(chars) => {
                format!("`{name}`, the id of the row, has {chars} characters; {MAX_ID_CHARS} are the most")
            }
        };
        let mut found = Fault::new(Place::line(file, line), message);
        found.help = match fault {
            IdFault::Missing => did_you_mean(&self.id.name, row.keys().map(String::as_str)),
            IdFault::NoScalar(_) => Some("an id is a text, a number or a truth value".to_owned()),
            IdFault::Null | IdFault::Empty | IdFault::TooLong(_) => None,
        };
        found
    }

    /// The fault of a row that names no cluster; `kind` is what it holds instead, if anything.
    pub fn cluster_fault(&self, kind: Option<&'static str>, file: &Path, line: u64) -> Fault {
        let name = shorten(self.cluster.as_deref().unwrap_or_default(), 100);
        let message = match kind {
            None => format!("the row has no field `{name}`, which names its cluster"),
            Some(kind) => format!("`{name}`, the cluster of the row, is {kind}"),
        };
        Fault::new(Place::line(file, line), message)
            .help("a row that shares its source with no other gets a cluster of its own")
    }
}
