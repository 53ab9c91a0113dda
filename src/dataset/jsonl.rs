//! A line of a JSONL file: one JSON object.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::map::Entry;

use crate::dataset::lines;
use crate::types::{Fault, Place, Row};
use crate::util::text::visible;

/// Lines up to this length are shown in a fault; of longer ones only line and column are given.
const SHOWN_BYTES: usize = 64 << 10;

/// Whether a line holds nothing, so that it is no row.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// The object on a line.
///
/// # Errors
/// When the line is not UTF-8, not JSON, JSON but no object, or has a field twice; with line, column (in characters) and the
/// line itself.
pub fn row(bytes: &[u8], file: &Path, line: u64) -> Result<Row, Fault> {
    let text = lines::text(bytes, file, line)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut twice = None;
    let read = json.deserialize_map(Fields { twice: &mut twice }).and_then(|row| json.end().map(|()| row));
    if let Ok(row) = read {
        return Ok(row);
    }
    if let Some(name) = twice {
        let fault = Fault::new(Place::line(file, line), format!("the field `{}` stands there twice", visible(&name)));
        return Err(shown(fault, text).help("take out the one that does not count"));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => {
            let column = text.chars().take_while(|c| c.is_ascii_whitespace()).count() as u64 + 1;
            let message = format!("a row must be a JSON object, not {}", kind(&other));
            let mut fault = shown(Fault::new(Place::at(file, line, column), message), text);
            if matches!(other, Value::Array(_)) {
                fault = fault.help("write one object a line, without a list around them");
            }
            Err(fault)
        }
        Err(error) => {
            let fault = Fault::new(Place::at(file, line, column(text, &error)), format!("not JSON: {}", cause(&error)));
            let mut fault = shown(fault, text);
            if error.is_eof() {
                fault = fault.help("an object must stand on one line as a whole");
            }
            Err(fault)
        }
    }
}

/// Builds a row.
struct Fields<'a> {
    /// A name that occurs twice.
    twice: &'a mut Option<String>,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let mut row = Row::new();
        while let Some(name) = map.next_key::<String>()? {
            match row.entry(name) {
                Entry::Vacant(place) => drop(place.insert(map.next_value()?)),
                Entry::Occupied(place) => {
                    *self.twice = Some(place.key().clone());
                    return Err(serde::de::Error::custom("a field stands there twice"));
                }
            }
        }
        Ok(row)
    }
}

fn shown(mut fault: Fault, text: &str) -> Fault {
    fault.excerpt = (text.len() <= SHOWN_BYTES).then(|| text.to_owned());
    fault
}

/// What a value is, with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// serde_json counts bytes; people count characters.
fn column(text: &str, error: &serde_json::Error) -> u64 {
    let byte = text.floor_char_boundary(error.column().saturating_sub(1));
    text[..byte].chars().count() as u64 + 1
}

/// The message without its place, which is always line 1 here.
fn cause(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(&*message, |(cause, _)| cause).to_owned()
}

/// The value of one top-level field, without building the rest of the object; `Ok(None)` when there is no such field.
///
/// # Errors
/// When the line is no JSON object. [`row`] says why.
pub(super) fn pick(text: &str, field: &str) -> Result<Option<Value>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Pick(field).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

struct Pick<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Option<Value>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Option<Value>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut picked = None;
        while let Some(is_it) = map.next_key_seed(IsIt(self.0))? {
            if is_it { picked = Some(map.next_value()?) } else { map.next_value::<IgnoredAny>().map(drop)? }
        }
        Ok(picked)
    }
}

/// Whether a key is this one.
struct IsIt<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsIt<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsIt<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_line_column_and_excerpt() {
        let deep = "[".repeat(200);
        for (text, expected) in [
            (r#"{"a": x}"#, "error: not JSON: expected value\n  --> a.jsonl:7:7\n   |\n 7 | {\"a\": x}\n   |       ^"),
            (
                r#"{"ä": "ü", b}"#,
                "error: not JSON: key must be a string\n  --> a.jsonl:7:12\n   |\n 7 | {\"ä\": \"ü\", b}\n   |            ^",
            ),
            (
                r#"{"a": 1"#,
                "error: not JSON: EOF while parsing an object\n  --> a.jsonl:7:7\n   |\n 7 | {\"a\": 1\n   |       ^\n   = \
                 help: an object must stand on one line as a whole",
            ),
            (
                r#"{"a": 1} {"a": 2}"#,
                "error: not JSON: trailing characters\n  --> a.jsonl:7:10\n   |\n 7 | {\"a\": 1} {\"a\": 2}\n   |          ^",
            ),
            (
                " [1]",
                "error: a row must be a JSON object, not a list\n  --> a.jsonl:7:2\n   |\n 7 |  [1]\n   |  ^\n   = help: write \
                 one object a line, without a list around them",
            ),
            ("3", "error: a row must be a JSON object, not a number\n  --> a.jsonl:7:1\n   |\n 7 | 3\n   | ^"),
            (
                "{\"a\": \"\0\"}",
                "error: not JSON: control character (\\u0000-\\u001F) found while parsing a string\n  --> a.jsonl:7:8\n   \
                 |\n 7 | {\"a\": \"\\u{0}\"}\n   |        ^",
            ),
            (&deep, "recursion limit exceeded"),
            (r#"{"a": "\ud800"}"#, "hex escape"),
            (r#"{"a": 1e999}"#, "number out of range"),
        ] {
            let fault = row(text.as_bytes(), Path::new("a.jsonl"), 7).unwrap_err().to_string();
            assert!(fault == expected || (!expected.starts_with("error") && fault.contains(expected)), "{fault}");
        }
        let long = format!("{}x", " ".repeat(SHOWN_BYTES));
        let fault = row(long.as_bytes(), Path::new("a.jsonl"), 1).unwrap_err();
        assert_eq!((fault.place.column, fault.excerpt), (Some(SHOWN_BYTES as u64 + 1), None));
    }

    #[test]
    fn a_row_keeps_the_order_of_its_fields_and_has_none_twice() {
        let of = |text: &str| row(text.as_bytes(), Path::new("a.jsonl"), 1);
        let whole = of(r#" {"b": "\u0000", "a": {"c": 1, "c": 2}} "#).unwrap();
        assert_eq!(serde_json::to_string(&whole).unwrap(), r#"{"b":"\u0000","a":{"c":2}}"#);
        let fault = of(r#"{"b": 1, "a": 2, "\u0062": 3}"#).unwrap_err();
        assert!(fault.message.contains("`b` stands there twice"), "{fault}");
    }

    #[test]
    fn one_field_can_be_picked() {
        for (text, expected) in [
            (r#"{"a": {"id": 1}, "id": "x\n", "b": [1, "]"]}"#, Some(Value::from("x\n"))),
            (r#"{"i\u0064": 1, "id": 2}"#, Some(Value::from(2))),
            (r#"{"\u0069d": 1}"#, Some(Value::from(1))),
            (r#"{"a": 1}"#, None),
            ("{}", None),
        ] {
            assert_eq!(pick(text, "id").unwrap(), expected, "{text}");
        }
        for text in ["[1]", "3", "{", "{} {}", r#"{"a": }"#, "", "null"] {
            assert!(pick(text, "id").is_err(), "{text}");
        }
    }
}
