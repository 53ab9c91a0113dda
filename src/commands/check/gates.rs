//! What can be said of each gate before anything is asked: with how many samples it can pass at all.

use std::collections::BTreeMap;

use crate::commands::check::lines::entry;
use crate::commands::plan::Plan;
use crate::gate::{self, Bar, Judged, Least};
use crate::report::count;
use crate::stats;
use crate::suite::GateSpec;
use crate::types::{Cell, OTHER_MODEL_RATE, quantile_of};
use crate::util::text::visible;

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
    if metric == OTHER_MODEL_RATE {
        return Judged::Count;
    }
    let scored = metric.strip_suffix(".macro_f1").unwrap_or(metric);
    match plan.metrics.iter().find(|known| known.name == metric || known.name == scored) {
        Some(known) if known.is_binary => Judged::Share,
        Some(_) => Judged::Graded,
        None if matches!(metric, "failure_rate" | "truncation_rate") => Judged::Share,
        None => quantile_of(metric).map_or(Judged::Mean, |(_, level)| Judged::Quantile(level)),
    }
}

/// Why the figure of a gate will not be known of a candidate that it judges.
fn unknowable(plan: &Plan, spec: &GateSpec) -> Option<String> {
    let baseline = plan.suite.baseline.as_deref();
    let is_relative = matches!(Bar::of(spec), Some(Bar::AtMostRatio(_) | Bar::NonInferior { .. }));
    let is_needed = |id: &str| gate::applies(spec, id, baseline) || (is_relative && Some(id) == baseline);
    let needed = plan.candidates.iter().zip(&plan.suite.candidates).filter(|(candidate, _)| is_needed(&candidate.id));
    needed.into_iter().find_map(|(candidate, written)| {
        let id = visible(&candidate.id);
        let recorded = written.recorded.as_ref();
        if spec.metric.starts_with("cost_") {
            return match candidate.pricing.price() {
                _ if recorded.is_some_and(|recorded| recorded.cost_usd.is_some()) => None,
                Err(reason) => Some(format!("what `{id}` costs is not known: {reason}")),
                Ok(price) if price.per_hour_usd.is_some() && plan.volume.is_none() => Some(format!(
                    "`{id}` is paid by the hour, and the suite states no `volume: {{ requests_per_day: …, peak_over_mean: … }}`"
                )),
                Ok(_) => None,
            };
        }
        let lacks = match spec.metric.split('.').next()? {
            "latency_ms" => recorded.is_some_and(|recorded| recorded.latency_ms.is_none()),
            "ttft_ms" => recorded.is_some_and(|recorded| recorded.ttft_ms.is_none()),
            "input_tokens" | "output_tokens" => recorded.is_some_and(|recorded| recorded.usage.is_none()),
            "response_ms" => return Some("only a replay has times that requests were planned for".to_owned()),
            _ => false,
        };
        lacks.then(|| format!("the answers of `{id}` are recorded without the field that it needs"))
    })
}

fn needs(plan: &Plan, spec: &GateSpec, bar: Bar) -> Vec<String> {
    let (samples, repeats) = (plan.cases.len() as u64, u64::from(plan.suite.repeats));
    let judged = judged(plan, &spec.metric);
    let mut lines = Vec::new();
    match gate::least(bar, &spec.metric, judged, &at_hand(plan), repeats, plan.settings().confidence) {
        _ if let Some(reason) = unknowable(plan, spec) => lines.push(format!("can never pass: {reason}")),
        Least::Never(reason) => lines.push(format!("can never pass: {reason}")),
        Least::Better => {
            lines.push("with a margin of 0 it passes only if the candidate is shown to be better".to_owned())
        }
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
