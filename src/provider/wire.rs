//! How services write what every dialect has: errors, counts, JSON in a frame. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::provider::{Event, filtered};
use crate::types::Failure;
use crate::util::text::shorten;

/// How much of a text that is not what it should be is quoted: more than is shown. It is cut again when keys are out of it,
/// since a piece of one would not be found.
pub const QUOTE: usize = 4096;

/// The bytes as text. Broken UTF-8 is replaced, as a stream's is, so that one bad byte does not cost an answer.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes))
}

/// A JSON object; `what` names it in the message.
///
/// # Errors
/// When the text is no JSON object.
pub fn object(what: &str, body: &str) -> Result<Value, Failure> {
    let failed =
        |why: &str| Failure::Protocol { detail: format!("this is no {what} ({why}): {}", shorten(body, QUOTE)) };
    match serde_json::from_str::<Value>(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(failed("no JSON object")),
        Err(error) => Err(failed(&error.to_string())),
    }
}

/// A text at a place; `None` for anything else and for an empty one.
pub fn word(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A count at a place, however it is written; `None` for what is no count.
pub fn count(value: &Value, pointer: &str) -> Option<u64> {
    let number = value.pointer(pointer)?;
    number.as_u64().or_else(|| {
        let number = number.as_f64()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
        (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
    })
}

/// An amount of money at a place, as it is written; `None` for what is no number of 0 or more.
pub fn money(value: &Value, pointer: &str) -> Option<Decimal> {
    let written = match value.pointer(pointer)? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let amount = Decimal::from_str_exact(&written).or_else(|_| Decimal::from_scientific(&written)).ok()?;
    // Nobody charges a million dollars for an answer; sums of what is absurd would not fit.
    (!amount.is_sign_negative() && amount < Decimal::from(1_000_000)).then_some(amount)
}

/// Dollars that a service says it charges for an answer, beside the token counts in `usage`. A gateway that uses a key of
/// the customer's own (OpenRouter's `is_byok`) charges its fee only, often 0: what the service behind it charges comes on
/// top, and without that figure the cost is not known.
pub fn charged(usage: &Value) -> Option<Event> {
    let fee = money(usage, "/cost");
    if usage.get("is_byok").and_then(Value::as_bool) != Some(true) {
        return fee.map(Event::Billed);
    }
    let behind = money(usage, "/cost_details/upstream_inference_cost").filter(|amount| !amount.is_zero());
    Some(match behind {
        Some(amount) => Event::Billed(fee.unwrap_or_default().saturating_add(amount)),
        None => Event::Doubt(
            "the service reported its own fee only: the key is the customer's (is_byok), and what the provider behind it \
             charges is not reported"
                .to_owned(),
        ),
    })
}

/// The largest of some counts of the same thing, which a service writes under several names; some of them may be 0.
pub fn most(counts: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    counts.into_iter().flatten().max()
}

/// What an error in an answer that began as a success comes to: the end of an answer that a filter cut.
///
/// # Errors
/// Every other error, with its message.
pub fn error_in_answer(error: &Value, message: String) -> Result<Vec<Event>, Failure> {
    filtered::word_of(error).map(filtered::events).ok_or(Failure::Service { detail: message })
}

/// The items of a list at a place; none when there is no list.
pub fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A sum of counts of which some may be unknown; `None` when all are.
pub fn sum(counts: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    counts.into_iter().flatten().reduce(u64::saturating_add)
}

/// The tool calls of a stream whose service numbers its parts: which part is which call, and whether its arguments have
/// come. Looked up in no time, however many there are.
#[derive(Debug, Default)]
pub struct Calls {
    places: HashMap<u64, usize>,
    has_arguments: Vec<bool>,
}

impl Calls {
    /// Takes a call that begins in a part; gives its place.
    pub fn begin(&mut self, part: u64, has_arguments: bool) -> usize {
        self.has_arguments.push(has_arguments);
        self.places.insert(part, self.has_arguments.len() - 1);
        self.has_arguments.len() - 1
    }

    /// The place of the call in a part, to which arguments come; `None` when the part is no call.
    pub fn arguments(&mut self, part: u64) -> Option<usize> {
        let place = *self.places.get(&part)?;
        self.has_arguments[place] = true;
        Some(place)
    }

    /// Whether a part is a call to which no arguments have come.
    pub fn is_bare(&self, part: u64) -> bool {
        self.places.get(&part).is_some_and(|place| !self.has_arguments[*place])
    }

    /// Whether a part is a call.
    pub fn has(&self, part: u64) -> bool {
        self.places.contains_key(&part)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.has_arguments.is_empty()
    }
}

/// A text as one part of a path. What is special in paths is escaped.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The message in the value of an error field, whatever its shape; `None` when it says that there is no error.
pub fn message_of(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Object(fields) if fields.is_empty() => None,
        Value::Object(fields) => {
            let said =
                ["message", "Message", "msg", "error", "detail"].iter().find_map(|name| fields.get(*name)?.as_str());
            // Gateways put the words of the service behind them beside their own.
            let behind = value.pointer("/metadata/raw").and_then(Value::as_str);
            Some(match (said, behind) {
                (Some(said), Some(behind)) => format!("{said}: {behind}"),
                (Some(said), None) => said.to_owned(),
                (None, _) => value.to_string(),
            })
        }
        Value::Bool(true) | Value::Number(_) | Value::Array(_) => Some(value.to_string()),
    }
}

/// The message of an error body, in any of the shapes that services give it; `None` when it has none of them.
pub fn error_message(body: &[u8]) -> Option<String> {
    let body = serde_json::from_str::<Value>(&text(body)).ok()?;
    // Google puts a list around it.
    let fault = match &body {
        Value::Array(list) => list.first()?,
        other => other,
    };
    if !fault.is_object() {
        return None;
    }
    ["error", "message", "Message", "detail", "errors"].iter().filter_map(|name| fault.get(*name)).find_map(message_of)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_bodies_are_read_in_every_shape() {
        let message = |body: Value| error_message(body.to_string().as_bytes());
        assert_eq!(message(json!({"error": {"message": "bad key", "type": "x"}})).unwrap(), "bad key");
        assert_eq!(message(json!([{"error": {"message": "quota"}}])).unwrap(), "quota");
        assert_eq!(message(json!({"error": "no such model"})).unwrap(), "no such model");
        assert_eq!(message(json!({"object": "error", "message": "m"})).unwrap(), "m");
        assert_eq!(message(json!({"Message": "not for you"})).unwrap(), "not for you");
        assert_eq!(message(json!({"detail": [{"msg": "field required"}]})).unwrap(), "[{\"msg\":\"field required\"}]");
        assert_eq!(message(json!({"ok": 1})), None);
        assert_eq!(message(json!([])), None);
        assert_eq!(error_message(b"<html>"), None);
        assert_eq!(error_message(b"null"), None);
    }

    #[test]
    fn a_fee_under_a_key_of_ones_own_is_not_the_cost() {
        let billed = |usage: Value| match charged(&usage) {
            Some(Event::Billed(amount)) => Some(amount.to_string()),
            Some(Event::Doubt(reason)) => Some(reason).filter(|reason| !reason.contains("is_byok")),
            other => other.map(|event| format!("{event:?}")),
        };
        assert_eq!(billed(json!({"cost": 0.002})).as_deref(), Some("0.002"));
        assert_eq!(
            billed(json!({"cost": 0, "is_byok": false, "cost_details": {"upstream_inference_cost": 1}})).as_deref(),
            Some("0")
        );
        let own = json!({"cost": 0, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.0360795}});
        assert_eq!(billed(own).as_deref(), Some("0.0360795"));
        let fee = json!({"cost": 0.001, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.01}});
        assert_eq!(billed(fee).as_deref(), Some("0.011"));
        for unknown in [
            json!({"cost": 0, "is_byok": true}),
            json!({"cost": 0, "is_byok": true, "cost_details": {"upstream_inference_cost": null}}),
        ] {
            assert!(matches!(charged(&unknown), Some(Event::Doubt(_))), "{unknown}");
        }
        assert_eq!(charged(&json!({"prompt_tokens": 1})), None);
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        let value = json!({"a": 3, "b": 2.0, "c": -1, "d": "4", "e": 1.5});
        assert_eq!(
            ["/a", "/b", "/c", "/d", "/e", "/f"].map(|place| count(&value, place)),
            [Some(3), Some(2), None, None, None, None]
        );
        assert_eq!(sum([None, Some(1), Some(2)]), Some(3));
        assert_eq!(sum([None, None]), None);
    }
}
