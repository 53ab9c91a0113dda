//! Helicone's exports, with bodies (`--include-body`), as JSON, JSONL or CSV.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{ByRow, Draft, Found, Importer, first, is_blank, money, opened, word};
use crate::traffic::ledger::Reason;
use crate::traffic::time::{self, Zone};

/// Stands where an answer did not come from Helicone's cache.
const NO_CACHE: &str = "00000000-0000-0000-0000-000000000000";

/// Rows of an export.
pub fn helicone(zone: Zone) -> impl Importer {
    ByRow(move |row: &Map<String, Value>| {
        if !row.contains_key("request_created_at") {
            return Found::Not(Reason::OtherKind);
        }
        call(row, zone)
    })
}

fn call(row: &Map<String, Value>, zone: Zone) -> Found {
    let path = word(row, &["request_path", "target_url"]).unwrap_or_default();
    if ["/embeddings", "/moderations", "/images", "/audio"].iter().any(|other| path.contains(other)) {
        return Found::Not(Reason::OtherCall);
    }
    let mut draft = Draft::default();
    // Without --include-body the bodies are behind addresses that expire.
    let Some(body) = first(row, &["request_body"]).map(opened) else { return Found::Not(Reason::NoBody) };
    if !draft.request(&body) {
        return Found::Not(Reason::NoBody);
    }
    draft.exchange.body = Some(body);
    draft.exchange.id = word(row, &["request_id"]).unwrap_or_default();
    let properties = first(row, &["request_properties", "properties"]).map(opened).unwrap_or_default();
    let session = properties.get("Helicone-Session-Id").filter(|session| !is_blank(session));
    draft.exchange.conversation = session.and_then(crate::util::field::text).unwrap_or_default();
    draft.model(first(row, &["request_model", "model", "response_model"]));
    let at = |name: &str| row.get(name).and_then(|value| time::stamp(value, zone));
    // `delay_ms` is measured where the proxy stands; the second stamp may be that of the writing.
    draft.exchange.latency = first(row, &["delay_ms"]).and_then(time::ms);
    draft.times(at("request_created_at"), at("response_created_at"));
    draft.exchange.ttft = first(row, &["time_to_first_token"]).and_then(time::ms).filter(|ttft| !ttft.is_zero());
    draft.exchange.cost_usd = money(first(row, &["cost", "costUSD", "cost_usd"]));
    draft.exchange.is_cached = word(row, &["cache_reference_id"]).is_some_and(|id| id != NO_CACHE);
    draft.tag("provider", row.get("provider"));
    if let Value::Object(properties) = &properties {
        let own = properties.iter().filter(|(name, _)| !name.starts_with("Helicone-"));
        own.for_each(|(name, value)| draft.tag(name, Some(value)));
    }
    let status = word(row, &["response_status"]).and_then(|status| status.parse::<u16>().ok());
    // Helicone's own marks (-1 and others) are no statuses of HTTP.
    draft.exchange.status = status.filter(|status| (100..600).contains(status));
    let body = first(row, &["response_body"]).map(opened);
    let text = body.as_ref().map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned));
    let bytes = text.as_deref().unwrap_or_default().as_bytes();
    let by_status = draft.exchange.status.and_then(|status| answer::of_status(status, bytes));
    let is_stream = answer::is_stream(bytes);
    if is_stream {
        draft.exchange.is_streamed = Some(true);
    }
    draft.outcome(by_status.or_else(|| match &body {
        Some(_) if is_stream => answer::of_bytes(bytes),
        Some(body) => answer::of_value(body),
        None => None,
    }));
    draft.usage(&Value::Object(row.clone()));
    draft.found()
}
