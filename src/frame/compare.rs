//! Candidates against the baseline, paired by sample.

use crate::frame::build::mark_column;
use crate::frame::clusters::{cells, lumps};
use crate::frame::label::{self, Answers};
use crate::frame::metrics::{alike, distinct, is_too_alike};
use crate::frame::{CandidateFrame, Layout, RESAMPLES, Settings, per_sample};
use crate::stats::{self, FlipMonitor};
use crate::types::{AtWorst, Comparison, Discordant, Estimate, Flip, Method, Paired, Unit, quantile_of};

/// Built-in columns compared in every run, by the mean over samples.
const MEANS: [(&str, &str, Unit); 6] = [
    ("latency_ms.mean", "latency_ms", Unit::Ms),
    ("ttft_ms.mean", "ttft_ms", Unit::Ms),
    ("tpot_ms.mean", "tpot_ms", Unit::Ms),
    ("input_tokens", "input_tokens", Unit::Tokens),
    ("output_tokens", "output_tokens", Unit::Tokens),
    ("cost_usd", "cost_usd", Unit::Usd),
];

/// Every candidate but the baseline, on every metric.
pub(super) fn all(
    layout: &Layout,
    candidates: &[CandidateFrame],
    baseline: usize,
    settings: &Settings,
) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        if index != baseline {
            let pair = Pair { layout, settings, candidate, baseline: &candidates[baseline], ids: (index, baseline) };
            pair.all(&mut comparisons);
        }
    }
    comparisons
}

struct Pair<'a> {
    layout: &'a Layout,
    settings: &'a Settings,
    candidate: &'a CandidateFrame,
    baseline: &'a CandidateFrame,
    ids: (usize, usize),
}

/// The samples that both have a value for.
struct Joined {
    samples: Vec<u32>,
    candidate: Vec<f64>,
    baseline: Vec<f64>,
    candidate_missing: u64,
    baseline_missing: u64,
    /// Samples without a pair that would be one, had nothing failed.
    lost: u64,
}

impl Joined {
    fn of(candidate: Vec<Option<f64>>, baseline: Vec<Option<f64>>, is_unmarkable: impl Fn(usize) -> bool) -> Joined {
        let mut joined = Joined {
            samples: Vec::new(),
            candidate: Vec::new(),
            baseline: Vec::new(),
            candidate_missing: 0,
            baseline_missing: 0,
            lost: 0,
        };
        for (sample, pair) in candidate.into_iter().zip(baseline).enumerate() {
            match pair {
                (Some(candidate), Some(baseline)) => {
                    joined.samples.push(u32::try_from(sample).expect("the layout counts samples in 32 bits"));
                    joined.candidate.push(candidate);
                    joined.baseline.push(baseline);
                    continue;
                }
                (None, Some(_)) => joined.candidate_missing += 1,
                (Some(_), None) => joined.baseline_missing += 1,
                (None, None) => {}
            }
            joined.lost += u64::from(!is_unmarkable(sample));
        }
        joined
    }

    /// Where each sample of the layout stands among the joined ones.
    fn places(&self, layout: &Layout) -> Vec<Option<usize>> {
        let mut places = vec![None; layout.samples.len()];
        for (index, sample) in self.samples.iter().enumerate() {
            places[*sample as usize] = Some(index);
        }
        places
    }

    /// The bootstrap interval of the mean difference, drawn in an order that does not hang on that of the rows.
    fn bootstrap(&self, layout: &Layout, settings: &Settings) -> Option<(f64, f64)> {
        let places = self.places(layout);
        let in_order = || layout.by_id.iter().filter_map(|sample| Some((*sample, places[*sample as usize]?)));
        let differences: Vec<f64> = in_order().map(|(_, place)| self.candidate[place] - self.baseline[place]).collect();
        let clusters = layout.clusters.as_ref().map(|clusters| {
            let mut codes = std::collections::HashMap::new();
            let code = |sample: u32| {
                let next = u32::try_from(codes.len()).expect("no more clusters than samples");
                *codes.entry(clusters[sample as usize]).or_insert(next)
            };
            in_order().map(|(sample, _)| sample).map(code).collect::<Vec<u32>>()
        });
        let Settings { confidence, seed, .. } = *settings;
        stats::bootstrap_mean(&differences, clusters.as_deref(), confidence, RESAMPLES, seed)
            .map(|interval| (interval.lower, interval.upper))
    }

    /// Candidate − baseline, per sample.
    fn differences(&self) -> Vec<f64> {
        self.candidate.iter().zip(&self.baseline).map(|(candidate, baseline)| candidate - baseline).collect()
    }
}

impl Pair<'_> {
    fn all(&self, out: &mut Vec<Comparison>) {
        for (index, metric) in self.layout.metrics.iter().enumerate() {
            let is_unmarkable = |sample| self.layout.is_unmarkable(index, sample);
            out.push(self.share(&metric.name, &mark_column(index), metric.is_binary, (0.0, 1.0), is_unmarkable));
            if metric.is_label {
                out.push(self.macro_f1(index));
            }
        }
        for column in ["failure_rate", "truncation_rate"] {
            let mut comparison = self.share(column, column, true, (1.0, 0.0), |_| false);
            // A flip here is a failure, not a wrong answer; the report lists wrong answers.
            comparison.flips.clear();
            out.push(comparison);
        }
        for (metric, column, unit) in MEANS {
            out.push(self.means(metric, column, unit));
        }
        for metric in &self.settings.compared {
            if let Some((column, p)) = quantile_of(metric) {
                out.push(self.quantiles(metric, column, p));
            }
        }
    }

    fn join(&self, column: &str) -> Joined {
        self.join_marks(column, |_| false)
    }

    fn join_marks(&self, column: &str, is_unmarkable: impl Fn(usize) -> bool) -> Joined {
        let candidate = self.candidate.per_sample(column, self.layout.repeats);
        let baseline = self.baseline.per_sample(column, self.layout.repeats);
        Joined::of(candidate, baseline, is_unmarkable)
    }

    fn blank(&self, metric: &str, unit: Unit, joined: &Joined, method: Method) -> Comparison {
        Comparison {
            candidate: self.layout.candidates[self.ids.0].clone(),
            baseline: self.layout.candidates[self.ids.1].clone(),
            metric: metric.to_owned(),
            unit,
            difference: None,
            lower: None,
            upper: None,
            ratio: None,
            confidence: self.settings.confidence,
            n: joined.samples.len() as u64,
            candidate_missing: joined.candidate_missing,
            baseline_missing: joined.baseline_missing,
            lost: joined.lost,
            paired_at_worst: None,
            method,
            p_value: None,
            bootstrap: None,
            discordant: None,
            shown_after: None,
            paired: None,
            reason: joined.samples.is_empty().then(|| "no sample has a value for both".to_owned()),
            flips: Vec::new(),
        }
    }

    /// Clusters of the joined samples.
    fn clusters(&self, joined: &Joined) -> Option<Vec<u32>> {
        let clusters = self.layout.clusters.as_ref()?;
        Some(joined.samples.iter().map(|sample| clusters[*sample as usize]).collect())
    }

    /// Marks, and what they would be if all that is lost had gone against the candidate: `worst` for it and for the
    /// baseline.
    fn share(
        &self,
        metric: &str,
        column: &str,
        is_binary: bool,
        worst: (f64, f64),
        is_unmarkable: impl Fn(usize) -> bool,
    ) -> Comparison {
        let rows = (self.candidate.rows(column), self.baseline.rows(column));
        let mut comparison = self.marks(metric, &rows, is_binary, &is_unmarkable);
        comparison.paired_at_worst.clone_from(&comparison.paired);
        if comparison.lost > 0 {
            let at =
                |frame: &CandidateFrame, worst| frame.rows_at_worst(column, self.layout.repeats, worst, &is_unmarkable);
            let rows = (at(self.candidate, worst.0), at(self.baseline, worst.1));
            comparison.paired_at_worst = self.marks(metric, &rows, is_binary, &is_unmarkable).paired;
        }
        comparison
    }

    /// Marks of all tasks of the two: Tango and McNemar for yes/no marks, a bounded mean and the bootstrap beside it for
    /// graded ones.
    fn marks(
        &self,
        metric: &str,
        rows: &(Vec<Option<f64>>, Vec<Option<f64>>),
        is_binary: bool,
        is_unmarkable: impl Fn(usize) -> bool,
    ) -> Comparison {
        let repeats = self.layout.repeats;
        let joined = Joined::of(per_sample(&rows.0, repeats), per_sample(&rows.1, repeats), is_unmarkable);
        let mut comparison = self.blank(metric, Unit::Share, &joined, Method::Tango);
        if is_binary && repeats == 1 {
            self.count_flips(&mut comparison, &joined);
        }
        if joined.samples.is_empty() {
            return comparison;
        }
        let differences = joined.differences();
        comparison.difference = Some(differences.iter().sum::<f64>() / differences.len() as f64);
        if is_binary {
            self.fill_binary(&mut comparison, &joined, rows);
        } else {
            self.fill_graded(&mut comparison, &joined, &differences);
        }
        if comparison.lower.is_none() {
            let unit = if self.layout.clusters.is_some() { "clusters" } else { "samples" };
            comparison.reason = Some(format!("no interval: fewer than two {unit} have a value for both"));
        }
        comparison
    }

    /// Which samples flipped, of yes/no marks without repeats.
    fn count_flips(&self, comparison: &mut Comparison, joined: &Joined) {
        let mut discordant = Discordant::default();
        let mut monitor = FlipMonitor::new(1.0 - self.settings.confidence);
        for (index, sample) in joined.samples.iter().enumerate() {
            let (candidate, baseline) = (joined.candidate[index] > 0.5, joined.baseline[index] > 0.5);
            monitor.push(candidate, baseline);
            if candidate != baseline {
                let count = if candidate { &mut discordant.candidate_only } else { &mut discordant.baseline_only };
                *count += 1;
                let sample = self.layout.samples[*sample as usize].to_string();
                comparison.flips.push(Flip { sample, is_fixed: candidate });
            }
        }
        comparison.discordant = Some(discordant);
        // Turns of one conversation are not independent; conversations of one turn are.
        let clusters = self.clusters(joined);
        let is_independent = clusters.as_ref().is_none_or(|clusters| distinct(clusters) == clusters.len() as u64);
        comparison.shown_after = monitor.shown_after().filter(|_| is_independent);
    }

    /// Yes/no marks: Tango's interval and McNemar's p, both on effective counts where samples are clustered or repeated.
    /// The repeats of a sample are paired one by one.
    fn fill_binary(&self, comparison: &mut Comparison, joined: &Joined, rows: &(Vec<Option<f64>>, Vec<Option<f64>>)) {
        let repeats = self.layout.repeats;
        let counts = joined.samples.iter().map(|sample| {
            let sample = *sample as usize;
            let range = sample * repeats..(sample + 1) * repeats;
            let pairs = rows.0[range.clone()].iter().zip(&rows.1[range]);
            let differs = |(one, other): (&Option<f64>, &Option<f64>)| {
                let is_right = |mark: &Option<f64>| mark.is_some_and(|mark| mark > 0.5);
                i32::from(is_right(one)) - i32::from(is_right(other))
            };
            pairs.map(differs).fold((sample, 0, 0), |(sample, better, worse), sign| {
                (sample, better + u64::from(sign > 0), worse + u64::from(sign < 0))
            })
        });
        let cells = cells(self.layout, counts);
        let confidence = self.settings.confidence;
        let is_single = cells.iter().all(|cell| cell.size == 1);
        comparison.method = if is_single { Method::Tango } else { Method::ClusteredTango };
        if let Some(interval) = stats::clustered_tango(&cells, confidence) {
            (comparison.lower, comparison.upper) = (Some(interval.lower), Some(interval.upper));
            comparison.p_value = stats::clustered_mcnemar(&cells, confidence);
            comparison.paired = Some(Paired::Binary(cells));
        }
    }

    /// Graded marks: their differences lie between −1 and 1.
    fn fill_graded(&self, comparison: &mut Comparison, joined: &Joined, differences: &[f64]) {
        let confidence = self.settings.confidence;
        comparison.method = Method::Bounded;
        let samples = joined.samples.iter().map(|sample| *sample as usize);
        let lumps = lumps(self.layout, samples.zip(differences.iter().copied()));
        if let Some(interval) = stats::bounded_mean(&lumps, -1.0, 1.0, confidence) {
            (comparison.lower, comparison.upper) = (Some(interval.lower), Some(interval.upper));
            comparison.p_value = stats::bounded_p(&lumps);
            comparison.paired = Some(Paired::Graded(lumps));
        }
        comparison.bootstrap = joined.bootstrap(self.layout, self.settings);
    }

    /// Mean difference of what has no bounds, with Student's t; none of a few that are all alike, unless they cannot vary
    /// (`is_certain`).
    fn fill_mean(&self, comparison: &mut Comparison, joined: &Joined, clusters: Option<&[u32]>, is_certain: bool) {
        let confidence = self.settings.confidence;
        let differences = &joined.differences();
        let (mean, unit) = match clusters {
            Some(clusters) => (stats::clustered_mean(differences, clusters, confidence), "clusters"),
            None => (stats::mean(differences, confidence), "samples"),
        };
        let n = differences.len() as u64;
        let size = joined.candidate.iter().chain(&joined.baseline).fold(0.0, |size: f64, value| size.max(value.abs()));
        let count = clusters.map_or(n, distinct);
        comparison.difference = Some(differences.iter().sum::<f64>() / n as f64);
        let Some(mean) = mean else {
            comparison.reason = Some(format!("no interval: fewer than two {unit} have a value for both"));
            return;
        };
        comparison.difference = Some(mean.mean);
        if is_too_alike(mean.se, size, count) && !is_certain {
            comparison.reason = Some(alike(n));
            return;
        }
        (comparison.lower, comparison.upper) = (Some(mean.interval.lower), Some(mean.interval.upper));
        comparison.p_value = mean.p_value();
        let (difference, se, df, variance) = (mean.mean, mean.se, mean.df, mean.variance());
        comparison.paired = Some(Paired::Mean { difference, se, df, variance });
        comparison.bootstrap = joined.bootstrap(self.layout, self.settings);
    }

    fn macro_f1(&self, metric: usize) -> Comparison {
        let name = format!("{}.macro_f1", self.layout.metrics[metric].name);
        let joined = self.join_marks(&mark_column(metric), |sample| self.layout.is_unmarkable(metric, sample));
        let mut comparison = self.blank(&name, Unit::Share, &joined, Method::Bootstrap);
        let candidate = Answers::of(self.layout, self.candidate, metric);
        let baseline = Answers::of(self.layout, self.baseline, metric);
        let has = |sample: usize| candidate.has(sample) && baseline.has(sample);
        let units = label::units(self.layout, has);
        let difference = |samples: &[u32]| {
            let samples = || samples.iter().map(|sample| *sample as usize);
            Some(candidate.macro_f1(samples())? - baseline.macro_f1(samples())?)
        };
        self.fill_bootstrap(&mut comparison, &joined.samples, units, difference);
        let all = || joined.samples.iter().map(|sample| *sample as usize);
        let column = mark_column(metric);
        let rows = (self.candidate.rows(&column), self.baseline.rows(&column));
        let accuracy = self.marks(&name, &rows, true, |_| false);
        let of = |comparison: &Comparison| {
            Some(label::Spread { value: comparison.difference?, lower: comparison.lower?, upper: comparison.upper? })
        };
        if let (Some(own), Some(accuracy)) = (of(&comparison), of(&accuracy)) {
            let (below, above) = label::reach_of_classes(&baseline, all(), |samples| {
                let right = |answers: &Answers, sample: usize| answers.right(sample);
                let counts = samples.iter().map(|sample| {
                    let (new, old) = (right(&candidate, *sample), right(&baseline, *sample));
                    (*sample, new.saturating_sub(old), old.saturating_sub(new))
                });
                let cells = cells(self.layout, counts);
                let interval = stats::clustered_tango(&cells, self.settings.confidence)?;
                let lower = stats::careful_tango_lower(&cells, self.settings.confidence)?;
                let (better, worse, n) = cells.iter().fold((0, 0, 0), |(better, worse, n), cell| {
                    (better + cell.better * cell.count, worse + cell.worse * cell.count, n + cell.size * cell.count)
                });
                let difference = (better as f64 - worse as f64) / n as f64;
                Some((difference - lower, interval.upper - difference))
            });
            let wide = own.at_least_as_wide_as(&accuracy);
            let by_class = label::Spread { value: own.value, lower: own.value - below, upper: own.value + above };
            let wide = wide.at_least_as_wide_as(&by_class);
            (comparison.lower, comparison.upper) = (Some(wide.lower.max(-1.0)), Some(wide.upper.min(1.0)));
        }
        comparison
    }

    /// The statistic of all samples as the difference, and its interval by drawing units.
    fn fill_bootstrap(
        &self,
        comparison: &mut Comparison,
        all: &[u32],
        units: Vec<Vec<u32>>,
        statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
    ) {
        comparison.difference = statistic(all);
        let Settings { confidence, seed, .. } = *self.settings;
        let interval = stats::bootstrap_statistic(units.len(), confidence, RESAMPLES, seed, |drawn| {
            let samples: Vec<u32> = drawn.iter().flat_map(|unit| units[*unit as usize].iter().copied()).collect();
            statistic(&samples)
        });
        match interval {
            Some(interval) => (comparison.lower, comparison.upper) = (Some(interval.lower), Some(interval.upper)),
            None if comparison.reason.is_none() => {
                comparison.reason = Some("no interval: too few samples have a value for both".to_owned());
            }
            None => {}
        }
    }

    /// Latencies, tokens and money: the difference of the means, and their ratio. What is lost counts for as much as it can
    /// have been, where that is known, and for nothing at the baseline.
    fn means(&self, metric: &str, column: &str, unit: Unit) -> Comparison {
        let (repeats, no) = (self.layout.repeats, |_| false);
        let joined = self.join(column);
        let clusters = self.clusters(&joined);
        let method = if clusters.is_some() { Method::ClusteredPairedT } else { Method::PairedT };
        let mut comparison = self.blank(metric, unit, &joined, method);
        let unknown = [self.candidate, self.baseline].map(|frame| frame.cost_reason.as_ref()).into_iter().flatten();
        if let (Some(reason), "cost_usd") = (unknown.into_iter().next(), column) {
            comparison.reason = Some(reason.clone());
            return comparison;
        }
        if joined.samples.is_empty() {
            return comparison;
        }
        let at_worst = || {
            let candidate = per_sample(&self.candidate.rows_at_most(column)?, repeats);
            let baseline = per_sample(&self.baseline.rows_at_worst(column, repeats, 0.0, no), repeats);
            Some(Joined::of(candidate, baseline, no))
        };
        let lost = joined.lost.max(self.candidate.unsure(column, repeats));
        comparison.lost = lost;
        let is_certain = self.candidate.is_certain(column) && self.baseline.is_certain(column);
        self.fill_mean(&mut comparison, &joined, clusters.as_deref(), is_certain);
        let mut ratio = self.ratio(metric, &joined, is_certain);
        ratio.at_worst.lost = lost;
        if lost == 0 {
            comparison.paired_at_worst.clone_from(&comparison.paired);
            (ratio.at_worst.lower, ratio.at_worst.upper) = (ratio.lower, ratio.upper);
        } else if let Some(worst) = at_worst() {
            let clusters = self.clusters(&worst);
            let mut filled = self.blank(metric, unit, &worst, method);
            self.fill_mean(&mut filled, &worst, clusters.as_deref(), is_certain);
            comparison.paired_at_worst = filled.paired;
            ratio.at_worst.upper = self.ratio(metric, &worst, is_certain).upper;
        }
        comparison.ratio = Some(ratio);
        comparison
    }

    fn ratio(&self, metric: &str, joined: &Joined, is_certain: bool) -> Estimate {
        let Settings { confidence, seed, .. } = *self.settings;
        let n = joined.samples.len() as u64;
        let count = self.clusters(joined).map_or(n, |clusters| distinct(&clusters));
        let mut ratio = Estimate {
            name: format!("{metric}.ratio"),
            unit: Unit::Share,
            value: None,
            lower: None,
            upper: None,
            confidence,
            n,
            missing: joined.candidate_missing + joined.baseline_missing,
            at_worst: AtWorst { lost: joined.lost, lower: None, upper: None },
            method: Method::RatioOfMeans,
            reason: None,
        };
        let sums = |samples: &mut dyn Iterator<Item = usize>| {
            let (candidate, baseline) = samples.fold((0.0, 0.0), |(candidate, baseline), sample| {
                (candidate + joined.candidate[sample], baseline + joined.baseline[sample])
            });
            (baseline > 0.0).then(|| candidate / baseline)
        };
        ratio.value = sums(&mut (0..joined.samples.len()));
        let interval = if self.layout.clusters.is_some() {
            ratio.method = Method::Bootstrap;
            let place = joined.places(self.layout);
            let units = label::units(self.layout, |sample| place[sample].is_some());
            stats::bootstrap_statistic(units.len(), confidence, RESAMPLES, seed, |drawn| {
                let samples = drawn.iter().flat_map(|unit| units[*unit as usize].iter());
                sums(&mut samples.filter_map(|sample| place[*sample as usize]))
            })
        } else {
            stats::ratio_of_means(&joined.candidate, &joined.baseline, confidence).map(|estimate| estimate.interval)
        };
        match (ratio.value, interval) {
            (None, _) => ratio.reason = Some("the baseline's mean is 0".to_owned()),
            (Some(value), Some(interval))
                if is_too_alike(interval.upper - interval.lower, value, count) && !is_certain =>
            {
                ratio.reason = Some(alike(n));
            }
            (Some(_), Some(interval)) => (ratio.lower, ratio.upper) = (Some(interval.lower), Some(interval.upper)),
            (Some(_), None) => ratio.reason = Some("no interval: too few pairs".to_owned()),
        }
        ratio
    }

    /// Difference and ratio of a quantile, by the bootstrap over samples that both have.
    fn quantiles(&self, metric: &str, column: &str, p: f64) -> Comparison {
        let joined = self.join(column);
        let mut comparison = self.blank(metric, Unit::Ms, &joined, Method::Bootstrap);
        let places = joined.places(self.layout);
        let both = |samples: &[u32]| {
            let of = |values: &[f64]| {
                let mut drawn: Vec<f64> =
                    samples.iter().filter_map(|sample| Some(values[places[*sample as usize]?])).collect();
                drawn.sort_unstable_by(f64::total_cmp);
                stats::quantile(&drawn, p)
            };
            Some((of(&joined.candidate)?, of(&joined.baseline)?))
        };
        let units = || label::units(self.layout, |sample| places[sample].is_some());
        let Some((candidate, baseline)) = both(&joined.samples) else { return comparison };
        // The largest of a few is no quantile, however often they are drawn.
        let least = stats::min_n_for_upper_bound(p, 0.5 + self.settings.confidence / 2.0).unwrap_or(2);
        let is_few = units().len() < usize::try_from(least).unwrap_or(usize::MAX);
        let few = || format!("no interval: it needs at least {least} samples (or clusters) that both have answered");
        self.fill_bootstrap(&mut comparison, &joined.samples, units(), |samples| both(samples).map(|(c, b)| c - b));
        unless_alike(&mut comparison, candidate.max(baseline));
        let mut ratio = self.blank(metric, Unit::Share, &joined, Method::Bootstrap);
        if baseline > 0.0 {
            self.fill_bootstrap(&mut ratio, &joined.samples, units(), |samples| {
                both(samples).and_then(|(c, b)| (b > 0.0).then(|| c / b))
            });
            unless_alike(&mut ratio, candidate / baseline);
        }
        if is_few {
            for found in [&mut comparison, &mut ratio] {
                (found.lower, found.upper, found.reason) = (None, None, Some(few()));
            }
        }
        comparison.ratio = Some(Estimate {
            name: format!("{metric}.ratio"),
            unit: Unit::Share,
            value: (baseline > 0.0).then(|| candidate / baseline),
            lower: ratio.lower,
            upper: ratio.upper,
            confidence: self.settings.confidence,
            n: comparison.n,
            missing: joined.candidate_missing + joined.baseline_missing,
            at_worst: AtWorst { lost: joined.lost, lower: None, upper: None },
            method: Method::Bootstrap,
            reason: if baseline > 0.0 { ratio.reason } else { Some("the baseline's quantile is 0".to_owned()) },
        });
        comparison
    }
}

/// Takes back an interval of no width beside values of this `size`: what never differs does so in no resample either, which the
/// bootstrap takes for certainty.
fn unless_alike(comparison: &mut Comparison, size: f64) {
    let width = comparison.lower.zip(comparison.upper).map(|(lower, upper)| upper - lower);
    if width.is_some_and(|width| is_too_alike(width, size, comparison.n)) {
        (comparison.lower, comparison.upper, comparison.reason) = (None, None, Some(alike(comparison.n)));
    }
}
