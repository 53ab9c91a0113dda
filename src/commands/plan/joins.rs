//! Recorded answers joined with the golden set before anything runs: how many rows have one, and whether the fields that
//! the suite names are there and hold what they should.
//!
//! Every row is looked up in the index. Answers themselves are read afterwards, and of very many only a part that is
//! spread evenly over the rows, so that a golden set of a million rows takes no minutes and no memory.

use std::cell::RefCell;
use std::sync::Arc;

use crate::commands::plan::join_text;
use crate::dataset::Indexed;
use crate::provider::{Said, examine};
use crate::suite::spec::RecordedSpec;
use crate::suite::values::JoinField;
use crate::types::Sample;
use crate::util::json;
use crate::util::text::{did_you_mean, shorten};

/// From this many to twice as many answers are read; all of fewer.
const LOOKED_AT: usize = 10_000;

/// The recorded answers of a candidate, and what is known of the join so far.
pub(super) struct Join {
    spec: RecordedSpec,
    on: JoinField,
    index: Arc<Indexed>,
    tally: RefCell<Tally>,
}

#[derive(Default)]
struct Tally {
    rows: u64,
    /// Rows without the field of the join.
    without: u64,
    answered: u64,
    /// Rows without an answer that would have one if the space around their value were gone.
    spaced: u64,
    /// The value of the first row without an answer.
    missed: Option<String>,
    /// The id and the value of rows whose answers are read: every so many.
    keys: Vec<(Arc<str>, String)>,
    stride: u64,
}

/// What a join of recorded answers came to, for those who ask before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinFacts {
    /// The file, as the suite names it.
    pub path: String,
    /// Rows of the golden set that are used.
    pub rows: u64,
    /// Those of them that have an answer.
    pub answered: u64,
    /// Answers in the file.
    pub answers: u64,
    /// Answers that were read.
    pub looked_at: u64,
    /// Those of them that say why there is no answer.
    pub failures: u64,
    /// What is odd about them, in words.
    pub notes: Vec<String>,
}

/// A fault at a key below the candidate's `recorded`.
pub(super) struct JoinFault {
    pub path: Vec<&'static str>,
    pub message: String,
    pub help: Option<String>,
}

/// How often a pointer that scorers follow leads to something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hits {
    /// Answers that are JSON.
    pub json: u64,
    /// Those of them that have something there.
    pub found: u64,
}

/// All of the above.
pub(super) struct Weighed {
    pub facts: JoinFacts,
    pub faults: Vec<JoinFault>,
    /// For each pointer that was asked for.
    pub hits: Vec<Hits>,
}

/// How often an entry of the spec is what.
#[derive(Default)]
struct Count {
    absent: u64,
    nothing: u64,
    fit: u64,
    unfit: u64,
    /// The row and the reason of the first that cannot be read.
    first: Option<(Arc<str>, String)>,
}

impl Join {
    pub fn new(spec: &RecordedSpec, on: JoinField, index: Arc<Indexed>) -> Join {
        let tally = RefCell::new(Tally { stride: 1, ..Tally::default() });
        Join { spec: spec.clone(), on, index, tally }
    }

    /// Looks for the answer to a sample.
    pub fn note(&self, sample: &Sample) {
        let mut tally = self.tally.borrow_mut();
        tally.rows += 1;
        let Some(key) = join_text(&sample.row, &self.on.sample) else {
            tally.without += 1;
            return;
        };
        if !self.index.has(&key) {
            let bare = key.trim();
            tally.spaced += u64::from(bare.len() < key.len() && self.index.has(bare));
            tally.missed.get_or_insert(key);
            return;
        }
        tally.answered += 1;
        if (tally.answered - 1).is_multiple_of(tally.stride) {
            tally.keys.push((Arc::clone(&sample.id), key));
        }
        if tally.keys.len() >= 2 * LOOKED_AT {
            let mut index = 0;
            tally.keys.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            tally.stride *= 2;
        }
    }

    /// What came of it, when every sample has been looked for. `fields` are those of the golden set.
    pub fn weigh(&self, fields: &[String], pointers: &[String]) -> Weighed {
        let tally = self.tally.take();
        let mut facts = JoinFacts {
            path: self.spec.path.clone(),
            rows: tally.rows,
            answered: tally.answered,
            answers: self.index.len() as u64,
            looked_at: 0,
            failures: 0,
            notes: Vec::new(),
        };
        let mut hits = vec![Hits::default(); pointers.len()];
        if let Some(fault) = self.unjoined(&tally, fields) {
            return Weighed { facts, faults: vec![fault], hits };
        }
        facts.notes.extend(self.unanswered(&tally));
        let mut counts: Vec<(&'static str, Count)> = Vec::new();
        for (id, key) in &tally.keys {
            // A file that cannot be read any more is found out by the run.
            let Ok(Some(row)) = self.index.get(key) else { continue };
            let examined = examine(&self.spec, &row);
            facts.looked_at += 1;
            facts.failures += u64::from(examined.is_failure);
            for (key, said) in examined.entries {
                let count = match counts.iter().position(|(known, _)| *known == key) {
                    Some(index) => &mut counts[index].1,
                    None => {
                        counts.push((key, Count::default()));
                        &mut counts.last_mut().expect("one was pushed").1
                    }
                };
                match said {
                    _ if examined.is_failure && key != "failure" => {}
                    Said::Absent => count.absent += 1,
                    Said::Nothing => count.nothing += 1,
                    Said::Fit => count.fit += 1,
                    Said::Unfit(reason) => {
                        count.unfit += 1;
                        count.first.get_or_insert((Arc::clone(id), reason));
                    }
                }
            }
            let answer = examined.text.filter(|_| !examined.is_failure && !pointers.is_empty());
            if let Some(answer) = answer.and_then(|text| json::parse_answer(&text).ok()) {
                for (hits, pointer) in hits.iter_mut().zip(pointers) {
                    hits.json += 1;
                    hits.found += u64::from(answer.value.pointer(pointer).is_some());
                }
            }
        }
        let faults = self.misnamed(&counts, &mut facts);
        Weighed { facts, faults, hits }
    }

    /// The fault of answers that belong to no row at all.
    fn unjoined(&self, tally: &Tally, fields: &[String]) -> Option<JoinFault> {
        let JoinField { answer, sample } = &self.on;
        let path = match &self.spec.on {
            None => Vec::new(),
            Some(_) if answer == sample => vec!["on"],
            Some(_) => vec!["on", "sample"],
        };
        if tally.rows > 0 && tally.without == tally.rows {
            let field = shorten(sample, 100);
            let message = format!("no row of the golden set has the field `{field}`, by which answers are found");
            let help = did_you_mean(sample, fields.iter().map(String::as_str)).unwrap_or_else(|| {
                let listed = fields.iter().take(12).map(|field| format!("`{}`", shorten(field, 40)));
                let listed = listed.collect::<Vec<_>>().join(", ");
                format!(
                    "where the files call it differently, write `on: {{ answer: {}, sample: FIELD }}`; the rows have {listed}",
                    shorten(answer, 40)
                )
            });
            return Some(JoinFault { path, message, help: Some(help) });
        }
        if tally.rows == 0 || tally.answered > 0 {
            return None;
        }
        let message = format!(
            "`{}` answers none of the {} rows: no `{}` in it is the `{}` of a row",
            self.spec.path,
            tally.rows,
            shorten(answer, 60),
            shorten(sample, 60)
        );
        let missed = tally.missed.as_deref().unwrap_or_default();
        let help = if tally.spaced > 0 {
            format!(
                "values of the golden set have space around them, such as `{}`: without it they match",
                shorten(missed, 60)
            )
        } else {
            let example = self.index.example().unwrap_or_default();
            format!("the first row has `{}`, the first answer `{}`", shorten(missed, 60), shorten(&example, 60))
        };
        Some(JoinFault { path: if path.is_empty() { path } else { vec!["on"] }, message, help: Some(help) })
    }

    /// What is to be said of rows that have no answer where others do.
    fn unanswered(&self, tally: &Tally) -> Option<String> {
        let missing = tally.rows - tally.answered;
        let missed = tally.missed.as_deref().unwrap_or_default();
        (missing > 0).then(|| {
            let example = match missed {
                "" => String::new(),
                missed => format!(", such as `{}`", shorten(missed, 60)),
            };
            let spaced = match tally.spaced {
                0 => String::new(),
                spaced => format!("; {spaced} of them only because of space around `{}`", shorten(&self.on.sample, 60)),
            };
            format!("{missing} of {} rows have no answer and will count as failures{example}{spaced}", tally.rows)
        })
    }

    /// The faults of entries that name nothing, or nothing that can be read; what is wrong in part becomes notes.
    fn misnamed(&self, counts: &[(&'static str, Count)], facts: &mut JoinFacts) -> Vec<JoinFault> {
        let of = |key| counts.iter().find(|(known, _)| *known == key).map(|(_, count)| count);
        let has_calls = of("tool_calls").is_some_and(|count| count.fit > 0);
        let is_all = facts.looked_at == facts.answered;
        let looked_at = if is_all { String::new() } else { " that were looked at".to_owned() };
        let mut faults = Vec::new();
        for (key, count) in counts {
            let total = count.absent + count.nothing + count.fit + count.unfit;
            let said = count.fit + count.unfit;
            let field = shorten(self.field(key), 60);
            let is_text = *key == "text";
            // What says that something is out of the ordinary may be absent throughout.
            let is_needed = matches!(*key, "text" | "usage" | "latency_ms" | "ttft_ms" | "cost_usd");
            if total > 0 && count.absent == total {
                if is_text && has_calls {
                    continue;
                }
                let message = match self.spec.text {
                    None if is_text => {
                        format!("no answer{looked_at} has the field `{field}`, where its text is looked for")
                    }
                    _ => format!("no answer{looked_at} has the field `{field}`, which `{key}` names"),
                };
                if !is_needed || !is_all {
                    facts.notes.push(message);
                    continue;
                }
                let known = self.index.fields();
                let help = did_you_mean(self.field(key), known.iter().map(String::as_str)).unwrap_or_else(|| {
                    let listed = known.iter().take(12).map(|field| format!("`{}`", shorten(field, 40)));
                    format!("the answers have {}", listed.collect::<Vec<_>>().join(", "))
                });
                let help =
                    if is_text && self.spec.text.is_none() { format!("name it with `text`; {help}") } else { help };
                let path = if is_text && self.spec.text.is_none() { Vec::new() } else { vec![*key] };
                faults.push(JoinFault { path, message, help: Some(help) });
                continue;
            }
            let lacking = count.absent + count.nothing;
            if is_text && !has_calls && count.absent > 0 {
                facts.notes.push(format!("{} of {total} answers{looked_at} have no `{field}`", count.absent));
            } else if is_needed && !is_text && lacking > 0 {
                facts.notes.push(format!("{lacking} of {total} answers{looked_at} have no value in `{field}`"));
            }
            if let Some((id, reason)) = &count.first {
                let first = format!("{reason} (row `{}`)", shorten(id, 60));
                if count.unfit == said && is_all {
                    let message = format!("nothing in `{field}` can be read: {first}");
                    faults.push(JoinFault { path: vec![*key], message, help: None });
                } else {
                    facts.notes.push(format!(
                        "{} of {said} values of `{field}` cannot be read, and those answers will count as failures: {first}",
                        count.unfit
                    ));
                }
            }
        }
        faults
    }

    /// The field that an entry names.
    fn field(&self, key: &str) -> &str {
        let spec = &self.spec;
        let entry = match key {
            "tool_calls" => &spec.tool_calls,
            "usage" => &spec.usage,
            "latency_ms" => &spec.latency_ms,
            "ttft_ms" => &spec.ttft_ms,
            "finish" => &spec.finish,
            "cost_usd" => &spec.cost_usd,
            "refusal" => &spec.refusal,
            "failure" => &spec.failure,
            _ => &spec.text,
        };
        entry.as_deref().unwrap_or("output")
    }
}
