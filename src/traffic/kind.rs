//! The kinds of logs that can be imported, and how each is recognised.

use serde_json::{Map, Value};

use crate::traffic::batch::Batch;
use crate::traffic::chat;
use crate::traffic::draft::Importer;
use crate::traffic::goreplay::GoReplay;
use crate::traffic::har::Har;
use crate::traffic::helicone;
use crate::traffic::langfuse::Langfuse;
use crate::traffic::litellm;
use crate::traffic::otel::Otel;
use crate::traffic::own::Own;
use crate::traffic::read::{Form, Opened, Piece};
use crate::traffic::time::Zone;
use crate::traffic::traces;

/// A kind of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`words` says what each is")]
pub enum Kind {
    Chat,
    OpenAiStored,
    OpenAiBatch,
    Anthropic,
    LiteLlm,
    LiteLlmSpend,
    Langfuse,
    Helicone,
    Otel,
    Har,
    GoReplay,
    Azure,
    BurstGpt,
    Mooncake,
    Capture,
}

impl Kind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Kind; 15] = [
        Kind::Chat,
        Kind::OpenAiStored,
        Kind::OpenAiBatch,
        Kind::Anthropic,
        Kind::LiteLlm,
        Kind::LiteLlmSpend,
        Kind::Langfuse,
        Kind::Helicone,
        Kind::Otel,
        Kind::Har,
        Kind::GoReplay,
        Kind::Azure,
        Kind::BurstGpt,
        Kind::Mooncake,
        Kind::Capture,
    ];

    /// The name by which it is asked for, and what it is.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Chat => ("chat", "JSONL with messages, or with request and response, a row each"),
            Kind::OpenAiStored => {
                ("openai-stored", "stored chat completions and responses of OpenAI, with their input")
            }
            Kind::OpenAiBatch => ("openai-batch", "input and output files of the Batch API"),
            Kind::Anthropic => ("anthropic", "request and response of the Messages API, a row each"),
            Kind::LiteLlm => ("litellm", "LiteLLM's standard logging payload"),
            Kind::LiteLlmSpend => ("litellm-spend", "rows of LiteLLM's SpendLogs table"),
            Kind::Langfuse => ("langfuse", "Langfuse's observations: exports (legacy, v2), API, traces"),
            Kind::Helicone => ("helicone", "Helicone's export with bodies"),
            Kind::Otel => ("otel", "OpenTelemetry spans with gen_ai or OpenInference attributes (OTLP JSON)"),
            Kind::Har => ("har", "HTTP archive"),
            Kind::GoReplay => ("goreplay", "GoReplay's .gor"),
            Kind::Azure => ("azure", "Azure's LLM trace: times and lengths, no text"),
            Kind::BurstGpt => ("burstgpt", "BurstGPT: times and lengths, no text"),
            Kind::Mooncake => ("mooncake", "Mooncake's trace: times, lengths and shared blocks, no text"),
            Kind::Capture => ("capture", "a capture of evalctl, to redact or to sample it again"),
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.words().0 == name)
    }

    /// Whether it is also written as CSV by those that make it. The others are read as CSV where a header names their
    /// fields.
    pub fn has_csv(self) -> bool {
        match self {
            Kind::LiteLlmSpend | Kind::Langfuse | Kind::Helicone | Kind::Azure | Kind::BurstGpt => true,
            Kind::Chat
            | Kind::OpenAiStored
            | Kind::OpenAiBatch
            | Kind::Anthropic
            | Kind::LiteLlm
            | Kind::Otel
            | Kind::Har
            | Kind::GoReplay
            | Kind::Mooncake
            | Kind::Capture => false,
        }
    }

    /// What reads it.
    pub fn importer(self, zone: Zone, seed: u64) -> Box<dyn Importer> {
        match self {
            Kind::Chat => Box::new(chat::plain(zone)),
            Kind::OpenAiStored => Box::new(chat::openai_stored(zone)),
            Kind::OpenAiBatch => Box::new(Batch::default()),
            Kind::Anthropic => Box::new(chat::anthropic(zone)),
            Kind::LiteLlm => Box::new(litellm::standard(zone)),
            Kind::LiteLlmSpend => Box::new(litellm::spend(zone)),
            Kind::Langfuse => Box::new(Langfuse { zone }),
            Kind::Helicone => Box::new(helicone::helicone(zone)),
            Kind::Otel => Box::new(Otel),
            Kind::Har => Box::new(Har { zone }),
            Kind::GoReplay => Box::new(GoReplay::default()),
            Kind::Azure => Box::new(traces::azure(zone, seed)),
            Kind::BurstGpt => Box::new(traces::burstgpt(seed)),
            Kind::Mooncake => Box::new(traces::mooncake(seed)),
            Kind::Capture => Box::new(Own),
        }
    }
}

/// What a file is, by its beginning; `None` when it looks like none of the kinds.
pub fn recognise(opened: &Opened) -> Option<Kind> {
    let (head, form) = (opened.head(), opened.form());
    if form == Form::Blocks {
        return Some(Kind::GoReplay);
    }
    // The head is read as the file would be; what is cut at its end is no row of it.
    let mut rows = Opened::of_head(head).rows(form);
    let mut seen = 0;
    while let Some((_, piece, _)) = rows.next_row() {
        if let Piece::Json(Value::Object(row)) = piece {
            if let Some(kind) = by_row(&row) {
                return Some(kind);
            }
            seen += 1;
        }
        if seen == 20 {
            return None;
        }
    }
    // One long value, of which the head has only a part.
    let text = String::from_utf8_lossy(head);
    let has = |key: &str| text.contains(&format!("\"{key}\""));
    if has("resourceSpans") {
        return Some(Kind::Otel);
    }
    if has("log") && (has("entries") || has("creator")) {
        return Some(Kind::Har);
    }
    (has("observations") || has("traceId") && has("GENERATION")).then_some(Kind::Langfuse)
}

fn by_row(row: &Map<String, Value>) -> Option<Kind> {
    let has = |names: &[&str]| names.iter().all(|name| row.contains_key(*name));
    let is = |name: &str, wanted: &str| row.get(name).and_then(Value::as_str) == Some(wanted);
    if has(&["evalctl", "turn"]) {
        return Some(Kind::Capture);
    }
    if row.get("data").is_some_and(Value::is_array)
        && let Some(Value::Object(first)) = row.get("data").and_then(|data| data.get(0))
    {
        return by_row(first);
    }
    let known = [
        (has(&["resourceSpans"]) || has(&["traceId", "spanId", "attributes"]), Kind::Otel),
        (row.get("log").is_some_and(|log| log.get("entries").is_some()), Kind::Har),
        (has(&["startedDateTime", "request", "response"]), Kind::Har),
        (has(&["request_id", "spend", "startTime"]), Kind::LiteLlmSpend),
        (has(&["call_type", "startTime"]), Kind::LiteLlm),
        (has(&["trace", "observations"]) || has(&["observations", "projectId"]), Kind::Langfuse),
        (has(&["type", "traceId", "startTime"]) || has(&["type", "trace_id", "start_time"]), Kind::Langfuse),
        (has(&["request_created_at"]), Kind::Helicone),
        (has(&["custom_id"]), Kind::OpenAiBatch),
        (is("object", "chat.completion") || is("object", "response"), Kind::OpenAiStored),
        (has(&["TIMESTAMP", "ContextTokens"]), Kind::Azure),
        (has(&["Timestamp", "Request tokens"]), Kind::BurstGpt),
        (has(&["timestamp", "input_length"]), Kind::Mooncake),
    ];
    if let Some((_, kind)) = known.into_iter().find(|(is_it, _)| *is_it) {
        return Some(kind);
    }
    if chat::is_anthropic(row) {
        return Some(Kind::Anthropic);
    }
    let asks = ["messages", "contents", "prompt", "input"];
    let is_chat = asks.iter().any(|name| row.contains_key(*name))
        || ["request", "request_body", "body"].iter().any(|name| row.contains_key(*name));
    is_chat.then_some(Kind::Chat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.words().0), Some(kind));
        }
        assert_eq!(Kind::named("auto"), None);
    }

    #[test]
    fn kinds_are_recognised() {
        for (text, kind) in [
            ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n", Some(Kind::Azure)),
            (
                "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [0]}\n",
                Some(Kind::Mooncake),
            ),
            ("{\"messages\": []}\n", Some(Kind::Chat)),
            ("{\"custom_id\": \"a\", \"body\": {}}\n", Some(Kind::OpenAiBatch)),
            ("{\n \"trace\": {},\n \"observations\": []}\n", Some(Kind::Langfuse)),
            ("{\"object\":\"list\",\"data\":[{\"object\":\"chat.completion\"}]}", Some(Kind::OpenAiStored)),
            ("{\"log\": {\"version\": \"1.2\", \"entries\": [{\"x\": \"", Some(Kind::Har)),
            ("1 aaaaaaaaaaaaaaaaaaaaaaaa 1439818823587396305 0\nGET / HTTP/1.1\r\n", Some(Kind::GoReplay)),
            ("{\"a\": 1}\n", None),
            ("hello\n", None),
            ("", None),
        ] {
            assert_eq!(recognise(&Opened::of_head(text.as_bytes())), kind, "{text}");
        }
    }
}
