//! Ratios: of two means over the same cases (cost per success), and of paired measurements (latency).

use super::Interval;
use super::mean::{clustered_mean, mean};
use super::normal::{t_quantile, z};

/// A ratio with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioEstimate {
    /// The ratio.
    pub ratio: f64,
    /// Standard error: of the ratio itself from [`ratio_of_means`], of its natural logarithm from [`paired_log_ratio`].
    pub se: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// Pairs.
    pub n: u64,
    /// The interval of the confidence asked for.
    pub interval: Interval,
}

/// Σnumerator ÷ Σdenominator over cases, linearised: SE = √(Σ(x − R·y)²/(n−1)/n)/ȳ with n−1 degrees of freedom (Cochran
/// 1977, Sampling Techniques, 2.11). Costs 0.010 0.012 0.009 0.030 0.011 0.010 0.014 0.012 over successes 1 1 0 1 1 0 1 1
/// give 0.018 a success, SE 0.004086.
///
/// The interval is symmetric; with few cases or a denominator near 0 it is an approximation. `None` below 2 cases, when
/// the slices differ in length, when the denominator's sum is 0, when something is not finite, and for a confidence
/// outside (0, 1).
pub fn ratio_of_means(numerator: &[f64], denominator: &[f64], confidence: f64) -> Option<RatioEstimate> {
    let n = numerator.len();
    if n < 2 || denominator.len() != n {
        return None;
    }
    z(confidence)?;
    let sum: f64 = denominator.iter().sum();
    let ratio = numerator.iter().sum::<f64>() / sum;
    let squares: f64 = numerator.iter().zip(denominator).map(|(x, y)| (x - ratio * y).powi(2)).sum();
    let (count, df) = (n as f64, (n - 1) as f64);
    let se = (squares / df / count).sqrt() / (sum / count).abs();
    let half = t_quantile(0.5 + confidence / 2.0, df)? * se;
    let interval = Interval::checked(ratio - half, ratio + half)?;
    Some(RatioEstimate { ratio, se, df, n: n as u64, interval })
}

/// The same over cases that come in clusters: the linearised deviations (x − R·y)/ȳ, whose mean is 0, get the error of a
/// clustered mean ([`clustered_mean`](super::clustered_mean)), with clusters − 1 degrees of freedom.
///
/// `None` below 2 clusters, and as for [`ratio_of_means`].
pub fn clustered_ratio_of_means(
    numerator: &[f64],
    denominator: &[f64],
    cluster_of: &[u32],
    confidence: f64,
) -> Option<RatioEstimate> {
    let n = numerator.len();
    if n < 2 || denominator.len() != n {
        return None;
    }
    let sum: f64 = denominator.iter().sum();
    let ratio = numerator.iter().sum::<f64>() / sum;
    let centre = sum / n as f64;
    let deviations: Vec<f64> = numerator.iter().zip(denominator).map(|(x, y)| (x - ratio * y) / centre).collect();
    let deviation = clustered_mean(&deviations, cluster_of, confidence)?;
    let half = t_quantile(0.5 + confidence / 2.0, deviation.df)? * deviation.se;
    let interval = Interval::checked(ratio - half, ratio + half)?;
    Some(RatioEstimate { ratio, se: deviation.se, df: deviation.df, n: n as u64, interval })
}

/// The typical factor from baseline to candidate over paired measurements: the geometric mean of candidate ÷ baseline,
/// with Student's t on the logarithms. Below 1 the candidate is less (faster, shorter, cheaper).
///
/// `None` below 2 pairs, when the slices differ in length, when a measurement is not positive and finite, when the result
/// is not finite, and for a confidence outside (0, 1).
pub fn paired_log_ratio(baseline: &[f64], candidate: &[f64], confidence: f64) -> Option<RatioEstimate> {
    let usable = |value: &f64| *value > 0.0 && value.is_finite();
    if baseline.len() != candidate.len() || !baseline.iter().chain(candidate).all(usable) {
        return None;
    }
    // A difference of logarithms, for a quotient of extreme values overflows.
    let logs: Vec<f64> = baseline.iter().zip(candidate).map(|(a, b)| b.ln() - a.ln()).collect();
    let estimate = mean(&logs, confidence)?;
    let interval = Interval::checked(estimate.interval.lower.exp(), estimate.interval.upper.exp())?;
    Some(RatioEstimate { ratio: estimate.mean.exp(), se: estimate.se, df: estimate.df, n: estimate.n, interval })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::{near, six};

    const BEFORE: [f64; 8] = [820., 910., 1005., 760., 1500., 880., 930., 1210.];
    const AFTER: [f64; 8] = [640., 705., 990., 610., 1380., 700., 760., 900.];

    #[test]
    fn cost_per_success() {
        let cost = [0.010, 0.012, 0.009, 0.030, 0.011, 0.010, 0.014, 0.012];
        let right = [1., 1., 0., 1., 1., 0., 1., 1.];
        let estimate = ratio_of_means(&cost, &right, 0.95).unwrap();
        near(estimate.ratio, 0.018, 1e-15);
        six(estimate.se, 0.004086);
        let half = 2.364624 * estimate.se;
        near(estimate.interval.lower, 0.018 - half, 1e-8);
        near(estimate.interval.upper, 0.018 + half, 1e-8);
        assert_eq!((estimate.n, estimate.df), (8, 7.0));
    }

    #[test]
    fn cost_per_success_in_clusters() {
        let cost = [0.010, 0.012, 0.009, 0.030, 0.011, 0.010, 0.014, 0.012];
        let right = [1., 1., 0., 1., 1., 0., 1., 1.];
        // Clusters of one: the same error but for the factor C/(C−1), which is n/(n−1) there, too.
        let single: Vec<u32> = (0..8).collect();
        let estimate = clustered_ratio_of_means(&cost, &right, &single, 0.95).unwrap();
        six(estimate.se, 0.004086);
        assert_eq!((estimate.n, estimate.df), (8, 7.0));
        // Pairs: deviations (x − 0.018·y)/0.75 summed by pair are −14, 21, 3, −10 thousandths ÷ 0.75, and
        // √(4/3·(196 + 441 + 9 + 100))/0.75/8 thousandths are 0.005256.
        let pairs = [0, 0, 1, 1, 2, 2, 3, 3];
        let estimate = clustered_ratio_of_means(&cost, &right, &pairs, 0.95).unwrap();
        near(estimate.ratio, 0.018, 1e-15);
        six(estimate.se, 0.005256);
        assert_eq!(estimate.df, 3.0);
        assert_eq!(clustered_ratio_of_means(&cost, &right, &[0; 8], 0.95), None);
        assert_eq!(clustered_ratio_of_means(&cost, &[0.0; 8], &pairs, 0.95), None);
        assert_eq!(clustered_ratio_of_means(&cost, &right, &pairs[1..], 0.95), None);
    }

    #[test]
    fn latency_of_a_faster_candidate() {
        let estimate = paired_log_ratio(&BEFORE, &AFTER, 0.95).unwrap();
        six(estimate.ratio, 0.824065);
        six(estimate.interval.lower, 0.761109);
        six(estimate.interval.upper, 0.892228);
    }

    #[test]
    fn what_has_no_ratio_has_none() {
        assert_eq!(ratio_of_means(&[1.0, 2.0], &[0.0, 0.0], 0.95), None);
        assert_eq!(ratio_of_means(&[0.0, 0.0], &[0.0, 0.0], 0.95), None);
        assert_eq!(ratio_of_means(&[1.0], &[1.0], 0.95), None);
        assert_eq!(ratio_of_means(&[1.0, 2.0], &[1.0], 0.95), None);
        assert_eq!(ratio_of_means(&[1.0, f64::NAN], &[1.0, 1.0], 0.95), None);
        assert_eq!(ratio_of_means(&[1.0, 2.0], &[1.0, 1.0], 1.0), None);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(paired_log_ratio(&[1.0, bad], &[1.0, 2.0], 0.95), None);
            assert_eq!(paired_log_ratio(&[1.0, 2.0], &[1.0, bad], 0.95), None);
        }
        assert_eq!(paired_log_ratio(&[1.0, 2.0], &[1.0], 0.95), None);
        assert_eq!(paired_log_ratio(&[], &[], 0.95), None);
        // Factors of 10^±600 have a geometric mean, but no finite interval.
        assert_eq!(paired_log_ratio(&[1e-300, 1e300], &[1e300, 1e-300], 0.95), None);
    }

    proptest! {
        #[test]
        fn swapping_the_two_inverts_the_factor(pairs in prop::collection::vec((0.1..1e4, 0.1..1e4), 2..40)) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (there, back) = (paired_log_ratio(&a, &b, 0.9), paired_log_ratio(&b, &a, 0.9));
            let (Some(there), Some(back)) = (there, back) else { return Ok(()) };
            prop_assert!((there.ratio * back.ratio - 1.0).abs() < 1e-9);
            prop_assert!(there.interval.contains(there.ratio));
            prop_assert!((there.interval.lower * back.interval.upper - 1.0).abs() < 1e-9);
        }
    }
}
