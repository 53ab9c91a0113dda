//! Targets tried on the scorers before anything runs: rows that cannot be marked, labels that no answer can have, labels
//! that look misspelt, and pointers that lead nowhere.
//!
//! Whether a row can be marked does not depend on the answer, so an empty one is marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::commands::plan::joins::Hits;
use crate::scorer::{Case, Logged, MetricKind, Scorer, answer_pointer};
use crate::suite::spec::ScorerSpec;
use crate::types::{Response, Sample, Score};
use crate::util::text::{self, shorten};

/// The most distinct labels that are kept of one scorer; beyond them labels are no classes.
const MAX_LABELS: usize = 1000;

/// The most notes on labels of one scorer.
const MAX_NOTES: usize = 5;

/// How many times as frequent a label must be for a similar, rarer one to look like a misspelling of it.
const COMMONER: u64 = 5;

/// A pointer into answers that a scorer follows.
pub(super) struct Pointer {
    /// Which scorer.
    pub scorer: usize,
    pub pointer: String,
    /// Where it is written, below the scorer's entry.
    pub path: &'static [&'static str],
}

/// A fault of a scorer's entry.
pub(super) struct TrialFault {
    pub scorer: usize,
    pub path: &'static [&'static str],
    pub message: String,
    pub help: Option<String>,
}

/// The scorers of a suite, and what is known of the targets so far.
pub(super) struct Trial<'a> {
    scorers: &'a [Box<dyn Scorer>],
    specs: &'a [ScorerSpec],
    tried: Vec<Tried>,
    rows: u64,
    /// Rows that have a target at all.
    with_target: u64,
    /// Metrics that gates judge.
    gated: Vec<&'a str>,
    /// Whether some candidate's answers are not there yet.
    is_open: bool,
    empty: Response,
}

#[derive(Default)]
struct Tried {
    /// Reasons for no mark, with the number of rows and the first of them.
    unscored: Vec<(String, u64, Arc<str>)>,
    labels: BTreeMap<String, u64>,
    /// Rows whose label has space around it, and one such label.
    spaced: (u64, String),
}

impl<'a> Trial<'a> {
    /// `gated` are the metrics that gates judge; `is_open` says whether some candidate's answers are not there yet.
    pub fn new(
        scorers: &'a [Box<dyn Scorer>],
        specs: &'a [ScorerSpec],
        gated: Vec<&'a str>,
        is_open: bool,
    ) -> Trial<'a> {
        let tried = scorers.iter().map(|_| Tried::default()).collect();
        Trial { scorers, specs, tried, rows: 0, with_target: 0, gated, is_open, empty: Response::default() }
    }

    /// Marks an empty answer to a sample.
    pub fn add(&mut self, sample: &Sample) {
        self.rows += 1;
        self.with_target += u64::from(sample.target.as_ref().is_some_and(|target| !target.is_null()));
        let mut marks = Vec::new();
        for (scorer, tried) in self.scorers.iter().zip(&mut self.tried) {
            if !scorer.needs_target() {
                continue;
            }
            let logged = if scorer.needs_reference() { Logged::of(&sample.row) } else { None };
            marks.clear();
            let target = sample.target.as_ref();
            scorer.mark(&Case { target, logged: logged.as_ref(), schema: None, response: &self.empty }, &mut marks);
            let Some(mark) = marks.first() else { continue };
            match &mark.score {
                Score::Unscored(reason) => match tried.unscored.iter_mut().find(|(known, ..)| known == reason) {
                    Some((_, count, _)) => *count += 1,
                    None => tried.unscored.push((reason.clone(), 1, Arc::clone(&sample.id))),
                },
                Score::Value(_) if scorer.metrics().first().is_some_and(|metric| metric.kind == MetricKind::Label) => {
                    let label = mark.detail.as_ref().and_then(|detail| detail.get("expected")?.as_str());
                    tried.label(label.unwrap_or_default(), target);
                }
                Score::Value(_) | Score::Missing(_) => {}
            }
        }
    }

    /// The pointers that scorers follow.
    pub fn pointers(specs: &[ScorerSpec]) -> Vec<Pointer> {
        let of = |(scorer, spec)| {
            let (pointer, path) = answer_pointer(spec)?;
            Some(Pointer { scorer, pointer, path })
        };
        specs.iter().enumerate().filter_map(of).collect()
    }

    /// What came of it. `schema` is that of the suite with the path that names it; `answers` has for each pointer what
    /// each recorded candidate gave.
    pub fn weigh(
        &self,
        schema: Option<(&Value, &str)>,
        pointers: &[Pointer],
        answers: &[(String, Vec<Hits>)],
    ) -> (Vec<TrialFault>, Vec<String>) {
        let (mut faults, mut notes) = (Vec::new(), Vec::new());
        for (index, pointer) in pointers.iter().enumerate() {
            let hits: Vec<(&str, Hits)> = answers.iter().map(|(id, hits)| (id.as_str(), hits[index])).collect();
            match self.nowhere(pointer, schema, &hits) {
                Some(Ok(fault)) => faults.push(fault),
                Some(Err(note)) => notes.push(note),
                None => {}
            }
        }
        for (index, tried) in self.tried.iter().enumerate() {
            let name = self.scorers[index].metrics().first().map_or("", |metric| metric.name.as_str());
            if faults.iter().any(|fault| fault.scorer == index) {
                continue;
            }
            let unscored: u64 = tried.unscored.iter().map(|(_, count, _)| count).sum();
            if self.rows > 0 && unscored == self.rows {
                let (reason, _, first) = &tried.unscored[0];
                let message =
                    format!("`{name}` can mark none of the {unscored} rows: {reason} (row `{}`)", shorten(first, 60));
                // Answers can be compared with each other without a target, to find the rows that need one.
                if self.with_target == 0 && !self.is_gated(index) {
                    notes.push(message);
                    continue;
                }
                let help = "right answers are looked for in the field that `dataset.target` names, by default `target`";
                faults.push(TrialFault { scorer: index, path: &[], message, help: Some(help.to_owned()) });
                continue;
            }
            for (reason, count, first) in &tried.unscored {
                notes.push(format!(
                    "`{name}` cannot mark {count} of {} rows: {reason} (first: row `{}`)",
                    self.rows,
                    shorten(first, 60)
                ));
            }
            if tried.spaced.0 > 0 {
                notes.push(format!(
                    "{} of {} targets have space around the label, such as `{}`; `{name}` ignores it",
                    tried.spaced.0,
                    self.rows,
                    shorten(&tried.spaced.1, 60)
                ));
            }
            let pointer = pointers.iter().find(|pointer| pointer.scorer == index).map_or("", |known| &known.pointer);
            let allowed = schema.and_then(|(schema, _)| allowed(schema, pointer));
            match allowed.filter(|_| !self.has_classes(index)) {
                Some(allowed) => match tried.outside(&allowed, self.rows, pointer, name) {
                    Ok(found) => notes.extend(found),
                    Err(message) => {
                        let help = format!("the schema allows {}", listed(&allowed));
                        faults.push(TrialFault { scorer: index, path: &[], message, help: Some(help) });
                    }
                },
                None => notes.extend(tried.misspelt(name)),
            }
        }
        (faults, notes)
    }

    /// Whether a gate judges by a metric of the scorer.
    fn is_gated(&self, scorer: usize) -> bool {
        let of = |name: &str, gated: &str| {
            gated.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let metrics = self.scorers[scorer].metrics();
        metrics.iter().any(|metric| self.gated.iter().any(|gated| of(&metric.name, gated)))
    }

    /// Whether the entry names its classes itself: then what is none of them has no mark.
    fn has_classes(&self, scorer: usize) -> bool {
        matches!(self.specs.get(scorer), Some(ScorerSpec::Label(label)) if !label.classes.is_empty())
    }

    /// A pointer that leads to nothing anywhere is a fault; one that does in some candidate's answers, a note.
    fn nowhere(
        &self,
        pointer: &Pointer,
        schema: Option<(&Value, &str)>,
        answers: &[(&str, Hits)],
    ) -> Option<Result<TrialFault, String>> {
        let shown = shorten(&pointer.pointer, 60);
        let found: u64 = answers.iter().map(|(_, hits)| hits.found).sum();
        let json: u64 = answers.iter().map(|(_, hits)| hits.json).sum();
        let described = schema.map_or(Described::Unknown, |(schema, _)| describe(schema, &pointer.pointer));
        match described {
            Described::Nowhere(_) if found > 0 => return None,
            Described::Nowhere(_) => {}
            Described::As(_) | Described::Unknown if found > 0 || matches!(described, Described::As(_)) => {
                let empty = answers.iter().find(|(_, hits)| hits.json > 0 && hits.found == 0)?;
                return Some(Err(format!(
                    "none of the {} answers of `{}` that are JSON has anything at `{shown}`",
                    empty.1.json,
                    shorten(empty.0, 60)
                )));
            }
            Described::As(_) | Described::Unknown if json == 0 => return None,
            Described::As(_) | Described::Unknown => {}
        }
        let mut reasons = Vec::new();
        let mut help = "name a field that answers have".to_owned();
        if let Described::Nowhere(siblings) = &described {
            let path = schema.map_or("", |(_, path)| path);
            reasons.push(format!("the schema `{}` does not describe it", shorten(path, 60)));
            let last = pointer.pointer.rsplit('/').next().unwrap_or_default();
            help = text::did_you_mean(last, siblings.iter().map(String::as_str))
                .unwrap_or_else(|| format!("the schema describes {}", listed(siblings)));
        }
        if json > 0 {
            reasons.push(format!("none of the {json} recorded answers that are JSON has it"));
        }
        let message = format!("`{shown}` leads nowhere: {}", reasons.join(", and "));
        if self.is_open && matches!(described, Described::Unknown) {
            // Those who have not answered yet may have it.
            return Some(Err(message));
        }
        Some(Ok(TrialFault { scorer: pointer.scorer, path: pointer.path, message, help: Some(help) }))
    }
}

impl Tried {
    fn label(&mut self, label: &str, target: Option<&Value>) {
        if let Some(count) = self.labels.get_mut(label) {
            *count += 1;
        } else if self.labels.len() < MAX_LABELS {
            self.labels.insert(label.to_owned(), 1);
        }
        if let Some(Value::String(written)) = target
            && written.trim().len() < written.len()
            && !written.trim_start().starts_with('{')
        {
            self.spaced.0 += 1;
            if self.spaced.1.is_empty() {
                self.spaced.1.clone_from(written);
            }
        }
    }

    /// Notes on labels that the schema does not allow; an error when it allows none of them.
    fn outside(&self, allowed: &[String], rows: u64, pointer: &str, name: &str) -> Result<Vec<String>, String> {
        let is_allowed = |label: &str| allowed.iter().any(|known| folded(known) == folded(label));
        let outside: Vec<(&String, &u64)> = self.labels.iter().filter(|(label, _)| !is_allowed(label)).collect();
        let place = if pointer.is_empty() { String::new() } else { format!(" at `{}`", shorten(pointer, 60)) };
        if !outside.is_empty() && outside.len() == self.labels.len() {
            let labels: Vec<String> = outside.iter().map(|(label, _)| (*label).clone()).collect();
            return Err(format!(
                "`{name}`: no label of the golden set is one that the schema allows{place}; they are {}",
                listed(&labels)
            ));
        }
        let mut notes: Vec<String> = Vec::new();
        for (label, count) in outside.iter().take(MAX_NOTES) {
            let near = text::did_you_mean(label, allowed.iter().map(String::as_str));
            let near = near.map(|near| format!("; {near}")).unwrap_or_default();
            notes.push(format!(
                "the label `{}` ({count} of {rows} rows) is not one that the schema allows{place}{near}",
                shorten(label, 60)
            ));
        }
        if outside.len() > MAX_NOTES {
            notes.push(format!("{} more labels are not ones that the schema allows", outside.len() - MAX_NOTES));
        }
        Ok(notes)
    }

    /// Notes on rare labels that are one letter away from common ones.
    fn misspelt(&self, name: &str) -> Vec<String> {
        if self.labels.len() >= MAX_LABELS {
            return Vec::new();
        }
        let near = |(rare, few): (&String, &u64)| {
            let common = self.labels.iter().filter(|(_, many)| **many >= few.saturating_mul(COMMONER));
            let (common, many) = common.filter(|(common, _)| is_slip(rare, common)).max_by_key(|(_, many)| **many)?;
            Some(format!(
                "`{name}`: the label `{}` ({}) looks like `{}` ({}) misspelt",
                shorten(rare, 60),
                rows(*few),
                shorten(common, 60),
                rows(*many)
            ))
        };
        self.labels.iter().filter_map(near).take(MAX_NOTES).collect()
    }
}

fn rows(count: u64) -> String {
    format!("{count} row{}", if count == 1 { "" } else { "s" })
}

/// Whether two words of letters differ by one letter left out, put in, or put wrong, or by two that changed places.
fn is_slip(one: &str, other: &str) -> bool {
    let [a, b] = [one, other].map(|word| word.chars().collect::<Vec<char>>());
    let is_word = |word: &[char]| word.len() >= 4 && !word.iter().any(char::is_ascii_digit);
    if a == b || !is_word(&a) || !is_word(&b) || a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    match (a, b) {
        ([_], [_] | []) | ([], [_]) => true,
        ([x, y], [v, w]) => x == w && y == v,
        _ => false,
    }
}

/// Labels as they are compared: case and the width of spaces aside.
fn folded(label: &str) -> String {
    label.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|name| format!("`{}`", shorten(name, 40))).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// What a schema says of the place that a pointer leads to.
enum Described<'a> {
    As(&'a Value),
    /// There is no such place; with the names that are beside it.
    Nowhere(Vec<String>),
    /// It cannot be told.
    Unknown,
}

fn describe<'a>(root: &'a Value, pointer: &str) -> Described<'a> {
    let mut node = root;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let Some(resolved) = resolve(root, node) else { return Described::Unknown };
        let is_open = ["patternProperties", "allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef"]
            .iter()
            .any(|key| resolved.get(*key).is_some());
        let properties = resolved.get("properties").and_then(Value::as_object);
        match properties.map(|properties| (properties.get(&step), properties)) {
            Some((Some(next), _)) => node = next,
            Some((None, properties)) => {
                // Without the keyword a schema is open, but a name next to one that it has is that one misspelt.
                let is_more = match resolved.get("additionalProperties") {
                    Some(more) => *more != Value::Bool(false),
                    // Of names of a few letters every one is next to every other.
                    None => {
                        step.len() < 4 || text::did_you_mean(&step, properties.keys().map(String::as_str)).is_none()
                    }
                };
                if is_open || is_more {
                    return Described::Unknown;
                }
                return Described::Nowhere(properties.keys().cloned().collect());
            }
            None => match resolved.get("items").filter(|items| items.is_object() && step.parse::<u32>().is_ok()) {
                Some(items) if !is_open && resolved.get("prefixItems").is_none() => node = items,
                _ => return Described::Unknown,
            },
        }
    }
    resolve(root, node).map_or(Described::Unknown, Described::As)
}

/// The schema that a schema stands for: itself, or what its `$ref` leads to in the same file.
fn resolve<'a>(root: &'a Value, mut node: &'a Value) -> Option<&'a Value> {
    for _ in 0..16 {
        let Some(reference) = node.get("$ref") else { return Some(node) };
        node = root.pointer(reference.as_str()?.strip_prefix('#')?)?;
    }
    None
}

/// The texts that a schema allows at a place, where it lists them.
fn allowed(schema: &Value, pointer: &str) -> Option<Vec<String>> {
    let Described::As(node) = describe(schema, pointer) else { return None };
    let texts = |list: &[Value]| list.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    match (node.get("enum"), node.get("const")) {
        (Some(Value::Array(list)), _) => texts(list),
        (None, Some(one)) => texts(std::slice::from_ref(one)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scorer;

    fn sample(id: &str, target: Value) -> Sample {
        let row = Arc::new(serde_json::Map::new());
        Sample {
            id: id.into(),
            row,
            target: (!target.is_null()).then_some(target),
            cluster: None,
            tags: Default::default(),
        }
    }

    /// Faults and notes of one scorer over these targets.
    fn tried(spec: Value, schema: Option<&Value>, targets: &[Value], hits: &[Hits]) -> (Vec<String>, Vec<String>) {
        let specs: Vec<ScorerSpec> = vec![serde_json::from_value(spec).unwrap()];
        let scorers = vec![scorer::build(&specs[0], schema, false).ok().unwrap()];
        let mut trial = Trial::new(&scorers, &specs, vec!["exact"], false);
        for (index, target) in targets.iter().enumerate() {
            trial.add(&sample(&format!("r{index}"), target.clone()));
        }
        let pointers = Trial::pointers(&specs);
        let answers: Vec<(String, Vec<Hits>)> = hits.iter().map(|hits| ("today".to_owned(), vec![*hits])).collect();
        let (faults, notes) = trial.weigh(schema.map(|schema| (schema, "s.json")), &pointers, &answers);
        (
            faults.into_iter().map(|fault| format!("{}; {}", fault.message, fault.help.unwrap_or_default())).collect(),
            notes,
        )
    }

    fn triage() -> Value {
        json!({
            "type": "object",
            "properties": {"intent": {"$ref": "#/$defs/intent"}, "priority": {"type": "integer"}},
            "$defs": {"intent": {"enum": ["billing", "fault", "cancel"]}}
        })
    }

    #[test]
    fn labels_outside_the_schema() {
        let label = json!({"label": {"field": "/intent"}});
        let schema = triage();
        let targets = [json!("fault"), json!("Billing"), json!("biling"), json!("fault "), json!("biling")];
        let (faults, notes) = tried(label.clone(), Some(&schema), &targets, &[]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            notes,
            [
                "1 of 5 targets have space around the label, such as `fault `; `label` ignores it",
                "the label `biling` (2 of 5 rows) is not one that the schema allows at `/intent`; did you mean `billing`?"
            ]
        );
        let (faults, notes) = tried(label, Some(&schema), &[json!("1"), json!("2")], &[]);
        assert_eq!(
            faults,
            ["`label`: no label of the golden set is one that the schema allows at `/intent`; they are `1`, `2`; the \
              schema allows `billing`, `fault`, `cancel`"]
        );
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn rare_labels_beside_common_ones() {
        let mut targets = vec![json!("billing"); 10];
        targets.extend([json!("biling"), json!("bliling"), json!("filing"), json!("cancel"), json!("cancels")]);
        let (_, notes) = tried(json!({"label": {}}), None, &targets, &[]);
        assert_eq!(
            notes,
            [
                "`label`: the label `biling` (1 row) looks like `billing` (10 rows) misspelt",
                "`label`: the label `bliling` (1 row) looks like `billing` (10 rows) misspelt"
            ]
        );
        for (one, other, expected) in [
            ("billing", "biling", true),
            ("billing", "bililng", true),
            ("billing", "killing", true),
            ("valid", "invalid", false),
            ("yes", "yep", false),
            ("tier 1a", "tier 2a", false),
            ("fault", "fault", false),
        ] {
            assert_eq!(is_slip(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn rows_that_cannot_be_marked() {
        let number = json!({"number": {}});
        let (faults, notes) = tried(number.clone(), None, &[json!("1"), json!("n/a"), Value::Null, json!("x")], &[]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            notes,
            [
                "`number` cannot mark 2 of 4 rows: the target is not a number (first: row `r1`)",
                "`number` cannot mark 1 of 4 rows: the row has no target (first: row `r2`)"
            ]
        );
        let (faults, _) = tried(number, None, &[json!("n/a"), Value::Null], &[]);
        assert!(faults[0].starts_with("`number` can mark none of the 2 rows: the target is not a number (row `r0`); "));
        let (faults, notes) = tried(json!({"refusal": {}}), None, &[Value::Null], &[]);
        assert_eq!((faults.len(), notes.len()), (0, 0));
        // Without any target a gate cannot be judged; without a gate there may be a use.
        for (kind, is_gated) in [("exact", true), ("number", false)] {
            let (faults, notes) = tried(json!({ kind: {} }), None, &[Value::Null], &[]);
            assert_eq!((faults.len(), notes.len()), if is_gated { (1, 0) } else { (0, 1) }, "{kind}");
        }
    }

    #[test]
    fn pointers_that_lead_nowhere() {
        let label = json!({"label": {"field": "/intend"}});
        let schema = triage();
        let open = json!({"properties": {"intent": {}}, "additionalProperties": true});
        let targets = [json!("fault")];
        let of = |json, found| Hits { json, found };
        for (schema, hits, expected) in [
            (
                Some(&schema),
                &[][..],
                Some("`/intend` leads nowhere: the schema `s.json` does not describe it; did you mean `intent`?"),
            ),
            (
                Some(&schema),
                &[of(3, 0)],
                Some(
                    "`/intend` leads nowhere: the schema `s.json` does not describe it, and none of the 3 recorded \
                     answers that are JSON has it; did you mean `intent`?",
                ),
            ),
            (
                None,
                &[of(3, 0), of(0, 0)],
                Some(
                    "`/intend` leads nowhere: none of the 3 recorded answers that are JSON has it; name a field that \
                     answers have",
                ),
            ),
            (Some(&open), &[], None),
            (Some(&schema), &[of(3, 1)], None),
            (None, &[of(0, 0)], None),
            (None, &[], None),
        ] {
            let (faults, _) = tried(label.clone(), schema, &targets, hits);
            assert_eq!(faults.first().map(String::as_str), expected, "{hits:?}");
        }
        let (faults, notes) = tried(json!({"label": {"field": "/intent"}}), Some(&schema), &targets, &[of(3, 0)]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(notes, ["none of the 3 answers of `today` that are JSON has anything at `/intent`"]);
    }
}
