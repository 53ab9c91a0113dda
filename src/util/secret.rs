//! Keys that cannot be printed by accident, and a filter that takes them out of foreign text.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::util::base64;
use crate::util::escapes::{Unescaped, is_break};

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
pub const MARK: &str = "[key]";

/// Characters of a key that was cut off (`sk-abc…`) from which it is taken out all the same.
const LEAST_PART: usize = 6;

/// Characters of a key below which it is left alone: it would blank out ordinary text.
const LEAST_KEY: usize = 4;

/// Characters of a key in hexadecimal or base64 below which ordinary text could hold it by chance.
const LEAST_CODE: usize = 8;

/// Characters of a masked key (`sk-abc…***`) from which it is taken out, whatever stands in the place of the others.
const LEAST_MASKED: usize = 12;

/// Escapes within escapes that are undone in a text.
const LEVELS: usize = 4;

/// Takes known keys out of texts that come from outside: services echo keys in error messages, and a model or a proxy
/// may do so in an answer. A key is found as it is (without blanks around it), in any case, in hexadecimal and in base64
/// (alone or within a longer text, such as `user:key`), and in all of these also where some or all of it is escaped, as in
/// JSON, in addresses and in HTML.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The keys as they are, for those that were cut off.
    keys: Vec<Secret>,
    all: Search,
    /// Those that no answer holds by chance.
    unmistakable: Search,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} keys)", self.keys.len())
    }
}

impl Redactor {
    /// A filter for these keys. Keys under 4 characters are left alone: they would blank out ordinary text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Redactor {
        let bare = secrets.into_iter().map(|secret| Secret::new(secret.expose().trim()));
        let mut keys: Vec<Secret> = bare.filter(|secret| secret.expose().len() >= LEAST_KEY).collect();
        keys.sort_by(|a, b| a.expose().cmp(b.expose()));
        keys.dedup();
        let all = Search::new(keys.iter().map(Secret::expose));
        let unmistakable = Search::new(keys.iter().map(Secret::expose).filter(|key| !is_word(key)));
        Redactor { keys, all, unmistakable }
    }

    /// Replaces every key in an answer by `[key]`, but for those that are ordinary words or numbers (`EMPTY`, `staging`,
    /// `8080`), as variables for local servers and headers often are: it would change what is marked. Gives the number of
    /// places that were replaced.
    pub fn clean_answer(&self, text: &mut String) -> u64 {
        self.unmistakable.replace(text)
    }

    /// Replaces every key in a message by `[key]`, and a part of a key that was left before or after a `…`, where somebody
    /// has shortened the message.
    pub fn clean_message(&self, text: &mut String) {
        self.all.replace(text);
        for (at, cut) in text.clone().match_indices('…').rev() {
            let keys = || self.keys.iter().map(Secret::expose);
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

/// Finds keys in all their spellings.
#[derive(Clone, Default)]
struct Search {
    /// `None` when there is nothing to look for.
    spellings: Option<AhoCorasick>,
    /// Of each spelling, whether it is base64 or a part of a key: then the letters around it belong to the same.
    is_base64: Vec<bool>,
    /// Bytes of the shortest spelling; `None` when some spelling has white space in it.
    least: Option<usize>,
}

impl Search {
    fn new<'a>(keys: impl Iterator<Item = &'a str>) -> Search {
        let mut spellings: Vec<(Vec<u8>, bool)> = keys.flat_map(spellings).collect();
        spellings.sort_unstable();
        spellings.dedup();
        if spellings.is_empty() {
            return Search::default();
        }
        let has_space = spellings.iter().any(|(text, _)| text.iter().any(u8::is_ascii_whitespace));
        let least = spellings.iter().map(|(text, _)| text.len()).min().filter(|_| !has_space);
        let (texts, is_base64): (Vec<Vec<u8>>, Vec<bool>) = spellings.into_iter().unzip();
        let mut builder = AhoCorasick::builder();
        // Case makes no difference, and the longest first, so that a key which contains another goes as a whole.
        builder.ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest).kind(Some(AhoCorasickKind::DFA));
        let spellings = builder.build(&texts).expect("keys that an environment holds are few and short");
        Search { spellings: Some(spellings), is_base64, least }
    }

    fn replace(&self, text: &mut String) -> u64 {
        let places = self.places(text);
        for place in places.iter().rev() {
            text.replace_range(place.clone(), MARK);
        }
        places.len() as u64
    }

    /// Where keys stand, in order and apart from each other.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        let Some(spellings) = &self.spellings else { return Vec::new() };
        // Most answers are short or prose. Escapes make a key only longer, and never bring white space into it.
        if self.least.is_some_and(|least| !has_run(text.as_bytes(), least)) {
            return Vec::new();
        }
        let mut found: Vec<Range<usize>> = self.matches(spellings, text.as_bytes()).collect();
        let mut level = Unescaped::of(text);
        for _ in 0..LEVELS {
            let Some(plain) = level else { break };
            found.extend(self.matches(spellings, &plain.bytes).map(|place| plain.in_source(&place)));
            level = plain.again();
        }
        if let Some(joined) = Unescaped::joined(text) {
            found.extend(self.matches(spellings, &joined.bytes).map(|place| {
                let place = joined.in_source(&place);
                let kept = text[place.clone()].trim_end_matches(is_break).len();
                place.start..place.start + kept
            }));
        }
        found.sort_unstable_by_key(|place| (place.start, place.end));
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for place in found {
            match apart.last_mut() {
                Some(last) if place.start < last.end => last.end = last.end.max(place.end),
                _ => apart.push(place),
            }
        }
        apart
    }

    fn matches<'a>(&'a self, spellings: &'a AhoCorasick, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        spellings.find_iter(text).map(|found| {
            let Range { start, end } = found.range();
            if !self.is_base64[found.pattern().as_usize()] {
                return start..end;
            }
            let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(*byte);
            let before = text[..start].iter().rev().take_while(is_letter).count();
            let after = text[end..].iter().take_while(is_letter).count();
            let padding = text[end + after..].iter().take(2).take_while(|byte| **byte == b'=').count();
            start - before..end + after + padding
        })
    }
}

/// Whether so many bytes without blanks stand together anywhere: a key may be wrapped. It looks at few of those that do not.
fn has_run(text: &[u8], length: usize) -> bool {
    let mut start = 0;
    while let Some(run) = text.get(start..start + length) {
        match run.iter().rposition(|byte| matches!(byte, b' ' | b'\t')) {
            Some(space) => start += space + 1,
            None => return true,
        }
    }
    false
}

/// How a key may be written, and whether that is base64. Escapes are not among it: they are undone in the text, and so
/// here in the key, too.
fn spellings(key: &str) -> Vec<(Vec<u8>, bool)> {
    let mut plain = vec![key.as_bytes().to_vec()];
    let mut level = Unescaped::of(key);
    for _ in 0..LEVELS {
        let Some(found) = level else { break };
        plain.push(found.bytes.clone());
        level = found.again();
    }
    // The search knows the cases of ASCII.
    plain.extend([key.to_lowercase(), key.to_uppercase()].map(String::into_bytes));
    let mut all = Vec::new();
    for key in plain.into_iter().filter(|key| key.len() >= LEAST_KEY) {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut codes = vec![(hex.into_bytes(), false)];
        for before in 0..3 {
            // With one or two bytes before it, a key is written in other letters; those that it shares with its
            // neighbours are left out.
            let code = base64::encode(&[&[0; 2][..before], &key].concat());
            let code = &code[(before * 8).div_ceil(6)..(before + key.len()) * 8 / 6];
            codes.push((code.as_bytes().to_vec(), true));
            codes.push((code.replace('+', "-").replace('/', "_").into_bytes(), true));
        }
        all.extend(codes.into_iter().filter(|(code, _)| code.len() >= LEAST_CODE));
        // Two thirds of a key, from either end, are as good as the key; what is left of the other third goes with them.
        let most = key.len() * 2 / 3;
        if most >= LEAST_MASKED {
            let parts = [&key[..most], &key[key.len() - most..]];
            all.extend(parts.into_iter().filter(|part| is_random(part)).map(|part| (part.to_vec(), true)));
        }
        all.push((key, false));
    }
    all
}

/// Whether a part of a key is none of a word, an address or a header.
fn is_random(part: &[u8]) -> bool {
    part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_+=".contains(byte))
        && part.iter().filter(|byte| byte.is_ascii_digit()).count() >= 2
        && part.iter().any(u8::is_ascii_alphabetic)
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
            assert_eq!(redactor.clean_answer(&mut text), 1);
            assert_eq!(text, "<[key]>", "{written}");
        }
    }

    #[test]
    fn other_spellings_are_found_and_counted_and_nothing_beside_them_goes() {
        let redactor =
            Redactor::new([Secret::new("Ab+/c=d%2Be_Ü9"), Secret::new("sk-test-123456"), Secret::new("hush")]);
        for (written, clean, count) in [
            ("a SK-TEST-123456 b Sk-Test-123456", "a [key] b [key]", 2),
            ("ab+/C=d%2be_ü9", "[key]", 1),
            ("Ab+/c=d+e_Ü9", "[key]", 1),
            (r"<Ab\u002b/c=d%2Be_\u00dc9>", "<[key]>", 1),
            ("Ab%2B%2Fc%3Dd%252Be_%C3%9C9&x=1", "[key]&x=1", 1),
            ("&#65;b&#43;&sol;c&equals;d%2Be_&#xDC;9", "[key]", 1),
            ("736B2d746573742d313233343536", "[key]", 1),
            ("Basic dXNlcjpzay10ZXN0LTEyMzQ1Ng== realm", "Basic [key] realm", 1),
            ("token=bWU6c2stdGVzdC0xMjM0NTY=.", "token=[key].", 1),
            // `hush` is a word, and in base64 or hexadecimal too short to be told from others.
            ("hush aHVzaA== 68757368", "hush aHVzaA== 68757368", 0),
            ("sk-test-1 100% & \\frac", "sk-test-1 100% & \\frac", 0),
            // Wrapped, and with something unseen within.
            ("a sk-test-\n123456 b", "a [key] b", 1),
            ("a sk-te\u{200b}st-12\u{ad}3456 b", "a [key] b", 1),
        ] {
            let mut text = written.to_owned();
            assert_eq!((redactor.clean_answer(&mut text), text.as_str()), (count, clean), "{written}");
        }
        assert_eq!(format!("{redactor:?}"), "Redactor(3 keys)");
    }
}
