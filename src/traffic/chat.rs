//! Plain logs of chats, one a line; stored completions of OpenAI; and logs of Anthropic's messages. They differ in what
//! they must have, and in where the parts stand.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{ByRow, Draft, Found, Importer, first, is_blank, money, opened, word};
use crate::traffic::ledger::Reason;
use crate::traffic::messages;
use crate::traffic::request;
use crate::traffic::time::{self, Zone};

const ASKS: [&str; 4] = ["messages", "contents", "prompt", "input"];
/// Those that name the beginning first: a plain stamp may be when the line was written.
const TIMES: [&str; 14] = [
    "start_time",
    "startTime",
    "started_at",
    "request_time",
    "requested_at",
    "arrived_at",
    "arrived",
    "timestamp",
    "created_at",
    "createdAt",
    "created",
    "time",
    "ts",
    "date",
];
const ENDS: [&str; 5] = ["end_time", "endTime", "ended_at", "completed_at", "finished_at"];

/// Plain chats: `{messages, …}`, or `{request: {…}, response: {…}, …}`.
pub fn plain(zone: Zone) -> impl Importer {
    ByRow(move |row: &Map<String, Value>| {
        // A list of calls of other kinds is told apart from rows that ask nothing.
        chat(row, zone).unwrap_or_else(|| Found::Not(unread(row)))
    })
}

/// Logs of Anthropic's messages API.
pub fn anthropic(zone: Zone) -> impl Importer {
    ByRow(move |row: &Map<String, Value>| {
        if !is_anthropic(row) {
            return Found::Not(Reason::OtherKind);
        }
        chat(row, zone).unwrap_or_else(|| Found::Not(unread(row)))
    })
}

fn unread(row: &Map<String, Value>) -> Reason {
    let known = ["request", "body", "request_body", "response", "response_body", "choices", "messages", "model"];
    if known.iter().any(|name| row.contains_key(*name)) { Reason::NoBody } else { Reason::OtherKind }
}

fn parts(row: &Map<String, Value>) -> (Option<Value>, Option<Value>) {
    let nested = first(row, &["request", "request_body", "body"]).map(opened).filter(Value::is_object);
    // A logged HTTP request has its body one level down.
    let nested = nested.map(|value| value.get("body").filter(|body| !is_blank(body)).map(opened).unwrap_or(value));
    let body = nested.or_else(|| first(row, &ASKS).map(|_| Value::Object(row.clone())));
    let answer = first(row, &["response", "response_body", "answer", "completion", "output", "reply"]);
    // A logged HTTP answer has its body one level down. What a model said may be JSON: that stays the text it is.
    let answer = answer.map(|value| {
        let of_http = opened(value);
        let is_http = ["status", "status_code", "headers"].iter().any(|name| of_http.get(*name).is_some());
        match of_http.get("body").filter(|body| is_http && !is_blank(body)) {
            Some(body) => body.clone(),
            None => value.clone(),
        }
    });
    (body, answer)
}

/// Whether a row is of Anthropic's API rather than of OpenAI's.
pub fn is_anthropic(row: &Map<String, Value>) -> bool {
    let (body, answer) = parts(row);
    let says = |value: &Option<Value>, is_it: &dyn Fn(&Value) -> bool| value.as_ref().is_some_and(is_it);
    let of_answer = |value: &Value| {
        value.get("type").and_then(Value::as_str) == Some("message")
            || value.as_str().is_some_and(|text| text.contains("\"message_start\""))
            || value.get("stop_reason").is_some()
    };
    let of_body = |value: &Value| {
        let is_block = |part: &Value| {
            matches!(part.get("type").and_then(Value::as_str), Some("tool_use" | "tool_result" | "thinking"))
        };
        let blocks = value.pointer("/messages").and_then(Value::as_array).into_iter().flatten();
        let mut blocks = blocks.filter_map(|message| message.get("content")?.as_array()).flatten();
        value.get("anthropic_version").is_some()
            || value.get("system").is_some_and(|system| !system.is_null())
            || value.pointer("/tools/0/input_schema").is_some()
            || value.get("model").and_then(Value::as_str).is_some_and(|model| model.starts_with("claude"))
            || blocks.any(is_block)
    };
    says(&answer, &of_answer) || says(&body, &of_body)
}

fn chat(row: &Map<String, Value>, zone: Zone) -> Option<Found> {
    let (body, said) = parts(row);
    let body = body?;
    let mut draft = Draft::default();
    if !draft.request(&body) {
        return None;
    }
    let is_nested = body.as_object().is_some_and(|fields| fields != row);
    if is_nested {
        draft.exchange.body = Some(body);
    } else {
        // The row is the request and its account in one: only what services know belongs to the request.
        draft.exchange.params = request::params(known(row));
    }
    draft.times(
        first(row, &TIMES).and_then(|value| time::stamp(value, zone)),
        first(row, &ENDS).and_then(|value| time::stamp(value, zone)),
    );
    account(row, &mut draft);
    let status = first(row, &["status", "status_code", "response_status"]);
    let number = |status: &Value| status.as_u64().or_else(|| status.as_str()?.trim().parse().ok());
    // Other numbers are of something else: 0 for all is well, 1 for not.
    let status = status.and_then(number).filter(|status| (100..600).contains(status));
    draft.exchange.status = status.and_then(|status| u16::try_from(status).ok());
    let error = first(row, &["error", "exception", "error_message"]).filter(|error| **error != Value::Bool(false));
    let bytes = said.as_ref().map(|said| said.as_str().map_or_else(|| said.to_string(), str::to_owned));
    let by_status = draft
        .exchange
        .status
        .and_then(|status| answer::of_status(status, bytes.as_deref().unwrap_or_default().as_bytes()));
    match (by_status, error, &said) {
        (Some(outcome), _, _) => draft.outcome(Some(outcome)),
        (None, Some(error), None) => {
            draft.outcome(Some(Err(crate::types::Failure::Service { detail: answer::message_of(error) })));
        }
        (None, _, Some(Value::String(text))) if answer::is_stream(text.as_bytes()) => {
            draft.exchange.is_streamed = Some(true);
            draft.outcome(answer::of_bytes(text.as_bytes()));
        }
        (None, _, Some(said)) => draft.outcome(answer::of_value(said)),
        (None, None, None) => last_word(&mut draft),
    }
    draft.usage(&Value::Object(row.clone()));
    Some(draft.found())
}

/// The fields of a row that a service would know as parameters.
fn known(row: &Map<String, Value>) -> Map<String, Value> {
    const MORE: [&str; 3] = ["n", "parallel_tool_calls", "logprobs"];
    let is_known = |key: &str| request::SAMPLING.contains(&key) || MORE.contains(&key);
    row.iter().filter(|(key, _)| is_known(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Sets of examples end with what the model said.
fn last_word(draft: &mut Draft) {
    let is_answer = draft.exchange.messages.last().is_some_and(|last| last.role == crate::types::Role::Assistant);
    if is_answer
        && draft.exchange.messages.len() > 1
        && let Some(last) = draft.exchange.messages.pop()
    {
        draft.exchange.answered(messages::answer(&[last]));
    }
}

fn account(row: &Map<String, Value>, draft: &mut Draft) {
    draft.exchange.id = word(row, &["id", "request_id", "requestId", "uuid"]).unwrap_or_default();
    let conversation = ["conversation_id", "session_id", "thread_id", "conversation", "session", "sessionId"];
    draft.exchange.conversation = word(row, &conversation).unwrap_or_default();
    draft.model(row.get("model"));
    let latency = first(row, &["latency_ms", "duration_ms", "response_time_ms", "total_ms"]).and_then(time::ms);
    let latency = latency.or_else(|| first(row, &["latency_s", "duration_s"]).and_then(time::seconds));
    draft.exchange.latency = latency.or(draft.exchange.latency);
    draft.exchange.ttft = first(row, &["ttft_ms", "first_token_ms"]).and_then(time::ms);
    draft.exchange.cost_usd = money(first(row, &["cost_usd", "cost"]));
    draft.exchange.is_cached = crate::traffic::draft::truth(first(row, &["cache_hit", "cached"])) == Some(true);
    if let Some(Value::Object(tags)) = first(row, &["metadata", "tags"]) {
        tags.iter().for_each(|(name, value)| draft.tag(name, Some(value)));
    }
}

/// Completions that OpenAI stored, each with its input in `messages` (or `input`), as its second endpoint gives it.
pub fn openai_stored(zone: Zone) -> impl Importer {
    ByRow(move |row: &Map<String, Value>| stored(row, zone))
}

fn stored(row: &Map<String, Value>, zone: Zone) -> Found {
    let object = row.get("object").and_then(Value::as_str);
    if !matches!(object, Some("chat.completion" | "response")) {
        return Found::Not(Reason::OtherKind);
    }
    let mut draft = Draft::default();
    let mut body = row.clone();
    for name in [
        "choices",
        "output",
        "usage",
        "id",
        "object",
        "created",
        "created_at",
        "metadata",
        "request_id",
        "status",
        "system_fingerprint",
        "service_tier",
        "input_user",
        "error",
        "incomplete_details",
        "output_text",
        "completed_at",
    ] {
        body.shift_remove(name);
    }
    if let Some(input) =
        ["messages", "input", "input_messages", "input_items"].iter().find_map(|name| body.shift_remove(*name))
    {
        let input = match input {
            Value::Object(mut page) => page.remove("data").unwrap_or_default(),
            other => other,
        };
        body.insert("messages".to_owned(), input);
    }
    if !draft.request(&Value::Object(body)) {
        return Found::Not(Reason::NoBody);
    }
    draft.exchange.id = word(row, &["id"]).unwrap_or_default();
    draft.exchange.conversation = row
        .get("conversation")
        .and_then(|value| value.get("id").or(Some(value)))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    // Both ends are whole seconds where there are two: their difference is no latency.
    draft.times(first(row, &["created", "created_at"]).and_then(|value| time::stamp(value, zone)), None);
    if let Some(Value::Object(tags)) = row.get("metadata") {
        tags.iter().for_each(|(name, value)| draft.tag(name, Some(value)));
    }
    draft.outcome(answer::of_value(&Value::Object(row.clone())));
    draft.found()
}
