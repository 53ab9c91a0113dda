//! A suite file as text and tree: turns a place in the suite into a place in the file.

use std::path::{Path, PathBuf};

use crate::suite::mask;
use crate::suite::node::{self, Kind, Node, Spot, Step};
use crate::types::{Fault, Place};

/// The text of a suite file, its values with their places, and which of them were wrong.
///
/// A path is a list of [`Step`]s from the top of the suite; the macro `at!` of [`crate::suite`] makes one. Indices count the items
/// of the suite that was read, so that `suite.candidates[i]` is at `at!["candidates", i]` even when a faulty item
/// before it was left out.
#[derive(Debug, Clone)]
pub struct Document {
    file: PathBuf,
    text: String,
    /// Byte offsets at which lines begin.
    starts: Vec<usize>,
    pub(crate) root: Node,
}

/// Longer lines, in bytes, are not shown.
const MAX_EXCERPT: usize = 10_000;

/// What part of an entry is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    Value,
}

impl Document {
    pub(crate) fn new(file: &Path, text: &str) -> Document {
        let root = Node::new(Kind::Null, Spot { line: 1, column: 1 });
        let starts = lines(text).map(|line| line.as_ptr() as usize - text.as_ptr() as usize).collect();
        Document { file: file.to_owned(), text: text.to_owned(), starts, root }
    }

    /// The file as the user named it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The whole text, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of the value at a path; of its nearest existing ancestor when there is no such value.
    pub fn place(&self, path: &[Step<'_>]) -> Place {
        self.place_at(self.spot(&self.positions(path).0, Part::Value))
    }

    /// The place of the key at the end of a path; of the value where the path ends in an index.
    pub fn key_place(&self, path: &[Step<'_>]) -> Place {
        self.place_at(self.spot(&self.positions(path).0, Part::Key))
    }

    /// A fault of the value at a path, with the source line.
    pub fn fault(&self, path: &[Step<'_>], message: impl Into<String>) -> Fault {
        self.fault_at(self.spot(&self.positions(path).0, Part::Value), message)
    }

    /// A fault of the key at the end of a path, with the source line.
    pub fn key_fault(&self, path: &[Step<'_>], message: impl Into<String>) -> Fault {
        self.fault_at(self.spot(&self.positions(path).0, Part::Key), message)
    }

    /// A fault in a line (from 1) of the text at a path, such as a template. Only literal blocks (`|`) have their lines
    /// in the file; elsewhere the fault is at the value and the message says which line of the text is meant. `word` is
    /// what the caret should stand under, if the line has it.
    pub fn text_fault(&self, path: &[Step<'_>], line: u64, word: Option<&str>, message: impl Into<String>) -> Fault {
        let (positions, is_found) = self.positions(path);
        let node = self.root.at(&positions).filter(|_| is_found);
        let message = message.into();
        match node {
            Some(node) if node.is_literal => {
                let line = node.spot.line + line.max(1);
                let source = self.line(line).unwrap_or_default();
                let before = word.and_then(|word| source.find(word)).map(|byte| &source[..byte]);
                let indent = || source.chars().take_while(|c| *c == ' ').count();
                let column = before.map_or_else(indent, |before| before.chars().count());
                self.fault_at(Spot { line, column: column as u64 + 1 }, message)
            }
            Some(node) => {
                let is_one_line = matches!(&node.kind, Kind::String(text) if !text.trim_end().contains('\n'));
                let message = if is_one_line { message } else { format!("{message} (line {line} of the text)") };
                self.fault(path, message)
            }
            None => self.fault(path, message),
        }
    }

    /// A fault of the file as a whole.
    pub fn file_fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(Place::file(&self.file), message)
    }

    /// The written form of a path, such as `candidates[1].openai`; items are counted as in the file, from 0.
    pub fn name(&self, path: &[Step<'_>]) -> String {
        let (positions, _) = self.positions(path);
        let mut name = node::name(&self.root, &positions);
        for step in &path[positions.len()..] {
            match step {
                Step::Key(key) if name.is_empty() => name.push_str(key),
                Step::Key(key) => name.push_str(&format!(".{key}")),
                Step::Index(index) => name.push_str(&format!("[{index}]")),
            }
        }
        name
    }

    /// Whether the suite says at a path what the file says there: nothing on the way, at the value or directly inside it
    /// was wrong, and it is not absent because of a misspelt key. Rules ask this before they report something, so that
    /// one mistake is reported once.
    pub fn is_sure(&self, path: &[Step<'_>]) -> bool {
        let mut node = &self.root;
        for step in path {
            if let (Kind::Map(entries), Step::Key(key)) = (&node.kind, step) {
                // The second of two entries with one name may be the one that was meant.
                if entries.iter().any(|entry| entry.key == *key && !entry.value.is_kept()) {
                    return false;
                }
            }
            let Some(child) = node.position(*step).and_then(|position| node.child(position)) else {
                return !node.has_wounds();
            };
            if !child.is_kept() {
                return false;
            }
            node = child;
        }
        !node.has_wounds()
    }

    /// Whether [`Document::is_sure`] holds for the value at a path and for everything inside it.
    pub fn is_sure_throughout(&self, path: &[Step<'_>]) -> bool {
        fn is_whole(node: &Node) -> bool {
            node.is_kept() && node.children().into_iter().all(is_whole)
        }
        let (positions, is_found) = self.positions(path);
        self.is_sure(path) && self.root.at(&positions).is_none_or(|node| !is_found || is_whole(node))
    }

    /// Whether the value at a path is a list.
    pub fn has_items(&self, path: &[Step<'_>]) -> bool {
        let (positions, is_found) = self.positions(path);
        is_found && self.root.at(&positions).is_some_and(|node| matches!(node.kind, Kind::Seq(_)))
    }

    /// Positions in the tree of as much of the path as exists, and whether that is all of it.
    fn positions(&self, path: &[Step<'_>]) -> (Vec<usize>, bool) {
        let mut node = &self.root;
        let mut positions = Vec::with_capacity(path.len());
        for step in path {
            let Some((position, child)) = node.position(*step).and_then(|at| Some((at, node.child(at)?))) else {
                return (positions, false);
            };
            positions.push(position);
            node = child;
        }
        (positions, true)
    }

    fn spot(&self, positions: &[usize], part: Part) -> Spot {
        let Some((last, parent)) = positions.split_last() else { return self.root.spot };
        let parent = self.root.at(parent).unwrap_or(&self.root);
        let value = parent.child(*last).map_or(parent.spot, |child| child.spot);
        match (&parent.kind, part) {
            (Kind::Map(entries), Part::Key) => entries.get(*last).map_or(value, |entry| entry.key_spot),
            (_, Part::Key | Part::Value) => value,
        }
    }

    /// A fault of the value at positions of the tree.
    pub(crate) fn value_fault(&self, positions: &[usize], message: impl Into<String>) -> Fault {
        self.fault_at(self.spot(positions, Part::Value), message)
    }

    /// A fault of the key at positions of the tree.
    pub(crate) fn entry_fault(&self, positions: &[usize], message: impl Into<String>) -> Fault {
        self.fault_at(self.spot(positions, Part::Key), message)
    }

    pub(crate) fn fault_at(&self, spot: Spot, message: impl Into<String>) -> Fault {
        let mut fault = Fault::new(self.place_at(spot), message);
        let line = self.line(spot.line).filter(|line| line.len() <= MAX_EXCERPT);
        fault.excerpt = line.map(|line| mask::mask(line).into_owned());
        fault
    }

    fn place_at(&self, spot: Spot) -> Place {
        Place::at(&self.file, spot.line, spot.column)
    }

    /// A line by its number, from 1.
    pub(crate) fn line(&self, number: u64) -> Option<&str> {
        let start = *self.starts.get(usize::try_from(number.checked_sub(1)?).ok()?)?;
        lines(self.text.get(start..)?).next()
    }

    /// How many lines there are; at least 1.
    pub(crate) fn height(&self) -> u64 {
        self.starts.len() as u64
    }
}

/// Lines as YAML counts them: they end with a line feed, a carriage return, or both.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let width = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + width..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_yaml_ends_them() {
        assert_eq!(lines("a\r\nb\rc\n\nd").collect::<Vec<_>>(), ["a", "b", "c", "", "d"]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
    }
}
