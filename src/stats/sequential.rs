//! Tests that may be looked at after every observation.

/// The e-value of flips: how much better a share of fixes that is drawn evenly from 0 to 1 explains `fixed` fixes and
/// `broken` breaks than a share of one half does: 2^(b+c) · b! · c! / (b+c+1)!.
///
/// When candidate and baseline are equally good, the chance that it ever reaches 1/α is at most α, however often one
/// looks and whenever one stops (Ville's inequality); so it may be watched while answers come in. Computed in logarithms.
/// 0 fixes and 7 breaks: 16; 5 and 25: 243.0553.
pub fn flips_e_value(fixed: u64, broken: u64) -> f64 {
    let n = (fixed + broken) as f64;
    let factorial = |n: f64| libm::lgamma(n + 1.0);
    (n * std::f64::consts::LN_2 + factorial(fixed as f64) + factorial(broken as f64) - factorial(n + 1.0)).exp()
}

/// Watches pairs of yes/no marks one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlipMonitor {
    alpha: f64,
    pairs: u64,
    fixed: u64,
    broken: u64,
    shown_after: Option<u64>,
}

impl FlipMonitor {
    /// One that is wrong with a chance of at most `alpha` when there is no difference.
    pub fn new(alpha: f64) -> FlipMonitor {
        FlipMonitor { alpha, pairs: 0, fixed: 0, broken: 0, shown_after: None }
    }

    /// Takes a pair.
    pub fn push(&mut self, candidate: bool, baseline: bool) {
        self.pairs += 1;
        if candidate == baseline {
            return;
        }
        if candidate {
            self.fixed += 1;
        } else {
            self.broken += 1;
        }
        if self.shown_after.is_none() && flips_e_value(self.fixed, self.broken) >= 1.0 / self.alpha {
            self.shown_after = Some(self.pairs);
        }
    }

    /// The pair with which a difference was shown; `None` when none has been.
    pub fn shown_after(&self) -> Option<u64> {
        self.shown_after
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn worked_values() {
        for ((fixed, broken), e) in
            [((0, 7), 16.0), ((0, 8), 28.4444), ((3, 12), 4.501099), ((5, 25), 243.0553), ((0, 0), 1.0)]
        {
            assert!((flips_e_value(fixed, broken) / e - 1.0).abs() < 2e-6, "{fixed} {broken}");
            assert!((flips_e_value(broken, fixed) / e - 1.0).abs() < 2e-6, "{broken} {fixed}");
        }
        assert!(flips_e_value(1_000_000, 1_100_000).is_infinite());
        assert!(flips_e_value(1_000_000, 1_000_000) < 1e-2);
    }

    struct Simulated {
        shown: u32,
        fixed_less_broken: i64,
        pairs: u64,
    }

    /// Streams of pairs of which the baseline is right in 80 % and the candidate in `right`; each ends when a difference
    /// is shown, or after `longest` pairs, or with `is_budgeted` when its budget is spent: right answers cost more.
    fn simulate(streams: u32, longest: u64, right: f64, is_budgeted: bool) -> Simulated {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut uniform = move || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut all = Simulated { shown: 0, fixed_less_broken: 0, pairs: 0 };
        for _ in 0..streams {
            let mut monitor = FlipMonitor::new(0.05);
            let mut budget = 600.0;
            while monitor.pairs < longest && (!is_budgeted || budget > 0.0) && monitor.shown_after().is_none() {
                let (candidate, baseline) = (uniform() < right, uniform() < 0.8);
                budget -= if candidate { 1.5 } else { 0.5 };
                monitor.push(candidate, baseline);
            }
            all.shown += u32::from(monitor.shown_after().is_some());
            all.fixed_less_broken += monitor.fixed as i64 - monitor.broken as i64;
            all.pairs += monitor.pairs;
        }
        all
    }

    /// Three standard errors of a share of 0.05 in 4,000 streams: 0.0103.
    const MOST: u32 = 241;

    #[test]
    fn looking_after_every_pair_raises_no_false_alarms() {
        assert!(simulate(4_000, 1_000, 0.8, false).shown <= MOST);
    }

    #[test]
    fn streams_that_end_when_their_money_does_raise_no_more() {
        let all = simulate(4_000, 1_000, 0.8, true);
        assert!(all.shown <= MOST, "{}", all.shown);
        // Over all pairs that were seen there is no difference either.
        let difference = all.fixed_less_broken as f64 / all.pairs as f64;
        assert!(difference.abs() < 3.0 * (0.32 / all.pairs as f64).sqrt(), "{difference}");
    }

    #[test]
    fn a_drop_of_five_points_is_found() {
        let all = simulate(400, 10_000, 0.75, false);
        assert!(all.shown >= 380, "{} of 400", all.shown);
        assert!(all.pairs / 400 < 4_000, "{} pairs on average", all.pairs / 400);
    }
}
