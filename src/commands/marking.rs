//! Records to marks to columns.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::commands::exit::CommandError;
use crate::commands::plan::Plan;
use crate::commands::reasons::{Examples, Outcomes};
use crate::frame::{Builder, Facts, MetricColumn, RunFrame, Seen, Timekeeper};
use crate::scorer::Case;
use crate::store::{
    MarkedBy, RecordReader, SCORES_FORMAT, ScoreHeader, ScoreReader, ScoreWriter, StoreError, newest_scores,
    next_scores,
};
use crate::types::{Mark, Record, Response, ScoreRow};
use crate::util::text::visible;

/// Bytes of records that are parsed and marked at a time.
const BLOCK: usize = 4 << 20;

/// Why an answer has no marks that held a key: right or wrong, it is not as it was given any more.
const KEY_REPLACED: &str = "the answer held a key, which was taken out";

/// What was found beside the marks.
#[derive(Debug, Default)]
pub struct Marked {
    /// Records of tasks that the suite does not ask for any more.
    pub stale: u64,
    /// Lines that are no records.
    pub unreadable: u64,
    /// Of a replay, how each candidate's requests kept their times.
    pub keepers: Vec<Timekeeper>,
    /// Of each candidate, an example of each reason for which tasks failed.
    pub examples: Vec<Examples>,
}

/// Where a record belongs in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the candidate.
    pub candidate: usize,
    /// Which repeat.
    pub repeat: usize,
}

/// Finds the tasks of a plan that records belong to.
pub struct Positions<'a> {
    plan: &'a Plan,
    samples: HashMap<&'a str, u32>,
    candidates: HashMap<&'a str, usize>,
}

impl<'a> Positions<'a> {
    /// For the tasks of this plan.
    pub fn of(plan: &'a Plan) -> Positions<'a> {
        let candidates = plan.candidates.iter().enumerate().map(|(index, candidate)| (&*candidate.id, index));
        Positions { plan, samples: plan.cases.ordinals(), candidates: candidates.collect() }
    }

    /// The task that a record answers: the same sample, candidate and repeat, and the same digest of what was asked.
    pub fn find(&self, record: &Record) -> Option<Position> {
        let sample = *self.samples.get(&*record.key.sample)? as usize;
        let candidate = *self.candidates.get(&*record.key.candidate)?;
        let repeat = record.key.repeat;
        if repeat >= self.plan.suite.repeats {
            return None;
        }
        let identity = self.plan.candidates[candidate].identity;
        let is_asked = self.plan.cases.digest(sample, candidate, identity, repeat) == record.digest;
        is_asked.then_some(Position { sample, candidate, repeat: repeat as usize })
    }
}

/// Marks every answer, writes the next scores file and fills the frame. `by` is the suite that
/// marks, when it is not the run's own.
///
/// # Errors
/// When a file of the run cannot be read or written.
pub fn mark(folder: &Path, plan: &Plan, by: Option<MarkedBy>) -> Result<(RunFrame, Marked), CommandError> {
    let header = ScoreHeader {
        format: SCORES_FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_digest: plan.digest,
        dataset_digest: Some(plan.dataset_digest),
        metrics: plan.metrics.iter().map(|metric| metric.name.clone()).collect(),
        suite: by,
    };
    let mut writer = ScoreWriter::create(folder, next_scores(folder), &header)?;
    let result =
        fill(folder, plan, |record, position| Ok(marks_of(plan, record, position)), |lines| writer.write(lines))?;
    writer.finish()?;
    Ok(result)
}

/// Fills the frame with the marks of the newest scores file, if this suite made them.
///
/// # Errors
/// When a file of the run cannot be read.
pub fn load(folder: &Path, plan: &Plan) -> Result<(RunFrame, Marked), CommandError> {
    let mut rows = HashMap::new();
    if let Some(number) = newest_scores(folder) {
        let mut reader = ScoreReader::open(folder, number)?;
        // Marks by another version of the scorers or of the targets are no marks of this suite: all is marked anew.
        let ScoreHeader { suite_digest, dataset_digest, .. } = &reader.header;
        if *suite_digest == plan.digest && *dataset_digest == Some(plan.dataset_digest) {
            while let Some(ScoreRow { key, digest, marks }) = reader.next_row()? {
                if marks.len() != plan.metrics.len() || !plan.metrics.iter().zip(&marks).all(can_give) {
                    return Err(reader.wrong("its marks are none that the suite's scorers give").into());
                }
                if rows.insert((key, digest), marks).is_some() {
                    return Err(reader.wrong("it marks an answer for a second time").into());
                }
            }
        }
    }
    let stored = |record: &Record, position: Position| {
        let key = (record.key.clone(), record.digest);
        // An answer that came after the marks is marked now; the next `score` writes it down.
        Ok(rows.get(&key).cloned().unwrap_or_else(|| marks_of(plan, record, position)))
    };
    fill(folder, plan, stored, |_| Ok(()))
}

/// Whether a scorer can have given this mark.
fn can_give((metric, mark): (&MetricColumn, &Mark)) -> bool {
    mark.value().is_none_or(
        |value| {
            if metric.is_binary { value == 0.0 || value == 1.0 } else { (0.0..=1.0).contains(&value) }
        },
    )
}

fn marks_of(plan: &Plan, record: &Record, position: Position) -> Vec<Mark> {
    let Ok(response) = &record.outcome else { return Vec::new() };
    if response.keys_replaced > 0 {
        // What stood there could have decided any of them.
        return plan.metrics.iter().map(|_| Mark::missing(KEY_REPLACED)).collect();
    }
    let case = case_of(plan, position.sample, response);
    let mut marks = Vec::with_capacity(plan.metrics.len());
    for scorer in &plan.scorers {
        scorer.mark(&case, &mut marks);
    }
    marks
}

/// An answer with what it is judged by.
pub(super) fn case_of<'a>(plan: &'a Plan, sample: usize, response: &'a Response) -> Case<'a> {
    let cases = &plan.cases;
    let target = cases.targets[sample].as_ref();
    Case { target, logged: cases.logged(sample), schema: cases.schema(sample), response }
}

type Line = (Position, Facts, Option<Seen>);

/// Reads the records block by block; each block is parsed and marked on all cores, then put into the frame in order.
fn fill(
    folder: &Path,
    plan: &Plan,
    marks: impl Fn(&Record, Position) -> Result<Vec<Mark>, StoreError> + Sync,
    mut write: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(RunFrame, Marked), CommandError> {
    let layout = plan.layout();
    let terms = plan.terms();
    let mut builder = Builder::new(layout);
    let planned = plan.cases.len() as u64 * u64::from(plan.suite.repeats);
    let keepers = plan.candidates.iter().map(|_| Timekeeper::new(planned)).collect();
    let examples = vec![Examples::new(); plan.candidates.len()];
    let mut marked = Marked { keepers, examples, ..Marked::default() };
    let mut outcomes = Outcomes::new(plan);
    let positions = Positions::of(plan);
    let Some(mut reader) = RecordReader::open(folder)? else {
        return Ok((builder.finish(), marked));
    };
    let mut block = Vec::new();
    while reader.block(BLOCK, &mut block)? {
        let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let size = lines.len().div_ceil(rayon::current_num_threads() * 4).max(1);
        let chunks: Vec<&[&[u8]]> = lines.chunks(size).collect();
        let done: Vec<(Vec<Line>, Vec<u8>, Marked)> = chunks
            .par_iter()
            .map(|chunk| {
                let (mut rows, mut written, mut found) =
                    (Vec::with_capacity(chunk.len()), Vec::new(), Marked::default());
                for line in *chunk {
                    let Some(record) = RecordReader::parse(line) else {
                        found.unreadable += 1;
                        continue;
                    };
                    let Some(position) = positions.find(&record) else {
                        found.stale += 1;
                        continue;
                    };
                    let marks = marks(&record, position)?;
                    rows.push((position, Facts::of(&record, &marks, &terms[position.candidate]), Seen::of(&record)));
                    if record.outcome.is_ok() {
                        let row = ScoreRow { key: record.key, digest: record.digest, marks };
                        ScoreWriter::line(&mut written, &row);
                    }
                }
                Ok((rows, written, found))
            })
            .collect::<Result<_, StoreError>>()?;
        for (rows, written, found) in done {
            write(&written)?;
            marked.stale += found.stale;
            marked.unreadable += found.unreadable;
            for (position, facts, seen) in rows {
                if let Some(seen) = seen {
                    marked.keepers[position.candidate].put(seen);
                }
                if !facts.is_open {
                    outcomes.note(position, facts.failure);
                }
                if !builder.put(position.sample, position.candidate, position.repeat, facts) {
                    let sample = visible(&plan.cases.ids[position.sample]).into_owned();
                    let candidate = &plan.candidates[position.candidate].id;
                    let what = format!(
                        "it has two answers of `{candidate}` to `{sample}`, and evalctl writes one: take it from a copy, \
                         or take out what was added"
                    );
                    return Err(StoreError::Format { path: reader.path().to_owned(), what }.into());
                }
            }
        }
    }
    marked.unreadable += u64::from(reader.is_torn());
    marked.examples = outcomes.examples(folder, plan)?;
    Ok((builder.finish(), marked))
}
