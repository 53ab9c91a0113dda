//! `evalctl check`: everything that can be wrong, without a request.

use std::fmt::Write as _;

use rust_decimal::Decimal;

use crate::cli::CheckArgs;
use crate::commands::exit::CommandError;
use crate::commands::plan::{self, Options, Planned};
use crate::commands::{World, pricing, print, source, weights};
use crate::gate::{self, Bar};
use crate::price;
use crate::stats;
use crate::types::{Price, Usage};
use crate::util::text::visible;

/// Discordance that the sizes are worked out for: the share of samples that two models mark differently.
const DISCORDANCE: [f64; 2] = [0.05, 0.10];

/// Carries out `evalctl check`.
///
/// # Errors
/// All faults of the suite, its files and its variables, together.
pub fn check(args: &CheckArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let source = source(&args.suite)?;
    let options = Options {
        candidates: args.choice.candidates.clone(),
        limit: args.choice.limit,
        is_live: true,
        is_stored: false,
        is_priced: false,
    };
    let mut plan = plan::prepare(&source, &options, world.environment)?;
    weights::start(&mut plan, true, world)?.end();
    let mut out = String::new();
    let samples = plan.cases.len() as u64;
    line(&mut out, &format!("{}: nothing is wrong with it", visible(&args.suite.display().to_string())));
    let repeats = plan.suite.repeats;
    line(
        &mut out,
        &format!(
            "  samples     {samples}{}",
            if repeats > 1 { format!(" × {repeats} repeats") } else { String::new() }
        ),
    );
    for candidate in &plan.candidates {
        let role = if plan.suite.baseline.as_deref() == Some(&*candidate.id) { " (baseline)" } else { "" };
        let tasks = samples * u64::from(repeats);
        line(
            &mut out,
            &format!(
                "  candidate   {}{role}: {}, {tasks} requests",
                visible(&candidate.id),
                visible(&candidate.provider)
            ),
        );
        line(&mut out, &format!("    price     {}", visible(&pricing::in_words(&candidate.pricing))));
        if let Some(estimate) = estimate(candidate, samples, repeats) {
            line(&mut out, &format!("    estimate  {estimate}"));
        }
        for loss in &candidate.losses {
            line(&mut out, &format!("    cannot be told: {}", visible(loss)));
        }
    }
    let targets = plan.cases.targets.iter().filter(|target| target.is_none()).count();
    if targets > 0 {
        line(
            &mut out,
            &format!("  note        {targets} samples have no target: scorers that need one leave them unscored"),
        );
    }
    for (index, spec) in plan.suite.gates.iter().enumerate() {
        let words = gate::in_words(spec, plan.suite.baseline.as_deref());
        line(&mut out, &format!("  gate {:<6} {}", index + 1, visible(&words)));
        if let Some(power) = power(Bar::of(spec), plan.metrics.iter().any(|metric| metric.name == spec.metric), samples)
        {
            for part in power {
                line(&mut out, &format!("              {part}"));
            }
        }
    }
    if plan.suite.gates.is_empty() {
        line(&mut out, "  gates       none: the run will be a measurement");
    }
    print(world, out.as_bytes())
}

/// What a service will take, at most: without a tokenizer, a third of the bytes as prompt tokens, and the bound of each
/// answer.
fn estimate(candidate: &Planned, samples: u64, repeats: u32) -> Option<String> {
    let (input, output) = candidate.tokens;
    if input == 0 {
        return None;
    }
    let times = u64::from(repeats);
    let (input, output) = (input.saturating_mul(times), output.saturating_mul(times));
    let usage = Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() };
    let price = candidate.pricing.price().ok();
    // By the plain prices: tiers go by the tokens of one request, and few are as long as that.
    let cost = price.and_then(|price| {
        let per_request =
            price.per_request_usd.unwrap_or_default().checked_mul(Decimal::from(samples.saturating_mul(times)))?;
        let tokens = price::cost(&Price { per_request_usd: None, tiers: Vec::new(), ..price.clone() }, &usage);
        match tokens {
            Ok(tokens) => tokens.checked_add(per_request),
            Err(_) => Some(per_request).filter(|amount| !amount.is_zero()),
        }
    });
    let dollars = cost.map_or_else(String::new, |cost| format!(", ${}", cost.round_dp(4).normalize()));
    Some(format!("about {input} prompt tokens (a third of the bytes), at most {output} of answers{dollars}"))
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

/// How many samples a non-inferiority gate on marks needs when the two models are equally good.
fn power(bar: Option<Bar>, is_mark: bool, samples: u64) -> Option<[String; 2]> {
    let (Some(Bar::NonInferior { margin }), true) = (bar, is_mark) else { return None };
    let needed = |discordance| stats::samples_non_inferior(discordance, 0.0, margin, gate::ALPHA, 0.8);
    let [low, high] = DISCORDANCE.map(needed);
    let (low, high) = (low?, high?);
    let verdict = if samples >= high {
        "there are enough"
    } else if samples >= low {
        "there may be too few"
    } else {
        "there are probably too few"
    };
    Some([
        format!("needs about {low} samples if the models differ on 5 % of them,"),
        format!("{high} if on 10 %: {verdict} ({samples})"),
    ])
}
