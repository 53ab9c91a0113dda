//! Figures and judgements to a [`Report`].

use std::collections::BTreeMap;

use crate::gate::{self, Judgement};
use crate::report::{
    CandidateReport, ComparisonReport, FORMAT, FailureExample, GateReport, Note, Report, Weights, answered, silent,
    words,
};
use crate::suite::GateSpec;
use crate::types::{CandidateSummary, FailureKind, OTHER_MODEL_RATE, Pricing, ReplayReport, Summary};

/// What a report says beside figures and judgements.
#[derive(Debug, Clone)]
pub struct Frontmatter {
    /// Name of the suite.
    pub suite: String,
    /// The question it decides.
    pub decision: Option<String>,
    /// Id of the run.
    pub run: String,
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// Id of the baseline.
    pub baseline: Option<String>,
    /// Samples used.
    pub samples: u64,
    /// Names of the scorers' metrics.
    pub scorers: Vec<String>,
    /// What answers for each candidate.
    pub answerers: Vec<Answerer>,
    /// Of a replay, how it kept its times.
    pub replay: Option<ReplayReport>,
    /// Notes known before the figures were made: they come first.
    pub notes: Vec<Note>,
}

/// What answers for a candidate.
#[derive(Debug, Clone)]
pub struct Answerer {
    /// In words.
    pub provider: String,
    /// What its answers are priced by.
    pub pricing: Pricing,
    /// Its weights, when they are on this machine.
    pub weights: Option<Weights>,
    /// An example of each reason for which tasks of it failed.
    pub examples: BTreeMap<FailureKind, FailureExample>,
}

/// Puts the report together.
pub fn build(front: Frontmatter, summary: &Summary, gates: &[GateSpec], judgements: &[Judgement]) -> Report {
    // The log of a replay is its baseline; nobody was asked for it, and one without answers can still set the times.
    let is_log = |id: &str| front.replay.is_some() && front.baseline.as_deref() == Some(id);
    let is_silent = |candidate: &CandidateSummary| {
        silent::is_silent(&candidate.counts, candidate.answers) && !is_log(&candidate.id)
    };
    let has_gates = !gates.is_empty();
    let verdict_of = |candidate: &CandidateSummary| {
        let own = judgements.iter().filter(|judgement| judgement.candidate == candidate.id);
        silent::worst(own.map(|judgement| judgement.verdict), has_gates, is_silent(candidate))
    };
    let answerers = front.answerers;
    let mut candidates: Vec<CandidateReport> = summary
        .candidates
        .iter()
        .zip(answerers)
        .map(|(candidate, answerer)| CandidateReport::of(candidate, answerer, verdict_of(candidate)))
        .collect();
    if gates.iter().all(|gate| gate.metric != OTHER_MODEL_RATE) {
        // Of answers that name no model there is nothing to say, unless a gate asks.
        for candidate in &mut candidates {
            candidate.metrics.retain(|metric| metric.name != OTHER_MODEL_RATE || metric.value.is_some());
        }
    }
    let gates = judgements.iter().map(|judgement| gate_report(judgement, gates, front.baseline.as_deref())).collect();
    let is_complete = summary.candidates.iter().all(|candidate| candidate.counts.dropped == 0);
    let is_any_silent = summary.candidates.iter().any(is_silent);
    let verdict = silent::worst(judgements.iter().map(|judgement| judgement.verdict), has_gates, is_any_silent);
    let mut notes = front.notes;
    notes.extend(candidates.iter().flat_map(answered::notes));
    notes.extend(notes_on(summary, front.replay.is_some()));
    Report {
        format: FORMAT.to_owned(),
        suite: front.suite,
        decision: front.decision,
        replay: front.replay,
        run: front.run,
        started: front.started,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        is_complete,
        verdict,
        exit_code: silent::exit_code(is_complete, verdict, is_any_silent),
        baseline: front.baseline,
        samples: front.samples,
        scorers: front.scorers,
        candidates,
        comparisons: summary.comparisons.iter().map(ComparisonReport::of).collect(),
        gates,
        notes,
    }
}

fn gate_report(judgement: &Judgement, gates: &[GateSpec], baseline: Option<&str>) -> GateReport {
    let gate = &gates[judgement.gate];
    GateReport {
        gate: gate.clone(),
        text: gate::in_words(gate, baseline),
        candidate: judgement.candidate.clone(),
        verdict: judgement.verdict,
        observed: judgement.observed,
        lower: judgement.lower,
        upper: judgement.upper,
        confidence: judgement.confidence,
        reason: judgement.reason.clone(),
        samples_needed: judgement.samples_needed,
    }
}

/// What the figures themselves call for.
fn notes_on(summary: &Summary, is_replay: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    for candidate in &summary.candidates {
        let counts = candidate.counts;
        if counts.failed > 0 {
            let kinds: Vec<String> =
                candidate.failures.iter().map(|(kind, count)| format!("{count} {}", words::failure(*kind))).collect();
            let (id, tasks) = (&candidate.id, counts.tasks);
            let text = if silent::is_silent(&counts, candidate.answers) {
                format!("`{id}` answered none of its {tasks} tasks ({}): nothing can be said of it", kinds.join(", "))
            } else {
                let failed = counts.failed;
                format!(
                    "`{id}` failed on {failed} of {tasks} tasks ({}); its marks are over the others",
                    kinds.join(", ")
                )
            };
            notes.push(Note { kind: "failures".to_owned(), text, advice: Some(ask_again(candidate, is_replay)) });
        }
        if counts.unscored > 0 {
            notes.push(Note {
                kind: "unscored".to_owned(),
                text: format!(
                    "{} answers of `{}` could not be marked by every scorer; they are in no share",
                    counts.unscored, candidate.id
                ),
                advice: Some("the reasons are in the scores file: usually a missing target".to_owned()),
            });
        }
    }
    notes
}

/// What to do about failed tasks. What never reached the service is asked again by every resumed run.
fn ask_again(candidate: &CandidateSummary, is_replay: bool) -> String {
    let why = "an example of each reason stands under the tasks, all are in records.jsonl";
    let is_unsent = candidate.failures.keys().all(|kind| *kind == FailureKind::Connection);
    match (is_replay, is_unsent) {
        (true, _) => why.to_owned(),
        (false, true) => format!("{why}; `run --resume` asks these again"),
        (false, false) => format!("{why}; `run --resume --retry-failed` asks these again"),
    }
}
