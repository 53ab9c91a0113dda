//! A day, for saying how old a price is.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const SECONDS: u64 = 86_400;

/// A day of the Gregorian calendar in UTC, from 1970 on. Written `2026-07-24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// Days since 1 January 1970.
    number: u64,
}

impl Day {
    /// Reads `2026-07-24`. `None` for everything else, days that no month has included.
    pub fn parse(text: &str) -> Option<Day> {
        let is_form = text.len() == 10
            && text.bytes().enumerate().all(
                |(index, byte)| {
                    if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() }
                },
            );
        let instant = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok().filter(|_| is_form)?;
        let day = Day { number: instant.duration_since(UNIX_EPOCH).ok()?.as_secs() / SECONDS };
        // 31 February is read as a day of March.
        (day.to_string() == text).then_some(day)
    }

    /// The day of an instant as manifests write it, such as `2026-11-21T08:00:00Z`; `None` when it is none.
    pub fn of_instant(text: &str) -> Option<Day> {
        Day::parse(text.get(..10)?)
    }

    /// Days from this one to another; 0 when that is not later.
    pub fn days_until(self, other: Day) -> u64 {
        other.number.saturating_sub(self.number)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = UNIX_EPOCH + Duration::from_secs(self.number * SECONDS);
        let text = humantime::format_rfc3339_seconds(instant).to_string();
        f.write_str(text.get(..10).unwrap_or(&text))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Day;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a day such as `2026-07-24`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Day, E> {
                Day::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Day {
    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A day: 2026-07-24.", "pattern": r"^\d{4}-\d{2}-\d{2}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_written_and_counted() {
        let day = |text| Day::parse(text).unwrap();
        assert_eq!(day("2026-07-24").to_string(), "2026-07-24");
        assert_eq!(day("2026-07-24").days_until(day("2026-11-21")), 120);
        assert_eq!(day("2026-11-21").days_until(day("2026-07-24")), 0);
        assert_eq!(day("2024-02-29").days_until(day("2025-02-28")), 365);
        assert_eq!(Day::of_instant("2026-11-21T08:00:00Z"), Some(day("2026-11-21")));
        for bad in ["", "2026-7-24", "2026-02-30", "2026-13-01", "1969-12-31", "24.07.2026", "2026-07-24T", "2026-0ä-1"]
        {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
        assert_eq!(Day::of_instant("now"), None);
    }
}
