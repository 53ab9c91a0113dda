//! Records and marks as columns, and the figures made from them. The only module that names polars.
//!
//! A [`RunFrame`] holds one data frame per candidate with one row per task, in the order of the dataset and of the
//! repeats, whatever the order in which tasks ended. A value that was not observed is null.

mod build;
mod clusters;
mod compare;
mod label;
mod metrics;
mod same_model;
mod terms;
mod timing;

pub use build::{Builder, Facts, LabelCell, Layout, MetricColumn};
pub use terms::Terms;
pub use timing::{Seen, Timekeeper};

use polars::prelude::{ChunkedArray, DataFrame, Float64Type, UInt32Type};

use crate::types::{Account, CandidateSummary, Counts, FailureKind, Machines, Summary};

/// What the figures are made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Confidence of the intervals, two-sided.
    pub confidence: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Index of the baseline among the candidates.
    pub baseline: Option<usize>,
    /// Metrics that gates compare with the baseline: the dear ones (quantile ratios) are made for these only.
    pub compared: Vec<String>,
}

/// Resamples of every bootstrap.
pub(crate) const RESAMPLES: u32 = 2000;

/// A run as columns.
pub struct RunFrame {
    layout: Layout,
    candidates: Vec<CandidateFrame>,
}

struct CandidateFrame {
    frame: DataFrame,
    counts: Counts,
    /// Answers that say something.
    answers: u64,
    failures: std::collections::BTreeMap<FailureKind, u64>,
    account: Account,
    spend: Result<rust_decimal::Decimal, String>,
    /// Why costs are not known, when they are not.
    cost_reason: Option<String>,
    /// Whether the cost of every task is fixed beforehand.
    is_fixed_cost: bool,
    /// Of a price by the hour, what the machines come to.
    machines: Option<Machines>,
}

impl RunFrame {
    /// All figures of the run.
    pub fn summarise(&self, settings: &Settings) -> Summary {
        let mut candidates: Vec<CandidateSummary> = self
            .layout
            .candidates
            .iter()
            .zip(&self.candidates)
            .map(|(id, candidate)| CandidateSummary {
                id: id.clone(),
                counts: candidate.counts,
                answers: candidate.answers,
                failures: candidate.failures.clone(),
                account: candidate.account.clone(),
                metrics: metrics::all(&self.layout, candidate, settings),
                confusions: label::confusions(&self.layout, candidate, settings.confidence),
                spend_usd: candidate.spend.as_ref().ok().copied(),
                spend_reason: candidate.spend.as_ref().err().cloned(),
                machines: candidate.machines.clone(),
            })
            .collect();
        metrics::break_even(&mut candidates, settings.baseline);
        let comparisons = match settings.baseline {
            Some(baseline) => compare::all(&self.layout, &self.candidates, baseline, settings),
            None => Vec::new(),
        };
        Summary { candidates, comparisons }
    }
}

impl CandidateFrame {
    /// A column of numbers, one per task.
    fn numbers(&self, name: &str) -> &ChunkedArray<Float64Type> {
        self.frame
            .column(name)
            .and_then(|column| column.f64())
            .expect("the builder made this column, and made it of floats")
    }

    /// A column of codes, one per task.
    fn codes(&self, name: &str) -> &ChunkedArray<UInt32Type> {
        self.frame
            .column(name)
            .and_then(|column| column.u32())
            .expect("the builder made this column, and made it of codes")
    }

    /// What every task can have come to at most in a column without bounds of its own, whatever became of it; `None` where
    /// nothing says.
    fn rows_at_most(&self, name: &str) -> Option<Vec<Option<f64>>> {
        let rows = self.rows(if name == "cost_usd" { "cost_usd at most" } else { name });
        rows.iter().all(Option::is_some).then_some(rows)
    }

    /// Samples of which a task has no value, or one that can have been more.
    fn unsure(&self, name: &str, repeats: usize) -> u64 {
        let rows = self.rows(name);
        let most = if name == "cost_usd" { self.rows("cost_usd at most") } else { rows.clone() };
        let is_unsure = |(rows, most): (&[Option<f64>], &[Option<f64>])| rows != most || rows.contains(&None);
        rows.chunks(repeats).zip(most.chunks(repeats)).filter(|pair| is_unsure(*pair)).count() as u64
    }

    /// Whether the values of a column cannot vary: costs that are fixed beforehand, and are all alike.
    fn is_certain(&self, name: &str) -> bool {
        let mut values = self.numbers(name).iter().flatten();
        let first = values.next();
        name == "cost_usd" && self.is_fixed_cost && values.all(|value| Some(value) == first)
    }

    /// One value per sample, when all of its repeats have one.
    fn per_sample(&self, name: &str, repeats: usize) -> Vec<Option<f64>> {
        per_sample(&self.rows(name), repeats)
    }

    /// The repeats of each sample: one value per task.
    fn rows(&self, name: &str) -> Vec<Option<f64>> {
        self.numbers(name).iter().collect()
    }

    /// The same, with `worst` in the place of whatever was lost. Samples that a metric could not mark, whoever had answered
    /// (`is_unmarkable`), stay as they are.
    fn rows_at_worst(
        &self,
        name: &str,
        repeats: usize,
        worst: f64,
        is_unmarkable: impl Fn(usize) -> bool,
    ) -> Vec<Option<f64>> {
        let mut rows = self.rows(name);
        for (sample, of_sample) in rows.chunks_mut(repeats).enumerate() {
            if !is_unmarkable(sample) {
                for cell in of_sample {
                    cell.get_or_insert(worst);
                }
            }
        }
        rows
    }
}

/// One value per sample: the mean over its repeats, when all of them have one. A repeat that failed must not make its
/// sample look better, so a sample that lacks one counts as missing.
fn per_sample(rows: &[Option<f64>], repeats: usize) -> Vec<Option<f64>> {
    let mean = |of_sample: &[Option<f64>]| {
        let is_whole = of_sample.iter().all(Option::is_some);
        is_whole.then(|| of_sample.iter().flatten().sum::<f64>() / of_sample.len() as f64)
    };
    rows.chunks(repeats).map(mean).collect()
}
