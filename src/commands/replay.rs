//! `evalctl replay`: logged traffic to every candidate, each request at its own time, against what was logged.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::cli::{Choice, ReplayArgs, RunArgs};
use crate::commands::exit::CommandError;
use crate::commands::plan::{self, LOGGED, Options, Plan};
use crate::commands::reach::reach;
use crate::commands::run::{
    choose_folder, conclude, fleet, in_words, left_early, listen, manifest, progress_kind, rules, say, set_aside,
    shown, spend, unusable,
};
use crate::commands::session::{self, Done, Ended};
use crate::commands::signals::Signals;
use crate::commands::survey::{How, Survey};
use crate::commands::{World, descriptors, print, source, weights};
use crate::engine::{Health, Ledger, Pacing, Rates, Stop};
use crate::report::Progress;
use crate::store::{Folder, Manifest, RecordReader, RecordWriter, StoreError};
use crate::traffic::time::Zone;
use crate::traffic::{self, Captured};
use crate::types::{Capture, CaptureVersion, Fault, Faults, Replay, Sink};
use crate::util::clock::Clock;
use crate::util::given_file;
use crate::util::text::{of_system, shorten, visible};

/// Bytes that the first line of a capture may have.
const FIRST_LINE: u64 = 64 << 20;

/// Bytes of records that are copied at a time.
const BLOCK: usize = 4 << 20;

/// Carries out `evalctl replay`.
///
/// # Errors
/// Everything that is wrong with the input, before anything is sent; and when the run's files cannot be read or written.
pub fn replay(args: &ReplayArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let source = source(&args.suite)?;
    let mut how = How::of(args)?;
    let capture = capture(args)?;
    let options = Options {
        candidates: args.candidates.clone(),
        is_live: args.offline.is_none(),
        capture: Some(capture.clone()),
        ..Options::default()
    };
    let mut plan = plan::prepare(&source, &options, world.environment).map_err(|faults| {
        let is_empty = |fault: &Fault| fault.message.contains("`dataset.select.where` is true for none");
        if faults.0.iter().any(is_empty) {
            return CommandError::usage("nothing of the capture is left to replay", "look at `--from` and `--to`");
        }
        faults.into()
    })?;
    if let Pacing::At { seed, .. } = &mut how.pacing {
        *seed = plan.suite.seed;
    }
    if let Some(paced) = plan.candidates.iter().find(|candidate| candidate.pace.rates != Rates::default()) {
        return Err(CommandError::usage(
            format!(
                "candidate `{}` has rates of its own, and a replay sends at the times of the log",
                visible(&paced.id)
            ),
            "take `requests_per_min` and `tokens_per_min` out, and slow it down by `--speed` or `--rate`",
        ));
    }
    let survey = Survey::of(&plan, &how)?;
    if args.dry_run {
        return print(world, survey.forecast(&plan, &how)?.as_bytes());
    }
    // What was replayed how, and how it went: of a stored replay as it says itself.
    let told = match &args.offline {
        Some(from) => Replay { capture: capture.clone(), ..adopt(&mut plan, from)? },
        None => Replay {
            capture: capture.clone(),
            pacing: how.in_words(),
            precision: survey.precision(&how),
            gaps_cut: survey.gaps_cut,
            max_in_flight: how.punctuality.max_in_flight,
            pauses: BTreeMap::new(),
            longest_pause: Duration::ZERO,
            cached: survey.cached,
            volume: survey.volume(),
            not_passed_on: survey.not_passed_on.clone(),
        },
    };
    plan.measured(told.volume);
    let as_run = as_run(args);
    if let (Some(from), Some(out)) = (&args.offline, &args.out)
        && from.canonicalize().ok().is_some_and(|from| out.canonicalize().ok() == Some(from))
    {
        let what = format!("`{}` is the stored replay itself", shown(out));
        return Err(CommandError::usage(what, "name another folder with `--out`"));
    }
    // Without a cap nobody knows how many will be in flight; what finds no file open is then not sent, and counted as that.
    descriptors::provide(&plan, how.punctuality.max_in_flight)?;
    let path = choose_folder(&as_run, &plan, "keep it aside by `--fresh`, or name another folder")?;
    reach(&plan, |_| true, "give the same command again", world)?;
    set_aside(&as_run, &path)?;
    let folder = Folder::take(&path).map_err(|error| unusable(error, None))?;
    let servers = weights::start(&mut plan, args.quiet, world).inspect_err(|_| folder.leave_if_empty())?;
    let (mut records, _) = RecordWriter::open(folder.path()).map_err(|error| unusable(error, None))?;
    let mut manifest = manifest(&as_run, &source.shown, &plan, None);
    manifest.replay = Some(told);
    manifest.write(folder.path()).map_err(|error| unusable(error, None))?;
    if folder.path().parent() == Some(&plan::suite_folder(&plan.suite.name)) {
        folder.link_latest();
    }
    let signals = listen(&as_run)?;
    let sent = match &args.offline {
        Some(from) => copy(from, &mut records).map(|()| (Ended::Done, Vec::new())),
        None => send(&as_run, &mut plan, &mut records, &how, &survey, &signals),
    };
    let (ended, health) = sent.and_then(|sent| records.sync().map(|()| sent)).map_err(|source| {
        let path = records.path().to_owned();
        let help = Some("free some space, and replay it again into another folder".to_owned());
        CommandError::Store { source: StoreError::Io { doing: "write", path, source }, help }
    })?;
    signals.leave_with(left_early(&folder));
    let mut is_broken = false;
    match ended {
        Ended::Done => {}
        Ended::Stopped(stops) => {
            is_broken = stops.iter().any(|stop| matches!(stop, Stop::Internal { .. }));
            say(world, &in_words(&stops));
        }
        Ended::Abandoned => {
            say(world, "left at once");
            return Ok(3);
        }
    }
    servers.end();
    if let Some(replay) = &mut manifest.replay {
        for (index, Health { longest, pauses }) in health {
            // As the manifest keeps it.
            let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
            replay.longest_pause = replay.longest_pause.max(Duration::from_micros(longest));
            replay.pauses.insert(plan.candidates[index].id.to_string(), pauses);
        }
        if args.offline.is_none() {
            manifest.write(folder.path())?;
        }
    }
    let code = conclude(&as_run, &manifest, &plan, &folder, world)?;
    Ok(if is_broken { 6 } else { code })
}

/// What a replay has in common with a run.
fn as_run(args: &ReplayArgs) -> RunArgs {
    RunArgs {
        suite: args.suite.clone(),
        choice: Choice { candidates: args.candidates.clone(), limit: None },
        out: args.out.clone(),
        resume: false,
        retry_failed: false,
        fresh: args.fresh,
        promote: args.promote,
        json: args.json,
        quiet: args.quiet,
    }
}

/// The capture and which of its lines.
fn capture(args: &ReplayArgs) -> Result<Capture, CommandError> {
    let shown = args.capture.display().to_string();
    let path = std::path::absolute(&args.capture).unwrap_or_else(|_| args.capture.clone());
    look_at(&path, &shown)?;
    let mut conditions = Vec::new();
    let mut first = None;
    for (text, flag, sign) in [(&args.from, "--from", ">="), (&args.to, "--to", "<")] {
        let Some(text) = text else { continue };
        let at = match humantime::parse_duration(text) {
            Ok(offset) => {
                let first = match first {
                    Some(first) => first,
                    None => *first.insert(first_arrival(&path, &shown)?),
                };
                first.saturating_add(i64::try_from(offset.as_micros()).unwrap_or(i64::MAX))
            }
            Err(_) => {
                let stamp = traffic::time::parse(text, Zone::default()).ok_or_else(|| {
                    let what = format!("`{flag} {}` is neither a time nor a duration", visible(text));
                    CommandError::usage(what, "write 10m (from the first request) or 2026-03-01T10:00:00+01:00")
                })?;
                stamp.us
            }
        };
        // Lines without a time stay, to be told of.
        conditions.push(format!("(arrived_us is none or arrived_us {sign} {at})"));
    }
    let filter = (!conditions.is_empty()).then(|| conditions.join(" and "));
    Ok(Capture { path, shown, filter, times: args.times })
}

/// Looks at the first line of what should be a capture.
fn look_at(path: &Path, shown: &str) -> Result<(), CommandError> {
    let shown = visible(shown);
    let unreadable = |error: &io::Error| {
        CommandError::usage(format!("could not read `{shown}`: {}", of_system(error)), "name the file of a capture")
    };
    let mut first = Vec::new();
    let file = given_file::open(path).map_err(|error| unreadable(&error))?;
    BufReader::new(file.take(FIRST_LINE)).read_until(b'\n', &mut first).map_err(|error| unreadable(&error))?;
    let line = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first);
    let version = serde_json::from_slice::<Value>(line).ok().and_then(|row| row["evalctl"].as_str().map(str::to_owned));
    let import = "make one of the log: evalctl import auto LOG --out capture.jsonl";
    let (what, help) = match version {
        Some(version) if version == CaptureVersion::TEXT => return Ok(()),
        Some(version) => (
            format!("`{shown}` is a `{}`, this evalctl reads `{}`", shorten(&version, 40), CaptureVersion::TEXT),
            "use the version that wrote it",
        ),
        None if first.is_empty() => (format!("`{shown}` is empty"), import),
        None if first.starts_with(b"\x1f\x8b") || first.starts_with(b"\x28\xb5\x2f\xfd") => (
            format!("`{shown}` is compressed, and a replay reads it more than once"),
            "unpack it first, with gunzip or unzstd",
        ),
        None => (format!("the lines of `{shown}` are not those of a capture"), import),
    };
    Err(CommandError::usage(what, help))
}

/// When the first request of a capture arrived.
fn first_arrival(path: &Path, shown: &str) -> Result<i64, CommandError> {
    let none = || {
        let what = format!("`{}` tells no times to count from", visible(shown));
        CommandError::usage(what, "leave `--from` and `--to` out")
    };
    for exchange in Captured::open(path).map_err(|_| none())? {
        if let Some(at) = exchange.map_err(Faults::from)?.arrived_us {
            return Ok(at);
        }
    }
    Err(none())
}

/// Takes over who answered in a stored run.
fn adopt(plan: &mut Plan, from: &Path) -> Result<Replay, CommandError> {
    let stored = Manifest::read(from)?;
    let replay = stored.replay.clone().ok_or_else(|| {
        let what = format!("`{}` is no replay", shown(from));
        CommandError::usage(what, "name the folder of a replay; `evalctl score RUN` marks other runs again")
    })?;
    for candidate in plan.candidates.iter_mut().filter(|candidate| &*candidate.id != LOGGED) {
        let known = stored.candidates.iter().find(|known| *known.id == *candidate.id).ok_or_else(|| {
            let what = format!("`{}` has no candidate `{}`", shown(from), visible(&candidate.id));
            CommandError::usage(what, "choose others with `--candidate`")
        })?;
        candidate.identity = known.identity;
    }
    if let Some(logged) = plan.candidates.iter_mut().find(|candidate| &*candidate.id == LOGGED) {
        let known = stored.candidates.iter().find(|known| known.id == LOGGED).ok_or_else(|| {
            let what = format!("`{}` is no replay", shown(from));
            CommandError::usage(what, "name the folder of a replay; `evalctl score RUN` marks other runs again")
        })?;
        logged.identity = known.identity;
    }
    Ok(replay)
}

/// Takes over the records of a stored run; what in them answers other questions is told apart when they are marked.
fn copy(from: &Path, records: &mut RecordWriter) -> io::Result<()> {
    let failed = |error: StoreError| io::Error::other(error.to_string());
    let Some(mut reader) = RecordReader::open(from).map_err(failed)? else { return Ok(()) };
    let mut block = Vec::new();
    while reader.block(BLOCK, &mut block).map_err(failed)? {
        records.copy(&block)?;
    }
    Ok(())
}

/// First what was logged, which asks nobody; then everything at its time.
fn send(
    args: &RunArgs,
    plan: &mut Plan,
    records: &mut RecordWriter,
    how: &How,
    survey: &Survey,
    signals: &Signals,
) -> io::Result<(Ended, Vec<(usize, Health)>)> {
    let total = survey.requests * u64::from(plan.suite.repeats);
    let lines = plan.candidates.iter().map(|candidate| (candidate.id.to_string(), total, 0)).collect();
    let spend = spend(plan);
    let fleet: Vec<_> = fleet(plan, vec![0; plan.candidates.len()]).collect();
    let (live, stored): (Vec<_>, Vec<_>) = fleet.into_iter().partition(|candidate| candidate.provider.is_live());
    let mut progress = Progress::new(progress_kind(args), lines, Clock::new(), spend, Box::new(io::stderr()));
    let mut done = Done::none(plan);
    for candidate in &live {
        done.set_all(candidate.index);
    }
    let places: Vec<Option<usize>> =
        (0..plan.candidates.len()).map(|index| stored.iter().position(|candidate| candidate.index == index)).collect();
    let tasks = session::tasks(plan, done).filter_map(move |task| match task {
        Ok((index, task)) => Some(Ok((places[index]?, task))),
        Err(fault) => Some(Err(fault)),
    });
    let ended = {
        let mut sinks: [&mut (dyn Sink + Send); 2] = [records, &mut progress];
        // What was logged has been paid for.
        let rules = rules(plan, Clock::new(), Arc::new(Ledger::new(None, Decimal::ZERO)));
        session::drive(tasks, stored, rules, &mut sinks, signals)?
    };
    let (ended, health) = match ended {
        Ended::Done => {
            let period = survey.period(how);
            let lanes = live
                .into_iter()
                .map(|candidate| {
                    let tasks = session::timed(plan, candidate.index, how.pacing, period, how.order);
                    (candidate, tasks)
                })
                .collect();
            let mut sinks: [&mut (dyn Sink + Send); 2] = [records, &mut progress];
            let ledger = Ledger::new(plan.suite.limits.max_usd, Decimal::ZERO);
            let rules = rules(plan, Clock::new(), Arc::new(ledger));
            session::keep_time(lanes, how.punctuality, rules, &mut sinks, signals)?
        }
        early => (early, Vec::new()),
    };
    progress.finish();
    Ok((ended, health))
}
