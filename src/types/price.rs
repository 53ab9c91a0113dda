//! What a candidate's answers cost.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// What answers cost, in dollars: per token, per request, or per hour of a machine. Amounts are exact decimals.
///
/// The token counts it is applied to contain each other, as [`crate::types::Usage`] says: what is cached, written to a
/// cache or sound is part of the input, reasoning and sound are parts of the output. A part without a price of its own
/// costs what the whole does.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per million input tokens.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub input_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens read from the cache; default: as other input.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub cached_input_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens written to the cache; default: as other input.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub cache_write_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens written to the cache for an hour; default: as other writes.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub cache_write_1h_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens that are sound; default: as other input.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub audio_input_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens, reasoning included unless it has a price of its own.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub output_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens spent on reasoning, where the service bills them apart; default: as other output.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub reasoning_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens that are sound; default: as other output.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub audio_output_per_mtok_usd: Option<Decimal>,
    /// Per request.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub per_request_usd: Option<Decimal>,
    /// Per hour of one machine that serves this candidate, paid whether it is busy or not: what a request costs follows
    /// from the suite's `volume`, or from the log of a replay.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub per_hour_usd: Option<Decimal>,
    /// Machines that are paid by the hour, at least; more where the peak of the volume needs more at the rate that was
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<std::num::NonZeroU32>,
    /// Other prices of tokens for long prompts. The tier with the highest bound below the input tokens of a request holds
    /// for all tokens of that request, so each tier names every price of tokens that stands above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// What the prices of tokens are multiplied by for answers that are asked for in a batch, such as 0.5.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub batch_factor: Option<Decimal>,
}

/// Prices of tokens for requests with more than so many input tokens.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Input tokens above which these prices hold: at exactly so many they do not yet.
    pub above_input_tokens: u64,
    /// Per million input tokens.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub input_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens read from the cache.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub cached_input_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens written to the cache.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub cache_write_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens written to the cache for an hour.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub cache_write_1h_per_mtok_usd: Option<Decimal>,
    /// Per million input tokens that are sound.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub audio_input_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub output_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens spent on reasoning.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub reasoning_per_mtok_usd: Option<Decimal>,
    /// Per million output tokens that are sound.
    #[serde(default, deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub audio_output_per_mtok_usd: Option<Decimal>,
}

/// What a million tokens of each kind cost, in dollars; `None` where a kind has no price of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Input.
    pub input: Option<Decimal>,
    /// Input read from the cache.
    pub cached: Option<Decimal>,
    /// Input written to the cache.
    pub cache_write: Option<Decimal>,
    /// Input written to the cache for an hour.
    pub cache_write_1h: Option<Decimal>,
    /// Input that is sound.
    pub audio_input: Option<Decimal>,
    /// Output.
    pub output: Option<Decimal>,
    /// Output spent on reasoning.
    pub reasoning: Option<Decimal>,
    /// Output that is sound.
    pub audio_output: Option<Decimal>,
}

impl Rates {
    /// Each rate with the key that it has in a suite.
    pub fn named(&self) -> [(&'static str, Option<Decimal>); 8] {
        [
            ("input_per_mtok_usd", self.input),
            ("cached_input_per_mtok_usd", self.cached),
            ("cache_write_per_mtok_usd", self.cache_write),
            ("cache_write_1h_per_mtok_usd", self.cache_write_1h),
            ("audio_input_per_mtok_usd", self.audio_input),
            ("output_per_mtok_usd", self.output),
            ("reasoning_per_mtok_usd", self.reasoning),
            ("audio_output_per_mtok_usd", self.audio_output),
        ]
    }
}

impl Tier {
    /// The tier's prices of tokens.
    pub fn rates(&self) -> Rates {
        Rates {
            input: self.input_per_mtok_usd,
            cached: self.cached_input_per_mtok_usd,
            cache_write: self.cache_write_per_mtok_usd,
            cache_write_1h: self.cache_write_1h_per_mtok_usd,
            audio_input: self.audio_input_per_mtok_usd,
            output: self.output_per_mtok_usd,
            reasoning: self.reasoning_per_mtok_usd,
            audio_output: self.audio_output_per_mtok_usd,
        }
    }

    fn rates_mut(&mut self) -> [&mut Option<Decimal>; 8] {
        [
            &mut self.input_per_mtok_usd,
            &mut self.cached_input_per_mtok_usd,
            &mut self.cache_write_per_mtok_usd,
            &mut self.cache_write_1h_per_mtok_usd,
            &mut self.audio_input_per_mtok_usd,
            &mut self.output_per_mtok_usd,
            &mut self.reasoning_per_mtok_usd,
            &mut self.audio_output_per_mtok_usd,
        ]
    }
}

/// How much is asked over how long: what the cost of a machine that is paid by the hour is shared among.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// Requests.
    #[schemars(with = "String")]
    pub requests: Decimal,
    /// Hours in which they come.
    #[schemars(with = "String")]
    pub hours: Decimal,
    /// The rate of the busiest time ÷ the mean rate, 1 or more.
    pub peak_over_mean: f64,
    /// Whether it was measured, by the log of a replay, or stated by the suite.
    pub is_measured: bool,
}

impl Volume {
    /// Requests a second, on average. `None` when that is no number above 0.
    pub fn mean_per_s(&self) -> Option<f64> {
        let per_hour = self.requests.checked_div(self.hours)?.to_f64()?;
        Some(per_hour / 3600.0).filter(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// What is wrong with a price beyond its form, and where: keys, and positions in `tiers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFault {
    /// The tier that it is about, if it is about one.
    pub tier: Option<usize>,
    /// The key at fault; `None` for the price or the tier as a whole.
    pub key: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Price {
    /// The prices of tokens below every tier.
    pub fn rates(&self) -> Rates {
        Rates {
            input: self.input_per_mtok_usd,
            cached: self.cached_input_per_mtok_usd,
            cache_write: self.cache_write_per_mtok_usd,
            cache_write_1h: self.cache_write_1h_per_mtok_usd,
            audio_input: self.audio_input_per_mtok_usd,
            output: self.output_per_mtok_usd,
            reasoning: self.reasoning_per_mtok_usd,
            audio_output: self.audio_output_per_mtok_usd,
        }
    }

    /// What answers cost that are asked for in a batch: every price of tokens times `batch_factor`, exactly. Prices per
    /// request and per hour stay. `None` without a factor, and when a product has more than 28 digits.
    pub fn batch(&self) -> Option<Price> {
        let factor = self.batch_factor?;
        let mut price = Price { batch_factor: None, ..self.clone() };
        let own = [
            &mut price.input_per_mtok_usd,
            &mut price.cached_input_per_mtok_usd,
            &mut price.cache_write_per_mtok_usd,
            &mut price.cache_write_1h_per_mtok_usd,
            &mut price.audio_input_per_mtok_usd,
            &mut price.output_per_mtok_usd,
            &mut price.reasoning_per_mtok_usd,
            &mut price.audio_output_per_mtok_usd,
        ];
        let of_tiers = price.tiers.iter_mut().flat_map(Tier::rates_mut);
        for amount in own.into_iter().chain(of_tiers).flatten() {
            *amount = product(*amount, factor)?;
        }
        Some(price)
    }

    /// What is wrong with the price beyond its form: it names no amount, or its tiers leave open what they cost.
    pub fn faults(&self) -> Vec<PriceFault> {
        let mut faults = Vec::new();
        let rates = self.rates();
        let has_rate = rates.named().iter().any(|(_, amount)| amount.is_some());
        if !has_rate && self.per_request_usd.is_none() && self.per_hour_usd.is_none() {
            faults.push(PriceFault {
                tier: None,
                key: None,
                message: "`price` names no amount".to_owned(),
                help: "add `input_per_mtok_usd` and `output_per_mtok_usd`, `per_request_usd` or `per_hour_usd`"
                    .to_owned(),
            });
        }
        if self.batch_factor.is_some_and(|factor| factor > Decimal::ONE) {
            faults.push(PriceFault {
                tier: None,
                key: Some("batch_factor"),
                message: "`batch_factor` is above 1, and batches cost less than single requests".to_owned(),
                help: "half the price is written `batch_factor: 0.5`".to_owned(),
            });
        }
        let mut bound = 0;
        for (index, tier) in self.tiers.iter().enumerate() {
            if tier.above_input_tokens <= bound {
                faults.push(PriceFault {
                    tier: Some(index),
                    key: Some("above_input_tokens"),
                    message: format!("a tier above {} does not follow one above {bound}", tier.above_input_tokens),
                    help: "tiers stand in ascending order, and start above 0".to_owned(),
                });
            }
            bound = bound.max(tier.above_input_tokens);
            for ((key, own), (_, of_tier)) in rates.named().iter().zip(tier.rates().named()) {
                let message = match (own, of_tier) {
                    (Some(_), None) => format!("the tier above {} lacks `{key}`", tier.above_input_tokens),
                    (None, Some(_)) => format!("`{key}` has a price in a tier and none below it"),
                    (Some(_), Some(_)) | (None, None) => continue,
                };
                faults.push(PriceFault {
                    tier: Some(index),
                    key: of_tier.map(|_| *key),
                    message,
                    help: "a tier switches all prices of tokens: name the same ones in it and in the price".to_owned(),
                });
            }
        }
        faults
    }
}

/// The exact product; `None` when it does not fit into 28 digits.
fn product(a: Decimal, b: Decimal) -> Option<Decimal> {
    let (a, b) = (a.normalize(), b.normalize());
    let (mut mantissa, mut scale) = (a.mantissa().checked_mul(b.mantissa())?, a.scale() + b.scale());
    while scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

/// What a candidate's answers are priced by, and where that comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pricing {
    /// Where the price comes from; null when none is known.
    #[serde(default)]
    pub from: Option<PriceOrigin>,
    /// The price; null when none is known.
    #[serde(default)]
    pub price: Option<Price>,
    /// Of a row of a price book: the service.
    #[serde(default)]
    pub provider: Option<String>,
    /// Of a row of a price book: the model, by its first name there.
    #[serde(default)]
    pub model: Option<String>,
    /// Of a row of a price book: who says so.
    #[serde(default)]
    pub source: Option<String>,
    /// Of a row of a price book: the day on which the source said so, `2026-07-24`.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Of a row of a price book: what else to know about it.
    #[serde(default)]
    pub note: Option<String>,
    /// Whether the price is the one for batches.
    #[serde(default)]
    pub is_batch: bool,
    /// Why no price is known.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceOrigin {
    /// The suite says it, by `price:`.
    Suite,
    /// The file that the suite names by `prices:`.
    File,
    /// The price book that comes with evalctl.
    Book,
}

impl Pricing {
    /// The price, or why there is none.
    ///
    /// # Errors
    /// The reason, when no price is known.
    pub fn price(&self) -> Result<&Price, &str> {
        self.price.as_ref().ok_or(self.reason.as_deref().unwrap_or("no price given"))
    }
}

/// The JSON Schema of an amount: a number, or the same as text.
fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["number", "string", "null"], "minimum": 0, "pattern": r"^[0-9.]+([eE][-+]?[0-9]+)?$" })
}

/// Reads an amount of dollars of a suite, exactly as it is written.
///
/// # Errors
/// When it is no amount of 0 or more.
pub fn dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    written(deserializer)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn price(json: &str) -> Price {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_batch_multiplies_every_price_of_tokens_and_no_other() {
        let single = price(
            r#"{"input_per_mtok_usd":0.15,"cached_input_per_mtok_usd":0.075,"output_per_mtok_usd":0.6,"per_request_usd":0.01,
                "per_hour_usd":2,"batch_factor":0.5,
                "tiers":[{"above_input_tokens":9,"input_per_mtok_usd":0.3,"cached_input_per_mtok_usd":0.15,"output_per_mtok_usd":1.2}]}"#,
        );
        let batch = single.batch().unwrap();
        let text = |amount: Option<Decimal>| amount.unwrap().to_string();
        assert_eq!(text(batch.input_per_mtok_usd), "0.075");
        assert_eq!(text(batch.cached_input_per_mtok_usd), "0.0375");
        assert_eq!(text(batch.output_per_mtok_usd), "0.3");
        assert_eq!(text(batch.tiers[0].input_per_mtok_usd), "0.15");
        assert_eq!(text(batch.tiers[0].output_per_mtok_usd), "0.6");
        assert_eq!((text(batch.per_request_usd), text(batch.per_hour_usd)), ("0.01".to_owned(), "2".to_owned()));
        // A batch of a batch there is none of.
        assert_eq!(batch.batch(), None);
        let fine =
            Price { input_per_mtok_usd: Some(Decimal::new(1, 28)), batch_factor: Some(Decimal::new(5, 1)), ..single };
        assert_eq!(fine.batch(), None);
    }

    #[test]
    fn what_a_price_leaves_open_is_found() {
        let said = |json: &str| price(json).faults().into_iter().map(|fault| fault.message).collect::<Vec<_>>();
        assert_eq!(said("{}"), ["`price` names no amount"]);
        assert_eq!(said(r#"{"batch_factor":0.5}"#), ["`price` names no amount"]);
        assert_eq!(said(r#"{"per_hour_usd":1}"#), [""; 0]);
        assert_eq!(
            said(
                r#"{"input_per_mtok_usd":1,"output_per_mtok_usd":2,"tiers":[{"above_input_tokens":0,"input_per_mtok_usd":2,
                    "reasoning_per_mtok_usd":1}]}"#
            ),
            [
                "a tier above 0 does not follow one above 0",
                "the tier above 0 lacks `output_per_mtok_usd`",
                "`reasoning_per_mtok_usd` has a price in a tier and none below it",
            ]
        );
        assert_eq!(said(r#"{"per_request_usd":1,"batch_factor":1.5}"#).len(), 1);
    }

    #[test]
    fn amounts_are_read_as_they_stand_and_written_as_text() {
        let read = price(r#"{"input_per_mtok_usd":0.1,"output_per_mtok_usd":"0.30000000000000004"}"#);
        assert_eq!(read.input_per_mtok_usd.unwrap().to_string(), "0.1");
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, r#"{"input_per_mtok_usd":"0.1","output_per_mtok_usd":"0.30000000000000004"}"#);
        assert_eq!(price(&json), read);
        assert!(serde_json::from_str::<Price>(r#"{"input_per_mtok_usd":-1}"#).is_err());
    }
}
