//! Reads a type from a tree and goes on after each fault: what is wrong is reported and left out, what is missing is
//! made up, and the tree is read again. So all faults of a file are found at once, and none that follows from another.

use serde::de::DeserializeOwned;

use crate::suite::de::{What, Wrong};
use crate::suite::document::Document;
use crate::suite::node::{self, Entry, Kind, Node, State};
use crate::types::{Fault, Faults};
use crate::util::text;

/// How many faults of a file are reported.
pub(crate) const MAX_FAULTS: usize = 50;

/// How often the tree is read. Each round reports a fault or takes one of a few silent steps after it.
const MAX_ROUNDS: usize = 6 * MAX_FAULTS;

/// Reads the document's tree, adds what is wrong with it to `faults`, and gives what could be read: the whole when there
/// were no faults, else what is left with stand-ins in it ([`Document::is_sure`] tells them apart), or nothing.
pub(crate) fn read<T: DeserializeOwned>(document: &mut Document, faults: &mut Faults) -> Option<T> {
    for _ in 0..MAX_ROUNDS {
        let wrong = match T::deserialize(&document.root) {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        let fault = (!is_in_invention(&document.root, &wrong)).then(|| fault(document, &wrong)).flatten();
        if let Some(fault) = fault {
            if faults.0.len() >= MAX_FAULTS {
                return None;
            }
            faults.push(fault);
        }
        if !mend(&mut document.root, &wrong) {
            return None;
        }
    }
    None
}

/// Whether the error is about something that was made up, and so follows from a fault that is known.
fn is_in_invention(root: &Node, wrong: &Wrong) -> bool {
    let way = wrong.way();
    (1..=way.len()).any(|end| root.at(&way[..end]).is_some_and(|node| !node.is_kept()))
}

/// The fault in words; `None` when it follows from one that is known.
fn fault(document: &Document, wrong: &Wrong) -> Option<Fault> {
    let way = wrong.way();
    let node = document.root.at(&way)?;
    let of = |name: String, word: &str| if name.is_empty() { String::new() } else { format!(" {word} `{name}`") };
    let parent = || of(node::name(&document.root, &way[..way.len().saturating_sub(1)]), "in");
    let fault = match &wrong.what {
        What::UnknownKey { known } => {
            let key = last_key(&document.root, &way)?;
            let message = format!("unknown key `{}`{}", node::shown(key), parent());
            document.entry_fault(&way, message).help(help_key(key, known))
        }
        What::UnknownWord { known } => {
            let Kind::String(word) = &node.kind else { return None };
            let message =
                format!("unknown value `{}`{}", node::shown(word), of(node::name(&document.root, &way), "for"));
            let help = text::did_you_mean(word, known.iter().copied());
            document.value_fault(&way, message).help(help.unwrap_or_else(|| format!("known values: {}", list(known))))
        }
        What::MissingKey { key } => {
            // It was there and wrong, or misspelt.
            if let Kind::Map(entries) = &node.kind
                && entries.iter().any(|e| !e.value.is_live() && text::near(&e.key, [*key]).is_some())
            {
                return None;
            }
            let message = format!("missing key `{key}`{}", of(node::name(&document.root, &way), "in"));
            // An empty value has no place of its own.
            match node.kind {
                Kind::Null => document.entry_fault(&way, message),
                Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) | Kind::Map(_) => {
                    document.value_fault(&way, message)
                }
            }
        }
        What::Expected(expected) => {
            let fault = expected_fault(document, &way, &in_words(expected), node);
            match (&node.kind, expected.as_str()) {
                (Kind::Int(_) | Kind::Float(_) | Kind::Bool(_), "a string") => {
                    fault.help("put it in quotes to make it a string")
                }
                (Kind::String(word), "a boolean")
                    if ["yes", "no", "on", "off"].contains(&word.to_ascii_lowercase().as_str()) =>
                {
                    fault.help(format!("YAML 1.2 has only `true` and `false`; `{word}` is a string"))
                }
                _ => fault,
            }
        }
        What::ExpectedMap { known } => expected_fault(document, &way, "a mapping", node).help(format!(
            "{}: {}",
            if known.len() == 1 { "its key" } else { "its keys" },
            list(known)
        )),
        What::ExpectedOne { known } => expected_one(document, &way, node, known),
        What::Hollow => return None,
        What::Other(message) => document.value_fault(&way, text::shorten(message, 200)),
    };
    Some(fault)
}

fn expected_fault(document: &Document, way: &[usize], expected: &str, node: &Node) -> Fault {
    let message = format!("expected {expected}, found {}", node.describe());
    match node.kind {
        Kind::Null => document.entry_fault(way, message),
        Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) | Kind::Map(_) => {
            document.value_fault(way, message)
        }
    }
}

/// A mapping with exactly one of the known keys was expected.
fn expected_one(document: &Document, way: &[usize], node: &Node, known: &[&str]) -> Fault {
    let keys: Vec<&str> = match &node.kind {
        Kind::Map(entries) => entries.iter().filter(|entry| entry.value.is_live()).map(|e| e.key.as_str()).collect(),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) => Vec::new(),
    };
    let expected = match known {
        [one] => format!("a mapping with the key `{one}`"),
        _ => format!("a mapping with exactly one of the keys {}", list(known)),
    };
    if keys.is_empty() {
        let fault = expected_fault(document, way, &expected, node);
        return match &node.kind {
            Kind::String(word) if known.contains(&word.as_str()) => fault.help(format!("write `{word}: {{}}`")),
            _ => fault,
        };
    }
    let mut shown: Vec<String> = keys.iter().take(5).map(|key| format!("`{}`", text::shorten(key, 30))).collect();
    if keys.len() > 5 {
        shown.push("…".to_owned());
    }
    let fault = document.value_fault(way, format!("expected {expected}, found the keys {}", shown.join(", ")));
    match keys.first().filter(|first| known.contains(first)) {
        // `- label:` with its entries not indented below it.
        Some(first) if !keys[1..].iter().any(|key| known.contains(key)) => {
            fault.help(format!("indent what belongs to `{first}` further than `{first}`"))
        }
        Some(_) | None => fault,
    }
}

/// Changes the tree so that the same error does not come again; false when nothing can be done.
fn mend(root: &mut Node, wrong: &Wrong) -> bool {
    let way = wrong.way();
    match &wrong.what {
        What::UnknownKey { .. } => {
            // In a mapping with one entry, as scorers are, this leaves it hollow, and it goes next.
            prune(root, &way)
        }
        What::MissingKey { key } => {
            let Some(node) = root.at_mut(&way) else { return false };
            if matches!(node.kind, Kind::Null) {
                node.kind = Kind::Map(Vec::new());
            }
            let spot = node.spot;
            let Kind::Map(entries) = &mut node.kind else { return false };
            entries.push(Entry { key: (*key).to_owned(), key_spot: spot, value: Node::invented(spot) });
            true
        }
        What::UnknownWord { .. }
        | What::Expected(_)
        | What::ExpectedMap { .. }
        | What::ExpectedOne { .. }
        | What::Hollow
        | What::Other(_) => replace(root, &way),
    }
}

/// Takes a wrong value out; a stand-in becomes one of the next kind, and when no kind fits, what holds it goes too.
fn replace(root: &mut Node, way: &[usize]) -> bool {
    let Some(node) = root.at_mut(way) else { return false };
    match node.state {
        State::Kept | State::Pruned => prune(root, way),
        State::Invented(_) => {
            if node.reinvent() {
                return true;
            }
            let Some((_, parent)) = way.split_last() else { return false };
            prune(root, way) && replace(root, parent)
        }
    }
}

fn prune(root: &mut Node, way: &[usize]) -> bool {
    if way.is_empty() {
        return false;
    }
    let Some(node) = root.at_mut(way) else { return false };
    node.state = State::Pruned;
    true
}

fn last_key<'a>(root: &'a Node, way: &[usize]) -> Option<&'a str> {
    let (last, parent) = way.split_last()?;
    match &root.at(parent)?.kind {
        Kind::Map(entries) => entries.get(*last).map(|entry| entry.key.as_str()),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) | Kind::Seq(_) => None,
    }
}

fn help_key(key: &str, known: &'static [&'static str]) -> String {
    let plain = key.to_ascii_lowercase().replace(['-', '_'], "");
    if known.contains(&"api_key_env") && ["apikey", "key", "token", "apitoken"].contains(&plain.as_str()) {
        return "a key is named by the variable that holds it, `api_key_env: NAME`; it is never written in the file"
            .to_owned();
    }
    if key == "<<" {
        return "YAML 1.2 has no merge keys: write the entries out".to_owned();
    }
    text::did_you_mean(key, known.iter().copied()).unwrap_or_else(|| match known {
        [] => "no keys are known here".to_owned(),
        [one] => format!("the only known key: `{one}`"),
        _ => format!("known keys: {}", list(known)),
    })
}

fn list(known: &[&str]) -> String {
    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What serde calls a type, in the words of the file.
fn in_words(expected: &str) -> String {
    match expected {
        "u8" | "u16" => "a small whole number, 0 or more",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other => other,
    }
    .to_owned()
}
