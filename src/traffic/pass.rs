//! The pass over the files of an import: read, settle, redact, sort, choose, write.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::provider::settle;
use crate::traffic::choose::{Chooser, Stratum};
use crate::traffic::digests;
use crate::traffic::draft::{Draft, Found};
use crate::traffic::kind::{Kind, recognise};
use crate::traffic::ledger::{Ledger, LedgerFile, Mark, Reason};
use crate::traffic::read::{Form, Opened, Piece};
use crate::traffic::redact::Redactor;
use crate::traffic::sort::{Sorted, Sorter};
use crate::traffic::time::Zone;
use crate::types::{CaptureSource, Exchange, Finish, Precision, ROUNDING, Texts};
use crate::util::digest::Digest;

/// The longest id and name of a conversation, in characters: golden sets have the same bound.
const ID_CHARS: usize = 512;

/// How many different remarks about files a ledger keeps.
const NOTES: usize = 50;

/// How many exchanges are chosen, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// How many.
    pub wanted: u64,
    /// By what.
    pub strata: Vec<Stratum>,
    /// Of the draw.
    pub seed: u64,
}

/// What is imported, and how.
#[derive(Debug)]
pub struct Import {
    /// The kind of all files; `None` to recognise each.
    pub kind: Option<Kind>,
    /// The files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The capture to be made.
    pub out: PathBuf,
    /// Whether what stands in its place already may be written over.
    pub may_replace: bool,
    /// Of stamps that name none.
    pub zone: Zone,
    /// Of texts that are made up.
    pub seed: u64,
    /// Whether only digests of texts are kept.
    pub is_digest_only: bool,
    /// Whether and how exchanges are chosen.
    pub sample: Option<Sample>,
}

/// Why an import made no capture.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file could not be read, or the capture not be written.
    #[error("could not {doing} `{}`: {}", crate::util::text::visible(&.path.display().to_string()), crate::util::text::of_system(.source))]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file looks like none of the kinds.
    #[error("`{}` looks like none of the kinds of logs that are known{}", crate::util::text::visible(&.path.display().to_string()), .has)]
    Unknown {
        /// Which.
        path: PathBuf,
        /// What its first row has.
        has: String,
    },
    /// Fields are to go, and the rows of a file have none.
    #[error(
        "the JSON pointers of --redact-file cannot reach into `{}`: GoReplay writes HTTP messages",
        crate::util::text::visible(&.path.display().to_string())
    )]
    NoFields {
        /// Which.
        path: PathBuf,
    },
    /// Files have no row that could be kept.
    #[error("{0}")]
    Nothing(String, Box<Ledger>),
}

/// Reads logs and makes a capture; gives the account of every row.
///
/// # Errors
/// When a file cannot be opened, is of no known kind, or nothing of it could be kept; and when the capture cannot be
/// written. Then there is no capture.
pub fn import(import: &Import, redactor: &mut Redactor) -> Result<Ledger, ImportError> {
    let spool = spool_of(&import.out);
    let written = |source| ImportError::Io { doing: "write", path: import.out.clone(), source };
    let mut pass = Pass {
        import,
        redactor,
        ledger: Ledger::new(),
        sorter: Sorter::new(spool).map_err(written)?,
        ids: HashSet::new(),
        last: i64::MIN,
        last_of_file: i64::MIN,
    };
    if !import.may_replace && import.out.symlink_metadata().is_ok() {
        // It was not there when the command line was looked at.
        let why = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "another import has just written it");
        return Err(written(why));
    }
    let mut importer: Option<(Kind, Box<dyn crate::traffic::draft::Importer>)> = None;
    for (index, path) in import.files.iter().enumerate() {
        let opened =
            Opened::open(path).map_err(|source| ImportError::Io { doing: "read", path: path.clone(), source })?;
        let kind = match import.kind.or_else(|| recognise(&opened)) {
            Some(kind) => kind,
            None => return Err(unknown(path, &opened)),
        };
        if kind == Kind::GoReplay && pass.redactor.has_pointers() {
            return Err(ImportError::NoFields { path: path.clone() });
        }
        let form = match opened.form() {
            _ if kind == Kind::GoReplay => Form::Blocks,
            // A first line that is no row may look like a header; a header that names a kind's fields is one.
            Form::Csv { .. } if !kind.has_csv() && recognise(&opened) != Some(kind) => Form::Lines,
            form => form,
        };
        if importer.as_ref().is_none_or(|(known, _)| *known != kind) {
            if let Some((_, mut done)) = importer.take() {
                let mut found = Vec::new();
                done.end(true, &mut found);
                pass.take(found, 0, kind, path).map_err(written)?;
            }
            importer = Some((kind, kind.importer(import.zone, import.seed)));
        }
        let Some((_, importer)) = importer.as_mut() else { continue };
        let (shown, kind_name) = (path.display().to_string(), kind.words().0.to_owned());
        let file = pass.redactor.name(&shown);
        pass.ledger.files.push(LedgerFile { file, kind: kind_name, rows: 0 });
        pass.last_of_file = i64::MIN;
        let mut rows = opened.rows(form);
        let mut found = Vec::new();
        while let Some((row, mut piece, said)) = rows.next_row() {
            if let Some(said) = said {
                pass.note(format!("`{shown}` cannot be read beyond row {row}: {said}"));
            }
            if let Piece::Json(value) = &mut piece {
                pass.remove_fields(value);
            }
            importer.take(piece, &mut found);
            pass.ledger.of_file(if importer.joins() { 1 } else { found.len() as u64 });
            pass.take(std::mem::take(&mut found), row, kind, path).map_err(written)?;
        }
        importer.end(index + 1 == import.files.len(), &mut found);
        pass.ledger.of_file(if importer.joins() { 0 } else { found.len() as u64 });
        pass.take(found, 0, kind, path).map_err(written)?;
    }
    pass.finish()
}

/// Where a large import keeps its lines until they are sorted.
pub fn spool_of(out: &Path) -> PathBuf {
    beside(out, ".spool")
}

/// The name of a file that stands beside another.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map(std::ffi::OsString::from).unwrap_or_default();
    name.push(ending);
    path.with_file_name(name)
}

fn unknown(path: &Path, opened: &Opened) -> ImportError {
    let mut rows = Opened::of_head(opened.head()).rows(opened.form());
    let has = match rows.next_row() {
        None => "; it is empty".to_owned(),
        Some((_, Piece::Json(Value::Object(row)), _)) => {
            let keys: Vec<String> =
                row.keys().take(12).map(|key| format!("`{}`", crate::util::text::shorten(key, 40))).collect();
            format!("; its first row has {}", keys.join(", "))
        }
        Some(_) => "; its first row is no JSON object".to_owned(),
    };
    ImportError::Unknown { path: path.to_owned(), has }
}

struct Pass<'a> {
    import: &'a Import,
    redactor: &'a mut Redactor,
    ledger: Ledger,
    sorter: Sorter,
    /// Digests of the ids so far.
    ids: HashSet<u64>,
    /// The latest arrival so far.
    last: i64,
    /// The latest of this file: files may overlap, or come in any order.
    last_of_file: i64,
}

impl Pass<'_> {
    fn note(&mut self, note: String) {
        if self.ledger.notes.len() < NOTES {
            self.ledger.notes.push(note);
        }
    }

    fn remove_fields(&mut self, value: &mut Value) {
        let count = self.redactor.remove_fields(value);
        if count > 0 {
            *self.ledger.redactions.entry("field".to_owned()).or_default() += count;
        }
    }

    fn take(&mut self, found: Vec<Found>, row: u64, kind: Kind, path: &Path) -> io::Result<()> {
        for found in found {
            match found {
                Found::Not(reason) => self.ledger.drop_row(reason),
                Found::Exchange(draft) => self.keep(*draft, row, kind, path)?,
            }
        }
        Ok(())
    }

    fn keep(&mut self, draft: Draft, row: u64, kind: Kind, path: &Path) -> io::Result<()> {
        let Draft { mut exchange, marks, arrived } = draft;
        let mut marks: BTreeSet<Mark> = marks.into_iter().collect();
        if kind != Kind::Capture {
            let file = path.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned());
            let row = if exchange.source.row == 0 { row } else { exchange.source.row };
            exchange.source = CaptureSource { kind: kind.words().0.to_owned(), file, row };
        }
        exchange.arrived_us = arrived.map(|stamp| stamp.us);
        exchange.precision = arrived.map_or(Precision::None, |stamp| stamp.precision);
        match arrived {
            None => {}
            Some(stamp) => {
                match stamp.offset_min {
                    None => drop(marks.insert(Mark::NoZone)),
                    Some(offset) => drop(self.ledger.offsets_min.insert(offset)),
                }
                if stamp.us < self.last_of_file {
                    marks.insert(Mark::OutOfOrder);
                    let back = self.last_of_file.abs_diff(stamp.us);
                    self.ledger.largest_step_back_us = self.ledger.largest_step_back_us.max(back);
                }
                self.ledger.first_arrived_us =
                    Some(self.ledger.first_arrived_us.map_or(stamp.us, |us| us.min(stamp.us)));
                self.ledger.last_arrived_us = Some(self.ledger.last_arrived_us.map_or(stamp.us, |us| us.max(stamp.us)));
            }
        }
        *self.ledger.precision.entry(exchange.precision).or_default() += 1;
        let at = exchange.arrived_us.unwrap_or(self.last);
        self.last = self.last.max(at);
        self.last_of_file = self.last_of_file.max(exchange.arrived_us.unwrap_or(i64::MIN));
        if exchange.ttft.zip(exchange.latency).is_some_and(|(first, whole)| first > whole + ROUNDING) {
            exchange.ttft = None;
            marks.insert(Mark::FirstTokenLate);
        }
        if let Some(answer) = &mut exchange.answer {
            settle(answer);
            // Langfuse, Helicone and others make a cost of nothing from counts of nothing.
            if answer.usage_doubt.is_some() {
                marks.insert(Mark::CountsDoubted);
                exchange.cost_usd = exchange.cost_usd.filter(|cost| !cost.is_zero());
            }
        }
        self.name(&mut exchange, &mut marks);
        marks.extend(known(&exchange));
        let line = self.line(&mut exchange)?;
        self.ledger.keep_row(marks);
        self.sorter.push(at, line)
    }

    /// Gives it an id that no other exchange has, and a conversation.
    fn name(&mut self, exchange: &mut Exchange, marks: &mut BTreeSet<Mark>) {
        let CaptureSource { file, row, .. } = &exchange.source;
        if exchange.id.is_empty() {
            exchange.id = format!("{file}:{row}");
        }
        for name in [&mut exchange.id, &mut exchange.conversation] {
            if name.chars().count() > ID_CHARS {
                *name = format!("d-{}", Digest::of(name.as_bytes()));
            }
        }
        let own = exchange.id.clone();
        let mut copy = 1_u64;
        while !self.ids.insert(Digest::of(exchange.id.as_bytes()).low64()) {
            marks.insert(Mark::RepeatedId);
            copy += 1;
            // The place in the log tells copies apart at once, however many there are.
            exchange.id = if copy == 2 { format!("{own}~{file}:{row}") } else { format!("{own}~{file}:{row}~{copy}") };
        }
        if exchange.conversation.is_empty() {
            exchange.conversation = exchange.id.clone();
        }
    }

    /// The line of an exchange, redacted; its turn is numbered when it is in its place.
    fn line(&mut self, exchange: &mut Exchange) -> io::Result<Vec<u8>> {
        exchange.turn = 0;
        let is_alone = exchange.conversation == exchange.id;
        // Texts that are made up hold nothing of anybody.
        let is_made = exchange.texts == Texts::Made;
        if self.import.is_digest_only {
            digests::only(exchange);
        }
        if is_made || self.redactor.is_idle() {
            return Ok(serde_json::to_vec(&exchange)?);
        }
        let mut value = serde_json::to_value(&*exchange)?;
        let conversation = exchange.conversation.clone();
        let counts = self.redactor.exchange(&mut value, &conversation, is_alone);
        if counts.is_empty() {
            return Ok(serde_json::to_vec(&value)?);
        }
        if self.redactor.has_own()
            && let Err(error) = Exchange::deserialize(&value)
        {
            let CaptureSource { file, row, .. } = &exchange.source;
            let said = format!("a pattern of --redact-file takes away what makes row {row} of `{file}` one: {error}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, said));
        }
        self.ledger.redacted += 1;
        for (rule, count) in &counts {
            *self.ledger.redactions.entry(rule.clone()).or_default() += count;
        }
        if let Value::Object(fields) = &mut value {
            let known = fields.entry("redactions").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(known) = known {
                for (rule, count) in counts {
                    let before = known.get(&rule).and_then(Value::as_u64).unwrap_or(0);
                    known.insert(rule, (before + count).into());
                }
            }
        }
        Ok(serde_json::to_vec(&value)?)
    }

    fn finish(mut self) -> Result<Ledger, ImportError> {
        let idle: Vec<String> = self.redactor.idle_pointers().map(str::to_owned).collect();
        for pointer in idle {
            self.note(format!("the JSON pointer `{pointer}` names no field of any row: nothing was taken out by it"));
        }
        let Pass { import, mut ledger, sorter, .. } = self;
        let written = |source| ImportError::Io { doing: "write", path: import.out.clone(), source };
        let sorted = sorter.finish().map_err(written)?;
        if ledger.kept == 0 {
            let message = nothing(&ledger);
            return Err(ImportError::Nothing(message, Box::new(ledger)));
        }
        match &import.sample {
            None => sorted.save(&import.out).map_err(written)?,
            Some(sample) => choose(&sorted, sample, &import.out, &mut ledger).map_err(written)?,
        }
        Ok(ledger)
    }
}

/// What every importer would have to say of an exchange.
fn known(exchange: &Exchange) -> Vec<Mark> {
    let answer = exchange.answer.as_ref();
    let is_made = exchange.texts == Texts::Made;
    let is_streamed = exchange.is_streamed == Some(true);
    let facts = [
        (exchange.arrived_us.is_none(), Mark::NoTime),
        (exchange.precision == Precision::S, Mark::WholeSeconds),
        (exchange.failure.is_some(), Mark::Failed),
        (exchange.failure.is_none() && answer.is_none(), Mark::NoAnswer),
        (answer.is_some_and(|answer| answer.finish == Some(Finish::Length)), Mark::Truncated),
        (is_streamed, Mark::Streamed),
        (is_streamed && exchange.ttft.is_none() && exchange.failure.is_none(), Mark::NoFirstToken),
        (exchange.is_cached, Mark::Cached),
        (exchange.latency.is_none(), Mark::NoLatency),
        (exchange.model.is_none() && !is_made, Mark::NoModel),
    ];
    facts.into_iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| mark).collect()
}

/// Why there is no capture.
fn nothing(ledger: &Ledger) -> String {
    if ledger.rows_read == 0 {
        return "the files have no rows".to_owned();
    }
    let most = ledger.not_kept.iter().max_by_key(|(_, count)| **count);
    let why = match most.map(|(reason, _)| *reason) {
        Some(Reason::NoBody) => {
            "they have no request bodies: turn on the storage of prompts, or export with bodies".to_owned()
        }
        Some(Reason::OtherKind) => {
            let kinds: BTreeSet<&str> = ledger.files.iter().map(|file| file.kind.as_str()).collect();
            let kinds: Vec<String> = kinds.into_iter().map(|kind| format!("`{kind}`")).collect();
            format!("they are not of the kind {}: name another, or `auto`", kinds.join(", "))
        }
        Some(reason) => reason.words().to_owned(),
        None => String::new(),
    };
    format!("none of the {} rows can be kept; {why}", ledger.rows_read)
}

/// Folds near-duplicates, draws, and writes what was drawn.
fn choose(sorted: &Sorted, sample: &Sample, out: &Path, ledger: &mut Ledger) -> io::Result<()> {
    let mut chooser = Chooser::new(sample.strata.clone());
    sorted.each(&mut |line| {
        chooser.look(&serde_json::from_slice::<Exchange>(line)?);
        Ok(())
    })?;
    let chosen = chooser.draw(sample.seed, sample.wanted);
    ledger.leave_out(Reason::NearDuplicate, chosen.folded);
    ledger.leave_out(Reason::NotDrawn, chosen.not_drawn);
    crate::util::atomic::write(out, |out| {
        let mut place = 0;
        sorted.each(&mut |line| {
            place += 1;
            if !chosen.is_drawn[place - 1] {
                return Ok(());
            }
            if chosen.duplicates[place - 1] == 0 {
                return out.write_all(line);
            }
            let mut exchange: Exchange = serde_json::from_slice(line)?;
            exchange.duplicates += chosen.duplicates[place - 1];
            serde_json::to_writer(&mut *out, &exchange)?;
            out.write_all(b"\n")
        })
    })
}
