//! Classification: confusion matrix, figures per class, macro F1.

use crate::frame::build::{expected_column, predicted_column};
use crate::frame::{CandidateFrame, Layout, RESAMPLES, Settings, clusters};
use crate::stats;
use crate::types::{AtWorst, ClassFigures, Confusion, ConfusionCell, Estimate, Method, Unit};

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

    /// Whether all repeats of a sample have an answer.
    pub(super) fn is_whole(&self, sample: usize) -> bool {
        self.of_sample(sample).count() == self.repeats
    }

    /// How many answers of a sample name its class.
    pub(super) fn right(&self, sample: usize) -> u64 {
        self.of_sample(sample).filter(|(expected, predicted)| *predicted == Some(*expected)).count() as u64
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

/// The units that a bootstrap draws: samples, or whole clusters of them, in an order that does not hang on that of the
/// rows. Only samples that `has` an observation.
pub(super) fn units(layout: &Layout, has: impl Fn(usize) -> bool) -> Vec<Vec<u32>> {
    let observed = layout.by_id.iter().copied().filter(|sample| has(*sample as usize));
    match &layout.clusters {
        None => observed.map(|sample| vec![sample]).collect(),
        Some(clusters) => {
            let mut places = std::collections::HashMap::<u32, usize>::new();
            let mut members: Vec<Vec<u32>> = Vec::new();
            for sample in observed {
                let place = *places.entry(clusters[sample as usize]).or_insert(members.len());
                if place == members.len() {
                    members.push(Vec::new());
                }
                members[place].push(sample);
            }
            members
        }
    }
}

/// A figure with its interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Spread {
    /// Reaching at least as far from its value as the other does from its own. A bootstrap of a handful of mistakes (or of
    /// none) is far too narrow; macro F1 is no surer than the share of right answers that it is made from.
    pub(super) fn at_least_as_wide_as(self, other: &Spread) -> Spread {
        Spread {
            value: self.value,
            lower: self.lower.min(self.value - (other.value - other.lower)),
            upper: self.upper.max(self.value + (other.upper - other.value)),
        }
    }
}

/// How far the mean of the classes' figures can lie from what was seen, below and above, by how few samples each class has:
/// the root of the summed squares of each class's own reach, over the classes. `reach` gives that of one class from its
/// samples; one that has none may lie anywhere.
pub(super) fn reach_of_classes(
    answers: &Answers,
    samples: impl Iterator<Item = usize>,
    reach: impl Fn(&[usize]) -> Option<(f64, f64)>,
) -> (f64, f64) {
    let mut of_class: std::collections::BTreeMap<u32, Vec<usize>> = std::collections::BTreeMap::new();
    for sample in samples {
        if let Some((expected, _)) = answers.of_sample(sample).next() {
            of_class.entry(expected).or_default().push(sample);
        }
    }
    let classes = of_class.len() as f64;
    let (below, above) = of_class
        .values()
        .map(|samples| reach(samples).unwrap_or((1.0, 1.0)))
        .fold((0.0, 0.0), |(below, above), (down, up)| (below + down * down, above + up * up));
    (below.sqrt() / classes.max(1.0), above.sqrt() / classes.max(1.0))
}

/// Macro F1 of one label metric, with a percentile bootstrap over samples (or clusters), at least as wide as the interval
/// of `accuracy`, and as the support of its classes allows.
pub(super) fn macro_f1(
    layout: &Layout,
    candidate: &CandidateFrame,
    metric: usize,
    accuracy: &Estimate,
    settings: &Settings,
) -> Estimate {
    let answers = Answers::of(layout, candidate, metric);
    let units = units(layout, |sample| answers.has(sample));
    let n = units.iter().map(Vec::len).sum::<usize>() as u64;
    let lost = (0..answers.samples())
        .filter(|sample| !answers.is_whole(*sample) && !layout.is_unmarkable(metric, *sample))
        .count();
    let value = answers.macro_f1((0..answers.samples()).filter(|sample| answers.has(*sample)));
    let interval = stats::bootstrap_statistic(units.len(), settings.confidence, RESAMPLES, settings.seed, |drawn| {
        answers.macro_f1(drawn.iter().flat_map(|unit| units[*unit as usize].iter().map(|sample| *sample as usize)))
    });
    // The end of the accuracy that a pass may rest on, so that no worse answer lifts this one by narrowing that.
    let careful = accuracy.at_worst.lower.filter(|_| accuracy.at_worst.lost == 0).or(accuracy.lower);
    let of_accuracy = accuracy.value.zip(careful.zip(accuracy.upper));
    let whole = (0..answers.samples()).filter(|sample| answers.is_whole(*sample));
    let (below, above) = reach_of_classes(&answers, whole, |samples| {
        let wrong = |sample: usize| {
            answers.of_sample(sample).filter(|(expected, predicted)| *predicted != Some(*expected)).count() as u64
        };
        let cells = clusters::cells(layout, samples.iter().map(|sample| (*sample, 0, wrong(*sample))));
        let (all, missed) = cells
            .iter()
            .fold((0, 0), |(all, missed), cell| (all + cell.size * cell.count, missed + cell.worse * cell.count));
        let share = 1.0 - missed as f64 / all as f64;
        let interval = stats::clustered_wilson(&cells, settings.confidence)?;
        let lower = stats::careful_wilson_lower(&cells, settings.confidence)?;
        Some((share - lower, interval.upper - share))
    });
    let interval = value.zip(interval).zip(of_accuracy).map(|((value, interval), (share, (lower, upper)))| {
        let own = Spread { value, lower: interval.lower, upper: interval.upper };
        let wide = own.at_least_as_wide_as(&Spread { value: share, lower, upper });
        let wide = wide.at_least_as_wide_as(&Spread { value, lower: value - below, upper: value + above });
        Spread { lower: wide.lower.max(0.0), upper: wide.upper.min(1.0), ..wide }
    });
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
        // A class of which nothing was observed is not in the figure at all: of what is lost nothing can be said.
        at_worst: AtWorst { lost: lost as u64, lower: None, upper: None },
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
    let mut counts = std::collections::HashMap::<Pair, u64>::new();
    let mut tallies = vec![Tally::default(); classes.len()];
    let mut said = vec![0_u64; classes.len()];
    for &(expected, predicted) in answers.pairs.iter().flatten() {
        *counts.entry((expected, predicted)).or_insert(0) += 1;
        let is_right = predicted == Some(expected);
        tallies[expected as usize].support += 1;
        tallies[expected as usize].right += u64::from(is_right);
        if let Some(predicted) = predicted {
            said[predicted as usize] += 1;
            tallies[predicted as usize].wrongly_said += u64::from(!is_right);
        }
    }
    let name = |code: u32| classes[code as usize].as_str();
    let mut cells: Vec<(Pair, u64)> = counts.into_iter().collect();
    // `None`, no label, stands last.
    cells.sort_by_key(|((expected, predicted), _)| (name(*expected), predicted.is_none(), predicted.map(name)));
    let mut rows: Vec<usize> = (0..classes.len()).filter(|class| tallies[*class].support > 0).collect();
    rows.sort_by_key(|class| &classes[*class]);
    let figures = rows.into_iter().map(|class| {
        let Tally { right, support, .. } = tallies[class];
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let interval = |part, whole| stats::wilson(part, whole, confidence).map(|i| (i.lower, i.upper));
        ClassFigures {
            class: classes[class].clone(),
            precision: share(right, said[class]),
            precision_interval: interval(right, said[class]),
            recall: share(right, support),
            recall_interval: interval(right, support),
            f1: tallies[class].f1(),
            support,
            predicted: said[class],
        }
    });
    let cell = |((expected, predicted), count): (Pair, u64)| ConfusionCell {
        expected: name(expected).to_owned(),
        predicted: predicted.map(|code| name(code).to_owned()),
        count,
    };
    Confusion { metric: metric.to_owned(), classes: figures.collect(), cells: cells.into_iter().map(cell).collect() }
}
