//! Keys that cannot be printed by accident, and a filter that takes them out of foreign text.

use std::fmt;
use std::sync::Arc;

/// A key. `Debug` does not show it and it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a key.
    pub fn new(text: impl Into<Arc<str>>) -> Secret {
        Secret(text.into())
    }

    /// The key itself, for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What stands in a key's place.
const MARK: &str = "[key]";

/// Characters of a key that was cut off (`sk-abc…`) from which it is taken out all the same.
const LEAST_PART: usize = 6;

/// Takes known keys out of texts that come from outside: services echo keys in error messages, and a model or a proxy
/// may do so in an answer. What it finds is the key as it is and as it stands in JSON.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// A filter for these keys. Keys under 4 characters are left alone: they would blank out ordinary text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Redactor {
        let written = secrets.into_iter().filter(|secret| secret.expose().len() >= 4).flat_map(|secret| {
            let quoted = serde_json::to_string(secret.expose()).unwrap_or_default();
            let inner = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
            // Some writers escape slashes, too.
            let forms = [Secret::new(inner.replace('/', "\\/")), Secret::new(inner)];
            std::iter::once(secret).chain(forms)
        });
        let mut secrets: Vec<Secret> = written.collect();
        // The longest first, so that a key which contains another goes as a whole.
        secrets.sort_by(|a, b| b.expose().len().cmp(&a.expose().len()).then_with(|| a.expose().cmp(b.expose())));
        secrets.dedup();
        Redactor(secrets)
    }

    /// Replaces every key in the text by `[key]`.
    pub fn clean(&self, text: &mut String) {
        for secret in &self.0 {
            if text.contains(secret.expose()) {
                *text = text.replace(secret.expose(), MARK);
            }
        }
    }

    /// Like [`Redactor::clean`], and replaces a part of a key that was left before or after a `…`, where somebody has
    /// shortened a text.
    pub fn clean_shortened(&self, text: &mut String) {
        self.clean(text);
        for (at, cut) in text.clone().match_indices('…').rev() {
            let keys = || self.0.iter().map(Secret::expose);
            let tail = &text[at + cut.len()..];
            if let Some(length) = longest(keys(), |key, at| (key.len() - at, tail.starts_with(&key[at..]))) {
                text.replace_range(at + cut.len()..at + cut.len() + length, MARK);
            }
            let head = &text[..at];
            if let Some(length) = longest(keys(), |key, at| (at, head.ends_with(&key[..at]))) {
                text.replace_range(at - length..at, MARK);
            }
        }
    }
}

/// Length of the longest part of a key, of all that begin or end at a character, that is there.
fn longest<'a>(keys: impl Iterator<Item = &'a str>, part: impl Fn(&'a str, usize) -> (usize, bool)) -> Option<usize> {
    let parts = keys.flat_map(|key| key.char_indices().map(|(at, _)| part(key, at)).collect::<Vec<_>>());
    parts.filter(|(length, is_there)| *is_there && *length >= LEAST_PART).map(|(length, _)| length).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_neither_shown_nor_passed_on() {
        let key = Secret::new("sk-test-123456");
        assert!(!format!("{key:?}").contains("sk-test"));
        let redactor = Redactor::new([Secret::new("abc"), Secret::new("other-1"), key]);
        let clean = |text: &str| {
            let mut text = text.to_owned();
            redactor.clean_shortened(&mut text);
            text
        };
        assert_eq!(clean("bad key sk-test-123456 abc"), "bad key [key] abc");
        assert_eq!(clean("bad key sk-test-12345…"), "bad key [key]…", "cut off in the key");
        assert_eq!(clean("…test-123456 is bad…"), "…[key] is bad…");
        assert_eq!(clean("bad s…"), "bad s…");
        assert_eq!(clean("über…"), "über…");
    }

    #[test]
    fn keys_are_found_as_json_writes_them() {
        let redactor = Redactor::new([Secret::new("ab/cd\"ef")]);
        for written in [r#"ab/cd"ef"#, r#"ab/cd\"ef"#, r#"ab\/cd\"ef"#] {
            let mut text = format!("<{written}>");
            redactor.clean(&mut text);
            assert_eq!(text, "<[key]>", "{written}");
        }
    }
}
