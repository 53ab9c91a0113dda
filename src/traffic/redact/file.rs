//! The user's own rules, one a line: `name: regex`, or a JSON pointer to a field that goes as a whole.

use std::path::Path;

use regex::RegexBuilder;
use serde_json::Value;

use crate::traffic::redact::rules::{self, Rule};
use crate::types::{Fault, Faults, Place};

/// How large a pattern may become.
const PATTERN_BYTES: usize = 8 << 20;

/// Rules of a file.
#[derive(Debug, Default)]
pub struct Custom {
    /// Patterns.
    pub rules: Vec<Rule>,
    /// Fields that go as a whole.
    pub pointers: Vec<Pointer>,
}

/// A JSON pointer (RFC 6901) in which `*` is any field.
#[derive(Debug)]
pub struct Pointer {
    /// As it was written.
    pub text: String,
    /// Its parts.
    pub parts: Vec<String>,
    /// How many fields it has named so far.
    pub hits: u64,
}

impl Pointer {
    /// Takes what it names out of a value; gives how many fields that were.
    pub fn remove_from(&mut self, value: &mut Value) -> u64 {
        let count = remove(value, &self.parts);
        self.hits += count;
        count
    }
}

/// Reads the user's rules. Empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// Every line that is no rule, with its number and what to do.
pub fn custom(text: &str, file: &Path) -> Result<Custom, Faults> {
    let mut all = Custom::default();
    let mut faults = Faults::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let place = Place::line(file, index as u64 + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(pointer) = line.strip_prefix('/') {
            let parts = pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
            all.pointers.push(Pointer { text: line.to_owned(), parts: parts.collect(), hits: 0 });
            continue;
        }
        let Some((name, pattern)) = line.split_once(':') else {
            let help = "a line is `name: regex`, or a JSON pointer such as `/metadata/email`; `*` in it is any field";
            faults.push(Fault::new(place, "no rule").help(help));
            continue;
        };
        let (name, pattern) = (name.trim(), pattern.trim());
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || pattern.is_empty() {
            faults.push(
                Fault::new(place, "no rule").help("a name has letters, digits and `_`, and a pattern follows it"),
            );
            continue;
        }
        match RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build() {
            Ok(found) if found.is_match("") => {
                faults.push(Fault::new(place, "the pattern matches the empty text").help("let it ask for a character"));
            }
            Ok(pattern) => {
                let check = rules::whole;
                all.rules.push(Rule { name: name.to_owned(), pattern, check, needs: &[], least_digits: 0 });
            }
            Err(error) => {
                let said = error.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                faults.push(Fault::new(place, format!("no regular expression: {why}")));
            }
        }
    }
    faults.or(all)
}

fn remove(value: &mut Value, pointer: &[String]) -> u64 {
    let Some((head, tail)) = pointer.split_first() else { return 0 };
    match value {
        Value::Object(fields) if head == "*" => match tail {
            [] => {
                let count = fields.len() as u64;
                fields.clear();
                count
            }
            tail => fields.values_mut().map(|value| remove(value, tail)).sum(),
        },
        Value::Object(fields) if tail.is_empty() => u64::from(fields.shift_remove(head).is_some()),
        Value::Object(fields) => fields.get_mut(head).map_or(0, |value| remove(value, tail)),
        Value::Array(items) if head == "*" && !tail.is_empty() => items.iter_mut().map(|item| remove(item, tail)).sum(),
        Value::Array(items) => match head.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
            Some(item) if tail.is_empty() => {
                *item = Value::Null;
                1
            }
            Some(item) => remove(item, tail),
            None => 0,
        },
        // Bodies may be texts of JSON.
        Value::String(text) if text.starts_with(['{', '[']) => match serde_json::from_str::<Value>(text) {
            Ok(mut inner) => {
                let count = remove(&mut inner, pointer);
                if count > 0 {
                    *text = inner.to_string();
                }
                count
            }
            Err(_) => 0,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_faults() {
        let custom = custom("# ours\n\ncustomer: C-\\d{6}\n/metadata/*/e~1mail\n", Path::new("r")).unwrap();
        assert_eq!((custom.rules.len(), custom.rules[0].name.as_str()), (1, "customer"));
        assert_eq!(custom.pointers[0].parts, ["metadata", "*", "e/mail"]);
        let faults = super::custom("nothing\nx: (\ny: a*\n: b\n", Path::new("r.txt")).unwrap_err().to_string();
        for said in ["no rule\n  --> r.txt:1", "no regular expression", "matches the empty text", "r.txt:4"] {
            assert!(faults.contains(said), "{said}\n{faults}");
        }
    }
}
