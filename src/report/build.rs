//! Figures and judgements to a [`Report`].

use crate::gate::{self, Judgement, Verdict};
use crate::report::{CandidateReport, ComparisonReport, FORMAT, GateReport, Note, Report, Weights};
use crate::report::{answered, words};
use crate::suite::GateSpec;
use crate::types::{OTHER_MODEL_RATE, Pricing, ReplayReport, Summary};

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
}

/// Puts the report together.
pub fn build(front: Frontmatter, summary: &Summary, gates: &[GateSpec], judgements: &[Judgement]) -> Report {
    let verdict_of = |id: &str| gate::worst(judgements.iter().filter(|j| j.candidate == id).map(|j| j.verdict));
    let mut candidates: Vec<CandidateReport> = summary
        .candidates
        .iter()
        .zip(front.answerers)
        .map(|(candidate, answerer)| CandidateReport::of(candidate, answerer, verdict_of(&candidate.id)))
        .collect();
    if gates.iter().all(|gate| gate.metric != OTHER_MODEL_RATE) {
        // Of answers that name no model there is nothing to say, unless a gate asks.
        for candidate in &mut candidates {
            candidate.metrics.retain(|metric| metric.name != OTHER_MODEL_RATE || metric.value.is_some());
        }
    }
    let gates = judgements.iter().map(|judgement| gate_report(judgement, gates, front.baseline.as_deref())).collect();
    let is_complete = summary.candidates.iter().all(|candidate| candidate.counts.dropped == 0);
    let verdict = gate::worst(judgements.iter().map(|judgement| judgement.verdict));
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
        exit_code: exit_code(is_complete, verdict),
        baseline: front.baseline,
        samples: front.samples,
        scorers: front.scorers,
        candidates,
        comparisons: summary.comparisons.iter().map(ComparisonReport::of).collect(),
        gates,
        notes,
    }
}

/// The exit code of a report: a partial one decides nothing.
pub fn exit_code(is_complete: bool, verdict: Option<Verdict>) -> u8 {
    match (is_complete, verdict) {
        (false, _) => 3,
        (true, None | Some(Verdict::Pass)) => 0,
        (true, Some(Verdict::Fail)) => 1,
        (true, Some(Verdict::Inconclusive)) => 4,
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
            notes.push(Note {
                kind: "failures".to_owned(),
                text: format!(
                    "`{}` failed on {} of {} tasks ({}); its marks are over the others",
                    candidate.id,
                    counts.failed,
                    counts.tasks,
                    kinds.join(", ")
                ),
                advice: Some(if is_replay {
                    "the reasons are in records.jsonl".to_owned()
                } else {
                    "the reasons are in records.jsonl; `run --resume --retry-failed` asks these again".to_owned()
                }),
            });
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
