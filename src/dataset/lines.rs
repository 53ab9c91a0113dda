//! Lines of a file of any size: no line is copied, and no more than one line, of a bounded length, is held.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use memchr::memchr;

use crate::types::{Fault, Place};

/// The longest row that is read, in bytes: a line of a JSONL file without its end, or a row of a CSV file. What is
/// longer is a fault, not a full memory.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One line, without its `\n` or `\r\n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1.
    pub number: u64,
    /// Where it begins, in bytes from where the reader began.
    pub offset: u64,
    /// Its bytes: not checked to be UTF-8, so that lines which are skipped cost nothing.
    pub bytes: &'a [u8],
}

/// Reads lines. A byte order mark at the start is left out; a last line without `\n` is a line.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    file: Arc<Path>,
    buffer: Vec<u8>,
    /// What of `buffer` is read from the file and not yet given out.
    start: usize,
    end: usize,
    /// Where the first byte of `buffer` stands in the file.
    base: u64,
    number: u64,
    has_ended: bool,
}

impl<R: Read> Lines<R> {
    /// Reads the lines of `reader`; `file` is its name in faults.
    pub fn new(reader: R, file: Arc<Path>) -> Lines<R> {
        Lines::with_buffer(reader, file, CHUNK_BYTES)
    }

    /// The same with a first buffer of that many bytes, for who wants only one line.
    pub(super) fn with_buffer(reader: R, file: Arc<Path>, bytes: usize) -> Lines<R> {
        Lines { reader, file, buffer: vec![0; bytes], start: 0, end: 0, base: 0, number: 0, has_ended: false }
    }

    /// What the lines are read from.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is longer than [`MAX_ROW_BYTES`]. No line is given after that.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Fault> {
        self.next_where(|_| true)
    }

    /// The next line whose bytes are wanted; the others are counted, but not given.
    ///
    /// # Errors
    /// Those of [`next_line`](Lines::next_line).
    pub(super) fn next_where(&mut self, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Option<Line<'_>>, Fault> {
        let (start, end) = loop {
            match self.find()? {
                None => return Ok(None),
                Some((start, end)) if is_wanted(&self.buffer[start..end]) => break (start, end),
                Some(_) => {}
            }
        };
        Ok(Some(Line { number: self.number, offset: self.base + start as u64, bytes: &self.buffer[start..end] }))
    }

    /// Finds the next line: where it begins and ends in `buffer`.
    fn find(&mut self) -> Result<Option<(usize, usize)>, Fault> {
        let mut searched = self.start;
        let (mut end, next) = loop {
            if let Some(found) = memchr(b'\n', &self.buffer[searched..self.end]) {
                break (searched + found, searched + found + 1);
            }
            searched = self.end;
            if self.has_ended {
                if self.start == self.end {
                    return Ok(None);
                }
                break (self.end, self.end);
            }
            // One byte more than the longest line: its `\r`.
            if self.end - self.start > MAX_ROW_BYTES + 1 {
                return Err(self.too_long());
            }
            searched -= self.start;
            self.fill()?;
        };
        let mut start = self.start;
        if self.number == 0 && self.buffer[start..end].starts_with(BOM) {
            start += BOM.len();
        }
        // A `\r` at the end of the file is taken as half a line end too: it is never a part of JSON.
        if self.buffer[start..end].ends_with(b"\r") {
            end -= 1;
        }
        if end - start > MAX_ROW_BYTES {
            return Err(self.too_long());
        }
        self.start = next;
        self.number += 1;
        Ok(Some((start, end)))
    }

    fn too_long(&mut self) -> Fault {
        (self.start, self.end, self.has_ended) = (0, 0, true);
        row_too_long(&self.file, self.number + 1)
    }

    /// Moves what is left to the front of the buffer, so that `start` is 0, and reads more behind it.
    fn fill(&mut self) -> Result<(), Fault> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            let bytes = (self.buffer.len() * 2).min(MAX_ROW_BYTES + CHUNK_BYTES);
            self.buffer.reserve_exact(bytes - self.buffer.len());
            self.buffer.resize(bytes, 0);
        }
        let count = read(&mut self.reader, &mut self.buffer[self.end..]).map_err(|error| {
            self.has_ended = true;
            self.end = 0;
            unreadable(&self.file, &error)
        })?;
        self.end += count;
        self.has_ended = count == 0;
        Ok(())
    }
}

/// Reads once, and again if a signal came in between.
pub(super) fn read(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Fault {
    Fault::new(Place::file(file), format!("cannot be read: {error}"))
}

pub(super) fn row_too_long(file: &Path, line: u64) -> Fault {
    Fault::new(Place::line(file, line), format!("a row of more than {} MiB", MAX_ROW_BYTES >> 20))
        .help("is a line end or a closing quote missing? The rest of the file is not read")
}

/// The text of a line.
///
/// # Errors
/// When it is not UTF-8; the fault has the line and the column of the first bad byte.
pub fn text<'a>(bytes: &'a [u8], file: &Path, line: u64) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (good, bad) = bytes.split_at(error.valid_up_to());
        let column = std::str::from_utf8(good).map_or(0, |good| good.chars().count()) as u64 + 1;
        let message = format!(
            "byte {} of the line (0x{:02x}) is not UTF-8",
            good.len() + 1,
            bad.first().copied().unwrap_or_default()
        );
        let is_utf16 = line == 1 && (bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff"));
        let help = if is_utf16 { "the file is UTF-16: save it as UTF-8" } else { "save the file as UTF-8" };
        Fault::new(Place::at(file, line, column), message).help(help)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn file() -> Arc<Path> {
        Path::new("a.jsonl").into()
    }

    /// Gives at most `step` bytes at a time, with an interruption before each.
    struct Slow<'a>(&'a [u8], usize, bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        for (bytes, expected) in [
            (&b""[..], vec![]),
            (b"a", vec![(1, 0, "a")]),
            (b"a\n", vec![(1, 0, "a")]),
            (b"a\n\nb", vec![(1, 0, "a"), (2, 2, ""), (3, 3, "b")]),
            (b"\xef\xbb\xbfa\r\nb\r\n", vec![(1, 3, "a"), (2, 6, "b")]),
            (b"a\n\xef\xbb\xbfb\n", vec![(1, 0, "a"), (2, 2, "\u{feff}b")]),
            (b"\xef\xbb\xbf", vec![(1, 3, "")]),
            (b"a\rb\r\n\r", vec![(1, 0, "a\rb"), (2, 5, "")]),
            (
                b"0123456789\n0123456789abcdef\nx\n",
                vec![(1, 0, "0123456789"), (2, 11, "0123456789abcdef"), (3, 28, "x")],
            ),
        ] {
            for step in [1, 2, 3, 7, 1000] {
                for buffer in [1, 4, 5, 64] {
                    let mut lines = Lines::with_buffer(Slow(bytes, step, false), file(), buffer);
                    let mut seen = Vec::new();
                    while let Some(line) = lines.next_line().unwrap() {
                        seen.push((
                            line.number,
                            line.offset,
                            text(line.bytes, &file(), line.number).unwrap().to_owned(),
                        ));
                    }
                    let seen: Vec<_> = seen.iter().map(|(number, offset, text)| (*number, *offset, &**text)).collect();
                    assert_eq!(seen, expected, "{bytes:?} by {step} into {buffer}");
                }
            }
        }
    }

    /// Endless `x`, counted.
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'x');
            self.0 += buffer.len();
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_line_without_end_is_a_fault_before_memory_runs_out() {
        let mut lines = Lines::new(b"{}\n".chain(Endless(0)), file());
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"{}");
        let fault = lines.next_line().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "error: a row of more than 64 MiB\n  --> a.jsonl:2\n   = help: is a line end or a closing quote missing? \
             The rest of the file is not read"
        );
        let (_, endless) = lines.reader.get_ref();
        assert!(endless.0 <= MAX_ROW_BYTES + CHUNK_BYTES, "{} bytes were read", endless.0);
        assert!(lines.buffer.capacity() <= MAX_ROW_BYTES + CHUNK_BYTES);
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_read_and_one_byte_more_is_not() {
        for (more, end, is_read) in
            [(0, "\n", true), (0, "\r\n", true), (0, "", true), (1, "\n", false), (1, "", false)]
        {
            let long = Endless(0).take((MAX_ROW_BYTES + more) as u64);
            let mut lines = Lines::new(long.chain(end.as_bytes()).chain(&b"y"[..]), file());
            if end.is_empty() {
                // The `y` belongs to the line then.
                lines = Lines::new(
                    Endless(0).take((MAX_ROW_BYTES + more - 1) as u64).chain(&b""[..]).chain(&b"y"[..]),
                    file(),
                );
            }
            assert_eq!(lines.next_line().is_ok_and(|line| line.is_some()), is_read, "{more} {end:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_have_a_place() {
        for (bytes, column, message) in [
            (&b"ab\xffc"[..], 3, "byte 3 of the line (0xff) is not UTF-8"),
            ("\u{e4}\u{f6}".as_bytes(), 0, ""),
            (b"\xc3\xa4\xc3", 2, "byte 3 of the line (0xc3) is not UTF-8"),
            (b"\xff\xfea\0", 1, "byte 1 of the line (0xff) is not UTF-8"),
        ] {
            match text(bytes, &file(), 1) {
                Ok(_) => assert_eq!(column, 0),
                Err(fault) => {
                    assert_eq!((fault.place.column, &*fault.message), (Some(column), message));
                    assert_eq!(fault.help.unwrap().contains("UTF-16"), bytes[0] == 0xff);
                }
            }
        }
    }

    #[test]
    fn an_error_of_the_disk_ends_the_lines() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk on fire"))
            }
        }
        let mut lines = Lines::new(b"a\nb".chain(Broken), file());
        assert!(lines.next_line().unwrap().is_some());
        assert_eq!(lines.next_line().unwrap_err().message, "cannot be read: disk on fire");
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
