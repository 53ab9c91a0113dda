//! LiteLLM: the standard logging payload, and rows of its SpendLogs table.
//!
//! `response_time` is the time to first token when an answer is streamed and the whole time otherwise, so it is not
//! read: both follow from the three stamps. `api_key`, `requester_ip_address` and headers are not kept.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{ByRow, Draft, Found, Importer, first, is_blank, money, opened, truth, word};
use crate::traffic::ledger::Reason;
use crate::traffic::messages;
use crate::traffic::request;
use crate::traffic::time::{self, Zone};
use crate::types::Failure;

/// What stands in the place of messages when LiteLLM was told not to log them.
const WITHHELD: &str = "redacted-by-litellm";

/// The standard logging payload.
pub fn standard(zone: Zone) -> impl Importer {
    ByRow(move |row: &Map<String, Value>| {
        if !(row.contains_key("call_type") && row.contains_key("startTime") && !is_spend(row)) {
            return Found::Not(Reason::OtherKind);
        }
        call(row, zone)
    })
}

/// Rows of the SpendLogs table, as JSON or CSV.
pub fn spend(zone: Zone) -> impl Importer {
    ByRow(move |row: &Map<String, Value>| {
        if !(is_spend(row) && row.contains_key("startTime")) {
            return Found::Not(Reason::OtherKind);
        }
        call(row, zone)
    })
}

/// Whether a row is of the table rather than of the payload.
pub fn is_spend(row: &Map<String, Value>) -> bool {
    row.contains_key("request_id") && row.contains_key("spend")
}

fn call(row: &Map<String, Value>, zone: Zone) -> Found {
    let call_type = word(row, &["call_type"]).unwrap_or_default();
    let is_other = ["embedding", "image", "transcription", "speech", "rerank", "moderation", "_file", "batch", "list_"];
    if is_other.iter().any(|other| call_type.contains(other)) {
        return Found::Not(Reason::OtherCall);
    }
    let mut draft = Draft::default();
    // The proxy keeps the body as it was sent, where it is told to.
    let sent = first(row, &["proxy_server_request"]).map(opened);
    let sent = sent.map(|value| value.get("body").filter(|body| body.is_object()).cloned().unwrap_or(value));
    let messages = first(row, &["messages"]).map(opened).filter(|messages| !is_withheld(messages));
    let has_sent = sent.as_ref().is_some_and(|body| !is_withheld(body) && draft.request(body));
    if has_sent {
        draft.exchange.body = sent;
    } else if !messages.as_ref().is_some_and(|messages| draft.conversation(messages::read(messages))) {
        return Found::Not(Reason::NoBody);
    }
    if let Some(Value::Object(mut params)) = first(row, &["model_parameters"]).map(opened) {
        draft.exchange.is_streamed = params.get("stream").and_then(Value::as_bool).or(draft.exchange.is_streamed);
        let tools = request::tools(params.shift_remove("tools").as_ref());
        if !tools.is_empty() && draft.exchange.tools.is_none() {
            draft.exchange.tools = Some(Value::Array(tools));
        }
        params
            .retain(|key, _| !matches!(key.as_str(), "extra_body" | "headers" | "api_key" | "stream" | "max_retries"));
        if !has_sent {
            draft.exchange.params = request::params(params);
        }
    }
    draft.exchange.id = word(row, &["request_id", "id"]).unwrap_or_default();
    let metadata = first(row, &["metadata"]).map(opened).unwrap_or_default();
    let session = metadata.get("session_id").and_then(Value::as_str).map(str::to_owned);
    draft.exchange.conversation =
        word(row, &["session_id"]).or(session).or_else(|| word(row, &["trace_id"])).unwrap_or_default();
    draft.model(row.get("model"));
    let at = |names: &[&str]| first(row, names).and_then(|value| time::stamp(value, zone));
    draft.times(at(&["startTime"]), at(&["endTime"]));
    draft.exchange.is_streamed = truth(row.get("stream")).or(draft.exchange.is_streamed);
    // For an answer in one piece LiteLLM sets the first token at the end.
    let first_token = at(&["completionStartTime"]).filter(|first| at(&["endTime"]).is_none_or(|end| first.us < end.us));
    if draft.exchange.is_streamed.is_none() && first_token.is_some() {
        draft.exchange.is_streamed = Some(true);
    }
    if draft.exchange.is_streamed == Some(true) {
        draft.first_token(first_token);
    }
    draft.exchange.is_cached = truth(row.get("cache_hit")) == Some(true);
    // It writes 0 for what it has no price of.
    let cost = money(first(row, &["response_cost", "spend"]));
    draft.exchange.cost_usd = cost.filter(|cost| !cost.is_zero() || draft.exchange.is_cached);
    for name in ["custom_llm_provider", "model_group", "call_type"] {
        draft.tag(name, row.get(name));
    }
    if row.get("status").and_then(Value::as_str) == Some("failure") {
        draft.outcome(Some(Err(failure(row, &metadata))));
    } else {
        draft.outcome(first(row, &["response"]).and_then(answer::of_value));
    }
    draft.usage(&Value::Object(row.clone()));
    draft.found()
}

fn is_withheld(value: &Value) -> bool {
    is_blank(value) || value.to_string().contains(WITHHELD)
}

fn failure(row: &Map<String, Value>, metadata: &Value) -> Failure {
    let told = first(row, &["error_information"]).map(opened);
    let told = told.or_else(|| metadata.get("error_information").map(opened)).unwrap_or_default();
    let code = told.get("error_code").and_then(crate::util::field::text).and_then(|code| code.parse::<u16>().ok());
    let said = first(row, &["error_str"]).or_else(|| told.get("error_message")).map(answer::message_of);
    let detail = said.unwrap_or_else(|| "the log gives no reason".to_owned());
    match code {
        Some(429) => Failure::RateLimited { detail },
        Some(status) if (100..600).contains(&status) => Failure::Status { status, detail },
        Some(_) | None => Failure::Service { detail },
    }
}
