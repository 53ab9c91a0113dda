//! Candidates against the baseline, paired by sample.

use crate::frame::build::mark_column;
use crate::frame::label::{self, Answers};
use crate::frame::metrics::{distinct, quantile_of};
use crate::frame::{CandidateFrame, Layout, RESAMPLES, Settings};
use crate::stats::{self, FlipMonitor};
use crate::types::{AtWorst, Comparison, Discordant, Estimate, Flip, Method, Paired, Unit};

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
}

impl Pair<'_> {
    fn all(&self, out: &mut Vec<Comparison>) {
        for (index, metric) in self.layout.metrics.iter().enumerate() {
            let is_binary = metric.is_binary && self.layout.repeats == 1;
            let is_unmarkable = |sample| self.layout.is_unmarkable(index, sample);
            out.push(self.share(&metric.name, &mark_column(index), is_binary, (0.0, 1.0), is_unmarkable));
            if metric.is_label {
                out.push(self.macro_f1(index));
            }
        }
        for column in ["failure_rate", "truncation_rate"] {
            let mut comparison = self.share(column, column, self.layout.repeats == 1, (1.0, 0.0), |_| false);
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
        let mut comparison = self.marks(metric, &self.join_marks(column, &is_unmarkable), is_binary);
        if comparison.lost > 0 {
            let at = |frame: &CandidateFrame, worst| {
                frame.per_sample_at_worst(column, self.layout.repeats, worst, &is_unmarkable)
            };
            let joined = Joined::of(at(self.candidate, worst.0), at(self.baseline, worst.1), &is_unmarkable);
            comparison.paired_at_worst = self.marks(metric, &joined, is_binary).paired;
        }
        comparison
    }

    /// Marks: Tango and McNemar for yes/no marks of independent samples, paired t and bootstrap for everything else.
    fn marks(&self, metric: &str, joined: &Joined, is_binary: bool) -> Comparison {
        let clusters = self.clusters(joined);
        let method = match (&clusters, is_binary) {
            (Some(_), _) => Method::ClusteredPairedT,
            (None, true) => Method::Tango,
            (None, false) => Method::PairedT,
        };
        let mut comparison = self.blank(metric, Unit::Share, joined, method);
        if is_binary {
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
            let is_independent = clusters.as_ref().is_none_or(|clusters| distinct(clusters) == clusters.len() as u64);
            comparison.shown_after = monitor.shown_after().filter(|_| is_independent);
        }
        if joined.samples.is_empty() {
            return comparison;
        }
        let differences: Vec<f64> = joined.candidate.iter().zip(&joined.baseline).map(|(c, b)| c - b).collect();
        match (comparison.discordant, &clusters) {
            (Some(discordant), None) => {
                let (b, c, n) = (discordant.candidate_only, discordant.baseline_only, comparison.n);
                comparison.difference = Some((b as f64 - c as f64) / n as f64);
                comparison.p_value = Some(stats::mcnemar_exact(b, c));
                comparison.paired = Some(Paired::Binary { discordant, n });
                if let Some(interval) = stats::tango(b, c, n, self.settings.confidence) {
                    (comparison.lower, comparison.upper) = (Some(interval.lower), Some(interval.upper));
                }
            }
            _ => self.fill_mean(&mut comparison, &differences, clusters.as_deref()),
        }
        comparison
    }

    /// Mean difference with Student's t, and the bootstrap beside it.
    fn fill_mean(&self, comparison: &mut Comparison, differences: &[f64], clusters: Option<&[u32]>) {
        let confidence = self.settings.confidence;
        let mean = match clusters {
            Some(clusters) => stats::clustered_mean(differences, clusters, confidence),
            None => stats::mean(differences, confidence),
        };
        let Some(mean) = mean else {
            comparison.difference = Some(differences.iter().sum::<f64>() / differences.len() as f64);
            let unit = if clusters.is_some() { "clusters" } else { "samples" };
            comparison.reason = Some(format!("no interval: fewer than two {unit} have a value for both"));
            return;
        };
        comparison.difference = Some(mean.mean);
        let n = differences.len() as u64;
        if comparison.unit == Unit::Share && mean.se == 0.0 {
            self.fill_constant(comparison, mean.mean, clusters.map_or(n, distinct));
            return;
        }
        (comparison.lower, comparison.upper) = (Some(mean.interval.lower), Some(mean.interval.upper));
        comparison.p_value = mean.p_value();
        let (difference, se, df, variance) = (mean.mean, mean.se, mean.df, mean.variance());
        comparison.paired = Some(Paired::Mean { difference, se, df, n, variance });
        comparison.bootstrap = stats::bootstrap_mean(differences, clusters, confidence, RESAMPLES, self.settings.seed)
            .map(|interval| (interval.lower, interval.upper));
    }

    /// Differences that are all alike do not vary, which Student's t takes for certainty. When none differs, or all do and
    /// wholly, they are yes/no marks of as many `units` (samples or clusters); in between nothing can be said.
    fn fill_constant(&self, comparison: &mut Comparison, difference: f64, units: u64) {
        let count = |is: bool| if is { units } else { 0 };
        let discordant =
            Discordant { candidate_only: count(difference == 1.0), baseline_only: count(difference == -1.0) };
        if difference != 0.0 && discordant == Discordant::default() {
            comparison.reason = Some("no interval: all differences are alike".to_owned());
            return;
        }
        let Discordant { candidate_only, baseline_only } = discordant;
        comparison.method = Method::Tango;
        comparison.p_value = Some(stats::mcnemar_exact(candidate_only, baseline_only));
        comparison.paired = Some(Paired::Binary { discordant, n: units });
        if let Some(interval) = stats::tango(candidate_only, baseline_only, units, self.settings.confidence) {
            (comparison.lower, comparison.upper) = (Some(interval.lower), Some(interval.upper));
        }
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
        // Two that never differ do so in no resample either, which the bootstrap takes for certainty.
        let is_constant = |interval: &stats::Interval| interval.lower == interval.upper;
        let interval = match (comparison.difference, interval) {
            (Some(0.0), Some(interval)) if comparison.unit == Unit::Share && is_constant(&interval) => {
                stats::tango(0, 0, units.len() as u64, confidence)
            }
            (_, interval) => interval,
        };
        match interval {
            Some(interval) => (comparison.lower, comparison.upper) = (Some(interval.lower), Some(interval.upper)),
            None if comparison.reason.is_none() => {
                comparison.reason = Some("no interval: too few samples have a value for both".to_owned());
            }
            None => {}
        }
    }

    /// Latencies, tokens and money: the difference of the means, and their ratio.
    fn means(&self, metric: &str, column: &str, unit: Unit) -> Comparison {
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
        let differences: Vec<f64> = joined.candidate.iter().zip(&joined.baseline).map(|(c, b)| c - b).collect();
        self.fill_mean(&mut comparison, &differences, clusters.as_deref());
        comparison.ratio = Some(self.ratio(metric, &joined, clusters.as_deref()));
        comparison
    }

    fn ratio(&self, metric: &str, joined: &Joined, clusters: Option<&[u32]>) -> Estimate {
        let Settings { confidence, seed, .. } = *self.settings;
        let mut ratio = Estimate {
            name: format!("{metric}.ratio"),
            unit: Unit::Share,
            value: None,
            lower: None,
            upper: None,
            confidence,
            n: joined.samples.len() as u64,
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
        let interval = if let Some(clusters) = clusters {
            ratio.method = Method::Bootstrap;
            ratio.value = sums(&mut (0..joined.samples.len()));
            let mut members = std::collections::BTreeMap::<u32, Vec<usize>>::new();
            for (index, cluster) in clusters.iter().enumerate() {
                members.entry(*cluster).or_default().push(index);
            }
            let members: Vec<Vec<usize>> = members.into_values().collect();
            stats::bootstrap_statistic(members.len(), confidence, RESAMPLES, seed, |drawn| {
                sums(&mut drawn.iter().flat_map(|unit| members[*unit as usize].iter().copied()))
            })
        } else {
            match stats::ratio_of_means(&joined.candidate, &joined.baseline, confidence) {
                Some(estimate) => {
                    ratio.value = Some(estimate.ratio);
                    Some(estimate.interval)
                }
                None => {
                    ratio.value = sums(&mut (0..joined.samples.len()));
                    None
                }
            }
        };
        match (ratio.value, interval) {
            (None, _) => ratio.reason = Some("the baseline's mean is 0".to_owned()),
            (Some(_), Some(interval)) => (ratio.lower, ratio.upper) = (Some(interval.lower), Some(interval.upper)),
            (Some(_), None) => ratio.reason = Some("no interval: too few pairs".to_owned()),
        }
        ratio
    }

    /// Difference and ratio of a quantile, by the bootstrap over samples that both have.
    fn quantiles(&self, metric: &str, column: &str, p: f64) -> Comparison {
        let joined = self.join(column);
        let mut comparison = self.blank(metric, Unit::Ms, &joined, Method::Bootstrap);
        // Position of each sample among the joined ones, for drawing by sample.
        let mut position = vec![0_u32; self.layout.samples.len()];
        for (index, sample) in joined.samples.iter().enumerate() {
            position[*sample as usize] = u32::try_from(index).expect("as many as there are samples");
        }
        let both = |samples: &[u32]| {
            let of = |values: &[f64]| {
                let mut drawn: Vec<f64> =
                    samples.iter().map(|sample| values[position[*sample as usize] as usize]).collect();
                drawn.sort_unstable_by(f64::total_cmp);
                stats::quantile(&drawn, p)
            };
            Some((of(&joined.candidate)?, of(&joined.baseline)?))
        };
        let units = || {
            let observed: std::collections::BTreeSet<u32> = joined.samples.iter().copied().collect();
            label::units(self.layout, |sample| u32::try_from(sample).is_ok_and(|sample| observed.contains(&sample)))
        };
        let Some((candidate, baseline)) = both(&joined.samples) else { return comparison };
        self.fill_bootstrap(&mut comparison, &joined.samples, units(), |samples| both(samples).map(|(c, b)| c - b));
        let mut ratio = self.blank(metric, Unit::Share, &joined, Method::Bootstrap);
        if baseline > 0.0 {
            self.fill_bootstrap(&mut ratio, &joined.samples, units(), |samples| {
                both(samples).and_then(|(c, b)| (b > 0.0).then(|| c / b))
            });
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
