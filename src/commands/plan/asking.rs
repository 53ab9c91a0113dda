//! How a sample becomes a request.

use std::sync::Arc;

use serde_json::Value;

use crate::suite::Prompt;
use crate::traffic;
use crate::types::{Message, Params, Request, Row};
use crate::util::digest::Digest;
use crate::util::field;

/// How a sample becomes a request: the same question to every candidate.
pub struct Asking {
    pub(super) prompt: Option<Prompt>,
    /// Field of chat messages, for which the row's tools and parameters count too.
    pub(super) is_chat: bool,
    /// Whether rows are lines of a capture: their schema is theirs, and what was only meant for the logged service
    /// (`extra`) is not passed on to others.
    pub(super) is_logged: bool,
    pub(super) schema: Option<Arc<Value>>,
}

/// The schema that a line of a capture asks for itself.
pub fn own_schema(row: &Row) -> Option<&Value> {
    row.get("output_schema").filter(|schema| !schema.is_null())
}

/// Fields of a logged request's parameters that are not passed on, as only the logged service is known to have them.
pub fn not_passed_on(row: &Row) -> impl Iterator<Item = &str> {
    let params = row.get("params").and_then(Value::as_object);
    let format = params.and_then(|params| params.get("response_format"));
    let format = format.filter(|format| !format.is_null() && !is_json_mode(format)).map(|_| "response_format");
    let extra = params.and_then(|params| params.get("extra")?.as_object()).into_iter().flatten();
    extra.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str()).chain(format)
}

/// Whether any JSON is asked for; schemas have a place of their own.
fn is_json_mode(format: &Value) -> bool {
    format.get("type").and_then(Value::as_str) == Some("json_object")
}

/// What a sample asks, before a candidate's parameters are added.
pub struct Asked {
    messages: Arc<[Message]>,
    tools: Option<Arc<Value>>,
    schema: Option<Arc<Value>>,
    params: Option<Params>,
}

impl Asked {
    /// The conversation.
    pub fn messages(&self) -> &Arc<[Message]> {
        &self.messages
    }
}

impl Asking {
    /// Renders a sample's question.
    ///
    /// # Errors
    /// When a template fails or the row's messages, tools or params are not what they should be.
    pub fn ask(&self, row: &Row) -> Result<Asked, String> {
        let Some(prompt) = &self.prompt else {
            return Ok(Asked { messages: Arc::new([]), tools: None, schema: None, params: None });
        };
        let messages = prompt.render(row).map_err(|fault| fault.to_string())?;
        let (mut tools, mut params) = (None, None);
        if self.is_chat {
            tools = match row.get("tools") {
                None | Some(Value::Null) => None,
                Some(list @ Value::Array(_)) => Some(Arc::new(list.clone())),
                Some(_) => return Err("`tools` is not a list".to_owned()),
            };
            params = match row.get("params") {
                None | Some(Value::Null) => None,
                Some(value) => {
                    Some(serde_json::from_value(value.clone()).map_err(|error| format!("in `params`: {error}"))?)
                }
            };
        }
        let mut schema = None;
        if self.is_logged {
            schema = own_schema(row).cloned().map(Arc::new);
            params = params.map(|params: Params| Params {
                extra: serde_json::Map::new(),
                response_format: params.response_format.filter(is_json_mode),
                ..params
            });
        }
        Ok(Asked { messages: messages.into(), tools, schema, params })
    }

    /// What tells questions apart, as text: the messages of a row that holds them, without instructions; the fields that
    /// the templates use, without the words around them; and where that is nothing, all fields but those named.
    pub fn gist(&self, row: &Row, but: &[&str]) -> String {
        if self.is_chat {
            let asked = self.ask(row).map(|asked| asked.messages).unwrap_or_else(|_| Arc::new([]));
            let text = traffic::asked(&asked).collect::<Vec<&str>>().join("\n");
            if !text.trim().is_empty() {
                return text;
            }
        }
        let used: Vec<String> =
            self.prompt.iter().flat_map(Prompt::variables).map(|(_, variable)| variable.name).collect();
        let is_all = self.is_chat || used.iter().all(|name| !row.contains_key(name));
        let is_used = |name: &String| if is_all { !but.contains(&name.as_str()) } else { used.contains(name) };
        let texts = row.iter().filter(|(name, _)| is_used(name));
        texts.map(|(_, value)| field::text(value).unwrap_or_else(|| value.to_string())).collect::<Vec<_>>().join("\n")
    }

    /// The request of a candidate with these parameters.
    pub fn request(&self, asked: &Asked, params: &Arc<Params>, row: &Arc<Row>) -> Request {
        let params = match &asked.params {
            None => Arc::clone(params),
            Some(of_row) => Arc::new(merged(params, of_row)),
        };
        Request {
            messages: Arc::clone(&asked.messages),
            tools: asked.tools.clone(),
            output_schema: asked.schema.clone().or_else(|| self.schema.clone()),
            params,
            row: Arc::clone(row),
        }
    }

    /// Digest of the question.
    pub(super) fn digest(&self, asked: &Asked) -> Digest {
        let json = match &asked.schema {
            None => serde_json::to_vec(&(&asked.messages, &asked.tools, &asked.params)),
            Some(schema) => serde_json::to_vec(&(&asked.messages, &asked.tools, &asked.params, schema)),
        };
        Digest::of(&json.expect("messages have only string keys"))
    }
}

/// The candidate's parameters with the row's on top.
fn merged(candidate: &Params, row: &Params) -> Params {
    let mut extra = candidate.extra.clone();
    extra.extend(row.extra.clone());
    Params {
        temperature: row.temperature.or(candidate.temperature),
        top_p: row.top_p.or(candidate.top_p),
        max_output_tokens: row.max_output_tokens.or(candidate.max_output_tokens),
        seed: row.seed.or(candidate.seed),
        stop: row.stop.clone().or_else(|| candidate.stop.clone()),
        tool_choice: row.tool_choice.clone().or_else(|| candidate.tool_choice.clone()),
        response_format: row.response_format.clone().or_else(|| candidate.response_format.clone()),
        extra,
    }
}
