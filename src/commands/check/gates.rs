//! What can be said of each gate before anything is asked: with how many samples it can pass at all.

use std::collections::BTreeMap;

use crate::commands::check::lines::entry;
use crate::commands::plan::Plan;
use crate::gate::{self, Bar, Judged, Least};
use crate::report::count;
use crate::stats;
use crate::suite::GateSpec;
use crate::types::Cell;
use crate::util::text::visible;

/// Confidence of the intervals of reports.
const CONFIDENCE: f64 = 0.95;

/// Discordance that the sizes are worked out for: the share of samples that two models mark differently.
const DISCORDANCE: [f64; 2] = [0.05, 0.10];

/// A line for each gate, and under it what it needs.
pub(super) fn gates(out: &mut String, plan: &Plan) {
    for (index, spec) in plan.suite.gates.iter().enumerate() {
        let words = gate::in_words(spec, plan.suite.baseline.as_deref());
        entry(out, &format!("  gate {}", index + 1), &visible(&words));
        let Some(bar) = Bar::of(spec) else { continue };
        for line in needs(plan, spec, bar) {
            entry(out, "", &line);
        }
    }
    if plan.suite.gates.is_empty() {
        entry(out, "  gates", "none: the run will be a measurement");
    }
}

/// The clusters of the samples there are, with nothing wrong in them.
fn at_hand(plan: &Plan) -> Vec<Cell> {
    let samples = plan.cases.len() as u64;
    let Some(clusters) = &plan.cases.clusters else {
        return vec![Cell { size: 1, better: 0, worse: 0, count: samples }];
    };
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    clusters.iter().for_each(|cluster| *sizes.entry(*cluster).or_default() += 1);
    let mut alike: BTreeMap<u64, u64> = BTreeMap::new();
    sizes.into_values().for_each(|size| *alike.entry(size).or_default() += 1);
    alike.into_iter().map(|(size, count)| Cell { size, better: 0, worse: 0, count }).collect()
}

fn judged(plan: &Plan, metric: &str) -> Judged {
    let level = |name: &str| match name {
        "p50" => Some(0.5),
        "p90" => Some(0.9),
        "p95" => Some(0.95),
        "p99" => Some(0.99),
        _ => None,
    };
    if metric == crate::types::OTHER_MODEL_RATE {
        return Judged::Count;
    }
    let scored = metric.strip_suffix(".macro_f1").unwrap_or(metric);
    match plan.metrics.iter().find(|known| known.name == metric || known.name == scored) {
        Some(known) if known.is_binary => Judged::Share,
        Some(_) => Judged::Graded,
        None if matches!(metric, "failure_rate" | "truncation_rate") => Judged::Share,
        None => metric.rsplit_once('.').and_then(|(_, name)| level(name)).map_or(Judged::Mean, Judged::Quantile),
    }
}

fn needs(plan: &Plan, spec: &GateSpec, bar: Bar) -> Vec<String> {
    let (samples, repeats) = (plan.cases.len() as u64, u64::from(plan.suite.repeats));
    let judged = judged(plan, &spec.metric);
    let mut lines = Vec::new();
    match gate::least(bar, &spec.metric, judged, &at_hand(plan), repeats, CONFIDENCE) {
        Least::Never(reason) => lines.push(format!("can never pass: {reason}")),
        Least::Samples(least) if least > samples => {
            lines.push(format!("cannot pass: it needs at least {} samples, and there are {samples}", count(least)));
        }
        Least::Alike(least) if least > samples => lines.push(format!(
            "needs at least {} samples to pass when the two get the same ones right, and there are {samples}",
            count(least)
        )),
        Least::Samples(least) => lines.push(format!("cannot pass with fewer than {} samples", count(least))),
        Least::Alike(least) => {
            lines.push(format!("needs at least {} samples when the two get the same ones right", count(least)));
        }
    }
    if let (Bar::NonInferior { margin }, Judged::Share) = (bar, judged)
        && let [Some(low), Some(high)] =
            DISCORDANCE.map(|discordance| stats::samples_non_inferior(discordance, 0.0, margin, gate::ALPHA, 0.8))
    {
        let verdict = if samples >= high {
            "there are enough"
        } else if samples >= low {
            "there may be too few"
        } else {
            "there are probably too few"
        };
        lines.push(format!(
            "needs about {} samples if the models differ on 5 % of them, {} if on 10 %: {verdict} ({})",
            count(low),
            count(high),
            count(samples)
        ));
    }
    lines
}
