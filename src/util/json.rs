//! JSON and code fences out of text that a model wrote. Every function is linear in the text and takes any text.

use serde_json::Value;

/// Texts longer than this many bytes are not parsed: a parsed value takes up to 36 times the memory of its text.
pub const MAX_JSON_BYTES: usize = 8 << 20;

/// JSON that a model gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The value. Of two equal keys in an object the last one counts.
    pub value: Value,
    /// Whether it stood in a code fence, which JSON does not know.
    pub is_fenced: bool,
}

/// Parses a text that must be JSON as it stands, apart from white space around it.
///
/// # Errors
/// A short reason when the text is not JSON (RFC 8259): `NaN`, comments and trailing commas are not; nor are, here,
/// numbers that no `f64` holds, more than 127 levels, and more than [`MAX_JSON_BYTES`].
pub fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the text is empty".into());
    }
    if text.len() > MAX_JSON_BYTES {
        return Err(format!("the text is longer than {} MiB", MAX_JSON_BYTES >> 20));
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Parses a text that must be JSON, or one code fence that holds JSON and nothing around it.
///
/// # Errors
/// Those of [`parse`]. Text before or after the fence is an error too.
pub fn parse_answer(text: &str) -> Result<Parsed, String> {
    let text = text.trim();
    if text.starts_with("```") || text.starts_with("~~~") {
        // JSON cannot begin like this, so there is nothing to lose.
        if let Some(fence) = next_fence(text, 0).filter(|fence| fence.start == 0) {
            if fence.end < text.len() {
                return Err("there is text after the code fence".into());
            }
            return Ok(Parsed { value: parse(fence.content)?, is_fenced: true });
        }
    }
    Ok(Parsed { value: parse(text)?, is_fenced: false })
}

/// The content of the last code fence, without the line break before its end.
///
/// Fences are those of CommonMark 0.31 (section 4.5): a line that begins with three or more backticks or tildes opens one,
/// a line of at least as many of the same and nothing else closes it, and one that is never closed runs to the end. Other
/// than there, fences may be indented at will, as they are in lists.
pub fn last_fence(text: &str) -> Option<&str> {
    let mut last = None;
    let mut from = 0;
    while let Some(fence) = next_fence(text, from) {
        from = fence.end;
        last = Some(fence.content);
    }
    last
}

struct Fence<'a> {
    /// Where its first line begins and its last line ends, in bytes.
    start: usize,
    end: usize,
    content: &'a str,
}

fn next_fence(text: &str, from: usize) -> Option<Fence<'_>> {
    let mut at = from;
    let mut open: Option<(usize, usize, u8, usize)> = None;
    for line in text[from..].split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let line = line.trim_matches([' ', '\t', '\n', '\r']);
        match open {
            None => {
                if let Some((mark, length)) = opener(line) {
                    open = Some((begin, at, mark, length));
                }
            }
            Some((start, inner, mark, length)) => {
                if line.len() >= length && line.bytes().all(|byte| byte == mark) {
                    let content = &text[inner..begin];
                    let content = content.strip_suffix('\n').unwrap_or(content);
                    let content = content.strip_suffix('\r').unwrap_or(content);
                    return Some(Fence { start, end: at, content });
                }
            }
        }
    }
    let (start, inner, ..) = open?;
    Some(Fence { start, end: text.len(), content: &text[inner..] })
}

/// The character and the length of an opening fence.
fn opener(line: &str) -> Option<(u8, usize)> {
    let mark = *line.as_bytes().first()?;
    if mark != b'`' && mark != b'~' {
        return None;
    }
    let length = line.bytes().take_while(|byte| *byte == mark).count();
    // A backtick further on makes it code within a line.
    let is_open = length >= 3 && (mark == b'~' || !line[length..].contains('`'));
    is_open.then_some((mark, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_with_and_without_a_fence() {
        let table = [
            ("{\"a\": 1}", Some((json!({"a": 1}), false))),
            (" \n null \u{a0}", Some((Value::Null, false))),
            ("\"juice\"", Some((json!("juice"), false))),
            ("```json\n{\"a\": 1}\n```", Some((json!({"a": 1}), true))),
            ("\n```\r\n[1,\r\n2]\r\n```\r\n", Some((json!([1, 2]), true))),
            ("~~~~ JSON5\nnull\n~~~~~", Some((Value::Null, true))),
            ("```json\n{\"a\": \"```\"}\n```", Some((json!({"a": "```"}), true))),
            // Never closed: the closing fence was a stop sequence, say.
            ("```json\n[]", Some((json!([]), true))),
            ("{\"a\": 1, \"a\": 2}", Some((json!({"a": 2}), false))),
            ("```json\n{}\n``` done", None),
            ("```json\n{}\n```\ndone", None),
            ("Here: ```json\n{}\n```", None),
            ("```{}```", None),
            ("``` ```", None),
            ("```", None),
            ("", None),
            (" \n", None),
            ("NaN", None),
            ("-Infinity", None),
            ("1e400", None),
            ("{'a': 1}", None),
            ("[1,]", None),
            ("{} {}", None),
            ("\"\0\"", None),
            ("\u{feff}{}", None),
        ];
        for (text, expected) in table {
            let got = parse_answer(text).ok().map(|parsed| (parsed.value, parsed.is_fenced));
            assert_eq!(got, expected, "{text:?}");
        }
        assert!(parse("```json\n{}\n```").is_err());
    }

    #[test]
    fn deep_and_long_texts_are_refused_with_a_reason() {
        assert!(parse(&"[".repeat(10_000)).unwrap_err().contains("recursion"));
        assert!(parse(&format!("{}{}", "[".repeat(127), "]".repeat(127))).is_ok());
        assert!(parse(&format!("\"{}\"", "x".repeat(MAX_JSON_BYTES))).unwrap_err().contains("8 MiB"));
    }

    #[test]
    fn the_last_fence() {
        let table = [
            ("a\n```py\nx = 1\n```\nb\n~~~\ny\nz\n~~~\nc", Some("y\nz")),
            ("```\none\n```\n```\ntwo", Some("two")),
            ("1. do\n    ```sh\n    ls\n    ```\n", Some("    ls")),
            ("````md\n```\ninner\n```\n````", Some("```\ninner\n```")),
            ("```\n```", Some("")),
            ("``\nno\n``", None),
            ("inline ```code``` here", None),
            ("```code``` here", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(last_fence(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(?s)([`~]{2,4}|json|\n|\\PC|.){0,60}") {
            let _ = parse_answer(&text);
            if let Some(content) = last_fence(&text) {
                prop_assert!(text.contains(content));
            }
        }
    }
}
