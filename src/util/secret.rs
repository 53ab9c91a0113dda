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
/// may do so in an answer. What it finds is the key as it is, without blanks around it, and as it stands in JSON.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// In every form, the longest first, so that a key which contains another goes as a whole.
    all: Vec<Secret>,
    /// Those that no answer holds by chance.
    unmistakable: Vec<Secret>,
}

impl Redactor {
    /// A filter for these keys. Keys under 4 characters are left alone: they would blank out ordinary text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Redactor {
        let inner = |text: &str| {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
        };
        let forms = |secret: Secret| {
            let bare = secret.expose().trim();
            let once = inner(bare);
            // JSON within JSON, as in the arguments of a tool call; and some writers escape slashes, too.
            let forms = [bare.to_owned(), inner(&once), once.replace('/', "\\/"), once];
            forms.map(Secret::new)
        };
        let mut all: Vec<Secret> =
            secrets.into_iter().flat_map(forms).filter(|secret| secret.expose().len() >= 4).collect();
        all.sort_by(|a, b| b.expose().len().cmp(&a.expose().len()).then_with(|| a.expose().cmp(b.expose())));
        all.dedup();
        let unmistakable = all.iter().filter(|secret| !is_word(secret.expose())).cloned().collect();
        Redactor { all, unmistakable }
    }

    /// Replaces every key in an answer by `[key]`, but for those that are ordinary words or numbers (`EMPTY`, `staging`,
    /// `8080`), as variables for local servers and headers often are: it would change what is marked.
    pub fn clean_answer(&self, text: &mut String) {
        clean(&self.unmistakable, text);
    }

    /// Replaces every key in a message by `[key]`, and a part of a key that was left before or after a `…`, where somebody
    /// has shortened the message.
    pub fn clean_message(&self, text: &mut String) {
        clean(&self.all, text);
        for (at, cut) in text.clone().match_indices('…').rev() {
            let keys = || self.all.iter().map(Secret::expose);
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

fn clean(secrets: &[Secret], text: &mut String) {
    for secret in secrets {
        if text.contains(secret.expose()) {
            *text = text.replace(secret.expose(), MARK);
        }
    }
}

/// Whether this is an ordinary word or number.
fn is_word(text: &str) -> bool {
    let is_short = text.len() < 16;
    is_short && (text.chars().all(char::is_alphabetic) || text.chars().all(|c| c.is_ascii_digit() || c == '.'))
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
            redactor.clean_message(&mut text);
            text
        };
        assert_eq!(clean("bad key sk-test-123456 abc"), "bad key [key] abc");
        assert_eq!(clean("bad key sk-test-12345…"), "bad key [key]…", "cut off in the key");
        assert_eq!(clean("…test-123456 is bad…"), "…[key] is bad…");
        assert_eq!(clean("bad s…"), "bad s…");
        assert_eq!(clean("über…"), "über…");
    }

    #[test]
    fn a_word_is_taken_out_of_messages_only() {
        let redactor = Redactor::new(["EMPTY", " hk-ABCDEF-777\n"].map(Secret::new));
        let (mut answer, mut message) = ("the set is EMPTY hk-ABCDEF-777".to_owned(), "bad key EMPTY".to_owned());
        redactor.clean_answer(&mut answer);
        redactor.clean_message(&mut message);
        assert_eq!((answer.as_str(), message.as_str()), ("the set is EMPTY [key]", "bad key [key]"));
    }

    #[test]
    fn keys_are_found_as_json_writes_them() {
        let redactor = Redactor::new([Secret::new("ab/cd\"ef")]);
        for written in [r#"ab/cd"ef"#, r#"ab/cd\"ef"#, r#"ab\/cd\"ef"#, r#"ab/cd\\\"ef"#] {
            let mut text = format!("<{written}>");
            redactor.clean_answer(&mut text);
            assert_eq!(text, "<[key]>", "{written}");
        }
    }
}
