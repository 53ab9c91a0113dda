//! Exchanges without their texts: digests and lengths stand in their place, so that what is the same can still be seen to
//! be the same. Short texts can be guessed from their digests.

use serde_json::{Map, Value, json};

use crate::types::{Content, Exchange, Message, Texts};
use crate::util::digest::Digest;

/// `[digest 00112233445566778899aabbccddeeff, 12 characters]`
fn of(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("[digest {}, {} characters]", Digest::of(text.as_bytes()), text.chars().count())
}

fn of_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(of(text)),
        other => Value::String(of(&other.to_string())),
    }
}

/// Puts digests in the place of every text. The body as sent, schemas and parameters that are no numbers go as a whole.
pub fn only(exchange: &mut Exchange) {
    exchange.texts = Texts::Digested;
    exchange.body = None;
    exchange.output_schema =
        exchange.output_schema.take().map(|schema| json!({ "description": of(&schema.to_string()) }));
    exchange.tools = exchange.tools.take().map(|tools| match tools {
        Value::Array(items) => items.iter().map(tool).collect(),
        other => Value::Array(vec![tool(&other)]),
    });
    exchange.messages.iter_mut().for_each(message);
    exchange.params.stop = None;
    exchange.params.response_format = None;
    exchange.params.tool_choice = None;
    exchange.params.extra.retain(|_, value| value.is_number() || value.is_boolean());
    if let Some(answer) = &mut exchange.answer {
        answer.logprobs.clear();
        for text in [&mut answer.text, &mut answer.reasoning] {
            *text = of(text);
        }
        for call in &mut answer.tool_calls {
            (call.id, call.name, call.arguments) = (of(&call.id), of(&call.name), of(&call.arguments));
        }
    }
    exchange.target = exchange.target.as_deref().map(of);
    if let Some(detail) = exchange.failure.as_mut().and_then(|failure| failure.detail_mut()) {
        *detail = of(detail);
    }
    exchange.tags.values_mut().for_each(|value| *value = of(value));
    if exchange.conversation != exchange.id {
        exchange.conversation = format!("d-{}", &Digest::of(exchange.conversation.as_bytes()).to_string()[..16]);
    }
}

fn tool(tool: &Value) -> Value {
    json!({"type": "function", "function": {"name": of(&tool.to_string())}})
}

fn message(message: &mut Message) {
    match &mut message.content {
        Content::Text(text) => *text = of(text),
        Content::Parts(parts) => {
            let text = Value::Array(std::mem::take(parts)).to_string();
            message.content = Content::Text(of(&text));
        }
        Content::Empty(()) => {}
    }
    let own: Map<String, Value> = std::mem::take(&mut message.more);
    message.more = own
        .iter()
        .map(|(key, value)| (key.clone(), value))
        .map(|(key, value)| {
            let value = if key == "tool_calls" { calls(value) } else { of_value(value) };
            (key, value)
        })
        .collect();
}

fn calls(value: &Value) -> Value {
    let calls = value.as_array().into_iter().flatten();
    calls
        .map(|call| {
            let word = |place: &str| of(call.pointer(place).and_then(Value::as_str).unwrap_or_default());
            let function = json!({"name": word("/function/name"), "arguments": word("/function/arguments")});
            json!({"id": word("/id"), "type": "function", "function": function})
        })
        .collect()
}
