//! `exact`: the answer is the target.

use serde_json::{Value, json};

use crate::scorer::extract::{Extractor, Part};
use crate::scorer::normalise::Rules;
use crate::scorer::{BuildFault, Case, MetricName, Scorer, missed};
use crate::suite::spec::ExactSpec;
use crate::types::Mark;
use crate::util::json;

/// Text is compared with text. When the target is a list, an object or (through a pointer) null, the answer must be JSON,
/// in a code fence or not, and is compared as such: keys in any order, numbers by value (1 is 1.0), strings by the same
/// rules as texts, keys exactly. A number as target is met by its own digits and by any JSON number of its value.
struct Exact {
    metrics: Vec<MetricName>,
    extractor: Extractor,
    rules: Rules,
}

pub fn build(spec: &ExactSpec, metrics: Vec<MetricName>, faults: &mut Vec<BuildFault>) -> Option<Box<dyn Scorer>> {
    let extractor =
        Extractor::build(spec.extract.as_ref(), spec.target_extract.as_ref(), spec.field.as_deref(), faults)?;
    let rules = Rules {
        fold_space: spec.fold_space,
        ignore_case: spec.ignore_case,
        ignore_punctuation: spec.ignore_punctuation,
    };
    Some(Box::new(Exact { metrics, extractor, rules }))
}

impl Scorer for Exact {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let expected = match self.extractor.target(case.target) {
            Ok(expected) => expected,
            Err(reason) => return marks.push(Mark::unscored(reason)),
        };
        let got = match self.extractor.answer(&case.response.text) {
            Ok(got) => got,
            Err(reason) => return marks.push(missed(expected.shown(), reason)),
        };
        marks.push(if self.is_right(&expected, &got) {
            Mark::binary(true)
        } else {
            Mark::binary(false).detail(json!({ "expected": expected.shown(), "got": got.shown() }))
        });
    }

    fn needs_target(&self) -> bool {
        true
    }
}

impl Exact {
    fn is_right(&self, expected: &Part<'_>, got: &Part<'_>) -> bool {
        if let Some(expected) = expected.text()
            && let Some(got) = got.text()
            && self.rules.is_same(&expected, &got)
        {
            return true;
        }
        match (expected, got) {
            (Part::Json(expected), Part::Json(got)) => self.rules.is_same_value(expected, got),
            (Part::Json(expected), Part::Text(got)) => match expected.as_ref() {
                Value::String(_) | Value::Bool(_) => false,
                Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    json::parse_answer(got).is_ok_and(|parsed| self.rules.is_same_value(expected, &parsed.value))
                }
            },
            (Part::Text(_), Part::Text(_) | Part::Json(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::tests::{mark, mark_with};

    #[test]
    fn texts() {
        let plain = json!({"exact": {}});
        let table = [
            (&plain, json!("Paris"), "Paris", 1.0),
            (&plain, json!("Paris"), " Paris\n", 1.0),
            (&plain, json!("New York"), "New\u{a0} York", 1.0),
            (&plain, json!("Paris"), "paris", 0.0),
            (&plain, json!("Paris"), "Paris.", 0.0),
            (&plain, json!(""), "", 1.0),
            (&plain, json!("\u{e9}"), "e\u{301}", 0.0),
            (&plain, json!(true), "true", 1.0),
            (&plain, json!(true), "True", 0.0),
            (&plain, json!(18), "18", 1.0),
            (&plain, json!(18), "18.0", 1.0),
            (&plain, json!("18"), "18.0", 0.0),
            (&plain, json!(18), "019", 0.0),
            (&plain, json!("null"), "null", 1.0),
            (&json!({"exact": {"fold_space": false}}), json!("a"), "a ", 0.0),
            (&json!({"exact": {"ignore_case": true}}), json!("Straße"), "STRASSE", 1.0),
            (&json!({"exact": {"ignore_punctuation": true}}), json!("Paris"), "Paris!", 1.0),
            (
                &json!({"exact": {"extract": {"regex": "is (\\w+)"}, "target_extract": {"regex": ".*"}}}),
                json!("x"),
                "it is x",
                1.0,
            ),
            (&json!({"exact": {"field": "/a"}}), json!({"a": "x"}), "{\"a\": \"x\"}", 1.0),
            (&json!({"exact": {"field": "a"}}), json!("x"), "{\"a\": \"x\"}", 1.0),
            (&json!({"exact": {"field": "a"}}), json!("1"), "{\"a\": 1}", 1.0),
            (&json!({"exact": {"field": "a"}}), json!({"a": null}), "{\"a\": null}", 1.0),
            (&json!({"exact": {"field": "a"}}), json!({"a": null}), "{\"a\": \"null\"}", 0.0),
            (&json!({"exact": {"field": "a"}}), json!("x"), "{}", 0.0),
        ];
        for (spec, target, answer, expected) in table {
            assert_eq!(mark(spec, &target, answer), Some(expected), "{spec} {target} {answer:?}");
        }
    }

    #[test]
    fn json_values() {
        let plain = json!({"exact": {}});
        let table = [
            (json!({"a": 1, "b": ["x", null]}), "{\"b\": [\"x\", null], \"a\": 1.0}", 1.0),
            (json!({"a": 1}), "```json\n{\"a\": 1}\n```", 1.0),
            (json!({"a": 1}), "{\"a\": 1, \"b\": 2}", 0.0),
            (json!({"a": 1}), "{\"a\": 1.5}", 0.0),
            (json!({"a": "x y"}), "{\"a\": \" x  y\"}", 1.0),
            (json!({"a": true}), "{\"a\": \"true\"}", 0.0),
            (json!([1, 2]), "[2, 1]", 0.0),
            (json!([u64::MAX]), "[18446744073709551615]", 1.0),
            (json!([u64::MAX]), "[18446744073709551616]", 0.0),
            (json!([9_007_199_254_740_993_u64]), "[9007199254740992.0]", 0.0),
            (json!([0]), "[-0.0]", 1.0),
            (json!([1e300]), "[1e300]", 1.0),
            (json!([1]), "[1e400]", 0.0),
            (json!([]), "[", 0.0),
        ];
        for (target, answer, expected) in table {
            assert_eq!(mark(&plain, &target, answer), Some(expected), "{target} {answer:?}");
        }
    }

    #[test]
    fn no_target_is_unscored_and_a_wrong_answer_says_what_was_seen() {
        let plain = json!({"exact": {}});
        assert_eq!(mark(&plain, &Value::Null, "x"), None);
        let got = mark_with(&plain, None, Some(&json!("x")), &"y".repeat(10 << 20));
        let detail = got[0].detail.clone().unwrap();
        assert_eq!(detail["expected"], "x");
        assert!(detail["got"].as_str().unwrap().len() < 300);
    }
}
