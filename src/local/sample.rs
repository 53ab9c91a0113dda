//! From logits to a token: temperature, top-k, top-p and seed; and log-probabilities. Pure.
//!
//! At temperature 0 the likeliest token is taken, of equals the one with the lowest number. Otherwise a draw is fixed by
//! the seed, the number of the token in the answer, and the logits; nothing else enters.

use std::cmp::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; at 0 the likeliest token is taken.
    pub temperature: f64,
    /// Only the likeliest tokens that together have this share; 1 for all.
    pub top_p: f64,
    /// Only so many of the likeliest tokens; `None` for all.
    pub top_k: Option<usize>,
    /// Fixes the draws; `None` for ones that differ from request to request.
    pub seed: Option<u64>,
}

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    shares: Vec<(u32, f64)>,
}

impl Sampler {
    /// For a request; `entropy` takes the place of a seed that it does not name.
    pub fn new(sampling: Sampling, entropy: u64) -> Sampler {
        let random = ChaCha8Rng::seed_from_u64(sampling.seed.unwrap_or(entropy));
        Sampler { sampling, random, shares: Vec::new() }
    }

    /// The draw for the next token, from 0 to 1: to be asked for once a token.
    pub fn draw(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        (self.random.next_u64() >> 11) as f64 * UNIT
    }

    /// The token that a draw falls on; a logit of negative infinity is a token that may not be taken. `None` when
    /// none may.
    pub fn pick(&mut self, logits: &[f32], draw: f64) -> Option<u32> {
        let best = likeliest(logits)?;
        if self.sampling.temperature == 0.0 {
            return Some(best);
        }
        let top = f64::from(logits[best as usize]);
        let share = |logit: f32| ((f64::from(logit) - top) / self.sampling.temperature).exp();
        let shares = logits.iter().enumerate().map(|(id, logit)| (id as u32, share(*logit)));
        self.shares.clear();
        self.shares.extend(shares.filter(|(_, share)| *share > 0.0));
        if let Some(count) = self.sampling.top_k.filter(|count| *count < self.shares.len()) {
            self.shares.select_nth_unstable_by(count, by_share);
            self.shares.truncate(count);
        }
        if self.sampling.top_p < 1.0 {
            self.keep_nucleus();
        }
        // In the order of their numbers, so that the result does not hang on how the selection left them.
        self.shares.sort_unstable_by_key(|(id, _)| *id);
        let total: f64 = self.shares.iter().map(|(_, share)| share).sum();
        let mut rest = draw * total;
        for (id, share) in &self.shares {
            rest -= share;
            if rest < 0.0 {
                return Some(*id);
            }
        }
        Some(best)
    }

    /// Keeps the likeliest tokens whose shares together reach `top_p`; at least one.
    fn keep_nucleus(&mut self) {
        let total: f64 = self.shares.iter().map(|(_, share)| share).sum();
        // One with a smaller share than this cannot be needed: all of its kind together do not make up the rest.
        let least = (1.0 - self.sampling.top_p) * total / self.shares.len() as f64;
        let top_p = self.sampling.top_p;
        let most = self.shares.iter().copied().min_by(by_share);
        self.shares.retain(|(_, share)| *share >= least);
        self.shares.sort_unstable_by(by_share);
        let mut sum = 0.0;
        let count = self.shares.iter().take_while(|(_, share)| {
            let is_needed = sum < top_p * total;
            sum += share;
            is_needed
        });
        let count = count.count();
        self.shares.truncate(count.max(1));
        if self.shares.is_empty() {
            self.shares.extend(most);
        }
    }
}

/// The larger share first; of equals the lower number.
fn by_share(one: &(u32, f64), other: &(u32, f64)) -> Ordering {
    other.1.total_cmp(&one.1).then(one.0.cmp(&other.0))
}

/// The token with the largest logit, of equals the one with the lowest number. What is no number is never taken.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.map_or(f32::NEG_INFINITY, |(_, logit)| logit) {
            best = Some((id as u32, *logit));
        }
    }
    best.map(|(id, _)| id)
}

/// Logits with their normaliser: what log-probabilities are read from.
#[derive(Debug, Clone, Copy)]
pub struct LogProbs<'a> {
    logits: &'a [f32],
    norm: f64,
}

impl<'a> LogProbs<'a> {
    /// The model's own distribution: at temperature 1, before anything is ruled out.
    pub fn of(logits: &'a [f32]) -> LogProbs<'a> {
        let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - top).exp()).filter(|share| !share.is_nan()).sum();
        LogProbs { logits, norm: top + sum.ln() }
    }

    /// The natural logarithm of a token's probability; −9999 where it is 0, as OpenAI writes it.
    pub fn token(&self, id: u32) -> f64 {
        let logit = self.logits.get(id as usize).map_or(f64::NEG_INFINITY, |logit| f64::from(*logit));
        let value = logit - self.norm;
        if value.is_finite() { value.min(0.0) } else { -9999.0 }
    }

    /// The likeliest tokens, the likeliest first.
    pub fn top(&self, count: usize) -> Vec<(u32, f64)> {
        let mut all: Vec<(u32, f64)> =
            self.logits.iter().enumerate().map(|(id, l)| (id as u32, f64::from(*l))).collect();
        all.retain(|(_, logit)| !logit.is_nan());
        if count < all.len() {
            all.select_nth_unstable_by(count, by_share);
            all.truncate(count);
        }
        all.sort_unstable_by(by_share);
        all.into_iter().map(|(id, _)| (id, self.token(id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f32 = f32::NEG_INFINITY;

    fn sampling(temperature: f64, top_p: f64, top_k: Option<usize>) -> Sampling {
        Sampling { temperature, top_p, top_k, seed: Some(7) }
    }

    /// How often each token is drawn.
    fn drawn(sampling: Sampling, logits: &[f32], times: usize) -> Vec<f64> {
        let mut sampler = Sampler::new(sampling, 0);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..times {
            let draw = sampler.draw();
            counts[sampler.pick(logits, draw).unwrap() as usize] += 1.0 / times as f64;
        }
        counts
    }

    #[test]
    fn the_likeliest_is_taken_at_temperature_zero_and_of_equals_the_first() {
        let mut sampler = Sampler::new(sampling(0.0, 1.0, None), 0);
        assert_eq!(sampler.pick(&[1.0, 3.0, 3.0, f32::NAN], 0.9), Some(1));
        assert_eq!(sampler.pick(&[NONE, NONE, -5.0], 0.0), Some(2));
        assert_eq!(sampler.pick(&[NONE, f32::NAN], 0.0), None);
        assert_eq!(sampler.pick(&[], 0.0), None);
    }

    #[test]
    fn draws_follow_the_softmax_and_the_temperature() {
        let logits = [0.0, (2.0f32).ln(), (5.0f32).ln(), NONE];
        for (got, want) in drawn(sampling(1.0, 1.0, None), &logits, 40_000).iter().zip([0.125, 0.25, 0.625, 0.0]) {
            assert!((got - want).abs() < 0.01, "{got} {want}");
        }
        // At temperature 0.5 the weights are squared: 1, 4, 25.
        let got = drawn(sampling(0.5, 1.0, None), &logits, 40_000);
        assert!((got[2] - 25.0 / 30.0).abs() < 0.01, "{got:?}");
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits: Vec<f32> = [0.05f32, 0.5, 0.3, 0.15].iter().map(|p| p.ln()).collect();
        let got = drawn(sampling(1.0, 1.0, Some(2)), &logits, 20_000);
        assert_eq!((got[0], got[3]), (0.0, 0.0));
        assert!((got[1] - 0.625).abs() < 0.015, "{got:?}");
        let got = drawn(sampling(1.0, 0.75, None), &logits, 20_000);
        assert_eq!((got[0], got[3]), (0.0, 0.0));
        let got = drawn(sampling(1.0, 0.9, None), &logits, 20_000);
        assert!(got[0] == 0.0 && got[3] > 0.1, "{got:?}");
        let got = drawn(sampling(1.0, 0.0, None), &logits, 100);
        assert_eq!(got[1].round(), 1.0);
    }

    #[test]
    fn a_seed_fixes_the_draws() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin()).collect();
        let answer = |seed, entropy| -> Vec<u32> {
            let mut sampler = Sampler::new(Sampling { seed, ..sampling(1.0, 0.95, Some(50)) }, entropy);
            (0..50)
                .map(|_| {
                    let draw = sampler.draw();
                    sampler.pick(&logits, draw).unwrap()
                })
                .collect()
        };
        assert_eq!(answer(Some(1), 5), answer(Some(1), 6));
        assert_ne!(answer(Some(1), 5), answer(Some(2), 5));
        assert_ne!(answer(None, 5), answer(None, 6));
    }

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits = [0.0, (3.0f32).ln(), NONE];
        let all = LogProbs::of(&logits);
        assert!((all.token(0) - 0.25f64.ln()).abs() < 1e-6);
        assert_eq!(all.token(2), -9999.0);
        assert_eq!(all.token(99), -9999.0);
        let top = all.top(2);
        assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 0]);
        assert!((top[0].1 - 0.75f64.ln()).abs() < 1e-6);
        assert_eq!(all.top(9).len(), 3);
        assert!(all.top(0).is_empty());
    }
}
