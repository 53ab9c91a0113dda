//! Content filters that refuse with an error. Pure.
//!
//! Most services end a filtered answer with a reason for stopping. Some answer with an error status, or with an error
//! inside a stream, instead. Either way the request was answered by a filter, so the answer counts as one, and the
//! candidate with the stricter filter does not lose its wrong answers as failures.

use serde_json::Value;

use crate::provider::Event;
use crate::types::Finish;

/// Codes and types of errors that mean a filter, as services write them.
const CODES: [&str; 9] = [
    // Azure, Moonshot.
    "content_filter",
    // Azure's inner code.
    "ResponsibleAIPolicyViolation",
    // OpenAI, LiteLLM.
    "content_policy_violation",
    // OpenAI, of prompts that it has flagged.
    "invalid_prompt",
    // Alibaba.
    "data_inspection_failed",
    "DataInspectionFailed",
    // Volcengine.
    "SensitiveContentDetected",
    "InputTextSensitiveContentDetected",
    "OutputTextSensitiveContentDetected",
];

/// Messages of services that have no code for it.
const MESSAGES: [&str; 4] = [
    // Anthropic, also behind Bedrock.
    "blocked by content filtering policy",
    // DeepSeek.
    "Content Exists Risk",
    // xAI.
    "violates usage guidelines",
    // LiteLLM, of whatever stands behind it.
    "ContentPolicyViolationError",
];

/// The word for a content filter in an error's body, or in the value of its error field; `None` for every other error.
pub fn word_of(body: &Value) -> Option<String> {
    let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
    let codes = ["/code", "/type", "/innererror/code", "/inner_error/code", "/status"];
    let of =
        |value: &Value| codes.iter().filter_map(|place| value.pointer(place)?.as_str().map(str::to_owned)).collect();
    let mut words: Vec<String> = of(error);
    words.extend(of(body));
    if let Some(word) = words.into_iter().find(|word| CODES.contains(&word.as_str())) {
        return Some(word);
    }
    // Z.ai names the filter beside the error; OpenRouter says what its moderation has flagged.
    if body.get("contentFilter").is_some_and(Value::is_array) || error.pointer("/metadata/flagged_input").is_some() {
        return Some("content_filter".to_owned());
    }
    let texts =
        [error.as_str(), error.get("message").and_then(Value::as_str), body.get("message").and_then(Value::as_str)];
    let is_filter = texts.into_iter().flatten().any(|text| MESSAGES.iter().any(|message| text.contains(message)));
    is_filter.then(|| "content_filter".to_owned())
}

/// The events of an answer with an error status that a filter refused; `None` for every other error. Statuses that say
/// something else (who asks, how often, that the server failed) are never a filter's.
pub fn of_status(status: u16, body: &[u8]) -> Option<Vec<Event>> {
    if !(400..500).contains(&status) || matches!(status, 401 | 404 | 408 | 429) {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    // Google puts a list around it.
    let error = body.as_array().and_then(|list| list.first()).unwrap_or(&body);
    word_of(error).map(events)
}

/// The events of an answer that a filter refused. It has no text: what the service says of its filter is nobody's answer,
/// and must match no scorer.
pub fn events(word: String) -> Vec<Event> {
    vec![Event::Refusal, Event::Finish(Finish::Filter), Event::StopWord(word)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_told_from_other_errors() {
        let azure = json!({"error": {"message": "The response was filtered", "type": null, "param": "prompt",
            "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
        assert_eq!(word_of(&azure).as_deref(), Some("content_filter"));
        for body in [
            azure["error"].clone(),
            json!({"error": {"type": "content_filter", "message": "The request was rejected because it was considered high risk"}}),
            json!({"error": {"message": "flagged", "code": "invalid_prompt", "type": "invalid_request_error"}}),
            json!({"error": {"message": "Content Exists Risk", "code": "invalid_request_error"}}),
            json!({"contentFilter": [{"level": 1, "role": "user"}], "error": {"code": "1301", "message": "x"}}),
            json!({"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
            json!({"error": {"code": 403, "message": "moderated", "metadata": {"reasons": ["x"], "flagged_input": "y"}}}),
            json!({"type": "error", "error": {"type": "invalid_request_error",
                "message": "Output blocked by content filtering policy"}}),
            json!({"code": "The caller does not have permission", "error": "Content violates usage guidelines."}),
        ] {
            assert!(word_of(&body).is_some(), "{body}");
        }
        for body in [
            json!({"error": {"message": "The model `x` does not exist", "code": "model_not_found", "type": "invalid_request_error"}}),
            json!({"error": {"message": "context too long", "code": "context_length_exceeded"}}),
            json!({"error": "no such model"}),
            json!({"error": null}),
            json!([1]),
            json!("content_filter"),
        ] {
            assert_eq!(word_of(&body), None, "{body}");
        }
        let azure = azure.to_string();
        assert!(of_status(400, azure.as_bytes()).is_some());
        for status in [401, 404, 429, 500, 503] {
            assert_eq!(of_status(status, azure.as_bytes()), None, "{status}");
        }
        assert_eq!(of_status(400, b"<html>"), None);
        assert_eq!(events("x".to_owned())[..2], [Event::Refusal, Event::Finish(Finish::Filter)]);
    }
}
