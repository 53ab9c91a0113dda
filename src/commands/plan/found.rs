//! What the pass over the golden set found beyond faults of single rows: prompts that are all the same, recorded answers
//! that are joined, targets that were tried on the scorers.

use std::sync::Arc;

use serde_json::Value;

use crate::commands::plan::joins::{Hits, JoinFacts};
use crate::commands::plan::trial::{Trial, TrialFault};
use crate::commands::plan::{Asked, Asking, Draft, Work};
use crate::suite::{Prompt, Step, Suite, at};
use crate::types::{Message, Sample};
use crate::util::digest::Digest;
use crate::util::text::shorten;

/// What a plan tells those who ask before a run.
#[derive(Debug, Default)]
pub struct Found {
    /// For each candidate, how its recorded answers are joined; `None` for those that are asked.
    pub joins: Vec<Option<JoinFacts>>,
    /// The id and the prompt of the first sample; `None` when the suite has no prompt.
    pub prompt: Option<(Arc<str>, Arc<[Message]>)>,
    /// What is odd, in words.
    pub notes: Vec<String>,
}

/// The prompts of the rows so far.
#[derive(Default)]
pub(super) struct Prompts {
    first: Option<(Arc<str>, Arc<[Message]>)>,
    digest: Option<Digest>,
    is_varied: bool,
    rows: u64,
}

impl Prompts {
    /// Compares a prompt with the first, as long as none was different.
    pub fn add(&mut self, sample: &Sample, asked: &Asked, asking: &Asking) {
        self.rows += 1;
        if self.is_varied || asking.prompt.is_none() {
            return;
        }
        let digest = asking.digest(asked);
        match self.digest {
            None => {
                self.digest = Some(digest);
                self.first = Some((Arc::clone(&sample.id), Arc::clone(asked.messages())));
            }
            Some(first) => self.is_varied = first != digest,
        }
    }
}

impl Work<'_> {
    /// Judges what was found: what makes a run pointless is a fault, the rest are notes.
    pub(super) fn weigh(
        &mut self,
        suite: &Suite,
        (asking, drafts): (&Asking, &[Draft]),
        (trial, prompts): (Option<Trial<'_>>, Prompts),
        fields: &[String],
    ) -> Found {
        let mut notes = Vec::new();
        let pointers = Trial::pointers(&suite.scorers);
        let texts: Vec<String> = pointers.iter().map(|pointer| pointer.pointer.clone()).collect();
        let mut joins = Vec::new();
        let mut hits: Vec<(String, Vec<Hits>)> = Vec::new();
        for draft in drafts {
            let Some(join) = &draft.join else {
                joins.push(None);
                continue;
            };
            let weighed = join.weigh(fields, &texts);
            for fault in weighed.faults {
                let mut path = at!["candidates", draft.position, "recorded"].to_vec();
                path.extend(fault.path.iter().map(|key| Step::Key(key)));
                self.fault_help(&path, fault.message, fault.help);
            }
            hits.push((draft.spec.id.clone(), weighed.hits));
            joins.push(Some(weighed.facts));
        }
        if let Some(trial) = trial {
            let path = suite.output.as_ref().map_or("", |output| output.schema.as_str());
            let schema: Option<(&Value, &str)> = asking.schema.as_deref().map(|schema| (schema, path));
            let (faults, found) = trial.weigh(schema, &pointers, &hits);
            for TrialFault { scorer, path, message, help } in faults {
                let kind = suite.scorers.get(scorer).map_or("", |spec| spec.kind());
                let mut whole = at!["scorers", scorer, kind].to_vec();
                whole.extend(path.iter().map(|key| Step::Key(key)));
                self.fault_help(&whole, message, help);
            }
            notes.extend(found);
        }
        if drafts.iter().any(|draft| draft.is_asked()) {
            let is_same = prompts.rows > 1 && !prompts.is_varied && prompts.first.is_some();
            notes.extend(self.plain_templates(suite, asking, fields));
            if is_same {
                notes.push(format!("all {} rows render to the same prompt", prompts.rows));
            }
        }
        Found { joins, prompt: prompts.first, notes }
    }

    /// Templates that were meant to take something from a row or a file, and are only text. Where the whole prompt takes
    /// nothing, that is a fault.
    fn plain_templates(&mut self, suite: &Suite, asking: &Asking, fields: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        let Some(spec) = &suite.prompt else { return notes };
        let is_constant = asking.prompt.iter().all(|prompt: &Prompt| prompt.variables().is_empty());
        for (key, text) in [("system", &spec.system), ("user", &spec.user)] {
            let Some(text) = text else { continue };
            let (message, help) = if let Some(file) = text.trim().strip_prefix("file://") {
                let message =
                    format!("`prompt.{key}` is the text `{}` itself: no file is read", shorten(text.trim(), 60));
                (message, format!("put the text of `{}` here, as in `{key}: |`", shorten(file, 60)))
            } else if let Some(name) = single_braces(text).find(|name| fields.iter().any(|field| field == name)) {
                let message = format!("`{{{name}}}` in `prompt.{key}` is plain text, not the field `{name}`");
                (message, format!("write `{{{{ {name} }}}}`, with two braces"))
            } else {
                continue;
            };
            if is_constant {
                self.fault_help(&at!["prompt", key], message, Some(help));
            } else {
                notes.push(format!("{message}: {help}"));
            }
        }
        notes
    }
}

/// The names that stand in single braces, as Python's `format` has them.
fn single_braces(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    text.match_indices('{').filter_map(move |(start, _)| {
        let inside = &text[start + 1..];
        let inside = &inside[..inside.find('}')?];
        let is_double = text[..start].ends_with('{');
        Some(inside.trim()).filter(|name| !is_double && is_name(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_single_braces() {
        let text = "{input} {{ body }} { subject } {% if x %} {'a': 1} {} {a b} {q}}";
        assert_eq!(single_braces(text).collect::<Vec<_>>(), ["input", "subject", "q"]);
    }
}
