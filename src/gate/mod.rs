//! Figures and gates to verdicts. Pure.
//!
//! A gate is judged by an interval, never by the figure alone: it passes when the whole interval lies on the good side
//! of the bar, fails when the whole interval lies on the bad side, and is inconclusive when the interval holds the bar.
//! Non-inferiority is judged one-sided at 5 %, so by the 90 % interval (Berger 1982: all gates must pass, so none of
//! them needs a share of the 5 %); everything else by the interval that the report shows.
//!
//! What could not be observed never helps a candidate: a pass that would not stand if every missing observation had
//! gone against it is inconclusive. A candidate that answered nothing passes nothing.

mod least;
mod sizing;

pub use least::{Judged, Least, least};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats;
use crate::suite::GateSpec;
use crate::types::{AtWorst, CandidateSummary, Cell, Comparison, Estimate, Method, Paired, Summary, Unit};
use sizing::Needed;

/// One-sided error of a non-inferiority gate.
pub const ALPHA: f64 = 0.05;

/// A judgement, of a gate, a candidate or a run. Ordered: the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies on the good side of the bar.
    Pass,
    /// The interval holds the bar: more samples are needed.
    Inconclusive,
    /// The interval lies on the bad side of the bar.
    Fail,
}

/// A gate judged for one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Index of the gate in the suite.
    pub gate: usize,
    /// Id of the candidate.
    pub candidate: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The figure that was judged.
    pub observed: Option<f64>,
    /// Lower end of the interval that was judged.
    pub lower: Option<f64>,
    /// Upper end of the interval that was judged.
    pub upper: Option<f64>,
    /// Two-sided confidence of that interval.
    pub confidence: f64,
    /// Why the verdict is what it is.
    pub reason: String,
    /// How many more samples would probably settle it.
    pub samples_needed: Option<u64>,
}

/// The one condition of a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// `at_least`
    AtLeast(f64),
    /// `at_most`
    AtMost(f64),
    /// `at_most_ratio`
    AtMostRatio(f64),
    /// `non_inferior`
    NonInferior {
        /// The margin, 0 or more.
        margin: f64,
    },
}

impl Bar {
    /// The condition of a gate; `None` when it has not exactly one.
    pub fn of(gate: &GateSpec) -> Option<Bar> {
        let bars = [
            gate.at_least.map(Bar::AtLeast),
            gate.at_most.map(Bar::AtMost),
            gate.at_most_ratio.map(Bar::AtMostRatio),
            gate.non_inferior.as_ref().map(|spec| Bar::NonInferior { margin: spec.margin }),
        ];
        let mut bars = bars.into_iter().flatten();
        let bar = bars.next()?;
        bars.next().is_none().then_some(bar)
    }
}

/// The gate in words, as reports print it.
pub fn in_words(gate: &GateSpec, baseline: Option<&str>) -> String {
    let metric = &gate.metric;
    let baseline = baseline.unwrap_or("the baseline");
    match Bar::of(gate) {
        Some(Bar::AtLeast(bar)) => format!("{metric} at least {bar}"),
        Some(Bar::AtMost(bar)) => format!("{metric} at most {bar}"),
        Some(Bar::AtMostRatio(bar)) => format!("{metric} at most {bar} × {baseline}"),
        Some(Bar::NonInferior { margin }) => format!("{metric} not worse than {baseline} by {margin}"),
        None => metric.clone(),
    }
}

/// Whether more of a metric is worse.
pub fn is_lower_better(metric: &str) -> bool {
    matches!(
        metric,
        "failure_rate" | "truncation_rate" | "other_model_rate" | "cost_usd" | "input_tokens" | "output_tokens"
    ) || metric.starts_with("cost_per_")
        || ["latency_ms.", "ttft_ms.", "tpot_ms.", "response_ms."].iter().any(|prefix| metric.starts_with(prefix))
}

/// Whether a gate judges a candidate: one of those it names, else any but the baseline.
pub fn applies(gate: &GateSpec, candidate: &str, baseline: Option<&str>) -> bool {
    if gate.candidates.is_empty() {
        Some(candidate) != baseline
    } else {
        gate.candidates.iter().any(|named| named == candidate)
    }
}

/// Judges every gate for every candidate that it applies to: those it names, else all but the baseline.
pub fn judge(gates: &[GateSpec], summary: &Summary, baseline: Option<&str>) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    for (index, gate) in gates.iter().enumerate() {
        let Some(bar) = Bar::of(gate) else { continue };
        for candidate in &summary.candidates {
            if applies(gate, &candidate.id, baseline) {
                let found = judge_one(bar, &gate.metric, &candidate.id, summary).unless_silent(candidate);
                judgements.push(found.into_judgement(index, &candidate.id));
            }
        }
    }
    judgements
}

/// The worst verdict; `None` of none.
pub fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.into_iter().max()
}

/// What a gate found, before it is put beside its gate and candidate.
struct Found {
    verdict: Verdict,
    observed: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    confidence: f64,
    reason: String,
    samples_needed: Option<u64>,
}

impl Found {
    /// Nothing could be judged.
    fn nothing(reason: String) -> Found {
        Found {
            verdict: Verdict::Inconclusive,
            observed: None,
            lower: None,
            upper: None,
            confidence: 0.95,
            reason,
            samples_needed: None,
        }
    }

    /// Of a candidate that answered nothing, no figure says anything in its favour.
    fn unless_silent(mut self, candidate: &CandidateSummary) -> Found {
        if self.verdict == Verdict::Pass && candidate.answers == 0 {
            self.verdict = Verdict::Inconclusive;
            self.reason = format!("the candidate answered none of {} requests", candidate.counts.tasks);
        }
        self
    }

    /// Says what more samples would do: how many are needed, or why no number of them is named.
    fn needing(&mut self, needed: Needed) {
        match needed {
            Needed::More(more) => self.samples_needed = Some(more),
            Needed::TooMany => self.reason.push_str("; not decidable at a sensible size"),
            Needed::Never => self.reason.push_str("; more samples would not help if the truth is what was seen"),
            Needed::Unknown => {}
        }
    }

    fn into_judgement(self, gate: usize, candidate: &str) -> Judgement {
        let Found { verdict, observed, lower, upper, confidence, reason, samples_needed } = self;
        let candidate = candidate.to_owned();
        Judgement { gate, candidate, verdict, observed, lower, upper, confidence, reason, samples_needed }
    }
}

fn judge_one(bar: Bar, metric: &str, candidate: &str, summary: &Summary) -> Found {
    match bar {
        Bar::AtLeast(bar) => match summary.estimate(candidate, metric) {
            Some(estimate) => judge_own(estimate, bar, true),
            None => Found::nothing(format!("there is no `{metric}`")),
        },
        Bar::AtMost(bar) => match summary.estimate(candidate, metric) {
            Some(estimate) => judge_own(estimate, bar, false),
            None => Found::nothing(format!("there is no `{metric}`")),
        },
        Bar::AtMostRatio(bar) => match summary.comparison(candidate, metric) {
            Some(comparison) => match &comparison.ratio {
                Some(ratio) => judge_own(&Estimate { unit: Unit::Ms, ..ratio.clone() }, bar, false),
                None => Found::nothing(comparison.reason.clone().unwrap_or_else(|| {
                    format!("`{metric}` has no ratio to the baseline: use `non_inferior` for shares")
                })),
            },
            None => Found::nothing(format!("`{metric}` is not compared with the baseline")),
        },
        Bar::NonInferior { margin } => match summary.comparison(candidate, metric) {
            Some(comparison) => judge_non_inferior(comparison, margin, is_lower_better(metric)),
            None => Found::nothing(format!("`{metric}` is not compared with the baseline")),
        },
    }
}

/// Judges a figure against an absolute bar (or a ratio against a bar of ratios). A pass rests on the end that the interval has
/// at the worst that is possible, a fail on what was seen.
fn judge_own(estimate: &Estimate, bar: f64, is_floor: bool) -> Found {
    let Some(value) = estimate.value else {
        return Found::nothing(estimate.reason.clone().unwrap_or_else(|| "it could not be measured".to_owned()));
    };
    let mut found = Found {
        verdict: Verdict::Inconclusive,
        observed: Some(value),
        lower: estimate.lower,
        upper: estimate.upper,
        confidence: estimate.confidence,
        reason: String::new(),
        samples_needed: None,
    };
    // The end that must be on the good side for a pass, and the one that must be on the bad side for a fail.
    let (seen, best) = if is_floor { (estimate.lower, estimate.upper) } else { (estimate.upper, estimate.lower) };
    let AtWorst { lost, lower, upper } = estimate.at_worst;
    let worst = (if is_floor { lower } else { upper }).or(seen.filter(|_| lost == 0));
    let is_good = |end: f64| if is_floor { end >= bar } else { end <= bar };
    // A share with what is lost counted as wrong is one of all samples, and stands alone; so does a quantile. Elsewhere what was seen counts, too:
    // values that are filled in can make the others look more alike.
    let stands_alone =
        matches!(estimate.method, Method::Wilson | Method::ClusteredWilson | Method::Bounded | Method::OrderStatistics);
    let passes = worst.is_some_and(is_good) && (stands_alone || seen.is_some_and(is_good));
    let side = if is_floor { "below" } else { "above" };
    if passes {
        found.verdict = Verdict::Pass;
        found.reason = "the whole interval clears the bar".to_owned();
    } else if best.is_some_and(|end| !is_good(end)) {
        found.verdict = Verdict::Fail;
        found.reason = format!("the whole interval lies {side} the bar");
    } else if seen.is_some_and(is_good) {
        let all = estimate.n + estimate.missing;
        found.reason = match (lost, worst) {
            (0, _) => {
                "its interval is only so narrow because what is wrong is spread evenly over the clusters".to_owned()
            }
            (_, None) => format!("{lost} of {all} values are missing, or not known in full, and could be anything"),
            (_, Some(_)) => {
                format!("{lost} of {all} could not be observed; had they gone against the candidate, it would not pass")
            }
        };
    } else {
        found.reason = match (&estimate.reason, seen, best) {
            (Some(reason), None, _) | (Some(reason), _, None) => reason.clone(),
            _ if is_good(value) => format!("the figure clears the bar, but its interval reaches {side} it"),
            _ => "the figure misses the bar, but its interval reaches it".to_owned(),
        };
        found.needing(sizing::for_figure(estimate, bar, is_floor));
    }
    found
}

fn judge_non_inferior(comparison: &Comparison, margin: f64, is_lower_better: bool) -> Found {
    let Some(difference) = comparison.difference else {
        return Found::nothing(comparison.reason.clone().unwrap_or_else(|| "there are no pairs".to_owned()));
    };
    let confidence = 1.0 - 2.0 * ALPHA;
    let interval = match &comparison.paired {
        Some(paired) => interval(paired, confidence).map(|interval| (interval, confidence)),
        // Bootstrapped differences have only the interval that is shown; it is the wider one, so the stricter.
        None => comparison.lower.zip(comparison.upper).map(|interval| (interval, comparison.confidence)),
    };
    let Some(((lower, upper), confidence)) = interval else {
        return Found::nothing(comparison.reason.clone().unwrap_or_else(|| "there are too few pairs".to_owned()));
    };
    let mut found = Found {
        verdict: Verdict::Inconclusive,
        observed: Some(difference),
        lower: Some(lower),
        upper: Some(upper),
        confidence,
        reason: String::new(),
        samples_needed: None,
    };
    // Turned so that more is better: the loss at worst and at best.
    let (at_worst, at_best) = if is_lower_better { (-upper, -lower) } else { (lower, upper) };
    let rests_on = pass_rests_on(comparison, at_worst, is_lower_better);
    let stands_alone = matches!(comparison.paired, Some(Paired::Binary(_) | Paired::Graded(_)));
    if rests_on.is_some_and(|end| end > -margin) && (stands_alone || at_worst > -margin) {
        found.verdict = Verdict::Pass;
        found.reason = "a loss as large as the margin is ruled out".to_owned();
    } else if at_best < -margin {
        found.verdict = Verdict::Fail;
        found.reason = "the loss is larger than the margin".to_owned();
    } else if at_worst > -margin {
        let lost = comparison.lost;
        found.reason = match (lost, rests_on) {
            (0, _) => {
                "its interval is only so narrow because what is worse is spread evenly over the clusters".to_owned()
            }
            (_, None) => format!("{lost} samples lack a value of one of the two, which could be anything"),
            (_, Some(_)) => format!(
                "{lost} samples lack a mark of one of the two; had they gone against the candidate, it would not pass"
            ),
        };
    } else {
        found.reason = "a loss as large as the margin is not ruled out".to_owned();
        found.needing(sizing::non_inferior(comparison, margin, is_lower_better));
    }
    found
}

/// The interval of a paired difference at any confidence.
fn interval(paired: &Paired, confidence: f64) -> Option<(f64, f64)> {
    let interval = match paired {
        Paired::Binary(cells) => stats::clustered_tango(cells, confidence)?,
        Paired::Graded(lumps) => stats::bounded_mean(lumps, -1.0, 1.0, confidence)?,
        Paired::Mean { difference, se, df, .. } => {
            let half = stats::t_quantile(1.0 - (1.0 - confidence) / 2.0, *df)? * se;
            return Some((difference - half, difference + half));
        }
    };
    Some((interval.lower, interval.upper))
}

/// The loss that a pass must rule out, turned so that more is better: the careful end of the interval.
fn careful_loss(paired: &Paired, confidence: f64, is_lower_better: bool) -> Option<f64> {
    match paired {
        Paired::Binary(cells) if is_lower_better => {
            let turned: Vec<Cell> =
                cells.iter().map(|cell| Cell { better: cell.worse, worse: cell.better, ..*cell }).collect();
            stats::careful_tango_lower(&turned, confidence)
        }
        Paired::Binary(cells) => stats::careful_tango_lower(cells, confidence),
        Paired::Graded(_) | Paired::Mean { .. } => {
            let (lower, upper) = interval(paired, confidence)?;
            Some(if is_lower_better { -upper } else { lower })
        }
    }
}

/// The end that a pass rests on, turned so that more is better: the careful one, with every pair that was lost gone against
/// the candidate. `None` when nothing can be said. `seen` is the end of what was seen.
fn pass_rests_on(comparison: &Comparison, seen: f64, is_lower_better: bool) -> Option<f64> {
    let at_worst = comparison.paired_at_worst.as_ref();
    let careful = at_worst.and_then(|paired| careful_loss(paired, 1.0 - 2.0 * ALPHA, is_lower_better));
    careful.or((comparison.lost == 0).then_some(seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Counts, Discordant};

    fn share(value: f64, n: u64, missing: u64) -> Estimate {
        let right = (value * n as f64).round() as u64;
        let interval = stats::wilson(right, n, 0.95).unwrap();
        let lower = stats::wilson(right, n + missing, 0.95).map(|interval| interval.lower);
        let upper = stats::wilson(right + missing, n + missing, 0.95).map(|interval| interval.upper);
        Estimate {
            name: "label".into(),
            unit: Unit::Share,
            value: Some(value),
            lower: Some(interval.lower),
            upper: Some(interval.upper),
            confidence: 0.95,
            n,
            missing,
            at_worst: AtWorst { lost: missing, lower, upper },
            method: Method::Wilson,
            reason: None,
        }
    }

    fn summary(metrics: Vec<Estimate>, comparisons: Vec<Comparison>) -> Summary {
        let candidate = CandidateSummary {
            id: "new".into(),
            counts: Counts::default(),
            answers: 500,
            failures: std::collections::BTreeMap::new(),
            account: crate::types::Account::default(),
            metrics,
            confusions: vec![],
            spend_usd: None,
            spend_reason: None,
            machines: None,
        };
        Summary { candidates: vec![candidate], comparisons }
    }

    fn comparison(b: u64, c: u64, n: u64, candidate_missing: u64) -> Comparison {
        let discordant = Discordant { candidate_only: b, baseline_only: c };
        let cells = |b, c, n| {
            let cells = [(0, 0, n - b - c), (1, 0, b), (0, 1, c)];
            let cells = cells.map(|(better, worse, count)| Cell { size: 1, better, worse, count });
            Some(Paired::Binary(cells.into_iter().filter(|cell| cell.count > 0).collect()))
        };
        Comparison {
            candidate: "new".into(),
            baseline: "old".into(),
            metric: "label".into(),
            unit: Unit::Share,
            difference: Some((b as f64 - c as f64) / n as f64),
            lower: None,
            upper: None,
            ratio: None,
            confidence: 0.95,
            n,
            candidate_missing,
            baseline_missing: 0,
            lost: candidate_missing,
            paired_at_worst: cells(b, c + candidate_missing, n + candidate_missing),
            method: Method::Tango,
            p_value: None,
            bootstrap: None,
            discordant: Some(discordant),
            shown_after: None,
            paired: cells(b, c, n),
            reason: None,
            flips: vec![],
        }
    }

    fn gate(text: &str) -> GateSpec {
        serde_json::from_str(text).unwrap()
    }

    fn verdict(text: &str, summary: &Summary) -> Judgement {
        judge(&[gate(text)], summary, Some("old")).remove(0)
    }

    /// The worked example of Tango's interval: 12 against 20 of 500.
    #[test]
    fn non_inferiority_follows_the_worked_numbers() {
        let summary = summary(vec![], vec![comparison(12, 20, 500, 0)]);
        let pass = verdict(r#"{"metric":"label","non_inferior":{"margin":0.05}}"#, &summary);
        assert_eq!(pass.verdict, Verdict::Pass);
        assert!((pass.lower.unwrap() + 0.035712).abs() < 1e-6, "{pass:?}");
        assert!((pass.upper.unwrap() - 0.002715).abs() < 1e-6, "{pass:?}");
        let open = verdict(r#"{"metric":"label","non_inferior":{"margin":0.03}}"#, &summary);
        assert_eq!(open.verdict, Verdict::Inconclusive);
        assert!(open.samples_needed.is_some_and(|more| more > 0), "{open:?}");
    }

    #[test]
    fn a_clear_loss_fails_and_missing_answers_never_help() {
        let loss = summary(vec![], vec![comparison(10, 200, 1000, 0)]);
        assert_eq!(verdict(r#"{"metric":"label","non_inferior":{"margin":0.05}}"#, &loss).verdict, Verdict::Fail);
        let gaps = summary(vec![], vec![comparison(12, 20, 500, 60)]);
        let judged = verdict(r#"{"metric":"label","non_inferior":{"margin":0.05}}"#, &gaps);
        assert_eq!(judged.verdict, Verdict::Inconclusive);
        assert!(judged.reason.contains("60 samples"), "{judged:?}");
    }

    #[test]
    fn of_means_and_ratios_with_gaps_nothing_passes() {
        let mean = |missing| Estimate {
            name: "latency_ms.mean".into(),
            unit: Unit::Ms,
            value: Some(900.0),
            lower: Some(800.0),
            upper: Some(1000.0),
            missing,
            at_worst: AtWorst { lost: missing, lower: None, upper: None },
            method: Method::T,
            ..share(0.5, 500, 0)
        };
        let own = |missing, bar: u32| {
            let text = format!(r#"{{"metric":"latency_ms.mean","at_most":{bar}}}"#);
            verdict(&text, &summary(vec![mean(missing)], vec![])).verdict
        };
        assert_eq!([own(0, 1500), own(1, 1500), own(1, 700)], [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail]);
        let ratio = |missing| {
            let ratio = Estimate { value: Some(0.4), lower: Some(0.3), upper: Some(0.5), ..mean(missing) };
            let compared =
                Comparison { metric: "latency_ms.mean".into(), ratio: Some(ratio), ..comparison(0, 0, 500, 0) };
            verdict(r#"{"metric":"latency_ms.mean","at_most_ratio":0.8}"#, &summary(vec![], vec![compared])).verdict
        };
        assert_eq!([ratio(0), ratio(1)], [Verdict::Pass, Verdict::Inconclusive]);
        let f1 = |missing| {
            let drawn = Comparison {
                metric: "label.macro_f1".into(),
                paired: None,
                paired_at_worst: None,
                difference: Some(0.0),
                lower: Some(-0.02),
                upper: Some(0.02),
                method: Method::Bootstrap,
                ..comparison(0, 0, 500, missing)
            };
            let gate = r#"{"metric":"label.macro_f1","non_inferior":{"margin":0.05}}"#;
            verdict(gate, &summary(vec![], vec![drawn])).verdict
        };
        assert_eq!([f1(0), f1(1)], [Verdict::Pass, Verdict::Inconclusive]);
    }

    #[test]
    fn an_absolute_bar_is_judged_by_the_interval() {
        let judge = |value, n, missing, bar: f64| {
            let text = format!(r#"{{"metric":"label","at_least":{bar}}}"#);
            verdict(&text, &summary(vec![share(value, n, missing)], vec![]))
        };
        assert_eq!(judge(0.95, 1000, 0, 0.9).verdict, Verdict::Pass);
        assert_eq!(judge(0.80, 1000, 0, 0.9).verdict, Verdict::Fail);
        let open = judge(0.92, 100, 0, 0.9);
        assert_eq!(open.verdict, Verdict::Inconclusive);
        assert!(open.samples_needed.is_some_and(|more| more > 100), "{open:?}");
        let gaps = judge(0.95, 1000, 80, 0.9);
        assert_eq!(gaps.verdict, Verdict::Inconclusive, "{gaps:?}");
    }

    #[test]
    fn a_candidate_that_fails_when_it_would_be_slow_does_not_pass_for_fast() {
        let p95 = |missing, upper_at_worst| Estimate {
            name: "latency_ms.p95".into(),
            unit: Unit::Ms,
            value: Some(900.0),
            lower: Some(800.0),
            upper: Some(1000.0),
            at_worst: AtWorst { lost: missing, lower: Some(800.0), upper: upper_at_worst },
            missing,
            method: Method::OrderStatistics,
            ..share(0.5, 500, 0)
        };
        let gate = r#"{"metric":"latency_ms.p95","at_most":1500}"#;
        let judge = |missing, worst| verdict(gate, &summary(vec![p95(missing, worst)], vec![])).verdict;
        assert_eq!(judge(0, Some(1000.0)), Verdict::Pass);
        assert_eq!(judge(2, Some(1100.0)), Verdict::Pass);
        assert_eq!(judge(20, Some(1600.0)), Verdict::Inconclusive);
        assert_eq!(judge(60, None), Verdict::Inconclusive);
    }

    #[test]
    fn what_was_not_measured_is_inconclusive_with_its_reason() {
        let mut unknown = share(0.5, 10, 0);
        (unknown.value, unknown.lower, unknown.upper) = (None, None, None);
        unknown.name = "cost_usd".into();
        unknown.reason = Some("no price given".into());
        let judged = verdict(r#"{"metric":"cost_usd","at_most":1.0}"#, &summary(vec![unknown], vec![]));
        assert_eq!(judged.verdict, Verdict::Inconclusive);
        assert_eq!(judged.reason, "no price given");
    }

    #[test]
    fn a_gate_needs_exactly_one_condition() {
        assert_eq!(Bar::of(&gate(r#"{"metric":"x"}"#)), None);
        assert_eq!(Bar::of(&gate(r#"{"metric":"x","at_least":1,"at_most":2}"#)), None);
        assert_eq!(Bar::of(&gate(r#"{"metric":"x","at_most":2}"#)), Some(Bar::AtMost(2.0)));
    }
}
