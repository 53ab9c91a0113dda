//! What answers are compared with when nobody has said what is right: what was answered before.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::scorer::Case;
use crate::types::{Row, ToolCall};
use crate::util::{field, json};

/// What was answered when a request was logged. Only what scorers compare is kept, because a run has one for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Logged {
    /// The answer.
    Answer {
        /// Its text.
        text: String,
        /// The tools it called.
        tool_calls: Vec<ToolCall>,
    },
    /// There is none to compare with, and why.
    Missing(&'static str),
}

/// What is read of the field `answer`.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    text: String,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
}

impl Logged {
    /// Of a row that is a line of a capture; `None` of others.
    pub fn of(row: &Row) -> Option<Logged> {
        let word = |name: &str| row.get(name).and_then(Value::as_str);
        if !word("evalctl")?.starts_with("capture/") {
            return None;
        }
        let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
        Some(match (word("texts"), row.get("answer")) {
            _ if has("failure") => Logged::Missing("the logged request failed"),
            (Some("made"), _) => Logged::Missing("the log has no texts: those of the capture were made up"),
            (Some("digested"), _) => Logged::Missing("the capture keeps digests in the place of texts"),
            (_, None | Some(Value::Null)) => Logged::Missing("the log has no answer"),
            (_, Some(answer)) => match Answer::deserialize(answer) {
                Ok(Answer { text, tool_calls }) => Logged::Answer { text, tool_calls },
                Err(_) => Logged::Missing("the logged answer cannot be read"),
            },
        })
    }
}

/// What an answer is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Reference<'a> {
    /// An answer that was logged.
    Answer(&'a str, &'a [ToolCall]),
    /// The target of a golden set.
    Target(&'a Value),
}

impl<'a> Reference<'a> {
    /// The logged answer where the row is a line of a capture, else the target.
    ///
    /// # Errors
    /// Why there is none: the same for all rows of which the same is true.
    pub fn of(case: &Case<'a>) -> Result<Reference<'a>, &'static str> {
        match (case.logged, case.target) {
            (Some(Logged::Answer { text, tool_calls }), _) => Ok(Reference::Answer(text, tool_calls)),
            (Some(Logged::Missing(reason)), _) => Err(reason),
            (None, None | Some(Value::Null)) => Err("the row has no target and no logged answer to compare with"),
            (None, Some(target)) => Ok(Reference::Target(target)),
        }
    }

    /// Its text; of a target that is a list or an object, its JSON without blanks.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Reference::Answer(text, _) => Cow::Borrowed(text),
            Reference::Target(Value::String(text)) => Cow::Borrowed(text),
            Reference::Target(value) => Cow::Owned(field::text(value).unwrap_or_else(|| value.to_string())),
        }
    }

    /// The JSON that it is, in a code fence or not; `None` when it is none.
    pub fn json(self) -> Option<Cow<'a, Value>> {
        match self {
            Reference::Answer(text, _) => json::parse_answer(text).ok().map(|parsed| Cow::Owned(parsed.value)),
            Reference::Target(Value::String(text)) => {
                json::parse_answer(text).ok().map(|parsed| Cow::Owned(parsed.value))
            }
            Reference::Target(value) => Some(Cow::Borrowed(value)),
        }
    }

    /// The tool calls that it makes. A target may be a list of them, in OpenAI's shape or as `{name, arguments}`; `None`
    /// when it is none.
    pub fn calls(self) -> Option<Cow<'a, [ToolCall]>> {
        let list = match self {
            Reference::Answer(_, calls) => return Some(Cow::Borrowed(calls)),
            Reference::Target(target) => target.as_array()?,
        };
        let call = |call: &Value| {
            let function = call.get("function").unwrap_or(call);
            let arguments = match function.get("arguments") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            Some(ToolCall { id: String::new(), name: function.get("name")?.as_str()?.to_owned(), arguments })
        };
        list.iter().map(call).collect::<Option<Vec<ToolCall>>>().map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn logged(row: &Value) -> Option<Logged> {
        Logged::of(row.as_object().unwrap())
    }

    #[test]
    fn only_lines_of_a_capture_have_a_logged_answer() {
        assert_eq!(logged(&json!({"answer": {"text": "a"}})), None);
        assert_eq!(logged(&json!({"evalctl": 1, "answer": {"text": "a"}})), None);
        let calls = json!([{"id": "c", "name": "look", "arguments": "{}"}]);
        let line = json!({"evalctl": "capture/1", "texts": "kept", "failure": null, "target": "b",
                          "answer": {"text": "a", "tool_calls": calls, "usage": {}, "finish": "stop"}});
        let call = ToolCall { id: "c".into(), name: "look".into(), arguments: "{}".into() };
        assert_eq!(logged(&line), Some(Logged::Answer { text: "a".into(), tool_calls: vec![call] }));
    }

    #[test]
    fn what_is_missing_says_why() {
        let reason = |more: Value| {
            let mut line = json!({"evalctl": "capture/1", "answer": {"text": "a"}});
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            match logged(&line) {
                Some(Logged::Missing(reason)) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reason(json!({"failure": {"cut": {"detail": "x"}}})), "the logged request failed");
        assert_eq!(reason(json!({"answer": null})), "the log has no answer");
        assert_eq!(reason(json!({"answer": 3})), "the logged answer cannot be read");
        assert!(reason(json!({"texts": "made"})).contains("made up"));
        assert!(reason(json!({"texts": "digested"})).contains("digests"));
    }

    #[test]
    fn a_target_may_be_calls() {
        let calls = |target: &Value| Reference::Target(target).calls().map(|calls| calls.into_owned());
        let target = json!([{"function": {"name": "a", "arguments": "{\"x\":1}"}}, {"name": "b", "arguments": {"y": 2}}, {"name": "c"}]);
        let found = calls(&target).unwrap();
        let texts: Vec<(&str, &str)> = found.iter().map(|call| (&*call.name, &*call.arguments)).collect();
        assert_eq!(texts, [("a", "{\"x\":1}"), ("b", "{\"y\":2}"), ("c", "")]);
        assert_eq!(calls(&json!([1])), None);
        assert_eq!(calls(&json!("a")), None);
        assert_eq!(calls(&json!([])), Some(vec![]));
    }
}
