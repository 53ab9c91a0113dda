//! `report.csv`: one row per figure, for spreadsheets and notebooks; and the list of all flips.
//!
//! Confusion matrices are not in it (their columns differ from suite to suite): `report.json` has them.

use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::report::figure::Measure;
use crate::report::figure::gate_measure;
use crate::report::{Amount, CandidateReport, ComparisonReport, GateReport, Metric, Renderer, Report};
use crate::types::{ClassFigures, Comparison, Confusion, Unit};
use crate::util::text;

/// Renders `report.csv`.
///
/// A cell of outside text that a spreadsheet could take for a formula begins with an apostrophe, and characters that
/// cannot be seen are written as escapes. An empty cell means: does not apply, or cannot be had (then `reason` says
/// why). Money is in dollars, times are in milliseconds, shares are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Csv;

/// What the columns of `report.csv` are called.
const HEADER: [&str; 22] = [
    "suite",
    "run",
    "kind",
    "candidate",
    "baseline",
    "metric",
    "item",
    "unit",
    "value",
    "lower",
    "upper",
    "confidence",
    "n",
    "missing",
    "baseline_missing",
    "method",
    "p_value",
    "candidate_only",
    "baseline_only",
    "verdict",
    "samples_needed",
    "reason",
];

/// One row, cells as they are written, but for `suite` and `run`, which are those of the report.
#[derive(Default)]
struct Line {
    kind: &'static str,
    candidate: String,
    baseline: String,
    metric: String,
    item: String,
    unit: String,
    value: String,
    lower: String,
    upper: String,
    confidence: String,
    n: String,
    missing: String,
    baseline_missing: String,
    method: String,
    p_value: String,
    candidate_only: String,
    baseline_only: String,
    verdict: String,
    samples_needed: String,
    reason: String,
}

impl Renderer for Csv {
    fn extension(&self) -> &'static str {
        "csv"
    }

    fn render(&self, report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
        let mut writer = ::csv::Writer::from_writer(out);
        writer.write_record(HEADER)?;
        let (suite, run) = (outside(&report.suite), outside(&report.run));
        let mut write = |line: Line| {
            writer.write_record([
                &*suite,
                &*run,
                line.kind,
                &line.candidate,
                &line.baseline,
                &line.metric,
                &line.item,
                &line.unit,
                &line.value,
                &line.lower,
                &line.upper,
                &line.confidence,
                &line.n,
                &line.missing,
                &line.baseline_missing,
                &line.method,
                &line.p_value,
                &line.candidate_only,
                &line.baseline_only,
                &line.verdict,
                &line.samples_needed,
                &line.reason,
            ])
        };
        write(Line {
            kind: "run",
            item: if report.is_complete { "complete" } else { "partial" }.to_owned(),
            n: report.samples.to_string(),
            verdict: report.verdict.map_or(String::new(), name),
            ..Line::default()
        })?;
        for candidate in &report.candidates {
            candidate_lines(candidate).into_iter().try_for_each(&mut write)?;
        }
        for comparison in &report.comparisons {
            comparison_lines(comparison).into_iter().try_for_each(&mut write)?;
        }
        for gate in &report.gates {
            write(gate_line(report, gate))?;
        }
        for note in &report.notes {
            write(Line { kind: "note", item: outside(&note.kind), reason: outside(&note.text), ..Line::default() })?;
        }
        writer.flush()
    }
}

/// Writes `flips.csv`: every sample that candidate and baseline got different yes/no marks for, `fixed` when it is the
/// candidate that is right, `broken` when it is the baseline. Cells are made harmless as in `report.csv`.
///
/// # Errors
/// Those of `out`.
pub fn flips_csv(comparisons: &[Comparison], out: &mut dyn io::Write) -> io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(out);
    writer.write_record(["candidate", "baseline", "metric", "sample", "change"])?;
    for comparison in comparisons {
        let (candidate, baseline) = (outside(&comparison.candidate), outside(&comparison.baseline));
        let metric = outside(&comparison.metric);
        for flip in &comparison.flips {
            let change = if flip.is_fixed { "fixed" } else { "broken" };
            writer.write_record([&*candidate, &*baseline, &*metric, &*outside(&flip.sample), change])?;
        }
    }
    writer.flush()
}

/// Text from outside: printable, and never a formula. Spreadsheets take full-width signs for signs too, and some skip
/// blanks before one.
fn outside(text: &str) -> String {
    let is_formula =
        text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
            || text.starts_with(['\t', '\r']);
    let shown = text::visible(text);
    if is_formula { format!("'{shown}") } else { shown.into_owned() }
}

/// The name that a variant has in `report.json`.
fn name(variant: impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(Value::String(name)) => name,
        Ok(_) | Err(_) => String::new(),
    }
}

fn float(value: Option<f64>) -> String {
    match value {
        Some(value) if value != 0.0 && !(1e-7..1e15).contains(&value.abs()) && value.is_finite() => {
            format!("{value:e}")
        }
        // Adding nothing turns -0 into 0.
        Some(value) if value.is_finite() => (value + 0.0).to_string(),
        Some(_) | None => String::new(),
    }
}

/// Money as the decimal it is, as long as it is one.
fn amount(amount: Option<&Amount>) -> String {
    match amount {
        Some(Amount::Number(number)) => float(Some(*number)),
        Some(Amount::Money(text)) => money(text),
        None => String::new(),
    }
}

fn money(text: &str) -> String {
    if text.parse::<rust_decimal::Decimal>().is_ok() { text.to_owned() } else { String::new() }
}

fn candidate_lines(candidate: &CandidateReport) -> Vec<Line> {
    let id = outside(&candidate.id);
    let base = || Line { candidate: id.clone(), ..Line::default() };
    let mut lines = Vec::new();
    lines.push(Line {
        kind: "candidate",
        item: outside(&candidate.provider),
        verdict: candidate.verdict.map_or(String::new(), name),
        ..base()
    });
    let counts = &candidate.counts;
    for (item, count) in [
        ("tasks", counts.tasks),
        ("scored", counts.scored),
        ("unscored", counts.unscored),
        ("failed", counts.failed),
        ("dropped", counts.dropped),
        ("retries", candidate.retries),
        ("maybe_billed", candidate.maybe_billed),
    ] {
        lines.push(Line { kind: "count", item: item.to_owned(), value: count.to_string(), ..base() });
    }
    for failure in &candidate.failures {
        lines.push(Line { kind: "failure", item: name(failure.kind), value: failure.count.to_string(), ..base() });
    }
    for sum in &candidate.tokens {
        let (item, value) = (name(sum.kind), sum.tokens.to_string());
        lines.push(Line { kind: "tokens", item, value, n: sum.answers.to_string(), ..base() });
    }
    lines.push(Line {
        kind: "spend",
        unit: name(Unit::Usd),
        value: candidate.spend_usd.as_deref().map_or(String::new(), money),
        reason: candidate.spend_reason.as_deref().map_or(String::new(), outside),
        ..base()
    });
    for metric in &candidate.metrics {
        lines.push(Line { kind: "metric", ..metric_line(base(), metric) });
    }
    for confusion in &candidate.confusions {
        for class in &confusion.classes {
            lines.extend(class_lines(base, confusion, class));
        }
    }
    lines
}

fn metric_line(base: Line, metric: &Metric) -> Line {
    Line {
        metric: outside(&metric.name),
        unit: name(metric.unit),
        value: amount(metric.value.as_ref()),
        lower: amount(metric.lower.as_ref()),
        upper: amount(metric.upper.as_ref()),
        confidence: float(Some(metric.confidence)),
        n: metric.n.to_string(),
        missing: metric.missing.to_string(),
        method: name(metric.method),
        reason: metric.reason.as_deref().map_or(String::new(), outside),
        ..base
    }
}

fn class_lines(base: impl Fn() -> Line, confusion: &Confusion, class: &ClassFigures) -> [Line; 3] {
    let line = |kind, value: Option<f64>, interval: Option<(f64, f64)>, n: Option<u64>| Line {
        kind,
        metric: outside(&confusion.metric),
        item: outside(&class.class),
        unit: name(Unit::Share),
        value: float(value),
        lower: float(interval.map(|(lower, _)| lower)),
        upper: float(interval.map(|(_, upper)| upper)),
        confidence: if interval.is_some() { "0.95".to_owned() } else { String::new() },
        n: n.map_or(String::new(), |n| n.to_string()),
        method: if interval.is_some() { "wilson".to_owned() } else { String::new() },
        ..base()
    };
    [
        line("class_precision", class.precision, class.precision_interval, Some(class.predicted)),
        line("class_recall", class.recall, class.recall_interval, Some(class.support)),
        line("class_f1", class.f1, None, None),
    ]
}

fn comparison_lines(comparison: &ComparisonReport) -> Vec<Line> {
    let base = || Line {
        candidate: outside(&comparison.candidate),
        baseline: outside(&comparison.baseline),
        metric: outside(&comparison.metric),
        ..Line::default()
    };
    let flips = comparison.discordant;
    let mut lines = vec![Line {
        kind: "comparison",
        unit: name(comparison.unit),
        value: amount(comparison.difference.as_ref()),
        lower: amount(comparison.lower.as_ref()),
        upper: amount(comparison.upper.as_ref()),
        confidence: float(Some(comparison.confidence)),
        n: comparison.n.to_string(),
        missing: comparison.candidate_missing.to_string(),
        baseline_missing: comparison.baseline_missing.to_string(),
        method: name(comparison.method),
        p_value: float(comparison.p_value),
        candidate_only: flips.map_or(String::new(), |flips| flips.candidate_only.to_string()),
        baseline_only: flips.map_or(String::new(), |flips| flips.baseline_only.to_string()),
        reason: comparison.reason.as_deref().map_or(String::new(), outside),
        ..base()
    }];
    if let Some((lower, upper)) = comparison.bootstrap {
        lines.push(Line {
            kind: "bootstrap",
            unit: name(comparison.unit),
            value: amount(comparison.difference.as_ref()),
            lower: float(Some(lower)),
            upper: float(Some(upper)),
            confidence: float(Some(comparison.confidence)),
            n: comparison.n.to_string(),
            method: "bootstrap".to_owned(),
            ..base()
        });
    }
    if let Some(ratio) = &comparison.ratio {
        let metric = outside(&comparison.metric);
        lines.push(Line { kind: "ratio", metric, unit: "ratio".to_owned(), ..metric_line(base(), ratio) });
    }
    lines
}

fn gate_line(report: &Report, gate: &GateReport) -> Line {
    // What was judged: a ratio to the baseline, a difference from it, or the figure itself.
    let (unit, is_compared) = match gate_measure(report, gate) {
        Some(Measure::Figure(unit)) => (name(unit), false),
        Some(Measure::Difference(unit)) => (name(unit), true),
        Some(Measure::Ratio) => ("ratio".to_owned(), true),
        None => (String::new(), gate.gate.non_inferior.is_some()),
    };
    let baseline = report.baseline.as_deref().filter(|_| is_compared);
    Line {
        kind: "gate",
        candidate: outside(&gate.candidate),
        baseline: baseline.map_or(String::new(), outside),
        metric: outside(&gate.gate.metric),
        item: outside(&gate.text),
        unit,
        value: float(gate.observed),
        lower: float(gate.lower),
        upper: float(gate.upper),
        confidence: float(Some(gate.confidence)),
        verdict: name(gate.verdict),
        samples_needed: gate.samples_needed.map_or(String::new(), |samples| samples.to_string()),
        reason: outside(&gate.reason),
        ..Line::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_formula_and_numbers_stay_numbers() {
        for (text, cell) in [
            ("=cmd()", "'=cmd()"),
            ("  =1", "'  =1"),
            ("-1", "'-1"),
            ("+x", "'+x"),
            ("@x", "'@x"),
            ("\tx", "'\\tx"),
            ("\rx", "'\\rx"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a=b", "a=b"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(outside(text), cell);
        }
        assert_eq!(float(Some(-0.0125)), "-0.0125");
        assert_eq!(float(Some(-0.0)), "0");
        assert_eq!(float(Some(2.8914e-45)), "2.8914e-45");
        assert_eq!(float(Some(f64::NAN)), "");
        assert_eq!(float(Some(f64::NEG_INFINITY)), "");
        assert_eq!(money("=1+1"), "");
    }
}
