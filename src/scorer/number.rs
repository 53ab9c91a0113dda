//! `number`: the answer is the target number.

use std::borrow::Cow;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::scorer::extract::{Extractor, Part};
use crate::scorer::normalise::bare;
use crate::scorer::{BuildFault, Case, MetricName, Scorer, missed};
use crate::suite::spec::{NumberSpec, Separators};
use crate::types::Mark;
use crate::util::number::{LATEX, is_currency_sign, is_digit_space, is_sign};

/// Right when |answer − target| is at most `tolerance`, or at most `relative_tolerance` × |target|; both are 0 when absent.
/// Equal numbers are found by their digits, so integers of any length and decimals compare exactly; differences are taken
/// in decimal arithmetic where 28 digits hold both numbers, else in `f64`.
///
/// Limit: a number inside a JSON document (a pointer leads there, or the target is one) that is no 64-bit integer has been
/// through `f64`. Written as a JSON string it keeps all its digits.
struct NumberScorer {
    metrics: Vec<MetricName>,
    extractor: Extractor,
    separators: Separators,
    tolerance: f64,
    relative_tolerance: f64,
}

pub fn build(spec: &NumberSpec, metrics: Vec<MetricName>, faults: &mut Vec<BuildFault>) -> Option<Box<dyn Scorer>> {
    for (key, tolerance) in [("tolerance", spec.tolerance), ("relative_tolerance", spec.relative_tolerance)] {
        if tolerance.is_some_and(|tolerance| !tolerance.is_finite() || tolerance < 0.0) {
            faults.push(BuildFault::new(&[key], format!("`{key}` is a finite number, 0 or greater")));
        }
    }
    let extractor =
        Extractor::build(spec.extract.as_ref(), spec.target_extract.as_ref(), spec.field.as_deref(), faults)?;
    Some(Box::new(NumberScorer {
        metrics,
        extractor,
        separators: spec.separators,
        tolerance: spec.tolerance.unwrap_or(0.0),
        relative_tolerance: spec.relative_tolerance.unwrap_or(0.0),
    }))
}

impl Scorer for NumberScorer {
    fn metrics(&self) -> &[MetricName] {
        &self.metrics
    }

    fn mark(&self, case: &Case<'_>, marks: &mut Vec<Mark>) {
        let target = match self.extractor.target(case.target) {
            Ok(target) => target,
            Err(reason) => return marks.push(Mark::unscored(reason)),
        };
        let Some(expected) = self.read(&target) else {
            return marks.push(Mark::unscored("the target is not a number"));
        };
        let answer = match self.extractor.answer(&case.response.text) {
            Ok(answer) => answer,
            Err(reason) => return marks.push(missed(target.shown(), reason)),
        };
        let Some(got) = self.read(&answer) else {
            let detail = json!({ "expected": target.shown(), "got": answer.shown(), "reason": "not a number" });
            return marks.push(Mark::binary(false).detail(detail));
        };
        let detail = json!({ "expected": target.shown(), "got": answer.shown() });
        marks.push(Mark::binary(self.is_near(&got, &expected)).detail(detail));
    }

    fn needs_target(&self) -> bool {
        true
    }
}

impl NumberScorer {
    fn read(&self, part: &Part<'_>) -> Option<Number> {
        match part {
            Part::Text(text) => read(text, self.separators),
            Part::Json(value) => match value.as_ref() {
                Value::Number(number) => read(&number.to_string(), Separators::En),
                Value::String(text) => read(text, self.separators),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            },
        }
    }

    fn is_near(&self, got: &Number, expected: &Number) -> bool {
        if got == expected {
            return true;
        }
        [(self.tolerance, false), (self.relative_tolerance, true)].into_iter().any(|(tolerance, is_relative)| {
            tolerance > 0.0
                && is_within_decimal(got, expected, tolerance, is_relative)
                    .unwrap_or_else(|| is_within_float(got, expected, tolerance, is_relative))
        })
    }
}

/// `None` when 28 digits do not hold what is needed.
fn is_within_decimal(got: &Number, expected: &Number, tolerance: f64, is_relative: bool) -> Option<bool> {
    // The tolerance as it was written: the shortest digits that make this float.
    let tolerance = read(&tolerance.to_string(), Separators::En)?.decimal()?;
    let (got, expected) = (got.decimal()?, expected.decimal()?);
    let allowed = if is_relative { tolerance.checked_mul(expected.abs())? } else { tolerance };
    Some(got.checked_sub(expected)?.abs() <= allowed)
}

fn is_within_float(got: &Number, expected: &Number, tolerance: f64, is_relative: bool) -> bool {
    let (got, expected) = (got.float(), expected.float());
    let allowed = if is_relative { tolerance * expected.abs() } else { tolerance };
    let difference = (got - expected).abs();
    // Numbers that no float holds are near nothing.
    difference.is_finite() && difference <= allowed
}

/// A number as its digits: `0.digits × 10^exponent` with neither leading nor trailing zeros, so that equal numbers are
/// equal structs. Zero has no digits, no sign and exponent 0.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    fn new(is_negative: bool, whole: impl Iterator<Item = char>, fraction: &str, exponent: i32) -> Number {
        let mut digits: String = whole.collect();
        let point = digits.len();
        digits.push_str(fraction);
        let leading = digits.len() - digits.trim_start_matches('0').len();
        digits.drain(..leading);
        digits.truncate(digits.trim_end_matches('0').len());
        // Lengths of texts and 32-bit exponents are far from the ends of 64 bits.
        let exponent = if digits.is_empty() { 0 } else { point as i64 - leading as i64 + i64::from(exponent) };
        Number { is_negative: is_negative && !digits.is_empty(), digits, exponent }
    }

    fn decimal(&self) -> Option<Decimal> {
        if self.digits.is_empty() {
            return Some(Decimal::ZERO);
        }
        if self.digits.len() > 28 {
            return None;
        }
        let mut mantissa: i128 = self.digits.parse().ok()?;
        let mut scale = i64::try_from(self.digits.len()).ok()? - self.exponent;
        if scale < 0 {
            let power = u32::try_from(-scale).ok()?;
            mantissa = mantissa.checked_mul(10_i128.checked_pow(power)?)?;
            scale = 0;
        }
        let mantissa = if self.is_negative { -mantissa } else { mantissa };
        Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
    }

    /// The nearest float; infinite when it is too great.
    fn float(&self) -> f64 {
        let sign = if self.is_negative { "-" } else { "" };
        format!("{sign}0.{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }
}

/// Reads a text that is a number and nothing else. `None` when it is not.
///
/// Read and ignored: white space, quotes, backticks, `*`, `_` and a final full stop around it; one currency sign, ISO 4217
/// code, `US$` or the like before it, and one of them or a percent sign after it. A sign stands directly before the digits
/// or before the currency. Thousands are separated by the separator of the language, a space of any width or an apostrophe,
/// the same one throughout, also as LaTeX writes them (`18{,}000`, `18\,000`), in groups of exactly three digits after a first one that has one to three and does not begin
/// with 0: `1,23`, `0,123` and `12,34,567` are no numbers, rather than guesses at one. Nor are fractions (`1/2`), signs
/// that change the value (`¢`, `‰`), units, words and digits of other scripts.
fn read(text: &str, separators: Separators) -> Option<Number> {
    let (mut sign, mut rest) = after_sign(bare(text));
    if let Some(after) = after_currency(rest) {
        rest = after.trim_start();
        if sign.is_none() {
            (sign, rest) = after_sign(rest);
        }
    }
    if let Some(before) = before_unit(rest) {
        rest = before.trim_end();
    }
    digits(&without_latex(rest), separators, sign == Some(true))
}

/// The text with LaTeX's separators as the characters that they stand for.
fn without_latex(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '{']) {
        return Cow::Borrowed(text);
    }
    let plain = LATEX.iter().fold(text.to_owned(), |text, (written, plain)| text.replace(written, plain));
    Cow::Owned(plain)
}

/// Whether there is a sign, and if so whether it is minus.
fn after_sign(text: &str) -> (Option<bool>, &str) {
    match text.chars().next().filter(|c| is_sign(*c)) {
        Some(c) => (Some(c != '+'), &text[c.len_utf8()..]),
        None => (None, text),
    }
}

fn after_currency(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('\\').unwrap_or(text).strip_prefix(is_currency_sign) {
        return Some(rest);
    }
    let letters = text.bytes().take_while(u8::is_ascii_uppercase).count();
    let (code, rest) = text.split_at(letters);
    match letters {
        1 | 2 => rest.strip_prefix('$'),
        3 if is_currency_code(code) => Some(rest),
        _ => None,
    }
}

fn before_unit(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_suffix(|c| matches!(c, '%' | '\u{FF05}') || is_currency_sign(c)) {
        return Some(rest.strip_suffix('\\').unwrap_or(rest));
    }
    let (rest, code) = text.split_at_checked(text.len().checked_sub(3)?)?;
    is_currency_code(code).then_some(rest)
}

/// ISO 4217 codes of currencies in use (list one, without funds, metals and test codes).
fn is_currency_code(code: &str) -> bool {
    const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD \
        CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD \
        HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD \
        MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG \
        QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD \
        TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG";
    code.len() == 3 && CODES.split(' ').any(|known| known == code)
}

fn digits(text: &str, separators: Separators, is_negative: bool) -> Option<Number> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((mantissa, exponent)) => {
            let (sign, size) = after_sign(exponent);
            if size.is_empty() || !is_digits(size) {
                return None;
            }
            let size: i32 = size.parse().ok()?;
            (mantissa, if sign == Some(true) { -size } else { size })
        }
    };
    let (point, comma) = match separators {
        Separators::En => ('.', ','),
        Separators::De => (',', '.'),
    };
    let (whole, fraction) = mantissa.split_once(point).unwrap_or((mantissa, ""));
    if !is_digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !is_digits(whole) {
        let separator = whole.chars().find(|c| !c.is_ascii_digit())?;
        if !(separator == comma || matches!(separator, ' ' | '\'' | '\u{2019}') || is_digit_space(separator)) {
            return None;
        }
        let mut groups = whole.split(separator);
        let first = groups.next()?;
        let is_grouped = matches!(first.len(), 1..=3)
            && is_digits(first)
            && !first.starts_with('0')
            && groups.all(|group| group.len() == 3 && is_digits(group));
        if !is_grouped {
            return None;
        }
    }
    Some(Number::new(is_negative, whole.chars().filter(char::is_ascii_digit), fraction, exponent))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scorer::tests::{faults, mark, mark_with};
    use crate::types::Score;

    #[test]
    fn numbers_are_read_strictly() {
        let table = [
            ("18", Some("18")),
            ("$1,234.50", Some("1234.5")),
            ("3,000", Some("3000")),
            ("1,234,567.089", Some("1234567.089")),
            ("-3", Some("-3")),
            ("+3", Some("3")),
            ("3.", Some("3")),
            (".5", Some("0.5")),
            ("1e3", Some("1000")),
            ("2.5E-3", Some("0.0025")),
            ("18%", Some("18")),
            ("18 %", Some("18")),
            ("18\\%", Some("18")),
            ("18.", Some("18")),
            ("**18**", Some("18")),
            ("**$1,000.**", Some("1000")),
            ("`18`", Some("18")),
            ("\u{2212}7", Some("-7")),
            ("–7", Some("-7")),
            ("-$5", Some("-5")),
            ("$-5", Some("-5")),
            ("$ 5", Some("5")),
            ("\\$5", Some("5")),
            ("$5$", Some("5")),
            ("US$5", Some("5")),
            ("5 €", Some("5")),
            ("5€", Some("5")),
            ("EUR 5", Some("5")),
            ("5 USD", Some("5")),
            ("$5 USD", Some("5")),
            ("1 234 567", Some("1234567")),
            ("1\u{a0}234", Some("1234")),
            ("1\u{2009}234", Some("1234")),
            ("1\u{202f}234.5", Some("1234.5")),
            ("1'234", Some("1234")),
            ("18{,}000", Some("18000")),
            ("$18\\,000$", Some("18000")),
            ("10,\\!000{.}5", Some("10000.5")),
            ("007", Some("7")),
            ("0.50", Some("0.5")),
            ("-0.0", Some("0")),
            ("\u{a0}18\n", Some("18")),
            // Not guessed at.
            ("1,23", None),
            ("1,2345", None),
            ("1234,567", None),
            ("0,123", None),
            ("12,34,567", None),
            ("1,234 567", None),
            ("1,,234", None),
            (",234", None),
            ("1,", None),
            ("1.2.3", None),
            ("1.234,5", None),
            ("1_000", None),
            ("1{,}23", None),
            ("1\\,23", None),
            ("{18}", None),
            ("- 3", None),
            ("--3", None),
            ("+-3", None),
            ("-$-3", None),
            ("(3)", None),
            ("1/2", None),
            ("½", None),
            ("5¢", None),
            ("5‰", None),
            ("18 apples", None),
            ("x = 18", None),
            ("CAT 5", None),
            ("5 CATS", None),
            ("18...", None),
            ("1e", None),
            ("e5", None),
            ("1e5.5", None),
            ("1e99999999999", None),
            ("0x12", None),
            ("NaN", None),
            ("inf", None),
            ("٣", None),
            ("1\08", None),
            ("1\u{202e}8", None),
            ("$", None),
            (".", None),
            ("-", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|expected| {
                digits(expected.trim_start_matches('-'), Separators::En, expected.starts_with('-')).unwrap()
            });
            assert_eq!(read(text, Separators::En), expected, "{text:?}");
        }
    }

    #[test]
    fn german_separators() {
        let table = [
            ("1.234,5", Some("1234.5")),
            ("1 234,5", Some("1234.5")),
            ("1.234.567", Some("1234567")),
            ("1.234", Some("1234")),
            ("0,5 €", Some("0.5")),
            (",5", Some("0.5")),
            ("18.", Some("18")),
            ("1.5", None),
            ("1,234,567", None),
            ("1,234.5", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|expected| digits(expected, Separators::En, false).unwrap());
            assert_eq!(read(text, Separators::De), expected, "{text:?}");
        }
    }

    #[test]
    fn marks() {
        let plain = json!({});
        let line = json!({"extract": {"regex": "A: *(.+)", "which": "last"}});
        let field = json!({"field": "/priority"});
        let tenth = json!({"tolerance": 0.1});
        let share = json!({"relative_tolerance": 0.01});
        let last = json!({"extract": {"last_number": true}});
        let german = json!({"separators": "de", "extract": {"last_number": true}});
        let table = [
            (&plain, json!("3,000"), "3000", Some(1.0)),
            (&plain, json!(3000), "3,000", Some(1.0)),
            (&plain, json!(18), "18.0", Some(1.0)),
            (&plain, json!(18.5), "18.50", Some(1.0)),
            (&plain, json!(18), "19", Some(0.0)),
            (&plain, json!(18), "eighteen", Some(0.0)),
            (&plain, json!(18), "", Some(0.0)),
            (&plain, json!("eighteen"), "18", None),
            (&plain, json!("1,23"), "123", None),
            (&plain, json!([18]), "18", None),
            (&plain, json!(true), "1", None),
            (&plain, Value::Null, "18", None),
            (&plain, json!("9007199254740993"), "9007199254740992", Some(0.0)),
            (&plain, json!(9_007_199_254_740_993_u64), "9007199254740993", Some(1.0)),
            (
                &plain,
                json!("123456789012345678901234567890123456789"),
                "123456789012345678901234567890123456788",
                Some(0.0),
            ),
            (&plain, json!("1e400"), "1e400", Some(1.0)),
            (&plain, json!("1e400"), "1e401", Some(0.0)),
            (&plain, json!("0.1"), "0.10000000000000001", Some(0.0)),
            (&last, json!("0"), "The total is 18{,}000.", Some(0.0)),
            (&last, json!("18000"), "The total is 18{,}000.", Some(1.0)),
            (&last, json!(18000), "$18\\,000$", Some(1.0)),
            (&last, json!("12345"), "Total: 12 345", Some(1.0)),
            (&last, json!("345"), "Total: 12 345", Some(0.0)),
            (&last, json!("2"), "The ratio is 1/2.", Some(0.0)),
            (&last, json!("5"), "That is 10^5.", Some(0.0)),
            (&last, json!("1234"), "(1,234)", Some(0.0)),
            (&line, json!("so\nA: 18"), "A: 3\nA: $18", Some(1.0)),
            (&line, json!("A: 3000"), "A: 3,000", Some(1.0)),
            (&line, json!("A: 18"), "the answer is 18", Some(0.0)),
            (&line, json!("18"), "A: 18", None),
            (&line, json!(18), "A: 18", Some(1.0)),
            (&field, json!({"priority": 2}), "{\"priority\": 2.0}", Some(1.0)),
            (&field, json!({"priority": 2}), "{\"priority\": \"2\"}", Some(1.0)),
            (&field, json!({"priority": 2}), "{\"priority\": true}", Some(0.0)),
            (&field, json!({"priority": 2}), "{\"priority\": 1e400}", Some(0.0)),
            (&field, json!({"other": 2}), "{\"priority\": 2}", None),
            // In binary floating point 18.1 − 18 is greater than 0.1.
            (&tenth, json!(18), "18.1", Some(1.0)),
            (&tenth, json!(18), "18.1000001", Some(0.0)),
            (&tenth, json!("1e40"), "1e40", Some(1.0)),
            (&tenth, json!("1e400"), "2e400", Some(0.0)),
            (&tenth, json!("1e-40"), "-1e-50", Some(1.0)),
            (&share, json!(-200), "-198", Some(1.0)),
            (&share, json!(-200), "-197.9", Some(0.0)),
            (&share, json!("2e40"), "1.99e40", Some(1.0)),
            (&share, json!(0), "0.0001", Some(0.0)),
            (&share, json!(0), "0", Some(1.0)),
            (&json!({"tolerance": 1e-30}), json!(1), "1.0000000000000000000000000000001", Some(1.0)),
            (&last, json!(18), "3 + 15 = **18**.", Some(1.0)),
            (&last, json!(-5), "x = -5.", Some(1.0)),
            (&last, json!(1234), "it costs $1,234!", Some(1.0)),
            (&last, json!(18), "none", Some(0.0)),
            (&german, json!(1234.5), "Es sind 1.234,5 kg.", Some(1.0)),
        ];
        for (spec, target, answer, expected) in table {
            assert_eq!(mark(&json!({ "number": spec }), &target, answer), expected, "{spec} {target} {answer:?}");
        }
    }

    #[test]
    fn hostile_length_is_borne() {
        let spec = json!({"number": {"tolerance": 1}});
        for text in ["9".repeat(10 << 20), format!("0.{}1", "0".repeat(10 << 20)), "1,".repeat(5 << 20)] {
            let mark = mark_with(&spec, None, Some(&json!(1)), &text).remove(0);
            // 0.00…1 lies within 1 of 1.
            assert_eq!(mark.score, Score::Value(if text.starts_with('0') { 1.0 } else { 0.0 }));
            assert!(mark.detail.unwrap().to_string().len() < 1000);
        }
    }

    #[test]
    fn faulty_tolerances() {
        let found = faults(&json!({"number": {"tolerance": -1, "relative_tolerance": -0.5}}), None);
        assert_eq!(
            found.iter().map(|fault| fault.path[0].as_str()).collect::<Vec<_>>(),
            ["tolerance", "relative_tolerance"]
        );
    }

    proptest! {
        #[test]
        fn floats_and_decimals_agree_with_their_own_text(value in -1e15_f64..1e15, scale in -30..30_i32) {
            let value = value * 10_f64.powi(scale);
            let number = read(&value.to_string(), Separators::En).unwrap();
            prop_assert_eq!(number.float(), value);
            prop_assert_eq!(&read(&format!("{value:e}"), Separators::En).unwrap(), &number);
            if let Some(decimal) = number.decimal() {
                prop_assert_eq!(&read(&decimal.to_string(), Separators::En).unwrap(), &number);
            }
        }

        #[test]
        fn grouping_changes_nothing(value in any::<i64>()) {
            let plain = value.to_string();
            let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |digits| ("-", digits));
            for separator in [',', ' ', '\u{a0}', '\u{202f}', '\''] {
                let mut grouped = String::new();
                for (index, digit) in digits.chars().enumerate() {
                    if index > 0 && (digits.len() - index) % 3 == 0 {
                        grouped.push(separator);
                    }
                    grouped.push(digit);
                }
                prop_assert_eq!(read(&format!("{sign}{grouped}"), Separators::En), read(&plain, Separators::En));
            }
        }
    }
}
