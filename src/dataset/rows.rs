//! Rows of either format, first as bytes and then, where they are wanted, as fields.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::dataset::csv::{self, Cells, Records};
use crate::dataset::jsonl;
use crate::dataset::lines::{Line, Lines};
use crate::dataset::source::{Format, Source};
use crate::types::{Fault, Place, Row};

/// How much is worked on at once: enough to share between threads, little enough to hold.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_ROWS: usize = 4096;

/// What turns the bytes of a row into its fields.
#[derive(Debug, Clone)]
pub(super) enum Decoder {
    Jsonl,
    /// With the names of the columns.
    Csv(Arc<[String]>),
}

/// A row that is not yet looked into. For a line of JSON, `ends` is empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a>(pub Cells<'a>);

impl<'a> Raw<'a> {
    pub fn line_of(line: Line<'a>) -> Raw<'a> {
        Raw(Cells { line: line.number, offset: line.offset, bytes: line.bytes, ends: &[] })
    }
}

impl Decoder {
    /// The fields of a row.
    pub fn row(&self, raw: Raw<'_>, file: &Path) -> Result<Row, Fault> {
        match self {
            Decoder::Jsonl => jsonl::row(raw.0.bytes, file, raw.0.line),
            Decoder::Csv(header) => csv::row(&raw.0, header, file),
        }
    }

    /// Whether cells are texts, so that an empty one is the only way to say that there is nothing.
    pub fn is_text(&self) -> bool {
        match self {
            Decoder::Jsonl => false,
            Decoder::Csv(_) => true,
        }
    }
}

/// The rows of one file.
#[derive(Debug)]
pub(super) struct Rows<R> {
    pub split: Split<R>,
    pub decoder: Decoder,
    pub file: Arc<Path>,
}

/// What finds the rows in the bytes.
#[derive(Debug)]
pub(super) enum Split<R> {
    Lines(Lines<R>),
    Records(Box<Records<R>>),
}

impl<R: Read> Rows<R> {
    /// Begins to read; of a CSV file, reads the header.
    ///
    /// # Errors
    /// Those of reading, and what is wrong with the header.
    pub fn new(reader: R, source: &Source) -> Result<Rows<R>, Vec<Fault>> {
        let file = Arc::clone(&source.shown);
        let (split, decoder) = match source.format {
            Format::Jsonl => (Split::Lines(Lines::new(reader, Arc::clone(&file))), Decoder::Jsonl),
            Format::Csv { delimiter } => {
                let mut records = Box::new(Records::new(reader, Arc::clone(&file), delimiter));
                let header = match records.next_row().map_err(|fault| vec![fault])? {
                    Some(cells) => csv::header(&cells, &file)?,
                    None => return Err(vec![no_rows(&file)]),
                };
                (Split::Records(records), Decoder::Csv(header))
            }
        };
        Ok(Rows { split, decoder, file })
    }

    /// Copies the next rows, and says whether more may follow.
    fn fill(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        while batch.rows.len() < BATCH_ROWS && batch.bytes.len() < BATCH_BYTES {
            let Some(Raw(cells)) = self.split.next_row()? else { return Ok(false) };
            batch.bytes.extend_from_slice(cells.bytes);
            batch.ends.extend_from_slice(cells.ends);
            batch.rows.push((cells.line, cells.offset, batch.bytes.len(), batch.ends.len()));
        }
        Ok(true)
    }

    /// Reads the next rows and works on them in parallel: line and result of each, in order; then whether more may
    /// follow, or why not.
    pub fn batch<T: Send>(
        &mut self,
        work: impl Fn(&Decoder, Raw<'_>, &Path) -> T + Sync,
    ) -> (Vec<(u64, T)>, Result<bool, Fault>) {
        let mut batch = Batch::default();
        let more = self.fill(&mut batch);
        let done = (0..batch.rows.len())
            .into_par_iter()
            .with_min_len(16)
            .map(|index| {
                let cells = batch.get(index);
                (cells.line, work(&self.decoder, Raw(cells), &self.file))
            })
            .collect();
        (done, more)
    }
}

impl<R: Read> Split<R> {
    /// The next row; `None` after the last. Blank lines are no rows.
    ///
    /// # Errors
    /// When nothing more can be read from this file.
    pub fn next_row(&mut self) -> Result<Option<Raw<'_>>, Fault> {
        match self {
            Split::Records(records) => Ok(records.next_row()?.map(Raw)),
            Split::Lines(lines) => Ok(lines.next_where(|line| !jsonl::is_blank(line))?.map(Raw::line_of)),
        }
    }

    pub fn reader(&self) -> &R {
        match self {
            Split::Lines(lines) => lines.reader(),
            Split::Records(records) => records.reader(),
        }
    }
}

pub(super) fn no_rows(file: &Path) -> Fault {
    Fault::new(Place::file(file), "the file has no rows")
}

/// Some rows, in one piece of memory.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Line, offset, and the ends in `bytes` and `ends`.
    rows: Vec<(u64, u64, usize, usize)>,
}

impl Batch {
    fn get(&self, index: usize) -> Cells<'_> {
        let (line, offset, bytes, ends) = self.rows[index];
        let (from_byte, from_end) = match index.checked_sub(1) {
            Some(before) => (self.rows[before].2, self.rows[before].3),
            None => (0, 0),
        };
        Cells { line, offset, bytes: &self.bytes[from_byte..bytes], ends: &self.ends[from_end..ends] }
    }
}
