//! Files of logs as rows: lines of JSON, JSON values in a list or one after the other, CSV, and GoReplay's blocks; plain
//! or compressed. One row is in memory at a time, and none of more than [`MAX_ROW_BYTES`].

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::{memchr, memmem};
use serde_json::Value;

use crate::dataset::csv;
use crate::dataset::lines::MAX_ROW_BYTES;
use crate::traffic::ledger::Reason;
use crate::util::given_file;

/// How much of a file is looked at to see what it is, and how much is read at once.
const CHUNK: usize = 256 << 10;

/// The longest first row by which a kind is recognised.
const HEAD: usize = 8 << 20;

/// What stands between the blocks of a GoReplay file.
pub const GOREPLAY_SEPARATOR: &str = "\n🐵🙈🙉\n";

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a file is cut into rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A JSON value a line.
    Lines,
    /// JSON values one after the other, each over as many lines as it likes; of a list, its items.
    Values,
    /// A header and rows.
    Csv {
        /// What parts cells.
        delimiter: u8,
    },
    /// GoReplay's blocks.
    Blocks,
}

/// A row.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// JSON, or a row of a CSV file as an object of texts.
    Json(Value),
    /// A block of a GoReplay file.
    Block(Vec<u8>),
    /// A row that cannot be read.
    Bad(Reason),
}

/// A file, opened and decompressed, with its beginning.
pub struct Opened {
    head: Vec<u8>,
    rest: Box<dyn Read>,
    path: PathBuf,
}

impl Opened {
    /// Opens a file; `-` is standard input. gzip and zstd are told by their first bytes, whatever the name.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<Opened> {
        let plain: Box<dyn Read> = match path.to_str() {
            Some("-") => Box::new(io::stdin()),
            _ => Box::new(given_file::open_stream(path)?),
        };
        Opened::new(plain, path)
    }

    fn new(mut plain: Box<dyn Read>, path: &Path) -> io::Result<Opened> {
        let first = beginning(&mut plain, 4)?;
        let magic: &[u8] = &first;
        let (is_gzip, is_zstd) = (magic.starts_with(&[0x1f, 0x8b]), magic == [0x28, 0xb5, 0x2f, 0xfd]);
        let whole: Box<dyn Read> = Box::new(Cursor::new(first).chain(plain));
        let mut rest: Box<dyn Read> = match (is_gzip, is_zstd) {
            (true, _) => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(CHUNK, whole))),
            (_, true) => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(io::BufReader::with_capacity(CHUNK, whole));
                Box::new(decoder.map_err(|error| io::Error::other(error.to_string()))?)
            }
            (false, false) => whole,
        };
        // What can be read before a break is read.
        let mut head = Vec::with_capacity(CHUNK);
        loop {
            let before = head.len();
            if let Err(error) = rest.by_ref().take(CHUNK as u64).read_to_end(&mut head) {
                rest = Box::new(Broken(Some(error)));
                break;
            }
            // The first row is seen whole, if it is not too long.
            let is_row = head.starts_with(b"{") && memchr(b'\n', &head).is_none();
            if !is_row || head.len() - before < CHUNK || head.len() >= HEAD {
                break;
            }
        }
        if head.starts_with(BOM) {
            head.drain(..BOM.len());
        }
        Ok(Opened { head, rest, path: path.to_owned() })
    }

    /// A beginning, taken for the whole.
    pub fn of_head(head: &[u8]) -> Opened {
        Opened { head: head.to_vec(), rest: Box::new(io::empty()), path: PathBuf::new() }
    }

    /// Its beginning: a quarter of a megabyte, or as much more as the first row has, to [`HEAD`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// How it is cut into rows, by its beginning.
    pub fn form(&self) -> Form {
        let head = self.head.as_slice();
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
        if memmem::find(head, GOREPLAY_SEPARATOR.as_bytes()).is_some() || is_block_head(head) {
            return Form::Blocks;
        }
        match first {
            Some(b'[') => Form::Values,
            Some(b'{') | None => {
                let start = head.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
                let end = memchr(b'\n', &head[start..]).map_or(head.len(), |at| start + at);
                let line = head[start..end].trim_ascii_end();
                // A line that a broken writer cut is still a line; only `{` alone, or a key, opens a longer value.
                let is_open = end < head.len() && [b"{", b"[", b",", b":"].iter().any(|open| line.ends_with(*open));
                if is_open { Form::Values } else { Form::Lines }
            }
            Some(_) => {
                let line = &head[..memchr(b'\n', head).unwrap_or(head.len())];
                let count = |byte| line.iter().filter(|b| **b == byte).count();
                match (count(b','), count(b'\t'), count(b';')) {
                    (0, 0, 0) => Form::Lines,
                    (commas, tabs, semicolons) if tabs > commas && tabs > semicolons => Form::Csv { delimiter: b'\t' },
                    (commas, _, semicolons) if semicolons > commas => Form::Csv { delimiter: b';' },
                    _ => Form::Csv { delimiter: b',' },
                }
            }
        }
    }

    /// Its rows.
    pub fn rows(self, form: Form) -> Rows {
        let Opened { head, rest, path } = self;
        let whole: Box<dyn Read> = Box::new(Cursor::new(head).chain(rest));
        let kind = match form {
            Form::Lines => Kind::Cut(Cutter::new(whole, Cut::Lines)),
            Form::Values => Kind::Cut(Cutter::new(whole, Cut::Values)),
            Form::Blocks => Kind::Cut(Cutter::new(whole, Cut::Blocks)),
            Form::Csv { delimiter } => {
                let path: Arc<Path> = path.into();
                let records = Box::new(csv::Records::new(whole, Arc::clone(&path), delimiter));
                Kind::Csv { records, path, header: None }
            }
        };
        Rows { kind, has_ended: false }
    }
}

/// Fails once: where a file broke off.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// `1 932079936fa4306fc308d67588178d17d823647c 1439818823587396305 0`
fn is_block_head(head: &[u8]) -> bool {
    let line = &head[..memchr(b'\n', head).unwrap_or(head.len())];
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words.as_slice(), ["1" | "2" | "3", id, stamp, ..]
        if id.len() >= 16 && stamp.len() >= 16 && stamp.bytes().all(|byte| byte.is_ascii_digit()))
}

/// As many bytes as there are, up to a number.
fn beginning(reader: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(most);
    reader.by_ref().take(most as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The rows of a file, one at a time.
pub struct Rows {
    kind: Kind,
    has_ended: bool,
}

enum Kind {
    Cut(Cutter),
    Csv { records: Box<csv::Records<Box<dyn Read>>>, path: Arc<Path>, header: Option<Arc<[String]>> },
}

impl Rows {
    /// The next row, with its number in the file (of a line, or of a value or block, from 1); `None` after the last. A
    /// file that cannot be read further (a cut gzip, a broken CSV) ends with a row that says so, and with the reason.
    pub fn next_row(&mut self) -> Option<(u64, Piece, Option<String>)> {
        if self.has_ended {
            return None;
        }
        match &mut self.kind {
            Kind::Cut(cutter) => match cutter.next_piece() {
                Ok(None) => {
                    self.has_ended = true;
                    None
                }
                Ok(Some((number, bytes))) => Some((number, cutter.piece(bytes), None)),
                Err(error) => {
                    self.has_ended = true;
                    let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
                    let reason = if is_cut { Reason::CutOff } else { Reason::Damaged };
                    Some((cutter.number + 1, Piece::Bad(reason), Some(error.to_string())))
                }
            },
            Kind::Csv { records, path, header } => match csv_row(records, path, header) {
                Ok(None) => {
                    self.has_ended = true;
                    None
                }
                Ok(Some((number, piece))) => Some((number, piece, None)),
                Err((number, message)) => {
                    self.has_ended = true;
                    Some((number, Piece::Bad(Reason::Broken), Some(message)))
                }
            },
        }
    }
}

type CsvRow = Result<Option<(u64, Piece)>, (u64, String)>;

fn csv_row(records: &mut csv::Records<Box<dyn Read>>, path: &Path, header: &mut Option<Arc<[String]>>) -> CsvRow {
    let told = |fault: &crate::types::Fault| (fault.place.line.unwrap_or(0), fault.message.clone());
    loop {
        let Some(cells) = records.next_row().map_err(|fault| told(&fault))? else { return Ok(None) };
        let Some(names) = header else {
            let names = csv::header(&cells, path).map_err(|faults| faults.first().map_or((1, String::new()), told))?;
            *header = Some(names);
            continue;
        };
        let line = cells.line;
        return Ok(Some(match csv::row(&cells, names, path) {
            Ok(row) => (line, Piece::Json(Value::Object(row))),
            Err(_) => (line, Piece::Bad(Reason::Broken)),
        }));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Lines,
    Values,
    Blocks,
}

/// What was found: a row's bytes in the buffer, or why they are not there.
type Found = Result<(), Reason>;

/// Cuts a stream of bytes into rows, each of which it holds in a buffer.
struct Cutter {
    reader: Box<dyn Read>,
    chunk: Vec<u8>,
    start: usize,
    end: usize,
    has_ended: bool,
    cut: Cut,
    row: Vec<u8>,
    /// Rows, or lines, so far.
    number: u64,
    /// Whether the row at hand had its end.
    is_whole: bool,
}

impl Cutter {
    fn new(reader: Box<dyn Read>, cut: Cut) -> Cutter {
        Cutter {
            reader,
            chunk: vec![0; CHUNK],
            start: 0,
            end: 0,
            has_ended: false,
            cut,
            row: Vec::new(),
            number: 0,
            is_whole: true,
        }
    }

    /// Whether there are bytes that are not taken yet; reads more when there are none.
    fn fill(&mut self) -> io::Result<bool> {
        while self.start == self.end && !self.has_ended {
            (self.start, self.end) = (0, 0);
            match self.reader.read(&mut self.chunk) {
                Ok(count) => (self.end, self.has_ended) = (count, count == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.start < self.end)
    }

    fn next_piece(&mut self) -> io::Result<Option<(u64, Found)>> {
        // What one long row took is given back before the next.
        if self.row.capacity() > 8 * CHUNK {
            self.row = Vec::new();
        }
        loop {
            self.row.clear();
            self.is_whole = true;
            let found = match self.cut {
                Cut::Lines => self.line()?,
                Cut::Values => self.value()?,
                Cut::Blocks => self.block()?,
            };
            let Some(found) = found else { return Ok(None) };
            self.number += 1;
            if found.is_err() || !self.row.trim_ascii().is_empty() {
                return Ok(Some((self.number, found)));
            }
        }
    }

    fn take(&mut self, bytes: std::ops::Range<usize>) -> Found {
        if self.row.len() + bytes.len() > MAX_ROW_BYTES {
            self.row = Vec::new();
            return Err(Reason::TooLong);
        }
        self.row.extend_from_slice(&self.chunk[bytes]);
        Ok(())
    }

    fn line(&mut self) -> io::Result<Option<Found>> {
        let mut found: Option<Found> = None;
        while self.fill()? {
            let (start, end) = (self.start, self.end);
            let stop = memchr(b'\n', &self.chunk[start..end]).map(|at| start + at);
            let taken = match found {
                Some(Err(reason)) => Err(reason),
                _ => self.take(start..stop.unwrap_or(end)),
            };
            found = Some(taken);
            match stop {
                Some(stop) => {
                    self.start = stop + 1;
                    return Ok(found);
                }
                None => self.start = end,
            }
        }
        self.is_whole = false;
        Ok(found)
    }

    /// A value: from its first bracket to the one that closes it. Lists at the top are opened, so that their items are
    /// the values, also those without brackets.
    fn value(&mut self) -> io::Result<Option<Found>> {
        let (mut depth, mut is_text, mut is_escaped, mut is_bare) = (0_u32, false, false, false);
        let mut found: Found = Ok(());
        while self.fill()? {
            let (start, end) = (self.start, self.end);
            let mut begin = start;
            let mut stop = None;
            for at in start..end {
                let byte = self.chunk[at];
                if is_text {
                    match byte {
                        _ if is_escaped => is_escaped = false,
                        b'\\' => is_escaped = true,
                        b'"' => is_text = false,
                        _ => {}
                    }
                    continue;
                }
                if is_bare && (byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}')) {
                    stop = Some(at);
                    break;
                }
                match byte {
                    b'"' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' if depth == 0 => {
                        if !is_bare {
                            begin = at;
                        }
                        (is_bare, is_text) = (true, byte == b'"');
                    }
                    b'"' => is_text = true,
                    b'{' if !is_bare => {
                        if depth == 0 {
                            begin = at;
                        }
                        depth += 1;
                    }
                    b'[' if depth > 0 => depth += 1,
                    b'}' | b']' if depth > 0 => {
                        depth -= 1;
                        if depth == 0 {
                            stop = Some(at + 1);
                            break;
                        }
                    }
                    _ => {}
                }
            }
            if depth > 0 || is_bare || stop.is_some() {
                let taken = self.take(begin..stop.unwrap_or(end));
                found = found.and(taken);
            }
            self.start = stop.unwrap_or(end);
            if stop.is_some() {
                return Ok(Some(found));
            }
        }
        self.is_whole = false;
        Ok((depth > 0 || is_bare).then_some(found))
    }

    fn block(&mut self) -> io::Result<Option<Found>> {
        let separator = GOREPLAY_SEPARATOR.as_bytes();
        let mut found: Option<Found> = None;
        while self.fill()? {
            let (start, end) = (self.start, self.end);
            // Line by line: the separator has a line of its own.
            let stop = memchr(b'\n', &self.chunk[start..end]).map_or(end, |at| start + at + 1);
            let taken = match found {
                Some(Err(reason)) => Err(reason),
                _ => self.take(start..stop),
            };
            found = Some(taken);
            self.start = stop;
            if self.row.ends_with(&separator[1..]) {
                let is_own_line = self.row.len() == separator.len() - 1 || self.row.ends_with(separator);
                if is_own_line {
                    let length = self.row.len().saturating_sub(separator.len());
                    self.row.truncate(length);
                    return Ok(found);
                }
            }
        }
        self.is_whole = false;
        Ok(found)
    }

    /// The row at hand, read.
    fn piece(&mut self, found: Found) -> Piece {
        if let Err(reason) = found {
            return Piece::Bad(reason);
        }
        if self.cut == Cut::Blocks {
            return Piece::Block(std::mem::take(&mut self.row));
        }
        let Ok(text) = std::str::from_utf8(&self.row) else { return Piece::Bad(Reason::NotUtf8) };
        match serde_json::from_str(text) {
            Ok(value) => Piece::Json(value),
            Err(error) if error.is_eof() && !self.is_whole => Piece::Bad(Reason::CutOff),
            Err(_) => Piece::Bad(Reason::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rows(bytes: &[u8]) -> (Form, Vec<Piece>) {
        let opened = Opened::new(Box::new(Cursor::new(bytes.to_vec())), Path::new("x")).unwrap();
        let form = opened.form();
        let mut rows = opened.rows(form);
        let pieces = std::iter::from_fn(|| rows.next_row().map(|(_, piece, _)| piece)).collect();
        (form, pieces)
    }

    fn json(value: Value) -> Piece {
        Piece::Json(value)
    }

    #[test]
    fn lines_lists_and_values() {
        let both = [json(json!({"a": 1})), json(json!({"b": [2, "]"]}))];
        for (text, form) in [
            ("{\"a\":1}\n\n{\"b\":[2,\"]\"]}\r\n", Form::Lines),
            ("\u{feff}{\"a\":1}\n{\"b\":[2,\"]\"]}", Form::Lines),
            ("[{\"a\":1},\n{\"b\":[2,\"]\"]}]\n", Form::Values),
            ("{\n \"a\":1}\n{\"b\":\n[2,\"]\"]}", Form::Values),
        ] {
            let (found, pieces) = rows(text.as_bytes());
            assert_eq!((found, pieces.as_slice()), (form, both.as_slice()), "{text}");
        }
        let (form, pieces) = rows(b"t,a\n1,\"x,y\"\n2,z\n");
        assert_eq!(form, Form::Csv { delimiter: b',' });
        assert_eq!(pieces, [json(json!({"t": "1", "a": "x,y"})), json(json!({"t": "2", "a": "z"}))]);
    }

    #[test]
    fn what_cannot_be_read_is_a_row() {
        let (_, pieces) = rows(b"{\"a\":1}\n{\"a\" 1}\n\xff\n{\"a\":\"x");
        let bad = |reason| Piece::Bad(reason);
        assert_eq!(pieces, [json(json!({"a": 1})), bad(Reason::Broken), bad(Reason::NotUtf8), bad(Reason::CutOff)]);
        let (_, pieces) = rows(b"[{\"a\":1},{\"a\":[1");
        assert_eq!(pieces, [json(json!({"a": 1})), bad(Reason::CutOff)]);
        let deep = format!("{}1{}\n{{\"a\":2}}", "{\"a\":".repeat(5000), "}".repeat(5000));
        assert_eq!(rows(deep.as_bytes()).1, [bad(Reason::Broken), json(json!({"a": 2}))]);
        assert_eq!(rows(b"").1, []);
        let long = [b"{\"a\":\"".as_slice(), &vec![b'x'; MAX_ROW_BYTES], b"\"}\n{\"a\":1}\n"].concat();
        assert_eq!(rows(&long).1, [bad(Reason::TooLong), json(json!({"a": 1}))]);
    }

    #[test]
    fn compressed_files_are_read_and_a_cut_one_says_so() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for row in 0..2000 {
            writeln!(gzip, "{{\"a\":{row}}}").unwrap();
        }
        let gzip = gzip.finish().unwrap();
        assert_eq!(rows(&gzip).1.len(), 2000);
        let (_, pieces) = rows(&[gzip.clone(), gzip.clone()].concat());
        assert_eq!(pieces.len(), 4000, "members one after the other are one file");
        let cut = gzip[..gzip.len() / 2].to_vec();
        let opened = Opened::new(Box::new(Cursor::new(cut)), Path::new("x")).unwrap();
        let mut rows_of_cut = opened.rows(Form::Lines);
        let all: Vec<_> = std::iter::from_fn(|| rows_of_cut.next_row()).collect();
        assert!(all.len() > 100, "{}", all.len());
        assert_eq!(all[all.len() - 1].1, Piece::Bad(Reason::CutOff));
        // A flipped bit is found by the checksum at the latest.
        for at in [20, gzip.len() / 2, gzip.len() - 6] {
            let mut flipped = gzip.clone();
            flipped[at] ^= 4;
            let opened = Opened::new(Box::new(Cursor::new(flipped)), Path::new("x")).unwrap();
            let mut rows = opened.rows(Form::Lines);
            let last = std::iter::from_fn(|| rows.next_row()).last().unwrap();
            assert!(matches!(last.1, Piece::Bad(Reason::Damaged | Reason::CutOff)), "{at}: {last:?}");
            assert!(at < gzip.len() - 6 || last.1 == Piece::Bad(Reason::Damaged), "{last:?}");
        }
        let zstd = ruzstd::encoding::compress_to_vec(
            "{\"a\":1}\n".repeat(500).as_bytes(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        assert_eq!(rows(&zstd).1.len(), 500);
    }

    #[test]
    fn blocks_end_with_their_line() {
        let text = format!(
            "1 aaaaaaaaaaaaaaaaaaaaaaaa 1439818823587396305 0\nGET / HTTP/1.1\r\n\r\nb\n{GOREPLAY_SEPARATOR}2 a"
        );
        let (form, pieces) = rows(text.as_bytes());
        assert_eq!(form, Form::Blocks);
        let [Piece::Block(first), Piece::Block(second)] = pieces.as_slice() else { panic!("{pieces:?}") };
        assert!(first.ends_with(b"\r\n\r\nb\n"), "{:?}", String::from_utf8_lossy(first));
        assert_eq!(second, b"2 a");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = rows(&bytes);
        }

        #[test]
        fn values_are_found_wherever_they_are_cut(count in 0..20_usize, blanks in "[ \n\t]{0,3}") {
            let text: Vec<String> = (0..count).map(|n| format!("{{\"a\":{{\"b\":\"}}{n}\\\"\"}}}}")).collect();
            let text = format!("[{}]", text.join(&format!(",{blanks}")));
            prop_assert_eq!(rows(text.as_bytes()).1.len(), count);
        }
    }
}
