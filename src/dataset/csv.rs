//! Rows of a CSV file: a header, then rows of as many cells. Every cell is a text.
//!
//! `csv-core` (the state machine inside the `csv` crate) does the splitting. It is driven here and not through `csv`,
//! because that neither bounds the length of a row (an open quote would take the whole file into memory) nor gives the
//! line on which a row begins when rows end with CRLF or blank lines stand between them.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use csv_core::ReadRecordResult;
use memchr::memchr_iter;
use serde_json::Value;

use crate::dataset::lines::{self, CHUNK_BYTES, MAX_ROW_BYTES};
use crate::types::{Fault, Place, Row};
use crate::util::text::shorten;

/// The greatest number of cells in a row.
pub const MAX_CELLS: usize = 1 << 16;

/// One row, its cells without quotes.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// The byte at which it begins, from where the reader began.
    pub offset: u64,
    /// All cells, one after the other.
    pub bytes: &'a [u8],
    /// Where each cell ends in `bytes`.
    pub ends: &'a [usize],
}

/// Reads rows, the header among them. Blank lines are left out, and so is a byte order mark at the start.
#[derive(Debug)]
pub struct Records<R> {
    core: csv_core::Reader,
    reader: R,
    file: Arc<Path>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of what `start` points at, and the line it is on.
    offset: u64,
    line: u64,
    /// Whether a byte order mark may come now.
    is_at_start: bool,
    has_ended: bool,
    output: Vec<u8>,
    ends: Vec<usize>,
}

/// The splitter for a delimiter. It is built anew for each reader: a clone of csv-core 0.1's reader splits wrongly.
fn core(delimiter: u8) -> csv_core::Reader {
    let mut core = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    // It would leave out a byte order mark at the start of what it reads first, which need not be the start of a file.
    // A line end before the first row changes nothing else.
    core.read_record(b"\n", &mut [0; 4], &mut [0; 4]);
    core
}

impl<R: Read> Records<R> {
    /// Reads the rows of `reader`, with cells parted by `delimiter`; `file` is its name in faults.
    pub fn new(reader: R, file: Arc<Path>, delimiter: u8) -> Records<R> {
        Records::with_buffer(reader, file, delimiter, CHUNK_BYTES)
    }

    /// The same with a first buffer of that many bytes, for who wants only one row.
    pub(super) fn with_buffer(reader: R, file: Arc<Path>, delimiter: u8, bytes: usize) -> Records<R> {
        Records {
            core: core(delimiter),
            reader,
            file,
            input: vec![0; bytes.max(4)],
            start: 0,
            end: 0,
            offset: 0,
            line: 1,
            is_at_start: true,
            has_ended: false,
            output: vec![0; bytes.max(4)],
            ends: vec![0; 64],
        }
    }

    /// For a reader that begins inside a file.
    #[must_use]
    pub(super) fn inside(mut self) -> Records<R> {
        self.is_at_start = false;
        self
    }

    /// What the rows are read from.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// When the file cannot be read, a row is longer than [`MAX_ROW_BYTES`] or has more cells than [`MAX_CELLS`], or a
    /// quote is never closed. No row is given after that.
    pub fn next_row(&mut self) -> Result<Option<Cells<'_>>, Fault> {
        let (line, offset, bytes, cells) = match self.split() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(fault) => {
                (self.start, self.end, self.has_ended) = (0, 0, true);
                return Err(fault);
            }
        };
        Ok(Some(Cells { line, offset, bytes: &self.output[..bytes], ends: &self.ends[..cells] }))
    }

    /// Splits one row into `output` and `ends`: its line, its offset, and how much of both it fills.
    fn split(&mut self) -> Result<Option<(u64, u64, usize, usize)>, Fault> {
        if !self.skip_line_ends()? {
            return Ok(None);
        }
        let (line, offset) = (self.line, self.offset);
        let (mut bytes, mut cells) = (0, 0);
        loop {
            if self.start == self.end && !self.has_ended {
                self.fill()?;
            }
            // Past the end, a line end closes a row, unless it stands inside quotes: that is how they are told apart.
            let is_past_end = self.start == self.end;
            let input = if is_past_end { &b"\n"[..] } else { &self.input[self.start..self.end] };
            let (result, read, written, ended) =
                self.core.read_record(input, &mut self.output[bytes..], &mut self.ends[cells..]);
            bytes += written;
            cells += ended;
            if !is_past_end {
                self.line += memchr_iter(b'\n', &input[..read]).count() as u64;
                self.start += read;
                self.offset += read as u64;
            }
            if self.offset - offset > MAX_ROW_BYTES as u64 {
                return Err(lines::row_too_long(&self.file, line));
            }
            if cells > MAX_CELLS {
                let message = format!("a row of more than {MAX_CELLS} cells; the rest of the file is not read");
                return Err(Fault::new(Place::line(&self.file, line), message));
            }
            match result {
                ReadRecordResult::Record => return Ok(Some((line, offset, bytes, cells))),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull | ReadRecordResult::InputEmpty => {}
                ReadRecordResult::End => return Ok(None),
            }
            if is_past_end && read > 0 {
                let message = "a quote that is opened in this row is never closed";
                return Err(Fault::new(Place::line(&self.file, line), message)
                    .help("inside quotes a quote is written twice: \"\""));
            }
            if self.output.len() - bytes < 2 {
                self.output.resize(self.output.len() * 2, 0);
            }
            if self.ends.len() - cells < 2 {
                self.ends.resize(self.ends.len() * 2, 0);
            }
        }
    }

    /// Goes to the next byte that is no line end; false when there is none. So a row's line is where its text begins.
    fn skip_line_ends(&mut self) -> Result<bool, Fault> {
        loop {
            while self.start < self.end {
                match self.input[self.start] {
                    b'\n' => self.line += 1,
                    b'\r' => {}
                    _ => return Ok(true),
                }
                self.start += 1;
                self.offset += 1;
            }
            if self.has_ended {
                return Ok(false);
            }
            self.fill()?;
        }
    }

    /// Reads into the empty buffer.
    fn fill(&mut self) -> Result<(), Fault> {
        let is_first = std::mem::take(&mut self.is_at_start);
        (self.start, self.end) = (0, 0);
        // A byte order mark must not be missed because its bytes come one by one.
        while !self.has_ended && (self.end == 0 || is_first && self.end < 3) {
            let count = lines::read(&mut self.reader, &mut self.input[self.end..])
                .map_err(|error| lines::unreadable(&self.file, &error))?;
            self.end += count;
            self.has_ended = count == 0;
        }
        if is_first && self.input[..self.end].starts_with(b"\xef\xbb\xbf") {
            self.start = 3;
            self.offset = 3;
        }
        Ok(())
    }
}

/// The names of the fields, from the first row.
///
/// # Errors
/// When a name is empty, occurs twice, or is not UTF-8: one fault for each.
pub fn header(cells: &Cells<'_>, file: &Path) -> Result<Arc<[String]>, Vec<Fault>> {
    let mut names = Vec::with_capacity(cells.ends.len());
    let mut seen = HashSet::new();
    let mut faults = Vec::new();
    for (index, cell) in cells.split().enumerate() {
        let column = index + 1;
        match std::str::from_utf8(cell) {
            Err(_) => faults
                .push(Fault::new(Place::line(file, cells.line), format!("the header of column {column} is not UTF-8"))),
            Ok("") => faults.push(Fault::new(Place::line(file, cells.line), format!("column {column} has no name"))),
            Ok(name) if !seen.insert(name) => faults.push(Fault::new(
                Place::line(file, cells.line),
                format!("two columns have the name `{}`", shorten(name, 100)),
            )),
            Ok(name) => names.push(name.to_owned()),
        }
    }
    if faults.is_empty() { Ok(names.into()) } else { Err(faults) }
}

/// The row with its cells under the names of the header.
///
/// # Errors
/// When it has not as many cells as the header, or one is not UTF-8.
pub fn row(cells: &Cells<'_>, header: &[String], file: &Path) -> Result<Row, Fault> {
    if cells.ends.len() != header.len() {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (has, wants) = (cells.ends.len(), header.len());
        let message = format!("this row has {has} cell{}, the header has {wants}", plural(has));
        let help = "a cell that holds a comma, a quote or a line end must stand in quotes";
        return Err(Fault::new(Place::line(file, cells.line), message).help(help));
    }
    header
        .iter()
        .zip(cells.split())
        .map(|(name, cell)| match std::str::from_utf8(cell) {
            Ok(text) => Ok((name.clone(), Value::from(text))),
            Err(_) => {
                let message = format!("the cell of `{}` is not UTF-8", shorten(name, 100));
                Err(Fault::new(Place::line(file, cells.line), message).help("save the file as UTF-8"))
            }
        })
        .collect()
}

impl<'a> Cells<'a> {
    fn split(&self) -> impl Iterator<Item = &'a [u8]> {
        let (bytes, ends) = (self.bytes, self.ends);
        ends.iter().scan(0, move |start, &end| {
            let cell = &bytes[*start..end];
            *start = end;
            Some(cell)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<Path> {
        Path::new("a.csv").into()
    }

    /// Reads `step` bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    type Seen = Vec<(u64, u64, Vec<String>)>;

    fn all<R: Read>(mut records: Records<R>) -> Result<Seen, Fault> {
        let mut seen = Vec::new();
        while let Some(cells) = records.next_row()? {
            let texts = cells.split().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
            seen.push((cells.line, cells.offset, texts));
        }
        Ok(seen)
    }

    #[test]
    fn rows_lines_and_offsets() {
        for (text, expected) in [
            ("", vec![]),
            ("\n\r\n", vec![]),
            ("a,b\n1,2\n", vec![(1, 0, vec!["a", "b"]), (2, 4, vec!["1", "2"])]),
            ("a,b\r\n1,2\r\n3,4", vec![(1, 0, vec!["a", "b"]), (2, 5, vec!["1", "2"]), (3, 10, vec!["3", "4"])]),
            ("\u{feff}a\n\n\r\nb\n", vec![(1, 3, vec!["a"]), (4, 8, vec!["b"])]),
            (
                "\"x\"\"y\",\"1\n2\r\n3\"\r\nz,\n\"q\",\"\"",
                vec![(1, 0, vec!["x\"y", "1\n2\r\n3"]), (4, 17, vec!["z", ""]), (5, 20, vec!["q", ""])],
            ),
            ("a\"b,c\n", vec![(1, 0, vec!["a\"b", "c"])]),
            ("a,b,", vec![(1, 0, vec!["a", "b", ""])]),
            ("\u{e4}, \u{f6} \n", vec![(1, 0, vec!["\u{e4}", " \u{f6} "])]),
        ] {
            for step in [1, 2, 3, 1000] {
                for buffer in [4, 5, 64] {
                    let records = Records::with_buffer(Slow(text.as_bytes(), step), file(), b',', buffer);
                    let seen = all(records).unwrap();
                    let seen: Vec<_> = seen
                        .iter()
                        .map(|(line, offset, cells)| (*line, *offset, cells.iter().map(|cell| &**cell).collect()))
                        .collect();
                    assert_eq!(seen, expected, "{text:?} by {step} into {buffer}");
                }
            }
        }
        assert_eq!(all(Records::new(&b"a,b\tc\n"[..], file(), b'\t')).unwrap()[0].2, ["a,b", "c"]);
    }

    #[test]
    fn cells_are_what_the_csv_crate_makes_of_them() {
        let wide = (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        for text in ["a,\"b\"x,c\n\"\"\"\",,\n", "\"a\nb\"\n\n\nc", " \"a\" ,b\n", "a\rb\r\r\nc\n", &wide] {
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> =
                reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
            let seen: Vec<_> = all(Records::new(text.as_bytes(), file(), b',')).unwrap();
            assert_eq!(seen.into_iter().map(|(_, _, cells)| cells).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_open_quote_is_a_fault_at_the_row_where_it_opens() {
        for text in ["a\n1\n\"2\n3\n", "a\n1\n\"2", "a\n1\n\"2\"\"", "a\n1\n\"2\n\"\"\n"] {
            for step in [1, 1000] {
                let mut records = Records::with_buffer(Slow(text.as_bytes(), step), file(), b',', 4);
                records.next_row().unwrap();
                records.next_row().unwrap();
                let fault = records.next_row().unwrap_err();
                assert_eq!(
                    fault.to_string(),
                    "error: a quote that is opened in this row is never closed\n  --> a.csv:3\n   = help: inside quotes a \
                     quote is written twice: \"\"",
                    "{text:?}"
                );
                assert!(records.next_row().unwrap().is_none());
            }
        }
    }

    #[test]
    fn rows_without_end_are_faults() {
        let endless = |byte| b"a,b\n\"".chain(std::io::repeat(byte));
        let mut records = Records::new(endless(b'x'), file(), b',');
        records.next_row().unwrap();
        let fault = records.next_row().unwrap_err();
        assert_eq!((&*fault.message, fault.place.line), ("a row of more than 64 MiB", Some(2)));
        assert!(records.output.capacity() <= 2 * MAX_ROW_BYTES);

        let wide = |cells: usize| format!("{}\n", ",".repeat(cells - 1));
        for (cells, is_read) in [(MAX_CELLS, true), (MAX_CELLS + 1, false)] {
            let text = wide(cells);
            assert_eq!(all(Records::new(text.as_bytes(), file(), b',')).is_ok(), is_read, "{cells}");
        }
        let mut records = Records::new(std::io::repeat(b','), file(), b',');
        assert_eq!(
            records.next_row().unwrap_err().message,
            "a row of more than 65536 cells; the rest of the file is not read"
        );
    }

    #[test]
    fn headers_and_rows_are_checked() {
        let mut records = Records::new(&b"a,,a,b\xff,\n"[..], file(), b',');
        let faults = header(&records.next_row().unwrap().unwrap(), &file()).unwrap_err();
        let messages: Vec<_> = faults.iter().map(|fault| &*fault.message).collect();
        let expected = [
            "column 2 has no name",
            "two columns have the name `a`",
            "the header of column 4 is not UTF-8",
            "column 5 has no name",
        ];
        assert_eq!(messages, expected);

        let mut records = Records::new(&b"a,b\n1,2\n1\n1,2,3\nx,\xff\n"[..], file(), b',');
        let names = header(&records.next_row().unwrap().unwrap(), &file()).unwrap();
        let first = row(&records.next_row().unwrap().unwrap(), &names, &file()).unwrap();
        assert_eq!(serde_json::to_string(&first).unwrap(), r#"{"a":"1","b":"2"}"#);
        for (line, message) in [
            (3, "this row has 1 cell, the header has 2"),
            (4, "this row has 3 cells, the header has 2"),
            (5, "the cell of `b` is not UTF-8"),
        ] {
            let fault = row(&records.next_row().unwrap().unwrap(), &names, &file()).unwrap_err();
            assert_eq!((fault.place.line, &*fault.message), (Some(line), message));
        }
    }
}
