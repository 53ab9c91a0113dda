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
    }
}
