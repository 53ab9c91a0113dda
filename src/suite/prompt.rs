//! How a row becomes a conversation.

use std::fmt;

use serde_json::{Map, Value};

use crate::suite::document::Document;
use crate::suite::spec::PromptSpec;
use crate::suite::template::{Template, TemplateFault, Variable};
use crate::types::{Content, Fault, Message, Role, Row};
use crate::util::{field, text};

/// Which entry of a suite's `prompt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `system`
    System,
    /// `user`
    User,
    /// `messages`
    Messages,
}

impl Part {
    /// The key, as written in suites.
    pub fn key(self) -> &'static str {
        match self {
            Part::System => "system",
            Part::User => "user",
            Part::Messages => "messages",
        }
    }
}

/// What is wrong with a prompt, or with a row for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptFault {
    /// Which entry of `prompt`.
    pub part: Part,
    /// What is wrong.
    pub fault: TemplateFault,
}

impl PromptFault {
    fn row(part: Part, message: impl Into<String>) -> PromptFault {
        let fault = TemplateFault { line: None, word: None, message: message.into(), help: None };
        PromptFault { part, fault }
    }

    /// The fault at its place in the suite file.
    pub fn at(&self, document: &Document) -> Fault {
        self.fault.at(document, &crate::suite::at!["prompt", self.part.key()])
    }
}

impl fmt::Display for PromptFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`prompt.{}`: {}", self.part.key(), self.fault)
    }
}

impl std::error::Error for PromptFault {}

/// A prompt, ready to be filled in.
#[derive(Debug)]
pub struct Prompt(Kind);

#[derive(Debug)]
enum Kind {
    Templates { system: Option<Box<Template>>, user: Box<Template> },
    Messages { field: String },
}

/// The roles of messages, as written.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

impl Prompt {
    /// Compiles the templates of a prompt, or takes the field that holds conversations. `rules` see to it that the
    /// prompt has exactly one of `user` and `messages`; where it has neither, the user's message is empty.
    ///
    /// # Errors
    /// Every template whose syntax is wrong.
    pub fn compile(spec: &PromptSpec) -> Result<Prompt, Vec<PromptFault>> {
        if let Some(field) = &spec.messages {
            return Ok(Prompt(Kind::Messages { field: field.clone() }));
        }
        let compile =
            |part, source: &str| Template::compile(source).map(Box::new).map_err(|fault| PromptFault { part, fault });
        let system = spec.system.as_deref().map(|source| compile(Part::System, source)).transpose();
        let user = compile(Part::User, spec.user.as_deref().unwrap_or_default());
        match (system, user) {
            (Ok(system), Ok(user)) => Ok(Prompt(Kind::Templates { system, user })),
            (system, user) => Err(system.err().into_iter().chain(user.err()).collect()),
        }
    }

    /// The fields of the row that it uses.
    pub fn variables(&self) -> Vec<(Part, Variable)> {
        match &self.0 {
            Kind::Templates { system, user } => {
                let system =
                    system.iter().flat_map(|template| template.variables()).map(|variable| (Part::System, variable));
                let user = user.variables().iter().map(|variable| (Part::User, variable));
                system.chain(user).map(|(part, variable)| (part, variable.clone())).collect()
            }
            Kind::Messages { field } => vec![(Part::Messages, Variable { name: field.clone(), line: 1 })],
        }
    }

    /// The conversation for a row. A system message that comes out empty is left out.
    ///
    /// # Errors
    /// When a template does not fit the row, the user's message comes out blank, or the field holds no conversation.
    pub fn render(&self, row: &Row) -> Result<Vec<Message>, PromptFault> {
        match &self.0 {
            Kind::Templates { system, user } => {
                let render =
                    |part, template: &Template| template.render(row).map_err(|fault| PromptFault { part, fault });
                let mut messages = Vec::with_capacity(2);
                if let Some(system) = system {
                    let text = render(Part::System, system)?;
                    if !text.is_empty() {
                        messages.push(message(Role::System, text));
                    }
                }
                let text = render(Part::User, user)?;
                if text.trim().is_empty() {
                    return Err(PromptFault::row(Part::User, "the message comes out blank"));
                }
                messages.push(message(Role::User, text));
                Ok(messages)
            }
            Kind::Messages { field } => {
                conversation(field, row).map_err(|message| PromptFault::row(Part::Messages, message))
            }
        }
    }
}

fn message(role: Role, text: String) -> Message {
    Message { role, content: Content::Text(text), more: Map::new() }
}

/// The conversation in a field: a list of messages, or the JSON text of one (a CSV cell).
fn conversation(field: &str, row: &Row) -> Result<Vec<Message>, String> {
    let Some(value) = field::get(row, field) else {
        let near = text::did_you_mean(field, row.keys().map(String::as_str));
        let near = near.map(|near| format!("; {near}")).unwrap_or_default();
        return Err(format!("the row has no field `{}`{near}", text::shorten(field, 60)));
    };
    let parsed;
    let value = match value {
        Value::String(json) => {
            parsed = serde_json::from_str::<Value>(json)
                .map_err(|_| format!("the field `{}` is a text, not a list of messages", text::shorten(field, 60)))?;
            &parsed
        }
        other => other,
    };
    let Value::Array(items) = value else {
        return Err(format!("the field `{}` is no list of messages", text::shorten(field, 60)));
    };
    if items.is_empty() {
        return Err(format!("the field `{}` is an empty list of messages", text::shorten(field, 60)));
    }
    let read = |(index, item)| self::read(item).map_err(|why| format!("message {}: {why}", index + 1));
    items.iter().enumerate().map(read).collect()
}

/// One chat message. What is not `role` or `content` is kept as it is.
fn read(item: &Value) -> Result<Message, String> {
    let Value::Object(item) = item else { return Err("it is no object".to_owned()) };
    let role = match item.get("role") {
        None => return Err("it has no `role`".to_owned()),
        Some(Value::String(role)) => role.as_str(),
        Some(_) => return Err("its `role` is no string".to_owned()),
    };
    let role = match role {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let help = text::did_you_mean(other, ROLES);
            let help = help.unwrap_or_else(|| format!("roles: {}", ROLES.map(|role| format!("`{role}`")).join(", ")));
            return Err(format!("unknown role `{}`; {help}", text::shorten(other, 40)));
        }
    };
    let content = match item.get("content") {
        Some(Value::String(text)) => Content::Text(text.clone()),
        Some(Value::Array(parts)) => match parts.iter().position(|part| part.get("type").is_none()) {
            Some(part) => return Err(format!("part {} of its `content` has no `type`", part + 1)),
            None if parts.is_empty() => return Err("its `content` is an empty list".to_owned()),
            None => Content::Parts(parts.clone()),
        },
        // An assistant that only calls tools says nothing.
        None | Some(Value::Null) if role == Role::Assistant => Content::Empty(()),
        None | Some(Value::Null) => return Err("it has no `content`".to_owned()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err("its `content` is neither a string nor a list of parts".to_owned());
        }
    };
    let more = item.iter().filter(|(key, _)| *key != "role" && *key != "content");
    Ok(Message { role, content, more: more.map(|(key, value)| (key.clone(), value.clone())).collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(system: Option<&str>, user: Option<&str>, messages: Option<&str>) -> PromptSpec {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        PromptSpec { system: owned(system), user: owned(user), messages: owned(messages) }
    }

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn templates_become_messages() {
        let prompt =
            Prompt::compile(&spec(Some("Answer in {{ language }}."), Some("{{ q }}\n\n{{ answer }}\n"), None)).unwrap();
        let messages = prompt.render(&row(json!({"language": "German", "q": "Why?", "answer": 1}))).unwrap();
        assert_eq!(
            messages,
            [message(Role::System, "Answer in German.".to_owned()), message(Role::User, "Why?\n\n1".to_owned())]
        );
        let names: Vec<(Part, String, u64)> =
            prompt.variables().into_iter().map(|(part, variable)| (part, variable.name, variable.line)).collect();
        assert_eq!(
            names,
            [
                (Part::System, "language".to_owned(), 1),
                (Part::User, "q".to_owned(), 1),
                (Part::User, "answer".to_owned(), 3)
            ]
        );
        let fault = prompt.render(&row(json!({"language": "German", "q": "Why?", "answr": 1}))).unwrap_err();
        assert_eq!(fault.to_string(), "`prompt.user`: line 3: unknown variable `answer`; did you mean `answr`?");
        let empty = Prompt::compile(&spec(Some("{{ s }}"), Some(" {{ s }} "), None)).unwrap();
        let fault = empty.render(&row(json!({"s": ""}))).unwrap_err();
        assert_eq!(fault.to_string(), "`prompt.user`: the message comes out blank");
    }

    #[test]
    fn both_templates_are_checked() {
        let faults = Prompt::compile(&spec(Some("{{"), Some("{% x %}"), None)).unwrap_err();
        let parts: Vec<Part> = faults.iter().map(|fault| fault.part).collect();
        assert_eq!(parts, [Part::System, Part::User]);
    }

    #[test]
    fn conversations_are_taken_as_they_are() {
        let prompt = Prompt::compile(&spec(None, None, Some("/chat/messages"))).unwrap();
        let messages = json!([
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "t"}], "name": "n"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "content": "r", "tool_call_id": "1"}
        ]);
        let read = prompt.render(&row(json!({"chat": {"messages": messages}}))).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), messages);
        let cell = prompt.render(&row(json!({"chat": {"messages": messages.to_string()}}))).unwrap();
        assert_eq!(cell, read);
        assert_eq!(prompt.variables()[0].1.name, "/chat/messages");
    }

    #[test]
    fn a_wrong_message_is_named() {
        let prompt = Prompt::compile(&spec(None, None, Some("messages"))).unwrap();
        let user = json!({"role": "user", "content": "q"});
        for (messages, why) in [
            (json!("hello"), "the field `messages` is a text, not a list of messages"),
            (json!({}), "the field `messages` is no list of messages"),
            (json!([]), "the field `messages` is an empty list of messages"),
            (json!([user, 1]), "message 2: it is no object"),
            (json!([{"content": "q"}]), "message 1: it has no `role`"),
            (json!([{"role": 1}]), "message 1: its `role` is no string"),
            (json!([user, {"role": "usr", "content": "q"}]), "message 2: unknown role `usr`; did you mean `user`?"),
            (json!([{"role": "user"}]), "message 1: it has no `content`"),
            (
                json!([{"role": "user", "content": 1}]),
                "message 1: its `content` is neither a string nor a list of parts",
            ),
            (json!([{"role": "user", "content": ["q"]}]), "message 1: part 1 of its `content` has no `type`"),
        ] {
            let fault = prompt.render(&row(json!({"messages": messages}))).unwrap_err();
            assert_eq!(fault.to_string(), format!("`prompt.messages`: {why}"));
        }
        let fault = prompt.render(&row(json!({"mesages": []}))).unwrap_err();
        assert_eq!(fault.to_string(), "`prompt.messages`: the row has no field `messages`; did you mean `mesages`?");
    }
}
