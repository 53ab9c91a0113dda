//! `label`: the answer names the right class.

use std::borrow::Cow;

use serde_json::json;

use crate::scorer::extract::{Extractor, Part};
use crate::scorer::normalise::{Rules, bare, fold_case, shown};
use crate::scorer::{BuildFault, Case, MetricName, Scorer};
use crate::suite::spec::LabelSpec;
use crate::types::Mark;

/// Longer texts name no class. It keeps whole answers out of confusion matrices.
const LABEL_CHARS: usize = 200;

/// White space is folded, and case unless told otherwise. An answer is first read as it stands and then without quotes,
/// markdown and a final stop around it. A class is written in details as `classes` has it; without `classes`, and with case
/// ignored, in lower case, so that one class is not counted as two.
struct Label {
    metrics: Vec<MetricName>,
    extractor: Extractor,
    classes: Vec<String>,
    rules: Rules,
}

pub fn build(spec: &LabelSpec, metrics: Vec<MetricName>, faults: &mut Vec<BuildFault>) -> Option<Box<dyn Scorer>> {
    let rules = Rules { fold_space: true, ignore_case: spec.ignore_case, ignore_punctuation: false };
    for (index, class) in spec.classes.iter().enumerate() {
        let index_text = index.to_string();
        let path = ["classes", &index_text];
        if class.trim().is_empty() || class.chars().count() > LABEL_CHARS {
            faults.push(BuildFault::new(&path, format!("a class has 1 to {LABEL_CHARS} characters")));
        }
        if let Some(same) = spec.classes[..index].iter().find(|other| rules.is_same(other, class)) {
            let message = format!("class `{}` is the same as `{}`", shown(class), shown(same));
            let fault = BuildFault::new(&path, message);
            faults.push(if same.trim() == class.trim() || !spec.ignore_case {
                fault
            } else {
                fault.help("`ignore_case: false` keeps them apart")
            });
        }
    }
    let extractor =
        Extractor::build(spec.extract.as_ref(), spec.target_extract.as_ref(), spec.field.as_deref(), faults)?;
    Some(Box::new(Label { metrics, extractor, classes: spec.classes.clone(), rules }))
}

impl Scorer for Label {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let expected = match self.extractor.target(case.target).and_then(|part| self.expected(&part)) {
            Ok(expected) => expected,
            Err(reason) => return marks.push(Mark::unscored(reason)),
        };
        let predicted = self.extractor.answer(&case.response.text).and_then(|part| self.predicted(&part, &expected));
        marks.push(match predicted {
            Ok(predicted) => {
                let is_right = predicted == expected;
                Mark::binary(is_right).detail(json!({ "expected": expected, "predicted": predicted }))
            }
            Err(reason) => {
                Mark::binary(false).detail(json!({ "expected": expected, "predicted": null, "reason": reason }))
            }
        });
    }

    fn needs_target(&self) -> bool {
        true
    }
}

impl Label {
    fn expected(&self, part: &Part<'_>) -> Result<String, &'static str> {
        let Some(text) = part.text() else { return Err("the target is no class: null, a list or an object") };
        if !self.classes.is_empty() {
            return self.class(&text).ok_or("the target is not one of `classes`").map(str::to_owned);
        }
        self.free(&text).ok_or("the target is empty or too long to be a class")
    }

    fn predicted(&self, part: &Part<'_>, expected: &str) -> Result<String, String> {
        let Some(text) = part.text() else {
            return Err(format!("no class: {}", part.rendered().map_or("null".into(), shown)));
        };
        if !self.classes.is_empty() {
            let class = self.class(&text).or_else(|| self.class(bare(&text)));
            return class.map(str::to_owned).ok_or_else(|| format!("not one of `classes`: {}", shown(text.trim())));
        }
        // A target may itself be wrapped, so the answer as it stands comes first.
        if self.free(&text).is_some_and(|label| label == expected) {
            return Ok(expected.to_owned());
        }
        self.free(bare(&text)).ok_or_else(|| match text.trim().is_empty() {
            true => "the answer is empty".into(),
            false => format!("too long for a class: {}", shown(text.trim())),
        })
    }

    fn class(&self, text: &str) -> Option<&str> {
        self.classes.iter().find(|class| self.rules.is_same(class, text)).map(String::as_str)
    }

    /// A label when any is allowed: its words with one blank between them. `None` when it is empty or too long.
    fn free(&self, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() || text.chars().nth(LABEL_CHARS).is_some() {
            return None;
        }
        let text = if self.rules.ignore_case { Cow::Owned(fold_case(text)) } else { Cow::Borrowed(text) };
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::scorer::tests::{faults, mark_with};
    use crate::types::Score;

    /// Expected and predicted class, or the reason for no mark.
    fn seen(spec: &Value, target: &Value, answer: &str) -> (String, Option<String>) {
        let mark = mark_with(&json!({ "label": spec }), None, Some(target), answer).remove(0);
        match mark.score {
            Score::Unscored(reason) | Score::Missing(reason) => (reason, None),
            Score::Value(value) => {
                let detail = mark.detail.unwrap();
                let text = |key: &str| detail[key].as_str().map(str::to_owned);
                let (expected, predicted) = (text("expected").unwrap(), text("predicted"));
                assert_eq!(value, if predicted.as_ref() == Some(&expected) { 1.0 } else { 0.0 });
                assert_eq!(predicted.is_none(), detail.get("reason").is_some());
                (expected, predicted)
            }
        }
    }

    #[test]
    fn classes() {
        let free = json!({});
        let strict = json!({"ignore_case": false});
        let classes = json!({"classes": ["Refund", "Other topic", "N.A."]});
        let field = json!({"field": "/intent", "classes": ["refund", "other"]});
        let long = "x".repeat(10 << 20);
        let table = [
            (&free, json!("Refund"), "refund", "refund", Some("refund")),
            (&free, json!("refund"), " **Refund.**\n", "refund", Some("refund")),
            (&free, json!("refund"), "other", "refund", Some("other")),
            (&free, json!("N.A."), "n.a.", "n.a.", Some("n.a.")),
            (&free, json!("a  b"), "A\nB", "a b", Some("a b")),
            (&free, json!(3), "3", "3", Some("3")),
            (&free, json!(true), "True", "true", Some("true")),
            (&free, json!("refund"), "", "refund", None),
            (&free, json!("refund"), "**", "refund", None),
            (&free, json!("refund"), &long, "refund", None),
            (&strict, json!("Refund"), "refund", "Refund", Some("refund")),
            (&classes, json!("refund"), "`REFUND`", "Refund", Some("Refund")),
            (&classes, json!("Refund"), "Other  Topic.", "Refund", Some("Other topic")),
            (&classes, json!("Refund"), "N.A.", "Refund", Some("N.A.")),
            (&classes, json!("Refund"), "It is Refund", "Refund", None),
            (&classes, json!("Refund"), "", "Refund", None),
            (&field, json!({"intent": "refund"}), "{\"intent\": \"refund\"}", "refund", Some("refund")),
            (&field, json!("refund"), "```json\n{\"intent\": \"Other\"}\n```", "refund", Some("other")),
            (&field, json!("refund"), "{\"intent\": null}", "refund", None),
            (&field, json!("refund"), "{\"intent\": [\"refund\"]}", "refund", None),
            (&field, json!("refund"), "refund", "refund", None),
        ];
        for (spec, target, answer, expected, predicted) in table {
            let got = seen(spec, &target, answer);
            assert_eq!((got.0.as_str(), got.1.as_deref()), (expected, predicted), "{spec} {target}");
        }
    }

    #[test]
    fn targets_that_are_no_class_are_unscored() {
        let classes = json!({"classes": ["a"]});
        for (spec, target, reason) in [
            (&classes, json!("b"), "the target is not one of `classes`"),
            (&classes, json!({}), "the target is no class: null, a list or an object"),
            (&json!({}), json!(" "), "the target is empty or too long to be a class"),
            (&json!({}), Value::Null, "the row has no target"),
        ] {
            assert_eq!(seen(spec, &target, "a"), (reason.to_owned(), None));
        }
    }

    #[test]
    fn faulty_classes() {
        let found = faults(&json!({"label": {"classes": ["a", " ", "A", "x".repeat(201)], "field": "~2"}}), None);
        let paths: Vec<String> = found.iter().map(|fault| fault.path.join(".")).collect();
        assert_eq!(paths, ["classes.1", "classes.2", "classes.3"]);
        assert!(found[1].help.is_some());
        assert!(faults(&json!({"label": {"classes": ["a", "A"], "ignore_case": false}}), None).is_empty());
    }
}
