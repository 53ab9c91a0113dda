//! Cohere's chat, version 2. Pure.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Choice, Losses, Part, Shape, Turn, functions, put, written};
use crate::provider::sse::Frame;
use crate::provider::{Decode, Dialect, Event, Manner, stop, wire};
use crate::types::{Failure, Request, Usage};

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 3] = ["model", "messages", "stream"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct Cohere(pub Manner);

fn message(turn: &Turn<'_>, losses: &mut Losses) -> Value {
    match turn {
        Turn::User(parts) => json!({"role": "user", "content": content(parts)}),
        Turn::Assistant { parts, calls } => {
            let mut message = Map::new();
            message.insert("role".to_owned(), json!("assistant"));
            if !parts.is_empty() {
                message.insert("content".to_owned(), content(parts));
            }
            if !calls.is_empty() {
                let list = calls.iter().map(|call| {
                    let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                    json!({"id": call.id, "type": "function", "function": function})
                });
                message.insert("tool_calls".to_owned(), list.collect());
            }
            Value::Object(message)
        }
        Turn::Result { id, parts, .. } => {
            if parts.iter().any(|part| !matches!(part, Part::Text(_))) {
                losses.add("an image in the result of a tool");
            }
            let texts: Vec<Part<'_>> = parts.iter().filter(|part| matches!(part, Part::Text(_))).cloned().collect();
            json!({"role": "tool", "tool_call_id": id, "content": content(&texts)})
        }
    }
}

fn content(parts: &[Part<'_>]) -> Value {
    if let [Part::Text(text)] = parts {
        return json!(text);
    }
    let list = parts.iter().map(|part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "image_url", "image_url": {"url": format!("data:{media_type};base64,{data}")}})
        }
        Part::ImageUrl(url) => json!({"type": "image_url", "image_url": {"url": url}}),
    });
    list.collect()
}

impl Dialect for Cohere {
    fn manner(&self) -> &Manner {
        &self.0
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let Asked { system, turns, tools, choice, shape, params, mut losses } = Asked::of(request, self.0.structured);
        let mut messages: Vec<Value> = system.iter().map(|text| json!({"role": "system", "content": text})).collect();
        messages.extend(turns.iter().map(|turn| message(turn, &mut losses)));
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.0.model));
        body.insert("messages".to_owned(), Value::Array(messages));
        if !tools.is_empty() {
            if tools.iter().any(|tool| tool.is_strict) {
                body.insert("strict_tools".to_owned(), json!(true));
            }
            body.insert("tools".to_owned(), functions(&tools));
            match choice {
                Choice::Unsaid | Choice::Auto => {}
                Choice::None => put(&mut body, "tool_choice", Some("NONE")),
                Choice::Required => put(&mut body, "tool_choice", Some("REQUIRED")),
                Choice::Named(_) => {
                    if tools.len() > 1 {
                        losses.add("`tool_choice` of one tool (any of them is asked for)");
                    }
                    put(&mut body, "tool_choice", Some("REQUIRED"));
                }
            }
        }
        match shape {
            Shape::Free => {}
            Shape::Object => put(&mut body, "response_format", Some(json!({"type": "json_object"}))),
            Shape::Schema(schema) => {
                put(&mut body, "response_format", Some(json!({"type": "json_object", "json_schema": schema})));
            }
        }
        put(&mut body, "temperature", params.temperature);
        put(&mut body, "p", params.top_p);
        put(&mut body, "max_tokens", params.max_output_tokens);
        put(&mut body, "seed", params.seed);
        put(&mut body, "stop_sequences", params.stop.clone());
        body.insert("stream".to_owned(), json!(self.0.is_streamed));
        written(body, params, &OURS, losses)
    }

    fn path(&self) -> String {
        "/chat".to_owned()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = wire::object("Cohere answer", &wire::text(body))?;
        let Some(message) = body.get("message").filter(|message| message.is_object()) else {
            return Err(match wire::error_message(body.to_string().as_bytes()) {
                Some(detail) => Failure::Service { detail },
                None => Failure::Protocol { detail: "the answer has no `message`".to_owned() },
            });
        };
        let mut events: Vec<Event> = wire::word(message, "/tool_plan").map(Event::Reasoning).into_iter().collect();
        for part in wire::list(message, "/content") {
            events.extend(wire::word(part, "/thinking").map(Event::Reasoning));
            events.extend(wire::word(part, "/text").map(Event::Text));
        }
        for (index, call) in wire::list(message, "/tool_calls").enumerate() {
            let arguments = wire::word(call, "/function/arguments").unwrap_or_else(|| "{}".to_owned());
            events.push(called(index, call, arguments));
        }
        if let Some(reason) = body.get("finish_reason").and_then(Value::as_str) {
            events.append(&mut stop::events(reason)?);
        }
        events.extend(body.get("usage").and_then(usage).map(Event::Usage));
        Ok(events)
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

fn called(index: usize, call: &Value, arguments: String) -> Event {
    Event::ToolCall { index, id: wire::word(call, "/id"), name: wire::word(call, "/function/name"), arguments }
}

/// `tokens` are those of the model, `billed_units` those that are paid, without what the service adds by itself. What the
/// cache held is a part of the model's: beside the billed ones it says nothing when it is more than they are.
fn usage(usage: &Value) -> Option<Usage> {
    usage.as_object()?;
    let count = |name: &str| {
        let billed = wire::count(usage, &format!("/billed_units/{name}"));
        billed.or_else(|| wire::count(usage, &format!("/tokens/{name}")))
    };
    let input_tokens = count("input_tokens");
    let cached = wire::count(usage, "/cached_tokens");
    let is_of_others = wire::count(usage, "/billed_units/input_tokens").is_some() && cached > input_tokens;
    Some(Usage {
        input_tokens,
        cached_input_tokens: cached.filter(|_| !is_of_others),
        output_tokens: count("output_tokens"),
        ..Usage::default()
    })
}

#[derive(Default)]
struct Decoder {
    is_done: bool,
    calls: usize,
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        let data = frame.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let data = wire::object("event of a Cohere answer", data)?;
        let message = &data["delta"]["message"];
        let mut events = Vec::new();
        match data.get("type").and_then(Value::as_str) {
            Some("content-start" | "content-delta") => {
                events.extend(wire::word(message, "/content/thinking").map(Event::Reasoning));
                events.extend(wire::word(message, "/content/text").map(Event::Text));
            }
            Some("tool-plan-delta") => events.extend(wire::word(message, "/tool_plan").map(Event::Reasoning)),
            Some("tool-call-start") => {
                let arguments = wire::word(message, "/tool_calls/function/arguments").unwrap_or_default();
                events.push(called(self.calls, &message["tool_calls"], arguments));
                self.calls += 1;
            }
            Some("tool-call-delta") => {
                if let (Some(arguments), Some(index)) =
                    (wire::word(message, "/tool_calls/function/arguments"), self.calls.checked_sub(1))
                {
                    events.push(Event::ToolCall { index, id: None, name: None, arguments });
                }
            }
            Some("message-end") => {
                if let Some(reason) = data.pointer("/delta/finish_reason").and_then(Value::as_str) {
                    events.append(&mut stop::events(reason).map_err(|failure| {
                        match wire::word(&data, "/delta/error") {
                            Some(detail) => Failure::Service { detail },
                            None => failure,
                        }
                    })?);
                }
                events.extend(data.pointer("/delta/usage").and_then(usage).map(Event::Usage));
                self.is_done = true;
            }
            None => {
                if let Some(detail) = wire::error_message(frame.data.as_bytes()) {
                    return Err(Failure::Service { detail });
                }
            }
            // `message-start`, ends of parts, citations, and events of later versions.
            Some(_) => {}
        }
        Ok(events)
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.is_done {
            return Ok(());
        }
        Err(Failure::Lost { detail: "the stream ended without `message-end`".to_owned() })
    }
}
