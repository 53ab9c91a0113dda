//! Records and marks as columns, and the figures made from them. The only module that names polars.
//!
//! A [`RunFrame`] holds one data frame per candidate with one row per task, in the order of the dataset and of the
//! repeats, whatever the order in which tasks ended. A value that was not observed is null.

mod build;
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

use crate::types::{Account, CandidateSummary, Counts, FailureKind, Summary};

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
    failures: std::collections::BTreeMap<FailureKind, u64>,
    account: Account,
    spend: Result<rust_decimal::Decimal, String>,
    /// Why costs are not known, when they are not.
    cost_reason: Option<String>,
}

impl RunFrame {
    /// All figures of the run.
    pub fn summarise(&self, settings: &Settings) -> Summary {
        let candidates = self
            .layout
            .candidates
            .iter()
            .zip(&self.candidates)
            .map(|(id, candidate)| CandidateSummary {
                id: id.clone(),
                counts: candidate.counts,
                failures: candidate.failures.clone(),
                account: candidate.account.clone(),
                metrics: metrics::all(&self.layout, candidate, settings),
                confusions: label::confusions(&self.layout, candidate, settings.confidence),
                spend_usd: candidate.spend.as_ref().ok().copied(),
                spend_reason: candidate.spend.as_ref().err().cloned(),
            })
            .collect();
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

    /// One value per sample: the mean over its repeats, when all of them have one.
    fn per_sample(&self, name: &str, repeats: usize) -> Vec<Option<f64>> {
        let cells: Vec<Option<f64>> = self.numbers(name).iter().collect();
        if repeats == 1 {
            return cells;
        }
        let mean = |of_sample: &[Option<f64>]| {
            let (sum, n) = of_sample.iter().flatten().fold((0.0, 0_u32), |(sum, n), cell| (sum + cell, n + 1));
            // A repeat that failed must not make its sample look better: the sample counts as missing.
            (n > 0 && of_sample.iter().all(Option::is_some)).then(|| sum / f64::from(n))
        };
        cells.chunks(repeats).map(mean).collect()
    }

    /// One value per sample, with `worst` in the place of whatever was lost. Samples that a metric could not mark, whoever
    /// had answered (`is_unmarkable`), stay without a value.
    fn per_sample_at_worst(
        &self,
        name: &str,
        repeats: usize,
        worst: f64,
        is_unmarkable: impl Fn(usize) -> bool,
    ) -> Vec<Option<f64>> {
        let cells: Vec<Option<f64>> = self.numbers(name).iter().collect();
        let of_samples = cells.chunks(repeats).enumerate().map(|(sample, of_sample)| {
            let has_gaps = of_sample.iter().any(Option::is_none);
            let sum: f64 = of_sample.iter().map(|cell| cell.unwrap_or(worst)).sum();
            (!has_gaps || !is_unmarkable(sample)).then(|| sum / of_sample.len() as f64)
        });
        of_samples.collect()
    }
}
