//! A request in terms that every dialect can be written from: what OpenAI's messages and tools mean, without their shape.
//! And what a dialect could not say: [`Losses`]. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::suite::spec::Structured;
use crate::types::{Content, Message, Params, Request, Role};

/// Name of the tool that stands for the answer when a schema is asked for as a tool.
pub const ANSWER_TOOL: &str = "final_answer";

/// What of a request a dialect cannot carry, in words, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(Vec<String>);

impl Losses {
    /// Notes one.
    pub fn add(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.0.contains(&what) {
            self.0.push(what);
        }
    }

    /// All of them, in the order in which they were found.
    pub fn into_words(self) -> Vec<String> {
        self.0
    }

    /// Notes a parameter that has a value and no place.
    pub fn parameter<T>(&mut self, name: &str, value: Option<&T>) {
        if value.is_some() {
            self.add(format!("parameter `{name}`"));
        }
    }
}

/// A request, read.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Instructions of the application, one text a message.
    pub system: Vec<Cow<'a, str>>,
    /// The conversation.
    pub turns: Vec<Turn<'a>>,
    /// Tools the model may call.
    pub tools: Vec<Tool<'a>>,
    /// Which of them it may or must call.
    pub choice: Choice<'a>,
    /// How the shape of the answer is asked for, where the dialect has a place for it.
    pub shape: Shape<'a>,
    /// Sampling parameters.
    pub params: &'a Params,
    /// What could not be read.
    pub losses: Losses,
}

/// One message.
#[derive(Debug, PartialEq)]
pub enum Turn<'a> {
    /// Of the person or program that asks.
    User(Vec<Part<'a>>),
    /// Of the model: what it said and which tools it called.
    Assistant {
        /// Its words.
        parts: Vec<Part<'a>>,
        /// Its calls.
        calls: Vec<Call<'a>>,
    },
    /// What a tool gave back.
    Result {
        /// Id of the call it answers.
        id: &'a str,
        /// Name of the tool, as far as the conversation tells.
        name: &'a str,
        /// What it gave.
        parts: Vec<Part<'a>>,
    },
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<'a> {
    /// Text.
    Text(&'a str),
    /// An image in the request itself.
    Image {
        /// `image/png`
        media_type: &'a str,
        /// In base64.
        data: &'a str,
    },
    /// An image at an address.
    ImageUrl(&'a str),
}

/// A call of a tool in the conversation so far.
#[derive(Debug, PartialEq)]
pub struct Call<'a> {
    /// Its id.
    pub id: &'a str,
    /// Name of the tool.
    pub name: &'a str,
    /// Arguments: a JSON object, or what the model wrote when it is none.
    pub arguments: Value,
}

/// A tool.
#[derive(Debug, PartialEq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub description: Option<&'a str>,
    /// JSON Schema of its arguments.
    pub parameters: Cow<'a, Value>,
    /// Whether arguments must follow the schema to the letter.
    pub is_strict: bool,
}

/// Which tools may or must be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Nothing is said.
    Unsaid,
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(&'a str),
}

/// How the shape of the answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape<'a> {
    /// Not at all.
    Free,
    /// Any JSON object.
    Object,
    /// JSON that follows a schema.
    Schema(&'a Value),
}

/// What is said to a model that is asked for a schema by words alone.
fn instruction(schema: &Value) -> String {
    format!("Answer with one JSON value and nothing else, valid against this JSON Schema:\n{schema}")
}

impl<'a> Asked<'a> {
    /// Reads a request. `structured` says how its schema, if it has one, is asked for.
    pub fn of(request: &'a Request, structured: Structured) -> Asked<'a> {
        let mut losses = Losses::default();
        let mut system: Vec<Cow<'a, str>> = Vec::new();
        let mut turns: Vec<Turn<'a>> = Vec::new();
        for message in request.messages.iter() {
            match message.role {
                Role::System | Role::Developer => {
                    if !turns.is_empty() {
                        losses.add("the place of a system message within the conversation (it is put first)");
                    }
                    system.push(words(&message.content, &mut losses));
                    unknown(message, &[], &mut losses);
                }
                Role::User => {
                    turns.push(Turn::User(parts(&message.content, &mut losses)));
                    unknown(message, &[], &mut losses);
                }
                Role::Assistant => {
                    let calls = calls(message, &mut losses);
                    turns.push(Turn::Assistant { parts: parts(&message.content, &mut losses), calls });
                    unknown(message, &["tool_calls"], &mut losses);
                }
                Role::Tool => {
                    let id = message.more.get("tool_call_id").and_then(Value::as_str).unwrap_or_default();
                    let named = message.more.get("name").and_then(Value::as_str);
                    let name = named.or_else(|| name_of_call(&turns, id)).unwrap_or_default();
                    turns.push(Turn::Result { id, name, parts: parts(&message.content, &mut losses) });
                    unknown(message, &["tool_call_id", "name"], &mut losses);
                }
            }
        }
        let mut tools = request.tools.as_deref().map_or(Vec::new(), |tools| tools_of(tools, &mut losses));
        let mut choice = choice_of(request.params.tool_choice.as_ref(), &mut losses);
        let mut shape = Shape::Free;
        if request.params.response_format.is_some() {
            losses.add("parameter `response_format` (it is in OpenAI's words)");
        }
        if let Some(schema) = request.output_schema.as_deref() {
            match structured {
                Structured::JsonSchema => shape = Shape::Schema(schema),
                Structured::JsonObject => shape = Shape::Object,
                Structured::Tool => {
                    tools.push(answer_tool(schema));
                    choice = Choice::Named(ANSWER_TOOL);
                }
                Structured::Prompt => system.push(Cow::Owned(instruction(schema))),
                Structured::Auto | Structured::Off => {}
            }
        }
        Asked { system, turns, tools, choice, shape, params: &request.params, losses }
    }

    /// All instructions as one text; `None` when there are none.
    pub fn system_text(&self) -> Option<String> {
        let texts: Vec<&str> = self.system.iter().map(|text| &**text).filter(|text| !text.is_empty()).collect();
        (!texts.is_empty()).then(|| texts.join("\n\n"))
    }
}

/// The tool that stands for the answer.
fn answer_tool(schema: &Value) -> Tool<'_> {
    Tool {
        name: ANSWER_TOOL,
        description: Some("Gives the answer."),
        parameters: Cow::Borrowed(schema),
        is_strict: false,
    }
}

/// What `structured: tool` and `structured: prompt` add to a request in OpenAI's own shape.
pub fn openai_additions(schema: &Value, structured: Structured) -> (Option<Value>, Option<Value>, Option<String>) {
    match structured {
        Structured::Tool => {
            let tool = answer_tool(schema);
            let function = json!({"name": tool.name, "description": tool.description, "parameters": schema});
            let choice = json!({"type": "function", "function": {"name": ANSWER_TOOL}});
            (Some(json!({"type": "function", "function": function})), Some(choice), None)
        }
        Structured::Prompt => (None, None, Some(instruction(schema))),
        Structured::Auto | Structured::JsonSchema | Structured::JsonObject | Structured::Off => (None, None, None),
    }
}

fn unknown(message: &Message, known: &[&str], losses: &mut Losses) {
    for (name, value) in &message.more {
        if !known.contains(&&**name) && !value.is_null() {
            losses.add(format!("field `{name}` of a message"));
        }
    }
}

fn words<'a>(content: &'a Content, losses: &mut Losses) -> Cow<'a, str> {
    let found = parts(content, losses);
    let texts: Vec<&str> = found
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(*text),
            Part::Image { .. } | Part::ImageUrl(_) => {
                losses.add("an image in a system message");
                None
            }
        })
        .collect();
    match texts.as_slice() {
        [text] => Cow::Borrowed(text),
        _ => Cow::Owned(texts.concat()),
    }
}

fn parts<'a>(content: &'a Content, losses: &mut Losses) -> Vec<Part<'a>> {
    match content {
        Content::Text(text) => vec![Part::Text(text)],
        Content::Empty(()) => Vec::new(),
        Content::Parts(parts) => parts.iter().filter_map(|part| one_part(part, losses)).collect(),
    }
}

fn one_part<'a>(part: &'a Value, losses: &mut Losses) -> Option<Part<'a>> {
    if let Some(text) = part.as_str() {
        return Some(Part::Text(text));
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("untyped");
    let read = match kind {
        "text" | "input_text" | "output_text" => part.get("text").and_then(Value::as_str).map(Part::Text),
        "image_url" | "input_image" => {
            let place = part.get("image_url");
            let url = place.and_then(|place| place.as_str().or_else(|| place.get("url")?.as_str()));
            if place.and_then(|place| place.get("detail")).or_else(|| part.get("detail")).is_some() {
                losses.add("`detail` of an image");
            }
            url.map(|url| inline(url).unwrap_or(Part::ImageUrl(url)))
        }
        _ => None,
    };
    if read.is_none() {
        losses.add(format!("a `{kind}` part of a message"));
    }
    read
}

/// `data:image/png;base64,…`
fn inline(url: &str) -> Option<Part<'_>> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some(Part::Image { media_type, data })
}

fn calls<'a>(message: &'a Message, losses: &mut Losses) -> Vec<Call<'a>> {
    let listed = message.more.get("tool_calls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let read = listed.iter().filter_map(|call| {
        let function = call.get("function")?;
        let name = function.get("name")?.as_str()?;
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
                Ok(arguments @ Value::Object(_)) => arguments,
                _ if text.trim().is_empty() => json!({}),
                _ => {
                    losses.add("arguments of an earlier tool call that are no JSON object (sent as `{\"raw\": …}`)");
                    json!({"raw": text})
                }
            },
            Some(arguments @ Value::Object(_)) => arguments.clone(),
            _ => json!({}),
        };
        Some(Call { id, name, arguments })
    });
    let read: Vec<Call<'a>> = read.collect();
    if read.len() < listed.len() {
        losses.add("a tool call of an earlier message that is no function call");
    }
    read
}

fn name_of_call<'a>(turns: &[Turn<'a>], id: &str) -> Option<&'a str> {
    turns.iter().rev().find_map(|turn| match turn {
        Turn::Assistant { calls, .. } => calls.iter().find(|call| call.id == id).map(|call| call.name),
        Turn::User(_) | Turn::Result { .. } => None,
    })
}

fn tools_of<'a>(tools: &'a Value, losses: &mut Losses) -> Vec<Tool<'a>> {
    let listed = tools.as_array().map_or(&[][..], Vec::as_slice);
    let mut read = Vec::new();
    for tool in listed {
        let function = tool.get("function").unwrap_or(tool);
        let Some(name) = function.get("name").and_then(Value::as_str) else {
            let kind = tool.get("type").and_then(Value::as_str).unwrap_or("nameless");
            losses.add(format!("a tool of type `{kind}`"));
            continue;
        };
        let parameters = function.get("parameters").filter(|parameters| !parameters.is_null());
        read.push(Tool {
            name,
            description: function.get("description").and_then(Value::as_str),
            parameters: parameters
                .map_or_else(|| Cow::Owned(json!({"type": "object", "properties": {}})), Cow::Borrowed),
            is_strict: function.get("strict").and_then(Value::as_bool).unwrap_or(false),
        });
    }
    read
}

fn choice_of<'a>(choice: Option<&'a Value>, losses: &mut Losses) -> Choice<'a> {
    let Some(choice) = choice else { return Choice::Unsaid };
    let named = || choice.get("function").unwrap_or(choice).get("name")?.as_str();
    match choice.as_str() {
        Some("auto") => Choice::Auto,
        Some("none") => Choice::None,
        Some("required" | "any") => Choice::Required,
        Some(_) | None => match named() {
            Some(name) => Choice::Named(name),
            None => {
                losses.add("parameter `tool_choice` (it is in another service's words)");
                Choice::Unsaid
            }
        },
    }
}

/// Puts what `params.extra` says over a body, field by field; objects are joined, so that one setting of a nested object
/// does not take its neighbours away. `ours` are fields that it cannot overrule.
fn overlay(body: &mut Value, extra: &Map<String, Value>, ours: &[&str]) {
    let Some(body) = body.as_object_mut() else { return };
    for (name, value) in extra.iter().filter(|(name, _)| !ours.contains(&name.as_str())) {
        match (body.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                old.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            _ => {
                body.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A body as it is sent, with what `params.extra` says over it, and what it does not say.
pub fn written(body: Map<String, Value>, params: &Params, ours: &[&str], losses: Losses) -> (Bytes, Losses) {
    let mut body = Value::Object(body);
    overlay(&mut body, &params.extra, ours);
    (body.to_string().into(), losses)
}

/// Adds the `pieces` of a turn to a list of messages whose `field` holds them: to the last message when it is of the
/// same role. Results of one turn's calls must stand in one message; other neighbours say the same together.
pub fn join(messages: &mut Vec<Value>, role: &str, field: &str, pieces: Vec<Value>) {
    match messages.last_mut() {
        Some(last) if last["role"] == role => {
            if let Some(all) = last[field].as_array_mut() {
                all.extend(pieces);
            }
        }
        _ => messages.push(json!({"role": role, field: pieces})),
    }
}

/// Tools in OpenAI's shape, as other services took it over: `strict` is said elsewhere, or not at all.
pub fn functions(tools: &[Tool<'_>]) -> Value {
    let list = tools.iter().map(|tool| {
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(tool.name));
        put(&mut function, "description", tool.description);
        function.insert("parameters".to_owned(), tool.parameters.clone().into_owned());
        json!({"type": "function", "function": function})
    });
    list.collect()
}

/// Puts a field into an object when it has a value.
pub fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;

    /// A request from its parts, as a suite would make it.
    pub fn request(messages: Value, tools: Value, schema: Value, params: Value) -> Request {
        Request {
            messages: serde_json::from_value::<Vec<Message>>(messages).unwrap().into(),
            tools: (!tools.is_null()).then(|| Arc::new(tools)),
            output_schema: (!schema.is_null()).then(|| Arc::new(schema)),
            params: Arc::new(serde_json::from_value(params).unwrap()),
            row: Arc::default(),
        }
    }

    /// A conversation with everything in it.
    pub fn everything() -> Request {
        request(
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is it like in Paris?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                ]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "21 degrees"},
                {"role": "user", "content": "And now?"},
            ]),
            json!([{"type": "function", "function": {
                "name": "weather", "description": "Tells the weather.", "parameters": {"type": "object"}, "strict": true,
            }}]),
            json!({"type": "object", "properties": {"t": {"type": "number"}}}),
            json!({
                "temperature": 0.0, "top_p": 0.5, "max_output_tokens": 64, "seed": 7, "stop": ["END"], "tool_choice": "auto",
            }),
        )
    }

    #[test]
    fn everything_is_read() {
        let request = everything();
        let asked = Asked::of(&request, Structured::JsonSchema);
        assert_eq!(asked.losses, Losses::default());
        assert_eq!(asked.system_text().as_deref(), Some("Be brief."));
        let image = Part::Image { media_type: "image/png", data: "aGk=" };
        assert_eq!(
            asked.turns,
            [
                Turn::User(vec![Part::Text("What is it like in Paris?"), image]),
                Turn::Assistant {
                    parts: vec![],
                    calls: vec![Call { id: "c1", name: "weather", arguments: json!({"city": "Paris"}) }],
                },
                Turn::Result { id: "c1", name: "weather", parts: vec![Part::Text("21 degrees")] },
                Turn::User(vec![Part::Text("And now?")]),
            ]
        );
        assert_eq!((asked.tools.len(), asked.choice), (1, Choice::Auto));
        assert!(asked.tools[0].is_strict && matches!(asked.shape, Shape::Schema(_)));
    }

    #[test]
    fn a_schema_may_be_a_tool_or_words() {
        let request = everything();
        let asked = Asked::of(&request, Structured::Tool);
        assert_eq!((asked.tools.len(), asked.choice, asked.shape), (2, Choice::Named(ANSWER_TOOL), Shape::Free));
        let asked = Asked::of(&request, Structured::Prompt);
        let system = asked.system_text().unwrap();
        assert!(system.starts_with("Be brief.\n\nAnswer with one JSON value"), "{system}");
        assert!(system.ends_with("{\"type\":\"object\",\"properties\":{\"t\":{\"type\":\"number\"}}}"), "{system}");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let request = request(
            json!([
                {"role": "user", "name": "bob", "content": [{"type": "input_audio", "input_audio": {}}]},
                {"role": "system", "content": "late"},
                {"role": "assistant", "tool_calls": [
                    {"id": "c", "function": {"name": "f", "arguments": "not json"}}, {"type": "custom"},
                ]},
            ]),
            json!([{"type": "web_search"}]),
            Value::Null,
            json!({"tool_choice": {"type": "odd"}, "response_format": {"type": "text"}}),
        );
        let asked = Asked::of(&request, Structured::JsonSchema);
        let told = asked.losses.into_words();
        for wanted in ["input_audio", "`name`", "place of a system", "no JSON object", "no function call", "web_search"]
        {
            assert!(told.iter().any(|loss| loss.contains(wanted)), "{wanted}: {told:?}");
        }
        assert_eq!(told.len(), 8, "{told:?}");
        assert_eq!(asked.tools.len() + asked.system.len(), 1);
    }

    #[test]
    fn extras_join_objects() {
        let mut body = json!({"model": "m", "config": {"a": 1, "b": 2}, "x": 1});
        let extra = json!({"model": "other", "config": {"b": 3}, "x": {"y": 1}});
        overlay(&mut body, extra.as_object().unwrap(), &["model"]);
        assert_eq!(body, json!({"model": "m", "config": {"a": 1, "b": 3}, "x": {"y": 1}}));
    }
}
