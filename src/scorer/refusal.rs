//! `refusal`: the model did not refuse.

use serde_json::json;

use crate::scorer::normalise::{fold_case, shown};
use crate::scorer::{Case, MetricName, Scorer};
use crate::suite::spec::RefusalSpec;
use crate::types::{Finish, Mark};

/// A refusal is what the service calls one (`is_refusal`), what a content filter has cut, and, where the suite gives
/// phrases, an answer that has one of them. There are none by default: what a refusal sounds like differs by language
/// and model, and `I cannot` also stands in good answers, so a list of ours would count some models' habits and miss
/// others'.
struct Refusal {
    metrics: Vec<MetricName>,
    /// As written, and plain.
    phrases: Vec<(String, String)>,
}

pub fn build(spec: &RefusalSpec, metrics: Vec<MetricName>) -> Box<dyn Scorer> {
    let phrases = spec.phrases.iter().map(|phrase| (phrase.clone(), plain(phrase))).collect();
    Box::new(Refusal { metrics, phrases })
}

/// Without case, with one kind of apostrophe, and with single blanks.
fn plain(text: &str) -> String {
    let folded = fold_case(text).replace(['\u{2019}', '\u{2bc}'], "'");
    folded.split_whitespace().collect::<Vec<&str>>().join(" ")
}

impl Scorer for Refusal {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let said = if case.response.is_refusal {
            Some(json!({ "refused": "the service says so" }))
        } else if case.response.finish == Some(Finish::Filter) {
            Some(json!({ "refused": "a content filter cut in" }))
        } else if self.phrases.is_empty() {
            None
        } else {
            let text = plain(&case.response.text);
            let found = self.phrases.iter().find(|(_, phrase)| text.contains(phrase.as_str()));
            found.map(|(written, _)| json!({ "refused": "it has a phrase", "phrase": shown(written) }))
        };
        marks.push(match said {
            None => Mark::binary(true),
            Some(detail) => Mark::binary(false).detail(detail),
        });
    }

    fn needs_target(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::tests::mark;
    use crate::types::{Response, Score};

    #[test]
    fn phrases_are_found_in_any_case_and_with_any_apostrophe() {
        let spec = json!({"refusal": {"phrases": ["I can't help", "as an AI"]}});
        for (answer, expected) in [
            ("Paris.", 1.0),
            ("", 1.0),
            ("Sorry, i can\u{2019}t\n help with that.", 0.0),
            ("AS AN AI, no", 0.0),
            ("I can help", 1.0),
        ] {
            assert_eq!(mark(&spec, &json!(null), answer), Some(expected), "{answer:?}");
        }
        assert_eq!(mark(&json!({"refusal": {}}), &json!(null), "I can't help"), Some(1.0), "none by default");
    }

    #[test]
    fn the_service_and_its_filter_are_believed() {
        let scorer = build(&RefusalSpec::default(), Vec::new());
        let value = |response: &Response| {
            let mut marks = Vec::new();
            scorer.mark(&Case { target: None, logged: None, schema: None, response }, &mut marks);
            marks.remove(0).score
        };
        let plain = Response { text: "x".into(), finish: Some(Finish::Stop), ..Response::default() };
        assert_eq!(value(&plain), Score::Value(1.0));
        assert_eq!(value(&Response { is_refusal: true, ..plain.clone() }), Score::Value(0.0));
        assert_eq!(value(&Response { finish: Some(Finish::Filter), ..plain }), Score::Value(0.0));
    }
}
