//! How many samples a decision needs. All counts are rounded up, and all are approximations by the normal distribution:
//! advice about the size of a run, not a guarantee.

use super::normal::normal_quantile;
use super::paired::statistic;

/// Samples, each answered by both candidates, to detect a true difference `delta` with probability `power` in a two-sided
/// test at level `alpha`: n = (z_{α/2} + z_β)²·(ω² + σ_A²/K_A + σ_B²/K_B)/δ² (Miller 2024, arXiv:2411.00640).
///
/// `omega2` is the variance of the samples' true differences; `sigma2_a` and `sigma2_b` are the variances of one answer
/// about its sample's mean, `k_a` and `k_b` the repeats. δ 0.03, ω² 1/9 and no σ² at 0.05 and 0.8 give 969.
///
/// `None` for a `delta` of 0, for no repeats, for negative variances, and for levels outside (0, 1).
#[expect(clippy::too_many_arguments, reason = "the formula has eight quantities, and none has a default")]
pub fn samples_for_difference(
    delta: f64,
    omega2: f64,
    sigma2_a: f64,
    k_a: u32,
    sigma2_b: f64,
    k_b: u32,
    alpha: f64,
    power: f64,
) -> Option<u64> {
    let variance = variance_of_difference(omega2, sigma2_a, k_a, sigma2_b, k_b)?;
    let z = sum_of_quantiles(alpha / 2.0, power)?;
    at_least_two(z * z * variance / (delta * delta))
}

/// The smallest true difference that `n` samples detect with probability `power`: the formula of
/// [`samples_for_difference`] solved for δ. 198 samples, ω² 1/9, both σ² 1/6 and one answer each give 0.1327. `None` for
/// `n = 0` and as there.
#[expect(clippy::too_many_arguments, reason = "the formula has eight quantities, and none has a default")]
pub fn minimal_detectable(
    n: u64,
    omega2: f64,
    sigma2_a: f64,
    k_a: u32,
    sigma2_b: f64,
    k_b: u32,
    alpha: f64,
    power: f64,
) -> Option<f64> {
    let variance = variance_of_difference(omega2, sigma2_a, k_a, sigma2_b, k_b)?;
    let z = sum_of_quantiles(alpha / 2.0, power)?;
    Some(z * (variance / n as f64).sqrt()).filter(|delta| delta.is_finite())
}

/// Pairs of yes/no marks to show with probability `power` that the candidate is not worse by `margin`, at one-sided level
/// `alpha` (the interval then has confidence 1 − 2α): n = (z_α + z_β)²·(p_d − Δ²)/(m + Δ)², where p_d is the share of
/// `discordance` and Δ the true `difference`, candidate − baseline. Discordance 0.10, no difference and margin 0.03 at 0.05
/// and 0.8 give 687.
///
/// Never fewer than the score test itself needs when the data come out exactly as expected; without that, no discordance
/// would ask for no samples.
///
/// `None` when `margin + difference <= 0` (no number of samples shows what is not so), for a discordance below
/// |difference| or above 1, for a margin outside (0, 1) and for levels outside (0, 1).
pub fn samples_non_inferior(discordance: f64, difference: f64, margin: f64, alpha: f64, power: f64) -> Option<u64> {
    let possible = difference.abs() <= discordance && discordance <= 1.0 && margin > 0.0 && margin < 1.0;
    if !possible {
        return None;
    }
    let room = room(margin, difference)?;
    let z = sum_of_quantiles(alpha, power)?;
    let by_power = z * z * (discordance - difference * difference) / (room * room);
    let (better, worse) = ((discordance + difference) / 2.0, (discordance - difference) / 2.0);
    let per_pair = statistic(better, worse, 1.0, -margin)?;
    let by_test = (normal_quantile(1.0 - alpha)? / per_pair).powi(2);
    at_least_two(by_power.max(by_test))
}

/// The same for graded marks, whose paired differences have this `variance`: n = (z_α + z_β)²·variance/(m + Δ)². `None`
/// when `margin + difference <= 0`, for a negative variance and for levels outside (0, 1).
pub fn samples_non_inferior_mean(variance: f64, difference: f64, margin: f64, alpha: f64, power: f64) -> Option<u64> {
    let room = room(margin, difference)?;
    let z = sum_of_quantiles(alpha, power)?;
    let variance = Some(variance).filter(|variance| *variance >= 0.0)?;
    at_least_two(z * z * variance / (room * room))
}

/// Samples for the lower end of Wilson's interval to clear `bar` with probability `power` when the true share is `p_hat`:
/// n = ((z_α·√(p₀(1−p₀)) + z_β·√(p(1−p)))/(p − p₀))² for the one-sample score test, which that interval inverts (Fleiss,
/// Levin and Paik 2003, Statistical Methods for Rates and Proportions, 2.5). `alpha` is one-sided: half of 1 − the
/// interval's confidence. For a bar that a share must stay below, give both as 1 − share.
///
/// `None` when `p_hat` lies on the bar or below it, when either is outside [0, 1], and for levels outside (0, 1).
pub fn samples_proportion(p_hat: f64, bar: f64, alpha: f64, power: f64) -> Option<u64> {
    if !(p_hat > bar && bar >= 0.0 && p_hat <= 1.0) {
        return None;
    }
    let (z_alpha, z_beta) = (normal_quantile(1.0 - alpha)?, normal_quantile(power)?);
    let spread = z_alpha * (bar * (1.0 - bar)).sqrt() + z_beta * (p_hat * (1.0 - p_hat)).sqrt();
    at_least_two((spread.max(0.0) / (p_hat - bar)).powi(2))
}

/// How far the true difference lies above −margin, when it does.
fn room(margin: f64, difference: f64) -> Option<f64> {
    Some(margin + difference).filter(|room| *room > 0.0)
}

fn variance_of_difference(omega2: f64, sigma2_a: f64, k_a: u32, sigma2_b: f64, k_b: u32) -> Option<f64> {
    if k_a == 0 || k_b == 0 || !(omega2 >= 0.0 && sigma2_a >= 0.0 && sigma2_b >= 0.0) {
        return None;
    }
    Some(omega2 + sigma2_a / f64::from(k_a) + sigma2_b / f64::from(k_b))
}

/// z of 1 − `level` plus z of `power`; `None` when a test of so little power needs no samples at all.
fn sum_of_quantiles(level: f64, power: f64) -> Option<f64> {
    Some(normal_quantile(1.0 - level)? + normal_quantile(power)?).filter(|sum| *sum > 0.0)
}

/// Rounded up. `None` when it is no number, or so large that it is no advice.
fn at_least_two(n: f64) -> Option<u64> {
    (n < 1e15).then(|| n.ceil().max(2.0) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::near;
    use crate::stats::{binomial_pmf, tango, wilson};

    #[test]
    fn sizes_for_a_difference() {
        let size = |sigma2, k| samples_for_difference(0.03, 1.0 / 9.0, sigma2, k, sigma2, k, 0.05, 0.8);
        assert_eq!(size(0.0, 1), Some(969));
        assert_eq!(size(1.0 / 6.0, 1), Some(3876));
        assert_eq!(size(1.0 / 6.0, 10), Some(1260));
        let least = |k| minimal_detectable(198, 1.0 / 9.0, 1.0 / 6.0, k, 1.0 / 6.0, k, 0.05, 0.8).unwrap();
        near(least(1), 0.1327, 5e-5);
        near(least(10), 0.0757, 5e-5);
    }

    #[test]
    fn sizes_for_non_inferiority() {
        let size = |discordance, difference, margin| samples_non_inferior(discordance, difference, margin, 0.05, 0.8);
        assert_eq!(size(0.10, 0.0, 0.03), Some(687));
        assert_eq!(size(0.10, 0.0, 0.02), Some(1546));
        assert_eq!(size(0.05, 0.0, 0.02), Some(773));
        assert_eq!(size(0.10, -0.01, 0.03), Some(1545));
        assert_eq!(size(0.10, -0.03, 0.03), None);
        assert_eq!(size(0.10, -0.05, 0.03), None);
        assert_eq!(samples_non_inferior_mean(0.10, 0.0, 0.03, 0.05, 0.8), Some(687));
        assert_eq!(samples_non_inferior_mean(0.10, -0.03, 0.03, 0.05, 0.8), None);
        // Without discordant pairs the interval is ± z²/(n + z²): it clears the margin from this n on, not before.
        let n = size(0.0, 0.0, 0.02).unwrap();
        assert!(tango(0, 0, n, 0.90).unwrap().lower > -0.02);
        assert!(tango(0, 0, n - 1, 0.90).unwrap().lower <= -0.02);
    }

    #[test]
    fn sizes_for_a_bar() {
        // The power that the size promises, summed over all outcomes.
        for (p_hat, bar) in [(0.93, 0.9), (0.6, 0.5), (0.3, 0.25)] {
            let n = samples_proportion(p_hat, bar, 0.025, 0.8).unwrap();
            let clears = |k| wilson(k, n, 0.95).unwrap().lower > bar;
            let power: f64 = (0..=n).filter(|k| clears(*k)).map(|k| binomial_pmf(k, n, p_hat)).sum();
            near(power, 0.8, 0.02);
        }
        // A candidate that is always right needs n > z²·bar/(1 − bar).
        let n = samples_proportion(1.0, 0.99, 0.025, 0.8).unwrap();
        assert!(wilson(n, n, 0.95).unwrap().lower > 0.99);
        assert!(wilson(n - 1, n - 1, 0.95).unwrap().lower <= 0.99);
        assert_eq!(samples_proportion(0.9, 0.9, 0.025, 0.8), None);
        assert_eq!(samples_proportion(0.8, 0.9, 0.025, 0.8), None);
        assert_eq!(samples_proportion(1.2, 0.9, 0.025, 0.8), None);
    }

    #[test]
    fn senseless_questions_have_no_answer() {
        assert_eq!(samples_for_difference(0.0, 0.1, 0.1, 1, 0.1, 1, 0.05, 0.8), None);
        assert_eq!(samples_for_difference(0.1, 0.1, 0.1, 0, 0.1, 1, 0.05, 0.8), None);
        assert_eq!(samples_for_difference(0.1, -0.1, 0.1, 1, 0.1, 1, 0.05, 0.8), None);
        assert_eq!(samples_for_difference(f64::NAN, 0.1, 0.1, 1, 0.1, 1, 0.05, 0.8), None);
        assert_eq!(minimal_detectable(0, 0.1, 0.1, 1, 0.1, 1, 0.05, 0.8), None);
        assert_eq!(samples_non_inferior(0.01, 0.05, 0.1, 0.05, 0.8), None);
        assert_eq!(samples_non_inferior(1.5, 0.05, 0.1, 0.05, 0.8), None);
        assert_eq!(samples_non_inferior_mean(-1.0, 0.0, 0.1, 0.05, 0.8), None);
        for bad in [0.0, 1.0, f64::NAN] {
            assert_eq!(samples_non_inferior(0.1, 0.0, 0.1, bad, 0.8), None);
            assert_eq!(samples_proportion(0.9, 0.8, 0.05, bad), None);
        }
    }

    proptest! {
        #[test]
        fn a_difference_just_detectable_needs_just_as_many(n in 10_u64..100_000, omega2 in 0.01..0.5, sigma2 in 0.0..0.3, k in 1_u32..9) {
            let delta = minimal_detectable(n, omega2, sigma2, k, sigma2, k, 0.05, 0.8).unwrap();
            let found = samples_for_difference(delta, omega2, sigma2, k, sigma2, k, 0.05, 0.8).unwrap();
            prop_assert!(found == n || found == n + 1, "{found} {n}");
        }

        #[test]
        fn a_wider_margin_never_needs_more(discordance in 0.0..1.0, margin in 0.001..0.4) {
            let narrow = samples_non_inferior(discordance, 0.0, margin, 0.05, 0.8).unwrap();
            let wide = samples_non_inferior(discordance, 0.0, margin * 1.5, 0.05, 0.8).unwrap();
            prop_assert!(wide <= narrow);
        }
    }
}
