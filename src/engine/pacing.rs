//! When each request of a replay is due: computed once, from the log or from a rate, never from the previous send. Pure.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the due times are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// As the log has them.
    AsLogged {
        /// 2 is twice as fast as the log.
        speed: f64,
        /// Gaps of the log longer than this are cut to it, before the speed counts.
        max_gap: Option<Duration>,
    },
    /// At a rate, whatever the log says.
    At {
        /// Requests a second.
        per_s: f64,
        /// How the gaps vary.
        gaps: Gaps,
        /// Seed of the gaps.
        seed: u64,
    },
}

/// How gaps between requests vary around their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gaps {
    /// Not at all.
    Constant,
    /// Exponentially, as requests of many who do not know of each other: coefficient of variation 1.
    Poisson,
    /// By a gamma distribution of this coefficient of variation: above 1 requests come in bursts.
    Gamma {
        /// Standard deviation ÷ mean of the gaps.
        variation: f64,
    },
}

/// Gives due times one after the other. Two made from the same pacing give the same times, so that every candidate has
/// a schedule of its own and all have the same one.
#[derive(Debug, Clone)]
pub struct Timetable {
    pacing: Pacing,
    /// Arrival of the first request and of the last one, as the log tells them, in microseconds.
    first_us: Option<i64>,
    last_us: i64,
    /// Microseconds of the log that were cut out of it.
    cut_us: i64,
    /// Seconds since the start, where they are made by a rate.
    at_s: f64,
    given: u64,
    random: ChaCha8Rng,
    /// Gaps that were cut.
    pub cuts: u64,
}

impl Timetable {
    /// At its beginning.
    pub fn new(pacing: Pacing) -> Timetable {
        let seed = match pacing {
            Pacing::At { seed, .. } => seed,
            Pacing::AsLogged { .. } => 0,
        };
        Timetable {
            pacing,
            first_us: None,
            last_us: 0,
            cut_us: 0,
            at_s: 0.0,
            given: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
            cuts: 0,
        }
    }

    /// When the next request is due, from the start of the replay. `arrived_us` is when it came in the log, in
    /// microseconds of any epoch, not before the one before it; `None` when the log does not tell and only a rate can.
    pub fn next(&mut self, arrived_us: Option<i64>) -> Option<Duration> {
        match self.pacing {
            Pacing::AsLogged { speed, max_gap } => {
                let arrived = arrived_us?;
                let first = *self.first_us.get_or_insert_with(|| {
                    self.last_us = arrived;
                    arrived
                });
                let gap = arrived.saturating_sub(self.last_us).max(0);
                let longest = max_gap.and_then(|gap| i64::try_from(gap.as_micros()).ok()).unwrap_or(i64::MAX);
                if gap > longest {
                    self.cut_us = self.cut_us.saturating_add(gap - longest);
                    self.cuts += 1;
                }
                self.last_us = self.last_us.max(arrived);
                let since = self.last_us.saturating_sub(first).saturating_sub(self.cut_us).max(0);
                // Microseconds of centuries fit a double's mantissa.
                Some(Duration::from_secs_f64(since as f64 / 1e6 / speed))
            }
            Pacing::At { per_s, gaps, .. } => {
                if self.given > 0 {
                    match gaps {
                        // By multiplication: a sum of many small gaps would drift.
                        Gaps::Constant => self.at_s = self.given as f64 / per_s,
                        Gaps::Poisson => self.at_s += self.exponential() / per_s,
                        Gaps::Gamma { variation } => self.at_s += self.gamma(variation) / per_s,
                    }
                }
                self.given += 1;
                Some(Duration::from_secs_f64(self.at_s))
            }
        }
    }

    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        let bits = self.random.next_u64();
        ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Box and Muller 1958: one of the two.
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// Mean 1. Marsaglia and Tsang 2000, "A simple method for generating gamma variables"; for a shape below 1 through
    /// that of shape + 1.
    fn gamma(&mut self, variation: f64) -> f64 {
        let shape = 1.0 / (variation * variation);
        let boosted = if shape < 1.0 { shape + 1.0 } else { shape };
        let d = boosted - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        let drawn = loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                break d * v;
            }
        };
        let of_shape = if shape < 1.0 { drawn * self.uniform().powf(1.0 / shape) } else { drawn };
        of_shape / shape
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(pacing: Pacing, arrived: &[i64]) -> Vec<u128> {
        let mut timetable = Timetable::new(pacing);
        arrived.iter().map(|at| timetable.next(Some(*at)).unwrap().as_micros()).collect()
    }

    #[test]
    fn the_logs_own_times_at_any_speed() {
        let arrived = [1_700_000_000_000_000, 1_700_000_000_250_000, 1_700_000_000_250_000, 1_700_000_010_250_000];
        let as_logged = |speed, max_gap| Pacing::AsLogged { speed, max_gap };
        assert_eq!(due(as_logged(1.0, None), &arrived), [0, 250_000, 250_000, 10_250_000]);
        assert_eq!(due(as_logged(10.0, None), &arrived), [0, 25_000, 25_000, 1_025_000]);
        assert_eq!(due(as_logged(0.5, None), &arrived), [0, 500_000, 500_000, 20_500_000]);
        let second = Some(Duration::from_secs(1));
        assert_eq!(due(as_logged(2.0, second), &arrived), [0, 125_000, 125_000, 625_000]);
        let mut timetable = Timetable::new(as_logged(1.0, second));
        assert!(arrived.iter().all(|at| timetable.next(Some(*at)).is_some()));
        assert_eq!(timetable.cuts, 1);
        assert_eq!(timetable.next(None), None, "the log does not say, and there is no rate");
    }

    #[test]
    fn rates_have_their_mean_and_their_variation() {
        for (gaps, variation) in [
            (Gaps::Constant, 0.0),
            (Gaps::Poisson, 1.0),
            (Gaps::Gamma { variation: 0.5 }, 0.5),
            (Gaps::Gamma { variation: 3.0 }, 3.0),
        ] {
            let mut timetable = Timetable::new(Pacing::At { per_s: 50.0, gaps, seed: 11 });
            let times: Vec<f64> = (0..200_000).map(|_| timetable.next(None).unwrap().as_secs_f64()).collect();
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let sd = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!((mean * 50.0 - 1.0).abs() < 0.03, "{variation}: mean {mean}");
            assert!((sd / mean - variation).abs() < 0.05 * variation.max(0.01), "{variation}: {}", sd / mean);
        }
    }

    #[test]
    fn a_rate_does_not_drift() {
        let mut timetable = Timetable::new(Pacing::At { per_s: 2000.0, gaps: Gaps::Constant, seed: 0 });
        let last = (0..=7_200_000).map(|_| timetable.next(None).unwrap()).last().unwrap();
        assert_eq!(last, Duration::from_secs(3600));
    }

    proptest! {
        /// Due times never go back, and no two schedules of one pacing differ.
        #[test]
        fn schedules_rise_and_agree(gaps in prop::collection::vec(0_i64..5_000_000, 1..200), speed in 0.1_f64..50.0) {
            let mut at = 0;
            let arrived: Vec<i64> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let pacing = Pacing::AsLogged { speed, max_gap: Some(Duration::from_secs(2)) };
            let one = due(pacing, &arrived);
            prop_assert!(one.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert_eq!(&one, &due(pacing, &arrived));
        }
    }
}
