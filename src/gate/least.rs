//! How many samples a gate needs at least, whatever comes out: what can be said of a gate before anything is asked.

use crate::gate::{ALPHA, Bar, is_lower_better};
use crate::stats;
use crate::types::Cell;

/// How many times the samples at hand are looked at, at most.
const MOST_TIMES: u64 = 1_000_000;

/// What a gate judges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judged {
    /// A share of yes/no marks, or macro F1, which is no surer than one.
    Share,
    /// A mean of graded marks.
    Graded,
    /// A quantile of times: its level.
    Quantile(f64),
    /// A mean without bounds.
    Mean,
    /// An exact share of the answers there are.
    Count,
}

/// With how many samples a gate can pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Least {
    /// With so many or more, if nothing at all goes wrong.
    Samples(u64),
    /// With so many or more, if the two are marked alike everywhere; with fewer only if the candidate is better.
    Alike(u64),
    /// Only when the candidate is shown to be better: the margin is 0.
    Better,
    /// With none: the reason.
    Never(&'static str),
}

/// With how many samples a gate can pass. `at_hand` are the clusters of the samples there are, with nothing wrong in them;
/// larger sets are taken to have the same kinds of clusters. `repeats` is how often each sample is asked. The intervals have
/// the report's `confidence`, those of non-inferiority the one of [`ALPHA`].
pub fn least(bar: Bar, metric: &str, judged: Judged, at_hand: &[Cell], repeats: u64, confidence: f64) -> Least {
    let lower_is_better = is_lower_better(metric);
    match (bar, judged) {
        (_, Judged::Count) => Least::Samples(1),
        (Bar::AtLeast(floor), Judged::Share | Judged::Graded) if !lower_is_better => {
            of_floor(floor, at_hand, repeats, judged, confidence)
        }
        (Bar::AtMost(ceiling), Judged::Share | Judged::Graded) => {
            of_floor(1.0 - ceiling, at_hand, repeats, judged, confidence)
        }
        (Bar::AtMost(ceiling) | Bar::AtMostRatio(ceiling), _) if ceiling <= 0.0 => {
            Least::Never("times, tokens and money are never 0 or less")
        }
        (Bar::AtMost(_) | Bar::AtMostRatio(_) | Bar::NonInferior { .. }, Judged::Quantile(level)) => {
            Least::Samples(stats::min_n_for_upper_bound(level, 0.5 + confidence / 2.0).unwrap_or(2))
        }
        (Bar::NonInferior { margin }, Judged::Share | Judged::Graded) => of_margin(margin, at_hand, repeats, judged),
        (Bar::AtLeast(_) | Bar::AtMost(_) | Bar::AtMostRatio(_) | Bar::NonInferior { .. }, _) => Least::Samples(2),
    }
}

/// The clusters with every sample asked so often, so many times over.
fn times(at_hand: &[Cell], repeats: u64, times: u64) -> Vec<Cell> {
    let cell = |cell: &Cell| Cell { size: cell.size * repeats, better: 0, worse: 0, count: cell.count * times };
    at_hand.iter().map(cell).collect()
}

fn of_floor(floor: f64, at_hand: &[Cell], repeats: u64, judged: Judged, confidence: f64) -> Least {
    if floor >= 1.0 {
        return Least::Never(
            "no number of samples shows that something never goes wrong: the interval always reaches further",
        );
    }
    if floor <= 0.0 {
        return Least::Samples(1);
    }
    let passes = |cells: &[Cell]| match judged {
        // Of n marks of 1 the lower end is the (α/2)th part to the power of 1/n, as for Clopper and Pearson.
        Judged::Graded => units(cells) * floor.ln() <= ((1.0 - confidence) / 2.0).ln(),
        Judged::Share | Judged::Quantile(_) | Judged::Mean | Judged::Count => {
            stats::clustered_wilson(cells, confidence).is_some_and(|interval| interval.lower >= floor)
        }
    };
    fewest(at_hand, repeats, passes).map_or(Least::Never("it would take more samples than anybody has"), Least::Samples)
}

fn of_margin(margin: f64, at_hand: &[Cell], repeats: u64, judged: Judged) -> Least {
    if margin <= 0.0 {
        return Least::Better;
    }
    let confidence = 1.0 - 2.0 * ALPHA;
    let passes = |cells: &[Cell]| match judged {
        Judged::Graded => units(cells) * (1.0 - margin).ln() <= ALPHA.ln(),
        Judged::Share | Judged::Quantile(_) | Judged::Mean | Judged::Count => {
            stats::clustered_tango(cells, confidence).is_some_and(|interval| interval.lower > -margin)
        }
    };
    fewest(at_hand, repeats, passes).map_or(Least::Never("it would take more samples than anybody has"), Least::Alike)
}

/// Clusters that are worth as much as these for marks that are all alike.
fn units(cells: &[Cell]) -> f64 {
    let sum = |of: fn(&Cell) -> u64| cells.iter().map(|cell| of(cell) as f64 * cell.count as f64).sum::<f64>();
    sum(|cell| cell.size).powi(2) / sum(|cell| cell.size * cell.size)
}

/// The fewest samples that pass: exact where samples are independent, in whole multiples of the clusters at hand else.
fn fewest(at_hand: &[Cell], repeats: u64, passes: impl Fn(&[Cell]) -> bool) -> Option<u64> {
    let is_single = at_hand.iter().all(|cell| cell.size == 1);
    let one = [Cell { size: 1, better: 0, worse: 0, count: 1 }];
    let unit: &[Cell] = if is_single { &one } else { at_hand };
    let samples: u64 = unit.iter().map(|cell| cell.size * cell.count).sum();
    let does = |count: u64| passes(&times(unit, repeats, count));
    let mut high = 1;
    while !does(high) {
        high *= 2;
        if high > MOST_TIMES {
            return None;
        }
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if does(middle) { high = middle } else { low = middle }
    }
    Some(high * samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEPENDENT: [Cell; 1] = [Cell { size: 1, better: 0, worse: 0, count: 40 }];

    fn of(bar: Bar, metric: &str, judged: Judged) -> Least {
        least(bar, metric, judged, &INDEPENDENT, 1, 0.95)
    }

    #[test]
    fn a_floor_needs_enough_that_are_all_right() {
        // 0.99 needs n·(1 − p₀) ≥ z²·p₀: 381 right answers.
        assert_eq!(of(Bar::AtLeast(0.99), "schema", Judged::Share), Least::Samples(381));
        assert!(stats::wilson(381, 381, 0.95).unwrap().lower >= 0.99);
        assert!(stats::wilson(380, 380, 0.95).unwrap().lower < 0.99);
        assert_eq!(of(Bar::AtMost(0.01), "failure_rate", Judged::Share), Least::Samples(381));
        assert_eq!(of(Bar::AtLeast(0.0), "schema", Judged::Share), Least::Samples(1));
        assert!(matches!(of(Bar::AtLeast(1.0), "schema", Judged::Share), Least::Never(_)));
        assert!(matches!(of(Bar::AtMost(0.0), "failure_rate", Judged::Share), Least::Never(_)));
        assert!(matches!(of(Bar::AtMost(0.0), "cost_usd", Judged::Mean), Least::Never(_)));
        assert_eq!(of(Bar::AtMost(1.0), "cost_usd", Judged::Mean), Least::Samples(2));
    }

    #[test]
    fn a_margin_needs_enough_that_are_alike() {
        let Least::Alike(n) = of(Bar::NonInferior { margin: 0.02 }, "label", Judged::Share) else { panic!() };
        assert!(stats::tango(0, 0, n, 0.9).unwrap().lower > -0.02);
        assert!(stats::tango(0, 0, n - 1, 0.9).unwrap().lower <= -0.02);
        assert_eq!(of(Bar::NonInferior { margin: 0.0 }, "label", Judged::Share), Least::Better);
        let Least::Alike(graded) = of(Bar::NonInferior { margin: 0.02 }, "agreement", Judged::Graded) else { panic!() };
        assert_eq!(graded, 149);
    }

    #[test]
    fn quantiles_need_as_many_answers_as_their_bound() {
        assert_eq!(of(Bar::AtMost(900.0), "latency_ms.p95", Judged::Quantile(0.95)), Least::Samples(72));
        let four = least(Bar::AtMost(900.0), "latency_ms.p95", Judged::Quantile(0.95), &INDEPENDENT, 4, 0.95);
        assert_eq!(four, Least::Samples(72), "repeats of a sample are no further samples");
        assert_eq!(of(Bar::AtMostRatio(1.5), "latency_ms.p99", Judged::Quantile(0.99)), Least::Samples(368));
    }

    #[test]
    fn clusters_and_repeats_do_not_make_up_for_samples() {
        let pairs = [Cell { size: 2, better: 0, worse: 0, count: 20 }];
        let Least::Samples(alone) = of(Bar::AtLeast(0.9), "exact", Judged::Share) else { panic!() };
        let Least::Samples(paired) = least(Bar::AtLeast(0.9), "exact", Judged::Share, &pairs, 1, 0.95) else {
            panic!()
        };
        assert!(paired >= 2 * alone, "{alone} {paired}");
        let Least::Samples(repeated) = least(Bar::AtLeast(0.9), "exact", Judged::Share, &INDEPENDENT, 5, 0.95) else {
            panic!()
        };
        assert!(repeated >= alone, "{alone} {repeated}");
    }
}
