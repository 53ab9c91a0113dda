//! What may be asked: requests of the OpenAI API, checked field by field. Pure.
//!
//! A field that would change the answer and is not carried out is refused by name; one that would not (`user`,
//! `metadata`, `store`, …) is left alone.

use serde_json::{Map, Value, json};

use crate::local::sample::Sampling;
use crate::util::text::shorten;

/// Alternatives that a request may ask for at each token.
const MAX_TOP_LOGPROBS: u64 = 20;

/// Texts that may end an answer, at most.
const MAX_STOPS: usize = 4;

/// Tokens of a text completion that names no limit, as OpenAI has it.
const DEFAULT_TEXT_TOKENS: usize = 16;

/// Why a request gets no answer, in OpenAI's shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The class of the error.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// The field that it is about.
    pub param: Option<String>,
    /// A name for programs.
    pub code: Option<&'static str>,
    /// Seconds after which the same request may be taken.
    pub retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>, code: Option<&'static str>) -> ApiError {
        ApiError { status, kind, message: message.into(), param: None, code, retry_after_s: None }
    }

    /// A field has a value that cannot be.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { param: Some(param.into()), ..ApiError::new(400, "invalid_request_error", message, None) }
    }

    /// A field asks for something that this server does not do.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError { code: Some("unsupported_parameter"), ..ApiError::invalid(param, message) }
    }

    /// The body as a whole cannot be read.
    pub fn body(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalid_request_error", message, None)
    }

    /// The body is larger than the server takes.
    pub fn too_large(limit: usize) -> ApiError {
        ApiError::new(413, "invalid_request_error", format!("the body is larger than {limit} bytes"), None)
    }

    /// The prompt leaves no room for an answer.
    pub fn context(param: &str, prompt_tokens: usize, context: usize) -> ApiError {
        ApiError::no_room(param, &prompt_tokens.to_string(), context)
    }

    /// The prompt is so long that it leaves no room for an answer, however it is cut into tokens.
    pub fn far_too_long(param: &str, least_tokens: usize, context: usize) -> ApiError {
        ApiError::no_room(param, &format!("at least {least_tokens}"), context)
    }

    fn no_room(param: &str, prompt_tokens: &str, context: usize) -> ApiError {
        let message =
            format!("the prompt has {prompt_tokens} tokens, and the context holds {context}, answer included");
        ApiError { code: Some("context_length_exceeded"), ..ApiError::invalid(param, message) }
    }

    /// The request names another host than this one.
    pub fn host(host: &str) -> ApiError {
        let host = shorten(host, 100);
        let message = format!(
            "`{host}` is not a name of this server, and a web page may have pointed it here; if it is one, start the \
             server with `--allow-host NAME`"
        );
        ApiError::new(403, "permission_error", message, Some("host_not_allowed"))
    }

    /// A page of another origin asks.
    pub fn origin(origin: &str) -> ApiError {
        let origin = shorten(origin, 100);
        let message = format!(
            "pages of `{origin}` may not ask this server; if they should, start it with `--allow-origin ORIGIN`"
        );
        ApiError::new(403, "permission_error", message, Some("origin_not_allowed"))
    }

    /// The body did not come in time.
    pub fn slow(seconds: u64) -> ApiError {
        ApiError::new(408, "invalid_request_error", format!("the body did not come within {seconds} s"), None)
    }

    /// Another model than the one that is served.
    pub fn model(asked: &str, served: &str) -> ApiError {
        let message = format!("the model `{}` is not served here; `{served}` is", shorten(asked, 100));
        let error = ApiError::new(404, "invalid_request_error", message, Some("model_not_found"));
        ApiError { param: Some("model".to_owned()), ..error }
    }

    /// No such path.
    pub fn path(path: &str) -> ApiError {
        let message = format!("there is nothing at `{}`", shorten(path, 200));
        ApiError::new(404, "invalid_request_error", message, Some("unknown_url"))
    }

    /// The path is there, and not for this method.
    pub fn method(method: &str, path: &str) -> ApiError {
        let message = format!("`{}` does not take {}", shorten(path, 200), shorten(method, 20));
        ApiError::new(405, "invalid_request_error", message, Some("method_not_allowed"))
    }

    /// All places in the queue are taken.
    pub fn busy(queue: usize, retry_after_s: u64) -> ApiError {
        let message = format!("all {queue} places in the queue are taken; try again in {retry_after_s} s");
        let error = ApiError::new(429, "rate_limit_error", message, Some("queue_full"));
        ApiError { retry_after_s: Some(retry_after_s), ..error }
    }

    /// Something failed here.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(500, "server_error", message, None)
    }

    /// The server is about to end.
    pub fn ending() -> ApiError {
        ApiError::new(503, "server_error", "the server is about to end", Some("shutting_down"))
    }

    /// The body that says it.
    pub fn to_json(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

/// What the answer continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Messages for the chat template, each with `role` and `content`.
    Chat(Value),
    /// A text.
    Text(String),
}

impl Input {
    /// The field that holds it.
    pub fn param(&self) -> &'static str {
        match self {
            Input::Chat(_) => "messages",
            Input::Text(_) => "prompt",
        }
    }
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Anything.
    Text,
    /// A JSON object.
    Object,
    /// JSON that is valid against a schema.
    Schema(Value),
}

/// A request that can be carried out, as far as its fields tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the answer continues.
    pub input: Input,
    /// The model asked for, where the request names one.
    pub model: Option<String>,
    /// Whether pieces are sent as they come.
    pub is_streamed: bool,
    /// Whether a stream ends with the token counts.
    pub wants_usage: bool,
    /// Tokens of the answer, at most; `None` for as many as the context holds.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer and do not become part of it.
    pub stop: Vec<String>,
    /// How many alternatives are told at each token; `None` when no log-probabilities are wanted.
    pub logprobs: Option<usize>,
    /// What the answer must be.
    pub format: Format,
}

impl Request {
    /// Reads the body of a chat completion.
    ///
    /// # Errors
    /// When it is not what the API asks for, or asks for what this server does not do.
    pub fn chat(body: &[u8]) -> Result<Request, ApiError> {
        let mut fields = Fields::read(body)?;
        let messages = fields.take("messages").ok_or_else(|| ApiError::invalid("messages", "`messages` is missing"))?;
        let input = Input::Chat(messages_of(&messages)?);
        let wants = fields.boolean("logprobs")?.unwrap_or(false);
        let top = fields.count("top_logprobs", 0, MAX_TOP_LOGPROBS)?;
        if top.is_some() && !wants {
            return Err(ApiError::invalid("top_logprobs", "`top_logprobs` needs `logprobs: true`"));
        }
        let logprobs = wants.then_some(top.unwrap_or(0));
        let older = fields.count("max_tokens", 1, u64::MAX)?;
        let max_tokens = fields.count("max_completion_tokens", 1, u64::MAX)?.or(older);
        fields.into_request(input, max_tokens, logprobs)
    }

    /// Reads the body of a text completion.
    ///
    /// # Errors
    /// Likewise.
    pub fn text(body: &[u8]) -> Result<Request, ApiError> {
        let mut fields = Fields::read(body)?;
        let prompt = match fields.take("prompt") {
            Some(Value::String(text)) => text,
            Some(Value::Array(list)) => match <[Value; 1]>::try_from(list) {
                Ok([Value::String(text)]) => text,
                _ => return Err(ApiError::unsupported("prompt", "`prompt` must be one text; lists are not taken")),
            },
            Some(_) => return Err(ApiError::invalid("prompt", "`prompt` must be a text")),
            None => return Err(ApiError::invalid("prompt", "`prompt` is missing")),
        };
        let logprobs = fields.count("logprobs", 0, MAX_TOP_LOGPROBS)?;
        let max_tokens = fields.count("max_tokens", 1, u64::MAX)?.unwrap_or(DEFAULT_TEXT_TOKENS);
        fields.into_request(Input::Text(prompt), Some(max_tokens), logprobs)
    }
}

/// The fields of a body that have not been read yet; `null` counts as absent.
struct Fields(Map<String, Value>);

impl Fields {
    fn read(body: &[u8]) -> Result<Fields, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(_) => Err(ApiError::body("the body must be a JSON object")),
            Err(error) => Err(ApiError::body(format!("the body is not JSON: {error}"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(ApiError::invalid(name, format!("`{name}` must be true or false"))),
        }
    }

    fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let value = value.as_f64().filter(|value| (least..=most).contains(value));
        value.map(Some).ok_or_else(|| ApiError::invalid(name, format!("`{name}` must be from {least} to {most}")))
    }

    fn count(&mut self, name: &str, least: u64, most: u64) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        // Some clients write whole numbers as 5.0.
        let whole = |value: f64| (value.fract() == 0.0 && (0.0..1e15).contains(&value)).then_some(value as u64);
        let value = value.as_u64().or_else(|| value.as_f64().and_then(whole));
        match value.filter(|value| (least..=most).contains(value)) {
            Some(value) => Ok(Some(usize::try_from(value).unwrap_or(usize::MAX))),
            None if most == u64::MAX => {
                Err(ApiError::invalid(name, format!("`{name}` must be a whole number, at least {least}")))
            }
            None => Err(ApiError::invalid(name, format!("`{name}` must be a whole number from {least} to {most}"))),
        }
    }

    fn into_request(
        mut self,
        input: Input,
        max_tokens: Option<usize>,
        logprobs: Option<usize>,
    ) -> Result<Request, ApiError> {
        let model = match self.take("model") {
            None => None,
            Some(Value::String(model)) => Some(model),
            Some(_) => return Err(ApiError::invalid("model", "`model` must be a text")),
        };
        let is_streamed = self.boolean("stream")?.unwrap_or(false);
        let wants_usage = match self.take("stream_options") {
            None => false,
            Some(_) if !is_streamed => {
                return Err(ApiError::invalid("stream_options", "`stream_options` needs `stream: true`"));
            }
            Some(Value::Object(options)) => Fields(options).boolean("include_usage")?.unwrap_or(false),
            Some(_) => return Err(ApiError::invalid("stream_options", "`stream_options` must be an object")),
        };
        let sampling = Sampling {
            temperature: self.number("temperature", 0.0, 2.0)?.unwrap_or(1.0),
            top_p: self.number("top_p", 0.0, 1.0)?.unwrap_or(1.0),
            top_k: match self.take("top_k") {
                // Both are used to switch it off.
                Some(value) if value.as_i64() == Some(-1) || value.as_u64() == Some(0) => None,
                Some(value) => {
                    self.0.insert("top_k".to_owned(), value);
                    self.count("top_k", 1, u64::MAX)?
                }
                None => None,
            },
            seed: match self.take("seed") {
                None => None,
                Some(value) => {
                    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
                    Some(seed.ok_or_else(|| ApiError::invalid("seed", "`seed` must be a whole number of 64 bits"))?)
                }
            },
        };
        let stop = stops(self.take("stop"))?;
        let format = format(self.take("response_format"))?;
        self.refuse()?;
        Ok(Request { input, model, is_streamed, wants_usage, max_tokens, sampling, stop, logprobs, format })
    }

    /// Refuses what would change the answer and is not carried out.
    fn refuse(&self) -> Result<(), ApiError> {
        for (name, value) in self.0.iter().filter(|(_, value)| !value.is_null()) {
            let is_empty = value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty)
                || value.as_str() == Some("");
            let is = |number: f64| value.as_f64() == Some(number);
            let (asks_for_nothing, why) = match name.as_str() {
                "n" | "best_of" => (is(1.0), "one answer a request is all that is given"),
                "frequency_penalty" | "presence_penalty" => (is(0.0), "penalties are not applied"),
                "repetition_penalty" => (is(1.0), "penalties are not applied"),
                "logit_bias" => (is_empty, "biases are not applied"),
                "tools" | "functions" => (is_empty, "tools are not called"),
                "tool_choice" | "function_call" => {
                    (matches!(value.as_str(), Some("none" | "auto")), "tools are not called")
                }
                "modalities" => (*value == json!(["text"]), "answers are text"),
                "audio" | "prediction" | "web_search_options" | "suffix" => (is_empty, "this server does not do it"),
                "echo" | "ignore_eos" | "use_beam_search" => (*value == false, "this server does not do it"),
                "min_p" | "min_tokens" | "mirostat" => (is(0.0), "this server does not do it"),
                "typical_p" => (is(1.0), "this server does not do it"),
                "reasoning_effort" => (value.as_str() == Some("none"), "there is no such switch in these models"),
                "verbosity" => (value.as_str() == Some("medium"), "there is no such switch in these models"),
                "stop_token_ids" | "bad_words" | "chat_template" | "chat_template_kwargs" => {
                    (is_empty, "this server does not do it")
                }
                "guided_json" | "guided_regex" | "guided_choice" | "guided_grammar" | "grammar" | "json_schema"
                | "structured_outputs" => (is_empty, "use `response_format`"),
                _ => (true, ""),
            };
            if !asks_for_nothing {
                let value = shorten(&value.to_string(), 60);
                return Err(ApiError::unsupported(name, format!("`{name}: {value}` is not supported: {why}")));
            }
        }
        Ok(())
    }
}

/// Messages as the template takes them: each with a role and one text.
fn messages_of(messages: &Value) -> Result<Value, ApiError> {
    let Some(list) = messages.as_array().filter(|list| !list.is_empty()) else {
        return Err(ApiError::invalid("messages", "`messages` must be a list with at least one message"));
    };
    let message = |(index, message): (usize, &Value)| {
        let at = |field: &str| format!("messages[{index}].{field}");
        let Some(message) = message.as_object() else {
            return Err(ApiError::invalid(format!("messages[{index}]"), "a message must be an object"));
        };
        let role = match message.get("role").and_then(Value::as_str) {
            // Templates know the older name only.
            Some("developer") => "system",
            Some(role @ ("system" | "user" | "assistant")) => role,
            Some("tool" | "function") => return Err(ApiError::unsupported(at("role"), "tools are not called")),
            _ => {
                let message = format!("`{}` must be system, developer, user or assistant", at("role"));
                return Err(ApiError::invalid(at("role"), message));
            }
        };
        for field in ["tool_calls", "function_call", "audio"] {
            let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !message.get(field).is_none_or(is_empty) {
                return Err(ApiError::unsupported(at(field), format!("`{}` is not read", at(field))));
            }
        }
        let content = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => text_of(parts, &at("content"))?,
            _ => {
                let message = format!("`{}` must be a text or a list of text parts", at("content"));
                return Err(ApiError::invalid(at("content"), message));
            }
        };
        Ok(json!({"role": role, "content": content}))
    };
    list.iter().enumerate().map(message).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// The text of text parts, a line each.
fn text_of(parts: &[Value], at: &str) -> Result<String, ApiError> {
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
            (Some("text"), Some(text)) => texts.push(text),
            (Some("text"), None) => {
                return Err(ApiError::invalid(format!("{at}[{index}].text"), "a text part needs a `text`"));
            }
            (kind, _) => {
                let kind = shorten(kind.unwrap_or("a part without a type"), 40);
                let message = format!("only text is read, no images, audio or files: `{kind}`");
                return Err(ApiError::unsupported(format!("{at}[{index}].type"), message));
            }
        }
    }
    Ok(texts.join("\n"))
}

fn stops(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::invalid("stop", format!("`stop` must be a text or a list of up to {MAX_STOPS} texts"));
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(list)) if list.len() <= MAX_STOPS => list,
        Some(_) => return Err(wrong()),
    };
    let text = |value| match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        Value::String(_) => Err(ApiError::invalid("stop", "a text in `stop` must not be empty")),
        _ => Err(wrong()),
    };
    list.into_iter().map(text).collect()
}

fn format(value: Option<Value>) -> Result<Format, ApiError> {
    let Some(mut value) = value else { return Ok(Format::Text) };
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Object),
        Some("json_schema") => match value.pointer_mut("/json_schema/schema").map(Value::take) {
            Some(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Format::Schema(schema)),
            _ => Err(ApiError::invalid(
                "response_format.json_schema.schema",
                "`response_format.json_schema.schema` must be a JSON Schema",
            )),
        },
        _ => Err(ApiError::invalid(
            "response_format.type",
            "`response_format.type` must be text, json_object or json_schema",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(more: Value) -> Result<Request, ApiError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Request::chat(body.to_string().as_bytes())
    }

    #[track_caller]
    fn refused(more: Value) -> String {
        let error = chat(more).unwrap_err();
        assert_eq!((error.status, error.kind), (400, "invalid_request_error"));
        assert!(!error.message.ends_with('.'), "{error}");
        error.param.unwrap()
    }

    #[test]
    fn a_plain_request_gets_the_defaults_of_the_api() {
        let request = chat(json!({})).unwrap();
        assert_eq!(request.input, Input::Chat(json!([{"role": "user", "content": "hi"}])));
        assert_eq!(request.sampling, Sampling { temperature: 1.0, top_p: 1.0, top_k: None, seed: None });
        assert_eq!((request.max_tokens, request.logprobs, request.is_streamed), (None, None, false));
        let text = Request::text(br#"{"prompt": "once"}"#).unwrap();
        assert_eq!((text.input, text.max_tokens), (Input::Text("once".to_owned()), Some(16)));
    }

    #[test]
    fn every_field_is_read() {
        let request = chat(json!({
            "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 5, "max_completion_tokens": 7,
            "temperature": 0, "top_p": 0.5, "top_k": 40, "seed": -1, "stop": ["a", "b"], "logprobs": true,
            "top_logprobs": 3, "response_format": {"type": "json_object"}, "n": 1, "tools": [], "tool_choice": null,
            "presence_penalty": 0, "logit_bias": {}, "user": "me", "metadata": {"a": "b"}, "store": false,
        }))
        .unwrap();
        assert!(request.is_streamed && request.wants_usage);
        assert_eq!(request.max_tokens, Some(7));
        let sampling = Sampling { temperature: 0.0, top_p: 0.5, top_k: Some(40), seed: Some(u64::MAX) };
        assert_eq!(request.sampling, sampling);
        assert_eq!((request.stop.len(), request.logprobs, request.format), (2, Some(3), Format::Object));
    }

    #[test]
    fn parts_are_joined_and_developers_speak_as_the_system() {
        let body = json!({"messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "tool_calls": []},
        ]});
        let request = Request::chat(body.to_string().as_bytes()).unwrap();
        let expected = json!([{"role": "system", "content": "a\nb"}, {"role": "assistant", "content": "c"}]);
        assert_eq!(request.input, Input::Chat(expected));
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (name, value) in [
            ("n", json!(2)),
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("logit_bias", json!({"5": 1})),
            ("presence_penalty", json!(0.1)),
            ("frequency_penalty", json!(-1)),
            ("audio", json!({"voice": "x"})),
            ("modalities", json!(["text", "audio"])),
            ("guided_json", json!({"type": "object"})),
            ("temperature", json!(3)),
            ("temperature", json!("warm")),
            ("top_p", json!(1.5)),
            ("top_k", json!(-2)),
            ("seed", json!(0.5)),
            ("max_tokens", json!(0)),
            ("max_tokens", json!(1.5)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!("")),
            ("top_logprobs", json!(3)),
            ("stream_options", json!({"include_usage": true})),
        ] {
            assert_eq!(refused(json!({ name: value })), name);
        }
        assert_eq!(refused(json!({"logprobs": true, "top_logprobs": 21})), "top_logprobs");
        assert_eq!(refused(json!({"response_format": {"type": "xml"}})), "response_format.type");
        let without = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}});
        assert_eq!(refused(without), "response_format.json_schema.schema");
    }

    #[test]
    fn messages_are_named_by_their_place() {
        for (messages, param) in [
            (json!([]), "messages"),
            (json!("hi"), "messages"),
            (json!([1]), "messages[0]"),
            (json!([{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}]), "messages[1].role"),
            (json!([{"role": "tool", "content": "a"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (json!([{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].type"),
            (json!([{"role": "assistant", "content": "", "tool_calls": [1]}]), "messages[0].tool_calls"),
        ] {
            assert_eq!(refused(json!({ "messages": messages })), param);
        }
        for body in ["", "{", "[]", "{}", "\u{0}"] {
            assert_eq!(Request::chat(body.as_bytes()).unwrap_err().status, 400);
            assert_eq!(Request::text(body.as_bytes()).unwrap_err().status, 400);
        }
        for prompt in [json!([1, 2]), json!(["a", "b"]), json!(1)] {
            let error = Request::text(json!({ "prompt": prompt }).to_string().as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("prompt"));
        }
    }
}
