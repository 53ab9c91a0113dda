//! What a candidate's answers cost.

use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// What answers cost, in dollars: per token, per request, or per hour of a machine. Amounts are exact decimals.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per million input tokens.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub input_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens read from the cache; default: as other input.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub cached_input_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens, reasoning included.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub output_per_mtok_usd: Option<Decimal>,
    /// Per request.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub per_request_usd: Option<Decimal>,
    /// Per hour of the machine that serves this candidate, charged while one of its requests is in flight.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>")]
    pub per_hour_usd: Option<Decimal>,
}

/// Reads an amount as written: the shortest decimal that names the same number, so that 0.1 is one tenth.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    struct Amount;
    impl Visitor<'_> for Amount {
        type Value = Option<Decimal>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an amount of dollars, 0 or more")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<Decimal>, E> {
            let amount = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok();
            match amount {
                Some(amount) if !amount.is_sign_negative() || amount.is_zero() => Ok(Some(amount)),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<Decimal>, E> {
            self.visit_str(&number.to_string())
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<Decimal>, E> {
            Ok(Some(Decimal::from(number)))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Option<Decimal>, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Amount)
}
