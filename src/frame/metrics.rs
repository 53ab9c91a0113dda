//! A candidate's own figures.

use polars::prelude::{ChunkedArray, Float64Type};
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};

use crate::frame::build::mark_column;
use crate::frame::clusters::{cells, lumps, row_cells};
use crate::frame::{CandidateFrame, Layout, Settings, label, per_sample};
use crate::price;
use crate::stats;
use crate::types::{AtWorst, CandidateSummary, Cell, Estimate, Method, OTHER_MODEL_RATE, QUANTILES, Unit};

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

/// Every figure of a candidate, in the order of the report.
pub(super) fn all(layout: &Layout, candidate: &CandidateFrame, settings: &Settings) -> Vec<Estimate> {
    let own = Own { layout, candidate, settings };
    let mut estimates = Vec::new();
    for (index, metric) in layout.metrics.iter().enumerate() {
        let is_unmarkable = |sample| layout.is_unmarkable(index, sample);
        let column = mark_column(index);
        let share = own.share(&metric.name, &column, metric.is_binary, is_unmarkable, "nothing was scored");
        let macro_f1 = metric.is_label.then(|| label::macro_f1(layout, candidate, index, &share, settings));
        estimates.push(share);
        estimates.extend(macro_f1);
    }
    for (name, reason) in
        [("failure_rate", "no task has ended"), ("truncation_rate", "the service did not say why its answers ended")]
    {
        estimates.push(own.share(name, name, true, |_| false, reason));
    }
    estimates.push(other_model_rate(candidate, settings.confidence));
    for (column, reason) in TIMES {
        estimates.push(own.mean(&format!("{column}.mean"), column, Unit::Ms, reason));
        estimates.extend(quantiles(layout, column, candidate.numbers(column), settings.confidence, reason));
    }
    // Only replays have times that requests were planned for.
    let response = candidate.numbers("response_ms");
    if response.null_count() < response.len() {
        let reason = "nothing was answered";
        estimates.push(own.mean("response_ms.mean", "response_ms", Unit::Ms, reason));
        estimates.extend(quantiles(layout, "response_ms", response, settings.confidence, reason));
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
    let quality = estimates.first().filter(|_| layout.metrics.first().is_some_and(|metric| metric.is_binary));
    let per_correct = quality.map(|share| own.cost_per_correct(reason, &cost, share));
    estimates.extend([cost, per_thousand]);
    if candidate.machines.is_some() {
        estimates.push(own.mean(
            "cost_full_use_usd",
            "cost_full_use_usd",
            Unit::Usd,
            "no times were measured or recorded",
        ));
    }
    estimates.extend(per_correct);
    estimates
}

/// Adds to what is known of machines what needs the figures: their cost at full use, and the rate at which one costs as much
/// as the baseline does by the request.
pub(super) fn break_even(candidates: &mut [CandidateSummary], baseline: Option<usize>) {
    let figure = |candidate: &CandidateSummary, name: &str| {
        candidate.metrics.iter().find(|estimate| estimate.name == name).and_then(|estimate| estimate.value)
    };
    let by_request =
        baseline.and_then(|baseline| candidates.get(baseline)).filter(|baseline| baseline.machines.is_none());
    let by_request = by_request.and_then(|baseline| Some((baseline.id.clone(), figure(baseline, "cost_usd")?)));
    for candidate in candidates {
        let full_use = figure(candidate, "cost_full_use_usd");
        let Some(machines) = &mut candidate.machines else { continue };
        machines.full_use_usd = full_use;
        if let Some((id, per_request)) = &by_request {
            let per_hour = machines.per_hour_usd.parse::<Decimal>().ok();
            let rate = per_hour
                .zip(Decimal::from_f64(*per_request))
                .and_then(|(per_hour, per_request)| price::break_even_per_s(per_hour, per_request)?.to_f64());
            machines.break_even_per_s = rate;
            machines.break_even_with = rate.map(|_| id.clone());
        }
    }
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
        let repeats = self.layout.repeats;
        let of = |rows: &[Option<f64>]| self.marks(is_binary, &per_sample(rows, repeats));
        let rows = self.candidate.rows(column);
        let seen = of(&rows);
        let at = |worst| of(&self.candidate.rows_at_worst(column, repeats, worst, &is_unmarkable));
        let missing = self.layout.samples.len() as u64 - seen.n;
        let (low, high) = if missing > 0 { (at(0.0), at(1.0)) } else { (seen.clone(), seen.clone()) };
        Estimate {
            name: name.to_owned(),
            unit: Unit::Share,
            value: seen.value,
            lower: seen.interval.map(|interval| interval.lower),
            upper: seen.interval.map(|interval| interval.upper),
            confidence: self.settings.confidence,
            n: seen.n,
            missing,
            at_worst: AtWorst { lost: low.n - seen.n, lower: low.careful_lower, upper: high.careful_upper },
            method: seen.method,
            reason: if seen.value.is_none() { Some(if_empty.to_owned()) } else { seen.reason },
        }
    }

    /// Marks of samples with their interval: Wilson's for yes/no marks, on the effective number of answers where samples
    /// are clustered or repeated; for graded ones that of a bounded mean.
    fn marks(&self, is_binary: bool, values: &[Option<f64>]) -> Marks {
        let confidence = self.settings.confidence;
        let repeats = self.layout.repeats as u64;
        let seen = || values.iter().enumerate().filter_map(|(sample, value)| Some((sample, (*value)?)));
        let n = seen().count() as u64;
        if n == 0 {
            return Marks::default();
        }
        let mut marks = Marks { n, value: mean_of(values), ..Marks::default() };
        if is_binary {
            let wrong = |value: f64| repeats - (value * repeats as f64).round() as u64;
            let cells = cells(self.layout, seen().map(|(sample, value)| (sample, 0, wrong(value))));
            let turned: Vec<Cell> = cells.iter().map(|cell| Cell { worse: cell.size - cell.worse, ..*cell }).collect();
            let is_single = cells.iter().all(|cell| cell.size == 1);
            marks.method = if is_single { Method::Wilson } else { Method::ClusteredWilson };
            marks.interval = stats::clustered_wilson(&cells, confidence);
            marks.careful_lower = stats::careful_wilson_lower(&cells, confidence);
            marks.careful_upper = stats::careful_wilson_lower(&turned, confidence).map(|lower| 1.0 - lower);
        } else {
            marks.method = Method::Bounded;
            marks.interval = stats::bounded_mean(&lumps(self.layout, seen()), 0.0, 1.0, confidence);
            marks.careful_lower = marks.interval.map(|interval| interval.lower);
            marks.careful_upper = marks.interval.map(|interval| interval.upper);
        }
        if marks.interval.is_none() {
            let unit = if self.layout.clusters.is_some() { "clusters" } else { "samples" };
            marks.reason = Some(format!("no interval: fewer than two {unit} were observed"));
        }
        marks
    }

    /// A mean of something without bounds of its own. What is lost counts for as much as it can have been, where that is
    /// known; else nothing can be said of it.
    fn mean(&self, name: &str, column: &str, unit: Unit, if_empty: &str) -> Estimate {
        let repeats = self.layout.repeats;
        let is_certain = self.candidate.is_certain(column);
        let of = |rows: &[Option<f64>]| self.of_samples(name, unit, &per_sample(rows, repeats), is_certain, if_empty);
        let mut estimate = of(&self.candidate.rows(column));
        estimate.at_worst.lost = self.candidate.unsure(column, repeats);
        if estimate.at_worst.lost == 0 {
            (estimate.at_worst.lower, estimate.at_worst.upper) = (estimate.lower, estimate.upper);
        } else if let Some(most) = self.candidate.rows_at_most(column) {
            estimate.at_worst.upper = of(&most).upper;
        }
        estimate
    }

    /// Dollars per right answer: all costs ÷ all marks of the suite's first scorer, over the samples that have both. What
    /// failed, or could not be marked for another reason than a missing target, is lost. A pass rests on the most that an
    /// answer costs ÷ the least share of them that is right, which no worse answer can make better.
    fn cost_per_correct(&self, if_unknown: &str, of_cost: &Estimate, share: &Estimate) -> Estimate {
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
        estimate.at_worst.lost = estimate.at_worst.lost.max(of_cost.at_worst.lost);
        if of_cost.upper.is_none() {
            estimate.reason.clone_from(&of_cost.reason);
            return estimate;
        }
        let most = of_cost.at_worst.upper.zip(share.at_worst.lower);
        // With no share of right answers ruled out, the price of one has no bound.
        estimate.at_worst.upper = most.map(|(cost, least)| if least > 0.0 { cost / least } else { f64::INFINITY });
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

    /// A mean of something without bounds over samples, with Student's t, on cluster-robust errors where samples are
    /// clustered. A few values that are all alike have no interval, unless they cannot vary (`is_certain`).
    fn of_samples(&self, name: &str, unit: Unit, values: &[Option<f64>], is_certain: bool, if_empty: &str) -> Estimate {
        let confidence = self.settings.confidence;
        let seen: Vec<f64> = values.iter().flatten().copied().collect();
        let n = seen.len() as u64;
        let missing = values.len() as u64 - n;
        let mut estimate = Estimate {
            name: name.to_owned(),
            unit,
            value: mean_of(values),
            lower: None,
            upper: None,
            confidence,
            n,
            missing,
            at_worst: AtWorst { lost: missing, lower: None, upper: None },
            method: if self.layout.clusters.is_some() { Method::ClusteredT } else { Method::T },
            reason: None,
        };
        if seen.is_empty() {
            estimate.reason = Some(if_empty.to_owned());
            return estimate;
        }
        let (mean, units, count) = match &self.layout.clusters {
            Some(clusters) => {
                let of_seen = clusters.iter().zip(values).filter(|(_, value)| value.is_some());
                let of_seen: Vec<u32> = of_seen.map(|(cluster, _)| *cluster).collect();
                (stats::clustered_mean(&seen, &of_seen, confidence), "clusters", distinct(&of_seen))
            }
            None => (stats::mean(&seen, confidence), "samples", n),
        };
        match mean {
            Some(mean) if is_too_alike(mean.se, mean.mean, count) && !is_certain => estimate.reason = Some(alike(n)),
            Some(mean) => {
                estimate.value = Some(mean.mean);
                (estimate.lower, estimate.upper) = (Some(mean.interval.lower), Some(mean.interval.upper));
            }
            None => estimate.reason = Some(format!("no interval: fewer than two {units} were observed")),
        }
        estimate
    }
}

/// What the marks of samples come to.
#[derive(Debug, Clone)]
struct Marks {
    n: u64,
    value: Option<f64>,
    interval: Option<stats::Interval>,
    /// The ends that a pass may rest on.
    careful_lower: Option<f64>,
    careful_upper: Option<f64>,
    method: Method,
    reason: Option<String>,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            n: 0,
            value: None,
            interval: None,
            careful_lower: None,
            careful_upper: None,
            method: Method::Wilson,
            reason: None,
        }
    }
}

/// The mean of what is there.
fn mean_of(values: &[Option<f64>]) -> Option<f64> {
    let (sum, n) = values.iter().flatten().fold((0.0, 0_u64), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// So many values that are all alike are an interval of no width; of fewer, one in ten could still be of any size, unseen
/// by chance (0.9³⁰ = 0.04).
const ENOUGH_ALIKE: u64 = 30;

/// Whether `units` values without bounds (or clusters of them) do not vary, and are too few to say that they never do. Their
/// spread is held against their size, since sums of equal values differ in the last digit.
pub(super) fn is_too_alike(spread: f64, size: f64, units: u64) -> bool {
    spread <= 1e-9 * size.abs() && units < ENOUGH_ALIKE
}

/// Why there is no interval then.
pub(super) fn alike(n: u64) -> String {
    format!("no interval: all {n} values are alike, which does not say how they vary")
}

/// How many different clusters there are.
pub(super) fn distinct(clusters: &[u32]) -> u64 {
    clusters.iter().collect::<std::collections::HashSet<_>>().len() as u64
}

/// Quantiles of the answers' times, by order statistics. Where samples are clustered or repeated, the answers count as so many
/// independent ones as the share of them above the quantile is worth.
fn quantiles(
    layout: &Layout,
    column: &str,
    cells: &ChunkedArray<Float64Type>,
    confidence: f64,
    if_empty: &str,
) -> Vec<Estimate> {
    let missing = cells.null_count() as u64;
    let rows: Vec<Option<f64>> = cells.iter().collect();
    let ascending = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let sorted = ascending(rows.iter().flatten().copied().collect());
    // What is missing stands behind everything seen.
    let filled: Vec<Option<f64>> = rows.iter().map(|cell| cell.or(Some(f64::INFINITY))).collect();
    let at_worst = ascending(filled.iter().flatten().copied().collect());
    let interval = |rows: &[Option<f64>], sorted: &[f64], p: f64| {
        if layout.clusters.is_none() && layout.repeats == 1 {
            return stats::quantile_interval(sorted, p, confidence);
        }
        let value = stats::quantile(sorted, p).unwrap_or(f64::INFINITY);
        let above = rows.iter().map(|cell| cell.map(|cell| cell > value)).collect::<Vec<Option<bool>>>();
        let effective = stats::effective_share(&row_cells(layout, &above), confidence).unwrap_or(0.0);
        stats::effective_quantile_interval(sorted, p, confidence, effective)
    };
    let estimates = QUANTILES.iter().map(|(name, p)| {
        let seen = interval(&rows, &sorted, *p);
        let value = stats::quantile(&sorted, *p);
        let reason = if value.is_none() {
            Some(if_empty.to_owned())
        } else if seen.upper.is_none() {
            let needed = stats::min_n_for_upper_bound(*p, 0.5 + confidence / 2.0).unwrap_or(2);
            Some(format!("no upper bound: it needs at least {needed} answers"))
        } else if seen.lower.is_none() {
            Some("no lower bound: too few answers".to_owned())
        } else {
            None
        };
        let is_clustered = layout.clusters.is_some() || layout.repeats > 1;
        let upper = match (is_clustered, missing) {
            (true, _) => careful_upper(layout, &filled, &at_worst, *p, confidence),
            (false, 0) => seen.upper,
            (false, _) => interval(&filled, &at_worst, *p).upper,
        };
        Estimate {
            name: format!("{column}.{name}"),
            unit: Unit::Ms,
            value,
            lower: seen.lower,
            upper: seen.upper,
            confidence,
            n: sorted.len() as u64,
            missing,
            // A lost answer was slow rather than fast.
            at_worst: AtWorst { lost: missing, lower: seen.lower, upper: upper.filter(|upper| upper.is_finite()) },
            method: Method::OrderStatistics,
            reason,
        }
    });
    estimates.collect()
}

/// The end that a pass of a quantile may rest on where samples are clustered or repeated: the least time below which the
/// careful end of the share of answers reaches the quantile's level. A slower answer never lowers it, as no worse answer
/// lifts that share.
fn careful_upper(layout: &Layout, rows: &[Option<f64>], sorted: &[f64], p: f64, confidence: f64) -> Option<f64> {
    let is_reached = |time: f64| {
        let above: Vec<Option<bool>> = rows.iter().map(|cell| cell.map(|cell| cell > time)).collect();
        stats::careful_wilson_lower(&row_cells(layout, &above), confidence).is_some_and(|lower| lower >= p)
    };
    let index = sorted.partition_point(|time| !is_reached(*time));
    sorted.get(index).copied()
}
