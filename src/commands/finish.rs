//! Figures, judgements and files at the end of a run.

use std::path::Path;

use serde_json::{Map, Value};

use crate::commands::exit::CommandError;
use crate::commands::marking::Marked;
use crate::commands::note;
use crate::commands::plan::{LOGGED, Plan, Planned};
use crate::commands::pricing;
use crate::commands::reasons::Examples;
use crate::commands::weights::Weights as LocalWeights;
use crate::frame::{RunFrame, Timekeeper};
use crate::gate;
use crate::report::{self, Answerer, Frontmatter, Note, Report, Weights};
use crate::store::{Manifest, StoreError};
use crate::suite::spec;
use crate::types::{PriceOrigin, Replay, ReplayReport, Summary};
use crate::util::atomic;

/// A report and the figures it was made from.
pub struct Finished {
    /// The report.
    pub document: Report,
    /// The figures, with all flips.
    pub summary: Summary,
}

/// Summarises, judges and puts the report together.
pub fn report(manifest: &Manifest, plan: &Plan, frame: &RunFrame, mut marked: Marked, run: &str) -> Finished {
    let summary = frame.summarise(&plan.settings());
    let mut judgements = gate::judge(&plan.suite.gates, &summary, plan.suite.baseline.as_deref());
    let replay = manifest.replay.as_ref().map(|replay| kept(replay, plan, std::mem::take(&mut marked.keepers)));
    for judgement in &mut judgements {
        let invalid = replay.iter().flat_map(|replay| &replay.candidates);
        let mut invalid = invalid.filter(|kept| kept.candidate == judgement.candidate && !kept.invalid.is_empty());
        if is_time(&plan.suite.gates[judgement.gate].metric)
            && judgement.verdict != gate::Verdict::Inconclusive
            && let Some(kept) = invalid.next()
        {
            judgement.verdict = gate::Verdict::Inconclusive;
            judgement.reason = format!("the replay is invalid for latency: {}", kept.invalid.join("; "));
        }
    }
    let front = Frontmatter {
        suite: plan.suite.name.clone(),
        decision: plan.suite.decision.clone(),
        run: run.to_owned(),
        started: manifest.started.clone(),
        baseline: plan.suite.baseline.clone(),
        samples: plan.cases.len() as u64,
        scorers: plan.metrics.iter().map(|metric| metric.name.clone()).collect(),
        answerers: plan
            .candidates
            .iter()
            .zip(std::mem::take(&mut marked.examples))
            .map(|(candidate, examples)| answerer(candidate, manifest, examples))
            .collect(),
        replay,
        notes: notes(manifest, plan, &summary, &marked),
    };
    let document = report::build(front, &summary, &plan.suite.gates, &judgements);
    Finished { document, summary }
}

fn answerer(candidate: &Planned, manifest: &Manifest, examples: Examples) -> Answerer {
    let recorded = manifest.candidates.iter().find(|recorded| recorded.id == *candidate.id);
    let weights = recorded.and_then(|recorded| Weights::of_facts(recorded.weights.as_ref()?));
    Answerer { provider: candidate.provider.clone(), pricing: candidate.pricing.clone(), weights, examples }
}

/// Writes every file of the report into the run's folder.
///
/// # Errors
/// When one cannot be written.
pub fn write(folder: &Path, report: &Report, summary: &Summary) -> Result<(), CommandError> {
    let failed = |source| StoreError::Io { doing: "write the report into", path: folder.to_owned(), source };
    report::write_all(folder, report).map_err(failed)?;
    atomic::write(&folder.join("flips.csv"), |out| report::flips_csv(&summary.comparisons, out)).map_err(failed)?;
    Ok(())
}

/// Whether a metric is a time that a candidate took.
fn is_time(metric: &str) -> bool {
    metric.split('.').next().is_some_and(|column| column.ends_with("_ms"))
}

/// How the candidates of a replay kept their times.
fn kept(replay: &Replay, plan: &Plan, keepers: Vec<Timekeeper>) -> ReplayReport {
    // Who answers from a file is asked at no time of the log.
    let is_recorded: Vec<bool> = plan.suite.candidates.iter().map(|spec| spec.recorded.is_some()).collect();
    let asked = plan.candidates.iter().zip(keepers).zip(is_recorded).filter(|(_, is_recorded)| !is_recorded);
    let asked = asked.map(|(asked, _)| asked);
    let candidates = asked.map(|(candidate, keeper)| {
        let pauses = replay.pauses.get(&*candidate.id).copied().unwrap_or(0);
        keeper.finish(&candidate.id, replay.max_in_flight, pauses)
    });
    let candidates = candidates.collect();
    ReplayReport {
        capture: replay.capture.shown.clone(),
        pacing: replay.pacing.clone(),
        precision: replay.precision.clone(),
        gaps_cut: replay.gaps_cut,
        longest_pause_ms: replay.longest_pause.as_secs_f64() * 1000.0,
        candidates,
    }
}

fn notes(manifest: &Manifest, plan: &Plan, summary: &Summary, marked: &Marked) -> Vec<Note> {
    let mut notes = Vec::new();
    if plan.digest != manifest.suite_digest {
        notes.push(note(
            "other_suite",
            "marks and gates are those of another suite than the run's own",
            Some("`evalctl score RUN` marks it by its own suite again"),
        ));
    }
    if plan.gates_digest != manifest.gates_digest {
        notes.push(note(
            "gates_changed",
            "the gates are not those that stood in the suite before the first request of this run",
            Some("a bar set after the results were seen proves little: begin a new run with these gates"),
        ));
    }
    if manifest.candidates.iter().any(|candidate| candidate.weights.is_some()) {
        notes.push(note(
            "local_speed",
            "`local` candidates share the cores of this machine with each other and with evalctl: their speed tells how \
             they compare here, not what a server would reach",
            None,
        ));
    }
    for candidate in &plan.candidates {
        let pricing = &candidate.pricing;
        if matches!(pricing.from, Some(PriceOrigin::File | PriceOrigin::Book)) {
            let text = format!("`{}` is priced at {}", candidate.id, pricing::in_words(pricing));
            notes.push(note("priced", text, None));
        }
        let max_age = plan.suite.price_max_age.map(|age| age.0);
        if let Some(days) = pricing::stale_days(pricing, &manifest.started, max_age) {
            let text = format!("the price of `{}` was {days} days old when the run began", candidate.id);
            notes.push(note(
                "stale_price",
                text,
                Some("look it up, and give `price` in the suite or a row in `prices`"),
            ));
        }
    }
    for candidate in plan.candidates.iter().filter(|candidate| !candidate.losses.is_empty()) {
        notes.push(note(
            "lossy",
            format!("`{}` could not be told all that was asked: {}", candidate.id, candidate.losses.join("; ")),
            Some("what it was not told the others were: a difference may be one of the question"),
        ));
    }
    if plan.suite.limits.max_usd.is_some() {
        let is_hourly =
            |candidate: &&Planned| candidate.pricing.price().is_ok_and(|price| price.per_hour_usd.is_some());
        for candidate in plan.candidates.iter().filter(is_hourly) {
            let text =
                format!("`limits.max_usd` does not bound the hours of the machine that `{}` runs on", candidate.id);
            notes.push(note("unbounded_hours", text, Some("it bounds what is paid by the request and by the token")));
        }
    }
    if let Some(replay) = manifest.replay.as_ref().filter(|replay| replay.cached > 0) {
        let text =
            format!("{} answers of `{LOGGED}` came from a cache: their times are not the model's", replay.cached);
        notes.push(note("cached", text, Some("leave them out of the capture before speed is judged by it")));
    }
    if let Some(replay) = manifest.replay.as_ref().filter(|replay| !replay.not_passed_on.is_empty()) {
        let names = replay.not_passed_on.iter().map(|(name, count)| format!("`{name}` ({count} requests)"));
        let names: Vec<String> = names.collect();
        let text = format!("parameters of the log that no candidate was given: {}", names.join(", "));
        notes.push(note("not_passed_on", text, Some("put what matters into the `params` of the suite")));
    }
    if manifest.replay.is_some() {
        let text = "turns are asked with the conversation as it was logged: an answer to one never changes the next";
        notes.push(note("recorded_history", text, None));
    }
    notes.extend(different_parameters(plan));
    // What was logged is there beforehand.
    let sent = summary.candidates.iter().filter(|candidate| manifest.replay.is_none() || candidate.id != LOGGED);
    let (dropped, tasks) = sent.fold((0, 0), |(dropped, tasks), candidate| {
        (dropped + candidate.counts.dropped, tasks + candidate.counts.tasks)
    });
    if dropped > 0 {
        let advice = match &manifest.replay {
            None => "go on with `evalctl run … --resume`; until then the verdict is of a part only",
            Some(_) => "the verdict is of a part only: what was not sent, and why, stands under the timing",
        };
        notes.push(note("partial", format!("{dropped} of {tasks} tasks have not ended"), Some(advice)));
    }
    if plan.dataset_digest != manifest.dataset_digest {
        notes.push(note(
            "dataset_changed",
            "the golden set is not the one that the run was made with",
            Some("answers to questions that have not changed still count; marks are by the targets of now"),
        ));
    }
    if marked.stale > 0 {
        let text = format!("{} records answer questions that the suite does not ask any more", marked.stale);
        notes.push(note("stale", text, None));
    }
    if marked.unreadable > 0 {
        let text = match marked.unreadable {
            1 => "1 line of records.jsonl is damaged; its task counts as not ended".to_owned(),
            more => format!("{more} lines of records.jsonl are damaged; their tasks count as not ended"),
        };
        notes.push(note("unreadable", text, Some("`evalctl run … --resume` asks them again")));
    }
    if manifest.sessions.len() > 1 {
        let text = format!("the run was resumed {} times", manifest.sessions.len() - 1);
        notes.push(note("resumed", text, None));
    }
    for session in &manifest.sessions {
        notes.extend(session.notes.iter().map(|text| note("healed", text.clone(), None)));
    }
    notes
}

/// What a candidate is asked with: its parameters, and how it is asked for a schema, where there is one.
fn asked_with(candidate: &Planned, has_schema: bool) -> Value {
    let mut params = serde_json::to_value(&*candidate.params).unwrap_or_default();
    let of_service = candidate.dialect.as_ref().map(|dialect| dialect.manner().structured);
    let structured = of_service.or_else(|| candidate.weights.as_ref().map(LocalWeights::structured));
    if let (Some(params), Some(structured), true) = (params.as_object_mut(), structured, has_schema) {
        params.insert("structured".to_owned(), spec::name_of(structured).into());
    }
    params
}

/// Which parameters the candidates that are asked were not given alike.
fn different_parameters(plan: &Plan) -> Option<Note> {
    let asked = plan.candidates.iter().filter(|candidate| candidate.is_asked);
    let asked: Vec<(&str, Value)> =
        asked.map(|candidate| (&*candidate.id, asked_with(candidate, plan.suite.output.is_some()))).collect();
    let mut names: Vec<&String> =
        asked.iter().filter_map(|(_, params)| params.as_object()).flat_map(Map::keys).collect();
    names.sort();
    names.dedup();
    let differing = names.into_iter().filter_map(|name| {
        let mut values = asked.iter().map(|(_, params)| params.get(name));
        let first = values.next()?;
        if values.all(|value| value == first) {
            return None;
        }
        let shown = asked.iter().map(|(id, params)| match params.get(name) {
            Some(value) => format!("{id} {value}"),
            None => format!("{id} none"),
        });
        Some(format!("`{name}` ({})", shown.collect::<Vec<String>>().join(", ")))
    });
    let differing: Vec<String> = differing.collect();
    (!differing.is_empty()).then(|| {
        note(
            "parameters",
            format!("the candidates were asked with different parameters: {}", differing.join("; ")),
            Some("a difference may be one of the parameters; the suite's `params` say so on purpose"),
        )
    })
}
