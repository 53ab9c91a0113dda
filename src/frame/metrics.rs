//! A candidate's own figures.

use polars::prelude::{ChunkSort, ChunkedArray, Float64Type};

use crate::frame::build::mark_column;
use crate::frame::{CandidateFrame, Layout, Settings, label};
use crate::stats;
use crate::types::{AtWorst, Estimate, Method, OTHER_MODEL_RATE, Unit};

/// Built-in columns whose quantiles are reported, with what is missing when they are empty.
const TIMES: [(&str, &str); 3] = [
    ("latency_ms", "no times were measured or recorded"),
    ("ttft_ms", "no answer was streamed, so the time to first token is not known"),
    ("tpot_ms", "it needs streamed answers with at least two reported output tokens"),
];

/// Built-in columns whose mean is reported.
const MEANS: [(&str, Unit, &str); 2] = [
    ("input_tokens", Unit::Tokens, "the service reported no input tokens"),
    ("output_tokens", Unit::Tokens, "the service reported no output tokens"),
];

/// Quantiles reported of every time.
pub(super) const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// Splits `latency_ms.p95` into its column and quantile.
pub(super) fn quantile_of(metric: &str) -> Option<(&str, f64)> {
    let (column, name) = metric.rsplit_once('.')?;
    let (_, p) = QUANTILES.iter().find(|(known, _)| *known == name)?;
    Some((column, *p))
}

/// Every figure of a candidate, in the order of the report.
pub(super) fn all(layout: &Layout, candidate: &CandidateFrame, settings: &Settings) -> Vec<Estimate> {
    let own = Own { layout, candidate, settings };
    let mut estimates = Vec::new();
    for (index, metric) in layout.metrics.iter().enumerate() {
        let is_binary = metric.is_binary && layout.repeats == 1;
        let is_unmarkable = |sample| layout.is_unmarkable(index, sample);
        estimates.push(own.share(&metric.name, &mark_column(index), is_binary, is_unmarkable, "nothing was scored"));
        if metric.is_label {
            estimates.push(label::macro_f1(layout, candidate, index, settings));
        }
    }
    let is_binary = layout.repeats == 1;
    for (name, reason) in
        [("failure_rate", "no task has ended"), ("truncation_rate", "the service did not say why its answers ended")]
    {
        estimates.push(own.share(name, name, is_binary, |_| false, reason));
    }
    estimates.push(other_model_rate(candidate, settings.confidence));
    for (column, reason) in TIMES {
        estimates.push(own.mean(&format!("{column}.mean"), column, Unit::Ms, reason));
        estimates.extend(quantiles(column, candidate.numbers(column), settings.confidence, reason));
    }
    // Only replays have times that requests were planned for.
    let response = candidate.numbers("response_ms");
    if response.null_count() < response.len() {
        let reason = "nothing was answered";
        estimates.push(own.mean("response_ms.mean", "response_ms", Unit::Ms, reason));
        estimates.extend(quantiles("response_ms", response, settings.confidence, reason));
    }
    for (column, unit, reason) in MEANS {
        // Where counts were reported and are not believed, that is why there are none.
        let reason = candidate.account.echoes.doubt.as_deref().unwrap_or(reason);
        estimates.push(own.mean(column, column, unit, reason));
    }
    let reason = candidate.cost_reason.as_deref().unwrap_or("nothing was answered");
    let mut cost = own.mean("cost_usd", "cost_usd", Unit::Usd, reason);
    if let (Some(reason), true) = (&candidate.cost_reason, cost.value.is_some()) {
        // A mean over those answers whose cost happens to be known would be a mean of something else.
        cost = Estimate { value: None, lower: None, upper: None, reason: Some(reason.clone()), ..cost };
    }
    let thousand = |figure: Option<f64>| figure.map(|figure| figure * 1000.0);
    let per_thousand = Estimate {
        name: "cost_per_1k_requests_usd".to_owned(),
        value: thousand(cost.value),
        lower: thousand(cost.lower),
        upper: thousand(cost.upper),
        at_worst: AtWorst {
            lower: thousand(cost.at_worst.lower),
            upper: thousand(cost.at_worst.upper),
            ..cost.at_worst
        },
        ..cost.clone()
    };
    estimates.extend([cost, per_thousand]);
    if layout.metrics.first().is_some_and(|metric| metric.is_binary) {
        estimates.push(own.cost_per_correct(reason));
    }
    estimates
}

/// The share of answers that name another model than the one asked for. It is a count, not a sample of something: it is
/// its own interval. Answers that name no model could be anybody's; without any answer nobody is known to have answered.
fn other_model_rate(candidate: &CandidateFrame, confidence: f64) -> Estimate {
    let cells = candidate.numbers("other_model_rate");
    let named: Vec<f64> = cells.iter().flatten().collect();
    let (n, others) = (named.len() as u64, named.iter().sum::<f64>());
    let answered = candidate.counts.scored + candidate.counts.unscored;
    let lost = answered.saturating_sub(n);
    let value = (n > 0).then(|| others / n as f64);
    let at_worst = |others: f64| (answered > 0).then(|| others / answered as f64);
    let reason = if candidate.account.echoes.is_asked_by_name {
        "no answer names the model that gave it"
    } else {
        "the candidate asks for no model by a name of the service's, so none can be another"
    };
    Estimate {
        name: OTHER_MODEL_RATE.to_owned(),
        unit: Unit::Share,
        value,
        lower: value,
        upper: value,
        confidence,
        n,
        missing: cells.len() as u64 - n,
        at_worst: AtWorst { lost, lower: at_worst(others), upper: at_worst(others + lost as f64) },
        method: Method::Exact,
        reason: value.is_none().then(|| reason.to_owned()),
    }
}

struct Own<'a> {
    layout: &'a Layout,
    candidate: &'a CandidateFrame,
    settings: &'a Settings,
}

impl Own<'_> {
    /// A share of samples, or a mean of marks from 0 to 1. What is lost is taken for 0 and for 1, and the same interval
    /// made of it: clusters and repeats then count as they do in the figure itself.
    fn share(
        &self,
        name: &str,
        column: &str,
        is_binary: bool,
        is_unmarkable: impl Fn(usize) -> bool,
        if_empty: &str,
    ) -> Estimate {
        let values = self.candidate.per_sample(column, self.layout.repeats);
        let mut estimate = self.of_samples(name, Unit::Share, is_binary, &values, if_empty);
        let at = |worst| {
            let values = self.candidate.per_sample_at_worst(column, self.layout.repeats, worst, &is_unmarkable);
            self.of_samples(name, Unit::Share, is_binary, &values, if_empty)
        };
        let (lower, upper) =
            if estimate.missing > 0 { (at(0.0), at(1.0)) } else { (estimate.clone(), estimate.clone()) };
        estimate.at_worst = AtWorst { lost: lower.n - estimate.n, lower: lower.lower, upper: upper.upper };
        estimate
    }

    /// A mean of something without bounds: of what is lost nothing can be said.
    fn mean(&self, name: &str, column: &str, unit: Unit, if_empty: &str) -> Estimate {
        let values = self.candidate.per_sample(column, self.layout.repeats);
        self.of_samples(name, unit, false, &values, if_empty)
    }

    /// Dollars per right answer: all costs ÷ all marks of the suite's first scorer, over the samples that have both. What
    /// failed, or could not be marked for another reason than a missing target, is lost: it could have cost anything.
    fn cost_per_correct(&self, if_unknown: &str) -> Estimate {
        let confidence = self.settings.confidence;
        let repeats = self.layout.repeats;
        let costs = self.candidate.per_sample("cost_usd", repeats);
        let marks = self.candidate.per_sample(&mark_column(0), repeats);
        let pairs = costs.iter().zip(&marks).map(|(cost, mark)| cost.zip(*mark));
        let pairs: Vec<Option<(f64, f64)>> = pairs.collect();
        let (cost, right): (Vec<f64>, Vec<f64>) = pairs.iter().flatten().copied().unzip();
        let n = cost.len() as u64;
        let is_lost = |sample: &usize| pairs[*sample].is_none() && !self.layout.is_unmarkable(0, *sample);
        let mut estimate = Estimate {
            name: "cost_per_correct_usd".to_owned(),
            unit: Unit::Usd,
            value: None,
            lower: None,
            upper: None,
            confidence,
            n,
            missing: pairs.len() as u64 - n,
            at_worst: AtWorst { lost: (0..pairs.len()).filter(is_lost).count() as u64, lower: None, upper: None },
            method: Method::RatioOfMeans,
            reason: None,
        };
        let total: f64 = right.iter().sum();
        if self.candidate.cost_reason.is_some() || n == 0 {
            let is_unmarked = self.candidate.cost_reason.is_none() && costs.iter().any(Option::is_some);
            estimate.reason = Some(if is_unmarked { "nothing was scored" } else { if_unknown }.to_owned());
            return estimate;
        }
        if total == 0.0 {
            estimate.reason = Some("no answer was right".to_owned());
            return estimate;
        }
        estimate.value = Some(cost.iter().sum::<f64>() / total);
        let clusters = self.layout.clusters.as_ref().map(|clusters| {
            let of_pairs = clusters.iter().zip(&pairs).filter(|(_, pair)| pair.is_some());
            of_pairs.map(|(cluster, _)| *cluster).collect::<Vec<u32>>()
        });
        let ratio = match &clusters {
            Some(clusters) => stats::clustered_ratio_of_means(&cost, &right, clusters, confidence),
            None => stats::ratio_of_means(&cost, &right, confidence),
        };
        match ratio {
            Some(ratio) => {
                (estimate.value, estimate.upper) = (Some(ratio.ratio), Some(ratio.interval.upper));
                estimate.lower = Some(ratio.interval.lower.max(0.0));
            }
            None => {
                let unit = if clusters.is_some() { "clusters" } else { "samples" };
                estimate.reason = Some(format!("no interval: fewer than two {unit} were observed"));
            }
        }
        estimate
    }

    /// A share or a mean over samples. Yes/no marks of independent samples get Wilson's interval, everything else Student's
    /// t, on cluster-robust errors where samples are clustered.
    fn of_samples(&self, name: &str, unit: Unit, is_binary: bool, values: &[Option<f64>], if_empty: &str) -> Estimate {
        let confidence = self.settings.confidence;
        let seen: Vec<f64> = values.iter().flatten().copied().collect();
        let n = seen.len() as u64;
        let missing = values.len() as u64 - n;
        let mut estimate = Estimate {
            name: name.to_owned(),
            unit,
            value: None,
            lower: None,
            upper: None,
            confidence,
            n,
            missing,
            at_worst: AtWorst { lost: missing, lower: None, upper: None },
            method: if is_binary { Method::Wilson } else { Method::T },
            reason: None,
        };
        if seen.is_empty() {
            estimate.reason = Some(if_empty.to_owned());
            return estimate;
        }
        if let Some(clusters) = &self.layout.clusters {
            estimate.method = Method::ClusteredT;
            let of_seen: Vec<u32> =
                clusters.iter().zip(values).filter(|(_, value)| value.is_some()).map(|(cluster, _)| *cluster).collect();
            match stats::clustered_mean(&seen, &of_seen, confidence) {
                Some(mean) => fill(&mut estimate, &mean, distinct(&of_seen)),
                None => {
                    estimate.value = Some(seen.iter().sum::<f64>() / n as f64);
                    estimate.reason = Some("no interval: fewer than two clusters were observed".to_owned());
                }
            }
        } else if is_binary {
            let successes = seen.iter().filter(|value| **value > 0.5).count() as u64;
            estimate.value = Some(successes as f64 / n as f64);
            if let Some(interval) = stats::wilson(successes, n, confidence) {
                (estimate.lower, estimate.upper) = (Some(interval.lower), Some(interval.upper));
            }
        } else {
            match stats::mean(&seen, confidence) {
                Some(mean) => fill(&mut estimate, &mean, n),
                None => {
                    estimate.value = Some(seen[0]);
                    estimate.reason = Some("no interval: only one sample was observed".to_owned());
                }
            }
        }
        if unit == Unit::Share {
            estimate.lower = estimate.lower.map(|lower| lower.max(0.0));
            estimate.upper = estimate.upper.map(|upper| upper.min(1.0));
        }
        estimate
    }
}

/// The mean and its interval. Marks that are all 0 or all 1 do not vary, which Student's t takes for certainty; then it is
/// Wilson's interval with `units` (samples or clusters) as its n, which is the careful side.
fn fill(estimate: &mut Estimate, mean: &stats::MeanEstimate, units: u64) {
    estimate.value = Some(mean.mean);
    let mut interval = mean.interval;
    let is_all_alike = mean.se == 0.0 && (mean.mean == 0.0 || mean.mean == 1.0);
    if estimate.unit == Unit::Share && is_all_alike {
        let successes = if mean.mean == 1.0 { units } else { 0 };
        if let Some(wilson) = stats::wilson(successes, units, estimate.confidence) {
            (interval, estimate.method) = (wilson, Method::Wilson);
        }
    }
    (estimate.lower, estimate.upper) = (Some(interval.lower), Some(interval.upper));
}

/// How many different clusters there are.
pub(super) fn distinct(clusters: &[u32]) -> u64 {
    clusters.iter().collect::<std::collections::HashSet<_>>().len() as u64
}

fn quantiles(column: &str, cells: &ChunkedArray<Float64Type>, confidence: f64, if_empty: &str) -> Vec<Estimate> {
    let missing = cells.null_count() as u64;
    let sorted: Vec<f64> = cells.drop_nulls().sort(false).iter().flatten().collect();
    // What is missing stands behind everything seen.
    let mut at_worst = sorted.clone();
    at_worst.resize(cells.len(), f64::INFINITY);
    let estimates = QUANTILES.iter().map(|(name, p)| {
        let interval = stats::quantile_interval(&sorted, *p, confidence);
        let value = stats::quantile(&sorted, *p);
        let reason = if value.is_none() {
            Some(if_empty.to_owned())
        } else if interval.upper.is_none() {
            let needed = stats::min_n_for_upper_bound(*p, 0.5 + confidence / 2.0).unwrap_or(2);
            Some(format!("no upper bound: it needs at least {needed} answers"))
        } else if interval.lower.is_none() {
            Some("no lower bound: too few answers".to_owned())
        } else {
            None
        };
        Estimate {
            name: format!("{column}.{name}"),
            unit: Unit::Ms,
            value,
            lower: interval.lower,
            upper: interval.upper,
            confidence,
            n: sorted.len() as u64,
            missing,
            // A lost answer was slow rather than fast.
            at_worst: AtWorst {
                lost: missing,
                lower: interval.lower,
                upper: stats::quantile_interval(&at_worst, *p, confidence).upper.filter(|upper| upper.is_finite()),
            },
            method: Method::OrderStatistics,
            reason,
        }
    });
    estimates.collect()
}
