//! OpenAI's responses. Pure.
//!
//! The conversation is sent as input items and nothing is stored at the service. It has no seed and no stop texts.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Choice, Losses, Part, Shape, Turn, put, written};
use crate::provider::sse::Frame;
use crate::provider::wire::Calls;
use crate::provider::{Decode, Dialect, Event, Manner, stop, wire};
use crate::types::{Failure, Finish, Request, TokenLogprob, Usage};

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 3] = ["model", "input", "stream"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct OpenAiResponses(pub Manner);

fn input(turns: &[Turn<'_>]) -> Value {
    let mut items = Vec::new();
    for turn in turns {
        match turn {
            Turn::User(parts) => {
                let content: Vec<Value> = parts.iter().map(part).collect();
                items.push(json!({"role": "user", "content": content}));
            }
            Turn::Assistant { parts, calls } => {
                let said: String = parts
                    .iter()
                    .filter_map(|part| match part {
                        Part::Text(text) => Some(*text),
                        Part::Image { .. } | Part::ImageUrl(_) => None,
                    })
                    .collect();
                if !said.is_empty() {
                    let content = json!([{"type": "output_text", "text": said}]);
                    items.push(json!({"role": "assistant", "content": content}));
                }
                items.extend(calls.iter().map(|call| {
                    json!({
                        "type": "function_call", "call_id": call.id, "name": call.name,
                        "arguments": call.arguments.to_string(),
                    })
                }));
            }
            Turn::Result { id, parts, .. } => {
                let output = match parts.as_slice() {
                    [Part::Text(text)] => json!(text),
                    _ => parts.iter().map(part).collect(),
                };
                items.push(json!({"type": "function_call_output", "call_id": id, "output": output}));
            }
        }
    }
    Value::Array(items)
}

fn part(part: &Part<'_>) -> Value {
    match part {
        Part::Text(text) => json!({"type": "input_text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "input_image", "image_url": format!("data:{media_type};base64,{data}")})
        }
        Part::ImageUrl(url) => json!({"type": "input_image", "image_url": url}),
    }
}

impl Dialect for OpenAiResponses {
    fn manner(&self) -> &Manner {
        &self.0
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let asked = Asked::of(request, self.0.structured);
        let instructions = asked.system_text();
        let Asked { turns, tools, choice, shape, params, mut losses, .. } = asked;
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.0.model));
        put(&mut body, "instructions", instructions);
        body.insert("input".to_owned(), input(&turns));
        body.insert("store".to_owned(), json!(false));
        if !tools.is_empty() {
            let list = tools.iter().map(|tool| {
                let mut entry = Map::new();
                entry.insert("type".to_owned(), json!("function"));
                entry.insert("name".to_owned(), json!(tool.name));
                put(&mut entry, "description", tool.description);
                entry.insert("parameters".to_owned(), tool.parameters.clone().into_owned());
                entry.insert("strict".to_owned(), json!(tool.is_strict));
                Value::Object(entry)
            });
            body.insert("tools".to_owned(), list.collect());
        }
        let choice = match choice {
            Choice::Unsaid => None,
            Choice::Auto => Some(json!("auto")),
            Choice::None => Some(json!("none")),
            Choice::Required => Some(json!("required")),
            Choice::Named(name) => Some(json!({"type": "function", "name": name})),
        };
        put(&mut body, "tool_choice", choice.filter(|_| !tools.is_empty()));
        let format = match shape {
            Shape::Free => None,
            Shape::Object => Some(json!({"type": "json_object"})),
            Shape::Schema(schema) => {
                Some(json!({"type": "json_schema", "name": "answer", "strict": true, "schema": schema}))
            }
        };
        put(&mut body, "text", format.map(|format| json!({"format": format})));
        put(&mut body, "temperature", params.temperature);
        put(&mut body, "top_p", params.top_p);
        put(&mut body, "max_output_tokens", params.max_output_tokens);
        losses.parameter("seed", params.seed.as_ref());
        losses.parameter("stop", params.stop.as_ref());
        put(&mut body, "stream", self.0.is_streamed.then_some(true));
        written(body, params, &OURS, losses)
    }

    fn path(&self) -> String {
        "/responses".to_owned()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = wire::object("OpenAI response", &wire::text(body))?;
        let mut decoder = Decoder::default();
        if body.get("output").is_none_or(|output| !output.is_array()) {
            return Err(match wire::error_message(body.to_string().as_bytes()) {
                Some(detail) => Failure::Service { detail },
                None => Failure::Protocol { detail: "the answer has no `output`".to_owned() },
            });
        }
        let mut events = Vec::new();
        for (index, item) in wire::list(&body, "/output").enumerate() {
            decoder.item(index as u64, item, &mut events);
        }
        decoder.finished(&body, &mut events)?;
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
    calls: Calls,
    /// Items whose text or reasoning has come in pieces: it comes again as a whole when they are done.
    told: BTreeSet<u64>,
    is_refused: bool,
}

impl Decoder {
    /// A whole item. What has come in pieces is not taken again.
    fn item(&mut self, index: u64, item: &Value, events: &mut Vec<Event>) {
        match item.get("type").and_then(Value::as_str) {
            Some("message") if !self.told.contains(&index) => {
                for part in wire::list(item, "/content") {
                    if let Some(text) = wire::word(part, "/text") {
                        events.push(Event::Text(text));
                    }
                    if let Some(text) = wire::word(part, "/refusal") {
                        self.refuse(events);
                        events.push(Event::Text(text));
                    }
                    events.extend(logprobs(&part["logprobs"]));
                }
            }
            Some("reasoning") if !self.told.contains(&index) => {
                let pieces = wire::list(item, "/summary").chain(wire::list(item, "/content"));
                events.extend(pieces.filter_map(|piece| wire::word(piece, "/text")).map(Event::Reasoning));
            }
            Some("function_call") => {
                let arguments = wire::word(item, "/arguments").unwrap_or_default();
                if !self.calls.has(index) {
                    self.begin(index, item, arguments, events);
                } else if self.calls.is_bare(index) {
                    let place = self.calls.arguments(index);
                    events.extend(place.map(|index| Event::ToolCall { index, id: None, name: None, arguments }));
                }
            }
            // Calls of the service's own tools and their results; what was told in pieces.
            Some(_) | None => {}
        }
    }

    fn begin(&mut self, index: u64, item: &Value, arguments: String, events: &mut Vec<Event>) {
        let place = self.calls.begin(index, !arguments.is_empty());
        events.push(Event::ToolCall {
            index: place,
            id: wire::word(item, "/call_id"),
            name: wire::word(item, "/name"),
            arguments,
        });
    }

    fn refuse(&mut self, events: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.is_refused, true) {
            events.push(Event::Refusal);
        }
    }

    fn model(&mut self, response: &Value) -> Option<Event> {
        let model = wire::word(response, "/model").filter(|_| !self.has_model)?;
        self.has_model = true;
        Some(Event::Model(model))
    }

    /// What the service says of the whole answer.
    fn finished(&mut self, response: &Value, events: &mut Vec<Event>) -> Result<(), Failure> {
        events.extend(self.model(response));
        events.extend(usage(&response["usage"]).map(Event::Usage));
        events.extend(wire::charged(&response["usage"]));
        events.extend(wire::word(response, "/service_tier").map(Event::Tier));
        let finish = match (
            response.get("status").and_then(Value::as_str),
            wire::word(response, "/incomplete_details/reason"),
        ) {
            (Some("failed"), _) => {
                let detail = response.get("error").and_then(wire::message_of);
                let detail = detail.unwrap_or_else(|| "the answer failed".to_owned());
                events.append(&mut wire::error_in_answer(&response["error"], detail)?);
                return Ok(());
            }
            (Some("cancelled"), _) => return Err(Failure::Service { detail: "the answer was cancelled".to_owned() }),
            (_, Some(reason)) => {
                events.append(&mut stop::events(&reason)?);
                return Ok(());
            }
            (Some("completed"), None) if !self.calls.is_empty() => Finish::Tool,
            (Some("completed") | None, None) => Finish::Stop,
            (Some(status), None) => {
                events.extend(stop::kept(status).map(Event::StopWord));
                Finish::Other
            }
        };
        events.push(Event::Finish(finish));
        Ok(())
    }
}

fn logprobs(list: &Value) -> Option<Event> {
    let tokens = list.as_array()?.iter().filter_map(|token| {
        Some(TokenLogprob { token: token.get("token")?.as_str()?.to_owned(), logprob: token.get("logprob")?.as_f64()? })
    });
    let tokens: Vec<TokenLogprob> = tokens.collect();
    (!tokens.is_empty()).then_some(Event::Logprobs(tokens))
}

fn usage(usage: &Value) -> Option<Usage> {
    usage.as_object()?;
    let count = |place| wire::count(usage, place);
    // The names beside `input_tokens_details` are those of gateways to Anthropic.
    let cached = ["/input_tokens_details/cached_tokens", "/cache_read_input_tokens"];
    let written = [
        "/input_tokens_details/cache_write_tokens",
        "/input_tokens_details/cache_creation_tokens",
        "/cache_creation_input_tokens",
    ];
    Some(Usage {
        input_tokens: count("/input_tokens"),
        cached_input_tokens: wire::most(cached.map(count)),
        cache_write_tokens: wire::most(written.map(count)),
        cache_write_1h_tokens: count("/input_tokens_details/cache_creation_token_details/ephemeral_1h_input_tokens"),
        output_tokens: count("/output_tokens"),
        reasoning_tokens: count("/output_tokens_details/reasoning_tokens"),
        total_tokens: count("/total_tokens"),
        ..Usage::default()
    })
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        let data = frame.data.trim();
        // OpenAI sends no `[DONE]` here; servers that follow it do.
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let data = wire::object("event of an OpenAI response", data)?;
        let index = wire::count(&data, "/output_index").unwrap_or(0);
        let mut events = Vec::new();
        let Some(kind) = data.get("type").and_then(Value::as_str) else {
            return match data.get("error").and_then(wire::message_of) {
                Some(detail) => Err(Failure::Service { detail }),
                None => Ok(events),
            };
        };
        match kind {
            "response.created" | "response.in_progress" => events.extend(self.model(&data["response"])),
            "response.output_text.delta" => {
                self.told.insert(index);
                events.extend(wire::word(&data, "/delta").map(Event::Text));
                events.extend(logprobs(&data["logprobs"]));
            }
            "response.refusal.delta" => {
                self.told.insert(index);
                self.refuse(&mut events);
                events.extend(wire::word(&data, "/delta").map(Event::Text));
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.told.insert(index);
                events.extend(wire::word(&data, "/delta").map(Event::Reasoning));
            }
            "response.output_item.added"
                if data.pointer("/item/type").and_then(Value::as_str) == Some("function_call") =>
            {
                let arguments = wire::word(&data, "/item/arguments").unwrap_or_default();
                self.begin(index, &data["item"], arguments, &mut events);
            }
            "response.function_call_arguments.delta" => {
                if let Some(index) = self.calls.arguments(index) {
                    let arguments = wire::word(&data, "/delta").unwrap_or_default();
                    events.push(Event::ToolCall { index, id: None, name: None, arguments });
                }
            }
            "response.output_item.done" => self.item(index, &data["item"], &mut events),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.finished(&data["response"], &mut events)?;
                self.is_done = true;
            }
            "error" | "response.error" => {
                let detail = data.get("error").and_then(wire::message_of).or_else(|| wire::word(&data, "/message"));
                let detail = detail.unwrap_or_else(|| "no message".to_owned());
                events = wire::error_in_answer(&data, detail)?;
                self.is_done = true;
            }
            // Steps of the service's own tools, ends of what has come in pieces, and events of later versions.
            _ => {}
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
        Err(Failure::Lost { detail: "the stream ended without `response.completed`".to_owned() })
    }
}
