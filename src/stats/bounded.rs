//! The mean of marks that lie between two bounds, with an interval that is never of zero width.
//!
//! Student's t takes marks that are all alike for certainty, and is far too narrow when nearly all are 1. Here the marks
//! get weights at random, as in the Bayesian bootstrap (Rubin 1981, Annals of Statistics 9:130), together with one more
//! mark that nobody has seen: the worst possible one for the lower end, the best possible one for the upper end (Gaffke
//! 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable"; Phan,
//! Thomas and Learned-Miller 2021, "Towards practical mean bounds for small samples"). For marks of 0 and 1 it is the
//! interval of Clopper and Pearson. No end rises when a mark gets worse, whatever the marks.

use super::Interval;
use super::normal::normal_cdf;
use crate::types::Lump;

/// Evaluations that an end is found with, at most.
const STEPS: u32 = 60;

/// The interval of the mean Σ sum ÷ Σ size over clusters, of marks between `low` and `high`. Clusters are weighted as
/// wholes, and the mark that nobody has seen comes as a cluster of the mean size of the cluster that a mark is in. Forty
/// marks of 1, between 0 and 1, give [0.912, 1] at 0.95.
///
/// `None` for no clusters, for a single cluster of several marks, for marks outside the bounds, and for a confidence
/// outside (0, 1).
pub fn bounded_mean(lumps: &[Lump], low: f64, high: f64, confidence: f64) -> Option<Interval> {
    let tail = (1.0 - confidence) / 2.0;
    let lower = bounded_lower(lumps, low, high, tail)?;
    let mirrored: Vec<Lump> = lumps.iter().map(|lump| Lump { sum: -lump.sum, ..*lump }).collect();
    let upper = -bounded_lower(&mirrored, -high, -low, tail)?;
    Interval::checked(lower, upper)
}

/// The one-sided lower end with error `tail`.
fn bounded_lower(lumps: &[Lump], low: f64, high: f64, tail: f64) -> Option<f64> {
    let mean = mean_within(lumps, low, high)?;
    if !(tail > 0.0 && tail < 0.5) {
        return None;
    }
    let (mut below, mut above) = (low, mean);
    for _ in 0..STEPS {
        let middle = below + (above - below) / 2.0;
        if middle == below || middle == above {
            break;
        }
        if chance_below(lumps, low, middle) < tail { below = middle } else { above = middle }
    }
    Some(below)
}

/// The mean, where everything about the marks is as it must be.
fn mean_within(lumps: &[Lump], low: f64, high: f64) -> Option<f64> {
    let slack = 1e-9 * (high - low);
    let is_within = |lump: &Lump| {
        lump.size > 0.0 && lump.sum >= (low - slack) * lump.size && lump.sum <= (high + slack) * lump.size
    };
    let total = |of: &dyn Fn(&Lump) -> f64| lumps.iter().map(|lump| of(lump) * lump.count as f64).sum::<f64>();
    let clusters: u64 = lumps.iter().map(|lump| lump.count).sum();
    let is_alone = clusters == 1 && lumps.iter().any(|lump| lump.count > 0 && lump.size > 1.0);
    if clusters == 0 || is_alone || low >= high || !lumps.iter().all(is_within) {
        return None;
    }
    Some((total(&|lump| lump.sum) / total(&|lump| lump.size)).clamp(low, high))
}

/// Two-sided p of a mean of 0 for differences between −1 and 1, from the same weights as [`bounded_mean`]. `None` as
/// there.
pub fn bounded_p(lumps: &[Lump]) -> Option<f64> {
    let mean = mean_within(lumps, -1.0, 1.0)?;
    let turned: Vec<Lump> = lumps.iter().map(|lump| Lump { sum: -lump.sum, ..*lump }).collect();
    let chance = if mean >= 0.0 { chance_below(lumps, -1.0, 0.0) } else { chance_below(&turned, -1.0, 0.0) };
    Some(super::probability(2.0 * chance))
}

/// P(weighted mean ≤ `at`) when the unseen cluster's marks are `worst`.
///
/// Weights are exponential variables over their sum, so this is P(Σ E·(sum − at·size) ≤ 0), by the saddlepoint
/// approximation of Lugannani and Rice (1980, Advances in Applied Probability 12:475) in the form of Barndorff-Nielsen.
fn chance_below(lumps: &[Lump], worst: f64, at: f64) -> f64 {
    let squares: f64 = lumps.iter().map(|lump| lump.size * lump.size * lump.count as f64).sum();
    let n: f64 = lumps.iter().map(|lump| lump.size * lump.count as f64).sum();
    let unseen = (squares / n * (worst - at), 1.0);
    let terms = || lumps.iter().map(|lump| (lump.sum - at * lump.size, lump.count as f64)).chain([unseen]);
    let (least, most) = terms().fold((0.0_f64, 0.0_f64), |(least, most), (term, _)| (least.min(term), most.max(term)));
    if most <= 0.0 {
        return 1.0;
    }
    if least >= 0.0 {
        return 0.0;
    }
    // The root of K′, the derivative of the sum's cumulant function K(s) = −Σ ln(1 − s·term).
    let slope = |s: f64| terms().map(|(term, count)| count * term / (1.0 - s * term)).sum::<f64>();
    let curve = |s: f64| terms().map(|(term, count)| count * (term / (1.0 - s * term)).powi(2)).sum::<f64>();
    let (mut left, mut right) = (1.0 / least, 1.0 / most);
    let mut s = 0.0;
    for _ in 0..200 {
        let value = slope(s);
        if value > 0.0 {
            right = s
        } else {
            left = s
        }
        let next = s - value / curve(s);
        let next = if next > left && next < right { next } else { left + (right - left) / 2.0 };
        if (next - s).abs() <= 1e-14 * (right - left).abs().max(s.abs()) || next == s {
            s = next;
            break;
        }
        s = next;
    }
    let cumulant: f64 = terms().map(|(term, count)| -count * (-s * term).ln_1p()).sum();
    let w = s.signum() * (-2.0 * cumulant).max(0.0).sqrt();
    let u = s * curve(s).sqrt();
    if w.abs() < 1e-4 {
        // Next to the mean the form is 0/0; its limit is the skewness over 6√2π beside one half.
        let third: f64 = terms().map(|(term, count)| count * 2.0 * term.powi(3)).sum();
        let skew = third / curve(0.0).powf(1.5);
        return 0.5 + skew / (6.0 * std::f64::consts::TAU.sqrt());
    }
    normal_cdf(w + (u / w).ln() / w)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::near;
    use crate::stats::clopper_pearson;

    fn marks(values: &[f64]) -> Vec<Lump> {
        values.iter().map(|value| Lump { sum: *value, size: 1.0, count: 1 }).collect()
    }

    #[test]
    fn marks_of_nought_and_one_are_clopper_and_pearsons() {
        for (right, n) in
            [(40_u64, 40_u64), (10, 10), (5, 5), (2, 2), (39, 40), (17, 20), (30, 60), (1, 30), (0, 30), (850, 1000)]
        {
            let lumps = [(1.0, right), (0.0, n - right)].map(|(sum, count)| Lump { sum, size: 1.0, count });
            let lumps: Vec<Lump> = lumps.into_iter().filter(|lump| lump.count > 0).collect();
            for confidence in [0.9, 0.95, 0.99] {
                let found = bounded_mean(&lumps, 0.0, 1.0, confidence).unwrap();
                let exact = clopper_pearson(right, n, confidence).unwrap();
                near(found.lower, exact.lower, 0.004);
                near(found.upper, exact.upper, 0.004);
            }
        }
    }

    #[test]
    fn marks_that_are_all_alike_have_width() {
        for n in [1, 2, 10, 40, 500] {
            let interval = bounded_mean(&marks(&vec![0.5; n]), 0.0, 1.0, 0.95).unwrap();
            assert!(interval.lower < 0.5 && interval.upper > 0.5, "{interval:?}");
        }
        // Two marks of a half: the lower end is half of what two right answers have, 0.025^½.
        let two = bounded_mean(&marks(&[0.5, 0.5]), 0.0, 1.0, 0.95).unwrap();
        near(two.lower, 0.5 * 0.025_f64.sqrt(), 0.005);
        let none = bounded_mean(&marks(&[0.0; 40]), -1.0, 1.0, 0.9).unwrap();
        near(none.lower, -(1.0 - 0.05_f64.powf(1.0 / 40.0)), 0.002);
        near(bounded_p(&marks(&[0.0; 40])).unwrap(), 1.0, 1e-9);
    }

    #[test]
    fn what_has_no_interval_has_none() {
        assert_eq!(bounded_mean(&[], 0.0, 1.0, 0.95), None);
        assert_eq!(bounded_mean(&marks(&[1.5]), 0.0, 1.0, 0.95), None);
        assert_eq!(bounded_mean(&marks(&[f64::NAN]), 0.0, 1.0, 0.95), None);
        assert_eq!(bounded_mean(&[Lump { sum: 3.0, size: 4.0, count: 1 }], 0.0, 1.0, 0.95), None);
        assert_eq!(bounded_mean(&marks(&[0.5, 0.5]), 0.0, 1.0, 1.0), None);
        assert_eq!(bounded_mean(&marks(&[0.5, 0.5]), 1.0, 1.0, 0.95), None);
    }

    /// The weights themselves, drawn a hundred thousand times.
    #[test]
    fn the_chance_is_that_of_drawn_weights() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let cases: [(&[(f64, f64)], f64); 3] = [
            (&[(0.9, 1.0), (0.8, 1.0), (1.0, 1.0), (0.3, 1.0), (0.7, 1.0)], 0.5),
            (&[(2.0, 2.0), (1.5, 3.0), (1.0, 1.0), (0.0, 1.0), (4.5, 5.0), (2.0, 2.0)], 0.6),
            (&[(0.5, 1.0), (0.5, 1.0), (0.5, 1.0)], 0.25),
        ];
        for (clusters, at) in cases {
            let lumps: Vec<Lump> =
                clusters.iter().map(|(sum, size)| Lump { sum: *sum, size: *size, count: 1 }).collect();
            let n: f64 = clusters.iter().map(|(_, size)| size).sum();
            let unseen = clusters.iter().map(|(_, size)| size * size).sum::<f64>() / n;
            let rounds = 100_000;
            let mut below = 0_u32;
            for _ in 0..rounds {
                let mut weight = || -(1.0 - random.random::<f64>()).ln();
                let sum: f64 = clusters.iter().map(|(sum, size)| weight() * (sum - at * size)).sum();
                below += u32::from(sum - weight() * unseen * at <= 0.0);
            }
            near(chance_below(&lumps, 0.0, at), f64::from(below) / f64::from(rounds), 0.008);
        }
    }

    proptest! {
        #[test]
        fn a_worse_mark_lowers_both_ends(values in prop::collection::vec(0.0..=1.0_f64, 1..60), place in any::<prop::sample::Index>(), by in 0.0..=1.0_f64) {
            let mut worse = values.clone();
            let chosen = place.index(worse.len());
            worse[chosen] *= by;
            let (before, after) = (bounded_mean(&marks(&values), 0.0, 1.0, 0.95).unwrap(), bounded_mean(&marks(&worse), 0.0, 1.0, 0.95).unwrap());
            prop_assert!(after.lower <= before.lower + 1e-9 && after.upper <= before.upper + 1e-9, "{before:?} {after:?}");
        }

        #[test]
        fn the_interval_holds_the_mean_and_widens(values in prop::collection::vec(0.0..=1.0_f64, 1..60), confidence in 0.5..0.99) {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let interval = bounded_mean(&marks(&values), 0.0, 1.0, confidence).unwrap();
            prop_assert!(interval.lower <= mean + 1e-9 && interval.upper >= mean - 1e-9);
            let wider = bounded_mean(&marks(&values), 0.0, 1.0, 0.5 + confidence / 2.0).unwrap();
            prop_assert!(wider.lower <= interval.lower + 1e-9 && wider.upper >= interval.upper - 1e-9);
            let scaled: Vec<Lump> = values.iter().map(|value| Lump { sum: 2.0 * value - 1.0, size: 1.0, count: 1 }).collect();
            near(bounded_mean(&scaled, -1.0, 1.0, confidence).unwrap().lower, 2.0 * interval.lower - 1.0, 1e-6);
        }
    }
}
