//! How far apart two samples are, as distributions.

/// The Kolmogorov–Smirnov distance of two samples: the largest difference of their empirical distribution functions, 0
/// to 1. Values closer than `tolerance` are not told apart, since no clock tells them apart: a difference counts only
/// where one function still leads when the other is moved by that much (as in Lévy's metric). With a tolerance of 0 it
/// is the usual statistic (Smirnov 1939).
///
/// `None` when a sample is empty. [1, 2, 3, 4] and [1, 2, 5, 6] are 0.5 apart.
pub fn kolmogorov_smirnov(one: &[f64], other: &[f64], tolerance: f64) -> Option<f64> {
    if one.is_empty() || other.is_empty() {
        return None;
    }
    let (one, other) = (sorted(one), sorted(other));
    Some(lead(&one, &other, tolerance).max(lead(&other, &one, tolerance)))
}

/// How far the distribution function of `one` leads that of `other`, at most.
fn lead(one: &[f64], other: &[f64], tolerance: f64) -> f64 {
    let mut behind = 0;
    let mut most = 0.0_f64;
    for (index, value) in one.iter().enumerate() {
        // Of equal values the last one has the function's value there.
        if one.get(index + 1) == Some(value) {
            continue;
        }
        while other.get(behind).is_some_and(|other| *other <= value + tolerance) {
            behind += 1;
        }
        most = most.max((index + 1) as f64 / one.len() as f64 - behind as f64 / other.len() as f64);
    }
    most
}

/// The Wasserstein distance of order 1 of two samples: the area between their empirical distribution functions, in the
/// unit of the values. It is how far, on average, one would have to be moved to become the other (Vallender 1973).
///
/// `None` when a sample is empty. [0, 1] and [1, 2] are 1 apart.
pub fn wasserstein(one: &[f64], other: &[f64]) -> Option<f64> {
    if one.is_empty() || other.is_empty() {
        return None;
    }
    let (one, other) = (sorted(one), sorted(other));
    let (mut a, mut b) = (0, 0);
    let mut area = 0.0;
    let mut last = one[0].min(other[0]);
    while a < one.len() || b < other.len() {
        let next = match (one.get(a), other.get(b)) {
            (Some(x), Some(y)) => x.min(*y),
            (Some(x), None) | (None, Some(x)) => *x,
            (None, None) => break,
        };
        area += (a as f64 / one.len() as f64 - b as f64 / other.len() as f64).abs() * (next - last);
        last = next;
        while one.get(a).is_some_and(|value| *value <= next) {
            a += 1;
        }
        while other.get(b).is_some_and(|value| *value <= next) {
            b += 1;
        }
    }
    Some(area)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_worked_out_by_hand() {
        let ks = |one: &[f64], other: &[f64], tolerance| kolmogorov_smirnov(one, other, tolerance).unwrap();
        assert_eq!(ks(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 5.0, 6.0], 0.0), 0.5);
        assert_eq!(ks(&[4.0, 3.0, 2.0, 1.0], &[1.0, 2.0, 3.0, 4.0], 0.0), 0.0);
        assert_eq!(ks(&[0.0, 0.0, 1.0], &[5.0], 0.0), 1.0);
        // A share of 2/3 at zero against the same just after it.
        assert!((ks(&[0.0, 0.0, 1.0], &[0.0004, 0.0004, 1.0], 0.0) - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(ks(&[0.0, 0.0, 1.0], &[0.0004, 0.0004, 1.0], 0.001), 0.0);
        assert_eq!(wasserstein(&[0.0, 1.0], &[1.0, 2.0]), Some(1.0));
        assert_eq!(wasserstein(&[0.0, 0.0, 3.0, 3.0], &[0.0, 3.0]), Some(0.0));
        assert_eq!(wasserstein(&[0.0], &[1.0, 3.0]), Some(2.0));
        assert_eq!((kolmogorov_smirnov(&[], &[1.0], 0.0), wasserstein(&[1.0], &[])), (None, None));
    }
}
