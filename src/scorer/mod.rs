//! Marks: what an answer is worth. Pure: a scorer is built once, before the first request, and then marks any number of
//! answers without reading a file, a clock or a network. It calls no model.
//!
//! Two kinds of nothing are kept apart. An answer that lacks what is looked for is wrong: mark 0, with the reason in the
//! detail. A row that does not say what is right (no target, or none that can be read) gives no mark: `unscored`, with a
//! reason that is the same for all such rows, so that reasons can be counted. Texts in details are cut at
//! [`normalise::SHOWN_CHARS`] characters, because an answer may be of any length.

pub mod extract;
pub mod normalise;

mod agreement;
mod contains;
mod exact;
mod label;
mod length;
mod number;
mod pattern;
mod reference;
mod refusal;
mod schema;
mod steps;
mod unfold;

use serde_json::Value;

use crate::suite::spec::ScorerSpec;
use crate::types::{Mark, Response};

pub use agreement::digest_of;
pub use reference::Logged;
pub use schema::OwnSchema;

/// One answer and what would be right. It holds only what scoring needs, because a run has many of them.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The right answer; `None` when the row has none. JSON's `null` is taken for none.
    pub target: Option<&'a Value>,
    /// What was answered when the request was logged; `None` when the row is no line of a capture, and when no scorer of
    /// the suite [needs](Scorer::needs_reference) it.
    pub logged: Option<&'a Logged>,
    /// The schema that the request asks for itself; `None` when it asks for none, or for that of the suite.
    pub schema: Option<&'a OwnSchema>,
    /// The answer.
    pub response: &'a Response,
}

/// What kind of figure a metric's marks are, which decides how they are summed up and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// 0 or 1.
    Binary,
    /// Anything from 0 to 1.
    Graded,
    /// 0 or 1, and each mark's detail has `expected` (a class) and `predicted` (a class, or null for no label).
    Label,
}

/// A metric that a scorer makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricName {
    /// As gates and reports call it.
    pub name: String,
    /// What its marks are.
    pub kind: MetricKind,
}

/// Marks answers. Marking is pure: the same case always gets the same marks.
pub trait Scorer: Send + Sync {
    /// The metrics it makes, one or more, in a fixed order.
    fn metrics(&self) -> &[MetricName];

    /// Adds one mark per metric, in their order. Values lie in 0.0..=1.0.
    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>);

    /// Whether rows without a target are left unscored.
    fn needs_target(&self) -> bool;

    /// Whether it compares with the logged answers of a capture.
    fn needs_reference(&self) -> bool {
        false
    }

    /// Whether it looks at the schemas that requests ask for themselves.
    fn needs_schema(&self) -> bool {
        false
    }
}

/// Something wrong with a scorer's entry in the suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFault {
    /// Where, below the scorer's own entry: `["extract", "regex"]`; empty for the entry as a whole.
    pub path: Vec<String>,
    /// What is wrong: lower case, no final stop, names in backticks.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl BuildFault {
    /// A fault at a path.
    pub fn new(path: &[&str], message: impl Into<String>) -> BuildFault {
        let path = path.iter().map(|&part| part.to_owned()).collect();
        BuildFault { path, message: message.into(), help: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> BuildFault {
        self.help = Some(help.into());
        self
    }
}

/// Whether a value is a JSON Schema that answers can be checked against, for schemas that no scorer uses.
///
/// # Errors
/// What is wrong with it.
pub fn check_schema(value: &Value) -> Result<(), BuildFault> {
    schema::check(value)
}

/// Makes the scorer that an entry of the suite describes. `schema` is what a `schema` scorer checks against: the file its
/// `path` names, else the suite's `output.schema`, parsed; other scorers do not look at it. With `has_own` requests may
/// bring schemas of their own, and there need be no other.
///
/// # Errors
/// All faults of the entry: patterns and schemas that are wrong, contradictory or empty settings.
pub fn build(spec: &ScorerSpec, schema: Option<&Value>, has_own: bool) -> Result<Box<dyn Scorer>, Vec<BuildFault>> {
    let metrics = metric_names(spec);
    let mut faults = Vec::new();
    if metrics.iter().any(|metric| metric.name.trim().is_empty()) {
        faults.push(BuildFault::new(&["name"], "the metric's name is empty"));
    }
    let scorer: Option<Box<dyn Scorer>> = match spec {
        ScorerSpec::Exact(spec) => exact::build(spec, metrics, &mut faults),
        ScorerSpec::Contains(spec) => contains::build(spec, metrics, &mut faults),
        ScorerSpec::Regex(spec) => pattern::build(spec, metrics, &mut faults),
        ScorerSpec::Number(spec) => number::build(spec, metrics, &mut faults),
        ScorerSpec::Label(spec) => label::build(spec, metrics, &mut faults),
        ScorerSpec::Schema(spec) => schema::build(spec, schema, has_own, metrics, &mut faults),
        ScorerSpec::Agreement(spec) => Some(agreement::build(spec, metrics)),
        ScorerSpec::Length(spec) => Some(length::build(spec, metrics)),
        ScorerSpec::Refusal(spec) => Some(refusal::build(spec, metrics)),
    };
    match scorer {
        Some(scorer) if faults.is_empty() => Ok(scorer),
        _ => Err(faults),
    }
}

/// The metrics that an entry of the suite makes, without building it, in the order of its marks.
pub fn metric_names(spec: &ScorerSpec) -> Vec<MetricName> {
    let metric = |name: String, kind| MetricName { name, kind };
    let name = spec.name().to_owned();
    match spec {
        ScorerSpec::Exact(_)
        | ScorerSpec::Contains(_)
        | ScorerSpec::Regex(_)
        | ScorerSpec::Number(_)
        | ScorerSpec::Length(_)
        | ScorerSpec::Refusal(_) => vec![metric(name, MetricKind::Binary)],
        ScorerSpec::Agreement(_) => vec![metric(name, MetricKind::Graded)],
        ScorerSpec::Label(_) => vec![metric(name, MetricKind::Label)],
        ScorerSpec::Schema(_) => {
            let json = format!("{name}.json");
            vec![metric(name, MetricKind::Binary), metric(json, MetricKind::Binary)]
        }
    }
}

/// The JSON pointer into answers that an entry of the suite follows, and where below the entry it is written; `None` where
/// it looks at something else.
pub fn answer_pointer(spec: &ScorerSpec) -> Option<(String, &'static [&'static str])> {
    let (field, extract) = match spec {
        ScorerSpec::Exact(spec) => (&spec.field, &spec.extract),
        ScorerSpec::Number(spec) => (&spec.field, &spec.extract),
        ScorerSpec::Label(spec) => (&spec.field, &spec.extract),
        ScorerSpec::Contains(spec) => (&None, &spec.extract),
        ScorerSpec::Regex(spec) => (&None, &spec.extract),
        ScorerSpec::Schema(spec) => (&None, &spec.extract),
        ScorerSpec::Agreement(_) | ScorerSpec::Length(_) | ScorerSpec::Refusal(_) => return None,
    };
    match (field, extract) {
        (Some(field), _) => Some((extract::pointer_of(field), &["field"])),
        (None, Some(extract)) => Some((extract.pointer.clone()?, &["extract", "pointer"])),
        (None, None) => None,
    }
}

/// Why an answer got 0 before it could be judged.
fn missed(expected: Value, reason: String) -> Mark {
    Mark::binary(false).detail(serde_json::json!({ "expected": expected, "got": null, "reason": reason }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::types::Score;

    fn scorer(spec: &Value, schema: Option<&Value>) -> Result<Box<dyn Scorer>, Vec<BuildFault>> {
        build(&serde_json::from_value(spec.clone()).unwrap(), schema, false)
    }

    /// The faults of an entry; none when it is right.
    pub fn faults(spec: &Value, schema: Option<&Value>) -> Vec<BuildFault> {
        scorer(spec, schema).err().unwrap_or_default()
    }

    /// The only mark that an entry gives an answer to a logged request.
    pub fn mark_logged(spec: &Value, logged: &Logged, response: &Response) -> Mark {
        let scorer = scorer(spec, None).unwrap_or_else(|faults| panic!("{spec}: {faults:?}"));
        assert!(scorer.needs_reference());
        let mut marks = Vec::new();
        scorer.mark(&Case { target: None, logged: Some(logged), schema: None, response }, &mut marks);
        assert_eq!(marks.len(), 1);
        marks.remove(0)
    }

    pub fn mark_with(spec: &Value, schema: Option<&Value>, target: Option<&Value>, answer: &str) -> Vec<Mark> {
        let scorer = scorer(spec, schema).unwrap_or_else(|faults| panic!("{spec}: {faults:?}"));
        let response = Response { text: answer.to_owned(), ..Response::default() };
        let mut marks = Vec::new();
        scorer.mark(&Case { target, logged: None, schema: None, response: &response }, &mut marks);
        assert_eq!(marks.len(), scorer.metrics().len());
        marks
    }

    /// The value of the first mark; `None` for unscored.
    pub fn mark(spec: &Value, target: &Value, answer: &str) -> Option<f64> {
        mark_with(spec, None, Some(target), answer).remove(0).value()
    }

    #[test]
    fn names_are_known_before_building() {
        let table = [
            (json!({"exact": {}}), vec![("exact", MetricKind::Binary)]),
            (json!({"contains": {"name": "polite"}}), vec![("polite", MetricKind::Binary)]),
            (json!({"regex": {"pattern": "a"}}), vec![("regex", MetricKind::Binary)]),
            (json!({"number": {}}), vec![("number", MetricKind::Binary)]),
            (json!({"label": {}}), vec![("label", MetricKind::Label)]),
            (json!({"schema": {"name": "s"}}), vec![("s", MetricKind::Binary), ("s.json", MetricKind::Binary)]),
            (json!({"agreement": {}}), vec![("agreement", MetricKind::Graded)]),
            (json!({"length": {"at_most": 2}}), vec![("length", MetricKind::Binary)]),
            (json!({"refusal": {}}), vec![("refusal", MetricKind::Binary)]),
        ];
        for (spec, expected) in table {
            let names = metric_names(&serde_json::from_value(spec.clone()).unwrap());
            let expected: Vec<MetricName> =
                expected.into_iter().map(|(name, kind)| MetricName { name: name.into(), kind }).collect();
            assert_eq!(names, expected);
            assert_eq!(scorer(&spec, Some(&json!({}))).ok().unwrap().metrics(), expected);
        }
        assert_eq!(faults(&json!({"exact": {"name": " "}}), None)[0].path, ["name"]);
    }

    #[test]
    fn what_needs_a_target_says_so() {
        for (spec, expected) in [
            (json!({"exact": {}}), true),
            (json!({"contains": {}}), true),
            (json!({"contains": {"none": ["x"]}}), false),
            (json!({"regex": {"pattern": "a"}}), false),
            (json!({"number": {}}), true),
            (json!({"label": {}}), true),
            (json!({"schema": {}}), false),
            (json!({"agreement": {}}), true),
            (json!({"length": {"at_most": 2}}), true),
            (json!({"refusal": {}}), false),
        ] {
            let schema = json!({});
            assert_eq!(scorer(&spec, Some(&schema)).ok().unwrap().needs_target(), expected, "{spec}");
            let mark = mark_with(&spec, Some(&schema), None, "a").remove(0);
            assert_eq!(matches!(mark.score, Score::Unscored(_)), expected, "{spec}");
        }
    }

    /// One entry of every kind, and of every way to extract.
    fn all() -> Vec<Box<dyn Scorer>> {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}});
        [
            json!({"exact": {"ignore_case": true, "ignore_punctuation": true}}),
            json!({"exact": {"field": "a"}}),
            json!({"contains": {"ignore_case": true}}),
            json!({"contains": {"any": ["a"], "none": ["b"], "extract": {"fence": true}}}),
            json!({"regex": {"pattern": "(?i)a+b?", "extract": {"pointer": "/a"}}}),
            json!({"number": {}}),
            json!({"number": {"separators": "de", "tolerance": 0.5, "extract": {"last_number": true}}}),
            json!({"number": {"relative_tolerance": 0.5, "extract": {"regex": "A: *(.+)", "which": "last"}}}),
            json!({"label": {}}),
            json!({"label": {"classes": ["a", "b"], "field": "/a"}}),
            json!({"schema": {}}),
            json!({"schema": {"extract": {"pointer": "/a"}}}),
            json!({"agreement": {}}),
            json!({"agreement": {"by": "json", "ignore_case": true}}),
            json!({"agreement": {"by": "tools"}}),
            json!({"agreement": {"by": "text", "fold_space": false}}),
            json!({"length": {"at_least": 0.5, "at_most": 2}}),
            json!({"refusal": {"phrases": ["a b", "I can't"]}}),
        ]
        .iter()
        .map(|spec| scorer(spec, Some(&schema)).unwrap_or_else(|faults| panic!("{spec}: {faults:?}")))
        .collect()
    }

    fn check(scorers: &[Box<dyn Scorer>], target: Option<&Value>, text: String) {
        let response = Response { text, ..Response::default() };
        let case = Case { target, logged: None, schema: None, response: &response };
        for scorer in scorers {
            let mut marks = Vec::new();
            scorer.mark(&case, &mut marks);
            assert_eq!(marks.len(), scorer.metrics().len());
            for (mark, metric) in marks.iter().zip(scorer.metrics()) {
                if let Score::Value(value) = mark.score {
                    assert!((0.0..=1.0).contains(&value));
                    if metric.kind != MetricKind::Graded {
                        assert!(value == 0.0 || value == 1.0);
                    }
                    if metric.kind == MetricKind::Label {
                        let detail = mark.detail.as_ref().unwrap();
                        assert!(detail["expected"].is_string());
                        assert!(detail["predicted"].is_string() || detail["predicted"].is_null());
                        assert_eq!(value == 1.0, detail["expected"] == detail["predicted"]);
                    }
                }
                let size = mark.detail.as_ref().map_or(0, |detail| detail.to_string().len());
                assert!(size < 100_000, "{size}");
            }
            let mut again = Vec::new();
            scorer.mark(&case, &mut again);
            assert_eq!(marks, again);
        }
    }

    #[test]
    fn hostile_answers_are_marked() {
        let scorers = all();
        let target = json!("a");
        let long = [
            "\0".repeat(1 << 20),
            "\u{1b}[31m\u{202e}\u{2066}\u{feff}\u{e0041}".repeat(1 << 12),
            "[".repeat(1 << 20),
            "{\"a\":".repeat(1 << 18),
            "```\n".repeat(1 << 18),
            "`".repeat(1 << 20),
            "A: 1".repeat(1 << 16),
            "A: 1\n".repeat(1 << 16),
            "1,".repeat(1 << 19),
            "e1".repeat(1 << 19),
            "*".repeat(1 << 20),
            format!("{{\"a\": \"{}\"}}", "x".repeat(10 << 20)),
            "ß".repeat(1 << 19),
        ];
        for text in long {
            check(&scorers, Some(&target), text);
        }
    }

    proptest! {
        #[test]
        fn any_answer_and_target_give_marks_in_range(
            answer in "(?s).{0,80}|[-+$,.eE0-9 aAß`\n\"*{}:\u{a0}]{0,40}|\\{\"a\": ?(\"[ab1]{0,3}\"|[0-9]{1,4}|null)\\}",
            target in "(?s).{0,20}|[ab]|[-0-9.,]{1,8}",
            kind in 0..5,
        ) {
            let target = match kind {
                0 => None,
                1 => Some(json!({ "a": target })),
                2 => Some(json!([target, 1])),
                3 => Some(json!(target.len())),
                _ => Some(json!(target)),
            };
            check(&all(), target.as_ref(), answer);
        }
    }
}
