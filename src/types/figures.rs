//! Figures: what a run comes to. Every number carries its interval, the number of observations behind it and the
//! method, so that no reader has to guess; one that cannot be had carries the reason instead.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Echoes, FailureKind, Volume};

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share or a mark, 0 to 1.
    Share,
    /// Milliseconds.
    Ms,
    /// United States dollars.
    Usd,
    /// Tokens.
    Tokens,
}

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Wilson score interval of a proportion.
    Wilson,
    /// Student's t on the mean of independent observations.
    T,
    /// Wilson score interval on the effective number of answers, for clusters and repeats.
    ClusteredWilson,
    /// Mean of marks between bounds, by random weights and one mark more at the bound.
    Bounded,
    /// Student's t with cluster-robust standard error and clusters − 1 degrees of freedom.
    ClusteredT,
    /// Order statistics of the sample (distribution-free).
    OrderStatistics,
    /// Percentile bootstrap over samples (or clusters), seeded.
    Bootstrap,
    /// Tango's score interval of a paired difference of proportions.
    Tango,
    /// Tango's interval on effective counts, for clusters and repeats.
    ClusteredTango,
    /// Student's t on paired differences.
    PairedT,
    /// Student's t on paired differences, cluster-robust.
    ClusteredPairedT,
    /// Student's t on paired logarithms of ratios.
    PairedLogRatio,
    /// Linearised ratio of two paired means, cluster-robust where samples are clustered.
    RatioOfMeans,
    /// Exact count or sum: no interval applies.
    Exact,
}

/// Quantiles that are reported of every time, by the end of the metric's name.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// Splits the name of a quantile, such as `latency_ms.p95`, into what it is of and its level; `None` for every other metric.
pub fn quantile_of(metric: &str) -> Option<(&str, f64)> {
    let (column, name) = metric.rsplit_once('.')?;
    let (_, p) = QUANTILES.iter().find(|(known, _)| *known == name)?;
    Some((column, *p))
}

/// One figure of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// Name of the metric: a scorer's name, or `latency_ms.p95`, `cost_usd`, `failure_rate` and the like.
    pub name: String,
    /// What it is measured in.
    pub unit: Unit,
    /// The figure; `None` when it cannot be had, and then `reason` says why.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub lower: Option<f64>,
    /// Upper end of the interval.
    pub upper: Option<f64>,
    /// Confidence of the interval, 0.95 for instance.
    pub confidence: f64,
    /// Observations behind the figure: samples (repeats averaged), or answers for latencies and tokens.
    pub n: u64,
    /// Tasks of the candidate that could not be observed: failed, unscored or never sent.
    pub missing: u64,
    /// What the interval would be if all that was lost had been as bad as it can be.
    pub at_worst: AtWorst,
    /// How the interval was made.
    pub method: Method,
    /// Why `value`, `lower` or `upper` is missing.
    pub reason: Option<String>,
}

/// What was lost of a figure, and the ends of its interval that a pass rests on: those it would have if all that was lost had
/// been as bad as it can be (marks wrong, shares of mishaps 1, times longer than anything seen), and, where samples are
/// clustered, if part of what is wrong had been right (see `stats::careful_wilson_lower`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AtWorst {
    /// Samples (of quantiles: answers) that would count and were not observed, because their tasks failed or were never
    /// sent. What no candidate could have been marked on, for want of a target, is not lost.
    pub lost: u64,
    /// The lower end if all that is lost had been as low as it can be; `None` when nothing can be said.
    pub lower: Option<f64>,
    /// The upper end if all that is lost had been as high as it can be; `None` when nothing can be said.
    pub upper: Option<f64>,
}

/// What became of a candidate's tasks: `scored + unscored + failed + dropped = tasks`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Tasks planned.
    pub tasks: u64,
    /// Answered, and marked by every scorer.
    pub scored: u64,
    /// Answered, but at least one scorer could not judge.
    pub unscored: u64,
    /// Ended without an answer.
    pub failed: u64,
    /// Never ended, because the run was stopped.
    pub dropped: u64,
}

/// Pairs of samples that the candidate and the baseline marked differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discordant {
    /// Right for the candidate only.
    pub candidate_only: u64,
    /// Right for the baseline only.
    pub baseline_only: u64,
}

/// Alike clusters of yes/no outcomes: how many there are, and what one of them holds. Independent outcomes are clusters
/// of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Outcomes of one cluster: answers, or pairs of them.
    pub size: u64,
    /// Those that only the candidate has right; 0 where a candidate stands alone.
    pub better: u64,
    /// Those that only the baseline has right; where a candidate stands alone, those that are wrong.
    pub worse: u64,
    /// Clusters like this one.
    pub count: u64,
}

/// Alike clusters of graded marks, or of differences of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lump {
    /// Sum of the marks of one cluster.
    pub sum: f64,
    /// Marks in it.
    pub size: f64,
    /// Clusters like this one.
    pub count: u64,
}

/// The sufficient statistics of a paired comparison, from which an interval of any confidence follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Paired {
    /// Yes/no marks.
    Binary(Vec<Cell>),
    /// Differences of graded marks, each from −1 to 1.
    Graded(Vec<Lump>),
    /// Means of differences without bounds, with their standard error.
    Mean {
        /// Mean of candidate − baseline.
        difference: f64,
        /// Its standard error, cluster-robust when the samples are clustered.
        se: f64,
        /// Degrees of freedom.
        df: f64,
        /// Variance of the differences, for sizing (clustered: inflated by the design effect).
        variance: f64,
    },
}

/// A candidate against the baseline on one metric, paired by sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Id of the candidate.
    pub candidate: String,
    /// Id of the baseline.
    pub baseline: String,
    /// Name of the metric.
    pub metric: String,
    /// What it is measured in.
    pub unit: Unit,
    /// Candidate − baseline, over the pairs.
    pub difference: Option<f64>,
    /// Lower end of the difference's interval.
    pub lower: Option<f64>,
    /// Upper end of the difference's interval.
    pub upper: Option<f64>,
    /// Candidate ÷ baseline, for latencies, tokens and money.
    pub ratio: Option<Estimate>,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Pairs: samples for which both have a mark.
    pub n: u64,
    /// Samples the baseline has a mark for and the candidate has none.
    pub candidate_missing: u64,
    /// Samples the candidate has a mark for and the baseline has none.
    pub baseline_missing: u64,
    /// Samples that would count as pairs and do not, because a task of theirs failed or was never sent.
    pub lost: u64,
    /// `paired` if all that is lost had gone against the candidate (the same when nothing is lost); `None` when nothing
    /// can be said.
    pub paired_at_worst: Option<Paired>,
    /// How the interval of the difference was made.
    pub method: Method,
    /// Two-sided p: exact McNemar (mid-p from 25 discordant pairs on) for yes/no marks, paired t for graded ones.
    pub p_value: Option<f64>,
    /// Seeded bootstrap interval of a graded difference, beside the t interval.
    pub bootstrap: Option<(f64, f64)>,
    /// Counts of the pairs that differ, for yes/no marks.
    pub discordant: Option<Discordant>,
    /// For yes/no marks of independent samples: the pair, in the order of the dataset, with which a difference was shown
    /// by a test that may be looked at after every pair (α is 1 − confidence); `None` when it never was.
    pub shown_after: Option<u64>,
    /// What a gate needs for intervals of its own confidence; `None` when there are too few pairs.
    pub paired: Option<Paired>,
    /// Why there is no difference or no interval.
    pub reason: Option<String>,
    /// The samples that flipped, in the order of the dataset.
    pub flips: Vec<Flip>,
}

/// A sample on which candidate and baseline got different yes/no marks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Flip {
    /// Id of the sample.
    pub sample: String,
    /// Whether it is the candidate that is right (a fix) or the baseline (a break).
    pub is_fixed: bool,
}

/// Precision, recall and F1 of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassFigures {
    /// The class, as the targets write it.
    pub class: String,
    /// Answers that are right among those that say this class; `None` when none does.
    pub precision: Option<f64>,
    /// Its 95 % Wilson interval.
    pub precision_interval: Option<(f64, f64)>,
    /// Samples of this class that were answered so; `None` when there are none.
    pub recall: Option<f64>,
    /// Its 95 % Wilson interval.
    pub recall_interval: Option<(f64, f64)>,
    /// 2 tp / (2 tp + fp + fn); `None` when all three are 0.
    pub f1: Option<f64>,
    /// Samples of this class.
    pub support: u64,
    /// Answers that say this class.
    pub predicted: u64,
}

/// One cell of a confusion matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfusionCell {
    /// The right class.
    pub expected: String,
    /// The class that was answered; null stands for no label in the answer.
    pub predicted: Option<String>,
    /// Answers, 1 or more.
    pub count: u64,
}

/// How a classifier's answers fall on the classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confusion {
    /// Name of the `label` scorer.
    pub metric: String,
    /// The matrix, without its empty cells (it has as many rows as there are classes, and may have thousands): sorted by
    /// right class, then by answer, with no label last.
    pub cells: Vec<ConfusionCell>,
    /// Figures of each class of the targets, sorted by class.
    pub classes: Vec<ClassFigures>,
}

/// A kind of tokens, as services count and price them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Prompt tokens, those of the cache included.
    Input,
    /// The part of the prompt that was read from the service's cache.
    CachedInput,
    /// The part of the prompt that was written to the service's cache.
    CacheWrite,
    /// The part of that which is kept for an hour.
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    /// The part of the prompt that is sound.
    AudioInput,
    /// Generated tokens, reasoning included.
    Output,
    /// The part of the generated ones that is reasoning.
    Reasoning,
    /// The part of the generated ones that is sound.
    AudioOutput,
}

/// Tokens of one kind, summed over the answers of a candidate that tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenSum {
    /// The kind.
    pub kind: TokenKind,
    /// Their sum.
    pub tokens: u64,
    /// Answers that tell how many there were.
    pub answers: u64,
}

/// What a candidate's records come to beside its figures: what was, or may have been, paid for, and who answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Attempts beyond the first, over all tasks.
    pub retries: u64,
    /// Attempts that failed after the service may have begun to bill them.
    pub maybe_billed: u64,
    /// Dollars that were set aside for such attempts and for answers that do not tell their cost; `None` where nothing
    /// bounds what is spent.
    pub held_usd: Option<Decimal>,
    /// Tokens by kind, of the kinds that any answer tells.
    pub tokens: Vec<TokenSum>,
    /// What the answers say of who gave them.
    pub echoes: Echoes,
}

/// What machines that are paid by the hour come to, for one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machines {
    /// Dollars per hour of one machine.
    pub per_hour_usd: String,
    /// Answers a second that one machine gave while it was busy; null when no times are known.
    pub measured_per_s: Option<f64>,
    /// Dollars per answer if the machine were as busy all day: its busy time, shared among the answers.
    pub full_use_usd: Option<f64>,
    /// The volume that the reserved cost is for; null when none is stated or measured.
    pub volume: Option<Volume>,
    /// Machines that are reserved for that volume.
    pub replicas: Option<u64>,
    /// Machines that the volume's peak needs at the measured rate.
    pub needed: Option<u64>,
    /// Dollars per answer with these machines reserved: machines × hours ÷ answers.
    pub reserved_usd: Option<f64>,
    /// Requests a second at which one machine costs as much as the baseline does by the request; null without a baseline
    /// that is paid by the request.
    pub break_even_per_s: Option<f64>,
    /// The baseline that this is against.
    pub break_even_with: Option<String>,
    /// Why there is no reserved cost.
    pub reason: Option<String>,
}

/// All figures of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateSummary {
    /// Id of the candidate.
    pub id: String,
    /// What became of its tasks.
    pub counts: Counts,
    /// Answers that say something: with a text or a call, and not refused. Of a candidate without any, nothing passes.
    pub answers: u64,
    /// Failed tasks by reason.
    pub failures: BTreeMap<FailureKind, u64>,
    /// What was, or may have been, paid for.
    pub account: Account,
    /// Every figure, in the order of the report.
    pub metrics: Vec<Estimate>,
    /// One table per `label` scorer.
    pub confusions: Vec<Confusion>,
    /// Exact dollars of all answers; `None` when no price is known, and `spend_reason` says so.
    pub spend_usd: Option<Decimal>,
    /// Why `spend_usd` is missing.
    pub spend_reason: Option<String>,
    /// Of a candidate that is paid by the hour, what its machines come to.
    pub machines: Option<Machines>,
}

/// All figures of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// In the order of the suite.
    pub candidates: Vec<CandidateSummary>,
    /// Every candidate but the baseline against it, per metric; empty without a baseline.
    pub comparisons: Vec<Comparison>,
}

impl Summary {
    /// A candidate's figure by name.
    pub fn estimate(&self, candidate: &str, metric: &str) -> Option<&Estimate> {
        let summary = self.candidates.iter().find(|summary| summary.id == candidate)?;
        summary.metrics.iter().find(|estimate| estimate.name == metric)
    }

    /// A candidate's comparison with the baseline by metric.
    pub fn comparison(&self, candidate: &str, metric: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| comparison.candidate == candidate && comparison.metric == metric)
    }
}
