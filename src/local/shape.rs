//! Where in a JSON text one is, from its bytes. Pure.
//!
//! A grammar says what may come next; it does not keep a model from writing digits for ever, or brackets, or the same
//! key again. This does. It also tells which of several continuations leads most directly to the end.

use std::cmp::Reverse;

/// Digits of a whole part or of a fraction, at most: more than an `f64` holds, and far from its largest.
const MOST_DIGITS: u8 = 20;

/// The same where a number must be a multiple of another: an `f64` holds these, and three more to get there.
const MOST_DIGITS_OF_MULTIPLES: u8 = 12;

/// Digits of an exponent, at most.
const MAX_EXPONENT: u8 = 2;

/// Brackets within brackets, at most. Parsers give up at about 128.
const MAX_DEPTH: u32 = 64;

/// What is expected or being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A value, or the end of an empty list.
    Value,
    /// A key, or the end of an empty object.
    Key,
    /// The colon after a key.
    Colon,
    /// A comma or a closing bracket; outside of all brackets, the end.
    After,
    /// Inside a string.
    Text { is_key: bool, is_escaped: bool },
    /// Inside a number: so many digits of its present part.
    Number { digits: u8, is_exponent: bool },
    /// Inside `true`, `false` or `null`.
    Word,
}

/// A place in a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    place: Place,
    depth: u32,
    /// A bit for each open bracket, the innermost lowest: whether it is an object's.
    objects: u128,
    /// Blanks between values so far.
    blanks: u32,
    /// Digits and brackets above what should be.
    excess: u32,
    most_digits: u8,
}

/// How near the end a continuation is: the smaller the nearer.
pub type Rank = (u32, bool, u8, Reverse<usize>);

impl Shape {
    /// The beginning of a text, which may have numbers that must be multiples of others.
    pub fn new(has_multiples: bool) -> Shape {
        let most_digits = if has_multiples { MOST_DIGITS_OF_MULTIPLES } else { MOST_DIGITS };
        Shape { place: Place::Value, depth: 0, objects: 0, blanks: 0, excess: 0, most_digits }
    }

    /// Whether a value that shows its end by itself (no number, no word) has ended.
    pub fn is_closed(&self) -> bool {
        self.depth == 0 && self.place == Place::After
    }

    /// Whether these bytes add digits to a number that has enough, or brackets that are nested too deeply.
    pub fn exceeds(self, bytes: &[u8]) -> bool {
        self.after(bytes).excess > self.excess
    }

    /// How many brackets are open.
    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    /// Whether it is inside a string that is no key, or a number: what is added there commits to nothing further on.
    pub fn is_inside(&self) -> bool {
        matches!(self.place, Place::Text { is_key: false, .. } | Place::Number { .. })
    }

    /// The place after some more bytes.
    pub fn after(mut self, bytes: &[u8]) -> Shape {
        for byte in bytes {
            self.step(*byte);
        }
        self
    }

    /// How near the end these bytes lead.
    pub fn rank(self, bytes: &[u8]) -> Rank {
        let then = self.after(bytes);
        let open = match then.place {
            Place::After => 0,
            Place::Key | Place::Value | Place::Colon => 1,
            Place::Number { .. } | Place::Word => 2,
            Place::Text { .. } => 3,
        };
        (then.depth, then.blanks > self.blanks, open, Reverse(bytes.len()))
    }

    fn step(&mut self, byte: u8) {
        match (&mut self.place, byte) {
            (Place::Text { is_escaped, .. }, _) if *is_escaped => *is_escaped = false,
            (Place::Text { is_escaped, .. }, b'\\') => *is_escaped = true,
            (Place::Text { is_key, .. }, b'"') => self.place = if *is_key { Place::Colon } else { Place::After },
            (Place::Text { .. }, _) => {}
            (Place::Number { .. } | Place::Word, b' ' | b'\n' | b'\r' | b'\t') => {
                self.place = Place::After;
                self.blanks += 1;
            }
            (_, b' ' | b'\n' | b'\r' | b'\t') => self.blanks += 1,
            (Place::Number { digits, is_exponent }, b'0'..=b'9') => {
                *digits = digits.saturating_add(1);
                let most = if *is_exponent { MAX_EXPONENT } else { self.most_digits };
                self.excess += u32::from(*digits > most);
            }
            (Place::Number { digits, .. }, b'.' | b'+' | b'-') => *digits = 0,
            (Place::Number { digits, is_exponent }, b'e' | b'E') => (*digits, *is_exponent) = (0, true),
            (_, b',') => self.place = if self.objects & 1 == 1 { Place::Key } else { Place::Value },
            (_, b':') => self.place = Place::Value,
            (_, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                self.objects >>= 1;
                self.place = Place::After;
            }
            (_, b'{' | b'[') => {
                let is_object = byte == b'{';
                self.depth += 1;
                self.objects = self.objects << 1 | u128::from(is_object);
                self.excess += u32::from(self.depth > MAX_DEPTH);
                self.place = if is_object { Place::Key } else { Place::Value };
            }
            (Place::Key, b'"') => self.place = Place::Text { is_key: true, is_escaped: false },
            (_, b'"') => self.place = Place::Text { is_key: false, is_escaped: false },
            (_, b'0'..=b'9') => self.place = Place::Number { digits: 1, is_exponent: false },
            (_, b'-') => self.place = Place::Number { digits: 0, is_exponent: false },
            _ => self.place = Place::Word,
        }
    }
}

/// A place in a JSON text, with the keys of the objects around it.
#[derive(Debug, Clone)]
pub struct Track {
    shape: Shape,
    /// The keys so far, of each open bracket.
    keys: Vec<Vec<Vec<u8>>>,
    /// The string being written, a key or a value, as it is written.
    text: Vec<u8>,
    has_double: bool,
}

impl Track {
    /// From the beginning of a text.
    pub fn new(shape: Shape) -> Track {
        Track { shape, keys: Vec::new(), text: Vec::new(), has_double: false }
    }

    /// The place.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether an object has a key twice. Keys are compared as they are written, so escapes must have one form only.
    pub fn has_double(&self) -> bool {
        self.has_double
    }

    /// The bytes so far of the string that is being written, without its escapes; `None` outside of strings.
    pub fn open_text(&self) -> Option<Vec<u8>> {
        let Place::Text { is_escaped: false, .. } = self.shape.place else { return None };
        let mut text = Vec::with_capacity(self.text.len());
        let mut bytes = self.text.iter();
        while let Some(byte) = bytes.next() {
            text.push(match byte {
                b'\\' => match bytes.next()? {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    other => *other,
                },
                other => *other,
            });
        }
        Some(text)
    }

    /// Goes on by some bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let before = self.shape;
            self.shape.step(*byte);
            match (before.place, self.shape.place) {
                (Place::Text { .. }, Place::Text { .. }) => self.text.push(*byte),
                (Place::Text { is_key: true, .. }, _) => {
                    let key = std::mem::take(&mut self.text);
                    if let Some(keys) = self.keys.last_mut() {
                        self.has_double |= keys.contains(&key);
                        keys.push(key);
                    }
                }
                (_, Place::Text { .. }) => self.text.clear(),
                _ if self.shape.depth > before.depth => self.keys.push(Vec::new()),
                _ if self.shape.depth < before.depth => drop(self.keys.pop()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Shape {
        Shape::new(false).after(text.as_bytes())
    }

    fn is_excessive(text: &str) -> bool {
        Shape::new(false).exceeds(text.as_bytes())
    }

    #[test]
    fn the_end_is_seen() {
        for text in [r#"{"a":[1,{"b":"}]\""}],"c":null}"#, "[]", "{}", r#""a\\""#, "[true]", "[ 1 , 2 ]\n"] {
            assert!(at(text).is_closed(), "{text}");
            assert!(!at(&text[..text.trim_end().len() - 1]).is_closed(), "{text}");
        }
        assert!(!at("12").is_closed() && !at("null").is_closed());
    }

    #[test]
    fn numbers_and_brackets_have_bounds() {
        for text in ["[12345678901234567890", "[1.12345678901234567890", "[-1e99", "[1E+12", "[1,2,3,4,5e12"] {
            assert!(!is_excessive(text), "{text}");
        }
        for text in ["[123456789012345678901", "[0.123456789012345678901", "[1e100", "[-1E-100"] {
            assert!(is_excessive(text), "{text}");
        }
        assert!(!is_excessive(&"[".repeat(64)));
        assert!(is_excessive(&"[".repeat(65)));
        assert!(!is_excessive(r#"{"1234567890123456789012345":"123456789012345678901234"#));
        // What is too much already can still become more, or not.
        let long = at("[123456789012345678901");
        assert!(long.exceeds(b"2") && !long.exceeds(b",") && !long.exceeds(b"]"));
        assert!(Shape::new(true).exceeds(b"1234567890123"));
    }

    #[test]
    fn the_shortest_way_out_ranks_first() {
        for (text, ways, best) in [
            (r#"{"a":"#, vec!["[", "{", "\"", "12"], "12"),
            (r#"{"a":"b"#, vec!["c", "\"", "\"}", "\","], "\"}"),
            (r#"{"a":1"#, vec!["2345", ",", "}", "}\n"], "}"),
            (r#"{"a":1"#, vec!["2345", ",", " "], ","),
            (r#"["#, vec!["]", "\"", "1"], "]"),
            (r#"{"#, vec!["\"", "\"in", "\"inte"], "\"inte"),
        ] {
            let got = ways.iter().min_by_key(|way| at(text).rank(way.as_bytes())).unwrap();
            assert_eq!(*got, best, "{text}");
        }
    }

    #[test]
    fn an_open_string_is_told_without_its_escapes() {
        let open = |text: &str| {
            let mut track = Track::new(Shape::new(false));
            track.push(text.as_bytes());
            track.open_text().map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(open(r#"{"a":"x\n\"y"#).as_deref(), Some("x\n\"y"));
        assert_eq!(open(r#"{"a":"x","b"#).as_deref(), Some("b"));
        assert_eq!(open(r#"["a",""#).as_deref(), Some(""));
        assert_eq!((open(r#"["a""#), open(r#"["\"#)), (None, None));
    }

    #[test]
    fn a_key_that_comes_twice_is_seen() {
        let double = |text: &str| {
            let mut track = Track::new(Shape::new(false));
            track.push(text.as_bytes());
            track.has_double()
        };
        assert!(double(r#"{"a":1,"a""#));
        assert!(double(r#"{"a":{"b":[{}],"b""#));
        assert!(double(r#"{"":1,"""#));
        assert!(!double(r#"{"a":{"a":1},"b":["a","a"],"ab":"a","#));
        assert!(!double(r#"[{"a":1},{"a":1}]"#));
    }
}
