//! Suite to plan: everything that can be wrong is found here, before the first request.

mod asking;
mod candidate;
mod found;
mod joins;
mod logged;
mod rows;
mod scoring;
mod trial;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde_json::Value;

use crate::commands::cases::{Ask, Cases, Keeps};
use crate::commands::plan::joins::Join;
use crate::commands::plan::rows::{Golden, Reading};
use crate::commands::plan::trial::Trial;
use crate::commands::pricing;
use crate::commands::reach::PROXIES;
use crate::commands::services::Endpoint;
use crate::commands::weights::Weights;
use crate::dataset::{Dataset, Selection};
use crate::engine::{Rates, RetryRule};
use crate::frame::{Layout, MetricColumn, Settings, Terms};
use crate::gate::{self, Bar};
use crate::price::Book;
use crate::provider::{Dialect, Provider};
use crate::scorer::{MetricKind, Scorer};
use crate::store;
use crate::suite::spec::{CandidateSpec, ProviderSpec, Structured, VolumeSpec};
use crate::suite::values::Allowance;
use crate::suite::{self, Document, Prompt, Step, Suite, at};
use crate::types::{Capture, Fault, Faults, Params, Place, PriceOrigin, Pricing, Probe, Volume};
use crate::util::digest::Digest;
use crate::util::secret::{Redactor, Secret};
use crate::util::text;

pub use asking::{Asked, Asking, not_passed_on, own_schema};
pub use found::Found;
pub use joins::JoinFacts;
pub use logged::LOGGED;
pub use rows::join_text;

/// Share of failed tasks at which a run stops when the suite does not say.
const DEFAULT_FAILURES: Allowance = Allowance::Share(0.2);

/// Failures that are borne at least when the suite does not say: a share of a handful of samples is none.
const LEAST_FAILURES: u64 = 5;

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
    /// How much is asked over how long: as the suite states it, or as the log of a replay has it.
    pub volume: Option<Volume>,
    /// What is told to those who ask before a run.
    pub found: Found,
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

    /// Takes the volume of a log, unless the suite states one.
    pub fn measured(&mut self, volume: Option<Volume>) {
        self.volume = self.volume.or(volume);
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
            volume: self.volume,
            by_id: Vec::new(),
            classes: Vec::new(),
            unmarkable: Vec::new(),
        }
    }

    /// What each candidate is asked for, in their order.
    pub fn terms(&self) -> Vec<Terms> {
        let of = |(candidate, spec): (&Planned, &CandidateSpec)| {
            let pricing = &candidate.pricing;
            let asked = spec.providers().first().and_then(|(service, provider)| match provider {
                // A deployment of Azure's has the name that its owner gave it.
                ProviderSpec::Service(_) if *service == "azure" => None,
                ProviderSpec::Service(service) => service.model.clone(),
                ProviderSpec::Recorded(_)
                | ProviderSpec::Command(_)
                | ProviderSpec::Local(_)
                | ProviderSpec::Scripted(_) => None,
            });
            Terms {
                price: pricing.price().cloned().map_err(str::to_owned),
                model: asked.filter(|model| !model.is_empty()),
                is_list_price: matches!(pricing.from, Some(PriceOrigin::File | PriceOrigin::Book)) && !pricing.is_batch,
            }
        };
        self.candidates.iter().zip(&self.suite.candidates).map(of).collect()
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
        logged::put_into(&mut suite, capture);
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
    // A proxy sees its own credentials and may echo them.
    let proxies = PROXIES.iter().filter_map(|name| environment(name));
    let secrets = proxies.flat_map(|address| suite::credentials_of(&address)).collect();
    let schemas = HashMap::new();
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
    // A stored run is marked as it is, and a log has its own answers: only what is about to be asked is tried.
    let tried = scorers.as_deref().filter(|_| options.is_live && !is_logged);
    let trial = tried.map(|scorers| {
        let gated = suite.gates.iter().map(|gate| gate.metric.as_str()).collect();
        let is_open = suite.candidates.iter().any(|candidate| candidate.recorded.is_none());
        Trial::new(scorers, &suite.scorers, gated, is_open)
    });
    let read = work.dataset(&suite, &asking, &drafts, Reading { limit: options.limit, keeps, trial });
    if let Some(Golden { scan, .. }) = &read {
        let tasks = scan.samples.saturating_mul(u64::from(suite.repeats)).saturating_mul(suite.candidates.len() as u64);
        if tasks > MAX_TASKS {
            let message = format!("samples × repeats × candidates are {tasks} tasks, and a run takes {MAX_TASKS}");
            work.fault_help(&at!["dataset"], message, Some("take fewer samples with `select.limit`".to_owned()));
        }
    }
    let Work { faults, secrets, .. } = work;
    let (true, Some(Golden { dataset, scan, cases, found }), Some(scorers)) = (faults.is_empty(), read, scorers) else {
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
        volume: suite.volume.and_then(stated),
        suite,
        text,
        dataset,
        dataset_digest: scan.digest,
        selection: scan.selection,
        cases: Arc::new(cases),
        candidates,
        scorers,
        asking,
        found,
        redactor: Redactor::new(secrets),
    })
}

/// The volume that a suite states, for a day.
fn stated(spec: VolumeSpec) -> Option<Volume> {
    Some(Volume {
        requests: Decimal::from_f64(spec.requests_per_day)?,
        hours: Decimal::from(24),
        peak_over_mean: spec.peak_over_mean,
        is_measured: false,
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
    /// Keys: those of services and proxies, and what of headers and of the variables of programs is one.
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
    /// Its recorded answers, where they are to be joined.
    join: Option<Join>,
    weights: Option<Weights>,
    pricing: Pricing,
    in_flight: u32,
    /// Its place in the file.
    position: usize,
    /// What its own templates take from the rows, with the key of each.
    names: Vec<(&'static str, suite::Variable)>,
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
}
