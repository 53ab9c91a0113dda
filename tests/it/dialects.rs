//! Real data: recorded exchanges with some eighteen services, against what was found in them by other means. Runs when
//! `EVALCTL_CONFORMANCE_DATA` names the folder with the data, which is not part of this repository.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use evalctl::provider::presets;
use evalctl::provider::sse::Frame;
use evalctl::provider::{Decode, Dialect, Event, Frames};
use evalctl::suite::spec::{Api, ServiceSpec, Structured};
use evalctl::types::{Failure, Finish, Message, Request, ToolCall, Usage};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    let data = std::env::var("EVALCTL_CONFORMANCE_DATA").expect("EVALCTL_CONFORMANCE_DATA names the folder");
    PathBuf::from(data).join("api_fixtures")
}

fn rows(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn dialect(service: &str, api: Api) -> Box<dyn Dialect> {
    let spec = ServiceSpec { model: Some("m".to_owned()), stream: true, ..ServiceSpec::default() };
    presets::find(service).unwrap().dialect(api, &spec, Structured::Off)
}

/// What a stream or a body says, gathered.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    finish: Option<Finish>,
    usage: Usage,
    failure: Option<String>,
}

impl Said {
    fn take(&mut self, event: Event) {
        match event {
            Event::Text(text) => self.text.push_str(&text),
            Event::Reasoning(text) => self.reasoning.push_str(&text),
            Event::ToolCall { index, id, name, arguments } => {
                if self.calls.len() <= index {
                    self.calls.resize_with(index + 1, ToolCall::default);
                }
                let call = &mut self.calls[index];
                call.id.extend(id);
                call.name.extend(name);
                call.arguments.push_str(&arguments);
            }
            Event::Finish(finish) => self.finish = Some(finish),
            // What the services add up themselves is for whoever settles the counts.
            Event::Usage(usage) => self.usage = Usage { total_tokens: None, ..self.usage.updated(usage) },
            Event::Refusal
            | Event::Logprobs(_)
            | Event::Model(_)
            | Event::Fingerprint(_)
            | Event::Billed(_)
            | Event::StopWord(_)
            | Event::Doubt(_)
            | Event::Tier(_)
            | Event::Reported { .. }
            | Event::Complete => {}
        }
    }

    fn events(&mut self, decoder: &mut dyn Decode, frame: Frame<'_>) -> ControlFlow<()> {
        match decoder.frame(frame) {
            Ok(events) => events.into_iter().for_each(|event| self.take(event)),
            Err(Failure::Service { detail }) => {
                self.failure = Some(detail);
                return ControlFlow::Break(());
            }
            Err(failure) => panic!("{failure:?}"),
        }
        ControlFlow::Continue(())
    }
}

fn decode<'a>(dialect: &dyn Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let (mut frames, mut decoder, mut said) = (Frames::new(dialect.framing()), dialect.decoder(), Said::default());
    for piece in pieces {
        frames.feed(piece, |frame| said.events(decoder.as_mut(), frame)).unwrap();
        if said.failure.is_some() {
            return said;
        }
    }
    if let Some(data) = frames.unfinished() {
        let _ = said.events(decoder.as_mut(), Frame { event: "", data: &data });
    }
    if said.failure.is_none() {
        decoder.end().unwrap();
    }
    said
}

/// The frames of bytes, and where each is complete.
fn framed<'a>(
    dialect: &dyn Dialect,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<(String, String)>, Vec<usize>) {
    let mut frames = Frames::new(dialect.framing());
    let (mut found, mut ends, mut read) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        read += piece.len();
        let before = found.len();
        frames
            .feed(piece, |frame| {
                found.push((frame.event.to_owned(), frame.data.to_owned()));
                ControlFlow::Continue(())
            })
            .unwrap();
        ends.extend(std::iter::repeat_n(read, found.len() - before));
    }
    (found, ends)
}

/// Whole, one byte at a time, and split in two: a short stream at every byte, each frame of a long one at every byte,
/// since nothing is left of a frame when the next begins.
fn however_split(dialect: &dyn Dialect, bytes: &[u8], place: &str) -> Said {
    let whole = decode(dialect, [bytes]);
    assert_eq!(whole, decode(dialect, bytes.chunks(1)), "{place}: byte by byte");
    if bytes.len() <= 2048 {
        for at in 0..=bytes.len() {
            assert_eq!(whole, decode(dialect, [&bytes[..at], &bytes[at..]]), "{place}: split at {at}");
        }
        return whole;
    }
    let (frames, ends) = framed(dialect, bytes.chunks(1));
    let mut start = 0;
    for (frame, end) in frames.iter().zip(ends) {
        let part = &bytes[start..end];
        // Of the longest frames, whose number of splits times their length would take minutes, the ends and a grid.
        let is_taken = |at: usize| part.len() <= 8192 || at < 512 || at + 512 > part.len() || at.is_multiple_of(97);
        for at in (0..=part.len()).filter(|at| is_taken(*at)) {
            let (found, _) = framed(dialect, [&part[..at], &part[at..]]);
            assert_eq!(found.as_slice(), std::slice::from_ref(frame), "{place}: split at {}", start + at);
        }
        start = end;
    }
    whole
}

fn count(usage: &Value, pointer: &str) -> Option<u64> {
    usage.pointer(pointer)?.as_u64()
}

/// The counts that the data holds, by its own names, in ours.
fn usage_of(style: &str, usage: &Value) -> Usage {
    let of = |pointer| count(usage, pointer);
    let plus = |a: Option<u64>, b: Option<u64>| a.map(|a| a + b.unwrap_or(0));
    match style {
        "openai_chat" => Usage {
            input_tokens: of("/prompt_tokens"),
            cached_input_tokens: of("/prompt_tokens_details/cached_tokens")
                .or_else(|| of("/prompt_cache_hit_tokens"))
                .or_else(|| of("/cached_tokens")),
            cache_write_tokens: of("/prompt_tokens_details/cache_write_tokens"),
            audio_input_tokens: of("/prompt_tokens_details/audio_tokens"),
            output_tokens: of("/completion_tokens"),
            reasoning_tokens: of("/completion_tokens_details/reasoning_tokens"),
            audio_output_tokens: of("/completion_tokens_details/audio_tokens"),
            ..Usage::default()
        },
        "openai_responses" => Usage {
            input_tokens: of("/input_tokens"),
            cached_input_tokens: of("/input_tokens_details/cached_tokens"),
            cache_write_tokens: of("/input_tokens_details/cache_write_tokens"),
            output_tokens: of("/output_tokens"),
            reasoning_tokens: of("/output_tokens_details/reasoning_tokens"),
            ..Usage::default()
        },
        "anthropic" => {
            let (read, written) = (of("/cache_read_input_tokens"), of("/cache_creation_input_tokens"));
            Usage {
                input_tokens: plus(plus(of("/input_tokens"), read), written),
                cached_input_tokens: read,
                cache_write_tokens: written,
                cache_write_1h_tokens: of("/cache_creation/ephemeral_1h_input_tokens"),
                output_tokens: of("/output_tokens"),
                reasoning_tokens: of("/output_tokens_details/thinking_tokens"),
                ..Usage::default()
            }
        }
        "gemini" => Usage {
            input_tokens: plus(of("/promptTokenCount"), of("/toolUsePromptTokenCount")),
            cached_input_tokens: of("/cachedContentTokenCount"),
            output_tokens: match (of("/candidatesTokenCount"), of("/thoughtsTokenCount")) {
                (None, None) => None,
                (shown, thoughts) => Some(shown.unwrap_or(0) + thoughts.unwrap_or(0)),
            },
            reasoning_tokens: of("/thoughtsTokenCount"),
            ..Usage::default()
        },
        "bedrock" => {
            let (read, written) = (of("/cacheReadInputTokens"), of("/cacheWriteInputTokens"));
            Usage {
                input_tokens: plus(plus(of("/inputTokens"), read), written),
                cached_input_tokens: read,
                cache_write_tokens: written,
                output_tokens: of("/outputTokens"),
                ..Usage::default()
            }
        }
        other => panic!("{other}"),
    }
}

fn finish_of(reason: &Value, has_calls: bool) -> Option<Finish> {
    Some(match reason.as_str()? {
        "STOP" | "completed" if has_calls => Finish::Tool,
        "stop" | "STOP" | "completed" | "end_turn" => Finish::Stop,
        "tool_calls" | "tool_use" => Finish::Tool,
        "length" | "max_tokens" => Finish::Length,
        _ => Finish::Other,
    })
}

/// Arguments as JSON: services write blanks where others do not.
fn calls_of(calls: impl IntoIterator<Item = (String, String)>) -> Vec<(String, Value)> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    calls.into_iter().map(|(name, arguments)| (name, read(&arguments))).collect()
}

fn check(row: &Value, style: &str, said: &Said) {
    let place = row["file"].as_str().unwrap();
    let wanted = row["tool_calls"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wanted = calls_of(wanted.map(|call| (text(&call["name"]), text(&call["arguments"]))));
    let found = calls_of(said.calls.iter().map(|call| (call.name.clone(), call.arguments.clone())));
    assert_eq!(found, wanted, "{place}: tool calls");
    assert_eq!(said.reasoning.chars().count() as u64, row["reasoning_chars"], "{place}: reasoning");
    assert_eq!(said.text.chars().count() as u64, row["text_chars"], "{place}: text");
    let error = row.get("error").or_else(|| row.get("exception")).filter(|error| !error.is_null());
    match error {
        Some(error) => {
            let message = error["message"].as_str().unwrap();
            assert_eq!(said.failure.as_deref(), Some(message), "{place}: error");
        }
        None => {
            assert_eq!(said.failure, None, "{place}");
            assert_eq!(said.finish, finish_of(&row["finish"], !wanted.is_empty()), "{place}: finish");
            assert_eq!(said.usage, usage_of(style, &row["usage"]), "{place}: usage");
        }
    }
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn recorded_streams_say_what_is_known_of_them() {
    let all = rows("expected_streams.jsonl");
    assert_eq!(all.len(), 145);
    all.par_iter().for_each(|row| {
        let style = row["style"].as_str().unwrap();
        let dialect = match style {
            "openai_chat" => dialect("openai", Api::Chat),
            "openai_responses" => dialect("openai", Api::Responses),
            "anthropic" => dialect("anthropic", Api::Messages),
            "gemini" => dialect("gemini", Api::Gemini),
            other => panic!("{other}"),
        };
        let place = row["file"].as_str().unwrap();
        let bytes = std::fs::read(folder().join(place)).unwrap();
        let said = however_split(dialect.as_ref(), &bytes, place);
        check(row, style, &said);
        let hash: String = Sha256::digest(said.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = row["text_sha256"].as_str().unwrap();
        assert_eq!(&hash[..wanted.len()], wanted, "{place}: text");
    });
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn recorded_event_streams_say_what_is_known_of_them() {
    let all = rows("expected_eventstreams.jsonl");
    assert_eq!(all.len(), 10);
    let dialect = dialect("bedrock", Api::Converse);
    for row in &all {
        let place = row["file"].as_str().unwrap();
        let bytes = std::fs::read(folder().join(place)).unwrap();
        let said = however_split(dialect.as_ref(), &bytes, place);
        check(row, "bedrock", &said);
        let head = row["text_head"].as_str().unwrap();
        assert!(said.text.starts_with(head), "{place}: text");
    }
}

/// The dialect of a recorded exchange, by its address; `None` for calls that ask no model.
fn of_address(uri: &str) -> Option<(&'static str, Box<dyn Dialect>)> {
    let path = uri.split('?').next().unwrap();
    Some(match path {
        _ if path.ends_with("/v1/messages") => ("anthropic", dialect("anthropic", Api::Messages)),
        _ if path.contains("enerateContent") => ("gemini", dialect("gemini", Api::Gemini)),
        _ if path.ends_with("/converse") => ("bedrock", dialect("bedrock", Api::Converse)),
        _ if path.contains("cohere") && path.ends_with("/chat") => ("cohere", dialect("cohere", Api::Cohere)),
        _ if path.ends_with("/responses") => ("openai_responses", dialect("openai", Api::Responses)),
        _ if path.ends_with("/chat/completions") => ("openai_chat", dialect("openai", Api::Chat)),
        _ => return None,
    })
}

/// The places of a JSON value, list indices left out.
fn places(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = format!("{place}.{name}");
                places(value, &place, found);
                found.push(place);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| places(item, &format!("{place}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What each dialect reads of a whole answer, and what it knows and leaves: a place and all below it.
mod fields {
    pub fn read(style: &str) -> &'static [&'static str] {
        match style {
            "openai_chat" => &[
                ".model",
                ".system_fingerprint",
                ".choices[].index",
                ".choices[].finish_reason",
                ".choices[].logprobs.content",
                ".choices[].message.content",
                ".choices[].message.reasoning",
                ".choices[].message.reasoning_content",
                ".choices[].message.refusal",
                ".choices[].message.audio.transcript",
                ".choices[].message.function_call",
                ".choices[].message.tool_calls",
                ".usage.prompt_tokens",
                ".usage.completion_tokens",
                ".usage.total_tokens",
                ".usage.cached_tokens",
                ".usage.num_cached_tokens",
                ".usage.prompt_cache_hit_tokens",
                ".usage.cost",
                ".usage.prompt_tokens_details.cached_tokens",
                ".usage.prompt_tokens_details.cache_write_tokens",
                ".usage.prompt_tokens_details.audio_tokens",
                ".usage.completion_tokens_details.reasoning_tokens",
                ".usage.completion_tokens_details.audio_tokens",
            ],
            "openai_responses" => &[
                ".model",
                ".status",
                ".error",
                ".incomplete_details",
                ".output[].type",
                ".output[].call_id",
                ".output[].name",
                ".output[].arguments",
                ".output[].content[].text",
                ".output[].content[].logprobs",
                ".output[].summary",
                ".usage.input_tokens",
                ".usage.output_tokens",
                ".usage.cost",
                ".usage.input_tokens_details",
                ".usage.output_tokens_details",
            ],
            "anthropic" => &[
                ".model",
                ".stop_reason",
                ".content[].type",
                ".content[].text",
                ".content[].thinking",
                ".content[].id",
                ".content[].name",
                ".content[].input",
                ".usage.input_tokens",
                ".usage.output_tokens",
                ".usage.cache_read_input_tokens",
                ".usage.cache_creation_input_tokens",
                ".usage.cache_creation",
                ".usage.output_tokens_details",
            ],
            "gemini" => &[
                ".modelVersion",
                ".promptFeedback",
                ".candidates[].index",
                ".candidates[].finishReason",
                ".candidates[].logprobsResult.chosenCandidates",
                ".candidates[].content.parts[].text",
                ".candidates[].content.parts[].thought",
                ".candidates[].content.parts[].functionCall",
                ".usageMetadata",
            ],
            "bedrock" => &[
                ".stopReason",
                ".output.message.content[].text",
                ".output.message.content[].reasoningContent.reasoningText.text",
                ".output.message.content[].toolUse",
                ".usage",
            ],
            "cohere" => &[".finish_reason", ".message.content", ".message.tool_calls", ".message.tool_plan", ".usage"],
            other => panic!("{other}"),
        }
    }

    pub fn left(style: &str) -> &'static [&'static str] {
        match style {
            "openai_chat" => &[
                // Names of the exchange and its clock.
                ".id",
                ".object",
                ".created",
                ".request_id",
                ".provider",
                ".service_tier",
                ".metadata",
                ".metrics",
                ".time_info",
                ".x_groq",
                ".kv_transfer_params",
                // The prompt, given back.
                ".prompt",
                ".prompt_text",
                ".prompt_logprobs",
                ".prompt_token_ids",
                // Filters that look on.
                ".moderation",
                ".prompt_filter_results",
                ".choices[].content_filter_results",
                // Details of what is read.
                ".usage_breakdown",
                ".usage.completion_time",
                ".usage.prompt_time",
                ".usage.queue_time",
                ".usage.total_time",
                ".usage.cost_details",
                ".usage.is_byok",
                ".usage.server_tool_use_details",
                ".usage.prompt_cache_miss_tokens",
                ".usage.prompt_tokens_details",
                ".usage.completion_tokens_details",
                ".choices[].native_finish_reason",
                ".choices[].stop_reason",
                ".choices[].seed",
                ".choices[].token_ids",
                ".choices[].routed_experts",
                ".choices[].logprobs",
                ".choices[].message.role",
                ".choices[].message.annotations",
                ".choices[].message.audio",
                ".choices[].message.executed_tools",
                ".choices[].message.reasoning_details",
            ],
            "openai_responses" => &[
                ".id",
                ".object",
                ".created_at",
                ".completed_at",
                ".background",
                ".billing",
                ".conversation",
                ".service_tier",
                ".store",
                ".metadata",
                ".user",
                ".safety_identifier",
                ".status_details",
                // What was asked, given back.
                ".frequency_penalty",
                ".presence_penalty",
                ".instructions",
                ".max_output_tokens",
                ".max_tool_calls",
                ".parallel_tool_calls",
                ".previous_response_id",
                ".prompt_cache_key",
                ".prompt_cache_options",
                ".prompt_cache_retention",
                ".reasoning",
                ".temperature",
                ".text",
                ".tool_choice",
                ".tools",
                ".top_logprobs",
                ".top_p",
                ".truncation",
                ".total_tokens",
                ".tool_calls",
                ".content_filters",
                ".moderation",
                ".tool_usage",
                // Calls of the service's own tools, with their results.
                ".output[].action",
                ".output[].code",
                ".output[].container_id",
                ".output[].execution",
                ".output[].namespace",
                ".output[].outputs",
                ".output[].queries",
                ".output[].results",
                ".output[].tools",
                ".output[].id",
                ".output[].role",
                ".output[].status",
                ".output[].phase",
                ".output[].encrypted_content",
                ".output[].content[].type",
                ".output[].content[].annotations",
                ".usage.total_tokens",
                ".usage.cost_details",
                ".usage.is_byok",
            ],
            "anthropic" => &[
                ".id",
                ".type",
                ".role",
                ".container",
                ".context_management",
                ".stop_sequence",
                ".stop_details",
                ".usage.inference_geo",
                ".usage.service_tier",
                ".usage.server_tool_use",
                ".usage.iterations",
                // Tools of the service's own, with their results, and proof of thinking.
                ".content[].caller",
                ".content[].citations",
                ".content[].content",
                ".content[].data",
                ".content[].is_error",
                ".content[].server_name",
                ".content[].signature",
                ".content[].tool_use_id",
            ],
            "gemini" => &[
                ".responseId",
                ".createTime",
                ".candidates[].avgLogprobs",
                ".candidates[].finishMessage",
                ".candidates[].groundingMetadata",
                ".candidates[].safetyRatings",
                ".candidates[].logprobsResult",
                ".candidates[].content.role",
                // Tools of the service's own, with their results, and proof of thinking.
                ".candidates[].content.parts[].thoughtSignature",
                ".candidates[].content.parts[].executableCode",
                ".candidates[].content.parts[].codeExecutionResult",
                ".candidates[].content.parts[].toolCall",
                ".candidates[].content.parts[].toolResponse",
            ],
            "bedrock" => &[
                ".metrics",
                ".trace",
                ".performanceConfig",
                ".serviceTier",
                ".additionalModelResponseFields",
                ".output.message.role",
                ".output.message.content[].toolResult",
                ".output.message.content[].reasoningContent",
            ],
            "cohere" => &[".id", ".message.role", ".message.citations"],
            other => panic!("{other}"),
        }
    }

    /// Whether a place is one of these, lies below one, or leads to one.
    pub fn has(list: &[&str], place: &str) -> bool {
        let below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        list.iter().any(|known| below(place, known) || below(known, place))
    }
}

/// What a whole answer says, found without the dialects: text, calls and usage.
fn plainly(style: &str, body: &Value) -> (String, Vec<(String, String)>, Usage) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (mut said, mut calls) = (String::new(), Vec::new());
    let usage = match style {
        "openai_chat" => {
            let message = &body["choices"][0]["message"];
            match &message["content"] {
                Value::Array(parts) => parts.iter().for_each(|part| said.push_str(&text(&part["text"]))),
                Value::Null => said.push_str(&text(&message["audio"]["transcript"])),
                content => said.push_str(&text(content)),
            }
            said.push_str(&text(&message["refusal"]));
            for call in list(&message["tool_calls"]) {
                let function = call.get("function").unwrap_or(&call["custom"]);
                calls.push((text(&function["name"]), text(function.get("arguments").unwrap_or(&function["input"]))));
            }
            if let Some(call) = message.get("function_call").filter(|call| call.is_object()) {
                calls.push((text(&call["name"]), text(&call["arguments"])));
            }
            let mut usage = usage_of("openai_chat", &body["usage"]);
            usage.cached_input_tokens = usage.cached_input_tokens.or(count(&body["usage"], "/num_cached_tokens"));
            usage
        }
        "openai_responses" => {
            for item in list(&body["output"]) {
                match item["type"].as_str().unwrap() {
                    "message" => list(&item["content"]).iter().for_each(|part| said.push_str(&text(&part["text"]))),
                    "function_call" => calls.push((text(&item["name"]), text(&item["arguments"]))),
                    _ => {}
                }
            }
            usage_of("openai_responses", &body["usage"])
        }
        "anthropic" => {
            for block in list(&body["content"]) {
                match block["type"].as_str().unwrap() {
                    "text" => said.push_str(&text(&block["text"])),
                    "tool_use" => calls.push((text(&block["name"]), block["input"].to_string())),
                    _ => {}
                }
            }
            usage_of("anthropic", &body["usage"])
        }
        "gemini" => {
            for part in list(&body["candidates"][0]["content"]["parts"]) {
                if let Some(call) = part.get("functionCall") {
                    calls.push((text(&call["name"]), call["args"].to_string()));
                } else if part["thought"] != true {
                    said.push_str(&text(&part["text"]));
                }
            }
            said.push_str(&text(&body["promptFeedback"]["blockReasonMessage"]));
            usage_of("gemini", &body["usageMetadata"])
        }
        "bedrock" => {
            for block in list(&body["output"]["message"]["content"]) {
                said.push_str(&text(&block["text"]));
                if let Some(call) = block.get("toolUse").filter(|call| call["type"] != "server_tool_use") {
                    calls.push((text(&call["name"]), call["input"].to_string()));
                }
            }
            let mut usage = usage_of("bedrock", &body["usage"]);
            let detail = list(&body["usage"]["cacheDetails"]).into_iter().find(|detail| detail["ttl"] == "1h");
            usage.cache_write_1h_tokens = detail.and_then(|detail| count(&detail, "/inputTokens"));
            usage
        }
        "cohere" => {
            list(&body["message"]["content"]).iter().for_each(|part| said.push_str(&text(&part["text"])));
            for call in list(&body["message"]["tool_calls"]) {
                calls.push((text(&call["function"]["name"]), text(&call["function"]["arguments"])));
            }
            Usage {
                input_tokens: count(&body["usage"], "/billed_units/input_tokens"),
                // What the cache held, of the model's tokens, is no part of fewer billed ones.
                cached_input_tokens: count(&body["usage"], "/cached_tokens")
                    .filter(|cached| Some(*cached) <= count(&body["usage"], "/billed_units/input_tokens")),
                output_tokens: count(&body["usage"], "/billed_units/output_tokens"),
                ..Usage::default()
            }
        }
        other => panic!("{other}"),
    };
    // Some services write an empty call beside the real ones.
    calls.retain(|call| *call != (String::new(), String::new()));
    (said, calls, usage)
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn recorded_bodies_lose_nothing() {
    let mut decoded = 0;
    let mut unknown: Vec<String> = Vec::new();
    for row in rows("interactions.jsonl") {
        let Some((style, dialect)) = of_address(row["uri"].as_str().unwrap()) else { continue };
        let (Some(body), true) = (row.get("response_json"), row["status"] == 200) else { continue };
        let place = row["id"].as_str().unwrap();
        let (text, calls, usage) = plainly(style, body);
        let mut said = Said::default();
        match dialect.decode_body(body.to_string().as_bytes()) {
            Ok(events) => events.into_iter().for_each(|event| said.take(event)),
            // One that is still being made in the background, and one that was cancelled.
            Err(Failure::Service { .. }) if matches!(body["status"].as_str(), Some("cancelled" | "failed")) => continue,
            Err(failure) => panic!("{place}: {failure:?}"),
        }
        assert_eq!(said.text, text, "{place}");
        let found = said.calls.iter().map(|call| (call.name.clone(), call.arguments.clone()));
        assert_eq!(calls_of(found), calls_of(calls), "{place}");
        let usage = Usage {
            audio_input_tokens: usage.audio_input_tokens.or(said.usage.audio_input_tokens),
            audio_output_tokens: usage.audio_output_tokens.or(said.usage.audio_output_tokens),
            ..usage
        };
        assert_eq!(said.usage, usage, "{place}");
        let mut found = Vec::new();
        places(body, "", &mut found);
        let is_known =
            |place: &String| fields::has(fields::read(style), place) || fields::has(fields::left(style), place);
        unknown.extend(found.into_iter().filter(|place| !is_known(place)).map(|place| format!("{style} {place}")));
        decoded += 1;
    }
    unknown.sort();
    unknown.dedup();
    assert!(unknown.is_empty(), "neither read nor known: {unknown:#?}");
    assert!(decoded >= 780, "{decoded}");
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn recorded_error_bodies_say_what_is_wrong() {
    let mut read = 0;
    for service in
        std::fs::read_dir(folder()).unwrap().filter_map(|entry| std::fs::read_dir(entry.unwrap().path()).ok())
    {
        for path in service.map(|entry| entry.unwrap().path()) {
            if !path.to_string_lossy().ends_with(".error.json") {
                continue;
            }
            let recorded: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let body = &recorded["body"];
            let wanted = body.pointer("/error/message").or_else(|| body.get("message")).unwrap().as_str().unwrap();
            let bytes = body.to_string();
            for (name, api) in [("openai", Api::Chat), ("anthropic", Api::Messages), ("bedrock", Api::Converse)] {
                let said = dialect(name, api).error_message(bytes.as_bytes()).unwrap();
                assert!(said.starts_with(wanted), "{}: {said}", path.display());
            }
            read += 1;
        }
    }
    assert_eq!(read, 45);
}

/// A conversation with everything in it that suites can say.
fn everything() -> Request {
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is it like in Paris?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        ]},
        {"role": "assistant", "content": "I look it up.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "21 degrees"},
        {"role": "user", "content": "And now?"},
    ]);
    let tools = json!([{"type": "function", "function": {
        "name": "weather", "description": "Tells the weather.", "parameters": {"type": "object"}, "strict": true,
    }}]);
    let params = json!({
        "temperature": 0.5, "top_p": 0.5, "max_output_tokens": 64, "seed": 7, "stop": ["END"], "tool_choice": "auto",
    });
    Request {
        messages: serde_json::from_value::<Vec<Message>>(messages).unwrap().into(),
        tools: Some(Arc::new(tools)),
        output_schema: Some(Arc::new(json!({"type": "object"}))),
        params: Arc::new(serde_json::from_value(params).unwrap()),
        row: Arc::default(),
    }
}

/// Places of schemas, arguments and the like: what is below them is the suite's.
fn is_open(place: &str) -> bool {
    let last = place.rsplit('.').next().unwrap();
    [
        "schema",
        "json",
        "parameters",
        "input_schema",
        "inputSchema",
        "parametersJsonSchema",
        "responseJsonSchema",
        "args",
    ]
    .contains(&last)
        || place.ends_with("[].input")
}

fn request_places(value: &Value) -> BTreeSet<String> {
    let mut found = Vec::new();
    places(value, "", &mut found);
    let below_open = |place: &String| place.match_indices('.').any(|(at, _)| is_open(&place[..at]));
    // Google takes both of its ways to write a name.
    let camel = |place: String| {
        let mut out = String::new();
        let mut is_up = false;
        for c in place.chars() {
            match c {
                '_' => is_up = true,
                c if std::mem::take(&mut is_up) => out.extend(c.to_uppercase()),
                c => out.push(c),
            }
        }
        out
    };
    found.into_iter().filter(|place| !below_open(place)).map(camel).collect()
}

#[test]
#[cfg_attr(not(evalctl_conformance), ignore = "set EVALCTL_CONFORMANCE_DATA to the folder with the data")]
fn requests_have_the_shape_of_recorded_ones() {
    let mut recorded: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in rows("interactions.jsonl") {
        let Some((style, _)) = of_address(row["uri"].as_str().unwrap()) else { continue };
        if let Some(body) = row.get("request_json") {
            recorded.entry(style).or_default().extend(request_places(body));
        }
    }
    // Fields that the services describe and nobody sent in these recordings.
    let described: [(&str, &str, &[&str]); 5] = [
        ("openai", "openai_chat", &[".seed", ".responseFormat.jsonSchema"]),
        ("responses", "openai_responses", &[".maxOutputTokens", ".topP"]),
        ("anthropic", "anthropic", &[".topP"]),
        ("gemini", "gemini", &[".generationConfig.maxOutputTokens", ".generationConfig.seed"]),
        (
            "cohere",
            "cohere",
            &[".strictTools", ".responseFormat", ".temperature", ".p", ".maxTokens", ".seed", ".messages[].content[]"],
        ),
    ];
    for (service, style, more) in described {
        let (name, api) = match service {
            "openai" => ("openai", Api::Chat),
            "responses" => ("openai", Api::Responses),
            "anthropic" => ("anthropic", Api::Messages),
            "gemini" => ("gemini", Api::Gemini),
            _ => ("cohere", Api::Cohere),
        };
        let spec = ServiceSpec { model: Some("m".to_owned()), stream: true, ..ServiceSpec::default() };
        let dialect = presets::find(name).unwrap().dialect(api, &spec, Structured::JsonSchema);
        let body: Value = serde_json::from_slice(&dialect.encode(&everything()).0).unwrap();
        let ours = request_places(&body);
        let is_known =
            |place: &&String| recorded[style].contains(*place) || more.iter().any(|more| place.starts_with(more));
        let strange: Vec<&String> = ours.iter().filter(|place| !is_known(place)).collect();
        assert!(strange.is_empty(), "{service} never saw {strange:#?}");
        for more in more {
            assert!(ours.iter().any(|place| place.starts_with(more)), "{service} does not send {more}");
        }
    }
}
