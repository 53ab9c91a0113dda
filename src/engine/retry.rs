//! What is tried again, and when. Pure.

use std::time::Duration;

use crate::provider::Refusal;
use crate::types::{Failure, Unsent};
use crate::util::digest::{Digest, Hasher};

/// How often and how patiently a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryRule {
    /// Attempts beyond the first.
    pub retries: u32,
    /// Wait before the first repetition; it doubles with each further one.
    pub base: Duration,
    /// Longest wait of our own choosing.
    pub longest: Duration,
    /// Longest wait that a service may ask for; one that asks for more is not tried again.
    pub longest_asked: Duration,
}

impl RetryRule {
    /// The usual rule with a number of retries: 0.5 s, doubling, at most 30 s; at most 5 min if the service asks.
    pub fn new(retries: u32) -> RetryRule {
        RetryRule {
            retries,
            base: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(300),
        }
    }

    /// How long to wait before the next attempt; `None` when this one was the last.
    ///
    /// `failed` counts the attempts so far (1 after the first), `jitter` lies in 0..1. A request whose answer had begun
    /// is never sent again: it may have been paid for. Our own waits are spread over the upper half of the doubling
    /// time, a service's over a tenth on top of what it asks, so that many clients do not come back at once.
    pub fn wait(&self, failed: u32, refusal: &Refusal, is_begun: bool, jitter: f64) -> Option<Duration> {
        if failed > self.retries || is_begun || !is_worth_repeating(&refusal.failure) {
            return None;
        }
        match refusal.retry_after {
            Some(asked) if asked > self.longest_asked => None,
            Some(asked) => Some(asked.mul_f64(1.0 + jitter / 10.0)),
            None => {
                let doubled = self.base.saturating_mul(1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX));
                Some(doubled.min(self.longest).mul_f64(0.5 + jitter / 2.0))
            }
        }
    }
}

fn is_worth_repeating(failure: &Failure) -> bool {
    match failure {
        Failure::Timeout { .. } | Failure::RateLimited { .. } | Failure::Connection { .. } | Failure::Lost { .. } => {
            true
        }
        // Others may have closed theirs by then.
        Failure::Unsent { why } => *why == Unsent::Files,
        Failure::Status { status, .. } => matches!(status, 408 | 409 | 429 | 500..=599),
        Failure::Cut { .. }
        | Failure::Protocol { .. }
        | Failure::Service { .. }
        | Failure::Recorded { .. }
        | Failure::Program { .. } => false,
    }
}

/// A number in 0..1 that depends on nothing but the run's seed, the task and the attempt.
pub fn jitter(seed: u64, task: Digest, attempt: u32) -> f64 {
    let mut hasher = Hasher::default();
    hasher.part(&seed.to_le_bytes()).part(&task.0).part(&attempt.to_le_bytes());
    // The upper 53 bits fill a double's mantissa exactly.
    (hasher.finish().low64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(failure: Failure, retry_after: Option<u64>) -> Refusal {
        Refusal { failure, retry_after: retry_after.map(Duration::from_secs) }
    }

    fn status(status: u16) -> Failure {
        Failure::Status { status, detail: String::new() }
    }

    #[test]
    fn only_what_may_pass_is_repeated_and_only_so_often() {
        let rule = RetryRule::new(2);
        let timeout = || Failure::Timeout { after: Duration::from_secs(1) };
        for failure in [status(408), status(409), status(429), status(500), status(503), timeout()] {
            assert!(rule.wait(1, &refusal(failure, None), false, 0.5).is_some());
        }
        for failure in [status(400), status(401), status(404), Failure::Protocol { detail: String::new() }] {
            assert_eq!(rule.wait(1, &refusal(failure, None), false, 0.5), None);
        }
        assert!(rule.wait(2, &refusal(timeout(), None), false, 0.5).is_some());
        assert_eq!(rule.wait(3, &refusal(timeout(), None), false, 0.5), None);
        assert_eq!(rule.wait(1, &refusal(timeout(), None), true, 0.5), None, "an answer had begun");
    }

    #[test]
    fn waits_double_stay_bounded_and_follow_the_service() {
        let rule = RetryRule { retries: 100, ..RetryRule::new(0) };
        let wait = |failed, asked, jitter| rule.wait(failed, &refusal(status(500), asked), false, jitter);
        assert_eq!(wait(1, None, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(wait(2, None, 1.0), Some(Duration::from_secs(1)));
        assert_eq!(wait(3, None, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(wait(90, None, 1.0), Some(Duration::from_secs(30)));
        assert_eq!(wait(1, Some(7), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(wait(1, Some(0), 0.9), Some(Duration::ZERO));
        assert_eq!(wait(1, Some(301), 0.0), None);
    }

    #[test]
    fn jitter_is_spread_and_repeatable() {
        let all: Vec<f64> = (0..1000).map(|n| jitter(7, Digest::default(), n)).collect();
        assert_eq!(all[3], jitter(7, Digest::default(), 3));
        assert!(all.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        let mean = all.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }
}
