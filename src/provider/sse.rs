//! Server-sent events: bytes in any pieces to frames, after the "event stream interpretation" of the WHATWG HTML
//! standard (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>). Pure.
//!
//! `id` and `retry` are ignored: an answer is never resumed.

use std::ops::ControlFlow;

/// Longest line, and longest data of one frame, that is accepted.
pub const LONGEST: usize = 16 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One event of a stream, lent until the next one is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its `event:` field; empty when it has none, which the standard reads as `message`.
    pub event: &'a str,
    /// Its `data:` lines, joined by line feeds.
    pub data: &'a str,
}

/// A line, or the data of one frame, is longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {} MiB", LONGEST >> 20)]
pub struct TooLong;

/// Takes the bytes of one stream, however they are split.
#[derive(Debug)]
pub struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    data: String,
    event: String,
    /// Whether the frame has a data line: `data` may be empty all the same.
    has_data: bool,
    /// Whether the last byte was a carriage return, so that a line feed that follows belongs to it.
    is_after_cr: bool,
    is_first_line: bool,
    longest: usize,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::with_limit(LONGEST)
    }
}

impl Parser {
    /// A parser that refuses lines and data of more than `longest` bytes.
    fn with_limit(longest: usize) -> Parser {
        Parser {
            line: Vec::new(),
            data: String::new(),
            event: String::new(),
            has_data: false,
            is_after_cr: false,
            is_first_line: true,
            longest,
        }
    }

    /// Takes the next bytes and hands on every frame that they complete. When `take` breaks off, the rest of the bytes
    /// is dropped.
    ///
    /// # Errors
    /// When a line or a frame is too long; the stream cannot be read on.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Frame<'_>) -> ControlFlow<()>,
    ) -> Result<(), TooLong> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.is_after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.keep(bytes)?;
                return Ok(());
            };
            let (head, tail) = bytes.split_at(end);
            self.is_after_cr = tail[0] == b'\r';
            bytes = &tail[1..];
            let is_frame = if self.line.is_empty() {
                self.line(head)?
            } else {
                self.keep(head)?;
                let mut line = std::mem::take(&mut self.line);
                let is_frame = self.line(&line)?;
                line.clear();
                self.line = line;
                is_frame
            };
            if is_frame {
                let flow = take(Frame { event: &self.event, data: &self.data });
                self.clear();
                if flow.is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Called when the bytes end: the data of a frame that was begun and never closed by an empty line, if there is
    /// one. The standard drops such a frame; whether it was only the empty line that was missing, the reader of the
    /// data can tell.
    pub fn unfinished(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.line(&line).is_err() {
            return None;
        }
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then_some(data)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > self.longest {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes a whole line; true when it closes a frame that has data.
    fn line(&mut self, mut line: &[u8]) -> Result<bool, TooLong> {
        if std::mem::take(&mut self.is_first_line) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.len() > self.longest {
            return Err(TooLong);
        }
        if line.is_empty() {
            if !self.has_data {
                self.clear();
            }
            return Ok(self.has_data);
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() > self.longest {
                    return Err(TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => {
                self.event.clear();
                self.event.push_str(&String::from_utf8_lossy(value));
            }
            // Comments have an empty name; other fields mean nothing here.
            _ => {}
        }
        Ok(false)
    }

    fn clear(&mut self) {
        self.data.clear();
        self.event.clear();
        self.has_data = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames, and the data of a frame that was not closed.
    type Read = (Vec<(String, String)>, Option<String>);

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
        let mut parser = Parser::default();
        let mut frames = Vec::new();
        for piece in pieces {
            let fed = parser.feed(piece, |frame| {
                frames.push((frame.event.to_owned(), frame.data.to_owned()));
                ControlFlow::Continue(())
            });
            fed.unwrap();
        }
        (frames, parser.unfinished())
    }

    fn frames(text: &str) -> Vec<(String, String)> {
        read([text.as_bytes()]).0
    }

    fn data(texts: &[&str]) -> Vec<(String, String)> {
        texts.iter().map(|text| (String::new(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(frames("data: YHOO\ndata: +2\ndata: 10\n\n"), data(&["YHOO\n+2\n10"]));
        let stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        assert_eq!(frames(stream), data(&["first event", "second event", " third event"]));
        let (closed, open) = read(["data\n\ndata\ndata\n\ndata:".as_bytes()]);
        assert_eq!((closed, open.as_deref()), (data(&["", "\n"]), Some("")));
        assert_eq!(frames("data:test\n\ndata: test\n\n"), data(&["test", "test"]));
    }

    #[test]
    fn line_ends_marks_and_names() {
        assert_eq!(frames("\u{feff}data: a\r\n\r\ndata: b\r\rdata: c\n\n"), data(&["a", "b", "c"]));
        let named = frames("event: error\ndata: {}\n\nevent: lost\n\ndata: 1\n\n");
        assert_eq!(named, vec![("error".into(), "{}".into()), (String::new(), "1".into())]);
        assert_eq!(frames("data: \u{feff}\n\n"), data(&["\u{feff}"]), "a mark counts at the start only");
        assert_eq!(frames("Data: x\n\n data: y\n\nretry: 5\n\n"), data(&[]));
    }

    #[test]
    fn a_frame_without_its_empty_line_is_told() {
        let (closed, open) = read(["data: a\n\ndata: b\ndata: c".as_bytes()]);
        assert_eq!((closed, open.as_deref()), (data(&["a"]), Some("b\nc")));
        assert_eq!(read(["data: a\n\n: bye".as_bytes()]).1, None);
    }

    #[test]
    fn broken_text_is_replaced() {
        assert_eq!(read([&b"data: a\xFFb\xE2\x82\n\n"[..]]).0, data(&["a\u{fffd}b\u{fffd}"]));
    }

    #[test]
    fn what_breaks_off_stops_at_once() {
        let mut seen = Vec::new();
        let fed = Parser::default().feed(b"data: 1\n\ndata: 2\n\n", |frame| {
            seen.push(frame.data.to_owned());
            ControlFlow::Break(())
        });
        assert_eq!((fed, seen), (Ok(()), vec!["1".to_owned()]));
    }

    #[test]
    fn length_is_bounded_however_it_comes() {
        let go = |_: Frame<'_>| ControlFlow::Continue(());
        assert_eq!(Parser::with_limit(20).feed(b"data: 0123456789abcdef\n\n", go), Err(TooLong));
        let mut parser = Parser::with_limit(20);
        assert!((0..30).any(|_| parser.feed(b"x", go).is_err()));
        let mut parser = Parser::with_limit(20);
        assert!((0..30).any(|_| parser.feed(b"data: 12345\n", go).is_err()));
        let mut parser = Parser::with_limit(20);
        for _ in 0..1000 {
            parser.feed(b"data: 123\n\n", go).unwrap();
        }
    }

    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"data".to_vec()),
            Just(b"event:".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b":".to_vec()),
            Just(BOM.to_vec()),
            Just("é漢🎉".as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            bytes in hostile_bytes(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let whole = read([&bytes[..]]);
            prop_assert_eq!(&read(bytes.chunks(1)), &whole);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(&read(pieces), &whole);
        }
    }
}
