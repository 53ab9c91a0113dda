//! How many schemas one value meets because of one: how often those that apply to the same value (`anyOf`, `$ref`, …)
//! stand in each other. Pure.
//!
//! What looks at no value (`true`, `false`, an empty schema) leaves no trace in a count of looks, so a schema that
//! multiplies such ones is told by its form alone.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Schemas that are visited in all, at most. Ordinary ones come to some tens each.
const VISITS: u64 = 1_000_000;

/// The most that one schema may unfold to, and how deep. A look at an answer costs the more, the more it unfolds to: beyond
/// this, short answers could not be checked.
const MOST: u64 = 20_000;
const DEEPEST: usize = 500;

/// Schemas by identifiers of their own that referring to one another may make the compiler of schemas go through, in all.
/// It keeps what it has compiled only of references within a document.
const COMPILED: u64 = 100_000;

/// Keywords whose value is a schema for the same value, or a list or a map of such.
const ONE: [&str; 4] = ["not", "if", "then", "else"];
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const MAPS: [&str; 2] = ["dependentSchemas", "dependencies"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The most schemas that any one of a document unfolds to; `None` where that cannot be counted within reason.
pub fn most(document: &Value) -> Option<u64> {
    let mut unfold = Unfold { document, named: HashMap::new(), whole: HashMap::new(), left: VISITS };
    let mut all = Vec::new();
    collect(document, &mut all);
    for schema in &all {
        for key in ["$id", "id", "$anchor", "$dynamicAnchor"] {
            if let Some(name) = schema.get(key).and_then(Value::as_str) {
                unfold.named.entry(last(name)).or_default().push(schema);
                unfold.whole.entry(name.trim_end_matches('#')).or_default().push(schema);
            }
        }
    }
    let mut most = 0;
    for schema in all {
        let before = unfold.left;
        unfold.visit(schema, &mut Vec::new())?;
        most = most.max(before - unfold.left);
    }
    unfold.left = COMPILED;
    unfold.compile(document, &mut Vec::new())?;
    Some(most).filter(|most| *most <= MOST)
}

/// Every object of a document: what is not a schema does not unfold.
fn collect<'a>(value: &'a Value, all: &mut Vec<&'a Map<String, Value>>) {
    match value {
        Value::Object(members) => {
            all.push(members);
            members.values().for_each(|value| collect(value, all));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, all)),
        _ => {}
    }
}

/// A name without what it is relative to.
fn last(name: &str) -> &str {
    name.trim_end_matches('#').rsplit(['/', '#', ':']).next().unwrap_or_default()
}

struct Unfold<'a> {
    document: &'a Value,
    /// Schemas by their identifiers and anchors.
    named: HashMap<&'a str, Vec<&'a Map<String, Value>>>,
    /// The same by the whole of each, as it is written.
    whole: HashMap<&'a str, Vec<&'a Map<String, Value>>>,
    left: u64,
}

impl<'a> Unfold<'a> {
    /// Visits a schema and all that apply to the same value. One that stands in itself is gone into once.
    fn visit(&mut self, schema: &'a Map<String, Value>, open: &mut Vec<*const Map<String, Value>>) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let own = std::ptr::from_ref(schema);
        if open.contains(&own) {
            return Some(());
        }
        if open.len() >= DEEPEST {
            return None;
        }
        open.push(own);
        for (key, value) in schema {
            let key = key.as_str();
            if ONE.contains(&key) {
                self.value(value, open)?;
            } else if LISTS.contains(&key) {
                value.as_array().into_iter().flatten().try_for_each(|value| self.value(value, open))?;
            } else if MAPS.contains(&key) {
                value.as_object().into_iter().flatten().try_for_each(|(_, value)| self.value(value, open))?;
            } else if let (true, Some(reference)) = (REFERENCES.contains(&key), value.as_str()) {
                for target in self.targets(reference) {
                    self.visit(target, open)?;
                }
            }
        }
        open.pop();
        Some(())
    }

    /// Goes through a value as the compiler of schemas does: into all of it, and wherever it refers to by name.
    fn compile(&mut self, value: &'a Value, open: &mut Vec<*const Map<String, Value>>) -> Option<()> {
        match value {
            Value::Object(schema) => self.compile_one(schema, open),
            Value::Array(items) => items.iter().try_for_each(|item| self.compile(item, open)),
            _ => Some(()),
        }
    }

    fn compile_one(&mut self, schema: &'a Map<String, Value>, open: &mut Vec<*const Map<String, Value>>) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        for (key, value) in schema {
            let Some(reference) = value.as_str().filter(|_| REFERENCES.contains(&key.as_str())) else {
                self.compile(value, open)?;
                continue;
            };
            if reference.starts_with('#') {
                continue;
            }
            for target in self.targets(reference) {
                let own = std::ptr::from_ref(target);
                if open.contains(&own) {
                    continue;
                }
                if open.len() >= DEEPEST {
                    return None;
                }
                open.push(own);
                self.compile_one(target, open)?;
                open.pop();
            }
        }
        Some(())
    }

    fn value(&mut self, value: &'a Value, open: &mut Vec<*const Map<String, Value>>) -> Option<()> {
        match value {
            Value::Object(schema) => self.visit(schema, open),
            _ => {
                self.left = self.left.checked_sub(1)?;
                Some(())
            }
        }
    }

    /// What a reference can stand for within the document; where that is more than one, all of it is counted.
    fn targets(&self, reference: &str) -> Vec<&'a Map<String, Value>> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        // As it is written, else by what it ends in: it may be relative to another.
        let named = |name: &str| {
            let whole = self.whole.get(name.trim_end_matches('#'));
            whole.or_else(|| self.named.get(last(name))).cloned().unwrap_or_default()
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return named(fragment);
        }
        let mut bases = if base.is_empty() { Vec::new() } else { named(base) };
        if fragment.is_empty() {
            if base.is_empty() {
                bases.extend(self.document.as_object());
            }
            return bases;
        }
        // A pointer is relative to the nearest `$id`, which may be any of them.
        if base.is_empty() {
            bases.extend(self.document.as_object());
            let with_id = |name: &&'a Map<String, Value>| name.contains_key("$id") || name.contains_key("id");
            bases.extend(self.named.values().flatten().copied().filter(with_id));
            bases.sort_by_key(|base| std::ptr::from_ref(*base));
            bases.dedup_by_key(|base| std::ptr::from_ref(*base));
        }
        bases.into_iter().filter_map(|base| at(base, fragment)).collect()
    }
}

/// What a JSON pointer names.
fn at<'a>(base: &'a Map<String, Value>, pointer: &str) -> Option<&'a Map<String, Value>> {
    let decoded = unescape(pointer);
    let (first, rest) =
        decoded[1..].split_once('/').map_or((&decoded[1..], ""), |(first, _)| (first, &decoded[1 + first.len()..]));
    base.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)?.as_object()
}

/// A fragment without its percent signs.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *byte == b'%') {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
