//! Classification: confusion matrix, figures per class, macro F1.

use crate::frame::build::{expected_column, predicted_column};
use crate::frame::{CandidateFrame, Layout, RESAMPLES, Settings};
use crate::stats;
use crate::types::{ClassFigures, Confusion, Estimate, Method, Unit};

/// One answer of a sample that has a right class: (expected, predicted) as codes.
type Pair = (u32, Option<u32>);

/// The answers of each sample (one, or one a repeat), in the order of the dataset.
pub(super) struct Answers {
    repeats: usize,
    pairs: Vec<Option<Pair>>,
    classes: usize,
}

impl Answers {
    /// The answers that a label metric has marked.
    pub(super) fn of(layout: &Layout, candidate: &CandidateFrame, metric: usize) -> Answers {
        let expected = candidate.codes(&expected_column(metric));
        let predicted = candidate.codes(&predicted_column(metric));
        let pairs = expected.iter().zip(predicted.iter()).map(|(expected, predicted)| Some((expected?, predicted)));
        Answers { repeats: layout.repeats, pairs: pairs.collect(), classes: layout.classes.len() }
    }

    fn of_sample(&self, sample: usize) -> impl Iterator<Item = Pair> + '_ {
        self.pairs[sample * self.repeats..(sample + 1) * self.repeats].iter().flatten().copied()
    }

    /// Whether a sample has an answer.
    pub(super) fn has(&self, sample: usize) -> bool {
        self.of_sample(sample).next().is_some()
    }

    fn samples(&self) -> usize {
        self.pairs.len() / self.repeats
    }

    /// Unweighted mean of the F1 of every class that occurs among the right answers of these samples.
    pub(super) fn macro_f1(&self, samples: impl Iterator<Item = usize>) -> Option<f64> {
        let mut tallies = vec![Tally::default(); self.classes];
        for (expected, predicted) in samples.flat_map(|sample| self.of_sample(sample)) {
            tallies[expected as usize].support += 1;
            match predicted {
                Some(predicted) if predicted == expected => tallies[expected as usize].right += 1,
                Some(predicted) => tallies[predicted as usize].wrongly_said += 1,
                None => {}
            }
        }
        let (sum, n) = tallies
            .iter()
            .filter(|tally| tally.support > 0)
            .filter_map(Tally::f1)
            .fold((0.0, 0_u32), |(sum, n), f1| (sum + f1, n + 1));
        (n > 0).then(|| sum / f64::from(n))
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    right: u64,
    wrongly_said: u64,
    support: u64,
}

impl Tally {
    /// 2 tp ÷ (2 tp + fp + fn); `None` when the class neither occurs nor is ever answered.
    fn f1(&self) -> Option<f64> {
        let denominator = self.right + self.wrongly_said + self.support;
        (denominator > 0).then(|| 2.0 * self.right as f64 / denominator as f64)
    }
}

/// The units that a bootstrap draws: samples, or whole clusters of them. Only samples that `has` an observation.
pub(super) fn units(layout: &Layout, has: impl Fn(usize) -> bool) -> Vec<Vec<u32>> {
    let observed = (0..layout.samples.len()).filter(|sample| has(*sample));
    let index = |sample: usize| u32::try_from(sample).expect("the layout counts samples in 32 bits");
    match &layout.clusters {
        None => observed.map(|sample| vec![index(sample)]).collect(),
        Some(clusters) => {
            let mut members = std::collections::BTreeMap::<u32, Vec<u32>>::new();
            for sample in observed {
                members.entry(clusters[sample]).or_default().push(index(sample));
            }
            members.into_values().collect()
        }
    }
}

/// Macro F1 of one label metric, with a percentile bootstrap over samples (or clusters).
pub(super) fn macro_f1(layout: &Layout, candidate: &CandidateFrame, metric: usize, settings: &Settings) -> Estimate {
    let answers = Answers::of(layout, candidate, metric);
    let units = units(layout, |sample| answers.has(sample));
    let n = units.iter().map(Vec::len).sum::<usize>() as u64;
    let value = answers.macro_f1((0..answers.samples()).filter(|sample| answers.has(*sample)));
    let interval = stats::bootstrap_statistic(units.len(), settings.confidence, RESAMPLES, settings.seed, |drawn| {
        answers.macro_f1(drawn.iter().flat_map(|unit| units[*unit as usize].iter().map(|sample| *sample as usize)))
    });
    // When every answer is right (or wrong), so it is in every resample, which the bootstrap takes for certainty.
    let is_constant = |interval: &stats::Interval| interval.lower == interval.upper;
    let interval = match (value, interval) {
        (Some(value), Some(interval)) if is_constant(&interval) && (value == 0.0 || value == 1.0) => {
            let all = units.len() as u64;
            stats::wilson(if value == 1.0 { all } else { 0 }, all, settings.confidence)
        }
        (_, interval) => interval,
    };
    let reason = match (value, &interval) {
        (None, _) => Some("nothing was scored".to_owned()),
        (Some(_), None) => Some("no interval: too few samples".to_owned()),
        (Some(_), Some(_)) => None,
    };
    Estimate {
        name: format!("{}.macro_f1", layout.metrics[metric].name),
        unit: Unit::Share,
        value,
        lower: interval.as_ref().map(|interval| interval.lower),
        upper: interval.as_ref().map(|interval| interval.upper),
        confidence: settings.confidence,
        n,
        missing: answers.samples() as u64 - n,
        upper_at_worst: None,
        method: Method::Bootstrap,
        reason,
    }
}

/// One table per label metric.
pub(super) fn confusions(layout: &Layout, candidate: &CandidateFrame, confidence: f64) -> Vec<Confusion> {
    let labels = layout.metrics.iter().enumerate().filter(|(_, metric)| metric.is_label);
    labels
        .map(|(index, metric)| {
            let answers = Answers::of(layout, candidate, index);
            table(&metric.name, &layout.classes, &answers, confidence)
        })
        .collect()
}

fn table(metric: &str, classes: &[String], answers: &Answers, confidence: f64) -> Confusion {
    let mut cells = std::collections::BTreeMap::<(u32, Option<u32>), u64>::new();
    for pair in answers.pairs.iter().flatten() {
        *cells.entry(*pair).or_insert(0) += 1;
    }
    let name = |code: u32| classes[code as usize].as_str();
    let mut rows: Vec<u32> = cells.keys().map(|(expected, _)| *expected).collect();
    rows.sort_by_key(|code| name(*code));
    rows.dedup();
    // Right classes first, then whatever else was answered, then no label at all.
    let mut others: Vec<u32> =
        cells.keys().filter_map(|(_, predicted)| *predicted).filter(|code| !rows.contains(code)).collect();
    others.sort_by_key(|code| name(*code));
    others.dedup();
    let mut columns: Vec<Option<u32>> = rows.iter().chain(&others).copied().map(Some).collect();
    if cells.keys().any(|(_, predicted)| predicted.is_none()) {
        columns.push(None);
    }
    let count = |row: u32, column: Option<u32>| cells.get(&(row, column)).copied().unwrap_or(0);
    let figures = rows.iter().map(|row| {
        let right = count(*row, Some(*row));
        let said: u64 = rows.iter().map(|other| count(*other, Some(*row))).sum();
        let support: u64 = columns.iter().map(|column| count(*row, *column)).sum();
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let interval = |part, whole| stats::wilson(part, whole, confidence).map(|i| (i.lower, i.upper));
        ClassFigures {
            class: name(*row).to_owned(),
            precision: share(right, said),
            precision_interval: interval(right, said),
            recall: share(right, support),
            recall_interval: interval(right, support),
            f1: Tally { right, wrongly_said: said - right, support }.f1(),
            support,
        }
    });
    Confusion {
        metric: metric.to_owned(),
        predicted: columns.iter().map(|column| column.map(|code| name(code).to_owned())).collect(),
        expected: rows.iter().map(|row| name(*row).to_owned()).collect(),
        counts: rows.iter().map(|row| columns.iter().map(|column| count(*row, *column)).collect()).collect(),
        classes: figures.collect(),
    }
}
