//! What one answer cost by its tokens.

use rust_decimal::Decimal;

use crate::types::{Price, Usage};

/// Why an answer has no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCost {
    /// Nothing is priced.
    #[error("no price given")]
    NoPrice,
    /// Only machine time is priced, which one answer does not have by itself.
    #[error("the price is per hour of machine time, which belongs to no single answer")]
    PerHour,
    /// Input is priced, but its tokens are unknown.
    #[error("the service reported no input tokens")]
    NoInputTokens,
    /// Only cached input is priced, but its tokens are unknown.
    #[error("the service reported no cached input tokens")]
    NoCachedInputTokens,
    /// Output is priced, but its tokens are unknown.
    #[error("the service reported no output tokens")]
    NoOutputTokens,
    /// The usage contradicts itself.
    #[error("the service reported more cached input tokens than input tokens")]
    MoreCachedThanInput,
    /// The exact amount does not fit into a decimal of 28 digits.
    #[error("the cost has more digits than can be kept exactly")]
    TooManyDigits,
}

/// Dollars that one answer cost: input, cached input and output tokens at their prices per million, plus the price per
/// request. Exact, never rounded: 1 000 input tokens at 0.15 and 500 output tokens at 0.60 give 0.00045.
///
/// Cached input is charged as other input when it has no price of its own, and when the service did not report it, which
/// is then an upper estimate. A part whose price is absent or 0 costs nothing, and its tokens need not be reported. A price
/// per hour is not counted here, see [`crate::price::machine_time`].
///
/// # Errors
/// [`NoCost`]: when nothing but machine time is priced, when a priced count was not reported or contradicts another, and
/// when the amount cannot be kept exactly.
pub fn cost(price: &Price, usage: &Usage) -> Result<Decimal, NoCost> {
    let Price {
        input_per_mtok_usd: input_price,
        cached_input_per_mtok_usd: cached_price,
        output_per_mtok_usd: output_price,
        per_request_usd: request_price,
        per_hour_usd: hour_price,
    } = price;
    if input_price.or(*cached_price).or(*output_price).or(*request_price).is_none() {
        return Err(if hour_price.is_some() { NoCost::PerHour } else { NoCost::NoPrice });
    }
    let mut total = Exact::default();
    let (input, cached) = input_parts(*input_price, *cached_price, usage)?;
    total.add_per_million(input_price.unwrap_or_default(), input)?;
    total.add_per_million(cached_price.unwrap_or_default(), cached)?;
    if let Some(output_price) = output_price.filter(|amount| !amount.is_zero()) {
        total.add_per_million(output_price, usage.output_tokens.ok_or(NoCost::NoOutputTokens)?)?;
    }
    total.add(request_price.unwrap_or_default(), 1, 0)?;
    total.finish()
}

/// The tokens to charge at the price of input and at that of cached input.
fn input_parts(input: Option<Decimal>, cached: Option<Decimal>, usage: &Usage) -> Result<(u64, u64), NoCost> {
    let is_charged = |amount: Option<Decimal>| amount.is_some_and(|amount| !amount.is_zero());
    if is_charged(input) {
        let all = usage.input_tokens.ok_or(NoCost::NoInputTokens)?;
        let cached = if cached.is_some() { usage.cached_input_tokens.unwrap_or(0) } else { 0 };
        return Ok((all.checked_sub(cached).ok_or(NoCost::MoreCachedThanInput)?, cached));
    }
    let cached = if is_charged(cached) { usage.cached_input_tokens.ok_or(NoCost::NoCachedInputTokens)? } else { 0 };
    Ok((0, cached))
}

/// A sum of products without rounding: `mantissa`·10^−`scale`. `Decimal` itself rounds what does not fit.
#[derive(Default)]
struct Exact {
    mantissa: i128,
    scale: u32,
}

impl Exact {
    fn add_per_million(&mut self, amount: Decimal, tokens: u64) -> Result<(), NoCost> {
        self.add(amount, tokens, 6)
    }

    /// Adds `amount` · `times` · 10^−`shift`.
    fn add(&mut self, amount: Decimal, times: u64, shift: u32) -> Result<(), NoCost> {
        self.checked_add(amount, times, shift).ok_or(NoCost::TooManyDigits)
    }

    fn checked_add(&mut self, amount: Decimal, times: u64, shift: u32) -> Option<()> {
        let amount = amount.normalize();
        let mantissa = amount.mantissa().checked_mul(i128::from(times))?;
        let (mantissa, scale) = without_zeros(mantissa, amount.scale() + shift);
        let common = scale.max(self.scale);
        let raise = |mantissa: i128, scale: u32| mantissa.checked_mul(10_i128.checked_pow(common - scale)?);
        self.mantissa = raise(self.mantissa, self.scale)?.checked_add(raise(mantissa, scale)?)?;
        self.scale = common;
        Some(())
    }

    fn finish(&self) -> Result<Decimal, NoCost> {
        let (mantissa, scale) = without_zeros(self.mantissa, self.scale);
        Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| NoCost::TooManyDigits)
    }
}

fn without_zeros(mut mantissa: i128, mut scale: u32) -> (i128, u32) {
    if mantissa == 0 {
        return (0, 0);
    }
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa, scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dollars(text: &str) -> Option<Decimal> {
        Some(text.parse().unwrap())
    }

    fn small() -> Price {
        Price { input_per_mtok_usd: dollars("0.15"), output_per_mtok_usd: dollars("0.60"), ..Price::default() }
    }

    fn usage(input: u64, cached: Option<u64>, output: u64) -> Usage {
        Usage {
            input_tokens: Some(input),
            cached_input_tokens: cached,
            output_tokens: Some(output),
            ..Usage::default()
        }
    }

    fn total(price: &Price, usage: &Usage) -> String {
        cost(price, usage).unwrap().to_string()
    }

    #[test]
    fn tokens_and_requests_add_up() {
        assert_eq!(total(&small(), &usage(1000, None, 500)), "0.00045");
        // 137 · 0.15 + 61 · 0.60 = 20.55 + 36.60 = 57.15 millionths.
        assert_eq!(total(&small(), &usage(137, None, 61)), "0.00005715");
        let with_request = Price { per_request_usd: dollars("0.005"), ..small() };
        assert_eq!(total(&with_request, &usage(137, None, 61)), "0.00505715");
        let request_only = Price { per_request_usd: dollars("0.005"), ..Price::default() };
        assert_eq!(total(&request_only, &Usage::default()), "0.005");
        assert_eq!(total(&small(), &usage(0, None, 0)), "0");
        // The machine's hours come on top, elsewhere.
        assert_eq!(total(&Price { per_hour_usd: dollars("3.13"), ..small() }, &usage(1000, None, 500)), "0.00045");
    }

    #[test]
    fn cached_input_has_its_own_price_or_that_of_other_input() {
        let own = Price { cached_input_per_mtok_usd: dollars("0.075"), ..small() };
        // 600 · 0.15 + 400 · 0.075 = 90 + 30 = 120 millionths.
        assert_eq!(total(&own, &usage(1000, Some(400), 0)), "0.00012");
        assert_eq!(total(&own, &usage(1000, None, 0)), "0.00015");
        assert_eq!(total(&small(), &usage(1000, Some(400), 0)), "0.00015");
        let free = Price { cached_input_per_mtok_usd: dollars("0"), ..small() };
        assert_eq!(total(&free, &usage(1000, Some(400), 0)), "0.00009");
        assert_eq!(cost(&own, &usage(10, Some(11), 0)), Err(NoCost::MoreCachedThanInput));
        let only = Price { cached_input_per_mtok_usd: dollars("0.075"), ..Price::default() };
        assert_eq!(total(&only, &usage(1000, Some(400), 0)), "0.00003");
        assert_eq!(cost(&only, &usage(1000, None, 0)), Err(NoCost::NoCachedInputTokens));
    }

    #[test]
    fn what_cannot_be_known_says_why() {
        assert_eq!(cost(&Price::default(), &usage(1, None, 1)), Err(NoCost::NoPrice));
        let hourly = Price { per_hour_usd: dollars("3.13"), ..Price::default() };
        assert_eq!(cost(&hourly, &usage(1, None, 1)), Err(NoCost::PerHour));
        let no_input = Usage { output_tokens: Some(1), ..Usage::default() };
        assert_eq!(cost(&small(), &no_input), Err(NoCost::NoInputTokens));
        let no_output = Usage { input_tokens: Some(1), ..Usage::default() };
        assert_eq!(cost(&small(), &no_output), Err(NoCost::NoOutputTokens));
        assert_eq!(NoCost::NoOutputTokens.to_string(), "the service reported no output tokens");
        // What is free costs nothing, however much of it there was.
        let gift = Price { input_per_mtok_usd: dollars("0"), output_per_mtok_usd: dollars("0"), ..Price::default() };
        assert_eq!(total(&gift, &Usage::default()), "0");
    }

    #[test]
    fn nothing_is_rounded_and_nothing_overflows() {
        let odd = Price { input_per_mtok_usd: dollars("0.30000000000000004"), ..Price::default() };
        assert_eq!(total(&odd, &usage(1_234_567, None, 0)), "0.37037010000000004938268");
        let fine = Price { input_per_mtok_usd: dollars("0.0000000000000000000000000001"), ..Price::default() };
        assert_eq!(cost(&fine, &usage(1, None, 0)), Err(NoCost::TooManyDigits));
        assert_eq!(total(&fine, &usage(1_000_000, None, 0)), "0.0000000000000000000000000001");
        let vast = Price { input_per_mtok_usd: Some(Decimal::MAX), ..Price::default() };
        assert_eq!(cost(&vast, &usage(u64::MAX, None, 0)), Err(NoCost::TooManyDigits));
        let vast = Price { per_request_usd: Some(Decimal::MAX), ..small() };
        assert_eq!(cost(&vast, &usage(1, None, 0)), Err(NoCost::TooManyDigits));
        assert_eq!(total(&small(), &usage(u64::MAX, None, 0)), "2767011611056.43274225");
    }

    proptest! {
        #[test]
        fn the_cost_of_two_answers_is_the_sum(cents in 0_u32..100_000, a in 0_u64..1_000_000, b in 0_u64..1_000_000) {
            let price = Price { input_per_mtok_usd: Some(Decimal::new(i64::from(cents), 4)), ..Price::default() };
            let of = |tokens| cost(&price, &usage(tokens, None, 0)).unwrap();
            prop_assert_eq!(of(a) + of(b), of(a + b));
            let exact = i128::from(cents) * i128::from(a);
            prop_assert_eq!(of(a), Decimal::from_i128_with_scale(exact, 10));
        }

        #[test]
        fn no_usage_panics(input: Option<u64>, cached: Option<u64>, output: Option<u64>, mantissa: i64, scale in 0_u32..=28) {
            let amount = Some(Decimal::from_i128_with_scale(i128::from(mantissa).abs(), scale));
            let price = Price {
                input_per_mtok_usd: amount,
                cached_input_per_mtok_usd: amount,
                output_per_mtok_usd: amount,
                per_request_usd: amount,
                per_hour_usd: None,
            };
            let usage = Usage {
                input_tokens: input,
                cached_input_tokens: cached,
                output_tokens: output,
                ..Usage::default()
            };
            if let Ok(total) = cost(&price, &usage) {
                prop_assert!(!total.is_sign_negative());
            }
        }
    }
}
