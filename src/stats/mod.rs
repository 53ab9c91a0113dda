//! Samples in, estimates out: pure functions over slices of `f64` and counts, each with the source of its formula.
//!
//! Callers are `frame`, which turns marks and timings into figures, and `gate`, which asks for intervals of its own
//! confidence and for the number of samples that would decide. Nothing here knows about suites or records, reads a
//! clock or keeps state; the only randomness comes from the seed that the bootstrap is given.
//!
//! Conventions: a *confidence* is two-sided and lies strictly between 0 and 1 unless a docstring says otherwise. What
//! cannot be had is `None`; no function returns a NaN or an infinity (`normal_cdf` of a NaN excepted), or panics,
//! whatever it is given. A probability too small for an `f64` is given as the smallest positive one, so that no report
//! claims p = 0.
//!
//! Left out on purpose: corrections for multiplicity (all gates must pass, an intersection-union test that needs none;
//! Berger 1982) and sequential tests (a run has a size that is fixed before it starts).

mod binomial;
mod bootstrap;
mod bounded;
mod clustered;
mod distance;
mod mean;
mod normal;
mod paired;
mod power;
mod proportion;
mod quantile;
mod ratio;
mod sequential;

pub use binomial::{binomial_cdf, binomial_pmf, binomial_quantile};
pub use bootstrap::{bootstrap_mean, bootstrap_statistic};
pub use bounded::{bounded_mean, bounded_p};
pub use clustered::{
    careful_tango_lower, careful_wilson_lower, clustered_mcnemar, clustered_tango, clustered_wilson, effective_pairs,
    effective_share,
};
pub use distance::{kolmogorov_smirnov, wasserstein};
pub use mean::{MeanEstimate, VarianceComponents, clustered_mean, mean, variance_components, welch};
pub use normal::{normal_cdf, normal_quantile, t_cdf, t_quantile, t_two_sided_p, z};
pub use paired::{mcnemar_chi2, mcnemar_exact, mcnemar_mid, mcnemar_p, tango, tango_non_inferior};
pub use power::{
    minimal_detectable, samples_for_difference, samples_non_inferior, samples_non_inferior_mean, samples_proportion,
};
pub use proportion::{clopper_pearson, exact_upper, wilson};
pub use quantile::{QuantileInterval, effective_quantile_interval, min_n_for_upper_bound, quantile, quantile_interval};
pub use ratio::{RatioEstimate, clustered_ratio_of_means, paired_log_ratio, ratio_of_means};
pub use sequential::{FlipMonitor, flips_e_value};

/// A closed interval of real numbers, both ends finite and `lower <= upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Interval {
    /// `None` unless both ends are finite and in order.
    fn checked(lower: f64, upper: f64) -> Option<Interval> {
        (lower.is_finite() && upper.is_finite() && lower <= upper).then_some(Interval { lower, upper })
    }

    /// Whether the value lies in the interval, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

/// A probability held within what an `f64` can say: at most 1, and above 0.
fn probability(p: f64) -> f64 {
    p.clamp(f64::MIN_POSITIVE, 1.0)
}

/// The root of a function that is positive at `positive` and not at the other end, by bisection: as slow as it is safe,
/// which is some 60 evaluations.
fn bisect(mut positive: f64, mut other: f64, function: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = positive + (other - positive) / 2.0;
        if middle == positive || middle == other {
            break;
        }
        if function(middle) > 0.0 { positive = middle } else { other = middle }
    }
    other
}

#[cfg(test)]
mod check {
    /// Fails unless the two are as near as the tolerance.
    #[track_caller]
    pub fn near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} ± {tolerance}");
    }

    /// Fails unless `actual` rounds to the number as printed with six decimals.
    #[track_caller]
    pub fn six(actual: f64, expected: f64) {
        near(actual, expected, 5.000_001e-7);
    }
}
