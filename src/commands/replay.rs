//! `evalctl replay`: logged traffic to every candidate, each request at its own time, against what was logged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::cli::{Choice, ReplayArgs, RunArgs, SessionOrder};
use crate::commands::exit::CommandError;
use crate::commands::plan::{self, LOGGED, Options, Plan};
use crate::commands::run::{
    choose_folder, conclude, fleet, in_words, left_early, listen, manifest, progress_kind, rules, say, shown, spend,
    unusable,
};
use crate::commands::session::{self, Done, Ended};
use crate::commands::signals::Signals;
use crate::commands::{World, estimate, print, source, weights};
use crate::engine::{Gaps, Health, Late, OnFull, Order, Pacing, Punctuality, Rates, Rules, Stop, Timetable};
use crate::report::Progress;
use crate::store::{Folder, Manifest, RecordReader, RecordWriter, StoreError};
use crate::traffic::time::Zone;
use crate::traffic::{self, Captured};
use crate::types::{Capture, CaptureVersion, Fault, Faults, Replay, Sink};
use crate::util::clock::Clock;
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
        },
    };
    let as_run = as_run(args);
    let path = choose_folder(&as_run, &plan, "keep it aside by `--fresh`, or name another folder")?;
    let folder = Folder::take(&path).map_err(unusable)?;
    let servers = weights::start(&mut plan, args.quiet, world).inspect_err(|_| folder.leave_if_empty())?;
    let (mut records, _) = RecordWriter::open(folder.path()).map_err(unusable)?;
    let mut manifest = manifest(&as_run, &source.shown, &plan, None);
    manifest.replay = Some(told);
    manifest.write(folder.path()).map_err(unusable)?;
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
    let is_broken = matches!(&ended, Ended::Stopped(Stop::Internal { .. }));
    match ended {
        Ended::Done => {}
        Ended::Stopped(why) => say(world, &format!("stopped: {}", in_words(&why))),
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

/// How it is to be replayed.
struct How {
    pacing: Pacing,
    punctuality: Punctuality,
    order: Order,
}

impl How {
    fn of(args: &ReplayArgs) -> Result<How, CommandError> {
        let wrong = |what: String, help: &str| CommandError::usage(what, help);
        if !(args.speed.is_finite() && (1e-3..=1e6).contains(&args.speed)) {
            return Err(wrong("`--speed` must lie between 0.001 and 1,000,000".to_owned(), "2 is twice as fast"));
        }
        let max_gap = args.max_gap.map(Into::into);
        let pacing = match &args.rate {
            None => Pacing::AsLogged { speed: args.speed, max_gap },
            Some(rate) => rate_of(rate).ok_or_else(|| {
                let what = format!("`--rate {}` is no rate", visible(rate));
                wrong(what, "const:50 or poisson:50 (50 a second), or gamma:50:2 (2 is the gaps' deviation ÷ mean)")
            })?,
        };
        let late = match args.late_policy.as_str() {
            "send" => Late::Send,
            other => {
                let limit = other.strip_prefix("drop:").and_then(|limit| limit.trim_end_matches("ms").parse().ok());
                Late::Drop(Duration::from_millis(limit.ok_or_else(|| {
                    let what = format!("`--late-policy {}` is none", visible(other));
                    wrong(what, "`send`, or `drop:500` for what is more than 500 ms late")
                })?))
            }
        };
        let on_full = if args.wait { OnFull::Wait } else { OnFull::Drop };
        let max_in_flight = args.max_in_flight.map(|cap| cap as usize);
        let order = match args.session_order {
            SessionOrder::Timed => Order::Timed,
            SessionOrder::Dependent => Order::Dependent,
        };
        Ok(How { pacing, punctuality: Punctuality { max_in_flight, on_full, late }, order })
    }

    fn in_words(&self) -> String {
        let mut words = match self.pacing {
            Pacing::AsLogged { speed: 1.0, .. } => "as logged".to_owned(),
            Pacing::AsLogged { speed, .. } => format!("as logged, {speed} times as fast"),
            Pacing::At { per_s, gaps: Gaps::Constant, .. } => format!("{per_s} a second, evenly"),
            Pacing::At { per_s, gaps: Gaps::Poisson, .. } => format!("{per_s} a second, Poisson"),
            Pacing::At { per_s, gaps: Gaps::Gamma { variation }, .. } => {
                format!("{per_s} a second, gamma with variation {variation}")
            }
        };
        if self.order == Order::Dependent {
            words.push_str(", turns after the answers before them (partly closed)");
        }
        words
    }
}

/// `const:50`, `poisson:50`, `gamma:50:2`.
fn rate_of(text: &str) -> Option<Pacing> {
    let mut parts = text.split(':');
    let kind = parts.next()?;
    let mut number = || parts.next()?.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let per_s = number().filter(|rate| (1e-6..=1e6).contains(rate))?;
    let gaps = match kind {
        "const" => Gaps::Constant,
        "poisson" => Gaps::Poisson,
        "gamma" => Gaps::Gamma { variation: number().filter(|variation| (0.01..=100.0).contains(variation))? },
        _ => return None,
    };
    parts.next().is_none().then_some(Pacing::At { per_s, gaps, seed: 0 })
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
        conditions.push(format!("(arrived_us is not none and arrived_us {sign} {at})"));
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
    let file = File::open(path).map_err(|error| unreadable(&error))?;
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

/// What a capture comes to, before anything is sent.
struct Survey {
    requests: u64,
    conversations: usize,
    /// From the first request to the last, once through.
    span: Duration,
    gaps_cut: u64,
    /// How finely its lines tell time, the coarsest first.
    precisions: Vec<String>,
    made: u64,
    /// Answers that came from a cache before the model.
    cached: u64,
}

impl Survey {
    /// Reads the capture once.
    ///
    /// # Errors
    /// When it cannot be replayed like this: lines without times, without texts, or that are no lines of a capture.
    fn of(plan: &Plan, how: &How) -> Result<Survey, CommandError> {
        let mut timetable = Timetable::new(how.pacing);
        let mut conversations = std::collections::HashSet::new();
        let (mut requests, mut span, mut made) = (0_u64, Duration::ZERO, 0);
        let (mut untimed, mut digested, mut foreign, mut back, mut cached) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        let mut last = i64::MIN;
        let mut precisions: Vec<String> = Vec::new();
        for sample in plan.dataset.samples(&plan.selection) {
            let sample = sample.map_err(Faults::from)?;
            let word = |name: &str| sample.row.get(name).and_then(Value::as_str);
            requests += 1;
            foreign += u64::from(word("evalctl") != Some(CaptureVersion::TEXT));
            cached += u64::from(sample.row.get("is_cached") == Some(&Value::Bool(true)));
            if let Some(arrived) = sample.row.get("arrived_us").and_then(Value::as_i64) {
                back += u64::from(arrived < last);
                last = last.max(arrived);
            }
            digested += u64::from(word("texts") == Some("digested"));
            made += u64::from(word("texts") == Some("made"));
            if let Some(cluster) = &sample.cluster {
                conversations.insert(cluster.clone());
            }
            match timetable.next(sample.row.get("arrived_us").and_then(Value::as_i64)) {
                Some(due) => span = span.max(due),
                None => untimed += 1,
            }
            let precision = word("precision").unwrap_or("none");
            if !precisions.iter().any(|known| known == precision) {
                precisions.push(precision.to_owned());
            }
        }
        let refuse = |what: String, help: &str| Err(CommandError::usage(what, help));
        if foreign > 0 {
            return refuse(
                format!("{foreign} of {requests} lines are not those of a capture"),
                "make one of the log: evalctl import auto LOG --out capture.jsonl",
            );
        }
        if back > 0 && matches!(how.pacing, Pacing::AsLogged { .. }) {
            return refuse(
                format!("{back} of {requests} lines are earlier than one before them"),
                "put the capture in order: evalctl import capture FILE --out sorted.jsonl",
            );
        }
        if digested > 0 {
            return refuse(
                format!("{digested} of {requests} lines hold digests in the place of texts: there is nothing to ask"),
                "import the log without `--digest-only`",
            );
        }
        if untimed > 0 {
            return refuse(
                format!("{untimed} of {requests} lines have no time to be sent at"),
                "send them at a rate: `--rate poisson:5` for 5 a second",
            );
        }
        if requests == 0 {
            return refuse("nothing of the capture is left to replay".to_owned(), "look at `--from` and `--to`");
        }
        let gaps_cut = timetable.cuts;
        Ok(Survey { requests, conversations: conversations.len(), span, gaps_cut, precisions, made, cached })
    }

    /// From the beginning of one time through to that of the next: one mean gap after its last request.
    fn period(&self, how: &How) -> Duration {
        match how.pacing {
            // What arrived all at once comes again a second later.
            Pacing::AsLogged { .. } if self.span.is_zero() => Duration::from_secs(1),
            Pacing::AsLogged { .. } => self.span + self.span.div_f64((self.requests.max(2) - 1) as f64),
            Pacing::At { .. } => Duration::ZERO,
        }
    }

    fn precision(&self, how: &How) -> Option<String> {
        if matches!(how.pacing, Pacing::At { .. }) {
            return None;
        }
        let word = |precision: &str| match precision {
            "ns" => "finer than microseconds",
            "us" => "microseconds",
            "ms" => "milliseconds",
            "s" => "whole seconds: bursts within one are not known",
            _ => "unknown",
        };
        Some(self.precisions.iter().map(|precision| word(precision)).collect::<Vec<_>>().join(", "))
    }

    /// What the replay would take.
    fn forecast(&self, plan: &Plan, how: &How) -> Result<String, CommandError> {
        let times = u64::from(plan.suite.repeats);
        let all = self.period(how) * (plan.suite.repeats - 1) + self.span;
        let mut out = String::new();
        let per_s = self.requests.saturating_sub(1) as f64 / self.span.as_secs_f64();
        let per_s =
            if self.span.is_zero() { "all at once".to_owned() } else { format!("{per_s:.2} a second on average") };
        let _ = writeln!(out, "nothing is sent; this is what it would take");
        let _ = writeln!(
            out,
            "  duration    {}, and the last answers",
            humantime::format_duration(Duration::from_millis(u64::try_from(all.as_millis()).unwrap_or(u64::MAX)))
        );
        let _ = writeln!(
            out,
            "  times       {}{}",
            how.in_words(),
            if times > 1 { format!(", {times} times over") } else { String::new() }
        );
        let _ = writeln!(
            out,
            "  requests    {} in {} conversations, {per_s}, to each candidate",
            self.requests * times,
            self.conversations
        );
        if self.made > 0 {
            let _ = writeln!(out, "  texts       made up to the logged length, of {} requests", self.made);
        }
        let estimates = estimate::of(plan).map_err(Faults::from)?;
        for (candidate, estimate) in plan.candidates.iter().zip(&estimates).filter(|(c, _)| &*c.id != LOGGED) {
            let _ = writeln!(out, "  candidate   {}: {}", visible(&candidate.id), visible(&candidate.provider));
            if let Some(estimate) = estimate {
                let _ = writeln!(out, "    estimate  {}", estimate.in_words());
            }
        }
        Ok(out)
    }
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
        let rules = Rules { ledger: None, ..rules(plan, Clock::new(), Decimal::ZERO) };
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
            let rules = rules(plan, Clock::new(), Decimal::ZERO);
            session::keep_time(lanes, how.punctuality, rules, &mut sinks, signals)?
        }
        early => (early, Vec::new()),
    };
    progress.finish();
    Ok((ended, health))
}
