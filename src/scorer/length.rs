//! `length`: the answer is about as long as the reference.

use serde_json::json;

use crate::scorer::reference::Reference;
use crate::scorer::{Case, MetricName, Scorer};
use crate::suite::spec::LengthSpec;
use crate::types::Mark;

/// Characters (Unicode scalar values) are counted without the white space around the text: tokens would depend on whose
/// tokenizer counts them. A reference without a text, as of an answer that only calls tools, has no ratio.
struct Length {
    metrics: Vec<MetricName>,
    at_least: Option<f64>,
    at_most: Option<f64>,
}

pub fn build(spec: &LengthSpec, metrics: Vec<MetricName>) -> Box<dyn Scorer> {
    Box::new(Length { metrics, at_least: spec.at_least, at_most: spec.at_most })
}

impl Scorer for Length {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let reference = match Reference::of(case) {
            Ok(reference) => reference.text().trim().chars().count(),
            Err(reason) => return marks.push(Mark::unscored(reason)),
        };
        if reference == 0 {
            return marks.push(Mark::unscored("the reference has no text to compare lengths with"));
        }
        let got = case.response.text.trim().chars().count();
        let ratio = got as f64 / reference as f64;
        let is_within =
            self.at_least.is_none_or(|least| ratio >= least) && self.at_most.is_none_or(|most| ratio <= most);
        marks.push(match is_within {
            true => Mark::binary(true),
            false => Mark::binary(false).detail(json!({ "characters": got, "reference": reference, "ratio": ratio })),
        });
    }

    fn needs_target(&self) -> bool {
        true
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::Logged;
    use crate::scorer::tests::{mark, mark_logged, mark_with};
    use crate::types::{Response, Score};

    #[test]
    fn bounds_are_ratios_and_hold_themselves() {
        let both = json!({"length": {"at_least": 0.5, "at_most": 2}});
        let least = json!({"length": {"at_least": 0.5}});
        let most = json!({"length": {"at_most": 2}});
        let table = [
            (&both, "abcd", 1.0),
            (&both, " ab\n", 1.0),
            (&both, "a", 0.0),
            (&both, "abcdabcd", 1.0),
            (&both, "abcdabcda", 0.0),
            (&both, "", 0.0),
            (&both, "äöüß", 1.0),
            (&least, "abcdabcda", 1.0),
            (&least, "a", 0.0),
            (&most, "", 1.0),
            (&most, "abcdabcda", 0.0),
        ];
        for (spec, answer, expected) in table {
            assert_eq!(mark(spec, &json!("abcd"), answer), Some(expected), "{spec} {answer:?}");
        }
        assert_eq!(mark(&both, &json!(1234), "abcd"), Some(1.0));
        let detail = mark_with(&both, None, Some(&json!("abcd")), "a")[0].detail.clone();
        assert_eq!(detail, Some(json!({"characters": 1, "reference": 4, "ratio": 0.25})));
    }

    #[test]
    fn without_a_text_to_compare_with_there_is_no_mark() {
        let spec = json!({"length": {"at_most": 2}});
        assert_eq!(mark(&spec, &json!(null), "a"), None);
        assert_eq!(mark(&spec, &json!(" "), ""), None);
        let logged = Logged::Answer { text: "abcd".into(), tool_calls: Vec::new() };
        let response = Response { text: "abcdabcda".into(), ..Response::default() };
        assert_eq!(mark_logged(&spec, &logged, &response).score, Score::Value(0.0));
        let missing = Logged::Missing("the log has no answer");
        assert_eq!(mark_logged(&spec, &missing, &response), Mark::unscored("the log has no answer"));
    }
}
