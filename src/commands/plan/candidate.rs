//! Candidates made ready: each kind of provider, and what decides its answers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::commands::cases::Ask;
use crate::commands::own_program;
use crate::commands::plan::joins::Join;
use crate::commands::plan::{Asked, Asking, Draft, Pace, Planned, Work};
use crate::commands::weights::Weights;
use crate::dataset::Indexed;
use crate::engine::{Rates, RetryRule};
use crate::provider::{Command, Provider, Recorded, RowTest, Scripted};
use crate::suite::spec::{CandidateSpec, PacingSpec, ProviderSpec, Structured};
use crate::suite::{self, Filter, Step, Suite, Template, at};
use crate::types::{Params, Pricing, Row};
use crate::util::digest::Hasher;
use crate::util::text;

/// Time that one attempt may take when the suite does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Retries when the suite does not say.
const DEFAULT_RETRIES: u32 = 3;

impl Draft {
    /// Whether it is asked what the prompt says, rather than looked up.
    pub(super) fn is_asked(&self) -> bool {
        !matches!(self.ask, Ask::Field(_))
    }

    /// Notes what its dialect cannot say of a sample.
    pub(super) fn note_losses(&self, asking: &Asking, asked: &Asked, row: &Arc<Row>, params: &Arc<Params>) {
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

    pub(super) fn plan(self, allowed: u64) -> Planned {
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
    /// Makes a candidate ready, live if it is to be asked; `None` when a fault was found.
    pub(super) fn candidate(
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
        let mut join = None;
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
                let on = recorded.join(suite.dataset.id.as_deref());
                let mut live: Option<Arc<dyn Provider>> = None;
                if is_live {
                    match Indexed::open(&self.path(&recorded.path), &recorded.path, &on.answer) {
                        Ok(index) => {
                            identity.part(&index.digest().0);
                            let index = Arc::new(index);
                            // The answers of a log stand in the log's own lines.
                            join = (!asking.is_logged).then(|| Join::new(recorded, on.clone(), Arc::clone(&index)));
                            let lookup = Arc::new(move |value: &str| index.get(value));
                            live = Some(Arc::new(Recorded::new(recorded, on.clone(), lookup)));
                        }
                        Err(faults) => self.of_file(&at!["candidates", position, *key, "path"], faults),
                    }
                }
                (format!("recorded {}", recorded.path), Ask::Field(on.sample), live)
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
            join,
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
                        self.secrets.extend(suite::keys_of(name, &value));
                    }
                    environment.insert(name.to_owned(), value);
                }
                None if command.env.iter().any(|wanted| wanted == name) => {
                    self.fault(path, format!("the variable `{name}` is not set"));
                }
                None => {}
            }
        }
        match Command::new(command, &self.source.folder, environment, own_program()) {
            Ok(provider) => Some(Arc::new(provider)),
            Err(message) => {
                self.fault(path, message);
                None
            }
        }
    }
}

fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("suite values have only string keys")
}
