//! What became of every row of an import: nothing is dropped without a count.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::types::Precision;

/// The value of `format` in the JSON form.
pub const LEDGER_FORMAT: &str = "evalctl-ledger/1";

/// Why a row is no exchange of the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is not JSON, or no row of the CSV file.
    Broken,
    /// The file ends in the middle of it.
    CutOff,
    /// The compressed file is damaged from there on; rows just before may be, too.
    Damaged,
    /// It is not UTF-8.
    NotUtf8,
    /// It is longer than any row that is read.
    TooLong,
    /// It is no row of this kind of log.
    OtherKind,
    /// It tells of something else than a call of a model: a span around it, a tool, an embedding, a page.
    OtherCall,
    /// It has no body of a request that could be read, so that nothing can be asked again.
    NoBody,
    /// It belongs to another row: the answer to its request, the parts of a page.
    Joined,
    /// It is the answer to one of several requests that have the same id, or one of several answers to one.
    Ambiguous,
    /// It says the same as one that was kept, or nearly so.
    NearDuplicate,
    /// It was not drawn.
    NotDrawn,
}

/// What is missing in an exchange that was kept, or must be known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// No arrival time: it can be replayed at a given rate only.
    NoTime,
    /// Its arrival is known to the second only.
    WholeSeconds,
    /// Its times have no zone, and one was assumed.
    NoZone,
    /// It stands after a row that arrived later; it was put in its place.
    OutOfOrder,
    /// There is neither an answer nor a failure.
    NoAnswer,
    /// It failed; the failure is kept.
    Failed,
    /// The answer ran into its token limit.
    Truncated,
    /// The body of request or answer is cut off in the log.
    CutBody,
    /// It was answered as a stream.
    Streamed,
    /// It was streamed, and the log has no time to first token.
    NoFirstToken,
    /// A cache answered, so that its times are not the model's.
    Cached,
    /// The log does not say how long it took.
    NoLatency,
    /// Its first token is said to have come after its last; the time to first token was left out.
    FirstTokenLate,
    /// Counts of tokens contradict the answer or each other, and were left out.
    CountsDoubted,
    /// No model is named.
    NoModel,
    /// The log has the same id more than once; this one got another.
    RepeatedId,
    /// Something of the messages has no place in the capture's terms (reasoning of earlier turns, unknown roles).
    PartsLost,
    /// Its texts are made up to the length that the log tells.
    TextMade,
}

impl Reason {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Reason::Broken => "not JSON, or broken CSV",
            Reason::CutOff => "the file ends in the middle of it",
            Reason::Damaged => "the file is damaged from there on; rows before it may be wrong, too",
            Reason::NotUtf8 => "not UTF-8",
            Reason::TooLong => "longer than 64 MiB",
            Reason::OtherKind => "no row of this kind of log",
            Reason::OtherCall => "no call of a model (a span, a tool, an embedding, …)",
            Reason::NoBody => "no request body",
            Reason::Ambiguous => "an answer by an id that several have: import each batch by itself",
            Reason::Joined => "joined to another row (an answer to its request)",
            Reason::NearDuplicate => "near-duplicate, folded",
            Reason::NotDrawn => "not drawn by --sample",
        }
    }
}

impl Mark {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Mark::NoTime => "no arrival time",
            Mark::WholeSeconds => "arrival known to whole seconds only",
            Mark::NoZone => "time without a zone, read as --zone says",
            Mark::OutOfOrder => "out of order, put in its place",
            Mark::NoAnswer => "no answer",
            Mark::Failed => "failed; kept with its failure",
            Mark::Truncated => "answer truncated at its token limit",
            Mark::CutBody => "body cut off in the log",
            Mark::Streamed => "streamed",
            Mark::NoFirstToken => "streamed, no time to first token",
            Mark::Cached => "answered by a cache; latency is not the model's",
            Mark::NoLatency => "no latency",
            Mark::FirstTokenLate => "first token after the end; its time left out",
            Mark::CountsDoubted => "token counts contradict the answer or each other; left out",
            Mark::NoModel => "no model named",
            Mark::RepeatedId => "id given twice; got another",
            Mark::PartsLost => "parts of messages left out",
            Mark::TextMade => "texts made up to the logged length",
        }
    }
}

/// A file of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerFile {
    /// As the user named it.
    pub file: String,
    /// What it was read as.
    pub kind: String,
    /// Rows that were read.
    pub rows: u64,
}

/// The account of an import. `rows_read` is `kept` and all of `not_kept` together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// [`LEDGER_FORMAT`].
    pub format: &'static str,
    /// The files.
    pub files: Vec<LedgerFile>,
    /// Rows read, of all files.
    pub rows_read: u64,
    /// Exchanges of the capture.
    pub kept: u64,
    /// Rows that are none, by reason.
    pub not_kept: BTreeMap<Reason, u64>,
    /// Of those that were read as exchanges: what is missing in them or must be known; one may count in several.
    pub partly: BTreeMap<Mark, u64>,
    /// By how finely the log tells the arrival.
    pub precision: BTreeMap<Precision, u64>,
    /// Earliest arrival, in microseconds since the epoch.
    pub first_arrived_us: Option<i64>,
    /// Latest arrival.
    pub last_arrived_us: Option<i64>,
    /// The largest step back in time from one row to the next, in microseconds; 0 when all are in order.
    pub largest_step_back_us: u64,
    /// Different distances from UTC that stamps were written with, in minutes.
    pub offsets_min: std::collections::BTreeSet<i32>,
    /// What was redacted, by rule.
    pub redactions: BTreeMap<String, u64>,
    /// Exchanges in which something was redacted.
    pub redacted: u64,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Ledger {
        Ledger { format: LEDGER_FORMAT, ..Ledger::default() }
    }

    /// Counts a row that is no exchange.
    pub fn drop_row(&mut self, reason: Reason) {
        self.rows_read += 1;
        *self.not_kept.entry(reason).or_default() += 1;
    }

    /// Counts a row that is one, with what must be known of it.
    pub fn keep_row(&mut self, marks: impl IntoIterator<Item = Mark>) {
        self.rows_read += 1;
        self.kept += 1;
        for mark in marks {
            *self.partly.entry(mark).or_default() += 1;
        }
    }

    /// Counts rows of the file that is being read.
    pub fn of_file(&mut self, rows: u64) {
        if let Some(file) = self.files.last_mut() {
            file.rows += rows;
        }
    }

    /// Moves exchanges that were read from the kept ones to those left out.
    pub fn leave_out(&mut self, reason: Reason, count: u64) {
        self.kept -= count;
        if count > 0 {
            *self.not_kept.entry(reason).or_default() += count;
        }
    }

    /// Whether the counts add up.
    pub fn adds_up(&self) -> bool {
        self.rows_read == self.kept + self.not_kept.values().sum::<u64>()
            && self.rows_read == self.files.iter().map(|file| file.rows).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut ledger = Ledger::new();
        ledger.files.push(LedgerFile { file: "a".into(), kind: "chat".into(), rows: 0 });
        ledger.keep_row([Mark::NoTime, Mark::Failed]);
        ledger.keep_row([]);
        ledger.drop_row(Reason::NoBody);
        ledger.of_file(3);
        assert!(ledger.adds_up());
        ledger.leave_out(Reason::NotDrawn, 1);
        assert!(ledger.adds_up());
        assert_eq!((ledger.rows_read, ledger.kept), (3, 1));
        let json = serde_json::to_value(&ledger).unwrap();
        assert_eq!(json["not_kept"], serde_json::json!({"no_body": 1, "not_drawn": 1}));
    }
}
