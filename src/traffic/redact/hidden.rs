//! Texts within texts: escapes of JSON, percent-encoding, base64.

use crate::util::base64;

/// The shortest run of base64 that is opened; whole groups of four letters.
pub const BASE64: usize = 24;

/// Slashes of a run behind which base64 may begin.
pub const SLASHES: usize = 8;

/// Lines of base64 that are opened together.
const LINES: usize = 256;

/// A text without the escapes of JSON; `None` when it has none of those that hide something.
pub fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut has_changed = false;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let hex = tail.strip_prefix('u').and_then(|tail| tail.get(..4));
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        if let Some(c) = code {
            out.push(c);
            rest = &tail[5..];
            has_changed = true;
            continue;
        }
        let c = tail.chars().next();
        out.push(match c {
            Some('n') => '\n',
            Some('t') => '\t',
            Some(c @ ('/' | '"' | '\\')) => c,
            _ => {
                out.push('\\');
                rest = tail;
                continue;
            }
        });
        rest = &tail[1..];
        has_changed = true;
    }
    out.push_str(rest);
    has_changed.then_some(out)
}

/// A text without percent-encoding; `None` when it has none.
pub fn unpercented(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut has_changed = false;
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.filter(|_| byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[2..];
                has_changed = true;
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|_| has_changed)
}

/// How many bytes of letters of base64 a text begins with.
pub fn letters(text: &[u8]) -> usize {
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    text.iter().take_while(is_letter).count()
}

/// Where a run of base64 that begins with `first` letters may end, the likeliest first. It may go on over lines, of which
/// only the first and the last are shorter than the others; the last may be a word that is none of it.
pub fn ends(text: &[u8], first: usize) -> Vec<usize> {
    let (mut ends, mut length) = (vec![first], first);
    while ends.len() < LINES {
        let end = ends[ends.len() - 1];
        let gap = text[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let next = if text[end..end + gap].contains(&b'\n') { letters(&text[end + gap..]) } else { 0 };
        if next == 0 || (next > length && ends.len() > 1) {
            break;
        }
        ends.push(end + gap + next);
        if next < std::mem::replace(&mut length, next) {
            break;
        }
    }
    let likely = ends.iter().rev().take(2).chain(ends.iter().take(ends.len().saturating_sub(2).min(1)));
    let padding = |end: usize| text[end..].iter().take(2).take_while(|byte| **byte == b'=').count();
    likely.map(|end| end + padding(*end)).collect()
}

/// Whether a run of base64 begins with a text: most are none (words, digests, pictures).
pub fn begins_with_text(run: &[u8]) -> bool {
    let head = run.get(..BASE64).and_then(|head| base64::decode(str::from_utf8(head).ok()?));
    let Some(head) = head else { return false };
    match str::from_utf8(&head) {
        Ok(head) => is_text(head),
        Err(error) => error.error_len().is_none() && str::from_utf8(&head[..error.valid_up_to()]).is_ok_and(is_text),
    }
}

/// The text that a run of base64 holds, if it holds one.
pub fn hidden_text(run: &str) -> Option<String> {
    let letters: String = run.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    base64::decode(&letters).and_then(|bytes| String::from_utf8(bytes).ok()).filter(|inner| is_text(inner))
}

fn is_text(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !c.is_whitespace())
}
