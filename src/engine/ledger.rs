//! What a run may spend. Money is set aside before a request is sent and put right when it has ended, so that no request
//! is sent that could pass the cap. Pure but for the lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rust_decimal::Decimal;

/// Whether money could be set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It was.
    Yes,
    /// Not now; perhaps when what is in flight has cost less than was set aside for it.
    NotYet,
    /// Not any more.
    Never,
}

/// The money of one run, in dollars.
#[derive(Debug)]
pub struct Ledger {
    cap: Decimal,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    spent: Decimal,
    reserved: Decimal,
}

impl Ledger {
    /// `cap` may be spent in all; `spent` has been in earlier sessions of the run.
    pub fn new(cap: Decimal, spent: Decimal) -> Ledger {
        Ledger { cap, state: Mutex::new(State { spent, reserved: Decimal::ZERO }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets `amount` aside, unless spending it could pass the cap.
    pub fn reserve(&self, amount: Decimal) -> Reserved {
        let mut state = self.state();
        let after = |held: Decimal| state.spent.checked_add(held).and_then(|sum| sum.checked_add(amount));
        if after(state.reserved).is_some_and(|sum| sum <= self.cap) {
            state.reserved += amount;
            return Reserved::Yes;
        }
        let may_fit = after(Decimal::ZERO).is_some_and(|sum| sum <= self.cap);
        if may_fit { Reserved::NotYet } else { Reserved::Never }
    }

    /// Puts a request right for which `reserved` was set aside and which cost `spent`.
    pub fn settle(&self, reserved: Decimal, spent: Decimal) {
        let mut state = self.state();
        state.reserved = (state.reserved - reserved).max(Decimal::ZERO);
        state.spent = state.spent.checked_add(spent).unwrap_or(Decimal::MAX);
    }

    /// What has been spent.
    pub fn spent(&self) -> Decimal {
        self.state().spent
    }

    /// What may be.
    pub fn cap(&self) -> Decimal {
        self.cap
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::price;
    use crate::types::{Price, Usage};

    #[test]
    fn nothing_is_sent_that_could_pass_the_cap() {
        let usd = |cents: i64| Decimal::new(cents, 2);
        let ledger = Ledger::new(usd(100), usd(10));
        assert_eq!(ledger.reserve(usd(60)), Reserved::Yes);
        assert_eq!(ledger.reserve(usd(40)), Reserved::NotYet, "the first one may cost less");
        assert_eq!(ledger.reserve(usd(91)), Reserved::Never);
        ledger.settle(usd(60), usd(20));
        assert_eq!(ledger.reserve(usd(70)), Reserved::Yes);
        ledger.settle(usd(70), usd(70));
        assert_eq!((ledger.spent(), ledger.reserve(usd(1))), (usd(100), Reserved::Never));
        assert_eq!(ledger.reserve(Decimal::ZERO), Reserved::Yes);
        assert_eq!(Ledger::new(Decimal::MAX, Decimal::MAX).reserve(Decimal::MAX), Reserved::Never);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Whatever requests are estimated at and cost, in whatever order they end: what is spent passes the cap by no
        /// more than by what the requests in flight cost beyond what was set aside for them.
        #[test]
        fn the_cap_holds_but_for_wrong_estimates(
            cap in 0_i64..5_000,
            requests in prop::collection::vec((0_i64..300, 0_i64..600, 0_usize..8), 1..120),
        ) {
            let ledger = Ledger::new(Decimal::from(cap), Decimal::ZERO);
            let mut in_flight: Vec<(i64, i64)> = Vec::new();
            let mut beyond = 0;
            let end = |flying: &mut Vec<(i64, i64)>, at: usize, beyond: &mut i64| {
                let (estimate, cost) = flying.remove(at % flying.len());
                *beyond += (cost - estimate).max(0);
                ledger.settle(Decimal::from(estimate), Decimal::from(cost));
            };
            for (estimate, cost, order) in requests {
                loop {
                    match ledger.reserve(Decimal::from(estimate)) {
                        Reserved::Yes => in_flight.push((estimate, cost)),
                        Reserved::NotYet => {
                            prop_assert!(!in_flight.is_empty(), "nothing could put it right");
                            end(&mut in_flight, order, &mut beyond);
                            continue;
                        }
                        Reserved::Never => {}
                    }
                    break;
                }
                if in_flight.len() > order {
                    end(&mut in_flight, order, &mut beyond);
                }
            }
            while !in_flight.is_empty() {
                end(&mut in_flight, 0, &mut beyond);
            }
            prop_assert!(ledger.spent() <= Decimal::from(cap + beyond), "{} of {cap} + {beyond}", ledger.spent());
        }

        /// The same with money as it comes about: prices per million tokens, cached tokens at a price of their own, and
        /// usage that may be more than was reckoned with.
        #[test]
        fn the_cap_holds_over_prices_and_usages(
            cap_cents in 0_i64..200,
            prices in (1_i64..6_000, 0_i64..3_000, 1_i64..9_000),
            requests in prop::collection::vec(
                ((1_u64..40_000, 1_u64..4_000), (1_u64..60_000, 0_u64..60_000, 0_u64..6_000), 0_usize..8),
                1..80,
            ),
        ) {
            let per_mtok = |cents: i64| Some(Decimal::new(cents, 2));
            let price = Price {
                input_per_mtok_usd: per_mtok(prices.0),
                cached_input_per_mtok_usd: per_mtok(prices.1.min(prices.0)),
                output_per_mtok_usd: per_mtok(prices.2),
                ..Price::default()
            };
            let cost = |input: u64, cached: u64, output: u64| {
                let usage = Usage {
                    input_tokens: Some(input),
                    cached_input_tokens: Some(cached.min(input)),
                    output_tokens: Some(output),
                    ..Usage::default()
                };
                price::cost(&price, &usage).unwrap()
            };
            let cap = Decimal::new(cap_cents, 2);
            let ledger = Ledger::new(cap, Decimal::ZERO);
            let mut flying: Vec<(Decimal, Decimal)> = Vec::new();
            let (mut beyond, mut spent) = (Decimal::ZERO, Decimal::ZERO);
            let mut end = |flying: &mut Vec<(Decimal, Decimal)>, at: usize| {
                let (reserved, amount) = flying.remove(at % flying.len());
                beyond += (amount - reserved).max(Decimal::ZERO);
                spent += amount;
                ledger.settle(reserved, amount);
            };
            for ((input, output), (real_input, cached, real_output), ending) in requests {
                let reserved = cost(input, 0, output);
                if ledger.reserve(reserved) == Reserved::Yes {
                    flying.push((reserved, cost(real_input, cached, real_output)));
                }
                if flying.len() > 4 {
                    end(&mut flying, ending);
                }
            }
            while !flying.is_empty() {
                end(&mut flying, 0);
            }
            prop_assert_eq!(ledger.spent(), spent);
            prop_assert!(spent <= cap + beyond, "{} of {} with {} beyond", spent, cap, beyond);
        }
    }
}
