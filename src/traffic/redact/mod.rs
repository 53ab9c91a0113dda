//! Takes secrets, and what tells who somebody is, out of exchanges before they are written.
//!
//! Every text of an exchange is searched, keys of objects too; also JSON in texts, escapes, what is percent-encoded and
//! what is in base64. What is found gets a placeholder that is the same for the same text within a conversation, so that
//! an answer can still be seen to name what the question named. It is a net, not a proof: what has no shape (a name, an
//! address, a password in a sentence) is not found.

mod file;
mod hidden;
mod rules;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use regex::Regex;
use serde_json::{Map, Value};

use crate::traffic::redact::file::Pointer;
use crate::traffic::redact::hidden::{
    BASE64, SLASHES, begins_with_text, ends, hidden_text, letters, unescaped, unpercented,
};
use crate::traffic::redact::rules::{Candidate, Rule};
use crate::util::digest::Digest;

pub use file::{Custom, custom};
pub use rules::{PERSONAL, SECRETS};

/// How deep texts are opened that hold other texts.
const DEPTH: u32 = 3;

/// Placeholders that are remembered, of all conversations together; of the oldest conversations they are forgotten.
const REMEMBERED: usize = 400_000;

/// Texts that rules need and that are this long are searched for all at once.
const TELLING: usize = 3;

/// Keys of objects whose values are secrets, whatever they look like, in lower case without `-` and `_`.
const SECRET_KEYS: [&str; 22] = [
    "authorization",
    "proxyauthorization",
    "apikey",
    "xapikey",
    "secret",
    "secretkey",
    "clientsecret",
    "password",
    "passwd",
    "passphrase",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "sessiontoken",
    "authtoken",
    "privatekey",
    "cookie",
    "setcookie",
    "awssecretaccesskey",
    "secretaccesskey",
    "bearertoken",
    "credentials",
];

/// Which names of rules there are, and groups of them.
///
/// # Errors
/// The name that is none.
pub fn chosen(names: &[String]) -> Result<Vec<&'static str>, String> {
    let mut all: Vec<&'static str> = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => all.extend(SECRETS.iter().chain(&PERSONAL)),
            "secrets" => all.extend(SECRETS),
            "personal" => all.extend(PERSONAL),
            "none" => {}
            name => match SECRETS.iter().chain(&PERSONAL).find(|known| **known == name) {
                Some(known) => all.push(known),
                None => return Err(name.to_owned()),
            },
        }
    }
    Ok(all)
}

/// The rules of an import, and what they have found so far in each conversation.
#[derive(Debug, Default)]
pub struct Redactor {
    rules: Vec<Rule>,
    /// Fields that are taken out as a whole.
    pointers: Vec<Pointer>,
    has_secrets: bool,
    /// Whether rules of the user's are among them.
    has_own: bool,
    /// Of the texts that are searched.
    shortest: usize,
    /// Finds any of the longer texts that rules need, so that most texts are passed over at once.
    needs: Option<Regex>,
    known: HashMap<u64, Conversation>,
    order: VecDeque<u64>,
    remembered: usize,
    current: Conversation,
    counts: BTreeMap<String, u64>,
}

/// What was found in a conversation: digests of the texts, and their numbers.
#[derive(Debug, Default)]
struct Conversation {
    numbers: HashMap<u64, u32>,
    next: HashMap<String, u32>,
}

impl Redactor {
    /// With the built-in rules of these names, and the user's own.
    pub fn new(names: &[&str], custom: Custom) -> Redactor {
        let has_own = !custom.rules.is_empty();
        let mut rules = custom.rules;
        rules.extend(rules::built_in(names));
        let needs: Vec<String> = rules.iter().flat_map(|rule| rule.needs).map(|need| regex::escape(need)).collect();
        let needs: Vec<&String> = needs.iter().filter(|need| need.len() >= TELLING).collect();
        let needs = needs.iter().map(|need| need.as_str()).collect::<Vec<_>>().join("|");
        Redactor {
            // No built-in rule finds anything shorter; those of the user may.
            shortest: if has_own { 1 } else { 6 },
            needs: Regex::new(&needs).ok().filter(|_| !needs.is_empty()),
            rules,
            pointers: custom.pointers,
            has_secrets: names.contains(&"assigned_secret"),
            has_own,
            ..Redactor::default()
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.pointers.is_empty()
    }

    /// Whether rules of the user's are among them, which may find anything.
    pub fn has_own(&self) -> bool {
        self.has_own
    }

    /// Whether whole fields are to go.
    pub fn has_pointers(&self) -> bool {
        !self.pointers.is_empty()
    }

    /// Takes the fields that the user's pointers name out of a value; gives how many.
    pub fn remove_fields(&mut self, value: &mut Value) -> u64 {
        let mut all = 0;
        for pointer in &mut self.pointers {
            all += pointer.remove_from(value);
        }
        all
    }

    /// The user's pointers that have named no field of any value so far.
    pub fn idle_pointers(&self) -> impl Iterator<Item = &str> {
        self.pointers.iter().filter(|pointer| pointer.hits == 0).map(|pointer| pointer.text.as_str())
    }

    /// The name of a file as it may be written down.
    pub fn name(&mut self, name: &str) -> String {
        let mut value = serde_json::json!({ "file": name });
        self.exchange(&mut value, "", true);
        value["file"].as_str().unwrap_or_default().to_owned()
    }

    /// Redacts an exchange in its JSON form; gives counts by rule. `conversation` decides which texts are the same.
    pub fn exchange(&mut self, value: &mut Value, conversation: &str, is_alone: bool) -> BTreeMap<String, u64> {
        let key = Digest::of(conversation.as_bytes()).low64();
        self.current = self.known.remove(&key).unwrap_or_default();
        let before = self.current.numbers.len();
        if let Value::Object(fields) = value {
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    // Ours, and no texts: a rule over digits must not make words of times.
                    "evalctl" | "precision" | "texts" | "redactions" | "turn" | "arrived_us" | "status"
                    | "latency_ms" | "ttft_ms" | "cost_usd" | "is_streamed" | "is_cached" | "duplicates" => {}
                    // Ids join files and conversations: one that must go becomes another that is still one.
                    "id" | "conversation" => self.id(field),
                    // Ours, with texts in them.
                    "params" => self.members(field, &["temperature", "top_p", "max_output_tokens", "seed"]),
                    "answer" => self.answer(field),
                    "source" => self.members(field, &["kind", "row"]),
                    "failure" => self.texts(field),
                    "messages" => {
                        field.as_array_mut().into_iter().flatten().for_each(|item| self.members(item, &["role"]));
                    }
                    _ => self.value(field, DEPTH),
                }
            }
        }
        if !is_alone && !self.current.numbers.is_empty() {
            self.remembered += self.current.numbers.len() - before;
            if before == 0 {
                self.order.push_back(key);
            }
            self.known.insert(key, std::mem::take(&mut self.current));
            while self.remembered > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.remembered -= self.known.remove(&oldest).map_or(0, |oldest| oldest.numbers.len());
            }
        }
        std::mem::take(&mut self.counts)
    }

    fn id(&mut self, field: &mut Value) {
        if let Value::String(id) = field
            && self.text(id, DEPTH).is_some()
        {
            let digest = Digest::of(id.as_bytes()).to_string();
            *field = Value::String(format!("r-{}", &digest[..16]));
        }
    }

    /// An object whose fields are ours: their names stay, and so do these of them.
    fn members(&mut self, value: &mut Value, kept: &[&str]) {
        match value {
            Value::Object(fields) => {
                let is_kept = |name: &String| kept.contains(&name.as_str());
                fields.iter_mut().filter(|(name, _)| !is_kept(name)).for_each(|(_, field)| self.value(field, DEPTH));
            }
            other => self.value(other, DEPTH),
        }
    }

    fn answer(&mut self, answer: &mut Value) {
        self.members(answer, &["usage", "finish", "is_refusal", "logprobs"]);
        // A text that was cut into tokens is searched as a whole; where something is found, they go.
        let Some(tokens) = answer.get("logprobs").and_then(Value::as_array) else { return };
        let token = |token: &Value| token.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        let said: String = tokens.iter().map(token).collect();
        if self.text(&said, DEPTH).is_some()
            && let Some(fields) = answer.as_object_mut()
        {
            fields.shift_remove("logprobs");
        }
    }

    /// Texts only, however deep.
    fn texts(&mut self, value: &mut Value) {
        match value {
            Value::String(_) => self.value(value, DEPTH),
            Value::Array(items) => items.iter_mut().for_each(|item| self.texts(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.texts(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn value(&mut self, value: &mut Value, depth: u32) {
        match value {
            Value::String(text) => {
                if let Some(clean) = self.text(text, depth) {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item, depth)),
            Value::Object(fields) => self.fields(fields, depth),
            // Numbers of cards may be numbers, and so may what the user looks for.
            Value::Number(number) => {
                let text = number.to_string();
                let is_long = text.len() >= 13 && text.bytes().all(|byte| byte.is_ascii_digit());
                if (is_long || self.has_own)
                    && let Some(clean) = self.plain(&text)
                {
                    *value = Value::String(clean);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, depth: u32) {
        let has_bad_key = fields.keys().any(|key| key.len() >= self.shortest && self.finds(key));
        if has_bad_key {
            let own = std::mem::take(fields);
            for (key, value) in own {
                let clean = self.text(&key, depth).unwrap_or(key);
                fields.insert(clean, value);
            }
        }
        for (key, value) in fields.iter_mut() {
            if self.has_secrets && is_secret_key(key) {
                self.secret(value, !key.to_ascii_lowercase().ends_with("token"), depth);
            } else {
                self.value(value, depth);
            }
        }
    }

    /// What stands under the name of a secret. Numbers of tokens are counts.
    fn secret(&mut self, value: &mut Value, has_numbers: bool, depth: u32) {
        match value {
            Value::String(text) if is_open(text) => *text = self.placeholder("assigned_secret", &text.clone()),
            Value::Number(number) if has_numbers => {
                *value = Value::String(self.placeholder("assigned_secret", &number.to_string()));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.secret(item, has_numbers, depth)),
            // An object may describe the field: `{"password": {"type": "string"}}`.
            other => self.value(other, depth),
        }
    }

    /// Whether any rule finds something.
    fn finds(&self, text: &str) -> bool {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        self.rules.iter().any(|rule| is_worth(rule, text, digits) && rule.pattern.is_match(text))
            || text.contains('%')
            || text.contains('\\')
    }

    /// The text without what must go; `None` when nothing must.
    fn text(&mut self, text: &str, depth: u32) -> Option<String> {
        if text.len() < self.shortest {
            return None;
        }
        if depth > 0
            && text.starts_with(['{', '['])
            && text.contains('"')
            && let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(text)
        {
            let before = self.counts.values().sum::<u64>();
            self.value(&mut inner, depth - 1);
            if self.counts.values().sum::<u64>() > before {
                return Some(inner.to_string());
            }
            // Of fields that stand there twice only one was seen: the text is searched as it stands, too.
        }
        let mut clean = self.plain(text);
        if depth == 0 {
            return clean;
        }
        for (mark, open) in [("\\", unescaped as fn(&str) -> Option<String>), ("%", unpercented)] {
            let now = clean.as_deref().unwrap_or(text);
            if now.contains(mark)
                && let Some(opened) = open(now)
                && let Some(found) = self.text(&opened, depth - 1)
            {
                clean = Some(found);
            }
        }
        let now = clean.as_deref().unwrap_or(text);
        self.in_base64(now, depth).or(clean)
    }

    /// The rules, one after the other.
    fn plain(&mut self, text: &str) -> Option<String> {
        let mut clean: Option<String> = None;
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let is_telling = self.needs.as_ref().is_none_or(|needs| needs.is_match(text));
        let rules = std::mem::take(&mut self.rules);
        for rule in &rules {
            let now = clean.as_deref().unwrap_or(text);
            let is_apart = !is_telling && !rule.needs.is_empty() && rule.needs.iter().all(|need| need.len() >= TELLING);
            if !is_apart
                && is_worth(rule, now, digits)
                && let Some(next) = self.by_rule(rule, now)
            {
                clean = Some(next);
            }
        }
        self.rules = rules;
        clean
    }

    fn by_rule(&mut self, rule: &Rule, text: &str) -> Option<String> {
        let mut out = String::new();
        let (mut done, mut at) = (0, 0);
        // What of a match was no part of what must go may begin another.
        while at <= text.len()
            && let Some(captures) = rule.pattern.captures_at(text, at)
        {
            let Some(found) = captures.iter().flatten().nth(1).or_else(|| captures.get(0)) else { break };
            let (before, after) = (text[..found.start()].chars().next_back(), text[found.end()..].chars().next());
            let candidate = Candidate { found: found.as_str(), before, after };
            let Some(part) = (rule.check)(&candidate).filter(|part| !part.is_empty()) else {
                // A pattern of the user's may find a place that holds nothing.
                let passed = if found.is_empty() { after.map_or(1, char::len_utf8) } else { 0 };
                at = found.end() + passed;
                continue;
            };
            let part = found.start() + part.start..found.start() + part.end;
            out.push_str(&text[done..part.start]);
            out.push_str(&self.placeholder(&rule.name, &text[part.clone()]));
            (done, at) = (part.end, part.end);
        }
        if done == 0 {
            return None;
        }
        out.push_str(&text[done..]);
        Some(out)
    }

    /// Runs of base64 that hold a text in which something is found go as a whole.
    fn in_base64(&mut self, text: &str, depth: u32) -> Option<String> {
        let (mut out, mut done, mut at) = (String::new(), 0, 0);
        while at < text.len() {
            let first = letters(&text.as_bytes()[at..]);
            match self.run_at(text, at, first, depth) {
                Some(run) => {
                    out.push_str(&text[done..run.start]);
                    out.push_str(&self.placeholder("base64", &text[run.clone()]));
                    (done, at) = (run.end, run.end);
                }
                None => at += first.max(1),
            }
        }
        (done > 0).then(|| out + &text[done..])
    }

    /// Of the run of base64 that begins at a place, what must go. A `/` may belong to the path before it.
    fn run_at(&mut self, text: &str, at: usize, first: usize, depth: u32) -> Option<Range<usize>> {
        if first < BASE64 {
            return None;
        }
        let slashes = text[at..at + first].match_indices('/').map(|(slash, _)| slash + 1).take(SLASHES);
        for skipped in std::iter::once(0).chain(slashes) {
            let start = at + skipped;
            let run = &text.as_bytes()[start..];
            if first - skipped < BASE64 || !begins_with_text(run) {
                continue;
            }
            for end in ends(run, first - skipped) {
                // What is found inside is counted by its own rule.
                if hidden_text(&text[start..start + end]).is_some_and(|inner| self.text(&inner, depth - 1).is_some()) {
                    return Some(start..start + end);
                }
            }
        }
        None
    }

    fn placeholder(&mut self, rule: &str, found: &str) -> String {
        *self.counts.entry(rule.to_owned()).or_default() += 1;
        let label = rule.to_ascii_uppercase();
        let key = Digest::of(format!("{label}\0{}", found.to_lowercase()).as_bytes()).low64();
        let Conversation { numbers, next } = &mut self.current;
        let number = *numbers.entry(key).or_insert_with(|| {
            let next = next.entry(label.clone()).or_default();
            *next += 1;
            *next
        });
        format!("[{label}_{number}]")
    }
}

fn is_worth(rule: &Rule, text: &str, digits: usize) -> bool {
    digits >= rule.least_digits && (rule.needs.is_empty() || rule.needs.iter().any(|need| text.contains(need)))
}

fn is_secret_key(key: &str) -> bool {
    let plain: String = key.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
    let plain = plain.to_ascii_lowercase();
    // `db_password`, `x-goog-api-key`, `token`, `secret_token`; not `max_tokens`.
    let ends = ["password", "passwd", "pwd", "secret", "token", "apikey", "accesskey", "privatekey"];
    SECRET_KEYS.contains(&plain.as_str()) || ends.iter().any(|end| plain.ends_with(end))
}

/// Whether something stands there that is no placeholder yet.
fn is_open(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let is_placeholder = inner.is_some_and(|inner| {
        inner.ends_with(|c: char| c.is_ascii_digit())
            && inner.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    });
    !(text.trim().is_empty() || is_placeholder)
}

#[cfg(test)]
mod tests;
