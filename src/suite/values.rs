//! Small written forms: `30m`, `5%`, one file or a list.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// A duration as people write it: `120s`, `1m 30s`, `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HumanDuration, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as `30s`, `5m` or `250ms`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                humantime::parse_duration(text)
                    .map(HumanDuration)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with its unit: 120s, 5m, 250ms.",
            "pattern": r"^\s*(\d+\s*[a-zA-Z]+\s*)+$"
        })
    }
}

/// A count, or a share of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowance {
    /// That many.
    Count(u64),
    /// That share of all, 0 to 1.
    Share(f64),
}

impl Allowance {
    /// How many of `total` are allowed.
    pub fn of(&self, total: u64) -> u64 {
        match self {
            Allowance::Count(count) => *count,
            // Exact for any total a run can have; rounding down is the strict side.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= share <= 1")]
            Allowance::Share(share) => (share * total as f64).floor() as u64,
        }
    }
}

impl<'de> Deserialize<'de> for Allowance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Allowance, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Allowance;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a share such as `5%`")
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Allowance, E> {
                Ok(Allowance::Count(count))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Allowance, E> {
                text.trim()
                    .strip_suffix('%')
                    .and_then(|number| number.trim().parse::<f64>().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(|percent| Allowance::Share(percent / 100.0))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Allowance {
    fn schema_name() -> Cow<'static, str> {
        "Allowance".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A count, or a share of all: 20, or 5%.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$" }]
        })
    }
}

/// The field by which a recorded answer is found: one name for both files, or a name in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinField {
    /// In the file of answers.
    pub answer: String,
    /// In the golden set.
    pub sample: String,
}

impl From<&str> for JoinField {
    fn from(both: &str) -> JoinField {
        JoinField { answer: both.to_owned(), sample: both.to_owned() }
    }
}

impl Serialize for JoinField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.answer == self.sample {
            return serializer.serialize_str(&self.answer);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("answer", &self.answer)?;
        map.serialize_entry("sample", &self.sample)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for JoinField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JoinField, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Both {
            answer: String,
            sample: String,
        }
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = JoinField;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field that both files have, or `{ answer: FIELD, sample: FIELD }`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<JoinField, E> {
                Ok(JoinField::from(text))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JoinField, A::Error> {
                let Both { answer, sample } = Both::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(JoinField { answer, sample })
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for JoinField {
    fn schema_name() -> Cow<'static, str> {
        "JoinField".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A field that the answers and the golden set both have, or its name in each.",
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "answer": { "description": "Field of the file of answers.", "type": "string" },
                        "sample": { "description": "Field of the golden set.", "type": "string" }
                    },
                    "required": ["answer", "sample"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

/// One path, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = items.next_element()? {
                    paths.push(path);
                }
                Ok(OneOrMany(paths))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A path, or a list of paths.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
        })
    }
}
