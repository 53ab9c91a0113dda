//! Whether a candidate's service can still be reached. Pure counting.
//!
//! A service that is gone would cost a run all that is left of its tasks: each would wait out its retries and end as a
//! failure that says nothing about the candidate. So when several tasks in a row never reached the service, and nothing
//! was heard of it meanwhile, no more are sent to it.

use std::sync::{Mutex, PoisonError};

/// When a service is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// So many tasks in a row that did not reach it, each after all its retries.
    in_a_row: u32,
    /// Whether only a service of which nothing was ever heard is given up.
    is_only_before_first: bool,
}

impl Patience {
    /// In a closed loop. What was not sent is asked when the run is resumed, so giving up early costs little.
    pub(super) const CLOSED: Patience = Patience { in_a_row: 3, is_only_before_first: false };

    /// In an open loop. Nobody resumes a replay, and a service that goes away for a while and comes back is a finding:
    /// users would have met the same. So only one of which nothing was ever heard is given up.
    pub(super) const OPEN: Patience = Patience { in_a_row: 5, is_only_before_first: true };
}

/// What was seen of a candidate's service.
#[derive(Debug)]
pub(super) struct Vigil {
    patience: Patience,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    in_a_row: u32,
    is_heard: bool,
    is_given_up: bool,
}

impl Vigil {
    /// Nothing was seen yet.
    pub(super) fn new(patience: Patience) -> Vigil {
        Vigil { patience, seen: Mutex::default() }
    }

    /// Notes that a request reached the service, whatever it said.
    pub(super) fn heard(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_heard = true;
        seen.in_a_row = 0;
    }

    /// Notes that a task ended without having reached the service; true when the service is given up by that, which
    /// happens once.
    pub(super) fn missed(&self) -> bool {
        let Patience { in_a_row, is_only_before_first } = self.patience;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.in_a_row = seen.in_a_row.saturating_add(1);
        let is_now = !seen.is_given_up && seen.in_a_row >= in_a_row && !(is_only_before_first && seen.is_heard);
        seen.is_given_up |= is_now;
        is_now
    }

    /// Whether the service was given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_misses_is_needed_and_counts_once() {
        let vigil = Vigil::new(Patience::CLOSED);
        assert!(!vigil.missed() && !vigil.missed());
        vigil.heard();
        assert!(!vigil.missed() && !vigil.missed() && !vigil.is_given_up(), "the row begins again");
        assert!(vigil.missed() && vigil.is_given_up());
        assert!(!vigil.missed(), "it is said once");
    }

    #[test]
    fn a_replay_bears_a_service_that_went_away() {
        let vigil = Vigil::new(Patience::OPEN);
        assert!((0..4).all(|_| !vigil.missed()));
        assert!(vigil.missed());
        let vigil = Vigil::new(Patience::OPEN);
        vigil.heard();
        assert!((0..1000).all(|_| !vigil.missed()));
    }
}
