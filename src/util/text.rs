//! Text from outside made fit to print, and small helpers for messages.

use std::borrow::Cow;

/// Whether a character would move the cursor, reorder or hide text: controls, bidirectional marks, zero-width and
/// other format characters, line and paragraph separators, tag characters.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}' | '\u{3164}'
            | '\u{FEFF}' | '\u{FFA0}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// The text with every character that would act on a terminal written as an escape (`\n`, `\u{1b}`).
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unprintable(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// At most `limit` characters, made printable, with `…` where something was cut.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(limit).collect();
    let mut out = visible(&head).into_owned();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// What the system says of a file, without its number, in lower case.
pub fn of_system(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// A source line cut to about 100 characters around a column (from 1), and how far the caret under it is indented.
pub fn excerpt(line: &str, column: u64) -> (String, usize) {
    let column = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
    let start = column.saturating_sub(60);
    let mut shown = String::new();
    let mut caret = 0;
    for (index, c) in line.chars().enumerate().skip(start).take(100) {
        if index == column {
            caret = shown.chars().count();
        }
        if c == '\t' { shown.push(' ') } else { shown.push_str(&visible(c.encode_utf8(&mut [0; 4]))) }
    }
    if column >= start + shown.chars().count() {
        caret = shown.chars().count();
    }
    (shown, caret)
}

/// The known name that was probably meant, if one is near.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(name.chars().count()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?` when a known name is near.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    near(name, known).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        let hostile = "a\u{1b}[31mb\u{202e}c\0d\u{9b}e\u{7f}f\u{200b}\n";
        let shown = visible(hostile);
        assert!(!shown.chars().any(is_unprintable), "{shown}");
        assert!(shown.starts_with("a\\u{1b}[31mb"));
        assert_eq!(visible("plain – ü 漢字 🎉"), "plain – ü 漢字 🎉");
        assert_eq!(shorten("abcdef", 3), "abc…");
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(near("modle", ["model", "base_url"]), Some("model"));
        assert_eq!(near("gats", ["gates", "name"]), Some("gates"));
        assert_eq!(near("zzz", ["gates", "name"]), None);
    }

    #[test]
    fn a_long_line_is_shown_around_its_column() {
        let line = "x".repeat(500);
        let (shown, caret) = excerpt(&line, 300);
        assert_eq!(shown.len(), 100);
        assert_eq!(caret, 60);
        assert_eq!(excerpt("abc", 2), ("abc".to_owned(), 1));
    }
}
