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

/// Takes known keys out of texts that come from outside: services echo keys in error messages.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// A filter for these keys. Keys under 4 characters are left alone: they would blank out ordinary text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Redactor {
        let mut secrets: Vec<Secret> = secrets.into_iter().filter(|secret| secret.expose().len() >= 4).collect();
        // The longest first, so that a key which contains another goes as a whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        secrets.dedup();
        Redactor(secrets)
    }

    /// The text with every key replaced by `[key]`.
    pub fn clean(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), "[key]") } else { text }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_neither_shown_nor_passed_on() {
        let key = Secret::new("sk-test-123456");
        assert!(!format!("{key:?}").contains("sk-test"));
        let redactor = Redactor::new([Secret::new("abc"), Secret::new("sk-test"), key]);
        assert_eq!(redactor.clean("bad key sk-test-123456 abc".into()), "bad key [key] abc");
    }
}
