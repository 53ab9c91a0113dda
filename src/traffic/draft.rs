//! What an importer makes of a row, and the small readers that all importers share. Pure.

use serde_json::{Map, Value};

use crate::traffic::answer;
use crate::traffic::ledger::{Mark, Reason};
use crate::traffic::read::Piece;
use crate::traffic::request;
use crate::traffic::time::Stamp;
use crate::types::{Exchange, Failure, Response};

/// The most tags of one exchange, and characters of one.
const TAGS: usize = 24;
const TAG_CHARS: usize = 200;

/// Reads the rows of one kind of log. A value may hold many rows (a page, a trace); each is told once.
pub trait Importer {
    /// Takes a value of the file.
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>);

    /// Called when a file ends, with whatever still waits for its other half; `is_last` for the last file.
    fn end(&mut self, _is_last: bool, _out: &mut Vec<Found>) {}

    /// Whether rows wait for others, also of other files: then each value of a file is one row, whenever it is told.
    fn joins(&self) -> bool {
        false
    }
}

/// What became of a row.
#[derive(Debug)]
pub enum Found {
    /// An exchange.
    Exchange(Box<Draft>),
    /// None, and why.
    Not(Reason),
}

/// An exchange as an importer has read it: without an id of its own where the log has none.
#[derive(Debug, Default)]
pub struct Draft {
    /// What was read.
    pub exchange: Exchange,
    /// What the importer alone can know about it.
    pub marks: Vec<Mark>,
    /// The arrival, with the zone it was written in.
    pub arrived: Option<Stamp>,
}

impl Draft {
    /// The exchange of a row.
    pub fn found(self) -> Found {
        Found::Exchange(Box::new(self))
    }

    /// Sets when it arrived and when it ended.
    pub fn times(&mut self, start: Option<Stamp>, end: Option<Stamp>) {
        self.arrived = start;
        if let (Some(start), Some(end)) = (start, end) {
            self.exchange.latency = self.exchange.latency.or(start.until(&end));
        }
    }

    /// Sets when the first token came.
    pub fn first_token(&mut self, first: Option<Stamp>) {
        if let (Some(start), Some(first)) = (self.arrived, first) {
            self.exchange.ttft = start.until(&first);
        }
    }

    /// Reads the body of the request; false when nothing of it could be read.
    pub fn request(&mut self, body: &Value) -> bool {
        match request::fill(body, &mut self.exchange) {
            None => false,
            Some(is_lossy) => {
                if is_lossy {
                    self.marks.push(Mark::PartsLost);
                }
                true
            }
        }
    }

    /// Takes messages that stand by themselves; false when there are none.
    pub fn conversation(&mut self, read: Option<crate::traffic::messages::Read>) -> bool {
        let Some(read) = read else { return false };
        if read.is_lossy {
            self.marks.push(Mark::PartsLost);
        }
        if !read.tools.is_empty() {
            self.exchange.tools = Some(Value::Array(read.tools));
        }
        self.exchange.messages = read.messages;
        true
    }

    /// Takes what came of the request.
    pub fn outcome(&mut self, outcome: Option<Result<Response, Failure>>) {
        match outcome {
            None => {}
            Some(Ok(response)) => self.exchange.answered(response),
            Some(Err(failure)) => {
                if matches!(failure, Failure::Cut { .. }) {
                    self.marks.push(Mark::CutBody);
                }
                self.exchange.failure = Some(failure);
            }
        }
    }

    /// Adds token counts that stand beside the answer, where the answer has none.
    pub fn usage(&mut self, value: &Value) {
        let beside = answer::usage(value);
        if beside == crate::types::Usage::default() {
            return;
        }
        if self.exchange.answer.is_none() && self.exchange.failure.is_none() {
            return;
        }
        if let Some(answer) = &mut self.exchange.answer {
            answer.usage = answer::beside(beside, answer.usage);
        }
    }

    /// Takes the model's name where the request has none.
    pub fn model(&mut self, value: Option<&Value>) {
        if self.exchange.model.is_none() {
            self.exchange.model = value.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned);
        }
    }

    /// Adds a tag, if the value is a short scalar.
    pub fn tag(&mut self, name: &str, value: Option<&Value>) {
        let text = value.and_then(crate::util::field::text).filter(|text| !text.is_empty());
        if let Some(text) = text.filter(|text| text.chars().count() <= TAG_CHARS)
            && self.exchange.tags.len() < TAGS
        {
            self.exchange.tags.insert(name.to_owned(), text);
        }
    }
}

/// The first of some fields that says something.
pub fn first<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().filter_map(|name| fields.get(*name)).find(|value| !is_blank(value))
}

/// Whether a field says nothing. CSV files and some tracers write it in words.
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "None" | "null" | "{}" | "[]"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A field as text, where it is a scalar that says something.
pub fn word(fields: &Map<String, Value>, names: &[&str]) -> Option<String> {
    first(fields, names).and_then(crate::util::field::text)
}

/// A truth value, also as CSV files write it.
pub fn truth(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(true),
            "false" | "f" | "0" => Some(false),
            _ => None,
        },
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A value, or what the JSON in a text says.
pub fn opened(value: &Value) -> Value {
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        other => other.clone(),
    }
}

/// Dollars, where they are an amount.
pub fn money(value: Option<&Value>) -> Option<rust_decimal::Decimal> {
    let text = match value? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let amount = rust_decimal::Decimal::from_str_exact(&text)
        .or_else(|_| rust_decimal::Decimal::from_scientific(&text))
        .ok()
        .or_else(|| rust_decimal::Decimal::try_from(text.parse::<f64>().ok()?).ok())?;
    (!amount.is_sign_negative() && amount < rust_decimal::Decimal::from(1_000_000)).then_some(amount)
}

/// The items of a page (`{"data": […]}`, `{"object": "list", "data": […]}`), or the value itself.
pub fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Object(mut fields) => match fields.get("data") {
            Some(Value::Array(_)) if !fields.contains_key("messages") => match fields.remove("data") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            _ => vec![Value::Object(fields)],
        },
        other => vec![other],
    }
}

/// Makes the usual importer of a function: pieces that are bad are told as such, pages are opened.
pub struct ByRow<F>(pub F);

impl<F: FnMut(&Map<String, Value>) -> Found> Importer for ByRow<F> {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        match piece {
            Piece::Bad(reason) => out.push(Found::Not(reason)),
            Piece::Block(_) => out.push(Found::Not(Reason::OtherKind)),
            Piece::Json(value) => {
                let items = items(value);
                let is_page = items.len() != 1;
                for (index, item) in items.iter().enumerate() {
                    out.push(match item {
                        Value::Object(fields) => match (self.0)(fields) {
                            Found::Exchange(mut draft) if is_page => {
                                draft.exchange.source.row = index as u64 + 1;
                                Found::Exchange(draft)
                            }
                            other => other,
                        },
                        _ => Found::Not(Reason::OtherKind),
                    });
                }
            }
        }
    }
}
