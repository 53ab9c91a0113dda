//! Lines of at most 80 columns, where one can be that short.

use crate::util::text::visible;

/// Columns of a line.
const WIDTH: usize = 80;

/// Where the texts of entries begin.
const TEXT_AT: usize = 14;

/// The most characters that are shown of one line of a prompt.
const SHOWN_CHARS: usize = 400;

/// Adds an entry: its label, and its text in as many lines as it takes.
pub fn entry(out: &mut String, label: &str, text: &str) {
    let mut line = format!("{label:<width$}", width = TEXT_AT);
    let mut columns = line.chars().count();
    let mut is_empty = true;
    for word in text.split(' ') {
        let width = word.chars().count();
        if !is_empty && columns + 1 + width > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(TEXT_AT);
            columns = TEXT_AT;
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += width;
        is_empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Adds a text of several lines as an entry, with at most so many of its lines.
pub fn passage(out: &mut String, label: &str, text: &str, lines: usize) {
    let total = text.lines().count();
    for (index, line) in text.lines().take(lines).enumerate() {
        let label = if index == 0 { label } else { "" };
        let shown: String = line.chars().take(SHOWN_CHARS).collect();
        let cut = if shown.len() < line.len() { " …" } else { "" };
        entry(out, label, &format!("{}{cut}", visible(&shown)));
    }
    if total > lines {
        entry(out, "", &format!("… ({} more lines)", total - lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_wrapped() {
        let mut out = String::new();
        entry(&mut out, "  note", "short");
        entry(&mut out, "    a longer label:", &"word ".repeat(20));
        entry(&mut out, "", &"x".repeat(100));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "  note        short");
        assert!(lines[1].starts_with("    a longer label:word word"));
        assert!(lines[2].starts_with("              word word"));
        assert_eq!(lines.last().unwrap().len(), 114);
        assert!(lines[..lines.len() - 1].iter().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(out.matches("word").count(), 20);
    }

    #[test]
    fn passages_are_cut() {
        let mut out = String::new();
        passage(&mut out, "    user", &format!("one\n\u{1b}[31m\n{}\nfour", "y".repeat(1000)), 3);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..2], ["    user      one", "              \\u{1b}[31m"]);
        assert_eq!(lines.last(), Some(&"              … (1 more lines)"));
        assert_eq!(out.matches('y').count(), SHOWN_CHARS);
    }
}
