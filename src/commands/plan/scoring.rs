//! What answers are judged by: scorers and schemas.

use std::path::Path;

use serde_json::Value;

use crate::commands::plan::Work;
use crate::scorer::{self, Scorer};
use crate::suite::spec::ScorerSpec;
use crate::suite::{Step, Suite, at};
use crate::types::{Fault, Place};
use crate::util::{given_file, text};

/// The largest file of a JSON Schema.
const MAX_SCHEMA: u64 = 16 << 20;

impl Work<'_> {
    /// Reads a JSON Schema file; `None` when a fault was found. Read once, however often it is named.
    pub(super) fn schema(&mut self, path: &[Step<'_>], written: &str) -> Option<Value> {
        if let Some(known) = self.schemas.get(written) {
            return known.clone();
        }
        let file = self.path(written);
        let value = match given_file::read(&file, MAX_SCHEMA) {
            Err(error) => {
                self.fault(path, format!("could not read the schema `{written}`: {}", text::of_system(&error)));
                None
            }
            Ok(bytes) => match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => Some(value),
                Err(error) => {
                    let (line, column) = (error.line() as u64, error.column() as u64);
                    let place = Place::at(Path::new(written), line.max(1), column.max(1));
                    self.faults.push(Fault::new(place, format!("the schema is not JSON: {error}")));
                    None
                }
            },
        };
        let value = value.filter(|value| match scorer::check_schema(value) {
            Ok(()) => true,
            Err(fault) => {
                self.fault_help(path, format!("`{written}`: {}", fault.message), fault.help);
                false
            }
        });
        self.schemas.insert(written.to_owned(), value.clone());
        value
    }

    /// Builds the scorers; `None` when one of them could not be.
    pub(super) fn scorers(
        &mut self,
        suite: &Suite,
        output: Option<&Value>,
        has_own: bool,
    ) -> Option<Vec<Box<dyn Scorer>>> {
        let mut scorers = Vec::new();
        let mut is_whole = true;
        for (index, spec) in suite.scorers.iter().enumerate() {
            let kind = spec.kind();
            let mut schema = output.cloned();
            if let ScorerSpec::Schema(spec) = spec {
                if let Some(path) = &spec.path {
                    schema = self.schema(&at!["scorers", index, kind, "path"], path);
                    if schema.is_none() {
                        is_whole = false;
                        continue;
                    }
                } else if schema.is_none() && (suite.output.is_some() || !self.document.is_sure(&at!["output"])) {
                    // What is wrong with `output` has been said.
                    is_whole = false;
                    continue;
                }
            }
            match scorer::build(spec, schema.as_ref(), has_own) {
                Ok(scorer) => scorers.push(scorer),
                Err(faults) => {
                    is_whole = false;
                    for fault in faults {
                        let mut path = at!["scorers", index, kind].to_vec();
                        path.extend(fault.path.iter().map(|key| Step::Key(key)));
                        self.fault_help(&path, fault.message, fault.help);
                    }
                }
            }
        }
        is_whole.then_some(scorers)
    }
}
