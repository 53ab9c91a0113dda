//! Percentile bootstrap intervals (Efron 1979, Annals of Statistics 7:1) over cases or clusters.
//!
//! Each resample has its own stream of ChaCha8 under the one seed, so that the result depends neither on the number of
//! threads nor on their order.
//!
//! The work is bounded, for a million cases would otherwise take minutes. A call draws at most [`MAX_DRAWS`] indices,
//! which is below a second on two cores; when the resamples asked for would need more, there are fewer of them, but
//! never fewer than [`MIN_RESAMPLES`]. The ends of an interval from few resamples are noisy (from 300 by about an eighth
//! of a standard error), so the mean of that many independent cases takes another way where it can: its bootstrap
//! distribution has known cumulants, and the limit of infinitely many resamples follows from them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::Interval;
use super::mean::dense;
use super::normal::z;
use super::quantile::quantile;

/// Indices drawn at most in one call, unless [`MIN_RESAMPLES`] need more.
const MAX_DRAWS: u64 = 300_000_000;
/// Fewer resamples than this say nothing about a tail of 2.5 %.
const MIN_RESAMPLES: u32 = 200;
/// The share of resamples in which a statistic may be undefined.
const MAX_UNDEFINED: f64 = 0.05;

/// The bootstrap interval of the mean. With `cluster_of` (the cluster of each value) whole clusters are drawn, and the
/// mean of a resample is the sum of its values over their number.
///
/// `resamples` below 200 count as 200. When they would draw more than 3·10⁸ values or clusters there are fewer of them, but
/// never fewer than 200; unclustered values whose skewness allows it then give the limit for infinitely many resamples
/// instead, in which case the seed does not matter.
///
/// `None` below 2 values or clusters, when the slices differ in length, when a value is not finite, and for a confidence
/// outside (0, 1).
pub fn bootstrap_mean(
    values: &[f64],
    cluster_of: Option<&[u32]>,
    confidence: f64,
    resamples: u32,
    seed: u64,
) -> Option<Interval> {
    z(confidence)?;
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    // Deviations from the first value keep digits, and keep values that do not vary from varying by rounding.
    let first = *values.first()?;
    let deviations: Vec<f64> = values.iter().map(|value| value - first).collect();
    let interval = match cluster_of {
        None => {
            let limit = (affordable(deviations.len(), resamples) < resamples).then(|| limit(&deviations, confidence));
            match limit.flatten() {
                Some(interval) => interval,
                None => {
                    let means = resampled_means(&deviations, resamples, seed)?;
                    percentiles(means, confidence)?
                }
            }
        }
        Some(cluster_of) => {
            let means = resampled_cluster_means(&deviations, cluster_of, resamples, seed)?;
            percentiles(means, confidence)?
        }
    };
    Interval::checked(first + interval.lower, first + interval.upper)
}

/// The bootstrap interval of any statistic of `units` cases or clusters. `statistic` gets the indices drawn, `units` of
/// them with repetition, and may answer `None` where it is undefined (no case of a class was drawn).
///
/// `resamples` below 200 count as 200. When they would draw more than 3·10⁸ indices there are fewer of them, but never
/// fewer than 200; what the statistic itself costs comes on top. Resamples without a finite value are left out.
///
/// `None` below 2 units, when the statistic is undefined in more than 5 % of the resamples, for which an interval over
/// the rest would be too narrow, and for a confidence outside (0, 1).
pub fn bootstrap_statistic(
    units: usize,
    confidence: f64,
    resamples: u32,
    seed: u64,
    statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
) -> Option<Interval> {
    z(confidence)?;
    let count = checked_units(units)?;
    let values: Vec<f64> = (0..affordable(units, resamples))
        .into_par_iter()
        .map_init(
            || vec![0; units],
            |drawn, resample| {
                let mut indices = Indices::new(count, seed, resample);
                drawn.fill_with(|| indices.draw());
                statistic(drawn).filter(|value| value.is_finite())
            },
        )
        .flatten_iter()
        .collect();
    let undefined = affordable(units, resamples) as usize - values.len();
    if undefined as f64 > MAX_UNDEFINED * affordable(units, resamples) as f64 {
        return None;
    }
    percentiles(values, confidence)
}

/// How many resamples of so many units are made.
fn affordable(units: usize, resamples: u32) -> u32 {
    let most = u32::try_from(MAX_DRAWS / (units as u64).max(1)).unwrap_or(u32::MAX);
    resamples.min(most).max(MIN_RESAMPLES)
}

fn checked_units(units: usize) -> Option<u32> {
    u32::try_from(units).ok().filter(|units| *units >= 2)
}

fn resampled_means(values: &[f64], resamples: u32, seed: u64) -> Option<Vec<f64>> {
    let units = checked_units(values.len())?;
    let mean = |resample| {
        let mut indices = Indices::new(units, seed, resample);
        let sum: f64 = (0..units).map(|_| values[indices.draw() as usize]).sum();
        sum / f64::from(units)
    };
    Some((0..affordable(values.len(), resamples)).into_par_iter().map(mean).collect())
}

fn resampled_cluster_means(values: &[f64], cluster_of: &[u32], resamples: u32, seed: u64) -> Option<Vec<f64>> {
    if values.len() != cluster_of.len() {
        return None;
    }
    let (index, clusters) = dense(cluster_of);
    let units = checked_units(clusters)?;
    let mut sums = vec![(0.0, 0.0); clusters];
    for (value, cluster) in values.iter().zip(index) {
        let (sum, size) = &mut sums[cluster as usize];
        *sum += value;
        *size += 1.0;
    }
    let mean = |resample| {
        let mut indices = Indices::new(units, seed, resample);
        let drawn = (0..units).map(|_| sums[indices.draw() as usize]);
        let (sum, size) = drawn.fold((0.0, 0.0), |(sum, size), (more, also)| (sum + more, size + also));
        sum / size
    };
    Some((0..affordable(clusters, resamples)).into_par_iter().map(mean).collect())
}

fn percentiles(mut values: Vec<f64>, confidence: f64) -> Option<Interval> {
    values.par_sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Interval::checked(quantile(&values, tail)?, quantile(&values, 1.0 - tail)?)
}

/// The interval that infinitely many resamples of the mean tend to: mean + SE·(z + γ(z²−1)/(6√n)) at both ends, where SE²
/// is the variance with divisor n over n and γ the skewness of the values (Cornish and Fisher 1938, Revue de l'Institut
/// International de Statistique 5:307).
///
/// `None` where the terms left out could exceed the noise of some ten thousand resamples: unless |γ|/√n and the excess
/// kurtosis over n are at most 0.1.
fn limit(values: &[f64], confidence: f64) -> Option<Interval> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let moment = |power| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>() / n;
    let variance = moment(2);
    if variance == 0.0 {
        return Interval::checked(mean, mean);
    }
    let skew = moment(3) / variance.powf(1.5) / n.sqrt();
    let excess = (moment(4) / variance.powi(2) - 3.0) / n;
    // Written so that a NaN refuses.
    if !(skew.abs() <= 0.1 && excess.abs() <= 0.1) {
        return None;
    }
    let z = z(confidence)?;
    let se = (variance / n).sqrt();
    let shift = skew * (z * z - 1.0) / 6.0;
    Interval::checked(mean + se * (shift - z), mean + se * (shift + z))
}

/// Uniform indices below a bound. Written out here rather than taken from a library, so that a seed gives the same
/// intervals whatever version of one is in use.
struct Indices {
    rng: ChaCha8Rng,
    bound: u32,
}

impl Indices {
    fn new(bound: u32, seed: u64, resample: u32) -> Indices {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(resample));
        Indices { rng, bound }
    }

    /// The next index, without bias: Lemire 2019, "Fast Random Integer Generation in an Interval", ACM Transactions on
    /// Modeling and Computer Simulation 29:3.
    fn draw(&mut self) -> u32 {
        let bound = u64::from(self.bound);
        loop {
            let product = u64::from(self.rng.next_u32()) * bound;
            // Only the low half can tell a biased draw, and only when it is below the bound can it be one.
            let low = product as u32;
            if low >= self.bound || low >= self.bound.wrapping_neg() % self.bound {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::{near, six};
    use crate::stats::{mean, normal_quantile};

    const FIVE: [f64; 5] = [0.0, -1.0, 0.0, 1.0, -1.0];

    #[test]
    fn five_values_against_the_full_enumeration() {
        // All 5⁵ resamples give se 0.334664, P(mean < 0) 0.62464, P(mean = 0) 0.18944 and 95 % −0.8 to 0.4.
        let estimate = mean(&FIVE, 0.95).unwrap();
        six(estimate.se * (4.0_f64 / 5.0).sqrt(), 0.334664);
        let means = resampled_means(&FIVE, 60_000, 11).unwrap();
        let count = means.len() as f64;
        let centre = means.iter().sum::<f64>() / count;
        let se = (means.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / count).sqrt();
        near(centre, -0.2, 0.004);
        near(se, 0.334664, 0.003);
        near(means.iter().filter(|value| **value < 0.0).count() as f64 / count, 0.62464, 0.005);
        near(means.iter().filter(|value| **value == 0.0).count() as f64 / count, 0.18944, 0.005);
        let interval = bootstrap_mean(&FIVE, None, 0.95, 20_000, 3).unwrap();
        near(interval.lower, -0.8, 1e-12);
        near(interval.upper, 0.4, 1e-12);
    }

    #[test]
    fn eight_values_against_scipy() {
        let eight = [0.3, -0.1, 0.4, 0.2, 0.05, 0.6, -0.2, 0.1];
        let interval = bootstrap_mean(&eight, None, 0.95, 100_000, 1).unwrap();
        // The means lie on a grid of 1/160: two other seeds may differ by one step.
        near(interval.lower, 0.0, 0.0063);
        near(interval.upper, 0.34375, 0.0063);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_on_any_number_of_threads() {
        let values: Vec<f64> = (0..500).map(|index| f64::from(index * index % 97)).collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap_mean(&values, None, 0.95, 1000, 5).unwrap())
        };
        assert_eq!(on(1), on(3));
        assert_ne!(bootstrap_mean(&values, None, 0.95, 1000, 6).unwrap(), on(1));
    }

    #[test]
    fn clusters_are_drawn_whole() {
        // Ten clusters of ten equal values: as ten values, not as a hundred.
        let values: Vec<f64> = (0..100).map(|index| f64::from(index / 10 % 2)).collect();
        let cluster_of: Vec<u32> = (0..100).map(|index| 900 - index / 10).collect();
        let whole = bootstrap_mean(&values, Some(&cluster_of), 0.95, 5000, 2).unwrap();
        let ten: Vec<f64> = (0..10).map(|index| f64::from(index % 2)).collect();
        let few = bootstrap_mean(&ten, None, 0.95, 5000, 2).unwrap();
        near(whole.lower, few.lower, 0.1001);
        near(whole.upper, few.upper, 0.1001);
        let loose = bootstrap_mean(&values, None, 0.95, 5000, 2).unwrap();
        assert!(whole.upper - whole.lower > 2.0 * (loose.upper - loose.lower));
    }

    #[test]
    fn a_statistic_of_drawn_indices() {
        let mean_of = |drawn: &[u32]| Some(drawn.iter().map(|index| FIVE[*index as usize]).sum::<f64>() / 5.0);
        let general = bootstrap_statistic(5, 0.95, 20_000, 3, mean_of).unwrap();
        let special = bootstrap_mean(&FIVE, None, 0.95, 20_000, 3).unwrap();
        near(general.lower, special.lower, 1e-12);
        near(general.upper, special.upper, 1e-12);
        // Undefined without index 0, which a third of the resamples lack.
        let picky = |drawn: &[u32]| drawn.contains(&0).then_some(1.0);
        assert_eq!(bootstrap_statistic(5, 0.95, 1000, 3, picky), None);
        assert_eq!(bootstrap_statistic(5, 0.95, 1000, 3, |_| Some(f64::NAN)), None);
        // Undefined in one of 3125 only.
        let rarely = |drawn: &[u32]| (drawn != [0; 5]).then_some(1.0);
        assert_eq!(bootstrap_statistic(5, 0.95, 1000, 3, rarely), Interval::checked(1.0, 1.0));
    }

    #[test]
    fn many_cases_take_the_limit_which_agrees_with_resampling() {
        // Quantiles of an exponential distribution: a skewness near 2 moves both ends up by 0.04 standard errors.
        let skewed: Vec<f64> = (0..450).map(|index| -(1.0 - (f64::from(index) + 0.5) / 450.0).ln()).collect();
        let se = mean(&skewed, 0.95).unwrap().se;
        let exact = limit(&skewed, 0.95).unwrap();
        let drawn = percentiles(resampled_means(&skewed, 40_000, 4).unwrap(), 0.95).unwrap();
        near(drawn.lower, exact.lower, 0.03 * se);
        near(drawn.upper, exact.upper, 0.03 * se);
        // A million yes/no marks, one in a hundred yes.
        let million: Vec<f64> = (0..1_000_000).map(|index| f64::from(u8::from(index % 100 == 0))).collect();
        let interval = bootstrap_mean(&million, None, 0.95, 10_000, 1).unwrap();
        let half = normal_quantile(0.975).unwrap() * (0.01_f64 * 0.99 / 1e6).sqrt();
        near(interval.lower, 0.01 - half, half * 0.01);
        near(interval.upper, 0.01 + half, half * 0.01);
        // One huge value among many leaves no limit to trust.
        let mut heavy = vec![0.0; 10_000];
        heavy[17] = 1.0;
        assert_eq!(limit(&heavy, 0.95), None);
    }

    #[test]
    fn the_work_is_bounded() {
        assert_eq!(affordable(1000, 10_000), 10_000);
        assert_eq!(affordable(1_000_000, 10_000), 300);
        assert_eq!(affordable(usize::MAX, 10_000), MIN_RESAMPLES);
        assert_eq!(affordable(10, 0), MIN_RESAMPLES);
    }

    #[test]
    fn what_has_no_interval_has_none() {
        assert_eq!(bootstrap_mean(&[], None, 0.95, 500, 1), None);
        assert_eq!(bootstrap_mean(&[1.0], None, 0.95, 500, 1), None);
        assert_eq!(bootstrap_mean(&[1.0, f64::NAN], None, 0.95, 500, 1), None);
        assert_eq!(bootstrap_mean(&[f64::MAX, f64::MIN], None, 0.95, 500, 1), None);
        assert_eq!(bootstrap_mean(&[1.0, 2.0], Some(&[1]), 0.95, 500, 1), None);
        assert_eq!(bootstrap_mean(&[1.0, 2.0], Some(&[1, 1]), 0.95, 500, 1), None);
        assert_eq!(bootstrap_mean(&[1.0, 2.0], None, 1.0, 500, 1), None);
        assert_eq!(bootstrap_mean(&[0.1; 9], None, 0.95, 500, 1), Interval::checked(0.1, 0.1));
        assert_eq!(bootstrap_statistic(1, 0.95, 500, 1, |_| Some(1.0)), None);
    }

    proptest! {
        #[test]
        fn indices_are_below_the_bound(bound in 1_u32.., seed: u64, resample: u32) {
            let mut indices = Indices::new(bound, seed, resample);
            for _ in 0..50 {
                prop_assert!(indices.draw() < bound);
            }
        }
    }
}
