//! What is kept in memory of every sample: what scoring needs, and digests of what is asked.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::commands::plan::join_text;
use crate::scorer::Logged;
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
    cluster_codes: HashMap<Arc<str>, u32>,
    asks: Vec<Ask>,
    /// For each distinct way of asking, the digest of each sample's question.
    asked: Vec<Vec<Digest>>,
    /// For each candidate, its way of asking.
    ask_of: Vec<usize>,
}

impl Cases {
    /// No samples yet; `asks` has one entry per candidate. `keeps_logged`: whether a scorer needs the logged answers.
    pub fn new(asks: Vec<Ask>, has_clusters: bool, keeps_logged: bool) -> Cases {
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
            clusters: has_clusters.then(Vec::new),
            logged: keeps_logged.then(Vec::new),
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
