//! Bodies of requests, as they were sent, in the capture's terms. Pure.

use serde_json::{Map, Value, json};

use crate::traffic::messages::{self, Read};
use crate::types::{Exchange, Params, Role};

/// Fields by which services know parameters, under whatever name.
pub const SAMPLING: [&str; 14] = [
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "seed",
    "stop",
    "stop_sequences",
    "tool_choice",
    "response_format",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
];

/// Fields that say who asked, or how the answer is to be sent, rather than what is asked: they stay in the body as sent.
const NOT_ASKED: [&str; 22] = [
    "model",
    "messages",
    "tools",
    "input",
    "instructions",
    "system",
    "contents",
    "prompt",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "background",
    "include",
    "previous_response_id",
    "conversation",
    "anthropic_version",
    "extra_headers",
];

/// What an exchange takes from a body. Gives whether something was lost; `None` when the body asks nothing of a model
/// that could be read.
pub fn fill(body: &Value, exchange: &mut Exchange) -> Option<bool> {
    let fields = body.as_object()?;
    let read = conversation(fields)?;
    let mut is_lossy = read.is_lossy;
    exchange.messages = read.messages;
    let tools = tools(fields.get("tools").or_else(|| fields.get("config")?.get("tools")));
    let tools: Vec<Value> = tools.into_iter().chain(read.tools).collect();
    if !tools.is_empty() {
        exchange.tools = Some(Value::Array(tools));
    }
    if let Some(model) = fields.get("model").and_then(Value::as_str).filter(|model| !model.is_empty()) {
        exchange.model = Some(model.to_owned());
    }
    exchange.is_streamed = fields.get("stream").and_then(Value::as_bool).or(exchange.is_streamed);
    let mut sampling = fields.clone();
    for nested in ["config", "generationConfig", "generation_config", "inferenceConfig", "options"] {
        if let Some(Value::Object(own)) = sampling.shift_remove(nested) {
            sampling.extend(own);
        }
    }
    exchange.output_schema = schema(&sampling);
    if exchange.output_schema.is_some() {
        for name in ["response_format", "text", "format", "response_schema", "responseSchema"] {
            sampling.shift_remove(name);
        }
    }
    // A stored answer of the server's is not in the body, so the turn cannot be asked again as it was.
    is_lossy |= fields.get("previous_response_id").is_some_and(|id| !id.is_null());
    exchange.params = params(sampling);
    Some(is_lossy)
}

/// Whether an object is the body of a request, rather than what an application was given: it holds messages, or a text
/// and nothing beside it that services do not know.
pub fn is_body(fields: &Map<String, Value>) -> bool {
    const MORE: [&str; 12] = [
        "config",
        "generationConfig",
        "generation_config",
        "n",
        "parallel_tool_calls",
        "logprobs",
        "top_logprobs",
        "text",
        "reasoning",
        "system_instruction",
        "systemInstruction",
        "suffix",
    ];
    let is_known =
        |name: &String| [&SAMPLING[..], &NOT_ASKED, &MORE].iter().any(|names| names.contains(&name.as_str()));
    match messages::asked(fields) {
        Some(("messages" | "contents", _)) => true,
        Some(_) => fields.keys().all(is_known),
        None => false,
    }
}

fn conversation(fields: &Map<String, Value>) -> Option<Read> {
    let (name, said) = messages::asked(fields)?;
    let mut read = Read::default();
    let apart = ["system", "system_instruction", "systemInstruction", "instructions"];
    let apart = apart.iter().find_map(|name| fields.get(*name).or_else(|| fields.get("config")?.get(*name)));
    if let Some(apart) = apart {
        messages::instructions(apart, &mut read);
    }
    let inner = match said {
        // As it stands: what somebody asks may look like anything.
        Value::String(text) if matches!(name, "input" | "prompt") && !text.trim().is_empty() => {
            Read { messages: vec![messages::text_message(Role::User, text.clone())], ..Read::default() }
        }
        other => messages::read(other)?,
    };
    // Several prompts in one request are several questions.
    read.is_lossy |= name == "prompt" && said.as_array().is_some_and(|prompts| prompts.len() > 1);
    read.messages.extend(inner.messages);
    read.tools = inner.tools;
    read.is_lossy |= inner.is_lossy;
    Some(read)
}

/// Tools in OpenAI's shape, from any of the shapes they have.
pub fn tools(value: Option<&Value>) -> Vec<Value> {
    let parsed;
    let value = match value {
        Some(Value::String(text)) => {
            parsed = serde_json::from_str(text).unwrap_or(Value::Null);
            Some(&parsed)
        }
        other => other,
    };
    let mut all = Vec::new();
    for tool in value.and_then(Value::as_array).into_iter().flatten() {
        let declared = ["function_declarations", "functionDeclarations"].iter().find_map(|name| tool.get(*name));
        match declared.and_then(Value::as_array) {
            Some(declared) => all.extend(declared.iter().filter_map(one_tool)),
            None if tool.get("function").is_some_and(Value::is_object) => all.push(tool.clone()),
            None => all.extend(one_tool(tool)),
        }
    }
    all
}

/// A tool whose name stands beside its schema. Tools of the service's own have none, and are passed on as they are.
fn one_tool(tool: &Value) -> Option<Value> {
    let Some(name) = tool.get("name").and_then(Value::as_str) else { return Some(tool.clone()) };
    let schema = ["parameters", "input_schema", "inputSchema", "parametersJsonSchema"];
    let mut function = Map::from_iter([("name".to_owned(), json!(name))]);
    for name in ["description", "strict"] {
        function.extend(tool.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    let schema = schema.iter().find_map(|name| tool.get(*name));
    function.extend(schema.map(|schema| ("parameters".to_owned(), schema.clone())));
    Some(json!({"type": "function", "function": function}))
}

/// The JSON Schema that the answer is held to.
fn schema(fields: &Map<String, Value>) -> Option<Value> {
    let at = |name: &str, place: &str| fields.get(name).and_then(|value| value.pointer(place));
    let found = at("response_format", "/json_schema/schema")
        .or_else(|| at("response_format", "/schema"))
        .or_else(|| at("text", "/format/schema"))
        .or_else(|| at("output_format", "/schema"))
        .or_else(|| fields.get("responseSchema"))
        .or_else(|| fields.get("response_schema"))
        .or_else(|| fields.get("format"));
    found.filter(|schema| schema.is_object()).cloned()
}

/// Sampling parameters by the names that services have for them; what has no name of ours is passed on.
pub fn params(mut fields: Map<String, Value>) -> Params {
    for name in NOT_ASKED {
        fields.shift_remove(name);
    }
    fields.retain(|_, value| !value.is_null());
    let mut take = |names: &[&str], is_it: fn(&Value) -> bool| {
        let found = names.iter().find(|name| fields.get(**name).is_some_and(is_it))?;
        fields.shift_remove(*found)
    };
    let number = |value: &Value| as_f64(value).is_some();
    let bound = take(
        &[
            "max_output_tokens",
            "max_completion_tokens",
            "max_tokens",
            "maxOutputTokens",
            "max_tokens_to_sample",
            "maxTokens",
            "num_predict",
        ],
        |value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).is_some_and(|n| u32::try_from(n).is_ok()),
    );
    let bound = bound.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    Params {
        temperature: take(&["temperature"], number).and_then(|value| as_f64(&value)),
        top_p: take(&["top_p", "topP"], number).and_then(|value| as_f64(&value)),
        max_output_tokens: bound.and_then(|bound| u32::try_from(bound).ok()),
        seed: take(&["seed"], Value::is_u64).and_then(|value| value.as_u64()),
        stop: take(&["stop", "stop_sequences", "stopSequences"], |value| texts(value).is_some())
            .and_then(|value| texts(&value)),
        tool_choice: take(&["tool_choice"], |_| true).map(choice),
        response_format: take(&["response_format"], |_| true),
        extra: fields,
    }
}

fn as_f64(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let texts: Option<Vec<String>> = match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.is_empty()))
}

/// Anthropic's and the responses API's words for which tool may be called, in those of chat completions.
fn choice(value: Value) -> Value {
    let name = value.get("name").and_then(Value::as_str);
    match (value.get("type").and_then(Value::as_str), name) {
        (Some("auto"), _) => json!("auto"),
        (Some("any"), _) => json!("required"),
        (Some("none"), _) => json!("none"),
        (Some("tool" | "function"), Some(name)) => json!({"type": "function", "function": {"name": name}}),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(body: &Value) -> Exchange {
        let mut exchange = Exchange::default();
        fill(body, &mut exchange).unwrap();
        exchange
    }

    #[test]
    fn the_same_request_in_three_dialects() {
        let parameters = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let schema = json!({"type": "object"});
        let chat = filled(&json!({
            "model": "m", "stream": true, "user": "u-1", "max_completion_tokens": 9, "temperature": 0.5, "stop": "X",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}],
            "tool_choice": "required", "reasoning_effort": "low", "seed": null,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        }));
        let responses = filled(&json!({
            "model": "m", "stream": true, "instructions": "s", "input": "q", "max_output_tokens": 9, "temperature": 0.5,
            "tools": [{"type": "function", "name": "f", "description": "d", "parameters": parameters}], "stop": ["X"],
            "tool_choice": "required", "reasoning_effort": "low",
            "text": {"format": {"type": "json_schema", "name": "a", "schema": schema}},
        }));
        let anthropic = filled(&json!({
            "model": "m", "stream": true, "system": [{"type": "text", "text": "s"}], "max_tokens": 9, "temperature": 0.5,
            "messages": [{"role": "user", "content": "q"}], "stop_sequences": ["X"], "tool_choice": {"type": "any"},
            "tools": [{"name": "f", "description": "d", "input_schema": parameters}], "reasoning_effort": "low",
            "output_format": {"type": "json_schema", "schema": schema},
        }));
        assert_eq!(chat, responses);
        assert_eq!(chat.messages, anthropic.messages);
        assert_eq!((&chat.tools, &chat.output_schema), (&anthropic.tools, &anthropic.output_schema));
        assert_eq!(chat.params.max_output_tokens, Some(9));
        assert_eq!(chat.params.tool_choice, anthropic.params.tool_choice);
        assert_eq!(chat.params.stop, Some(vec!["X".to_owned()]));
        assert_eq!(serde_json::to_value(&chat.params.extra).unwrap(), json!({"reasoning_effort": "low"}));
        assert_eq!((chat.is_streamed, chat.model.as_deref()), (Some(true), Some("m")));
    }

    #[test]
    fn what_asks_nothing_is_none() {
        for body in [json!({}), json!(null), json!({"messages": []}), json!({"model": "m"}), json!([1])] {
            assert_eq!(fill(&body, &mut Exchange::default()), None, "{body}");
        }
        let gemini = filled(&json!({"contents": [{"parts": [{"text": "q"}]}],
            "generationConfig": {"maxOutputTokens": 5, "topP": 0.1}, "tools": [{"functionDeclarations": [{"name": "f"}]}]}));
        assert_eq!((gemini.params.max_output_tokens, gemini.params.top_p), (Some(5), Some(0.1)));
        assert_eq!(gemini.tools, Some(json!([{"type": "function", "function": {"name": "f"}}])));
    }
}
