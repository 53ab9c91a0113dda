//! `evalctl probe`: what each endpoint of a suite honours, found out by asking.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rust_decimal::Decimal;

use crate::cli::ProbeArgs;
use crate::commands::exit::CommandError;
use crate::commands::plan::{self, Options, Pace, Plan, Planned};
use crate::commands::questions::{self, Given, Question};
use crate::commands::services::{Endpoint, structured_by};
use crate::commands::{World, print, source};
use crate::engine::{RetryRule, jitter};
use crate::price;
use crate::provider::{Attempted, Dialect, Outgoing, Refusal, collect};
use crate::store::ProbeFile;
use crate::suite::spec::{self, Api};
use crate::types::{Ability, Failure, Finding, Probe, Response, Shown};
use crate::util::clock::{self, Clock};
use crate::util::secret::Redactor;
use crate::util::text::{shorten, visible};

/// Repetitions of a question that the service was too busy for.
const RETRIES: u32 = 3;

/// Time that a question may take: a suite's own limit may be minutes, and a probe is waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// Questions in a row that are not answered in time before the others are not asked any more.
const PATIENCE: u32 = 2;

/// Characters of what a service said that are kept and shown.
const DETAIL: usize = 160;

/// Columns of the table before what was seen.
const NAME: usize = 24;
const SHOWN: usize = 10;

/// Carries out `evalctl probe`.
///
/// # Errors
/// Everything that is wrong with the suite, before anything is sent; when the file of probes cannot be written.
pub fn probe(args: &ProbeArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let source = source(&args.suite)?;
    let options = Options {
        candidates: args.candidates.clone(),
        is_live: true,
        is_unjudged: true,
        probes: Some(Vec::new()),
        ..Options::default()
    };
    let plan = plan::prepare(&source, &options, world.environment)?;
    let is_wanted = |candidate: &&Planned| {
        args.candidates.is_empty() || args.candidates.iter().any(|wanted| **wanted == *candidate.id)
    };
    let services: Vec<(&Planned, &Endpoint)> = plan
        .candidates
        .iter()
        .filter(is_wanted)
        .filter_map(|candidate| Some((candidate, candidate.endpoint.as_ref()?)))
        .collect();
    if services.is_empty() {
        return Err(CommandError::usage("there is no service among the candidates to probe", "name one, or none"));
    }
    // What is paid for must have a place to stay.
    let file = ProbeFile::take(&plan::suite_folder(&plan.suite.name))
        .map_err(|error| CommandError::usage(error.to_string(), "make the folder one that can be written to"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Internal(error.to_string()))?;
    let asked = services.iter().map(|(candidate, endpoint)| Asking::new(candidate, endpoint, &plan).all());
    let found: Vec<Result<Probe, String>> = runtime.block_on(join_all(asked));
    let probes: Vec<Probe> = found.iter().filter_map(|found| found.as_ref().ok().cloned()).collect();
    if args.json {
        let json = serde_json::to_string_pretty(&probes).map_err(|error| CommandError::Internal(error.to_string()))?;
        print(world, format!("{json}\n").as_bytes())?;
    } else {
        let mut out = String::new();
        for ((candidate, endpoint), found) in services.iter().zip(&found) {
            if let Ok(probe) = found {
                table(&mut out, candidate, endpoint, probe);
            }
        }
        print(world, out.as_bytes())?;
    }
    for ((candidate, _), found) in services.iter().zip(&found) {
        if let Err(why) = found {
            let _ = writeln!(world.err, "`{}` could not be probed: {}", visible(&candidate.id), visible(why));
        }
    }
    if !probes.is_empty() {
        let path = file.write(&probes)?;
        let _ = writeln!(world.err, "kept in {}: `structured: auto` goes by it", visible(&path.display().to_string()));
    }
    Ok(if probes.len() == found.len() { 0 } else { 3 })
}

/// One endpoint while it is asked.
struct Asking<'a> {
    candidate: &'a Planned,
    endpoint: &'a Endpoint,
    redactor: &'a Redactor,
    seed: u64,
    clock: Clock,
    probe: Probe,
    /// Dollars so far; `None` once an answer's cannot be told.
    cost_usd: Option<Decimal>,
}

impl<'a> Asking<'a> {
    fn new(candidate: &'a Planned, endpoint: &'a Endpoint, plan: &'a Plan) -> Asking<'a> {
        let probe = Probe {
            endpoint: endpoint.name(),
            asked: clock::rfc3339(clock::wall()),
            findings: Vec::new(),
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: None,
        };
        let cost_usd = Some(Decimal::ZERO);
        Asking {
            candidate,
            endpoint,
            redactor: &plan.redactor,
            seed: plan.suite.seed,
            clock: Clock::new(),
            probe,
            cost_usd,
        }
    }

    /// Asks everything, one question after the other; the error is why it cannot be asked at all.
    async fn all(mut self) -> Result<Probe, String> {
        let (api, params) = (self.endpoint.api(), Arc::clone(&self.candidate.params));
        let mut bound = None;
        for question in questions::bounds(api, &params) {
            match self.ask(&question).await {
                Ok(findings) => self.note(findings),
                // Perhaps it is the field that it does not know.
                Err(failure @ Failure::Status { status: 400 | 422, .. }) => self.note(refused(&question, &failure)),
                // Who does not answer the plainest question will not answer the others.
                Err(failure) => return Err(failure.to_string()),
            }
            if self.probe.does(Ability::MaxTokens) == Some(true) {
                bound = question.max_tokens_field;
                break;
            }
        }
        // Only chat completions have several names for it; elsewhere what is refused is something else.
        let is_refused = self.probe.finding(Ability::MaxTokens).is_some_and(|finding| finding.shown == Shown::Refused);
        let is_bounded = !(is_refused && api == Api::Chat);
        let mut hung = 0;
        for (index, question) in questions::others(api, &params, bound, is_bounded).iter().enumerate() {
            let findings =
                if hung < PATIENCE { self.ask(question).await } else { Err(Failure::Timeout { after: LONGEST }) };
            hung = if matches!(findings, Err(Failure::Timeout { .. })) { hung + 1 } else { 0 };
            match findings {
                Ok(findings) => self.note(findings),
                Err(failure) if index == 0 => return Err(failure.to_string()),
                Err(failure) => self.note(refused(question, &failure)),
            }
        }
        if self.probe.finding(Ability::Logprobs).is_none() {
            let detail = "this dialect has none".to_owned();
            self.probe.findings.push(Finding { ability: Ability::Logprobs, shown: Shown::Unsayable, detail });
        }
        self.probe.cost_usd = self.cost_usd;
        Ok(self.probe)
    }

    /// Keeps findings, in the place of what was found before of the same.
    fn note(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.probe.findings.retain(|known| known.ability != finding.ability);
            self.probe.findings.push(finding);
        }
    }

    /// Puts one question as often as it wants; the error is the failure of the first that was not answered.
    async fn ask(&mut self, question: &Question) -> Result<Vec<Finding>, Failure> {
        let dialect = self.endpoint.dialect(question.structured, question.max_tokens_field);
        let finding = |ability: &Ability, shown, detail: &str| Finding {
            ability: *ability,
            shown,
            detail: shorten(detail, DETAIL),
        };
        let (_, losses) = dialect.encode(&question.request);
        if let Some(loss) = losses.into_words().first() {
            let detail = format!("cannot be said: {loss}");
            return Ok(question.abilities.iter().map(|ability| finding(ability, Shown::Unsayable, &detail)).collect());
        }
        let is_streamed = dialect.manner().is_streamed;
        let mut given = Vec::new();
        for _ in 0..question.times {
            given.push(
                self.answer(question, self.endpoint.dialect(question.structured, question.max_tokens_field)).await?,
            );
        }
        let judged = question.abilities.iter().map(|ability| {
            if !is_streamed && matches!(ability, Ability::Streaming | Ability::StreamedUsage) {
                return finding(ability, Shown::Unclear, "the suite asks for answers in one piece");
            }
            let (shown, detail) = questions::judge(question, *ability, &given);
            finding(ability, shown, &detail)
        });
        Ok(judged.collect())
    }

    async fn answer(&mut self, question: &Question, dialect: Box<dyn Dialect>) -> Result<Given, Failure> {
        let provider = self.endpoint.provider(dialect).map_err(|detail| Failure::Protocol { detail })?;
        let Pace { timeout, rates, .. } = self.candidate.pace;
        let rule = RetryRule::new(RETRIES);
        let mut failed = 0;
        loop {
            if let (Some(rate), true) = (rates.requests_per_min, self.probe.requests > 0) {
                tokio::time::sleep(Duration::from_secs(60).div_f64(f64::from(rate))).await;
            }
            self.probe.requests += 1;
            let attempted = collect(
                &provider,
                &Outgoing::of(&provider, &question.request),
                timeout.min(LONGEST),
                self.clock,
                self.redactor,
            )
            .await;
            let Attempted { outcome, timing, is_begun, .. } = attempted;
            let refusal = match outcome {
                Ok(response) => {
                    self.count(&response);
                    let pieces = timing.map(|timing| timing.chunks.len()).filter(|pieces| *pieces > 0);
                    return Ok(Given { response, pieces });
                }
                Err(refusal) => refusal,
            };
            if is_begun || refusal.failure.may_be_billed() {
                self.cost_usd = None;
            }
            if let Failure::Timeout { .. } = refusal.failure {
                return Err(refusal.failure);
            }
            failed += 1;
            let digest = self.candidate.identity;
            match rule.wait(failed, &refusal, is_begun, jitter(self.seed, digest, failed)) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    let Refusal { failure, .. } = refusal;
                    return Err(failure);
                }
            }
        }
    }

    fn count(&mut self, response: &Response) {
        let Probe { input_tokens, output_tokens, .. } = &mut self.probe;
        *input_tokens = input_tokens.saturating_add(response.usage.input_tokens.unwrap_or(0));
        *output_tokens = output_tokens.saturating_add(response.usage.output_tokens.unwrap_or(0));
        let cost = response.cost_usd.or_else(|| {
            let price = self.candidate.pricing.price().ok()?;
            price::cost(price, &response.usage).ok()
        });
        self.cost_usd = self.cost_usd.and_then(|sum| sum.checked_add(cost?));
    }
}

/// What a failure shows: a status of the 400s says that the question itself is refused.
fn refused(question: &Question, failure: &Failure) -> Vec<Finding> {
    let shown = match failure {
        Failure::Status { status: 400..=499, .. } => Shown::Refused,
        _ => Shown::Unclear,
    };
    let detail = shorten(&failure.to_string(), DETAIL);
    question.abilities.iter().map(|ability| Finding { ability: *ability, shown, detail: detail.clone() }).collect()
}

fn name_of(ability: Ability) -> &'static str {
    match ability {
        Ability::SystemMessage => "system message",
        Ability::Streaming => "streaming",
        Ability::StreamedUsage => "usage in the stream",
        Ability::JsonSchema => "json_schema",
        Ability::JsonObject => "json_object",
        Ability::SchemaAsTool => "schema as a tool",
        Ability::SchemaInWords => "schema in words",
        Ability::ToolChoice => "tool_choice",
        Ability::ParallelCalls => "parallel tool calls",
        Ability::Logprobs => "logprobs",
        Ability::Seed => "seed",
        Ability::Stop => "stop",
        Ability::MaxTokens => "bound of the answer",
    }
}

fn shown_as(shown: Shown) -> &'static str {
    match shown {
        Shown::Yes => "yes",
        Shown::No => "no",
        Shown::Refused => "refused",
        Shown::Unsayable => "–",
        Shown::Unclear => "unclear",
    }
}

fn table(out: &mut String, candidate: &Planned, endpoint: &Endpoint, probe: &Probe) {
    if !out.is_empty() {
        out.push('\n');
    }
    let cost = probe.cost_usd.map_or_else(String::new, |cost| format!(", ${}", cost.round_dp(6).normalize()));
    let Probe { requests, input_tokens, output_tokens, .. } = probe;
    let _ = writeln!(out, "{}: {}", visible(&candidate.id), visible(&candidate.provider));
    let _ = writeln!(out, "  {requests} requests, {input_tokens} tokens in and {output_tokens} out{cost}");
    for Finding { ability, shown, detail } in &probe.findings {
        let name = name_of(*ability);
        let detail = shorten(&visible(detail), 72 - NAME - SHOWN);
        let _ = writeln!(out, "  {name:<NAME$}{:<SHOWN$}{detail}", shown_as(*shown));
    }
    let (by_probe, is_seen) = structured_by(Some(probe), endpoint.described());
    let doubt = if is_seen { "" } else { " (no way was seen to hold)" };
    let _ = writeln!(out, "  {:<NAME$}{}{doubt}", "structured: auto", spec::name_of(by_probe));
}
