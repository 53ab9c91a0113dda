//! What may be typed. Structs only; what they mean is in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Find out, on your own data, whether a workload can move from one language model to another.
#[derive(Debug, Parser)]
#[command(name = "evalctl", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 gates pass (or no gates); 1 a gate fails; 2 bad usage or suite, nothing sent; 3 stopped early, results \
partial, or a service that cannot be reached; 4 inconclusive, or a candidate answered nothing; 5 files could not be read or written; 6 internal fault.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a suite, a dataset and a schema to start from; the suite runs as it stands
    Init(InitArgs),
    /// Report everything that is wrong with a suite, without sending a request
    Check(CheckArgs),
    /// Ask each service a dozen tiny questions: what does it honour of schemas, tools, seeds, stops and bounds?
    Probe(ProbeArgs),
    /// Put a golden set to every candidate, compare, and judge
    Run(RunArgs),
    /// Put logged traffic to every candidate at the times of the log, compare with what was logged, and judge
    Replay(ReplayArgs),
    /// Mark a stored run again, without asking a candidate
    Score(ScoreArgs),
    /// Render a stored run again
    Report(ReportArgs),
    /// Turn logs into a capture: requests with their answers and times, redacted; it is a golden set, too
    Import(ImportArgs),
    /// Show what services list for their models: the price book that candidates without `price` go by
    Prices(PricesArgs),
    /// Serve weights on this machine behind an OpenAI-compatible address
    Serve(ServeArgs),
    /// Print the JSON Schema of suite files, or of report.json
    Schema(SchemaArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Wait for the end of standard input, then end what is left of a run's programs
    #[command(hide = true)]
    Guard(GuardArgs),
}

/// `evalctl guard`
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The name that the programs bear
    pub family: String,
}

/// `evalctl init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder to write into; files that are there are never overwritten
    #[arg(default_value = ".")]
    pub folder: PathBuf,
}

/// What of a suite to take.
#[derive(Debug, Args, Default, Clone)]
pub struct Choice {
    /// Only this candidate (may be repeated; the baseline is always taken)
    #[arg(long = "candidate", value_name = "ID")]
    pub candidates: Vec<String>,
    /// Only the first N samples of the selection
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// `evalctl check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The suite file
    pub suite: PathBuf,
    /// What of the suite to take
    #[command(flatten)]
    pub choice: Choice,
}

/// `evalctl probe`
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The suite file
    pub suite: PathBuf,
    /// Only this candidate (may be repeated) [default: all that are services]
    #[arg(long = "candidate", value_name = "ID")]
    pub candidates: Vec<String>,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// `evalctl run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The suite file
    pub suite: PathBuf,
    /// What of the suite to take
    #[command(flatten)]
    pub choice: Choice,
    /// Folder of the run [default: reports/SUITE/TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in --out, or with the suite's latest: only what has no answer yet is asked. Where there is none,
    /// one begins
    #[arg(long, conflicts_with = "fresh")]
    pub resume: bool,
    /// With --resume: ask again what the service failed to answer, too
    #[arg(long, requires = "resume")]
    pub retry_failed: bool,
    /// Begin anew in --out although it holds a run; that one is kept beside it as DIR.1, DIR.2, …
    #[arg(long, requires = "out")]
    pub fresh: bool,
    /// After the report, write the rows on which candidates disagree with the baseline into promoted.jsonl, for labels
    #[arg(long, value_enum, value_name = "WHAT")]
    pub promote: Option<Promote>,
    /// Print report.json instead of tables
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// `evalctl replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The capture, as `evalctl import` writes it
    pub capture: PathBuf,
    /// Suite with the candidates, scorers and gates; its dataset, prompt, repeats and baseline are not used
    #[arg(long, value_name = "FILE")]
    pub suite: PathBuf,
    /// Only this candidate (may be repeated; the logged answers are always taken)
    #[arg(long = "candidate", value_name = "ID")]
    pub candidates: Vec<String>,
    /// How many times as fast as the log: 2 is twice as fast
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, conflicts_with = "rate")]
    pub speed: f64,
    /// Instead of the log's times a rate a second: const:50, poisson:50, or gamma:50:2 (2 is the gaps' deviation ÷ mean)
    #[arg(long, value_name = "KIND:PER_S")]
    pub rate: Option<String>,
    /// Only what arrived at this time or later: 10m (from the first request) or 2026-03-01T10:00:00Z
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only what arrived before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// How often to replay it, one time after the other, with conversations of their own
    #[arg(long = "loop", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub times: u32,
    /// Cut gaps of the log that are longer than this: 30s
    #[arg(long, value_name = "TIME", conflicts_with = "rate")]
    pub max_gap: Option<humantime::Duration>,
    /// What is done about requests whose time has passed: send, or drop:MS when they are later than that
    #[arg(long, value_name = "POLICY", default_value = "send")]
    pub late_policy: String,
    /// Whether turns of a conversation are sent at their times, or none before the one before it was answered
    #[arg(long, value_enum, default_value_t = SessionOrder::Timed)]
    pub session_order: SessionOrder,
    /// Requests in flight at most, of each candidate; one more is dropped and counted [default: no cap]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_in_flight: Option<u32>,
    /// Let requests above --max-in-flight wait instead: the loop is not open then, and the report says so
    #[arg(long, requires = "max_in_flight")]
    pub wait: bool,
    /// Only say how long it would take, how many requests, tokens and dollars
    #[arg(long)]
    pub dry_run: bool,
    /// Send nothing: answers of a stored replay of the same capture, against what was logged
    #[arg(long, value_name = "RUN", conflicts_with = "dry_run")]
    pub offline: Option<PathBuf>,
    /// Folder of the run [default: reports/SUITE/TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Begin anew in --out although it holds a run; that one is kept beside it as DIR.1, DIR.2, …
    #[arg(long, requires = "out")]
    pub fresh: bool,
    /// After the report, write the rows on which candidates disagree with the baseline into promoted.jsonl, for labels
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "dry_run")]
    pub promote: Option<Promote>,
    /// Print report.json instead of tables
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Which rows of a run are worth labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Promote {
    /// Those on which a candidate and the baseline disagree
    Disagreements,
}

/// Whether turns of one conversation wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SessionOrder {
    /// Each at its time
    Timed,
    /// None before the one before it was answered and the logged time of thought has passed
    Dependent,
}

/// `evalctl score`
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// The run's folder
    pub run: PathBuf,
    /// Mark by this suite's scorers and gates instead of the run's own
    #[arg(long, value_name = "SUITE")]
    pub suite: Option<PathBuf>,
    /// Print report.json instead of tables
    #[arg(long)]
    pub json: bool,
}

/// `evalctl report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's folder
    pub run: PathBuf,
    /// Forms: terminal goes to standard output, the others into the run's folder (a single one to standard output)
    #[arg(long, value_delimiter = ',', default_value = "terminal")]
    pub format: Vec<Form>,
}

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Tables for a terminal
    Terminal,
    /// report.md
    Md,
    /// report.json
    Json,
    /// report.csv
    Csv,
}

/// `evalctl import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What the files are: auto, chat, openai-stored, openai-batch, anthropic, litellm, litellm-spend, langfuse,
    /// helicone, otel, har, goreplay; azure, burstgpt, mooncake (traces without text, for which texts are made up);
    /// capture (one of evalctl's own)
    pub kind: String,
    /// Files, also compressed with gzip or zstd; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The capture to write; the account of every row goes beside it, as FILE.ledger.json
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write over a capture that is there
    #[arg(long)]
    pub force: bool,
    /// What to take out: all, secrets, personal, none, or rules by name (email, phone, card, iban, ip, api_key, …)
    #[arg(long, value_name = "RULES", value_delimiter = ',', default_value = "all")]
    pub redact: Vec<String>,
    /// Rules of your own, one a line: `name: regex`, or a JSON pointer to a field of the rows that goes as a whole
    #[arg(long, value_name = "FILE")]
    pub redact_file: Option<PathBuf>,
    /// Keep no texts, only their digests and lengths
    #[arg(long)]
    pub digest_only: bool,
    /// Fold near-duplicates and draw N exchanges of the rest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sample: Option<u64>,
    /// Draw in proportion to these: model, length, tools
    #[arg(long, value_name = "BY", value_delimiter = ',', requires = "sample")]
    pub stratify: Vec<String>,
    /// Seed of the draw, and of texts that are made up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Zone of times that name none: UTC or a distance from it, such as +02:00
    #[arg(long, value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true)]
    pub zone: String,
    /// Print the account as JSON
    #[arg(long)]
    pub json: bool,
}

/// `evalctl prices`
#[derive(Debug, Args)]
pub struct PricesArgs {
    /// Only models whose names contain this; with all that is known of them
    pub model: Option<String>,
    /// Only this service: openai, bedrock, together, …
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// A file of prices, as `prices` of a suite names one: check it, and show its rows before those of the book
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the rows as JSON
    #[arg(long)]
    pub json: bool,
}

/// `evalctl serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A Hugging Face folder (config.json, tokenizer.json, safetensors) or a GGUF file
    pub weights: PathBuf,
    /// Address to listen at; nobody is asked for a key, so others than loopback ones are for closed networks
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// A name of this machine that requests may have in `Host`, besides HOST and, at a loopback address, localhost; may
    /// be repeated
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// An origin, such as `https://app.example`, whose pages may ask; may be repeated. Those of others are refused
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub allow_origin: Vec<String>,
    /// Port to listen at; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Requests that are answered at a time [default: 2, or 1 on one core]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub parallel: Option<usize>,
    /// Requests that may wait; one more is refused with 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = up_to_many)]
    pub queue: usize,
    /// Threads, shared out among the requests that are answered at a time [default: one per core]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub threads: Option<usize>,
    /// Tokens of prompt and answer together, at most [default: what the model was made for]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub context: Option<usize>,
    /// Name by which requests ask for the model [default: that of the weights]
    #[arg(long, value_name = "MODEL")]
    pub name: Option<String>,
    /// Say when it is ready by a line of JSON on standard output: {"ready": URL, "model": …, "facts": …}
    #[arg(long)]
    pub announce: bool,
    /// End when standard input does
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// As browsers write it.
fn origin(text: &str) -> Result<String, String> {
    let authority = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, authority)| authority);
    let is_whole = authority.is_some_and(|it| !it.is_empty() && !it.contains(['/', '?', '#', '@', '*', ' ']));
    is_whole
        .then(|| text.to_owned())
        .ok_or_else(|| "an origin is needed, such as `https://app.example:8443`".to_owned())
}

/// Each is a thread.
fn workers(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=256).contains(number));
    number.ok_or_else(|| "a whole number from 1 to 256 is needed".to_owned())
}

/// More than this of anything is a slip of the hand.
const MANY: usize = 1 << 24;

fn up_to_many(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MANY);
    number.ok_or_else(|| format!("a whole number up to {MANY} is needed"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    up_to_many(text)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("a whole number from 1 to {MANY} is needed"))
}

/// `evalctl schema`
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of report.json instead of suite files
    #[arg(long)]
    pub report: bool,
}

/// `evalctl completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}
