//! What a run may spend, and what of it is under way. Money is set aside before a request is sent and put right when it
//! has ended, so that no request is sent that could pass the cap. Pure but for its lock and its keeper.
//!
//! What was sent and has no record yet would be forgotten if the process died. So the most that was ever under way at
//! once is kept by a [`Keep`] before anything is sent that would pass it. That most is soon reached and then stands, so
//! it costs a session about as many writes as it has requests in flight.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rust_decimal::Decimal;

use crate::types::UnderWay;

/// Puts down, where it outlives the process, how much may be under way.
pub type Keep = Box<dyn Fn(UnderWay) -> io::Result<()> + Send + Sync>;

/// Whether money could be set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It was.
    Yes,
    /// Not now; perhaps when what is in flight has cost less than was set aside for it.
    NotYet,
    /// Not any more.
    Never,
    /// It could not be kept that the request may be under way, so it must not be sent.
    Unkept(String),
}

/// The money of one run, in dollars.
pub struct Ledger {
    cap: Option<Decimal>,
    keep: Option<Keep>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    spent: Decimal,
    reserved: Decimal,
    /// Tasks that were sent and have no record, with what is set aside or was spent for them.
    under_way: UnderWay,
    /// The most of it that was kept.
    kept: UnderWay,
    is_closed: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("cap", &self.cap).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Ledger {
    /// `cap` may be spent in all, anything where there is none; `spent` has been in earlier sessions of the run.
    pub fn new(cap: Option<Decimal>, spent: Decimal) -> Ledger {
        let (none, is_closed) = (UnderWay::default(), false);
        let state = State { spent, reserved: Decimal::ZERO, under_way: none, kept: none, is_closed };
        Ledger { cap, keep: None, state: Mutex::new(state) }
    }

    /// The same, with somebody who keeps what is under way.
    pub fn kept_by(self, keep: Keep) -> Ledger {
        Ledger { keep: Some(keep), ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets `amount` aside for an attempt, the first one of its task or another, unless spending it could pass the cap.
    pub fn reserve(&self, amount: Decimal, is_first: bool) -> Reserved {
        let mut state = self.state();
        if state.is_closed {
            return Reserved::Never;
        }
        let after = |held: Decimal| state.spent.checked_add(held).and_then(|sum| sum.checked_add(amount));
        let fits = |sum: Option<Decimal>| self.cap.is_none_or(|cap| sum.is_some_and(|sum| sum <= cap));
        if !fits(after(state.reserved)) {
            return if fits(after(Decimal::ZERO)) { Reserved::NotYet } else { Reserved::Never };
        }
        let UnderWay { tasks, usd } = state.under_way;
        let under_way = UnderWay { tasks: tasks + u64::from(is_first), usd: usd.saturating_add(amount) };
        if let Err(error) = self.cover(&mut state, under_way) {
            return Reserved::Unkept(error.to_string());
        }
        state.under_way = under_way;
        state.reserved = state.reserved.saturating_add(amount);
        Reserved::Yes
    }

    /// Sees to it that as much is kept as may be under way.
    fn cover(&self, state: &mut State, under_way: UnderWay) -> io::Result<()> {
        let most = state.kept.most(under_way);
        if let (Some(keep), true) = (&self.keep, most != state.kept) {
            keep(most)?;
            state.kept = most;
        }
        Ok(())
    }

    /// Puts an attempt right for which `reserved` was set aside and which cost `spent`. It stays under way until it is
    /// [recorded](Ledger::recorded).
    pub fn settle(&self, reserved: Decimal, spent: Decimal) {
        let mut state = self.state();
        state.reserved = (state.reserved - reserved).max(Decimal::ZERO);
        state.spent = state.spent.saturating_add(spent);
        let UnderWay { tasks, usd } = state.under_way;
        state.under_way = UnderWay { tasks, usd: (usd - reserved).max(Decimal::ZERO).saturating_add(spent) };
        // It was sent already: should this not be kept, it is what the next request is refused for.
        let under_way = state.under_way;
        let _ = self.cover(&mut state, under_way);
    }

    /// A task that cost `spent` in all is not under way any more: its record is on disk, or has nothing to tell.
    pub fn recorded(&self, spent: Decimal) {
        let mut state = self.state();
        let UnderWay { tasks, usd } = state.under_way;
        state.under_way = UnderWay { tasks: tasks.saturating_sub(1), usd: (usd - spent).max(Decimal::ZERO) };
    }

    /// Nothing more is set aside from now on; gives what is under way.
    pub fn close(&self) -> UnderWay {
        let mut state = self.state();
        state.is_closed = true;
        state.under_way
    }

    /// What has been spent.
    pub fn spent(&self) -> Decimal {
        self.state().spent
    }

    /// What may be; `None` when that is not bounded.
    pub fn cap(&self) -> Option<Decimal> {
        self.cap
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::price;
    use crate::types::{Price, Usage};

    #[test]
    fn nothing_is_sent_that_could_pass_the_cap() {
        let usd = |cents: i64| Decimal::new(cents, 2);
        let ledger = Ledger::new(Some(usd(100)), usd(10));
        assert_eq!(ledger.reserve(usd(60), true), Reserved::Yes);
        assert_eq!(ledger.reserve(usd(40), true), Reserved::NotYet, "the first one may cost less");
        assert_eq!(ledger.reserve(usd(91), true), Reserved::Never);
        ledger.settle(usd(60), usd(20));
        assert_eq!(ledger.reserve(usd(70), true), Reserved::Yes);
        ledger.settle(usd(70), usd(70));
        assert_eq!((ledger.spent(), ledger.reserve(usd(1), true)), (usd(100), Reserved::Never));
        assert_eq!(ledger.reserve(Decimal::ZERO, true), Reserved::Yes);
        assert_eq!(Ledger::new(None, Decimal::ZERO).reserve(usd(1_000_000), true), Reserved::Yes);
        assert_eq!(Ledger::new(Some(Decimal::MAX), Decimal::MAX).reserve(Decimal::MAX, true), Reserved::Never);
    }

    /// A ledger, and what it had its keeper put down last.
    fn kept(cap: Option<Decimal>) -> (Ledger, Arc<Mutex<Vec<UnderWay>>>) {
        let lines = Arc::<Mutex<Vec<UnderWay>>>::default();
        let keeper = Arc::clone(&lines);
        let keep = move |under_way| {
            keeper.lock().unwrap().push(under_way);
            Ok(())
        };
        (Ledger::new(cap, Decimal::ZERO).kept_by(Box::new(keep)), lines)
    }

    #[test]
    fn the_most_that_was_under_way_is_kept_before_it_is() {
        let (ledger, lines) = kept(None);
        for _ in 0..1000 {
            for _ in 0..4 {
                assert_eq!(ledger.reserve(Decimal::ONE, true), Reserved::Yes);
            }
            for _ in 0..4 {
                ledger.settle(Decimal::ONE, Decimal::ONE);
                ledger.recorded(Decimal::ONE);
            }
        }
        let lines = lines.lock().unwrap().clone();
        let under_way = |n: u64| UnderWay { tasks: n, usd: Decimal::from(n) };
        assert_eq!(lines, [1, 2, 3, 4].map(under_way));
        assert_eq!(ledger.close(), under_way(0));
        assert_eq!(ledger.reserve(Decimal::ZERO, true), Reserved::Never, "it is closed");
    }

    #[test]
    fn what_cannot_be_kept_is_not_sent() {
        let ledger = Ledger::new(None, Decimal::ZERO).kept_by(Box::new(|_| Err(io::Error::other("full"))));
        assert_eq!(ledger.reserve(Decimal::ONE, true), Reserved::Unkept("full".to_owned()));
        assert_eq!(ledger.close(), UnderWay::default());
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
            let ledger = Ledger::new(Some(Decimal::from(cap)), Decimal::ZERO);
            let mut in_flight: Vec<(i64, i64)> = Vec::new();
            let mut beyond = 0;
            let end = |flying: &mut Vec<(i64, i64)>, at: usize, beyond: &mut i64| {
                let (estimate, cost) = flying.remove(at % flying.len());
                *beyond += (cost - estimate).max(0);
                ledger.settle(Decimal::from(estimate), Decimal::from(cost));
            };
            for (estimate, cost, order) in requests {
                loop {
                    match ledger.reserve(Decimal::from(estimate), true) {
                        Reserved::Yes => in_flight.push((estimate, cost)),
                        Reserved::NotYet => {
                            prop_assert!(!in_flight.is_empty(), "nothing could put it right");
                            end(&mut in_flight, order, &mut beyond);
                            continue;
                        }
                        Reserved::Never => {}
                        Reserved::Unkept(fault) => prop_assert!(false, "{fault}"),
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

        /// Whenever the process dies, what was kept last covers all that was sent and has no record.
        #[test]
        fn what_is_kept_covers_what_has_no_record(
            requests in prop::collection::vec((0_i64..300, 0_i64..300, 0_usize..8, any::<bool>()), 1..80),
        ) {
            let (ledger, lines) = kept(None);
            // Set aside, and cost: those of tasks that were sent, and of those that have ended.
            let (mut flying, mut ended): (Vec<(i64, i64)>, Vec<i64>) = Default::default();
            for (estimate, cost, order, is_written) in requests {
                prop_assert_eq!(ledger.reserve(Decimal::from(estimate), true), Reserved::Yes);
                flying.push((estimate, cost.min(estimate)));
                if flying.len() > order {
                    let (estimate, cost) = flying.remove(order);
                    ledger.settle(Decimal::from(estimate), Decimal::from(cost));
                    ended.push(cost);
                }
                if is_written && let Some(cost) = ended.pop() {
                    ledger.recorded(Decimal::from(cost));
                }
                let real: i64 = flying.iter().map(|(_, cost)| cost).chain(&ended).sum();
                let last = lines.lock().unwrap().last().copied().unwrap();
                prop_assert!(last.usd >= Decimal::from(real), "{last:?} does not cover {real}");
                prop_assert!(last.tasks >= (flying.len() + ended.len()) as u64);
            }
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
            let ledger = Ledger::new(Some(cap), Decimal::ZERO);
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
                if ledger.reserve(reserved, true) == Reserved::Yes {
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
