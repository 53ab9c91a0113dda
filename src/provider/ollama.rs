//! Ollama's own chat. Pure.
//!
//! A stream is one JSON object a line. Thinking is inside the counted output.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Choice, Losses, Part, Shape, Turn, functions, put, written};
use crate::provider::sse::Frame;
use crate::provider::{Decode, Dialect, Event, Framing, Manner, stop, wire};
use crate::types::{Failure, Request, Usage};

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 3] = ["model", "messages", "stream"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct Ollama(pub Manner);

fn message(turn: &Turn<'_>, losses: &mut Losses) -> Value {
    let (role, parts, more) = match turn {
        Turn::User(parts) => ("user", parts, None),
        Turn::Assistant { parts, calls } => {
            let calls = calls.iter().map(|call| json!({"function": {"name": call.name, "arguments": call.arguments}}));
            let calls: Vec<Value> = calls.collect();
            ("assistant", parts, (!calls.is_empty()).then(|| ("tool_calls", Value::Array(calls))))
        }
        Turn::Result { name, parts, .. } => ("tool", parts, Some(("tool_name", json!(name)))),
    };
    let (mut text, mut images) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(words) => text.push_str(words),
            Part::Image { data, .. } => images.push(json!(data)),
            Part::ImageUrl(_) => losses.add("an image at an address"),
        }
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), json!(role));
    message.insert("content".to_owned(), json!(text));
    put(&mut message, "images", (!images.is_empty()).then_some(images));
    if let Some((name, value)) = more {
        message.insert(name.to_owned(), value);
    }
    Value::Object(message)
}

impl Dialect for Ollama {
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
                losses.add("`strict` of a tool");
            }
            body.insert("tools".to_owned(), functions(&tools));
            match choice {
                Choice::Unsaid | Choice::Auto => {}
                Choice::None | Choice::Required | Choice::Named(_) => losses.add("parameter `tool_choice`"),
            }
        }
        match shape {
            Shape::Free => {}
            Shape::Object => put(&mut body, "format", Some("json")),
            Shape::Schema(schema) => put(&mut body, "format", Some(schema.clone())),
        }
        let mut options = Map::new();
        put(&mut options, "temperature", params.temperature);
        put(&mut options, "top_p", params.top_p);
        put(&mut options, "num_predict", params.max_output_tokens);
        put(&mut options, "seed", params.seed);
        put(&mut options, "stop", params.stop.clone());
        if !options.is_empty() {
            body.insert("options".to_owned(), Value::Object(options));
        }
        body.insert("stream".to_owned(), json!(self.0.is_streamed));
        written(body, params, &OURS, losses)
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn path(&self) -> String {
        "/api/chat".to_owned()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = wire::object("Ollama answer", &wire::text(body))?;
        let mut decoder = Decoder::default();
        let events = decoder.chunk(&body)?;
        decoder.end().map_err(|_| Failure::Protocol { detail: "the answer is not said to be done".to_owned() })?;
        Ok(events)
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

#[derive(Default)]
struct Decoder {
    is_done: bool,
    has_model: bool,
    calls: usize,
}

impl Decoder {
    fn chunk(&mut self, chunk: &Value) -> Result<Vec<Event>, Failure> {
        if let Some(detail) = chunk.get("error").and_then(wire::message_of) {
            return Err(Failure::Service { detail });
        }
        let mut events = Vec::new();
        if let Some(model) = wire::word(chunk, "/model").filter(|_| !self.has_model) {
            self.has_model = true;
            events.push(Event::Model(model));
        }
        events.extend(wire::word(chunk, "/message/thinking").map(Event::Reasoning));
        events.extend(wire::word(chunk, "/message/content").map(Event::Text));
        for call in wire::list(chunk, "/message/tool_calls") {
            let arguments = call.pointer("/function/arguments").map_or_else(|| "{}".to_owned(), Value::to_string);
            let (id, name) = (wire::word(call, "/id"), wire::word(call, "/function/name"));
            events.push(Event::ToolCall { index: self.calls, id, name, arguments });
            self.calls += 1;
        }
        if chunk.get("done").and_then(Value::as_bool) == Some(true) {
            self.is_done = true;
            let reason = chunk.get("done_reason").and_then(Value::as_str).unwrap_or("stop");
            events.append(&mut stop::events_after(reason, self.calls > 0)?);
            events.push(Event::Usage(Usage {
                input_tokens: wire::count(chunk, "/prompt_eval_count"),
                output_tokens: wire::count(chunk, "/eval_count"),
                ..Usage::default()
            }));
        }
        Ok(events)
    }
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        if frame.data.trim().is_empty() {
            return Ok(Vec::new());
        }
        self.chunk(&wire::object("line of an Ollama answer", frame.data)?)
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.is_done {
            return Ok(());
        }
        Err(Failure::Lost { detail: "the stream ended without `done`".to_owned() })
    }
}
