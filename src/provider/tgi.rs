//! Text Generation Inference's own `generate`: one text in, one text out, without a chat template. Pure.
//!
//! The messages become one prompt: their texts, parted by blank lines. Whoever needs the model's template writes it into
//! the suite's prompt, or asks the server by its chat completions.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Losses, Part, Shape, Turn, put, written};
use crate::provider::sse::Frame;
use crate::provider::{Decode, Dialect, Event, Manner, stop, wire};
use crate::types::{Failure, Request, TokenLogprob, Usage};

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 2] = ["inputs", "stream"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct Tgi(pub Manner);

fn said(turn: &Turn<'_>, losses: &mut Losses) -> String {
    let parts = match turn {
        Turn::User(parts) | Turn::Result { parts, .. } => parts,
        Turn::Assistant { parts, calls } => {
            if !calls.is_empty() {
                losses.add("earlier tool calls");
            }
            parts
        }
    };
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(*text),
        Part::Image { .. } | Part::ImageUrl(_) => {
            losses.add("images");
            None
        }
    });
    texts.collect()
}

impl Dialect for Tgi {
    fn manner(&self) -> &Manner {
        &self.0
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let Asked { system, turns, tools, shape, params, mut losses, .. } = Asked::of(request, self.0.structured);
        if !tools.is_empty() {
            losses.add("tools");
        }
        if system.len() + turns.len() > 1 {
            losses.add("who speaks in which message (all texts are sent as one prompt)");
        }
        let mut texts: Vec<String> = system.iter().map(|text| text.clone().into_owned()).collect();
        texts.extend(turns.iter().map(|turn| said(turn, &mut losses)));
        let mut parameters = Map::new();
        // `details` tells why it stopped and how many tokens there were; the prompt's are counted on request only.
        parameters.insert("details".to_owned(), json!(true));
        parameters.insert("decoder_input_details".to_owned(), json!(!self.0.is_streamed));
        put(&mut parameters, "max_new_tokens", params.max_output_tokens);
        match params.temperature {
            // The server takes no temperature of 0: greedy is not sampling.
            Some(temperature) if temperature <= 0.0 => put(&mut parameters, "do_sample", Some(false)),
            Some(temperature) => {
                put(&mut parameters, "do_sample", Some(true));
                put(&mut parameters, "temperature", Some(temperature));
            }
            None => {}
        }
        put(&mut parameters, "top_p", params.top_p.filter(|top_p| *top_p < 1.0));
        put(&mut parameters, "seed", params.seed);
        put(&mut parameters, "stop", params.stop.clone());
        match shape {
            Shape::Free => {}
            Shape::Object => {
                put(&mut parameters, "grammar", Some(json!({"type": "json", "value": {"type": "object"}})));
            }
            Shape::Schema(schema) => put(&mut parameters, "grammar", Some(json!({"type": "json", "value": schema}))),
        }
        let mut body = Map::new();
        body.insert("inputs".to_owned(), json!(texts.join("\n\n")));
        body.insert("parameters".to_owned(), Value::Object(parameters));
        written(body, params, &OURS, losses)
    }

    fn path(&self) -> String {
        if self.0.is_streamed { "/generate_stream" } else { "/generate" }.to_owned()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let text = wire::text(body);
        // Behind SageMaker and the inference endpoints it comes in a list.
        let unpacked = match serde_json::from_str::<Value>(&text) {
            Ok(Value::Array(mut list)) if list.len() == 1 => list.remove(0).to_string(),
            _ => text.into_owned(),
        };
        let body = wire::object("generated text", &unpacked)?;
        if let Some(detail) = body.get("error").and_then(wire::message_of) {
            return Err(Failure::Service { detail });
        }
        let Some(text) = body.get("generated_text").and_then(Value::as_str) else {
            return Err(Failure::Protocol { detail: "the answer has no `generated_text`".to_owned() });
        };
        let mut events = vec![Event::Text(text.to_owned())];
        let tokens: Vec<TokenLogprob> = wire::list(&body, "/details/tokens").filter_map(logprob).collect();
        if !tokens.is_empty() {
            events.push(Event::Logprobs(tokens));
        }
        events.append(&mut ended(&body["details"])?);
        Ok(events)
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

fn logprob(token: &Value) -> Option<TokenLogprob> {
    Some(TokenLogprob { token: token.get("text")?.as_str()?.to_owned(), logprob: token.get("logprob")?.as_f64()? })
}

fn ended(details: &Value) -> Result<Vec<Event>, Failure> {
    let Some(reason) = details.get("finish_reason").and_then(Value::as_str) else { return Ok(Vec::new()) };
    let mut events = stop::events(reason)?;
    let prefill = details.get("prefill").and_then(Value::as_array).filter(|tokens| !tokens.is_empty());
    let usage = Usage {
        input_tokens: wire::count(details, "/input_length").or(prefill.map(|tokens| tokens.len() as u64)),
        output_tokens: wire::count(details, "/generated_tokens"),
        ..Usage::default()
    };
    events.push(Event::Usage(usage));
    Ok(events)
}

#[derive(Default)]
struct Decoder {
    is_done: bool,
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        let data = frame.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(Vec::new());
        }
        let data = wire::object("token of a generated text", data)?;
        if let Some(detail) = data.get("error").and_then(wire::message_of) {
            return Err(Failure::Service { detail });
        }
        let mut events = Vec::new();
        let is_special = data.pointer("/token/special").and_then(Value::as_bool).unwrap_or(false);
        if !is_special {
            events.extend(wire::word(&data, "/token/text").map(Event::Text));
            events.extend(logprob(&data["token"]).map(|token| Event::Logprobs(vec![token])));
        }
        if data.get("generated_text").is_some_and(Value::is_string) {
            self.is_done = true;
            events.append(&mut ended(&data["details"])?);
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
        Err(Failure::Lost { detail: "the stream ended without `generated_text`".to_owned() })
    }
}
