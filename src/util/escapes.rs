//! Texts with their escapes undone: JSON's and those of programs (`\u002b`, `\"`), percent signs (`%2B`), HTML's (`&#43;`).
//! Where each byte came from is kept, so that what is found in the plain text can be replaced in the text as it was.

use std::ops::Range;

/// The longest name or number of an entity, with `&` and `;`.
const LONGEST_ENTITY: usize = 12;

/// Entities with a name that stand for characters of keys.
const ENTITIES: [(&[u8], u8); 12] = [
    (b"amp", b'&'),
    (b"lt", b'<'),
    (b"gt", b'>'),
    (b"quot", b'"'),
    (b"apos", b'\''),
    (b"plus", b'+'),
    (b"sol", b'/'),
    (b"equals", b'='),
    (b"lowbar", b'_'),
    (b"period", b'.'),
    (b"colon", b':'),
    (b"commat", b'@'),
];

/// Whether a character ends a line, or cannot be seen.
pub fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}')
}

/// A text with one level of escapes undone, or several.
#[derive(Debug)]
pub struct Unescaped {
    /// The text. Percent signs may stand for any byte, so it need not be UTF-8.
    pub bytes: Vec<u8>,
    /// Where in the source each byte begins, and where the source ends.
    begins: Vec<u32>,
}

impl Unescaped {
    /// A text with its outermost escapes undone; `None` when it has none.
    pub fn of(text: &str) -> Option<Unescaped> {
        unescape(text.as_bytes())
    }

    /// A text without line ends, and without what cannot be seen (soft hyphens, joiners, spaces of no width); `None` when it
    /// has neither.
    pub fn joined(text: &str) -> Option<Unescaped> {
        text.find(is_break)?;
        let (mut bytes, mut begins) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        for (place, c) in text.char_indices().filter(|(_, c)| !is_break(*c)) {
            let place = u32::try_from(place).ok()?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            begins.extend((0..c.len_utf8()).map(|_| place));
        }
        begins.push(u32::try_from(text.len()).ok()?);
        Some(Unescaped { bytes, begins })
    }

    /// The same with the next level undone; `None` when there is none. Places are those of the first source.
    pub fn again(&self) -> Option<Unescaped> {
        let inner = unescape(&self.bytes)?;
        let begins = inner.begins.into_iter().map(|place| self.begins[place as usize]).collect();
        Some(Unescaped { bytes: inner.bytes, begins })
    }

    /// Where in the source a piece of these bytes stands.
    pub fn in_source(&self, piece: &Range<usize>) -> Range<usize> {
        self.begins[piece.start] as usize..self.begins[piece.end] as usize
    }
}

fn unescape(source: &[u8]) -> Option<Unescaped> {
    let first = memchr::memchr3(b'\\', b'%', b'&', source)?;
    let end = u32::try_from(source.len()).ok()?;
    let mut bytes = source[..first].to_vec();
    let mut begins: Vec<u32> = (0..end).take(first).collect();
    let (mut place, mut is_escaped) = (first, false);
    while let Some(&byte) = source.get(place) {
        let rest = &source[place..];
        let (written, length) = match byte {
            b'\\' => after_backslash(rest),
            b'%' => after_percent(rest),
            b'&' => entity(rest),
            _ => None,
        }
        .map_or((Written::Byte(byte), 1), |found| {
            is_escaped = true;
            found
        });
        match written {
            Written::Byte(byte) => bytes.push(byte),
            Written::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        begins.resize(bytes.len(), u32::try_from(place).ok()?);
        place += length;
    }
    begins.push(end);
    is_escaped.then_some(Unescaped { bytes, begins })
}

/// What an escape stands for.
#[derive(Debug, Clone, Copy)]
enum Written {
    Byte(u8),
    Char(char),
}

/// What hexadecimal digits stand for.
fn hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits.filter(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn after_backslash(rest: &[u8]) -> Option<(Written, usize)> {
    let coded = |from: usize, to: usize| hex(rest.get(from..to)).and_then(char::from_u32);
    let (c, length) = match rest.get(1)? {
        c @ (b'"' | b'\\' | b'/' | b'\'') => return Some((Written::Byte(*c), 2)),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'x' => (coded(2, 4)?, 4),
        b'u' if rest.get(2) == Some(&b'{') => {
            let close = rest.iter().take(LONGEST_ENTITY).position(|byte| *byte == b'}')?;
            (coded(3, close)?, close + 1)
        }
        b'u' => (coded(2, 6)?, 6),
        b'U' => (coded(2, 10)?, 10),
        _ => return None,
    };
    Some((Written::Char(c), length))
}

fn after_percent(rest: &[u8]) -> Option<(Written, usize)> {
    if matches!(rest.get(1), Some(b'u' | b'U')) {
        return Some((Written::Char(char::from_u32(hex(rest.get(2..6))?)?), 6));
    }
    Some((Written::Byte(u8::try_from(hex(rest.get(1..3))?).ok()?), 3))
}

fn entity(rest: &[u8]) -> Option<(Written, usize)> {
    let body = &rest[1..rest.len().min(LONGEST_ENTITY)];
    let run = |from: usize, is_part: fn(&u8) -> bool| {
        let part = body.get(from..).unwrap_or_default();
        &part[..part.iter().take_while(|byte| is_part(byte)).count()]
    };
    let (written, length) = match body {
        [b'#', b'x' | b'X', ..] => {
            let digits = run(2, u8::is_ascii_hexdigit);
            (Written::Char(char::from_u32(hex(Some(digits))?)?), 3 + digits.len())
        }
        [b'#', ..] => {
            let digits = run(1, u8::is_ascii_digit);
            let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
            (Written::Char(char::from_u32(number)?), 2 + digits.len())
        }
        _ => {
            let name = run(0, u8::is_ascii_alphabetic);
            let (_, byte) = ENTITIES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            if rest.get(1 + name.len()) != Some(&b';') {
                return None;
            }
            (Written::Byte(*byte), 1 + name.len())
        }
    };
    // Browsers read numbers without the semicolon, too.
    Some((written, length + usize::from(rest.get(length) == Some(&b';'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_of_escape_is_undone_one_level_at_a_time() {
        for (written, plain) in [
            (r"a\u002bb\u002Fc", "a+b/c"),
            (r#"a\"b\\c\/d\'e\nf"#, "a\"b\\c/d'e\nf"),
            (r"\x2b\u{2b}\U0000002b", "+++"),
            ("a%2Bb%2fc%u002Bd", "a+b/c+d"),
            ("%E2%82%AC", "€"),
            ("&#43;&#043;&#x2b;&#X2B;&#43-", "+++++-"),
            ("&amp;&lt;&gt;&quot;&apos;&plus;&sol;", "&<>\"'+/"),
            (r"a\\u002bb", r"a\u002bb"),
            ("a&amp;#43;b", "a&#43;b"),
            ("a%252Bb", "a%2Bb"),
        ] {
            let found = Unescaped::of(written).unwrap();
            assert_eq!(String::from_utf8_lossy(&found.bytes), plain, "{written}");
            assert_eq!(found.in_source(&(0..found.bytes.len())), 0..written.len(), "{written}");
        }
        for plain in ["", "plain", r"\frac", "100 % of 5%", "a & b &c; &unknown;", r"\ud83d", "&#;", "&", "%", r"\"] {
            assert!(Unescaped::of(plain).is_none(), "{plain}");
        }
        let twice = Unescaped::of(r"<a\\u002bb>").unwrap().again().unwrap();
        assert_eq!(twice.bytes, b"<a+b>");
        assert_eq!(twice.in_source(&(2..3)), 2..9);
        assert!(twice.again().is_none());
    }

    proptest! {
        #[test]
        fn any_text_can_be_undone(text in r#"([a-z€\\%&#;ux0-9"{}]){0,60}"#) {
            let mut level = Unescaped::of(&text);
            let mut size = text.len();
            while let Some(found) = level {
                prop_assert!(found.bytes.len() < size);
                prop_assert_eq!(found.begins.len(), found.bytes.len() + 1);
                prop_assert!(found.begins.is_sorted());
                size = found.bytes.len();
                level = found.again();
            }
        }
    }
}
