//! Golden sets: reading JSONL and CSV row by row, and choosing rows; and files of recorded answers, found by a field.
//!
//! A dataset is read twice and is never in memory as a whole. [`Dataset::scan`] reads every row, finds every fault and
//! chooses rows, before anything is sent; [`Dataset::samples`] then gives the chosen ones, in the order of the files. A
//! file that changes in between is a fault, not a silent mixture. Filters and prompts come in as functions: nothing is
//! known here of templates.

pub mod csv;
mod draft;
mod faults;
pub mod index;
pub mod jsonl;
pub mod lines;
mod rows;
mod scan;
pub mod select;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use crate::dataset::draft::Fields;
use crate::dataset::rows::Rows;
use crate::dataset::source::{Source, Watched};
use crate::suite::spec::{DatasetSpec, SelectSpec};
use crate::types::{Fault, Faults, Place, Sample};

pub use draft::MAX_ID_CHARS;
pub use faults::SHOWN_FAULTS;
pub use index::Indexed;
pub use scan::{Filter, MAX_FIELDS, Scan, Visit};
pub use select::Selection;

/// The files of a golden set, and what their fields mean.
#[derive(Debug, Clone)]
pub struct Dataset {
    sources: Arc<[Source]>,
    fields: Arc<Fields>,
}

impl Dataset {
    /// Looks at the files without reading them. `shown` are their paths as the user wrote them, in the same order.
    ///
    /// # Errors
    /// For each file that is missing, empty, no regular file, or cannot be opened, and for endings other than `.jsonl`,
    /// `.ndjson`, `.csv` and `.tsv`; and when there is no file at all.
    pub fn open(files: Vec<PathBuf>, shown: Vec<String>, spec: &DatasetSpec) -> Result<Dataset, Faults> {
        let mut faults = Faults::new();
        let mut sources = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let shown = shown.get(index).map_or_else(|| file.clone(), PathBuf::from);
            match Source::new(file, &shown) {
                Ok(source) => sources.push(source),
                Err(fault) => faults.push(fault),
            }
        }
        if files.is_empty() {
            faults.push(Fault::new(Place::default(), "`dataset.path` names no file"));
        }
        faults.or(Dataset { sources: sources.into(), fields: Arc::new(Fields::new(spec)) })
    }

    /// Reads all files, checks every row and chooses rows: first those for which `filter` is true, then the draw that
    /// `select` asks for (with `seed` if it has none of its own), then the limits: that of `select`, and `limit`.
    ///
    /// `visit` is called with the sample of each row that the filter kept and in which nothing is wrong, in order, so
    /// that a caller can find faults of its own (a prompt that cannot be rendered).
    ///
    /// # Errors
    /// All that is wrong with the files and their rows, at most [`SHOWN_FAULTS`] faults, and one more that counts the
    /// others. Of rows that the filter dropped, only what cannot be read, and ids that occur twice. No row that is left
    /// is a fault too.
    pub fn scan(
        &self,
        filter: Option<Filter<'_>>,
        select: Option<&SelectSpec>,
        seed: u64,
        limit: Option<u64>,
        visit: Visit<'_>,
    ) -> Result<Scan, Faults> {
        scan::scan(self, filter, select, seed, limit, visit)
    }

    /// The samples of the rows that were chosen, in the order of the files. A fault ends them: it means that the files
    /// are not any more what they were when they were scanned.
    pub fn samples(&self, selection: &Selection) -> Samples {
        Samples {
            dataset: self.clone(),
            selection: selection.clone(),
            next_file: 0,
            rows: None,
            ordinal: 0,
            given: 0,
            has_ended: false,
        }
    }
}

/// The second pass over a dataset. See [`Dataset::samples`].
#[derive(Debug)]
pub struct Samples {
    dataset: Dataset,
    selection: Selection,
    next_file: usize,
    rows: Option<Rows<Watched>>,
    /// Of the next row.
    ordinal: u64,
    given: u64,
    has_ended: bool,
}

impl Samples {
    fn advance(&mut self) -> Result<Option<Sample>, Fault> {
        while self.given < self.selection.len() {
            let Some(Rows { split, decoder, file }) = &mut self.rows else {
                self.rows = Some(self.next_rows()?);
                continue;
            };
            let Some(raw) = split.next_row()? else {
                self.rows = None;
                continue;
            };
            self.ordinal += 1;
            if !self.selection.contains(self.ordinal - 1) {
                continue;
            }
            let line = raw.0.line;
            let draft = decoder
                .row(raw, file)
                .map(|row| self.dataset.fields.draft(row, decoder.is_text()))
                .map_err(|fault| Fault { message: format!("{}: the file has changed", fault.message), ..fault })?;
            if draft.id.is_err() || draft.cluster.is_err() {
                return Err(Fault::new(Place::line(file, line), "the id or the cluster is gone: the file has changed"));
            }
            self.given += 1;
            return Ok(Some(draft.sample));
        }
        if let Some(rows) = self.rows.take() {
            rows.split.reader().check().map_err(|error| lines::unreadable(&rows.file, &error))?;
        }
        Ok(None)
    }

    fn next_rows(&mut self) -> Result<Rows<Watched>, Fault> {
        let Some(source) = self.dataset.sources.get(self.next_file) else {
            return Err(Fault::new(Place::default(), "rows of the dataset are gone: its files have changed"));
        };
        self.next_file += 1;
        Rows::new(source.open()?, source)
            .map_err(|mut faults| faults.pop().unwrap_or_else(|| rows::no_rows(&source.shown)))
    }
}

impl Iterator for Samples {
    type Item = Result<Sample, Fault>;

    fn next(&mut self) -> Option<Result<Sample, Fault>> {
        if self.has_ended {
            return None;
        }
        let next = self.advance().transpose();
        self.has_ended = !matches!(next, Some(Ok(_)));
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.selection.len() - self.given).ok();
        (0, left.and_then(|left| left.checked_add(1)))
    }
}

#[cfg(test)]
mod tests;
