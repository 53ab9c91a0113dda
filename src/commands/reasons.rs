//! Why tasks failed, with an example of each reason: the first failed task in the order of the golden set, whatever order
//! they failed in.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::commands::marking::{Position, Positions};
use crate::commands::plan::Plan;
use crate::report::FailureExample;
use crate::store::{RecordReader, StoreError};
use crate::types::FailureKind;
use crate::util::text::shorten;

/// Bytes of records that are looked through at a time.
const BLOCK: usize = 4 << 20;

/// Characters of a message that a report shows.
const SHOWN: usize = 240;

/// Of one candidate, an example of each reason for which tasks failed.
pub type Examples = BTreeMap<FailureKind, FailureExample>;

/// How each task ended, as its records are read.
pub struct Outcomes {
    /// By candidate, then in the order of the golden set: why it failed, where it did.
    failed: Vec<Vec<Option<FailureKind>>>,
    repeats: usize,
}

impl Outcomes {
    /// Of no task anything is known.
    pub fn new(plan: &Plan) -> Outcomes {
        let repeats = plan.suite.repeats as usize;
        Outcomes { failed: vec![vec![None; plan.cases.len() * repeats]; plan.candidates.len()], repeats }
    }

    /// Notes how a task ended: a later record replaces an earlier one. What was not sent at its time is no failure.
    pub fn note(&mut self, position: Position, failure: Option<FailureKind>) {
        let Position { sample, candidate, repeat } = position;
        self.failed[candidate][sample * self.repeats + repeat] = failure.filter(|kind| *kind != FailureKind::Unsent);
    }

    /// The first task of each reason, by candidate.
    fn first(&self) -> Vec<BTreeMap<FailureKind, (usize, usize)>> {
        let first = |failed: &Vec<Option<FailureKind>>| {
            let mut first = BTreeMap::new();
            for (index, kind) in failed.iter().enumerate() {
                let Some(kind) = kind else { continue };
                first.entry(*kind).or_insert((index / self.repeats, index % self.repeats));
            }
            first
        };
        self.failed.iter().map(first).collect()
    }

    /// Reads what was said about these tasks, by candidate. Records are read a second time for it, since nobody knows
    /// before their end which task is the first: only when there are failures.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn examples(&self, folder: &Path, plan: &Plan) -> Result<Vec<Examples>, StoreError> {
        let wanted = self.first();
        let mut examples = vec![Examples::new(); wanted.len()];
        if wanted.iter().all(BTreeMap::is_empty) {
            return Ok(examples);
        }
        let Some(mut reader) = RecordReader::open(folder)? else { return Ok(examples) };
        let positions = Positions::of(plan);
        let mut block = Vec::new();
        while reader.block(BLOCK, &mut block)? {
            let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            let said: Vec<(usize, FailureKind, FailureExample)> = lines
                .into_par_iter()
                .filter(|line| memchr::memmem::find(line, b"\"failure\"").is_some())
                .filter_map(|line| {
                    let record = RecordReader::parse(line)?;
                    let failure = record.outcome.as_ref().err().filter(|_| !record.is_open)?;
                    let Position { sample, candidate, repeat } = positions.find(&record)?;
                    let kind = failure.kind();
                    let is_wanted = wanted[candidate].get(&kind) == Some(&(sample, repeat));
                    let message = shorten(&failure.to_string(), SHOWN);
                    let sample = record.key.sample.to_string();
                    is_wanted.then_some((candidate, kind, FailureExample { sample, message }))
                })
                .collect();
            // Of a task that was asked again and failed alike, the last one counts.
            for (candidate, kind, example) in said {
                examples[candidate].insert(kind, example);
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_task_of_each_reason_is_the_example_in_whatever_order_they_end() {
        let mut outcomes = Outcomes { failed: vec![vec![None; 6]; 2], repeats: 2 };
        let at = |sample, candidate, repeat| Position { sample, candidate, repeat };
        outcomes.note(at(2, 0, 1), Some(FailureKind::Timeout));
        outcomes.note(at(1, 0, 1), Some(FailureKind::Timeout));
        outcomes.note(at(0, 0, 0), Some(FailureKind::Timeout));
        outcomes.note(at(2, 0, 0), Some(FailureKind::Status));
        // It was asked again and answered.
        outcomes.note(at(0, 0, 0), None);
        outcomes.note(at(0, 1, 0), Some(FailureKind::Unsent));
        let first = BTreeMap::from([(FailureKind::Timeout, (1, 1)), (FailureKind::Status, (2, 0))]);
        assert_eq!(outcomes.first(), [first, BTreeMap::new()]);
    }
}
