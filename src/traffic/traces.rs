//! Traces of production traffic without texts: when requests came, and how many tokens they had. Bodies of that length
//! are made.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{ByRow, Draft, Found, Importer, first, word};
use crate::traffic::ledger::{Mark, Reason};
use crate::traffic::made;
use crate::traffic::time::{self, Stamp, Zone};
use crate::types::{Failure, Precision, Texts, Usage};

/// Azure's traces: `TIMESTAMP,ContextTokens,GeneratedTokens`, and those of 2025 with `NumImages`.
pub fn azure(zone: Zone, seed: u64) -> impl Importer {
    let mut rows = 0;
    ByRow(move |row: &Map<String, Value>| {
        let (Some(stamp), Some(input)) = (row.get("TIMESTAMP"), count(row, "ContextTokens")) else {
            return Found::Not(unlike(row, "TIMESTAMP"));
        };
        rows += 1;
        let mut draft = made_up(seed, rows, &[], input, count(row, "GeneratedTokens"));
        draft.times(time::stamp(stamp, zone), None);
        draft.tag("images", first(row, &["NumImages"]));
        draft.found()
    })
}

/// BurstGPT: `Timestamp` in seconds from the start, `Request tokens`, `Response tokens` (0 for a failure), `Session ID`.
pub fn burstgpt(seed: u64) -> impl Importer {
    let mut rows = 0;
    ByRow(move |row: &Map<String, Value>| {
        let (Some(stamp), Some(input)) = (row.get("Timestamp"), count(row, "Request tokens")) else {
            return Found::Not(unlike(row, "Request tokens"));
        };
        rows += 1;
        let output = count(row, "Response tokens");
        let mut draft = made_up(seed, rows, &[], input, output.filter(|tokens| *tokens > 0));
        let is_whole = stamp.as_str().is_some_and(|text| !text.trim_end_matches(".0").contains('.'));
        let precision = if is_whole { Precision::S } else { Precision::Ms };
        draft.arrived = time::seconds(stamp).map(|since| relative(since, precision));
        draft.exchange.conversation = word(row, &["Session ID"]).unwrap_or_default();
        draft.exchange.latency = first(row, &["Elapsed time"]).and_then(time::seconds);
        draft.model(row.get("Model"));
        draft.tag("log_type", row.get("Log Type"));
        if output == Some(0) {
            draft.exchange.answer = None;
            draft.exchange.failure = Some(Failure::Recorded { detail: "the trace has no response tokens".to_owned() });
        }
        draft.found()
    })
}

/// Mooncake: milliseconds from the start, lengths, and the numbers of the 512-token blocks that requests share.
pub fn mooncake(seed: u64) -> impl Importer {
    let mut rows = 0;
    ByRow(move |row: &Map<String, Value>| {
        let (Some(stamp), Some(input)) = (row.get("timestamp"), count(row, "input_length")) else {
            return Found::Not(unlike(row, "input_length"));
        };
        rows += 1;
        let blocks = row.get("hash_ids").and_then(Value::as_array).into_iter().flatten();
        let blocks: Vec<u64> = blocks.filter_map(Value::as_u64).collect();
        let mut draft = made_up(seed, rows, &blocks, input, count(row, "output_length"));
        draft.arrived = time::ms(stamp).map(|since| relative(since, Precision::Ms));
        draft.found()
    })
}

/// A row without what it needs, or of another kind.
fn unlike(row: &Map<String, Value>, column: &str) -> Reason {
    if row.contains_key(column) { Reason::Broken } else { Reason::OtherKind }
}

fn count(row: &Map<String, Value>, name: &str) -> Option<u64> {
    let number = match row.get(name)? {
        Value::String(text) => text.trim().parse::<u64>().ok(),
        other => other.as_u64(),
    };
    number.filter(|tokens| *tokens <= made::MAX_TOKENS)
}

/// An instant that the trace counts from its own start, which is put at the epoch.
fn relative(since: std::time::Duration, precision: Precision) -> Stamp {
    Stamp { us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX), precision, offset_min: Some(0) }
}

fn made_up(seed: u64, row: u64, blocks: &[u64], input: u64, output: Option<u64>) -> Draft {
    let mut draft = Draft::default();
    draft.exchange.texts = Texts::Made;
    draft.exchange.messages = made::question(seed, row, blocks, input);
    draft.exchange.params.max_output_tokens = output.and_then(|tokens| u32::try_from(tokens).ok());
    draft.exchange.answer =
        Some(answer::of_tokens(Usage { input_tokens: Some(input), output_tokens: output, ..Usage::default() }));
    draft.marks.push(Mark::TextMade);
    draft
}
