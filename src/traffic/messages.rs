//! Messages in the shapes that logs have them (OpenAI's chat and responses, Anthropic's, Gemini's, OpenTelemetry's parts,
//! LangChain's, plain texts) as messages of the capture, which are OpenAI's.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::traffic::request;
use crate::types::{Content, Message, Response, Role, ToolCall};

/// Messages, and what was found beside them.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// The conversation.
    pub messages: Vec<Message>,
    /// Tools that stood among the messages, as some tracers write them.
    pub tools: Vec<Value>,
    /// Whether something could not be said in the capture's terms.
    pub is_lossy: bool,
}

/// How deep texts are opened that hold JSON that holds texts.
const DEPTH: u32 = 3;

/// Reads a conversation; `None` when there is none.
pub fn read(value: &Value) -> Option<Read> {
    let mut read = Read::default();
    all(value, &mut read, DEPTH);
    (!read.messages.is_empty()).then_some(read)
}

fn all(value: &Value, read: &mut Read, depth: u32) {
    match value {
        Value::String(text) if text.trim().is_empty() => {}
        Value::String(text) => {
            let inner = text.trim_start().starts_with(['[', '{']).then(|| serde_json::from_str::<Value>(text).ok());
            // What somebody asks may be JSON itself: only a conversation in a text is opened.
            match inner.flatten().filter(|inner| depth > 0 && is_conversation(inner, depth)) {
                Some(inner) => all(&inner, read, depth - 1),
                None => of_text(text, read),
            }
        }
        Value::Array(items) => items.iter().for_each(|item| one(item, read, depth)),
        Value::Object(fields) => {
            let inner = asked(fields).filter(|_| request::is_body(fields)).map(|(_, inner)| inner);
            let is_part = |name: &String| ["role", "type", "content", "parts", "name", "id"].contains(&name.as_str());
            let is_message = is_conversation(value, 0) || fields.keys().all(is_part);
            match inner.filter(|_| depth > 0 && !fields.contains_key("role")) {
                Some(inner) => {
                    if let Some(system) = ["system", "system_instruction", "systemInstruction", "instructions"]
                        .iter()
                        .find_map(|name| fields.get(*name).or_else(|| fields.get("config")?.get(*name)))
                    {
                        instructions(system, read);
                    }
                    all(inner, read, depth - 1);
                }
                None if is_message => one(value, read, depth),
                // What an application was given, before it made a question of it.
                None => {
                    read.is_lossy = true;
                    read.messages.push(text_message(Role::User, value.to_string()));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where a body holds its conversation, and under which name.
pub fn asked(fields: &Map<String, Value>) -> Option<(&'static str, &Value)> {
    ["messages", "contents", "input", "prompt"].into_iter().find_map(|name| Some((name, fields.get(name)?)))
}

/// Whether a value is a conversation in a shape that services have: messages or items of which each says what it is, or
/// an object that holds them.
fn is_conversation(value: &Value, depth: u32) -> bool {
    let is_item = |item: &Value| {
        let has = |name: &str| item.get(name).is_some();
        let is_typed = item.get("type").and_then(Value::as_str).is_some_and(|kind| {
            role(kind).is_some() || kind.starts_with("function_call") || kind.starts_with("custom_tool_call")
        });
        (item.get("role").is_some_and(Value::is_string) || is_typed)
            && ["content", "parts", "tool_calls", "arguments", "output"].into_iter().any(has)
    };
    match value {
        Value::Array(items) => !items.is_empty() && items.iter().flat_map(flat).all(is_item),
        Value::Object(fields) => {
            let held = ["messages", "contents"].iter().find_map(|name| fields.get(*name));
            is_item(value) || depth > 0 && held.is_some_and(|held| is_conversation(held, depth - 1))
        }
        Value::String(text) => {
            depth > 0 && serde_json::from_str(text).is_ok_and(|inner: Value| is_conversation(&inner, depth - 1))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// LangChain puts conversations into lists of their own.
fn flat(item: &Value) -> &[Value] {
    match item {
        Value::Array(items) => items,
        other => std::slice::from_ref(other),
    }
}

/// Instructions of the application, which some services keep apart from the messages.
pub fn instructions(value: &Value, read: &mut Read) {
    if let Some(text) = joined_text(value).filter(|text| !text.is_empty()) {
        read.messages.push(text_message(Role::System, text));
    }
}

/// The texts of parts, as one; `None` when there is none.
pub fn joined_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<String> = parts.iter().filter_map(joined_text).collect();
            (!texts.is_empty()).then(|| texts.join("\n\n"))
        }
        Value::Object(fields) => {
            ["text", "content", "parts"].iter().find_map(|name| fields.get(*name)).and_then(joined_text)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A message of text.
pub fn text_message(role: Role, text: String) -> Message {
    Message { role, content: Content::Text(text), more: Map::new() }
}

/// `system: …` and `user: …`, line by line, as some tracers flatten a conversation; anything else is what a user says.
fn of_text(text: &str, read: &mut Read) {
    let said = |line: &str| {
        let (name, rest) = line.split_once(": ")?;
        let is_role = ["system", "developer", "user", "assistant", "tool"].contains(&name);
        is_role.then(|| (role(name).unwrap_or(Role::User), rest.to_owned()))
    };
    if text.lines().next().and_then(said).is_none() {
        read.messages.push(text_message(Role::User, text.to_owned()));
        return;
    }
    // Where one message ends and the next begins is a guess.
    read.is_lossy = true;
    let mut messages: Vec<(Role, String)> = Vec::new();
    for line in text.lines() {
        match (said(line), messages.last_mut()) {
            (Some(message), _) => messages.push(message),
            (None, Some((_, last))) => {
                last.push('\n');
                last.push_str(line);
            }
            (None, None) => {}
        }
    }
    read.messages.extend(messages.into_iter().map(|(role, text)| text_message(role, text)));
}

fn role(name: &str) -> Option<Role> {
    Some(match name {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" | "human" | "Human" => Role::User,
        "assistant" | "ai" | "AI" | "model" | "chatbot" | "AIMessageChunk" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => return None,
    })
}

fn text_of<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| fields.get(*name)?.as_str()).filter(|text| !text.is_empty())
}

/// One message, or one item of the responses API.
fn one(item: &Value, read: &mut Read, depth: u32) {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::String(_) => return all(item, read, depth.min(1)),
        Value::Array(items) if depth > 0 => return items.iter().for_each(|item| one(item, read, depth - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            read.is_lossy = true;
            return;
        }
    };
    match text_of(fields, &["type"]) {
        Some("function_call" | "custom_tool_call") if !fields.contains_key("role") => {
            let call = call(fields, &["call_id", "id"]);
            return push_calls(read, vec![call]);
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let result = fields.get("output").map(as_text).unwrap_or_default();
            return read.messages.push(tool_result(text_of(fields, &["call_id"]), None, result));
        }
        Some("reasoning" | "item_reference") if !fields.contains_key("role") => {
            read.is_lossy = true;
            return;
        }
        _ => {}
    }
    // LangChain says who speaks in `type`; others in `role`.
    let name = text_of(fields, &["role"]).or_else(|| text_of(fields, &["type"]));
    let role = match name.map(role) {
        Some(Some(role)) => role,
        None if fields.contains_key("content") || fields.contains_key("parts") => Role::User,
        Some(None) | None => {
            read.is_lossy = true;
            if !fields.contains_key("content") {
                return;
            }
            Role::User
        }
    };
    message(role, fields, read);
}

fn message(role: Role, fields: &Map<String, Value>, read: &mut Read) {
    let said = fields.get("content").filter(|content| !content.is_null()).or_else(|| fields.get("parts"));
    // LangChain's tracer puts the tools among the messages.
    if let (Role::Tool, Some(Value::Object(tool))) = (role, said)
        && tool.get("type").and_then(Value::as_str) == Some("function")
        && tool.contains_key("function")
    {
        return read.tools.push(Value::Object(tool.clone()));
    }
    let mut parts = Parts::default();
    match said {
        None | Some(Value::Null) => {}
        // What a tool gave back may be a list of anything.
        Some(Value::Array(items)) if role == Role::Tool && !items.iter().any(|item| item.get("type").is_some()) => {
            parts.text(as_text(said.unwrap_or(&Value::Null)));
        }
        Some(Value::Array(items)) => items.iter().for_each(|item| parts.take(item)),
        Some(Value::Object(_)) if role == Role::Tool => parts.text(as_text(said.unwrap_or(&Value::Null))),
        Some(object @ Value::Object(fields)) => match fields.get("parts").and_then(Value::as_array) {
            Some(items) => items.iter().for_each(|item| parts.take(item)),
            None => parts.take(object),
        },
        Some(Value::String(text)) => parts.text(text.clone()),
        Some(other) => parts.text(other.to_string()),
    }
    let listed = fields.get("tool_calls").filter(|calls| calls.as_array().is_some_and(|calls| !calls.is_empty()));
    let listed = listed.or_else(|| fields.get("additional_kwargs")?.get("tool_calls"));
    for item in listed.and_then(Value::as_array).into_iter().flatten() {
        parts.calls.extend(item.as_object().map(|fields| call(fields, &["id", "tool_call_id"])));
    }
    if let Some(Value::Object(function)) = fields.get("function_call") {
        parts.calls.push(call(function, &["id"]));
    }
    // Some tracers let the tool speak where the model calls it.
    let role =
        if role == Role::Tool && parts.said.is_empty() && !parts.calls.is_empty() { Role::Assistant } else { role };
    read.is_lossy |= parts.is_lossy;
    read.messages.append(&mut parts.results);
    // A turn that only gives back what tools said is no word of the user.
    if role != Role::Assistant && parts.said.is_empty() && parts.is_result {
        return;
    }
    let mut more = Map::new();
    if let Some(name) = text_of(fields, &["name"]) {
        more.insert("name".to_owned(), name.into());
    }
    if role == Role::Tool {
        more.extend(text_of(fields, &["tool_call_id"]).map(|id| ("tool_call_id".to_owned(), id.into())));
    }
    let has_calls = role == Role::Assistant && !parts.calls.is_empty();
    if has_calls {
        more.insert("tool_calls".to_owned(), parts.calls.into());
    }
    let content = match parts.said.as_slice() {
        [] if has_calls => Content::Empty(()),
        [] => Content::Text(String::new()),
        [Value::Object(part)] if part.get("type").and_then(Value::as_str) == Some("text") => {
            Content::Text(part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        _ => Content::Parts(parts.said),
    };
    // The calls of one turn may come one by one.
    if let (true, Content::Empty(()), Some(last)) = (has_calls, &content, read.messages.last_mut())
        && last.role == Role::Assistant
        && let Some(Value::Array(calls)) = last.more.get_mut("tool_calls")
        && let Some(Value::Array(new)) = more.get("tool_calls")
    {
        return calls.extend(new.iter().cloned());
    }
    read.messages.push(Message { role, content, more });
}

fn push_calls(read: &mut Read, calls: Vec<Value>) {
    if let Some(last) = read.messages.last_mut()
        && last.role == Role::Assistant
        && let Some(Value::Array(known)) = last.more.get_mut("tool_calls")
    {
        return known.extend(calls);
    }
    let more = Map::from_iter([("tool_calls".to_owned(), Value::Array(calls))]);
    read.messages.push(Message { role: Role::Assistant, content: Content::Empty(()), more });
}

fn tool_result(id: Option<&str>, name: Option<&str>, text: String) -> Message {
    let ids = id.map(|id| ("tool_call_id".to_owned(), id.into()));
    let names = name.map(|name| ("name".to_owned(), name.into()));
    Message { role: Role::Tool, content: Content::Text(text), more: ids.into_iter().chain(names).collect() }
}

/// A call of a tool, in OpenAI's shape, from any of the shapes it has.
fn call(fields: &Map<String, Value>, ids: &[&str]) -> Value {
    let function = fields.get("function").and_then(Value::as_object).unwrap_or(fields);
    let arguments = ["arguments", "input", "args"].iter().find_map(|name| function.get(*name));
    json!({
        "id": text_of(fields, ids).unwrap_or_default(),
        "type": "function",
        "function": {
            "name": text_of(function, &["name"]).unwrap_or_default(),
            "arguments": arguments.map_or_else(|| "{}".to_owned(), as_text),
        },
    })
}

/// A text as it is, anything else as JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) if !parts.is_empty() && parts.iter().all(is_text_part) => {
            joined_text(value).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

fn is_text_part(part: &Value) -> bool {
    matches!(part.get("type").and_then(Value::as_str), Some("text" | "input_text" | "output_text"))
}

/// The parts of a message.
#[derive(Default)]
struct Parts {
    said: Vec<Value>,
    calls: Vec<Value>,
    results: Vec<Message>,
    is_result: bool,
    is_lossy: bool,
}

impl Parts {
    fn text(&mut self, text: String) {
        if !text.is_empty() {
            self.said.push(json!({"type": "text", "text": text}));
        }
    }

    fn result(&mut self, result: Message) {
        self.is_result = true;
        self.results.push(result);
    }

    fn take(&mut self, part: &Value) {
        let fields = match part {
            Value::String(text) => return self.text(text.clone()),
            Value::Object(fields) => fields,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                self.is_lossy = true;
                return;
            }
        };
        let text = || text_of(fields, &["text", "content"]).unwrap_or_default().to_owned();
        match fields.get("type").and_then(Value::as_str) {
            Some("text" | "input_text" | "output_text" | "refusal") => {
                self.text(text_of(fields, &["text", "content", "refusal"]).unwrap_or_default().to_owned());
            }
            Some("image_url" | "input_audio" | "file") => self.said.push(part.clone()),
            Some("input_image") => {
                let url = fields.get("image_url").cloned().unwrap_or_default();
                self.said.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            Some("image") => match fields.get("source") {
                Some(source) if source.get("data").is_some() => {
                    let word = |name: &str| source.get(name).and_then(Value::as_str).unwrap_or_default();
                    let url = format!("data:{};base64,{}", word("media_type"), word("data"));
                    self.said.push(json!({"type": "image_url", "image_url": {"url": url}}));
                }
                Some(source) => {
                    let url = source.get("url").cloned().unwrap_or_default();
                    self.said.push(json!({"type": "image_url", "image_url": {"url": url}}));
                }
                None => self.is_lossy = true,
            },
            Some("tool_use" | "tool_call" | "function" | "function_call") => {
                self.calls.push(call(fields, &["id", "call_id"]));
            }
            Some("tool_result") => {
                let said = fields.get("content").map(as_text).unwrap_or_default();
                self.result(tool_result(text_of(fields, &["tool_use_id"]), None, said));
            }
            Some("tool_call_response") => {
                let said = ["result", "response"].iter().find_map(|name| fields.get(*name)).map(as_text);
                self.result(tool_result(text_of(fields, &["id"]), None, said.unwrap_or_default()));
            }
            Some(_) => self.is_lossy = true,
            None => match (
                ["function_call", "functionCall"].iter().find_map(|name| fields.get(*name)?.as_object()),
                ["function_response", "functionResponse"].iter().find_map(|name| fields.get(*name)?.as_object()),
            ) {
                (Some(function), _) => self.calls.push(call(function, &["id"])),
                (_, Some(given)) => {
                    let said = given.get("response").map(as_text).unwrap_or_default();
                    self.result(tool_result(text_of(given, &["id"]), text_of(given, &["name"]), said));
                }
                (None, None) if fields.contains_key("text") => self.text(text()),
                (None, None) => match ["inline_data", "inlineData"].iter().find_map(|name| fields.get(*name)) {
                    Some(data) => {
                        let word = |names: [&str; 2]| names.iter().find_map(|name| data.get(*name)?.as_str());
                        let media = word(["mime_type", "mimeType"]).unwrap_or_default();
                        let url = format!("data:{media};base64,{}", word(["data", "data"]).unwrap_or_default());
                        self.said.push(json!({"type": "image_url", "image_url": {"url": url}}));
                    }
                    None => self.is_lossy = true,
                },
            },
        }
    }
}

/// What the model says in messages, as an answer.
pub fn answer(messages: &[Message]) -> Response {
    let mut response = Response::default();
    for message in messages {
        match &message.content {
            Content::Text(text) => response.text.push_str(text),
            Content::Parts(parts) => {
                response.text.extend(parts.iter().filter_map(|part| part.get("text")?.as_str()));
            }
            Content::Empty(()) => {}
        }
        for call in message.more.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let word = |place: &str| call.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (id, name, arguments) = (word("/id"), word("/function/name"), word("/function/arguments"));
            response.tool_calls.push(ToolCall { id, name, arguments });
        }
    }
    response
}

/// A conversation that tracers flatten into attributes: `PREFIX.0.role`, `PREFIX.0.content`, … with an optional `INNER`
/// between the number and the name.
pub fn of_attributes(attributes: &Map<String, Value>, prefix: &str, inner: &str) -> Option<Read> {
    let start = format!("{prefix}.");
    let number = |key: &String| key.strip_prefix(&start)?.split('.').next()?.parse::<u32>().ok();
    let numbers: BTreeSet<u32> = attributes.keys().filter_map(number).collect();
    let mut messages = Vec::new();
    for index in &numbers {
        let start = format!("{prefix}.{index}.{inner}");
        let own = attributes.iter().filter_map(|(key, value)| Some((key.strip_prefix(&start)?, value)));
        let own: Map<String, Value> = own.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        let mut message = Map::new();
        for name in ["role", "content", "name", "tool_call_id"] {
            message.extend(own.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let calls = (0..1000).map_while(|call| {
            let named = |name: &str| {
                [format!("tool_calls.{call}.tool_call.function.{name}"), format!("tool_calls.{call}.{name}")]
                    .iter()
                    .find_map(|key| own.get(key))
            };
            let id = [format!("tool_calls.{call}.tool_call.id"), format!("tool_calls.{call}.id")];
            let id = id.iter().find_map(|key| own.get(key)).cloned().unwrap_or_default();
            Some(json!({"id": id, "function": {"name": named("name")?, "arguments": named("arguments")}}))
        });
        let calls: Vec<Value> = calls.collect();
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        // Messages of several parts.
        if !message.contains_key("content") {
            let text = |part: u32| own.get(&format!("contents.{part}.message_content.text")).cloned();
            let parts: Vec<Value> =
                (0..1000).map_while(text).map(|text| json!({"type": "text", "text": text})).collect();
            if !parts.is_empty() {
                message.insert("content".to_owned(), parts.into());
            }
        }
        messages.push(Value::Object(message));
    }
    let mut read = read(&Value::Array(messages))?;
    // A number that is missing is a message that the tracer did not write.
    read.is_lossy |= numbers.last().is_some_and(|last| *last as usize + 1 != numbers.len());
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> Value {
        serde_json::to_value(read(value).unwrap().messages).unwrap()
    }

    #[test]
    fn one_conversation_in_many_shapes() {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
        let wanted = json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "7", "tool_call_id": "c1"},
        ]);
        for shape in [
            wanted.clone(),
            json!(wanted.to_string()),
            json!({"messages": wanted}),
            // Responses
            json!([
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\":1}"},
                {"type": "function_call_output", "call_id": "c1", "output": "7"},
            ]),
            // Anthropic
            json!([
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "7"}]},
            ]),
            // OpenTelemetry
            json!([
                {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
                {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {"x": 1}}]},
                {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "result": "7"}]},
            ]),
            // LangChain
            json!([
                {"type": "human", "content": "hi"},
                {"role": "assistant", "content": "", "additional_kwargs": {"tool_calls": [
                    {"id": "c1", "function": {"arguments": {"x": 1}, "name": "f"}, "type": "function"}]}},
                {"type": "tool", "content": "7", "tool_call_id": "c1"},
            ]),
        ] {
            assert_eq!(shown(&shape), wanted, "{shape}");
        }
        let gemini = json!({"config": {"system_instruction": "s"}, "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"x": 1}}}]},
            {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"a": 7}}}]},
        ]});
        assert_eq!(
            shown(&gemini),
            json!([
                {"role": "system", "content": "s"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
                {"role": "tool", "content": "{\"a\":7}", "name": "f"},
            ])
        );
    }

    #[test]
    fn texts_and_what_is_lost() {
        assert_eq!(shown(&json!("hi")), json!([{"role": "user", "content": "hi"}]));
        let flat = read(&json!("system: a\nb\nuser: c")).unwrap();
        assert!(flat.is_lossy);
        assert_eq!(
            serde_json::to_value(flat.messages).unwrap(),
            json!([
            {"role": "system", "content": "a\nb"}, {"role": "user", "content": "c"}])
        );
        let image = json!([{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "image", "source": {"media_type": "image/png", "data": "AA=="}}]}]);
        assert_eq!(shown(&image)[0]["content"][1]["image_url"]["url"], "data:image/png;base64,AA==");
        let thinking = read(&json!([{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"},
            {"type": "text", "text": "y"}]}]))
        .unwrap();
        assert!(thinking.is_lossy && thinking.messages.len() == 1);
        for nothing in [json!(null), json!([]), json!(""), json!({}), json!(7)] {
            assert_eq!(read(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn attributes_are_put_together() {
        let attributes = json!({
            "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "hi",
            "llm.input_messages.1.message.role": "assistant",
            "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "f",
            "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": "{}",
        });
        let read = of_attributes(attributes.as_object().unwrap(), "llm.input_messages", "message.").unwrap();
        assert_eq!(answer(&read.messages[1..]).tool_calls[0].name, "f");
        assert_eq!(of_attributes(attributes.as_object().unwrap(), "gen_ai.prompt", ""), None);
        let gap = json!({"p.0.role": "user", "p.0.contents.0.message_content.text": "hi", "p.2.role": "tool", "p.2.content": "7"});
        let read = of_attributes(gap.as_object().unwrap(), "p", "").unwrap();
        assert_eq!(
            serde_json::to_value(&read.messages).unwrap(),
            json!([
            {"role": "user", "content": "hi"}, {"role": "tool", "content": "7"}])
        );
        assert!(read.is_lossy);
    }

    #[test]
    fn what_tools_say_is_kept_whatever_it_is() {
        let said = json!([
            {"role": "tool", "content": [{"function": {"name": "f", "arguments": {"x": 1}}, "id": "c1", "type": "function"}]},
            {"role": "tool", "content": [{"url": "u", "q": 1}], "tool_call_id": "c1"},
        ]);
        let shown = shown(&said);
        assert_eq!(
            (&shown[0]["role"], &shown[0]["tool_calls"][0]["function"]["name"]),
            (&json!("assistant"), &json!("f"))
        );
        assert_eq!(shown[1]["content"], "[{\"url\":\"u\",\"q\":1}]");
    }
}
