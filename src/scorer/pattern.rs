//! `regex`: a pattern that must be found in the answer.

use regex::Regex;
use serde_json::json;

use crate::scorer::extract::{self, Extractor};
use crate::scorer::{BuildFault, Case, MetricName, Scorer};
use crate::suite::spec::RegexSpec;
use crate::types::Mark;

/// The pattern may match anywhere. A part that a pointer led to and that is a list or an object is searched as compact JSON.
struct Pattern {
    metrics: Vec<MetricName>,
    extractor: Extractor,
    regex: Regex,
}

pub fn build(spec: &RegexSpec, metrics: Vec<MetricName>, faults: &mut Vec<BuildFault>) -> Option<Box<dyn Scorer>> {
    let extractor = Extractor::build(spec.extract.as_ref(), None, None, faults);
    let regex = extract::pattern(&spec.pattern, &["pattern"]).map_err(|fault| faults.push(fault)).ok();
    Some(Box::new(Pattern { metrics, extractor: extractor?, regex: regex? }))
}

impl Scorer for Pattern {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let part = match self.extractor.answer(&case.response.text) {
            Ok(part) => part,
            Err(reason) => return marks.push(Mark::binary(false).detail(json!({ "reason": reason }))),
        };
        let is_found = part.rendered().is_some_and(|text| self.regex.is_match(&text));
        marks.push(if is_found {
            Mark::binary(true)
        } else {
            Mark::binary(false).detail(json!({ "got": part.shown() }))
        });
    }

    fn needs_target(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::scorer::tests::{faults, mark};

    #[test]
    fn patterns_are_found() {
        let table = [
            (json!({"pattern": "^\\d+$"}), "18", 1.0),
            (json!({"pattern": "^\\d+$"}), "18\n", 0.0),
            (json!({"pattern": "(?m)^b$"}), "a\nb\nc", 1.0),
            (json!({"pattern": "(?i)yes"}), "oh YES", 1.0),
            (json!({"pattern": "\\x00"}), "a\0b", 1.0),
            (json!({"pattern": "b", "extract": {"fence": true}}), "b\n```\na\n```", 0.0),
            (json!({"pattern": "b", "extract": {"fence": true}}), "b", 0.0),
            (json!({"pattern": "^\\[1,", "extract": {"pointer": "/a"}}), "{\"a\": [1, 2]}", 1.0),
            (json!({"pattern": "", "extract": {"pointer": "/a"}}), "{\"a\": null}", 0.0),
            (json!({"pattern": "(a|aa)+$"}), &"a".repeat(1 << 20), 1.0),
            (json!({"pattern": "(a|aa)+$"}), &format!("{}b", "a".repeat(1 << 16)), 0.0),
        ];
        for (spec, answer, expected) in table {
            assert_eq!(mark(&json!({ "regex": spec }), &Value::Null, answer), Some(expected), "{spec}");
        }
    }

    #[test]
    fn both_faults_are_found_at_once() {
        let faults = faults(&json!({"regex": {"pattern": "[", "extract": {}}}), None);
        assert_eq!(faults.iter().map(|fault| fault.path.join(".")).collect::<Vec<_>>(), ["extract", "pattern"]);
    }
}
