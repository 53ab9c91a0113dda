//! Langfuse: observations as the API gives them, as its page shows them (`{trace, observations}`) and as its exports
//! write them (legacy and v2; JSON, JSONL, CSV).
//!
//! `latency` is seconds in one of these and milliseconds in another, so it is not read: it follows from the stamps.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::draft::{Draft, Found, Importer, first, is_blank, items, money, opened, word};
use crate::traffic::ledger::Reason;
use crate::traffic::messages;
use crate::traffic::read::Piece;
use crate::traffic::request;
use crate::traffic::time::{self, Zone};
use crate::types::{Failure, Role};

/// Observations.
pub struct Langfuse {
    /// Of stamps without one; exports are in UTC.
    pub zone: Zone,
}

impl Importer for Langfuse {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        let value = match piece {
            Piece::Bad(reason) => return out.push(Found::Not(reason)),
            Piece::Block(_) => return out.push(Found::Not(Reason::OtherKind)),
            Piece::Json(value) => value,
        };
        for item in items(value) {
            let Value::Object(mut fields) = item else {
                out.push(Found::Not(Reason::OtherKind));
                continue;
            };
            let Some(Value::Array(observations)) = fields.remove("observations") else {
                out.push(self.observation(&fields, None));
                continue;
            };
            // A trace with its observations: the trace itself is context, not a row.
            let trace = match fields.get("trace") {
                Some(Value::Object(trace)) => trace,
                _ => &fields,
            };
            let session = word(trace, &["sessionId", "session_id"]);
            if observations.is_empty() {
                out.push(Found::Not(Reason::OtherCall));
            }
            for (index, observation) in observations.iter().enumerate() {
                let mut found = match observation {
                    Value::Object(fields) => self.observation(fields, session.as_deref()),
                    _ => Found::Not(Reason::OtherKind),
                };
                if let Found::Exchange(draft) = &mut found {
                    draft.exchange.source.row = index as u64 + 1;
                }
                out.push(found);
            }
        }
    }
}

impl Langfuse {
    fn observation(&self, row: &Map<String, Value>, session: Option<&str>) -> Found {
        let kind = row.get("type").and_then(Value::as_str);
        let has_start = row.contains_key("startTime") || row.contains_key("start_time");
        let has_trace = row.contains_key("traceId") || row.contains_key("trace_id");
        let (Some(kind), true, true) = (kind, has_start, has_trace) else { return Found::Not(Reason::OtherKind) };
        if kind != "GENERATION" {
            return Found::Not(Reason::OtherCall);
        }
        let mut draft = Draft::default();
        let metadata = first(row, &["metadata"]).map(opened).unwrap_or_default();
        let attributes = metadata.get("attributes").map(opened);
        let attributes = attributes.as_ref().and_then(Value::as_object);
        if !ask(&mut draft, attributes, first(row, &["input"])) {
            return Found::Not(Reason::NoBody);
        }
        params(row, &mut draft);
        draft.exchange.id = word(row, &["id"]).unwrap_or_default();
        let own = word(row, &["sessionId", "session_id"]);
        draft.exchange.conversation = own
            .or_else(|| session.map(str::to_owned))
            .or_else(|| word(row, &["traceId", "trace_id"]))
            .unwrap_or_default();
        draft.model(first(row, &["model", "provided_model_name", "providedModelName"]));
        let at = |names: &[&str]| first(row, names).and_then(|value| time::stamp(value, self.zone));
        draft.times(at(&["startTime", "start_time"]), at(&["endTime", "end_time"]));
        let first_token = at(&["completionStartTime", "completion_start_time"]);
        if first_token.is_some() {
            draft.exchange.is_streamed = Some(true);
            draft.first_token(first_token);
        }
        let cost = first(row, &["cost_details", "costDetails"]).map(opened);
        let cost =
            cost.as_ref().and_then(|cost| cost.get("total")).or_else(|| first(row, &["totalCost", "total_cost"]));
        draft.exchange.cost_usd = money(cost).filter(|cost| !cost.is_zero());
        for name in ["environment", "name"] {
            draft.tag(name, row.get(name));
        }
        if row.get("level").and_then(Value::as_str) == Some("ERROR") {
            let said = first(row, &["statusMessage", "status_message"]).map(answer::message_of);
            let detail = said.unwrap_or_else(|| "the log gives no reason".to_owned());
            draft.outcome(Some(Err(Failure::Service { detail })));
        } else {
            draft.outcome(first(row, &["output"]).and_then(answer::of_value));
        }
        if let Some(usage) = first(row, &["usageDetails", "usage_details", "usage"]).map(opened) {
            draft.usage(&usage);
        }
        draft.found()
    }
}

/// The question. Tracers put what was really sent into attributes, message by message; `input` may be a rendering of it.
fn ask(draft: &mut Draft, attributes: Option<&Map<String, Value>>, input: Option<&Value>) -> bool {
    if let Some(attributes) = attributes {
        let read = messages::of_attributes(attributes, "llm.input_messages", "message.")
            .or_else(|| messages::of_attributes(attributes, "gen_ai.prompt", ""))
            .or_else(|| messages::read(attributes.get("gen_ai.input.messages")?));
        if draft.conversation(read) {
            let tools = (0..1000).map_while(|index| attributes.get(&format!("llm.tools.{index}.tool.json_schema")));
            let tools = request::tools(Some(&Value::Array(tools.map(opened).collect())));
            if !tools.is_empty() {
                draft.exchange.tools = Some(Value::Array(tools));
            }
            draft.exchange.body = input.map(opened).filter(Value::is_object);
            return true;
        }
    }
    let Some(input) = input else { return false };
    let body = opened(input);
    if body.as_object().is_some_and(request::is_body) && draft.request(&body) {
        draft.exchange.body = Some(body);
        return true;
    }
    draft.conversation(messages::read(input))
}

/// What the observation says of parameters. Values may be texts, and some tracers write a text for nothing.
fn params(row: &Map<String, Value>, draft: &mut Draft) {
    let Some(Value::Object(all)) = first(row, &["modelParameters", "model_parameters"]).map(opened) else { return };
    let instructions = all.get("instructions").or_else(|| all.get("system_instruction")).and_then(Value::as_str);
    let has_system = draft.exchange.messages.first().is_some_and(|first| first.role == Role::System);
    if let Some(text) = instructions.filter(|text| !text.is_empty() && !has_system) {
        draft.exchange.messages.insert(0, messages::text_message(Role::System, text.to_owned()));
    }
    if draft.exchange.tools.is_none() {
        let tools = request::tools(all.get("tools"));
        draft.exchange.tools = (!tools.is_empty()).then_some(Value::Array(tools));
    }
    let own = all.into_iter().filter(|(key, _)| request::SAMPLING.contains(&key.as_str()));
    let own = own.map(|(key, value)| (key, opened(&value)));
    let is_sound =
        |value: &Value| !is_blank(value) && value.as_f64() != Some(-1.0) && value.get("arrayValue").is_none();
    let read = request::params(own.filter(|(_, value)| is_sound(value)).collect());
    if draft.exchange.params == crate::types::Params::default() {
        draft.exchange.params = read;
    }
}
