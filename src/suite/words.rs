//! A rough reading of templates, before the library does the real one: where names stand, and whether expressions are
//! short enough for the library's recursion.

use std::collections::{HashMap, HashSet};

use minijinja::Environment;

use crate::suite::template::{TemplateFault, Variable};

/// How many operators and names may follow upon each other in one expression: the library's stack grows with them.
const MAX_CHAIN: usize = 300;

/// How many `elif` a template may have, for the same reason.
const MAX_ELIF: usize = 50;

/// How deep brackets may be nested, and blocks (`if`, `for`), for the same reason.
const MAX_NESTING: usize = 30;

/// The names in the tags of a template, with their lines. Only a rough reading: the library does the real one. It also
/// makes sure that no expression is so long that the library's recursion would overflow the stack.
pub(crate) struct Words {
    /// Each name's first line and its rank in the text.
    first: HashMap<String, (usize, u64)>,
    elifs: usize,
    line: u64,
}

impl Words {
    /// Reads a template, or a bare expression.
    pub fn of(source: &str, is_template: bool) -> Result<Words, TemplateFault> {
        let mut words = Words { first: HashMap::new(), elifs: 0, line: 1 };
        if !is_template {
            words.expression(source, 0, None)?;
            return Ok(words);
        }
        let mut blocks: usize = 0;
        let mut at = 0;
        while let Some(start) = source[at..].find('{').map(|found| at + found) {
            let rest = &source[start..];
            words.skip(&source[at..start]);
            if rest.starts_with("{#") {
                at = rest.find("#}").map_or(source.len(), |end| start + end + 2);
                words.skip(&source[start..at]);
            } else if rest.starts_with("{{") || rest.starts_with("{%") {
                let closer = if rest.starts_with("{{") { "}}" } else { "%}" };
                let end = words.expression(source, start + 2, Some(closer))?;
                let inside = source[start + 2..end].trim_matches(['-', '+', ' ', '\t', '\r', '\n']);
                at = (end + 2).min(source.len());
                if closer == "%}" && inside == "raw" {
                    let end = end_of_raw(source, at);
                    words.skip(&source[at..end]);
                    at = end;
                } else if closer == "%}" {
                    blocks = if inside.starts_with("end") { blocks.saturating_sub(1) } else { blocks + opens(inside) };
                    if blocks > MAX_NESTING {
                        return Err(words.fault(format!("blocks are nested more than {MAX_NESTING} deep")));
                    }
                    if words.elifs > MAX_ELIF {
                        return Err(words.fault(format!("the template has more than {MAX_ELIF} `elif`")));
                    }
                }
            } else {
                at = start + 1;
            }
        }
        Ok(words)
    }

    fn skip(&mut self, text: &str) {
        self.line += text.matches('\n').count() as u64;
    }

    fn fault(&self, message: String) -> TemplateFault {
        TemplateFault { line: Some(self.line), ..TemplateFault::new(message) }
    }

    /// Reads an expression up to its closer; gives where that begins.
    fn expression(&mut self, source: &str, start: usize, closer: Option<&str>) -> Result<usize, TemplateFault> {
        // For each open bracket: the longest chain among the items before, and the chain of the item that is read.
        let mut chains: Vec<(usize, usize)> = vec![(0, 0)];
        let mut closers: Vec<char> = Vec::new();
        let mut at = start;
        let mut is_attribute = false;
        while at < source.len() {
            let rest = &source[at..];
            // Inside brackets a `}}` may close two mappings.
            if chains.len() == 1 && closer.is_some_and(|closer| rest.starts_with(closer)) {
                return Ok(at);
            }
            let Some(c) = rest.chars().next() else { break };
            let mut width = c.len_utf8();
            match c {
                '\n' => self.line += 1,
                ' ' | '\t' | '\r' => {}
                '\'' | '"' => {
                    width = quoted(rest, c);
                    self.skip(&rest[..width]);
                    add(&mut chains, 1);
                }
                '(' | '[' | '{' => {
                    chains.push((0, 0));
                    closers.push(match c {
                        '(' => ')',
                        '[' => ']',
                        _ => '}',
                    });
                }
                ')' | ']' | '}' => {
                    if closers.pop() != Some(c) {
                        // The library gives up here, too, with a better message.
                        return Ok(source.len());
                    }
                    let (longest, current) = chains.pop().unwrap_or_default();
                    add(&mut chains, longest.max(current) + 1);
                }
                ',' => {
                    if let Some((longest, current)) = chains.last_mut() {
                        *longest = (*longest).max(*current);
                        *current = 0;
                    }
                }
                c if c.is_alphanumeric() || c == '_' => {
                    width = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                    add(&mut chains, 1);
                    if !is_attribute {
                        let rank = self.first.len();
                        self.first.entry(rest[..width].to_owned()).or_insert((rank, self.line));
                        self.elifs += usize::from(&rest[..width] == "elif");
                    }
                }
                _ => add(&mut chains, 1),
            }
            if !c.is_whitespace() {
                is_attribute = c == '.';
            }
            let depth: usize = chains.iter().map(|(longest, current)| longest.max(current)).sum();
            if chains.len() > MAX_NESTING {
                return Err(self.fault(format!("brackets are nested more than {MAX_NESTING} deep")));
            }
            if depth > MAX_CHAIN {
                return Err(self.fault(format!("an expression of more than {MAX_CHAIN} parts is too long")));
            }
            at += width;
        }
        Ok(source.len())
    }

    /// The fields among the names, in the order of the text.
    pub fn variables(&self, names: HashSet<String>, environment: &Environment<'_>) -> Vec<Variable> {
        let globals: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        let mut variables: Vec<(usize, Variable)> = names
            .into_iter()
            .filter(|name| name != "row" && !globals.contains(&name.as_str()))
            .map(|name| {
                let (rank, line) = self.first.get(&name).copied().unwrap_or((usize::MAX, 1));
                (rank, Variable { name, line })
            })
            .collect();
        variables.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        variables.into_iter().map(|(_, variable)| variable).collect()
    }
}

fn add(chains: &mut [(usize, usize)], parts: usize) {
    if let Some((_, current)) = chains.last_mut() {
        *current += parts;
    }
}

/// How many blocks a tag opens.
fn opens(tag: &str) -> usize {
    let word = tag.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    // `set x` opens one only without `=`.
    match word {
        "elif" | "else" | "do" | "include" | "import" | "from" | "extends" | "break" | "continue" => 0,
        "set" if tag.split_once('=').is_some_and(|(target, _)| !target.contains('|')) => 0,
        _ => 1,
    }
}

/// The width of a quoted string, quotes included.
pub(crate) fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return index + 1;
        }
    }
    rest.len()
}

/// Where the text after `{% raw %}` ends, its `{% endraw %}` included.
pub(crate) fn end_of_raw(source: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(open) = source[at..].find("{%").map(|found| at + found) {
        let inside = source[open + 2..].trim_start_matches(['-', '+', ' ', '\t', '\r', '\n']);
        if inside.starts_with("endraw") {
            return source[open..].find("%}").map_or(source.len(), |end| open + end + 2);
        }
        at = open + 2;
    }
    source.len()
}
