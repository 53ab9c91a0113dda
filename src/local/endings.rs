//! How a string that must match a pattern can be brought to an end.
//!
//! The grammar says of each next byte whether it may come; it does not say which one leads to a match, and `[^@]+@.+`
//! takes letters for ever. Patterns are automata that can be searched; formats are given here as patterns that are
//! near enough, since the grammar checks what comes of them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use llguidance::derivre::{Regex, RegexBuilder, StateID};
use llguidance::regex_to_lark;
use serde_json::Value;

/// States that are looked through for one ending, at most.
const MOST_STATES: usize = 4096;

/// What an automaton may cost to build.
const FUEL: u64 = 200_000;

/// Formats that the grammar knows, each with what ends it.
const FORMATS: [(&str, &[&str]); 10] = [
    ("date", &[]),
    ("uuid", &[]),
    ("time", &[r"^..:..:..(\.[0-9]+)?([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"]),
    ("date-time", &[r"^.{10}[tT]..:..:..(\.[0-9]+)?([zZ]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"]),
    ("duration", &[r"^P[0-9]+W$", r"^P[^T]*[0-9]D$", r"^P[^T]*[0-9]M$", r"^P.*[0-9]Y$", r"^P.*T.*[0-9]S$"]),
    ("email", &[r"^[^@]+@[a-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", r"^[^@]+@.*\]$"]),
    ("hostname", &[r"^.*[A-Za-z0-9]$"]),
    ("ipv4", &[r"^([0-9]{1,3}\.){3}[0-9]{1,3}$"]),
    ("ipv6", &[r"^([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}$", r"^.*::(.*[0-9a-fA-F])?$"]),
    ("uri", &[r"^[A-Za-z][A-Za-z0-9+.-]*:.*[0-9]$", r"^[A-Za-z][A-Za-z0-9+.-]*://\[.*:.*:.*\]$"]),
];

/// Whether the grammar knows a format. Others are words for people, and hold nobody to anything.
pub fn is_known_format(name: &str) -> bool {
    FORMATS.iter().any(|(known, _)| *known == name)
}

/// The patterns of one schema.
#[derive(Default)]
pub struct Endings(Mutex<Vec<Regex>>);

impl fmt::Debug for Endings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endings")
    }
}

impl Endings {
    /// Of all patterns and formats that a schema names.
    pub fn of(schema: &Value) -> Endings {
        let mut patterns = Vec::new();
        collect(schema, &mut patterns);
        patterns.sort_unstable();
        patterns.dedup();
        Endings(Mutex::new(patterns.into_iter().filter_map(automaton).collect()))
    }

    /// What could be added to a string so that it matches a pattern: for each that it does not match yet the shortest
    /// ending, the shortest of all first. Of letters and signs that need no escape.
    pub fn after(&self, text: &[u8]) -> Vec<Vec<u8>> {
        let mut automata = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Vec<u8>> = automata.iter_mut().filter_map(|regex| shortest(regex, text)).collect();
        found.retain(|ending| !ending.is_empty());
        found.sort_by_key(Vec::len);
        found.dedup();
        found
    }
}

/// The patterns of a schema and all schemas in it.
fn collect<'a>(schema: &'a Value, patterns: &mut Vec<&'a str>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("pattern", Value::String(pattern)) => patterns.push(pattern),
                    ("format", Value::String(format)) => {
                        let known = FORMATS.iter().filter(|(name, _)| name == format);
                        patterns.extend(known.flat_map(|(_, endings)| endings.iter().copied()));
                    }
                    ("patternProperties", Value::Object(properties)) => {
                        patterns.extend(properties.keys().map(String::as_str));
                        collect(value, patterns);
                    }
                    _ => collect(value, patterns),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, patterns)),
        _ => {}
    }
}

/// `None` for one that is no pattern, or too costly: then there is no help with it.
fn automaton(pattern: &str) -> Option<Regex> {
    let mut builder = RegexBuilder::new();
    let regex = builder.mk_regex_for_serach(&regex_to_lark(pattern, "dw")).ok()?;
    builder.into_regex_limited(regex, FUEL).ok()
}

fn shortest(regex: &mut Regex, text: &[u8]) -> Option<Vec<u8>> {
    let initial = regex.initial_state();
    let start = regex.transition_bytes(initial, text);
    // From where and by which byte each state was first reached.
    let mut reached: HashMap<StateID, Option<(StateID, u8)>> = HashMap::from([(start, None)]);
    let mut open = VecDeque::from([start]);
    while let Some(state) = open.pop_front() {
        if regex.is_accepting(state) {
            let mut ending = Vec::new();
            let mut at = state;
            while let Some((before, byte)) = reached.get(&at).copied().flatten() {
                ending.push(byte);
                at = before;
            }
            ending.reverse();
            return Some(ending);
        }
        for byte in (b' '..=b'~').filter(|byte| !matches!(byte, b'"' | b'\\')) {
            let next = regex.transition(state, byte);
            if !next.is_dead() && !reached.contains_key(&next) && reached.len() < MOST_STATES {
                reached.insert(next, Some((state, byte)));
                open.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endings(schema: &Value, text: &str) -> Vec<String> {
        Endings::of(schema).after(text.as_bytes()).into_iter().map(|e| String::from_utf8(e).unwrap()).collect()
    }

    #[test]
    fn a_pattern_s_shortest_ending_is_found() {
        for (pattern, text, ending) in [
            ("foo", "xyz", "foo"),
            ("foo", "xyz f", "oo"),
            ("foo", "xyz fo", "o"),
            ("^(ab)*c", "abab", "c"),
            (r"^[a-z]+@[a-z]+\.de$", "me", "@a.de"),
        ] {
            let got = endings(&json!({"items": [{"pattern": pattern}]}), text);
            assert_eq!(got, [ending], "{pattern} after {text}");
        }
        assert!(endings(&json!({"pattern": "^a$"}), "b").is_empty(), "what cannot match has no ending");
        assert!(endings(&json!({"pattern": "^a+$"}), "a").is_empty(), "what matches needs none");
        assert!(endings(&json!({"pattern": "("}), "a").is_empty(), "what is no pattern is no help");
    }

    #[test]
    fn formats_have_endings() {
        for (format, text, ending) in [
            ("email", "me", "@0"),
            ("time", "12:34:56.78", "Z"),
            ("date-time", "2026-11-21T12:34:56.78", "Z"),
            ("ipv4", "10.0.", "0.0"),
            ("duration", "PT5", "S"),
        ] {
            let got = endings(&json!({"properties": {"a": {"format": format}}}), text);
            assert!(got.contains(&ending.to_owned()), "{format} after {text}: {got:?}");
        }
        assert!(is_known_format("uri") && !is_known_format("colour"));
    }
}
