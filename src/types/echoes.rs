//! What services say of who answered.

use std::collections::{BTreeMap, BTreeSet};

/// The built-in metric of answers that name another model than the one asked for.
pub const OTHER_MODEL_RATE: &str = "other_model_rate";

/// Whether a service tier is the usual one, by the names that services have for it.
pub fn is_standard_tier(tier: &str) -> bool {
    ["default", "standard", "on_demand", "auto"].contains(&tier.to_ascii_lowercase().as_str())
}

/// What one answer says of who gave it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Echo {
    /// Whether the candidate asks for a model by a name that the service has given it.
    pub is_asked_by_name: bool,
    /// The model's name as the service gave it back.
    pub model: Option<String>,
    /// Whether that is another model than the one asked for; `None` when no model is named, or none was asked for.
    pub is_other: Option<bool>,
    /// The build that answered.
    pub fingerprint: Option<String>,
    /// The service tier that answered.
    pub tier: Option<String>,
    /// A word for why the answer ended that means nothing to us.
    pub stop_word: Option<String>,
    /// Why counts of tokens are not believed.
    pub doubt: Option<String>,
    /// Whether it held a key, which was taken out.
    pub held_key: bool,
}

/// What the answers of a candidate say of who gave them: names, with the number of answers that give them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Echoes {
    /// Whether a model is asked for by name.
    pub is_asked_by_name: bool,
    /// Models.
    pub models: BTreeMap<String, u64>,
    /// Those of them that are not the one asked for.
    pub other_models: BTreeSet<String>,
    /// Builds.
    pub fingerprints: BTreeMap<String, u64>,
    /// Service tiers.
    pub tiers: BTreeMap<String, u64>,
    /// Words for why answers ended that mean nothing to us.
    pub stop_words: BTreeMap<String, u64>,
    /// Answers of which counts are not believed.
    pub doubted: u64,
    /// Why not, of the first of the reasons in alphabetical order: it does not depend on which answer came first.
    pub doubt: Option<String>,
    /// Answers that held a key, which was taken out.
    pub held_key: u64,
}

impl Echoes {
    /// Adds what an answer says.
    pub fn add(&mut self, echo: Echo) {
        let Echo { is_asked_by_name, model, is_other, fingerprint, tier, stop_word, doubt, held_key } = echo;
        self.is_asked_by_name |= is_asked_by_name;
        self.held_key += u64::from(held_key);
        if let (Some(model), Some(true)) = (&model, is_other) {
            self.other_models.insert(model.clone());
        }
        for (counts, name) in [
            (&mut self.models, model),
            (&mut self.fingerprints, fingerprint),
            (&mut self.tiers, tier),
            (&mut self.stop_words, stop_word),
        ] {
            if let Some(name) = name {
                *counts.entry(name).or_default() += 1;
            }
        }
        if let Some(doubt) = doubt {
            self.doubted += 1;
            if self.doubt.as_ref().is_none_or(|known| doubt < *known) {
                self.doubt = Some(doubt);
            }
        }
    }
}
