//! A file of rows that are looked up by a field: recorded answers. What is held is 16 bytes a row.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memchr::memchr_iter;
use rayon::slice::ParallelSliceMut;

use crate::dataset::csv::Records;
use crate::dataset::faults::{Log, SHOWN_FAULTS};
use crate::dataset::jsonl;
use crate::dataset::lines::{self, CHUNK_BYTES, Lines};
use crate::dataset::rows::{Decoder, Raw, Rows, no_rows};
use crate::dataset::scan::{Names, no_row_has};
use crate::dataset::source::{Format, ReadFrom, Source, Watched};
use crate::types::{Fault, Faults, Place, Row};
use crate::util::digest::{Digest, Digesting};
use crate::util::field;
use crate::util::text::{did_you_mean, shorten};

/// Rows whose fields are looked at to learn their names.
const NAMED_ROWS: usize = 1000;

/// The first read for a row; most rows are shorter.
const ROW_BYTES: usize = 8 << 10;

/// A JSONL or CSV file whose rows can be had by the value of one field, from any thread.
#[derive(Debug)]
pub struct Indexed {
    source: Source,
    file: Watched,
    decoder: Decoder,
    on: String,
    /// Digest of the value and offset of the row, in order.
    entries: Vec<(u64, u64)>,
    fields: Vec<String>,
    digest: Digest,
}

/// Why a row has no value to be found by.
enum Unfit {
    /// It does not have the field; with its fields, if there is a near one.
    Without(Option<String>),
    Faulty(Fault),
}

impl Indexed {
    /// Reads the file once. `shown` is its path as the user wrote it, and `on` the field, by name or JSON pointer, whose
    /// value names a row: a text, a number or a truth value.
    ///
    /// # Errors
    /// When the file cannot be read, is not JSONL or CSV, or has no rows; when a row is faulty, does not have the field or
    /// has one of no such value; and when two rows have the same value. At most [`SHOWN_FAULTS`] are
    /// listed.
    pub fn open(file: &Path, shown: &str, on: &str) -> Result<Indexed, Faults> {
        let source = Source::new(file, Path::new(shown))?;
        let reader = Digesting::new(source.open()?);
        let mut rows = Rows::new(reader, &source).map_err(Faults)?;
        let (mut log, mut without) = (Log::default(), Log::default());
        let mut entries: Vec<(u64, u64)> = Vec::new();
        let mut last = 0;
        loop {
            let (batch, more) = rows.batch(|decoder, raw, file| {
                value(decoder, raw, file, on).map(|value| (Digest::of(value.as_bytes()).low64(), raw.0.offset))
            });
            for (line, entry) in batch {
                last = line;
                match entry {
                    Ok(entry) => entries.push(entry),
                    Err(Unfit::Faulty(fault)) => log.add((0, line), || fault),
                    Err(Unfit::Without(help)) => without.add((0, line), || {
                        let message = format!("the row has no field `{}`, by which it is found", shorten(on, 100));
                        let mut fault = Fault::new(Place::line(&source.shown, line), message);
                        fault.help = help;
                        fault
                    }),
                }
            }
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    log.add((0, fault.place.line.unwrap_or(last)), || fault);
                    break;
                }
            }
        }
        let fields = fields(&source)?;
        if entries.is_empty() && log.is_empty() {
            let place = Place::file(&source.shown);
            return Err(
                if without.is_empty() { no_rows(&source.shown) } else { no_row_has(place, on, "on", &fields) }.into()
            );
        }
        entries.par_sort_unstable();
        entries.shrink_to_fit();
        let digest = rows.split.reader().digest();
        let file = source.open()?;
        let indexed = Indexed { decoder: rows.decoder, source, file, on: on.to_owned(), entries, fields, digest };
        let log = log.merge(without);
        if !log.is_empty() {
            return Err(log.into_faults());
        }
        indexed.duplicates()?.into_faults().or(indexed)
    }

    /// The row whose field has this value, if there is one.
    ///
    /// # Errors
    /// When the row cannot be read any more, because the disk failed or the file has changed.
    pub fn get(&self, value: &str) -> Result<Option<Row>, String> {
        let wanted = Digest::of(value.as_bytes()).low64();
        let from = self.entries.partition_point(|(digest, _)| *digest < wanted);
        for (_, offset) in self.entries[from..].iter().take_while(|(digest, _)| *digest == wanted) {
            let row = self.row_at(*offset).map_err(|fault| format!("{}: {}", fault.place, fault.message))?;
            if field::get(&row, &self.on).and_then(field::text).as_deref() == Some(value) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Whether there is a row with this value, without reading it: that the digests of two values meet is as good as
    /// impossible.
    pub fn has(&self, value: &str) -> bool {
        let wanted = Digest::of(value.as_bytes()).low64();
        self.entries.binary_search_by_key(&wanted, |(digest, _)| *digest).is_ok()
    }

    /// The value of the first row, as an example.
    pub fn example(&self) -> Option<String> {
        let first = self.entries.iter().map(|(_, offset)| *offset).min()?;
        self.row_at(first).ok().and_then(|row| field::get(&row, &self.on).and_then(field::text))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no rows; never true, as a file without rows is a fault.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names of the top-level fields of the first 1,000 rows.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The digest of the file's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn row_at(&self, offset: u64) -> Result<Row, Fault> {
        let shown = &self.source.shown;
        self.file.check().map_err(|error| lines::unreadable(shown, &error))?;
        let reader = ReadFrom { file: &self.file, offset };
        let gone = || Fault::new(Place::file(shown), "a row is not where it was: the file has changed");
        match self.source.format {
            Format::Jsonl => {
                let mut lines = Lines::with_buffer(reader, Arc::clone(shown), ROW_BYTES);
                let line = lines.next_line()?.ok_or_else(gone)?;
                self.decoder.row(Raw::line_of(line), shown)
            }
            Format::Csv { delimiter } => {
                let records = Records::with_buffer(reader, Arc::clone(shown), delimiter, ROW_BYTES);
                let mut records = records.inside();
                let cells = records.next_row()?.ok_or_else(gone)?;
                self.decoder.row(Raw(cells), shown)
            }
        }
    }

    /// Rows whose value an earlier row has.
    fn duplicates(&self) -> Result<Log, Fault> {
        let mut pairs: Vec<(u64, u64)> = Vec::new();
        for run in self.entries.chunk_by(|one, other| one.0 == other.0) {
            pairs.extend(run[1..].iter().map(|(_, offset)| (*offset, run[0].1)));
        }
        pairs.sort_unstable();
        let text = |row: &Row| field::get(row, &self.on).and_then(field::text);
        let mut found: Vec<(u64, u64, String)> = Vec::new();
        let mut others = 0;
        for (offset, first) in pairs {
            if found.len() == SHOWN_FAULTS {
                // Not looked at: that the digests of different values meet is as good as impossible.
                others += 1;
                continue;
            }
            let value = text(&self.row_at(offset)?);
            if value == text(&self.row_at(first)?) {
                found.push((offset, first, value.unwrap_or_default()));
            }
        }
        let lines = self.lines_of(found.iter().flat_map(|(offset, first, _)| [*offset, *first]).collect())?;
        let line = |offset: u64| lines.iter().find(|(known, _)| *known == offset).map_or(1, |(_, line)| *line);
        let (file, on) = (&*self.source.shown, shorten(&self.on, 100));
        let mut log = Log::default();
        for (offset, first, value) in &found {
            let place = Place::line(file, line(*offset));
            log.add((0, *offset), || {
                let other = Place::line(file, line(*first));
                Fault::new(place, format!("`{on}` is `{}` as in the row at {other}", shorten(value, 100)))
                    .help(format!("rows are found by `{on}`, so that its values must be unique"))
            });
        }
        log.add_others(others);
        Ok(log)
    }

    /// The line on which each offset stands.
    fn lines_of(&self, mut offsets: Vec<u64>) -> Result<Vec<(u64, u64)>, Fault> {
        offsets.sort_unstable();
        offsets.dedup();
        let mut reader = ReadFrom { file: &self.file, offset: 0 };
        let mut buffer = vec![0; CHUNK_BYTES];
        let (mut line, mut start) = (1, 0);
        let mut found = Vec::new();
        let mut wanted = offsets.into_iter().peekable();
        while wanted.peek().is_some() {
            let count = reader.read(&mut buffer).map_err(|error| lines::unreadable(&self.source.shown, &error))?;
            let end = start + count as u64;
            let mut ends = memchr_iter(b'\n', &buffer[..count]).map(|at| start + at as u64).peekable();
            while let Some(offset) = wanted.next_if(|offset| *offset < end || count == 0) {
                while ends.next_if(|at| *at < offset).is_some() {
                    line += 1;
                }
                found.push((offset, line));
            }
            line += ends.count() as u64;
            start = end;
        }
        Ok(found)
    }
}

/// The text of the field `on` of a row.
fn value(decoder: &Decoder, raw: Raw<'_>, file: &Path, on: &str) -> Result<String, Unfit> {
    let line = raw.0.line;
    // A plain name needs no look at the rest of the row. What goes wrong here goes wrong below too, with a message.
    if let Decoder::Jsonl = decoder
        && !on.starts_with('/')
        && let Some(value) = std::str::from_utf8(raw.0.bytes).ok().and_then(|text| jsonl::pick(text, on).ok()).flatten()
        && let Some(text) = field::text(&value)
    {
        return Ok(text);
    }
    let row = decoder.row(raw, file).map_err(Unfit::Faulty)?;
    let Some(value) = field::get(&row, on) else {
        return Err(Unfit::Without(did_you_mean(on, row.keys().map(String::as_str))));
    };
    field::text(value).ok_or_else(|| {
        let message = format!("`{}`, by which the row is found, is {}", shorten(on, 100), jsonl::kind(value));
        Unfit::Faulty(Fault::new(Place::line(file, line), message))
    })
}

/// The names of the fields of the first rows. Faulty rows are left out: they are told of elsewhere.
fn fields(source: &Source) -> Result<Vec<String>, Fault> {
    let mut names = Names::default();
    let Ok(Rows { mut split, decoder, file }) = Rows::new(source.open()?, source) else { return Ok(names.list) };
    for _ in 0..NAMED_ROWS {
        let Ok(Some(raw)) = split.next_row() else { break };
        if let Ok(row) = decoder.row(raw, &file) {
            names.add(&row);
        }
    }
    Ok(names.list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::tests::Scratch;

    fn open(name: &str, bytes: &[u8], on: &str) -> (Scratch, Result<Indexed, Faults>) {
        let scratch = Scratch::new();
        let path = scratch.write(name, bytes);
        let indexed = Indexed::open(&path, name, on);
        (scratch, indexed)
    }

    fn found(indexed: &Indexed, value: &str) -> Option<String> {
        indexed.get(value).unwrap().map(|row| serde_json::to_string(&row).unwrap())
    }

    #[test]
    fn rows_are_found_by_name_and_pointer_in_both_formats() {
        for (name, text, on, value, expected) in [
            ("a.jsonl", "{\"id\":1,\"x\":2}\n\n{\"id\":\"b\",\"x\":3}", "id", "1", Some(r#"{"id":1,"x":2}"#)),
            ("a.jsonl", "{\"id\":1,\"x\":2}\r\n{\"id\":\"b\",\"x\":3}", "id", "b", Some(r#"{"id":"b","x":3}"#)),
            ("a.jsonl", "{\"id\":1}\n", "id", "1.0", None),
            ("a.jsonl", "{\"id\":1}\n", "id", "", None),
            ("a.jsonl", "{\"id\":\"\"}\n", "id", "", Some(r#"{"id":""}"#)),
            (
                "a.jsonl",
                "\u{feff}{\"a\":{\"b\":true}}\n{\"a\":{\"b\":1.5}}",
                "/a/b",
                "true",
                Some(r#"{"a":{"b":true}}"#),
            ),
            ("a.jsonl", "{\"/a\":\"x\"}", "/a", "x", Some(r#"{"/a":"x"}"#)),
            ("a.jsonl", "{\"q\":\"\\u00fc\"}", "q", "\u{fc}", Some("{\"q\":\"\u{fc}\"}")),
            ("a.csv", "\u{feff}id,x\r\n1,\"a\nb\"\r\n\r\n2,c", "id", "1", Some(r#"{"id":"1","x":"a\nb"}"#)),
            ("a.csv", "\u{feff}id,x\r\n1,\"a\nb\"\r\n\r\n2,c", "id", "2", Some(r#"{"id":"2","x":"c"}"#)),
            ("a.csv", "id,x\n\u{feff}1,c\n", "id", "\u{feff}1", Some("{\"id\":\"\u{feff}1\",\"x\":\"c\"}")),
            ("a.TSV", "id\tx\n1,5\tc\n", "id", "1,5", Some(r#"{"id":"1,5","x":"c"}"#)),
        ] {
            let (_scratch, indexed) = open(name, text.as_bytes(), on);
            let indexed = indexed.unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(found(&indexed, value).as_deref(), expected, "{text}");
            assert_eq!(indexed.digest(), Digest::of(text.as_bytes()));
            assert!(!indexed.is_empty());
            assert_eq!(indexed.has(value), expected.is_some(), "{text}");
            assert!(indexed.example().is_some_and(|first| indexed.has(&first)));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (name, text, on, expected) in [
            (
                "a.jsonl",
                "{\"id\":1}\n{\"id\":2}\n\n{\"id\":\"1\"}\n",
                "id",
                "error: `id` is `1` as in the row at a.jsonl:1\n  --> a.jsonl:4\n   = help: rows are found by `id`, so that \
                 its values must be unique",
            ),
            (
                "a.csv",
                "id,x\r\n1,\"\n\n\"\r\n1,b\r\n",
                "id",
                "error: `id` is `1` as in the row at a.csv:2\n  --> a.csv:5\n   = help: rows are found by `id`, so that \
                 its values must be unique",
            ),
            (
                "a.jsonl",
                "{\"key\":1}\n{\"kei\":2}\n{}\n",
                "key",
                "error: the row has no field `key`, by which it is found\n  --> a.jsonl:2\n   = help: did you mean `kei`?\n\n\
                 error: the row has no field `key`, by which it is found\n  --> a.jsonl:3",
            ),
            (
                "a.jsonl",
                "{\"key\":1}\n{\"key\":2}\n",
                "kye",
                "error: no row has the field `kye`, which `on` names\n  --> a.jsonl\n   = help: did you mean `key`?",
            ),
            (
                "a.csv",
                "one,two\n1,2\n",
                "question",
                "error: no row has the field `question`, which `on` names\n  --> a.csv\n   = help: the fields are `one`, `two`",
            ),
            (
                "a.jsonl",
                "{\"id\":[1]}\n{\"id\":null}\n{\"id\":1,}\n",
                "id",
                "error: `id`, by which the row is found, is a list\n  --> a.jsonl:1\n\n\
                 error: `id`, by which the row is found, is null\n  --> a.jsonl:2\n\n\
                 error: not JSON: trailing comma\n  --> a.jsonl:3:9\n   |\n 3 | {\"id\":1,}\n   |         ^",
            ),
            ("a.jsonl", "\n \n", "id", "error: the file has no rows\n  --> a.jsonl"),
            ("a.csv", "id\n", "id", "error: the file has no rows\n  --> a.csv"),
            ("a.csv", "id,\n", "id", "error: column 2 has no name\n  --> a.csv:1"),
        ] {
            let (_scratch, indexed) = open(name, text.as_bytes(), on);
            assert_eq!(indexed.unwrap_err().to_string(), expected);
        }
        assert_eq!(
            Indexed::open(Path::new("/nowhere/x.jsonl"), "x.jsonl", "id").unwrap_err().to_string(),
            "error: no such file\n  --> x.jsonl\n   = help: paths start from the suite's folder"
        );
    }

    #[test]
    fn of_many_equal_values_the_first_are_told() {
        let text = "{\"id\":\"same\"}\n".repeat(10_000);
        let (_scratch, indexed) = open("a.jsonl", text.as_bytes(), "id");
        let faults = indexed.unwrap_err().0;
        assert_eq!(faults.len(), SHOWN_FAULTS + 1);
        let lines: Vec<u64> = faults.iter().filter_map(|fault| fault.place.line).collect();
        assert_eq!(lines, (2..22).collect::<Vec<_>>());
        assert_eq!(faults[SHOWN_FAULTS].message, "9979 more faults are not shown");
    }

    #[test]
    fn all_rows_of_a_large_file_are_found_from_many_threads() {
        use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

        let rows = 20_000;
        // Rows of many lengths, so that some do not fit into the first read.
        let text: String =
            (0..rows).map(|n| format!("{{\"n\":{n},\"t\":\"{}\"}}\n", "x".repeat(n % 97 * 100))).collect();
        let (_scratch, indexed) = open("a.jsonl", text.as_bytes(), "n");
        let indexed = indexed.unwrap();
        assert_eq!((indexed.len(), indexed.fields()), (rows, &["n".to_owned(), "t".to_owned()][..]));
        (0..rows).into_par_iter().step_by(7).for_each(|n| {
            let row = indexed.get(&n.to_string()).unwrap().unwrap();
            assert_eq!((row["n"].as_u64(), row["t"].as_str().map(str::len)), (Some(n as u64), Some(n % 97 * 100)));
        });
        assert_eq!(indexed.get(&rows.to_string()), Ok(None));
    }

    /// Digests that meet must not give the wrong row: two are made to meet here.
    #[test]
    fn a_value_is_compared_and_not_only_its_digest() {
        let (_scratch, indexed) = open("a.jsonl", b"{\"id\":\"a\"}\n{\"id\":\"b\"}\n", "id");
        let mut indexed = indexed.unwrap();
        let digest = Digest::of(b"b").low64();
        indexed.entries = vec![(digest, 0), (digest, 11)];
        assert_eq!(found(&indexed, "b").as_deref(), Some(r#"{"id":"b"}"#));
        indexed.entries = vec![(digest, 0)];
        assert_eq!(indexed.get("b"), Ok(None));
        assert!(indexed.duplicates().unwrap().is_empty());
    }

    #[test]
    fn a_file_that_changes_is_not_read_on() {
        let (scratch, indexed) = open("a.jsonl", b"{\"id\":1}\n", "id");
        let indexed = indexed.unwrap();
        scratch.write("a.jsonl", b"{\"id\":1}\n{\"id\":2}\n");
        assert_eq!(indexed.get("1"), Err("a.jsonl: cannot be read: it has changed since it was first read".to_owned()));
    }
}
