//! `evalctl run`: a golden set to every candidate, and a verdict.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};
use rust_decimal::Decimal;

use crate::cli::{Form, RunArgs};
use crate::commands::exit::CommandError;
use crate::commands::marking::{self, Position, Positions};
use crate::commands::plan::{self, Options, Pace, Plan};
use crate::commands::reach::reach;
use crate::commands::session::{self, Done, Ended};
use crate::commands::signals::Signals;
use crate::commands::{World, descriptors, finish, promote, show, source, weights};
use crate::engine::{Candidate, FailureBudget, Ledger, Rules, Stop};
use crate::report::{Progress, ProgressKind, STOPPING, Spend};
use crate::store::{
    Folder, Holds, Identity, Manifest, RUN_FORMAT, RecordReader, RecordWriter, Session, SessionEnd, StoreError,
    UnderWayLog, latest, new_folder, read_under_way,
};
use crate::types::{Sink, UnderWay};
use crate::util::clock::{self, Clock};
use crate::util::text::{shorten, visible};

/// Bytes of records that are looked through at a time.
const BLOCK: usize = 4 << 20;

/// Carries out `evalctl run`.
///
/// # Errors
/// Everything that is wrong with the input, before anything is sent; and when the run's files cannot be read or written.
pub fn run(args: &RunArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let source = source(&args.suite)?;
    let options = Options {
        candidates: args.choice.candidates.clone(),
        limit: args.choice.limit,
        is_live: true,
        ..Options::default()
    };
    let mut plan = plan::prepare(&source, &options, world.environment)?;
    promote::can(args.promote, &plan)?;
    descriptors::provide(&plan, None)?;
    let ways = "go on with it by `--resume`, keep it aside by `--fresh`, or name another folder";
    let path = choose_folder(args, &plan, ways)?;
    let is_resumed = args.resume && Holds::of(&path) == Holds::Run;
    if !is_resumed {
        // Before the folder is made or another moved aside: the same command can be given again.
        reach(&plan, |_| true, &format!("run again: {}", command(args, args.out.as_deref(), args.resume)), world)?;
        set_aside(args, &path)?;
    }
    let go_on = is_resumed.then(|| command(args, args.out.as_deref(), true));
    let unusable = |error| unusable(error, go_on.as_deref());
    let folder = Folder::take(&path).map_err(unusable)?;
    // Another process may have begun it just now.
    let is_resumed = args.resume && Holds::of(folder.path()) == Holds::Run;
    let servers = weights::start(&mut plan, args.quiet, world).inspect_err(|_| folder.leave_if_empty())?;
    // First of all the manifest: a run that is not ours to go on with stays as it is.
    let stored = if is_resumed { Some(resumable(folder.path(), &plan)?) } else { None };
    let mut manifest = manifest(args, &source.shown, &plan, stored);
    let mut found = look_through(&folder, &plan, &manifest, args.retry_failed)?;
    if is_resumed && let Some(text) = count_under_way(&folder, &mut manifest, &mut found)? {
        say(world, &format!("note: {text}"));
    }
    let resume = command(args, Some(folder.path()), true);
    if is_resumed {
        let total = plan.cases.len() as u64 * u64::from(plan.suite.repeats);
        reach(&plan, |candidate| found.done.of(candidate) < total, &format!("go on with: {resume}"), world)?;
    }
    let (mut records, healed) = RecordWriter::open(folder.path()).map_err(unusable)?;
    if healed.torn_bytes > 0 {
        let text = format!("the last line of records.jsonl was torn ({} bytes) and was cut off", healed.torn_bytes);
        say(world, &format!("note: {text}; its task is asked again"));
        if let Some(session) = manifest.sessions.last_mut() {
            session.notes.push(text);
        }
    }
    manifest.write(folder.path()).map_err(unusable)?;
    if folder.path().parent() == Some(&plan::suite_folder(&plan.suite.name)) {
        folder.link_latest();
    }
    if is_resumed {
        let ended: u64 = (0..plan.candidates.len()).map(|candidate| found.done.of(candidate)).sum();
        say(world, &format!("resuming {}: {ended} of {} tasks have ended", shown(folder.path()), plan.tasks()));
    } else if args.resume {
        say(
            world,
            &format!(
                "there is no run of `{}` to resume yet: it begins in {}",
                visible(&plan.suite.name),
                shown(folder.path())
            ),
        );
    }
    let mut is_broken = false;
    if !found.done.is_all() {
        let signals = listen(args)?;
        let session = manifest.sessions.len() as u64 - 1;
        let under_way = UnderWayLog::open(folder.path(), session).map_err(unusable)?;
        let under_way_path = under_way.path().to_owned();
        let full = |path: &Path, source| {
            let help = format!("free some space, then go on: {resume}");
            let path = path.to_owned();
            CommandError::Store { source: StoreError::Io { doing: "write", path, source }, help: Some(help) }
        };
        let ended = drive(args, &mut plan, &mut records, under_way, found, &signals, world)
            .and_then(|ended| records.sync().map(|()| ended))
            .map_err(|source| full(records.path(), source))?;
        if let Ended::Stopped(stops) = &ended
            && let Some(fault) =
                stops.iter().find_map(|stop| if let Stop::Unkept { fault } = stop { Some(fault) } else { None })
        {
            return Err(full(&under_way_path, io::Error::other(fault.clone())));
        }
        signals.leave_with(left_early(&folder));
        if let Some(session) = manifest.sessions.last_mut() {
            session.ended = Some(match &ended {
                Ended::Done => SessionEnd::Done,
                Ended::Stopped(_) => SessionEnd::Stopped,
                Ended::Abandoned => SessionEnd::Left,
            });
        }
        let noted = manifest.write(folder.path());
        match ended {
            Ended::Done => {}
            Ended::Stopped(stops) => {
                is_broken = stops.iter().any(|stop| matches!(stop, Stop::Internal { .. }));
                // What a service has refused so often is not asked again unless somebody says so.
                let is_refused = stops.iter().any(|stop| matches!(stop, Stop::Failures { .. }));
                let retry = if is_refused && !args.retry_failed { " --retry-failed" } else { "" };
                say(world, &format!("{}\ngo on with: {resume}{retry}", in_words(&stops)));
            }
            Ended::Abandoned => {
                say(world, &format!("left at once; go on with: {resume}"));
                return Ok(3);
            }
        }
        noted?;
    }
    servers.end();
    let code = conclude(args, &manifest, &plan, &folder, world)?;
    Ok(if is_broken { 6 } else { code })
}

/// Before anything is sent, a folder that cannot be written to is a fault of the command line; but never of a run that is
/// to be gone on with, by the command `go_on`: in another folder everything would be paid again.
pub(super) fn unusable(error: StoreError, go_on: Option<&str>) -> CommandError {
    let StoreError::Io { source, .. } = &error else { return error.into() };
    let is_full = matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    );
    let help = match go_on {
        Some(go_on) if is_full => format!("free some space, then go on: {go_on}"),
        Some(go_on) => format!("put that right, then go on: {go_on}"),
        None if is_full => "free some space, then give the same command again".to_owned(),
        None => return CommandError::usage(error.to_string(), "name another folder with `--out`"),
    };
    CommandError::Store { source: error, help: Some(help) }
}

/// Listens for who wants it to stop.
pub(super) fn listen(args: &RunArgs) -> Result<Signals, CommandError> {
    let is_shown = progress_kind(args) == ProgressKind::Bars;
    let on_first = move || {
        // Among the bars it is the display that says so. That it cannot be said must not keep the run from stopping.
        if !is_shown {
            let _ = writeln!(io::stderr(), "{STOPPING}");
        }
    };
    Signals::listen(on_first).map_err(|error| CommandError::Internal(error.to_string()))
}

/// What is said when only the marking is left, and somebody does not wait for it.
pub(super) fn left_early(folder: &Folder) -> String {
    let score = format!("evalctl score {}", quoted(folder.path()));
    format!("left before the report; all answers are kept, mark them with: {score}")
}

/// Marks, reports and promotes what has been answered; gives the exit code of the report.
pub(super) fn conclude(
    args: &RunArgs,
    manifest: &Manifest,
    plan: &Plan,
    folder: &Folder,
    world: &mut World<'_>,
) -> Result<u8, CommandError> {
    let (frame, marked) = marking::mark(folder.path(), plan, None)?;
    let report = finish::report(manifest, plan, &frame, marked, &folder.run_id());
    finish::write(folder.path(), &report.document, &report.summary)?;
    let form = if args.json { Form::Json } else { Form::Terminal };
    let code = show(world, &report.document, form)?;
    say(world, &format!("report: {}", shown(&folder.path().join("report.md"))));
    promote::write(args.promote, folder, plan, world)?;
    Ok(code)
}

/// The run's folder: the one named, the latest one to go on with, or a new one. Nothing is made or moved yet.
/// `ways` are those out of a folder that holds a run already.
pub(super) fn choose_folder(args: &RunArgs, plan: &Plan, ways: &str) -> Result<PathBuf, CommandError> {
    let parent = plan::suite_folder(&plan.suite.name);
    let Some(out) = &args.out else {
        let begun = if args.resume { latest(&parent) } else { None };
        return Ok(begun.unwrap_or_else(|| new_folder(&parent, clock::wall())));
    };
    if out.exists() && !out.is_dir() {
        let message = format!("`{}` is a file, and a run needs a folder", shown(out));
        return Err(CommandError::usage(message, "name another folder with `--out`"));
    }
    match Holds::of(out) {
        Holds::Run if !args.resume && !args.fresh => {
            Err(CommandError::usage(format!("`{}` holds a run already", shown(out)), ways))
        }
        Holds::Other(_) if out.join("records.jsonl").metadata().is_ok_and(|facts| facts.len() > 0) => {
            Err(CommandError::usage(
                format!("`{}` holds a `records.jsonl` that belongs to no run", shown(out)),
                "name another folder with `--out`",
            ))
        }
        Holds::Other(name) if args.resume => Err(CommandError::usage(
            format!("`{}` holds no run to resume, but other files, such as `{}`", shown(out), visible(&name)),
            "name the folder of a run, or one that is empty or not there to begin one",
        )),
        Holds::Nothing | Holds::Run | Holds::Other(_) => Ok(out.clone()),
    }
}

/// Moves aside the run that `--fresh` is not to go on with.
pub(super) fn set_aside(args: &RunArgs, out: &Path) -> Result<(), CommandError> {
    if !args.fresh || Holds::of(out) != Holds::Run {
        return Ok(());
    }
    let number = (1..).find(|number| !numbered(out, *number).exists()).unwrap_or(1);
    let kept = numbered(out, number);
    // Nobody may be writing to it.
    let _held = Folder::take(out)?;
    std::fs::rename(out, &kept).map_err(|error| {
        let message = format!("could not move `{}` to `{}`: {error}", out.display(), kept.display());
        CommandError::usage(message, "move it yourself, or name another folder with `--out`")
    })
}

/// The manifest of a run that is to be gone on with.
fn resumable(folder: &Path, plan: &Plan) -> Result<Manifest, CommandError> {
    let stored = Manifest::read(folder)?;
    if stored.suite != plan.suite.name {
        return Err(CommandError::usage(
            format!(
                "`{}` holds a run of the suite `{}`, and this suite is `{}`",
                shown(folder),
                visible(&stored.suite),
                visible(&plan.suite.name)
            ),
            "resume it with its own suite, or name another folder with `--out`",
        ));
    }
    Ok(stored)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    path.with_file_name(name)
}

/// The manifest of this session: a new one, or the stored one with one more session.
pub(super) fn manifest(args: &RunArgs, suite: &Path, plan: &Plan, stored: Option<Manifest>) -> Manifest {
    let now = clock::rfc3339(clock::wall());
    let session = Session {
        started: now.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_digest: plan.digest,
        suite_text: None,
        ended: None,
        notes: Vec::new(),
    };
    // What the first session set stays: the bar, and the golden set that it was set for.
    let mut earlier = Vec::new();
    let (started, gates_digest, dataset_digest, mut sessions) = match stored {
        None => (now, plan.gates_digest, plan.dataset_digest, Vec::new()),
        Some(stored) => {
            // Their answers have been paid for, whoever this session asks.
            let is_gone = |known: &Identity| plan.candidates.iter().all(|candidate| *candidate.id != *known.id);
            earlier = stored.candidates.into_iter().filter(is_gone).collect();
            let mut sessions = stored.sessions;
            // A suite that changes since keeps its old text with the session that last used it.
            if let Some(last) = sessions.last_mut().filter(|last| last.suite_digest != plan.digest) {
                last.suite_text = Some(stored.suite_text);
            }
            (stored.started, stored.gates_digest, stored.dataset_digest, sessions)
        }
    };
    sessions.push(session);
    let identity = |candidate: &plan::Planned| Identity {
        id: candidate.id.to_string(),
        provider: candidate.provider.clone(),
        identity: candidate.identity,
        weights: candidate.facts.clone(),
        pricing: Some(candidate.pricing.clone()),
        probe: candidate.probe.clone(),
    };
    Manifest {
        format: RUN_FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        suite: plan.suite.name.clone(),
        suite_path: std::path::absolute(suite).unwrap_or_else(|_| suite.to_owned()),
        suite_text: plan.text.clone(),
        suite_digest: plan.digest,
        gates_digest,
        dataset_digest,
        samples: plan.cases.len() as u64,
        tasks: plan.tasks(),
        only: args.choice.candidates.clone(),
        limit: args.choice.limit,
        seed: plan.suite.seed,
        candidates: plan.candidates.iter().map(identity).chain(earlier).collect(),
        replay: None,
        started,
        sessions,
    }
}

/// What earlier sessions of the run left.
struct Found {
    done: Done,
    failed: Vec<u64>,
    /// Where the run's clock goes on.
    clock_base: Duration,
    /// Dollars that all its answers cost, and what is held for failures that may have been billed.
    spent: Decimal,
}

/// Reads the records of earlier sessions. A failure that the service gave is a result too: it is asked again only when
/// `retry_failed`. What never reached the service is asked again in any case.
fn look_through(folder: &Folder, plan: &Plan, manifest: &Manifest, retry_failed: bool) -> Result<Found, CommandError> {
    let mut found = Found {
        done: Done::none(plan),
        failed: vec![0; plan.candidates.len()],
        clock_base: Duration::ZERO,
        spent: Decimal::ZERO,
    };
    let Some(mut reader) = RecordReader::open(folder.path())? else { return Ok(found) };
    let positions = Positions::of(plan);
    let mut failures = HashSet::new();
    let mut block = Vec::new();
    while reader.block(BLOCK, &mut block)? {
        let lines: Vec<&[u8]> = block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let seen: Vec<(Option<Position>, State, Duration, Decimal)> = lines
            .into_par_iter()
            .filter_map(|line| {
                let record = RecordReader::parse(line)?;
                let end = record.timing.as_ref().map_or(Duration::ZERO, |timing| timing.sent + timing.done);
                let position = positions.find(&record).filter(|_| !record.is_open);
                Some((position, State::of(&record, retry_failed), end, cost_of(&record, manifest)))
            })
            .collect();
        for (position, state, end, cost) in seen {
            found.spent = found.spent.checked_add(cost).unwrap_or(Decimal::MAX);
            found.clock_base = found.clock_base.max(end);
            let Some(Position { sample, candidate, repeat }) = position else { continue };
            if state == State::Failed {
                failures.insert((sample, candidate, repeat));
            } else {
                failures.remove(&(sample, candidate, repeat));
            }
            found.done.set(sample, candidate, repeat, state != State::Open);
        }
    }
    for (_, candidate, _) in failures {
        found.failed[candidate] += 1;
    }
    Ok(found)
}

/// Adds what earlier sessions may have sent without a record. Gives a note on the last one, when it has left such a
/// thing, which the manifest keeps, too: those before it have theirs.
fn count_under_way(
    folder: &Folder,
    manifest: &mut Manifest,
    found: &mut Found,
) -> Result<Option<String>, CommandError> {
    let left = read_under_way(folder.path())?;
    let earlier = manifest.sessions.len() as u64 - 1;
    for under_way in left.range(..earlier).map(|(_, under_way)| under_way) {
        found.spent = found.spent.saturating_add(under_way.usd);
    }
    if let Some(index) = (earlier as usize).checked_sub(1)
        && !left.contains_key(&(index as u64))
        && let Some(session) = manifest.sessions.get_mut(index)
        && session.ended.is_none()
        && (found.spent > Decimal::ZERO || !left.is_empty())
    {
        let text = format!(
            "nothing is left of what the session of {} may have sent without a record: it does not count as spent",
            session.started
        );
        session.notes.push(text.clone());
        return Ok(Some(text));
    }
    let Some(UnderWay { tasks: tasks @ 1.., usd }) = earlier.checked_sub(1).and_then(|last| left.get(&last)) else {
        return Ok(None);
    };
    let requests = if *tasks == 1 { "1 request was".to_owned() } else { format!("{tasks} requests were") };
    let cost = if usd.is_zero() {
        String::new()
    } else {
        format!("; up to ${} that they may have cost counts as spent", usd.normalize())
    };
    let index = usize::try_from(earlier - 1).unwrap_or(usize::MAX);
    let Some(session) = manifest.sessions.get_mut(index) else { return Ok(None) };
    let text = format!(
        "the session of {} did not end in order: up to {requests} sent whose answers are not recorded{cost}",
        session.started
    );
    session.notes.push(text.clone());
    Ok(Some(text))
}

/// What a stored record leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Answered,
    /// It failed, and stays so.
    Failed,
    /// It is asked again.
    Open,
}

impl State {
    fn of(record: &crate::types::Record, retry_failed: bool) -> State {
        match &record.outcome {
            Ok(_) => State::Answered,
            Err(failure) if retry_failed || !failure.has_reached_service() => State::Open,
            Err(_) => State::Failed,
        }
    }
}

/// What a stored record took of the run's money. Candidates are priced by the manifest: it knows those, too, that this
/// session leaves out.
fn cost_of(record: &crate::types::Record, manifest: &Manifest) -> Decimal {
    let held = record.held_usd.unwrap_or_default();
    let Ok(response) = &record.outcome else { return held };
    let candidate = manifest.candidates.iter().find(|candidate| *candidate.id == *record.key.candidate);
    let price = candidate.and_then(|candidate| candidate.pricing.as_ref()?.price().ok());
    let cost = response.cost_usd.or_else(|| crate::price::cost(price?, &response.usage).ok());
    cost.unwrap_or_default().checked_add(held).unwrap_or(Decimal::MAX)
}

/// Sends what is open, and puts down what is under way meanwhile.
fn drive(
    args: &RunArgs,
    plan: &mut Plan,
    records: &mut RecordWriter,
    under_way: UnderWayLog,
    found: Found,
    signals: &Signals,
    world: &mut World<'_>,
) -> io::Result<Ended> {
    let Found { done, failed, clock_base, spent } = found;
    let total = plan.cases.len() as u64 * u64::from(plan.suite.repeats);
    let lines = plan.candidates.iter().enumerate();
    let lines = lines.map(|(index, candidate)| (candidate.id.to_string(), total, done.of(index))).collect();
    let fleet: Vec<Candidate> = fleet(plan, failed).collect();
    let mut progress = Progress::new(progress_kind(args), lines, Clock::new(), spend(plan), Box::new(io::stderr()));
    let tasks = session::tasks(plan, done);
    let under_way = Arc::new(under_way);
    let log = Arc::clone(&under_way);
    let ledger = Ledger::new(plan.suite.limits.max_usd, spent).kept_by(Box::new(move |most| log.keep(most)));
    let ledger = Arc::new(ledger);
    let rules = rules(plan, Clock::resuming(clock_base), Arc::clone(&ledger));
    let ended = {
        let mut sinks: [&mut (dyn Sink + Send); 2] = [records, &mut progress];
        session::drive(tasks, fleet, rules, &mut sinks, signals)
    };
    if ended.is_ok() {
        // Should this not be kept, the most that ever was is counted instead.
        let _ = under_way.keep(ledger.close());
    }
    progress.finish();
    let _ = world.err.flush();
    ended
}

/// The candidates that can be asked, live; `failed` has how often each had failed before.
pub(super) fn fleet(plan: &mut Plan, failed: Vec<u64>) -> impl Iterator<Item = Candidate> {
    plan.candidates.iter_mut().zip(failed).enumerate().filter_map(|(index, (candidate, failed))| {
        let Pace { timeout, retry, in_flight, rates, allowed } = candidate.pace;
        let failures = FailureBudget::new(allowed, failed);
        let (id, provider) = (Arc::clone(&candidate.id), candidate.live.take()?);
        let price = candidate.pricing.price().ok().cloned();
        Some(Candidate { index, id, provider, timeout, retry, in_flight, failures, rates, price })
    })
}

/// What a record of each candidate has cost.
pub(super) fn spend(plan: &Plan) -> Spend {
    let prices: Vec<_> = plan.candidates.iter().map(|candidate| candidate.pricing.price.clone()).collect();
    Box::new(move |candidate, record| {
        let response = record.outcome.as_ref().ok()?;
        response.cost_usd.or_else(|| crate::price::cost(prices[candidate].as_ref()?, &response.usage).ok())
    })
}

/// What a session needs beside its tasks.
pub(super) fn rules(plan: &Plan, clock: Clock, ledger: Arc<Ledger>) -> Rules {
    Rules {
        seed: plan.suite.seed,
        deadline: plan.suite.limits.deadline(),
        clock,
        redactor: plan.redactor.clone(),
        ledger,
    }
}

pub(super) fn progress_kind(args: &RunArgs) -> ProgressKind {
    match (args.quiet, io::stderr().is_terminal()) {
        (true, _) => ProgressKind::Quiet,
        (false, true) => ProgressKind::Bars,
        (false, false) => ProgressKind::Lines,
    }
}

/// Why a session stopped early, a line for each reason.
pub(super) fn in_words(stops: &[Stop]) -> String {
    stops.iter().map(|stop| format!("stopped: {}", why(stop))).collect::<Vec<_>>().join("\n")
}

fn why(stop: &Stop) -> String {
    match stop {
        Stop::Asked => "as asked".to_owned(),
        Stop::Deadline { after } => format!("the deadline of {} has passed", humantime::format_duration(*after)),
        Stop::Failures { candidate, failed, allowed, last } => format!(
            "`{}` has failed {failed} times, {allowed} were allowed; the last time: {}\n\
             fix the cause, or raise `limits.max_failures`",
            visible(candidate),
            shorten(last, 300)
        ),
        Stop::Unreachable { candidate, last } => format!(
            "`{}` cannot be reached any more, so nothing more was sent to it; {}",
            visible(candidate),
            shorten(last, 300)
        ),
        Stop::Money { cap, spent } => format!(
            "the next request could cost more than is left of `limits.max_usd`: ${spent} of ${cap} is spent\n\
             raise it to go on"
        ),
        Stop::Internal { fault } => format!("an internal fault of evalctl: {fault}; please report it"),
        Stop::Files => "this machine can open no more files or connections, so nothing more was sent\n\
                        allow more (`ulimit -n`), or lower `in_flight`; `--resume` goes on"
            .to_owned(),
        Stop::Unkept { fault } => format!("it could not be put down what is under way: {fault}"),
        Stop::Source { fault } => format!("the golden set could not be read to its end: {fault}"),
    }
}

pub(super) fn shown(path: &Path) -> String {
    visible(&path.display().to_string()).into_owned()
}

/// The command line of this run, for who goes on with it.
fn command(args: &RunArgs, folder: Option<&Path>, is_resumed: bool) -> String {
    let suite = quoted(&args.suite);
    let out = folder.map(|folder| format!(" --out {}", quoted(folder))).unwrap_or_default();
    let resume = if is_resumed { " --resume" } else { "" };
    let fresh = if args.fresh && !is_resumed { " --fresh" } else { "" };
    let candidate = |id: &String| format!(" --candidate {}", quoted(Path::new(id)));
    let candidates: String = args.choice.candidates.iter().map(candidate).collect();
    let limit = args.choice.limit.map(|limit| format!(" --limit {limit}")).unwrap_or_default();
    let promote = if args.promote.is_some() { " --promote disagreements" } else { "" };
    // What was to be asked again and was not keeps the failure that it had before.
    let retry = if args.retry_failed && is_resumed { " --retry-failed" } else { "" };
    format!("evalctl run {suite}{out}{resume}{fresh}{candidates}{limit}{promote}{retry}")
}

/// As a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    // No option, though it looks like one.
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    if text.chars().any(crate::util::text::is_unprintable) {
        let escaped: String = text.chars().flat_map(char::escape_default).collect();
        // Rust writes \u{e9} where shells have \ue9.
        return format!("$'{}'", escaped.replace("\\u{", "\\u").replace('}', ""));
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A line for people. That nobody can read it is no reason to stop.
pub(super) fn say(world: &mut World<'_>, text: &str) {
    let _ = writeln!(world.err, "{text}");
}
