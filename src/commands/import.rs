//! `evalctl import`: logs to a capture, with the account of every row.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::ImportArgs;
use crate::commands::exit::CommandError;
use crate::commands::{World, print};
use crate::report;
use crate::store::StoreError;
use crate::traffic::ledger::{Ledger, Reason};
use crate::traffic::redact::{self, Custom, Redactor};
use crate::traffic::time::Zone;
use crate::traffic::{self, Import, ImportError, Kind, Sample, Stratum};
use crate::types::Precision;
use crate::util::text::{did_you_mean, shorten, visible};
use crate::util::{clock, given_file};

/// The largest file of rules that is read.
const RULES_BYTES: u64 = 1 << 20;

/// Columns of what is counted.
const WHAT: usize = 64;

/// Carries out `evalctl import`.
///
/// # Errors
/// When the command line asks for what cannot be, a file cannot be read, is of another kind, or holds nothing that can be
/// kept, and when the capture cannot be written.
pub fn import(args: &ImportArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
    let import = asked(args)?;
    let mut redactor = redactor(args)?;
    match traffic::import(&import, &mut redactor) {
        Ok(ledger) => {
            let json = as_json(&ledger)?;
            let beside = ledger_of(&args.out);
            crate::util::atomic::write(&beside, |out| out.write_all(json.as_bytes()))
                .map_err(|source| StoreError::Io { doing: "write", path: beside.clone(), source })?;
            let shown = if args.json { json } else { as_text(&ledger, Some(&args.out)) };
            print(world, shown.as_bytes())?;
            // What is damaged is less than what was asked for.
            Ok(if ledger.not_kept.contains_key(&Reason::Damaged) { 3 } else { 0 })
        }
        Err(ImportError::Nothing(message, ledger)) => {
            let shown = if args.json { as_json(&ledger)? } else { as_text(&ledger, None) };
            print(world, shown.as_bytes())?;
            Err(CommandError::usage(message, "nothing was written"))
        }
        Err(ImportError::Io { doing: "write", source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
            Err(CommandError::usage(source.to_string(), "let the pattern match less"))
        }
        Err(ImportError::Io { doing, path, source }) => Err(StoreError::Io { doing, path, source }.into()),
        Err(error @ ImportError::NoFields { .. }) => {
            Err(CommandError::usage(error.to_string(), "use a pattern instead, `name: regex`"))
        }
        Err(unknown @ ImportError::Unknown { .. }) => {
            Err(CommandError::usage(unknown.to_string(), format!("name the kind: {}", kinds())))
        }
    }
}

fn kinds() -> String {
    Kind::ALL.map(|kind| kind.words().0).join(", ")
}

/// What the command line asks for.
fn asked(args: &ImportArgs) -> Result<Import, CommandError> {
    let kind = match args.kind.as_str() {
        "auto" => None,
        name => Some(Kind::named(name).ok_or_else(|| {
            let known = Kind::ALL.map(|kind| kind.words().0);
            let help = did_you_mean(name, known).unwrap_or_else(|| format!("kinds: auto, {}", kinds()));
            CommandError::usage(format!("`{}` is no kind of log", shorten(name, 60)), help)
        })?),
    };
    let zone: Zone = args
        .zone
        .parse()
        .map_err(|help: String| CommandError::usage(format!("`{}` is no zone", shorten(&args.zone, 60)), help))?;
    let stratum = |name: &String| {
        Stratum::named(name).ok_or_else(|| {
            let message = format!("`{}` is nothing to stratify by", shorten(name, 60));
            CommandError::usage(message, "strata: model, length, tools")
        })
    };
    let strata = args.stratify.iter().map(stratum).collect::<Result<Vec<Stratum>, CommandError>>()?;
    may_write(args)?;
    Ok(Import {
        kind,
        files: args.files.clone(),
        out: args.out.clone(),
        may_replace: args.force,
        zone,
        seed: args.seed,
        is_digest_only: args.digest_only,
        sample: args.sample.map(|wanted| Sample { wanted, strata, seed: args.seed }),
    })
}

/// Whether nothing is in the way of what an import writes, or may be written over.
fn may_write(args: &ImportArgs) -> Result<(), CommandError> {
    for path in [args.out.clone(), ledger_of(&args.out), traffic::spool_of(&args.out)] {
        if path.symlink_metadata().is_err() || is_left_over(&path) {
            continue;
        }
        let shown = visible(&path.display().to_string()).into_owned();
        if args.files.iter().any(|file| file.canonicalize().ok() == path.canonicalize().ok()) {
            return Err(CommandError::usage(format!("`{shown}` is one of the logs"), "name another file in --out"));
        }
        if !path.is_file() {
            let what = if path.is_dir() { "a folder" } else { "no file" };
            return Err(CommandError::usage(format!("`{shown}` is {what}"), "name a file in --out"));
        }
        if !args.force {
            let help = "name another file in --out, or write over it with --force";
            return Err(CommandError::usage(format!("`{shown}` is already there"), help));
        }
    }
    if !args.out.extension().is_some_and(|ending| ending == "jsonl" || ending == "ndjson") {
        let what = format!("`{}` does not end in `.jsonl`", visible(&args.out.display().to_string()));
        return Err(CommandError::usage(what, "a capture is JSON Lines, and is read as such by its ending"));
    }
    Ok(())
}

/// Whether a file is what an import that was stopped has left.
fn is_left_over(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "spool") && path.is_file() && traffic::is_spool(path)
}

/// Where the account of a capture goes.
fn ledger_of(out: &Path) -> PathBuf {
    traffic::beside(out, ".ledger.json")
}

fn redactor(args: &ImportArgs) -> Result<Redactor, CommandError> {
    let names = redact::chosen(&args.redact).map_err(|name| {
        let groups = ["all", "secrets", "personal", "none"];
        let known: Vec<&str> = groups.iter().chain(&redact::SECRETS).chain(&redact::PERSONAL).copied().collect();
        let help = did_you_mean(&name, known.iter().copied()).unwrap_or_else(|| format!("rules: {}", known.join(", ")));
        CommandError::usage(format!("`{}` is no rule of redaction", shorten(&name, 60)), help)
    })?;
    let custom = match &args.redact_file {
        None => Custom::default(),
        Some(path) => {
            let failed = |source| StoreError::Io { doing: "read", path: path.clone(), source };
            redact::custom(&given_file::read_text(path, RULES_BYTES).map_err(failed)?, path)?
        }
    };
    Ok(Redactor::new(&names, custom))
}

fn as_json(ledger: &Ledger) -> Result<String, CommandError> {
    let mut json = serde_json::to_string_pretty(ledger).map_err(|error| CommandError::Internal(error.to_string()))?;
    json.push('\n');
    Ok(json)
}

/// The account as a table.
fn as_text(ledger: &Ledger, out: Option<&Path>) -> String {
    let mut text = String::new();
    for file in &ledger.files {
        let _ = writeln!(text, "{}: {} rows as {}", visible(&file.file), report::count(file.rows), file.kind);
    }
    let mut line = |what: &str, count: u64| {
        let _ = writeln!(text, "{what:<WHAT$}{:>13}", report::count(count));
    };
    line("rows read", ledger.rows_read);
    line("kept", ledger.kept);
    for (reason, count) in &ledger.not_kept {
        line(&format!("not kept: {}", reason.words()), *count);
    }
    if !ledger.partly.is_empty() {
        line("of the rows that were read as exchanges", exchanges(ledger));
    }
    for (mark, count) in &ledger.partly {
        line(&format!("  {}", mark.words()), *count);
    }
    if ledger.redacted > 0 || !ledger.redactions.is_empty() {
        line("redacted exchanges", ledger.redacted);
    }
    for (rule, count) in &ledger.redactions {
        line(&format!("  {rule}"), *count);
    }
    for remark in remarks(ledger) {
        let _ = writeln!(text, "{remark}");
    }
    if let Some(out) = out {
        let out = visible(&out.display().to_string()).into_owned();
        let _ = writeln!(text, "wrote {out} and {out}.ledger.json");
    }
    text
}

/// Rows that were read as exchanges, before any were drawn.
fn exchanges(ledger: &Ledger) -> u64 {
    ledger.precision.values().sum()
}

fn remarks(ledger: &Ledger) -> Vec<String> {
    let mut remarks = Vec::new();
    if let (Some(first), Some(last)) = (ledger.first_arrived_us, ledger.last_arrived_us) {
        let finest: Vec<String> = ledger
            .precision
            .iter()
            .filter(|(precision, _)| **precision != Precision::None)
            .map(|(precision, _)| precision.to_string())
            .collect();
        remarks.push(format!("arrived {} to {}", instant(first), instant(last)));
        remarks.push(format!("times are told to {}", finest.join(" and ")));
    }
    if ledger.largest_step_back_us > 0 {
        let step = humantime::format_duration(std::time::Duration::from_micros(ledger.largest_step_back_us));
        remarks.push(format!("the largest step back in time between rows is {step}"));
    }
    if ledger.offsets_min.len() > 1 {
        remarks.push(format!("times are written in {} zones; each was read in its own", ledger.offsets_min.len()));
    }
    remarks.extend(ledger.notes.iter().map(|note| visible(note).into_owned()));
    remarks
}

/// An instant in UTC, to the second; instants before 1970 as they are.
fn instant(us: i64) -> String {
    match u64::try_from(us) {
        Ok(us) => clock::rfc3339(std::time::UNIX_EPOCH + std::time::Duration::from_micros(us)),
        Err(_) => format!("{us} µs"),
    }
}
