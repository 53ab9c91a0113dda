//! Text rules that scorers share: what counts as the same text, what is wrapping, and how texts are shown in details.
//!
//! Unicode normalisation forms are not unified: a composed `é` and an `e` with a combining accent are different texts.

use std::fmt::{self, Display, Write};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Number, Value};

use crate::util::text::shorten;

/// Longest text, in characters, that a detail shows.
pub const SHOWN_CHARS: usize = 200;

/// Which differences between two texts do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Runs of white space (Unicode `White_Space`) count as one blank, and outer ones not at all.
    pub fold_space: bool,
    /// Upper and lower case are the same, see [`fold_case`].
    pub ignore_case: bool,
    /// ASCII punctuation and all of Unicode's category P is taken out; what stood around it moves together.
    pub ignore_punctuation: bool,
}

impl Rules {
    /// Whether two texts are the same under these rules.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        if one == other {
            return true;
        }
        if self == Rules::default() {
            return false;
        }
        self.chars(one).eq(self.chars(other))
    }

    /// Whether two JSON values are the same: strings under these rules, keys exactly and in any order, numbers by value (1
    /// is 1.0). Recursion ends: JSON is at most 127 levels deep here.
    pub fn is_same_value(self, one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::String(one), Value::String(other)) => self.is_same(one, other),
            (Value::Number(one), Value::Number(other)) => is_same_number(one, other),
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| self.is_same_value(one, other))
            }
            (Value::Object(one), Value::Object(other)) => {
                let is_same = |(key, value)| other.get(key).is_some_and(|other| self.is_same_value(value, other));
                one.len() == other.len() && one.iter().all(is_same)
            }
            (Value::Null | Value::Bool(_), _) => one == other,
            (Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_), _) => false,
        }
    }

    /// The text after the rules.
    pub fn folded(self, text: &str) -> String {
        self.chars(text).collect()
    }

    /// The text's characters after the rules, without a copy of it.
    fn chars(self, text: &str) -> impl Iterator<Item = char> + '_ {
        let kept = text.chars().filter(move |c| !self.ignore_punctuation || !is_punctuation(*c));
        let folded = kept.flat_map(move |c| Folded::of(c, self.ignore_case));
        FoldSpace { chars: folded, is_on: self.fold_space, has_begun: false, held: None }
    }
}

/// Whether two JSON numbers have the same value. Integers are compared exactly, also with whole floats.
fn is_same_number(one: &Number, other: &Number) -> bool {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one == other,
        (Some(whole), None) => whole_of(other) == Some(whole),
        (None, Some(whole)) => whole_of(one) == Some(whole),
        (None, None) => one.as_f64() == other.as_f64(),
    }
}

/// The value of a number that is whole, however it is written.
pub fn whole_of(number: &Number) -> Option<i128> {
    // A float that is no whole number is cut and then differs from what it was cut from.
    #[expect(clippy::cast_possible_truncation, reason = "out of range it saturates, beyond every JSON integer")]
    let of_float = |float: f64| (float.fract() == 0.0).then_some(float as i128);
    number.as_i128().or_else(|| number.as_f64().and_then(of_float))
}

/// One character, or what it folds to.
enum Folded<I> {
    One(Option<char>),
    Many(I),
}

impl Folded<std::iter::Empty<char>> {
    fn of(c: char, ignore_case: bool) -> Folded<impl Iterator<Item = char>> {
        if !ignore_case {
            Folded::One(Some(c))
        } else if c.is_ascii() {
            Folded::One(Some(c.to_ascii_lowercase()))
        } else {
            Folded::Many(c.to_uppercase().flat_map(char::to_lowercase))
        }
    }
}

impl<I: Iterator<Item = char>> Iterator for Folded<I> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Folded::One(c) => c.take(),
            Folded::Many(chars) => chars.next(),
        }
    }
}

struct FoldSpace<I> {
    chars: I,
    is_on: bool,
    has_begun: bool,
    /// The character after a blank that has just been given.
    held: Option<char>,
}

impl<I: Iterator<Item = char>> Iterator for FoldSpace<I> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let mut c = self.chars.next()?;
        if !self.is_on {
            return Some(c);
        }
        let is_space = c.is_whitespace();
        while c.is_whitespace() {
            c = self.chars.next()?;
        }
        if is_space && self.has_begun {
            self.held = Some(c);
            c = ' ';
        }
        self.has_begun = true;
        Some(c)
    }
}

/// The text without its case: each character to upper and then to lower case, so that `ß` and `ss`, `ς` and `σ` meet. It
/// depends on no language: a Turkish `ı` meets `i`.
pub fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(|c| Folded::of(c, true)).collect()
}

fn is_punctuation(c: char) -> bool {
    static PUNCTUATION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\A\p{P}").expect("the pattern is right: a test uses it"));
    if c.is_ascii() { c.is_ascii_punctuation() } else { PUNCTUATION.is_match(c.encode_utf8(&mut [0; 4])) }
}

/// The text without what models wrap short answers in: white space, matching quotes, backticks, markdown's `*` and `_`, and
/// a final full stop (but not an ellipsis).
pub fn bare(text: &str) -> &str {
    let mut rest = text.trim();
    loop {
        let Some(inner) = inside_pair(rest).or_else(|| before_stop(rest)) else { return rest };
        rest = inner.trim();
    }
}

fn inside_pair(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    let inner = &text[first.len_utf8()..];
    match first {
        '"' | '\'' | '`' | '*' | '_' => inner.strip_suffix(first),
        '“' => inner.strip_suffix('”'),
        '‘' => inner.strip_suffix('’'),
        '«' => inner.strip_suffix('»'),
        '„' => inner.strip_suffix(['“', '”']),
        _ => None,
    }
}

fn before_stop(text: &str) -> Option<&str> {
    text.strip_suffix('.').filter(|rest| !rest.ends_with('.'))
}

/// The first [`SHOWN_CHARS`] characters of whatever can be displayed, made printable. It stops as soon as it has them.
pub fn shown(text: impl Display) -> String {
    let mut head = Head { text: String::new(), left: SHOWN_CHARS + 1 };
    // The only error is that the head is full.
    let _ = write!(head, "{text}");
    shorten(&head.text, SHOWN_CHARS)
}

struct Head {
    text: String,
    left: usize,
}

impl Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.text.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(letters: &str) -> Rules {
        Rules {
            fold_space: letters.contains('s'),
            ignore_case: letters.contains('c'),
            ignore_punctuation: letters.contains('p'),
        }
    }

    #[test]
    fn sameness() {
        let table = [
            ("", "a", "a", true),
            ("", "a", "a ", false),
            ("s", " a \n\t b\u{a0}", "a b", true),
            ("s", "ab", "a b", false),
            ("s", "  ", "", true),
            ("s", "A", "a", false),
            ("c", "Straße", "STRASSE", true),
            ("c", "ΟΔΟΣ", "οδος", true),
            ("c", "É", "é", true),
            ("c", "a", "a ", false),
            ("p", "Don't!", "Dont", true),
            ("p", "«été»…", "été", true),
            ("p", "a , b", "a b", false),
            ("ps", "a , b", "a b", true),
            ("ps", "well-known", "well known", false),
            ("p", "5€", "5", false),
            ("scp", " \"Yes.\" ", "yes", true),
            // Composed and decomposed stay apart.
            ("scp", "\u{e9}", "e\u{301}", false),
        ];
        for (letters, one, other, expected) in table {
            assert_eq!(rules(letters).is_same(one, other), expected, "{letters} {one:?} {other:?}");
            assert_eq!(rules(letters).is_same(other, one), expected, "{letters} {other:?} {one:?}");
        }
    }

    #[test]
    fn wrapping_is_taken_off() {
        let table = [
            ("**18**", "18"),
            ("**18.**", "18"),
            ("`\"a b\"`.", "a b"),
            ("“x”", "x"),
            ("„x“", "x"),
            ("it's", "it's"),
            ("\"a\" or \"b\"", "a\" or \"b"),
            ("18...", "18..."),
            ("*", "*"),
            ("**", ""),
            (".", ""),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(bare(text), expected, "{text:?}");
        }
        assert_eq!(bare(&"*".repeat(1_000_001)), "*");
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}"), "a\\u{1b}[31m\\u{202e}");
        let long = shown(serde_json::json!(["x".repeat(1 << 20)]));
        assert_eq!(long.chars().count(), SHOWN_CHARS + 1);
        assert!(long.ends_with('…'));
    }

    proptest! {
        #[test]
        fn sameness_is_what_the_folded_texts_say(one in "[ aAßſ.,\u{a0}\n]{0,8}", other in "[ aAßſ.,\u{a0}\n]{0,8}") {
            for letters in ["s", "c", "p", "sc", "sp", "cp", "scp"] {
                let plain = |text: &str| {
                    let mut text = text.to_owned();
                    if letters.contains('p') { text.retain(|c| c != '.' && c != ',') }
                    if letters.contains('c') { text = text.to_uppercase() }
                    if letters.contains('s') { text = text.split_whitespace().collect::<Vec<_>>().join(" ") }
                    text
                };
                prop_assert_eq!(rules(letters).is_same(&one, &other), plain(&one) == plain(&other));
            }
        }
    }
}
