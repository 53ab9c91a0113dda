//! Intervals of one proportion.

use super::binomial::binomial_cdf;
use super::normal::z;
use super::{Interval, bisect};

/// Wilson's score interval of a proportion (Wilson 1927, Journal of the American Statistical Association 22:209):
/// centre (p̂ + z²/2n)/(1 + z²/n), half-width z/(1 + z²/n)·√(p̂(1−p̂)/n + z²/4n²). 17 of 20 at 0.95 give
/// [0.639581, 0.947631]. `None` for `n = 0`, for more successes than trials and for a confidence outside (0, 1).
pub fn wilson(successes: u64, n: u64, confidence: f64) -> Option<Interval> {
    if successes > n {
        return None;
    }
    wilson_share(successes as f64 / n as f64, n as f64, z(confidence)?)
}

/// The same for a share of `trials` that need not be whole, with z in the place of the confidence. `None` for no trials
/// and for a share outside [0, 1].
pub(super) fn wilson_share(share: f64, trials: f64, z: f64) -> Option<Interval> {
    if !((0.0..=1.0).contains(&share) && trials > 0.0) {
        return None;
    }
    let scale = 1.0 + z * z / trials;
    let centre = (share + z * z / (2.0 * trials)) / scale;
    let half = z / scale * (share * (1.0 - share) / trials + (z / trials / 2.0).powi(2)).sqrt();
    // At the ends the formula gives 0 and 1 up to rounding; rounding must not push the interval off its own estimate.
    let lower = if share == 0.0 { 0.0 } else { (centre - half).clamp(0.0, share) };
    let upper = if share == 1.0 { 1.0 } else { (centre + half).clamp(share, 1.0) };
    Interval::checked(lower, upper)
}

/// The exact interval of a proportion (Clopper and Pearson 1934, Biometrika 26:404), never narrower than its confidence.
/// 17 of 20 at 0.95 give [0.621073, 0.967929]. `None` as for [`wilson`].
pub fn clopper_pearson(successes: u64, n: u64, confidence: f64) -> Option<Interval> {
    let one_sided = 0.5 + confidence / 2.0;
    let upper = exact_upper(successes, n, one_sided)?;
    // The lower end is the upper end of the failures, mirrored.
    let lower = 1.0 - exact_upper(n - successes, n, one_sided)?;
    z(confidence)?;
    Interval::checked(lower, upper)
}

/// The exact upper bound of a proportion with one-sided confidence: the p at which so few successes have probability
/// 1 − `confidence`. 0 of 30 at 0.95 give 0.095034. `None` for `n = 0`, for more successes than trials and for a
/// confidence outside (0, 1).
pub fn exact_upper(successes: u64, n: u64, confidence: f64) -> Option<f64> {
    if n == 0 || successes > n || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    if successes == n {
        return Some(1.0);
    }
    let tail = 1.0 - confidence;
    Some(bisect(0.0, 1.0, |p| binomial_cdf(successes, n, p) - tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::six;

    #[track_caller]
    fn is(interval: Option<Interval>, lower: f64, upper: f64) {
        let interval = interval.unwrap();
        six(interval.lower, lower);
        six(interval.upper, upper);
    }

    #[test]
    fn worked_numbers() {
        is(wilson(17, 20, 0.95), 0.639581, 0.947631);
        is(wilson(5, 5, 0.95), 0.565518, 1.0);
        is(wilson(850, 1000, 0.95), 0.826531, 0.870790);
        is(wilson(0, 30, 0.95), 0.0, 0.113513);
        is(clopper_pearson(17, 20, 0.95), 0.621073, 0.967929);
        six(exact_upper(0, 30, 0.95).unwrap(), 0.095034);
    }

    #[test]
    fn four_systems_on_1319_maths_questions() {
        is(wilson(286, 1319, 0.95), 0.195431, 0.239875);
        is(wilson(515, 1319, 0.95), 0.364474, 0.417057);
        is(wilson(458, 1319, 0.95), 0.322017, 0.373336);
        is(wilson(742, 1319, 0.95), 0.535633, 0.589099);
    }

    #[test]
    fn what_has_no_interval_has_none() {
        assert_eq!(wilson(0, 0, 0.95), None);
        assert_eq!(wilson(3, 2, 0.95), None);
        assert_eq!(clopper_pearson(3, 2, 0.95), None);
        assert_eq!(exact_upper(0, 0, 0.95), None);
        for bad in [0.0, 1.0, f64::NAN, -0.5, 7.0] {
            assert_eq!(wilson(1, 2, bad), None);
            assert_eq!(clopper_pearson(1, 2, bad), None);
            assert_eq!(exact_upper(1, 2, bad), None);
        }
        assert!(wilson(u64::MAX, u64::MAX, 0.95).is_some());
        assert!(clopper_pearson(u64::MAX / 3, u64::MAX, 0.95).is_some());
    }

    proptest! {
        #[test]
        fn intervals_hold_the_estimate_and_stay_in_bounds(n in 1_u64..20_000, share in 0.0..=1.0, confidence in 0.01..0.9999) {
            let successes = ((share * n as f64) as u64).min(n);
            let estimate = successes as f64 / n as f64;
            for interval in [wilson(successes, n, confidence), clopper_pearson(successes, n, confidence)] {
                let interval = interval.unwrap();
                prop_assert!(interval.contains(estimate), "{interval:?} {estimate}");
                prop_assert!(interval.lower >= 0.0 && interval.upper <= 1.0);
            }
            let mirrored = wilson(n - successes, n, confidence).unwrap();
            let interval = wilson(successes, n, confidence).unwrap();
            prop_assert!((interval.lower + mirrored.upper - 1.0).abs() < 1e-12);
        }
    }
}
