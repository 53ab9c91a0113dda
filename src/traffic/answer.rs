//! Bodies of answers, in whatever shape a log has them, as answers and failures. Pure. Whole bodies and streams of
//! services go through the decoders of their dialects, so that a logged answer is read as a live one is.

use std::borrow::Cow;
use std::ops::ControlFlow;

#[cfg(test)]
use serde_json::json;
use serde_json::{Map, Value};

use crate::provider::sse::Parser;
use crate::provider::{
    self, Anthropic, Dialect, Event, Gemini, Manner, OpenAiChat, OpenAiResponses, filter_word, filtered_events,
    gathered,
};
use crate::suite::spec::{MaxTokensField, Structured};
use crate::traffic::messages;
use crate::types::{Failure, Response, Usage};
use crate::util::text::shorten;

/// How much of a text of the log a failure keeps.
const DETAIL: usize = 400;

/// Which service's words an answer is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Chat,
    Responses,
    Anthropic,
    Gemini,
}

fn dialect(shape: Shape) -> Box<dyn Dialect> {
    // Nothing is asked, so it matters not how.
    let manner = Manner { model: String::new(), is_streamed: true, structured: Structured::Off };
    match shape {
        Shape::Chat => Box::new(OpenAiChat { manner, max_tokens_field: MaxTokensField::default() }),
        Shape::Responses => Box::new(OpenAiResponses(manner)),
        Shape::Anthropic => Box::new(Anthropic(manner)),
        Shape::Gemini => Box::new(Gemini(manner)),
    }
}

fn shape(fields: &Map<String, Value>) -> Option<Shape> {
    let is_list = |name: &str| fields.get(name).is_some_and(Value::is_array);
    // What a model wrote may have such fields, too: services put objects into them.
    let holds = |name: &str, within: &[&str]| {
        let items = fields.get(name).and_then(Value::as_array);
        items.is_some_and(|items| items.iter().all(|item| within.iter().any(|name| item.get(*name).is_some())))
    };
    if holds("choices", &["message", "delta", "text", "finish_reason"]) {
        return Some(Shape::Chat);
    }
    if is_list("output") && (fields.contains_key("object") || fields.contains_key("status")) {
        return Some(Shape::Responses);
    }
    if is_list("content") && fields.get("type").and_then(Value::as_str) == Some("message") {
        return Some(Shape::Anthropic);
    }
    holds("candidates", &["content", "finishReason"]).then_some(Shape::Gemini)
}

/// Whether an object is nothing but what a service says of a failure.
fn is_error(fields: &Map<String, Value>) -> bool {
    const BESIDE: [&str; 9] =
        ["error", "type", "code", "status", "status_code", "message", "request_id", "object", "param"];
    let has = |name: &str| fields.get(name).is_some_and(|value| !value.is_null() && *value != Value::Bool(false));
    has("error") && fields.keys().all(|name| BESIDE.contains(&name.as_str()))
}

/// Whether an object is a message in a shape that services and tracers have.
fn is_message(fields: &Map<String, Value>) -> bool {
    let says = ["content", "parts", "tool_calls", "function_call"].iter().any(|name| fields.contains_key(*name));
    (fields.get("role").is_some_and(Value::is_string) || fields.contains_key("additional_kwargs")) && says
        || fields.contains_key("parts") && fields.len() == 1
}

/// Whether a value holds messages, or parts of one.
fn holds_messages(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            is_message(fields) || shape(fields).is_some() || fields.get("type").is_some_and(Value::is_string)
        }
        // LangChain has lists of lists of generations.
        Value::Array(items) => items.last().is_some_and(|item| {
            holds_messages(item) || ["message", "text"].iter().any(|name| item.get(*name).is_some())
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The answer in a value: a body of a service, a message, a list of messages, or a text. `None` for what says nothing.
pub fn of_value(value: &Value) -> Option<Result<Response, Failure>> {
    match value {
        Value::Null => None,
        Value::String(text) => {
            let inner = text.trim_start().starts_with('{').then(|| serde_json::from_str::<Value>(text).ok()).flatten();
            let is_known =
                |fields: &&Map<String, Value>| shape(fields).is_some() || is_error(fields) || is_message(fields);
            match inner.as_ref().and_then(Value::as_object).filter(is_known) {
                Some(fields) => of_object(fields),
                None if text.is_empty() => None,
                None => Some(Ok(Response { text: text.clone(), ..Response::default() })),
            }
        }
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => of_messages(items),
        Value::Object(fields) => of_object(fields),
        Value::Bool(_) | Value::Number(_) => Some(Ok(Response { text: value.to_string(), ..Response::default() })),
    }
}

fn of_object(fields: &Map<String, Value>) -> Option<Result<Response, Failure>> {
    if fields.is_empty() {
        return None;
    }
    if let Some(shape) = shape(fields) {
        let body = serde_json::to_vec(&with_texts(fields)).ok()?;
        // An answer without choices says nothing; that is no fault of the protocol.
        let is_empty = fields.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty);
        if is_empty && fields.get("error").is_none_or(Value::is_null) {
            return None;
        }
        return Some(dialect(shape).decode_body(&body).map(gathered));
    }
    if let Some(error) = fields.get("error").filter(|_| is_error(fields)) {
        return Some(match filter_word(&Value::Object(fields.clone())) {
            Some(word) => Ok(gathered(filtered_events(word))),
            None => Err(Failure::Service { detail: message_of(error) }),
        });
    }
    if is_message(fields) {
        return of_messages(&[Value::Object(fields.clone())]);
    }
    if let Some(inner @ (Value::Object(_) | Value::Array(_))) =
        ["message", "messages", "content", "generations"].iter().find_map(|name| fields.get(*name))
        && holds_messages(inner)
    {
        // Of a list of messages the last one is the answer.
        let last = match inner {
            Value::Array(items) => items.last(),
            other => Some(other),
        };
        let mut answer = last.and_then(of_value)?;
        if let Ok(answer) = &mut answer {
            answer.usage = beside(usage(&Value::Object(fields.clone())), answer.usage);
        }
        return Some(answer.and_then(|answer| ended(answer, finish(fields))));
    }
    const TEXTS: [&str; 6] = ["text", "content", "completion", "output_text", "answer", "response"];
    const BESIDE: [&str; 14] = [
        "role",
        "type",
        "id",
        "model",
        "object",
        "created",
        "created_at",
        "usage",
        "finish_reason",
        "stop_reason",
        "stop",
        "done",
        "done_reason",
        "status",
    ];
    let mut texts = fields.iter().filter(|(name, _)| TEXTS.contains(&name.as_str()));
    if let (Some((_, Value::String(text))), None) = (texts.next(), texts.next())
        && fields.keys().all(|name| TEXTS.contains(&name.as_str()) || BESIDE.contains(&name.as_str()))
    {
        return Some(ended(Response { text: text.clone(), ..Response::default() }, finish(fields)));
    }
    // What the application made of the answer, or what the model said in JSON.
    Some(Ok(Response { text: Value::Object(fields.clone()).to_string(), ..Response::default() }))
}

/// A body whose arguments of calls are texts, as services write them: some logs have opened them.
fn with_texts(fields: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    let is_opened = |item: &Value| item.get("arguments").is_some_and(|value| !value.is_string() && !value.is_null());
    let items = fields.get("output").and_then(Value::as_array);
    if !items.is_some_and(|items| items.iter().any(is_opened)) {
        return Cow::Borrowed(fields);
    }
    let mut fields = fields.clone();
    for item in fields.get_mut("output").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(arguments) = item.get_mut("arguments").filter(|value| !value.is_string() && !value.is_null()) {
            *arguments = Value::String(arguments.to_string());
        }
    }
    Cow::Owned(fields)
}

fn of_messages(items: &[Value]) -> Option<Result<Response, Failure>> {
    let read = messages::read(&Value::Array(items.to_vec()))?;
    let word = items.iter().rev().filter_map(Value::as_object).find_map(finish);
    Some(ended(messages::answer(&read.messages), word))
}

/// The word for why an answer ended, by any of the names that logs have for it.
fn finish(fields: &Map<String, Value>) -> Option<&str> {
    let names = ["finish_reason", "stop_reason", "finishReason", "done_reason"];
    names.iter().find_map(|name| fields.get(*name)?.as_str()).filter(|word| !word.is_empty())
}

/// An answer with the word for its end, where it does not know it.
pub fn ended(mut answer: Response, word: Option<&str>) -> Result<Response, Failure> {
    match word {
        Some(word) if answer.finish.is_none() => provider::ended(&mut answer, word).map(|()| answer),
        Some(_) | None => Ok(answer),
    }
}

/// The answer in the bytes of a body: JSON, or a stream of server-sent events. `None` for an empty one.
pub fn of_bytes(bytes: &[u8]) -> Option<Result<Response, Failure>> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.starts_with("data:") || text.starts_with("event:") || text.starts_with(':') {
        return Some(of_stream(text));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => of_value(&value),
        Err(error) if error.is_eof() => Some(Err(Failure::Cut { detail: "the log has only a part of it".to_owned() })),
        Err(_) => Some(Err(Failure::Protocol { detail: format!("no JSON: {}", shorten(text, 120)) })),
    }
}

/// Whether a body is a stream of server-sent events.
pub fn is_stream(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.starts_with(b"data:") || text.starts_with(b"event:")
}

fn of_stream(text: &str) -> Result<Response, Failure> {
    let shape = if text.contains("\"message_start\"") {
        Shape::Anthropic
    } else if text.contains("\"response.created\"") || text.contains("\"response.output_text.delta\"") {
        Shape::Responses
    } else if text.contains("\"candidates\"") {
        Shape::Gemini
    } else {
        Shape::Chat
    };
    let mut decoder = dialect(shape).decoder();
    let mut parser = Parser::default();
    let mut events: Vec<Event> = Vec::new();
    let mut failure = None;
    let fed = parser.feed(format!("{text}\n\n").as_bytes(), |frame| match decoder.frame(frame) {
        Ok(more) => {
            events.extend(more);
            if decoder.is_done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Err(error) = fed {
        failure = Some(Failure::Protocol { detail: error.to_string() });
    }
    let answer = gathered(events);
    match (failure, decoder.end()) {
        (Some(failure), _) => Err(failure),
        (None, Ok(())) => Ok(answer),
        // Some recorders leave out the last event; a reason for stopping says that it was whole.
        (None, Err(_)) if answer.finish.is_some() => Ok(answer),
        (None, Err(_)) => Err(Failure::Cut { detail: "the logged stream ends before the answer does".to_owned() }),
    }
}

/// What an HTTP status says: a failure, or the answer of a content filter that refuses with one; `None` for a good one.
pub fn of_status(status: u16, body: &[u8]) -> Option<Result<Response, Failure>> {
    if (200..400).contains(&status) {
        return None;
    }
    if let Some(events) = provider::filtered_by_status(status, body) {
        return Some(Ok(gathered(events)));
    }
    let said = dialect(Shape::Chat).error_message(body);
    let detail = shorten(&said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()), DETAIL);
    Some(Err(match status {
        429 => Failure::RateLimited { detail },
        0 => Failure::Connection { detail },
        _ => Failure::Status { status, detail },
    }))
}

/// What a log says of an error, whatever its shape.
pub fn message_of(error: &Value) -> String {
    let said = match error {
        Value::Object(fields) => {
            ["message", "error_message", "msg", "detail", "error"].iter().find_map(|name| fields.get(*name)?.as_str())
        }
        other => other.as_str(),
    };
    shorten(&said.map_or_else(|| error.to_string(), str::to_owned), DETAIL)
}

/// Token counts by any of the names that logs have for them.
pub fn usage(value: &Value) -> Usage {
    let nested = ["usage", "usage_metadata", "usageMetadata", "token_usage", "usage_details", "usageDetails"];
    if let Some(inner) = nested.iter().find_map(|name| value.get(*name)).filter(|inner| inner.is_object()) {
        return usage(inner);
    }
    let count = |places: &[&str]| places.iter().find_map(|place| count(value, place));
    let mut usage = Usage {
        input_tokens: count(&[
            "/prompt_tokens",
            "/input_tokens",
            "/input",
            "/promptTokens",
            "/inputTokens",
            "/prompt_token_count",
            "/promptTokenCount",
            "/inputUsage",
        ]),
        cached_input_tokens: count(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cache_read_input_tokens",
            "/input_cache_read",
            "/input_cached_tokens",
            "/cache_read.input_tokens",
            "/prompt_details.cache_read",
            "/cached_content_token_count",
            "/prompt_cache_read_tokens",
        ]),
        cache_write_tokens: count(&[
            "/cache_creation_input_tokens",
            "/input_cache_creation",
            "/cache_creation.input_tokens",
            "/prompt_cache_write_tokens",
        ]),
        output_tokens: count(&[
            "/completion_tokens",
            "/output_tokens",
            "/output",
            "/completionTokens",
            "/outputTokens",
            "/candidates_token_count",
            "/candidatesTokenCount",
            "/outputUsage",
        ]),
        reasoning_tokens: count(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/output_reasoning",
            "/output_reasoning_tokens",
            "/reasoning.output_tokens",
            "/completion_details.reasoning",
            "/thoughts_token_count",
        ]),
        total_tokens: count(&["/total_tokens", "/total", "/totalTokens", "/total_token_count", "/totalTokenCount"]),
        ..Usage::default()
    };
    // Langfuse keeps the parts of a count beside it; whether inside or apart, the total tells.
    if let (Some(total), Some(input), Some(output)) = (usage.total_tokens, usage.input_tokens, usage.output_tokens)
        && let Some(fields) = value.as_object()
    {
        let parts = |prefix: &str| -> u64 {
            let own = fields.iter().filter(|(key, _)| key.starts_with(prefix));
            own.filter_map(|(_, value)| value.as_u64()).fold(0, u64::saturating_add)
        };
        let (more_in, more_out) = (parts("input_"), parts("output_"));
        let all = [input, output, more_in, more_out].into_iter().fold(0, u64::saturating_add);
        if more_in + more_out > 0 && all == total {
            usage.input_tokens = Some(input + more_in);
            usage.output_tokens = Some(output + more_out);
        }
    }
    usage
}

/// The counts of an answer's own body, and those that stand beside it where it has none. A total goes with the counts that
/// it was made of: some tracers write that of a whole agent beside one answer.
pub fn beside(beside: Usage, own: Usage) -> Usage {
    let has_own = own.input_tokens.is_some() || own.output_tokens.is_some();
    let total_tokens = if has_own { own.total_tokens } else { beside.total_tokens };
    Usage { total_tokens, ..beside.updated(own) }
}

fn count(value: &Value, place: &str) -> Option<u64> {
    let number = match value.pointer(place)? {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        other => other.as_f64()?,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
}

/// An answer of which only the tokens are known.
pub fn of_tokens(usage: Usage) -> Response {
    Response { usage, ..Response::default() }
}

/// The body of a chat completion around a message, for tests and for logs that keep the message alone.
#[cfg(test)]
pub fn completion(text: &str) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-x", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Finish;

    fn text(value: &Value) -> String {
        of_value(value).unwrap().unwrap().text
    }

    #[test]
    fn answers_of_many_shapes() {
        let anthropic = json!({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "ok"}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
        let responses = json!({"object": "response", "status": "completed", "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]}]});
        let gemini = json!({"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}]});
        for value in [
            completion("ok"),
            json!(completion("ok").to_string()),
            anthropic,
            responses,
            gemini,
            json!("ok"),
            json!({"role": "assistant", "content": "ok"}),
            json!([{"role": "assistant", "content": "ok", "finish_reason": "stop"}]),
            json!({"content": {"parts": [{"text": "ok"}], "role": "model"}, "finish_reason": "STOP"}),
            json!({"messages": [{"type": "human", "content": "q"}, {"type": "ai", "content": "ok"}]}),
            json!({"completion": "ok"}),
        ] {
            assert_eq!(text(&value), "ok", "{value}");
        }
        let opened = json!({"object": "response", "output": [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"x": 1}}]});
        assert_eq!(of_value(&opened).unwrap().unwrap().tool_calls[0].arguments, "{\"x\":1}");
        assert_eq!(text(&json!({"label": "x"})), "{\"label\":\"x\"}");
        for nothing in [json!(null), json!({}), json!(""), json!([]), json!({"choices": []})] {
            assert!(of_value(&nothing).is_none(), "{nothing}");
        }
        assert!(matches!(of_value(&json!({"error": {"message": "no"}})), Some(Err(Failure::Service { .. }))));
    }

    #[test]
    fn streams_are_put_together_and_cut_ones_are_failures() {
        let chunk = |delta: Value, finish: Value| {
            format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
        };
        let begun = chunk(json!({"content": "o"}), Value::Null) + &chunk(json!({"content": "k"}), Value::Null);
        let whole = format!("{begun}{}data: [DONE]\n\n", chunk(json!({}), json!("stop")));
        assert!(is_stream(whole.as_bytes()));
        assert_eq!(of_bytes(whole.as_bytes()).unwrap().unwrap().text, "ok");
        assert!(matches!(of_bytes(begun.as_bytes()), Some(Err(Failure::Cut { .. }))));
        assert!(matches!(of_bytes(b"{\"choices\": [{"), Some(Err(Failure::Cut { .. }))));
        assert!(matches!(of_bytes(b"<html>"), Some(Err(Failure::Protocol { .. }))));
        assert!(of_bytes(b" \n").is_none());
    }

    #[test]
    fn statuses_become_failures() {
        assert_eq!(of_status(200, b""), None);
        let body = b"{\"error\": {\"message\": \"slow down\"}}";
        assert_eq!(of_status(429, body), Some(Err(Failure::RateLimited { detail: "slow down".to_owned() })));
        assert_eq!(of_status(500, b"x"), Some(Err(Failure::Status { status: 500, detail: "x".to_owned() })));
    }

    #[test]
    fn a_filter_that_refuses_with_an_error_is_an_answer() {
        let error = json!({"error": {"message": "filtered", "code": "content_filter"}});
        let wanted = (Some(Finish::Filter), true, "");
        let of = |answer: &Response| (answer.finish, answer.is_refusal, answer.text.clone());
        for answer in [of_status(400, error.to_string().as_bytes()), of_value(&error)] {
            let (finish, is_refusal, text) = of(&answer.unwrap().unwrap());
            assert_eq!((finish, is_refusal, text.as_str()), wanted);
        }
    }

    #[test]
    fn ends_are_read_in_the_words_of_any_service() {
        let end = |word: &str| of_value(&json!({"role": "assistant", "content": "ok", "finish_reason": word})).unwrap();
        let cut = end("MAX_TOKENS").unwrap();
        assert_eq!((cut.finish, cut.finish_raw.as_deref()), (Some(Finish::Length), Some("MAX_TOKENS")));
        assert_eq!(end("repetition").unwrap().finish, Some(Finish::Other));
        assert!(matches!(end("abort"), Err(Failure::Cut { .. })));
    }

    #[test]
    fn counts_of_many_names() {
        let of = |value: Value| {
            let usage = usage(&value);
            (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
        };
        assert_eq!(of(json!({"usage": {"prompt_tokens": 9, "completion_tokens": 3}})), (Some(9), None, Some(3)));
        let apart = json!({"input": 9, "input_cached_tokens": 5, "output": 3, "total": 17});
        assert_eq!(of(apart), (Some(14), Some(5), Some(3)));
        let inside = json!({"input": 14, "input_cached_tokens": 5, "output": 3, "total": 17});
        assert_eq!(of(inside), (Some(14), Some(5), Some(3)));
        assert_eq!(of(json!({"input": "9", "output": -3})), (Some(9), None, None));
        let own = usage(&json!({"prompt_tokens": 163, "completion_tokens": 20}));
        let agent = usage(&json!({"input": 542, "output": 235, "total": 777}));
        assert_eq!(beside(agent, own), own);
        assert_eq!(beside(agent, Usage::default()).total_tokens, Some(777));
    }
}
