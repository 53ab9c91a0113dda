//! `evalctl check`: everything that can be wrong, without a request.

mod found;
mod gates;
mod lines;

use crate::cli::CheckArgs;
use crate::commands::check::lines::entry;
use crate::commands::exit::CommandError;
use crate::commands::plan::{self, Options, Planned};
use crate::commands::{World, estimate, pricing, print, source, weights};
use crate::suite::spec::{self, CandidateSpec, Structured};
use crate::types::{Ability, Faults};
use crate::util::text::visible;

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
    out.push_str(&format!("{}: no problems found\n", visible(&args.suite.display().to_string())));
    let repeats = plan.suite.repeats;
    let repeated = if repeats > 1 { format!(" × {repeats} repeats") } else { String::new() };
    entry(&mut out, "  samples", &format!("{samples}{repeated}"));
    let mut joins = plan.found.joins.iter();
    for ((candidate, spec), estimate) in plan.candidates.iter().zip(&plan.suite.candidates).zip(&estimates) {
        let role = if plan.suite.baseline.as_deref() == Some(&*candidate.id) { " (baseline)" } else { "" };
        let tasks = samples * u64::from(repeats);
        let (id, provider) = (visible(&candidate.id), visible(&candidate.provider));
        entry(&mut out, "  candidate", &format!("{id}{role}: {provider}, {tasks} requests"));
        if let Some(Some(facts)) = joins.next() {
            found::join(&mut out, facts);
        }
        entry(&mut out, "    price", &visible(&pricing::in_words(&candidate.pricing)));
        if let Some(estimate) = estimate {
            entry(&mut out, "    estimate", &estimate.in_words());
        }
        if let Some(words) = structured(candidate, spec, plan.suite.output.is_some()) {
            entry(&mut out, "    schema", &words);
        }
        for loss in &candidate.losses {
            entry(&mut out, "    note", &format!("not expressible: {}", visible(loss)));
        }
    }
    found::found(&mut out, &plan.found);
    gates::gates(&mut out, &plan);
    print(world, out.as_bytes())
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
