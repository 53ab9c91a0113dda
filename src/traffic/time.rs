//! Stamps of logs, in the many ways they are written, as microseconds since the epoch.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::types::Precision;

const US_PER_S: i64 = 1_000_000;

/// An instant of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since 1970-01-01T00:00:00Z; what is finer is cut off.
    pub us: i64,
    /// How finely it was written.
    pub precision: Precision,
    /// Minutes east of UTC that it was written with; `None` when it says nothing, so that the zone is an assumption.
    pub offset_min: Option<i32>,
}

impl Stamp {
    /// The time from this instant to a later one; `None` when that is earlier.
    pub fn until(&self, later: &Stamp) -> Option<Duration> {
        u64::try_from(later.us.checked_sub(self.us)?).ok().map(Duration::from_micros)
    }
}

/// The zone of stamps that name none: a fixed distance from UTC, as logs without zones do not know of summer time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Zone {
    /// Minutes east of UTC.
    pub offset_min: i32,
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Zone, String> {
        let wrong = || "a zone is `UTC` or a distance from it, such as `+02:00`".to_owned();
        match offset(text) {
            Some((offset_min, "")) => Ok(Zone { offset_min }),
            Some(_) | None => Err(wrong()),
        }
    }
}

/// A stamp, however it is written: a date and time as text, or a number since the epoch (seconds, milliseconds,
/// microseconds or nanoseconds, told apart by size). `None` for what is no stamp, null and empty texts included.
pub fn stamp(value: &Value, zone: Zone) -> Option<Stamp> {
    match value {
        Value::String(text) => parse(text, zone),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole_number(whole),
            None => number.as_f64().and_then(fraction),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The same for a text.
pub fn parse(text: &str, zone: Zone) -> Option<Stamp> {
    let text = text.trim();
    if let Some(stamp) = date_and_time(text, zone) {
        return Some(stamp);
    }
    if let Ok(whole) = text.parse::<i64>() {
        return whole_number(whole);
    }
    let is_number = text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse::<f64>().ok().filter(|_| is_number).and_then(fraction)
}

/// A count since the epoch. What was logged lies after 1973, so that size tells the unit.
fn whole_number(count: i64) -> Option<Stamp> {
    let (us, precision) = match count {
        100_000_000..100_000_000_000 => (count * US_PER_S, Precision::S),
        100_000_000_000..100_000_000_000_000 => (count * 1000, Precision::Ms),
        100_000_000_000_000..100_000_000_000_000_000 => (count, Precision::Us),
        100_000_000_000_000_000.. => (count / 1000, Precision::Ns),
        _ => return None,
    };
    Some(Stamp { us, precision, offset_min: Some(0) })
}

/// Seconds, or milliseconds, with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "in range")]
fn fraction(number: f64) -> Option<Stamp> {
    let us = match number {
        1e8..1e11 => number * 1e6,
        1e11..1e14 => number * 1e3,
        _ => return None,
    };
    Some(Stamp { us: us.round() as i64, precision: Precision::Us, offset_min: Some(0) })
}

/// `2023-11-16 18:15:46.6805900`, with `T` or a blank, and `Z`, ` UTC`, an offset or nothing behind it.
fn date_and_time(text: &str, zone: Zone) -> Option<Stamp> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (hour, rest) = digits(rest.strip_prefix(['T', 't', ' '])?, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => digits(rest, 2)?,
        None => (0, rest),
    };
    let days = days_of(year, month, day)?;
    // A leap second is the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, places, rest) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => {
            let places = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (written, rest) = rest.split_at(places);
            let us = format!("{:0<6}", &written[..places.min(6)]).parse::<i64>().ok().filter(|_| places > 0)?;
            (us, places, rest)
        }
        None => (0, 0, rest),
    };
    let offset_min = match rest.trim_start() {
        "" => None,
        rest => match offset(rest)? {
            (offset, "") => Some(offset),
            _ => return None,
        },
    };
    let precision = match places {
        0 => Precision::S,
        1..=3 => Precision::Ms,
        4..=6 => Precision::Us,
        _ => Precision::Ns,
    };
    let minutes = (days * 24 + hour) * 60 + minute - i64::from(offset_min.unwrap_or(zone.offset_min));
    Some(Stamp { us: (minutes * 60 + second) * US_PER_S + fraction_us, precision, offset_min })
}

fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let (head, tail) = text.split_at_checked(count)?;
    let is_number = head.bytes().all(|byte| byte.is_ascii_digit());
    head.parse().ok().filter(|_| is_number).map(|number| (number, tail))
}

/// `Z`, `UTC`, `GMT`, `+02:00`, `+0200` or `+02`, in minutes, and what stands behind it.
fn offset(text: &str) -> Option<(i32, &str)> {
    for name in ["UTC", "GMT", "utc", "Z", "z"] {
        if let Some(rest) = text.strip_prefix(name) {
            return Some((0, rest));
        }
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let (hours, rest) = digits(&text[1..], 2)?;
    let (minutes, rest) = match digits(rest.strip_prefix(':').unwrap_or(rest), 2) {
        Some(found) => found,
        None => (0, rest),
    };
    let all = i32::try_from(hours * 60 + minutes).ok().filter(|all| *all <= 18 * 60 && minutes < 60)?;
    Some((sign * all, rest))
}

/// Days since the epoch of a day of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `days_from_civil`); `None` for a day that is none.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Milliseconds of a log as a duration; `None` for what is no number from 0 to a year.
pub fn ms(value: &Value) -> Option<Duration> {
    seconds_times(value, 1e-3)
}

/// Seconds of a log as a duration.
pub fn seconds(value: &Value) -> Option<Duration> {
    seconds_times(value, 1.0)
}

fn seconds_times(value: &Value, factor: f64) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let us = (number * factor * 1e6).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    (0.0..3.2e13).contains(&us).then(|| Duration::from_micros(us as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn us(text: &str) -> Option<i64> {
        parse(text, Zone::default()).map(|stamp| stamp.us)
    }

    #[test]
    fn stamps_of_all_kinds() {
        for (text, expected, precision, offset) in [
            ("2023-11-16 18:15:46.6805900", 1_700_158_546_680_590, Precision::Ns, None),
            ("2026-03-01 10:00:00.125000", 1_772_359_200_125_000, Precision::Us, None),
            ("2026-03-01T10:00:00.125Z", 1_772_359_200_125_000, Precision::Ms, Some(0)),
            ("2026-03-01T12:00:00.125+02:00", 1_772_359_200_125_000, Precision::Ms, Some(120)),
            ("2026-03-01 04:30:00-0530", 1_772_359_200_000_000, Precision::S, Some(-330)),
            ("2026-03-01 10:00:00 UTC", 1_772_359_200_000_000, Precision::S, Some(0)),
            ("2026-03-01 10:00", 1_772_359_200_000_000, Precision::S, None),
            ("2024-02-29T00:00:00.5Z", 1_709_164_800_500_000, Precision::Ms, Some(0)),
            ("1969-12-31T23:59:59.999999Z", -1, Precision::Us, Some(0)),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000, Precision::S, Some(0)),
            ("1760000000", 1_760_000_000_000_000, Precision::S, Some(0)),
            ("1760000000125", 1_760_000_000_125_000, Precision::Ms, Some(0)),
            ("1760000000125000000", 1_760_000_000_125_000, Precision::Ns, Some(0)),
            ("1760000000.125", 1_760_000_000_125_000, Precision::Us, Some(0)),
        ] {
            let stamp = parse(text, Zone::default()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(stamp, Stamp { us: expected, precision, offset_min: offset }, "{text}");
        }
        assert_eq!(stamp(&json!(1_760_000_000.125), Zone::default()).unwrap().us, 1_760_000_000_125_000);
        assert_eq!(stamp(&json!(1_760_000_000), Zone::default()).unwrap().precision, Precision::S);
    }

    #[test]
    fn what_is_no_stamp() {
        for text in [
            "",
            "soon",
            "2026-02-30 00:00:00",
            "2026-13-01 00:00:00",
            "2026-03-01 24:00:00",
            "2026-03-01",
            "5",
            "-3",
            "2026-03-01 10:00:00.",
            "2026-03-01 10:00:00 CET",
            "2026-03-01T10:00:00+99:00",
            "1e400",
            "ü2026-03-01",
        ] {
            assert_eq!(us(text), None, "{text}");
        }
        assert_eq!(stamp(&json!(null), Zone::default()), None);
    }

    #[test]
    fn a_zone_holds_for_stamps_without_one_only() {
        let zone: Zone = "+02:00".parse().unwrap();
        let at = |text| parse(text, zone).unwrap().us;
        assert_eq!(at("2026-03-01 12:00:00"), at("2026-03-01 10:00:00Z"));
        assert_eq!("UTC".parse(), Ok(Zone { offset_min: 0 }));
        for wrong in ["Europe/Berlin", "2", "+2", "UTC+1", ""] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(ms(&json!(1375)), Some(Duration::from_millis(1375)));
        assert_eq!(seconds(&json!("1.375")), Some(Duration::from_millis(1375)));
        for wrong in [json!(-1), json!(1e30), json!("x"), json!(null)] {
            assert_eq!(ms(&wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,30}|[0-9TZ:. +-]{0,32}") {
            let _ = parse(&text, Zone::default());
        }

        #[test]
        fn whole_seconds_follow_each_other(second in 0..4_102_444_800_u64) {
            let text = crate::util::clock::rfc3339(std::time::UNIX_EPOCH + Duration::from_secs(second));
            prop_assert_eq!(us(&text), Some(i64::try_from(second).unwrap() * US_PER_S));
        }
    }
}
