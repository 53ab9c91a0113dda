//! How many more samples an inconclusive gate probably needs, at 80 % power, if the truth is what was seen.

use crate::gate::{ALPHA, Comparison, Discordant, Estimate, Method, Paired};
use crate::stats;

/// Power of the sizes that are named.
const POWER: f64 = 0.8;

/// For a figure against an absolute bar. `None` when no number of samples would help.
pub(super) fn for_figure(estimate: &Estimate, bar: f64, is_floor: bool) -> Option<u64> {
    let value = estimate.value?;
    let needed = match estimate.method {
        Method::Wilson => {
            // The gate passes when one end of a two-sided interval clears the bar.
            let alpha = (1.0 - estimate.confidence) / 2.0;
            if is_floor {
                stats::samples_proportion(value, bar, alpha, POWER)
            } else {
                stats::samples_proportion(1.0 - value, 1.0 - bar, alpha, POWER)
            }
        }
        Method::OrderStatistics if estimate.upper.is_none() => {
            let p = level_of(&estimate.name)?;
            stats::min_n_for_upper_bound(p, 0.5 + estimate.confidence / 2.0)
        }
        _ => by_width(estimate, bar, is_floor),
    };
    more(needed?, estimate.n)
}

fn level_of(name: &str) -> Option<f64> {
    match name.rsplit_once('.')?.1 {
        "p50" => Some(0.5),
        "p90" => Some(0.9),
        "p95" => Some(0.95),
        "p99" => Some(0.99),
        _ => None,
    }
}

/// The half-width shrinks with √n: enough samples that it is z/(z + z_power) of the distance to the bar.
fn by_width(estimate: &Estimate, bar: f64, is_floor: bool) -> Option<u64> {
    let value = estimate.value?;
    let room = if is_floor { value - bar } else { bar - value };
    let half = if is_floor { value - estimate.lower? } else { estimate.upper? - value };
    if room <= 0.0 || half <= 0.0 {
        return None;
    }
    let z = stats::z(estimate.confidence)?;
    let z_power = stats::z(2.0 * POWER - 1.0)?;
    whole(estimate.n as f64 * (half * (z + z_power) / (z * room)).powi(2))
}

/// For a non-inferiority gate.
pub(super) fn non_inferior(comparison: &Comparison, margin: f64, is_lower_better: bool) -> Option<u64> {
    let turn = if is_lower_better { -1.0 } else { 1.0 };
    let needed = match comparison.paired? {
        Paired::Binary { discordant: Discordant { candidate_only, baseline_only }, n } => {
            let discordance = (candidate_only + baseline_only) as f64 / n as f64;
            let units = stats::samples_non_inferior(discordance, turn * comparison.difference?, margin, ALPHA, POWER)?;
            // Where clusters are the units, a sample is a part of one.
            whole(units as f64 * comparison.n as f64 / n as f64)
        }
        Paired::Mean { difference, variance, .. } => {
            stats::samples_non_inferior_mean(variance, turn * difference, margin, ALPHA, POWER)
        }
    };
    more(needed?, comparison.n)
}

/// What is needed beyond what is there; at least one, since what is there was not enough.
fn more(needed: u64, have: u64) -> Option<u64> {
    Some(needed.saturating_sub(have).max(1))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be finite and in range")]
fn whole(n: f64) -> Option<u64> {
    (n.is_finite() && n < 1e15).then(|| n.ceil() as u64)
}
