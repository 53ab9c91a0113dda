//! A price in words.

use rust_decimal::Decimal;

use crate::types::{Price, Rates};

/// What a price says, on one line: `5 in, 0.5 cached, 30 out per Mtok; above 272000 in: 10 in, 1 cached, 45 out; batch ×
/// 0.5`. Amounts are dollars.
pub fn in_words(price: &Price) -> String {
    let mut parts = Vec::new();
    let own = rates_in_words(&price.rates());
    if !own.is_empty() {
        parts.push(format!("{own} per Mtok"));
    }
    parts.extend(extras(price));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
}

/// What a price says beside its prices of tokens below every tier.
pub fn extras(price: &Price) -> Vec<String> {
    let mut parts: Vec<String> = price
        .tiers
        .iter()
        .map(|tier| format!("above {} in: {}", tier.above_input_tokens, rates_in_words(&tier.rates())))
        .collect();
    parts.extend(price.per_request_usd.map(|amount| format!("{} per request", plain(amount))));
    parts.extend(price.per_hour_usd.map(|amount| format!("{} per hour", plain(amount))));
    parts.extend(price.batch_factor.map(|factor| format!("batch × {}", plain(factor))));
    parts
}

/// Prices of tokens, those that are there: `5 in, 0.5 cached, 30 out`.
pub fn rates_in_words(rates: &Rates) -> String {
    let Rates { input, cached, cache_write, cache_write_1h, audio_input, output, reasoning, audio_output } = *rates;
    let named = [
        (input, "in"),
        (cached, "cached"),
        (cache_write, "cache write"),
        (cache_write_1h, "cache write for 1 h"),
        (audio_input, "sound in"),
        (output, "out"),
        (reasoning, "reasoning"),
        (audio_output, "sound out"),
    ];
    let named = named.into_iter().filter_map(|(amount, name)| Some(format!("{} {name}", plain(amount?))));
    named.collect::<Vec<String>>().join(", ")
}

/// An amount without zeros at its end.
pub fn plain(amount: Decimal) -> String {
    amount.normalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_in_a_line() {
        let words = |json: &str| in_words(&serde_json::from_str(json).unwrap());
        assert_eq!(words("{}"), "nothing");
        assert_eq!(
            words(
                r#"{"input_per_mtok_usd":5.0,"cached_input_per_mtok_usd":0.5,"cache_write_1h_per_mtok_usd":10,"output_per_mtok_usd":30,
                    "tiers":[{"above_input_tokens":272000,"input_per_mtok_usd":10,"output_per_mtok_usd":45}],
                    "batch_factor":0.50,"per_hour_usd":3.13,"per_request_usd":0.005}"#
            ),
            "5 in, 0.5 cached, 10 cache write for 1 h, 30 out per Mtok; above 272000 in: 10 in, 45 out; 0.005 per request; \
             3.13 per hour; batch × 0.5"
        );
        assert_eq!(words(r#"{"per_hour_usd":3.9492}"#), "3.9492 per hour");
    }
}
