//! Composition: every command fills the same slots, suite → plan → tasks → events → marks → figures → report.

mod cases;
mod check;
mod descriptors;
mod estimate;
mod exit;
mod finish;
mod import;
mod init;
mod marking;
mod plan;
mod prices;
mod pricing;
mod probe;
mod promote;
mod questions;
mod reach;
mod reasons;
mod replay;
mod run;
mod serve;
mod services;
mod session;
mod signals;
mod survey;
mod weights;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::{Cli, Command, Form, ReportArgs, SchemaArgs, ScoreArgs};
use crate::provider::guard;
use crate::report::{self, Format, Note, Report};
use crate::store::{Folder, Manifest, MarkedBy, ScoreReader, StoreError, newest_scores};
use crate::util::{given_file, text};

pub use exit::CommandError;
use plan::{Options, Plan, Source};

/// What a command needs of the world.
pub struct World<'a> {
    /// Looks up a variable of the environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Results go here.
    pub out: &'a mut (dyn Write + Send),
    /// Everything else goes here.
    pub err: &'a mut (dyn Write + Send),
}

/// Carries out a command; gives the exit code.
///
/// # Errors
/// When the command could not do what it was asked; the error knows its exit code.
pub fn carry_out(cli: Cli, world: &mut World<'_>) -> Result<u8, CommandError> {
    match cli.command {
        Command::Init(args) => init::init(&args, world),
        Command::Check(args) => check::check(&args, world),
        Command::Probe(args) => probe::probe(&args, world),
        Command::Run(args) => run::run(&args, world),
        Command::Replay(args) => replay::replay(&args, world),
        Command::Score(args) => score(&args, world),
        Command::Report(args) => render(&args, world),
        Command::Import(args) => import::import(&args, world),
        Command::Prices(args) => prices::prices(&args, world),
        Command::Serve(args) => serve::serve(&args, world),
        Command::Schema(args) => schema(&args, world),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "evalctl", &mut script);
            print(world, &script)
        }
        Command::Guard(args) => {
            guard(io::stdin().lock(), &args.family);
            Ok(0)
        }
    }
}

/// Where this program is: what stands there if it was replaced meanwhile is another.
fn own_program() -> Option<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { Some(own) } else { std::env::current_exe().ok() }
}

/// Writes a result to standard output. A reader that has gone away is no error.
fn print(world: &mut World<'_>, bytes: &[u8]) -> Result<u8, CommandError> {
    match world.out.write_all(bytes).and_then(|()| world.out.flush()) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(source) => Err(StoreError::Io { doing: "write to", path: PathBuf::from("standard output"), source }.into()),
    }
}

fn schema(args: &SchemaArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let schema = if args.report { report::report_schema() } else { crate::suite::suite_schema() };
    let mut text = serde_json::to_string_pretty(&schema).map_err(|error| CommandError::Internal(error.to_string()))?;
    text.push('\n');
    print(world, text.as_bytes())
}

/// Reads a suite file.
fn source(path: &Path) -> Result<Source, CommandError> {
    let usage = |message: String| CommandError::usage(message, "name a suite file; `evalctl init` writes one");
    let shown = text::visible(&path.display().to_string()).into_owned();
    if path.is_dir() {
        return Err(usage(format!("`{shown}` is a folder, not a suite file")));
    }
    let bytes = given_file::read(path, crate::suite::MAX_BYTES as u64)
        .map_err(|error| usage(format!("could not read the suite `{shown}`: {}", text::of_system(&error))))?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Source { shown: path.to_owned(), folder, bytes })
}

/// The plan of a stored run: by its own suite, or by another one.
fn stored_plan(folder: &Path, other: Option<Source>, world: &World<'_>) -> Result<(Manifest, Plan), CommandError> {
    let manifest = Manifest::read(folder)?;
    // By the run's own suite its answers cost what they did when it was made, whatever price books say now.
    let is_priced = other.is_none();
    let source = other.unwrap_or_else(|| stored_source(&manifest.suite_path, &manifest.suite_text));
    let options = Options {
        candidates: manifest.only.clone(),
        limit: manifest.limit,
        is_live: false,
        is_stored: true,
        is_priced,
        is_unjudged: false,
        capture: manifest.replay.as_ref().map(|replay| replay.capture.clone()),
        probes: Some(manifest.candidates.iter().filter_map(|candidate| candidate.probe.clone()).collect()),
    };
    let mut plan = plan::prepare(&source, &options, world.environment)?;
    plan.measured(manifest.replay.as_ref().and_then(|replay| replay.volume));
    // What was asked stands in the manifest; a file of answers may have gone since.
    for candidate in &mut plan.candidates {
        if let Some(known) = manifest.candidates.iter().find(|known| *known.id == *candidate.id) {
            candidate.identity = known.identity;
            if let (true, Some(pricing)) = (is_priced, &known.pricing) {
                candidate.pricing = pricing.clone();
            }
        }
    }
    Ok((manifest, plan))
}

/// A suite whose text is stored, at the place where it stood.
fn stored_source(path: &Path, text: &str) -> Source {
    let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
    Source { shown: path.to_owned(), folder, bytes: text.as_bytes().to_vec() }
}

fn score(args: &ScoreArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let other = args.suite.as_deref().map(source).transpose()?;
    let (manifest, plan) = stored_plan(&args.run, other, world)?;
    let folder = Folder::take(&args.run)?;
    let by = args.suite.as_deref().map(|path| MarkedBy {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        text: plan.text.clone(),
    });
    let by = by.filter(|by| plan.digest != manifest.suite_digest || by.path != manifest.suite_path);
    let (frame, marked) = marking::mark(folder.path(), &plan, by)?;
    let report = finish::report(&manifest, &plan, &frame, marked, &folder.run_id());
    finish::write(folder.path(), &report.document, &report.summary)?;
    show(world, &report.document, if args.json { Form::Json } else { Form::Terminal })
}

fn render(args: &ReportArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    // The verdict is by the suite whose marks it rests on.
    let by = match newest_scores(&args.run) {
        Some(number) => ScoreReader::open(&args.run, number)?.header.suite,
        None => None,
    };
    let other = by.map(|by| stored_source(&by.path, &by.text));
    let (manifest, plan) = stored_plan(&args.run, other, world)?;
    let (frame, marked) = marking::load(&args.run, &plan)?;
    let run_id = args.run.canonicalize().unwrap_or_else(|_| args.run.clone());
    let run_id = run_id.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let report = finish::report(&manifest, &plan, &frame, marked, &run_id).document;
    if let [form] = args.format.as_slice() {
        show(world, &report, *form)?;
    } else {
        report::write_all(&args.run, &report).map_err(|source| StoreError::Io {
            doing: "write to",
            path: args.run.clone(),
            source,
        })?;
        if args.format.contains(&Form::Terminal) {
            show(world, &report, Form::Terminal)?;
        }
    }
    Ok(report.exit_code)
}

/// Prints a report in one of its forms; gives its exit code.
fn show(world: &mut World<'_>, report: &Report, form: Form) -> Result<u8, CommandError> {
    let format = match form {
        Form::Terminal => Format::Terminal,
        Form::Md => Format::Md,
        Form::Json => Format::Json,
        Form::Csv => Format::Csv,
    };
    let (width, is_coloured) = terminal(world);
    let mut bytes = Vec::new();
    let rendered = format.renderer(width, is_coloured).render(report, &mut bytes);
    rendered.map_err(|error| CommandError::Internal(error.to_string()))?;
    print(world, &bytes)?;
    Ok(report.exit_code)
}

/// How wide standard output is, in columns, and whether it takes colours.
fn terminal(world: &World<'_>) -> (u16, bool) {
    let is_terminal = io::stdout().is_terminal();
    let wants_none = (world.environment)("NO_COLOR").is_some_and(|value| !value.is_empty())
        || (world.environment)("TERM").as_deref() == Some("dumb");
    let asked = (world.environment)("COLUMNS").and_then(|columns| columns.parse().ok());
    let width = asked.or_else(|| is_terminal.then(report::terminal_width).flatten()).unwrap_or(100);
    (width.clamp(60, 200), is_terminal && !wants_none)
}

/// A note of a kind.
fn note(kind: &str, text: impl Into<String>, advice: Option<&str>) -> Note {
    Note { kind: kind.to_owned(), text: text.into(), advice: advice.map(str::to_owned) }
}
