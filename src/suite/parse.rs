//! Text to suite. Reads YAML 1.2 (core schema) into a tree with places, and the tree into a [`Suite`], and reports every
//! fault of both. The only module that knows the YAML library.
//!
//! Nothing in a file can make this panic, hang or take memory without bound: sizes, depth, aliases and the number of
//! faults are limited.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde::de::DeserializeOwned;

use crate::suite::document::Document;
use crate::suite::mend::{self, MAX_FAULTS};
use crate::suite::node::{Entry, Kind, Node, Spot, State};
use crate::suite::spec::Suite;
use crate::types::{Fault, Faults, Place};
use crate::util::text;

/// The longest suite file, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// How deep values may be nested.
const MAX_DEPTH: usize = 128;

/// How many values a file may hold, each use of an alias counted in full.
const MAX_NODES: usize = 250_000;

/// How many bytes of text a file may hold, each use of an alias counted in full.
const MAX_TEXT: usize = 4 * MAX_BYTES;

/// What a file is, for messages.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// `suite`
    pub name: &'static str,
    /// Its main keys, in backticks.
    pub keys: &'static str,
    /// What to do about an empty one.
    pub if_empty: &'static str,
}

const SUITE: FileKind = FileKind {
    name: "suite",
    keys: "`name`, `dataset`, `candidates`",
    if_empty: "`evalctl init` writes one to start from",
};

/// Reads a suite. Without faults the suite is what the file says. With faults it is what is left, with stand-ins where
/// something required was missing, so that the rest can be checked too ([`Document::is_sure`] tells them apart); it is
/// `None` when there is nothing to check.
///
/// A configuration of promptfoo is recognised as one, instead of being read as a suite full of unknown keys.
pub fn parse(file: &Path, bytes: &[u8]) -> (Document, Option<Suite>, Faults) {
    let (document, suite, faults) = parse_as(&SUITE, file, bytes);
    match promptfoo(&document) {
        Some(fault) => (document, None, fault.into()),
        None => (document, suite, faults),
    }
}

/// The fault of a file that is a configuration of promptfoo.
fn promptfoo(document: &Document) -> Option<Fault> {
    let Kind::Map(entries) = &document.root.kind else { return None };
    let has = |key: &str| entries.iter().any(|entry| entry.key == key);
    let is_theirs = has("prompts") && (has("providers") || has("targets")) || has("providers") && has("tests");
    // What a suite must have stands in the tree by now, if only as a stand-in.
    let is_written = |entry: &Entry| !matches!(entry.value.state, State::Invented(_));
    let is_ours = |entry: &Entry| ["candidates", "dataset"].contains(&entry.key.as_str()) && is_written(entry);
    if !is_theirs || entries.iter().any(is_ours) {
        return None;
    }
    let spot = entries.iter().find(|entry| entry.key == "prompts" || entry.key == "providers")?.key_spot;
    let help = "`evalctl init` writes a suite to start from: there, `prompt` takes the prompt, `candidates` the providers, \
                `dataset` the tests (a row each in a JSONL or CSV file, with the `vars` as fields and what is right as \
                `target`), and `scorers` the assertions";
    Some(document.fault_at(spot, "this is a configuration of promptfoo, not an evalctl suite").help(help))
}

/// Reads a file of another kind than a suite, in the same way.
pub fn parse_as<T: DeserializeOwned>(kind: &FileKind, file: &Path, bytes: &[u8]) -> (Document, Option<T>, Faults) {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut faults = Faults::new();
    let text = match text(kind, file, bytes) {
        Ok(text) => text,
        Err(fault) => return (Document::new(file, ""), None, (*fault).into()),
    };
    let mut document = Document::new(file, text);
    let tree = match Builder::new(kind, &document, &mut faults).run(text) {
        Ok(Some(root)) if matches!(root.kind, Kind::Map(_)) => Ok(root),
        Ok(Some(root)) if !matches!(root.kind, Kind::Null) => {
            let message = format!("expected a mapping with {}, found {}", kind.keys, root.describe());
            Err(document.fault_at(root.spot, message))
        }
        Ok(_) => Err(document.file_fault(format!("the {} is empty", kind.name)).help(kind.if_empty)),
        Err(fault) => Err(*fault),
    };
    let value = match tree {
        Ok(root) => {
            document.root = root;
            mend::read(&mut document, &mut faults)
        }
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    sort(&mut faults);
    if faults.0.len() >= MAX_FAULTS {
        faults.0.truncate(MAX_FAULTS);
        faults.push(document.file_fault(format!("there may be more faults: only {MAX_FAULTS} are shown")));
    }
    (document, value, faults)
}

/// Puts faults in the order of their places, those without a line last.
pub(crate) fn sort(faults: &mut Faults) {
    faults.0.sort_by_key(|fault| (fault.place.line.is_none(), fault.place.line, fault.place.column));
}

/// The bytes as text that YAML allows.
fn text<'a>(kind: &FileKind, file: &Path, bytes: &'a [u8]) -> Result<&'a str, Stop> {
    if bytes.len() > MAX_BYTES {
        let message = format!("a {} of {} bytes is longer than {MAX_BYTES}", kind.name, bytes.len());
        return Err(Box::new(Fault::new(Place::file(file), message)));
    }
    let (valid, rest) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            (std::str::from_utf8(valid).unwrap_or_default(), rest.first())
        }
    };
    let bad = valid.char_indices().find(|(_, c)| !is_allowed(*c));
    let (end, message) = match (bad, rest) {
        (Some((end, c)), _) => (end, format!("the character U+{:04X} is not allowed", u32::from(c))),
        (None, Some(byte)) => (valid.len(), format!("the byte 0x{byte:02X} is not valid UTF-8")),
        (None, None) => return Ok(valid),
    };
    let document = Document::new(file, &valid[..end]);
    let line = document.height();
    let column = document.line(line).unwrap_or_default().chars().count() as u64 + 1;
    let help = if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        "the file looks like UTF-16: save it as UTF-8".to_owned()
    } else {
        format!("a {} is UTF-8 text", kind.name)
    };
    Err(Box::new(document.fault_at(Spot { line, column }, message).help(help)))
}

/// The characters of YAML 1.2 (section 5.1). The library takes a NUL for the end of the file.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}')
        || c >= '\u{10000}'
}

/// What ends the reading.
type Stop = Box<Fault>;

/// Builds the tree from the library's events, without recursion.
struct Builder<'a> {
    kind: &'a FileKind,
    document: &'a Document,
    faults: &'a mut Faults,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, (Rc<Node>, Size)>,
    /// Of everything built, copies included.
    total: Size,
}

/// How much memory and stack a value needs.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text: usize,
    depth: usize,
}

/// A list or mapping whose end has not come.
struct Open {
    spot: Spot,
    anchor: usize,
    has_tag: bool,
    size: Size,
    inside: Inside,
}

enum Inside {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, Spot>, key: Option<Key> },
}

/// A key whose value has not come.
struct Key {
    text: String,
    spot: Spot,
    is_good: bool,
}

impl<'a> Builder<'a> {
    fn new(kind: &'a FileKind, document: &'a Document, faults: &'a mut Faults) -> Builder<'a> {
        let total = Size::default();
        Builder { kind, document, faults, open: Vec::new(), root: None, anchors: HashMap::new(), total }
    }

    /// The tree of the only document; `None` when there is none.
    fn run(mut self, text: &str) -> Result<Option<Node>, Stop> {
        let mut has_document = false;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let spot = self.spot(span.start);
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) if has_document => {
                    let name = self.kind.name;
                    self.report(|document| {
                        let fault = document.fault_at(spot, "a second document begins here");
                        fault.help(format!("a {name} is one document: one file, one {name}"))
                    });
                    break;
                }
                Event::DocumentStart(_) => has_document = true,
                Event::Alias(id) => self.alias(id, spot)?,
                Event::Scalar(text, style, anchor, tag) => {
                    let kind = match style {
                        ScalarStyle::Plain => plain(&text),
                        ScalarStyle::SingleQuoted
                        | ScalarStyle::DoubleQuoted
                        | ScalarStyle::Literal
                        | ScalarStyle::Folded => Kind::String(text.clone().into_owned()),
                    };
                    let mut node = Node::new(kind, self.scalar_spot(&text, style, spot));
                    node.is_literal = style == ScalarStyle::Literal;
                    let has_tag = self.tag(tag.as_deref(), node.spot);
                    let size = Size { nodes: 1, text: text.len(), depth: 0 };
                    self.close(node, size, anchor, has_tag)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.begin(Inside::Seq(Vec::new()), spot, anchor, tag.as_deref())?;
                }
                Event::MappingStart(anchor, tag) => {
                    let inside = Inside::Map { entries: Vec::new(), seen: HashMap::new(), key: None };
                    self.begin(inside, spot, anchor, tag.as_deref())?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(open) = self.open.pop() else { continue };
                    let kind = match open.inside {
                        Inside::Seq(items) => Kind::Seq(items),
                        Inside::Map { entries, .. } => Kind::Map(entries),
                    };
                    self.close(Node::new(kind, open.spot), open.size, open.anchor, open.has_tag)?;
                }
            }
        }
        Ok(self.root)
    }

    fn begin(&mut self, inside: Inside, spot: Spot, anchor: usize, tag: Option<&Tag>) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Box::new(self.too_deep(spot)));
        }
        let has_tag = self.tag(tag, spot);
        self.open.push(Open { spot, anchor, has_tag, size: Size { nodes: 1, text: 0, depth: 1 }, inside });
        Ok(())
    }

    /// Takes a complete value: makes it known by its anchor and puts it where it belongs.
    fn close(&mut self, mut node: Node, size: Size, anchor: usize, has_tag: bool) -> Result<(), Stop> {
        if anchor != 0 {
            self.charge(size, node.spot)?;
            self.anchors.insert(anchor, (Rc::new(node.clone()), size));
        }
        if has_tag {
            node.state = State::Pruned;
        }
        // What is inside has been charged for already.
        self.charge(Size { nodes: 1, text: if size.depth == 0 { size.text } else { 0 }, depth: 0 }, node.spot)?;
        self.put(node, size);
        Ok(())
    }

    fn alias(&mut self, id: usize, spot: Spot) -> Result<(), Stop> {
        let Some((node, size)) = self.anchors.get(&id).cloned() else {
            return Err(Box::new(self.document.fault_at(spot, "the alias stands inside the value that it names")));
        };
        self.charge(size, spot)?;
        if self.open.len() + size.depth > MAX_DEPTH {
            return Err(Box::new(self.too_deep(spot)));
        }
        self.put(Node::clone(&node), size);
        Ok(())
    }

    fn put(&mut self, node: Node, size: Size) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.size.nodes += size.nodes;
        open.size.text += size.text;
        open.size.depth = open.size.depth.max(size.depth + 1);
        match &mut open.inside {
            Inside::Seq(items) => items.push(node),
            Inside::Map { key: key @ None, .. } => {
                let (text, is_good) = match &node.kind {
                    Kind::String(text) => (text.clone(), true),
                    _ => (String::new(), false),
                };
                *key = Some(Key { text, spot: node.spot, is_good });
                if !is_good {
                    self.report(|document| {
                        let message = format!("a key must be a string, found {}", node.describe());
                        let fault = document.fault_at(node.spot, message);
                        if node.children().is_empty() { fault.help("put it in quotes") } else { fault }
                    });
                }
            }
            Inside::Map { entries, seen, key: key @ Some(_) } => {
                let Some(Key { text: name, spot, is_good }) = key.take() else { return };
                let mut value = node;
                let mut first = None;
                if !is_good {
                    value.state = State::Pruned;
                } else if let Some(spot) = seen.get(&name) {
                    value.state = State::Pruned;
                    first = Some(spot.line);
                } else {
                    seen.insert(name.clone(), spot);
                }
                let shown = first.map(|line| (line, text::shorten(&name, 60)));
                entries.push(Entry { key: name, key_spot: spot, value });
                if let Some((line, name)) = shown {
                    self.report(|document| {
                        document.fault_at(spot, format!("the key `{name}` is given twice, first in line {line}"))
                    });
                }
            }
        }
    }

    fn charge(&mut self, size: Size, spot: Spot) -> Result<(), Stop> {
        self.total.nodes += size.nodes;
        self.total.text += size.text;
        if self.total.nodes > MAX_NODES {
            let message = format!("the file holds more than {MAX_NODES} values, its aliases written out");
            return Err(Box::new(self.document.fault_at(spot, message)));
        }
        if self.total.text > MAX_TEXT {
            let message = format!("the file holds more than {MAX_TEXT} bytes of text, its aliases written out");
            return Err(Box::new(self.document.fault_at(spot, message)));
        }
        Ok(())
    }

    fn tag(&mut self, tag: Option<&Tag>, spot: Spot) -> bool {
        let Some(tag) = tag else { return false };
        let name = self.kind.name;
        self.report(|document| {
            let message = format!("the tag `{}` has no meaning in a {name}", text::shorten(&tag.to_string(), 60));
            document.fault_at(spot, message).help("remove it: quotes make a string of anything")
        });
        true
    }

    /// Adds a fault, which is made only if it will be shown: a file may have a hundred thousand.
    fn report(&mut self, make: impl FnOnce(&Document) -> Fault) {
        if self.faults.0.len() < MAX_FAULTS {
            self.faults.push(make(self.document));
        }
    }

    fn too_deep(&self, spot: Spot) -> Fault {
        self.document.fault_at(spot, format!("values are nested more than {MAX_DEPTH} deep"))
    }

    fn syntax(&self, error: &ScanError) -> Stop {
        let info = match error.info() {
            "recursion limit exceeded" => "values are nested too deep",
            "simple key expected" | "simple key expect ':'" => "expected `key: value`",
            info => info,
        };
        // The library may stand on the line after the last.
        let mut spot = self.spot(*error.marker());
        if spot.line > self.document.height() {
            let is_blank = |line: u64| self.document.line(line).is_none_or(|line| line.trim().is_empty());
            spot.line = (1..=self.document.height()).rev().find(|line| !is_blank(*line)).unwrap_or(1);
            spot.column = self.document.line(spot.line).map_or(0, |line| line.chars().count()) as u64 + 1;
        }
        let source = self.document.line(spot.line).unwrap_or_default();
        let has_tab =
            info.contains("a tab") || source.chars().take_while(|c| c.is_whitespace() || *c == '-').any(|c| c == '\t');
        let fault = self.document.fault_at(spot, format!("not valid YAML: {info}"));
        Box::new(if has_tab {
            fault.help("indent with spaces: YAML allows no tabs there")
        } else if info.contains("mapping values are not allowed") {
            fault.help("put a text that contains `: ` in quotes, or check the indentation")
        } else {
            fault.help(
                "the cause may stand on a line before it: a bracket or quote that is not closed, or the indentation",
            )
        })
    }

    fn spot(&self, marker: Marker) -> Spot {
        Spot { line: marker.line().max(1) as u64, column: marker.col() as u64 + 1 }
    }

    /// The place of a scalar. The library gives an empty plain one the place of the next token, which may be lines below,
    /// and a block the place of its first line that is not blank: here they stand at their key and at their `|`.
    fn scalar_spot(&self, text: &str, style: ScalarStyle, spot: Spot) -> Spot {
        let mark = match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => return spot,
            ScalarStyle::Plain if !text.is_empty() => return spot,
            ScalarStyle::Plain => {
                return match self.open.last() {
                    Some(Open { inside: Inside::Map { key: Some(key), .. }, .. }) => key.spot,
                    Some(_) | None => spot,
                };
            }
            ScalarStyle::Literal => '|',
            ScalarStyle::Folded => '>',
        };
        let blank = text.len() - text.trim_start_matches('\n').len();
        if blank == text.len() {
            return spot;
        }
        let line = spot.line.saturating_sub(1 + blank as u64).max(1);
        let source = self.document.line(line);
        let column =
            source.and_then(|source| source.split('#').next()?.rfind(mark).map(|at| source[..at].chars().count()));
        Spot { line, column: column.unwrap_or(0) as u64 + 1 }
    }
}

/// What a plain scalar is, by the core schema (YAML 1.2.2, section 10.3.2): `yes`, `no`, `on` and `off` are strings.
fn plain(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Kind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Kind::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if is_digits(unsigned) {
        return whole(text.parse().ok(), text);
    }
    if let Some(octal) = text.strip_prefix("0o").filter(|rest| rest.bytes().all(|byte| matches!(byte, b'0'..=b'7')))
        && !octal.is_empty()
    {
        return whole(i128::from_str_radix(octal, 8).ok(), text);
    }
    if let Some(hex) = text.strip_prefix("0x").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        && !hex.is_empty()
    {
        return whole(i128::from_str_radix(hex, 16).ok(), text);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let is_mantissa = match mantissa.split_once('.') {
        Some((whole, part)) => {
            (is_digits(whole) && (part.is_empty() || is_digits(part))) || (whole.is_empty() && is_digits(part))
        }
        None => is_digits(mantissa),
    };
    if is_mantissa && exponent.is_none_or(is_digits) {
        return text.parse().map_or_else(|_| Kind::String(text.to_owned()), Kind::Float);
    }
    Kind::String(text.to_owned())
}

/// A whole number if it fits, else the nearest float.
fn whole(number: Option<i128>, text: &str) -> Kind {
    match number {
        Some(number) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number) => Kind::Int(number),
        Some(number) => Kind::Float(number as f64),
        None => Kind::Float(text.parse().unwrap_or(f64::INFINITY)),
    }
}
