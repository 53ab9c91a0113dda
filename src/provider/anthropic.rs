//! Anthropic's messages. Pure.
//!
//! A schema is asked for as `output_config.format`, or as a tool. Prompt tokens are counted in three heaps (fresh, read
//! from the cache, written to it), which are added up; thinking is inside the output tokens.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Choice, Losses, Part, Shape, Turn, join, put, written};
use crate::provider::sse::Frame;
use crate::provider::wire::Calls;
use crate::provider::{Decode, Dialect, Event, Manner, stop, wire};
use crate::types::{Failure, Request, Usage};

/// Version of the API whose published description this follows.
const VERSION: &str = "2023-06-01";

/// The service wants a bound. This is sent where a suite gives none, and the report says so.
const MAX_TOKENS: u32 = 4096;

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 3] = ["model", "messages", "stream"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct Anthropic(pub Manner);

fn messages(turns: &[Turn<'_>]) -> Value {
    let mut list: Vec<Value> = Vec::new();
    for turn in turns {
        let (role, content) = match turn {
            Turn::User(parts) => ("user", parts.iter().map(block).collect::<Vec<Value>>()),
            Turn::Assistant { parts, calls } => {
                let uses = calls
                    .iter()
                    .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
                // The service refuses empty texts.
                let said = parts.iter().filter(|part| **part != Part::Text("")).map(block);
                ("assistant", said.chain(uses).collect())
            }
            Turn::Result { id, parts, .. } => {
                let content: Vec<Value> = parts.iter().map(block).collect();
                ("user", vec![json!({"type": "tool_result", "tool_use_id": id, "content": content})])
            }
        };
        join(&mut list, role, "content", content);
    }
    Value::Array(list)
}

fn block(part: &Part<'_>) -> Value {
    match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
        }
        Part::ImageUrl(url) => json!({"type": "image", "source": {"type": "url", "url": url}}),
    }
}

impl Dialect for Anthropic {
    fn manner(&self) -> &Manner {
        &self.0
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let asked = Asked::of(request, self.0.structured);
        let system = asked.system_text();
        let Asked { turns, tools, choice, shape, params, mut losses, .. } = asked;
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.0.model));
        put(&mut body, "system", system);
        body.insert("messages".to_owned(), messages(&turns));
        if params.max_output_tokens.is_none() {
            losses.add(format!("no bound of output tokens (this API needs one: {MAX_TOKENS} is sent)"));
        }
        body.insert("max_tokens".to_owned(), json!(params.max_output_tokens.unwrap_or(MAX_TOKENS)));
        put(&mut body, "temperature", params.temperature);
        put(&mut body, "top_p", params.top_p);
        put(&mut body, "stop_sequences", params.stop.clone());
        losses.parameter("seed", params.seed.as_ref());
        if !tools.is_empty() {
            let list = tools.iter().map(|tool| {
                let mut entry = Map::new();
                entry.insert("name".to_owned(), json!(tool.name));
                put(&mut entry, "description", tool.description);
                entry.insert("input_schema".to_owned(), tool.parameters.clone().into_owned());
                put(&mut entry, "strict", tool.is_strict.then_some(true));
                Value::Object(entry)
            });
            body.insert("tools".to_owned(), list.collect());
        }
        let choice = match choice {
            Choice::Unsaid => None,
            Choice::Auto => Some(json!({"type": "auto"})),
            Choice::None => Some(json!({"type": "none"})),
            Choice::Required => Some(json!({"type": "any"})),
            Choice::Named(name) => Some(json!({"type": "tool", "name": name})),
        };
        put(&mut body, "tool_choice", choice.filter(|_| !tools.is_empty()));
        match shape {
            Shape::Free => {}
            Shape::Object => losses.add("`structured: json_object`"),
            Shape::Schema(schema) => {
                body.insert("output_config".to_owned(), json!({"format": {"type": "json_schema", "schema": schema}}));
            }
        }
        put(&mut body, "stream", self.0.is_streamed.then_some(true));
        written(body, params, &OURS, losses)
    }

    fn path(&self) -> String {
        "/messages".to_owned()
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![("anthropic-version", VERSION.to_owned())]
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = wire::object("Anthropic message", &wire::text(body))?;
        if let Some(detail) = body.get("error").and_then(wire::message_of) {
            return wire::error_in_answer(&body, detail);
        }
        let Some(blocks) = body.get("content").and_then(Value::as_array) else {
            return Err(Failure::Protocol { detail: "the answer has no `content`".to_owned() });
        };
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        events.extend(wire::word(&body, "/model").map(Event::Model));
        for (index, block) in blocks.iter().enumerate() {
            events.extend(decoder.begin(index as u64, block, true));
        }
        if let Some(reason) = body.get("stop_reason").and_then(Value::as_str) {
            events.append(&mut stop::events(reason)?);
        }
        events.append(&mut decoder.usage(&body["usage"]));
        Ok(events)
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

#[derive(Default)]
struct Decoder {
    is_done: bool,
    /// Input so far, in the service's heaps: what is fresh stands for the input.
    heaps: Usage,
    calls: Calls,
}

impl Decoder {
    /// A block that begins, or a whole one.
    fn begin(&mut self, index: u64, block: &Value, is_whole: bool) -> Vec<Event> {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => wire::word(block, "/text").map(Event::Text).into_iter().collect(),
            Some("thinking") => wire::word(block, "/thinking").map(Event::Reasoning).into_iter().collect(),
            Some("tool_use") => {
                // In a stream the arguments come in pieces after an empty object.
                let has_input = block.get("input").and_then(Value::as_object).is_some_and(|input| !input.is_empty());
                let input = block.get("input").filter(|_| is_whole || has_input);
                let place = self.calls.begin(index, input.is_some());
                vec![Event::ToolCall {
                    index: place,
                    id: wire::word(block, "/id"),
                    name: wire::word(block, "/name"),
                    arguments: input.map_or_else(String::new, Value::to_string),
                }]
            }
            // Tools of the service's own, their results, hidden thinking, summaries of what came before.
            Some(_) | None => Vec::new(),
        }
    }

    fn delta(&mut self, index: u64, delta: &Value) -> Option<Event> {
        match delta.get("type").and_then(Value::as_str)? {
            "text_delta" => wire::word(delta, "/text").map(Event::Text),
            "thinking_delta" => wire::word(delta, "/thinking").map(Event::Reasoning),
            "input_json_delta" => self.arguments(index, wire::word(delta, "/partial_json")?),
            _ => None,
        }
    }

    fn arguments(&mut self, index: u64, arguments: String) -> Option<Event> {
        let place = self.calls.arguments(index)?;
        Some(Event::ToolCall { index: place, id: None, name: None, arguments })
    }

    /// A call without arguments has no pieces of them, and means an empty object.
    fn close(&mut self, index: u64) -> Option<Event> {
        if self.calls.is_bare(index) { self.arguments(index, "{}".to_owned()) } else { None }
    }

    fn usage(&mut self, usage: &Value) -> Vec<Event> {
        if !usage.is_object() {
            return Vec::new();
        }
        // Reported at the beginning and at the end, each with its own kinds of input.
        self.heaps = self.heaps.updated(Usage {
            input_tokens: wire::count(usage, "/input_tokens"),
            cached_input_tokens: wire::count(usage, "/cache_read_input_tokens"),
            cache_write_tokens: wire::count(usage, "/cache_creation_input_tokens"),
            ..Usage::default()
        });
        let Usage { input_tokens: fresh, cached_input_tokens: read, cache_write_tokens: written, .. } = self.heaps;
        let counts = Event::Usage(Usage {
            input_tokens: fresh.and_then(|fresh| wire::sum([Some(fresh), read, written])),
            cached_input_tokens: read,
            cache_write_tokens: written,
            cache_write_1h_tokens: wire::count(usage, "/cache_creation/ephemeral_1h_input_tokens"),
            output_tokens: wire::count(usage, "/output_tokens"),
            reasoning_tokens: wire::count(usage, "/output_tokens_details/thinking_tokens"),
            ..Usage::default()
        });
        [counts].into_iter().chain(wire::word(usage, "/service_tier").map(Event::Tier)).collect()
    }
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        if frame.data.trim().is_empty() {
            return Ok(Vec::new());
        }
        let data = wire::object("event of an Anthropic message", frame.data)?;
        let index = wire::count(&data, "/index").unwrap_or(0);
        let mut events = Vec::new();
        match data.get("type").and_then(Value::as_str) {
            Some("message_start") => {
                events.extend(wire::word(&data, "/message/model").map(Event::Model));
                // The output so far is none yet: what stands there is a beginning that only the end puts right.
                let counts = self.usage(&data["message"]["usage"]).into_iter().map(|event| match event {
                    Event::Usage(usage) => Event::Usage(Usage { output_tokens: None, ..usage }),
                    other => other,
                });
                events.extend(counts);
            }
            Some("content_block_start") => events = self.begin(index, &data["content_block"], false),
            Some("content_block_delta") => events.extend(self.delta(index, &data["delta"])),
            Some("content_block_stop") => events.extend(self.close(index)),
            Some("message_delta") => {
                if let Some(reason) = data.pointer("/delta/stop_reason").and_then(Value::as_str) {
                    events.append(&mut stop::events(reason)?);
                }
                events.append(&mut self.usage(&data["usage"]));
            }
            Some("message_stop") => self.is_done = true,
            Some("error") => {
                let detail = wire::message_of(&data["error"]).unwrap_or_else(|| "no message".to_owned());
                events = wire::error_in_answer(&data, detail)?;
                self.is_done = true;
            }
            // `ping`, and events of later versions.
            Some(_) | None => {}
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
        Err(Failure::Lost { detail: "the stream ended without `message_stop`".to_owned() })
    }
}
