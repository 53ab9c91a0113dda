//! The tree of a suite file: values with their places, and what became of them while the file was checked.

use std::fmt::Write as _;

use crate::suite::mask;
use crate::util::text;

/// A line and a column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// One step from a value to a value inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into the entry of a mapping.
    Key(&'a str),
    /// Into an item of a list, from 0, counted as in the [`crate::suite::Suite`] that was read.
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Step<'a> {
        Step::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub kind: Kind,
    pub spot: Spot,
    pub state: State,
    /// Whether it is a literal block (`|`), whose lines are lines of the file.
    pub is_literal: bool,
}

/// What a value is, by the core schema of YAML 1.2.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// A whole number that fits `i64` or `u64`.
    Int(i128),
    Float(f64),
    String(String),
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// An entry of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_spot: Spot,
    pub value: Node,
}

/// What became of a value while the file was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// As written.
    Kept,
    /// Wrong, reported, and no longer looked at.
    Pruned,
    /// Put here in place of something missing or wrong, so that the rest can be checked: the how-manieth attempt.
    Invented(usize),
}

/// What is tried, in this order, where a required value is missing or wrong.
const INVENTIONS: [fn() -> Kind; 4] =
    [|| Kind::String(String::new()), || Kind::Seq(Vec::new()), || Kind::Map(Vec::new()), || Kind::Int(0)];

impl Node {
    pub fn new(kind: Kind, spot: Spot) -> Node {
        Node { kind, spot, state: State::Kept, is_literal: false }
    }

    /// A stand-in of the first kind.
    pub fn invented(spot: Spot) -> Node {
        Node { kind: INVENTIONS[0](), spot, state: State::Invented(0), is_literal: false }
    }

    /// Makes the value a stand-in of the next kind; false when all kinds were tried.
    pub fn reinvent(&mut self) -> bool {
        let next = match self.state {
            State::Invented(attempt) => attempt + 1,
            State::Kept | State::Pruned => 0,
        };
        let Some(make) = INVENTIONS.get(next) else { return false };
        self.kind = make();
        self.state = State::Invented(next);
        true
    }

    /// Whether the value is what the file says.
    pub fn is_kept(&self) -> bool {
        self.state == State::Kept
    }

    /// Whether the value takes part: it is kept or invented.
    pub fn is_live(&self) -> bool {
        self.state != State::Pruned
    }

    /// The values directly inside, dead ones included.
    pub fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Seq(items) => items.iter().collect(),
            Kind::Map(entries) => entries.iter().map(|entry| &entry.value).collect(),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) => Vec::new(),
        }
    }

    /// The value at a position among [`Node::children`].
    pub fn child(&self, position: usize) -> Option<&Node> {
        match &self.kind {
            Kind::Seq(items) => items.get(position),
            Kind::Map(entries) => entries.get(position).map(|entry| &entry.value),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn child_mut(&mut self, position: usize) -> Option<&mut Node> {
        match &mut self.kind {
            Kind::Seq(items) => items.get_mut(position),
            Kind::Map(entries) => entries.get_mut(position).map(|entry| &mut entry.value),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) => None,
        }
    }

    /// The value at the end of `positions`.
    pub fn at(&self, positions: &[usize]) -> Option<&Node> {
        positions.iter().try_fold(self, |node, position| node.child(*position))
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, positions: &[usize]) -> Option<&mut Node> {
        positions.iter().try_fold(self, |node, position| node.child_mut(*position))
    }

    /// Where a step leads; `None` when there is nothing live.
    pub fn position(&self, step: Step<'_>) -> Option<usize> {
        match (&self.kind, step) {
            (Kind::Map(entries), Step::Key(key)) => {
                entries.iter().position(|entry| entry.key == key && entry.value.is_live())
            }
            (Kind::Seq(items), Step::Index(index)) => {
                items.iter().enumerate().filter(|(_, item)| item.is_live()).nth(index).map(|(position, _)| position)
            }
            (_, Step::Key(_) | Step::Index(_)) => None,
        }
    }

    /// Whether anything directly inside is not what the file says.
    pub fn has_wounds(&self) -> bool {
        self.children().iter().any(|child| !child.is_kept())
    }

    /// What was found, for a message: `a list`, `the string `abc``.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(truth) => format!("`{truth}`"),
            Kind::Int(number) => format!("the number `{number}`"),
            Kind::Float(number) => format!("the number `{number:?}`"),
            Kind::String(string) => format!("the string `{}`", shown(string)),
            Kind::Seq(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A text from the file in a message: short, printable, and without what looks like a key.
pub(crate) fn shown(string: &str) -> String {
    let head: String = string.chars().take(300).collect();
    text::shorten(&mask::mask(&head), 60)
}

/// The name of a place in the tree, such as `candidates[1].openai`; items are counted as in the file. Empty at the root.
pub(crate) fn name(root: &Node, positions: &[usize]) -> String {
    let mut out = String::new();
    let mut node = root;
    for &position in positions {
        match &node.kind {
            Kind::Map(entries) => {
                let Some(entry) = entries.get(position) else { return out };
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&text::shorten(&entry.key, 60));
                node = &entry.value;
            }
            Kind::Seq(items) => {
                let Some(item) = items.get(position) else { return out };
                // Writing to a string cannot fail.
                let _ = write!(out, "[{position}]");
                node = item;
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::String(_) => return out,
        }
    }
    out
}
