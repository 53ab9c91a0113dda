//! One document, many renderers. [`Report`] is what `report.json` holds; every other form is rendered from it.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Confusion, Counts, Discordant, Estimate, FailureKind, Flip, Method, Unit};

/// The value of `Report::format`.
pub const FORMAT: &str = "evalctl-report/1";

/// A judgement, of a gate, a candidate or a run. Ordered: the worst of several is their maximum.
pub use crate::gate::Verdict;

/// The whole report of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// `evalctl-report/1`. New fields may be added under the same number; a change of meaning gets a new one.
    pub format: String,
    /// Name of the suite.
    pub suite: String,
    /// The question the suite decides.
    pub decision: Option<String>,
    /// Id of the run: the name of its folder.
    pub run: String,
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// Version of evalctl that made the report.
    pub version: String,
    /// Whether every planned task has ended; a partial report has dropped tasks.
    pub is_complete: bool,
    /// The worst verdict of all gates; `None` when the suite has no gates: the run is a measurement.
    pub verdict: Option<Verdict>,
    /// The exit code that goes with it.
    pub exit_code: u8,
    /// Id of the baseline.
    pub baseline: Option<String>,
    /// Samples of the golden set that were used.
    pub samples: u64,
    /// Names of the metrics made by the suite's scorers, in order; the others are built in.
    pub scorers: Vec<String>,
    /// Each candidate's figures, in the order of the suite.
    pub candidates: Vec<CandidateReport>,
    /// Each candidate against the baseline, per metric.
    pub comparisons: Vec<ComparisonReport>,
    /// Each gate on each candidate.
    pub gates: Vec<GateReport>,
    /// What the reader must know beside the figures.
    pub notes: Vec<Note>,
}

/// One candidate's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateReport {
    /// Its id.
    pub id: String,
    /// What answers for it: `openai gpt-5-mini`, `recorded answers.jsonl`.
    pub provider: String,
    /// The worst verdict of its gates; `None` without gates.
    pub verdict: Option<Verdict>,
    /// What became of its tasks.
    pub counts: Counts,
    /// Failed tasks by reason.
    pub failures: Vec<FailureCount>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Dollars of all its answers, an exact decimal; null when no price is known.
    pub spend_usd: Option<String>,
    /// Why `spend_usd` is null.
    pub spend_reason: Option<String>,
    /// Every figure.
    pub metrics: Vec<Metric>,
    /// One table per `label` scorer.
    pub confusions: Vec<Confusion>,
}

/// How many tasks failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureCount {
    /// The reason.
    pub kind: FailureKind,
    /// Tasks.
    pub count: u64,
}

/// A number in a report: money as a decimal string, everything else as a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// Shares, milliseconds, tokens.
    Number(f64),
    /// Dollars.
    Money(String),
}

/// One figure with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// What it is measured in.
    pub unit: Unit,
    /// The figure; null when it cannot be had.
    pub value: Option<Amount>,
    /// Lower end of the interval; null when it cannot be had.
    pub lower: Option<Amount>,
    /// Upper end of the interval; null when it cannot be had.
    pub upper: Option<Amount>,
    /// Confidence of the interval.
    pub confidence: f64,
    /// Observations behind it.
    pub n: u64,
    /// Tasks (samples, with repeats) that could not be observed.
    pub missing: u64,
    /// How the interval was made.
    pub method: Method,
    /// Why something is null.
    pub reason: Option<String>,
}

/// A candidate against the baseline on one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparisonReport {
    /// Id of the candidate.
    pub candidate: String,
    /// Id of the baseline.
    pub baseline: String,
    /// Name of the metric.
    pub metric: String,
    /// What it is measured in.
    pub unit: Unit,
    /// Candidate − baseline.
    pub difference: Option<Amount>,
    /// Lower end of its interval.
    pub lower: Option<Amount>,
    /// Upper end of its interval.
    pub upper: Option<Amount>,
    /// Confidence of the interval.
    pub confidence: f64,
    /// Pairs.
    pub n: u64,
    /// Samples only the baseline has a mark for.
    pub candidate_missing: u64,
    /// Samples only the candidate has a mark for.
    pub baseline_missing: u64,
    /// How the interval was made.
    pub method: Method,
    /// Two-sided p.
    pub p_value: Option<f64>,
    /// Seeded bootstrap interval of a graded difference, [lower, upper].
    pub bootstrap: Option<(f64, f64)>,
    /// Pairs that differ, for yes/no marks.
    pub discordant: Option<Discordant>,
    /// Candidate ÷ baseline with its interval, for latencies, tokens and money.
    pub ratio: Option<Metric>,
    /// Why something is null.
    pub reason: Option<String>,
    /// The first flipped samples, at most [`FLIPS_SHOWN`] each way; all of them are in `flips.csv`.
    pub flips: Vec<Flip>,
}

/// How many flips of each kind a report lists.
pub const FLIPS_SHOWN: usize = 20;

/// One gate on one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    /// The gate as written.
    pub gate: crate::suite::GateSpec,
    /// The gate in words: `label not worse than current by 0.02`.
    pub text: String,
    /// Id of the candidate.
    pub candidate: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The figure that was judged.
    pub observed: Option<f64>,
    /// Lower end of the interval that was judged.
    pub lower: Option<f64>,
    /// Upper end of the interval that was judged.
    pub upper: Option<f64>,
    /// Confidence of that interval (two-sided).
    pub confidence: f64,
    /// Why the verdict is what it is.
    pub reason: String,
    /// How many more samples would probably settle it, when inconclusive.
    pub samples_needed: Option<u64>,
}

/// Something to know beside the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// What it is about, for programs: `gates_changed`, `partial`, `failures`, `resumed`, `healed`, …
    pub kind: String,
    /// What is the case.
    pub text: String,
    /// What to do about it, if anything.
    pub advice: Option<String>,
}

/// A form of the report.
pub trait Renderer {
    /// Ending of its file, without the dot.
    fn extension(&self) -> &'static str;
    /// Writes it.
    ///
    /// # Errors
    /// Those of `out`.
    fn render(&self, report: &Report, out: &mut dyn io::Write) -> io::Result<()>;
}

impl Metric {
    /// The report's form of an estimate.
    pub fn of(estimate: &Estimate) -> Metric {
        let amount = |value: Option<f64>| value.map(|value| Amount::of(value, estimate.unit));
        Metric {
            name: estimate.name.clone(),
            unit: estimate.unit,
            value: amount(estimate.value),
            lower: amount(estimate.lower),
            upper: amount(estimate.upper),
            confidence: estimate.confidence,
            n: estimate.n,
            missing: estimate.missing,
            method: estimate.method,
            reason: estimate.reason.clone(),
        }
    }
}

impl Amount {
    /// A number in its unit; dollars are rounded to twelve decimals.
    pub fn of(value: f64, unit: Unit) -> Amount {
        match unit {
            Unit::Usd => {
                let exact = rust_decimal::Decimal::from_f64_retain(value).unwrap_or_default();
                Amount::Money(exact.round_dp(12).normalize().to_string())
            }
            Unit::Share | Unit::Ms | Unit::Tokens => Amount::Number(value),
        }
    }

    /// The number itself.
    pub fn number(&self) -> f64 {
        match self {
            Amount::Number(number) => *number,
            Amount::Money(text) => text.parse().unwrap_or(f64::NAN),
        }
    }
}
