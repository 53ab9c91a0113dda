//! How many more samples an inconclusive gate probably needs, at 80 % power, if the truth is what was seen.

use crate::gate::{ALPHA, Comparison, Estimate, Method, Paired};
use crate::stats;
use crate::types::{Cell, Lump, quantile_of};

/// Power of the sizes that are named.
const POWER: f64 = 0.8;

/// More samples than this are no advice: nobody collects them to decide a gate.
const SENSIBLE: f64 = 100_000.0;

/// What more samples would do for a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// About so many more would settle it; two digits that count.
    More(u64),
    /// More than anybody collects.
    TooMany,
    /// No number of them makes it pass if the truth is what was seen.
    Never,
    /// Nothing was seen to vary, so nothing says how fast the interval narrows.
    Unknown,
}

/// For a figure against an absolute bar.
pub(super) fn for_figure(estimate: &Estimate, bar: f64, is_floor: bool) -> Needed {
    let Some(value) = estimate.value else { return Needed::Unknown };
    if estimate.method == Method::OrderStatistics && estimate.upper.is_none() {
        let least = quantile_of(&estimate.name)
            .and_then(|(_, p)| stats::min_n_for_upper_bound(p, 0.5 + estimate.confidence / 2.0));
        return least.map_or(Needed::Unknown, |least| more(least as f64, estimate.n));
    }
    let room = if is_floor { value - bar } else { bar - value };
    let half = if is_floor { estimate.lower.map(|end| value - end) } else { estimate.upper.map(|end| end - value) };
    let Some(half) = half.filter(|half| *half > 0.0) else { return Needed::Unknown };
    if room <= 0.0 {
        return Needed::Never;
    }
    if matches!(estimate.method, Method::Wilson | Method::ClusteredWilson | Method::Bounded | Method::Bootstrap)
        && (value == 0.0 || value == 1.0)
    {
        return Needed::Unknown;
    }
    if estimate.method == Method::Wilson {
        // The gate passes when one end of a two-sided interval clears the bar.
        let alpha = (1.0 - estimate.confidence) / 2.0;
        let (share, bar) = if is_floor { (value, bar) } else { (1.0 - value, 1.0 - bar) };
        let needed = stats::samples_proportion(share, bar, alpha, POWER);
        return needed.map_or(Needed::TooMany, |needed| more(needed as f64, estimate.n));
    }
    // The half-width shrinks with √n: enough samples that it is z/(z + z_power) of the distance to the bar.
    let (Some(z), Some(z_power)) = (stats::z(estimate.confidence), stats::z(2.0 * POWER - 1.0)) else {
        return Needed::Unknown;
    };
    more(estimate.n as f64 * (half * (z + z_power) / (z * room)).powi(2), estimate.n)
}

/// For a non-inferiority gate.
pub(super) fn non_inferior(comparison: &Comparison, margin: f64, is_lower_better: bool) -> Needed {
    let turn = if is_lower_better { -1.0 } else { 1.0 };
    let Some(difference) = comparison.difference.map(|difference| turn * difference) else { return Needed::Unknown };
    if margin + difference <= 0.0 {
        return Needed::Never;
    }
    let needed = match &comparison.paired {
        Some(Paired::Binary(cells)) => of_flips(cells, difference, margin, comparison.n),
        Some(Paired::Graded(lumps)) => of_variance(variance(lumps, comparison.n), difference, margin),
        Some(Paired::Mean { variance, .. }) => of_variance(*variance, difference, margin),
        None => return Needed::Unknown,
    };
    match needed {
        Some(needed) => more(needed, comparison.n),
        None => Needed::Unknown,
    }
}

fn of_flips(cells: &[Cell], difference: f64, margin: f64, samples: u64) -> Option<f64> {
    let sum = |of: fn(&Cell) -> u64| cells.iter().map(|cell| of(cell) * cell.count).sum::<u64>();
    let (flips, n) = (sum(|cell| cell.better + cell.worse), sum(|cell| cell.size));
    if flips == 0 {
        return None;
    }
    let needed = stats::samples_non_inferior(flips as f64 / n as f64, difference, margin, ALPHA, POWER)?;
    // Each of the samples there are is worth so much of an independent one.
    Some(needed as f64 * samples as f64 / stats::effective_pairs(cells, 1.0 - 2.0 * ALPHA)?)
}

fn of_variance(variance: f64, difference: f64, margin: f64) -> Option<f64> {
    let is_known = variance > 0.0;
    let needed = stats::samples_non_inferior_mean(variance, difference, margin, ALPHA, POWER).filter(|_| is_known)?;
    Some(needed as f64)
}

/// The variance that independent samples would have for the cluster-robust error of these differences.
fn variance(lumps: &[Lump], samples: u64) -> f64 {
    let sum = |of: &dyn Fn(&Lump) -> f64| lumps.iter().map(|lump| of(lump) * lump.count as f64).sum::<f64>();
    let (marks, clusters) = (sum(&|lump| lump.size), sum(&|_| 1.0));
    let mean = sum(&|lump| lump.sum) / marks;
    let spread = sum(&|lump| (lump.sum - lump.size * mean).powi(2));
    clusters / (clusters - 1.0) * spread / (marks * marks) * samples as f64
}

/// What is needed beyond what is there; at least one, since what is there was not enough.
fn more(needed: f64, have: u64) -> Needed {
    let more = (needed.ceil() - have as f64).max(1.0);
    if more > SENSIBLE || !more.is_finite() {
        return Needed::TooMany;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and SENSIBLE")]
    Needed::More(two_digits(more as u64))
}

/// Rounded up to two digits that count: a third one would claim to know more than anybody does.
fn two_digits(count: u64) -> u64 {
    let mut unit = 1;
    while count / unit >= 100 {
        unit *= 10;
    }
    count.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_count_and_are_rounded_up() {
        for (exact, said) in [(1, 1), (9, 9), (99, 99), (100, 100), (101, 110), (1234, 1300), (99_001, 100_000)] {
            assert_eq!(two_digits(exact), said);
        }
        assert_eq!(more(100_100.0, 50), Needed::TooMany);
        assert_eq!(more(f64::NAN, 50), Needed::More(1));
        assert_eq!(more(f64::INFINITY, 50), Needed::TooMany);
        assert_eq!(more(20.0, 50), Needed::More(1));
    }
}
