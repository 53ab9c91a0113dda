//! Real data: recorded exchanges with some eighteen services, against what was found in them by other means. Runs when
//! `EVALCTL_CONFORMANCE_DATA` names the folder with the data, which is not part of this repository.

use std::ops::ControlFlow;
use std::path::PathBuf;

use evalctl::provider::presets;
use evalctl::provider::sse::Frame;
use evalctl::provider::{Decode, Dialect, Event, Frames};
use evalctl::suite::spec::{Api, ServiceSpec, Structured};
use evalctl::types::{Failure, Finish, ToolCall, Usage};
use rayon::prelude::*;
use serde_json::Value;
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
            Event::Usage(usage) => self.usage = self.usage.updated(usage),
            Event::Refusal
            | Event::Logprobs(_)
            | Event::Model(_)
            | Event::Fingerprint(_)
            | Event::Billed(_)
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
        for at in 0..=part.len() {
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
