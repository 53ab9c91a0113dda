//! What is kept in memory of every sample: what scoring needs, and digests of what is asked.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::commands::plan::{join_text, own_schema};
use crate::scorer::{Logged, OwnSchema};
use crate::types::Sample;
use crate::util::digest::{Digest, Hasher};

/// What of a sample decides a candidate's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The rendered prompt.
    Prompt,
    /// The rendered prompt and the whole row.
    PromptAndRow,
    /// One field, by which a recorded answer is looked up.
    Field(String),
}

/// The samples of a run, in the order of the dataset.
#[derive(Debug)]
pub struct Cases {
    /// Ids.
    pub ids: Vec<Arc<str>>,
    /// Targets.
    pub targets: Vec<Option<Value>>,
    /// Clusters, as codes in the order of their first sample; `None` when the suite names no cluster.
    pub clusters: Option<Vec<u32>>,
    /// Of lines of a capture, what was answered; `None` when no scorer looks at it.
    logged: Option<Vec<Option<Logged>>>,
    /// Of the same, the schemas that requests ask for themselves; `None` when no scorer looks at them.
    schemas: Option<OwnSchemas>,
    cluster_codes: HashMap<Arc<str>, u32>,
    asks: Vec<Ask>,
    /// For each distinct way of asking, the digest of each sample's question.
    asked: Vec<Vec<Digest>>,
    /// For each candidate, its way of asking.
    ask_of: Vec<usize>,
}

/// What of the samples is kept beyond what every run needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keeps {
    /// The samples belong to clusters.
    pub clusters: bool,
    /// A scorer needs the logged answers.
    pub logged: bool,
    /// A scorer needs the schemas that logged requests ask for.
    pub schemas: bool,
}

/// Schemas of requests: each distinct one once.
#[derive(Debug, Default)]
struct OwnSchemas {
    distinct: Vec<OwnSchema>,
    known: HashMap<Digest, u32>,
    of_samples: Vec<Option<u32>>,
}

impl OwnSchemas {
    fn push(&mut self, schema: Option<&Value>) {
        let number = schema.map(|schema| {
            let text = schema.to_string();
            *self.known.entry(Digest::of(text.as_bytes())).or_insert_with(|| {
                self.distinct.push(OwnSchema::new(schema.clone()));
                u32::try_from(self.distinct.len() - 1).expect("fewer schemas than 2^32")
            })
        });
        self.of_samples.push(number);
    }
}

impl Cases {
    /// No samples yet; `asks` has one entry per candidate.
    pub fn new(asks: Vec<Ask>, keeps: Keeps) -> Cases {
        let mut distinct: Vec<Ask> = Vec::new();
        let ask_of = asks
            .into_iter()
            .map(|ask| {
                distinct.iter().position(|known| *known == ask).unwrap_or_else(|| {
                    distinct.push(ask);
                    distinct.len() - 1
                })
            })
            .collect();
        Cases {
            ids: Vec::new(),
            targets: Vec::new(),
            clusters: keeps.clusters.then(Vec::new),
            logged: keeps.logged.then(Vec::new),
            schemas: keeps.schemas.then(OwnSchemas::default),
            cluster_codes: HashMap::new(),
            asked: distinct.iter().map(|_| Vec::new()).collect(),
            asks: distinct,
            ask_of,
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds a sample; `prompt` gives the digest of its rendered prompt.
    pub fn push(&mut self, sample: &Sample, prompt: impl Fn() -> Digest) {
        self.ids.push(Arc::clone(&sample.id));
        self.targets.push(sample.target.clone());
        if let Some(logged) = &mut self.logged {
            logged.push(Logged::of(&sample.row));
        }
        if let Some(schemas) = &mut self.schemas {
            schemas.push(own_schema(&sample.row));
        }
        if let (Some(clusters), Some(cluster)) = (&mut self.clusters, &sample.cluster) {
            let next = u32::try_from(self.cluster_codes.len()).expect("fewer clusters than 2^32");
            clusters.push(*self.cluster_codes.entry(Arc::clone(cluster)).or_insert(next));
        }
        for (ask, digests) in self.asks.iter().zip(&mut self.asked) {
            digests.push(match ask {
                Ask::Prompt => prompt(),
                Ask::Field(on) => Digest::of(join_text(&sample.row, on).unwrap_or_default().as_bytes()),
                Ask::PromptAndRow => {
                    let row = serde_json::to_vec(&*sample.row).expect("a row has string keys");
                    Hasher::default().part(&prompt().0).part(&row).finish()
                }
            });
        }
    }

    /// Keeps only the first samples.
    pub fn truncate(&mut self, samples: usize) {
        self.ids.truncate(samples);
        self.targets.truncate(samples);
        if let Some(logged) = &mut self.logged {
            logged.truncate(samples);
        }
        if let Some(schemas) = &mut self.schemas {
            schemas.of_samples.truncate(samples);
        }
        if let Some(clusters) = &mut self.clusters {
            clusters.truncate(samples);
        }
        for digests in &mut self.asked {
            digests.truncate(samples);
        }
        self.cluster_codes = HashMap::new();
    }

    /// What was answered when a sample's request was logged, where that is kept.
    pub fn logged(&self, sample: usize) -> Option<&Logged> {
        self.logged.as_ref()?.get(sample)?.as_ref()
    }

    /// The schema that a sample's request asks for itself, where that is kept.
    pub fn schema(&self, sample: usize) -> Option<&OwnSchema> {
        let schemas = self.schemas.as_ref()?;
        schemas.distinct.get((*schemas.of_samples.get(sample)?)? as usize)
    }

    /// Digest of a task: of what is asked, of whom, and which repeat it is.
    pub fn digest(&self, sample: usize, candidate: usize, identity: Digest, repeat: u32) -> Digest {
        let asked = self.asked[self.ask_of[candidate]][sample];
        Hasher::default().part(&identity.0).part(&asked.0).part(&repeat.to_le_bytes()).finish()
    }

    /// Finds samples by id.
    pub fn ordinals(&self) -> HashMap<&str, u32> {
        let numbered = self.ids.iter().enumerate();
        numbered.map(|(ordinal, id)| (&**id, u32::try_from(ordinal).expect("fewer samples than 2^32"))).collect()
    }
}
