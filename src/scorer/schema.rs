//! `schema`: the answer is JSON, and valid against the schema. Two marks: `<name>` and `<name>.json`.

use std::sync::OnceLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};

use crate::scorer::extract::{Extractor, Part};
use crate::scorer::normalise::shown;
use crate::scorer::steps::{Counted, Prices, Seen, within};
use crate::scorer::{BuildFault, Case, MetricName, Scorer, unfold};
use crate::suite::spec::SchemaSpec;
use crate::types::Mark;
use crate::util::json;

/// How many violations a detail lists.
const LISTED: usize = 20;

/// In longer answers only the first violation is looked for: the list of all is as long as the answer makes it.
const ALL_VIOLATIONS_BYTES: usize = 256 << 10;

/// How often a schema's `pattern` with look-around may step back before the answer is given up as not judged.
const BACKTRACKS: usize = 100_000;

/// Steps that judging an answer may take, and more for each byte of it. An ordinary schema takes some ten a value.
const STEPS: u64 = 20_000_000;
const STEPS_PER_BYTE: u64 = 32;

/// What is wrong is listed in so much fewer steps: each violation is built with those of all branches below it.
const LISTING: u64 = 200;

/// What an answer gets that would take more.
const TOO_COSTLY: &str = "the schema is too costly to check the answer against";

/// A look at an answer costs one step more for as many schemas as this that may stand in one another.
const UNFOLDED: u64 = 64;

/// What a look at a text costs under a schema with patterns that step back: each may do so up to [`BACKTRACKS`] times.
const PRICE_OF_BACKTRACKING: u64 = 500;

/// A ladder of three rungs: JSON as it stands, JSON once a code fence is taken off, and valid. `<name>.json` is 1 on the
/// first rung only; on the second it is 0 and its detail says `fenced: true`. `<name>` is 1 only for JSON as it stands that
/// is valid: a program that reads the answer would stumble over the fence. Repairing is asked for with `extract: { fence:
/// true }` or a `pointer`; then what they give is the answer.
///
/// The dialect is what `$schema` names, else 2020-12. Of two equal keys in an object the last counts.
///
/// A logged request that asks for a schema of its own is judged by that one, unless the entry names a `path`.
struct SchemaScorer {
    metrics: Vec<MetricName>,
    extractor: Extractor,
    /// Of the suite or the entry; `None` where each request is judged by its own.
    checker: Option<Checker>,
    has_path: bool,
    assert_format: bool,
}

/// The schema that a logged request asks for itself. Compiled when an answer is first judged by it.
#[derive(Debug)]
pub struct OwnSchema {
    value: Value,
    /// Without and with `format` as an assertion.
    compiled: [OnceLock<Result<Checker, &'static str>>; 2],
}

impl OwnSchema {
    /// Of any value; whether it is a schema is found when it is used.
    pub fn new(value: Value) -> OwnSchema {
        OwnSchema { value, compiled: [const { OnceLock::new() }; 2] }
    }

    fn checker(&self, assert_format: bool) -> Result<&Checker, &'static str> {
        let compiled = &self.compiled[usize::from(assert_format)];
        let compile = || {
            Checker::of(&self.value, assert_format).map_err(|unusable| match unusable {
                Unusable::Invalid(_) => "what the request asks for is no usable JSON Schema",
                Unusable::Costly => TOO_COSTLY,
            })
        };
        compiled.get_or_init(compile).as_ref().map_err(|reason| *reason)
    }
}

pub fn build(
    spec: &SchemaSpec,
    schema: Option<&Value>,
    has_own: bool,
    metrics: Vec<MetricName>,
    faults: &mut Vec<BuildFault>,
) -> Option<Box<dyn Scorer>> {
    let extractor = Extractor::build(spec.extract.as_ref(), None, None, faults);
    let has_path = spec.path.is_some();
    let path: &[&str] = if has_path { &["path"] } else { &[] };
    if schema.is_none() && !has_own {
        faults.push(
            BuildFault::new(path, "there is no JSON Schema to check answers against")
                .help("add `output: { schema: FILE }` to the suite, or `path: FILE` here"),
        );
        return None;
    }
    let compiled = schema.map(|schema| Checker::of(schema, spec.assert_format)).transpose();
    let checker = compiled.map_err(|unusable| faults.push(unusable.fault(path))).ok()?;
    let assert_format = spec.assert_format;
    Some(Box::new(SchemaScorer { metrics, extractor: extractor?, checker, has_path, assert_format }))
}

/// A compiled schema.
#[derive(Debug)]
struct Checker {
    validator: Validator<Counted>,
    prices: Prices,
}

/// Why nothing can be checked against a schema.
enum Unusable {
    Invalid(ValidationError<'static>),
    Costly,
}

impl Unusable {
    fn fault(&self, path: &[&str]) -> BuildFault {
        match self {
            Unusable::Invalid(error) => schema_fault(error, path),
            Unusable::Costly => {
                let message = "not a usable JSON Schema: it is too costly to check answers against";
                let help = "its `anyOf`, `oneOf`, `allOf` and `$ref` multiply: name each case once";
                BuildFault::new(path, message).help(help)
            }
        }
    }
}

impl Checker {
    /// For the draft that the schema names (`$schema`), 2020-12 by default; no document is fetched.
    fn of(schema: &Value, assert_format: bool) -> Result<Checker, Unusable> {
        let unfolded = unfold::most(schema).ok_or(Unusable::Costly)?;
        let validator = jsonschema::options_for::<Counted>()
            .offline()
            .should_validate_formats(assert_format)
            .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS).size_limit(10 << 20))
            .build(schema)
            .map_err(Unusable::Invalid)?;
        let text = if steps_back(schema) { PRICE_OF_BACKTRACKING } else { 0 };
        Ok(Checker { validator, prices: Prices { look: 1 + unfolded / UNFOLDED, text } })
    }

    fn judge(&self, value: &Value, bytes: usize) -> Mark {
        let steps = STEPS + STEPS_PER_BYTE.saturating_mul(bytes as u64);
        match within(steps, self.prices, || self.validator.is_valid(Seen(value))) {
            Some(true) => return Mark::binary(true),
            Some(false) => {}
            None => return Mark::missing(TOO_COSTLY),
        }
        let list = |is_complete: bool| {
            within(steps / LISTING, self.prices, || {
                let mut violations = Violations::default();
                if is_complete {
                    self.validator.iter_errors(Seen(value)).for_each(|error| violations.take(&error));
                } else if let Err(error) = self.validator.validate(Seen(value)) {
                    violations.take(&error);
                }
                violations
            })
        };
        // That an answer is wrong can be found out sooner than all that is wrong with it.
        let all = if bytes <= ALL_VIOLATIONS_BYTES { list(true) } else { None };
        let is_complete = all.is_some();
        let Some(violations) = all.or_else(|| list(false)) else {
            // Where a pattern may have been given up, nobody knows whether that is all that is wrong.
            return if self.prices.text > 0 {
                Mark::missing(TOO_COSTLY)
            } else {
                Mark::binary(false).detail(json!({ "violations": [], "total": null }))
            };
        };
        if violations.is_undecided {
            return Mark::missing("a `pattern` of the schema takes too long on the answer");
        }
        let mut detail = Map::new();
        detail.insert("violations".into(), Value::Array(violations.listed));
        detail.insert("total".into(), if is_complete { violations.total.into() } else { Value::Null });
        Mark::binary(false).detail(Value::Object(detail))
    }
}

/// Whether a pattern of a schema may step back: it looks around, or refers to what it has matched.
fn steps_back(schema: &Value) -> bool {
    let does = |text: &str| {
        let refers = |pair: &[u8]| pair[0] == b'\\' && (pair[1].is_ascii_digit() || pair[1] == b'k');
        ["(?=", "(?!", "(?<", "(?>"].iter().any(|sign| text.contains(sign)) || text.as_bytes().windows(2).any(refers)
    };
    match schema {
        Value::String(text) => does(text),
        Value::Array(items) => items.iter().any(steps_back),
        Value::Object(members) => members.iter().any(|(key, value)| does(key) || steps_back(value)),
        _ => false,
    }
}

/// Whether a value is a schema that answers can be checked against; else what is wrong with it.
pub(super) fn check(schema: &Value) -> Result<(), BuildFault> {
    Checker::of(schema, true).map(|_| ()).map_err(|unusable| unusable.fault(&[]))
}

fn schema_fault(error: &ValidationError<'_>, path: &[&str]) -> BuildFault {
    let place = error.instance_path().as_str();
    let place = if place.is_empty() { String::new() } else { format!(" at `{}`", shown(place)) };
    let fault = BuildFault::new(path, format!("not a usable JSON Schema{place}: {}", shown(error)));
    if matches!(error.kind(), ValidationErrorKind::Referencing(_)) {
        return fault.help("nothing is fetched: put what `$ref` names into the file itself, under `$defs`");
    }
    fault
}

impl Scorer for SchemaScorer {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let checker = match case.schema.filter(|_| !self.has_path) {
            None => self.checker.as_ref().ok_or("the request asks for no schema"),
            Some(own) => own.checker(self.assert_format),
        };
        let checker = match checker {
            Ok(checker) => checker,
            Err(reason) => return marks.extend([Mark::unscored(reason), Mark::unscored(reason)]),
        };
        let no_json = |detail: Value| [Mark::binary(false).detail(detail.clone()), Mark::binary(false).detail(detail)];
        let text = &case.response.text;
        let value = match self.extractor.answer(text) {
            Err(reason) => return marks.extend(no_json(json!({ "reason": reason }))),
            Ok(Part::Json(value)) => value.into_owned(),
            Ok(Part::Text(text)) => match json::parse(text) {
                Ok(value) => value,
                Err(reason) => {
                    let is_fenced = json::parse_answer(text).is_ok_and(|parsed| parsed.is_fenced);
                    let detail = match is_fenced {
                        true => json!({ "reason": "JSON in a code fence", "fenced": true }),
                        false => json!({ "reason": format!("not JSON: {reason}") }),
                    };
                    return marks.extend(no_json(detail));
                }
            },
        };
        marks.push(checker.judge(&value, text.len()));
        marks.push(Mark::binary(true));
    }

    fn needs_target(&self) -> bool {
        false
    }

    fn needs_schema(&self) -> bool {
        !self.has_path
    }
}

/// What is wrong with an answer.
#[derive(Default)]
struct Violations {
    listed: Vec<Value>,
    total: u64,
    /// Whether a pattern was given up.
    is_undecided: bool,
}

impl Violations {
    fn take(&mut self, error: &ValidationError<'_>) {
        self.total += 1;
        if self.listed.len() < LISTED {
            self.listed.push(violation(error));
        }
        self.is_undecided |= matches!(
            error.kind(),
            ValidationErrorKind::BacktrackLimitExceeded { .. } | ValidationErrorKind::RegexEngineFailure { .. }
        );
    }
}

fn violation(error: &ValidationError<'_>) -> Value {
    json!({
        "instance": shown(error.instance_path().as_str()),
        "schema": shown(error.schema_path().as_str()),
        "message": shown(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::tests::{faults, mark_with};
    use crate::types::Score;

    fn triage() -> Value {
        json!({
            "type": "object",
            "properties": {
                "intent": {"enum": ["refund", "other"]},
                "priority": {"type": "integer", "minimum": 1},
                "mail": {"type": "string", "format": "email"}
            },
            "required": ["intent"],
            "additionalProperties": false
        })
    }

    /// Values of `schema` and `schema.json`.
    fn values(spec: &Value, answer: &str) -> (Option<f64>, Option<f64>) {
        let marks = mark_with(&json!({ "schema": spec }), Some(&triage()), None, answer);
        assert_eq!(marks.len(), 2);
        (marks[0].value(), marks[1].value())
    }

    #[test]
    fn the_ladder() {
        let plain = json!({});
        let no_format = json!({"assert_format": false});
        let fence = json!({"extract": {"fence": true}});
        let pointer = json!({"extract": {"pointer": "/answer"}});
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let table = [
            (&plain, "{\"intent\": \"refund\"}", 1.0, 1.0),
            (&plain, " \n{\"intent\": \"refund\", \"priority\": 1.0}\n", 1.0, 1.0),
            (&plain, "{\"intent\": \"x\"}", 0.0, 1.0),
            (&plain, "{\"intent\": \"other\", \"more\": 1}", 0.0, 1.0),
            (&plain, "[]", 0.0, 1.0),
            (&plain, "{\"intent\": \"x\", \"intent\": \"other\"}", 1.0, 1.0),
            (&plain, "```json\n{\"intent\": \"refund\"}\n```", 0.0, 0.0),
            (&plain, "Sure: {\"intent\": \"refund\"}", 0.0, 0.0),
            (&plain, "{\"intent\": \"refund\"} {}", 0.0, 0.0),
            (&plain, "{\"intent\": \"refund\", \"priority\": NaN}", 0.0, 0.0),
            (&plain, "{\"intent\": \"refund\", \"priority\": 1e400}", 0.0, 0.0),
            (&plain, "", 0.0, 0.0),
            (&plain, "\0", 0.0, 0.0),
            (&plain, &deep, 0.0, 0.0),
            (&plain, "{\"intent\": \"other\", \"mail\": \"nobody\"}", 0.0, 1.0),
            (&no_format, "{\"intent\": \"other\", \"mail\": \"nobody\"}", 1.0, 1.0),
            (&fence, "Here:\n```json\n{\"intent\": \"refund\"}\n```\n", 1.0, 1.0),
            (&fence, "{\"intent\": \"refund\"}", 0.0, 0.0),
            (&pointer, "{\"answer\": {\"intent\": \"refund\"}}", 1.0, 1.0),
            (&pointer, "{\"answer\": \"{}\"}", 0.0, 1.0),
            (&pointer, "{}", 0.0, 0.0),
        ];
        for (spec, answer, valid, is_json) in table {
            let head: String = answer.chars().take(80).collect();
            assert_eq!(values(spec, answer), (Some(valid), Some(is_json)), "{spec} {head:?}");
        }
    }

    #[test]
    fn details_say_where_and_why() {
        let spec = json!({"schema": {}});
        let detail = |answer: &str, index: usize| mark_with(&spec, Some(&triage()), None, answer)[index].detail.clone();
        let seen = detail("{\"priority\": 0, \"x\": 1}", 0).unwrap();
        assert_eq!(seen["total"], 3);
        let violations = seen["violations"].as_array().unwrap();
        let low = violations.iter().find(|violation| violation["instance"] == "/priority").unwrap();
        assert_eq!(low["schema"], "/properties/priority/minimum");
        assert!(low["message"].as_str().unwrap().contains("less than the minimum"));
        assert_eq!(detail("```\n{}\n```", 1).unwrap()["fenced"], true);
        assert!(detail("{", 1).unwrap()["reason"].as_str().unwrap().starts_with("not JSON: EOF"));
        assert_eq!(detail("{\"intent\": \"other\"}", 0), None);
    }

    #[test]
    fn details_are_bounded() {
        let spec = json!({"schema": {}});
        let schema = json!({"items": {"type": "string", "maxLength": 3}});
        let many = format!("[{}1]", "1,".repeat(1000));
        let more = format!("[{}1]", "1,".repeat(1 << 20));
        let long = format!("[\"{}\"]", "\\u001b".repeat(1 << 18));
        for (answer, total) in [(many, json!(1001)), (more, Value::Null), (long, Value::Null)] {
            let marks = mark_with(&spec, Some(&schema), None, &answer);
            let detail = marks[0].detail.as_ref().unwrap();
            assert_eq!(detail["total"], total);
            assert!((1..=LISTED).contains(&detail["violations"].as_array().unwrap().len()));
            assert!(detail.to_string().len() < 40_000);
        }
    }

    #[test]
    fn drafts_and_references() {
        let spec = json!({"schema": {}});
        let valid = |schema: &Value, answer: &str| mark_with(&spec, Some(schema), None, answer)[0].score.clone();
        // Draft 7 does not know `prefixItems`.
        let mut schema = json!({"prefixItems": [{"type": "string"}]});
        assert_eq!(valid(&schema, "[1]"), Score::Value(0.0));
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        assert_eq!(valid(&schema, "[1]"), Score::Value(1.0));
        let tree = json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}});
        assert_eq!(valid(&tree, &format!("{}{}", "[".repeat(100), "]".repeat(100))), Score::Value(1.0));
        assert_eq!(valid(&tree, "[[1]]"), Score::Value(0.0));
        assert_eq!(valid(&json!(false), "1"), Score::Value(0.0));
    }

    #[test]
    fn a_pattern_that_takes_too_long_gives_no_mark() {
        let schema = json!({"pattern": "^(?:(a|b|ab)(?!x))*c$"});
        let answer = format!("\"{}\"", "ab".repeat(64));
        let marks = mark_with(&json!({"schema": {}}), Some(&schema), None, &answer);
        assert!(matches!(&marks[0].score, Score::Missing(reason) if reason.contains("pattern")), "{:?}", marks[0]);
    }

    /// Schemas `d0` to `d40`, each made of the next one, down to `end`.
    fn doubled(step: impl Fn(Value) -> Value, end: &Value) -> Value {
        let mut defs: Map<String, Value> =
            (0..40).map(|at| (format!("d{at}"), step(json!({ "$ref": format!("#/$defs/d{}", at + 1) })))).collect();
        defs.insert("d40".to_owned(), end.clone());
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    fn is_too_costly(schema: &Value, answer: &str) -> bool {
        let own = OwnSchema::new(schema.clone());
        match own.checker(true) {
            Err(reason) => reason == TOO_COSTLY,
            Ok(checker) => {
                let mark = checker.judge(&serde_json::from_str(answer).unwrap(), answer.len());
                matches!(mark.score, Score::Missing(reason) if reason == TOO_COSTLY)
            }
        }
    }

    #[test]
    fn schemas_that_multiply_are_given_up() {
        let ends = [json!({"type": "string"}), json!(false), json!({})];
        for end in &ends {
            for step in [
                |next: Value| json!({"anyOf": [next, next]}),
                |next: Value| json!({"oneOf": [next, next]}),
                |next: Value| json!({"allOf": [next, next]}),
                |next: Value| json!({"not": {"allOf": [next, next]}}),
                |next: Value| json!({"if": next, "then": next, "else": next}),
                |next: Value| json!({"dependentSchemas": {"a": next, "b": next}}),
                |next: Value| json!({"allOf": [next, next], "unevaluatedProperties": false}),
            ] {
                let schema = doubled(step, end);
                assert!(is_too_costly(&schema, "{\"a\": 1, \"b\": 2}"), "{schema}");
                // A suite's own is a fault.
                let found = faults(&json!({"schema": {"path": "x.json"}}), Some(&schema));
                assert!(found[0].message.contains("too costly"), "{}", found[0].message);
            }
        }
        // The same by way of the answer's own depth: each schema alone is harmless.
        let answer = format!("{}1{}", "{\"a\": ".repeat(41), "}".repeat(41));
        let through = |next: Value| json!({"anyOf": [{"properties": {"a": next}}, {"properties": {"a": next}}]});
        assert!(is_too_costly(&doubled(through, &json!({"type": "string"})), &answer));
        let names = |next: Value| json!({"oneOf": [{"items": next}, {"items": next}]});
        let lists = format!("{}1{}", "[".repeat(41), "]".repeat(41));
        assert!(is_too_costly(&doubled(names, &json!({})), &lists));
        // All of a dozen schemas in all others, over a value that no validator remembers.
        let refs: Vec<Value> = (0..14).map(|at| json!({ "$ref": format!("#/$defs/m{at}") })).collect();
        let defs: Map<String, Value> =
            (0..14).map(|at| (format!("m{at}"), json!({"anyOf": refs, "type": "string"}))).collect();
        assert!(is_too_costly(&json!({"anyOf": refs, "$defs": defs}), "\"x\""));
    }

    #[test]
    fn what_is_wrong_in_many_branches_is_listed_in_bounds() {
        let list = json!({"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 2});
        let schema = json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [list, list, {"type": "string"}]}}});
        for depth in [12, 18, 24, 40] {
            let answer = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            let mark = mark_with(&json!({"schema": {}}), Some(&schema), None, &answer).remove(0);
            assert!(mark.score == Score::Value(0.0) || depth > 18, "{depth}: {:?}", mark.score);
            assert_ne!(mark.score, Score::Value(1.0));
        }
    }

    #[test]
    fn schemas_by_identifiers_are_compiled_within_reason_or_refused() {
        // Each refers to all, and each has an identifier of its own.
        let graph = |size: usize| {
            let properties: Map<String, Value> = (0..size)
                .map(|to| (format!("p{to}"), json!({ "$ref": format!("https://x.example/t{to}/v1") })))
                .collect();
            let defs: Map<String, Value> = (0..size)
                .map(|at| {
                    (format!("t{at}"), json!({"$id": format!("https://x.example/t{at}/v1"), "properties": properties}))
                })
                .collect();
            json!({"$ref": "https://x.example/t0/v1", "$defs": defs})
        };
        assert!(is_too_costly(&graph(12), "{}"));
        // A chain of references as deep as a file can be.
        let chain: Map<String, Value> =
            (0..50_000).map(|at| (format!("d{at}"), json!({ "$ref": format!("#/$defs/d{}", at + 1) }))).collect();
        assert!(is_too_costly(&json!({"$ref": "#/$defs/d0", "$defs": chain}), "1"));
        // Bundles whose identifiers end alike are ordinary.
        let mut defs: Map<String, Value> = (0..20)
            .map(|at| {
                let kind = json!({"$id": format!("https://x.example/t{at}/v1"), "allOf": [{"$ref": "https://x.example/base/v1"}],
                    "properties": {"kind": {"const": at}}, "required": ["kind"]});
                (format!("t{at}"), kind)
            })
            .collect();
        defs.insert("base".into(), json!({"$id": "https://x.example/base/v1", "type": "object"}));
        let refs: Vec<Value> = (0..20).map(|at| json!({ "$ref": format!("https://x.example/t{at}/v1") })).collect();
        let bundle = json!({"oneOf": refs, "$defs": defs});
        let mark = mark_with(&json!({"schema": {}}), Some(&bundle), None, "{\"kind\": 7}");
        assert_eq!(mark[0].score, Score::Value(1.0));
    }

    #[test]
    fn ordinary_schemas_have_steps_to_spare() {
        // Kinds of one tree, each of which goes on into the same fields.
        let kinds: Vec<Value> = (0..10)
            .map(|kind| {
                let next = json!({"$ref": "#/$defs/node"});
                json!({
                    "type": "object", "required": ["kind"], "additionalProperties": false,
                    "properties": {"kind": {"const": kind}, "left": next, "right": next},
                })
            })
            .collect();
        let schema = json!({"$ref": "#/$defs/node", "$defs": {"node": {"anyOf": kinds}}});
        let mut tree = json!({"kind": 9});
        for _ in 0..10 {
            tree = json!({"kind": 9, "left": tree, "right": tree});
        }
        let long = json!((0..100_000).map(|at| json!({"id": at, "name": "x".repeat(20)})).collect::<Vec<_>>());
        let rows = json!({
            "uniqueItems": true,
            "items": {"properties": {"id": {"type": "integer"}, "name": {"pattern": "^(?!y)[a-z]+$", "maxLength": 20}}}
        });
        for (schema, answer) in [(&schema, &tree), (&rows, &long)] {
            let mark = mark_with(&json!({"schema": {}}), Some(schema), None, &answer.to_string());
            assert_eq!(mark[0].score, Score::Value(1.0));
        }
        let mut wrong = tree;
        wrong["left"]["left"]["right"]["kind"] = json!(10);
        let mark = mark_with(&json!({"schema": {}}), Some(&schema), None, &wrong.to_string());
        assert_eq!(mark[0].score, Score::Value(0.0));
    }

    #[test]
    fn schemas_that_cannot_be_used_are_faults() {
        let table = [
            json!({"type": "strnig"}),
            json!({"properties": {"a": {"minimum": "1"}}}),
            json!({"pattern": "("}),
            json!({"$ref": "https://example.com/other.json"}),
            json!({"$ref": "file:///etc/other.json"}),
            json!({"$ref": "other.json"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"$schema": "https://example.com/unknown-dialect"}),
            json!([1]),
            json!("x"),
        ];
        for schema in table {
            let found = faults(&json!({"schema": {"path": "x.json"}}), Some(&schema));
            assert_eq!(found.len(), 1, "{schema}");
            assert_eq!(found[0].path, ["path"], "{schema}");
            assert!(found[0].message.starts_with("not a usable JSON Schema"), "{}", found[0].message);
        }
        assert!(faults(&json!({"schema": {}}), Some(&json!({"$ref": "https://example.com/a"})))[0].help.is_some());
        assert_eq!(faults(&json!({"schema": {"extract": {}}}), None).len(), 2);
    }
}
