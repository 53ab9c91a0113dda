//! One document, many renderers. [`Report`] is what `report.json` holds; every other form is rendered from it.
//!
//! Nothing is computed here: figures and verdicts come in as they are and go out in words, with their intervals. Text
//! from outside (ids, names, reasons, classes) is made harmless for the form it goes into. The live progress display
//! stands here too, because it is the other thing that people look at. Called by the commands.

mod answered;
mod build;
mod csv;
#[cfg(test)]
mod example;
mod figure;
mod json;
mod markdown;
mod progress;
mod schema;
mod silent;
mod terminal;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::path::Path;
use std::str::FromStr;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::{
    CandidateSummary, Comparison, Confusion, Counts, Discordant, Estimate, FailureKind, Flip, Machines, Method,
    Pricing, ReplayReport, TokenSum, Unit,
};
use crate::util::atomic;

pub use answered::{AnsweredBy, Named};
pub use build::{Answerer, Frontmatter, build};
pub use csv::{Csv, flips_csv};
pub(crate) use figure::count;
pub use json::Json;
pub use markdown::Markdown;
pub use progress::{Progress, ProgressKind, STOPPING, Spend};
pub use schema::report_schema;
pub use silent::exit_code;
pub use terminal::Terminal;

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
    /// The question the suite decides; null when it names none.
    pub decision: Option<String>,
    /// Id of the run: the name of its folder.
    pub run: String,
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// Version of evalctl that made the report.
    pub version: String,
    /// Whether every planned task has ended; a partial report has dropped tasks.
    pub is_complete: bool,
    /// The worst verdict of all gates, and no better than inconclusive when a candidate answered nothing; null when the
    /// suite has no gates: the run is a measurement.
    pub verdict: Option<Verdict>,
    /// The exit code that goes with it. Without gates it is 0, but 4 when a candidate answered nothing.
    pub exit_code: u8,
    /// Id of the baseline; null without one.
    pub baseline: Option<String>,
    /// Samples of the golden set that were used.
    pub samples: u64,
    /// Names of the metrics made by the suite's scorers, in order; the others are built in.
    pub scorers: Vec<String>,
    /// Of a replay, how it kept its times; null for every other run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayReport>,
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
    /// What its weights are, when they are on this machine; null for everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// The worst verdict of its gates, and no better than inconclusive when it answered nothing; null without gates.
    pub verdict: Option<Verdict>,
    /// What became of its tasks.
    pub counts: Counts,
    /// Answers that say something: with a text or a call, and not refused.
    #[serde(default)]
    pub answers: u64,
    /// Failed tasks by reason.
    pub failures: Vec<FailureCount>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Attempts that failed after the service may have begun to bill them.
    #[serde(default)]
    pub maybe_billed: u64,
    /// Dollars that were set aside for those, and for answers that do not tell their cost, and count as spent; an exact
    /// decimal, null where nothing bounds spending.
    #[serde(default)]
    #[schemars(extend("pattern" = r"^-?[0-9]+(\.[0-9]+)?$"))]
    pub held_usd: Option<String>,
    /// Tokens of all its answers by kind, of the kinds that the service tells.
    #[serde(default)]
    pub tokens: Vec<TokenSum>,
    /// Dollars of all its answers, an exact decimal; null when no price is known.
    #[schemars(extend("pattern" = r"^-?[0-9]+(\.[0-9]+)?$"))]
    pub spend_usd: Option<String>,
    /// Why `spend_usd` is null.
    pub spend_reason: Option<String>,
    /// Of a candidate that is paid by the hour, what its machines come to: at full use, and reserved for the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<Machines>,
    /// What its answers are priced by, and who says so; null in reports of versions before price books.
    #[serde(default)]
    pub pricing: Option<Pricing>,
    /// What its answers say of who gave them.
    #[serde(default, skip_serializing_if = "AnsweredBy::is_empty")]
    pub answered_by: AnsweredBy,
    /// Every figure.
    pub metrics: Vec<Metric>,
    /// One table per `label` scorer.
    pub confusions: Vec<Confusion>,
}

/// Weights on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Weights {
    /// The family: `llama`.
    pub architecture: String,
    /// How the files are laid out: `safetensors` or `gguf`.
    pub format: String,
    /// How most of the weights are stored: `f16`, `q8_0`.
    pub quantisation: String,
    /// How many weights there are.
    pub parameters: u64,
    /// Size of all files that decide about answers, tokenizer included.
    pub bytes: u64,
    /// Where they are computed: `cpu`.
    pub device: String,
}

impl Weights {
    /// From what a run's manifest keeps of them; `None` when that has another shape.
    pub fn of_facts(facts: &Value) -> Option<Weights> {
        let text = |name: &str| facts.get(name)?.as_str().map(str::to_owned);
        let sizes = facts.get("files")?.as_array()?.iter().map(|file| file.get("bytes")?.as_u64());
        Some(Weights {
            architecture: text("architecture")?,
            format: text("format")?,
            quantisation: text("quantisation")?,
            parameters: facts.get("parameters")?.as_u64()?,
            bytes: sizes.sum::<Option<u64>>()?,
            device: text("device")?,
        })
    }
}

/// How many tasks failed for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureCount {
    /// The reason.
    pub kind: FailureKind,
    /// Tasks.
    pub count: u64,
    /// One of them, the first in the order of the dataset; null in reports of versions before examples.
    #[serde(default)]
    pub example: Option<FailureExample>,
}

/// A task that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureExample {
    /// Id of its sample.
    pub sample: String,
    /// What the service or the transport said, shortened, without secrets, and fit to print.
    pub message: String,
}

/// A number in a report: money as a decimal string, everything else as a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// Shares, milliseconds, tokens.
    Number(f64),
    /// Dollars.
    Money(#[schemars(extend("pattern" = r"^-?[0-9]+(\.[0-9]+)?$"))] String),
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
    /// Two-sided p of no difference, not corrected for the number of comparisons.
    pub p_value: Option<f64>,
    /// Seeded bootstrap interval of a graded difference, [lower, upper].
    pub bootstrap: Option<(f64, f64)>,
    /// Pairs that differ, for yes/no marks.
    pub discordant: Option<Discordant>,
    /// For yes/no marks of independent samples: the pair, in the order of the dataset, with which a difference was shown
    /// by a test that may be looked at after every pair; null when it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_after: Option<u64>,
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

impl CandidateReport {
    /// The report's form of a candidate's figures.
    pub fn of(summary: &CandidateSummary, mut answerer: Answerer, verdict: Option<Verdict>) -> CandidateReport {
        CandidateReport {
            id: summary.id.clone(),
            provider: answerer.provider,
            weights: answerer.weights,
            verdict,
            counts: summary.counts,
            answers: summary.answers,
            failures: summary
                .failures
                .iter()
                .map(|(&kind, &count)| FailureCount { kind, count, example: answerer.examples.remove(&kind) })
                .collect(),
            retries: summary.account.retries,
            maybe_billed: summary.account.maybe_billed,
            held_usd: summary.account.held_usd.map(|held| held.normalize().to_string()),
            tokens: summary.account.tokens.clone(),
            spend_usd: summary.spend_usd.map(|spend| spend.normalize().to_string()),
            spend_reason: summary.spend_reason.clone(),
            machines: summary.machines.clone(),
            pricing: Some(answerer.pricing),
            answered_by: AnsweredBy::of(&summary.account.echoes),
            metrics: summary.metrics.iter().map(Metric::of).collect(),
            confusions: summary.confusions.clone(),
        }
    }
}

impl ComparisonReport {
    /// The report's form of a comparison: its first [`FLIPS_SHOWN`] flips each way.
    pub fn of(comparison: &Comparison) -> ComparisonReport {
        let amount = |value: Option<f64>| value.and_then(|value| Amount::of(value, comparison.unit));
        let (mut fixed, mut broken) = (0, 0);
        let first = |flip: &&Flip| {
            let seen = if flip.is_fixed { &mut fixed } else { &mut broken };
            *seen += 1;
            *seen <= FLIPS_SHOWN
        };
        ComparisonReport {
            candidate: comparison.candidate.clone(),
            baseline: comparison.baseline.clone(),
            metric: comparison.metric.clone(),
            unit: comparison.unit,
            difference: amount(comparison.difference),
            lower: amount(comparison.lower),
            upper: amount(comparison.upper),
            confidence: comparison.confidence,
            n: comparison.n,
            candidate_missing: comparison.candidate_missing,
            baseline_missing: comparison.baseline_missing,
            method: comparison.method,
            p_value: comparison.p_value.filter(|p| p.is_finite()),
            bootstrap: comparison.bootstrap.filter(|(lower, upper)| lower.is_finite() && upper.is_finite()),
            discordant: comparison.discordant,
            shown_after: comparison.shown_after,
            ratio: comparison.ratio.as_ref().map(Metric::of),
            reason: comparison.reason.clone(),
            flips: comparison.flips.iter().filter(first).cloned().collect(),
        }
    }
}

impl Metric {
    /// The report's form of an estimate. What is no finite number becomes null, with a reason.
    pub fn of(estimate: &Estimate) -> Metric {
        let amount = |value: Option<f64>| value.and_then(|value| Amount::of(value, estimate.unit));
        let (value, lower, upper) = (amount(estimate.value), amount(estimate.lower), amount(estimate.upper));
        let is_lost = [(estimate.value, &value), (estimate.lower, &lower), (estimate.upper, &upper)]
            .into_iter()
            .any(|(before, after)| before.is_some() && after.is_none());
        let lost = || is_lost.then(|| "the figure is no finite number".to_owned());
        Metric {
            name: estimate.name.clone(),
            unit: estimate.unit,
            value,
            lower,
            upper,
            confidence: estimate.confidence,
            n: estimate.n,
            missing: estimate.missing,
            method: estimate.method,
            reason: estimate.reason.clone().or_else(lost),
        }
    }
}

impl Amount {
    /// A number in its unit; dollars are rounded to twelve decimals. `None` when it is not finite, or is more dollars
    /// than a decimal can hold.
    pub fn of(value: f64, unit: Unit) -> Option<Amount> {
        match unit {
            Unit::Usd => {
                let exact = Decimal::from_f64_retain(value)?;
                Some(Amount::Money(exact.round_dp(12).normalize().to_string()))
            }
            Unit::Share | Unit::Ms | Unit::Tokens => value.is_finite().then_some(Amount::Number(value)),
        }
    }

    /// The number itself; `None` when a report from elsewhere holds something that is no finite number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Amount::Number(number) => Some(*number),
            Amount::Money(text) => text.parse().ok(),
        }
        .filter(|number: &f64| number.is_finite())
    }
}

/// What `--format` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text for a terminal.
    Terminal,
    /// `report.md`.
    Md,
    /// `report.json`.
    Json,
    /// `report.csv`.
    Csv,
}

/// A format that there is none of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format `{}`: expected one of terminal, md, json, csv", crate::util::text::shorten(.0, 40))]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Format, UnknownFormat> {
        match text {
            "terminal" => Ok(Format::Terminal),
            "md" => Ok(Format::Md),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

impl Format {
    /// Its renderer. Width (in columns) and colour matter to the terminal only.
    pub fn renderer(self, width: u16, is_coloured: bool) -> Box<dyn Renderer> {
        match self {
            Format::Terminal => Box::new(Terminal { width, is_coloured }),
            Format::Md => Box::new(Markdown),
            Format::Json => Box::new(Json),
            Format::Csv => Box::new(Csv),
        }
    }
}

/// Writes `report.json`, `report.md` and `report.csv` into the folder of a run, each as a whole or not at all.
///
/// # Errors
/// Those of the file system. Files written before the error stay.
pub fn write_all(dir: &Path, report: &Report) -> io::Result<()> {
    let forms: [&dyn Renderer; 3] = [&Json, &Markdown, &Csv];
    for form in forms {
        let path = dir.join("report").with_extension(form.extension());
        atomic::write(&path, |out| form.render(report, out))?;
    }
    Ok(())
}

/// Columns of the terminal that standard output is; `None` when it is none.
pub fn terminal_width() -> Option<u16> {
    console::Term::stdout().size_checked().map(|(_rows, columns)| columns)
}
