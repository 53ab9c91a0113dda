//! The normal distribution and Student's t.

use std::f64::consts::SQRT_2;

// The error function is not taken from statrs: in version 0.19 that has 12 digits right at best.
use libm::erfc;
use statrs::function::beta::checked_beta_reg;
use statrs::function::erf::erfc_inv;

use super::{bisect, probability};

/// Above this many degrees of freedom t is computed through the normal distribution. The continued fraction below it
/// loses digits as the degrees grow; where they meet both are right to 11 digits (9 far out, at p below 1e-70).
const MANY_DF: f64 = 1000.0;

/// The two-sided standard normal quantile: 1.959963984540054 for 0.95. `None` unless `confidence` lies in (0, 1).
pub fn z(confidence: f64) -> Option<f64> {
    normal_quantile(0.5 + confidence / 2.0).filter(|_| confidence > 0.0)
}

/// P(Z ≤ x) of the standard normal distribution, with full relative precision in the lower tail. The one
/// function here that answers a NaN with a NaN.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// The x with P(Z ≤ x) = `p`. `None` unless `p` lies in (0, 1).
pub fn normal_quantile(p: f64) -> Option<f64> {
    (p > 0.0 && p < 1.0).then(|| -SQRT_2 * erfc_inv(2.0 * p)).filter(|x| x.is_finite())
}

/// P(|T| ≥ |t|) for Student's t with `df` degrees of freedom, which need not be whole. `None` unless `df > 0` and `t` is
/// a number; an infinite `t` is far out, not an error.
///
/// Up to 1000 degrees of freedom this is the regularised incomplete beta function I(df/2, 1/2) at df/(df + t²); above,
/// the normal approximation of Hill (1970, Communications of the ACM 13:617, algorithm 395), whose error there is beyond
/// the eleventh digit.
pub fn t_two_sided_p(t: f64, df: f64) -> Option<f64> {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return None;
    }
    if t.is_infinite() {
        return Some(probability(0.0));
    }
    let p = if df > MANY_DF { tails_by_normal(t, df) } else { tails_by_beta(t, df) };
    p.is_finite().then(|| probability(p))
}

fn tails_by_beta(t: f64, df: f64) -> f64 {
    // Written so that a huge t does not overflow when squared.
    let ratio = t / df * t;
    // Near the centre the share t²/(df + t²) keeps digits that df/(df + t²), next to 1, has lost.
    let (near, far) = (ratio / (1.0 + ratio), 1.0 / (1.0 + ratio));
    let p = if near < 3.0 / (df + 5.0) {
        checked_beta_reg(0.5, df / 2.0, near).map(|inside| 1.0 - inside)
    } else {
        checked_beta_reg(df / 2.0, 0.5, far)
    };
    p.unwrap_or(f64::NAN)
}

fn tails_by_normal(t: f64, df: f64) -> f64 {
    if df.is_infinite() {
        return erfc(t.abs() / SQRT_2);
    }
    let a = df - 0.5;
    let b = 48.0 * a * a;
    let y = a * (t / df * t).ln_1p();
    let correction = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b) + y + 3.0;
    erfc((correction / b + 1.0) * y.sqrt() / SQRT_2)
}

/// P(T ≤ t) for Student's t. `None` as for [`t_two_sided_p`].
pub fn t_cdf(t: f64, df: f64) -> Option<f64> {
    let tail = t_two_sided_p(t, df)? / 2.0;
    Some(if t < 0.0 { tail } else { 1.0 - tail })
}

/// The t with P(T ≤ t) = `p`: 3.182446 for 0.975 and 3 degrees of freedom. `None` unless `p` lies in (0, 1), `df > 0`
/// and the quantile is finite (with few degrees of freedom and `p` next to 0 or 1 it may not be).
pub fn t_quantile(p: f64, df: f64) -> Option<f64> {
    if !(p > 0.0 && p < 1.0 && df > 0.0) {
        return None;
    }
    if p == 0.5 {
        return Some(0.0);
    }
    let both_tails = 2.0 * p.min(1.0 - p);
    let excess = |t: f64| t_two_sided_p(t, df).unwrap_or(0.0) - both_tails;
    let mut far = 1.0;
    while excess(far) > 0.0 {
        far *= 2.0;
        if !f64::is_finite(far) {
            return None;
        }
    }
    Some(bisect(0.0, far, excess) * (p - 0.5).signum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::{near, six};

    #[test]
    fn normal_quantiles_and_tails() {
        near(z(0.95).unwrap(), 1.959963984540054, 1e-14);
        near(z(0.90).unwrap(), 1.6448536269514722, 1e-14);
        near(z(0.99).unwrap(), 2.5758293035489004, 1e-14);
        near(normal_quantile(0.8).unwrap(), 0.8416212335729143, 1e-14);
        near(normal_cdf(1.959963984540054), 0.975, 1e-15);
        // Abramowitz and Stegun 26.2: the tail beyond 10.
        near(normal_cdf(-10.0) / 7.619853024160526e-24, 1.0, 1e-12);
        for bad in [0.0, 1.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(z(bad), None);
            assert_eq!(normal_quantile(bad), None);
        }
    }

    #[test]
    fn t_quantiles_of_the_printed_tables() {
        for (df, expected) in [
            (1.0, 12.706205),
            (2.0, 4.302653),
            (3.0, 3.182446),
            (9.0, 2.262157),
            (30.0, 2.042272),
            (100.0, 1.983972),
            (1000.0, 1.962339),
            (10_000.0, 1.960201),
        ] {
            six(t_quantile(0.975, df).unwrap(), expected);
            six(t_quantile(0.025, df).unwrap(), -expected);
        }
        // With one degree of freedom t is Cauchy's distribution, whose quantile is a tangent.
        near(t_quantile(0.9999, 1.0).unwrap(), (0.4999 * std::f64::consts::PI).tan(), 1e-6);
        assert_eq!(t_quantile(0.5, 7.0), Some(0.0));
    }

    #[test]
    fn the_two_ways_to_t_meet_where_one_hands_over_to_the_other() {
        // From the finite series of even degrees of freedom (Abramowitz and Stegun 26.7.4), summed with 150 digits.
        for (t, thousand, ten_thousand) in [
            (0.01, 9.9202328193218e-1, 9.9202148684935e-1),
            (0.3, 7.6423950416724e-1, 7.6418339122933e-1),
            (1.0, 3.1755241808467e-1, 3.1733470433042e-1),
            (1.96, 5.0273184955748e-2, 5.0023520231833e-2),
            (4.0, 6.8009919208781e-5, 6.3798668823139e-5),
            (8.0, 3.4266614823914e-15, 1.3821208729065e-15),
            (20.0, 4.0622884995247e-75, 2.7646525865407e-87),
        ] {
            let tolerance = if t > 10.0 { 1e-9 } else { 1e-11 };
            near(tails_by_beta(t, MANY_DF) / thousand, 1.0, tolerance);
            near(tails_by_normal(t, MANY_DF) / thousand, 1.0, tolerance);
            near(t_two_sided_p(t, 10_000.0).unwrap() / ten_thousand, 1.0, tolerance);
        }
        // The first terms of the Cornish-Fisher expansion of t, exact to 14 digits at so many degrees of freedom.
        let z = 1.959963984540054_f64;
        for df in [1e5, 1e6, 1e9, 1e15] {
            let expected =
                z + (z.powi(3) + z) / (4.0 * df) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * df * df);
            near(t_quantile(0.975, df).unwrap(), expected, 2e-13);
        }
        near(t_quantile(0.975, f64::INFINITY).unwrap(), z, 1e-13);
    }

    #[test]
    fn bad_input_is_no_number_and_no_panic() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1.0, 1e308, 1e-308, 0.3];
        for a in odd {
            for b in odd {
                for result in [t_quantile(a, b), t_two_sided_p(a, b), t_cdf(a, b)].into_iter().flatten() {
                    assert!(result.is_finite(), "{a} {b}");
                }
            }
        }
        assert_eq!(t_two_sided_p(f64::NAN, 3.0), None);
        assert_eq!(t_two_sided_p(1.0, 0.0), None);
    }

    proptest! {
        #[test]
        fn the_normal_quantile_undoes_the_distribution(exponent in -300.0..-0.31) {
            let p = 10_f64.powf(exponent);
            prop_assert!((normal_cdf(normal_quantile(p).unwrap()) / p - 1.0).abs() < 1e-11, "{p}");
        }

        #[test]
        fn the_quantile_undoes_the_distribution(p in 0.0001..0.9999, df in 0.5..5000.0) {
            let t = t_quantile(p, df).unwrap();
            prop_assert!((t_cdf(t, df).unwrap() - p).abs() < 1e-12);
        }
    }
}
