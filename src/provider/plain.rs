//! Answers written as plain JSON, as recorded files hold them and programs give them. Pure.
//!
//! A field that is null, missing or empty says nothing. One that says something else than it should is an error that
//! names it: a figure that was misread is worse than none.

use rust_decimal::Decimal;
use serde_json::Value;

use crate::provider::wire::QUOTE;
use crate::provider::{Event, stop, wire};
use crate::types::{Row, Usage};
use crate::util::field;
use crate::util::text::shorten;

/// No answer has more tokens than this.
const MAX_TOKENS: f64 = 1e12;

/// How long an answer can have taken, in milliseconds: a year.
const MAX_MS: f64 = 366.0 * 86_400_000.0;

/// What an answer can have cost, in dollars.
const MAX_USD: u32 = 1_000_000;

/// Whether a field says nothing. CSV has no null, only empty cells.
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The answer's text: a string as it is, anything else as compact JSON; `None` for null.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// Tool calls: a list in OpenAI's shape, or of plain `{name, arguments}`; in CSV, the JSON of one.
///
/// # Errors
/// When the field is no such list.
pub fn tool_calls(name: &str, value: &Value) -> Result<Vec<Event>, String> {
    if is_blank(value) {
        return Ok(Vec::new());
    }
    let value = unpacked(name, value)?;
    let list = value.as_array().ok_or_else(|| odd(name, "no list of tool calls", &value))?;
    let call = |(index, call): (usize, &Value)| {
        let function = call.get("function").unwrap_or(call);
        let tool = function.get("name").and_then(Value::as_str).filter(|tool| !tool.is_empty());
        let tool = tool.ok_or_else(|| odd(name, "no list of tool calls: one has no name", call))?;
        let arguments = function.get("arguments").and_then(text).unwrap_or_default();
        let id = call.get("id").and_then(field::text).filter(|id| !id.is_empty());
        Ok(Event::ToolCall { index, id, name: Some(tool.to_owned()), arguments })
    };
    list.iter().enumerate().map(call).collect()
}

/// Token counts: an object with our names, or as OpenAI (chat completions or responses), Anthropic or Gemini write it; in
/// CSV, the JSON of one. Counts that contradict each other are for [`settle`](crate::provider::settle) to see.
///
/// # Errors
/// When the field is no object, or a count is no whole number.
pub fn usage(name: &str, value: &Value) -> Result<Usage, String> {
    if is_blank(value) {
        return Ok(Usage::default());
    }
    let value = unpacked(name, value)?;
    let fields = value.as_object().ok_or_else(|| odd(name, "no object with token counts", &value))?;
    let count = |names: &[&str]| count(name, fields, names);
    let mut usage = Usage {
        input_tokens: count(&["input_tokens", "prompt_tokens", "promptTokenCount"])?,
        cached_input_tokens: count(&[
            "cached_input_tokens",
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "prompt_cache_hit_tokens",
            "cache_read_input_tokens",
            "cachedContentTokenCount",
        ])?,
        cache_write_tokens: count(&[
            "cache_write_tokens",
            "/prompt_tokens_details/cache_write_tokens",
            "/input_tokens_details/cache_write_tokens",
            "/prompt_tokens_details/cache_creation_tokens",
            "cache_creation_input_tokens",
        ])?,
        cache_write_1h_tokens: count(&[
            "cache_write_1h_tokens",
            "/prompt_tokens_details/cache_creation_token_details/ephemeral_1h_input_tokens",
            "/cache_creation/ephemeral_1h_input_tokens",
        ])?,
        audio_input_tokens: count(&["audio_input_tokens", "/prompt_tokens_details/audio_tokens"])?,
        output_tokens: count(&["output_tokens", "completion_tokens", "candidatesTokenCount"])?,
        audio_output_tokens: count(&["audio_output_tokens", "/completion_tokens_details/audio_tokens"])?,
        reasoning_tokens: count(&[
            "reasoning_tokens",
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/output_tokens_details/thinking_tokens",
            "thoughtsTokenCount",
        ])?,
        total_tokens: count(&["total_tokens", "totalTokenCount"])?,
    };
    // Anthropic counts in three heaps, which it alone names so beside `input_tokens`.
    let has = |key: &str| fields.get(key).is_some_and(|value| !is_blank(value));
    if has("input_tokens") && (has("cache_read_input_tokens") || has("cache_creation_input_tokens")) {
        let heaps = [usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens];
        usage.input_tokens = wire::sum(heaps);
    }
    // Gemini counts thoughts beside what was said, and what its tools put into the prompt beside the prompt.
    if has("candidatesTokenCount") || has("thoughtsTokenCount") {
        usage.output_tokens = wire::sum([usage.output_tokens, usage.reasoning_tokens]);
        usage.input_tokens = wire::sum([usage.input_tokens, count(&["toolUsePromptTokenCount"])?]);
    }
    Ok(usage)
}

fn count(name: &str, fields: &Row, names: &[&str]) -> Result<Option<u64>, String> {
    let found =
        names.iter().find_map(|key| Some((key, field::get(fields, key)?)).filter(|(_, value)| !is_blank(value)));
    let Some((key, value)) = found else {
        return Ok(None);
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    match number(value).filter(|count| count.fract() == 0.0 && (0.0..=MAX_TOKENS).contains(count)) {
        Some(count) => Ok(Some(count as u64)),
        None => Err(odd(&format!("{name}/{}", key.trim_start_matches('/')), "no count of tokens", value)),
    }
}

/// Milliseconds; `None` when the field says nothing.
///
/// # Errors
/// When the field is no number from 0 to a year's.
pub fn duration(name: &str, value: &Value) -> Result<Option<std::time::Duration>, String> {
    if is_blank(value) {
        return Ok(None);
    }
    let ms = number(value).filter(|ms| (0.0..=MAX_MS).contains(ms));
    let ms = ms.ok_or_else(|| odd(name, "no number of milliseconds", value))?;
    Ok(Some(std::time::Duration::from_secs_f64(ms / 1000.0)))
}

/// Dollars, exactly as written; `None` when the field says nothing.
///
/// # Errors
/// When the field is no amount from 0 to a million.
pub fn money(name: &str, value: &Value) -> Result<Option<Decimal>, String> {
    if is_blank(value) {
        return Ok(None);
    }
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    let amount = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok();
    let amount = amount.filter(|amount| (Decimal::ZERO..=Decimal::from(MAX_USD)).contains(amount));
    amount.map(Some).ok_or_else(|| odd(name, "no amount of dollars", value))
}

/// The events of a reason for stopping, in the words of any service; none when the field says nothing.
///
/// # Errors
/// When the field is no text, or says that the server broke the answer off.
pub fn finish(name: &str, value: &Value) -> Result<Vec<Event>, String> {
    match value {
        value if is_blank(value) => Ok(Vec::new()),
        Value::String(reason) => stop::events(reason.trim()).map_err(|failure| failure.to_string()),
        other => Err(odd(name, "no reason for stopping", other)),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A value itself, or what the JSON in a CSV cell says.
fn unpacked(name: &str, value: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => serde_json::from_str(text).map_err(|_| odd(name, "not JSON", value)),
        other => Ok(other.clone()),
    }
}

fn odd(name: &str, what: &str, value: &Value) -> String {
    format!("`{name}` is {what}: {}", shorten(&value.to_string(), QUOTE))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::types::Finish;

    #[test]
    fn tool_calls_in_three_forms() {
        let wanted = vec![Event::ToolCall {
            index: 0,
            id: Some("a".into()),
            name: Some("f".into()),
            arguments: "{\"x\":1}".into(),
        }];
        let openai = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]);
        assert_eq!(tool_calls("calls", &openai).unwrap(), wanted);
        assert_eq!(tool_calls("calls", &json!(openai.to_string())).unwrap(), wanted);
        assert_eq!(tool_calls("calls", &json!([{"id": "a", "name": "f", "arguments": {"x": 1}}])).unwrap(), wanted);
        assert_eq!(tool_calls("calls", &json!("")).unwrap(), vec![]);
        for broken in [json!("x"), json!(5), json!({"a": 1}), json!([{"id": "a"}]), json!([[]]), json!([{"name": 1}])] {
            assert!(tool_calls("calls", &broken).unwrap_err().starts_with("`calls` is"), "{broken}");
        }
    }

    #[test]
    fn usage_by_both_names() {
        let wanted = Usage {
            input_tokens: Some(9),
            cached_input_tokens: Some(4),
            output_tokens: Some(3),
            reasoning_tokens: Some(0),
            ..Usage::default()
        };
        let openai = json!({
            "prompt_tokens": 9, "completion_tokens": 3.0, "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 0},
        });
        let own = json!({"input_tokens": 9, "output_tokens": "3", "cached_input_tokens": 4, "reasoning_tokens": 0});
        assert_eq!(usage("u", &openai), Ok(wanted));
        assert_eq!(usage("u", &json!(own.to_string())), Ok(wanted));
        assert_eq!(usage("u", &json!({"input_tokens": null})), Ok(Usage::default()));
        for odd in [json!(-1), json!(1.5), json!("many"), json!(1e300), json!([1]), json!("NaN"), json!(true)] {
            let error = usage("u", &json!({"input_tokens": odd})).unwrap_err();
            assert!(error.starts_with("`u/input_tokens` is no count of tokens"), "{error}");
        }
        assert!(usage("u", &json!([1])).is_err());
    }

    #[test]
    fn usage_as_services_write_it() {
        let of = |value: Value| {
            let usage = usage("u", &value).unwrap();
            let cache = (usage.cached_input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens);
            (usage.input_tokens, cache, usage.output_tokens, usage.reasoning_tokens)
        };
        let anthropic = json!({"input_tokens": 10, "cache_read_input_tokens": 90000, "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_1h_input_tokens": 3}, "output_tokens": 4});
        assert_eq!(of(anthropic), (Some(90_015), (Some(90_000), Some(5), Some(3)), Some(4), None));
        let chat = json!({"prompt_tokens": 4020, "completion_tokens": 4, "total_tokens": 4024,
            "prompt_tokens_details": {"cache_write_tokens": 4012, "cached_tokens": 0}});
        assert_eq!(of(chat), (Some(4020), (Some(0), Some(4012), None), Some(4), None));
        // LiteLLM writes Anthropic's names beside its own, whose input has all of it.
        let litellm = json!({"prompt_tokens": 4818, "completion_tokens": 47, "cache_creation_input_tokens": 4803});
        assert_eq!(of(litellm), (Some(4818), (None, Some(4803), None), Some(47), None));
        let gemini = json!({"promptTokenCount": 1000, "candidatesTokenCount": 50, "thoughtsTokenCount": 400,
            "totalTokenCount": 1450});
        assert_eq!(of(gemini), (Some(1000), (None, None, None), Some(450), Some(400)));
    }

    #[test]
    fn times_money_and_reasons() {
        assert_eq!(duration("ms", &json!("12.5")), Ok(Some(Duration::from_micros(12_500))));
        assert_eq!((duration("ms", &json!(0)), duration("ms", &json!(" "))), (Ok(Some(Duration::ZERO)), Ok(None)));
        for odd in [json!(-0.1), json!("inf"), json!("NaN"), json!(1e18), json!("fast"), json!(true)] {
            assert!(duration("ms", &odd).unwrap_err().starts_with("`ms` is no number of milliseconds"), "{odd}");
        }
        let exact = |value: Value| money("usd", &value).map(|amount| amount.map(|amount| amount.to_string()));
        assert_eq!(exact(json!("0.10")), Ok(Some("0.10".into())));
        assert_eq!(exact(json!(0.1)), Ok(Some("0.1".into())));
        assert_eq!(exact(json!(1e-7)), Ok(Some("0.0000001".into())));
        assert_eq!((exact(json!(0)), exact(Value::Null)), (Ok(Some("0".into())), Ok(None)));
        for odd in [json!(-1), json!("$1"), json!(1e9), json!("NaN"), json!([]).clone(), json!({"usd": 1})] {
            let read = exact(odd.clone());
            assert!(read.is_err() || is_blank(&odd), "{odd}: {read:?}");
        }
        assert_eq!(finish("f", &json!("length")), Ok(vec![Event::Finish(Finish::Length)]));
        assert_eq!(finish("f", &json!("")), Ok(vec![]));
        assert!(finish("f", &json!(1)).is_err());
        assert!(finish("f", &json!("abort")).unwrap_err().contains("`abort`"));
    }

    proptest! {
        #[test]
        fn written_amounts_come_back_exactly(units in 0_u32..1_000_000, parts in 0_u64..1_000_000_000) {
            let text = format!("{units}.{parts:09}");
            prop_assert_eq!(money("usd", &json!(text)).unwrap().unwrap().to_string(), text);
        }
    }
}
