//! What the pass over the golden set found, as `check` shows it.

use crate::commands::check::lines::{entry, passage};
use crate::commands::plan::{Found, JoinFacts};
use crate::types::{Content, Message, Role};
use crate::util::text::{shorten, visible};

/// The most lines that are shown of a message.
const MESSAGE_LINES: usize = 8;

/// The most messages of a conversation that are shown.
const MESSAGES: usize = 4;

/// Adds how a candidate's recorded answers are joined.
pub fn join(out: &mut String, facts: &JoinFacts) {
    let JoinFacts { rows, answered, answers, looked_at, failures, notes, .. } = facts;
    let of_file = if answers == answered { String::new() } else { format!("; the file has {answers} answers") };
    let read = if looked_at == answered { String::new() } else { format!("; {looked_at} of them were looked at") };
    entry(out, "    answers", &format!("{answered} of {rows} rows have one{of_file}{read}"));
    if *failures > 0 {
        entry(out, "", &format!("{failures} of them say why there is no answer, and count as failures"));
    }
    for text in notes {
        entry(out, "    note", &visible(text));
    }
}

/// Adds the prompt of the first sample, and the notes.
pub fn found(out: &mut String, found: &Found) {
    if let Some((sample, messages)) = &found.prompt {
        entry(out, "  prompt", &format!("as row `{}` renders it:", shorten(sample, 60)));
        for message in messages.iter().take(MESSAGES) {
            passage(out, &format!("    {}", role(message.role)), &content(message), MESSAGE_LINES);
        }
        if messages.len() > MESSAGES {
            entry(out, "", &format!("… ({} more messages)", messages.len() - MESSAGES));
        }
    }
    for text in &found.notes {
        entry(out, "  note", &visible(text));
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// The text of a message; of parts that are no text, their type.
fn content(message: &Message) -> String {
    match &message.content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => {
            let part = |part: &serde_json::Value| {
                let field = |key| part.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
                field("text").unwrap_or_else(|| format!("[{}]", field("type").unwrap_or_else(|| "part".to_owned())))
            };
            parts.iter().map(part).collect::<Vec<_>>().join("\n")
        }
        Content::Empty(()) => "(nothing but calls of tools)".to_owned(),
    }
}
