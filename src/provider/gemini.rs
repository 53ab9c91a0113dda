//! Google's Gemini, as AI Studio and Vertex AI speak it. Pure.
//!
//! The model stands in the path. Thoughts are counted beside the candidates' tokens and are added to the output.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::ask::{Asked, Choice, Losses, Part, Shape, Turn, join, put, written};
use crate::provider::sse::Frame;
use crate::provider::{Decode, Dialect, Event, Manner, stop, wire};
use crate::types::{Failure, Finish, Request, TokenLogprob, Usage};

/// Fields that `params.extra` cannot overrule.
const OURS: [&str; 1] = ["contents"];

/// The dialect of one candidate.
#[derive(Debug, Clone)]
pub struct Gemini(pub Manner);

fn contents(turns: &[Turn<'_>], losses: &mut Losses) -> Value {
    let mut list: Vec<Value> = Vec::new();
    for turn in turns {
        let (role, parts) = match turn {
            Turn::User(parts) => ("user", parts.iter().map(part).collect::<Vec<Value>>()),
            Turn::Assistant { parts, calls } => {
                let said = parts.iter().filter(|part| **part != Part::Text("")).map(part);
                let calls =
                    calls.iter().map(|call| json!({"functionCall": {"name": call.name, "args": call.arguments}}));
                ("model", said.chain(calls).collect())
            }
            Turn::Result { name, parts, .. } => {
                let texts = parts.iter().filter_map(|part| match part {
                    Part::Text(text) => Some(*text),
                    Part::Image { .. } | Part::ImageUrl(_) => {
                        losses.add("an image in the result of a tool");
                        None
                    }
                });
                let text: String = texts.collect();
                // The service wants an object.
                let response = match serde_json::from_str::<Value>(&text) {
                    Ok(object @ Value::Object(_)) => object,
                    _ => json!({"output": text}),
                };
                ("user", vec![json!({"functionResponse": {"name": name, "response": response}})])
            }
        };
        join(&mut list, role, "parts", parts);
    }
    Value::Array(list)
}

fn part(part: &Part<'_>) -> Value {
    match part {
        Part::Text(text) => json!({"text": text}),
        Part::Image { media_type, data } => json!({"inlineData": {"mimeType": media_type, "data": data}}),
        Part::ImageUrl(url) => json!({"fileData": {"fileUri": url}}),
    }
}

impl Dialect for Gemini {
    fn manner(&self) -> &Manner {
        &self.0
    }

    fn encode(&self, request: &Request) -> (Bytes, Losses) {
        let asked = Asked::of(request, self.0.structured);
        let system = asked.system_text();
        let Asked { turns, tools, choice, shape, params, mut losses, .. } = asked;
        let mut body = Map::new();
        put(&mut body, "systemInstruction", system.map(|text| json!({"parts": [{"text": text}]})));
        body.insert("contents".to_owned(), contents(&turns, &mut losses));
        if !tools.is_empty() {
            if tools.iter().any(|tool| tool.is_strict) {
                losses.add("`strict` of a tool");
            }
            let list = tools.iter().map(|tool| {
                let mut entry = Map::new();
                entry.insert("name".to_owned(), json!(tool.name));
                put(&mut entry, "description", tool.description);
                entry.insert("parametersJsonSchema".to_owned(), tool.parameters.clone().into_owned());
                Value::Object(entry)
            });
            body.insert("tools".to_owned(), json!([{"functionDeclarations": list.collect::<Value>()}]));
        }
        let choice = match choice {
            Choice::Unsaid => None,
            Choice::Auto => Some(json!({"mode": "AUTO"})),
            Choice::None => Some(json!({"mode": "NONE"})),
            Choice::Required => Some(json!({"mode": "ANY"})),
            Choice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
        };
        let choice = choice.filter(|_| !tools.is_empty());
        put(&mut body, "toolConfig", choice.map(|choice| json!({"functionCallingConfig": choice})));
        let mut config = Map::new();
        put(&mut config, "temperature", params.temperature);
        put(&mut config, "topP", params.top_p);
        put(&mut config, "maxOutputTokens", params.max_output_tokens);
        put(&mut config, "seed", params.seed);
        put(&mut config, "stopSequences", params.stop.clone());
        let is_json = shape != Shape::Free;
        put(&mut config, "responseMimeType", is_json.then_some("application/json"));
        if let Shape::Schema(schema) = shape {
            config.insert("responseJsonSchema".to_owned(), schema.clone());
        }
        if !config.is_empty() {
            body.insert("generationConfig".to_owned(), Value::Object(config));
        }
        written(body, params, &OURS, losses)
    }

    fn path(&self) -> String {
        let method = if self.0.is_streamed { "streamGenerateContent" } else { "generateContent" };
        // Google's own lists write `models/` before the name.
        let model = self.0.model.strip_prefix("models/").unwrap_or(&self.0.model);
        format!("/models/{}:{method}", wire::segment(model))
    }

    fn query(&self) -> Option<&'static str> {
        // Without it the stream is one JSON list.
        self.0.is_streamed.then_some("alt=sse")
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Decoder::default())
    }

    fn decode_body(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let body = wire::object("Gemini answer", &wire::text(body))?;
        let mut decoder = Decoder::default();
        let events = decoder.chunk(&body)?;
        if decoder.has_finish {
            return Ok(events);
        }
        Err(Failure::Protocol { detail: "the answer has no finished candidate".to_owned() })
    }

    fn error_message(&self, body: &[u8]) -> Option<String> {
        wire::error_message(body)
    }
}

#[derive(Default)]
struct Decoder {
    has_finish: bool,
    has_model: bool,
    calls: usize,
}

impl Decoder {
    fn chunk(&mut self, chunk: &Value) -> Result<Vec<Event>, Failure> {
        if let Some(detail) = chunk.get("error").and_then(wire::message_of) {
            return Err(Failure::Service { detail });
        }
        let mut events = Vec::new();
        if let Some(model) = wire::word(chunk, "/modelVersion").filter(|_| !self.has_model) {
            self.has_model = true;
            events.push(Event::Model(model));
        }
        // What was asked for is not told, only what served it: on demand, at a tier, or from reserved throughput.
        let tier =
            ["/usageMetadata/serviceTier", "/usageMetadata/trafficType"].iter().find_map(|at| wire::word(chunk, at));
        events.extend(tier.map(Event::Tier));
        if let Some(reason) = chunk.pointer("/promptFeedback/blockReason") {
            // The prompt itself was refused: there are no candidates.
            self.has_finish = true;
            events.extend(wire::word(chunk, "/promptFeedback/blockReasonMessage").map(Event::Text));
            events.extend([Event::Refusal, Event::Finish(Finish::Filter)]);
            events.extend(reason.as_str().and_then(stop::kept).map(Event::StopWord));
        }
        // One answer is asked for; where a suite's `extra` asks for more, the first counts.
        let first =
            wire::list(chunk, "/candidates").find(|candidate| wire::count(candidate, "/index").unwrap_or(0) == 0);
        if let Some(candidate) = first {
            for part in wire::list(candidate, "/content/parts") {
                events.extend(self.part(part));
            }
            events.extend(logprobs(candidate));
            if let Some(reason) = candidate.get("finishReason").and_then(Value::as_str) {
                self.has_finish = true;
                events.append(&mut stop::events_after(reason, self.calls > 0)?);
            }
        }
        events.extend(chunk.get("usageMetadata").and_then(usage).map(Event::Usage));
        Ok(events)
    }

    fn part(&mut self, part: &Value) -> Option<Event> {
        if let Some(call) = part.get("functionCall") {
            let arguments = call.get("args").filter(|args| !args.is_null());
            self.calls += 1;
            return Some(Event::ToolCall {
                index: self.calls - 1,
                id: wire::word(call, "/id"),
                name: wire::word(call, "/name"),
                arguments: arguments.map_or_else(|| "{}".to_owned(), Value::to_string),
            });
        }
        let text = wire::word(part, "/text")?;
        let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
        Some(if is_thought { Event::Reasoning(text) } else { Event::Text(text) })
    }
}

fn logprobs(candidate: &Value) -> Option<Event> {
    let tokens = wire::list(candidate, "/logprobsResult/chosenCandidates").filter_map(|token| {
        let logprob = token.get("logProbability")?.as_f64()?;
        Some(TokenLogprob { token: token.get("token")?.as_str()?.to_owned(), logprob })
    });
    let tokens: Vec<TokenLogprob> = tokens.collect();
    (!tokens.is_empty()).then_some(Event::Logprobs(tokens))
}

fn usage(usage: &Value) -> Option<Usage> {
    usage.as_object()?;
    let count = |pointer| wire::count(usage, pointer);
    let thoughts = count("/thoughtsTokenCount");
    let audio = |pointer| {
        let of_sound = wire::list(usage, pointer).find(|detail| detail["modality"] == "AUDIO")?;
        wire::count(of_sound, "/tokenCount")
    };
    Some(Usage {
        // What the service's own tools put into the prompt is billed as prompt.
        input_tokens: wire::sum([count("/promptTokenCount"), count("/toolUsePromptTokenCount")]),
        cached_input_tokens: count("/cachedContentTokenCount"),
        audio_input_tokens: audio("/promptTokensDetails"),
        output_tokens: wire::sum([count("/candidatesTokenCount"), thoughts]),
        reasoning_tokens: thoughts,
        audio_output_tokens: audio("/candidatesTokensDetails"),
        total_tokens: count("/totalTokenCount"),
        ..Usage::default()
    })
}

impl Decode for Decoder {
    fn frame(&mut self, frame: Frame<'_>) -> Result<Vec<Event>, Failure> {
        if frame.data.trim().is_empty() {
            return Ok(Vec::new());
        }
        self.chunk(&wire::object("chunk of a Gemini answer", frame.data)?)
    }

    /// Nothing says that the stream is over but its end: usage may come after the reason for stopping.
    fn is_done(&self) -> bool {
        false
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.has_finish {
            return Ok(());
        }
        Err(Failure::Lost { detail: "the stream ended without a finish reason".to_owned() })
    }
}
