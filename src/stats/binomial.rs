//! The binomial distribution, right in far tails and fast for millions of trials.

use std::f64::consts::TAU;

use super::normal::normal_cdf;

/// Above this many trials the normal distribution stands in: a tail takes about 10·√n steps, and counts that large come
/// from no evaluation.
const TOO_MANY: u64 = 10_000_000_000;

/// P(X = k) for `n` trials with success probability `p`, held within [0, 1].
///
/// Loader's saddle-point form (2000, "Fast and Accurate Computation of Binomial Probabilities"), which keeps nearly all
/// digits where differences of log-gamma functions lose them.
pub fn binomial_pmf(k: u64, n: u64, p: f64) -> f64 {
    if k > n || p.is_nan() {
        return 0.0;
    }
    if p <= 0.0 {
        return if k == 0 { 1.0 } else { 0.0 };
    }
    if p >= 1.0 {
        return if k == n { 1.0 } else { 0.0 };
    }
    term(k, n, p, 1.0 - p)
}

/// The same with `q` = 1 − `p` given apart, for a small one of the two loses its digits in 1 − the other.
fn term(k: u64, n: u64, p: f64, q: f64) -> f64 {
    let (successes, failures, trials) = (k as f64, (n - k) as f64, n as f64);
    let sure = |p: f64, q: f64| (trials * if p > 0.5 { (-q).ln_1p() } else { p.ln() }).exp();
    if k == 0 {
        return sure(q, p);
    }
    if k == n {
        return sure(p, q);
    }
    let log = stirling_error(trials)
        - stirling_error(successes)
        - stirling_error(failures)
        - deviance(successes, trials * p)
        - deviance(failures, trials * q);
    (log.exp() * (trials / (TAU * successes * failures)).sqrt()).min(1.0)
}

/// ln n! less Stirling's n·ln n − n + ½·ln(2πn).
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let factorial: f64 = (2..=n as u32).map(f64::from).product();
        return factorial.ln() - (n * n.ln() - n + 0.5 * (TAU * n).ln());
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * square)) / square) / square) / square)
        / n
}

/// x·ln(x/m) + m − x, without cancellation when x is near m.
fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let v = (x - m) / (x + m);
    let mut sum = (x - m) * v;
    let mut power = 2.0 * x * v;
    for j in 1..1000 {
        power *= v * v;
        let next = sum + power / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// P(X ≤ k) for `n` trials with success probability `p` (held within [0, 1]; a NaN counts as 0). Far tails keep their
/// relative precision down to the smallest `f64`.
///
/// The tail is summed outward from its largest term. Above 10¹⁰ trials it is the normal approximation with continuity
/// correction instead.
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n || p.is_nan() || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let trials = n as f64;
    if n > TOO_MANY {
        return normal_cdf((k as f64 + 0.5 - trials * p) / (trials * p * (1.0 - p)).sqrt());
    }
    let mode = ((trials + 1.0) * p).floor();
    let below = (k as f64) < mode;
    let sum = if below { lower_tail(k, n, p, 1.0 - p) } else { lower_tail(n - k - 1, n, 1.0 - p, p) };
    if below { sum.min(1.0) } else { (1.0 - sum).max(0.0) }
}

/// P(X ≤ k) for k at or below the mode, from the largest term down. `q` is 1 − `p`.
fn lower_tail(k: u64, n: u64, p: f64, q: f64) -> f64 {
    let mut term = term(k, n, p, q);
    let mut sum = term;
    let odds = q / p;
    for j in (1..=k).rev() {
        term *= j as f64 / (n - j + 1) as f64 * odds;
        sum += term;
        if term <= sum * 1e-20 {
            break;
        }
    }
    sum
}

/// The smallest k with P(X ≤ k) ≥ `level`; `n` when there is none below.
pub fn binomial_quantile(level: f64, n: u64, p: f64) -> u64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if binomial_cdf(middle, n, p) >= level { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::check::near;

    /// Row n of Pascal's triangle, exact in `u128` up to n = 120.
    fn pascal(n: usize) -> Vec<u128> {
        let mut row = vec![1_u128];
        for _ in 0..n {
            let inner = row.windows(2).map(|pair| pair[0] + pair[1]);
            row = std::iter::once(1).chain(inner).chain([1]).collect();
        }
        row
    }

    #[test]
    fn terms_and_tails_are_those_of_pascals_triangle() {
        for n in [1, 2, 7, 15, 16, 17, 40, 101, 120] {
            let row = pascal(n);
            let scale = 2_f64.powi(n as i32);
            let mut below = 0_u128;
            for (k, ways) in row.iter().enumerate() {
                below += ways;
                let (k, n) = (k as u64, n as u64);
                near(binomial_pmf(k, n, 0.5) / (*ways as f64 / scale), 1.0, 1e-12);
                near(binomial_cdf(k, n, 0.5) / (below as f64 / scale), 1.0, 1e-12);
            }
        }
        // 30 trials at 0.05: no success has 0.95³⁰.
        near(binomial_cdf(0, 30, 0.05), 0.95_f64.powi(30), 1e-15);
    }

    #[test]
    fn a_million_trials_agree_with_the_normal_distribution() {
        for k in [497_000, 499_500, 500_000, 501_500, 503_000] {
            let normal = normal_cdf((k as f64 + 0.5 - 500_000.0) / 500.0);
            near(binomial_cdf(k, 1_000_000, 0.5), normal, 1e-6);
        }
        assert_eq!(binomial_quantile(0.5, 1_000_000, 0.5), 500_000);
        near(binomial_cdf(TOO_MANY / 2, TOO_MANY, 0.5), 0.5, 1e-5);
        near(binomial_cdf(TOO_MANY, 2 * TOO_MANY, 0.5), 0.5, 1e-5);
    }

    #[test]
    fn odd_probabilities_are_held_within_bounds() {
        for p in [f64::NAN, -1.0, 0.0, 1.0, 2.0, 1e-300, 1.0 - 1e-16] {
            for k in [0, 3, 10, u64::MAX] {
                for n in [0, 10, u64::MAX] {
                    let (term, cdf) = (binomial_pmf(k, n, p), binomial_cdf(k, n, p));
                    assert!((0.0..=1.0).contains(&term) && (0.0..=1.0).contains(&cdf), "{k} {n} {p}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_tails_add_up_and_the_quantile_is_the_first_to_reach(n in 1_u64..3000, share in 0.0..1.0, p in 0.001..0.999) {
            let k = (share * n as f64) as u64;
            let upper: f64 = if k < n { binomial_cdf(n - k - 1, n, 1.0 - p) } else { 0.0 };
            prop_assert!((binomial_cdf(k, n, p) + upper - 1.0).abs() < 1e-11);
            let found = binomial_quantile(share, n, p);
            prop_assert!(binomial_cdf(found, n, p) >= share || found == n);
            prop_assert!(found == 0 || binomial_cdf(found - 1, n, p) < share);
        }
    }
}
