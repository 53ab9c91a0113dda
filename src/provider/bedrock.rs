//! Amazon Bedrock's Converse. Pure.
//!
//! The model stands in the path. Answers are streamed as frames of Amazon's own binary format, whose type names the
//! event. It has no seed.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Choice, Losses, Part, Shape, Turn, join, put, written};
use crate::provider::sse::Frame;
use crate::provider::wire::Calls;
use crate::provider::{Decode, Dialect, Event, Framing, Manner, stop, wire};
use crate::types::{Failure, Request, Usage};

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 1] = ["messages"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct Bedrock(pub Manner);

fn messages(turns: &[Turn<'_>], losses: &mut Losses) -> Value {
    let mut list: Vec<Value> = Vec::new();
    for turn in turns {
        let (role, content) = match turn {
            Turn::User(parts) => ("user", blocks(parts, losses)),
            Turn::Assistant { parts, calls } => {
                let mut content = blocks(parts, losses);
                content.extend(calls.iter().map(
                    |call| json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}}),
                ));
                ("assistant", content)
            }
            Turn::Result { id, parts, .. } => {
                let content = blocks(parts, losses);
                ("user", vec![json!({"toolResult": {"toolUseId": id, "content": content}})])
            }
        };
        join(&mut list, role, "content", content);
    }
    Value::Array(list)
}

fn blocks(parts: &[Part<'_>], losses: &mut Losses) -> Vec<Value> {
    let blocks = parts.iter().filter_map(|part| match part {
        // The service refuses empty texts.
        Part::Text("") => None,
        Part::Text(text) => Some(json!({"text": text})),
        Part::Image { media_type, data } => {
            let format = media_type.strip_prefix("image/").unwrap_or(media_type);
            Some(json!({"image": {"format": format, "source": {"bytes": data}}}))
        }
        Part::ImageUrl(_) => {
            losses.add("an image at an address");
            None
        }
    });
    blocks.collect()
}

impl Dialect for Bedrock {
    fn manner(&self) -> &Manner {
        &self.0
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let asked = Asked::of(request, self.0.structured);
        let Asked { system, turns, tools, choice, shape, params, mut losses } = asked;
        let mut body = Map::new();
        let system: Vec<Value> =
            system.iter().filter(|text| !text.is_empty()).map(|text| json!({"text": text})).collect();
        put(&mut body, "system", (!system.is_empty()).then_some(system));
        body.insert("messages".to_owned(), messages(&turns, &mut losses));
        let mut inference = Map::new();
        put(&mut inference, "maxTokens", params.max_output_tokens);
        put(&mut inference, "temperature", params.temperature);
        put(&mut inference, "topP", params.top_p);
        put(&mut inference, "stopSequences", params.stop.clone());
        if !inference.is_empty() {
            body.insert("inferenceConfig".to_owned(), Value::Object(inference));
        }
        losses.parameter("seed", params.seed.as_ref());
        if !tools.is_empty() {
            let list = tools.iter().map(|tool| {
                let mut entry = Map::new();
                entry.insert("name".to_owned(), json!(tool.name));
                put(&mut entry, "description", tool.description);
                entry.insert("inputSchema".to_owned(), json!({"json": tool.parameters}));
                put(&mut entry, "strict", tool.is_strict.then_some(true));
                json!({"toolSpec": entry})
            });
            let mut config = Map::new();
            config.insert("tools".to_owned(), list.collect());
            match choice {
                Choice::Unsaid => {}
                Choice::Auto => put(&mut config, "toolChoice", Some(json!({"auto": {}}))),
                Choice::Required => put(&mut config, "toolChoice", Some(json!({"any": {}}))),
                Choice::Named(name) => put(&mut config, "toolChoice", Some(json!({"tool": {"name": name}}))),
                Choice::None => losses.add("`tool_choice: none`"),
            }
            body.insert("toolConfig".to_owned(), Value::Object(config));
        }
        match shape {
            Shape::Free => {}
            Shape::Object => losses.add("`structured: json_object`"),
            Shape::Schema(schema) => {
                let structure = json!({"jsonSchema": {"name": "answer", "schema": schema.to_string()}});
                let format = json!({"textFormat": {"type": "json_schema", "structure": structure}});
                body.insert("outputConfig".to_owned(), format);
            }
        }
        written(body, params, &OURS, losses)
    }

    fn framing(&self) -> Framing {
        Framing::Amazon
    }

    fn path(&self) -> String {
        // An ARN has colons and slashes in it.
        let model = wire::segment(&self.0.model);
        let method = if self.0.is_streamed { "converse-stream" } else { "converse" };
        format!("/model/{model}/{method}")
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = wire::object("Converse answer", &wire::text(body))?;
        let Some(content) = body.pointer("/output/message/content").and_then(Value::as_array) else {
            return Err(match wire::error_message(body.to_string().as_bytes()) {
                Some(detail) => Failure::Service { detail },
                None => Failure::Protocol { detail: "the answer has no `output.message`".to_owned() },
            });
        };
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for (index, block) in content.iter().enumerate() {
            events.extend(wire::word(block, "/text").map(Event::Text));
            events.extend(wire::word(block, "/reasoningContent/reasoningText/text").map(Event::Reasoning));
            if let Some(call) = block.get("toolUse").filter(|call| !is_services_own(call)) {
                let arguments = call.get("input").map_or_else(|| "{}".to_owned(), Value::to_string);
                events.push(decoder.begin(index as u64, call, arguments));
            }
        }
        events.append(&mut stopped(&body)?);
        events.extend(body.get("usage").and_then(usage).map(Event::Usage));
        events.extend(wire::word(&body, "/serviceTier/type").map(Event::Tier));
        Ok(events)
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

/// Whether a call is of a tool that the service runs by itself.
fn is_services_own(call: &Value) -> bool {
    call.get("type").and_then(Value::as_str) == Some("server_tool_use")
}

#[derive(Default)]
struct Decoder {
    has_stopped: bool,
    is_done: bool,
    calls: Calls,
}

impl Decoder {
    fn begin(&mut self, index: u64, call: &Value, arguments: String) -> Event {
        let place = self.calls.begin(index, !arguments.is_empty());
        Event::ToolCall { index: place, id: wire::word(call, "/toolUseId"), name: wire::word(call, "/name"), arguments }
    }

    fn arguments(&mut self, index: u64, arguments: String) -> Option<Event> {
        let place = self.calls.arguments(index)?;
        Some(Event::ToolCall { index: place, id: None, name: None, arguments })
    }
}

fn stopped(message: &Value) -> Result<Vec<Event>, Failure> {
    message.get("stopReason").and_then(Value::as_str).map_or(Ok(Vec::new()), stop::events)
}

fn usage(usage: &Value) -> Option<Usage> {
    usage.as_object()?;
    let count = |pointer| wire::count(usage, pointer);
    let (read, written) = (count("/cacheReadInputTokens"), count("/cacheWriteInputTokens"));
    let hour = wire::list(usage, "/cacheDetails").find(|detail| detail["ttl"] == "1h");
    Some(Usage {
        // Fresh tokens only, beside those read from and written to the cache.
        input_tokens: count("/inputTokens").and_then(|fresh| wire::sum([Some(fresh), read, written])),
        cached_input_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: hour.and_then(|detail| wire::count(detail, "/inputTokens")),
        output_tokens: count("/outputTokens"),
        total_tokens: count("/totalTokens"),
        ..Usage::default()
    })
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        let data = wire::object("event of a Converse answer", frame.data)?;
        let index = wire::count(&data, "/contentBlockIndex").unwrap_or(0);
        let mut events = Vec::new();
        match frame.event {
            "contentBlockStart" => {
                if let Some(call) = data.pointer("/start/toolUse") {
                    events.push(self.begin(index, call, String::new()));
                }
            }
            "contentBlockDelta" => {
                let delta = &data["delta"];
                events.extend(wire::word(delta, "/text").map(Event::Text));
                events.extend(wire::word(delta, "/reasoningContent/text").map(Event::Reasoning));
                if let Some(arguments) = wire::word(delta, "/toolUse/input") {
                    events.extend(self.arguments(index, arguments));
                }
            }
            // A call without arguments has no pieces of them, and means an empty object.
            "contentBlockStop" if self.calls.is_bare(index) => {
                events.extend(self.arguments(index, "{}".to_owned()));
            }
            "messageStop" => {
                self.has_stopped = true;
                events = stopped(&data)?;
            }
            "metadata" => {
                events.extend(data.get("usage").and_then(usage).map(Event::Usage));
                events.extend(wire::word(&data, "/serviceTier/type").map(Event::Tier));
                self.is_done = self.has_stopped;
            }
            name if name.ends_with("Exception") => {
                let said = wire::message_of(&data).unwrap_or_else(|| "no message".to_owned());
                events = wire::error_in_answer(&data, format!("{name}: {said}"))?;
                (self.has_stopped, self.is_done) = (true, true);
            }
            // `messageStart`, and events of later versions.
            _ => {}
        }
        Ok(events)
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.has_stopped {
            return Ok(());
        }
        Err(Failure::Lost { detail: "the stream ended without `messageStop`".to_owned() })
    }
}
