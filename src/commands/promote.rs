//! `--promote disagreements`: the rows of a run that are worth a label, as a dataset.
//!
//! Where candidate and baseline agree, a label tells little about which of them to take. So what is written are the rows
//! on which they do not, as they stand in the golden set or the capture, with what everybody said. Whether that is right
//! nobody has said yet: of a line of a capture whose target is only the logged answer, the target goes.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::{IntoParallelIterator, ParallelIterator};
use serde_json::{Map, Value, json};

use crate::cli::Promote;
use crate::commands::World;
use crate::commands::exit::CommandError;
use crate::commands::marking::{Position, Positions, case_of};
use crate::commands::plan::Plan;
use crate::commands::run::{say, shown};
use crate::scorer;
use crate::store::{Folder, RecordReader, StoreError};
use crate::traffic::Folds;
use crate::types::{Fault, Faults, Mark, Response, Row};
use crate::util::atomic;

/// The file, in the run's folder.
const FILE: &str = "promoted.jsonl";

/// Bytes of records that are read at a time.
const BLOCK: usize = 4 << 20;

/// Whether rows can be promoted.
///
/// # Errors
/// When there is nobody to disagree with.
pub fn can(promote: Option<Promote>, plan: &Plan) -> Result<(), CommandError> {
    let Some(Promote::Disagreements) = promote else { return Ok(()) };
    if plan.baseline().is_none() {
        return Err(CommandError::usage(
            "`--promote disagreements` needs a baseline to disagree with, and the suite has none",
            "add `baseline: ID` to the suite",
        ));
    }
    Ok(())
}

/// Writes the rows, and says how many and where.
///
/// # Errors
/// When the records or the dataset cannot be read again, or the file cannot be written.
pub fn write(
    promote: Option<Promote>,
    folder: &Folder,
    plan: &Plan,
    world: &mut World<'_>,
) -> Result<(), CommandError> {
    let (Some(Promote::Disagreements), Some(baseline)) = (promote, plan.baseline()) else { return Ok(()) };
    let mut said = Answers::none(plan);
    let look = |place: Position, response: Response| said_of(plan, place.sample, &response);
    each_answer(folder.path(), plan, look, |place, found| said.set(place, found))?;
    let mut chosen = fold(plan, &said.disagreements(baseline))?;
    if chosen.is_empty() {
        say(world, "promoted: no row, as nobody who answered disagrees with the baseline");
        return Ok(());
    }
    let wanted: HashMap<usize, usize> = chosen.iter().map(|(place, chosen)| (*place, chosen.repeat)).collect();
    let look = |place: Position, response: Response| {
        let is_wanted = wanted.get(&place.sample) == Some(&place.repeat);
        is_wanted.then(|| answer(said.get(place), &response))
    };
    each_answer(folder.path(), plan, look, |place, answer| {
        if let Some(chosen) = chosen.get_mut(&place.sample) {
            chosen.answers.insert(place.candidate, answer);
        }
    })?;
    let path = folder.path().join(FILE);
    let failed = |source| StoreError::Io { doing: "write", path: path.clone(), source };
    keep_aside(&path, world).map_err(failed)?;
    let rows = chosen.len();
    let folded: u64 = chosen.values().map(|chosen| chosen.duplicates).sum();
    let mut samples = plan.dataset.samples(&plan.selection);
    let mut fault = None;
    atomic::write(&path, |out| {
        for (place, sample) in samples.by_ref().enumerate() {
            let sample = match sample {
                Ok(sample) => sample,
                Err(found) => {
                    fault = Some(found);
                    return Err(io::Error::other("the golden set has changed"));
                }
            };
            let Some(chosen) = chosen.remove(&place) else { continue };
            let provenance = chosen.provenance(plan, &folder.run_id(), &sample.id, baseline);
            serde_json::to_writer(&mut *out, &promoted(&sample.row, provenance))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
    .map_err(|source| match fault.take() {
        Some(fault) => changed(plan, fault),
        None => failed(source),
    })?;
    let folded = match folded {
        0 => String::new(),
        1 => ", 1 near-duplicate folded into them".to_owned(),
        _ => format!(", {folded} near-duplicates folded into them"),
    };
    let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    say(world, &format!("promoted: {rows} on which the baseline is disagreed with{folded}: {}", shown(&path)));
    Ok(())
}

/// What is known of one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Said {
    /// Its mark by the first scorer.
    Mark(f64),
    /// That has none: what it says.
    Text(u64),
}

impl Said {
    /// Whether two answers to one question differ. One that could be marked and one that could not are not compared.
    fn differs(self, other: Said) -> bool {
        match (self, other) {
            (Said::Mark(one), Said::Mark(other)) => one != other,
            (Said::Text(one), Said::Text(other)) => one != other,
            (Said::Mark(_), Said::Text(_)) | (Said::Text(_), Said::Mark(_)) => false,
        }
    }
}

/// `None` when it held a key, which was taken out: what it said is not known any more.
fn said_of(plan: &Plan, sample: usize, response: &Response) -> Option<Said> {
    if response.keys_replaced > 0 {
        return None;
    }
    let mut marks = Vec::new();
    if let Some(scorer) = plan.scorers.first() {
        scorer.mark(&case_of(plan, sample, response), &mut marks);
    }
    Some(match marks.first().and_then(Mark::value) {
        Some(value) => Said::Mark(value),
        None => Said::Text(scorer::digest_of(response).low64()),
    })
}

/// What is known of every task's answer: 16 bytes a task. What failed or was not asked has none.
struct Answers {
    said: Vec<Option<Said>>,
    candidates: usize,
    repeats: usize,
}

impl Answers {
    fn none(plan: &Plan) -> Answers {
        let (candidates, repeats) = (plan.candidates.len(), plan.suite.repeats as usize);
        Answers { said: vec![None; plan.cases.len() * candidates * repeats], candidates, repeats }
    }

    fn index(&self, place: Position) -> usize {
        (place.sample * self.repeats + place.repeat) * self.candidates + place.candidate
    }

    fn set(&mut self, place: Position, said: Said) {
        let index = self.index(place);
        self.said[index] = Some(said);
    }

    fn get(&self, place: Position) -> Option<Said> {
        self.said[self.index(place)]
    }

    /// The samples on which somebody disagrees with the baseline, each with the first repeat in which that is so.
    fn disagreements(&self, baseline: usize) -> Vec<(usize, usize)> {
        let rounds = self.said.chunks(self.candidates.max(1)).enumerate().filter(|(_, round)| {
            round[baseline].is_some_and(|said| round.iter().flatten().any(|other| other.differs(said)))
        });
        let mut found: Vec<(usize, usize)> =
            rounds.map(|(round, _)| (round / self.repeats, round % self.repeats)).collect();
        found.dedup_by_key(|(sample, _)| *sample);
        found
    }
}

/// A row that is written.
struct Chosen {
    /// In which repeat they disagree.
    repeat: usize,
    /// Rows that were folded into it.
    duplicates: u64,
    /// What candidates said, by their index.
    answers: HashMap<usize, Value>,
}

impl Chosen {
    fn provenance(mut self, plan: &Plan, run: &str, id: &str, baseline: usize) -> Value {
        let of = |(index, candidate): (usize, &crate::commands::plan::Planned)| {
            Some((candidate.id.to_string(), self.answers.remove(&index)?))
        };
        let candidates: Map<String, Value> = plan.candidates.iter().enumerate().filter_map(of).collect();
        let mut fields = json!({
            "run": run,
            "suite": plan.suite.name,
            "id": id,
            "baseline": &*plan.candidates[baseline].id,
            "metric": plan.metrics.first().map(|metric| &metric.name),
            "candidates": candidates,
            "duplicates": self.duplicates,
        });
        if plan.suite.repeats > 1 {
            fields["repeat"] = self.repeat.into();
        }
        fields
    }
}

fn answer(said: Option<Said>, response: &Response) -> Value {
    let mark = match said {
        Some(Said::Mark(mark)) => Some(mark),
        Some(Said::Text(_)) | None => None,
    };
    let mut fields = json!({ "mark": mark, "text": response.text });
    if !response.tool_calls.is_empty() {
        fields["tool_calls"] = json!(response.tool_calls);
    }
    fields
}

/// Of the rows that could be written those that stand for themselves, by the place of the sample.
fn fold(plan: &Plan, rows: &[(usize, usize)]) -> Result<HashMap<usize, Chosen>, CommandError> {
    let fields = &plan.suite.dataset;
    let but = [fields.id.as_deref().unwrap_or("id"), fields.target.as_deref().unwrap_or("target")];
    let mut folds = Folds::default();
    // The place of each that stands for itself, by its number.
    let mut kept: Vec<usize> = Vec::new();
    let mut chosen: HashMap<usize, Chosen> = HashMap::new();
    let mut rows = rows.iter().peekable();
    for (place, sample) in plan.dataset.samples(&plan.selection).enumerate() {
        let Some((_, repeat)) = rows.next_if(|(wanted, _)| *wanted == place) else {
            if rows.peek().is_none() {
                break;
            }
            continue;
        };
        let sample = sample.map_err(|fault| changed(plan, fault))?;
        match folds.look(&plan.asking.gist(&sample.row, &but)) {
            Ok(like) => {
                if let Some(chosen) = kept.get(like).and_then(|place| chosen.get_mut(place)) {
                    chosen.duplicates += 1;
                }
            }
            Err(_) => {
                kept.push(place);
                chosen.insert(place, Chosen { repeat: *repeat, duplicates: 0, answers: HashMap::new() });
            }
        }
    }
    Ok(chosen)
}

/// The row as it is written. A line of a capture whose target is the logged answer has it as `reference` instead, unless it
/// was promoted before: then somebody may have found that the logged answer is right.
fn promoted(row: &Row, provenance: Value) -> Row {
    let mut row = row.clone();
    let is_line = row.get("evalctl").and_then(Value::as_str).is_some_and(|version| version.starts_with("capture/"));
    let logged = row.get("answer").and_then(|answer| answer.get("text"));
    let is_new = is_line && !row.contains_key("reference");
    if is_new && row.get("target").is_some_and(|target| !target.is_null() && Some(target) == logged) {
        let reference = row.insert("target".to_owned(), Value::Null).unwrap_or_default();
        row.insert("reference".to_owned(), reference);
    }
    row.insert("promoted".to_owned(), provenance);
    row
}

/// What was promoted before may have labels by now: it is kept beside the new file.
fn keep_aside(path: &Path, world: &mut World<'_>) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let numbered = |number: u32| path.with_file_name(format!("promoted.{number}.jsonl"));
    let aside = (1..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(0));
    std::fs::rename(path, &aside)?;
    say(world, &format!("note: the rows promoted before are kept as {}", shown(&aside)));
    Ok(())
}

/// Looks at every answer to a task of the plan on all cores, and takes what was found in the order of the records: of two
/// answers to the same task the later one holds.
fn each_answer<T: Send>(
    folder: &Path,
    plan: &Plan,
    look: impl Fn(Position, Response) -> Option<T> + Sync,
    mut take: impl FnMut(Position, T),
) -> Result<(), StoreError> {
    let Some(mut reader) = RecordReader::open(folder)? else { return Ok(()) };
    let positions = Positions::of(plan);
    let mut block = Vec::new();
    while reader.block(BLOCK, &mut block)? {
        let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let found: Vec<(Position, T)> = lines
            .into_par_iter()
            .filter_map(|line| {
                let record = RecordReader::parse(line)?;
                let place = positions.find(&record)?;
                Some((place, look(place, record.outcome.ok()?)?))
            })
            .collect();
        found.into_iter().for_each(|(place, found)| take(place, found));
    }
    Ok(())
}

/// The golden set cannot be read again as it was read before.
fn changed(plan: &Plan, fault: Fault) -> StoreError {
    let path = plan.suite.dataset.path.0.first().map(PathBuf::from).unwrap_or_default();
    StoreError::Io { doing: "promote rows of", path, source: io::Error::other(Faults::from(fault).to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rounds: &[&[Option<Said>]], repeats: usize) -> Answers {
        Answers { said: rounds.concat(), candidates: rounds[0].len(), repeats }
    }

    #[test]
    fn who_disagrees_with_the_baseline() {
        let mark = |value| Some(Said::Mark(value));
        let text = |digest| Some(Said::Text(digest));
        let table = [
            (vec![mark(1.0), mark(1.0), mark(1.0)], false),
            (vec![mark(1.0), mark(1.0), mark(0.0)], true),
            (vec![mark(0.0), mark(1.0), None], true),
            (vec![None, mark(1.0), mark(0.0)], false),
            (vec![mark(1.0), None, None], false),
            (vec![text(7), text(7), None], false),
            (vec![text(7), text(8), None], true),
            (vec![text(7), mark(0.0), None], false),
        ];
        for (round, expected) in table {
            assert_eq!(!answers(&[&round], 1).disagreements(0).is_empty(), expected, "{round:?}");
        }
        // Two samples, two repeats each: the first repeat that differs is the one that is shown.
        let same = [mark(1.0), mark(1.0)];
        let other = [mark(1.0), mark(0.5)];
        let found = answers(&[&same, &other, &other, &other], 2).disagreements(1);
        assert_eq!(found, [(0, 1), (1, 0)]);
    }

    #[test]
    fn only_a_target_that_nobody_has_looked_at_goes() {
        let row = |value: Value| value.as_object().unwrap().clone();
        let logged = row(json!({"evalctl": "capture/1", "target": "a", "answer": {"text": "a"}, "id": "x"}));
        let seen = Value::from(promoted(&logged, json!({"run": "r"})));
        let expected = json!({"evalctl": "capture/1", "target": null, "answer": {"text": "a"}, "id": "x",
                              "reference": "a", "promoted": {"run": "r"}});
        assert_eq!(seen, expected);
        for kept in [
            json!({"evalctl": "capture/1", "target": "b", "answer": {"text": "a"}}),
            json!({"evalctl": "capture/1", "answer": {"tool_calls": []}}),
            json!({"target": "a", "answer": {"text": "a"}}),
            json!({"evalctl": "capture/1", "target": "a", "answer": {"text": "a"}, "reference": "a"}),
        ] {
            let mut expected = row(kept.clone());
            expected.insert("promoted".to_owned(), json!(1));
            assert_eq!(promoted(&row(kept), json!(1)), expected);
        }
    }
}
