//! Yes/no marks of two candidates on the same samples. Throughout, `b` counts the pairs that only the candidate got
//! right, `c` those that only the baseline got right, and `n` all pairs.

use libm::erfc;

use super::binomial::{binomial_cdf, binomial_pmf};
use super::normal::{normal_cdf, z};
use super::{Interval, bisect, probability};

/// McNemar's test as the reports use it: exact below 25 discordant pairs, mid-p from there on, where the exact test is
/// needlessly cautious. Two-sided; 1 when no pair differs.
pub fn mcnemar_p(b: u64, c: u64) -> f64 {
    if b.saturating_add(c) < 25 { mcnemar_exact(b, c) } else { mcnemar_mid(b, c) }
}

/// McNemar's exact test, two-sided: 2·P(Bin(b+c, ½) ≤ min(b, c)), at most 1 (McNemar 1947, Psychometrika 12:153). 1 and
/// 7 give 0.0703125. 1 when no pair differs.
pub fn mcnemar_exact(b: u64, c: u64) -> f64 {
    probability(2.0 * binomial_cdf(b.min(c), b.saturating_add(c), 0.5))
}

/// McNemar's mid-p test, two-sided: the exact p less P(Bin(b+c, ½) = min(b, c)) (Fagerland, Lydersen and Laake 2013, BMC
/// Medical Research Methodology 13:91). 1 and 7 give 0.0390625. 1 when no pair differs.
pub fn mcnemar_mid(b: u64, c: u64) -> f64 {
    if b == c {
        return 1.0;
    }
    let (least, all) = (b.min(c), b.saturating_add(c));
    probability(2.0 * binomial_cdf(least, all, 0.5) - binomial_pmf(least, all, 0.5))
}

/// McNemar's chi-squared statistic with one degree of freedom and its p: (b−c)²/(b+c), or with the correction of
/// Edwards (1948, Psychometrika 13:185) (|b−c|−1)²/(b+c). (0, 1) when no pair differs.
pub fn mcnemar_chi2(b: u64, c: u64, corrected: bool) -> (f64, f64) {
    if b == 0 && c == 0 {
        return (0.0, 1.0);
    }
    let difference = b.abs_diff(c) as f64;
    let difference = if corrected { (difference - 1.0).max(0.0) } else { difference };
    let statistic = difference * difference / (b as f64 + c as f64);
    (statistic, probability(erfc((statistic / 2.0).sqrt())))
}

/// Tango's score interval of the difference (b − c)/n (Tango 1998, Statistics in Medicine 17:891): the differences δ that
/// the score statistic T(δ) does not reject. 40 and 20 of 160 at 0.95 give [0.030865, 0.218064].
///
/// `None` for `n = 0`, for `b + c > n` and for a confidence outside (0, 1).
pub fn tango(b: u64, c: u64, n: u64, confidence: f64) -> Option<Interval> {
    if n == 0 || b.checked_add(c)? > n {
        return None;
    }
    let z = z(confidence)?;
    let lower = lower_limit(b as f64, c as f64, n as f64, z);
    // Swapping the two counts mirrors the interval; so the two ends are found by the same steps.
    let upper = -lower_limit(c as f64, b as f64, n as f64, z);
    Interval::checked(lower, upper)
}

/// The δ between −1 and the estimate at which T(δ) = z; counts need not be whole.
pub(super) fn lower_limit(b: f64, c: f64, n: f64, z: f64) -> f64 {
    bisect(-1.0, (b - c) / n, |delta| {
        let (distance, variance) = score(b, c, n, delta);
        distance - z * variance.sqrt()
    })
}

/// Tango's test that the candidate is not worse than the baseline by `margin` or more: z = T(−margin) and the one-sided
/// p = 1 − Φ(z). It passes at level α exactly when the lower end of the 1 − 2α interval of [`tango`] lies above
/// −`margin`. 12 and 20 of 500 with margin 0.05 give 2.674767 and 0.003739.
///
/// `None` for `n = 0`, for `b + c > n`, and for a margin outside [0, 1). With a margin of 0 and no pair that differs, z is
/// 0 and p 0.5.
pub fn tango_non_inferior(b: u64, c: u64, n: u64, margin: f64) -> Option<(f64, f64)> {
    if n == 0 || b.checked_add(c)? > n || !(0.0..1.0).contains(&margin) {
        return None;
    }
    let z = statistic(b as f64, c as f64, n as f64, -margin)?;
    Some((z, probability(normal_cdf(-z))))
}

/// T(δ) = (b − c − nδ)/√(n(2q + δ(1−δ))); counts need not be whole. `None` when it is not finite.
pub(super) fn statistic(b: f64, c: f64, n: f64, delta: f64) -> Option<f64> {
    let (distance, variance) = score(b, c, n, delta);
    if distance == 0.0 {
        return Some(0.0);
    }
    Some(distance / variance.sqrt()).filter(|t| t.is_finite())
}

/// The numerator of T(δ) and the square of its denominator, both per pair and scaled by n: (b−c)/n − δ and
/// (2q + δ(1−δ))/n, where q is the likeliest share of baseline-only pairs given δ.
fn score(b: f64, c: f64, n: f64, delta: f64) -> (f64, f64) {
    if delta < 0.0 {
        // 2q and δ(1−δ) would cancel; in the mirrored table neither is negative.
        let (distance, variance) = score(c, b, n, -delta);
        return (-distance, variance);
    }
    let (b, c) = (b / n, c / n);
    let linear = (2.0 - b + c) * delta - b - c;
    let constant = -c * delta * (1.0 - delta);
    let root = (linear * linear - 8.0 * constant).max(0.0).sqrt();
    // The larger root of 2q² + linear·q + constant, in the form that does not subtract.
    let q = if linear <= 0.0 { (root - linear) / 4.0 } else { -2.0 * constant / (linear + root) };
    (b - c - delta, (2.0 * q + delta * (1.0 - delta)) / n)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::{near, six};

    #[track_caller]
    fn is(b: u64, c: u64, n: u64, confidence: f64, lower: f64, upper: f64) {
        let interval = tango(b, c, n, confidence).unwrap();
        six(interval.lower, lower);
        six(interval.upper, upper);
    }

    #[test]
    fn mcnemar_of_approval_ratings() {
        // Agresti 1990, table 10.1: 794 and 570 agree, 86 and 150 differ.
        let (corrected, p) = mcnemar_chi2(150, 86, true);
        six(corrected, 16.817797);
        near(p, 4.11456e-05, 5e-11);
        let (plain, p) = mcnemar_chi2(150, 86, false);
        six(plain, 17.355932);
        near(p, 3.09929e-05, 5e-11);
        // Twice the sum of the binomial coefficients of 236 up to 86 over 2²³⁶, in whole numbers.
        near(mcnemar_exact(150, 86), 3.715936139571442e-05, 1e-17);
        near(mcnemar_mid(150, 86), 2.89339e-05, 5e-11);
        assert_eq!(mcnemar_p(150, 86), mcnemar_mid(150, 86));
    }

    #[test]
    fn mcnemar_of_small_counts() {
        for (b, c, exact, mid) in [
            (1, 7, 0.0703125, 0.0390625),
            (6, 16, 0.052479, 0.034690),
            (3, 12, 0.035156, 0.021271),
            (12, 20, 0.215327, 0.162756),
        ] {
            six(mcnemar_exact(b, c), exact);
            six(mcnemar_mid(b, c), mid);
            assert_eq!(mcnemar_p(b, c), if b + c < 25 { mcnemar_exact(b, c) } else { mcnemar_mid(b, c) });
        }
        assert_eq!((mcnemar_p(0, 0), mcnemar_exact(0, 0), mcnemar_mid(0, 0)), (1.0, 1.0, 1.0));
        assert_eq!(mcnemar_chi2(0, 0, true), (0.0, 1.0));
        assert_eq!(mcnemar_chi2(3, 3, true), (0.0, 1.0));
        assert_eq!((mcnemar_exact(9, 9), mcnemar_mid(9, 9)), (1.0, 1.0));
    }

    #[test]
    fn mcnemar_of_four_systems_on_1319_maths_questions() {
        near(mcnemar_exact(209, 152), 0.0031507, 5e-8);
        near(mcnemar_chi2(209, 152, false).0, 9.0, 5e-5);
        near(mcnemar_chi2(209, 152, true).0, 8.6870, 5e-5);
        near(mcnemar_exact(76, 360), 2.891394635034685e-45, 1e-57);
    }

    #[test]
    fn mcnemar_of_millions_is_quick_and_never_nought() {
        let (_, chi2) = mcnemar_chi2(2_001_000, 1_999_000, true);
        near(mcnemar_exact(2_001_000, 1_999_000) / chi2, 1.0, 1e-5);
        assert_eq!(mcnemar_exact(0, 5_000_000), f64::MIN_POSITIVE);
        assert_eq!(mcnemar_p(u64::MAX, 0), f64::MIN_POSITIVE);
        near(mcnemar_exact(u64::MAX / 2, u64::MAX / 2), 1.0, 1e-6);
    }

    #[test]
    fn tango_intervals() {
        is(40, 20, 160, 0.95, 0.030865, 0.218064);
        is(1, 7, 21, 0.95, -0.517232, -0.026003);
        is(6, 16, 161, 0.95, -0.124023, -0.005433);
        is(12, 20, 500, 0.95, -0.039887, 0.006524);
        is(12, 20, 500, 0.90, -0.035712, 0.002715);
        is(9, 21, 1000, 0.95, -0.023899, -0.001350);
    }

    #[test]
    fn non_inferiority() {
        for (b, c, n, margin, z, p) in [
            (12, 20, 500, 0.05, 2.674767, 0.003739),
            (12, 20, 500, 0.03, 1.193656, 0.116306),
            (9, 21, 1000, 0.02, 1.369442, 0.085431),
        ] {
            let (found_z, found_p) = tango_non_inferior(b, c, n, margin).unwrap();
            six(found_z, z);
            six(found_p, p);
        }
        assert_eq!(tango_non_inferior(0, 0, 9, 0.0), Some((0.0, 0.5)));
        for bad in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(tango_non_inferior(1, 2, 9, bad), None);
        }
        assert_eq!(tango_non_inferior(0, 0, 0, 0.1), None);
        assert_eq!(tango_non_inferior(6, 6, 9, 0.1), None);
    }

    #[test]
    fn tables_at_the_edge_have_closed_forms() {
        let z2 = z(0.95).unwrap().powi(2);
        for n in [1, 2, 30, 1_000_000, u64::MAX] {
            let trials = n as f64;
            // No pair differs: ± z²/(n + z²), as Wilson's upper end of 0 in n.
            let none = tango(0, 0, n, 0.95).unwrap();
            near(none.upper / (z2 / (trials + z2)), 1.0, 1e-9);
            assert_eq!(none.lower, -none.upper);
            // Every pair differs in one way: (n − z²)/(n + z²) to 1.
            let all = tango(n, 0, n, 0.95).unwrap();
            near(all.lower, (trials - z2) / (trials + z2), 1e-9);
            assert_eq!(all.upper, 1.0);
            let all = tango(0, n, n, 0.95).unwrap();
            assert_eq!(all.lower, -1.0);
        }
        assert_eq!(tango(0, 0, 0, 0.95), None);
        assert_eq!(tango(2, 2, 3, 0.95), None);
        assert_eq!(tango(u64::MAX, 2, u64::MAX, 0.95), None);
        assert_eq!(tango(1, 2, 3, 1.0), None);
    }

    /// The log likelihood of the table when the baseline-only share is `q` and the candidate-only share `q + delta`.
    fn likelihood(b: f64, c: f64, n: f64, delta: f64, q: f64) -> f64 {
        let term = |count: f64, share: f64| if count == 0.0 { 0.0 } else { count * share.ln() };
        term(b, q + delta) + term(c, q) + term(n - b - c, 1.0 - 2.0 * q - delta)
    }

    proptest! {
        #[test]
        fn tango_holds_the_estimate_and_mirrors(n in 1_u64..5000, one in 0.0..=1.0, two in 0.0..=1.0, confidence in 0.05..0.999) {
            let b = (one * n as f64) as u64;
            let c = (two * (n - b) as f64) as u64;
            let interval = tango(b, c, n, confidence).unwrap();
            let estimate = (b as f64 - c as f64) / n as f64;
            prop_assert!(interval.contains(estimate) && interval.lower >= -1.0 && interval.upper <= 1.0);
            let mirrored = tango(c, b, n, confidence).unwrap();
            prop_assert_eq!((mirrored.lower, mirrored.upper), (-interval.upper, -interval.lower));
            let wider = tango(b, c, n, 0.5 + confidence / 2.0).unwrap();
            prop_assert!(wider.lower <= interval.lower && wider.upper >= interval.upper);
        }

        #[test]
        fn the_test_and_the_interval_agree(n in 1_u64..3000, one in 0.0..0.5, two in 0.0..0.5, margin in 0.001..0.5) {
            let (b, c) = ((one * n as f64) as u64, (two * n as f64) as u64);
            let (statistic, p) = tango_non_inferior(b, c, n, margin).unwrap();
            let lower = tango(b, c, n, 0.90).unwrap().lower;
            // Next to the bar rounding decides.
            if (statistic - z(0.90).unwrap()).abs() > 1e-9 {
                prop_assert_eq!(p < 0.05, lower > -margin);
            }
        }

        #[test]
        fn q_is_the_likeliest_share(n in 2_u64..500, one in 0.05..0.5_f64, two in 0.05..0.5_f64, delta in 0.0..0.9) {
            let (n, b, c) = (n as f64, (one * n as f64).ceil(), (two * n as f64).floor());
            let (_, variance) = score(b, c, n, delta);
            let q = (variance * n - delta * (1.0 - delta)) / 2.0;
            let best = likelihood(b, c, n, delta, q.max(1e-300));
            for step in [-1e-3, 1e-3, -0.02, 0.02] {
                let other = q + step;
                if other > 0.0 && 1.0 - 2.0 * other - delta > 0.0 {
                    prop_assert!(likelihood(b, c, n, delta, other) <= best + 1e-7, "{q} {other}");
                }
            }
        }

        #[test]
        fn mcnemar_is_symmetric_and_a_probability(b in 0_u64..5000, c in 0_u64..5000) {
            for test in [mcnemar_p, mcnemar_exact, mcnemar_mid] {
                let p = test(b, c);
                prop_assert!(p > 0.0 && p <= 1.0);
                prop_assert_eq!(p, test(c, b));
            }
            prop_assert!(mcnemar_mid(b, c) <= mcnemar_exact(b, c));
            prop_assert_eq!(mcnemar_chi2(b, c, true), mcnemar_chi2(c, b, true));
        }
    }
}
