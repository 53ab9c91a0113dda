//! Quantiles of a sample and distribution-free intervals of them.

use super::binomial::{binomial_cdf, binomial_quantile};

/// Confidence, one-sided, that an upper bound of a quantile must at least reach whatever interval it belongs to.
const LEAST_UPPER_CONFIDENCE: f64 = 0.95;

/// The quantile of ascending values: linear between order statistics at rank (n − 1)·p, type 7 of Hyndman and Fan (1996,
/// The American Statistician 50:361). `None` for no values, for `p` outside [0, 1], and when the result is not finite.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&p) {
        return None;
    }
    let place = sorted.len().checked_sub(1)? as f64 * p;
    let low = place.floor() as usize;
    let below = *sorted.get(low)?;
    let above = *sorted.get(low + 1).unwrap_or(&below);
    let value = if above == below { below } else { below + (place - place.floor()) * (above - below) };
    value.is_finite().then_some(value)
}

/// An interval of a quantile whose ends are values of the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileInterval {
    /// The lower end; `None` when the sample is too small to give one.
    pub lower: Option<f64>,
    /// The upper end; `None` when the sample is too small to give one.
    pub upper: Option<f64>,
    /// The probability with which an interval made this way holds the quantile of a continuous distribution, a missing
    /// end taken as infinite. Ties in the data only raise it.
    pub coverage: f64,
}

/// The interval between the order statistics of ranks l = BinomQ(α/2; n, p) and u = BinomQ(1 − α/2; n, p) + 1 of ascending
/// values, α = 1 − `confidence` (Conover 1999, Practical Nonparametric Statistics, 3.2). 100 values and p = 0.5 give ranks
/// 40 and 61, which cover 96.48 %.
///
/// An end is `None` when its rank is 0 or above n. The upper end is `None` too below [`min_n_for_upper_bound`] at 0.95
/// (59 values for p95, 299 for p99): the largest value is then no bound, whatever confidence was asked for. Both are
/// `None` for a `p` or a `confidence` outside (0, 1).
pub fn quantile_interval(sorted: &[f64], p: f64, confidence: f64) -> QuantileInterval {
    let Some((low, high)) = ranks(sorted.len() as u64, p, confidence) else {
        return QuantileInterval { lower: None, upper: None, coverage: 1.0 };
    };
    let n = sorted.len() as u64;
    let at = |rank: u64| {
        let index = usize::try_from(rank.checked_sub(1)?).ok()?;
        sorted.get(index).copied().filter(|value| value.is_finite())
    };
    let enough = min_n_for_upper_bound(p, LEAST_UPPER_CONFIDENCE).is_some_and(|least| n >= least);
    let (lower, upper) = (at(low), if enough { at(high) } else { None });
    // The quantile lies above rank l and below rank u when between l and u − 1 of the values are below it.
    let below_upper = if upper.is_some() { binomial_cdf(high - 1, n, p) } else { 1.0 };
    let below_lower = if lower.is_some() { binomial_cdf(low - 1, n, p) } else { 0.0 };
    QuantileInterval { lower, upper, coverage: (below_upper - below_lower).clamp(0.0, 1.0) }
}

/// The same for values that are worth only so many independent ones (`effective`, at most their number): the ranks of that
/// many, stretched over all values, each end outwards. With as many as there are values it is [`quantile_interval`].
pub fn effective_quantile_interval(sorted: &[f64], p: f64, confidence: f64, effective: f64) -> QuantileInterval {
    let all = sorted.len();
    if effective.is_nan() || effective < 1.0 {
        return QuantileInterval { lower: None, upper: None, coverage: 1.0 };
    }
    let fewer = (effective.floor() as usize).min(all);
    if fewer == all {
        return quantile_interval(sorted, p, confidence);
    }
    let stretch = all as f64 / fewer as f64;
    // Standing for the first and for the last of the values that each rank covers.
    let firsts: Vec<f64> = (0..fewer).map(|rank| sorted[(rank as f64 * stretch).floor() as usize]).collect();
    let lasts: Vec<f64> =
        (1..=fewer).map(|rank| sorted[((rank as f64 * stretch).ceil() as usize).clamp(1, all) - 1]).collect();
    let (low, high) = (quantile_interval(&firsts, p, confidence), quantile_interval(&lasts, p, confidence));
    QuantileInterval { lower: low.lower, upper: high.upper, coverage: low.coverage }
}

/// The ranks of the ends, from 0 (none) to n + 1 (none). `None` for numbers outside (0, 1).
fn ranks(n: u64, p: f64, confidence: f64) -> Option<(u64, u64)> {
    if !(p > 0.0 && p < 1.0 && confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let tail = (1.0 - confidence) / 2.0;
    Some((binomial_quantile(tail, n, p), binomial_quantile(1.0 - tail, n, p) + 1))
}

/// The smallest n for which the largest of n values is an upper bound of the quantile with one-sided `confidence`:
/// 1 − pⁿ ≥ confidence. 59 for p = 0.95 and 299 for p = 0.99 at 0.95. `None` for numbers outside (0, 1) and beyond 2⁵³.
pub fn min_n_for_upper_bound(p: f64, confidence: f64) -> Option<u64> {
    if !(p > 0.0 && p < 1.0 && confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let least = ((-confidence).ln_1p() / p.ln()).ceil().max(1.0);
    (least < 9e15).then_some(least as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::binomial_pmf;
    use crate::stats::check::near;

    fn counting(n: u32) -> Vec<f64> {
        (1..=n).map(f64::from).collect()
    }

    #[test]
    fn ranks_and_their_coverage() {
        for (n, p, low, high, coverage) in [
            (100, 0.5, 40.0, 61.0, Some(0.9648)),
            (200, 0.95, 184.0, 197.0, Some(0.9672)),
            (500, 0.95, 465.0, 485.0, None),
            (1000, 0.99, 983.0, 997.0, None),
        ] {
            let interval = quantile_interval(&counting(n), p, 0.95);
            assert_eq!((interval.lower, interval.upper), (Some(low), Some(high)));
            assert!(interval.coverage >= 0.95);
            if let Some(coverage) = coverage {
                near(interval.coverage, coverage, 5e-5);
            }
        }
    }

    #[test]
    fn small_samples_have_no_upper_bound_of_a_high_quantile() {
        assert_eq!(min_n_for_upper_bound(0.95, 0.95), Some(59));
        assert_eq!(min_n_for_upper_bound(0.99, 0.95), Some(299));
        assert_eq!(min_n_for_upper_bound(0.5, 0.5), Some(1));
        assert_eq!(min_n_for_upper_bound(1.0, 0.95), None);
        assert_eq!(min_n_for_upper_bound(f64::NAN, 0.95), None);
        for confidence in [0.5, 0.8, 0.9] {
            assert_eq!(quantile_interval(&counting(58), 0.95, confidence).upper, None);
            assert_eq!(quantile_interval(&counting(298), 0.99, confidence).upper, None);
        }
        assert_eq!(quantile_interval(&counting(59), 0.95, 0.9).upper, Some(59.0));
        assert_eq!(quantile_interval(&counting(299), 0.99, 0.9).upper, Some(299.0));
        // Two-sided 95 % leaves 2.5 % above: 0.95⁷¹ is more, 0.95⁷² less.
        assert_eq!(quantile_interval(&counting(71), 0.95, 0.95).upper, None);
        assert_eq!(quantile_interval(&counting(72), 0.95, 0.95).upper, Some(72.0));
        assert_eq!(quantile_interval(&counting(3), 0.1, 0.95).lower, None);
        let nothing = quantile_interval(&[], 0.5, 0.95);
        assert_eq!((nothing.lower, nothing.upper, nothing.coverage), (None, None, 1.0));
        assert_eq!(quantile_interval(&counting(9), f64::NAN, 0.95).lower, None);
        assert_eq!(quantile_interval(&counting(9), 0.5, 1.0).lower, None);
    }

    #[test]
    fn copies_of_values_are_no_further_values() {
        let once = counting(80);
        let thrice: Vec<f64> = once.iter().flat_map(|value| [*value; 3]).collect();
        for p in [0.5, 0.9, 0.95] {
            let (one, three) = (quantile_interval(&once, p, 0.95), effective_quantile_interval(&thrice, p, 0.95, 80.0));
            assert_eq!((one.lower, one.upper), (three.lower, three.upper));
        }
        assert_eq!(effective_quantile_interval(&thrice, 0.95, 0.95, 70.9).upper, None);
        assert_eq!(effective_quantile_interval(&once, 0.9, 0.95, 1e9), quantile_interval(&once, 0.9, 0.95));
        assert_eq!(effective_quantile_interval(&once, 0.9, 0.95, f64::NAN).lower, None);
    }

    #[test]
    fn the_definition_is_type_seven() {
        let mut values =
            [820., 910., 1005., 760., 1500., 880., 930., 1210., 640., 705., 990., 610., 1380., 700., 760., 900.];
        values.sort_unstable_by(f64::total_cmp);
        near(quantile(&values, 0.95).unwrap(), 1410.0, 1e-9);
        assert_eq!(quantile(&values, 0.0), Some(610.0));
        assert_eq!(quantile(&values, 1.0), Some(1500.0));
        assert_eq!(quantile(&[7.0], 0.3), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 1.1), None);
        assert_eq!(quantile(&[1.0], f64::NAN), None);
        assert_eq!(quantile(&[1.0, f64::NAN], 0.5), None);
        assert_eq!(quantile(&[1.0, f64::INFINITY], 0.5), None);
    }

    proptest! {
        #[test]
        fn coverage_is_the_chance_of_the_ranks(n in 1_u32..400, p in 0.01..0.99, confidence in 0.5..0.99) {
            // Values that are their own ranks.
            let interval = quantile_interval(&counting(n), p, confidence);
            let (low, high) = (interval.lower.unwrap_or(0.0) as u64, interval.upper.map_or(u64::MAX, |rank| rank as u64));
            let n = u64::from(n);
            let chance: f64 = (0..=n).filter(|k| low <= *k && *k < high).map(|k| binomial_pmf(k, n, p)).sum();
            prop_assert!((interval.coverage - chance).abs() < 1e-10);
            prop_assert!(interval.coverage >= confidence - 1e-10);
        }

        #[test]
        fn the_least_n_is_the_first_that_is_enough(p in 0.01..0.999_f64, confidence in 0.01..0.999) {
            let least = min_n_for_upper_bound(p, confidence).unwrap();
            let chance = |n: u64| 1.0 - p.powf(n as f64);
            prop_assert!(chance(least) >= confidence - 1e-12);
            prop_assert!(least == 1 || chance(least - 1) < confidence + 1e-12);
        }
    }
}
