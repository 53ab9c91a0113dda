//! Candidates that answered nothing: what the verdict and the exit code may then say at best. Gates hold their passes back
//! themselves. Pure.

use crate::gate::{self, Verdict};
use crate::types::Counts;

/// Whether a candidate that was asked has answered nothing at all: `answers` says how many of its answers say something.
pub(crate) fn is_silent(counts: &Counts, answers: u64) -> bool {
    counts.tasks > 0 && answers == 0
}

/// The worst verdict of some gates, where somebody they are about may have answered nothing. `None` when the suite has no
/// gates (`has_gates`): then the run is a measurement.
pub(crate) fn worst(verdicts: impl Iterator<Item = Verdict>, has_gates: bool, is_silent: bool) -> Option<Verdict> {
    gate::worst(verdicts.chain((has_gates && is_silent).then_some(Verdict::Inconclusive)))
}

/// The exit code of a report: a partial one decides nothing. Without gates nothing passes or fails, but a measurement
/// with a candidate that answered nothing has not been made either: its code is that of inconclusive, so that no script
/// takes a service which is down for a good one.
pub fn exit_code(is_complete: bool, verdict: Option<Verdict>, is_silent: bool) -> u8 {
    match (is_complete, verdict) {
        (false, _) => 3,
        (true, Some(Verdict::Fail)) => 1,
        (true, Some(Verdict::Inconclusive)) => 4,
        (true, None | Some(Verdict::Pass)) => {
            if is_silent {
                4
            } else {
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Verdict::Pass), Just(Verdict::Inconclusive), Just(Verdict::Fail)]
    }

    /// Counts with how many answers say something. Small numbers, so that every one of them is often 0.
    fn counts() -> impl Strategy<Value = (Counts, u64)> {
        (0..3_u64, 0..3_u64, 0..3_u64, 0..2_u64, 0..2_u64).prop_map(|(scored, unscored, failed, dropped, blank)| {
            let tasks = scored + unscored + failed + dropped;
            (Counts { tasks, scored, unscored, failed, dropped }, (scored + unscored).saturating_sub(blank))
        })
    }

    proptest! {
        #[test]
        fn who_answers_nothing_is_never_exit_code_0(
            candidates in prop::collection::vec((counts(), prop::collection::vec(verdict(), 0..4)), 1..4),
        ) {
            let has_gates = candidates.iter().any(|(_, verdicts)| !verdicts.is_empty());
            let is_complete = candidates.iter().all(|((counts, _), _)| counts.dropped == 0);
            let mut all = Vec::new();
            for ((counts, answers), verdicts) in &candidates {
                let is_silent = is_silent(counts, *answers);
                // Of a silent candidate no gate passes.
                let held_back = |verdict: &Verdict| match verdict {
                    Verdict::Pass if is_silent => Verdict::Inconclusive,
                    other => *other,
                };
                let judged: Vec<Verdict> = verdicts.iter().map(held_back).collect();
                let own = worst(judged.iter().copied(), has_gates, is_silent);
                prop_assert!(!is_silent || own != Some(Verdict::Pass));
                // Nothing else changes a verdict, and no failure is excused.
                prop_assert!(is_silent || own == gate::worst(verdicts.iter().copied()));
                prop_assert!(!verdicts.contains(&Verdict::Fail) || own == Some(Verdict::Fail));
                all.extend(judged);
            }
            let is_any = candidates.iter().any(|((counts, answers), _)| is_silent(counts, *answers));
            let verdict = worst(all.into_iter(), has_gates, is_any);
            let code = exit_code(is_complete, verdict, is_any);
            prop_assert!(code != 0 || (is_complete && !is_any), "{:?}", candidates);
            prop_assert_eq!(verdict.is_some(), has_gates);
            if is_any {
                prop_assert!([1, 3, 4].contains(&code));
            }
        }
    }

    #[test]
    fn one_answer_is_an_answer_even_if_nobody_could_mark_it() {
        assert!(!is_silent(&Counts { tasks: 40, unscored: 1, failed: 39, ..Counts::default() }, 1));
        assert!(is_silent(&Counts { tasks: 40, failed: 40, ..Counts::default() }, 0));
        assert!(is_silent(&Counts { tasks: 40, scored: 40, ..Counts::default() }, 0), "refused or blank, all of them");
        assert!(!is_silent(&Counts::default(), 0), "nobody asked it anything");
    }

    #[test]
    fn codes_are_those_of_the_documentation() {
        for (is_complete, verdict, is_silent, code) in [
            (true, Some(Verdict::Pass), false, 0),
            (true, None, false, 0),
            (true, Some(Verdict::Fail), false, 1),
            (true, Some(Verdict::Fail), true, 1),
            (true, Some(Verdict::Inconclusive), false, 4),
            (true, None, true, 4),
            (false, Some(Verdict::Fail), true, 3),
            (false, None, false, 3),
        ] {
            assert_eq!(exit_code(is_complete, verdict, is_silent), code, "{verdict:?}");
        }
    }
}
