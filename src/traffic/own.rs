//! Captures: read back as exchanges, for replays, and taken as a source of another capture.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::traffic::draft::{Draft, Found, Importer};
use crate::traffic::ledger::{Mark, Reason};
use crate::traffic::read::Piece;
use crate::traffic::time::Stamp;
use crate::types::{Exchange, Fault, Place, Texts};
use crate::util::given_file;

/// The exchanges of a capture, one at a time, in the order of the file, which is that of arrival.
pub struct Captured {
    reader: BufReader<std::fs::File>,
    path: PathBuf,
    line: Vec<u8>,
    number: u64,
}

impl Captured {
    /// Opens a capture.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Captured> {
        let reader = BufReader::with_capacity(256 << 10, given_file::open(path)?);
        Ok(Captured { reader, path: path.to_owned(), line: Vec::new(), number: 0 })
    }

    fn read(&mut self) -> Result<Option<Exchange>, Fault> {
        loop {
            self.line.clear();
            let fault = |message: String, number| Fault::new(Place::line(&self.path, number), message);
            let count = self.reader.read_until(b'\n', &mut self.line);
            self.number += 1;
            let count = count.map_err(|error| fault(format!("cannot be read: {error}"), self.number))?;
            if count == 0 {
                return Ok(None);
            }
            let line = self.line.trim_ascii();
            // What some editors put at the beginning of a file.
            let line = if self.number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
            if line.is_empty() {
                continue;
            }
            return serde_json::from_slice(line).map(Some).map_err(|error| {
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or_default();
                fault(format!("no line of a capture: {said}"), self.number)
                    .help("`evalctl import KIND FILE… --out CAPTURE` makes one of a log")
            });
        }
    }
}

impl Iterator for Captured {
    type Item = Result<Exchange, Fault>;

    fn next(&mut self) -> Option<Result<Exchange, Fault>> {
        self.read().transpose()
    }
}

/// Takes lines of a capture as they are.
pub struct Own;

impl Importer for Own {
    fn take(&mut self, piece: Piece, out: &mut Vec<Found>) {
        out.push(match piece {
            Piece::Bad(reason) => Found::Not(reason),
            Piece::Block(_) => Found::Not(Reason::OtherKind),
            Piece::Json(value) => again(value),
        });
    }
}

fn again(value: Value) -> Found {
    // What `--promote` adds for a person has no place in a capture.
    let is_promoted = ["promoted", "reference"].iter().any(|name| value.get(*name).is_some_and(|own| !own.is_null()));
    let Ok(mut exchange) = serde_json::from_value::<Exchange>(value) else { return Found::Not(Reason::OtherKind) };
    let precision = exchange.precision;
    let arrived = exchange.arrived_us.map(|us| Stamp { us, precision, offset_min: Some(0) });
    // A conversation of one is told by its own id.
    if exchange.conversation == exchange.id {
        exchange.conversation.clear();
    }
    let marks = [(exchange.texts == Texts::Made, Mark::TextMade), (is_promoted, Mark::PartsLost)];
    let marks = marks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| mark).collect();
    Draft { exchange, marks, arrived }.found()
}
