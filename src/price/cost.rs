//! What one answer cost by its tokens.

use rust_decimal::Decimal;

use crate::types::{Price, Rates, Usage};

/// Why an answer has no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCost {
    /// Nothing is priced.
    #[error("no price given")]
    NoPrice,
    /// Only machine time is priced, which one answer does not have by itself.
    #[error("the price is per hour of machine time, which belongs to no single answer")]
    PerHour,
    /// Input is priced, or decides about the tier, but its tokens are unknown.
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
    /// The usage contradicts itself.
    #[error("the parts of the input (cached, written to the cache, sound) have more tokens than the whole")]
    MorePartsThanInput,
    /// The usage contradicts itself.
    #[error("the parts of the output (reasoning, sound) have more tokens than the whole")]
    MorePartsThanOutput,
    /// The usage contradicts itself.
    #[error("the service reported more tokens written to the cache for an hour than written at all")]
    MoreHourlyWritesThanWrites,
    /// Sound and what is cached have prices of their own, and the counts do not say how far they are the same tokens.
    #[error("the service did not say how much of the sound in the input was cached")]
    SoundMayBeCached,
    /// The exact amount does not fit into a decimal of 28 digits.
    #[error("the cost has more digits than can be kept exactly")]
    TooManyDigits,
}

/// Dollars that one answer cost: each kind of token at its price per million, plus the price per request. Exact, never
/// rounded: 1 000 input tokens at 0.15 and 500 output tokens at 0.60 give 0.00045.
///
/// (n_in − n_cr − n_cw)·p_in + n_cr·p_cr + n_cw·p_cw + (n_out − n_rsn)·p_out + n_rsn·p_rsn + fee, where reads from the cache
/// (cr), writes to it (cw) and sound are parts of the input, and reasoning (rsn) and sound parts of the output. A part
/// without a price of its own is not taken out of the whole, so that reasoning, which nearly every service bills as other
/// output, is paid once. The prices are those of the tier with the highest bound below n_in, for all tokens alike.
///
/// A part whose tokens were not reported counts as none: services leave out what is 0. Where one keeps silent about more,
/// cached input makes this too much, and writes, sound and reasoning with dearer prices of their own too little. A part
/// whose price is absent or 0 costs nothing, and its tokens need not be reported. A price per hour is
/// not counted here, see [`crate::price::machine_time`]; for batches see [`Price::batch`].
///
/// # Errors
/// [`NoCost`]: when nothing but machine time is priced, when a priced count was not reported or contradicts another, and
/// when the amount cannot be kept exactly.
pub fn cost(price: &Price, usage: &Usage) -> Result<Decimal, NoCost> {
    let is_by_tokens = price.rates() != Rates::default() || !price.tiers.is_empty();
    if !is_by_tokens && price.per_request_usd.is_none() {
        return Err(if price.per_hour_usd.is_some() { NoCost::PerHour } else { NoCost::NoPrice });
    }
    let rates = rates(price, usage)?;
    let mut total = Exact::default();
    for (amount, tokens) in input_parts(&rates, usage)?.into_iter().chain(output_parts(&rates, usage)?) {
        total.add_per_million(amount, tokens)?;
    }
    total.add(price.per_request_usd.unwrap_or_default(), 1, 0)?;
    total.finish()
}

/// The prices of tokens that hold for a request of this length.
fn rates(price: &Price, usage: &Usage) -> Result<Rates, NoCost> {
    if price.tiers.is_empty() {
        return Ok(price.rates());
    }
    let input = usage.input_tokens.ok_or(NoCost::NoInputTokens)?;
    let reached = price.tiers.iter().filter(|tier| tier.above_input_tokens < input);
    let tier = reached.max_by_key(|tier| tier.above_input_tokens);
    Ok(tier.map_or_else(|| price.rates(), |tier| tier.rates()))
}

/// Whether something is to be paid at all, so that its tokens must be known.
fn is_charged(amount: Option<Decimal>) -> bool {
    amount.is_some_and(|amount| !amount.is_zero())
}

/// The tokens of a part that is taken out of the whole: those with a price of their own.
fn part(amount: Option<Decimal>, tokens: Option<u64>) -> u64 {
    amount.and(tokens).unwrap_or(0)
}

/// Prices of the input's parts, with their tokens.
fn input_parts(rates: &Rates, usage: &Usage) -> Result<[(Decimal, u64); 5], NoCost> {
    let Rates { input, cached, cache_write, cache_write_1h, audio_input, .. } = *rates;
    if is_charged(input) && usage.input_tokens.is_none() {
        return Err(NoCost::NoInputTokens);
    }
    if !is_charged(input) && is_charged(cached) && usage.cached_input_tokens.is_none() {
        return Err(NoCost::NoCachedInputTokens);
    }
    let read = part(cached, usage.cached_input_tokens);
    let hourly = part(cache_write_1h, usage.cache_write_1h_tokens);
    let written = match usage.cache_write_tokens {
        Some(all) => all.checked_sub(hourly).ok_or(NoCost::MoreHourlyWritesThanWrites)?,
        None => 0,
    };
    let written = part(cache_write, Some(written));
    let sound = part(audio_input, usage.audio_input_tokens);
    if sound > 0 && (read > 0 || hourly > 0 || written > 0) {
        return Err(NoCost::SoundMayBeCached);
    }
    let rest = match usage.input_tokens {
        None => 0,
        Some(all) => {
            let unread = all.checked_sub(read).ok_or(NoCost::MoreCachedThanInput)?;
            let less = |tokens: u64, part| tokens.checked_sub(part);
            let rest = less(unread, hourly).and_then(|rest| less(rest, written)).and_then(|rest| less(rest, sound));
            rest.ok_or(NoCost::MorePartsThanInput)?
        }
    };
    Ok([
        (input.unwrap_or_default(), rest),
        (cached.unwrap_or_default(), read),
        (cache_write.unwrap_or_default(), written),
        (cache_write_1h.unwrap_or_default(), hourly),
        (audio_input.unwrap_or_default(), sound),
    ])
}

/// Prices of the output's parts, with their tokens.
fn output_parts(rates: &Rates, usage: &Usage) -> Result<[(Decimal, u64); 3], NoCost> {
    let Rates { output, reasoning, audio_output, .. } = *rates;
    if is_charged(output) && usage.output_tokens.is_none() {
        return Err(NoCost::NoOutputTokens);
    }
    let thought = part(reasoning, usage.reasoning_tokens);
    let sound = part(audio_output, usage.audio_output_tokens);
    let rest = match usage.output_tokens {
        None => 0,
        Some(all) => {
            let rest = all.checked_sub(thought).and_then(|rest| rest.checked_sub(sound));
            rest.ok_or(NoCost::MorePartsThanOutput)?
        }
    };
    Ok([
        (output.unwrap_or_default(), rest),
        (reasoning.unwrap_or_default(), thought),
        (audio_output.unwrap_or_default(), sound),
    ])
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
    use crate::types::Tier;

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

    /// Claude Sonnet 4.5 as listed in July 2026, below 200 000 tokens.
    fn sonnet() -> Price {
        Price {
            input_per_mtok_usd: dollars("3"),
            cached_input_per_mtok_usd: dollars("0.30"),
            cache_write_per_mtok_usd: dollars("3.75"),
            cache_write_1h_per_mtok_usd: dollars("6"),
            output_per_mtok_usd: dollars("15"),
            ..Price::default()
        }
    }

    #[test]
    fn writes_to_the_cache_are_paid_by_how_long_they_are_kept() {
        let used = Usage {
            cache_write_tokens: Some(2500),
            cache_write_1h_tokens: Some(500),
            ..usage(10_000, Some(6000), 700)
        };
        // 1500 · 3 + 6000 · 0.30 + 2000 · 3.75 + 500 · 6 + 700 · 15
        // = 4500 + 1800 + 7500 + 3000 + 10500 = 27300 millionths.
        assert_eq!(total(&sonnet(), &used), "0.0273");
        // Five minutes only: 4500 + 1800 + 2500 · 3.75 + 10500 = 26175.
        let five_minutes = Price { cache_write_1h_per_mtok_usd: None, ..sonnet() };
        assert_eq!(total(&five_minutes, &used), "0.026175");
        assert_eq!(total(&sonnet(), &Usage { cache_write_1h_tokens: None, ..used }), "0.026175");
        // Only the hour has a price: the other writes are plain input, (1500 + 2000) · 3 + 1800 + 3000 + 10500 = 25800.
        let hour = Price { cache_write_per_mtok_usd: None, ..sonnet() };
        assert_eq!(total(&hour, &used), "0.0258");
        // No price of its own: 4000 · 3 + 1800 + 10500 = 24300.
        let none = Price { cache_write_1h_per_mtok_usd: None, ..hour };
        assert_eq!(total(&none, &used), "0.0243");
        let contradiction = Usage { cache_write_tokens: Some(499), ..used };
        assert_eq!(cost(&sonnet(), &contradiction), Err(NoCost::MoreHourlyWritesThanWrites));
        let contradiction = Usage { cache_write_tokens: Some(4001), ..used };
        assert_eq!(cost(&sonnet(), &contradiction), Err(NoCost::MorePartsThanInput));
    }

    #[test]
    fn reasoning_is_paid_once() {
        let used = Usage { reasoning_tokens: Some(600), ..usage(100, None, 1000) };
        let within = Price { input_per_mtok_usd: dollars("1"), output_per_mtok_usd: dollars("4"), ..Price::default() };
        // 100 · 1 + 1000 · 4: reasoning is inside the output.
        assert_eq!(total(&within, &used), "0.0041");
        // 100 · 1 + 400 · 4 + 600 · 8 = 100 + 1600 + 4800 = 6500 millionths.
        let apart = Price { reasoning_per_mtok_usd: dollars("8"), ..within };
        assert_eq!(total(&apart, &used), "0.0065");
        assert_eq!(total(&apart, &usage(100, None, 1000)), "0.0041");
        let contradiction = Usage { reasoning_tokens: Some(1001), ..used };
        assert_eq!(cost(&apart, &contradiction), Err(NoCost::MorePartsThanOutput));
    }

    #[test]
    fn a_tier_switches_all_prices() {
        let tier = |above, input, cached, output| Tier {
            above_input_tokens: above,
            input_per_mtok_usd: dollars(input),
            cached_input_per_mtok_usd: dollars(cached),
            output_per_mtok_usd: dollars(output),
            ..Tier::default()
        };
        let price = Price {
            input_per_mtok_usd: dollars("1.25"),
            cached_input_per_mtok_usd: dollars("0.125"),
            output_per_mtok_usd: dollars("10"),
            tiers: vec![tier(200_000, "2.5", "0.25", "15"), tier(500_000, "5", "0.5", "30")],
            ..Price::default()
        };
        // 200000 · 1.25 + 1000 · 10 = 260000 millionths: at the bound the tier does not hold yet.
        assert_eq!(total(&price, &usage(200_000, None, 1000)), "0.26");
        // 150000 · 2.5 + 50001 · 0.25 + 1000 · 15 = 375000 + 12500.25 + 15000 = 402500.25 millionths.
        assert_eq!(total(&price, &usage(200_001, Some(50_001), 1000)), "0.40250025");
        // 600000 · 5 + 1000 · 30 = 3030000 millionths.
        assert_eq!(total(&price, &usage(600_000, None, 1000)), "3.03");
        let unknown = Usage { input_tokens: None, ..usage(0, None, 1) };
        assert_eq!(cost(&price, &unknown), Err(NoCost::NoInputTokens));
    }

    #[test]
    fn a_batch_costs_its_factor() {
        let price = Price { batch_factor: dollars("0.5"), per_request_usd: dollars("0.001"), ..small() };
        assert_eq!(total(&price, &usage(1000, None, 500)), "0.00145");
        // 0.00045 · 0.5 + 0.001.
        assert_eq!(total(&price.batch().unwrap(), &usage(1000, None, 500)), "0.001225");
    }

    #[test]
    fn sound_has_its_own_prices() {
        let price = Price {
            input_per_mtok_usd: dollars("2.5"),
            audio_input_per_mtok_usd: dollars("40"),
            output_per_mtok_usd: dollars("10"),
            audio_output_per_mtok_usd: dollars("80"),
            ..Price::default()
        };
        let used =
            Usage { audio_input_tokens: Some(250), audio_output_tokens: Some(200), ..usage(1000, Some(100), 300) };
        // 750 · 2.5 + 250 · 40 + 100 · 10 + 200 · 80 = 1875 + 10000 + 1000 + 16000 = 28875 millionths.
        assert_eq!(total(&price, &used), "0.028875");
        // Which of the cached tokens were sound, nobody said.
        let cached = Price { cached_input_per_mtok_usd: dollars("1.25"), ..price };
        assert_eq!(cost(&cached, &used), Err(NoCost::SoundMayBeCached));
        // 900 · 2.5 + 100 · 1.25 + 100 · 10 + 200 · 80 = 2250 + 125 + 1000 + 16000 = 19375 millionths.
        let text_in = Usage { audio_input_tokens: Some(0), ..used };
        assert_eq!(total(&cached, &text_in), "0.019375");
    }

    /// Rates in millionths of a dollar per million tokens; the fifth, of sound in the input, is left out.
    fn priced(rates: [u32; 8]) -> Price {
        let [input, cached, write, hourly, _, output, reasoning, audio] =
            rates.map(|rate| Some(Decimal::new(i64::from(rate), 6)));
        Price {
            input_per_mtok_usd: input,
            cached_input_per_mtok_usd: cached,
            cache_write_per_mtok_usd: write,
            cache_write_1h_per_mtok_usd: hourly,
            output_per_mtok_usd: output,
            reasoning_per_mtok_usd: reasoning,
            audio_output_per_mtok_usd: audio,
            ..Price::default()
        }
    }

    /// A usage with these disjoint parts, in the same order.
    fn parts(counts: [u64; 8]) -> Usage {
        let [plain, read, written, hourly, _, said, thought, spoken] = counts;
        Usage {
            input_tokens: Some(plain + read + written + hourly),
            cached_input_tokens: Some(read),
            cache_write_tokens: Some(written + hourly),
            cache_write_1h_tokens: Some(hourly),
            audio_input_tokens: None,
            output_tokens: Some(said + thought + spoken),
            reasoning_tokens: Some(thought),
            audio_output_tokens: Some(spoken),
            total_tokens: None,
        }
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
        fn more_tokens_never_cost_less(
            rates in prop::array::uniform8(0_u32..10_000_000), counts in prop::array::uniform8(0_u64..100_000), more in 0_u64..1000
        ) {
            let price = priced(rates);
            let before = parts(counts);
            // More of what has no part of its own, on either side.
            let longer = Usage { output_tokens: before.output_tokens.map(|tokens| tokens + more), ..before };
            let wider = Usage { input_tokens: before.input_tokens.map(|tokens| tokens + more), ..before };
            let cost_before = cost(&price, &before).unwrap();
            prop_assert!(cost(&price, &longer).unwrap() >= cost_before);
            prop_assert!(cost(&price, &wider).unwrap() >= cost_before);
        }

        #[test]
        fn every_part_is_paid_once_and_to_the_last_digit(
            rates in prop::array::uniform8(0_u32..10_000_000), counts in prop::array::uniform8(0_u64..100_000)
        ) {
            let [input, cached, write, hourly, _, output, reasoning, audio] = rates.map(i128::from);
            let [plain, read, written, written_1h, _, said, thought, spoken] = counts.map(i128::from);
            let exact = plain * input + read * cached + written * write + written_1h * hourly
                + said * output + thought * reasoning + spoken * audio;
            // Millionths of a dollar per million tokens.
            prop_assert_eq!(cost(&priced(rates), &parts(counts)), Ok(Decimal::from_i128_with_scale(exact, 12).normalize()));
        }

        #[test]
        fn no_usage_panics(
            counts in prop::array::uniform8(prop::option::of(prop_oneof![0_u64..10, any::<u64>()])),
            amounts in prop::array::uniform8(prop::option::of((any::<i64>(), 0_u32..=28))), bound in 0_u64..20
        ) {
            let amounts = amounts.map(|amount| amount.map(|(mantissa, scale)| Decimal::from_i128_with_scale(i128::from(mantissa).abs(), scale)));
            let [input, cached, write, hourly, sound, output, reasoning, spoken] = amounts;
            let tier = Tier {
                above_input_tokens: bound,
                input_per_mtok_usd: output,
                output_per_mtok_usd: input,
                reasoning_per_mtok_usd: cached,
                ..Tier::default()
            };
            let price = Price {
                input_per_mtok_usd: input,
                cached_input_per_mtok_usd: cached,
                cache_write_per_mtok_usd: write,
                cache_write_1h_per_mtok_usd: hourly,
                audio_input_per_mtok_usd: sound,
                output_per_mtok_usd: output,
                reasoning_per_mtok_usd: reasoning,
                audio_output_per_mtok_usd: spoken,
                per_request_usd: input,
                per_hour_usd: None,
                replicas: None,
                tiers: if bound < 10 { vec![tier] } else { Vec::new() },
                batch_factor: cached,
            };
            let [n_in, n_cached, n_write, n_hourly, n_sound, n_out, n_reasoning, n_spoken] = counts;
            let usage = Usage {
                input_tokens: n_in,
                cached_input_tokens: n_cached,
                cache_write_tokens: n_write,
                cache_write_1h_tokens: n_hourly,
                audio_input_tokens: n_sound,
                output_tokens: n_out,
                reasoning_tokens: n_reasoning,
                audio_output_tokens: n_spoken,
                total_tokens: None,
            };
            for price in [Some(price.clone()), price.batch()].into_iter().flatten() {
                if let Ok(total) = cost(&price, &usage) {
                    prop_assert!(!total.is_sign_negative());
                }
            }
        }
    }
}
