//! Means with standard errors: of independent values, of clustered ones, of repeats, and of two unpaired samples.

use std::collections::BTreeMap;

use super::Interval;
use super::normal::{t_quantile, t_two_sided_p};

/// A mean with its standard error and Student-t interval, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanEstimate {
    /// The mean, or a difference of means.
    pub mean: f64,
    /// Its standard error; 0 when the values do not vary.
    pub se: f64,
    /// Degrees of freedom of the t distribution; need not be whole.
    pub df: f64,
    /// Values behind the mean.
    pub n: u64,
    /// The interval of the confidence asked for.
    pub interval: Interval,
}

impl MeanEstimate {
    /// `None` when something is not finite.
    fn checked(mean: f64, se: f64, df: f64, n: u64, confidence: f64) -> Option<MeanEstimate> {
        if !(confidence > 0.0 && mean.is_finite() && se.is_finite()) {
            return None;
        }
        let half = t_quantile(0.5 + confidence / 2.0, df)? * se;
        Some(MeanEstimate { mean, se, df, n, interval: Interval::checked(mean - half, mean + half)? })
    }

    /// The variance that as many independent values would need for this standard error: n·se², for sizing. For
    /// clustered values that is their variance inflated by the design effect.
    pub fn variance(&self) -> f64 {
        self.se * self.se * self.n as f64
    }

    /// Mean ÷ standard error. `None` when the standard error is 0.
    pub fn t(&self) -> Option<f64> {
        (self.se > 0.0).then(|| self.mean / self.se).filter(|t| t.is_finite())
    }

    /// Two-sided p of a mean of 0 by Student's t. When no value varies it is 1 for a mean of 0, and `None` for any
    /// other: there is then no scale to hold the mean against.
    pub fn p_value(&self) -> Option<f64> {
        match self.t() {
            Some(t) => t_two_sided_p(t, self.df),
            None => (self.mean == 0.0).then_some(1.0),
        }
    }
}

/// Mean and sum of squared deviations. Values are taken from the first one, so that values which are all alike have
/// exactly that mean and no variance. `None` for no values, and when something is not finite.
fn centre(values: &[f64]) -> Option<(f64, f64)> {
    let first = *values.first()?;
    let mean = first + values.iter().map(|value| value - first).sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean.is_finite() && squares.is_finite()).then_some((mean, squares))
}

/// The mean of independent values, with SE = √(Σ(s−s̄)²/(n−1)/n) and n−1 degrees of freedom. On paired differences this
/// is the paired t test (`p_value`); see Miller 2024, "Adding Error Bars to Evals", arXiv:2411.00640.
///
/// `None` below 2 values, when a value or result is not finite, and for a confidence outside (0, 1). Values without any
/// variance are fine: their standard error is 0.
pub fn mean(values: &[f64], confidence: f64) -> Option<MeanEstimate> {
    let n = values.len();
    if n < 2 {
        return None;
    }
    let (mean, squares) = centre(values)?;
    let df = (n - 1) as f64;
    MeanEstimate::checked(mean, (squares / df / n as f64).sqrt(), df, n as u64, confidence)
}

/// The mean of values that come in clusters (several questions on one text), whose deviations are summed within each
/// cluster c before they are squared: SE² = C/(C−1)·Σ_c(Σ_{i∈c}(s_i − s̄))²/n², with C−1 degrees of freedom for C
/// clusters. The sum is CR0 (Liang and Zeger 1986; Miller 2024, arXiv:2411.00640); the factor corrects for few clusters.
/// `cluster_of[i]` names the cluster of `values[i]`; the names need not be dense.
///
/// `None` below 2 clusters, when the slices differ in length, and as for [`mean`].
pub fn clustered_mean(values: &[f64], cluster_of: &[u32], confidence: f64) -> Option<MeanEstimate> {
    if values.len() != cluster_of.len() {
        return None;
    }
    let (mean, _) = centre(values)?;
    let (index, clusters) = dense(cluster_of);
    if clusters < 2 {
        return None;
    }
    let mut sums = vec![0.0; clusters];
    for (value, cluster) in values.iter().zip(&index) {
        sums[*cluster as usize] += value - mean;
    }
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let (n, clusters) = (values.len() as f64, clusters as f64);
    let se = (squares * clusters / (clusters - 1.0)).sqrt() / n;
    MeanEstimate::checked(mean, se, clusters - 1.0, values.len() as u64, confidence)
}

/// Names of groups as indices from 0 in ascending order of the names, and how many groups there are.
pub(super) fn dense(names: &[u32]) -> (Vec<u32>, usize) {
    let mut known = names.to_vec();
    known.sort_unstable();
    known.dedup();
    let index = names.iter().map(|name| known.partition_point(|other| other < name) as u32).collect();
    (index, known.len())
}

/// The difference of two means of *unpaired* samples, first − second: SE = √(SE_A² + SE_B²) with the degrees of freedom
/// of Welch (1947, Biometrika 34:28). For runs that share no samples; paired samples deserve [`mean`] of their
/// differences, which is tighter. `n` of the result is the smaller of the two. `None` when something is not finite.
pub fn welch(first: &MeanEstimate, second: &MeanEstimate, confidence: f64) -> Option<MeanEstimate> {
    let (a, b) = (first.se * first.se, second.se * second.se);
    // Without any variance the degrees of freedom do not matter, only that there are some.
    let df = if a + b > 0.0 { 1.0 / (share(a, a + b, first.df) + share(b, a + b, second.df)) } else { first.df };
    MeanEstimate::checked(first.mean - second.mean, (a + b).sqrt(), df, first.n.min(second.n), confidence)
}

fn share(part: f64, whole: f64, df: f64) -> f64 {
    (part / whole).powi(2) / df
}

/// Where the variance of repeated answers comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VarianceComponents {
    /// Variance of one answer about its case's own mean (σ²).
    pub within: f64,
    /// Variance of the cases' true means about the overall mean (ω²).
    pub between: f64,
}

/// Splits the variance of repeated answers by the analysis of variance: within = pooled variance inside the cases,
/// between = variance of the cases' means − within × mean(1/K). More repeats lower only the first. `case_of[i]` names
/// the case of `values[i]`.
///
/// `between` is held at 0 when sampling noise would make it negative. `None` below 2 cases, when no case has 2 values,
/// when the slices differ in length or when something is not finite.
pub fn variance_components(values: &[f64], case_of: &[u32]) -> Option<VarianceComponents> {
    if values.len() != case_of.len() {
        return None;
    }
    let mut cases: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (value, case) in values.iter().zip(case_of) {
        cases.entry(*case).or_default().push(*value);
    }
    let centres: Vec<(f64, f64)> = cases.values().map(|case| centre(case)).collect::<Option<_>>()?;
    let spare = values.len() - cases.len();
    if cases.len() < 2 || spare == 0 {
        return None;
    }
    let within = centres.iter().map(|(_, squares)| squares).sum::<f64>() / spare as f64;
    let means: Vec<f64> = centres.iter().map(|(mean, _)| *mean).collect();
    let (_, squares) = centre(&means)?;
    let count = cases.len() as f64;
    let inverse = cases.values().map(|case| 1.0 / case.len() as f64).sum::<f64>() / count;
    let between = (squares / (count - 1.0) - within * inverse).max(0.0);
    (within.is_finite() && between.is_finite()).then_some(VarianceComponents { within, between })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::{near, six};

    const A: [f64; 10] = [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    const B: [f64; 10] = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];

    #[test]
    fn clusters_widen_the_error() {
        let values = [1., 1., 0., 1., 1., 1., 0., 0., 1., 0., 0., 0.];
        let cluster_of = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3];
        let plain = mean(&values, 0.95).unwrap();
        near(plain.mean, 0.5, 1e-15);
        six(plain.se, 0.150756);
        let clustered = clustered_mean(&values, &cluster_of, 0.95).unwrap();
        near(clustered.mean, 0.5, 1e-15);
        six(clustered.se, 0.204124);
        six(clustered.se * (3.0_f64 / 4.0).sqrt(), 0.176777);
        near(clustered.df, 3.0, 0.0);
        six((clustered.interval.upper - clustered.mean) / clustered.se, 3.182446);
        // Names of clusters mean nothing.
        let renamed = cluster_of.map(|cluster| u32::MAX - 7 * cluster);
        near(clustered_mean(&values, &renamed, 0.95).unwrap().se, clustered.se, 1e-15);
        // Every value its own cluster: the plain error again.
        let alone: Vec<u32> = (0..12).collect();
        near(clustered_mean(&values, &alone, 0.95).unwrap().se, plain.se, 1e-15);
    }

    #[test]
    fn clustered_differences() {
        let values = [1., 0., 0., -1., 0., 0., -1., -1., 0., 0., 0., -1.];
        let cluster_of = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4];
        near(mean(&values, 0.95).unwrap().mean, -0.25, 1e-15);
        six(mean(&values, 0.95).unwrap().se, 0.179435);
        six(clustered_mean(&values, &cluster_of, 0.95).unwrap().se, 0.209718);
    }

    #[test]
    fn repeats_are_averaged_before_cases_are_counted() {
        let draws = ["1110", "1111", "0010", "0000", "1011", "1111"];
        let rows: Vec<Vec<f64>> =
            draws.iter().map(|row| row.chars().map(|c| f64::from(c.to_digit(2).unwrap())).collect()).collect();
        let cases: Vec<f64> = rows.iter().map(|row| row.iter().sum::<f64>() / 4.0).collect();
        let right = mean(&cases, 0.95).unwrap();
        near(right.mean, 0.625, 1e-15);
        six(right.se, 0.167705);
        let flat: Vec<f64> = rows.concat();
        six(mean(&flat, 0.95).unwrap().se, 0.100947);
        let case_of: Vec<u32> = (0..24).map(|index| index / 4).collect();
        let parts = variance_components(&flat, &case_of).unwrap();
        near(parts.within, 0.125, 1e-15);
        near(parts.between, 0.1375, 1e-15);
        // The answers of a case are a cluster: cases of equal size give the same error either way.
        six(clustered_mean(&flat, &case_of, 0.95).unwrap().se, 0.167705);
    }

    #[test]
    fn paired_and_unpaired_differences() {
        let difference: Vec<f64> = B.iter().zip(A).map(|(b, a)| b - a).collect();
        let paired = mean(&difference, 0.95).unwrap();
        near(paired.mean, -0.3, 1e-15);
        six(paired.se, 0.152753);
        six(paired.t().unwrap(), -1.963961);
        six(paired.p_value().unwrap(), 0.081126);
        let (a, b) = (mean(&A, 0.95).unwrap(), mean(&B, 0.95).unwrap());
        let unpaired = welch(&b, &a, 0.95).unwrap();
        six(unpaired.se, 0.213437);
        six(unpaired.p_value().unwrap(), 0.177688);
        // SE² = SE_A² + SE_B² − 2ρ·SE_A·SE_B.
        let rho = (a.se.powi(2) + b.se.powi(2) - paired.se.powi(2)) / (2.0 * a.se * b.se);
        near(rho, 0.5, 1e-12);
    }

    #[test]
    fn published_scores_of_two_models() {
        // Miller 2024: MATH, HumanEval, MGSM with Bernoulli errors.
        for (n, first, second, se, z) in [
            (5000, 0.655, 0.630, 0.00958, 2.61),
            (164, 0.836, 0.867, 0.03923, -0.79),
            (2500, 0.753, 0.780, 0.01196, -2.26),
        ] {
            let score = |share: f64| {
                let se = (share * (1.0 - share) / n as f64).sqrt();
                MeanEstimate::checked(share, se, (n - 1) as f64, n, 0.95).unwrap()
            };
            let difference = welch(&score(first), &score(second), 0.95).unwrap();
            near(difference.se, se, 5e-6);
            near(difference.t().unwrap(), z, 5e-3);
        }
    }

    #[test]
    fn a_paired_t_test_of_eight() {
        let eight = [0.3, -0.1, 0.4, 0.2, 0.05, 0.6, -0.2, 0.1];
        let estimate = mean(&eight, 0.95).unwrap();
        near(estimate.mean, 0.16875, 1e-15);
        six(estimate.p_value().unwrap(), 0.112574);
    }

    #[test]
    fn values_that_do_not_vary() {
        let same = mean(&[0.1; 10], 0.95).unwrap();
        assert_eq!((same.mean, same.se, same.interval.lower, same.interval.upper), (0.1, 0.0, 0.1, 0.1));
        assert_eq!(same.p_value(), None);
        assert_eq!(mean(&[0.0; 3], 0.95).unwrap().p_value(), Some(1.0));
        assert_eq!(welch(&same, &same, 0.95).unwrap().p_value(), Some(1.0));
    }

    #[test]
    fn what_has_no_mean_has_none() {
        assert_eq!(mean(&[], 0.95), None);
        assert_eq!(mean(&[1.0], 0.95), None);
        assert_eq!(mean(&[1.0, f64::NAN], 0.95), None);
        assert_eq!(mean(&[1.0, f64::INFINITY], 0.95), None);
        assert_eq!(mean(&[f64::MAX, f64::MIN, f64::MAX], 0.95), None);
        assert_eq!(mean(&[1.0, 2.0], 1.0), None);
        assert_eq!(mean(&[1.0, 2.0], 0.0), None);
        assert_eq!(mean(&[1.0, 2.0], f64::NAN), None);
        assert_eq!(clustered_mean(&[1.0, 2.0], &[1, 1], 0.95), None);
        assert_eq!(clustered_mean(&[1.0, 2.0], &[1], 0.95), None);
        assert_eq!(clustered_mean(&[], &[], 0.95), None);
        assert_eq!(variance_components(&[1.0, 2.0], &[1, 2]), None);
        assert_eq!(variance_components(&[1.0, f64::NAN, 2.0], &[1, 1, 2]), None);
    }

    proptest! {
        #[test]
        fn intervals_hold_the_mean_and_move_with_the_values(
            values in prop::collection::vec(-1e6..1e6, 2..60), shift in -1e3..1e3_f64, confidence in 0.01..0.999
        ) {
            let estimate = mean(&values, confidence).unwrap();
            prop_assert!(estimate.interval.contains(estimate.mean));
            let moved: Vec<f64> = values.iter().map(|value| value + shift).collect();
            let moved = mean(&moved, confidence).unwrap();
            prop_assert!((moved.mean - estimate.mean - shift).abs() < 1e-6);
            prop_assert!((moved.se - estimate.se).abs() < 1e-6);
        }
    }
}
