//! `agreement`: how far an answer agrees with what was answered before, which need not have been right.

use serde_json::{Map, Value, json};

use crate::scorer::normalise::{Rules, shown, whole_of};
use crate::scorer::reference::Reference;
use crate::scorer::{Case, MetricName, Scorer};
use crate::suite::spec::{AgreementBy, AgreementSpec};
use crate::types::{Mark, Response, ToolCall};
use crate::util::digest::{Digest, Hasher};
use crate::util::json;

/// How many fields that differ a detail lists.
const LISTED: usize = 20;

/// Three comparisons. *Texts* are the same or not, under the rules of `exact`. *Tool calls* are the same or not: the same
/// names with the same arguments as JSON values, as often, in any order and whatever their ids; no arguments are an empty
/// object. *JSON* is compared field by field: of all paths to a value that is no list and no object (or an empty one), in
/// the reference, in the answer or in both, the share at which both have the same value. Lists are compared place by
/// place.
///
/// Worked example: `{"a": 1, "b": [1, 2]}` against `{"a": 1.0, "b": [1, 3, 4]}` has the paths `/a`, `/b/0`, `/b/1` and
/// `/b/2`; at two of the four the values are the same: 0.5.
///
/// An answer has itself for a reference at exactly 1.
struct Agreement {
    metrics: Vec<MetricName>,
    by: AgreementBy,
    rules: Rules,
}

pub fn build(spec: &AgreementSpec, metrics: Vec<MetricName>) -> Box<dyn Scorer> {
    let rules = Rules {
        fold_space: spec.fold_space,
        ignore_case: spec.ignore_case,
        ignore_punctuation: spec.ignore_punctuation,
    };
    Box::new(Agreement { metrics, by: spec.by, rules })
}

impl Scorer for Agreement {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        marks.push(match Reference::of(case) {
            Ok(reference) => self.judge(reference, case.response),
            Err(reason) => Mark::unscored(reason),
        });
    }

    fn needs_target(&self) -> bool {
        true
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

impl Agreement {
    fn judge(&self, reference: Reference<'_>, response: &Response) -> Mark {
        match self.by {
            AgreementBy::Text => self.texts(reference, response),
            AgreementBy::Json => match reference.json() {
                Some(expected) => self.fields(&expected, response),
                None => Mark::unscored("the reference is not JSON"),
            },
            AgreementBy::Tools => match reference.calls() {
                Some(expected) => self.calls(&expected, response),
                None => Mark::unscored("the target is no list of tool calls"),
            },
            AgreementBy::Auto => {
                if let Reference::Answer(_, calls) = reference
                    && !(calls.is_empty() && response.tool_calls.is_empty())
                {
                    return self.calls(calls, response);
                }
                match reference.json().filter(|value| value.is_object() || value.is_array()) {
                    Some(expected) => self.fields(&expected, response),
                    None => self.texts(reference, response),
                }
            }
        }
    }

    fn texts(&self, reference: Reference<'_>, response: &Response) -> Mark {
        let expected = reference.text();
        // A number is met by every way to write it.
        let is_same_number = || match reference {
            Reference::Target(number @ Value::Number(_)) => {
                json::parse_answer(&response.text).is_ok_and(|got| self.rules.is_same_value(number, &got.value))
            }
            Reference::Target(_) | Reference::Answer(..) => false,
        };
        if self.rules.is_same(&expected, &response.text) || is_same_number() {
            return Mark::binary(true);
        }
        Mark::binary(false).detail(json!({ "by": "text", "expected": shown(expected), "got": shown(&response.text) }))
    }

    fn calls(&self, expected: &[ToolCall], response: &Response) -> Mark {
        let got = &response.tool_calls;
        if self.are_same_calls(expected, got) {
            return Mark::binary(true);
        }
        let list = |calls: &[ToolCall]| -> Vec<Value> {
            calls.iter().take(LISTED).map(|call| json!([shown(&call.name), shown(&call.arguments)])).collect()
        };
        Mark::binary(false).detail(json!({ "by": "tools", "expected": list(expected), "got": list(got) }))
    }

    /// Each call finds its like among those that are left: being the same is an equivalence, so the first will do.
    fn are_same_calls(&self, expected: &[ToolCall], got: &[ToolCall]) -> bool {
        if expected.len() != got.len() {
            return false;
        }
        let mut left: Vec<(&ToolCall, Option<Value>)> = got.iter().map(|call| (call, arguments(call))).collect();
        expected.iter().all(|call| {
            let wanted = arguments(call);
            let like = left.iter().position(|(other, got)| {
                call.name == other.name
                    && match (&wanted, got) {
                        (Some(wanted), Some(got)) => self.rules.is_same_value(wanted, got),
                        (None, None) => self.rules.is_same(&call.arguments, &other.arguments),
                        (Some(_), None) | (None, Some(_)) => false,
                    }
            });
            like.is_some_and(|place| {
                left.swap_remove(place);
                true
            })
        })
    }

    fn fields(&self, expected: &Value, response: &Response) -> Mark {
        let got = match json::parse_answer(&response.text) {
            Ok(parsed) => parsed.value,
            Err(reason) => {
                let detail =
                    json!({ "by": "json", "got": shown(&response.text), "reason": format!("not JSON: {reason}") });
                return Mark::binary(false).detail(detail);
            }
        };
        let mut tally = Tally { rules: self.rules, same: 0, all: 0, differing: Vec::new() };
        tally.compare(expected, &got, &mut String::new());
        let Tally { same, all, differing, .. } = tally;
        if same == all {
            return Mark::binary(true);
        }
        let mark = Mark { score: crate::types::Score::Value(same as f64 / all as f64), detail: None };
        mark.detail(json!({ "by": "json", "same": same, "fields": all, "differing": differing }))
    }
}

/// The arguments of a call as a value; `None` when they are no JSON.
fn arguments(call: &ToolCall) -> Option<Value> {
    if call.arguments.trim().is_empty() {
        return Some(Value::Object(Map::new()));
    }
    json::parse(&call.arguments).ok()
}

/// Counts fields.
struct Tally {
    rules: Rules,
    same: u64,
    all: u64,
    /// Pointers to the first fields that differ.
    differing: Vec<String>,
}

impl Tally {
    /// Recursion ends: JSON is at most 127 levels deep here.
    fn compare(&mut self, one: &Value, other: &Value, path: &mut String) {
        match (one, other) {
            (Value::Object(one), Value::Object(other)) if !(one.is_empty() && other.is_empty()) => {
                for (key, value) in one {
                    below(path, key, |path| match other.get(key) {
                        Some(other) => self.compare(value, other, path),
                        None => self.differ(value, path),
                    });
                }
                for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                    below(path, key, |path| self.differ(value, path));
                }
            }
            (Value::Array(one), Value::Array(other)) if !(one.is_empty() && other.is_empty()) => {
                for index in 0..one.len().max(other.len()) {
                    below(path, &index.to_string(), |path| match (one.get(index), other.get(index)) {
                        (Some(one), Some(other)) => self.compare(one, other, path),
                        (Some(value), None) | (None, Some(value)) => self.differ(value, path),
                        (None, None) => {}
                    });
                }
            }
            (one, other) if is_leaf(one) && is_leaf(other) => {
                self.all += 1;
                if self.rules.is_same_value(one, other) {
                    self.same += 1;
                } else {
                    self.list(path);
                }
            }
            (one, other) => {
                self.differ(one, path);
                self.differ(other, path);
            }
        }
    }

    /// All fields of a value that the other side does not have.
    fn differ(&mut self, value: &Value, path: &mut String) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(key, value)| below(path, key, |path| self.differ(value, path)));
            }
            Value::Array(list) if !list.is_empty() => {
                list.iter().enumerate().for_each(|(index, value)| {
                    below(path, &index.to_string(), |path| self.differ(value, path));
                });
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.all += 1;
                self.list(path);
            }
        }
    }

    fn list(&mut self, path: &str) {
        if self.differing.len() < LISTED {
            self.differing.push(shown(path));
        }
    }
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Goes one step down a JSON pointer (RFC 6901), and back.
fn below(path: &mut String, step: &str, work: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    if step.contains(['~', '/']) {
        path.push_str(&step.replace('~', "~0").replace('/', "~1"));
    } else {
        path.push_str(step);
    }
    work(path);
    path.truncate(length);
}

/// The digest of an answer as `agreement` sees it by default: answers with the same digest agree wholly. For comparing
/// many answers without holding them.
pub fn digest_of(response: &Response) -> Digest {
    let rules = Rules { fold_space: true, ..Rules::default() };
    let mut hasher = Hasher::default();
    if !response.tool_calls.is_empty() {
        let written = |call: &ToolCall| {
            let arguments = match arguments(call) {
                Some(value) => canonical(&value, rules).to_string(),
                None => format!("not JSON: {}", rules.folded(&call.arguments)),
            };
            (call.name.clone(), arguments)
        };
        let mut calls: Vec<(String, String)> = response.tool_calls.iter().map(written).collect();
        calls.sort();
        hasher.part(b"tools");
        for (name, arguments) in calls {
            hasher.part(name.as_bytes()).part(arguments.as_bytes());
        }
        return hasher.finish();
    }
    match json::parse_answer(&response.text) {
        Ok(parsed) if parsed.value.is_object() || parsed.value.is_array() => {
            hasher.part(b"json").part(canonical(&parsed.value, rules).to_string().as_bytes());
        }
        _ => {
            hasher.part(b"text").part(rules.folded(&response.text).as_bytes());
        }
    }
    hasher.finish()
}

/// One way to write values that are the same.
fn canonical(value: &Value, rules: Rules) -> Value {
    match value {
        Value::String(text) => Value::String(rules.folded(text)),
        Value::Number(number) => match whole_of(number) {
            // `-0.0` is 0, and what an integer cannot hold stays as it is.
            Some(whole) => i64::try_from(whole)
                .map(Value::from)
                .unwrap_or_else(|_| u64::try_from(whole).map_or_else(|_| value.clone(), Value::from)),
            None => value.clone(),
        },
        Value::Array(list) => list.iter().map(|value| canonical(value, rules)).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            fields.into_iter().map(|(key, value)| (key.clone(), canonical(value, rules))).collect()
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scorer::Logged;
    use crate::scorer::tests::{mark, mark_logged, mark_with};

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: "x".into(), name: name.into(), arguments: arguments.into() }
    }

    fn said(text: &str, tool_calls: Vec<ToolCall>) -> Response {
        Response { text: text.into(), tool_calls, ..Response::default() }
    }

    fn logged(response: &Response) -> Logged {
        Logged::Answer { text: response.text.clone(), tool_calls: response.tool_calls.clone() }
    }

    /// The mark by `by`; `None` for unscored.
    fn value(by: &str, reference: &Response, response: &Response) -> Option<f64> {
        mark_logged(&json!({"agreement": {"by": by}}), &logged(reference), response).value()
    }

    #[test]
    fn json_is_compared_field_by_field() {
        let table = [
            (r#"{"a": 1, "b": [1, 2]}"#, r#"{"a": 1.0, "b": [1, 3, 4]}"#, 0.5),
            (r#"{"a": 1, "b": 2}"#, "```json\n{\"b\": 2, \"a\": 1}\n```", 1.0),
            (r#"{"a": 1, "b": 2}"#, r#"{"a": 1}"#, 0.5),
            (r#"{"a": 1}"#, r#"{"a": 1, "b": {"c": 2, "d": 3}}"#, 1.0 / 3.0),
            (r#"{"a": 1}"#, "a is 1", 0.0),
            (r#"{"a": 1}"#, "[1]", 0.0),
            (r#"{"a": {}}"#, r#"{"a": {}}"#, 1.0),
            (r#"{"a": {}}"#, r#"{"a": []}"#, 0.0),
            (r#"{"a": {"b": 1}}"#, r#"{"a": 1}"#, 0.0),
            ("{}", "{}", 1.0),
            ("[]", "[1]", 0.0),
            (r#"{"a": "x  y"}"#, r#"{"a": "x y"}"#, 1.0),
            (r#"{"a": null}"#, "{}", 0.0),
        ];
        for (reference, answer, expected) in table {
            let (reference, answer) = (said(reference, Vec::new()), said(answer, Vec::new()));
            assert_eq!(value("auto", &reference, &answer), Some(expected), "{reference:?} {answer:?}");
            assert_eq!(value("json", &reference, &answer), Some(expected), "{reference:?} {answer:?}");
        }
        assert_eq!(value("json", &said("text", Vec::new()), &said("text", Vec::new())), None);
        assert_eq!(value("json", &said("1.0", Vec::new()), &said("1", Vec::new())), Some(1.0));
    }

    #[test]
    fn details_name_the_fields_that_differ() {
        let target = json!({"a/b": 1, "c": [1, 2], "d": 4});
        let spec = json!({"agreement": {}});
        let detail = mark_with(&spec, None, Some(&target), r#"{"a/b": 2, "c": [1], "d": 4}"#)[0].detail.clone();
        assert_eq!(detail.unwrap(), json!({"by": "json", "same": 2, "fields": 4, "differing": ["/a~1b", "/c/1"]}));
        let many = format!("[{}1]", "1,".repeat(100_000));
        let detail = mark_with(&spec, None, Some(&json!([0])), &many)[0].detail.clone().unwrap();
        assert_eq!((detail["fields"].as_u64(), detail["differing"].as_array().unwrap().len()), (Some(100_001), LISTED));
    }

    #[test]
    fn calls_are_compared_as_sets_of_values() {
        let one = || vec![call("look", r#"{"n": 1, "at": "x"}"#), call("stop", "")];
        let table = [
            (one(), vec![call("stop", "{}"), call("look", r#"{"at":"x","n":1.0}"#)], 1.0),
            (one(), vec![call("look", r#"{"n": 2, "at": "x"}"#), call("stop", "")], 0.0),
            (one(), vec![call("look", r#"{"n": 1, "at": "x"}"#)], 0.0),
            (one(), Vec::new(), 0.0),
            (Vec::new(), one(), 0.0),
            (vec![call("a", "{}"), call("a", "{}")], vec![call("a", "{}"), call("a", "{\"b\": 1}")], 0.0),
            (vec![call("a", "{bad")], vec![call("a", "{bad")], 1.0),
            (vec![call("a", "{bad")], vec![call("a", "{}")], 0.0),
        ];
        for (reference, answer, expected) in table {
            let (reference, answer) = (said("Let me see.", reference), said("", answer));
            assert_eq!(value("tools", &reference, &answer), Some(expected), "{reference:?} {answer:?}");
            assert_eq!(value("auto", &reference, &answer), Some(expected), "{reference:?} {answer:?}");
        }
        let none = said("Paris", Vec::new());
        assert_eq!(value("auto", &none, &said("Paris", vec![call("a", "")])), Some(0.0), "it did something else");
        assert_eq!(value("tools", &none, &said("Rome", Vec::new())), Some(1.0), "neither calls a tool");
        let target = json!([{"function": {"name": "a", "arguments": {}}}]);
        assert_eq!(mark(&json!({"agreement": {"by": "tools"}}), &target, "a"), Some(0.0));
        assert_eq!(mark(&json!({"agreement": {"by": "tools"}}), &json!("a"), "a"), None);
    }

    #[test]
    fn texts_are_compared_by_the_rules() {
        let auto = json!({"agreement": {}});
        let loose = json!({"agreement": {"by": "text", "ignore_case": true, "ignore_punctuation": true}});
        let table = [
            (&auto, json!("Paris"), " Paris\n", Some(1.0)),
            (&auto, json!("Paris"), "paris", Some(0.0)),
            (&loose, json!("Paris"), "paris!", Some(1.0)),
            (&auto, json!(18), "18.0", Some(1.0)),
            (&auto, json!("18"), "18.0", Some(0.0)),
            (&auto, json!(true), "true", Some(1.0)),
            (&auto, json!({"a": 1}), "{\"a\": 1}", Some(1.0)),
            (&loose, json!([1]), "[1]", Some(1.0)),
            (&auto, Value::Null, "x", None),
        ];
        for (spec, target, answer, expected) in table {
            assert_eq!(mark(spec, &target, answer), expected, "{spec} {target} {answer:?}");
        }
    }

    #[test]
    fn a_request_that_failed_gives_no_mark() {
        let missing = Logged::Missing("the logged request failed");
        let seen = mark_logged(&json!({"agreement": {}}), &missing, &said("x", Vec::new()));
        assert_eq!(seen, Mark::unscored("the logged request failed"));
    }

    fn answers() -> impl Strategy<Value = Response> {
        let text = "[ab ]{0,3}|\\{\"a\": (1|1.0|2|\"b  a\"|\\[\\]|\\[1,2\\])(, \"b\": -0.0)?\\}|\\[(1e400|1e30)\\]|```\n\\[1\\]";
        let call =
            ("[ab]", "\\{\\}||\\{bad|\\{\"x\": ?(1|1.0)\\}").prop_map(|(name, arguments)| call(&name, &arguments));
        (text, prop::collection::vec(call, 0..3)).prop_map(|(text, calls)| said(&text, calls))
    }

    proptest! {
        #[test]
        fn an_answer_agrees_with_itself_and_digests_say_the_same(one in answers(), other in answers()) {
            for by in ["auto", "text", "tools"] {
                prop_assert_eq!(value(by, &one, &one), Some(1.0));
            }
            let both = [value("auto", &one, &other), value("auto", &other, &one)];
            prop_assert_eq!(both[0] == Some(1.0), both[1] == Some(1.0));
            prop_assert_eq!(digest_of(&one) == digest_of(&other), both[0] == Some(1.0));
        }
    }
}
