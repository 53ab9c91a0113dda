//! OpenTelemetry spans with `gen_ai.*` attributes, by their old names and their new ones, and OpenInference's `llm.*`, in
//! OTLP's JSON.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{Draft, Found, Importer, first, opened, word};
use crate::traffic::ledger::Reason;
use crate::traffic::messages;
use crate::traffic::read::Piece;
use crate::traffic::request;
use crate::traffic::time::{self, Zone};
use crate::types::Failure;

/// Exports of spans: each value has `resourceSpans`.
pub struct Otel;

impl Importer for Otel {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        let value = match piece {
            Piece::Bad(reason) => return out.push(Found::Not(reason)),
            Piece::Json(value) => value,
            Piece::Block(_) => return out.push(Found::Not(Reason::OtherKind)),
        };
        let list = |value: &Value, names: [&str; 2]| -> Vec<Value> {
            names.iter().find_map(|name| value.get(*name)?.as_array().cloned()).unwrap_or_default()
        };
        let before = out.len();
        for resource in list(&value, ["resourceSpans", "resource_spans"]) {
            for scope in list(&resource, ["scopeSpans", "scope_spans"]) {
                out.extend(list(&scope, ["spans", "spans"]).iter().filter_map(Value::as_object).map(span));
            }
        }
        if out.len() == before {
            let is_span = value.get("traceId").is_some() && value.get("attributes").is_some();
            let is_export = value.get("resourceSpans").or_else(|| value.get("resource_spans")).is_some();
            out.push(match value.as_object() {
                Some(fields) if is_span => span(fields),
                _ if is_export => Found::Not(Reason::OtherCall),
                _ => Found::Not(Reason::OtherKind),
            });
        }
    }
}

/// OTLP's list of keys and typed values, or a plain object, as a plain object.
fn attributes(value: Option<&Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields.clone(),
        Some(Value::Array(items)) => {
            let one = |item: &Value| Some((item.get("key")?.as_str()?.to_owned(), plain(item.get("value")?, 8)));
            items.iter().filter_map(one).collect()
        }
        _ => Map::new(),
    }
}

/// A typed value of OTLP.
fn plain(value: &Value, depth: u32) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|fields| fields.iter().next()) else { return value.clone() };
    match kind.as_str() {
        "stringValue" | "boolValue" | "doubleValue" => inner.clone(),
        // 64-bit integers are texts in OTLP's JSON.
        "intValue" => {
            inner.as_str().and_then(|text| text.parse::<i64>().ok()).map_or_else(|| inner.clone(), Value::from)
        }
        "arrayValue" if depth > 0 => {
            let items = inner.get("values").and_then(Value::as_array).into_iter().flatten();
            items.map(|item| plain(item, depth - 1)).collect()
        }
        "kvlistValue" if depth > 0 => {
            let items = inner.get("values").and_then(Value::as_array).into_iter().flatten();
            let one =
                |item: &Value| Some((item.get("key")?.as_str()?.to_owned(), plain(item.get("value")?, depth - 1)));
            Value::Object(items.filter_map(one).collect())
        }
        _ => value.clone(),
    }
}

/// Events in which some versions keep the texts, by their names, with the role of the message.
const MESSAGE_EVENTS: [(&str, &str); 4] = [
    ("gen_ai.system.message", "system"),
    ("gen_ai.user.message", "user"),
    ("gen_ai.assistant.message", "assistant"),
    ("gen_ai.tool.message", "tool"),
];

fn span(span: &Map<String, Value>) -> Found {
    let mut all = attributes(span.get("attributes"));
    let mut from_events = Vec::new();
    let mut choice = None;
    for event in first(span, &["events"]).and_then(Value::as_array).into_iter().flatten() {
        let own = attributes(event.get("attributes"));
        let name = event.get("name").and_then(Value::as_str).unwrap_or_default();
        if let Some((_, role)) = MESSAGE_EVENTS.iter().find(|(known, _)| *known == name) {
            let mut message = own.clone();
            message.entry("role").or_insert_with(|| (*role).into());
            from_events.push(Value::Object(message));
        } else if name == "gen_ai.choice" {
            choice = own.get("message").map(opened).or(Some(Value::Object(own)));
        } else if name == "gen_ai.client.inference.operation.details" || name.starts_with("gen_ai.content.") {
            all.extend(own);
        }
    }
    let operation = word(&all, &["gen_ai.operation.name", "openinference.span.kind"]).unwrap_or_default();
    let is_call = match operation.to_ascii_lowercase().as_str() {
        "chat" | "text_completion" | "generate_content" | "completion" | "llm" => true,
        "" => all.contains_key("gen_ai.request.model") || all.contains_key("gen_ai.prompt"),
        _ => false,
    };
    if !is_call {
        return Found::Not(Reason::OtherCall);
    }
    let mut draft = Draft::default();
    let input = first(&all, &["gen_ai.input.messages", "gen_ai.prompt"]).map(opened);
    let read = input
        .as_ref()
        .and_then(messages::read)
        .or_else(|| messages::of_attributes(&all, "gen_ai.prompt", ""))
        .or_else(|| messages::of_attributes(&all, "llm.input_messages", "message."))
        .or_else(|| messages::read(&Value::Array(from_events)));
    if !draft.conversation(read) {
        return Found::Not(Reason::NoBody);
    }
    if let Some(system) = first(&all, &["gen_ai.system_instructions"]).map(opened) {
        let mut read = messages::Read::default();
        messages::instructions(&system, &mut read);
        draft.exchange.messages.splice(0..0, read.messages);
    }
    let tools = request::tools(first(&all, &["gen_ai.tool.definitions"]));
    if !tools.is_empty() {
        draft.exchange.tools = Some(Value::Array(tools));
    }
    params(&all, &mut draft);
    draft.exchange.id = word(span, &["spanId", "span_id"]).unwrap_or_default();
    draft.exchange.conversation = word(&all, &["gen_ai.conversation.id", "session.id"])
        .or_else(|| word(span, &["traceId", "trace_id"]))
        .unwrap_or_default();
    draft.model(first(&all, &["gen_ai.request.model", "llm.model_name"]));
    let at = |names: &[&str]| first(span, names).and_then(|value| time::stamp(value, Zone::default()));
    draft.times(at(&["startTimeUnixNano", "start_time_unix_nano"]), at(&["endTimeUnixNano", "end_time_unix_nano"]));
    draft.exchange.ttft = first(&all, &["gen_ai.response.time_to_first_chunk"]).and_then(time::seconds);
    draft.tag("provider", first(&all, &["gen_ai.provider.name", "gen_ai.system"]));
    answer_of(span, &all, choice, &mut draft);
    draft.found()
}

fn params(all: &Map<String, Value>, draft: &mut Draft) {
    let mut own = Map::new();
    for (key, value) in all {
        let Some(name) = key.strip_prefix("gen_ai.request.") else { continue };
        match name {
            "stream" | "is_stream" => draft.exchange.is_streamed = value.as_bool(),
            "model" | "encoding_formats" | "choice.count" => {}
            name => {
                own.insert(name.to_owned(), value.clone());
            }
        }
    }
    draft.exchange.params = request::params(own);
}

fn answer_of(span: &Map<String, Value>, all: &Map<String, Value>, choice: Option<Value>, draft: &mut Draft) {
    let status = span.get("status").and_then(|status| status.get("code"));
    let is_error = status.is_some_and(|code| code.as_u64() == Some(2) || code.as_str() == Some("STATUS_CODE_ERROR"));
    let kind = word(all, &["error.type"]);
    if is_error || kind.is_some() {
        let said = span.get("status").and_then(|status| status.get("message")).map(answer::message_of);
        let detail = said.or(kind).unwrap_or_else(|| "the log gives no reason".to_owned());
        return draft.outcome(Some(Err(Failure::Service { detail })));
    }
    let said = first(all, &["gen_ai.output.messages", "gen_ai.completion"]).map(opened).or(choice);
    let flat = || {
        let read = messages::of_attributes(all, "gen_ai.completion", "")
            .or_else(|| messages::of_attributes(all, "llm.output_messages", "message."))?;
        Some(Ok(messages::answer(&read.messages)))
    };
    draft.outcome(said.as_ref().and_then(answer::of_value).or_else(flat));
    let reasons = all.get("gen_ai.response.finish_reasons").map(opened);
    let reason = reasons.as_ref().and_then(|reasons| reasons.get(0).or(Some(reasons))?.as_str());
    if let Some(answer) = draft.exchange.answer.take() {
        draft.exchange.target = None;
        draft.outcome(Some(answer::ended(answer, reason)));
    }
    let own = all.iter().filter_map(|(key, value)| Some((key.strip_prefix("gen_ai.usage.")?, value)));
    let own: Map<String, Value> = own.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    draft.usage(&Value::Object(own));
    if let Some(answer) = &mut draft.exchange.answer {
        answer.model_echo = word(all, &["gen_ai.response.model"]).or(answer.model_echo.take());
    }
}
