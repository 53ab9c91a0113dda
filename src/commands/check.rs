//! `evalctl check`: everything that can be wrong, without a request.

use std::fmt::Write as _;

use crate::cli::CheckArgs;
use crate::commands::exit::CommandError;
use crate::commands::plan::{self, Options, Planned};
use crate::commands::{World, estimate, pricing, print, source, weights};
use crate::gate::{self, Bar};
use crate::stats;
use crate::suite::spec::{self, CandidateSpec, Structured};
use crate::types::{Ability, Faults};
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
        ..Options::default()
    };
    let mut plan = plan::prepare(&source, &options, world.environment)?;
    weights::start(&mut plan, true, world)?.end();
    let estimates = estimate::of(&plan).map_err(Faults::from)?;
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
    for ((candidate, spec), estimate) in plan.candidates.iter().zip(&plan.suite.candidates).zip(&estimates) {
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
        if let Some(estimate) = estimate {
            line(&mut out, &format!("    estimate  {}", estimate.in_words()));
        }
        if let Some(words) = structured(candidate, spec, plan.suite.output.is_some()) {
            line(&mut out, &format!("    schema    {words}"));
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

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn ability_of(structured: Structured) -> Ability {
    match structured {
        Structured::JsonObject => Ability::JsonObject,
        Structured::Tool => Ability::SchemaAsTool,
        Structured::Prompt => Ability::SchemaInWords,
        Structured::Auto | Structured::JsonSchema | Structured::Off => Ability::JsonSchema,
    }
}

/// How a service is asked for the schema, and who says that it can be.
fn structured(candidate: &Planned, spec: &CandidateSpec, has_schema: bool) -> Option<String> {
    let dialect = candidate.dialect.as_ref().filter(|_| has_schema)?;
    let way = spec::name_of(dialect.manner().structured);
    Some(match (&candidate.probe, spec.structured == Structured::Auto) {
        (_, false) => format!("`{way}`, as the suite says"),
        (Some(probe), true) if probe.does(ability_of(dialect.manner().structured)) == Some(true) => {
            format!("`{way}`, as the probe of {} found", probe.asked)
        }
        (Some(probe), true) => format!("`{way}`; the probe of {} saw no way to hold", probe.asked),
        (None, true) => format!("`{way}`, as the service describes it; `evalctl probe` asks it"),
    })
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
