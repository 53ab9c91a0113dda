//! Answers that something else produced, looked up by a field that they share with the golden set. Nothing is measured:
//! times, tokens and money are what the file says, or unknown.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture};
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::Value;

use crate::provider::{Answer, Event, Outgoing, Provider, Refusal, plain};
use crate::suite::spec::RecordedSpec;
use crate::suite::values::JoinField;
use crate::types::{Failure, ROUNDING, Request, Row};
use crate::util::field;
use crate::util::text::shorten;

/// Finds an answer's row by the text of the join field; `None` when there is none.
pub type Lookup = Arc<dyn Fn(&str) -> Result<Option<Row>, String> + Send + Sync>;

/// The field with the answer's text, unless the suite names another.
const TEXT: &str = "output";

/// How much of a text from the file a failure keeps.
const DETAIL: usize = 400;

/// A candidate whose answers are in a file.
pub struct Recorded {
    spec: RecordedSpec,
    on: JoinField,
    lookup: Lookup,
}

impl Recorded {
    /// `on` is the field by which `lookup` finds an answer.
    pub fn new(spec: &RecordedSpec, on: JoinField, lookup: Lookup) -> Recorded {
        Recorded { spec: spec.clone(), on, lookup }
    }

    fn events(&self, request: &Request) -> Result<Vec<Event>, String> {
        let JoinField { answer: on, sample } = &self.on;
        let key = field::get(&request.row, sample).and_then(field::text);
        let key = key.ok_or_else(|| format!("the sample has no `{sample}` to look its answer up by"))?;
        let row = (self.lookup)(&key)?.ok_or_else(|| format!("no answer with `{on}` = `{}`", shorten(&key, 60)))?;
        let spec = &self.spec;
        if let Some((_, reason)) = named(&row, &spec.failure)
            && !plain::is_blank(reason)
            && *reason != Value::Bool(false)
        {
            return Err(plain::text(reason).unwrap_or_default());
        }
        let mut events = Vec::new();
        let calls = read(&row, &spec.tool_calls, plain::tool_calls)?.unwrap_or_default();
        let text_field = spec.text.as_deref().unwrap_or(TEXT);
        match field::get(&row, text_field).and_then(plain::text) {
            Some(text) => events.push(Event::Text(text)),
            // A model that only calls tools says nothing.
            None if !calls.is_empty() => {}
            None => {
                return Err(format!("the answer with `{on}` = `{}` has no `{text_field}`", shorten(&key, 60)));
            }
        }
        events.extend(calls);
        events.extend(read(&row, &spec.finish, plain::finish)?.into_iter().flatten());
        events.extend(named(&row, &spec.refusal).filter(|(_, said)| is_said(said)).map(|_| Event::Refusal));
        events.extend(read(&row, &spec.usage, plain::usage)?.map(Event::Usage));
        let latency = read(&row, &spec.latency_ms, plain::duration)?.flatten();
        let mut ttft = read(&row, &spec.ttft_ms, plain::duration)?.flatten();
        if let (Some(first), Some(whole)) = (ttft, latency) {
            if first > whole + ROUNDING {
                let fields = [&spec.ttft_ms, &spec.latency_ms].map(|field| field.as_deref().unwrap_or_default());
                return Err(format!("`{}` is longer than `{}`", fields[0], fields[1]));
            }
            ttft = Some(first.min(whole));
        }
        let cost_usd = read(&row, &spec.cost_usd, plain::money)?.flatten();
        events.push(Event::Reported { ttft, latency, cost_usd });
        Ok(events)
    }
}

/// What a row of answers says for one entry of the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The row does not have the field.
    Absent,
    /// It is null or empty.
    Nothing,
    /// What it should say.
    Fit,
    /// Something else, in words: an answer with it is a failure.
    Unfit(String),
}

/// A row of answers, as far as it can be judged before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The answer's text, where it has one.
    pub text: Option<String>,
    /// Whether it says why there is no answer, so that the rest does not count.
    pub is_failure: bool,
    /// What it says for each entry that the spec names, by key, and for `text` in any case.
    pub entries: Vec<(&'static str, Said)>,
}

/// Looks at a row of answers as a run would.
pub fn examine(spec: &RecordedSpec, row: &Row) -> Examined {
    fn said<T>(
        row: &Row,
        entry: &Option<String>,
        read: impl FnOnce(&str, &Value) -> Result<T, String>,
    ) -> Option<Said> {
        let name = entry.as_deref()?;
        Some(match field::get(row, name) {
            None => Said::Absent,
            Some(value) if plain::is_blank(value) => Said::Nothing,
            Some(value) => read(name, value).map_or_else(Said::Unfit, |_| Said::Fit),
        })
    }
    let any = |_: &str, _: &Value| Ok(());
    let text_field = Some(spec.text.as_deref().unwrap_or(TEXT).to_owned());
    let entries = [
        ("text", said(row, &text_field, any)),
        ("tool_calls", said(row, &spec.tool_calls, plain::tool_calls)),
        ("usage", said(row, &spec.usage, plain::usage)),
        ("latency_ms", said(row, &spec.latency_ms, plain::duration)),
        ("ttft_ms", said(row, &spec.ttft_ms, plain::duration)),
        ("finish", said(row, &spec.finish, plain::finish)),
        ("cost_usd", said(row, &spec.cost_usd, plain::money)),
        ("refusal", said(row, &spec.refusal, any)),
        ("failure", said(row, &spec.failure, any)),
    ];
    let is_failure =
        named(row, &spec.failure).is_some_and(|(_, reason)| !plain::is_blank(reason) && *reason != Value::Bool(false));
    Examined {
        text: text_field.and_then(|name| field::get(row, &name).and_then(plain::text)),
        is_failure,
        entries: entries.into_iter().filter_map(|(key, said)| Some((key, said?))).collect(),
    }
}

/// Whether a field says yes: `true`, or a text other than the words for no.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Bool(is_so) => *is_so,
        Value::String(text) => !["", "0", "false", "no"].contains(&text.trim().to_ascii_lowercase().as_str()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The field that an entry of the spec names, where both are there.
fn named<'a>(row: &'a Row, entry: &'a Option<String>) -> Option<(&'a str, &'a Value)> {
    let name = entry.as_deref()?;
    Some((name, field::get(row, name)?))
}

fn read<T>(
    row: &Row,
    entry: &Option<String>,
    read: impl FnOnce(&str, &Value) -> Result<T, String>,
) -> Result<Option<T>, String> {
    named(row, entry).map(|(name, value)| read(name, value)).transpose()
}

impl Provider for Recorded {
    fn open<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
        let answer = match self.events(outgoing.request) {
            Ok(events) => Ok(Answer::new(stream::iter(events.into_iter().map(Ok)).boxed(), false)),
            Err(detail) => Err(Failure::Recorded { detail: shorten(&detail, DETAIL) }.into()),
        };
        future::ready(answer).boxed()
    }

    fn files(&self) -> u64 {
        0
    }

    fn is_live(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::provider::{Attempted, collect};
    use crate::types::{Finish, Params, Timing};
    use crate::util::clock::Clock;
    use crate::util::secret::Redactor;

    async fn answered(spec: Value, answer: Value) -> Attempted {
        let spec: RecordedSpec = serde_json::from_value(spec).unwrap();
        let lookup: Lookup = Arc::new(move |key| match key {
            "7" => Ok(answer.as_object().cloned()),
            "broken" => Err("the file has changed".to_owned()),
            _ => Ok(None),
        });
        let provider = Recorded::new(&spec, spec.join(Some("id")), lookup);
        asked(&provider, json!({"id": 7, "other": "7"})).await
    }

    async fn asked(provider: &Recorded, row: Value) -> Attempted {
        let request = Request {
            messages: Arc::new([]),
            tools: None,
            output_schema: None,
            params: Arc::new(Params::default()),
            row: Arc::new(row.as_object().unwrap().clone()),
        };
        collect(provider, &Outgoing::of(provider, &request), Duration::from_secs(1), Clock::new(), &Redactor::default())
            .await
    }

    fn detail(attempted: Attempted) -> String {
        match attempted.outcome {
            Err(Refusal { failure: Failure::Recorded { detail }, retry_after: None }) => detail,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_answer_with_everything() {
        let spec = json!({
            "path": "a", "on": "/other", "text": "/a/text", "tool_calls": "calls", "usage": "u", "latency_ms": "ms",
            "ttft_ms": "first", "finish": "why", "cost_usd": "usd", "failure": "error",
        });
        let answer = json!({
            "a": {"text": {"label": "é", "n": [1]}}, "calls": [{"function": {"name": "f", "arguments": {}}}],
            "u": {"prompt_tokens": 5, "completion_tokens": 2}, "ms": 250.5, "first": "100", "why": "length",
            "usd": "0.00020", "error": "",
        });
        let got = answered(spec, answer).await;
        let response = got.outcome.unwrap();
        assert_eq!(response.text, "{\"label\":\"é\",\"n\":[1]}");
        assert_eq!((response.tool_calls[0].name.as_str(), response.tool_calls[0].arguments.as_str()), ("f", "{}"));
        assert_eq!((response.finish, response.usage.input_tokens), (Some(Finish::Length), Some(5)));
        assert_eq!(response.cost_usd.unwrap().to_string(), "0.00020");
        let timing = Timing {
            sent: Duration::ZERO,
            chunks: vec![Duration::from_millis(100)],
            done: Duration::from_micros(250_500),
        };
        assert_eq!(got.timing, Some(timing));
    }

    #[tokio::test]
    async fn what_the_file_does_not_say_is_unknown() {
        let got = answered(json!({"path": "a", "latency_ms": "ms"}), json!({"output": ""})).await;
        assert_eq!((got.timing, got.outcome.unwrap().text.as_str()), (None, ""));
        let calls =
            answered(json!({"path": "a", "tool_calls": "c"}), json!({"output": null, "c": [{"name": "f"}]})).await;
        assert_eq!(calls.outcome.unwrap().tool_calls.len(), 1);
    }

    #[tokio::test]
    async fn answers_that_are_none() {
        let plain = json!({"path": "a"});
        assert_eq!(detail(answered(plain.clone(), json!({})).await), "the answer with `id` = `7` has no `output`");
        assert_eq!(detail(answered(plain.clone(), json!({"output": null})).await).chars().last(), Some('`'));
        assert_eq!(detail(answered(plain, Value::Null).await), "no answer with `id` = `7`");
        let told = json!({"path": "a", "failure": "e"});
        assert_eq!(detail(answered(told.clone(), json!({"output": "x", "e": "quota\n"})).await), "quota\\n");
        assert_eq!(detail(answered(told.clone(), json!({"output": "x", "e": {"code": 5}})).await), "{\"code\":5}");
        assert!(answered(told, json!({"output": "x", "e": false})).await.outcome.is_ok());
        let elsewhere = json!({"path": "a", "on": "nope"});
        assert!(detail(answered(elsewhere, json!({})).await).contains("has no `nope`"));
        let apart = json!({"path": "a", "on": {"answer": "custom_id", "sample": "other"}});
        assert!(answered(apart.clone(), json!({"output": "x"})).await.outcome.is_ok());
        assert_eq!(detail(answered(apart, Value::Null).await), "no answer with `custom_id` = `7`");
    }

    #[tokio::test]
    async fn refusals_are_told_by_a_field() {
        let spec = json!({"path": "a", "refusal": "/answer/no"});
        for (said, expected) in [
            (json!(true), true),
            (json!("I will not."), true),
            (json!(false), false),
            (json!("False"), false),
            (json!(""), false),
            (Value::Null, false),
        ] {
            let response =
                answered(spec.clone(), json!({"output": "x", "answer": {"no": said}})).await.outcome.unwrap();
            assert_eq!(response.is_refusal, expected, "{said}");
        }
        assert!(!answered(spec, json!({"output": "x"})).await.outcome.unwrap().is_refusal);
    }

    #[tokio::test]
    async fn absurd_figures_are_named() {
        let spec = json!({"path": "a", "usage": "u", "latency_ms": "ms", "ttft_ms": "first", "cost_usd": "usd"});
        for (field, value) in
            [("u", json!({"input_tokens": -1})), ("ms", json!(-5)), ("first", json!("soon")), ("usd", json!(-0.1))]
        {
            let mut answer = json!({"output": "x"});
            answer[field] = value;
            let said = detail(answered(spec.clone(), answer).await);
            assert!(said.starts_with(&format!("`{field}")), "{said}");
        }
        let late = answered(spec.clone(), json!({"output": "x", "ms": 10, "first": 20})).await;
        assert_eq!(detail(late), "`first` is longer than `ms`");
        let rounded = answered(spec, json!({"output": "x", "ms": 10, "first": 10.4})).await;
        assert_eq!(rounded.timing.unwrap().chunks, [Duration::from_millis(10)]);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_a_failure() {
        let lookup: Lookup = Arc::new(|_| Err("the file has changed".to_owned()));
        let spec: RecordedSpec = serde_json::from_value(json!({"path": "a"})).unwrap();
        let provider = Recorded::new(&spec, spec.join(None), lookup);
        assert!(!provider.is_live());
        assert_eq!(detail(asked(&provider, json!({"id": "x"})).await), "the file has changed");
        assert!(detail(asked(&provider, json!({"id": null})).await).starts_with("the sample has no `id`"));
    }
}
