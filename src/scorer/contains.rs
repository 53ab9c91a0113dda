//! `contains`: texts that must, or must not, occur in the answer.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::scorer::extract::{Extractor, NO_TARGET};
use crate::scorer::normalise::{fold_case, shown};
use crate::scorer::{BuildFault, Case, MetricName, Scorer};
use crate::suite::spec::ContainsSpec;
use crate::types::Mark;
use crate::util::field;

/// How many texts a detail lists.
const LISTED: usize = 20;

/// Texts are looked for as they are, white space included. A part that a pointer led to and that is a list or an object is
/// searched as compact JSON.
struct Contains {
    metrics: Vec<MetricName>,
    extractor: Extractor,
    any: Vec<Wanted>,
    all: Vec<Wanted>,
    none: Vec<Wanted>,
    ignore_case: bool,
}

/// A text to look for: as written, and as it is looked for.
struct Wanted {
    written: String,
    sought: String,
}

pub fn build(spec: &ContainsSpec, metrics: Vec<MetricName>, faults: &mut Vec<BuildFault>) -> Option<Box<dyn Scorer>> {
    for (key, texts) in [("any", &spec.any), ("all", &spec.all), ("none", &spec.none)] {
        if texts.iter().any(String::is_empty) {
            faults.push(BuildFault::new(&[key], format!("`{key}` has an empty text, which occurs in every answer")));
        }
    }
    let extractor = Extractor::build(spec.extract.as_ref(), None, None, faults)?;
    let wanted = |texts: &[String]| texts.iter().map(|text| Wanted::new(text, spec.ignore_case)).collect();
    Some(Box::new(Contains {
        metrics,
        extractor,
        any: wanted(&spec.any),
        all: wanted(&spec.all),
        none: wanted(&spec.none),
        ignore_case: spec.ignore_case,
    }))
}

impl Wanted {
    fn new(text: &str, ignore_case: bool) -> Wanted {
        Wanted { written: text.to_owned(), sought: if ignore_case { fold_case(text) } else { text.to_owned() } }
    }
}

impl Scorer for Contains {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let from_target;
        let all = if self.needs_target() {
            from_target = match self.of_target(case.target) {
                Ok(wanted) => wanted,
                Err(reason) => return marks.push(Mark::unscored(reason)),
            };
            &from_target
        } else {
            &self.all
        };
        let part = match self.extractor.answer(&case.response.text) {
            Ok(part) => part,
            Err(reason) => return marks.push(Mark::binary(false).detail(json!({ "reason": reason }))),
        };
        let Some(text) = part.rendered() else {
            return marks.push(Mark::binary(false).detail(json!({ "reason": "the answer's part is null" })));
        };
        let text = if self.ignore_case { Cow::Owned(fold_case(&text)) } else { text };
        let occurs = |wanted: &&Wanted| text.contains(&wanted.sought);
        let missing: Vec<&Wanted> = all.iter().filter(|wanted| !occurs(wanted)).collect();
        let unwanted: Vec<&Wanted> = self.none.iter().filter(occurs).collect();
        let has_any = self.any.is_empty() || self.any.iter().any(|wanted| occurs(&wanted));
        if has_any && missing.is_empty() && unwanted.is_empty() {
            return marks.push(Mark::binary(true));
        }
        let mut detail = serde_json::Map::new();
        if !has_any {
            detail.insert("none_of".into(), listed(self.any.iter()));
        }
        if !missing.is_empty() {
            detail.insert("missing".into(), listed(missing.into_iter()));
        }
        if !unwanted.is_empty() {
            detail.insert("unwanted".into(), listed(unwanted.into_iter()));
        }
        marks.push(Mark::binary(false).detail(Value::Object(detail)));
    }

    fn needs_target(&self) -> bool {
        self.any.is_empty() && self.all.is_empty() && self.none.is_empty()
    }
}

impl Contains {
    fn of_target(&self, target: Option<&Value>) -> Result<Vec<Wanted>, &'static str> {
        let texts = match target {
            None | Some(Value::Null) => return Err(NO_TARGET),
            Some(Value::Array(items)) => items.iter().map(field::text).collect(),
            Some(target) => vec![field::text(target)],
        };
        let texts: Option<Vec<String>> = texts.into_iter().collect();
        let texts = texts.ok_or("the target is neither text nor a list of texts")?;
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Err("the target has nothing to look for");
        }
        Ok(texts.iter().map(|text| Wanted::new(text, self.ignore_case)).collect())
    }
}

fn listed<'a>(wanted: impl Iterator<Item = &'a Wanted>) -> Value {
    wanted.take(LISTED).map(|wanted| Value::String(shown(&wanted.written))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::tests::{faults, mark, mark_with};

    #[test]
    fn texts_occur() {
        let plain = json!({"contains": {}});
        let case = json!({"contains": {"ignore_case": true}});
        let any = json!({"contains": {"any": ["yes", "Ja"]}});
        let all = json!({"contains": {"all": ["a", "b"], "none": ["c"]}});
        let none = json!({"contains": {"none": ["As an AI"]}});
        let both = json!({"contains": {"any": ["x", "y"], "all": ["a"], "none": ["n"]}});
        let field = json!({"contains": {"extract": {"pointer": "/a"}, "all": ["x"]}});
        let some = json!("needle");
        let table = [
            (&plain, &some, "hay needle hay", Some(1.0)),
            (&plain, &some, "hay Needle hay", Some(0.0)),
            (&plain, &some, "", Some(0.0)),
            (&case, &json!("STRASSE"), "die Straße", Some(1.0)),
            (&plain, &json!(["a", 1, true]), "a 1 true", Some(1.0)),
            (&plain, &json!(["a", "b"]), "a", Some(0.0)),
            (&plain, &json!([]), "a", None),
            (&plain, &json!(""), "a", None),
            (&plain, &json!([["a"]]), "a", None),
            (&plain, &json!({"a": 1}), "a", None),
            (&plain, &Value::Null, "a", None),
            (&any, &Value::Null, "Ja!", Some(1.0)),
            (&any, &Value::Null, "ja!", Some(0.0)),
            (&any, &some, "needle", Some(0.0)),
            (&all, &Value::Null, "ab", Some(1.0)),
            (&all, &Value::Null, "abc", Some(0.0)),
            (&all, &Value::Null, "a", Some(0.0)),
            (&none, &Value::Null, "Sure.", Some(1.0)),
            (&none, &some, "As an AI needle", Some(0.0)),
            (&both, &Value::Null, "ay", Some(1.0)),
            (&both, &Value::Null, "a", Some(0.0)),
            (&both, &Value::Null, "ayn", Some(0.0)),
            (&field, &Value::Null, "{\"a\": [\"x\"], \"b\": 1}", Some(1.0)),
            (&field, &Value::Null, "{\"a\": null, \"x\": 1}", Some(0.0)),
            (&field, &Value::Null, "x", Some(0.0)),
        ];
        for (spec, target, answer, expected) in table {
            assert_eq!(mark(spec, target, answer), expected, "{spec} {target} {answer:?}");
        }
        let marks = mark_with(&both, None, None, "n");
        assert_eq!(marks[0].detail, Some(json!({"none_of": ["x", "y"], "missing": ["a"], "unwanted": ["n"]})));
    }

    #[test]
    fn an_empty_text_is_a_fault() {
        let faults = faults(&json!({"contains": {"any": [""], "none": ["x", ""]}}), None);
        assert_eq!(faults.iter().map(|fault| fault.path[0].as_str()).collect::<Vec<_>>(), ["any", "none"]);
    }
}
