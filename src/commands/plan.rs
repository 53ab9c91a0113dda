//! Suite to plan: everything that can be wrong is found here, before the first request.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::cases::{Ask, Cases, Keeps};
use crate::commands::pricing;
use crate::commands::services::Endpoint;
use crate::commands::weights::Weights;
use crate::dataset::{Dataset, Indexed, Selection};
use crate::engine::{Rates, RetryRule};
use crate::frame::{Layout, MetricColumn, Settings};
use crate::gate::{self, Bar};
use crate::price::Book;
use crate::provider::{Command, Dialect, Provider, Recorded, RowTest, Scripted};
use crate::scorer::{self, MetricKind, Scorer};
use crate::store;
use crate::suite::spec::{
    CandidateSpec, DatasetSpec, PacingSpec, PromptSpec, ProviderSpec, RecordedSpec, ScorerSpec, SelectSpec, Structured,
};
use crate::suite::values::{Allowance, OneOrMany};
use crate::suite::{self, Document, Filter, Prompt, Step, Suite, Template, at};
use crate::traffic;
use crate::types::{Capture, Fault, Faults, Message, Params, Place, Pricing, Probe, Request, Row, Sample};
use crate::util::digest::{Digest, Hasher};
use crate::util::secret::{Redactor, Secret};
use crate::util::{field, text};

/// Share of failed tasks at which a run stops when the suite does not say.
const DEFAULT_FAILURES: Allowance = Allowance::Share(0.2);

/// Failures that are borne at least when the suite does not say: a share of a handful of samples is none.
const LEAST_FAILURES: u64 = 5;

/// Time that one attempt may take when the suite does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Retries when the suite does not say.
const DEFAULT_RETRIES: u32 = 3;

/// Tasks that a run may have: what is known of each is held in memory until the report.
const MAX_TASKS: u64 = 50_000_000;

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The text of a suite and where its paths start from.
pub struct Source {
    /// The file as the user named it.
    pub shown: PathBuf,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// The text.
    pub bytes: Vec<u8>,
}

/// What of a suite is taken, and what for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these candidates and the baseline; all when empty.
    pub candidates: Vec<String>,
    /// Only so many samples.
    pub limit: Option<u64>,
    /// Whether candidates will be asked: then keys, programs and files of answers must be there.
    pub is_live: bool,
    /// Whether the choice of candidates is that of a stored run, of which the suite may know only some.
    pub is_stored: bool,
    /// Whether it is known already what the candidates are priced by, so that the suite's file of prices may have gone.
    pub is_priced: bool,
    /// Whether nothing will be judged, so that a choice of candidates need leave none for the gates.
    pub is_unjudged: bool,
    /// Logged traffic that takes the place of the suite's golden set and prompt.
    pub capture: Option<Capture>,
    /// What probes have found of endpoints; `None` for what is stored beside the runs of the suite.
    pub probes: Option<Vec<Probe>>,
}

/// Id of the candidate that stands for the logged answers.
pub const LOGGED: &str = "logged";

/// Puts logged traffic into a suite: as golden set, as prompt, and as a candidate of its own with what was logged, which
/// the others are compared with.
fn put_into(suite: &mut Suite, capture: &Capture) {
    let path = capture.path.display().to_string();
    suite.dataset = DatasetSpec {
        path: OneOrMany(vec![path.clone()]),
        id: None,
        input: None,
        target: None,
        cluster: Some("conversation".to_owned()),
        tags: Vec::new(),
        select: Some(SelectSpec { filter: capture.filter.clone(), ..SelectSpec::default() }),
    };
    suite.prompt = Some(PromptSpec { system: None, user: None, messages: Some("messages".to_owned()) });
    suite.repeats = capture.times;
    let field = |name: &str| Some(name.to_owned());
    suite.candidates.push(CandidateSpec {
        id: LOGGED.to_owned(),
        recorded: Some(RecordedSpec {
            path,
            on: None,
            text: field("/answer/text"),
            tool_calls: field("/answer/tool_calls"),
            usage: field("/answer/usage"),
            latency_ms: field("latency_ms"),
            ttft_ms: field("ttft_ms"),
            finish: field("/answer/finish"),
            cost_usd: field("cost_usd"),
            refusal: field("/answer/is_refusal"),
            failure: field("failure"),
        }),
        ..CandidateSpec::default()
    });
    suite.baseline = Some(LOGGED.to_owned());
}

/// A suite made ready: nothing in it can be wrong any more that could be known beforehand.
pub struct Plan {
    /// The suite, with only the candidates that are taken.
    pub suite: Suite,
    /// Its text.
    pub text: String,
    /// Digest of its text.
    pub digest: Digest,
    /// Digest of its gates.
    pub gates_digest: Digest,
    /// The golden set.
    pub dataset: Dataset,
    /// Digest of the golden set's bytes.
    pub dataset_digest: Digest,
    /// Rows that are used.
    pub selection: Selection,
    /// What scoring needs of the samples.
    pub cases: Arc<Cases>,
    /// The candidates, in the order of the suite.
    pub candidates: Vec<Planned>,
    /// The scorers, in the order of the suite.
    pub scorers: Vec<Box<dyn Scorer>>,
    /// Their metrics, in order.
    pub metrics: Vec<MetricColumn>,
    /// How a sample becomes a request.
    pub asking: Arc<Asking>,
    /// Knows every key and every other secret of the candidates.
    pub redactor: Redactor,
}

/// A candidate of the plan.
pub struct Planned {
    /// Its id.
    pub id: Arc<str>,
    /// What answers for it, in words.
    pub provider: String,
    /// Digest of all that decides its answers beside the sample: endpoint, model, parameters, file of answers.
    pub identity: Digest,
    /// Its parameters.
    pub params: Arc<Params>,
    /// What its answers are priced by.
    pub pricing: Pricing,
    /// How it is asked.
    pub pace: Pace,
    /// What answers, when it was asked for.
    pub live: Option<Arc<dyn Provider>>,
    /// How it is asked, of a service.
    pub dialect: Option<Arc<dyn Dialect>>,
    /// Where it is asked, of a service that is to be.
    pub endpoint: Option<Endpoint>,
    /// What a probe found of the service.
    pub probe: Option<Probe>,
    /// Whether it is given the parameters of the suite: a service, or weights on this machine.
    pub is_asked: bool,
    /// What its dialect cannot say of what is asked, in words.
    pub losses: Vec<String>,
    /// The weights on this machine that it answers by; `weights::start` puts their server in place.
    pub weights: Option<Weights>,
    /// What is known of these weights once they are loaded.
    pub facts: Option<Value>,
}

/// How a candidate is asked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long one attempt may take.
    pub timeout: Duration,
    /// What is tried again.
    pub retry: RetryRule,
    /// Requests in flight at once.
    pub in_flight: usize,
    /// The suite's own rates.
    pub rates: Rates,
    /// Failures borne before the run is stopped.
    pub allowed: u64,
}

impl Plan {
    /// Samples × repeats × candidates.
    pub fn tasks(&self) -> u64 {
        self.cases.len() as u64 * u64::from(self.suite.repeats) * self.candidates.len() as u64
    }

    /// Index of the baseline among the candidates.
    pub fn baseline(&self) -> Option<usize> {
        let baseline = self.suite.baseline.as_deref()?;
        self.candidates.iter().position(|candidate| &*candidate.id == baseline)
    }

    /// The shape of the run's frame.
    pub fn layout(&self) -> Layout {
        Layout {
            samples: self.cases.ids.clone(),
            candidates: self.candidates.iter().map(|candidate| candidate.id.to_string()).collect(),
            prices: self
                .candidates
                .iter()
                .map(|candidate| candidate.pricing.price().cloned().map_err(str::to_owned))
                .collect(),
            repeats: self.suite.repeats as usize,
            metrics: self.metrics.clone(),
            clusters: self.cases.clusters.clone(),
            classes: Vec::new(),
            unmarkable: Vec::new(),
        }
    }

    /// What the figures are made with.
    pub fn settings(&self) -> Settings {
        let is_compared = |bar| matches!(bar, Bar::AtMostRatio(_) | Bar::NonInferior { .. });
        let compared = self.suite.gates.iter().filter(|gate| Bar::of(gate).is_some_and(is_compared));
        let mut compared: Vec<String> = compared.map(|gate| gate.metric.clone()).collect();
        compared.sort();
        compared.dedup();
        Settings { confidence: 0.95, seed: self.suite.seed, baseline: self.baseline(), compared }
    }
}

/// How a sample becomes a request: the same question to every candidate.
pub struct Asking {
    prompt: Option<Prompt>,
    /// Field of chat messages, for which the row's tools and parameters count too.
    is_chat: bool,
    /// Whether rows are lines of a capture: their schema is theirs, and what was only meant for the logged service
    /// (`extra`) is not passed on to others.
    is_logged: bool,
    schema: Option<Arc<Value>>,
}

/// The schema that a line of a capture asks for itself.
pub fn own_schema(row: &Row) -> Option<&Value> {
    row.get("output_schema").filter(|schema| !schema.is_null())
}

/// What a sample asks, before a candidate's parameters are added.
pub struct Asked {
    messages: Arc<[Message]>,
    tools: Option<Arc<Value>>,
    schema: Option<Arc<Value>>,
    params: Option<Params>,
}

impl Asking {
    /// Renders a sample's question.
    ///
    /// # Errors
    /// When a template fails or the row's messages, tools or params are not what they should be.
    pub fn ask(&self, row: &Row) -> Result<Asked, String> {
        let Some(prompt) = &self.prompt else {
            return Ok(Asked { messages: Arc::new([]), tools: None, schema: None, params: None });
        };
        let messages = prompt.render(row).map_err(|fault| fault.to_string())?;
        let (mut tools, mut params) = (None, None);
        if self.is_chat {
            tools = match row.get("tools") {
                None | Some(Value::Null) => None,
                Some(list @ Value::Array(_)) => Some(Arc::new(list.clone())),
                Some(_) => return Err("`tools` is not a list".to_owned()),
            };
            params = match row.get("params") {
                None | Some(Value::Null) => None,
                Some(value) => {
                    Some(serde_json::from_value(value.clone()).map_err(|error| format!("in `params`: {error}"))?)
                }
            };
        }
        let mut schema = None;
        if self.is_logged {
            schema = own_schema(row).cloned().map(Arc::new);
            params = params.map(|params| Params { extra: serde_json::Map::new(), response_format: None, ..params });
        }
        Ok(Asked { messages: messages.into(), tools, schema, params })
    }

    /// What tells questions apart, as text: the messages of a row that holds them, without instructions; the fields that
    /// the templates use, without the words around them; and where that is nothing, all fields but those named.
    pub fn gist(&self, row: &Row, but: &[&str]) -> String {
        if self.is_chat {
            let asked = self.ask(row).map(|asked| asked.messages).unwrap_or_else(|_| Arc::new([]));
            let text = traffic::asked(&asked).collect::<Vec<&str>>().join("\n");
            if !text.trim().is_empty() {
                return text;
            }
        }
        let used: Vec<String> =
            self.prompt.iter().flat_map(Prompt::variables).map(|(_, variable)| variable.name).collect();
        let is_all = self.is_chat || used.iter().all(|name| !row.contains_key(name));
        let is_used = |name: &String| if is_all { !but.contains(&name.as_str()) } else { used.contains(name) };
        let texts = row.iter().filter(|(name, _)| is_used(name));
        texts.map(|(_, value)| field::text(value).unwrap_or_else(|| value.to_string())).collect::<Vec<_>>().join("\n")
    }

    /// The request of a candidate with these parameters.
    pub fn request(&self, asked: &Asked, params: &Arc<Params>, row: &Arc<Row>) -> Request {
        let params = match &asked.params {
            None => Arc::clone(params),
            Some(of_row) => Arc::new(merged(params, of_row)),
        };
        Request {
            messages: Arc::clone(&asked.messages),
            tools: asked.tools.clone(),
            output_schema: asked.schema.clone().or_else(|| self.schema.clone()),
            params,
            row: Arc::clone(row),
        }
    }

    /// Digest of the question.
    fn digest(&self, asked: &Asked) -> Digest {
        let json = match &asked.schema {
            None => serde_json::to_vec(&(&asked.messages, &asked.tools, &asked.params)),
            Some(schema) => serde_json::to_vec(&(&asked.messages, &asked.tools, &asked.params, schema)),
        };
        Digest::of(&json.expect("messages have only string keys"))
    }
}

/// The candidate's parameters with the row's on top.
fn merged(candidate: &Params, row: &Params) -> Params {
    let mut extra = candidate.extra.clone();
    extra.extend(row.extra.clone());
    Params {
        temperature: row.temperature.or(candidate.temperature),
        top_p: row.top_p.or(candidate.top_p),
        max_output_tokens: row.max_output_tokens.or(candidate.max_output_tokens),
        seed: row.seed.or(candidate.seed),
        stop: row.stop.clone().or_else(|| candidate.stop.clone()),
        tool_choice: row.tool_choice.clone().or_else(|| candidate.tool_choice.clone()),
        response_format: row.response_format.clone().or_else(|| candidate.response_format.clone()),
        extra,
    }
}

/// Where the runs of a suite are, and what is known of its endpoints.
pub fn suite_folder(name: &str) -> PathBuf {
    Path::new("reports").join(name)
}

/// Makes a suite ready.
///
/// # Errors
/// Everything that is wrong with the suite, its files and its variables, together.
pub fn prepare(source: &Source, options: &Options, environment: Environment<'_>) -> Result<Plan, Faults> {
    let (document, suite, mut faults) = suite::parse(&source.shown, &source.bytes);
    let Some(mut suite) = suite else { return Err(faults) };
    if let Some(capture) = &options.capture {
        if let Some(position) = suite.candidates.iter().position(|candidate| candidate.id == LOGGED) {
            let help = "a replay calls the log's own answers so: give the candidate another id";
            let message = format!("`{LOGGED}` cannot be the id of a candidate that is replayed");
            faults.push(document.fault(&at!["candidates", position, "id"], message).help(help));
        }
        put_into(&mut suite, capture);
    }
    faults.0.extend(suite::check(&document, &suite).0);
    let is_open = suite.candidates.iter().any(|candidate| candidate.structured == Structured::Auto);
    let stored = match &options.probes {
        Some(_) => Vec::new(),
        None if !is_open => Vec::new(),
        None => store::read_probes(&suite_folder(&suite.name)).unwrap_or_else(|error| {
            faults.push(Fault::new(Place::default(), error.to_string()));
            Vec::new()
        }),
    };
    let probes = options.probes.as_deref().unwrap_or(&stored);
    let (schemas, secrets) = (HashMap::new(), Vec::new());
    let mut work = Work { source, document: &document, faults, environment, probes, schemas, secrets };
    let prices = work.prices(&suite, options.is_priced);
    // Positions count candidates as they stand in the file, so the choice comes after whatever names them.
    let schema = suite.output.as_ref().and_then(|output| work.schema(&at!["output", "schema"], &output.schema));
    let is_logged = options.capture.is_some();
    let scorers = work.scorers(&suite, schema.as_ref(), is_logged);
    let prompt = work.prompt(&suite);
    let is_chat = suite.prompt.as_ref().is_some_and(|prompt| prompt.messages.is_some());
    let asking = Arc::new(Asking { prompt, is_chat, is_logged, schema: schema.map(Arc::new) });
    let positions = work.choose(&mut suite, options);
    let mut drafts: Vec<Draft> = Vec::new();
    for (spec, position) in suite.candidates.iter().zip(&positions) {
        let draft = work.candidate(spec, *position, &suite, &asking, options.is_live);
        drafts.extend(draft.map(|draft| work.priced(draft, prices.as_ref(), options.is_priced)));
    }
    if suite.limits.max_usd.is_some() && options.is_live {
        work.bounded(&drafts);
    }
    let keeps = Keeps {
        clusters: suite.dataset.cluster.is_some(),
        logged: scorers.iter().flatten().any(|scorer| scorer.needs_reference()),
        schemas: is_logged && scorers.iter().flatten().any(|scorer| scorer.needs_schema()),
    };
    let read = work.dataset(&suite, options.limit, &asking, &drafts, keeps);
    if let Some((_, scan, _)) = &read {
        let tasks = scan.samples.saturating_mul(u64::from(suite.repeats)).saturating_mul(suite.candidates.len() as u64);
        if tasks > MAX_TASKS {
            let message = format!("samples × repeats × candidates are {tasks} tasks, and a run takes {MAX_TASKS}");
            work.fault_help(&at!["dataset"], message, Some("take fewer samples with `select.limit`".to_owned()));
        }
    }
    let Work { faults, secrets, .. } = work;
    let (true, Some((dataset, scan, cases)), Some(scorers)) = (faults.is_empty(), read, scorers) else {
        return Err(faults);
    };
    let tasks = scan.samples * u64::from(suite.repeats);
    let default = || DEFAULT_FAILURES.of(tasks).max(LEAST_FAILURES);
    let allowed = suite.limits.max_failures.map_or_else(default, |allowance| allowance.of(tasks));
    // A server of ours that dies fails all that is left of its candidate: no reason to stop the others.
    let is_own = |draft: &Draft| draft.weights.is_some() && suite.limits.max_failures.is_none();
    let candidates = drafts.into_iter().map(|draft| {
        let allowed = if is_own(&draft) { u64::MAX } else { allowed };
        draft.plan(allowed)
    });
    let candidates = candidates.collect();
    let metrics = scorers.iter().flat_map(|scorer| scorer.metrics()).map(|metric| MetricColumn {
        name: metric.name.clone(),
        is_binary: metric.kind != MetricKind::Graded,
        is_label: metric.kind == MetricKind::Label,
    });
    let text = document.text().to_owned();
    let gates = serde_json::to_vec(&suite.gates).expect("gates have only string keys");
    Ok(Plan {
        digest: Digest::of(text.as_bytes()),
        gates_digest: Digest::of(&gates),
        metrics: metrics.collect(),
        suite,
        text,
        dataset,
        dataset_digest: scan.digest,
        selection: scan.selection,
        cases: Arc::new(cases),
        candidates,
        scorers,
        asking,
        redactor: Redactor::new(secrets),
    })
}

/// The faults so far and what is needed to find more.
pub(super) struct Work<'a> {
    source: &'a Source,
    document: &'a Document,
    faults: Faults,
    pub(super) environment: Environment<'a>,
    pub(super) probes: &'a [Probe],
    schemas: HashMap<String, Option<Value>>,
    /// Keys, and the values of variables that go into headers and to programs.
    pub(super) secrets: Vec<Secret>,
}

/// A candidate on its way into the plan.
struct Draft {
    spec: CandidateSpec,
    provider: String,
    identity: Digest,
    ask: Ask,
    live: Option<Arc<dyn Provider>>,
    /// How a service is asked.
    dialect: Option<Arc<dyn Dialect>>,
    endpoint: Option<Endpoint>,
    probe: Option<Probe>,
    /// What that cannot say of some sample, each once.
    losses: RefCell<Vec<String>>,
    weights: Option<Weights>,
    pricing: Pricing,
    in_flight: u32,
    /// Its place in the file.
    position: usize,
    /// What its own templates take from the rows, with the key of each.
    names: Vec<(&'static str, suite::Variable)>,
}

impl Draft {
    /// Notes what its dialect cannot say of a sample.
    fn note_losses(&self, asking: &Asking, asked: &Asked, row: &Arc<Row>, params: &Arc<Params>) {
        let Some(dialect) = &self.dialect else { return };
        let request = asking.request(asked, params, row);
        let (_, losses) = dialect.encode(&request);
        let mut known = self.losses.borrow_mut();
        for loss in losses.into_words() {
            if !known.contains(&loss) {
                known.push(loss);
            }
        }
    }

    fn plan(self, allowed: u64) -> Planned {
        let id: Arc<str> = self.spec.id.as_str().into();
        let pace = Pace {
            timeout: self.spec.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0),
            retry: RetryRule::new(self.spec.retries.unwrap_or(DEFAULT_RETRIES)),
            in_flight: self.in_flight as usize,
            rates: Rates { requests_per_min: self.spec.requests_per_min, tokens_per_min: self.spec.tokens_per_min },
            allowed,
        };
        Planned {
            id,
            provider: self.provider,
            identity: self.identity,
            params: Arc::new(self.spec.params),
            pricing: self.pricing,
            pace,
            live: self.live,
            is_asked: self.dialect.is_some() || self.weights.is_some(),
            dialect: self.dialect,
            endpoint: self.endpoint,
            probe: self.probe,
            losses: self.losses.into_inner(),
            weights: self.weights,
            facts: None,
        }
    }
}

impl Work<'_> {
    pub(super) fn fault(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.faults.push(self.document.fault(path, message));
    }

    pub(super) fn fault_help(&mut self, path: &[Step<'_>], message: impl Into<String>, help: Option<String>) {
        let mut fault = self.document.fault(path, message);
        fault.help = help;
        self.faults.push(fault);
    }

    /// Faults of a file: what keeps it from being read at all is a fault of the entry of the suite that names it.
    fn of_file(&mut self, path: &[Step<'_>], faults: Faults) {
        for fault in faults.0 {
            match (&fault.place.file, fault.place.line) {
                (Some(file), None) => {
                    let message = format!("`{}`: {}", text::visible(&file.display().to_string()), fault.message);
                    self.fault_help(path, message, fault.help);
                }
                _ => self.faults.push(fault),
            }
        }
    }

    /// A path of the suite, from the suite's folder.
    fn path(&self, written: &str) -> PathBuf {
        self.source.folder.join(written)
    }

    /// Reads a JSON Schema file; `None` when a fault was found. Read once, however often it is named.
    fn schema(&mut self, path: &[Step<'_>], written: &str) -> Option<Value> {
        if let Some(known) = self.schemas.get(written) {
            return known.clone();
        }
        let file = self.path(written);
        let value = match std::fs::read(&file) {
            Err(error) => {
                self.fault(path, format!("could not read the schema `{written}`: {}", text::of_system(&error)));
                None
            }
            Ok(bytes) => match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => Some(value),
                Err(error) => {
                    let (line, column) = (error.line() as u64, error.column() as u64);
                    let place = Place::at(Path::new(written), line.max(1), column.max(1));
                    self.faults.push(Fault::new(place, format!("the schema is not JSON: {error}")));
                    None
                }
            },
        };
        let value = value.filter(|value| match scorer::check_schema(value) {
            Ok(()) => true,
            Err(fault) => {
                self.fault_help(path, format!("`{written}`: {}", fault.message), fault.help);
                false
            }
        });
        self.schemas.insert(written.to_owned(), value.clone());
        value
    }

    /// Builds the scorers; `None` when one of them could not be.
    fn scorers(&mut self, suite: &Suite, output: Option<&Value>, has_own: bool) -> Option<Vec<Box<dyn Scorer>>> {
        let mut scorers = Vec::new();
        let mut is_whole = true;
        for (index, spec) in suite.scorers.iter().enumerate() {
            let kind = spec.kind();
            let mut schema = output.cloned();
            if let ScorerSpec::Schema(spec) = spec {
                if let Some(path) = &spec.path {
                    schema = self.schema(&at!["scorers", index, kind, "path"], path);
                    if schema.is_none() {
                        is_whole = false;
                        continue;
                    }
                } else if schema.is_none() && (suite.output.is_some() || !self.document.is_sure(&at!["output"])) {
                    // What is wrong with `output` has been said.
                    is_whole = false;
                    continue;
                }
            }
            match scorer::build(spec, schema.as_ref(), has_own) {
                Ok(scorer) => scorers.push(scorer),
                Err(faults) => {
                    is_whole = false;
                    for fault in faults {
                        let mut path = at!["scorers", index, kind].to_vec();
                        path.extend(fault.path.iter().map(|key| Step::Key(key)));
                        self.fault_help(&path, fault.message, fault.help);
                    }
                }
            }
        }
        is_whole.then_some(scorers)
    }

    /// The suite's file of prices; `None` without one, when a fault was found, and when nobody needs it.
    fn prices(&mut self, suite: &Suite, is_priced: bool) -> Option<Book> {
        let written = suite.prices.as_ref().filter(|_| !is_priced)?;
        match pricing::read(&self.path(written), Path::new(written)) {
            Ok(book) => Some(book),
            Err(faults) => {
                self.of_file(&at!["prices"], faults);
                None
            }
        }
    }

    /// Money can be bounded only where it is known what a request costs.
    fn bounded(&mut self, drafts: &[Draft]) {
        for draft in drafts.iter().filter(|draft| draft.dialect.is_some()) {
            if let Err(reason) = draft.pricing.price() {
                let message = format!("`limits.max_usd` needs the price of candidate `{}`: {reason}", draft.spec.id);
                self.fault_help(&at!["limits", "max_usd"], message, Some("give the candidate a `price`".to_owned()));
            }
        }
    }

    /// Says what a candidate is priced by.
    fn priced(&mut self, draft: Draft, prices: Option<&Book>, is_priced: bool) -> Draft {
        let found = pricing::of(&draft.spec, prices);
        let pricing = found.unwrap_or_else(|message| {
            if !is_priced {
                let help = "give `price` with a `batch_factor`, such as 0.5, or leave `is_batch` out".to_owned();
                self.fault_help(&at!["candidates", draft.position, "is_batch"], message, Some(help));
            }
            Pricing::default()
        });
        Draft { pricing, ..draft }
    }

    fn prompt(&mut self, suite: &Suite) -> Option<Prompt> {
        let spec = suite.prompt.as_ref()?;
        match Prompt::compile(spec) {
            Ok(prompt) => Some(prompt),
            Err(faults) => {
                self.faults.0.extend(faults.iter().map(|fault| fault.at(self.document)));
                None
            }
        }
    }

    /// Leaves only the chosen candidates in the suite; gives their positions in the file.
    fn choose(&mut self, suite: &mut Suite, options: &Options) -> Vec<usize> {
        let baseline = suite.baseline.clone();
        let baseline = baseline.as_deref();
        let known: Vec<String> = suite.candidates.iter().map(|candidate| candidate.id.clone()).collect();
        let is_known = |id: &String| known.contains(id);
        for id in &options.candidates {
            if !is_known(id) && !options.is_stored {
                let mut fault =
                    Fault::new(Place::default(), format!("`--candidate {}` is not in the suite", text::visible(id)));
                fault.help = text::did_you_mean(id, known.iter().map(String::as_str))
                    .or_else(|| Some(format!("candidates: {}", known.join(", "))));
                self.faults.push(fault);
            }
        }
        let is_chosen = |id: &String| {
            options.candidates.is_empty() || options.candidates.contains(id) || suite.baseline.as_ref() == Some(id)
        };
        let positions: Vec<usize> = (0..known.len()).filter(|index| is_chosen(&known[*index])).collect();
        let mut index = 0;
        suite.candidates.retain(|_| {
            index += 1;
            positions.contains(&(index - 1))
        });
        let is_judged = |gate| suite.candidates.iter().any(|chosen| gate::applies(gate, &chosen.id, baseline));
        let is_choice =
            !options.is_unjudged && !options.candidates.is_empty() && options.candidates.iter().all(is_known);
        if is_choice && !suite.gates.is_empty() && !suite.gates.iter().any(is_judged) {
            let mut fault = Fault::new(Place::default(), "`--candidate` leaves nobody whom a gate of the suite judges");
            fault.help = Some("name a candidate besides the baseline, or take the gates out of the suite".to_owned());
            self.faults.push(fault);
        }
        positions
    }

    /// Makes a candidate ready, live if it is to be asked; `None` when a fault was found.
    fn candidate(
        &mut self,
        spec: &CandidateSpec,
        position: usize,
        suite: &Suite,
        asking: &Arc<Asking>,
        is_live: bool,
    ) -> Option<Draft> {
        let providers = spec.providers();
        let [(key, provider)] = providers.as_slice() else { return None };
        let path = at!["candidates", position, *key];
        let PacingSpec::Closed(pacing) = &suite.pacing;
        let before = self.faults.0.len();
        let mut names = Vec::new();
        let mut weights = None;
        let (mut dialect, mut endpoint, mut probe) = (None, None, None);
        // A server on this machine takes no more at a time than it was told to.
        let mut in_flight = spec.in_flight.unwrap_or(pacing.in_flight);
        let mut identity = Hasher::default();
        identity.part(key.as_bytes()).part(&to_json(&spec.params)).part(&to_json(&spec.headers));
        let (words, ask, live): (String, Ask, Option<Arc<dyn Provider>>) = match provider {
            ProviderSpec::Service(service) => {
                let service = self.service(key, service, spec, position, is_live)?;
                identity.part(&to_json(&service.decides)).part(&to_json(&asking.schema));
                let live = service.live.as_ref().and_then(|endpoint| {
                    let as_planned = endpoint.dialect(service.dialect.manner().structured, None);
                    endpoint.provider(as_planned).ok().map(|provider| Arc::new(provider) as Arc<dyn Provider>)
                });
                (dialect, endpoint, probe) = (Some(service.dialect), service.live, service.probe);
                (service.words, Ask::Prompt, live)
            }
            ProviderSpec::Recorded(recorded) => {
                identity.part(&to_json(recorded));
                let on = recorded.on.clone().or_else(|| suite.dataset.id.clone()).unwrap_or_else(|| "id".to_owned());
                let mut live: Option<Arc<dyn Provider>> = None;
                if is_live {
                    match Indexed::open(&self.path(&recorded.path), &recorded.path, &on) {
                        Ok(index) => {
                            identity.part(&index.digest().0);
                            let index = Arc::new(index);
                            let lookup = Arc::new(move |value: &str| index.get(value));
                            live = Some(Arc::new(Recorded::new(recorded, &on, lookup)));
                        }
                        Err(faults) => self.of_file(&at!["candidates", position, *key, "path"], faults),
                    }
                }
                (format!("recorded {}", recorded.path), Ask::Field(on), live)
            }
            ProviderSpec::Command(command) => {
                identity.part(&to_json(command)).part(&to_json(&asking.schema));
                let live = if is_live { self.command(command, &path) } else { None };
                (format!("command {}", command.program.join(" ")), Ask::PromptAndRow, live)
            }
            ProviderSpec::Local(local) => {
                // Of the weights not the path but the bytes count, which `weights::start` adds.
                let structured =
                    if spec.structured == Structured::Auto { Structured::JsonSchema } else { spec.structured };
                identity.part(&to_json(&json!([local.context, structured]))).part(&to_json(&asking.schema));
                let path = self.path(&local.weights);
                if is_live && !path.exists() {
                    let message = format!("there is no `{}`", text::visible(&path.display().to_string()));
                    self.fault(&at!["candidates", position, *key, "weights"], message);
                }
                in_flight = spec.in_flight.unwrap_or(local.parallel);
                weights = Some(Weights::new(local, path, structured));
                (format!("local {}", local.weights), Ask::Prompt, None)
            }
            ProviderSpec::Scripted(scripted) => {
                identity.part(&to_json(scripted));
                let template = match Template::compile(&scripted.reply) {
                    Ok(template) => Some(template),
                    Err(fault) => {
                        self.faults.push(fault.at(self.document, &at!["candidates", position, *key, "reply"]));
                        None
                    }
                };
                let fails = scripted.fail_where.as_ref().and_then(|expression| match Filter::compile(expression) {
                    Ok(filter) => Some(filter),
                    Err(fault) => {
                        self.faults.push(fault.at(self.document, &at!["candidates", position, *key, "fail_where"]));
                        None
                    }
                });
                let of_reply = template.iter().flat_map(|template| template.variables());
                names.extend(of_reply.map(|variable| ("reply", variable.clone())));
                let of_filter = fails.iter().flat_map(|filter| filter.variables());
                names.extend(of_filter.map(|variable| ("fail_where", variable.clone())));
                let live = template.map(|template| {
                    let render = Arc::new(move |row: &Row| template.render(row).map_err(|fault| fault.to_string()));
                    let fails = fails.map(|filter| -> RowTest {
                        Arc::new(move |row: &Row| filter.keeps(row).map_err(|fault| fault.to_string()))
                    });
                    Arc::new(Scripted::new(scripted, render, fails)) as Arc<dyn Provider>
                });
                ("scripted".to_owned(), Ask::PromptAndRow, live)
            }
        };
        (self.faults.0.len() == before).then(|| Draft {
            spec: spec.clone(),
            provider: words,
            identity: identity.finish(),
            ask,
            live,
            dialect,
            endpoint,
            probe,
            losses: RefCell::default(),
            weights,
            pricing: Pricing::default(),
            in_flight,
            position,
            names,
        })
    }

    fn command(&mut self, command: &crate::suite::spec::CommandSpec, path: &[Step<'_>]) -> Option<Arc<dyn Provider>> {
        // What is wrong with these has been said.
        if command.program.is_empty() || command.env.iter().any(|name| !suite::names_variable(name)) {
            return None;
        }
        let mut environment = BTreeMap::new();
        for name in ["PATH", "HOME", "LANG", "TMPDIR"].into_iter().chain(command.env.iter().map(String::as_str)) {
            match (self.environment)(name) {
                Some(value) => {
                    if command.env.iter().any(|wanted| wanted == name) {
                        self.secrets.push(Secret::new(value.as_str()));
                    }
                    environment.insert(name.to_owned(), value);
                }
                None if command.env.iter().any(|wanted| wanted == name) => {
                    self.fault(path, format!("the variable `{name}` is not set"));
                }
                None => {}
            }
        }
        match Command::new(command, &self.source.folder, environment) {
            Ok(provider) => Some(Arc::new(provider)),
            Err(message) => {
                self.fault(path, message);
                None
            }
        }
    }

    /// Reads the golden set: checks every row, renders every prompt, keeps what scoring needs.
    fn dataset(
        &mut self,
        suite: &Suite,
        limit: Option<u64>,
        asking: &Arc<Asking>,
        drafts: &[Draft],
        kept: Keeps,
    ) -> Option<(Dataset, crate::dataset::Scan, Cases)> {
        // What could not be read of the suite has been said; a stand-in for it says nothing.
        let is_sure = |key| self.document.is_sure(&at!["dataset", key]);
        if suite.dataset.path.0.is_empty() || !["path", "select"].into_iter().all(is_sure) {
            return None;
        }
        let shown: Vec<String> = suite.dataset.path.0.clone();
        let files = shown.iter().map(|path| self.path(path)).collect();
        let dataset = match Dataset::open(files, shown, &suite.dataset) {
            Ok(dataset) => dataset,
            Err(faults) => {
                self.of_file(&at!["dataset", "path"], faults);
                return None;
            }
        };
        let select = suite.dataset.select.as_ref();
        let filter = match select.and_then(|select| select.filter.as_ref()).map(|filter| Filter::compile(filter)) {
            None => None,
            Some(Ok(filter)) => Some(filter),
            Some(Err(fault)) => {
                self.faults.push(fault.at(self.document, &at!["dataset", "select", "where"]));
                return None;
            }
        };
        let named = |fault: suite::TemplateFault| format!("`dataset.select.where`: {fault}");
        let keeps = filter.as_ref().map(|filter| move |row: &Row| filter.keeps(row).map_err(named));
        let asks: Vec<Ask> = drafts.iter().map(|draft| draft.ask.clone()).collect();
        let mut cases = Cases::new(asks, kept);
        let is_drawn = select.is_some_and(|select| select.sample.is_some());
        let services: Vec<(&Draft, Arc<Params>)> = drafts
            .iter()
            .filter(|draft| draft.dialect.as_ref().is_some_and(|dialect| dialect.may_lose()))
            .map(|draft| (draft, Arc::new(draft.spec.params.clone())))
            .collect();
        let add = |sample: &Sample, cases: Option<&mut Cases>| -> Result<(), String> {
            let asked = asking.ask(&sample.row)?;
            if let Some(cases) = cases {
                cases.push(sample, || asking.digest(&asked));
                for (draft, params) in &services {
                    draft.note_losses(asking, &asked, &sample.row, params);
                }
            }
            Ok(())
        };
        let scan = dataset.scan(
            keeps.as_ref().map(|keeps| keeps as &dyn Fn(&Row) -> Result<bool, String>),
            select,
            suite.seed,
            limit,
            // Of a random draw only the drawn rows are kept, in a pass of their own.
            &mut |sample| add(sample, (!is_drawn).then_some(&mut cases)),
        );
        let scan = match scan {
            Ok(scan) => scan,
            Err(faults) => {
                // A name that no row has is one fault of the suite, not one of every row.
                let fields = dataset.scan(None, None, suite.seed, None, &mut |_| Ok(())).map(|scan| scan.fields);
                let unknown = fields.map(|fields| self.unknown_names(asking, filter.as_ref(), drafts, &fields));
                let said = unknown.unwrap_or_default();
                let follows =
                    |fault: &Fault| said.iter().any(|name| fault.message.contains(&format!("variable `{name}`")));
                let mut others: Vec<Fault> = faults.0.into_iter().filter(|fault| !follows(fault)).collect();
                if !said.is_empty() && others.iter().all(|fault| fault.place == Place::default()) {
                    // What is left only counts the same fault in more rows.
                    others.clear();
                }
                self.faults.0.extend(others);
                return None;
            }
        };
        if is_drawn {
            for sample in dataset.samples(&scan.selection) {
                match sample {
                    Ok(sample) => add(&sample, Some(&mut cases)).ok()?,
                    Err(fault) => {
                        self.faults.push(fault);
                        return None;
                    }
                }
            }
        }
        cases.truncate(usize::try_from(scan.samples).ok()?);
        self.unknown_names(asking, filter.as_ref(), drafts, &scan.fields);
        Some((dataset, scan, cases))
    }

    /// Says which variables of templates and expressions no row has; gives their names.
    fn unknown_names(
        &mut self,
        asking: &Asking,
        filter: Option<&Filter>,
        drafts: &[Draft],
        fields: &[String],
    ) -> Vec<String> {
        let mut unknown = Vec::new();
        let known = || fields.iter().map(String::as_str);
        let is_known = |name: &str| name == "row" || fields.iter().any(|field| field == name);
        let advice = |name: &str| {
            text::did_you_mean(name, known()).or_else(|| {
                let some: Vec<&str> = known().take(20).collect();
                Some(format!("the rows have: {}", some.join(", ")))
            })
        };
        for (part, variable) in asking.prompt.iter().flat_map(Prompt::variables) {
            if !is_known(&variable.name) {
                let message = format!("unknown variable `{}`: no row has such a field", variable.name);
                let path = at!["prompt", part.key()];
                let mut fault = self.document.text_fault(&path, variable.line, Some(&variable.name), message);
                fault.help = advice(&variable.name);
                self.faults.push(fault);
                unknown.push(variable.name.clone());
            }
        }
        for draft in drafts {
            for (key, variable) in &draft.names {
                if !is_known(&variable.name) {
                    let message = format!("unknown variable `{}`: no row has such a field", variable.name);
                    let path = at!["candidates", draft.position, "scripted", *key];
                    let mut fault = self.document.text_fault(&path, variable.line, Some(&variable.name), message);
                    fault.help = advice(&variable.name);
                    self.faults.push(fault);
                }
            }
        }
        for suite::Variable { name, .. } in filter.iter().flat_map(|filter| filter.variables()) {
            if !is_known(name) {
                let message = format!("unknown variable `{name}`: no row has such a field");
                let help = advice(name);
                self.fault_help(&at!["dataset", "select", "where"], message, help);
                unknown.push(name.clone());
            }
        }
        unknown
    }
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("suite values have only string keys")
}

/// The text of a join field of a row, as recorded answers are looked up by it.
pub(super) fn join_text(row: &Row, on: &str) -> Option<String> {
    field::get(row, on).and_then(field::text)
}
