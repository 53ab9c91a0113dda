//! Numbers as people read them, shared by the terminal and the Markdown form: `93.0 % [90.1, 95.0]`, `$0.000123`,
//! `12.3 s`. The digits of an interval's ends are those of its figure.

use crate::report::{Amount, ComparisonReport, GateReport, Metric, Report};
use crate::types::{Method, Unit};

/// What stands for a figure that cannot be had.
pub(crate) const NONE: &str = "–";

/// A figure and its interval, as numbers.
pub(crate) struct Span {
    value: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    /// False for exact counts and sums, which need no interval.
    has_interval: bool,
}

/// What a span says of its unit.
#[derive(Clone, Copy)]
pub(crate) enum Measure {
    /// The figure itself.
    Figure(Unit),
    /// Candidate − baseline; shares in points.
    Difference(Unit),
    /// Candidate ÷ baseline.
    Ratio,
}

fn number(amount: Option<&Amount>) -> Option<f64> {
    amount.and_then(Amount::number)
}

impl Span {
    pub(crate) fn of(metric: &Metric) -> Span {
        Span {
            value: number(metric.value.as_ref()),
            lower: number(metric.lower.as_ref()),
            upper: number(metric.upper.as_ref()),
            has_interval: metric.method != Method::Exact,
        }
    }

    pub(crate) fn of_comparison(comparison: &ComparisonReport) -> Span {
        Span {
            value: number(comparison.difference.as_ref()),
            lower: number(comparison.lower.as_ref()),
            upper: number(comparison.upper.as_ref()),
            has_interval: comparison.method != Method::Exact,
        }
    }

    pub(crate) fn of_gate(gate: &GateReport) -> Span {
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        Span {
            value: finite(gate.observed),
            lower: finite(gate.lower),
            upper: finite(gate.upper),
            has_interval: gate.lower.is_some() || gate.upper.is_some(),
        }
    }

    /// A figure with both ends of its interval, or with none at all.
    pub(crate) fn new(value: Option<f64>, interval: Option<(f64, f64)>) -> Span {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Span {
            value: value.and_then(finite),
            lower: interval.and_then(|(lower, _)| finite(lower)),
            upper: interval.and_then(|(_, upper)| finite(upper)),
            has_interval: interval.is_some(),
        }
    }

    /// Whether something is missing, so that a reason is owed.
    pub(crate) fn is_lacking(&self) -> bool {
        self.value.is_none() || (self.has_interval && (self.lower.is_none() || self.upper.is_none()))
    }

    /// `93.0 % [90.1, 95.0]`; `–` for what is missing.
    pub(crate) fn text(&self, measure: Measure) -> String {
        self.scaled(&Scale::of(self, measure))
    }

    /// A difference of shares in points, without the word: `-1.3 [-3.4, +0.9]`.
    pub(crate) fn points(&self) -> String {
        self.scaled(&Scale { suffix: "", ..Scale::of(self, Measure::Difference(Unit::Share)) })
    }

    fn scaled(&self, scale: &Scale) -> String {
        let Some(value) = self.value else { return NONE.to_owned() };
        let figure = scale.text(value, scale.prefix, scale.suffix);
        if !self.has_interval {
            return figure;
        }
        let end = |end: Option<f64>| end.map_or(NONE.to_owned(), |end| scale.text(end, "", ""));
        match (self.lower, self.upper) {
            (None, None) => format!("{figure} [{NONE}]"),
            (lower, upper) => format!("{figure} [{}, {}]", end(lower), end(upper)),
        }
    }
}

/// How a figure and the ends of its interval are written.
struct Scale {
    factor: f64,
    decimals: usize,
    prefix: &'static str,
    suffix: &'static str,
    is_signed: bool,
}

impl Scale {
    fn of(span: &Span, measure: Measure) -> Scale {
        let value = span.value.unwrap_or(0.0);
        // Three digits of the largest number shown, and at least the first digit of the figure itself.
        let largest = [span.lower, span.upper].into_iter().flatten().fold(value.abs(), |max, end| max.max(end.abs()));
        let digits = |factor: f64| decimals_for(largest * factor, 3).max(decimals_for(value * factor, 1));
        let (unit, is_signed) = match measure {
            Measure::Figure(unit) => (unit, false),
            Measure::Difference(unit) => (unit, true),
            Measure::Ratio => {
                let decimals = decimals_for(value, 2).max(2);
                return Scale { factor: 1.0, decimals, prefix: "", suffix: "×", is_signed: false };
            }
        };
        match unit {
            Unit::Share => {
                let suffix = if is_signed { " pts" } else { " %" };
                let decimals = share_decimals(value, span.lower.zip(span.upper), is_signed);
                Scale { factor: 100.0, decimals, prefix: "", suffix, is_signed }
            }
            Unit::Ms if value.abs() >= 10_000.0 => {
                Scale { factor: 0.001, decimals: digits(0.001), prefix: "", suffix: " s", is_signed }
            }
            Unit::Ms => Scale { factor: 1.0, decimals: digits(1.0), prefix: "", suffix: " ms", is_signed },
            Unit::Usd => Scale { factor: 1.0, decimals: digits(1.0).max(2), prefix: "$", suffix: "", is_signed },
            Unit::Tokens => Scale { factor: 1.0, decimals: digits(1.0), prefix: "", suffix: "", is_signed },
        }
    }

    fn text(&self, value: f64, prefix: &str, suffix: &str) -> String {
        let text = decimal(value * self.factor, self.decimals);
        match text.strip_prefix('-') {
            Some(size) => format!("-{prefix}{size}{suffix}"),
            None if self.is_signed && is_nonzero(&text) => format!("+{prefix}{text}{suffix}"),
            None => format!("{prefix}{text}{suffix}"),
        }
    }
}

/// One decimal of a percentage; two where the interval is narrower than a point; more where rounding would make
/// something of nothing: 99.97 % is not 100.0 %.
fn share_decimals(value: f64, interval: Option<(f64, f64)>, is_difference: bool) -> usize {
    let is_narrow = interval.is_some_and(|(lower, upper)| upper > lower && upper - lower < 0.01);
    let mut decimals = if is_narrow { 2 } else { 1 };
    while decimals < 4 {
        let shown = decimal(value * 100.0, decimals);
        let hides_some = value != 0.0 && !is_nonzero(&shown);
        let hides_lack = !is_difference && value < 1.0 && shown.starts_with("100");
        if !hides_some && !hides_lack {
            break;
        }
        decimals += 1;
    }
    decimals
}

fn is_nonzero(text: &str) -> bool {
    text.bytes().any(|digit| (b'1'..=b'9').contains(&digit))
}

/// Decimals that show this many significant digits.
fn decimals_for(value: f64, digits: i32) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    // The float is within ±400, so that the cast is exact.
    let places = digits - 1 - value.abs().log10().floor() as i32;
    places.clamp(0, 12) as usize
}

/// A number with thousands separators; never `-0`.
pub(crate) fn decimal(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.2e}");
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let sign = if value < 0.0 && is_nonzero(&text) { "-" } else { "" };
    match fraction {
        Some(fraction) => format!("{sign}{}.{fraction}", grouped(whole)),
        None => format!("{sign}{}", grouped(whole)),
    }
}

fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with thousands separators.
pub(crate) fn count(count: u64) -> String {
    grouped(&count.to_string())
}

/// A size in millions of bytes: `6.50 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    let millions = bytes as f64 / 1e6;
    format!("{} MB", decimal(millions, decimals_for(millions, 3)))
}

/// Dollars that stand in a report as a decimal; `–` when they are no number.
pub(crate) fn money(text: &str) -> String {
    Span::new(text.parse().ok(), None).text(Measure::Figure(Unit::Usd))
}

/// `p = 0.0032`, `p < 0.0001`; `–` when there is none.
pub(crate) fn p_value(p: Option<f64>) -> String {
    match p {
        Some(p) if p.is_finite() && p < 0.0001 => "p < 0.0001".to_owned(),
        Some(p) if p.is_finite() => format!("p = {p:.*}", decimals_for(p, 2).clamp(2, 5)),
        Some(_) | None => NONE.to_owned(),
    }
}

/// `95 %`.
pub(crate) fn confidence(confidence: f64) -> String {
    let text = decimal(confidence * 100.0, 3);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Whether two confidences are the same to any digit that is shown.
pub(crate) fn is_same_confidence(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6
}

/// What a gate judges, so that its figures can be written in their unit; `None` when the metric is not in the report.
pub(crate) fn gate_measure(report: &Report, gate: &GateReport) -> Option<Measure> {
    if gate.gate.at_most_ratio.is_some() {
        return Some(Measure::Ratio);
    }
    let candidate = report.candidates.iter().find(|candidate| candidate.id == gate.candidate)?;
    let metric = candidate.metrics.iter().find(|metric| metric.name == gate.gate.metric)?;
    Some(match gate.gate.non_inferior {
        Some(_) => Measure::Difference(metric.unit),
        None => Measure::Figure(metric.unit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(value: f64, lower: f64, upper: f64) -> Span {
        Span::new(Some(value), Some((lower, upper)))
    }

    #[test]
    fn figures_read_as_people_write_them() {
        let share = Measure::Figure(Unit::Share);
        let (ms, usd, tokens) = (Measure::Figure(Unit::Ms), Measure::Figure(Unit::Usd), Measure::Figure(Unit::Tokens));
        let points = Measure::Difference(Unit::Share);
        for (span, measure, expected) in [
            (span(0.93, 0.901, 0.95), share, "93.0 % [90.1, 95.0]"),
            (span(0.93, 0.9275, 0.9325), share, "93.00 % [92.75, 93.25]"),
            (span(0.9997, 0.95, 0.99999), share, "99.97 % [95.00, 100.00]"),
            (span(1.0, 0.99, 1.0), share, "100.0 % [99.0, 100.0]"),
            (span(0.0, 0.0, 0.0092), share, "0.00 % [0.00, 0.92]"),
            (span(0.0, 0.0, 0.037), share, "0.0 % [0.0, 3.7]"),
            (span(-0.0125, -0.034, 0.009), points, "-1.2 pts [-3.4, +0.9]"),
            (span(0.0, -0.02, 0.02), points, "0.0 pts [-2.0, +2.0]"),
            (span(-0.0, -0.02, 0.02), points, "0.0 pts [-2.0, +2.0]"),
            (span(0.0001, -0.02, 0.02), points, "+0.01 pts [-2.00, +2.00]"),
            (span(812.4, 790.0, 840.2), ms, "812 ms [790, 840]"),
            (span(1480.0, 1390.0, 1620.0), ms, "1,480 ms [1,390, 1,620]"),
            (span(8.42, 8.1, 8.9), ms, "8.42 ms [8.10, 8.90]"),
            (span(12_345.0, 11_900.0, 12_810.0), ms, "12.3 s [11.9, 12.8]"),
            (span(-3.0, -60.0, 54.0), Measure::Difference(Unit::Ms), "-3.0 ms [-60.0, +54.0]"),
            (span(0.000123, 0.00012, 0.000126), usd, "$0.000123 [0.000120, 0.000126]"),
            (span(0.05, 0.04, 0.06), usd, "$0.0500 [0.0400, 0.0600]"),
            (span(-0.0004, -0.0005, -0.0003), Measure::Difference(Unit::Usd), "-$0.000400 [-0.000500, -0.000300]"),
            (span(412.3, 398.0, 427.0), tokens, "412 [398, 427]"),
            (span(0.421, 0.38, 0.46), Measure::Ratio, "0.42× [0.38, 0.46]"),
            (span(0.0213, 0.02, 0.0231), Measure::Ratio, "0.021× [0.020, 0.023]"),
        ] {
            assert_eq!(span.text(measure), expected);
        }
        assert_eq!(Span::new(Some(1234.5), None).text(usd), "$1,234.50");
        assert_eq!(money("0.000123"), "$0.000123");
        assert_eq!(money("0"), "$0.00");
        assert_eq!(money("a lot"), "–");
        assert_eq!(span(-0.0125, -0.034, 0.009).points(), "-1.2 [-3.4, +0.9]");
    }

    #[test]
    fn what_is_missing_is_never_a_number() {
        let share = Measure::Figure(Unit::Share);
        assert_eq!(Span::new(None, None).text(share), "–");
        assert_eq!(span(f64::NAN, 0.0, 1.0).text(share), "–");
        assert_eq!(span(0.5, f64::NAN, f64::INFINITY).text(share), "50.0 % [–]");
        assert_eq!(span(0.5, 0.25, f64::INFINITY).text(share), "50.0 % [25.0, –]");
        assert!(span(0.5, 0.25, f64::INFINITY).is_lacking());
        assert!(!Span::new(Some(0.5), None).is_lacking());
        assert_eq!(decimal(1e300, 2), "1.00e300");
        assert_eq!(p_value(Some(f64::NAN)), "–");
    }

    #[test]
    fn p_values_counts_and_confidences() {
        for (p, expected) in [
            (0.0032, "p = 0.0032"),
            (0.000_099, "p < 0.0001"),
            (0.00032, "p = 0.00032"),
            (0.046, "p = 0.046"),
            (0.458, "p = 0.46"),
            (1.0, "p = 1.00"),
            (0.0, "p < 0.0001"),
        ] {
            assert_eq!(p_value(Some(p)), expected);
        }
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(confidence(0.95), "95 %");
        assert_eq!(confidence(0.9), "90 %");
        assert_eq!(confidence(0.975), "97.5 %");
    }
}
